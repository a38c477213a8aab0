#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""UDP answers only whom the operator named; everybody else gets not one byte.

Method: a client with two addresses of each family, one of which is allowed; with the fast path
(dropped and counted in the driver) and without (refused and counted in the daemon).
"""

import sys

import lib_e2e as e2e

TIMES = 50
OTHER = {4: "10.78.0.3", 6: "fd78::3"}
ALLOW = ("--allow", "10.78.0.2/32", "--allow", "fd78::2/128")
KEY, VALUE = b"resident", b"some bytes"


def hosts(native_client=True):
    return e2e.Rig("veth", native_client=native_client)


def add_others(rig):
    for family, bits in ((4, 24), (6, 64)):
        words = ("ip", "-n", rig.client_ns, "addr", "add", f"{OTHER[family]}/{bits}", "dev",
                 rig.client_if)
        e2e.run(*words, *(("nodad",) if family == 6 else ()))


def get_all(rig, family, source):
    """Each answered; the pinned key, and one that does not exist."""
    with rig.udp(family, source) as s:
        for number in range(TIMES):
            s.send(e2e.frame(number, b"get %s\r\n" % KEY))
            assert s.recv(2048) == e2e.frame(number, e2e.value_reply(KEY, VALUE))
        s.send(e2e.frame(1, b"get absent\r\n"))
        assert s.recv(2048) == e2e.frame(1, b"END\r\n")


def get_none(rig, family, source):
    """TIMES requests of each kind; no frame comes from the server's port."""
    with rig.udp(family, source) as s, rig.raw() as raw:
        for number in range(TIMES):
            for line in (b"get %s\r\n" % KEY, b"get absent\r\n", b"nonsense\r\n", b""):
                s.send(e2e.frame(number, line))
        frames = e2e.drain(raw, 0.5)
        assert not frames, (len(frames), frames[0])
        s.setblocking(False)
        try:
            raise AssertionError(s.recv(2048))
        except BlockingIOError:
            pass
    return 4 * TIMES


def tcp_works(rig, family, source):
    with rig.tcp(family, source) as s:
        s.sendall(b"get %s\r\n" % KEY)
        got = b""
        while not got.endswith(b"END\r\n"):
            got += s.recv(4096)
        assert got == e2e.value_reply(KEY, VALUE), got


def refuse(daemon, rig, counter, others):
    for family in (4, 6):
        before = daemon.stats()
        sent = get_none(rig, family, OTHER[family])
        counts = e2e.difference(daemon.stats(), before)
        assert counts[counter] == sent, (counter, sent, counts[counter])
        for name in others:
            assert counts[name] == 0, (name, counts[name])
        tcp_works(rig, family, OTHER[family])
        get_all(rig, family, rig.client[family])


def native_not_allowed_is_dropped_in_the_driver():
    with hosts() as rig:
        add_others(rig)
        daemon = e2e.Daemon(rig, *ALLOW)
        daemon.set(KEY, VALUE)
        daemon.pin(KEY)
        refuse(daemon, rig, "fastpath.drops.drop_not_allowed",
               ["daemon.udp_refused", "daemon.udp_requests", "fastpath.hits"])
        daemon.stop()


def without_fastpath_not_allowed_is_refused_by_the_daemon():
    with hosts(native_client=False) as rig:
        add_others(rig)
        daemon = e2e.Daemon(rig, "--no-fastpath", *ALLOW)
        daemon.set(KEY, VALUE)
        refuse(daemon, rig, "daemon.udp_refused", ["daemon.udp_requests", "daemon.cmd_get"])
        daemon.stop()


def nobody_named_means_loopback_only():
    """Both ways: not one answer to another host, and every answer to this one."""
    with hosts(native_client=False) as rig:
        daemon = e2e.Daemon(rig, "--no-fastpath")
        daemon.set(KEY, VALUE)
        for family in (4, 6):
            get_none(rig, family, rig.client[family])
        with e2e.in_netns(rig.server_ns):
            s = e2e.socket.socket(type=e2e.socket.SOCK_DGRAM)
        with s:
            s.settimeout(5)
            s.connect(("127.0.0.1", e2e.PORT))
            s.send(e2e.frame(1, b"get %s\r\n" % KEY))
            assert s.recv(2048) == e2e.frame(1, e2e.value_reply(KEY, VALUE))
        daemon.stop()


sys.exit(e2e.main([
    native_not_allowed_is_dropped_in_the_driver,
    without_fastpath_not_allowed_is_refused_by_the_daemon,
    nobody_named_means_loopback_only,
]))
