#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The lease: how long the kernel answers for a daemon that no longer speaks, and what a restart
costs (the drawing is in lab.py).

Method: a stream of GETs for a resident key, one a millisecond, none waiting for another; each answer
with its moment and its IP TTL (64: the kernel). Signals fall in between.
"""

import os
import signal
import sys
import threading
import time

import e2e
import lab
from lab import tap

LEASE_SEC = 1.0
MARGIN_SEC = 0.05
KEY, VALUE = b"leased", b"value of a leased key"
LAB = None


def served():
    """A stream that the kernel is answering."""
    e2e.LAB = LAB
    e2e.pinned(KEY, VALUE)
    stream = lab.Stream(LAB, KEY)
    stream.start()
    time.sleep(0.3)
    last = max(stream.answers)
    assert stream.answers[last][1] == lab.KERNEL_TTL, "the daemon answers, not the kernel"
    return stream


def right(stream):
    """No answer but the value, whoever gave it."""
    want = e2e.reply_of(KEY, VALUE, 5)
    wrong = [a for a in stream.answers.values() if a[2] != want]
    assert not wrong, wrong[:3]


def kernel_moments(stream):
    return [moment for moment, ttl, _ in stream.answers.values() if ttl == lab.KERNEL_TTL]


def stopped_daemon_kernel_answers_no_longer_than_the_lease():
    stream = served()
    os.kill(daemon_pid(), signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(LEASE_SEC + 0.8)
    last = max(kernel_moments(stream))
    after = stopped + LEASE_SEC + 0.5
    os.kill(daemon_pid(), signal.SIGCONT)
    resumed = time.monotonic()
    time.sleep(0.7)
    stream.finish()
    right(stream)
    # renewed every quarter of a lease: three quarters are left at least
    assert stopped + 0.75 * LEASE_SEC - 4 * MARGIN_SEC < last < stopped + LEASE_SEC + MARGIN_SEC, \
        last - stopped
    late = [m for m in kernel_moments(stream) if after < m < resumed]
    assert not late, len(late)
    back = [m for m in kernel_moments(stream) if m > resumed]
    assert back and min(back) < resumed + 0.5, "the kernel does not answer again"


def killed_daemon_that_comes_back_in_time_loses_no_get():
    LAB.restart("--lease-ms", "4000")
    stream = served()
    LAB.kill()
    time.sleep(0.2)
    LAB.start("--lease-ms", "4000")
    ready = time.monotonic()
    time.sleep(0.5)
    stream.finish()
    right(stream)
    assert not stream.lost(), (len(stream.lost()), len(stream.sent))
    assert len(stream.sent) > 500
    daemon = [a for a in stream.answers.values() if a[1] != lab.KERNEL_TTL]
    assert not daemon, len(daemon)
    assert max(kernel_moments(stream)) > ready, "nothing from the kernel after the restart"
    print(f"# {len(stream.sent)} GETs over kill and restart, none lost")


def killed_daemon_comes_back_with_what_it_held():
    """Adopted entries follow writes as those of its own making do."""
    tcp = LAB.tcp()
    for n in range(200):
        tcp.set(b"kept%d" % n, b"%d" % n * 20, n)
    LAB.pin(b"kept7")
    tcp.close()
    LAB.kill()
    LAB.start("--lease-ms", "4000")
    tcp, udp = LAB.tcp(), LAB.udp()
    for n in range(200):
        assert tcp.get(b"kept%d" % n) == b"%d" % n * 20
    hits = LAB.hits()
    assert udp.ask(b"get kept7\r\n") == e2e.reply_of(b"kept7", b"7" * 20, 7)
    assert LAB.hits() == hits + 1
    tcp.set(b"kept7", b"new", 1)
    assert udp.ask(b"get kept7\r\n") == e2e.reply_of(b"kept7", b"new", 1)
    assert tcp.ask(b"delete kept7\r\n") == b"DELETED\r\n"
    assert udp.ask(b"get kept7\r\n") == b"END\r\n"
    tcp.close()
    udp.close()


def daemon_killed_among_writes_keeps_every_acknowledged_one():
    """A write that was acknowledged is there, in the kernel and in the daemon; the one that was under
    way is there or is not."""
    keys = [b"crash%d" % n for n in range(64)]
    acked, begun = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    version = 0
    for kill in range(6):
        tcp = LAB.tcp()
        for key in keys:
            version += 1
            tcp.set(key, b"%d" % version * 9)
            acked[key] = begun[key] = version
        LAB.pin(keys[kill])
        killer = threading.Timer(0.05 + 0.03 * kill, LAB.daemon.kill)
        killer.start()
        try:
            while True:
                for key in keys:
                    version += 1
                    begun[key] = version
                    tcp.set(key, b"%d" % version * 9)
                    acked[key] = version
        except (OSError, AssertionError):
            pass  # the daemon is gone
        killer.join()
        tcp.close()
        LAB.kill()
        LAB.start("--lease-ms", "4000")
        tcp, udp = LAB.tcp(), LAB.udp()
        for key in keys:
            allowed = [b"%d" % v * 9 for v in {acked[key], begun[key]}]
            got = tcp.get(key)
            assert got in allowed, (kill, key, got, allowed)
            assert udp.ask(b"get %s\r\n" % key) == e2e.reply_of(key, got, 0)
        tcp.close()
        udp.close()
    print(f"# {version} writes, 6 kills")


def daemon_killed_and_gone_kernel_passes_after_the_lease():
    LAB.restart()
    stream = served()
    LAB.kill()
    killed = time.monotonic()
    time.sleep(LEASE_SEC + 0.5)
    stream.finish(0.1)
    right(stream)
    last = max(kernel_moments(stream))
    assert last < killed + LEASE_SEC + MARGIN_SEC, last - killed
    LAB.start()


def graceful_stop_kernel_passes_at_once():
    stream = served()
    LAB.stop()
    stopped = time.monotonic()
    time.sleep(0.3)
    stream.finish(0.1)
    right(stream)
    late = [m for m in kernel_moments(stream) if m > stopped + MARGIN_SEC]
    assert not late, len(late)
    status = LAB.cli("status")
    assert any(i["name"] == LAB.interface for i in status["interfaces"]), status
    LAB.start()
    tcp = LAB.tcp()
    assert tcp.get(KEY) == VALUE, "a graceful stop keeps the contents"
    tcp.close()


def daemon_pid():
    """The daemon itself: nsenter executes it in its own place."""
    return LAB.daemon.pid


def main():
    global LAB
    with lab.Lab("native") as LAB:
        LAB.start()
        return tap.run([
            stopped_daemon_kernel_answers_no_longer_than_the_lease,
            killed_daemon_that_comes_back_in_time_loses_no_get,
            killed_daemon_comes_back_with_what_it_held,
            daemon_killed_among_writes_keeps_every_acknowledged_one,
            daemon_killed_and_gone_kernel_passes_after_the_lease,
            graceful_stop_kernel_passes_at_once,
        ])


if __name__ == "__main__":
    sys.exit(main())
