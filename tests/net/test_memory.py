#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""-m is for everything together: resident pages and the kernel's maps, each page once.

Method: fills a daemon, with and without the fast path, several times over with items of one size
after the other, so that the index grows while the log is full; with connections that hold buffers.
After each fill what the process and its maps take, as the kernel counts it, is compared with -m.
The long form is the same at -m 1024. bench/churn.py shifts sizes over time, from tens of bytes to
megabytes, looks every second, and compares what still fits at the end with a fresh daemon.
"""

import contextlib
import os
import re
import subprocess
import sys
import time

import lib_e2e as e2e

LONG = os.environ.get("XC_TEST_LONG") == "1"
BUDGET_SEC = int(os.environ.get("XC_TEST_BUDGET_SEC", "600"))
MIB = 1 << 20
LIMIT_MIB = 1024 if LONG else 128
# key and value bytes; how much of -m is written of it
SHAPES = [(20, 4000, 1.2), (30, 300, 1.3), (16, 32, 1.0), (40, 3000, 1.2)]
OVER = 0.02
UNDER = 0.04  # the log gives whole extents back, and holds a reserve of untouched segments
CONNS = 200


def field(path, name):
    with open(path, encoding="ascii") as file:
        found = re.search(rf"^{name}:\s+(\d+)", file.read(), re.M)
    return int(found.group(1)) if found else 0


def map_bytes(daemon, rig):
    """Every map below the instance's pins and every extent of the log, as the kernel accounts."""
    total = 0
    pid = daemon.process.pid
    ids = set()
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(FileNotFoundError):
            number = field(f"/proc/{pid}/fdinfo/{fd}", "map_id")
            if number and number not in ids:
                ids.add(number)
                total += field(f"/proc/{pid}/fdinfo/{fd}", "memlock")
    folder = f"{rig.pin_root}/e2e/v1"
    if os.path.isdir(folder):
        dump = e2e.run("bpftool", "-j", "map", "dump", "pinned", f"{folder}/xc_seg")
        total += 16 * MIB * dump.count('"key"')
    return total


def taken(daemon, rig):
    """Bytes: private pages, the program's files, and the log's memory with the kernel's maps."""
    status = f"/proc/{daemon.process.pid}/status"
    anon = field(status, "RssAnon") << 10
    if daemon.fast:
        return anon + daemon.program_bytes + map_bytes(daemon, rig)
    return anon + ((field(status, "RssFile") + field(status, "RssShmem")) << 10)


def start(rig, fast):
    flags = ["--allow", "10.78.0.0/24"] if fast else ["--no-fastpath"]
    daemon = e2e.Daemon(rig, *flags, memory=LIMIT_MIB)
    daemon.fast = fast
    daemon.program_bytes = daemon.stats()["memory.program_bytes"]
    return daemon


def total(daemon):
    return daemon.stats()["memory.total_bytes"]


def fill(rig, shape, mib=LIMIT_MIB):
    key_len, value_len, share = shape
    count = int(mib * MIB * share / (key_len + value_len + 24))
    value = b"m" * value_len
    with rig.tcp() as stream:
        for first in range(0, count, 1000):
            stream.sendall(b"".join(
                b"set %0*d 0 0 %d noreply\r\n%s\r\n" % (key_len, n, value_len, value)
                for n in range(first, min(count, first + 1000))))
        stream.sendall(b"version\r\n")
        assert stream.recv(100).startswith(b"VERSION")


def hold(rig, stack):
    """Connections that each have half a command in the daemon's buffer."""
    for _ in range(CONNS):
        stack.enter_context(rig.tcp()).sendall(b"set half 0 0 1500\r\n" + b"h" * 1000)


def check(fast):
    with e2e.Rig("veth") as rig, contextlib.ExitStack() as stack:
        daemon = start(rig, fast)
        hold(rig, stack)
        for shape in SHAPES:
            fill(rig, shape)
            time.sleep(1.5)  # the limit is looked at four times a second; idle workers once
            limit = LIMIT_MIB * MIB
            now = taken(daemon, rig)
            stats = daemon.stats()
            print(f"# fast path {'on' if fast else 'off'}, values of {shape[1]}: "
                  f"{now / limit:.3f} of -m, {stats['daemon.items']} items, "
                  f"index {stats['store.index_bytes'] / MIB:.0f} MiB")
            fixed = 0 if LIMIT_MIB >= 1024 else 32 * MIB
            granule = 8 * MIB if fast else 0
            assert now <= limit * (1 + OVER) + min(fixed, granule), now / limit
            assert now >= limit * (1 - UNDER) - granule - fixed // 4, now / limit
            assert stats["daemon.evictions"] > 0
            assert abs(stats["memory.total_bytes"] - now) < 0.02 * limit + granule
        half = LIMIT_MIB // 2
        assert daemon.ask(b"cache_memlimit %d\r\n" % half, b"\r\n") == b"OK\r\n"
        time.sleep(3)
        now = taken(daemon, rig)
        print(f"# cache_memlimit: {now / (half * MIB):.3f} of half")
        assert now <= half * MIB * (1 + OVER) + granule, now / (half * MIB)
        assert daemon.stats()["daemon.items"] > 0
        assert daemon.stats()["daemon.limit_bytes"] == half * MIB
        for mib in (LIMIT_MIB, 2 * LIMIT_MIB):
            limit = mib * MIB
            assert daemon.ask(b"cache_memlimit %d\r\n" % mib, b"\r\n") == b"OK\r\n"
            e2e.wait_until(lambda want=limit: total(daemon) > want * (1 - UNDER) - 2 * granule, 20,
                           f"the log grows to {mib} MiB")
            fill(rig, SHAPES[3], mib)
            time.sleep(1.5)
            now = taken(daemon, rig)
            print(f"# cache_memlimit: {now / limit:.3f} of {mib} MiB")
            assert now <= limit * (1 + OVER) + granule, now / limit
            assert now >= limit * (1 - 2 * UNDER) - 2 * granule, now / limit
        up = daemon.ask(b"cache_memlimit %d\r\n" % (4 * LIMIT_MIB + 1), b"\r\n")
        assert up.startswith(b"MEMLIMIT_ADJUST_FAILED"), up
        daemon.stop()


def limit_is_kept_without_fast_path():
    check(False)


def limit_is_kept_with_fast_path():
    check(True)


def limit_is_kept_and_memory_stays_usable_while_sizes_shift():
    # the fresh daemon takes about as long as the last of the phases, a quarter
    seconds = max(60, min(600, BUDGET_SEC * 2 // 3)) if LONG else 30
    # What is dead in segments that few writes have reached yet goes slowly: after so short a time
    # it is 2 to 5 percent more than a fresh daemon has.
    lost = 3 if LONG else 6
    churn = subprocess.run(
        ["bench/churn.py", "-m", str(LIMIT_MIB), "--seconds", str(seconds), "--lost", str(lost),
         "--server", f"{e2e.BUILD}/xdpcached", "--cli", f"{e2e.BUILD}/xdpcache"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print("".join(f"# {line}\n" for line in churn.stdout.splitlines()), end="")
    assert churn.returncode == 0, churn.stdout


sys.exit(e2e.main([
    limit_is_kept_without_fast_path,
    limit_is_kept_with_fast_path,
    limit_is_kept_and_memory_stays_usable_while_sizes_shift,
]))
