#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""churn.py - does -m hold, and does memory stay usable, while sizes shift?

Starts a daemon without a fast path and writes to it over several connections, in phases: small
values, large, several megabytes (-I 16m), all mixed with TTLs, overwrites, deletes and touches, and
small ones again, while all that was written from the second phase on is deleted bit by bit: what a
policy keeps of it is no matter of fragmentation. The last phase goes on until nothing of it is left
and three times -m was written since. Once a second it notes what the process takes and what it
holds. In the end the same small values fill a fresh daemon, and as much again is written to it:
that says how much of -m they can fill at best.

Exit status 1 if, once the memory was full, any sample is more than --tolerance from -m; if any
write was refused or any read gave other bytes than were written; or if the last phase fills less of
the log than it fills of a fresh daemon's, by more than --lost percent. Of the log, not of -m: the
tables beside it (what was evicted lately, what is asked for) have their memory when they are first
needed, and a fresh daemon has not needed all of them yet.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
POOL_BYTES = 24 * MIB  # values are slices of it; an item's flags say where its slice begins
BATCH_BYTES = 256 << 10
BATCH_MAX = 100
PROBES = 1000
PROBE_BYTES = 100
SETTLE_SEC = 5
ROUNDS = 3  # times -m that the last phase writes once nothing of the others is left
SETTLED = 8  # samples that the last phase ends with
LONGER = 10  # the last phase is at most this many times as long as planned
DELETES = 100  # of old keys, with each batch of the last phase


def log_uniform(low, high):
    return lambda rng: int(math.exp(rng.uniform(math.log(low), math.log(high))))


def mixed(rng):
    low, high = rng.choices([(10, 2000), (2000, 64_000), (64_000, 900_000)], (90, 8, 2))[0]
    return log_uniform(low, high)(rng)


# name, share of the time, size of a value, shares of: TTLs, overwrites, deletes, touches
PHASES = [
    ("small", 0.20, log_uniform(10, 1000), 0.0, 0.2, 0.02, 0.02),
    ("large", 0.20, log_uniform(20_000, 900_000), 0.3, 0.2, 0.05, 0.05),
    ("megabytes", 0.10, log_uniform(1_500_000, 4_000_000), 0.3, 0.2, 0.05, 0.05),
    ("mixed", 0.25, mixed, 0.3, 0.3, 0.05, 0.10),
    ("small again", 0.25, log_uniform(10, 1000), 0.0, 0.2, 0.02, 0.02),
]


def options():
    parser = argparse.ArgumentParser(description="Whether -m holds while sizes shift.")
    parser.add_argument("-m", "--memory", type=int, default=1024, help="MiB (default 1024)")
    parser.add_argument("--seconds", type=int, default=600, help="of the phases (default 600)")
    parser.add_argument("--workers", type=int, default=4, help="connections (default 4)")
    parser.add_argument("--rate", type=int, default=200, help="MiB a second at most (default 200)")
    parser.add_argument("--tolerance", type=float, default=2.0,
                        help="percent of -m that a sample may be off (default 2)")
    parser.add_argument("--lost", type=float, default=3.0,
                        help="percent of the log that may be lost to fragmentation (default 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", default="build/xdpcached")
    parser.add_argument("--cli", default="build/xdpcache")
    parser.add_argument("--svg", metavar="FILE", help="draw the run")
    parser.add_argument("--json", action="store_true", help="print every sample")
    return parser.parse_args()


