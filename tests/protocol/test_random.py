#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""xdpcached and memcached 1.6.18 answer the same random requests, well formed and not, with the
same bytes, however they are cut into packets.

Method: seeded scripts over few keys, so that requests meet; each script is sent to both servers on
its own connection, cut at random places, and ends in a marker whose answer ends the comparison.
cas uniques are taken from each server's own `gets`. XC_TEST_SEED repeats a run."""

import os
import random
import re
import socket
import sys
import time

import servers

SCRIPTS = 400
LONG_SCRIPTS = 20000
KEYS = [b"a", b"b", b"cc", b"key:4", b"k" * 250, b"k" * 251, b"n1", b"n2"]
NUMBERS = [b"0", b"1", b"5", b"99", b"-1", b"4294967295", b"x", b"", b"1x", b"007", b"+3",
           b"18446744073709551616", b"\t2"]
# No value of white space alone, and none from 2^63 on: memcached's incr then reads the memory
# behind the item (for a minus sign), and says what it finds there. Those are in cases/.
VALUES = [b"", b"x", b"abc", b"10", b"9", b"4294967295", b"1 ", b"-5", b"v" * 300,
          b"w" * 1000, b"a\r\nb", b"\r\nq", b"00012"]
LONG_VALUES = [b"z" * 20000, b"y" * 70000]
STORES = [b"set", b"add", b"replace", b"append", b"prepend"]
# Keys of their own, too: what text commands leave in a value is seen through mg, and the reverse.
META_KEYS = [b"a", b"b", b"cc", b"m1", b"m2", b"m2", b"Zm9v", b"k" * 251]
META_SHARE = 0.4
# No cas that could be one, no times that end soon, and nothing in which the two are known to differ
# (docs/protocol.md): E, x and C of mg are newer than 1.6.18, as are s of ms, its N, and quiet
# vivifying; l goes by other rules; exp of me counts backwards there.
META_FLAGS = {
    b"mg": [b"k", b"s", b"v", b"v", b"f", b"t", b"h", b"u", b"q", b"Oop1", b"N100", b"N0", b"R30",
            b"R4000", b"T100", b"T0", b"T5000", b"P/x", b"Lroute", b"Tx", b"z", b"I"],
    b"ms": [b"k", b"q", b"Oop2", b"F7", b"F4294967295", b"T100", b"T0", b"T5000", b"C1", b"C0",
            b"I", b"ME", b"MA", b"MP", b"MR", b"MS", b"MX", b"M", b"Tx", b"Fx", b"z", b"T-1"],
    b"md": [b"k", b"q", b"Oop3", b"I", b"I", b"T100", b"T5000", b"C1", b"C0"],
    b"ma": [b"k", b"Oop4", b"v", b"t", b"T100", b"T5000", b"N100", b"N0", b"J13", b"D5", b"MD",
            b"M-", b"M+", b"MI", b"MX", b"C1", b"C0"],
    b"me": [b"b", b"v"],
    b"mn": [b"x", b"v"],
}
META_WRONG = [b"!", b"\xff"]
END = b"MARKEREND"
TOO_LONG = b"CLIENT_ERROR line too long"


