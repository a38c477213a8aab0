# SPDX-License-Identifier: BSD-2-Clause
"""e2e.py - what a client may expect, whatever the fast path runs on: the tests that
test_e2e_veth.py and test_e2e_lo.py play on their labs.

Who answered is told twice, by the program's counters and by the frames' IP TTL. Frames are judged as
they arrive: every length and both checksums.
"""

import os
import random
import socket
import struct
import time

import lab
from lab import tap

LAB = None
ASKS = 20
KEY_LENGTHS = (1, 250)
VALUE_LENGTHS = (1, 100, 1000, 1300)


def key_of(length):
    return (b"k%d-" % length + b"abcdefghij" * 25)[:length]


def value_of(length):
    return random.Random(length).randbytes(length)


def mtu():
    return 1500 if LAB.mode != "lo" else 65535


def reply_of(key, value, flags):
    return b"VALUE %s %d %d\r\n%s\r\nEND\r\n" % (key, flags, len(value), value)


def fits(reply, six):
    return len(reply) + 8 + 8 + (40 if six else 20) <= mtu()


def capture():
    return lab.Capture(LAB.client_ns, LAB.client_if)


def pinned(key, value, flags=5):
    tcp = LAB.tcp()
    tcp.set(key, value, flags)
    tcp.close()
    LAB.pin(key)


def ask_all(udp, key, want):
    for _ in range(ASKS):
        got = udp.ask(b"get %s\r\n" % key)
        assert got == want, (len(key), len(want), got)


def judge_frames(frames, want):
    """Every frame that the kernel made: lengths, both sums, text."""
    assert len(frames) == ASKS, len(frames)
    for frame in frames:
        # A tap on the interface that receives makes the kernel copy packets on their way to tc, and
        # the copy loses XDP's mark: the daemon answers those. On lo we are that tap ourselves.
        if LAB.mode == "lo" and frame.ttl == lab.DAEMON_TTL:
            continue
        assert frame.ttl == lab.KERNEL_TTL, frame.ttl
        assert frame.lengths_right and frame.ip_sum_right, frame.frame
        assert frame.sum_right, frame.frame
        assert frame.payload[8:] == want


def every_size_is_answered_by_the_kernel(six):
    udp = LAB.udp(six)
    for key_len in KEY_LENGTHS:
        for value_len in VALUE_LENGTHS:
            key, value = key_of(key_len), value_of(value_len)
            want = reply_of(key, value, 5)
            pinned(key, value)
            hits, mtu_passes = LAB.hits(), LAB.passes("pass_mtu")
            ask_all(udp, key, want)
            moved = LAB.hits() - hits
            if not fits(want, six):
                assert moved == 0, (key_len, value_len, moved)
                assert LAB.passes("pass_mtu") - mtu_passes == ASKS
                continue
            assert moved == ASKS, (key_len, value_len, moved, LAB.counters())
            capturing = capture()
            ask_all(udp, key, want)
            judge_frames(capturing.take(), want)
            capturing.close()
    udp.close()


def ipv4_every_size_is_answered_by_the_kernel():
    every_size_is_answered_by_the_kernel(False)


def ipv6_every_size_is_answered_by_the_kernel():
    every_size_is_answered_by_the_kernel(True)


def gets_carries_the_cas_of_the_daemon():
    pinned(b"withcas", b"value")
    tcp = LAB.tcp()
    line = tcp.ask(b"gets withcas\r\n")
    tcp.file.readline(), tcp.file.readline()
    hits = LAB.hits()
    for six in (False, True):
        udp = LAB.udp(six)
        got = udp.ask(b"gets withcas\r\n")
        assert got == line + b"value\r\nEND\r\n", (got, line)
        udp.close()
    assert LAB.hits() == hits + 2
    cas = line.split()[4]
    assert tcp.ask(b"cas withcas 0 0 5 %s\r\nother\r\n" % cas) == b"STORED\r\n"
    udp = LAB.udp()
    assert udp.ask(b"get withcas\r\n") == reply_of(b"withcas", b"other", 0)
    udp.close()
    tcp.close()


def what_the_kernel_passes_the_daemon_answers():
    """Untouched: the daemon sees the request as it was sent."""
    pinned(b"here", b"value")
    udp = LAB.udp()
    hits = LAB.hits()
    assert udp.ask(b"get nothere\r\n") == b"END\r\n"
    assert udp.ask(b"get here nothere\r\n") == reply_of(b"here", b"value", 5)
    assert udp.ask(b"get here\n") == reply_of(b"here", b"value", 5)
    assert udp.ask(b"set written 1 0 3\r\nabc\r\n") == b"STORED\r\n"
    assert udp.ask(b"get written\r\n") == reply_of(b"written", b"abc", 1)
    assert udp.ask(b"bogus\r\n").startswith(b"ERROR")
    assert LAB.hits() == hits
    udp.close()


