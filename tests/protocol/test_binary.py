#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""xdpcached and memcached 1.6.18 answer the same random binary requests, with wrong lengths among
them, with the same packets, however they are cut.

Method: seeded scripts over few keys, in stages; each stage is sent to both servers on connections
of their own, cut at random places, and ends in a noop whose reply ends the comparison, or in a
request that makes both hang up. A cas in a request is what that server's replies last told of the
key; in replies cas uniques are compared by the order in which they appear. XC_TEST_SEED repeats a
run.

Left out, as docs/protocol.md says: values over -I, verbosity, an unknown opcode with extras or key,
stat with a value, and the texts of version and stat."""

import os
import random
import socket
import struct
import sys
import time

import servers

SCRIPTS = 300
LONG_SCRIPTS = 20000
HEADER = struct.Struct(">BBHBBHIIQ")
(GET, SET, ADD, REPLACE, DELETE, INCR, DECR, QUIT, FLUSH, GETQ, NOOP, VERSION, GETK, GETKQ, APPEND,
 PREPEND, STAT, SETQ, ADDQ, REPLACEQ, DELETEQ, INCRQ, DECRQ, QUITQ, FLUSHQ, APPENDQ,
 PREPENDQ) = range(0x1B)
TOUCH, GAT, GATQ, LIST, AUTH, STEP, GATK, GATKQ = 0x1C, 0x1D, 0x1E, 0x20, 0x21, 0x22, 0x23, 0x24
GETS = [GET, GETQ, GETK, GETKQ]
GATS = [GAT, GATQ, GATK, GATKQ, TOUCH]
STORES = [SET, SETQ, ADD, ADDQ, REPLACE, REPLACEQ]
JOINS = [APPEND, APPENDQ, PREPEND, PREPENDQ]
ARITH = [INCR, INCRQ, DECR, DECRQ]
KEYS = [b"a", b"b", b"c c", b"\x00\xff\n", b"k" * 250, b"n1", b"n2"]
VALUES = [b"", b"x", b"10", b"9", b"18446744073709551615", b"abc\r\n", b"v" * 300, b"12 ", b"-5"]
LONG_VALUES = [b"z" * 20000, b"y" * 70000, b"w" * 600000]
TOO_LARGE = 1100000
TIMES = [0, 0, 0, 100, 2592000, 0xFFFFFFFE]
NUMBERS = [0, 1, 5, 99, 1 << 63, (1 << 64) - 1]
END = 0xE0D0E0D0


def packet(opcode, key=b"", extras=b"", value=b"", cas=0, opaque=0, lengths=None, magic=0x80):
    key_len, extras_len, body_len = lengths or (len(key), len(extras),
                                                len(key) + len(extras) + len(value))
    header = HEADER.pack(magic, opcode, key_len, extras_len, 0, 0, body_len, opaque, cas)
    return header + extras + key + value


class Request:
    """One request; its cas is known only when the stages before it are answered."""

    def __init__(self, opcode, key=b"", extras=b"", value=b"", cas=None, last=False, **wrong):
        self.opcode, self.key, self.extras, self.value = opcode, key, extras, value
        self.cas, self.last, self.wrong = cas, last, wrong

    def bytes(self, opaque, cas_of):
        cas = cas_of.get(self.key, 0) if self.cas == "told" else self.cas or 0
        return packet(self.opcode, self.key, self.extras, self.value, cas, opaque, **self.wrong)

    def __repr__(self):
        value = self.value if len(self.value) < 40 else b"%d bytes" % len(self.value)
        return (f"{self.opcode:#x} {self.key[:20]!r} {self.extras.hex()} {value!r} cas={self.cas} "
                f"{self.wrong}")


def cas_choice(rng):
    return rng.choice([None] * 6 + ["told", "told", 1])


def expiring(rng):
    return struct.pack(">I", rng.choice(TIMES))


def storing(rng):
    kind = rng.random()
    key, value = rng.choice(KEYS), rng.choice(VALUES)
    if kind < 0.04:
        value = rng.choice(LONG_VALUES)
    if rng.random() < 0.3:
        return Request(rng.choice(JOINS), key, b"", value, cas_choice(rng))
    extras = struct.pack(">I", rng.choice([0, 7, 0xFFFFFFFF])) + expiring(rng)
    return Request(rng.choice(STORES), key, extras, value, cas_choice(rng))


def counting(rng):
    expiry = rng.choice([0, 100, 0xFFFFFFFF, 0xFFFFFFFF])
    extras = struct.pack(">QQI", rng.choice(NUMBERS), rng.choice(NUMBERS), expiry)
    return Request(rng.choice(ARITH), rng.choice(KEYS), extras, cas=cas_choice(rng))


def other(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return Request(NOOP)
    if kind == 1:
        return Request(rng.choice([FLUSH, FLUSHQ]), extras=rng.choice([b"", b"\0\0\0\0"]))
    if kind == 2:
        return Request(STAT, rng.choice([b"nonsense", b"reset", b"cachedump 1 0"]))
    if kind == 3:
        opcode = rng.choice([0x1F, 0x25, 0x30, 0x80, 0xFF])
        return Request(opcode, value=rng.choice([b"", b"x" * 10, b"\x80" * 5000]))
    if kind == 4:
        return Request(rng.choice([AUTH, STEP]), b"PLAIN", value=rng.choice([b"", b"\0u\0p"]))
    if kind == 5:
        return Request(LIST)
    return Request(rng.choice([DELETE, DELETEQ]), rng.choice(KEYS), cas=cas_choice(rng))


def wrong(rng):
    """A request after which both hang up: no lengths of it can be trusted."""
    opcode = rng.choice(GETS + GATS + STORES + JOINS + ARITH +
                        [DELETE, QUIT, QUITQ, FLUSH, NOOP, VERSION, LIST, 0x30])
    kind = rng.randrange(6)
    if kind == 0:
        return Request(rng.choice([QUIT, QUITQ]), last=True)
    if kind == 1:
        return Request(opcode, b"a", magic=rng.choice([0, 0x81, 0x7F, 0x0A]), last=True)
    if kind == 2:  # a body shorter than key and extras: an underflow of the value's length
        key_len, extras_len = rng.choice([(1, 0), (250, 8), (5, 20), (300, 255), (8, 8)])
        body_len = rng.choice([0, 1, key_len + extras_len - 1]) % (key_len + extras_len)
        return Request(opcode, value=b"p" * (key_len + extras_len),
                       lengths=(key_len, extras_len, body_len), last=True)
    if kind == 3:  # longer than any key
        key = b"K" * rng.choice([251, 256, 1000])
        return Request(opcode, key, b"", b"", last=True)
    if kind == 4:  # extras that the opcode has not, more than any has
        opcode = rng.choice(GETS + STORES + JOINS + ARITH + [DELETE, FLUSH, NOOP])
        extras = b"e" * rng.choice([1, 3, 7, 9, 19, 21, 28, 255])
        return Request(opcode, b"a", extras, last=True)
    # no key where there must be one
    opcode, extras = rng.choice([(SET, b"e" * 8), (GET, b""), (DELETE, b""), (APPEND, b""),
                                 (INCR, b"e" * 20), (TOUCH, b"e" * 4), (AUTH, b"")])
    return Request(opcode, b"", extras, last=True)


def request(rng):
    kind = rng.random()
    if kind < 0.3:
        return storing(rng)
    if kind < 0.55:
        return Request(rng.choice(GETS), rng.choice(KEYS))
    if kind < 0.65:
        return Request(rng.choice(GATS), rng.choice(KEYS), expiring(rng))
    return counting(rng) if kind < 0.8 else other(rng)


def make_script(rng):
    stages = [[request(rng) for _ in range(rng.randrange(1, 20))]
              for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.4:
        # Alone: memcached loses the replies to what came in the same read as a wrong magic.
        stages.append([wrong(rng)])
    return stages


class Talk:
    """A connection and what its replies told."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, timeout=5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.cas_of, self.rank, self.waiting = {}, {}, b""
        self.opaque = 0

    def read(self, length):
        while len(self.waiting) < length:
            part = self.sock.recv(1 << 20)
            if not part:
                raise ConnectionResetError
            self.waiting += part
        taken, self.waiting = self.waiting[:length], self.waiting[length:]
        return taken

    def reply(self):
        magic, opcode, key_len, extras_len, kind, status, body_len, opaque, cas = HEADER.unpack(
            self.read(HEADER.size))
        body = self.read(body_len)
        extras, key = body[:extras_len], body[extras_len:extras_len + key_len]
        return magic, opcode, extras, key, kind, status, opaque, cas, body[extras_len + key_len:]

    def stage(self, requests, cuts):
        """Replies to the stage's requests; the last is a word where no noop was answered."""
        key_of, data, replies = {}, b"", []
        for one in requests:
            self.opaque += 1
            key_of[self.opaque] = one.key
            data += one.bytes(self.opaque, self.cas_of)
        if not requests[-1].last:
            data += packet(NOOP, opaque=END)
        try:
            last = 0
            for cut in [c for c in cuts if c < len(data)] + [len(data)]:
                self.sock.sendall(data[last:cut])
                last = cut
                time.sleep(0.0005 if len(cuts) < 6 else 0)
            while True:
                reply = self.reply()
                magic, opcode, extras, key, kind, status, opaque, cas, value = reply
                if opaque == END:
                    return replies
                if cas:
                    self.cas_of[key_of[opaque]] = cas
                    cas = self.rank.setdefault(cas, len(self.rank) + 1)
                if value.strip().isdigit():
                    value = value.rstrip(b" ")  # decr pads, or not: see docs/protocol.md
                replies.append((magic, opcode, extras, key, kind, status, opaque, cas, value))
        except socket.timeout:
            return replies + ["silent"]
        except (BrokenPipeError, ConnectionResetError):
            return replies + ["closed"]


