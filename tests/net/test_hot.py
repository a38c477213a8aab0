#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who is in the kernel, and what the list says of it.

Method: a daemon with the fast path on lo (generic XDP) and a low threshold; keys are made hot by
reading them over TCP, and by reading them in the kernel over UDP.
"""

import sys
import threading
import time

import lib_e2e as e2e

EAGER = ["--hot-threshold", "1"]


class Reader(threading.Thread):
    """Reads keys over TCP, all of them about twenty times a second."""

    def __init__(self, rig, keys):
        super().__init__()
        self.rig, self.keys, self.ending = rig, keys, False

    def run(self):
        with self.rig.tcp() as s, s.makefile("rb") as file:
            while not self.ending:
                s.sendall(b"get " + b" ".join(self.keys) + b"\r\n")
                while file.readline() != b"END\r\n":
                    pass
                time.sleep(0.05)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.ending = True
        self.join()


def fill(daemon, keys):
    with daemon.rig.tcp() as s, s.makefile("rb") as file:
        for key in keys:
            s.sendall(b"set %s 0 0 1\r\nv\r\n" % key)
            assert file.readline() == b"STORED\r\n"


def rows(daemon, count=1024):
    return {row["key"]: row for row in daemon.cli("hot", "list", str(count))["keys"]}


def resident_cnt(daemon):
    return daemon.stats()["fastpath.entries"]


def hot_key_heads_the_list_wherever_its_place_is():
    """More keys are resident than are listed."""
    keys = [b"k%04d" % n for n in range(1500)]
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        fill(daemon, keys)
        # in this order they get their places
        for part, want in ((keys[:1200], 1200), (keys[1200:], 1500)):
            with Reader(rig, part):
                e2e.wait_until(lambda cnt=want: resident_cnt(daemon) == cnt, 20, "resident keys")
        time.sleep(1)
        with rig.udp() as s:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                s.send(e2e.frame(1, b"get k1499\r\n"))
                s.recv(1000)
        first = daemon.cli("hot", "list", "1")["keys"][0]
        assert first["key"] == "k1499" and first["resident"], first
        assert first["kernel_reads_sec"] > 100, first
        daemon.stop()


def pin_finds_a_place_where_there_is_none():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "3")
        fill(daemon, [b"a", b"b", b"c", b"wanted"])
        with Reader(rig, [b"a", b"b", b"c"]):
            e2e.wait_until(lambda: resident_cnt(daemon) == 3, 20, "all places are taken")
        daemon.cli("hot", "pin", "wanted")
        e2e.wait_until(lambda: rows(daemon)["wanted"]["resident"], 10, "the pin is resident")
        assert resident_cnt(daemon) == 3
        assert rows(daemon)["wanted"]["why"] == "pinned"
        # A cold one that stays is not called hot.
        daemon.cli("hot", "unpin", "wanted")
        row = rows(daemon)["wanted"]
        assert row["resident"] and row["why"].startswith("was hot"), row
        daemon.stop()


def lower_budget_holds_for_adopted_keys():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "20")
        keys = [b"k%d" % n for n in range(15)]
        fill(daemon, keys)
        with Reader(rig, keys):
            e2e.wait_until(lambda: resident_cnt(daemon) == 15, 20, "resident keys")
        daemon.stop()
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "4")
        e2e.wait_until(lambda: resident_cnt(daemon) == 4, 10, "4 of them")
        daemon.stop()


sys.exit(e2e.main([
    hot_key_heads_the_list_wherever_its_place_is,
    pin_finds_a_place_where_there_is_none,
    lower_budget_holds_for_adopted_keys,
]))
