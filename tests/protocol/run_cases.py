#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""run_cases.py - plays transcripts (cases/*.case) against a memcached server.

    tests/protocol/run_cases.py --server 127.0.0.1:11211 [--stock] [FILE...]

The same transcript runs unchanged against xdpcached and against stock memcached (--stock). A case:

    case set_then_get_returns_value     starts a case; the store is flushed before it
    > set a 5 0 3                       sends the line and CR LF
    >. get a                            sends just this, no line end
    < STORED                            expects exactly this line and CR LF
    <. abc                              expects exactly these bytes
    <~ VALUE a \\d+ 3 (?P<cas>\\d+)       expects a line that matches; names can be used later
    <end                                expects the server to close the connection
    <quiet                              expects nothing more before an answer to `version`
    ours < X / stock < X                expected from that server only; the reason stands above
    on 2                                goes on with connection number 2 (1 at first)
    udp                                 goes on over UDP: each > is one datagram's text (\\r\\n as
                                        written), each < the whole reply
    udpframe SEQ TOTAL                  frame header of the next datagrams (0 1 at first)
    wait 1200                           sleeps so many ms
    close                               closes the connection

In text, {c*N} is the byte c N times, {name} what an earlier <~ named, and \\r \\n \\0 \\t \\\\
\\xHH are bytes. Lines that start with # are comments. A `note` line says why something is done.
"""

import argparse
import os
import re
import socket
import ssl
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT_SEC = 5.0


class Mismatch(Exception):
    pass


class Stream:
    """A TCP connection, perhaps under TLS, that reads lines and counts of bytes."""

    def __init__(self, address, tls=None):
        self.sock = socket.create_connection(address, timeout=TIMEOUT_SEC)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.data = b""

    def send(self, text):
        try:
            self.sock.sendall(text)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass  # the read that follows says what the server did

    def more(self):
        try:
            part = self.sock.recv(65536)
        except socket.timeout:
            raise Mismatch(f"no answer within {TIMEOUT_SEC} s; so far {self.data!r}") from None
        except ConnectionResetError:
            return False
        self.data += part
        return bool(part)

    def take(self, count):
        while len(self.data) < count:
            if not self.more():
                raise Mismatch(f"closed after {self.data!r}")
        part, self.data = self.data[:count], self.data[count:]
        return part

    def line(self):
        while b"\r\n" not in self.data:
            if not self.more():
                raise Mismatch(f"closed after {self.data!r}")
        end = self.data.index(b"\r\n") + 2
        return self.take(end)

    def expect_end(self):
        while self.more():
            pass
        if self.data:
            raise Mismatch(f"before closing came {self.data[:200]!r}")

    def expect_quiet(self):
        self.send(b"version\r\n")
        line = self.line()
        if not line.startswith(b"VERSION "):
            raise Mismatch(f"expected nothing, got {line!r}")

    def close(self):
        self.sock.close()


class Datagrams:
    """memcached's UDP protocol; reassembles a reply from its datagrams."""

    def __init__(self, address):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(TIMEOUT_SEC)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.address = address
        self.request_id = 0x1234
        self.seq, self.total = 0, 1

    def send(self, text):
        self.request_id = (self.request_id + 1) & 0xFFFF
        head = struct.pack("!HHHH", self.request_id, self.seq, self.total, 0)
        self.sock.sendto(head + text, self.address)

    def reply(self):
        parts = {}
        while True:
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                raise Mismatch(f"no reply; datagrams so far: {sorted(parts)}") from None
            request_id, seq, total, reserved = struct.unpack("!HHHH", data[:8])
            if request_id != self.request_id:
                continue
            if reserved or seq >= total or seq in parts or (total > 1 and len(data) > 1400):
                raise Mismatch(f"bad frame: seq {seq} of {total}, {len(data)} bytes")
            parts[seq] = data[8:]
            if len(parts) == total:
                return b"".join(parts[i] for i in range(total))

    def expect_quiet(self):
        self.sock.settimeout(0.3)
        try:
            raise Mismatch(f"expected nothing, got {self.sock.recv(65536)!r}")
        except socket.timeout:
            pass
        self.sock.settimeout(TIMEOUT_SEC)

    def close(self):
        self.sock.close()