def brief(reply):
    return reply if isinstance(reply, str) else reply[:-1] + (reply[-1][:60],)


def compare(both, stages, cuts):
    """None, or how the servers' answers differ."""
    talks = [Talk(server.address) for server in both]
    try:
        for talk in talks:
            assert talk.stage([Request(FLUSH)], []) == [(0x81, FLUSH, b"", b"", 0, 0, 1, 0, b"")]
        for number, stage in enumerate(stages):
            ours, stock = (talk.stage(stage, cuts) for talk in talks)
            if ours == stock:
                continue
            at = next((i for i, (a, b) in enumerate(zip(ours, stock)) if a != b),
                      min(len(ours), len(stock)))
            return (f"stage {number}, reply {at}\n  ours  {[brief(r) for r in ours[at:at + 2]]}\n"
                    f"  stock {[brief(r) for r in stock[at:at + 2]]}\n  {stage}")
    finally:
        for talk in talks:
            talk.sock.close()
    return None


def shrink(both, stages, cuts):
    """Leaves out whatever is not needed for the answers to differ."""
    for number, stage in enumerate(stages):
        at = 0
        while at < len(stage):
            fewer = stages[:number] + [stage[:at] + stage[at + 1:]] + stages[number + 1:]
            if fewer[number] and compare(both, fewer, cuts):
                stages, stage = fewer, fewer[number]
            else:
                at += 1
    return stages


