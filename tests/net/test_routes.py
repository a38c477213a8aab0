#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Routes of a daemon with a fast path: a barred key is never the kernel's, neither hot, nor pinned,
nor taken over from an earlier daemon; SIGHUP exchanges the routes while requests come, or nothing
at all; what the kernel answered is counted for routes and prefixes.

Method: generic XDP on lo, the routes in a file that the tests rewrite.
"""

import os
import re
import signal
import sys
import threading
import time

import lib_e2e as e2e

FLAGS = ("--hot-threshold", "1")
TIMES = 4096
# what the kernel tells of a key is a sample
TOLERANCE = 0.3


class Config:
    """The daemon's file, and what stands in it."""

    def __init__(self, rig):
        self.path = f"{rig.folder}/routes.conf"

    def write(self, *routes, extra=""):
        with open(self.path + "~", "w", encoding="ascii") as out:
            out.write("routes = ( %s );\n%s" % (", ".join(routes), extra))
        os.rename(self.path + "~", self.path)

    def flags(self):
        return ("--config", self.path, *FLAGS)


def reload(daemon, line="reloaded: routes="):
    before = daemon.output().count(line)
    os.kill(daemon.process.pid, signal.SIGHUP)
    e2e.wait_until(lambda: daemon.output().count(line) > before, what=line)


def await_route(daemon, prefix, **want):
    """The promoter reads the kernel's counts ten times a second."""
    def is_so():
        row = route_stats(daemon)[prefix]
        return all(row[name] == cnt for name, cnt in want.items())

    e2e.wait_until(is_so, what=f"{prefix}: {want}")


def ask_udp(rig, key, times, want):
    with rig.udp() as s:
        for number in range(times):
            s.send(e2e.frame(number, b"get %s\r\n" % key))
            got = s.recv(2048)
            assert got[8:] == want, got


def kernel_hits(rig, daemon, key, times=300):
    """Of so many GETs, those that the kernel answered."""
    before = daemon.stats()["fastpath.hits"]
    ask_udp(rig, key, times, e2e.value_reply(key, b"v"))
    return daemon.stats()["fastpath.hits"] - before


def is_resident(daemon, key):
    return any(row["key"] == key.decode() and row["resident"]
               for row in daemon.cli("hot", "list", "1024")["keys"])


def route_stats(daemon):
    """prefix -> counters"""
    found = {}
    for number, name, value in re.findall(rb"STAT routes:(\d+):(\w+) (.*)\r\n",
                                          daemon.ask(b"stats routes\r\n")):
        found.setdefault(number, {})[name.decode()] = value
    return {route.pop("prefix").decode(): {name: int(value) for name, value in route.items()}
            for route in found.values()}


def barred_keys_are_never_the_kernel_s():
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "s:"; auth = true; }', '{ prefix = "p:"; promote = false; }',
                     '{ prefix = "p:free:"; }')
        daemon = e2e.Daemon(rig, *config.flags())
        for key in (b"s:1", b"p:1", b"p:free:1"):
            daemon.set(key, b"v")
        for key in (b"s:1", b"p:1"):
            why = daemon.rig.on_server(f"{e2e.BUILD}/xdpcache", *daemon.control, "hot", "pin",
                                       key.decode(), check=False)
            assert "its route keeps it out of the kernel" in why, why
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert kernel_hits(rig, daemon, b"s:1") == 0
            assert kernel_hits(rig, daemon, b"p:1") == 0
            ask_udp(rig, b"p:free:1", 300, e2e.value_reply(b"p:free:1", b"v"))
        assert kernel_hits(rig, daemon, b"p:free:1") == 300
        rows = {row["key"]: row["why"] for row in daemon.cli("hot", "list", "1024")["keys"]}
        assert rows["p:1"] == "its route keeps it out of the kernel", rows
        assert rows["s:1"] == "its route keeps it out of the kernel: auth", rows


def a_reload_takes_keys_out_of_the_kernel_and_lets_them_back():
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "p:"; ttl_jitter = 5; }')
        daemon = e2e.Daemon(rig, *config.flags())
        daemon.set(b"p:1", b"v")
        daemon.pin(b"p:1")
        assert kernel_hits(rig, daemon, b"p:1") == 300
        config.write('{ prefix = "x"; }', '{ prefix = "p:"; promote = false; }')
        reload(daemon)
        e2e.wait_until(lambda: not is_resident(daemon, b"p:1"), 2, "p:1 is not resident")
        assert kernel_hits(rig, daemon, b"p:1") == 0
        shown = daemon.cli("config", "show", "--effective")["routes"]
        assert [route["prefix"] for route in shown] == ["x", "p:"], shown
        assert route_stats(daemon)["p:"]["get_hits"] == 300
        config.write('{ prefix = "p:"; }')
        reload(daemon)
        e2e.wait_until(lambda: is_resident(daemon, b"p:1"), 2, "p:1 is resident")
        assert kernel_hits(rig, daemon, b"p:1") == 300
        assert route_stats(daemon).keys() == {"p:"}
        assert route_stats(daemon)["p:"]["get_hits"] == 300, "counts ended with a reload"


