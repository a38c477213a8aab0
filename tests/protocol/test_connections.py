#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Connections are bounded in number and memory, fair to each other, and answered to the last byte;
UDP answers only whom it may, from the address it was asked at.

Method: a real server and clients that misbehave: too many, slow to read, slow to write, endless,
half closed, gone."""

import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import servers
import tap


class Client:
    """A stream with line and count reads."""

    def __init__(self, address, family=socket.AF_INET, receive_buffer=0):
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(20)
        self.sock.connect(address)
        self.file = self.sock.makefile("rb", buffering=65536)

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, data):
        self.send(data)
        return self.file.readline()

    def read(self, count):
        data = self.file.read(count)
        assert len(data) == count, f"closed after {len(data)} of {count} bytes"
        return data

    def stats(self):
        self.send(b"stats\r\n")
        stats = {}
        while True:
            line = self.file.readline()
            if line == b"END\r\n":
                return stats
            _, name, value = line.split(b" ", 2)
            stats[name.decode()] = value.strip().decode()

    def store(self, key, value):
        reply = self.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
        assert reply == b"STORED\r\n", reply

    def close(self):
        self.file.close()
        self.sock.close()


def item(key, value):
    return b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value)


def resident_bytes(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def join(address):
    """A client that is served. One that is gone already, such as whoever looked whether the server
    is up, holds its place until a thread has noticed."""
    deadline = time.monotonic() + 5
    while True:
        client = Client(address)
        if client.ask(b"version\r\n").startswith(b"VERSION"):
            return client
        assert time.monotonic() < deadline


def connection_over_the_limit_is_refused_and_counted():
    with servers.start_ours("-c", "4") as server:
        clients = [join(server.address) for _ in range(4)]
        before = int(clients[0].stats()["rejected_connections"])
        extra = Client(server.address)
        assert extra.file.read() == b"ERROR Too many open connections\r\n"
        assert int(clients[0].stats()["rejected_connections"]) == before + 1
        assert clients[0].stats()["curr_connections"] == "4"
        clients.pop().close()
        deadline = time.monotonic() + 5
        while clients[0].stats()["curr_connections"] != "3":
            assert time.monotonic() < deadline
        join(server.address)


def too_few_descriptors_lower_the_limit_and_everybody_is_served_or_told():
    """Four threads that would all want the last descriptor, again and again."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="xcn") as folder:
        command = ["prlimit", "--nofile=120:120", os.path.join(servers.BUILD, "xdpcached"),
                   "-c", "999", "-p", str(port), "-l", "127.0.0.1", "-u", "root", "-t", "4",
                   "--no-fastpath", "--control", os.path.join(folder, "c")]
        # not root in all things: it must not raise its own limit
        command = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps",
                   "-sys_resource"] + command
        with servers.Server(command, port) as server:
            refused = 0
            for turn in range(20):
                clients = [Client(server.address) for _ in range(150)]
                for client in clients:
                    client.sock.settimeout(5)
                    client.sock.sendall(b"version\r\n")
                for number, client in enumerate(clients):
                    try:
                        line = client.file.readline()
                    except ConnectionResetError:
                        line = b""  # told, and the word got lost with what it had sent
                    refused += not line.startswith(b"VERSION")
                    assert line.startswith((b"VERSION", b"ERROR Too")) or not line, (number, line)
                for client in clients:
                    client.close()
            assert refused > 500, refused
            stats = join(server.address).stats()
            assert stats["listen_disabled_num"] == "0" and stats["max_connections"] != "999", stats
            assert f"at most {stats['max_connections']} connections, not -c 999" in server.output()
        command[command.index("--nofile=120:120")] = "--nofile=50:50"
        refused = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert refused.returncode == 1 and "too few for one connection" in refused.stderr, refused


def pipeline_longer_than_a_turn_yields_and_keeps_order():
    with servers.start_ours() as server:
        client = Client(server.address)
        client.store(b"a", b"x" * 100)
        requests = b"".join(b"incr n%d 1\r\nget a\r\n" % i for i in range(2000))
        threading.Thread(target=client.send, args=(requests,)).start()
        want = (b"NOT_FOUND\r\n" + item(b"a", b"x" * 100) + b"END\r\n") * 2000
        assert client.read(len(want)) == want
        assert int(client.stats()["conn_yields"]) >= 100


