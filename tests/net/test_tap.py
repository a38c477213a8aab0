#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A tap (tcpdump) on the interface changes no reply.

Large replies on lo grow at tc, and a tap's copy of the request costs the mark that XDP leaves for
tc: then the daemon answers. Method: GETs of resident keys beside a socket that takes every frame.
"""

import socket
import sys

import lib_e2e as e2e

TIMES = 200


def tapped_requests_are_answered_once_and_right():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig)
        with e2e.in_netns(rig.client_ns):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with tap:
            tap.bind((rig.client_if, e2e.ETH_P_ALL))
            for size in (10, 1000):
                key, value = b"tapped%d" % size, b"v" * size
                daemon.set(key, value)
                daemon.pin(key)
                before = daemon.stats()
                with rig.udp() as s:
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
                answered = counts["fastpath.hits"] + counts["daemon.udp_requests"]
                assert answered == TIMES, (size, counts)
        daemon.stop()


sys.exit(e2e.main([tapped_requests_are_answered_once_and_right]))
