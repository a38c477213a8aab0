#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The log's length follows cache_memlimit and -m while it serves, and outlives the process.

Method: versions of many keys are written and read back over TCP, and a resident key asked for over
UDP, while the limit goes down and up again beyond -m; no answer may be older than the last
acknowledged write. Daemons are killed in the midst of such a move and started again with another
-m. With the log in pinned maps and in a file.
"""

import os
import random
import sys
import threading
import time

import lib_e2e as e2e

ALLOW = ["--allow", "10.78.0.0/24"]
LONG = os.environ.get("XC_TEST_LONG") == "1"
SEED = int(os.environ.get("XC_TEST_SEED") or time.time_ns() & 0xffffffff)
EXTENT_MIB = 16
KEYS = 20000
VALUE = 2000
LIMITS = (24, 128, 40, 256, 64)  # MiB, one after the other
PAUSE_SEC = 0.4
KILLS = 60 if LONG else 8


class Writer(threading.Thread):
    """Versions of its keys; each value names its key and version. Reads some of them back."""

    def __init__(self, rig, seed):
        super().__init__()
        self.rig, self.rand = rig, random.Random(seed)
        self.prefix = b"w%d-" % seed
        self.acked = {}  # key -> versions it may have: the last acknowledged, and what may be
        self.keys = []
        self.ending, self.found, self.gone, self.wrong = False, 0, 0, []

    @staticmethod
    def value(key, version):
        return (b"%s %d " % (key, version)).ljust(VALUE, b".")

    def write(self, s, file):
        key = self.prefix + b"%d" % self.rand.randrange(KEYS)
        if key not in self.acked:
            self.keys.append(key)
        version = max(self.acked.get(key, [0])) + 1
        self.acked[key] = self.acked.get(key, [0]) + [version]
        s.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, VALUE, self.value(key, version)))
        line = file.readline()
        if not line:
            raise ConnectionResetError
        if line != b"STORED\r\n":
            self.wrong.append((key, line))
        self.acked[key] = [version]

    def read(self, s, file, key):
        s.sendall(b"get %s\r\n" % key)
        head = file.readline()
        if not head:
            raise ConnectionResetError
        if head == b"END\r\n":
            self.gone += 1
            return
        value = file.read(VALUE + 2)[:-2]
        file.readline()
        if value not in [self.value(key, version) for version in self.acked[key]]:
            self.wrong.append((key, self.acked[key], value[:40]))
        self.found += 1

    def run(self):
        try:
            with self.rig.tcp() as s, s.makefile("rb") as file:
                while not self.ending:
                    self.write(s, file)
                    self.read(s, file, self.rand.choice(self.keys))
        except OSError:
            pass

    def check(self):
        """Every key, after a restart."""
        self.found = self.gone = 0
        with self.rig.tcp() as s, s.makefile("rb") as file:
            for key in self.acked:
                self.read(s, file, key)
        assert not self.wrong, self.wrong[:3]


class Asker(threading.Thread):
    """The resident key, over UDP."""

    def __init__(self, rig, value):
        super().__init__()
        self.rig, self.want = rig, e2e.value_reply(b"hot", value, 0)
        self.ending, self.right, self.wrong = False, 0, []

    def run(self):
        with self.rig.udp() as s:
            while not self.ending:
                s.send(e2e.frame(7, b"get hot\r\n"))
                reply = s.recv(4096)[8:]
                if reply == self.want:
                    self.right += 1
                else:
                    self.wrong.append(reply[:60])
                time.sleep(0.001)


def set_limit(daemon, mib):
    assert daemon.ask(b"cache_memlimit %d\r\n" % mib, b"\r\n") == b"OK\r\n"


def log_mib(daemon):
    return daemon.stats()["store.log_bytes"] >> 20


def extents(rig):
    """Of the log, as the kernel has them: their numbers."""
    dump = e2e.run("bpftool", "-j", "map", "dump", "pinned", f"{rig.pin_root}/e2e/v1/xc_seg")
    return dump.count('"key"')


def begin(threads):
    for thread in threads:
        thread.start()


def end(threads):
    for thread in threads:
        thread.ending = True
    for thread in threads:
        thread.join()


def follows_under_load(*flags):
    with e2e.Rig("veth") as rig:
        fast = "--no-fastpath" not in flags
        daemon = e2e.Daemon(rig, *ALLOW, *flags)
        daemon.set(b"hot", b"stays")
        if fast:
            daemon.pin(b"hot")
        threads = [Writer(rig, 1), Writer(rig, 2), Asker(rig, b"stays")]
        begin(threads)
        seen = []
        try:
            for mib in LIMITS:
                set_limit(daemon, mib)
                e2e.wait_until(lambda want=mib: want * 0.6 - EXTENT_MIB < log_mib(daemon) < want,
                               20, f"a log for {mib} MiB")
                seen.append(log_mib(daemon))
                time.sleep(PAUSE_SEC)
                # pinned keys are evicted like others: it may have to come back
                if not daemon.ask(b"get hot\r\n").startswith(b"VALUE"):
                    daemon.set(b"hot", b"stays")
        finally:
            end(threads)
        first, second, asker = threads
        print(f"# log {seen} MiB at {LIMITS}; {first.found + second.found} read, "
              f"{first.gone + second.gone} gone; {asker.right} resident answers")
        assert not first.wrong and not second.wrong, (first.wrong[:2], second.wrong[:2])
        assert all(reply == b"END\r\n" for reply in asker.wrong), asker.wrong[:3]
        assert first.found > 300 and asker.right > 300, (first.found, asker.right)
        if fast:
            assert daemon.stats()["fastpath.hits"] > 300
            e2e.wait_until(lambda: extents(rig) <= 64 // EXTENT_MIB, what="extents given back")
        daemon.stop()


def limit_goes_up_and_down_under_load():
    follows_under_load("--no-fastpath")


def limit_goes_up_and_down_under_load_with_fast_path():
    follows_under_load()


def killed_amid(rig, rand, *flags):
    memory = 64
    daemon = e2e.Daemon(rig, *ALLOW, *flags, memory=memory)
    writer = Writer(rig, 1)
    for kill in range(KILLS):
        begin([writer])
        time.sleep(0.3)
        set_limit(daemon, rand.choice([mib for mib in LIMITS if mib <= 4 * memory]))
        time.sleep(rand.random() * 0.4)
        if kill % 4 == 3:
            daemon.stop()
        else:
            daemon.kill()
        end([writer])
        # the size of a file's log is fixed by -m
        memory = 64 if flags else rand.choice((48, 64, 160))
        daemon = e2e.Daemon(rig, *ALLOW, *flags, memory=memory)
        assert "starting empty" not in daemon.output(), daemon.output()
        again = Writer(rig, 1)
        again.acked, again.keys, again.rand = writer.acked, writer.keys, writer.rand
        writer = again
        writer.check()
        assert writer.found > 100, (kill, writer.found, writer.gone)
    daemon.stop()


def killed_while_the_log_moves_keeps_what_is_there():
    print(f"# XC_TEST_SEED={SEED}")
    with e2e.Rig("veth") as rig:
        path = rig.memory_file()
        try:
            killed_amid(rig, random.Random(SEED), "--no-fastpath", "-e", path)
        finally:
            os.unlink(path)


def killed_while_the_pinned_log_moves_keeps_what_is_there():
    with e2e.Rig("veth") as rig:
        killed_amid(rig, random.Random(SEED + 1))


def fill(daemon, cnt, value_len):
    with daemon.rig.tcp() as s, s.makefile("rb") as file:
        for first in range(0, cnt, 1000):
            s.sendall(b"".join(
                b"set f%d 0 0 %d noreply\r\n%s\r\n" % (n, value_len, b"v" * value_len)
                for n in range(first, first + 1000)))
        s.sendall(b"version\r\n")
        assert file.readline().startswith(b"VERSION")


def adopted_log_keeps_the_length_it_was_given():
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, *ALLOW, memory=128)
        fill(daemon, 600000, 16)  # the index takes its share
        time.sleep(1)
        items, there = daemon.stats()["daemon.items"], extents(rig)
        assert there < 128 // EXTENT_MIB, there
        for turn, (end_it, memory) in enumerate(((daemon.stop, 128), (None, 128), (None, 256),
                                                 (None, 128), (None, 64))):
            if end_it:
                end_it()
            elif turn == 1:
                daemon.kill()
            else:
                daemon.stop()
            before = extents(rig)
            daemon = e2e.Daemon(rig, *ALLOW, memory=memory)
            said = daemon.output()
            assert f"log_mib={before * EXTENT_MIB} " in said, (before, said)
            assert daemon.stats()["daemon.items"] == items, turn
            assert ("took over the last stop's state" in said) == (turn != 1), said
            if memory == 128 and turn < 2:
                time.sleep(1)
                assert extents(rig) == there, turn
            if memory == 256:
                e2e.wait_until(lambda: extents(rig) > 192 // EXTENT_MIB, what="a longer log")
            if memory == 64:
                e2e.wait_until(lambda: extents(rig) < 64 // EXTENT_MIB, what="a shorter log")
                left = daemon.stats()["daemon.items"]
                assert items // 4 < left, (left, items)
        daemon.stop()


def grace_periods(path, thread):
    """Waited for by this thread, as strace saw it."""
    with open(path, encoding="ascii") as file:
        return sum(line.startswith(f"{thread} ") and "MEMBARRIER_CMD_GLOBAL" in line and
                   "= 0" in line for line in file)


def thread_of(pid, name):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
            if file.read().strip() == name:
                return int(task)
    raise AssertionError(f"no thread {name}")


def memory_is_used_again_only_after_a_grace_period():
    """The daemon hands the kernel's grace period to the store: nothing else shows if it forgot."""
    with e2e.Rig("veth") as rig:
        path = f"{rig.folder}/strace"
        daemon = e2e.Daemon(rig, *ALLOW, wrapper=["strace", "-f", "--seccomp-bpf", "-e",
                                                  "trace=membarrier", "-o", path])
        reclaimer = thread_of(daemon.pids()[-2], "xc-reclaim")
        before, rounds = daemon.stats()["store.reclaimed_segments"], 0
        for _ in range(5):
            fill(daemon, 60000, 1500)
            now = daemon.stats()["store.reclaimed_segments"]
            assert now > before, now
            found = grace_periods(path, reclaimer)
            assert found > rounds, (found, rounds)
            before, rounds = now, found
        print(f"# {rounds} grace periods for {before} segments")
        os.kill(daemon.pids()[-2], 15)
        daemon.process.wait(20)


sys.exit(e2e.main([
    memory_is_used_again_only_after_a_grace_period,
    limit_goes_up_and_down_under_load,
    limit_goes_up_and_down_under_load_with_fast_path,
    killed_while_the_log_moves_keeps_what_is_there,
    killed_while_the_pinned_log_moves_keeps_what_is_there,
    adopted_log_keeps_the_length_it_was_given,
]))
