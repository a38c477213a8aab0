#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Resident keys are answered by the kernel alone, each time, right bytes in right packets.

Method: native and generic XDP on a veth pair and generic XDP on lo, IPv4 and IPv6; every reply is
read twice: by a connected socket, which takes it only from the right address, and off the wire
with every sum computed again.
"""

import socket
import struct
import sys

import lib_e2e as e2e

TIMES = 200
SIZES = (1, 100, 1000, 1300)
KEYS = {(key_len, size): (b"%d" % index).ljust(key_len, b"k")[:key_len]
        for index, (key_len, size) in enumerate((k, s) for k in (1, 250) for s in SIZES)}
# The largest reply here is 1586 bytes of UDP payload: one datagram of a veth pair of this MTU.
MTU = 2000


def value_of(key_len, size):
    return bytes((key_len + i * 7) % 251 for i in range(size))


def prepare(daemon):
    for (key_len, size), key in KEYS.items():
        daemon.set(key, value_of(key_len, size), flags=size, family=6)
    daemon.pin(*KEYS.values())


def ask(rig, family, request, want):
    """TIMES requests, one at a time; what the wire had for replies."""
    with rig.udp(family) as s, rig.raw() as raw:
        port = s.getsockname()[1]
        for number in range(TIMES):
            s.send(e2e.frame(number * 257, request))
            got = s.recv(4096)
            assert got == e2e.frame(number * 257, want), (number, got[:80], want[:80])
        return port, e2e.drain(raw, 0.1)


def check_wire(rig, family, port, frames, want):
    inet = socket.AF_INET if family == 4 else socket.AF_INET6
    server, client = (socket.inet_pton(inet, a[family]) for a in (rig.server, rig.client))
    seen = []
    for data in frames:
        try:
            packet = e2e.Packet(data)
        except e2e.NotUdp:
            continue
        if packet.sport != e2e.PORT:
            continue
        assert (packet.src, packet.dst, packet.dport) == (server, client, port)
        assert packet.ip_sum_ok and packet.length_ok, data[:60].hex()
        assert packet.udp_sum_ok, (hex(packet.sum), data[:60].hex())
        if rig.kind == "veth":
            assert data[:12] == rig.macs, data[:14].hex()
        seen.append(packet.payload)
    assert seen == [e2e.frame(number * 257, want) for number in range(TIMES)], len(seen)


def check_several(rig, daemon, family):
    """One request for several keys; the kernel's hits are keys."""
    small = [key for (_, size), key in KEYS.items() if size <= 100]
    for verb, keys in ((b"get", small), (b"gets", small[:2] + small[:1])):
        single = [daemon.ask(b"%s %s\r\n" % (verb, key), family=family) for key in keys]
        want = b"".join(reply[:-len(b"END\r\n")] for reply in single) + b"END\r\n"
        before = daemon.stats()
        port, frames = ask(rig, family, b"%s %s\r\n" % (verb, b" ".join(keys)), want)
        counts = e2e.difference(daemon.stats(), before)
        assert counts["fastpath.hits"] == TIMES * len(keys), (verb, counts)
        assert sum(counts["fastpath.hits_by." + way]
                   for way in ("hit_tail", "hit_head", "hit_tc")) == TIMES, (verb, counts)
        assert counts["daemon.udp_requests"] == 0 and counts["daemon.cmd_get"] == 0, (verb, counts)
        check_wire(rig, family, port, frames, want)


def binary_request(opcode, key=b""):
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), 0, 0, 0, len(key), 77, 0) + key


def ask_tcp(rig, family, request, length):
    """What the daemon says: no kernel program sees TCP."""
    with rig.tcp(family) as s, s.makefile("rb") as replies:
        s.sendall(request)
        return replies.read(length)


def check_other_requests(rig, daemon, family):
    """mg, and gets of the binary protocol: the kernel's bytes are the daemon's."""
    key, size = KEYS[250, 100], 100
    short = KEYS[1, 1]
    for request, keys, length in (
            (b"mg %s v f k Oabc s t c q\r\n" % key, 1, None),
            (b"mg %s\r\n" % short, 1, None),
            (binary_request(0, short), 1, 24 + 4 + 1),
            (binary_request(0xd, key) + binary_request(9, short) + binary_request(0xa), 2,
             24 + 4 + 250 + size + 24 + 4 + 1 + 24)):
        if length is None:
            want = daemon.ask(request + b"mn\r\n", b"MN\r\n", family)[:-len(b"MN\r\n")]
        else:
            want = ask_tcp(rig, family, request, length)
        before = daemon.stats()
        port, frames = ask(rig, family, request, want)
        counts = e2e.difference(daemon.stats(), before)
        assert counts["fastpath.hits"] == TIMES * keys, (request, counts)
        assert counts["daemon.udp_requests"] == 0, (request, counts)
        check_wire(rig, family, port, frames, want)


def check_all(rig, daemon, family):
    for (key_len, size), key in KEYS.items():
        value = value_of(key_len, size)
        line = daemon.ask(b"gets %s\r\n" % key, family=family).split(b"\r\n", 1)[0]
        for verb, cas in ((b"get", None), (b"gets", int(line.split()[-1]))):
            want = e2e.value_reply(key, value, size, cas)
            before = daemon.stats()
            port, frames = ask(rig, family, b"%s %s\r\n" % (verb, key), want)
            counts = e2e.difference(daemon.stats(), before)
            name = (verb, key_len, size)
            assert counts["fastpath.hits"] == TIMES, (name, counts)
            assert counts["daemon.udp_requests"] == 0, (name, counts)
            assert counts["daemon.cmd_get"] == 0, (name, counts)
            check_wire(rig, family, port, frames, want)
    check_several(rig, daemon, family)
    check_other_requests(rig, daemon, family)


