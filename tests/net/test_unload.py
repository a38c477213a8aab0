#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Unloading: nothing of the fast path stays, nothing of anybody else's goes, and the service goes on
without it (the drawing is in lab.py). Method: what is there is read with ip, tc, find and bpftool.
"""

import sys

import e2e
import lab
from lab import tap

KEY, VALUE = b"unloaded", b"value"
LAB = None


def answered(by_kernel):
    udp, hits = LAB.udp(), LAB.hits()
    assert udp.ask(b"get %s\r\n" % KEY) == e2e.reply_of(KEY, VALUE, 5)
    udp.close()
    assert LAB.hits() - hits == (1 if by_kernel else 0)


def serve():
    e2e.LAB = LAB
    if not LAB.daemon:
        LAB.start()
    e2e.pinned(KEY, VALUE)
    answered(by_kernel=True)


def unload_after_the_daemon_leaves_nothing():
    serve()
    LAB.stop()
    assert LAB.left(), "the program stays when the daemon goes"
    assert LAB.cli_run("unload").returncode == 0
    assert LAB.left() == [], LAB.left()
    interfaces = LAB.on_server("bpftool", "-j", "net").stdout
    assert LAB.interface not in interfaces, interfaces


def unload_twice_is_the_same():
    for _ in range(2):
        done = LAB.cli_run("unload")
        assert done.returncode == 0, done.stderr
    assert LAB.left() == []


def unload_under_a_daemon_is_refused():
    serve()
    done = LAB.cli_run("unload")
    assert done.returncode != 0 and "force" in done.stderr, done
    answered(by_kernel=True)


def forced_unload_leaves_the_daemon_serving_alone():
    serve()
    assert LAB.cli_run("unload", "--force").returncode == 0
    assert LAB.left() == [], LAB.left()
    udp = LAB.udp()
    assert udp.ask(b"get %s\r\n" % KEY) == e2e.reply_of(KEY, VALUE, 5)
    udp.close()
    tcp = LAB.tcp()
    tcp.set(KEY, b"other")
    assert tcp.get(KEY) == b"other"
    tcp.close()
    LAB.stop()


def load_after_unload_serves_again():
    serve()


def anothers_qdisc_and_filter_stay():
    LAB.stop()
    assert LAB.cli_run("unload").returncode == 0
    LAB.on_server("tc", "qdisc", "add", "dev", LAB.interface, "clsact")
    LAB.on_server("tc", "filter", "add", "dev", LAB.interface, "ingress", "pref", "7", "bpf",
                  "bytecode", "1,6 0 0 0")  # a classic program that matches nothing
    serve()
    LAB.stop()
    assert LAB.cli_run("unload").returncode == 0
    shown = LAB.on_server("tc", "filter", "show", "dev", LAB.interface, "ingress").stdout
    assert "pref 7" in shown and "xc_tc" not in shown, shown
    LAB.on_server("tc", "qdisc", "del", "dev", LAB.interface, "clsact")
    assert LAB.left() == [], LAB.left()


def main():
    global LAB
    with lab.Lab("native") as LAB:
        return tap.run([
            unload_after_the_daemon_leaves_nothing,
            unload_twice_is_the_same,
            unload_under_a_daemon_is_refused,
            forced_unload_leaves_the_daemon_serving_alone,
            load_after_unload_serves_again,
            anothers_qdisc_and_filter_stay,
        ])


if __name__ == "__main__":
    sys.exit(main())
