#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""End to end between two hosts: native XDP on veth (the drawing is in lab.py). The tests are
e2e.py's, and those that need a second host: sources that are not allowed.
"""

import sys

import e2e

STRANGERS = ("10.99.9.2", "fd99:9::2")
ASKS = 10


def ask_as_strangers(key):
    """Bytes that came back."""
    came = []
    for source in STRANGERS:
        udp = e2e.LAB.udp(":" in source, source)
        for text in (b"get %s\r\n" % key, b"gets %s\r\n" % key, b"version\r\n", b"bogus\r\n",
                     b"stats\r\n"):
            for _ in range(ASKS):
                udp.send(text)
        answer = udp.take(udp.id, 0.3)
        came += [answer] if answer else []
        udp.close()
    return came


def stat(name):
    tcp = e2e.LAB.tcp()
    tcp.socket.sendall(b"stats\r\n")
    for line in tcp.file:
        words = line.split()
        if words[0] == b"END":
            raise AssertionError(f"no STAT {name}")
        if words[1].decode() == name:
            tcp.close()
            return int(words[2])


def stranger_gets_no_byte_and_is_counted():
    e2e.pinned(b"secret", b"value")
    capturing = e2e.capture()
    before = e2e.LAB.drops("drop_not_allowed")
    assert ask_as_strangers(b"secret") == []
    assert capturing.take() == [], "a frame went to a source that is not allowed"
    capturing.close()
    sent = len(STRANGERS) * 5 * ASKS
    assert e2e.LAB.drops("drop_not_allowed") - before == sent, e2e.LAB.counters()


def stranger_gets_no_byte_from_the_daemon_either():
    """With XDP off the daemon's own socket keeps the list."""
    e2e.LAB.restart(fast=False)
    try:
        tcp = e2e.LAB.tcp()
        tcp.set(b"secret", b"value")
        tcp.close()
        udp = e2e.LAB.udp()
        assert udp.ask(b"get secret\r\n") == e2e.reply_of(b"secret", b"value", 0)
        udp.close()
        capturing = e2e.capture()
        before = stat("udp_refused")
        assert ask_as_strangers(b"secret") == []
        assert capturing.take() == []
        capturing.close()
        assert stat("udp_refused") - before == len(STRANGERS) * 5 * ASKS
    finally:
        e2e.LAB.restart()


if __name__ == "__main__":
    sys.exit(e2e.play("native", [stranger_gets_no_byte_and_is_counted,
                                 stranger_gets_no_byte_from_the_daemon_either]))