def a_reload_with_a_mistake_changes_nothing():
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "p:"; promote = false; }')
        daemon = e2e.Daemon(rig, *config.flags())
        config.write('{ prefix = "p:"; promot = true; }')
        reload(daemon, "not reloaded, everything stays as it was")
        assert ":1: routes.promot: no such option" in daemon.output()
        shown = daemon.cli("config", "show", "--effective")["routes"]
        assert shown == [{"prefix": "p:", "ttl_jitter": 0, "negative_ttl": 30,
                          "promote": False, "auth": False}], shown
        config.write('{ prefix = "q:"; }', extra="memory: { max_item_size = 5000; };")
        reload(daemon)
        assert "memory.max_item_size has changed: restart to apply it" in daemon.output()
        text = daemon.rig.on_server(f"{e2e.BUILD}/xdpcache", *daemon.control, "config", "show",
                                    "--effective")
        assert ('{ prefix = "q:"; ttl_jitter = 0; negative_ttl = 30; promote = true; '
                'auth = false; }') in text, text
        assert "max_item_size = 1048576" in text, text


def entries_of_an_earlier_daemon_obey_the_new_routes():
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "none"; }')
        daemon = e2e.Daemon(rig, *config.flags())
        for key in (b"p:1", b"q:1"):
            daemon.set(key, b"v")
        daemon.pin(b"p:1", b"q:1")
        daemon.kill()
        config.write('{ prefix = "p:"; auth = true; }')
        daemon = e2e.Daemon(rig, *config.flags())
        assert "kernel entries kept: 1 of" in daemon.output(), daemon.output()
        assert kernel_hits(rig, daemon, b"p:1") == 0
        assert kernel_hits(rig, daemon, b"q:1") > 0


def kernel_hits_are_counted_for_route_and_prefix():
    """To one by route; of a prefix that `stats detail` finds, as far as a sample tells."""
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "p:"; negative_ttl = 60; }', '{ prefix = ""; }')
        daemon = e2e.Daemon(rig, *config.flags(), "-D", ":")
        daemon.set(b"p:1", b"v")
        daemon.set(b"q:1", b"v")
        daemon.pin(b"p:1", b"q:1", b"p:none")
        assert kernel_hits(rig, daemon, b"p:1", TIMES) == TIMES
        await_route(daemon, "p:", kernel_hits=TIMES)
        routes = route_stats(daemon)
        assert routes["p:"]["sets"] == 1 and routes[""]["kernel_hits"] == 0, routes
        low, high = (1 - TOLERANCE) * TIMES, (1 + TOLERANCE) * TIMES
        dump = daemon.ask(b"stats detail dump\r\n")
        gets, hits, sets = map(int, re.search(rb"PREFIX p get (\d+) hit (\d+) set (\d+) del 0\r\n",
                                              dump).groups())
        assert low <= hits <= high and gets == hits and sets == 1, dump

        before = daemon.stats()["fastpath.hits"]
        with rig.udp() as s:
            for _ in range(10):
                s.send(e2e.frame(1, b"get p:1 q:1 p:none\r\n"))
                s.recv(2048)
        assert daemon.stats()["fastpath.hits"] == before + 20
        await_route(daemon, "p:", kernel_hits=TIMES + 10, kernel_absent=10, get_misses=0)
        await_route(daemon, "", kernel_hits=10, kernel_absent=0)


def kernel_hits_stay_with_their_prefixes_over_reloads():
    """Of three routes one goes, one comes, one stays; what went does not come back."""
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "p:"; }', '{ prefix = "q:"; }')
        daemon = e2e.Daemon(rig, *config.flags())
        for key in (b"p:1", b"q:1", b"q:r:1"):
            daemon.set(key, b"v")
        daemon.pin(b"p:1", b"q:1", b"q:r:1")
        for key, times in ((b"p:1", 100), (b"q:1", 10), (b"q:r:1", 1)):
            assert kernel_hits(rig, daemon, key, times) == times
        await_route(daemon, "p:", kernel_hits=100)
        await_route(daemon, "q:", kernel_hits=11)
        config.write('{ prefix = "q:r:"; }', '{ prefix = "q:"; }')
        reload(daemon)
        time.sleep(0.3)
        for key, times in ((b"p:1", 100), (b"q:1", 20), (b"q:r:1", 3)):
            assert kernel_hits(rig, daemon, key, times) == times
        await_route(daemon, "q:", kernel_hits=31)
        await_route(daemon, "q:r:", kernel_hits=3)
        config.write('{ prefix = "p:"; }')
        reload(daemon)
        time.sleep(0.3)
        assert kernel_hits(rig, daemon, b"p:1", 7) == 7
        await_route(daemon, "p:", kernel_hits=7)
        assert route_stats(daemon).keys() == {"p:"}