def request_byte_by_byte_is_answered():
    with servers.start_ours() as server:
        client = Client(server.address)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"set a 0 0 20\r\n" + b"v" * 20 + b"\r\nget a\r\n":
            client.send(bytes([byte]))
            time.sleep(0.001)
        want = b"STORED\r\n" + item(b"a", b"v" * 20) + b"END\r\n"
        assert client.read(len(want)) == want


# The largest at -I 1m, with memcached's own bytes about it and a key of one byte.
VALUE_MAX = (1 << 20) - 60


def large_values_cut_anywhere_come_back_whole():
    rng = random.Random(int(os.environ.get("XC_TEST_SEED", "11")))
    with servers.start_ours() as server:
        client = Client(server.address)
        for size in (16383, 16384, 16385, 65535, 65536, 65537, 200000, VALUE_MAX):
            value = rng.randbytes(size)
            data = b"set a 0 0 %d\r\n%s\r\nget a\r\n" % (size, value)
            at = 0
            while at < len(data):
                step = rng.choice([1, 100, 4096, 70000, 300000])
                client.send(data[at:at + step])
                at += step
            want = b"STORED\r\n" + item(b"a", value) + b"END\r\n"
            assert client.read(len(want)) == want, size


def multi_get_of_100000_keys_is_answered():
    with servers.start_ours() as server:
        client = Client(server.address)
        for key in range(0, 100000, 1000):
            client.store(b"key%d" % key, b"v%d" % key)
        line = b"get " + b" ".join(b"key%d" % key for key in range(100000)) + b"\r\n"
        threading.Thread(target=client.send, args=(line,)).start()
        want = b"".join(item(b"key%d" % k, b"v%d" % k) for k in range(0, 100000, 1000)) + b"END\r\n"
        assert client.read(len(want)) == want
        # the line's own memory is not kept
        assert client.ask(b"version\r\n").startswith(b"VERSION")


def endless_line_takes_no_memory():
    with servers.start_ours() as server:
        before = resident_bytes(server)
        client = Client(server.address)
        piece = b"get " + b"k" * 100 + b" "
        client.send(piece)
        for _ in range(240):
            client.send((b"k" * 100 + b" ") * 1000)  # 30 MB of keys, no line end
        client.send(b"\r\n")
        assert client.file.readline() == b"END\r\n"
        assert resident_bytes(server) - before < 8 << 20


def slow_reader_is_not_read_from_and_holds_little_memory():
    with servers.start_ours() as server:
        other = Client(server.address)
        value = b"v" * VALUE_MAX
        other.store(b"a", value)
        before = resident_bytes(server)
        slow = Client(server.address, receive_buffer=4096)
        slow.sock.setblocking(False)
        sent = 0
        try:
            for _ in range(100000):
                sent += slow.sock.send(b"get a\r\n" * 1000)
        except BlockingIOError:
            pass
        time.sleep(0.5)
        assert other.ask(b"version\r\n").startswith(b"VERSION")
        # one reply kept, and what its connection needs; the kernel's buffers are not ours
        assert resident_bytes(server) - before < 8 << 20, resident_bytes(server) - before
        # meanwhile the item goes: what was begun must still come whole
        other.store(b"a", b"w" * VALUE_MAX)
        slow.sock.setblocking(True)
        first = slow.read(len(item(b"a", value)) + 5)
        assert first == item(b"a", value) + b"END\r\n"
        slow.close()
        assert other.ask(b"version\r\n").startswith(b"VERSION")


def slow_reader_gets_every_reply_whole_while_the_store_churns():
    with servers.start_ours() as server:
        writer = Client(server.address)
        size, count = 200000, 60
        values = [bytes([65 + i % 26]) * size for i in range(count)]
        for i, value in enumerate(values[:20]):
            writer.store(b"k%d" % i, value)
        slow = Client(server.address, receive_buffer=4096)
        slow.send(b"".join(b"get k%d\r\n" % (i % 20) for i in range(count)))
        stop = threading.Event()
        errors = []

        def churn():
            # overwrites everything many times over: segments of old values are reused
            number = 0
            while not stop.is_set() and not errors:
                try:
                    writer.store(b"c%d" % (number % 500), b"z" * 150000)
                except (AssertionError, OSError) as error:
                    errors.append(error)
                number += 1

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for i in range(count):
                line = slow.file.readline()
                if line == b"END\r\n":
                    continue  # evicted before it was asked for
                assert line == b"VALUE k%d 0 %d\r\n" % (i % 20, size), line
                got = slow.read(size + 2)
                assert got == values[i % 20] + b"\r\n", f"foreign bytes in k{i % 20}"
                assert slow.file.readline() == b"END\r\n"
                time.sleep(0.01)
        finally:
            stop.set()
            thread.join()
        assert not errors, errors


