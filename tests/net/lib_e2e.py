# SPDX-License-Identifier: BSD-2-Clause
"""lib_e2e.py - hosts, daemons and packets for the end-to-end tests.

A Rig is a server's host and a client's host joined by a veth pair (kind "veth"), or one host with
its lo (kind "lo"), each a network namespace that carries this process's number. A Daemon is an
xdpcached on the server's host. Packets are read from AF_PACKET and checked by the parser below,
which shares nothing with the program's.
"""

import contextlib
import ctypes
import functools
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

import servers  # noqa: E402 pylint: disable=wrong-import-position
import tap  # noqa: E402,F401 pylint: disable=wrong-import-position,unused-import

BUILD = os.path.abspath(os.environ.get("XC_BUILD", "build"))
SCALE = int(os.environ.get("TIMEOUT_SCALE", "1"))
PORT = 11211
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_ATTACH_FILTER = 26
LIBC = ctypes.CDLL(None, use_errno=True)
SERVER = {"veth": {4: "10.78.0.1", 6: "fd78::1"}, "lo": {4: "127.0.0.1", 6: "::1"}}
CLIENT = {"veth": {4: "10.78.0.2", 6: "fd78::2"}, "lo": {4: "127.0.0.1", 6: "::1"}}


def run(*words, check=True, timeout=60):
    """Runs a program; its output, both kinds."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout * SCALE)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.returncode}: {done.stdout}")
    return done.stdout


def wait_until(check, seconds=10, what="the condition"):
    end = time.monotonic() + seconds * SCALE
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


@contextlib.contextmanager
def in_netns(name):
    """This thread within a named network namespace."""
    with open("/proc/thread-self/ns/net", "rb") as back, open(f"/run/netns/{name}", "rb") as ns:
        if LIBC.setns(ns.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if LIBC.setns(back.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


class Rig:
    """Hosts. `with` makes and removes them, and ends the daemons that run on them."""

    def __init__(self, kind, server_if=None, mtu=1500, native_client=True,
                 server_ip=None, client_ip=None):
        self.kind = kind
        self.tag = f"xce{os.getpid()}"
        self.server_ns = f"{self.tag}s"
        self.client_ns = f"{self.tag}c" if kind == "veth" else self.server_ns
        self.server_if = server_if or ("xces" if kind == "veth" else "lo")
        self.client_if = "xcec" if kind == "veth" else "lo"
        self.server = SERVER[kind] | ({4: server_ip} if server_ip else {})
        self.client = CLIENT[kind] | ({4: client_ip} if client_ip else {})
        self.mtu = mtu
        self.native_client = native_client
        self.pin_root = f"/sys/fs/bpf/{self.tag}"
        self.client_pins = f"/sys/fs/bpf/{self.tag}client"
        self.folder = None
        self.daemons = []

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *error):
        self.remove()

    def make(self):
        if not os.path.ismount("/sys/fs/bpf"):
            run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        # short: a unix socket's path must fit
        self.folder = tempfile.mkdtemp(prefix="xce", dir="/tmp")
        for name in {self.server_ns, self.client_ns}:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        if self.kind == "veth":
            self.make_wire()
            if self.native_client:
                self.attach_client()

    def make_wire(self):
        run("ip", "link", "add", self.server_if, "netns", self.server_ns, "mtu", str(self.mtu),
            "type", "veth", "peer", "name", self.client_if, "netns", self.client_ns, "mtu",
            str(self.mtu))
        self.configure(self.server_ns, self.server_if, self.server)
        self.configure(self.client_ns, self.client_if, self.client)

    @staticmethod
    def configure(ns, interface, addrs):
        run("ip", "-n", ns, "addr", "add", f"{addrs[4]}/24", "dev", interface)
        run("ip", "-n", ns, "addr", "add", f"{addrs[6]}/64", "dev", interface, "nodad")
        run("ip", "-n", ns, "link", "set", interface, "up")

    def attach_client(self):
        """Native veth hands on what its peer's driver sends only to an end that has a program.

        Ours, with maps that nobody filled in, passes every packet.
        """
        os.makedirs(self.client_pins)
        self.on_client("bpftool", "prog", "loadall", f"{BUILD}/xdpcache.bpf.o",
                       f"{self.client_pins}/prog", "pinmaps", f"{self.client_pins}/maps")
        self.on_client("bpftool", "net", "attach", "xdpdrv", "pinned",
                       f"{self.client_pins}/prog/xc_fastpath", "dev", self.client_if)

    def on_server(self, *words, check=True):
        return run("nsenter", f"--net=/run/netns/{self.server_ns}", *words, check=check)

    def on_client(self, *words, check=True):
        return run("nsenter", f"--net=/run/netns/{self.client_ns}", *words, check=check)

    def remove(self):
        for daemon in self.daemons:
            daemon.end()
        self.daemons = []
        if os.path.isdir(self.pin_root):
            self.on_server(f"{BUILD}/xdpcache", "--pin-root", self.pin_root, "--instance", "e2e",
                           "--control", f"{self.folder}/c.sock", "unload", "--force",
                           check=False)
        for pins in (self.pin_root, self.client_pins):
            shutil.rmtree(pins, ignore_errors=True)
        for name in {self.server_ns, self.client_ns}:
            if os.path.exists(f"/run/netns/{name}"):
                run("ip", "netns", "del", name, check=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("/run/xdpcache/" + self.pin_root.replace("/", "_") + ".e2e.lock")
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- sockets ---

    def memory_file(self):
        """A name for -e: after the folder, for which there is one on the machine. /dev/shm is not
        a box's own, and the same process ids are in all of them."""
        folder = "/dev/shm" if os.path.isdir("/dev/shm") else self.folder
        return f"{folder}/{os.path.basename(self.folder)}.memory"

    def udp(self, family=4, source=None):
        """A client's connected socket."""
        with in_netns(self.client_ns):
            s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6,
                              socket.SOCK_DGRAM)
        s.settimeout(5 * SCALE)
        if source:
            s.bind((source, 0))
        s.connect((self.server[family], PORT))
        return s

    def tcp(self, family=4, source=None):
        with in_netns(self.client_ns):
            s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
        s.settimeout(5 * SCALE)
        if source:
            s.bind((source, 0))
        s.connect((self.server[family], PORT))
        return s

    def raw(self):
        """The server's datagrams at the client's interface, as recvfrom gives them; sends frames.

        A filter keeps requests out: on lo they share the interface.
        """
        jump = [(0x28, 0, 0, 12), (0x15, 0, 4, 0x800), (0x30, 0, 0, 23), (0x15, 0, 8, 17),
                (0x28, 0, 0, 34), (0x05, 0, 0, 4), (0x15, 0, 5, 0x86dd), (0x30, 0, 0, 20),
                (0x15, 0, 3, 17), (0x28, 0, 0, 54), (0x15, 0, 1, PORT), (0x06, 0, 0, 65535),
                (0x06, 0, 0, 0)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in jump))
        with in_netns(self.client_ns):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
            s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                         struct.pack("HP", len(jump), ctypes.addressof(code)))
            s.bind((self.client_if, ETH_P_ALL))
        return s

    @functools.lru_cache(maxsize=None)
    def mac(self, server):
        ns, name = (self.server_ns, self.server_if) if server else (self.client_ns, self.client_if)
        link = json.loads(run("ip", "-n", ns, "-j", "link", "show", "dev", name))[0]
        return bytes.fromhex(link["address"].replace(":", ""))


