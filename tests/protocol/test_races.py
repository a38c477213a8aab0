#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The daemon's threads share nothing without an order.

Method: the whole daemon under the thread sanitizer (`make tsan-programs`), with TLS, routes and
four workers; for some seconds clients of every protocol write and read few keys, while others ask
for every kind of statistics, watch, list, change the limit of memory, reload routes and
certificates, pin keys, and come and go; at last a second daemon takes over under load. No report,
and every reply that is looked at is one of those it may be. The seed is printed; XC_TEST_SEED."""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import certificates
import servers
import tap

SECONDS = 6
KEYS = [b"app:%d" % i for i in range(40)] + [b"img:%d" % i for i in range(40)]
ROUTES = """routes = (
 {{ prefix = "app:"; ttl_jitter = {0}; promote = false; }},
 {{ prefix = "img:"; promote = true; }} );
"""
REPORT = "WARNING: ThreadSanitizer"


class Daemon(servers.Server):
    """build/tsan/xdpcached; its reports are in its output."""

    def __init__(self, folder, ports, *extra):
        self.tls, self.plain, self.control = ports[0], ports[1], f"{folder.path}/control.sock"
        command = [os.path.join(servers.BUILD, "tsan", "xdpcached"), "-m", "512", "-t", "4",
                   "-u", "root", "-p", str(self.plain), "-U", str(self.plain),
                   "-l", f"127.0.0.1:{self.tls},notls:127.0.0.1:{self.plain}",
                   "--control", self.control, "--config", f"{folder.path}/config",
                   *folder.options(), *extra]
        super().__init__(command, self.plain)
        deadline = time.monotonic() + servers.START_SEC
        while "main: ready" not in self.output():  # its port may still be another's
            assert time.monotonic() < deadline and self.process.poll() is None, self.output()
            time.sleep(0.02)


class Load:
    """Threads that each do one thing again and again until the time is over."""

    def __init__(self, daemon, folder, seed):
        self.daemon, self.folder, self.seed = daemon, folder, seed
        self.stop = threading.Event()
        self.errors, self.done, self.threads = [], {}, []
        self.moving = False  # a daemon is being replaced: connections may end

    def start(self, work, *args):
        name = f"{work.__name__}{args}"
        self.done[name] = 0

        def run():
            rng = random.Random(f"{self.seed} {name}")
            while not self.stop.is_set():
                try:
                    work(self, rng, *args)
                    self.done[name] += 1
                except (OSError, EOFError) as error:
                    if not self.moving:
                        self.errors.append(f"{name}: {error!r}")
                        return
                    time.sleep(0.02)
                except Exception as error:  # whatever it is, it is told
                    self.errors.append(f"{name}: {error!r}")
                    return

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, "\n".join(self.errors)
        idle = [name for name, times in self.done.items() if times == 0]
        assert not idle, f"never came round: {idle}"


class Stream:
    def __init__(self, load, tls=False):
        sock = socket.create_connection(("127.0.0.1", load.daemon.plain), timeout=20)
        if tls:
            sock.close()
            sock = socket.create_connection(("127.0.0.1", load.daemon.tls), timeout=20)
            sock = load.folder.context().wrap_socket(sock, server_hostname="localhost")
        self.sock, self.file = sock, sock.makefile("rb")

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the connection ended")
        return line

    def until(self, *ends):
        """Lines up to one that begins as one of these."""
        while True:
            line = self.line()
            if line.startswith(ends):
                return line

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
        self.sock.close()


def text_request(rng):
    key, size = rng.choice(KEYS), rng.choice([0, 5, 100, 1000, 1400, 20000])
    value = b"%s\r\n" % (b"7" * size)
    return rng.choice([
        b"set %s 0 0 %d\r\n" % (key, size) + value,
        b"set %s 3 1 %d\r\n" % (key, size) + value,
        b"add %s 0 0 %d\r\n" % (key, size) + value,
        b"append %s 0 0 5\r\n77777\r\n" % key,
        b"cas %s 0 0 1 %d\r\n7\r\n" % (key, rng.randrange(9999)),
        b"incr %s 3\r\n" % key,
        b"delete %s\r\n" % key,
        b"touch %s 100\r\n" % key,
        b"gat 50 %s\r\n" % key,
        b"gets %s\r\n" % b" ".join(rng.sample(KEYS, 10)),
        b"get %s\r\n" % key,
        b"get %s\r\n" % key,
        b"mg %s t f v h l\r\n" % key,
        b"ms %s 2 T9\r\n77\r\n" % key,
        b"md %s I\r\n" % key,
        b"ma %s N0 J5 v\r\n" % key,
    ])


def text(load, rng, tls):
    with Stream(load, tls) as stream:
        for _ in range(rng.randrange(1, 40)):
            stream.sock.sendall(b"".join(text_request(rng) for _ in range(20)) + b"mn\r\n")
            stream.until(b"MN")


def upload(load, rng):
    """Whole, in pieces, or given up half way."""
    with Stream(load) as stream:
        size = rng.choice([30000, 200000, 700000])
        stream.sock.sendall(b"set big:%d 0 0 %d\r\n" % (rng.randrange(6), size))
        for _ in range(10):
            stream.sock.sendall(b"u" * (size // 10))
        if rng.random() < 0.3:
            return
        stream.sock.sendall(b"\r\nget big:0\r\n")
        stream.until(b"END")


def binary(load, rng):
    with Stream(load) as stream:
        for _ in range(50):
            key = rng.choice(KEYS)
            if rng.random() < 0.5:
                extras, value = struct.pack("!II", 0, 60), b"8" * rng.randrange(900)
                opcode = 1
            else:
                extras, value, opcode = b"", b"", 0
            body = extras + key + value
            stream.sock.sendall(struct.pack("!BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0,
                                            len(body), 7, 0) + body)
            head = stream.file.read(24)
            if len(head) < 24:
                raise EOFError("the connection ended")
            stream.file.read(struct.unpack("!I", head[8:12])[0])


def datagram(load, rng):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        for number in range(50):
            request = b"get %s\r\n" % rng.choice(KEYS)
            if number % 5 == 0:
                request = b"set %s 0 0 1\r\n7\r\n" % rng.choice(KEYS)
            sock.sendto(struct.pack("!HHHH", number, 0, 1, 0) + request,
                        ("127.0.0.1", load.daemon.plain))
            try:
                sock.recv(65536)
            except socket.timeout:
                pass


def ask(load, rng):
    """What one worker asks of all the others."""
    with Stream(load) as stream:
        for request, ends in ((b"stats", b"END"), (b"stats conns", b"END"),
                              (b"stats settings", b"END"), (b"stats items", b"END"),
                              (b"stats slabs", b"END"), (b"stats routes", b"END"),
                              (b"stats memory", b"END"), (b"stats detail on", b"OK"),
                              (b"stats detail dump", b"END"), (b"stats reset", b"RESET"),
                              (b"stats detail off", b"OK"), (b"lru_crawler metadump all", b"END"),
                              (b"lru_crawler mgdump all", b"EN"), (b"refresh_certs", b"OK"),
                              (b"verbosity 0", b"OK"), (b"flush_all", b"OK"),
                              (b"flush_all 1", b"OK"), (b"stats cachedump 1 10", b"END"),
                              (b"cache_memlimit %d" % rng.choice([400, 512, 600, 900]), b"OK")):
            stream.sock.sendall(request + b"\r\n")
            stream.until(ends)
            time.sleep(0.01)


def watch(load, rng):
    with Stream(load) as stream:
        stream.sock.sendall(b"watch fetchers mutations evictions connevents deletions\r\n")
        stream.until(b"OK")
        for _ in range(rng.randrange(1, 200)):
            stream.line()


def idle(load, rng):
    """Comes, says half a word, and goes; under TLS in the middle of the handshake, too."""
    streams = [socket.create_connection(("127.0.0.1", port), timeout=5)
               for port in (load.daemon.plain, load.daemon.tls) * 10]
    for stream in streams:
        stream.sendall(rng.choice([b"", b"ge", b"\x16\x03\x01", b"set a 0 0 9\r\nab"]))
    time.sleep(0.05)
    for stream in streams:
        stream.close()


def command(load, rng):
    asked = load.daemon
    for words in (["stats"], ["hot", "list"], ["hot", "pin", "img:1"],
                  ["config", "show", "--effective"], ["hot", "unpin", "img:1"]):
        run = subprocess.run([os.path.join(servers.BUILD, "xdpcache"), *words, "--control",
                              load.daemon.control, "--json"], capture_output=True, timeout=30)
        if run.returncode == 0:
            json.loads(run.stdout)
        elif not load.moving and load.daemon is asked:  # pins are a daemon's own
            raise AssertionError((words, run.stderr))


def write_routes(folder, seconds):
    with open(f"{folder.path}/config.new", "w", encoding="ascii") as file:
        file.write(ROUTES.format(seconds))
    os.rename(f"{folder.path}/config.new", f"{folder.path}/config")


def reload(load, rng):
    write_routes(load.folder, rng.randrange(100))
    load.daemon.process.send_signal(signal.SIGHUP)
    time.sleep(0.05)


def quiet(daemon):
    status = daemon.stop()
    parts = daemon.output().split("==================\n")
    reports = [part for part in parts if REPORT in part]
    assert not reports, "\n".join(reports)
    assert status == 0, (status, parts[-1][-4000:])


def under_load(*flags):
    if not os.path.exists(os.path.join(servers.BUILD, "tsan", "xdpcached")):
        raise AssertionError("build/tsan/xdpcached is not there: make tsan-programs")
    seed = int(os.environ.get("XC_TEST_SEED", "5"))
    print(f"# seed {seed}")
    with tempfile.TemporaryDirectory(prefix="xcr") as path:
        folder = certificates.Folder(path)
        write_routes(folder, 10)
        ports = servers.free_port(), servers.free_port()
        first = Daemon(folder, ports, *flags)
        load = Load(first, folder, seed)
        try:
            for tls in (False, False, True):
                load.start(text, tls)
            for work in (upload, binary, datagram, ask, watch, idle, command, reload):
                load.start(work)
            time.sleep(SECONDS)
            load.moving = True
            load.daemon = second = Daemon(folder, ports, *flags, "--upgrade")
            quiet(first)
            load.moving = False
            time.sleep(1)
            load.moving = True  # the last one stops under load, too
            quiet(second)
        finally:
            load.stop.set()
            load.end()
            first.stop()
            load.daemon.stop()
        print("# " + ", ".join(f"{name} {times}" for name, times in load.done.items()))


def whole_daemon_under_load_shares_nothing_without_order():
    under_load("--no-fastpath")


def whole_daemon_with_fast_path_under_load_shares_nothing_without_order():
    """Promoter, writers and kernel entries, on lo."""
    if os.geteuid() != 0 or not os.path.ismount("/sys/fs/bpf"):
        raise tap.Skip("needs root and a bpf file system")
    place = ["--instance", f"races{os.getpid()}"]
    try:
        under_load("--interface", "lo", "--xdp-mode", "generic", "--hot-threshold", "1", *place)
    finally:
        subprocess.run([os.path.join(servers.BUILD, "xdpcache"), "unload", "--force", *place],
                       check=True, stdout=subprocess.DEVNULL, timeout=30)


if __name__ == "__main__":
    sys.exit(tap.run([whole_daemon_under_load_shares_nothing_without_order,
                      whole_daemon_with_fast_path_under_load_shares_nothing_without_order]))