def expand(text, names):
    """Text of a case as bytes."""

    def part(match):
        body = match.group(1)
        if body in names:
            return names[body]
        repeat = re.fullmatch(r"(.|\\.)\*(\d+)", body)
        if repeat:
            return repeat.group(1) * int(repeat.group(2))
        return match.group(0)

    text = re.sub(r"\{([^{}]+)\}", part, text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


class Player:
    def __init__(self, address, stock, tls):
        self.address = address
        self.stock = stock
        self.tls = tls
        self.conns = {}
        self.names = {}
        self.use = 1
        self.udp = None
        self.over_udp = False

    def conn(self):
        if self.over_udp:
            if self.udp is None:
                self.udp = Datagrams(self.address)
            return self.udp
        if self.use not in self.conns:
            self.conns[self.use] = Stream(self.address, self.tls)
        return self.conns[self.use]

    def close(self):
        for conn in list(self.conns.values()) + ([self.udp] if self.udp else []):
            conn.close()

    def expect(self, kind, text):
        conn = self.conn()
        if kind == "<":
            want = expand(text, self.names) + (b"" if self.over_udp else b"\r\n")
            got = conn.reply() if self.over_udp else conn.take(len(want))
        elif kind == "<.":
            want = expand(text, self.names)
            got = conn.take(len(want))
        else:
            pattern = re.sub(r"\{(\w+)\}", lambda m: self.names.get(m.group(1), m.group(0)), text)
            got = conn.reply() if self.over_udp else conn.line()[:-2]
            match = re.fullmatch(pattern.encode("latin-1"), got, re.DOTALL)
            if not match:
                raise Mismatch(f"expected /{pattern}/, got {got[:300]!r}")
            self.names.update({k: v.decode("latin-1") for k, v in match.groupdict().items()})
            return
        if got != want:
            raise Mismatch(f"expected {want[:300]!r}, got {got[:300]!r}")

    def play(self, line):
        word, _, rest = line.partition(" ")
        if word in ("ours", "stock"):
            if (word == "stock") == self.stock:
                self.play(rest)
        elif word == ">":
            text = expand(rest, self.names)
            self.conn().send(text if self.over_udp else text + b"\r\n")
        elif word == ">.":
            self.conn().send(expand(rest, self.names))
        elif word in ("<", "<.", "<~"):
            self.expect(word, rest)
        elif word == "<end":
            self.conn().expect_end()
            del self.conns[self.use]
        elif word == "<quiet":
            self.conn().expect_quiet()
        elif word == "on":
            self.use, self.over_udp = int(rest), False
        elif word == "udp":
            self.over_udp = True
        elif word == "udpframe":
            self.conn().seq, self.conn().total = (int(x) for x in rest.split())
        elif word == "wait":
            time.sleep(int(rest) / 1000)
        elif word == "close":
            self.conn().close()
            del self.conns[self.use]
        elif word != "note":
            raise ValueError(f"no such step: {line}")


def read_cases(path):
    """Yields (name, [(line number, line)])."""
    name, steps = None, []
    with open(path, encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("case "):
                if name:
                    yield name, steps
                name, steps = line[5:].strip(), []
            else:
                steps.append((number, line))
    if name:
        yield name, steps


def run_case(address, stock, path, steps, tls=None):
    """None, or why the case failed."""
    player = Player(address, stock, tls)
    number = 0
    try:
        player.play("> flush_all")
        player.play("< OK")
        for number, line in steps:
            player.play(line)
        for conn in player.conns.values():
            conn.expect_quiet()
    except (Mismatch, OSError) as error:
        return f"{os.path.basename(path)}:{number}: {error}"
    finally:
        player.close()
    return None


def case_files():
    folder = os.path.join(HERE, "cases")
    return sorted(os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".case"))


def run_all(address, stock, files=None, tls=None):
    """Yields (name, reason or None) of each case."""
    for path in files or case_files():
        for name, steps in read_cases(path):
            yield name, run_case(address, stock, path, steps, tls)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--server", required=True, help="host:port")
    parser.add_argument("--stock", action="store_true", help="the server is memcached itself")
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    host, _, port = args.server.rpartition(":")
    count = failed = 0
    for path in args.files or case_files():
        for name, steps in read_cases(path):
            if args.only not in name:
                continue
            reason = run_case((host.strip("[]"), int(port)), args.stock, path, steps)
            count += 1
            failed += reason is not None
            print(f"{'not ok' if reason else 'ok'} {count} - {name}")
            if reason:
                print(f"# {reason}")
    print(f"1..{count}")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
