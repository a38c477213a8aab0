#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What scripts, test harnesses and exporters around memcached rely on is there, and true.

Method: a real server each, started as they start it; then what they read is compared with what was
done to the server."""

import os
import socket
import subprocess
import sys
import tempfile
import time

import servers
import tap


def wait_for(what, found, seconds=20):
    """What found() returns, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {seconds} s")


def answers(port, kind):
    """A server of ours is at the port."""
    frame = b"\0\1\0\0\0\1\0\0" if kind == socket.SOCK_DGRAM else b""
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        client.send(frame + b"version\r\n")
        reply = client.recv(4096)
    return reply.startswith(frame + b"VERSION 1.6.18-xdpcache-")


def ports_of(*arguments):
    """(kind, family) -> port, of what a server with these arguments tells; they are asked, too."""
    with tempfile.TemporaryDirectory(prefix="xcp") as folder:
        path = os.path.join(folder, "ports")
        command = [os.path.join(servers.BUILD, "xdpcached"), "-t", "2", "-u", "root"]
        command += ["--no-fastpath", "--control", os.path.join(folder, "control.sock")]
        log = tempfile.TemporaryFile()
        process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "MEMCACHED_PORT_FILENAME": path},
            stdout=log,
            stderr=log,
        )
        try:
            wait_for("file of ports", lambda: process.poll() is not None or os.path.exists(path))
            assert process.poll() is None, servers.written(log)
            with open(path, encoding="ascii") as file:
                lines = [line.strip().split(": ") for line in file]
            assert os.listdir(folder).count("ports.lck") == 0, "the unfinished file is left"
            ports = {tuple(name.split(" ")): int(port) for name, port in lines}
            assert len(ports) == len(lines), lines
            for (kind, family), port in ports.items():
                if family == "INET":
                    stream = kind == "TCP"
                    assert answers(port, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        finally:
            process.terminate()
            process.wait(20)
    return ports


def ports_file_names_what_is_bound():
    """MEMCACHED_PORT_FILENAME: a line for each address, TCP and UDP apart, and none for what is
    off."""
    tcp, udp = servers.free_port(), servers.free_port()
    wanted = {("TCP", "INET"): tcp}
    assert ports_of("-l", "127.0.0.1", "-p", str(tcp)) == wanted
    wanted[("UDP", "INET")] = udp
    assert ports_of("-l", "127.0.0.1", "-p", str(tcp), "-U", str(udp)) == wanted
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        wanted[("TCP", "INET6")] = tcp
        wanted[("UDP", "INET6")] = udp
        both = ports_of("-l", "127.0.0.1,::1", "-p", str(tcp), "-U", str(udp))
        assert both == wanted, both


def ports_of_minus_one_are_free_ones():
    """-p -1 and -U -1: any free port, each its own; -U -1 alone moves TCP, too."""
    port = servers.free_port()
    ours = ("-l", "127.0.0.1")
    random = ports_of(*ours, "-p", "-1")
    assert list(random) == [("TCP", "INET")] and random[("TCP", "INET")] != 11211, random
    random = ports_of(*ours, "-U", "-1")
    assert sorted(random) == [("TCP", "INET"), ("UDP", "INET")], random
    assert 11211 not in random.values(), random
    random = ports_of(*ours, "-p", str(port), "-U", "-1")
    assert random[("TCP", "INET")] == port and random[("UDP", "INET")] > 0, random
    random = ports_of(*ours, "-p", "-1", "-U", str(port))
    assert random[("UDP", "INET")] == port and random[("TCP", "INET")] > 0, random


# What prometheus' memcached_exporter reads; op stands for each of OPERATIONS.
OPERATIONS = ("get", "delete", "incr", "decr", "cas", "touch")
GENERAL = """
    op_hits op_misses uptime time version cas_badval cmd_flush cmd_set rusage_user rusage_system
    bytes limit_maxbytes curr_items total_items bytes_read bytes_written curr_connections
    total_connections rejected_connections conn_yields listen_disabled_num evictions reclaimed
    store_too_large store_no_memory lru_crawler_starts direct_reclaims crawler_items_checked
    crawler_reclaimed moves_to_cold moves_to_warm moves_within_lru total_malloced accepting_conns
"""
# It looks for store_too_large and store_no_memory here, too, where memcached never has them.
ITEMS = """
    number age hits_to_hot hits_to_warm hits_to_cold hits_to_temp crawler_reclaimed evicted
    evicted_nonzero evicted_time evicted_unfetched expired_unfetched outofmemory reclaimed
    tailrepairs mem_requested moves_to_cold moves_to_warm moves_within_lru number_hot number_warm
    number_cold number_temp age_hot age_warm
"""
SLABS = """
    op_hits cas_badval cmd_set chunk_size chunks_per_page total_pages total_chunks used_chunks
    free_chunks free_chunks_end mem_requested
"""
# With a crawler it would read its settings, too.
SETTINGS = "maxconns lru_crawler"


class Client:
    def __init__(self, server):
        self.sock = socket.create_connection(server.address, timeout=20)
        self.file = self.sock.makefile("rb", buffering=65536)

    def ask(self, request, *wanted):
        """Sends it; its reply has these lines."""
        self.sock.sendall(request.replace(b"|", b"\r\n") + b"\r\n")
        for line in wanted:
            got = self.file.readline()
            assert got == line + b"\r\n", (request, line, got)

    def stats(self, kind="", inside=""):
        """name -> value; inside: of names that begin so, and without that beginning."""
        self.ask(f"stats {kind}".strip().encode())
        stats = {}
        while (line := self.file.readline()) != b"END\r\n":
            _, name, value = line.decode().rstrip("\r\n").split(" ", 2)
            assert name not in stats, f"{name} comes twice"
            if name.startswith(inside):
                stats[name[len(inside) :]] = value
        return stats

    def number(self, name, kind="", inside=""):
        return int(self.stats(kind, inside)[name])

    def fill(self, first, end, exptime=0, read=False):
        """Items of 4 KiB, each read once if that is asked for."""
        for start in range(first, end, 50):
            batch = b""
            for key in range(start, start + 50):
                batch += b"set fill%d 0 %d 4096\r\n%s\r\n" % (key, exptime, bytes(4096))
                batch += b"mg fill%d\r\n" % key if read else b""
            self.sock.sendall(batch)
            for _ in range(50):
                assert self.file.readline() == b"STORED\r\n"
                assert not read or self.file.readline() == b"HD\r\n"


def names(text):
    for name in text.split():
        yield from (name.replace("op_", f"{op}_") for op in OPERATIONS) if "op_" in name else [name]


def exporter_finds_every_field_with_its_value():
    """What memcached_exporter reads is there as a number, and counts what was done."""
    wanted = {"get_hits": 3, "get_misses": 1, "delete_hits": 1, "delete_misses": 2}
    wanted |= {"incr_hits": 2, "incr_misses": 1, "decr_hits": 1, "decr_misses": 3}
    wanted |= {"cas_hits": 1, "cas_misses": 1, "cas_badval": 2, "touch_hits": 1}
    wanted |= {"touch_misses": 1, "cmd_set": 6, "cmd_flush": 1, "store_too_large": 1}
    with servers.start_ours("-I", "1m") as server:
        client = Client(server)
        client.ask(b"flush_all", b"OK")
        client.ask(b"set n 0 0 1|5", b"STORED")
        client.ask(b"set gone 0 0 1|x", b"STORED")
        too_large = b"SERVER_ERROR object too large for cache"
        client.ask(b"set large 0 0 2000000|" + bytes(2000000), too_large)
        client.ask(b"get n n none", b"VALUE n 0 1", b"5", b"VALUE n 0 1", b"5", b"END")
        client.ask(b"delete gone|delete gone|delete gone", b"DELETED", b"NOT_FOUND", b"NOT_FOUND")
        client.ask(b"incr n 1|incr n 1|incr x 1", b"6", b"7", b"NOT_FOUND")
        client.ask(b"decr n 1|decr x 1|decr x 1|decr x 1", b"6", *[b"NOT_FOUND"] * 3)
        client.ask(b"mg n c")
        cas = client.file.readline().strip()[4:]
        client.ask(b"cas n 0 0 1 1|y|cas n 0 0 1 1|y", b"EXISTS", b"EXISTS")
        client.ask(b"cas none 0 0 1 1|y|cas n 0 0 1 %s|7" % cas, b"NOT_FOUND", b"STORED")
        client.ask(b"touch n 100|touch none 1", b"TOUCHED", b"NOT_FOUND")
        time.sleep(1.2)
        general, settings = client.stats(), client.stats("settings")
        items, slabs = client.stats("items", "items:1:"), client.stats("slabs", "1:")
    for place, stats, text in (
        ("stats", general, GENERAL),
        ("stats items", items, ITEMS),
        ("stats slabs", slabs, SLABS),
    ):
        for name in names(text):
            assert name in stats, f"{place} has no {name}"
            if name.startswith("rusage"):
                sec, usec = stats[name].split(".")
                assert int(sec) >= 0 and len(usec) == 6, stats[name]
            elif name != "version":
                assert float(stats[name]) >= 0, (name, stats[name])
    for name, value in wanted.items():
        assert int(general[name]) == value, (name, general[name], value)
    for name in names("op_hits cas_badval cmd_set"):
        assert int(slabs[name]) == wanted[name], (name, slabs[name])
    assert settings["maxconns"] == "1024" and settings["lru_crawler"] == "no", settings
    for count in general["curr_items"], items["number"], items["number_cold"], slabs["used_chunks"]:
        assert count == "1", count
    assert general["bytes"] == items["mem_requested"] == slabs["mem_requested"]
    assert items["hits_to_cold"] == general["get_hits"]
    assert 1 <= int(items["age"]) <= int(general["uptime"]) + 1, items["age"]


def expired_items_that_nobody_read_are_counted():
    """expired_unfetched: of the items whose time ran out, those that were not read since they were
    written."""
    with servers.start_ours() as server:
        client = Client(server)
        for key in b"abcde":
            client.ask(b"set %c 0 1 1|x" % key, b"STORED")
        client.ask(b"set kept 0 0 1|x", b"STORED")
        client.ask(b"get a", b"VALUE a 0 1", b"x", b"END")
        client.ask(b"gat 1 b", b"VALUE b 0 1", b"x", b"END")
        wait_for("expiry", lambda: client.number("reclaimed") == 5)
        assert client.number("expired_unfetched") == 3, client.stats()
        assert client.number("expired_unfetched", "items", "items:1:") == 3
        assert client.number("evicted_unfetched") == client.number("evictions") == 0


def evicted_items_that_nobody_read_are_counted():
    """evicted_unfetched is all of evictions if nothing is read and 0 if everything is;
    evicted_nonzero those with a TTL."""
    for exptime, read in ((0, False), (3600, True)):
        with servers.start_ours("-m", "16") as server:
            client = Client(server)
            client.fill(0, 8000, exptime, read)
            items = client.stats("items", "items:1:")
            evicted = int(items["evicted"])
            assert evicted > 1000, evicted
            assert int(items["evicted_unfetched"]) == (0 if read else evicted), items
            assert int(items["evicted_nonzero"]) == (evicted if exptime else 0), items
            if not read:
                assert client.number("evicted_unfetched") >= evicted


def evicted_time_is_what_the_last_one_was_left_alone_for():
    """The first items to be evicted from a log that was left alone for 2 s."""
    with servers.start_ours("-m", "16") as server:
        client = Client(server)
        client.fill(0, 1000)
        assert client.number("evicted_time", "items", "items:1:") == 0
        time.sleep(2.1)
        for first in range(1000, 8000, 50):
            client.fill(first, first + 50)
            if client.number("evictions"):
                break
        seconds = client.number("evicted_time", "items", "items:1:")
        assert 2 <= seconds <= client.number("uptime") + 1, seconds


def age_is_that_of_the_oldest_part_of_the_log():
    """Not the server's: nothing is there that was written before."""
    with servers.start_ours() as server:
        client = Client(server)
        time.sleep(2.1)
        client.ask(b"set a 0 0 1|x", b"STORED")
        start = time.monotonic()
        first = client.number("age", "items", "items:1:")
        assert first <= time.monotonic() - start + 1, first
        time.sleep(1.1)
        later = client.number("age", "items", "items:1:")
        assert 1 <= later <= time.monotonic() - start + 1, later


def memory_file_is_shown():
    """stats settings: memory_file is -e's, or (null) as memcached has it."""
    with servers.start_ours() as server:
        assert Client(server).stats("settings")["memory_file"] == "(null)"
    with tempfile.TemporaryDirectory(prefix="xcp", dir="/dev/shm") as folder:
        path = os.path.join(folder, "items")
        with servers.start_ours("-e", path) as server:
            assert Client(server).stats("settings")["memory_file"] == path



TESTS = [
    ports_file_names_what_is_bound,
    ports_of_minus_one_are_free_ones,
    exporter_finds_every_field_with_its_value,
    expired_items_that_nobody_read_are_counted,
    evicted_items_that_nobody_read_are_counted,
    evicted_time_is_what_the_last_one_was_left_alone_for,
    age_is_that_of_the_oldest_part_of_the_log,
    memory_file_is_shown,
]

if __name__ == "__main__":
    sys.exit(tap.run(TESTS))
