#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""compare.py - xdpcache, memcached and a server that does nothing else, asked the same in turn.

Each row is measured --rounds times for --ms, the servers one after the other within each round,
each server with one thread on one CPU and the client (bench/tcp.c) on another. Shown: requests a
second (median, lowest, highest), the p99, and the server's own CPU time a request, which other work
on the machine disturbs least. Ratios are the median of the rounds' ratios: what disturbs a round
disturbs both sides of it.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROWS = [
    ("GET, 1 connection", ["--conns", "1"]),
    ("GET, 16 connections", ["--conns", "16"]),
    ("GET, 64 connections", ["--conns", "64"]),
    ("GET, 16 connections, pipelines of 16", ["--conns", "16", "--depth", "16"]),
    ("SET, 16 connections", ["--conns", "16", "--sets", "100"]),
    ("GET over UDP, 32 under way", ["--conns", "32", "--udp"]),
]


def options():
    parser = argparse.ArgumentParser(description="Servers side by side, over loopback.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ms", type=int, default=1000)
    parser.add_argument("--value", type=int, default=32, help="bytes of a value (default 32)")
    parser.add_argument("--rows", help="only rows with this in their name")
    parser.add_argument("--build", default="build")
    parser.add_argument("--memcached", default="/usr/bin/memcached")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server's process on CPU 0."""

    def __init__(self, name, words, udp):
        self.name, self.udp = name, udp
        self.port = free_port()
        words = [word.replace("PORT", str(self.port)) for word in words]
        self.process = subprocess.Popen(["taskset", "-c", "0", *words], stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        self.process.kill()
        sys.exit(f"{name} does not start")

    def cpu_sec(self):
        """Of all its threads: a worker and whatever helps it."""
        total = 0
        folder = f"/proc/{self.process.pid}/task"
        for task in os.listdir(folder):
            with open(f"{folder}/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def measure(self, args, words):
        words = [f"{args.build}/bench/tcp", "--port", str(self.port), "--ms", str(args.ms),
                 "--value", str(args.value), *words]
        # Filling costs the server time, too: once with next to no run behind it.
        before = self.cpu_sec()
        subprocess.run([*words, "--ms", "1"], stdout=subprocess.DEVNULL, check=True)
        middle = self.cpu_sec()
        done = subprocess.run(["taskset", "-c", "1", *words], stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
        cpu_sec = self.cpu_sec() - middle - (middle - before)
        found["cpu_us"] = cpu_sec * 1e6 / found["requests"]
        return found


def median(rows, what):
    return statistics.median(row[what] for row in rows)


def ratio(rows, others, what):
    return statistics.median(a[what] / b[what] for a, b in zip(rows, others))


def run_row(args, servers, name, words):
    """What each server did in each round."""
    found = {server.name: [] for server in servers if server.udp or "--udp" not in words}
    for round_idx in range(args.rounds):
        if sys.stderr.isatty():
            print(f"\r\033[K{name}: round {round_idx + 1} of {args.rounds}", end="",
                  file=sys.stderr, flush=True)
        for server in servers:
            if server.name in found:
                found[server.name].append(server.measure(args, words))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return found


def show(name, found):
    print(f"\n{name}")
    print(f"  {'':<12}{'requests/s':>11} {'lowest':>9} {'highest':>9} {'p99 us':>8} {'CPU us':>7}"
          f"  xdpcached's")
    ours = found["xdpcached"]
    for server, rows in found.items():
        rates = [row["requests_per_sec"] for row in rows]
        text = ""
        if rows is not ours:
            text = (f"  rate x {ratio(ours, rows, 'requests_per_sec'):.2f}, "
                    f"p99 x {ratio(ours, rows, 'p99_us'):.2f}, "
                    f"CPU x {ratio(ours, rows, 'cpu_us'):.2f}")
        print(f"  {server:<12}{statistics.median(rates):>11.0f} {min(rates):>9.0f} "
              f"{max(rates):>9.0f} {median(rows, 'p99_us'):>8.0f} {median(rows, 'cpu_us'):>7.2f}"
              f"{text}", flush=True)


def main():
    args = options()
    folder = tempfile.TemporaryDirectory(prefix="xcbench")
    servers = []
    results = {}
    try:
        servers.append(Server("xdpcached", [
            f"{args.build}/xdpcached", "-p", "PORT", "-U", "PORT", "-l", "127.0.0.1", "-t", "1",
            "-u", "root", "--no-fastpath", "--control", f"{folder.name}/c"], True))
        servers.append(Server("memcached", [
            args.memcached, "-p", "PORT", "-U", "PORT", "-l", "127.0.0.1", "-t", "1", "-u",
            "root"], True))
        servers.append(Server("yardstick", [
            f"{args.build}/bench/tcp", "--serve", "--port", "PORT", "--value", str(args.value)],
            False))
        for name, words in ROWS:
            if args.rows and args.rows not in name:
                continue
            results[name] = run_row(args, servers, name, words)
            if not args.json:
                show(name, results[name])
    finally:
        for server in servers:
            server.process.terminate()
            server.process.wait()
        folder.cleanup()
    if args.json:
        json.dump(results, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
