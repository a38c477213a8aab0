#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Values of hundreds of MiB under -I 1g: they come and go in pieces, and others hardly notice.

Method: a client streams one in and out over TCP while another times its GETs, on a thread that the
stream has too; their p99 is compared with that of the same GETs just before, when nothing else goes
on. What the reader gets is compared with what the writer sent by their digests, so that neither
holds the value. A half upload is ended in both ways (the client closes, or says no more), and the
room it held must do for another one. A reader that stops reading may have one reply kept for it,
copied, and what it kept goes when it goes.
"""

import concurrent.futures
import contextlib
import hashlib
import os
import re
import socket
import sys
import threading
import time

import lib_e2e as e2e

MIB = 1 << 20
LONG = os.environ.get("XC_TEST_LONG") == "1"
VALUE_MIB = 512 if LONG else 256
LIMIT_MIB = 2048
HALF_MIB, HALF_SENT_MIB, HALVES = 900, 48, 4  # together more than -m
PIECE = bytes(range(256)) * 4096  # 1 MiB; each is sent with its number in front
FLAGS = ["--no-fastpath", "-I", "1g", "-t", "1"]
# A thread that gave the whole value its turn would keep a GET for seconds; a busy machine keeps one
# for as long as others run, beside the stream more often than alone.
P99_RATIO_MAX, P99_LEAST_SEC = 30, 0.3
IDLE_SEC = 2


def piece(number):
    return b"%08d" % number + PIECE[8:]


def resident(daemon, field="VmRSS"):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        return int(re.search(rf"{field}:\s+(\d+)", file.read()).group(1)) << 10


def send_value(s, key, mib, sent_mib=None):
    """Its digest; the value's first part alone if sent_mib says so."""
    digest = hashlib.blake2b()
    s.sendall(b"set %s 0 0 %d\r\n" % (key, mib * MIB))
    for number in range(sent_mib or mib):
        digest.update(piece(number))
        s.sendall(piece(number))
    if not sent_mib:
        s.sendall(b"\r\n")
    return digest.digest()


def line_of(s):
    line = b""
    while not line.endswith(b"\r\n"):
        part = s.recv(1)
        assert part, line
        line += part
    return line


def receive_value(s, key, mib):
    s.sendall(b"get %s\r\n" % key)
    assert line_of(s) == b"VALUE %s 0 %d\r\n" % (key, mib * MIB)
    return rest_of_value(s, mib)


def rest_of_value(s, mib):
    digest, left, buf = hashlib.blake2b(), mib * MIB, memoryview(bytearray(MIB))
    while left:
        count = s.recv_into(buf[:min(left, MIB)])
        assert count, "the stream ended"
        digest.update(buf[:count])
        left -= count
    assert line_of(s) + line_of(s) == b"\r\nEND\r\n"
    return digest.digest()


class Bystander(threading.Thread):
    """Times the GETs of a small item, one after the other, until told to end."""

    def __init__(self, rig):
        super().__init__()
        self.rig, self.ending, self.took, self.wrong = rig, False, [], []

    def run(self):
        with self.rig.tcp() as s:
            s.settimeout(60 * e2e.SCALE)
            while not self.ending:
                start = time.monotonic()
                s.sendall(b"get small\r\n")
                reply = s.recv(100)
                self.took.append(time.monotonic() - start)
                if reply != e2e.value_reply(b"small", b"here"):
                    self.wrong.append(reply)
                time.sleep(0.002)


@contextlib.contextmanager
def bystander(rig, what):
    """What others' GETs take meanwhile: holds their p99 in seconds when it is over."""
    other, ret = Bystander(rig), []
    start = time.monotonic()
    other.start()
    try:
        yield ret
    finally:
        other.ending = True
        other.join()
    took = sorted(other.took)
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(f"# {what}: {time.monotonic() - start:.2f} s; {len(took)} GETs beside it, "
          f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f}, longest {took[-1] * 1e3:.1f}")
    assert not other.wrong, other.wrong[:3]
    assert len(took) >= 10, len(took)
    ret.append(p99)


@contextlib.contextmanager
def hardly_noticed(rig, what):
    """GETs beside it are nearly as quick as those right before it."""
    with bystander(rig, "idle") as idle:
        time.sleep(IDLE_SEC)
    with bystander(rig, what) as beside:
        yield
    most = max(P99_RATIO_MAX * idle[0], P99_LEAST_SEC * e2e.SCALE)
    assert beside[0] <= most, (beside, idle)


@contextlib.contextmanager
def serving(*flags):
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *(flags or FLAGS), memory=LIMIT_MIB)
        daemon.set(b"small", b"here")
        yield rig, daemon


def patient(rig):
    s = rig.tcp()
    s.settimeout(60 * e2e.SCALE)
    return s


def a_value_streams_in_and_out_beside_others():
    with serving() as (rig, daemon), patient(rig) as s:
        for key in (b"a", b"b"):
            with hardly_noticed(rig, f"{VALUE_MIB} MiB in"):
                sent = send_value(s, key, VALUE_MIB)
                assert line_of(s) == b"STORED\r\n"
            with hardly_noticed(rig, f"{VALUE_MIB} MiB out"):
                assert receive_value(s, key, VALUE_MIB) == sent
        daemon.stop()


