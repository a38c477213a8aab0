#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A tap (tcpdump) on the interface changes no reply, and not who gives it.

Large replies grow at tc, which knows their requests by a mark that XDP leaves in the packet's
metadata. A tap shares the packet, and the copy that a program gets who stores to a shared packet
has lost its metadata (bpf/handover.bpf.h). Method: GETs of resident keys beside a socket that takes
every frame and reads none, so that it keeps its share of each.
"""

import contextlib
import socket
import sys

import lib_e2e as e2e

TIMES = 200


@contextlib.contextmanager
def packet_socket(rig):
    with e2e.in_netns(rig.server_ns):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with tap:
        tap.bind((rig.server_if, e2e.ETH_P_ALL))
        yield


def check_tapped(kind):
    with e2e.Rig(kind) as rig:
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--allow", "127.0.0.0/8")
        for size in (10, 1000):
            key, value = b"tapped%d" % size, b"v" * size
            daemon.set(key, value)
            daemon.pin(key)
            with packet_socket(rig), rig.udp() as s:
                before = daemon.stats()
                for number in range(TIMES):
                    s.send(e2e.frame(number, b"get %s\r\n" % key))
                    got = s.recv(4096)
                    assert got == e2e.frame(number, e2e.value_reply(key, value)), got[:80]
                s.setblocking(False)
                try:
                    raise AssertionError(s.recv(4096))
                except BlockingIOError:
                    pass
                counts = e2e.difference(daemon.stats(), before)
            assert counts["fastpath.hits"] == TIMES, (size, counts)
            assert counts["daemon.udp_requests"] == 0, (size, counts)
            assert counts["fastpath.passes.pass_no_room"] == 0, (size, counts)
        # veth may have room for it, as on 6.1
        assert kind == "veth" or counts["fastpath.hits_by.hit_tc"] == TIMES, counts
        daemon.stop()


def tap_on_lo_costs_no_hit():
    check_tapped("lo")


def tap_on_veth_costs_no_hit():
    check_tapped("veth")


sys.exit(e2e.main([tap_on_lo_costs_no_hit, tap_on_veth_costs_no_hit]))