class Script:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, choices):
        return self.rng.choice(choices)

    def exptime(self):
        # No expiry in the seconds that the script takes: that would compare clocks.
        return self.pick([b"0", b"0", b"0", b"100", b"-1", b"5000", b"x", b"2592000"])

    def noreply(self):
        return self.pick([b"", b"", b"", b" noreply", b" noreply", b" noreplyx", b" "])

    def long_store(self):
        # Always well formed: memcached closes or does not close on a long line that is no command,
        # depending on how much of it has come.
        value = self.pick(LONG_VALUES)
        line = [self.pick(STORES), self.pick(KEYS[:4]), b"7", b"0", b"%d" % len(value)]
        return b" ".join(line) + self.pick([b"", b" noreply"]) + b"\r\n" + value + b"\r\n"

    def store(self):
        value = self.pick(VALUES)
        length = b"%d" % len(value)
        if self.rng.random() < 0.05:
            length = self.pick([b"-1", b"x", b"", b"3", b"0"])
        flags = self.pick([b"0", b"0", b"7", b"4294967295"] + NUMBERS[-6:])
        end = self.pick([b"\r\n"] * 30 + [b"\n", b"", b"\r", b"xx"])
        line = [self.pick(STORES), self.pick(KEYS), flags, self.exptime(), length]
        return b" ".join(line) + self.noreply() + b"\r\n" + value + end

    def meta(self):
        verb = self.pick([b"mg", b"mg", b"mg", b"ms", b"ms", b"md", b"ma", b"me none", b"mn"])
        key, flags = self.pick(META_KEYS), []
        if len(key) > 250 and verb in (b"ms", b"ma"):
            key = b"m1"
        for _ in range(self.rng.randrange(0, 6)):
            flags.append(self.pick(META_FLAGS[verb[:2]]))
        if key == b"Zm9v":
            # memcached forgets of some items that their key is binary.
            flags = [b"b"] + [f for f in flags if verb != b"mg" or f[:1] not in b"kN"]
        if verb == b"md" or self.rng.random() < 0.9:
            # Each letter once, or it is an error; md had another text for that.
            flags = list({flag[:1]: flag for flag in flags}.values())
        elif self.rng.random() < 0.5:
            flags.append(self.pick(META_WRONG))
        if verb != b"ms":
            return b" ".join([verb, key] + flags) + b"\r\n"
        value = self.pick(VALUES[:8])
        return b" ".join([verb, key, b"%d" % len(value)] + flags) + b"\r\n" + value + b"\r\n"

    def words(self):
        # Words that meet in no proper command.
        verb = self.pick([b"get", b"gets", b"incr", b"decr", b"touch", b"delete", b"gat", b"set",
                          b"flush_all", b"verbosity", b"cas", b"foo", b"GET", b"", b"g", b"mz",
                          b"cache_memlimit 1", b"shutdown", b"bget", b"stats foo"])
        count = self.rng.randrange(0, 8)
        words = [verb] + [self.pick(KEYS[:5] + NUMBERS + [b"noreply"]) for _ in range(count)]
        if verb in (b"flush_all", b"gat", b"touch"):
            words = [w for w in words if w not in (b"1", b"5", b"99", b"007", b"+3", b"\t2",
                                                   b"4294967295", b"18446744073709551615")]
        if verb == b"cas" or verb == b"gets":
            return b""
        return b" ".join(words) + self.pick([b"\r\n", b"\r\n", b"\n"])

    def command(self):
        key = self.pick(KEYS)
        kind = self.rng.random()
        if self.rng.random() < META_SHARE:
            return self.meta()
        if kind < 0.02:
            return self.long_store()
        if kind < 0.35:
            return self.store()
        if kind < 0.6:
            verb = self.pick([b"get", b"get", b"get", b"gat " + self.pick([b"0", b"100", b"-1"])])
            keys = [self.pick(KEYS[:4]) for _ in range(self.pick([1, 1, 1, 2, 3, 40]))]
            if self.rng.random() < 0.3:
                # Not the one that is too long: memcached loses the answers before such an error.
                keys.append(self.pick([k for k in KEYS if len(k) <= 250]))
            return verb + b" " + self.pick([b" ", b"  "]).join(keys) + b"\r\n"
        if kind < 0.75:
            verb = self.pick([b"incr ", b"decr "])
            return verb + key + b" " + self.pick(NUMBERS) + self.noreply() + b"\r\n"
        if kind < 0.83:
            return b"delete " + key + self.pick([b"", b"", b" 0", b" 5"]) + self.noreply() + b"\r\n"
        if kind < 0.88:
            return b"touch " + key + b" " + self.exptime() + self.noreply() + b"\r\n"
        if kind < 0.9:
            verb = self.pick([b"flush_all", b"flush_all 0", b"flush_all -1"])
            return verb + self.noreply() + b"\r\n"
        return self.words()

    def commands(self):
        return [self.command() for _ in range(self.rng.randrange(1, 40))]


def is_end(data):
    return data.endswith(b"VALUE " + END + b" 0 1\r\nx\r\nEND\r\n")