def readers_that_take_nothing_leave_room_for_those_who_do():
    """What a thread keeps for its clients is bounded: 64 MiB with one. Who takes next to nothing
    for seconds loses it to those who read, and only then."""
    with servers.start_ours("-t", "1", "-m", "256") as server:
        other = Client(server.address)
        value = b"v" * VALUE_MAX
        other.store(b"a", value)
        stuck = []
        for _ in range(300):
            client = Client(server.address, receive_buffer=4096)
            client.send(b"get a\r\n" * 6)
            stuck.append(client)
        time.sleep(2.5)
        refused = int(other.stats()["conn_no_memory"])
        for number in range(20):  # not all of it fits the socket at once
            reader = Client(server.address, receive_buffer=4096)
            reader.send(b"get a\r\n" * 6)
            time.sleep(0.05)
            want = (item(b"a", value) + b"END\r\n") * 6
            assert reader.read(len(want)) == want, number
            reader.close()
        assert int(other.stats()["conn_no_memory"]) > refused, "nobody had to go"
        # Enough for those who came, no more.
        assert int(other.stats()["curr_connections"]) > 60, other.stats()["curr_connections"]


def reader_that_goes_on_reading_is_not_idle():
    with servers.start_ours("-o", "idle_timeout=2", "-I", "16m", "-m", "256") as server:
        value = b"v" * (15 << 20)
        slow = Client(server.address, receive_buffer=65536)
        slow.store(b"a", value)
        slow.send(b"get a\r\n")
        want = item(b"a", value) + b"END\r\n"
        got, start = 0, time.monotonic()
        while got < len(want):
            part = slow.read(min(1 << 20, len(want) - got))
            assert part == want[got:got + len(part)], got
            got += len(part)
            time.sleep(0.4)
        assert time.monotonic() - start > 5
        # Who was slow once is shown as what it is now.
        other = Client(server.address)
        other.send(b"stats conns\r\n")
        lines = list(iter(other.file.readline, b"END\r\n"))
        assert not any(b":state conn_mwrite" in line for line in lines), lines


def silent_uploads_leave_room_and_time_to_others():
    with servers.start_ours("-m", "16", "-t", "1") as server:
        silent = [Client(server.address) for _ in range(100)]
        for i, client in enumerate(silent):
            client.send(b"set silent%d 0 0 200000\r\n0123456789" % i)
        other = Client(server.address)
        longest = 0
        start = time.monotonic()
        for i in range(3000):
            before = time.monotonic()
            # 12 MB: goes round in what the silent ones do not hold
            other.store(b"k%d" % i, b"v" * 4000)
            want = item(b"k%d" % i, b"v" * 4000) + b"END\r\n"
            other.send(b"get k%d\r\n" % i)
            assert other.read(len(want)) == want
            longest = max(longest, time.monotonic() - before)
        print(f"# 3000 sets and gets in {time.monotonic() - start:.1f} s, longest {longest:.3f} s")
        assert longest < 1, longest
        # The share of uploads is taken; one more gets its word in time …
        before = time.monotonic()
        other.send(b"set large 0 0 300000\r\n" + b"w" * 300000 + b"\r\n")
        assert other.file.readline() == b"SERVER_ERROR out of memory storing object\r\n"
        assert time.monotonic() - before < 3
        # … and its room when the silent ones have been silent for too long.
        while int(other.stats()["upload_stalled"]) == 0:
            assert time.monotonic() - start < 20, "nobody was closed"
            time.sleep(0.2)
        other.store(b"large", b"w" * 300000)
        assert int(other.stats()["upload_waits"]) > 0
        # Who was refused is told, and goes on once the value is over.
        refused = [c for c in silent if select.select([c.sock], [], [], 0)[0]
                   and c.file.readline() == b"SERVER_ERROR out of memory storing object\r\n"]
        assert len(refused) > 50, len(refused)
        refused[0].send(b"x" * (200000 - 10) + b"\r\n")
        assert refused[0].ask(b"version\r\n").startswith(b"VERSION")


