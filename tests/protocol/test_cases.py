#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each transcript of cases/ gives the same bytes from xdpcached as from memcached 1.6.18; where
they differ on purpose, the case says so and why.

Method: every case is played against both, freshly started (run_cases.py)."""

import sys

import run_cases
import servers


def main():
    number = failed = 0
    for stock in (False, True):
        server = servers.start_stock() if stock else servers.start_ours()
        kind = "memcached" if stock else "xdpcached"
        if server is None:
            number += 1
            print(f"ok {number} - {kind} # SKIP {servers.STOCK} is not installed")
            continue
        with server:
            for name, reason in run_cases.run_all(server.address, stock):
                number += 1
                failed += reason is not None
                print(f"{'not ok' if reason else 'ok'} {number} - {name} ({kind})", flush=True)
                if reason:
                    print(f"# {reason}")
            if failed:
                print("# " + server.output().replace("\n", "\n# "))
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
