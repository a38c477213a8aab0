#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/hot-keys.md does what it says.

Method: a daemon on lo (generic XDP) with a crowd that reads one key; every line "$ xdpcache ..." of
the page is run, in its order, and has to succeed; then the page's incident, step by step. Its table
of reasons is compared with those the daemon knows.
"""

import os
import re
import shlex
import sys
import threading
import time

import lib_e2e as e2e

PAGE = "docs/hot-keys.md"
FAMOUS = b"user:77:profile"


class Crowd(threading.Thread):
    """Reads one key over UDP, and all others now and then."""

    def __init__(self, rig):
        super().__init__()
        self.rig, self.ending = rig, False

    def run(self):
        number = 0
        with self.rig.udp() as s:
            while not self.ending:
                for key in [FAMOUS] * 20 + [b"user:%d" % (number % 5)]:
                    number += 1
                    s.send(e2e.frame(number, b"get %s\r\n" % key))
                    while not s.recv(65536).endswith(b"END\r\n"):
                        pass
                time.sleep(0.02)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.ending = True
        self.join()


def commands():
    with open(PAGE, encoding="utf-8") as page:
        return re.findall(r"^ *\$ xdpcache (.+)$", page.read(), re.MULTILINE)


def run(daemon, line):
    """What it prints; those that go on are ended after a second."""
    words = [f"{e2e.BUILD}/xdpcache", *shlex.split(line), *daemon.control]
    if line == "top":
        words.append("--once")  # the screen is test_top.py's
    if line == "hot watch":
        words = ["sh", "-c", f"timeout 1 {shlex.join(words)}; [ $? = 124 ]"]
    return daemon.rig.on_server(*words)


def start(rig):
    daemon = e2e.Daemon(rig, "--hot-threshold", "100", "--hot-file", f"{rig.folder}/hot.json")
    for number in range(20):
        daemon.set(b"user:%d" % number, b"x" * 200)
    daemon.set(FAMOUS, b"x" * 4000)
    return daemon


def every_command_of_the_page_works():
    assert len(commands()) > 15, commands()
    with e2e.Rig("lo") as rig:
        daemon = start(rig)
        with Crowd(rig):
            for line in commands():
                said = run(daemon, line)
                assert said or line == "hot watch", line
        assert os.path.exists(f"{rig.folder}/hot.json")
        daemon.stop()


def celebrity_is_found_explained_and_served_by_the_kernel():
    with e2e.Rig("lo") as rig:
        daemon = start(rig)
        with Crowd(rig):
            e2e.wait_until(lambda: FAMOUS.decode() in run(daemon, "hot list 1"), 10, "the key")
            first = next(line for line in run(daemon, "top --once").splitlines()
                         if "user:" in line)
            assert FAMOUS.decode() in first and "too_large" in first, first
            said = run(daemon, "hot explain user:77:profile")
            assert "does not fit a datagram" in said and "To change it: make the value" in said
            assert "Pinned, but not in the kernel" in run(daemon, "hot pin user:77:profile")
            daemon.set(FAMOUS, b"x" * 1200)
            e2e.wait_until(lambda: "the kernel: pinned" in
                           run(daemon, "hot explain user:77:profile"), 5, "in the kernel")
            time.sleep(1.5)
            rates = daemon.cli("top")["rates"]
            assert rates["kernel"] > 10 * rates["daemon"] and rates["kernel"] > 100, rates
        daemon.stop()


def table_of_reasons_is_complete():
    with open("user/promote/policy.h", encoding="utf-8") as header:
        known = set(re.findall(r'X\(POLICY_[A-Z_]+, "([a-z0-9_]+)"', header.read()))
    with open(PAGE, encoding="utf-8") as page:
        text = page.read()
    table = text[text.index("| `reason` |"):text.index("## Minute 3")]
    told = set(re.findall(r"`([a-z0-9_]+)`", table))
    assert len(known) > 20 and known <= told, known - told


sys.exit(e2e.main([
    every_command_of_the_page_works,
    celebrity_is_found_explained_and_served_by_the_kernel,
    table_of_reasons_is_complete,
]))