def cpu_sec(server):
    """What all its threads have run so far."""
    folder = f"/proc/{server.process.pid}/task"
    total = 0
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def upload_that_waits_for_room_costs_nothing():
    # The share of uploads is held by 20 who send no more; one has all its bytes there, and waits a
    # second. A worker that its bytes wake all the time would take a core, or its share of one.
    with servers.start_ours("-m", "16", "-t", "1") as server:
        silent = [Client(server.address) for _ in range(20)]
        for i, client in enumerate(silent):
            client.send(b"set silent%d 0 0 200000\r\n0123456789" % i)
        other = Client(server.address)
        other.store(b"a", b"v" * 10000)
        waits = int(other.stats()["upload_waits"])
        for ahead in (b"", b"get a\r\n" * 2000):
            # With replies ahead of it that are taken only now, and without.
            waiting = Client(server.address)
            if ahead:
                waiting.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            waiting.send(ahead + b"set w 0 0 300000\r\n" + b"w" * 100000)
            for _ in range(ahead.count(b"\n")):
                want = item(b"a", b"v" * 10000) + b"END\r\n"
                assert waiting.read(len(want)) == want
            waiting.send(b"w" * 100000)
            before = cpu_sec(server)
            assert waiting.file.readline() == b"SERVER_ERROR out of memory storing object\r\n"
            spent = cpu_sec(server) - before
            print(f"# {spent:.3f} s of processor time for a second of waiting")
            assert spent < 0.06, spent
            waits += 1
        assert int(other.stats()["upload_waits"]) == waits


def uploads_that_wait_for_room_all_get_it():
    with servers.start_ours("-m", "16", "-t", "2") as server:
        clients = [Client(server.address) for _ in range(24)]
        for i, client in enumerate(clients):
            client.send(b"set w%d 0 0 400000\r\n" % i + b"w" * 1000)
        for i, client in enumerate(clients):
            client.send(b"w" * 399000 + b"\r\n")
        for client in clients:
            assert client.file.readline() == b"STORED\r\n"
        assert int(clients[0].stats()["upload_waits"]) > 0
        assert int(clients[0].stats()["upload_stalled"]) == 0


def half_closed_client_gets_all_it_asked_for():
    with servers.start_ours() as server:
        client = Client(server.address)
        client.store(b"a", b"v" * 500000)
        client.send(b"get a\r\n" * 50)
        client.sock.shutdown(socket.SHUT_WR)
        want = (item(b"a", b"v" * 500000) + b"END\r\n") * 50
        assert client.file.read() == want


def client_gone_in_the_middle_of_a_value_leaves_no_item():
    with servers.start_ours() as server:
        for size in (10000, 500000):
            for _ in range(50):
                client = Client(server.address)
                client.send(b"set a 0 0 %d\r\n" % size + b"v" * (size - 1))
                client.close()
        client = Client(server.address)
        assert client.ask(b"get a\r\n") == b"END\r\n"
        deadline = time.monotonic() + 5
        while client.stats()["curr_connections"] != "1":
            assert time.monotonic() < deadline
        for i in range(100):  # the room they had reserved is there again
            client.store(b"b%d" % i, b"v" * 500000)


def idle_connection_is_closed_after_the_timeout():
    with servers.start_ours("-o", "idle_timeout=1") as server:
        client = Client(server.address)
        assert client.ask(b"version\r\n").startswith(b"VERSION")
        busy = Client(server.address)
        started = time.monotonic()
        while time.monotonic() - started < 3.5:
            assert busy.ask(b"version\r\n").startswith(b"VERSION")
            time.sleep(0.3)
        assert client.file.read() == b""
        assert int(busy.stats()["idle_kicks"]) >= 1