class Daemon:
    """xdpcached on the server's host."""

    def __init__(self, rig, *flags, memory=64, mode=None, command=None, control=None,
                 wrapper=()):
        self.rig = rig
        self.control = ["--control", control or f"{rig.folder}/c.sock"]
        self.place = ["--pin-root", rig.pin_root, "--instance", "e2e"]
        words = [f"{BUILD}/xdpcached", "-p", str(PORT), "-U", str(PORT), "-m", str(memory),
                 "-t", "2", *self.control, *self.place]
        if "--no-fastpath" not in flags:
            mode = mode or ("native" if rig.kind == "veth" else "generic")
            words += ["--interface", rig.server_if, "--xdp-mode", mode]
        words += flags
        if command:
            words, self.control, self.place = command, [], []
        self.log = tempfile.TemporaryFile()
        # nsenter (and the wrapper) becomes the program: the process id is the daemon's
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{rig.server_ns}", *wrapper,
                                         *words], stdout=self.log, stderr=self.log)
        rig.daemons.append(self)
        try:
            wait_until(lambda: self.process.poll() is not None or self.answers(), 30, "a daemon")
            assert self.process.poll() is None, "the daemon ended"
        except AssertionError:
            self.end()
            raise AssertionError(f"the daemon did not start:\n{self.output()}") from None

    def output(self):
        return servers.written(self.log)

    def cli(self, *words, check=True):
        text = self.rig.on_server(f"{BUILD}/xdpcache", *words, *self.control, *self.place, "--json",
                                  check=check)
        try:
            return json.loads(text[text.index("{"):])  # a complaint may come first
        except ValueError:
            assert not check, text
            return {}

    def answers(self):
        return "daemon" in self.cli("stats", check=False)

    def stats(self):
        """All counters in one level: "fastpath.hits", "fastpath.passes.pass_miss"."""
        flat = {}

        def walk(prefix, part):
            for name, value in part.items():
                if isinstance(value, dict):
                    walk(f"{prefix}{name}.", value)
                else:
                    flat[prefix + name] = value
        walk("", self.cli("stats"))
        return flat

    def pids(self):
        """The daemon's processes, its parent last."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.insert(0, pid)
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
                queue += [int(word) for word in children.read().split()]
        return found

    def signal_all(self, number):
        for pid in self.pids():
            os.kill(pid, number)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20 * SCALE) == 0, self.output()

    def kill(self):
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def end(self):
        if self.process.poll() is None:
            self.kill()

    def set(self, key, value, flags=0, family=4):
        with self.rig.tcp(family) as s:
            s.sendall(b"set %s %d 0 %d\r\n%s\r\n" % (key, flags, len(value), value))
            reply = s.recv(100)
            assert reply == b"STORED\r\n", reply

    def ask(self, request, end=b"END\r\n", family=4):
        """The reply to one request over TCP."""
        with self.rig.tcp(family) as s:
            s.sendall(request)
            reply = b""
            while not reply.endswith(end):
                part = s.recv(65536)
                assert part, reply
                reply += part
            return reply

    def pin(self, *keys):
        for key in keys:
            self.cli("hot", "pin", key.decode())
        names = {key.decode() for key in keys}
        wait_until(lambda: names <= {row["key"] for row in self.cli("hot", "list", "1024")["keys"]
                                     if row["resident"]}, what=f"{names} are resident")


def difference(after, before):
    return {name: after[name] - before[name] for name in after
            if isinstance(after[name], int) and isinstance(before.get(name), int)}


def frame(number, body):
    """A request of one datagram: memcached's UDP frame header and the line."""
    return struct.pack(">4H", number & 0xffff, 0, 1, 0) + body


