#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""density.py - how many items fit into the same -m here and in memcached, side by side.

Fills both servers, one after the other on the same machine, with more items than fit (--items, keys
of --key bytes, each --values in turn), and prints what each one holds then, what its process takes,
and how many bytes an item costs beside its key and value.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

BATCH = 2000
MIB = 1 << 20


def options():
    parser = argparse.ArgumentParser(
        description="Items that fit into the same -m, here and in memcached.")
    parser.add_argument("-m", "--memory", type=int, default=1024, help="MiB (default 1024)")
    parser.add_argument("--items", type=int, default=10_000_000,
                        help="written to each (default 10 M)")
    parser.add_argument("--key", type=int, default=32, help="bytes of a key (default 32)")
    parser.add_argument("--values", default="32,300", help="bytes of a value (default 32,300)")
    parser.add_argument("--server", default="build/xdpcached")
    parser.add_argument("--memcached", default="/usr/bin/memcached")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Server:
    """A process, and a connection to it."""

    def __init__(self, words):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = [*words, "-p", str(self.port), "-l", "127.0.0.1", "-U", "0"]
        self.process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.sock = socket.create_connection(("127.0.0.1", self.port))
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        self.end()
        sys.exit(f"{words[0]} does not start")

    def fill(self, count, key_len, value_len, name):
        value = b"d" * value_len
        shown = 0
        for first in range(0, count, BATCH):
            self.sock.sendall(b"".join(
                b"set %0*d 0 0 %d noreply\r\n%s\r\n" % (key_len, n, value_len, value)
                for n in range(first, min(count, first + BATCH))))
            if sys.stderr.isatty() and time.monotonic() - shown > 0.2:
                shown = time.monotonic()
                print(f"\r{name}, values of {value_len}: {100 * first // count} % ", end="",
                      file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        self.ask(b"version\r\n", b"\r\n")
        time.sleep(1)

    def ask(self, request, end):
        self.sock.sendall(request)
        reply = b""
        while not reply.endswith(end):
            reply += self.sock.recv(65536)
        return reply

    def stat(self, name):
        return int(re.search(rb"STAT %s (\d+)" % name, self.ask(b"stats\r\n", b"END\r\n")).group(1))

    def resident(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) << 10

    def end(self):
        self.process.terminate()
        self.process.wait()


def measure(words, name, value_len, opts):
    server = Server([*words, "-m", str(opts.memory)])
    try:
        server.fill(opts.items, opts.key, value_len, name)
        items, resident = server.stat(b"curr_items"), server.resident()
    finally:
        server.end()
    return {"server": name, "value_bytes": value_len, "items": items, "resident_bytes": resident,
            "full": items < opts.items,
            "overhead_bytes": round(resident / items - opts.key - value_len, 1)}


def main():
    opts = options()
    user = ["-u", "root"] if os.geteuid() == 0 else []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        ours = [opts.server, "--no-fastpath", "--control", f"{folder}/control.sock", *user]
        for value_len in map(int, opts.values.split(",")):
            stock = measure([opts.memcached, *user], "memcached", value_len, opts)
            own = measure(ours, "xdpcached", value_len, opts)
            own["ratio"] = round(own["items"] / stock["items"], 3)
            rows += [stock, own]
    if opts.json:
        print(json.dumps({"memory_mib": opts.memory, "key_bytes": opts.key, "rows": rows}))
        return
    print(f"-m {opts.memory}, keys of {opts.key} bytes, {opts.items:,} items written")
    print(f"{'value':>6} {'server':<10} {'items held':>12} {'ratio':>6} {'resident':>11} "
          f"{'an item beside key and value':>29}")
    for row in rows:
        print(f"{row['value_bytes']:>6} {row['server']:<10} {row['items']:>12,} "
              f"{row.get('ratio', ''):>6} {row['resident_bytes'] / MIB:>7.0f} MiB "
              f"{row['overhead_bytes']:>23.1f} bytes{'' if row['full'] else '  (not full)'}")


main()