def unix_socket_serves_and_has_its_mode():
    with tempfile.TemporaryDirectory(prefix="xcu") as folder:
        path = os.path.join(folder, "s")
        command = [os.path.join(servers.BUILD, "xdpcached"), "-s", path, "-a", "0640", "-u", "root",
                   "-t", "2", "--no-fastpath", "--control", os.path.join(folder, "c")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not os.path.exists(path):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            assert os.stat(path).st_mode & 0o777 == 0o640
            clients = [Client(path, socket.AF_UNIX) for _ in range(10)]
            for i, client in enumerate(clients):
                client.store(b"k%d" % i, b"v" * 100000)
            for i, client in enumerate(clients):
                want = item(b"k%d" % i, b"v" * 100000) + b"END\r\n"
                client.send(b"get k%d\r\n" % i)
                assert client.read(len(want)) == want
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert not os.path.exists(path)


def port_in_use_is_an_error():
    with servers.start_ours() as server:
        command = [os.path.join(servers.BUILD, "xdpcached"), "-p", str(server.address[1])]
        command += ["-l", "127.0.0.1", "-u", "root", "--no-fastpath"]
        command += ["--control", os.path.join(tempfile.gettempdir(), "xc-none.sock")]
        result = subprocess.run(command, capture_output=True, timeout=20, check=False)
        assert result.returncode != 0
        assert b"in use" in result.stderr, result.stderr
        assert Client(server.address).ask(b"version\r\n").startswith(b"VERSION")


def what_cannot_be_listened_on_is_told_with_what_to_do():
    def said(*flags):
        run = subprocess.run([os.path.join(servers.BUILD, "xdpcached"), "-p", "0", *flags,
                              "--no-fastpath", "-u", "root", "--control", f"{folder}/c"],
                             capture_output=True, text=True, timeout=20, check=False)
        assert run.returncode == 1, (flags, run.stderr)
        return run.stderr

    port = ["-p", str(servers.free_port())]
    with tempfile.TemporaryDirectory(prefix="xcw") as folder:
        assert "ip -br addr" in said(*port, "-l", "192.0.2.1")
        many = ",".join(f"127.0.0.{n}" for n in range(1, 40))
        assert "name fewer addresses" in said(*port, "-l", many)
        for path, why in ((f"{folder}/none/s", "its folder is not there"), (folder, "in the way")):
            text = said("-s", path)
            assert why in text and "name another path with -s" in text, text


def stop_answers_what_has_arrived():
    server = servers.start_ours()
    try:
        clients = [Client(server.address) for _ in range(8)]
        clients[0].store(b"a", b"v" * 100000)
        for client in clients:
            client.send(b"get a\r\n" * 30)
        time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        want = (item(b"a", b"v" * 100000) + b"END\r\n") * 30
        for client in clients:
            assert client.file.read() == want
        assert server.process.wait(10) == 0
    finally:
        server.stop()


def stop_answers_all_who_wait_to_be_accepted():
    """More than are accepted in one turn."""
    server = servers.start_ours("-t", "1")
    try:
        server.process.send_signal(signal.SIGSTOP)
        clients = [Client(server.address) for _ in range(300)]
        for client in clients:
            client.send(b"get a\r\n")
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)
        for number, client in enumerate(clients):
            assert client.file.read() == b"END\r\n", number
        assert server.process.wait(10) == 0
    finally:
        server.stop()


def udp_client(family=socket.AF_INET):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(2)
    return sock


def udp_ask(sock, address, text):
    sock.sendto(struct.pack("!HHHH", 7, 0, 1, 0) + text, address)
    try:
        return sock.recv(65536)[8:]
    except socket.timeout:
        return None


def udp_source_not_allowed_gets_nothing():
    with servers.start_ours("--allow", "10.0.0.0/8") as server:
        with udp_client() as sock:
            sock.settimeout(0.3)
            assert udp_ask(sock, server.address, b"get a\r\n") is None
            assert udp_ask(sock, server.address, b"") is None
        assert Client(server.address).stats()["udp_refused"] == "2"


def udp_longest_of_several_networks_is_allowed():
    with servers.start_ours("--allow", "10.0.0.0/8", "--allow", "127.0.0.2/32") as server:
        for source, want in (("127.0.0.2", b"END\r\n"), ("127.0.0.3", None)):
            with udp_client() as sock:
                sock.settimeout(2 if want else 0.3)
                sock.bind((source, 0))
                assert udp_ask(sock, server.address, b"get a\r\n") == want, source