def a_value_over_the_limit_is_refused_and_read_past():
    with serving("--no-fastpath", "-I", "8m") as (rig, daemon), patient(rig) as s:
        send_value(s, b"over", 16)
        assert line_of(s) == b"SERVER_ERROR object too large for cache\r\n"
        s.sendall(b"get over\r\nget small\r\n")
        assert line_of(s) == b"END\r\n"
        assert line_of(s) == b"VALUE small 0 4\r\n"
        daemon.stop()


def half_an_upload_is_dropped_and_its_room_comes_back():
    """What they hold together is more than -m, and yet nothing has to be evicted."""
    with serving() as (rig, daemon):
        for turn in range(HALVES):
            with patient(rig) as s:
                send_value(s, b"half", HALF_MIB, HALF_SENT_MIB)
                if turn % 2:
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
        assert daemon.ask(b"get half\r\n") == b"END\r\n"
        with patient(rig) as s:
            sent = send_value(s, b"whole", VALUE_MIB)
            assert line_of(s) == b"STORED\r\n"
            assert receive_value(s, b"whole", VALUE_MIB) == sent
        assert daemon.ask(b"get small\r\n") == e2e.value_reply(b"small", b"here")
        stats = daemon.stats()
        assert stats["daemon.evictions"] == 0, stats["daemon.evictions"]
        daemon.stop()


def readers_that_stop_hold_one_reply_each_until_they_go():
    mib = 32
    with serving() as (rig, daemon), contextlib.ExitStack() as stack:
        with patient(rig) as s:
            send_value(s, b"v", mib)
            assert line_of(s) == b"STORED\r\n"
        before = resident(daemon, "RssAnon")
        for _ in range(3):
            s = stack.enter_context(patient(rig))
            s.sendall(b"get v\r\n" * 8)
        e2e.wait_until(lambda: resident(daemon, "RssAnon") - before > 2 * mib * MIB, 20,
                       "what readers do not take is kept for them")
        with hardly_noticed(rig, "three readers that do not read"):
            time.sleep(1)
        held = resident(daemon, "RssAnon") - before
        print(f"# three readers hold {held / MIB:.0f} MiB")
        assert held < 3 * (mib + 2) * MIB, held
        # nothing of the log is theirs: the value goes, and its room takes others
        with patient(rig) as s:
            for number in range(LIMIT_MIB // VALUE_MIB + 1):
                send_value(s, b"w%d" % number, VALUE_MIB)
                assert line_of(s) == b"STORED\r\n"
        stack.close()
        e2e.wait_until(lambda: resident(daemon, "RssAnon") - before < mib * MIB, 20,
                       "what was kept goes with the reader")
        daemon.stop()


def what_is_still_being_copied_outlives_its_value():
    """A reply is copied over many turns; in those the value goes, and eight writers take its room
    faster than it is copied."""
    mib, rounds, writers = 160, 3, 8
    others = b"".join(b"set other%d 0 0 1000 noreply\r\n%s\r\n" % (n, b"o" * 1000)
                      for n in range(24 * MIB // 1000))
    with e2e.Rig("lo") as rig, contextlib.ExitStack() as stack:
        daemon = e2e.Daemon(rig, "--no-fastpath", "-I", "200m", "-t", "1", memory=512)
        s = stack.enter_context(patient(rig))
        crowd = [stack.enter_context(patient(rig)) for _ in range(writers)]
        with concurrent.futures.ThreadPoolExecutor(writers) as pool:
            for number in range(rounds):
                for _ in range(1 if number else 3):  # full: others take what was the value's
                    list(pool.map(lambda writer: writer.sendall(others), crowd))
                sent = send_value(s, b"v", mib)
                assert line_of(s) == b"STORED\r\n"
                with patient(rig) as reader:
                    reader.sendall(b"get v\r\n")
                    assert reader.recv(1) == b"V"
                    s.sendall(b"delete v\r\n")
                    list(pool.map(lambda writer: writer.sendall(others), crowd))
                    assert line_of(s) == b"DELETED\r\n"
                    assert line_of(reader) == b"ALUE v 0 %d\r\n" % (mib * MIB), number
                    assert rest_of_value(reader, mib) == sent, number
        daemon.stop()


def what_is_still_being_copied_goes_with_its_client():
    """And the memory behind it is freed: it would stop all reclaim, and soon all writes."""
    mib = 20
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--no-fastpath", "-I", "24m", "-t", "1", memory=128)
        with patient(rig) as writer:
            for _ in range(6):
                send_value(writer, b"v", mib)
                assert line_of(writer) == b"STORED\r\n"
                with patient(rig) as reader:
                    reader.sendall(b"get v\r\n")
                    assert reader.recv(1) == b"V"
        daemon.stop()


sys.exit(e2e.main([
    a_value_streams_in_and_out_beside_others,
    a_value_over_the_limit_is_refused_and_read_past,
    half_an_upload_is_dropped_and_its_room_comes_back,
    readers_that_stop_hold_one_reply_each_until_they_go,
    what_is_still_being_copied_outlives_its_value,
    what_is_still_being_copied_goes_with_its_client,
]))
