#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A daemon that is killed among writes comes back with every write it acknowledged.

Method: one client sets keys in turn, each time another version, until the daemon is killed under
it; after the restart every key must have the version that was acknowledged last, or the one that
was under way; the kernel's answer, the daemon's over UDP and over TCP must be the same; and
resident keys that were taken over follow new writes and deletes. Six kills on one log.
"""

import sys
import threading

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


sys.exit(e2e.main([
    daemon_killed_among_writes_keeps_every_acknowledged_one,
    taken_over_keys_follow_writes,
]))
