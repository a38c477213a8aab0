# SPDX-License-Identifier: BSD-2-Clause
"""lab.py - two hosts and a wire (or one host and lo), a daemon, and a client that sees frames.

    +-- namespace xce<pid>-c --+              +-- namespace xce<pid>-s --+
    |  the test's sockets      |    veth      |  xdpcached               |
    |  10.99.0.2  fd99::2      | c <------> s |  10.99.0.1  fd99::1      |
    |  10.99.9.2 (stranger)    |              |  xc_fastpath on s        |
    +--------------------------+              +--------------------------+

The daemon's host sends with IP TTL 63; the fast path always with 64: that is how a frame tells who
answered. Everything carries the process id, and Lab's end checks that nothing is left.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))
import tap  # noqa: E402,F401 the protocol's tests have it; ours take it from here

BUILD = os.environ.get("XC_BUILD", "build")
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PORT = 11211
DAEMON_TTL = 63
KERNEL_TTL = 64
# not in every python's socket
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
IP_RECVTTL = 12
IPV6_RECVHOPLIMIT = 51


def run(*words, check=True, timeout=60):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True,
                          timeout=timeout)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, words))}: status {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done


@contextlib.contextmanager
def inside(namespace):
    """Sockets made within belong to the namespace for good."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        assert LIBC.setns(there.fileno(), CLONE_NEWNET) == 0, "setns"
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), CLONE_NEWNET) == 0, "setns back"


def wait_until(check, seconds=10, what="the condition"):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def free_pins(path):
    """Pins are files, so rmdir alone does not remove them."""
    shutil.rmtree(path, ignore_errors=True)


# --- checksums, byte by byte ---


def ones_sum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


class Datagram:
    """A UDP datagram as a frame on the wire has it."""

    def __init__(self, frame):
        self.frame = frame
        at = 14
        self.ok = False
        if len(frame) < 42:
            return
        if frame[12:14] == b"\x08\x00" and frame[14] == 0x45 and frame[23] == 17:
            self.ttl, self.src, self.dst = frame[22], frame[26:30], frame[30:34]
            total = struct.unpack(">H", frame[16:18])[0]
            self.ip_sum_right = ones_sum(frame[14:34]) == 0xffff
            at, end = 34, 14 + total
        elif frame[12:14] == b"\x86\xdd" and frame[20] == 17 and len(frame) >= 62:
            self.ttl, self.src, self.dst = frame[21], frame[22:38], frame[38:54]
            self.ip_sum_right = True
            at, end = 54, 54 + struct.unpack(">H", frame[18:20])[0]
        else:
            return
        self.ok = len(frame) >= at + 8
        if not self.ok:
            return
        self.sport, self.dport, self.length, self.sum = struct.unpack(">4H", frame[at:at + 8])
        self.payload = frame[at + 8:at + self.length]
        self.lengths_right = end == at + self.length and len(frame) >= end
        pseudo = self.src + self.dst + struct.pack(">II", self.length, 17)
        self.sum_right = self.sum != 0 and ones_sum(pseudo + frame[at:end]) == 0xffff


