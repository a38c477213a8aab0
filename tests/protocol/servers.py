# SPDX-License-Identifier: BSD-2-Clause
"""servers.py - starts the servers that protocol tests talk to.

XC_SERVER=host:port uses a running xdpcached instead of starting build/xdpcached.
"""

import os
import signal
import socket
import subprocess
import tempfile
import time

BUILD = os.environ.get("XC_BUILD", "build")
STOCK = "/usr/bin/memcached"
START_SEC = 20


def free_port():
    """A port that is free for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def written(log):
    """What programs have written to the file. They hold its offset in common with this process: a
    seek here would let them write over what they wrote before."""
    return os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode("utf-8", "replace")


class Server:
    """A server process and its address; `with` ends it."""

    def __init__(self, command, port, folder=None):
        self.address = ("127.0.0.1", port)
        self.folder = folder
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + START_SEC
        while True:
            try:
                socket.create_connection(self.address, timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    output = self.output()
                    self.stop()
                    raise RuntimeError(f"{command[0]} did not start:\n{output}") from None
                time.sleep(0.02)

    def output(self):
        return written(self.log)

    def stop(self):
        """Ends the server; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if self.folder:
            self.folder.cleanup()
            self.folder = None
        return status

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()


class Running:
    """A server that somebody else started."""

    def __init__(self, text):
        host, _, port = text.rpartition(":")
        self.address = (host.strip("[]"), int(port))

    def output(self):
        return ""

    def stop(self):
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def start_ours(*extra):
    if os.environ.get("XC_SERVER") and not extra:
        return Running(os.environ["XC_SERVER"])
    port = free_port()
    folder = tempfile.TemporaryDirectory(prefix="xcp")
    command = [os.path.join(BUILD, "xdpcached"), "-p", str(port), "-U", str(port)]
    command += ["-l", "127.0.0.1", "-m", "64", "-t", "2", "-u", "root", "--no-fastpath"]
    command += ["--control", os.path.join(folder.name, "control.sock"), *extra]
    return Server(command, port, folder)


def start_stock(*extra):
    """None when memcached is not installed."""
    if not os.path.exists(STOCK):
        return None
    port = free_port()
    command = [STOCK, "-p", str(port), "-U", str(port), "-l", "127.0.0.1", "-u", "root"]
    return Server(command + ["-m", "64", "-t", "2", *extra], port)
