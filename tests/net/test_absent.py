#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Hot keys without an item: the kernel says so, for as long as nobody stores one.

Method: a daemon with the fast path on lo (generic XDP) and on veth (native); a key is made hot by
asking for it over UDP; who answered is told by the program's counters.
"""

import sys
import time

import lib_e2e as e2e

EAGER = ["--hot-threshold", "1"]


def ask(s, request):
    s.send(e2e.frame(1, request))
    return s.recv(4096)[8:]


def absent(daemon):
    return daemon.stats()["fastpath.absent"]


def counters(rig):
    with rig.tcp() as s, s.makefile("rb") as file:
        s.sendall(b"stats\r\n")
        lines = iter(file.readline, b"END\r\n")
        return {words[1].decode(): words[2] for words in (line.split() for line in lines)}


def kernel_says(daemon, s, request, want):
    """The next answer is the kernel's."""
    before = absent(daemon)
    assert ask(s, request) == want
    return absent(daemon) == before + 1


def await_kernel(daemon, s, request=b"get k\r\n", want=b"END\r\n", seconds=5):
    e2e.wait_until(lambda: kernel_says(daemon, s, request, want), seconds, "the kernel answers")


def over_tcp(rig, *commands):
    with rig.tcp() as s, s.makefile("rb") as file:
        for command, want in commands:
            s.sendall(command)
            for line in want.splitlines(keepends=True):
                got = file.readline()
                assert got == line, (command, got)


def kernel_says_that_a_hot_key_is_not_there():
    for kind in ("lo", "veth"):
        with e2e.Rig(kind) as rig:
            daemon = e2e.Daemon(rig, *EAGER, "--allow", "10.78.0.0/24", "--allow", "127.0.0.0/8")
            with rig.udp() as s:
                await_kernel(daemon, s)
                before = counters(rig)
                for request, want in ((b"get k\r\n", b"END\r\n"), (b"gets k k\r\n", b"END\r\n"),
                                      (b"mg k v t\r\n", b"EN\r\n")):
                    assert ask(s, request) == want
                after = counters(rig)
                for name, more in (("cmd_get", 4), ("get_misses", 4), ("get_hits", 0),
                                   ("kernel_hits", 0), ("kernel_absent", 4)):
                    assert int(after[name]) - int(before[name]) == more, (name, before, after)
                row = daemon.cli("hot", "list", "1")["keys"][0]
                assert row["key"] == "k" and row["resident"], row
                assert row["why"] == "hot, and it has no item", row
            daemon.stop()


def whoever_stores_the_item_is_seen_at_once():
    """And a delete is answered as one again, soon."""
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        with rig.udp() as s:
            for n, store in enumerate((b"set k 0 0 1\r\nx\r\n", b"add k 0 0 1\r\nx\r\n",
                                       b"ms k 1\r\nx\r\n", b"ma k N0 J7\r\n")):
                await_kernel(daemon, s)
                over_tcp(rig, (store, b"STORED\r\n" if n < 2 else b"HD\r\n"))
                hits = daemon.stats()["fastpath.hits"]
                want = b"VALUE k 0 1\r\n%s\r\nEND\r\n" % (b"7" if n == 3 else b"x")
                assert ask(s, b"get k\r\n") == want
                # the same place of the kernel's, without a visit to the daemon
                assert daemon.stats()["fastpath.hits"] == hits + 1
                over_tcp(rig, (b"delete k\r\n", b"DELETED\r\n"),
                         (b"delete k\r\n", b"NOT_FOUND\r\n"))
                assert ask(s, b"get k\r\n") == b"END\r\n"
        daemon.stop()


def writers_find_nothing_where_the_kernel_says_so():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        with rig.udp() as s:
            await_kernel(daemon, s)
            over_tcp(rig, (b"replace k 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
                     (b"append k 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
                     (b"cas k 0 0 1 1\r\nx\r\n", b"NOT_FOUND\r\n"),
                     (b"incr k 1\r\n", b"NOT_FOUND\r\n"), (b"touch k 1\r\n", b"NOT_FOUND\r\n"),
                     (b"delete k\r\n", b"NOT_FOUND\r\n"), (b"md k I\r\n", b"NF\r\n"),
                     (b"get k\r\n", b"END\r\n"))
            assert counters(rig)["curr_items"] == b"0"
            assert kernel_says(daemon, s, b"get k\r\n", b"END\r\n")
        daemon.stop()


def answer_ends_with_its_time_and_is_asked_for_again():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--negative-ttl", "2")
        with rig.udp() as s:
            await_kernel(daemon, s)
            before, asked = daemon.stats(), 0
            end = time.monotonic() + 7
            while time.monotonic() < end:
                assert ask(s, b"get k\r\n") == b"END\r\n"
                asked += 1
                time.sleep(0.01)
            after = daemon.stats()
            # It ended at least twice, and most of the time the kernel answered in between.
            passes = "fastpath.passes.pass_expired"
            assert after[passes] - before[passes] >= 2, (before, after)
            answers = after["fastpath.absent"] - before["fastpath.absent"]
            assert answers > asked / 2, (asked, answers)
        daemon.stop()


def routes_and_the_option_say_for_how_long():
    with e2e.Rig("lo") as rig:
        config = f"{rig.folder}/routes.conf"
        with open(config, "w", encoding="ascii") as file:
            file.write('routes = ( { prefix = "r:"; negative_ttl = 5; }, { prefix = "o:"; } );\n')
        daemon = e2e.Daemon(rig, *EAGER, "--negative-ttl", "0", "--config", config)
        with rig.udp() as s:
            await_kernel(daemon, s, b"get r:1\r\n")
            before = absent(daemon)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for request in (b"get o:1\r\n", b"get k\r\n"):
                    assert ask(s, request) == b"END\r\n"
            assert absent(daemon) == before
            why = {row["key"]: row["why"] for row in daemon.cli("hot", "list", "10")["keys"]}
            assert why["o:1"] == why["k"] == "not in the store", why
        daemon.stop()


def flush_and_restart_leave_no_wrong_answer():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        with rig.udp() as s:
            await_kernel(daemon, s)
            over_tcp(rig, (b"flush_all\r\n", b"OK\r\n"))
            await_kernel(daemon, s)
        daemon.stop()
        # Nobody is asked while no daemon runs; the next one has an item there at once.
        daemon = e2e.Daemon(rig, *EAGER)
        over_tcp(rig, (b"set k 0 0 1\r\nx\r\n", b"STORED\r\n"))
        with rig.udp() as s:
            for _ in range(100):
                assert ask(s, b"get k\r\n") == b"VALUE k 0 1\r\nx\r\nEND\r\n"
        daemon.stop()


sys.exit(e2e.main([
    kernel_says_that_a_hot_key_is_not_there,
    whoever_stores_the_item_is_seen_at_once,
    writers_find_nothing_where_the_kernel_says_so,
    answer_ends_with_its_time_and_is_asked_for_again,
    routes_and_the_option_say_for_how_long,
    flush_and_restart_leave_no_wrong_answer,
]))