def a_new_daemon_counts_by_its_own_routes():
    """Places that it takes over name routes of the daemon before."""
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "x:"; }', '{ prefix = "p:"; }')
        daemon = e2e.Daemon(rig, *config.flags())
        daemon.set(b"p:1", b"v")
        daemon.pin(b"p:1")
        assert kernel_hits(rig, daemon, b"p:1", 50) == 50
        daemon.kill()
        config.write('{ prefix = "p:"; }', '{ prefix = "x:"; }')
        daemon = e2e.Daemon(rig, *config.flags())
        time.sleep(0.3)
        assert kernel_hits(rig, daemon, b"p:1", 5) == 5
        await_route(daemon, "p:", kernel_hits=5)
        await_route(daemon, "x:", kernel_hits=0)


def reset_empties_the_routes_and_the_command_still_has_the_totals():
    """A reload brings nothing back."""
    def totals():
        return {row["prefix"]: row for row in daemon.cli("stats")["routes"]}

    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "p:"; }', '{ prefix = "q:"; }')
        daemon = e2e.Daemon(rig, "--no-fastpath", *config.flags())
        daemon.set(b"p:1", b"v")
        for _ in range(3):
            daemon.ask(b"get p:1\r\n")
        daemon.ask(b"get q:1 p:no\r\n")
        before = totals()
        assert before["p:"] == {"prefix": "p:", "get_hits": 3, "get_misses": 1, "sets": 1,
                                "deletes": 0, "kernel_hits": 0, "kernel_absent": 0}, before
        assert before["q:"]["get_misses"] == 1, before
        assert route_stats(daemon)["p:"]["get_hits"] == 3
        assert daemon.ask(b"stats reset\r\n", b"\r\n") == b"RESET\r\n"
        for _ in range(2):
            assert not any(route_stats(daemon)["p:"].values()), route_stats(daemon)
            assert totals() == before, totals()
            reload(daemon)
        daemon.ask(b"get p:1\r\n")
        assert route_stats(daemon)["p:"] == {"get_hits": 1, "get_misses": 0, "sets": 0,
                                             "deletes": 0, "kernel_hits": 0, "kernel_absent": 0}
        daemon.stop()


def reloads_beside_requests_lose_none():
    """Both workers serve while tables come and go; every reply is right, every request counted."""
    with e2e.Rig("lo") as rig:
        config = Config(rig)
        config.write('{ prefix = "p:"; }')
        daemon = e2e.Daemon(rig, "--no-fastpath", *config.flags())
        daemon.set(b"p:1", b"v")
        failures, asked, ending = [], [], threading.Event()

        def ask_on():
            count = 0
            with rig.tcp() as s:
                while not ending.is_set():
                    s.sendall(b"get p:1\r\n" * 50)
                    want = e2e.value_reply(b"p:1", b"v") * 50
                    got = b""
                    while len(got) < len(want):
                        got += s.recv(65536)
                    if got != want:
                        failures.append(got)
                        break
                    count += 50
            asked.append(count)
        threads = [threading.Thread(target=ask_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(30):
            config.write('{ prefix = "p:"; ttl_jitter = %d; }' % number,
                         *('{ prefix = "p:%d"; }' % i for i in range(10, 10 + number % 7)))
            reload(daemon)
        ending.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert len(asked) == 4 and min(asked) > 0, asked
        assert route_stats(daemon)["p:"]["get_hits"] == sum(asked)


sys.exit(e2e.main([
    barred_keys_are_never_the_kernel_s,
    a_reload_takes_keys_out_of_the_kernel_and_lets_them_back,
    a_reload_with_a_mistake_changes_nothing,
    entries_of_an_earlier_daemon_obey_the_new_routes,
    reset_empties_the_routes_and_the_command_still_has_the_totals,
    kernel_hits_are_counted_for_route_and_prefix,
    kernel_hits_stay_with_their_prefixes_over_reloads,
    a_new_daemon_counts_by_its_own_routes,
    reloads_beside_requests_lose_none,
]))