def udp(server, *datagrams):
    """The payloads that come back within a moment, without their frames."""
    answers = []
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(server.address)
        for number, body in enumerate(datagrams):
            sock.send(struct.pack(">HHHH", number, 0, 1, 0) + body)
        sock.settimeout(0.5)
        try:
            while True:
                answer = sock.recv(65536)
                if len(answer) == 8:
                    continue  # memcached sends nothing in a frame where there is nothing to say
                assert answer[2:8] == struct.pack(">HHH", 0, 1, 0), answer
                answers.append((answer[:2], answer[8:]))
        except socket.timeout:
            return answers


def check_udp(ours, stock):
    """Reads over UDP are the same packets; what looks like a reply is never answered."""
    store = [Request(SET, b"u", struct.pack(">II", 9, 0), b"value"), Request(DELETE, b"v")]
    cas = struct.Struct(">Q")
    asked = [packet(GET, b"u", opaque=0x8080808), packet(GETK, b"v"),
             packet(NOOP, opaque=0x7070707), packet(TOUCH, b"u", b"\0\0\0\0"), packet(GETQ, b"v"),
             packet(INCR, b"n", struct.pack(">QQI", 1, 5, 0xFFFFFFFF))]
    answers = []
    for server in (ours, stock):
        talk = Talk(server.address)
        told = talk.stage(store, [])[0]
        assert told[:2] == (0x81, SET), told
        # memcached may answer from several threads, in any order
        answer = sorted(udp(server, *asked))
        unique = cas.pack(talk.cas_of[b"u"])
        answers.append([(number, body.replace(unique, b"<unique>")) for number, body in answer])
        talk.sock.close()
    assert len(answers[0]) == 5 and b"value" in answers[0][0][1], answers[0]
    assert answers[0] == answers[1], answers
    reply = packet(GET, b"", b"\0\0\0\0", b"x", magic=0x81)
    assert udp(ours, reply, packet(0x30, magic=0x81), b"\x81") == []
    together = udp(ours, packet(NOOP, opaque=1) + packet(NOOP, opaque=2))
    assert len(together) == 1 and len(together[0][1]) == 48, together
    assert udp(ours, packet(STAT))[0][1][6:8] == b"\0\x83", "stat over UDP is refused"


