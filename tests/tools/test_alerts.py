#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Alert rules are well formed, fire and clear as they should, and each has a line in the runbook.

Method: promtool runs alerts_test.yml; then again over rules of which none can fire, and over rules
that fire always: it must find fault with every alert both times, else its test tests nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

import tap  # noqa: E402 pylint: disable=wrong-import-position

FOLDER = "tools/observability"
# An expression is a block that ends where the next setting of the rule begins.
EXPRESSION = re.compile(r"(- alert: \w+\n +expr:) \|-\n(?: {10}.*\n)+")


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def alerts():
    names = re.findall(r"- alert: (\w+)", text_of(f"{FOLDER}/alerts.yml"))
    assert len(names) >= 10 and len(names) == len(set(names)), names
    return names


def promtool(*words, folder=FOLDER):
    program = shutil.which("promtool")
    if not program:
        raise tap.Skip("no promtool (package prometheus)")
    done = subprocess.run([program, *words], cwd=folder, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def rules_are_well_formed():
    status, said = promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
    assert status == 0 and "SUCCESS" in said, said


def each_alert_is_quiet_fires_and_clears():
    status, said = promtool("test", "rules", "alerts_test.yml")
    assert status == 0 and "SUCCESS" in said, said


def faulted(expression):
    """The alerts whose tests fail when all of them have this expression, and with what."""
    rules, cnt = EXPRESSION.subn(rf"\1 {expression}\n", text_of(f"{FOLDER}/alerts.yml"))
    assert cnt == len(alerts()), cnt
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/alerts.yml", "w", encoding="utf-8") as file:
            file.write(rules)
        shutil.copy(f"{FOLDER}/alerts_test.yml", folder)
        status, said = promtool("test", "rules", "alerts_test.yml", folder=folder)
    assert status != 0, said
    return re.findall(r"alertname: ?(\w+), time: ?(\w+),\s*exp:(\[.*?\]),?\s*got:(\[.*?\])\s*$",
                      said, re.M | re.S), said


def alert_that_cannot_fire_is_found():
    found, said = faulted("vector(0) > 1")
    assert {name for name, _, _, got in found if got == "[]"} == set(alerts()), said


def alert_that_fires_always_is_found_before_and_after():
    found, said = faulted("vector(1)")
    quiet = {}
    for name, when, expected, _ in found:
        if expected == "[]":
            quiet.setdefault(name, set()).add(when)
    assert all(len(quiet.get(name, ())) >= 2 for name in alerts()), (quiet, said)


def each_alert_has_a_line_in_the_runbook():
    runbook = text_of("docs/operations.md").split("## When an alert fires\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", runbook, re.M)
    assert [name for name, _, _ in rows] == alerts(), rows
    assert "operations.md#when-an-alert-fires" in text_of(f"{FOLDER}/alerts.yml")


TESTS = [
    rules_are_well_formed,
    each_alert_is_quiet_fires_and_clears,
    alert_that_cannot_fire_is_found,
    alert_that_fires_always_is_found_before_and_after,
    each_alert_has_a_line_in_the_runbook,
]

if __name__ == "__main__":
    sys.exit(tap.run(TESTS))
