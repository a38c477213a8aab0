#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""watch tells what happens: every event of the kinds asked for, in memcached's words, without
holding anybody up.

Method: one connection watches while others work; stock memcached says the same of the same
requests."""

import os
import re
import resource
import select
import socket
import sys
import tempfile
import time

import servers
import tap

SERVER = None


class Client:
    def __init__(self, server=None, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(10)
        self.sock.connect((server or SERVER).address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def line(self):
        while b"\n" not in self.data:
            part = self.sock.recv(1 << 16)
            assert part, "the server closed the connection"
            self.data += part
        line, self.data = self.data.split(b"\n", 1)
        return line.rstrip(b"\r").decode()

    def ask(self, request, lines=1):
        self.sock.sendall(request)
        return [self.line() for _ in range(lines)]

    def stats(self):
        self.sock.sendall(b"stats\r\n")
        return dict(line.split()[1:3] for line in iter(self.line, "END"))

    def is_quiet(self):
        return not self.data and not select.select([self.sock], [], [], 0.3)[0]

    def close(self):
        self.sock.close()


def watcher(kinds, server=None):
    client = Client(server)
    assert client.ask(b"watch " + kinds + b"\r\n") == ["OK"]
    if server is not SERVER:
        time.sleep(0.3)  # memcached's threads hear of it a little later
    return client


def without_times(line):
    return re.sub(r"(ts=[0-9.]+ gid=\d+|cfd=\d+|rport=\d+|clsid=\d+) ?", "", line)


WORK = (b"set a 0 0 3\r\nabc\r\nget a\r\nget absent\r\nadd a 0 0 1\r\nx\r\n"
        b"replace absent 0 0 1\r\nx\r\nappend a 0 0 2\r\nde\r\ngets a absent\r\n"
        b"cas a 0 0 1 99999\r\nx\r\nset n 7 100 2\r\n10\r\ntouch n 50\r\n")
WORK_LINES = 14


def events_of(server, kinds, wanted):
    """The lines that the work makes; an event that is not ours ends it."""
    client = Client(server)
    watch = watcher(kinds, server)
    client.ask(WORK, WORK_LINES)
    client.ask(b"set end 0 0 0\r\n\r\n")
    lines = []
    while not any("key=end" in line for line in lines):
        lines.append(without_times(watch.line()))
    client.close()
    watch.close()
    return sorted(line for line in lines if wanted in line and "key=end" not in line)


def mutations_are_told_as_memcached_tells_them():
    ours = events_of(SERVER, b"mutations", "item_store")
    assert len(ours) == 6, ours
    stock = servers.start_stock()
    if not stock:
        raise tap.Skip("memcached is not installed")
    with stock:
        # What an append and a cas carry differs by the bytes memcached counts.
        assert [re.sub("size=.*", "", line) for line in ours] == [
            re.sub("size=.*", "", line)
            for line in events_of(stock, b"mutations", "item_store")]


def mutations_tell_the_time_the_item_has():
    """With a route's jitter in it; an append's is that of the item it is appended to."""
    with tempfile.TemporaryDirectory(prefix="xcp") as folder:
        path = os.path.join(folder, "routes.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write('routes = ( { prefix = "j:"; ttl_jitter = 5000; } );\n')
        with servers.start_ours("--config", path) as server:
            watch, client = watcher(b"mutations", server), Client(server)
            told = []
            for i in range(8):
                for verb, size in ((b"set", 1), (b"append", 2), (b"set", 100000)):
                    request = b"%s j:%d 0 10000 %d\r\n" % (verb, i, size)
                    assert client.ask(request + bytes(size) + b"\r\n") == ["STORED"]
                    told.append(int(re.search(r" ttl=(\d+) ", watch.line())[1]))
                    left = int(client.ask(b"mg j:%d t\r\n" % i)[0][4:])
                    assert abs(told[-1] - left) <= 1, (verb, size, told[-1], left)
            assert len(set(told)) > 4, told


def fetches_are_told_hit_or_miss():
    lines = events_of(SERVER, b"fetchers", "item_get")
    assert "type=item_get key=absent status=not_found size=0" in lines, lines
    assert "type=item_get key=a status=found size=3" in lines, lines
    assert "type=item_get key=a status=found size=5" in lines, lines


def watch_alone_means_fetchers():
    watch = watcher(b"")
    client = Client()
    client.ask(b"set quiet 0 0 1\r\nx\r\n")
    assert "type=item_get key=quiet status=" in watch.line()
    client.ask(b"delete quiet\r\n")
    assert "type=item_get key=quiet status=found" in watch.line() and watch.is_quiet()


def deletions_are_told():
    watch = watcher(b"deletions")
    client = Client()
    assert client.ask(b"set gone 0 0 1\r\nx\r\ndelete gone\r\ndelete gone\r\n", 3)[1] == "DELETED"
    assert re.search(r" type=deleted key=gone cmd=delete clsid=1 cfd=\d+$", watch.line())
    assert watch.is_quiet()


def keys_are_encoded():
    watch = watcher(b"deletions")
    client = Client()
    client.ask(b"set n,\xff# 0 0 1\r\nx\r\n")
    client.ask(b"delete n,\xff#\r\n")
    assert "key=n%2C%FF%23 " in watch.line()


def line_of(watch, client):
    """The next one of this connection: one of an earlier test may end late."""
    mine = f" rport={client.sock.getsockname()[1]} "
    while mine not in (line := watch.line()):
        pass
    return line


def connections_are_told():
    watch = watcher(b"connevents")
    client = Client()
    client.ask(b"version\r\n")
    client.sock.sendall(b"quit\r\n")
    assert re.search(r"type=conn_new rip=127\.0\.0\.1 rport=\d+ transport=tcp cfd=\d+$",
                     line_of(watch, client))
    assert re.search(r"type=conn_close rip=127\.0\.0\.1 rport=\d+ transport=tcp "
                     r"reason=normal cfd=\d+$", line_of(watch, client))
    client = Client()
    client.sock.sendall(b"GET / HTTP/1.1\r\n")
    assert "conn_new" in line_of(watch, client) and "reason=error" in line_of(watch, client)


def evictions_are_told():
    with servers.start_ours("-m", "16") as server:
        watch = watcher(b"evictions", server)
        client = Client(server)
        value = b"x" * 10000
        for i in range(4000):
            client.sock.sendall(b"set key%d 0 0 10000 noreply\r\n%s\r\n" % (i, value))
            if i % 100 == 0:
                client.ask(b"version\r\n")
        client.ask(b"version\r\n")
        line = watch.line()
        assert re.search(r" type=eviction key=key\d+ fetch=no ttl=-1 la=\d+ clsid=1 size=10000$",
                         line), line


def slow_watcher_loses_lines_and_holds_nobody_up():
    slow = Client(receive_buffer=4096)
    assert slow.ask(b"watch fetchers\r\n") == ["OK"]
    client = Client()
    line = b"get " + b"k" * 200 + b"\r\n"
    for _ in range(200):
        client.ask(line * 500, 500)
    stats = client.stats()
    assert int(stats["log_watcher_skipped"]) > 1000 and int(stats["log_watchers"]) >= 1, stats
    assert int(stats["log_watcher_sent"]) + int(stats["log_watcher_skipped"]) >= 100000
    deadline = time.monotonic() + 30
    seen = False
    while not seen:
        assert time.monotonic() < deadline
        client.ask(b"get after\r\n")
        for _ in range(200):
            if slow.line().startswith("skipped="):
                seen = True
                break
    slow.close()


def watcher_takes_no_requests():
    watch = watcher(b"deletions")
    watch.sock.sendall(b"get a\r\nversion\r\n")
    assert watch.is_quiet()


def watchers_are_bounded_and_come_back():
    watches = [watcher(b"deletions") for _ in range(20)]
    more = Client()
    assert more.ask(b"watch deletions\r\n") == ["WATCHER_TOO_MANY log watcher limit reached"]
    assert more.ask(b"version\r\n")[0].startswith("VERSION")
    for watch in watches:
        watch.close()
    deadline = time.monotonic() + 10
    while more.ask(b"watch deletions\r\n") != ["OK"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def watcher_costs_a_turn_nothing_for_those_who_are_idle():
    """The least of several rounds, with and without a watcher in turn: about the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10000, hard // 2 - 200)
    idle = []
    try:
        with servers.start_ours("-t", "1", "-c", str(count + 100)) as server:
            for _ in range(count):
                idle.append(socket.socket())
                idle[-1].connect(server.address)
            client = Client(server)

            def ping_sec():
                start = time.monotonic()
                for _ in range(500):
                    client.ask(b"mn\r\n")
                return time.monotonic() - start
            alone, watched = [], []
            ping_sec()
            for _ in range(7):
                alone.append(ping_sec())
                watching = watcher(b"evictions", server)
                watched.append(ping_sec())
                watching.close()
            print(f"# {count} idle: {min(alone) * 2000:.0f} us, watched {min(watched) * 2000:.0f}")
            assert min(watched) < 2 * min(alone), (alone, watched)
    finally:
        for sock in idle:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def watch_can_be_refused():
    with servers.start_ours("-W") as server:
        assert Client(server).ask(b"watch\r\n") == ["CLIENT_ERROR watch commands not allowed"]
    assert Client().ask(b"watch nothing\r\n") == ["ERROR"]


TESTS = [
    mutations_are_told_as_memcached_tells_them,
    mutations_tell_the_time_the_item_has,
    fetches_are_told_hit_or_miss,
    watch_alone_means_fetchers,
    deletions_are_told,
    keys_are_encoded,
    connections_are_told,
    evictions_are_told,
    slow_watcher_loses_lines_and_holds_nobody_up,
    watcher_takes_no_requests,
    watchers_are_bounded_and_come_back,
    watcher_costs_a_turn_nothing_for_those_who_are_idle,
    watch_can_be_refused,
]

if __name__ == "__main__":
    with servers.start_ours() as SERVER:
        STATUS = tap.run(TESTS)
    sys.exit(STATUS)