def check_too_large(ours):
    """A value over -I is refused and skipped, and a set takes the old value along. Against us
    alone: memcached 1.6.18, depending on how it comes, answers it and all behind it never."""
    value = b"t" * TOO_LARGE
    talk = Talk(ours.address)
    replies = talk.stage([Request(SET, b"old", b"\0" * 8, b"x"),
                          Request(SETQ, b"old", b"\0" * 8, value), Request(GETK, b"old"),
                          Request(APPENDQ, b"new", b"", value), Request(GETQ, b"new")], [])
    talk.sock.close()
    assert [(one[1], one[5], one[-1]) for one in replies] == [
        (SET, 0, b""), (SETQ, 3, b"Too large."), (GETK, 1, b""), (APPENDQ, 3, b"Too large.")], (
            [brief(one) for one in replies])


def check_protocols(address_of):
    """-B binary hangs up on text, memcached when there is as much of it as a header; -B ascii takes
    a binary request for a line."""
    for protocol, request, want in (("binary", b"version\r\n" * 4, b""),
                                    ("ascii", packet(VERSION) + b"\r\n", b"ERROR\r\n")):
        for start in address_of:
            with start("-B", protocol) as server:
                with socket.create_connection(server.address, timeout=5) as sock:
                    sock.sendall(request)
                    try:
                        answer = sock.recv(100)
                    except ConnectionResetError:
                        answer = b""
                    assert answer == want, (start, protocol, answer)


def main():
    seed = int(os.environ.get("XC_TEST_SEED", "0") or 0) or 20260102
    count = LONG_SCRIPTS if os.environ.get("XC_TEST_LONG") else SCRIPTS
    deadline = time.monotonic() + float(os.environ.get("XC_TEST_BUDGET_SEC", "120"))
    print(f"seed {seed}", flush=True)
    stock = servers.start_stock()
    if stock is None:
        print(f"SKIP: {servers.STOCK} is not installed")
        return 4
    done = requests = 0
    with stock, servers.start_ours() as ours:
        check_udp(ours, stock)
        check_too_large(ours)
        check_protocols((servers.start_ours, servers.start_stock))
        for number in range(count):
            rng = random.Random(seed * 1000003 + number)
            stages = make_script(rng)
            cuts = sorted(rng.randrange(3000) for _ in range(rng.choice([0, 1, 3, 50])))
            done += 1
            requests += sum(len(stage) for stage in stages)
            reason = compare((ours, stock), stages, cuts)
            if reason:
                print(f"script {number} of seed {seed}: {reason}")
                least = shrink((ours, stock), stages, cuts)
                print(f"least: {compare((ours, stock), least, cuts)}\n  {least}")
                return 1
            if time.monotonic() > deadline:
                break
    print(f"{done} scripts, {requests} requests: same replies")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
