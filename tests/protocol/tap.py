# SPDX-License-Identifier: BSD-2-Clause
"""tap.py - runs the test functions of a script and prints their results as TAP."""

import traceback


class Skip(Exception):
    """A test that cannot run here, and why."""


def run(tests):
    """Runs each function; 0 if none failed. Its name is the test's, its document the property."""
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {test.__name__} # SKIP {reason}", flush=True)
        except Exception:  # a test may fail in any way
            failed += 1
            print(f"not ok {number} - {test.__name__}")
            print("# " + traceback.format_exc().replace("\n", "\n# "), flush=True)
    print(f"1..{len(tests)}")
    return 1 if failed else 0
