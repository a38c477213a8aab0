#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Clients that share a key by memcached's leases compute each of its values once, however many come
at once: after a miss, near the end of its time, and after an invalidation, while the others get
the value that is there; a winner that was overtaken leaves a stale value, and one that dies is
replaced when its lease ends.

Method: threads with a connection each against a real server; the computation counts itself."""

import socket
import sys
import threading
import time

import servers
import tap

SERVER = None
CLIENTS = 24


class Meta:
    """A client of the meta commands: a request's return code, flags by letter, value."""

    def __init__(self):
        self.sock = socket.create_connection(SERVER.address, timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def ask(self, line, value=None):
        text = line.encode() + b"\r\n"
        if value is not None:
            text += value + b"\r\n"
        self.sock.sendall(text)
        words = self.file.readline().decode().split()
        value = None
        if words[0] == "VA":
            value = self.file.read(int(words.pop(1)) + 2)[:-2]
        return words[0], {w[0]: w[1:] for w in words[1:]}, value

    def close(self):
        self.file.close()
        self.sock.close()


class Source:
    """What is cached: each value takes a while, and says which computation it was."""

    def __init__(self):
        self.count = 0
        self.lock = threading.Lock()

    def compute(self):
        with self.lock:
            self.count += 1
            number = self.count
        time.sleep(0.1)
        return b"value %d" % number


def read_through(client, source, key):
    """The value, computed by whoever wins; others take what is there, or wait for the first."""
    while True:
        code, flags, value = client.ask(f"mg {key} v c N30 R10")
        assert code == "VA", code
        if "W" in flags:
            value = source.compute()
            code, _, _ = client.ask(f"ms {key} {len(value)} T100 I C{flags['c']}", value)
            assert code == "HD", code
            return value
        if value:
            return value
        assert "Z" in flags
        time.sleep(0.005)


def stampede(source, key):
    """What CLIENTS clients at once get."""
    values, failures = [], []
    gate = threading.Barrier(CLIENTS)

    def run():
        client = Meta()
        try:
            gate.wait()
            values.append(read_through(client, source, key))
        except Exception as error:  # reported by the main thread
            failures.append(error)
        client.close()

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return values


def miss_is_computed_once():
    for number in range(10):
        source = Source()
        assert stampede(source, f"miss{number}") == [b"value 1"] * CLIENTS
        assert source.count == 1


def stale_value_is_served_while_one_computes():
    client = Meta()
    source = Source()
    stampede(source, "stale")
    for number in range(2, 8):
        assert client.ask("md stale I")[0] == "HD"
        values = stampede(source, "stale")
        assert source.count == number
        assert sorted(set(values)) == [b"value %d" % (number - 1), b"value %d" % number]
        assert values.count(b"value %d" % number) == 1
    client.close()


def value_is_renewed_once_before_its_end():
    client = Meta()
    source = Source()
    assert client.ask("ms early 3 T9", b"old")[0] == "HD"
    values = stampede(source, "early")
    assert source.count == 1 and values.count(b"value 1") == 1
    assert values.count(b"old") == CLIENTS - 1
    assert int(client.ask("mg early t")[1]["t"]) > 90
    client.close()


def overtaken_winner_leaves_a_stale_value():
    slow, other = Meta(), Meta()
    _, flags, _ = slow.ask("mg late v c N30")
    assert "W" in flags
    assert other.ask("md late I")[0] == "HD"
    assert slow.ask(f"ms late 3 I C{flags['c']}", b"old")[0] == "HD"
    _, flags, value = other.ask("mg late v c")
    assert value == b"old" and "X" in flags and "W" in flags
    assert other.ask(f"ms late 3 I C{flags['c']}", b"new")[0] == "HD"
    assert other.ask("mg late v") == ("VA", {}, b"new")
    slow.close()
    other.close()


def dead_winner_is_replaced_when_its_lease_ends():
    first, second = Meta(), Meta()
    assert "W" in first.ask("mg dead v N1")[1]
    first.close()
    assert "Z" in second.ask("mg dead v N1")[1]
    time.sleep(1.3)
    assert "W" in second.ask("mg dead v N1")[1]
    second.close()


TESTS = [
    miss_is_computed_once,
    stale_value_is_served_while_one_computes,
    value_is_renewed_once_before_its_end,
    overtaken_winner_leaves_a_stale_value,
    dead_winner_is_replaced_when_its_lease_ends,
]

if __name__ == "__main__":
    with servers.start_ours() as SERVER:
        STATUS = tap.run(TESTS)
        if STATUS:
            print("# " + SERVER.output().replace("\n", "\n# "))
    sys.exit(STATUS)
