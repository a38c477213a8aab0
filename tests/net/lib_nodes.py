# SPDX-License-Identifier: BSD-2-Clause
"""lib_nodes.py - three daemons of one cluster on three hosts, and a host for clients.

              +---- a 10.79.0.1
   clients ---+---- b 10.79.0.2     each a network namespace that carries this process's number,
   10.79.0.254 +--- c 10.79.0.3     joined by a bridge on the clients' host
"""
import json
import os
import signal
import socket
import subprocess
import tempfile
import time

from lib_e2e import BUILD, SCALE, in_netns, run, wait_until

PORT = 11211
NAMES = ("a", "b", "c")
ADDRESS = {name: f"10.79.0.{i + 1}" for i, name in enumerate(NAMES)}


class Nodes:
    """Hosts and daemons. `with` starts them all and leaves nothing behind."""

    def __init__(self, file_extra="", args=()):
        self.tag = f"xcn{os.getpid()}"
        self.clients = f"{self.tag}x"
        self.file_extra = file_extra
        self.args = args
        self.folder = None
        self.daemons = {}
        self.logs = {}

    def __enter__(self):
        try:
            self.make_hosts()
            for name in NAMES:
                self.start(name)
            self.wait_connected()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *error):
        self.remove()

    def ns(self, name):
        return f"{self.tag}{name}"

    def make_hosts(self):
        self.folder = tempfile.mkdtemp(prefix="xcn", dir="/tmp")
        run("ip", "netns", "add", self.clients)
        run("ip", "-n", self.clients, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.clients, "addr", "add", "10.79.0.254/24", "dev", "br0")
        run("ip", "-n", self.clients, "link", "set", "br0", "up")
        run("ip", "-n", self.clients, "link", "set", "lo", "up")
        for name in NAMES:
            run("ip", "netns", "add", self.ns(name))
            run("ip", "-n", self.ns(name), "link", "set", "lo", "up")
            run("ip", "link", "add", "eth0", "netns", self.ns(name), "type", "veth", "peer",
                "name", f"to_{name}", "netns", self.clients)
            run("ip", "-n", self.clients, "link", "set", f"to_{name}", "master", "br0", "up")
            run("ip", "-n", self.ns(name), "addr", "add", f"{ADDRESS[name]}/24", "dev", "eth0")
            run("ip", "-n", self.ns(name), "link", "set", "eth0", "up")
        self.write_file()

    def write_file(self):
        nodes = ",\n".join(f'  {{ name = "{name}"; ring_name = "{ADDRESS[name]}"; }}'
                           for name in NAMES)
        with open(f"{self.folder}/cluster.conf", "w", encoding="utf-8") as out:
            out.write(f"copies = 2;\n{self.file_extra}nodes = (\n{nodes}\n);\n")

    def start(self, name, *args):
        self.logs[name] = f"{self.folder}/{name}.log"
        with open(self.logs[name], "ab") as log:
            self.daemons[name] = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.ns(name)}", f"{BUILD}/xdpcached", "-l",
                 ADDRESS[name], "-p", str(PORT), "-U", str(PORT), "-m", "64", "-t", "2", "-u",
                 "root", "--allow", "10.79.0.0/24", "--admin", "", "--instance", self.ns(name),
                 "--control", f"{self.folder}/{name}.sock", "--cluster",
                 f"{self.folder}/cluster.conf", "--node", name, *self.args, *args],
                stdout=log, stderr=log)
        wait_until(lambda: self.daemons[name].poll() is None and "ready:" in self.log(name), 20,
                   f"node {name} is ready: {self.log(name)}")

    def log(self, name):
        with open(self.logs[name], encoding="utf-8") as log:
            return log.read()

    def kill(self, name, number=signal.SIGKILL):
        daemon = self.daemons.pop(name)
        daemon.send_signal(signal.SIGCONT)
        daemon.send_signal(number)
        daemon.wait(20 * SCALE)
        os.truncate(self.logs[name], 0)

    def status(self, name):
        return json.loads(run(f"{BUILD}/xdpcache", "--control", f"{self.folder}/{name}.sock",
                              "cluster", "status", "--json"))

    def wait_connected(self):
        def all_are():
            return all(node["self"] or (node["connected"] and node["heard"])
                       for name in self.daemons for node in self.status(name)["nodes"]
                       if node["node"] in self.daemons)
        wait_until(all_are, 10, "all nodes are connected")

    def client(self, name):
        with in_netns(self.clients):
            return Client((ADDRESS[name], PORT))

    def remove(self):
        for daemon in self.daemons.values():
            daemon.send_signal(signal.SIGCONT)
            daemon.kill()
            daemon.wait()
        for name in (*NAMES, "x"):
            run("ip", "netns", "del", self.ns(name), check=False)
        if self.folder:
            run("rm", "-rf", self.folder)


class Client:
    """A connection that says bytes and takes a reply up to where it has to end."""

    def __init__(self, address, timeout=10):
        self.socket = socket.create_connection(address, timeout * SCALE)
        self.rest = b""

    def send(self, text):
        self.socket.sendall(text)

    def take(self, end=b"\r\n"):
        while end not in self.rest:
            more = self.socket.recv(1 << 16)
            assert more, f"the connection ended behind {self.rest[-200:]}"
            self.rest += more
        reply, self.rest = self.rest.split(end, 1)
        return reply + end

    def ask(self, text, end=b"\r\n"):
        self.send(text)
        return self.take(end)

    def get(self, key):
        """The value; None: there is none; an error as it was said."""
        reply = self.ask(b"get " + key + b"\r\n")
        if reply == b"END\r\n":
            return None
        if not reply.startswith(b"VALUE "):
            return reply
        length = int(reply.split()[3])
        while len(self.rest) < length + 7:
            self.rest += self.socket.recv(1 << 16)
        value, self.rest = self.rest[:length], self.rest[length:]
        assert self.take(b"END\r\n") == b"\r\nEND\r\n"
        return value

    def set(self, key, value):
        return self.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))

    def close(self):
        self.socket.close()


def now():
    return time.monotonic()
