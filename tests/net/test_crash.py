#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A daemon that is killed among writes comes back with every write it acknowledged.

Method: one client sets keys in turn, each time another version, until the daemon is killed under
it; after the restart every key must have the version that was acknowledged last, or the one that
was under way; the kernel's answer, the daemon's over UDP and over TCP must be the same; and
resident keys that were taken over follow new writes and deletes. Six kills on one log. A daemon
that serves without the fast path within a dead one's lease is asked over UDP for what it has just
overwritten, and a delayed flush is promised by daemons that do not live to see it.
"""

import os
import sys
import threading
import time

import lib_e2e as e2e

KEYS = [b"crash%d" % n for n in range(64)]
RESIDENT = KEYS[:8]
KILLS = 6
LEASE_MS = 4000


def value_of(version):
    """Up to about what one datagram holds."""
    return b"%d," % version * (1 + version * 7 % 180)


class Writer:
    """Sets every key in turn; what was acknowledged last, and what was begun last."""

    def __init__(self):
        self.version = 0
        self.acked, self.begun = {}, {}

    def write(self, stream, file, key):
        self.version += 1
        value = value_of(self.version)
        self.begun[key] = self.version
        stream.sendall(b"set %s 3 0 %d\r\n%s\r\n" % (key, len(value), value))
        reply = file.readline()
        if not reply:
            raise ConnectionResetError
        assert reply == b"STORED\r\n", reply
        self.acked[key] = self.version

    def write_until_killed(self, rig):
        with rig.tcp() as stream, stream.makefile("rb") as file:
            try:
                while True:
                    for key in KEYS:
                        self.write(stream, file, key)
            except OSError:
                return

    def write_once(self, rig):
        with rig.tcp() as stream, stream.makefile("rb") as file:
            for key in KEYS:
                self.write(stream, file, key)


def udp_get(rig, key):
    """The whole reply; from the kernel if the key is resident and fits."""
    with rig.udp() as s:
        s.send(e2e.frame(1, b"get %s\r\n" % key))
        parts, total = {}, 1
        while len(parts) < total:
            got = s.recv(65536)
            total = int.from_bytes(got[4:6], "big")
            parts[int.from_bytes(got[2:4], "big")] = got[8:]
        return b"".join(parts[n] for n in range(total))


def check_all(rig, daemon, writer, kill):
    for key in KEYS:
        allowed = {e2e.value_reply(key, value_of(v), 3)
                   for v in (writer.acked[key], writer.begun[key])}
        over_tcp = daemon.ask(b"get %s\r\n" % key)
        assert over_tcp in allowed, (kill, key, writer.acked[key], over_tcp[:80])
        assert udp_get(rig, key) == over_tcp, (kill, key)


def daemon_killed_among_writes_keeps_every_acknowledged_one():
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", str(LEASE_MS))
        writer = Writer()
        for kill in range(KILLS):
            writer.write_once(rig)
            daemon.pin(*RESIDENT)
            killer = threading.Timer(0.05 + 0.03 * kill, daemon.kill)
            killer.start()
            writer.write_until_killed(rig)
            killer.join()
            daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", str(LEASE_MS))
            check_all(rig, daemon, writer, kill)
        print(f"# {writer.version} writes, {KILLS} kills")
        daemon.stop()


def taken_over_keys_follow_writes():
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", str(LEASE_MS))
        for n in range(200):
            daemon.set(b"kept%d" % n, b"%d" % n * 20, n)
        daemon.pin(b"kept7", b"kept8")
        daemon.kill()
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", str(LEASE_MS))
        for n in range(200):
            want = e2e.value_reply(b"kept%d" % n, b"%d" % n * 20, n)
            assert daemon.ask(b"get kept%d\r\n" % n) == want
        before = daemon.stats()
        assert udp_get(rig, b"kept7") == e2e.value_reply(b"kept7", b"7" * 20, 7)
        assert udp_get(rig, b"kept8") == e2e.value_reply(b"kept8", b"8" * 20, 8)
        assert e2e.difference(daemon.stats(), before)["fastpath.hits"] == 2
        daemon.set(b"kept7", b"new", 1)
        assert udp_get(rig, b"kept7") == e2e.value_reply(b"kept7", b"new", 1)
        assert daemon.ask(b"delete kept8\r\n", b"\r\n") == b"DELETED\r\n"
        assert udp_get(rig, b"kept8") == b"END\r\n"
        daemon.stop()


def udp_answer(rig, key):
    """What a GET over UDP is answered, or None: nobody need."""
    with rig.udp() as s:
        s.settimeout(0.02)
        try:
            s.send(e2e.frame(1, b"get %s\r\n" % key))
            return s.recv(4096)[8:]
        except (ConnectionRefusedError, TimeoutError):
            return None


def successor_without_fast_path(rig, *flags, **how):
    """A daemon that serves alone takes over from one that was killed within its lease."""
    first = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", "60000")
    for key in RESIDENT:
        first.set(key, b"old")
    first.pin(*RESIDENT)
    first.kill()
    assert udp_answer(rig, RESIDENT[0]) == e2e.value_reply(RESIDENT[0], b"old"), "not resident"
    second = e2e.Daemon(rig, "--allow", "10.78.0.0/24", *flags, **how)
    for key in RESIDENT:
        second.set(key, b"new")
    for _ in range(20):
        for key in RESIDENT:
            got = udp_answer(rig, key)
            assert got in (None, e2e.value_reply(key, b"new")), (flags, how, key, got)
    second.kill()
    # What the kernel held is older than what was acknowledged since: nobody takes it over.
    third = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
    for key in RESIDENT:
        assert third.ask(b"get %s\r\n" % key) == b"END\r\n", (flags, how, key)
        assert udp_get(rig, key) == b"END\r\n", (flags, how, key)
    third.set(RESIDENT[0], b"newer")
    third.pin(RESIDENT[0])
    assert udp_get(rig, RESIDENT[0]) == e2e.value_reply(RESIDENT[0], b"newer")
    third.stop()
    return second


def daemon_without_fast_path_ends_a_dead_ones_lease():
    with e2e.Rig("veth") as rig:
        successor_without_fast_path(rig, "--no-fastpath")
        successor_without_fast_path(rig, mode="off")


def fast_path_that_cannot_start_ends_a_dead_ones_lease():
    with e2e.Rig("veth") as rig:
        # Maps can be opened without these, programs cannot be loaded or looked at.
        rights = "-bpf,-perfmon,-sys_admin,-net_admin"
        second = successor_without_fast_path(
            rig, mode="auto", wrapper=["setpriv", f"--bounding-set={rights}", "--"])
        assert "the fast path is off" in second.output(), second.output()


def daemon_that_may_not_end_a_lease_waits_for_its_end():
    with e2e.Rig("veth") as rig:
        first = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", "2000")
        first.set(b"crash", b"old")
        first.pin(b"crash")
        first.kill()
        os.chmod(rig.folder, 0o777)
        second = e2e.Daemon(rig, "--no-fastpath", "--allow", "10.78.0.0/24", "--lease-ms", "2000",
                            wrapper=["setpriv", "--reuid=65534", "--clear-groups", "--"])
        second.set(b"crash", b"new")
        for _ in range(100):
            assert udp_get(rig, b"crash") == e2e.value_reply(b"crash", b"new")
        assert "until the kernel answers nothing" in second.output(), second.output()
        second.stop()


def promise_to_flush(rig, sec):
    """A killed daemon's `flush_all SEC` over resident keys; when it is due at the latest."""
    daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--lease-ms", "60000")
    for key in RESIDENT:
        daemon.set(key, b"doomed")
    daemon.pin(*RESIDENT)
    assert daemon.ask(b"flush_all %d\r\n" % sec, b"\r\n") == b"OK\r\n"
    due = time.monotonic() + sec
    daemon.kill()
    assert time.monotonic() < due - 1, "too slow a machine to say anything"
    for key in RESIDENT:
        assert udp_answer(rig, key) == e2e.value_reply(key, b"doomed"), "flushed early"
    return due