class Server:
    def __init__(self, opts, folder, name):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.opts = opts
        self.control = f"{folder}/{name}.sock"
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            [opts.server, "--no-fastpath", "-m", str(opts.memory), "-I", "16m", "-U", "0", "-l",
             "127.0.0.1", "-p", str(self.port), "--control", self.control, *user],
            stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        self.end()
        sys.exit(f"{opts.server} does not start")

    def stats(self):
        text = subprocess.run([self.opts.cli, "stats", "--json", "--control", self.control],
                              stdout=subprocess.PIPE, check=True).stdout
        return json.loads(text)["store"]

    def taken(self):
        """Bytes: without a fast path every page of the log is the process's, too."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) << 10

    def end(self):
        self.process.terminate()
        self.process.wait()


class Connection:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.file = self.sock.makefile("rb", 1 << 20)

    def ask(self, request, count):
        self.sock.sendall(request)
        return [self.file.readline() for _ in range(count)]

    def get(self, keys):
        """(key, flags, value) of those that are there."""
        self.sock.sendall(b"get " + b" ".join(keys) + b"\r\n")
        while (line := self.file.readline()) != b"END\r\n":
            _, key, flags, length = line.split()
            yield key, int(flags), self.file.read(int(length) + 2)[:-2]


class Writer:
    """One connection's share of a phase. Results are counters that the parent reads."""

    # old_left: keys since the second phase that the last one has not deleted
    NAMES = ("writes", "write_bytes", "refused", "reads", "hits", "wrong", "old_left")
    DONE = {b"STORED\r\n", b"DELETED\r\n", b"TOUCHED\r\n", b"NOT_FOUND\r\n"}

    def __init__(self, number, port, opts, pool):
        self.rng = random.Random(opts.seed * 1000 + number)
        self.number = number
        self.port = port
        self.pool = pool
        self.rate = opts.rate * MIB / opts.workers
        self.recent = max(1000, opts.memory * 100)
        self.next = 0
        self.old = range(0)  # keys of earlier phases, to be deleted
        self.counts = multiprocessing.Array("q", len(self.NAMES), lock=False)

    def count(self, name, by=1):
        self.counts[self.NAMES.index(name)] += by

    def key(self, number):
        return b"%d:%d" % (self.number, number)

    def any_key(self):
        return self.key(self.rng.randrange(max(0, self.next - self.recent), self.next + 1))

    def set(self, phase):
        size, ttl, overwrites = phase[2](self.rng), 0, phase[4]
        if self.rng.random() < phase[3]:
            ttl = self.rng.randint(2, 60)
        if self.rng.random() < overwrites:
            key = self.any_key()
        else:
            key = self.key(self.next)
            self.next += 1
        at = self.rng.randrange(POOL_BYTES - size)
        self.count("writes")
        self.count("write_bytes", size)
        return b"set %b %d %d %d\r\n%b\r\n" % (key, at, ttl, size, self.pool[at:at + size])

    def batch(self, phase):
        parts = [b"delete %b\r\n" % self.key(number) for number in self.old[:DELETES]]
        self.old = self.old[DELETES:]
        length = sum(map(len, parts))
        most = len(parts) + BATCH_MAX
        while length < BATCH_BYTES and len(parts) < most:
            draw = self.rng.random()
            if draw < phase[5]:
                parts.append(b"delete %b\r\n" % self.any_key())
            elif draw < phase[5] + phase[6]:
                parts.append(b"touch %b %d\r\n" % (self.any_key(), self.rng.choice((0, 30))))
            else:
                parts.append(self.set(phase))
            length += len(parts[-1])
        return parts, length

    def read_back(self, connection):
        keys = [self.any_key() for _ in range(4)]
        self.count("reads", len(keys))
        for _, at, value in connection.get(keys):
            self.count("hits")
            self.count("wrong", value != self.pool[at:at + len(value)])

    def run(self, phases, stop):
        """phases: (phase, when it ends). Whatever was asked for is answered when it stops."""
        connection = Connection(self.port)
        first = 0
        for number, (phase, end) in enumerate(phases):
            if number == 1:
                # what this phase writes over is as large as what it adds
                first = max(0, self.next - self.recent)
            is_last = number == len(phases) - 1 > 0
            if is_last:
                self.old = range(first, self.next)
            while (begun := time.monotonic()) < end and not stop.is_set():
                parts, length = self.batch(phase)
                replies = connection.ask(b"".join(parts), len(parts))
                for reply in replies:
                    self.judge(reply)
                self.read_back(connection)
                if number > 0:
                    old_left = len(self.old) if is_last else self.next - first
                    self.count("old_left", old_left - self.counts[-1])
                time.sleep(max(0, begun + length / self.rate - time.monotonic()))

    def judge(self, reply):
        """A connection that ends is no refusal: it is counted as broken."""
        if not reply.endswith(b"\n"):
            raise ConnectionError("cut off in a reply")
        if reply not in self.DONE:
            print(f"refused: {reply}", file=sys.stderr)
            self.count("refused")