class Capture:
    """Frames that arrive at an interface, from start to stop."""

    def __init__(self, namespace, interface):
        with inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                        socket.htons(ETH_P_ALL))
            self.socket.bind((interface, ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.frames = []

    def take(self, seconds=0.2):
        """Datagrams from the port that came so far."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(OSError):
            while True:
                frame, address = self.socket.recvfrom(65536)
                if address[2] != socket.PACKET_OUTGOING:
                    self.frames.append(frame)
        datagrams = [Datagram(f) for f in self.frames]
        self.frames = []
        return [d for d in datagrams if d.ok and d.sport == PORT]

    def send(self, frame):
        self.socket.send(frame)

    def close(self):
        self.socket.close()


class Udp:
    """A memcached client over UDP: one question, one answer."""

    def __init__(self, namespace, server, source=None):
        self.family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with inside(namespace):
            self.socket = socket.socket(self.family, socket.SOCK_DGRAM)
            if source:
                self.socket.bind((source, 0))
            self.socket.connect((server, PORT))
        self.id = 0

    def send(self, text):
        self.id = (self.id + 1) & 0xffff
        self.socket.send(struct.pack(">4H", self.id, 0, 1, 0) + text)
        return self.id

    def take(self, wanted, seconds):
        """The whole reply to a request id, None when it does not come."""
        parts = {}
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, ConnectionRefusedError):
                continue
            request, seq, total, reserved = struct.unpack(">4H", data[:8])
            if request != wanted:
                continue
            assert reserved == 0 and seq < total and seq not in parts, data[:8]
            parts[seq] = data[8:]
            if len(parts) == total:
                return b"".join(parts[n] for n in range(total))

    def ask(self, text, seconds=5):
        return self.take(self.send(text), seconds)

    def close(self):
        self.socket.close()


class Tcp:
    def __init__(self, namespace, server):
        with inside(namespace):
            self.socket = socket.create_connection((server, PORT), timeout=10)
        self.file = self.socket.makefile("rb")

    def ask(self, request):
        """One line for an answer."""
        self.socket.sendall(request)
        return self.file.readline()

    def set(self, key, value, flags=0, exptime=0):
        reply = self.ask(b"set %s %d %d %d\r\n%s\r\n" % (key, flags, exptime, len(value), value))
        assert reply == b"STORED\r\n", reply

    def get(self, key):
        line = self.ask(b"get %s\r\n" % key)
        if line == b"END\r\n":
            return None
        data = self.file.read(int(line.split()[3]) + 2)
        assert self.file.readline() == b"END\r\n"
        return data[:-2]

    def close(self):
        self.file.close()
        self.socket.close()


class Lab:
    """mode: native or generic, over veth; or lo."""

    def __init__(self, mode, prefix="xce"):
        assert mode in ("native", "generic", "lo")
        self.mode = mode
        self.tag = f"{prefix}{os.getpid()}"
        self.server_ns = f"{self.tag}-s"
        self.client_ns = self.server_ns if mode == "lo" else f"{self.tag}-c"
        self.interface = "lo" if mode == "lo" else f"s{self.tag}"
        self.client_if = "lo" if mode == "lo" else f"c{self.tag}"
        self.server4, self.server6 = ("127.0.0.1", "::1") if mode == "lo" else \
            ("10.99.0.1", "fd99::1")
        self.pin_root = f"/sys/fs/bpf/{self.tag}"
        self.dir = tempfile.mkdtemp(prefix=self.tag)
        self.control = f"{self.dir}/control.sock"
        self.log = open(f"{self.dir}/log", "w+b")
        self.daemon = None
        try:
            self.make()
        except BaseException:
            self.clean()
            raise

    def on_server(self, *words, **options):
        return run("nsenter", f"--net=/run/netns/{self.server_ns}", *words, **options)

    def on_client(self, *words, **options):
        return run("nsenter", f"--net=/run/netns/{self.client_ns}", *words, **options)

    def make(self):
        if not os.path.ismount("/sys/fs/bpf"):
            run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        run("ip", "netns", "add", self.server_ns)
        self.on_server("ip", "link", "set", "lo", "up")
        self.on_server("sh", "-c", f"echo {DAEMON_TTL} >/proc/sys/net/ipv4/ip_default_ttl")
        if self.mode == "lo":
            self.on_server("sh", "-c",
                           f"echo {DAEMON_TTL} >/proc/sys/net/ipv6/conf/lo/hop_limit")
            return
        run("ip", "netns", "add", self.client_ns)
        self.on_client("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", self.interface, "netns", self.server_ns, "type", "veth", "peer",
            "name", self.client_if, "netns", self.client_ns)
        self.on_server("ip", "addr", "add", "10.99.0.1/24", "dev", self.interface)
        self.on_server("ip", "addr", "add", "fd99::1/64", "dev", self.interface, "nodad")
        self.on_client("ip", "addr", "add", "10.99.0.2/24", "dev", self.client_if)
        self.on_client("ip", "addr", "add", "fd99::2/64", "dev", self.client_if, "nodad")
        self.on_client("ip", "addr", "add", "10.99.9.2/32", "dev", self.client_if)
        self.on_client("ip", "addr", "add", "fd99:9::2/128", "dev", self.client_if, "nodad")
        self.on_server("ip", "link", "set", self.interface, "up")
        self.on_client("ip", "link", "set", self.client_if, "up")
        self.on_server("ip", "route", "add", "10.99.9.0/24", "dev", self.interface)
        self.on_server("ip", "route", "add", "fd99:9::/64", "dev", self.interface)
        self.on_server("sh", "-c", f"echo {DAEMON_TTL} "
                       f">/proc/sys/net/ipv6/conf/{self.interface}/hop_limit")
        if self.mode == "native":
            self.make_receiving_end()
        for address in ("10.99.0.1", "fd99::1"):  # neighbours first: no test is about those
            self.on_client("ping", "-c", "1", "-W", "2", address, check=False)

    def make_receiving_end(self):
        """XDP_TX over native veth is delivered only where the peer carries a program too."""
        pins = f"{self.pin_root}-peer"
        os.makedirs(pins)
        self.on_client("bpftool", "prog", "loadall", f"{BUILD}/xdpcache.bpf.o", f"{pins}/prog",
                       "pinmaps", f"{pins}/maps")
        self.on_client("bpftool", "net", "attach", "xdpdrv", "pinned",
                       f"{pins}/prog/xc_fastpath", "dev", self.client_if)
        free_pins(pins)  # the interface keeps the program, the program its maps

    # --- the daemon ---

    def start(self, *more, ready=True, fast=True):
        command = ["nsenter", f"--net=/run/netns/{self.server_ns}", f"{BUILD}/xdpcached",
                   "-p", str(PORT), "-U", str(PORT), "-m", "64", "-t", "2", "-u", "root",
                   "--instance", "lab", "--pin-root", self.pin_root, "--control", self.control]
        if fast:
            command += ["--interface", self.interface,
                        "--xdp-mode", "generic" if self.mode == "lo" else self.mode]
        if self.mode != "lo":
            command += ["--allow", "10.99.0.0/24", "--allow", "fd99::/64"]
        self.daemon = subprocess.Popen([*command, *more], stdout=self.log, stderr=self.log)
        if ready:
            self.wait_ready()

    def wait_ready(self):
        def check():
            assert self.daemon.poll() is None, f"the daemon ended:\n{self.log_text()}"
            done = self.cli_run("stats", "--json")
            return done.returncode == 0 and '"daemon"' in done.stdout
        wait_until(check, 30, "the daemon answers")

    def log_text(self):
        self.log.flush()
        with open(self.log.name, errors="replace") as log:
            return log.read()

    def stop(self):
        """Gracefully; its exit status must be 0."""
        self.daemon.send_signal(signal.SIGTERM)
        status = self.daemon.wait(20)
        assert status == 0, f"the daemon ended with {status}:\n{self.log_text()}"
        self.daemon = None

    def kill(self):
        self.daemon.kill()
        self.daemon.wait(10)
        self.daemon = None

    def restart(self, *more, **options):
        self.stop()
        self.start(*more, **options)

    def cli_run(self, *words):
        return self.on_server(f"{BUILD}/xdpcache", *words, "--control", self.control,
                              "--pin-root", self.pin_root, "--instance", "lab", check=False)

    def cli(self, *words):
        done = self.cli_run(*words, "--json")
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def counters(self):
        return self.cli("stats")["fastpath"]

    def hits(self):
        return self.counters()["hits"]

    def passes(self, name):
        return self.counters()["passes"].get(name, 0)

    def drops(self, name):
        return self.counters()["drops"].get(name, 0)

    def pin(self, key):
        self.cli("hot", "pin", "--hex", key.hex())

        def resident():
            rows = self.cli("hot", "list", "1024")["keys"]
            return any(r["resident"] and bytes.fromhex(r.get("key_hex", r["key"].encode().hex()))
                       == key for r in rows)
        wait_until(resident, 10, f"{key[:20]} is resident")

    def udp(self, six=False, source=None):
        return Udp(self.client_ns, self.server6 if six else self.server4, source)

    def tcp(self, six=False):
        return Tcp(self.client_ns, self.server6 if six else self.server4)

    # --- the end ---

    def clean(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait(10)
        if os.path.exists(self.pin_root):
            self.cli_run("unload", "--force")
        free_pins(self.pin_root)
        free_pins(f"{self.pin_root}-peer")
        for namespace in {self.server_ns, self.client_ns}:
            run("ip", "netns", "del", namespace, check=False)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def close(self):
        """The orderly end: unload leaves nothing, then all else goes."""
        try:
            if self.daemon:
                self.stop()
            done = self.cli_run("unload")
            assert done.returncode == 0, done.stderr
            left = self.left()
            assert not left, left
        finally:
            self.clean()

    def left(self):
        """What of the fast path is still there, without a daemon."""
        found = []
        for folder, _, files in os.walk(self.pin_root):
            found += [os.path.join(folder, f) for f in files]
        links = self.on_server("ip", "-o", "link", "show", "dev", self.interface).stdout
        if "xdp" in links:
            found.append(f"program on {self.interface}")
        if "clsact" in self.on_server("tc", "qdisc", "show", "dev", self.interface).stdout:
            found.append(f"clsact on {self.interface}")
        return found

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if kind:
            print(self.log_text()[-3000:])
            self.clean()
        else:
            self.close()


class Stream(threading.Thread):
    """Asks one GET every interval, waits for none; every answer with its moment and its TTL."""

    def __init__(self, lab, key, interval=0.001, six=False):
        super().__init__(daemon=True)
        self.udp = lab.udp(six)
        option = (socket.IPPROTO_IPV6, IPV6_RECVHOPLIMIT) if six else \
            (socket.IPPROTO_IP, IP_RECVTTL)
        self.udp.socket.setsockopt(*option, 1)
        self.text = b"get %s\r\n" % key
        self.interval = interval
        self.sent = []      # moments; the index is the request id
        self.answers = {}   # request id -> (moment, ttl, text)
        self.sending = self.reading = True
        self.reader = threading.Thread(target=self.read, daemon=True)

    def run(self):
        self.reader.start()
        due = time.monotonic()
        while self.sending and len(self.sent) < 0xffff:
            with contextlib.suppress(ConnectionRefusedError):
                self.sent.append(time.monotonic())
                self.udp.socket.send(struct.pack(">4H", len(self.sent) - 1, 0, 1, 0) + self.text)
            due += self.interval
            time.sleep(max(0, due - time.monotonic()))

    def read(self):
        self.udp.socket.settimeout(0.2)
        while self.reading:
            try:
                data, ancillary, _, _ = self.udp.socket.recvmsg(4096, 256)
            except (TimeoutError, ConnectionRefusedError):
                continue
            now = time.monotonic()
            ttl = struct.unpack("=i", ancillary[0][2][:4])[0]
            self.answers[struct.unpack(">H", data[:2])[0]] = (now, ttl, data[8:])

    def finish(self, drain=0.5):
        """Stops asking, waits for the last answers."""
        self.sending = False
        self.join(5)
        time.sleep(drain)
        self.reading = False
        self.reader.join(5)
        self.udp.close()

    def lost(self):
        """Questions that nobody answered."""
        return [n for n in range(len(self.sent)) if n not in self.answers]
