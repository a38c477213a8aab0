#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lists of items hold every item that stays, in memcached's words, and hold nobody up.

Method: stats cachedump, lru_crawler metadump and mgdump of a store while others write to it; what
the lists say is compared with what was stored."""

import base64
import re
import socket
import sys
import threading
import time

import servers
import tap

SERVER = None


class Client:
    def __init__(self, server=None):
        self.sock = socket.create_connection((server or SERVER).address, timeout=10)
        self.file = self.sock.makefile("rb")

    def ask(self, request):
        self.sock.sendall(request)
        return self.file.readline()

    def lines(self, request, end):
        self.sock.sendall(request)
        lines = []
        while True:
            line = self.file.readline()
            if line == end:
                return lines
            assert line and not line.startswith(b"ERROR"), line
            lines.append(line)


def filled(count):
    client = Client()
    assert client.ask(b"flush_all\r\n") == b"OK\r\n"
    for i in range(count):
        client.sock.sendall(b"set key%d %d %d 3 noreply\r\nabc\r\n" % (i, i % 7, i % 2 * 1000))
    assert client.ask(b"version\r\n").startswith(b"VERSION")
    return client


def metadump_tells_of_every_item():
    client = filled(5000)
    client.lines(b"get key3\r\n", b"END\r\n")
    now = time.time()
    seen = {}
    for line in client.lines(b"lru_crawler metadump all\r\n", b"END\r\n"):
        words = dict(word.split("=") for word in line.decode().rstrip("\n").split(" "))
        assert list(words) == ["key", "exp", "la", "cas", "fetch", "cls", "size", "flags"], line
        seen[words["key"]] = words
    assert len(seen) == 5000
    for key, words in seen.items():
        i = int(key[3:])
        assert int(words["flags"]) == i % 7 and words["fetch"] == ("yes" if i == 3 else "no")
        assert (int(words["exp"]) == -1 if i % 2 == 0
                else abs(int(words["exp"]) - now - 1000) <= 5), words
        assert abs(int(words["la"]) - now) <= 5, words
    unique = re.search(rb"VALUE \S+ \d+ \d+ (\d+)", client.lines(b"gets key8\r\n", b"END\r\n")[0])
    assert seen["key8"]["cas"] == unique[1].decode()


def metadump_encodes_keys():
    client = filled(0)
    client.ask(b"set \xff,# 0 0 1\r\nx\r\n")
    assert client.lines(b"lru_crawler metadump hash\r\n", b"END\r\n")[0].startswith(
        b"key=%FF%2C%23 exp=-1 la=")


def metadump_tells_a_large_items_size():
    client = filled(0)
    client.ask(b"set large 0 0 200000\r\n" + b"v" * 200000 + b"\r\n")
    line = client.lines(b"lru_crawler metadump all\r\n", b"END\r\n")[0]
    size = int(re.search(rb" size=(\d+) ", line)[1])
    # with its own header and those of the segments it fills, but nothing counted twice
    assert 200000 + len("large") < size < 201000, line


def mgdump_gives_keys_to_ask_for():
    client = filled(300)
    binary = base64.b64encode(b"\0\1 key")
    assert client.ask(b"ms %s 1 b\r\nx\r\n" % binary) == b"HD\r\n"
    lines = client.lines(b"lru_crawler mgdump all\r\n", b"EN\r\n")
    assert b"mg %s b\r\n" % binary in lines and len(lines) == 301
    for line in lines:
        assert client.ask(line.replace(b"\r\n", b" t\r\n")).startswith(b"HD t")


def expired_items_are_not_listed():
    client = filled(0)
    client.ask(b"set short 0 1 1\r\nx\r\n")
    client.ask(b"set long 0 100 1\r\nx\r\n")
    time.sleep(1.3)
    lines = client.lines(b"lru_crawler metadump all\r\n", b"END\r\n")
    assert len(lines) == 1 and lines[0].startswith(b"key=long ")


def cachedump_obeys_its_limit():
    client = filled(1000)
    assert len(client.lines(b"stats cachedump 1 10\r\n", b"END\r\n")) == 10
    lines = client.lines(b"stats cachedump 1 0\r\n", b"END\r\n")
    assert len(lines) == 1000
    assert all(re.fullmatch(rb"ITEM key\d+ \[3 b; \d+ s\]\r\n", line) for line in lines)
    assert client.lines(b"stats cachedump 2 0\r\n", b"END\r\n") == []


def items_that_stay_are_listed_while_others_come_and_go():
    client = filled(20000)
    stop = threading.Event()

    def churn():
        other = Client()
        i = 0
        while not stop.is_set():
            for _ in range(100):
                other.sock.sendall(b"set other%d 0 0 3 noreply\r\nabc\r\ndelete other%d noreply\r\n"
                                   % (i, i - 50))
                i += 1
            other.ask(b"version\r\n")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(5):
            lines = client.lines(b"lru_crawler mgdump all\r\n", b"EN\r\n")
            keys = {line[3:-2] for line in lines}
            missing = [i for i in range(20000) if b"key%d" % i not in keys]
            assert not missing, missing[:5]
    finally:
        stop.set()
        thread.join()


def slow_reader_of_a_list_holds_nobody_up():
    filled(50000)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(SERVER.address)
    slow.sendall(b"lru_crawler metadump all\r\nversion\r\n")
    others = [Client() for _ in range(8)]
    begin = time.monotonic()
    for _ in range(500):
        for other in others:
            assert other.ask(b"delete absent\r\n") == b"NOT_FOUND\r\n"
    assert time.monotonic() - begin < 20
    slow.settimeout(10)
    got = b""
    while not re.search(rb"VERSION [^\r]*\r\n$", got):
        part = slow.recv(1 << 16)
        assert part
        got += part
    assert got.count(b"key=key") == 50000 and b"\nEND\r\nVERSION" in got


def lists_can_be_refused():
    with servers.start_ours("-X") as server:
        client = Client(server)
        assert client.ask(b"stats cachedump 1 0\r\n") == (
            b"CLIENT_ERROR stats cachedump not allowed\r\n")
        assert client.ask(b"lru_crawler metadump all\r\n") == b"ERROR metadump not allowed\r\n"
        assert client.ask(b"lru_crawler mgdump all\r\n") == b"ERROR key dump not allowed\r\n"


TESTS = [
    metadump_tells_of_every_item,
    metadump_encodes_keys,
    metadump_tells_a_large_items_size,
    mgdump_gives_keys_to_ask_for,
    expired_items_are_not_listed,
    cachedump_obeys_its_limit,
    items_that_stay_are_listed_while_others_come_and_go,
    slow_reader_of_a_list_holds_nobody_up,
    lists_can_be_refused,
]

if __name__ == "__main__":
    with servers.start_ours() as SERVER:
        STATUS = tap.run(TESTS)
    sys.exit(STATUS)
