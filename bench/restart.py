#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""How long a restart takes: from the daemon's start to its first answered GET.

    bench/restart.py [--items 10000000] [--value 100] [--interface lo] [--json]

Fills a daemon with items of 32-byte keys, stops it, starts it again (graceful), kills it, starts it
again (rebuilt from the log), and replaces it (--upgrade). Without --interface the log is a file in
/dev/shm. Needs about 1.4 times the items' bytes of memory; root with --interface.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build")
PORT = 21211
BATCH = 2000


class Daemon:
    def __init__(self, args, folder):
        self.words = [f"{BUILD}/xdpcached", "-l", "127.0.0.1", "-p", str(PORT), "-m",
                      str(args.memory), "-t", "2", "--control", f"{folder}/c.sock",
                      "--instance", f"bench{os.getpid()}"]
        self.file = f"/dev/shm/xdpcache-bench.{os.getpid()}"
        self.words += (["--interface", args.interface, "--xdp-mode", "generic"]
                       if args.interface else ["-U", "0", "-e", self.file])
        self.key = None
        self.log = open(f"{folder}/log", "w+", encoding="utf-8")
        self.process = None

    def start(self, *more):
        """Milliseconds until a GET of the last key is answered."""
        begun = time.monotonic()
        process = subprocess.Popen(self.words + list(more), stdout=self.log, stderr=self.log)
        if not more:
            self.process = process
        while not self.answers():
            assert process.poll() is None, open(self.log.name, encoding="utf-8").read()
            time.sleep(0.002)
        self.process = process
        return (time.monotonic() - begun) * 1000

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", PORT), 30) as s:
                s.sendall(b"get %s\r\n" % (self.key or b"none"))
                reply = s.recv(4096)
                return reply.startswith(b"VALUE" if self.key else b"END")
        except OSError:
            return False

    def end(self, number):
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait()
        return (time.monotonic() - begun) * 1000

    def items(self):
        with socket.create_connection(("127.0.0.1", PORT), 30) as s:
            s.sendall(b"stats\r\n")
            text = s.makefile("rb")
            for line in iter(text.readline, b"END\r\n"):
                if line.startswith(b"STAT curr_items "):
                    return int(line.split()[2])
        return 0


def key_of(number):
    return b"%032d" % number


def fill(daemon, args):
    value = b"v" * args.value
    tail = b" 0 0 %d noreply\r\n%s\r\n" % (args.value, value)
    with socket.create_connection(("127.0.0.1", PORT), 120) as s:
        for first in range(0, args.items, BATCH):
            s.sendall(b"".join(b"set " + key_of(n) + tail
                               for n in range(first, min(first + BATCH, args.items))))
        s.sendall(b"version\r\n")
        assert s.recv(100).startswith(b"VERSION")
    daemon.key = key_of(args.items - 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=10000000)
    parser.add_argument("--value", type=int, default=100)
    parser.add_argument("--interface")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.memory = max(64, args.items * (args.value + 64) * 5 // 4 >> 20)
    folder = tempfile.mkdtemp(prefix="xcb")
    daemon = Daemon(args, folder)
    try:
        figures = {"memory_mib": args.memory, "start_empty_ms": daemon.start()}
        fill(daemon, args)
        figures["items"] = daemon.items()
        figures["stop_ms"] = daemon.end(signal.SIGTERM)
        figures["start_after_stop_ms"] = daemon.start()
        figures["items_after_stop"] = daemon.items()
        old = daemon.process
        begun = time.monotonic()
        daemon.start("--upgrade")
        old.wait()
        # the old one answers until it stops: only once it has gone a GET is the new one's
        assert daemon.answers()
        figures["replace_ms"] = (time.monotonic() - begun) * 1000
        daemon.end(signal.SIGKILL)
        figures["start_after_kill_ms"] = daemon.start()
        figures["items_after_kill"] = daemon.items()
        daemon.end(signal.SIGTERM)
        figures = {name: round(value) for name, value in figures.items()}
        if args.json:
            print(json.dumps(figures))
        else:
            for name, value in figures.items():
                print(f"{name:22} {value:12}")
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        if args.interface:
            subprocess.run([f"{BUILD}/xdpcache", "unload", "--instance", f"bench{os.getpid()}"],
                           check=False)
        elif os.path.exists(daemon.file):
            os.unlink(daemon.file)
        daemon.log.seek(0)
        sys.stderr.write("".join(line for line in daemon.log if " store: " in line))
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