class Probe:
    """A set of keys that someone asks for once a second, and writes again when it is gone."""

    def __init__(self, port):
        self.connection = Connection(port)
        self.keys = [b"probe:%d" % n for n in range(PROBES)]

    def hits(self):
        found = {key for at in range(0, PROBES, 100)
                 for key, _, _ in self.connection.get(self.keys[at:at + 100])}
        lost = [key for key in self.keys if key not in found]
        value = b"p" * PROBE_BYTES
        self.connection.ask(b"".join(b"set %b 0 0 %d\r\n%b\r\n" % (key, PROBE_BYTES, value)
                                     for key in lost), len(lost))
        return len(found)


def sample(server, probe, begun, phase, counts):
    store = server.stats()
    used = store["log_bytes"] - store["log_free_bytes"]
    return {"sec": round(time.monotonic() - begun, 1), "phase": phase, "taken": server.taken(),
            "live": store["key_value_bytes"], "log": store["log_bytes"], "log_used": used,
            "not_live": used - store["item_bytes"], "index": store["index_bytes"],
            "free_segments": store["log_free_bytes"] // store["segment_bytes"],
            "items": store["items"], "evictions": store["evicted"], "expired": store["expired"],
            "written": counts["write_bytes"], "old_left": counts["old_left"],
            "probe_hits": probe.hits()}


def show(opts, name, row):
    if sys.stderr.isatty():
        limit = opts.memory * MIB
        print(f"\r{name}: {row['sec']:.0f} s, {row['phase']}, taken {row['taken'] / limit:.3f}, "
              f"live {row['live'] / limit:.3f} of -m\033[K", end="", file=sys.stderr)


def total(writers):
    return {key: sum(writer.counts[i] for writer in writers)
            for i, key in enumerate(Writer.NAMES)}


def run(opts, folder, name, plan, is_enough=lambda rows: False):
    """Runs phases [(phase, seconds)] against a daemon of their own: samples and counts."""
    server = Server(opts, folder, name)
    pool = random.Random(opts.seed).randbytes(POOL_BYTES)
    writers = [Writer(n, server.port, opts, pool) for n in range(opts.workers)]
    begun = time.monotonic()
    ends, rows = [], []
    for phase, seconds in plan:
        ends.append((phase, (ends[-1][1] if ends else begun) + seconds))
    stop = multiprocessing.Event()
    children = [multiprocessing.Process(target=writer.run, args=(ends, stop))
                for writer in writers]
    try:
        for child in children:
            child.start()
        probe = Probe(server.port)
        for phase, end in ends:
            while time.monotonic() < end - 0.5 and not is_enough(rows):
                time.sleep(max(0, begun + len(rows) + 1 - time.monotonic()))
                rows.append(sample(server, probe, begun, phase[0], total(writers)))
                show(opts, name, rows[-1])
        stop.set()
        for child in children:
            child.join()
        broken = sum(child.exitcode != 0 for child in children)
    finally:
        for child in children:
            if child.is_alive():
                child.terminate()
        server.end()
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    return rows, total(writers) | {"connections_broken": broken}


def filled(rows):
    """Samples from a little after the first eviction on."""
    first = next((i for i, row in enumerate(rows) if row["evictions"] > 0), len(rows))
    return rows[first + SETTLE_SEC:]


def settled(rows, opts):
    """Samples of the last phase from when -m was written again without what was there before."""
    last = [row for row in rows if row["phase"] == PHASES[-1][0]]
    gone = next((i for i, row in enumerate(last) if row["old_left"] == 0), len(last))
    return [row for row in last[gone:]
            if row["written"] - last[gone]["written"] >= ROUNDS * opts.memory * MIB]


