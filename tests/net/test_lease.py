#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The kernel serves for one lease after the daemon's last sign of life, and no longer.

Method: a client asks resident keys over native XDP at a fixed pace while the daemon is stopped,
continued, killed, ended and started again; every reply's time is kept.
"""

import select
import signal
import sys
import threading
import time

import lib_e2e as e2e

LEASE_MS = 1000
# the program's clock ticks every 4 ms; the rest is this process's own lateness
LATE_MS = 50
# The daemon must be back within a lease. A slow machine's start takes longer than the default one.
RESTART_LEASE_MS = 2000
KEYS = [b"lease%d" % i for i in range(8)]
REPLIES = [e2e.value_reply(key, key * 20) for key in KEYS]


class Asker(threading.Thread):
    """Asks at a pace until told to end: when each was sent, when answered. No retry."""

    def __init__(self, rig, pace_sec):
        super().__init__()
        self.sock = rig.udp()
        self.pace_sec = pace_sec
        self.ending = False
        self.sent = []
        self.answered = {}
        self.wrong = []
        self.start()

    def read_until(self, end):
        while select.select([self.sock], [], [], max(0, end - time.monotonic()))[0]:
            try:
                got = self.sock.recv(4096)
            except ConnectionRefusedError:  # of a request that reached no socket: it stays lost
                continue
            now = time.monotonic()
            number = int.from_bytes(got[:2], "big")
            # ids repeat after 65536 requests, which is half a minute
            if got[8:] != REPLIES[number % len(KEYS)] or number >= len(self.sent):
                self.wrong.append(got)
            self.answered[number] = now

    def run(self):
        at = time.monotonic()
        while not self.ending:
            number = len(self.sent)
            self.sent.append(time.monotonic())
            try:
                self.sock.send(e2e.frame(number, b"get %s\r\n" % KEYS[number % len(KEYS)]))
            except ConnectionRefusedError:
                pass
            at += self.pace_sec
            self.read_until(at)
        self.read_until(time.monotonic() + 1)
        self.sock.close()

    def end(self):
        self.ending = True
        self.join()
        assert not self.wrong, self.wrong[:3]
        assert len(self.sent) < 65536, "ids would repeat"


def start(rig, lease_ms):
    return e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", str(lease_ms))


def fill(daemon):
    for key in KEYS:
        daemon.set(key, key * 20)
    daemon.pin(*KEYS)


def stopped_daemon_is_fenced_by_its_lease_and_serves_on():
    with e2e.Rig("veth") as rig:
        daemon = start(rig, LEASE_MS)
        fill(daemon)
        asker = Asker(rig, 0.001)
        try:
            time.sleep(0.5)
            stopped = time.monotonic()
            daemon.signal_all(signal.SIGSTOP)
            try:
                time.sleep((LEASE_MS + 700) / 1000)
                answered = sorted(asker.answered.copy().values())
            finally:
                daemon.signal_all(signal.SIGCONT)
            continued = time.monotonic()
            time.sleep(1)
        finally:
            asker.end()
        last_ms = (answered[-1] - stopped) * 1000
        after = sum(1 for at in answered if at > stopped)
        print(f"# last answer {last_ms:.0f} ms after the stop, {after} answers meanwhile")
        assert last_ms <= LEASE_MS + LATE_MS, last_ms
        # it is renewed every quarter, so at least half of it was left
        assert last_ms >= LEASE_MS / 2 and after >= 100, (last_ms, after)
        late = [n for n, at in enumerate(asker.sent) if at > continued + 0.5]
        assert len(late) > 50 and all(n in asker.answered for n in late)
        before = daemon.stats()
        with rig.udp() as s:
            s.send(e2e.frame(0, b"get %s\r\n" % KEYS[0]))
            assert s.recv(4096)[8:] == REPLIES[0]
        assert e2e.difference(daemon.stats(), before)["fastpath.hits"] == 1
        daemon.stop()


def daemon_killed_and_restarted_within_its_lease_loses_no_get():
    with e2e.Rig("veth") as rig:
        daemon = start(rig, RESTART_LEASE_MS)
        fill(daemon)
        asker = Asker(rig, 0.0005)
        try:
            time.sleep(1)
            killed = time.monotonic()
            daemon.kill()
            daemon = start(rig, RESTART_LEASE_MS)
            took_ms = (time.monotonic() - killed) * 1000
            # longer than what the first lease left
            time.sleep(RESTART_LEASE_MS / 1000 + 0.5)
        finally:
            asker.end()
        lost = [n for n in range(len(asker.sent)) if n not in asker.answered]
        print(f"# back after {took_ms:.0f} ms; {len(asker.sent)} asked, {len(lost)} lost")
        assert took_ms < RESTART_LEASE_MS * 3 / 4, f"the start took {took_ms:.0f} ms"
        assert not lost, (len(lost), [asker.sent[n] - killed for n in lost[:10]])
        for key, want in zip(KEYS, REPLIES):
            assert daemon.ask(b"get %s\r\n" % key) == want
        daemon.stop()


def ended_daemon_leaves_at_once_and_finds_its_contents_again():
    with e2e.Rig("veth") as rig:
        daemon = start(rig, 60000)
        fill(daemon)
        daemon.set(b"cold", b"not resident")
        items = daemon.stats()["daemon.items"]
        daemon.stop()
        before = daemon.stats()
        assert "daemon.items" not in before, "no daemon answers"
        sent = e2e.ask_nobody(rig, KEYS[0], 50)
        counts = e2e.difference(daemon.stats(), before)
        assert counts["fastpath.hits"] == 0, counts
        assert counts["fastpath.passes.pass_no_lease"] == sent >= 40, (sent, counts)

        daemon = start(rig, LEASE_MS)
        assert daemon.stats()["daemon.items"] == items
        cold = e2e.value_reply(b"cold", b"not resident")
        for key, want in zip(KEYS + [b"cold"], REPLIES + [cold]):
            assert daemon.ask(b"get %s\r\n" % key) == want
        with rig.udp() as s:
            for key, want in zip(KEYS, REPLIES):
                s.send(e2e.frame(3, b"get %s\r\n" % key))
                assert s.recv(4096) == e2e.frame(3, want)
        daemon.stop()


sys.exit(e2e.main([
    stopped_daemon_is_fenced_by_its_lease_and_serves_on,
    daemon_killed_and_restarted_within_its_lease_loses_no_get,
    ended_daemon_leaves_at_once_and_finds_its_contents_again,
]))