def wait_for(moment):
    time.sleep(max(0, moment + 0.1 - time.monotonic()))


def check_flushed(rig, daemon):
    for key in RESIDENT:
        assert daemon.ask(b"get %s\r\n" % key) == b"END\r\n", key
        assert udp_get(rig, key) == b"END\r\n", key
    daemon.set(RESIDENT[0], b"after")
    assert udp_get(rig, RESIDENT[0]) == e2e.value_reply(RESIDENT[0], b"after")


def delayed_flush_is_kept_by_kernel_and_daemon_after_a_kill():
    with e2e.Rig("veth") as rig:
        due = promise_to_flush(rig, 5)
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
        for key in RESIDENT:
            want = e2e.value_reply(key, b"doomed")
            assert daemon.ask(b"get %s\r\n" % key) == want, key
            assert udp_get(rig, key) == want, key
        assert time.monotonic() < due, "too slow a machine to say anything"
        wait_for(due)
        check_flushed(rig, daemon)
        daemon.stop()


def delayed_flush_that_fell_due_without_a_daemon_is_kept():
    with e2e.Rig("veth") as rig:
        due = promise_to_flush(rig, 3)
        wait_for(due)
        for key in RESIDENT:
            assert udp_answer(rig, key) is None, key
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
        check_flushed(rig, daemon)
        daemon.stop()


def daemon_without_fast_path_leaves_a_living_one_alone():
    with e2e.Rig("veth") as rig:
        first = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
        first.set(b"living", b"value")
        first.pin(b"living")
        beside = e2e.Daemon(rig, "--no-fastpath", "-p", "11311", "-U", "0",
                            control=f"{rig.folder}/beside.sock")
        before = first.stats()
        assert udp_get(rig, b"living") == e2e.value_reply(b"living", b"value")
        assert e2e.difference(first.stats(), before)["fastpath.hits"] == 1
        beside.stop()
        first.stop()


sys.exit(e2e.main([
    daemon_killed_among_writes_keeps_every_acknowledged_one,
    taken_over_keys_follow_writes,
    daemon_without_fast_path_ends_a_dead_ones_lease,
    fast_path_that_cannot_start_ends_a_dead_ones_lease,
    daemon_that_may_not_end_a_lease_waits_for_its_end,
    daemon_without_fast_path_leaves_a_living_one_alone,
    delayed_flush_is_kept_by_kernel_and_daemon_after_a_kill,
    delayed_flush_that_fell_due_without_a_daemon_is_kept,
]))