def again(rows, opts):
    """Of a fresh daemon, samples from when -m was written as often again."""
    full = filled(rows)
    return [row for row in full
            if row["written"] - full[0]["written"] >= ROUNDS * opts.memory * MIB]


def utilisation(rows, opts):
    """Key and value bytes of -m, the mean of the last quarter."""
    last = rows[-max(1, len(rows) // 4):]
    return sum(row["live"] for row in last) / len(last) / (opts.memory * MIB)


def log_filled(rows):
    """Key and value bytes of the log, the mean of the last quarter."""
    last = rows[-max(1, len(rows) // 4):]
    return sum(row["live"] / row["log"] for row in last) / len(last)


def summary(opts, rows, counts, fresh_rows, fresh_counts):
    limit = opts.memory * MIB
    full = filled(rows)
    phases = []
    for phase in PHASES:
        part = [row for row in full if row["phase"] == phase[0]]
        if part:
            phases.append({
                "phase": phase[0],
                "taken_min": round(min(row["taken"] for row in part) / limit, 4),
                "taken_max": round(max(row["taken"] for row in part) / limit, 4),
                "utilisation": round(utilisation(part, opts), 4),
                "items": part[-1]["items"],
                "probe_hit_ratio": round(sum(row["probe_hits"] for row in part) /
                                         len(part) / PROBES, 4)})
    off = [row for row in full if abs(row["taken"] / limit - 1) > opts.tolerance / 100]
    last, fresh_full = settled(rows, opts), again(fresh_rows, opts)
    if not full or not fresh_full or not last:
        sys.exit("the memory never filled (again): more --seconds or less -m")
    churned, fresh = log_filled(last), log_filled(fresh_full)
    broken = []
    if off:
        worst = max(off, key=lambda row: abs(row["taken"] / limit - 1))
        broken.append(f"{len(off)} of {len(full)} samples off -m, worst "
                      f"{worst['taken'] / limit:.4f} at {worst['sec']:.0f} s")
    for each in (counts, fresh_counts):
        broken += [f"{each[name]} {name}" for name in ("refused", "wrong", "connections_broken")
                   if each[name]]
    if churned < fresh - opts.lost / 100:
        broken.append(f"the last phase fills {churned:.4f} of the log, of a fresh daemon's "
                      f"{fresh:.4f}")
    return {"memory_mib": opts.memory, "seconds": opts.seconds, "seed": opts.seed,
            "phases": phases, "samples": len(rows), "samples_full": len(full),
            "utilisation_last": round(utilisation(last, opts), 4),
            "utilisation_fresh": round(utilisation(fresh_full, opts), 4),
            "log_filled_last": round(churned, 4), "log_filled_fresh": round(fresh, 4),
            "counts": counts, "broken": broken}


# --- the picture ---

WIDTH, PANEL, LEFT, TOP = 860, 150, 60, 24


def panel(rows, number, title, low, high, lines):
    """One diagram: lines are (colour, name, value of a row)."""
    top = TOP + number * (PANEL + 40)
    end = rows[-1]["sec"]

    def point(row, value):
        part = (min(max(value, low), high) - low) / (high - low)
        return f"{LEFT + row['sec'] / end * (WIDTH - LEFT - 10):.1f},{top + PANEL * (1 - part):.1f}"

    out = [f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{title}</text>',
           f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 10}" height="{PANEL}" '
           'fill="none" stroke="#888"/>']
    for step in range(5):
        value = low + (high - low) * step / 4
        y = top + PANEL * (1 - step / 4)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" '
                   f'stroke="#ddd"/><text x="{LEFT - 6}" y="{y + 4:.1f}" '
                   f'text-anchor="end">{value:.4g}</text>')
    for i, (colour, name, value_of) in enumerate(lines):
        points = " ".join(point(row, value_of(row)) for row in rows)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                   'stroke-width="1.5"/>'
                   f'<text x="{WIDTH - 14 - 140 * (len(lines) - 1 - i)}" y="{top - 6}" '
                   f'fill="{colour}" text-anchor="end">{name}</text>')
    for row, before in zip(rows[1:], rows):
        if row["phase"] != before["phase"]:
            x = point(row, low).split(",", maxsplit=1)[0]
            out.append(f'<line x1="{x}" x2="{x}" y1="{top}" y2="{top + PANEL}" stroke="#888" '
                       'stroke-dasharray="4 3"/>')
    return out


def draw(rows, opts):
    limit = opts.memory * MIB
    items_max = max(row["items"] for row in rows) / 1e6
    out = panel(rows, 0, "of -m", 0, 1.1, [
        ("#0a6", "key and value bytes", lambda row: row["live"] / limit),
        ("#c60", "log", lambda row: row["log"] / limit),
        ("#06c", "process", lambda row: row["taken"] / limit)])
    out += panel(rows, 1, "process, of -m", 0.96, 1.04, [
        ("#06c", "process", lambda row: row["taken"] / limit)])
    out += panel(rows, 2, "items, millions", 0, items_max, [
        ("#0a6", "items", lambda row: row["items"] / 1e6)])
    out += panel(rows, 3, "probe set, hit ratio", 0, 1, [
        ("#06c", "hits", lambda row: row["probe_hits"] / PROBES)])
    bottom = TOP + 4 * (PANEL + 40) - 20
    for i, row in enumerate(rows):
        if i == 0 or row["phase"] != rows[i - 1]["phase"]:
            x = LEFT + row["sec"] / rows[-1]["sec"] * (WIDTH - LEFT - 10)
            out.append(f'<text x="{x + 3:.1f}" y="{bottom}">{row["phase"]}</text>')
    out.append(f'<text x="{WIDTH - 10}" y="{bottom}" text-anchor="end">'
               f'{rows[-1]["sec"]:.0f} s</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 10}" '
            'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" '
            'fill="#fff"/>\n' + "\n".join(out) + "\n</svg>\n")


def main():
    opts = options()
    plan = [(phase, opts.seconds * phase[1]) for phase in PHASES]
    phase, seconds = plan[-1]
    plan[-1] = phase, seconds * LONGER
    with tempfile.TemporaryDirectory() as folder:
        rows, counts = run(opts, folder, "churned", plan,
                           lambda rows: rows and rows[-1]["sec"] >= opts.seconds and
                           len(settled(rows, opts)) >= SETTLED)
        fresh_rows, fresh_counts = run(opts, folder, "fresh", [(phase, LONGER * seconds)],
                                       lambda rows: len(again(rows, opts)) >= SETTLED)
    found = summary(opts, rows, counts, fresh_rows, fresh_counts)
    if opts.svg:
        with open(opts.svg, "w", encoding="ascii") as file:
            file.write(draw(rows, opts))
    if opts.json:
        print(json.dumps(found | {"rows": rows}))
    else:
        print(f"-m {opts.memory}, {opts.seconds} s, {counts['writes']:,} writes of "
              f"{counts['write_bytes'] / MIB:,.0f} MiB, {found['samples_full']} samples once full")
        print(f"{'phase':<12} {'process, of -m':>16} {'key+value, of -m':>17} {'items':>11} "
              f"{'probe hits':>10}")
        for row in found["phases"]:
            print(f"{row['phase']:<12} {row['taken_min']:>8.4f}-{row['taken_max']:.4f} "
                  f"{row['utilisation']:>17.4f} {row['items']:>11,} "
                  f"{row['probe_hit_ratio']:>10.3f}")
        print(f"the last phase: {found['utilisation_last']:.4f} of -m, "
              f"{found['log_filled_last']:.4f} of the log; on a fresh daemon: "
              f"{found['utilisation_fresh']:.4f} and {found['log_filled_fresh']:.4f}")
    for line in found["broken"]:
        print(f"broken: {line}", file=sys.stderr)
    sys.exit(1 if found["broken"] else 0)


main()
