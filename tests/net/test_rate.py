#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""--rate-limit: a flooding source is held to its rate, its neighbours notice nothing.

Method: a client host with several addresses of each family on one veth, native XDP. Real time, so
bounds are wide: the limit is far below what a flood sends and the neighbour far below the limit.
"""

import os
import signal
import sys
import time

import lib_e2e as e2e

RATE, BURST = 50, 20
KEY, VALUE = b"resident", b"some bytes"
FLOODER = {4: "10.78.0.9", 6: "fd78:0:0:1::9"}
ALLOW = ("--allow", "10.78.0.0/24", "--allow", "fd78::/32", "--allow", "127.0.0.0/8")
LIMIT = ("--rate-limit", str(RATE), "--rate-burst", str(BURST))
SECONDS = 2


def hosts():
    return e2e.Rig("veth")


def add_flooder(rig):
    for family, bits in ((4, 24), (6, 64)):
        words = ("ip", "-n", rig.client_ns, "addr", "add", f"{FLOODER[family]}/{bits}", "dev",
                 rig.client_if)
        e2e.run(*words, *(("nodad",) if family == 6 else ()))
    # the flooder's IPv6 address is of another /64
    e2e.run("ip", "-n", rig.server_ns, "route", "add", "fd78:0:0:1::/64", "dev", rig.server_if)


def answered(s):
    """Datagrams that wait at a socket."""
    cnt = 0
    s.setblocking(False)
    try:
        while True:
            s.recv(2048)
            cnt += 1
    except BlockingIOError:
        return cnt


def ask(s, number, key=KEY, value=VALUE):
    s.settimeout(5)
    s.send(e2e.frame(number, b"get %s\r\n" % key))
    assert s.recv(2048) == e2e.frame(number, e2e.value_reply(key, value))


def flood_beside_a_neighbour(rig, family, key):
    """Of the flooder's requests, those answered, and those sent; the neighbour has all answered."""
    sent = got = asked = 0
    start = time.monotonic()
    with rig.udp(family, FLOODER[family]) as flooder, \
            rig.udp(family, rig.client[family]) as neighbour:
        while time.monotonic() - start < SECONDS:
            for _ in range(20):
                flooder.send(e2e.frame(sent, b"get %s\r\n" % key))
                sent += 1
            # a fifth of what it may
            if (time.monotonic() - start) * RATE / 5 > asked:
                ask(neighbour, asked, key)
                asked += 1
            got += answered(flooder)
        time.sleep(0.2)
        got += answered(flooder)
    return sent, got, time.monotonic() - start


def check_flood(rig, daemon, key):
    for family in (4, 6):
        before = daemon.stats()
        sent, got, seconds = flood_beside_a_neighbour(rig, family, key)
        counts = e2e.difference(daemon.stats(), before)
        assert sent > 10 * (BURST + RATE * seconds), (sent, "no flood")
        # a tick of the clock more, and the time it took to ask
        assert BURST + RATE * SECONDS / 2 < got < BURST + RATE * (seconds + 1), (got, seconds)
        assert counts["fastpath.drops.drop_rate"] == sent - got, (sent, got, counts)
        time.sleep(2 * BURST / RATE)  # full again


def flooder_is_held_to_its_rate_and_the_neighbour_is_not():
    with hosts() as rig:
        add_flooder(rig)
        daemon = e2e.Daemon(rig, *ALLOW, *LIMIT)
        daemon.set(KEY, VALUE)
        daemon.pin(KEY)
        check_flood(rig, daemon, KEY)
        # TCP has no limit
        with rig.tcp(4, FLOODER[4]) as s:
            for _ in range(5 * BURST):
                s.sendall(b"get %s\r\n" % KEY)
                assert s.recv(4096) == e2e.value_reply(KEY, VALUE)
        daemon.stop()


def what_the_daemon_answers_is_limited_too():
    with hosts() as rig:
        add_flooder(rig)
        daemon = e2e.Daemon(rig, *ALLOW, *LIMIT, "--hot-threshold", "1000000")
        daemon.set(b"cold", VALUE)
        check_flood(rig, daemon, b"cold")
        daemon.stop()


def count_of(rig, daemon, times):
    """Of that many requests at once, how many are answered."""
    with rig.udp(4) as s:
        for number in range(times):
            s.send(e2e.frame(number, b"get %s\r\n" % KEY))
        time.sleep(0.3)
        return answered(s)


def effective(daemon):
    shown = daemon.cli("config", "show", "--effective")["fastpath"]
    return shown["rate_limit"], shown["rate_burst"]


def limit_changes_with_a_reload():
    """Off, on, another, off again; `config show` says which. A bucket starts full each time."""
    with hosts() as rig:
        path = f"{rig.folder}/rate.conf"

        def write(limit, burst):
            with open(path, "w", encoding="ascii") as file:
                file.write(f"fastpath: {{ rate_limit = {limit}; rate_burst = {burst}; }};\n")

        write(0, 0)
        daemon = e2e.Daemon(rig, *ALLOW, "--config", path)
        daemon.set(KEY, VALUE)
        daemon.pin(KEY)
        assert count_of(rig, daemon, 200) == 200
        for limit, burst, least, most in ((1, 30, 30, 33), (1, 60, 60, 63), (0, 0, 200, 200)):
            write(limit, burst)
            os.kill(daemon.process.pid, signal.SIGHUP)
            e2e.wait_until(lambda: effective(daemon) == (limit, burst))
            assert least <= count_of(rig, daemon, 200) <= most, (limit, burst)
        assert "rate_limit has changed: restart" not in daemon.output()
        daemon.stop()


def dead_daemons_limit_drops_nobody():
    """A lease that has run out: the kernel refuses nothing any more."""
    with hosts() as rig:
        daemon = e2e.Daemon(rig, *ALLOW, "--rate-limit", "1", "--rate-burst", "5",
                            "--lease-ms", "300")
        daemon.set(KEY, VALUE)
        daemon.pin(KEY)
        assert 5 <= count_of(rig, daemon, 50) <= 8
        daemon.kill()
        time.sleep(0.5)
        before = rig.on_server("bpftool", "map", "dump", "pinned",
                               f"{rig.pin_root}/e2e/v1/xc_stats")
        with rig.raw() as raw, rig.udp(4) as s:
            for number in range(50):
                try:
                    s.send(e2e.frame(number, b"get %s\r\n" % KEY))
                except ConnectionRefusedError:
                    pass  # the stack has seen it: no one listens
            e2e.drain(raw, 0.3)
        after = rig.on_server("bpftool", "map", "dump", "pinned",
                              f"{rig.pin_root}/e2e/v1/xc_stats")

        def field(text, name):
            return [part for part in text.replace("\n", " ").split(",") if f'"{name}"' in part]
        assert field(before, "drop_rate") == field(after, "drop_rate")
        assert field(before, "pass_no_lease") != field(after, "pass_no_lease")


sys.exit(e2e.main([
    flooder_is_held_to_its_rate_and_the_neighbour_is_not,
    what_the_daemon_answers_is_limited_too,
    limit_changes_with_a_reload,
    dead_daemons_limit_drops_nobody,
]))
