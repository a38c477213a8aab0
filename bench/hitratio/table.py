#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Miss ratios of every policy on every trace of a directory, beside a simulator's.

DIR holds traces and REFERENCE.tsv: trace, mode (obj or bytes), frac, cache_size, then a column a
policy with the simulator's miss ratio (bytes: of objects/of bytes). Prints a Markdown table;
--write puts it between the two marks of a document instead. Fails if a policy is worse than its
bound.
"""

import argparse
import csv
import glob
import json
import os
import subprocess
import sys

COLUMNS = {"s3fifo": "s3-fifo", "lru": "lru", "lfu": "lfu", "random": "random", "sieve": "sieve",
           "fifo": "fifo", "tinylfu": "wtinyLFU"}
BOUND = {"tinylfu": 0.02, "sieve": 0.02}
BOUND_ELSE = 0.01
OBJECTS_MIN = 1000
CAPACITY_OFF = 0.01
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def measure(args, trace, mode, size, policy):
    file = next(iter(glob.glob(os.path.join(args.dir, trace + ".*"))), None)
    unit = "--objects" if mode == "obj" else "--bytes"
    done = subprocess.run([args.hitratio, "--trace", file, "--policy", policy, unit, str(size),
                           "--json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def ratios(result, mode):
    return [result["miss_ratio"]] + ([result["byte_miss_ratio"]] if mode == "bytes" else [])


def reference(cell):
    """Numbers, or None where the simulator has none (1.0000: its rounding of tiny queues)."""
    if not cell or cell == "NA" or cell == "1.0000":
        return None
    return [float(x) for x in cell.split("/")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dir")
    parser.add_argument("--hitratio", default="build/bench/hitratio")
    parser.add_argument("--policy", action="append", choices=list(COLUMNS))
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--min", type=int, default=0, help="skip sizes of fewer objects")
    parser.add_argument("--max", type=int, default=1 << 62, help="and of more")
    parser.add_argument("--mode", choices=["obj", "bytes"], help="only these rows")
    args = parser.parse_args()
    policies = args.policy or list(COLUMNS)
    lines = ["| Trace | Size | " + " | ".join(policies) + " |",
             "|---|---" + "|---" * len(policies) + "|"]
    bad, copied, objects = [], {p: [] for p in policies}, {}
    with open(os.path.join(args.dir, "REFERENCE.tsv"), encoding="ascii") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        trace, mode, size = row["trace"], row["mode"], int(row["cache_size"])
        if mode == "obj":
            objects[trace, row["frac"]] = size
        counted = objects[trace, row["frac"]]
        if not args.min <= counted <= args.max or args.mode not in (None, mode):
            continue
        judged = counted >= OBJECTS_MIN
        cells, ours = [], {}
        for policy in policies:
            result = measure(args, trace, mode, size, policy)
            ours[policy] = got = ratios(result, mode)
            wanted = reference(row[COLUMNS[policy]])
            name = f"{trace} {mode} {size} {policy}"
            if judged and result["evicted"]:
                copied[policy].append(result["copied_per_written"])
                if abs(result["capacity"] / size - 1) > CAPACITY_OFF:
                    bad.append(f"{name}: capacity {result['capacity']}")
            cell = "/".join(f"{x:.4f}" for x in got)
            if wanted:
                off = [g - w for g, w in zip(got, wanted)]
                cell += " (" + "/".join(f"{x:+.4f}" for x in off) + ")"
                if judged and max(off) > BOUND.get(policy, BOUND_ELSE):
                    bad.append(f"{name}: {cell}")
                    cell = f"**{cell}**"
            cells.append(cell)
        rivals = [ours[p] for p in ("lru", "fifo", "lfu") if p in ours]
        if judged and rivals and "s3fifo" in ours:
            off = max(g - min(x) for g, x in zip(ours["s3fifo"], zip(*rivals)))
            if off > BOUND_ELSE:
                bad.append(f"{trace} {mode} {size}: the default is {off:.4f} worse than the best")
        unit = f"{size}" if mode == "obj" else f"{size / 1e6:.1f} MB"
        lines.append(f"| {trace} | {unit}{'' if judged else ' *'} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    lines.append("| bytes copied per byte written | mean | " + " | ".join(
        f"{sum(c) / len(c):.2f}" if c else "-" for c in copied.values()) + " |")
    table = "\n".join(lines) + "\n"
    if args.write:
        with open(args.write, encoding="utf-8") as file:
            head, rest = file.read().split(BEGIN)
        with open(args.write, "w", encoding="utf-8") as file:
            file.write(head + BEGIN + table + END + rest.split(END)[1])
    else:
        print(table, end="")
    for line in bad:
        print("too high:", line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
