#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a forged datagram can set off ends at once: no two servers talk to each other for ever, and
no request fetches more than the operator allowed.

Method: two servers on one lo, with the fast path and without, on two ports and on one; frames whose
source is the other server, of every kind that could make a first answer. Over veth, replies just
within and just over the limit.
"""

import struct
import sys
import time

import lib_e2e as e2e

OTHER_PORT = 11311
OTHER_IP = "127.0.0.2"
# A reply with this value holds a request: who skips the lines that he does not know answers it.
KEY, VALUE = b"k", b"\r\nget k\r\nget k\r\n"
LONG = b"long"  # its reply is several datagrams
PAYLOADS = [e2e.frame(7, text) for text in (
    b"get k\r\n", b"get absent\r\n", b"get long\r\n", b"nonsense\r\n", b"get\r\n",
    b"ERROR\r\n", b"END\r\n", b"VALUE k 0 1\r\nx\r\nEND\r\n", b"incr k 1\r\n",
    b"SERVER_ERROR multi-packet request not supported\r\n", b"stats\r\n")
] + [struct.pack(">4H", 7, 0, 2, 0) + b"get k\r\n", struct.pack(">4H", 7, 0, 2, 0) + b"VALUE k"]


def other_daemon(rig, *flags):
    folder = rig.folder
    return e2e.Daemon(rig, "--no-fastpath", "--instance", "other", "--control",
                      f"{folder}/o.sock", *flags, control=f"{folder}/o.sock")


def taken(daemon):
    """Datagrams that this server has seen."""
    counts = daemon.stats()
    return sum(counts[name] for name in ("fastpath.hits", "daemon.udp_requests",
                                         "daemon.udp_refused", "daemon.udp_multi_packet"))


def play(rig, first, second, sport):
    for daemon in (first, second):
        for key, value in ((KEY, VALUE), (LONG, b"v" * 5000)):
            with e2e.in_netns(rig.server_ns):
                s = e2e.socket.create_connection(daemon.place_of)
            with s:
                s.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
                assert s.recv(100) == b"STORED\r\n"
    first.pin(KEY)
    # else frames out of nowhere, from this host's own addresses, end as martians
    for name in ("route_localnet", "accept_local"):
        rig.on_server("sysctl", "-w", f"net.ipv4.conf.all.{name}=1", f"net.ipv4.conf.lo.{name}=1")
    with rig.raw() as raw:
        for payload in PAYLOADS:
            before = taken(first), taken(second)
            raw.send(e2e.request_frame(rig, payload, sport=sport))
            time.sleep(0.1)
            middle = taken(first), taken(second)
            time.sleep(0.1)
            after = taken(first), taken(second)
            assert after == middle, (payload, before, middle, after)
            # the request, and at the other server the datagrams of one reply
            assert after[0] - before[0] <= 1 and after[1] - before[1] <= 5, \
                (payload, before, after)


def servers_on_two_ports_do_not_talk_to_each_other():
    with e2e.Rig("lo") as rig:
        first = e2e.Daemon(rig)
        first.place_of = (rig.server[4], e2e.PORT)
        second = other_daemon(rig, "-p", str(OTHER_PORT), "-U", str(OTHER_PORT))
        second.place_of = (rig.server[4], OTHER_PORT)
        before = first.stats(), second.stats()
        play(rig, first, second, OTHER_PORT)
        # the first did answer, its driver too, and the other knew replies for what they are
        assert e2e.difference(first.stats(), before[0])["fastpath.hits"] == 1
        assert e2e.difference(second.stats(), before[1])["daemon.udp_requests"] > 3
        for daemon in (first, second):
            daemon.stop()


def servers_on_one_port_do_not_talk_to_each_other():
    """The second has an address of its own, from where the first is asked."""
    with e2e.Rig("lo", client_ip=OTHER_IP) as rig:
        first = e2e.Daemon(rig, "-l", rig.server[4])
        first.place_of = (rig.server[4], e2e.PORT)
        second = other_daemon(rig, "-l", OTHER_IP)
        second.place_of = (OTHER_IP, e2e.PORT)
        before = first.stats()
        play(rig, first, second, e2e.PORT)
        counts = e2e.difference(first.stats(), before)
        # each passed the driver by name, and the daemon had no word for it
        assert counts["fastpath.passes.pass_source"] == len(PAYLOADS), counts
        assert counts["fastpath.hits"] == counts["daemon.udp_requests"] == 0, counts
        for daemon in (first, second):
            daemon.stop()


def reply_to(rig, request, family=4):
    """Text of one reply, its datagrams put together, and how many there were."""
    with rig.udp(family) as s:
        s.setsockopt(e2e.socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        s.send(e2e.frame(9, request))
        parts, total = {}, 1
        while len(parts) < total:
            data = s.recv(65536)
            number, seq, total, _ = struct.unpack(">4H", data[:8])
            assert number == 9 and seq not in parts
            parts[seq] = data[8:]
    return b"".join(parts[i] for i in range(total)), total


def check_limit(rig, limit, *flags):
    """A reply of exactly the limit is sent; one byte more is one short datagram."""
    daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "--allow", "fd78::/64", "--allow",
                        "127.0.0.0/8", *flags)
    over = b"SERVER_ERROR response too large for UDP\r\n"
    fits = b"v" * (limit - len(e2e.value_reply(b"a", b"v" * (limit - 100))) + limit - 100)
    assert len(e2e.value_reply(b"a", fits)) == limit
    daemon.set(b"a", fits)
    daemon.set(b"b", fits + b"v")
    for family in (4, 6):
        assert reply_to(rig, b"get a\r\n", family)[0] == e2e.value_reply(b"a", fits)
        assert reply_to(rig, b"get b\r\n", family) == (over, 1)
    with e2e.in_netns(rig.server_ns):
        s = e2e.socket.socket(type=e2e.socket.SOCK_DGRAM)
    with s:
        s.settimeout(5)
        s.sendto(e2e.frame(9, b"get b\r\n"), ("127.0.0.1", e2e.PORT))
        first = s.recv(65536)
        assert first[8:].startswith(b"VALUE b 0 "), first[:80]
    daemon.stop()


def reply_over_the_limit_is_one_datagram():
    with e2e.Rig("veth", native_client=False) as rig:
        check_limit(rig, 64 << 10, "--no-fastpath")


def reply_limit_is_the_operators():
    with e2e.Rig("veth", native_client=False) as rig:
        check_limit(rig, 5000, "--no-fastpath", "--udp-reply-max", "5000")


sys.exit(e2e.main([
    servers_on_two_ports_do_not_talk_to_each_other,
    servers_on_one_port_do_not_talk_to_each_other,
    reply_over_the_limit_is_one_datagram,
    reply_limit_is_the_operators,
]))