def udp_source_port_of_a_server_gets_nothing():
    with servers.start_ours() as server:
        with udp_client() as sock:
            sock.settimeout(0.3)
            sock.bind(("127.0.0.2", server.address[1]))
            assert udp_ask(sock, server.address, b"get a\r\n") is None


def udp_short_datagrams_are_counted_and_dropped():
    with servers.start_ours() as server:
        with udp_client() as sock:
            for length in range(9):
                sock.sendto(b"\0" * length, server.address)
            assert udp_ask(sock, server.address, b"get a\r\n") == b"END\r\n"
        assert Client(server.address).stats()["udp_malformed"] == "9"


def udp_burst_is_answered_each():
    with servers.start_ours() as server:
        Client(server.address).store(b"a", b"v" * 1000)
        with udp_client() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            for _ in range(20):
                for number in range(50):
                    head = struct.pack("!HHHH", number, 0, 1, 0)
                    sock.sendto(head + b"get a\r\n", server.address)
                seen = set()
                while len(seen) < 50:
                    data = sock.recv(65536)
                    assert data[8:] == item(b"a", b"v" * 1000) + b"END\r\n"
                    assert data[2:8] == b"\0\0\0\1\0\0"
                    seen.add(struct.unpack("!H", data[:2])[0])


def udp_reply_leaves_from_the_address_asked():
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="xcw") as folder:
        command = [os.path.join(servers.BUILD, "xdpcached"), "-p", str(port), "-U", str(port)]
        command += ["-u", "root", "-t", "2", "--no-fastpath"]
        command += ["--control", os.path.join(folder, "c")]
        with servers.Server(command, port):
            with udp_client() as sock:
                sock.connect(("127.0.0.9", port))  # takes datagrams from there alone
                sock.send(struct.pack("!HHHH", 7, 0, 1, 0) + b"get a\r\n")
                assert sock.recv(100)[8:] == b"END\r\n"
            if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
                with udp_client(socket.AF_INET6) as sock:
                    sock.connect(("::1", port))
                    sock.send(struct.pack("!HHHH", 7, 0, 1, 0) + b"get a\r\n")
                    assert sock.recv(100)[8:] == b"END\r\n"
                client = Client(("::1", port), socket.AF_INET6)
                client.store(b"a", b"6")
                assert client.ask(b"get a\r\n") == b"VALUE a 0 1\r\n"


TESTS = [
    connection_over_the_limit_is_refused_and_counted,
    too_few_descriptors_lower_the_limit_and_everybody_is_served_or_told,
    pipeline_longer_than_a_turn_yields_and_keeps_order,
    request_byte_by_byte_is_answered,
    large_values_cut_anywhere_come_back_whole,
    multi_get_of_100000_keys_is_answered,
    endless_line_takes_no_memory,
    slow_reader_is_not_read_from_and_holds_little_memory,
    slow_reader_gets_every_reply_whole_while_the_store_churns,
    readers_that_take_nothing_leave_room_for_those_who_do,
    reader_that_goes_on_reading_is_not_idle,
    silent_uploads_leave_room_and_time_to_others,
    upload_that_waits_for_room_costs_nothing,
    uploads_that_wait_for_room_all_get_it,
    half_closed_client_gets_all_it_asked_for,
    client_gone_in_the_middle_of_a_value_leaves_no_item,
    idle_connection_is_closed_after_the_timeout,
    unix_socket_serves_and_has_its_mode,
    port_in_use_is_an_error,
    what_cannot_be_listened_on_is_told_with_what_to_do,
    stop_answers_what_has_arrived,
    stop_answers_all_who_wait_to_be_accepted,
    udp_source_not_allowed_gets_nothing,
    udp_longest_of_several_networks_is_allowed,
    udp_source_port_of_a_server_gets_nothing,
    udp_short_datagrams_are_counted_and_dropped,
    udp_burst_is_answered_each,
    udp_reply_leaves_from_the_address_asked,
]

if __name__ == "__main__":
    only = sys.argv[1:]
    sys.exit(tap.run([t for t in TESTS if not only or any(word in t.__name__ for word in only)]))
