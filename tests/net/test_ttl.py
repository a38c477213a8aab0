#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A TTL of 1, 2 or 3 seconds is served until its time and not behind it, by the daemon and by the
kernel: relative or as Unix time, given by set, ms, touch or gat.

Method: every key is asked every 50 ms. The command ran between its sending and its reply, so the
item's time is known to lie in an interval, whatever this machine is doing: a value that was asked
for behind that interval, or one that was missing before it, is wrong. The daemon is asked over TCP.
The kernel is asked over UDP while the daemon is stopped, so that nobody else can tell it when to
end; its lease is long enough for that.
"""

import select
import signal
import sys
import time

import lib_e2e as e2e

TTLS = (1, 2, 3)
STEP_SEC = 0.05
# an expiry is kept in tenths of a second, rounded up; the program's clock ticks every 4 ms
LATE_SEC = 0.1 + 0.004 + 0.001
# the daemon reads its clocks once a turn, one after the other
EARLY_SEC = 0.001
LEASE_MS = 30000
# all phases of a tenth of a second are met
APART_SEC = 0.007
VALUE = b"v"


def unix_now():
    return time.clock_gettime(time.CLOCK_REALTIME)


class Given:
    """A key whose TTL has been given: between which two moments its time must lie."""

    def __init__(self, key, ttl):
        self.key = key
        self.ttl = ttl
        self.first = self.last = 0.0
        self.served = self.missed = 0

    def give(self, daemon, kind):
        request, end = {
            "set": (b"set %s 0 %d 1\r\nv\r\n", b"STORED\r\n"),
            "unix": (b"set %s 0 %d 1\r\nv\r\n", b"STORED\r\n"),
            "ms": (b"ms %s 1 T%d\r\nv\r\n", b"HD\r\n"),
            "touch": (b"touch %s %d\r\n", b"TOUCHED\r\n"),
            "gat": (b"gat %d %s\r\n", b"END\r\n"),
        }[kind]
        number = self.ttl
        if kind == "unix":
            # the second that begins a ttl from now, at least; moved over to the other clock
            number = int(unix_now()) + 1 + self.ttl
            self.first = time.monotonic() - unix_now() + number
        else:
            self.first = time.monotonic() + self.ttl
        words = (number, self.key) if kind == "gat" else (self.key, number)
        reply = daemon.ask(request % words, end)
        assert kind != "gat" or reply == e2e.value_reply(self.key, VALUE), reply
        if kind == "unix":
            self.last = time.monotonic() - unix_now() + number
        else:
            self.last = time.monotonic() + self.ttl

    def judge(self, asked, answered, found):
        """asked, answered: moments around the lookup."""
        if found:
            assert asked <= self.last + LATE_SEC, (self.key, "late by", asked - self.last)
            self.served += 1
        else:
            assert answered >= self.first - EARLY_SEC, (self.key, "early by",
                                                        self.first - answered)
            self.missed += 1


def give_all(daemon, keep=False):
    """Keys of every kind; resident before their TTL is given if the kernel is to keep them."""
    given = []
    for kind in ("set", "unix", "ms", "touch", "gat"):
        for ttl in TTLS:
            key = b"%s-%d" % (kind.encode(), ttl)
            daemon.set(key, VALUE)
            given.append((Given(key, ttl), kind))
    if keep:
        daemon.pin(*(item.key for item, _ in given))
    for item, kind in given:
        item.give(daemon, kind)
        time.sleep(APART_SEC)
    return [item for item, _ in given]


def each_step(given):
    """Yields until the last one is long over."""
    at = time.monotonic()
    while at < max(item.last for item in given) + 0.5:
        yield
        at += STEP_SEC
        time.sleep(max(0.0, at - time.monotonic()))


def check_watched(given):
    """Each key was seen on both sides of its time."""
    for item in given:
        assert item.served >= 5 and item.missed >= 5, (item.key, item.served, item.missed)


def the_daemon_serves_until_the_time_and_not_behind_it():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--no-fastpath")
        given = give_all(daemon)
        with rig.tcp() as s:
            for _ in each_step(given):
                for item in given:
                    asked = time.monotonic()
                    s.sendall(b"get %s\r\n" % item.key)
                    reply = b""
                    while not reply.endswith(b"END\r\n"):
                        reply += s.recv(4096)
                    assert reply in (b"END\r\n", e2e.value_reply(item.key, VALUE)), reply
                    item.judge(asked, time.monotonic(), reply != b"END\r\n")
        check_watched(given)


def take_replies(s, asked, seconds):
    while select.select([s], [], [], seconds)[0]:
        reply = s.recv(2048)
        item, before, _ = asked.pop(int.from_bytes(reply[:2], "big"))
        assert reply[8:] == e2e.value_reply(item.key, VALUE), reply
        item.judge(before, before, True)


def ask_kernel(s, given):
    """One datagram for each key and step; what the kernel passes on stays unanswered."""
    asked = {}
    number = 0
    for _ in each_step(given):
        for item in given:
            before = time.monotonic()
            s.send(e2e.frame(number, b"get %s\r\n" % item.key))
            asked[number] = (item, before, time.monotonic())
            number += 1
        take_replies(s, asked, 0)
    take_replies(s, asked, 0.3)
    for item, _, after in asked.values():
        item.judge(after, after, False)


def the_kernel_alone_serves_until_the_time_and_not_behind_it():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--lease-ms", str(LEASE_MS))
        given = give_all(daemon, keep=True)
        before = daemon.stats()
        daemon.signal_all(signal.SIGSTOP)
        try:
            with rig.udp() as s:
                ask_kernel(s, given)
        finally:
            daemon.signal_all(signal.SIGCONT)
        check_watched(given)
        counts = e2e.difference(daemon.stats(), before)
        assert counts["fastpath.hits"] == sum(item.served for item in given), counts
        assert counts["fastpath.passes.pass_expired"] == sum(item.missed for item in given), counts


sys.exit(e2e.main([
    the_daemon_serves_until_the_time_and_not_behind_it,
    the_kernel_alone_serves_until_the_time_and_not_behind_it,
]))