def converse(address, script, cuts):
    """What the server answers to the script, up to the marker or the end of the connection."""
    # A script may end inside a value: enough filler ends any, then the marker is stored and read.
    tail = b"\r\n" * 64 + b"set " + END + b" 0 0 1\r\nx\r\nget " + END + b"\r\n"
    answer = b""
    with socket.create_connection(address, timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = script + tail
        try:
            last = 0
            for cut in cuts + [len(data)]:
                sock.sendall(data[last:cut])
                last = cut
                if len(cuts) < 6:
                    time.sleep(0.0005)
            while not is_end(answer):
                part = sock.recv(65536)
                if not part:
                    return answer + b"<closed>"
                answer += part
            return answer
        except socket.timeout:
            return answer + b"<silent>"
        except (BrokenPipeError, ConnectionResetError):
            return answer + b"<closed>"


def clear(address):
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(b"flush_all\r\n")
        assert sock.recv(100) == b"OK\r\n"


def unpad(answer):
    """A number decr made shorter: memcached pads it with spaces, or not when an earlier answer of
    the same pipeline still holds the item."""
    return re.sub(rb"(VALUE \S+ \d+) \d+(\r\n\d+) *(?=\r\n)", rb"\1 ?\2", answer)


def untick(answer):
    """A time to live of which a second has passed since it was set, by one of the clocks."""
    return re.sub(rb" t(\d*99)(?=[ \r])", lambda m: b" t%d" % (int(m.group(1)) + 1), answer)


def compare(both, commands, cuts):
    """None, or how the servers' answers differ."""
    script = b"".join(commands)
    for server in both:
        clear(server.address)
    ours, stock = (converse(s.address, script, [c for c in cuts if c <= len(script)]) for s in both)
    # A value became a command line that never ends: memcached closes or not, depending on how much
    # of it has come, and loses the answers before it.
    if TOO_LONG in ours:
        return None
    ours, stock = untick(unpad(ours)), untick(unpad(stock))
    if ours == stock:
        return None
    pairs = enumerate(zip(ours, stock))
    at = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(stock)))
    near = slice(max(0, at - 80), at + 160)
    script = re.sub(rb"(.)\1{40,}", lambda m: b"{%c*%d}" % (m.group(1), len(m.group(0))), script)
    return (f"answers differ at byte {at}\n  script {script!r}\n  ours  {ours[near]!r}\n"
            f"  stock {stock[near]!r}")


def shrink(both, commands, cuts):
    """Leaves out whatever is not needed for the answers to differ."""
    step = len(commands) // 2
    while step:
        at = 0
        while at < len(commands):
            fewer = commands[:at] + commands[at + step:]
            if fewer and compare(both, fewer, cuts):
                commands = fewer
            else:
                at += step
        step //= 2
    return commands


def main():
    # The same scripts every time, so that a run says something of the change it tests; a long run
    # takes others (XC_TEST_SEED).
    seed = int(os.environ.get("XC_TEST_SEED", "0") or 0) or 20260101
    count = LONG_SCRIPTS if os.environ.get("XC_TEST_LONG") else SCRIPTS
    deadline = time.monotonic() + float(os.environ.get("XC_TEST_BUDGET_SEC", "120"))
    print(f"seed {seed}", flush=True)
    stock = servers.start_stock()
    if stock is None:
        print(f"SKIP: {servers.STOCK} is not installed")
        return 4
    done = commands = 0
    with stock, servers.start_ours() as ours:
        for number in range(count):
            rng = random.Random(seed * 1000003 + number)
            script = Script(rng).commands()
            size = sum(len(c) for c in script)
            cuts = sorted(rng.randrange(size + 1) for _ in range(rng.choice([0, 1, 3, 50])))
            both = (ours, stock)
            done += 1
            commands += len(script)
            reason = compare(both, script, cuts)
            if reason:
                print(f"script {number} of seed {seed}: {reason}")
                print(f"least: {compare(both, shrink(both, script, cuts), cuts)}")
                return 1
            if time.monotonic() > deadline:
                break
    print(f"{done} scripts, {commands} commands: same bytes")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