def value_reply(key, value, flags=0, cas=None):
    extra = b"" if cas is None else b" %d" % cas
    return b"VALUE %s %d %d%s\r\n%s\r\nEND\r\n" % (key, flags, len(value), extra, value)


def ask_nobody(rig, key, times):
    """GETs that must stay unanswered; how many left. The stack refuses only some."""
    sent = 0
    with rig.udp() as s:
        s.settimeout(0.02)
        for number in range(times):
            try:
                s.send(frame(number, b"get %s\r\n" % key))
                sent += 1
                raise AssertionError(s.recv(2048))
            except (ConnectionRefusedError, TimeoutError):
                pass
    return sent


# --- packets ---

def csum(data):
    """The internet checksum; 0 over data that holds its own."""
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def pseudo(src, dst, udp_len):
    if len(src) == 4:
        return src + dst + struct.pack(">BBH", 0, 17, udp_len)
    return src + dst + struct.pack(">II", udp_len, 17)


class NotUdp(Exception):
    """A frame of something else."""


class Packet:
    """A UDP datagram out of an Ethernet frame, sums checked."""

    def __init__(self, data):
        kind = data[12:14]
        if kind == b"\x08\x00":
            ip = data[14:34]
            if len(ip) < 20 or ip[0] != 0x45 or ip[9] != 17:
                raise NotUdp
            end = 14 + struct.unpack(">H", ip[2:4])[0]
            self.ip_sum_ok = csum(ip) == 0
            self.src, self.dst, at = ip[12:16], ip[16:20], 34
        elif kind == b"\x86\xdd":
            ip = data[14:54]
            if len(ip) < 40 or ip[6] != 17:
                raise NotUdp
            end = 54 + struct.unpack(">H", ip[4:6])[0]
            self.ip_sum_ok = True
            self.src, self.dst, at = ip[8:24], ip[24:40], 54
        else:
            raise NotUdp
        udp = data[at:end]
        if len(udp) < 8:
            raise NotUdp
        self.sport, self.dport, length, self.sum = struct.unpack(">4H", udp[:8])
        self.length_ok = length == len(udp) and end <= len(data)
        self.udp_sum_ok = self.sum != 0 and csum(pseudo(self.src, self.dst, len(udp)) + udp) == 0
        self.payload = udp[8:]


def request_frame(rig, payload, family=4, sport=40000):
    """An Ethernet frame from the client to the server."""
    inet = socket.AF_INET if family == 4 else socket.AF_INET6
    src, dst = (socket.inet_pton(inet, a[family]) for a in (rig.client, rig.server))
    udp = struct.pack(">4H", sport, PORT, 8 + len(payload), 0) + payload
    total = csum(pseudo(src, dst, len(udp)) + udp) or 0xffff
    udp = udp[:6] + struct.pack(">H", total) + udp[8:]
    if family == 4:
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + src + dst
        ip = ip[:10] + struct.pack(">H", csum(ip)) + ip[12:]
        kind = b"\x08\x00"
    else:
        ip = struct.pack(">IHBB", 6 << 28, len(udp), 17, 64) + src + dst
        kind = b"\x86\xdd"
    return rig.mac(True) + rig.mac(False) + kind + ip + udp


def drain(raw, seconds):
    """Frames that came to this interface, until none came for so long."""
    found = []
    while select.select([raw], [], [], seconds)[0]:
        data, where = raw.recvfrom(65536)
        if where[2] != PACKET_OUTGOING:
            found.append(data)
    return found


def main(tests):
    if os.geteuid():
        print("SKIP: needs root")
        return 4
    # a test that is told to end cleans up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return tap.run(tests)