def kernel_answers_every_get(kind, families, mode="native"):
    with e2e.Rig(kind, mtu=MTU, native_client=mode == "native") as rig:
        rig.macs = rig.mac(False) + rig.mac(True)
        allow = ("--allow", "10.78.0.0/24", "--allow", "fd78::/64") if kind == "veth" else ()
        daemon = e2e.Daemon(rig, *allow, mode=mode)
        prepare(daemon)
        state = daemon.stats()["fastpath.state"]
        assert state == mode, state
        for family in families:
            check_all(rig, daemon, family)
        daemon.stop()


def veth_native_ip4_resident_keys_are_answered_by_the_kernel():
    kernel_answers_every_get("veth", [4])


def veth_native_ip6_resident_keys_are_answered_by_the_kernel():
    kernel_answers_every_get("veth", [6])


def veth_generic_resident_keys_are_answered_by_the_kernel():
    """As on an interface whose driver has no XDP of its own."""
    kernel_answers_every_get("veth", [4, 6], "generic")


def lo_generic_ip4_resident_keys_are_answered_by_the_kernel():
    kernel_answers_every_get("lo", [4], "generic")


def lo_generic_ip6_resident_keys_are_answered_by_the_kernel():
    kernel_answers_every_get("lo", [6], "generic")


def reply_over_the_mtu_comes_whole_from_the_daemon():
    """It does not fit one datagram: the kernel passes it, the daemon sends several."""
    key, value = KEYS[250, 1300], value_of(250, 1300)
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
        prepare(daemon)
        before = daemon.stats()
        with rig.udp() as s:
            s.send(e2e.frame(7, b"get %s\r\n" % key))
            parts = {}
            while len(parts) < 2:
                got = s.recv(4096)
                assert got[:2] == b"\0\7" and got[4:8] == b"\0\2\0\0", got[:8]
                parts[got[2:4]] = got[8:]
        whole = parts[b"\0\0"] + parts[b"\0\1"]
        assert whole == e2e.value_reply(key, value, 1300), whole
        counts = e2e.difference(daemon.stats(), before)
        assert counts["fastpath.passes.pass_mtu"] == 1, counts
        assert counts["daemon.udp_requests"] == 1 and counts["fastpath.hits"] == 0, counts
        daemon.stop()


def one_absent_key_of_several_leaves_all_to_the_daemon():
    """Also when the others are resident, and whatever the order."""
    resident = KEYS[1, 1]
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
        prepare(daemon)
        want = e2e.value_reply(resident, value_of(1, 1), 1)
        before = daemon.stats()
        with rig.udp() as s:
            for number, keys in enumerate((b"absent " + resident, resident + b" absent")):
                s.send(e2e.frame(number, b"get %s\r\n" % keys))
                got = s.recv(4096)
                assert got == e2e.frame(number, want), got
        counts = e2e.difference(daemon.stats(), before)
        assert counts["fastpath.hits"] == 0 and counts["fastpath.passes.pass_miss"] == 2, counts
        assert counts["daemon.udp_requests"] == 2, counts
        daemon.stop()


def protocol_that_is_not_spoken_is_the_daemon_s_to_refuse():
    """-B takes a protocol away from the kernel, too."""
    key = KEYS[1, 1]
    text, binary = b"get %s\r\n" % key, binary_request(0, key)
    for flag, spoken, other in (("ascii", text, binary), ("binary", binary, text)):
        with e2e.Rig("veth") as rig:
            first = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
            prepare(first)
            first.stop()
            daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", "-B", flag)
            e2e.wait_until(lambda: daemon.stats()["fastpath.entries"] > 0)
            before = daemon.stats()
            with rig.udp() as s:
                s.settimeout(0.5)
                for _ in range(5):
                    s.send(e2e.frame(1, spoken))
                    s.recv(2048)
                hits = e2e.difference(daemon.stats(), before)["fastpath.hits"]
                s.send(e2e.frame(2, other))
                try:
                    s.recv(2048)
                except TimeoutError:
                    pass
            counts = e2e.difference(daemon.stats(), before)
            assert hits == 5 and counts["fastpath.hits"] == 5, (flag, counts)
            assert counts["fastpath.passes.pass_verb"] == 1, (flag, counts)
            assert counts["daemon.udp_requests"] == 1, (flag, counts)
            daemon.stop()


sys.exit(e2e.main([
    protocol_that_is_not_spoken_is_the_daemon_s_to_refuse,
    one_absent_key_of_several_leaves_all_to_the_daemon,
    veth_native_ip4_resident_keys_are_answered_by_the_kernel,
    veth_native_ip6_resident_keys_are_answered_by_the_kernel,
    veth_generic_resident_keys_are_answered_by_the_kernel,
    lo_generic_ip4_resident_keys_are_answered_by_the_kernel,
    lo_generic_ip6_resident_keys_are_answered_by_the_kernel,
    reply_over_the_mtu_comes_whole_from_the_daemon,
]))