def checksum(frame, ip_len):
    """Fills the UDP sum of a request in."""
    datagram = lab.Datagram(frame)
    pseudo = datagram.src + datagram.dst + struct.pack(">II", datagram.length, 17)
    total = 0xffff - lab.ones_sum(pseudo + frame[14 + ip_len:])
    at = 14 + ip_len + 6
    return frame[:at] + struct.pack(">H", total or 0xffff) + frame[at + 2:]


def mac_of(on_host, interface):
    line = on_host("ip", "-o", "link", "show", "dev", interface).stdout
    return bytes.fromhex(line.split("link/ether ")[1].split()[0].replace(":", ""))


def request_frame(six, text, sport=45000):
    """A whole request as the client's driver would send it."""
    if LAB.mode == "lo":
        macs = bytes(12)
    else:
        macs = mac_of(LAB.on_server, LAB.interface) + mac_of(LAB.on_client, LAB.client_if)
    payload = struct.pack(">4H", 77, 0, 1, 0) + text
    udp = struct.pack(">4H", sport, lab.PORT, 8 + len(payload), 0) + payload
    if six:
        src, dst = ("::1", "::1") if LAB.mode == "lo" else ("fd99::2", "fd99::1")
        ip = struct.pack(">IHBB", 6 << 28, len(udp), 17, 64)
        ip += socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst)
        return checksum(macs + b"\x86\xdd" + ip + udp, 40)
    src, dst = ("127.0.0.1", "127.0.0.1") if LAB.mode == "lo" else ("10.99.0.2", "10.99.0.1")
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0x4000, 64, 17, 0)
    ip += bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
    ip = ip[:10] + struct.pack(">H", 0xffff - lab.ones_sum(ip)) + ip[12:]
    return checksum(macs + b"\x08\x00" + ip + udp, 20)


def frames_cut_at_every_byte_get_no_answer():
    pinned(b"cuttable", b"value")
    capturing = capture()
    for six in (False, True):
        whole = request_frame(six, b"get cuttable\r\n")
        hits = LAB.hits()
        for length in range(14, len(whole)):
            capturing.send(whole[:length])
        assert capturing.take() == [], "an answer to a frame that was cut"
        assert LAB.hits() == hits
        capturing.send(whole)
        answers = capturing.take()
        assert [a.payload[8:] for a in answers] == [reply_of(b"cuttable", b"value", 5)], answers
        assert answers[0].ttl == lab.KERNEL_TTL and answers[0].sum_right
        assert LAB.hits() == hits + 1
    assert LAB.daemon.poll() is None
    capturing.close()


def random_bytes_in_requests_kill_nobody():
    """Seeded by XC_TEST_SEED: whole frames with bytes overwritten, lengths and sums left wrong."""
    seed = int(os.environ.get("XC_TEST_SEED", time.time_ns()))
    print(f"# XC_TEST_SEED={seed}")
    rand = random.Random(seed)
    pinned(b"cuttable", b"value")
    capturing = capture()
    whole = [request_frame(six, b"get cuttable\r\n") for six in (False, True)]
    for n in range(4000):
        frame = bytearray(whole[n % 2])
        for _ in range(1 + rand.randrange(4)):
            # addresses stay, so that the frames reach the program's later stages
            frame[rand.randrange(14, len(frame))] = rand.randrange(256)
        capturing.send(bytes(frame))
    for answer in capturing.take():
        if answer.ttl == lab.KERNEL_TTL and answer.payload[8:14] == b"VALUE ":
            assert answer.sum_right and answer.lengths_right, answer.frame
            assert answer.payload[8:] == reply_of(b"cuttable", b"value", 5), answer.frame
    assert LAB.daemon.poll() is None
    udp = LAB.udp()
    assert udp.ask(b"get cuttable\r\n") == reply_of(b"cuttable", b"value", 5)
    udp.close()
    capturing.close()


def play(mode, more=()):
    """All of the above, and what the caller adds, on a lab of this kind."""
    global LAB
    with lab.Lab(mode) as LAB:
        LAB.start()
        status = tap.run([
            ipv4_every_size_is_answered_by_the_kernel,
            ipv6_every_size_is_answered_by_the_kernel,
            gets_carries_the_cas_of_the_daemon,
            what_the_kernel_passes_the_daemon_answers,
            frames_cut_at_every_byte_get_no_answer,
            random_bytes_in_requests_kill_nobody,
            *more,
        ])
        state = LAB.counters()["state"]
        assert state == ("generic" if mode == "lo" else mode), state
    return status
