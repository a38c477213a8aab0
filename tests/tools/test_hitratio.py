#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Miss ratios of the store against models of the policies, written here anew and exact: no
segments, no reserve, one item leaves at a time.

Method: traces made from a fixed seed - Zipf; Zipf whose popular keys change, with scans in
between; sizes - through build/bench/hitratio and through the models, at capacities of 1,000 objects
and more. fifo, lru, sieve and s3fifo have to agree with their model in both directions. random,
with its second chance, tinylfu, whose duels are others, and lfu, which forgets the newest items
less quickly than an exact one, may not be worse. Then the traces of a directory with a simulator's
results (XC_TEST_TRACES, or ../shared/traces), if there is one, as bench/hitratio/table.py judges
them: sizes of 1,000 to 1,500 objects, with XC_TEST_LONG=1 all from 1,000 on.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import OrderedDict, deque

BUILD = os.environ.get("XC_BUILD", "build")
HITRATIO = os.path.join(BUILD, "bench", "hitratio")
SEED = int(os.environ.get("XC_TEST_SEED", "42"))
REQUESTS = 100000
KEYS = 20000
BOUND = {"sieve": 0.02, "tinylfu": 0.02}
BOUND_ELSE = 0.01

# --- the models: a set of resident keys behind access(key) -> hit ---


class Fifo:
    def __init__(self, size):
        self.size, self.keys = size, OrderedDict()

    def access(self, key):
        if key in self.keys:
            self.hit(key)
            return True
        if len(self.keys) >= self.size:
            self.keys.popitem(last=False)
        self.keys[key] = True
        return False

    def hit(self, key):
        pass


class Lru(Fifo):
    def hit(self, key):
        self.keys.move_to_end(key)


class Lfu:
    """Among the least counted the one that has been so longest."""

    def __init__(self, size):
        self.size, self.count, self.of_count, self.least = size, {}, {}, 1

    def put(self, key, count):
        self.count[key] = count
        self.of_count.setdefault(count, OrderedDict())[key] = True

    def access(self, key):
        count = self.count.get(key)
        if count:
            del self.of_count[count][key]
            if not self.of_count[count] and self.least == count:
                self.least += 1
            self.put(key, count + 1)
            return True
        if len(self.count) >= self.size:
            while not self.of_count.get(self.least):
                self.least += 1
            del self.count[self.of_count[self.least].popitem(last=False)[0]]
        self.put(key, 1)
        self.least = 1
        return False


class Sieve:
    def __init__(self, size):
        self.size, self.visited, self.ahead, self.passed = size, {}, deque(), deque()

    def access(self, key):
        if key in self.visited:
            self.visited[key] = True
            return True
        if len(self.visited) >= self.size:
            self.evict()
        self.ahead.append(key)
        self.visited[key] = False
        return False

    def evict(self):
        """ahead: from the hand to the newest; passed: from the oldest to the hand."""
        while True:
            if not self.ahead:
                self.ahead, self.passed = self.passed, deque()
            key = self.ahead.popleft()
            if not self.visited[key]:
                del self.visited[key]
                return
            self.visited[key] = False
            self.passed.append(key)


class S3Fifo:
    def __init__(self, size):
        self.small_size, self.main_size = size // 10, size - size // 10
        self.small, self.main, self.ghost, self.hits = deque(), deque(), OrderedDict(), {}

    def access(self, key):
        if key in self.hits:
            self.hits[key] = min(self.hits[key] + 1, 3)
            return True
        while len(self.hits) >= self.small_size + self.main_size:
            self.evict()
        (self.main if self.ghost.pop(key, False) else self.small).append(key)
        self.hits[key] = 0
        return False

    def evict(self):
        if len(self.main) > self.main_size or not self.small:
            key = self.main.popleft()
            if self.hits[key] > 0:
                self.hits[key] -= 1
                self.main.append(key)
            else:
                del self.hits[key]
            return
        key = self.small.popleft()
        if self.hits[key] >= 2:
            self.hits[key] = 0
            self.main.append(key)
            return
        del self.hits[key]
        self.ghost[key] = True
        if len(self.ghost) > self.main_size:
            self.ghost.popitem(last=False)


class Random:
    def __init__(self, size):
        self.size, self.place, self.keys, self.rand = size, {}, [], random.Random(1)

    def access(self, key):
        if key in self.place:
            return True
        if len(self.keys) < self.size:
            self.place[key] = len(self.keys)
            self.keys.append(key)
            return False
        at = self.rand.randrange(self.size)
        del self.place[self.keys[at]]
        self.keys[at] = key
        self.place[key] = at
        return False


class TinyLfu:
    """Exact counts, halved every ten turnovers; the window is a hundredth, main an SLRU."""

    def __init__(self, size):
        self.size, self.count, self.requests = size, {}, 0
        self.window_size = max(1, size // 100)
        self.main_size = size - self.window_size
        self.window, self.probation, self.guarded = OrderedDict(), OrderedDict(), OrderedDict()

    def access(self, key):
        self.requests += 1
        self.count[key] = min(self.count.get(key, 0) + 1, 15)
        if self.requests % (10 * self.size) == 0:
            self.count = {k: c // 2 for k, c in self.count.items() if c > 1}
        if key in self.window:
            self.window.move_to_end(key)
        elif key in self.guarded:
            self.guarded.move_to_end(key)
        elif key in self.probation:
            del self.probation[key]
            self.guarded[key] = True
            if len(self.guarded) > self.main_size * 8 // 10:
                self.probation[self.guarded.popitem(last=False)[0]] = True
        else:
            self.window[key] = True
            if len(self.window) > self.window_size:
                self.admit(self.window.popitem(last=False)[0])
            return False
        return True

    def admit(self, key):
        if len(self.probation) + len(self.guarded) >= self.main_size:
            victim = next(iter(self.probation or self.guarded))
            if self.count.get(key, 0) <= self.count.get(victim, 0):
                return
            (self.probation if self.probation else self.guarded).pop(victim)
        self.probation[key] = True


MODELS = {"fifo": Fifo, "lru": Lru, "lfu": Lfu, "sieve": Sieve, "s3fifo": S3Fifo,
          "random": Random, "tinylfu": TinyLfu}
ONE_SIDED = {"random", "tinylfu", "lfu"}

# --- traces ---


def zipf(rand, cnt, keys, theta=0.9):
    weights = [1 / (rank + 1) ** theta for rank in range(keys)]
    return rand.choices(range(keys), weights, k=cnt)


def trace_zipf(rand):
    return zipf(rand, REQUESTS, KEYS)


def trace_shifting(rand):
    """Every tenth of the trace other keys are popular; a scan of keys never seen again follows."""
    trace = []
    for part in range(10):
        trace += [(key + part * 700) % KEYS for key in zipf(rand, REQUESTS // 10 - 800, KEYS)]
        trace += range(KEYS + part * 800, KEYS + (part + 1) * 800)
    return trace


TRACES = {"zipf": trace_zipf, "shifting": trace_shifting}

# --- running ---

results = []


def verdict(name, ok, why=""):
    results.append(ok)
    print(f"{'ok' if ok else 'not ok'} {len(results)} - {name}" + (f" # {why}" if why else ""),
          flush=True)


def measure(file, policy, unit, size):
    done = subprocess.run([HITRATIO, "--trace", file, "--policy", policy, unit, str(size),
                           "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def model_ratio(policy, trace, size):
    model = MODELS[policy](size)
    return sum(not model.access(key) for key in trace) / len(trace)


def compare_with_models(folder):
    for name, make in TRACES.items():
        trace = make(random.Random(SEED))
        file = os.path.join(folder, name + ".txt")
        with open(file, "w", encoding="ascii") as out:
            out.writelines(f"key{key}\n" for key in trace)
        for size in (1000, 4000):
            for policy in MODELS:
                got = measure(file, policy, "--objects", size)
                want = model_ratio(policy, trace, size)
                off = got["miss_ratio"] - want
                bound = BOUND.get(policy, BOUND_ELSE)
                fits = off <= bound if policy in ONE_SIDED else abs(off) <= bound
                verdict(f"hitratio_{name}_{size}_{policy}_is_its_model's",
                        fits and abs(got["capacity"] / size - 1) < 0.01,
                        f"{got['miss_ratio']:.4f}, model {want:.4f}, capacity {got['capacity']}")


def compare_bytes(folder):
    """fifo by bytes: the model evicts until what is new fits."""
    rand = random.Random(SEED)
    keys = zipf(rand, REQUESTS // 2, 5000)
    sizes = {key: int(rand.lognormvariate(7, 1.2)) + 20 for key in set(keys)}
    file = os.path.join(folder, "sizes.csv")
    with open(file, "w", encoding="ascii") as out:
        out.write("time,key,size\n")
        out.writelines(f"{n},{key},{sizes[key]}\n" for n, key in enumerate(keys))
    limit = 4 << 20
    queue, held, missed, missed_bytes = OrderedDict(), 0, 0, 0
    for key in keys:
        if key in queue:
            continue
        missed, missed_bytes = missed + 1, missed_bytes + sizes[key]
        while held + sizes[key] > limit:
            held -= sizes[queue.popitem(last=False)[0]]
        queue[key] = True
        held += sizes[key]
    got = measure(file, "fifo", "--bytes", limit)
    off = [got["miss_ratio"] - missed / len(keys),
           got["byte_miss_ratio"] - missed_bytes / sum(sizes[key] for key in keys)]
    verdict("hitratio_bytes_fifo_is_its_model's", max(map(abs, off)) <= BOUND_ELSE, str(off))


def count_expiry(folder):
    """A TTL that is over before the next request of the same key: nothing is ever hit."""
    file = os.path.join(folder, "ttl.csv")
    with open(file, "w", encoding="ascii") as out:
        out.writelines(f"{n * 10},{n % 3},100,15\n" for n in range(300))
    got = measure(file, "s3fifo", "--bytes", 1 << 20)
    verdict("hitratio_expired_items_are_missed", got["misses"] == 300, str(got["misses"]))
    with open(file, "w", encoding="ascii") as out:
        out.writelines(f"{n * 10},{n % 3},100,45\n" for n in range(300))
    got = measure(file, "s3fifo", "--bytes", 1 << 20)
    verdict("hitratio_unexpired_items_are_hit", got["misses"] < 300, str(got["misses"]))


def refuse_nonsense(folder):
    file = os.path.join(folder, "bad.csv")
    with open(file, "w", encoding="ascii") as out:
        out.write("1,2,3\n1,2\n")
    done = subprocess.run([HITRATIO, "--trace", file, "--objects", "1000"], capture_output=True,
                          check=False)
    verdict("hitratio_malformed_line_fails", done.returncode == 1)
    done = subprocess.run([HITRATIO, "--trace", file, "--objects", "1000", "--policy", "mru"],
                          capture_output=True, check=False)
    verdict("hitratio_unknown_policy_fails", done.returncode == 1)
    with open(file, "w", encoding="ascii") as out:
        out.write("time,key,size,ttl\n" + "".join(f"{i},k{i % 50},100,0\n" for i in range(500)))
    # A size that is none, two sizes, one that the smallest log exceeds.
    for name, size, want in (("unit", ["--bytes", "1k"], 2), ("negative", ["--objects", "-1"], 2),
                             ("too_long", ["--bytes", "9" * 30], 2),
                             ("two", ["--objects", "10", "--bytes", "9999"], 2),
                             ("too_small", ["--bytes", "1"], 1)):
        done = subprocess.run([HITRATIO, "--trace", file] + size, capture_output=True, check=False)
        verdict(f"hitratio_size_{name}_fails", done.returncode == want)
    with open(file, "w", encoding="ascii") as out:
        out.write("time,key,size,ttl\n")
    done = subprocess.run([HITRATIO, "--trace", file, "--objects", "1000"], capture_output=True,
                          check=False)
    verdict("hitratio_empty_trace_fails", done.returncode == 1)


def compare_with_simulator():
    name = "hitratio_real_traces_are_no_worse_than_a_simulator's"
    folder = os.environ.get("XC_TEST_TRACES", "../shared/traces")
    if not os.path.exists(os.path.join(folder, "REFERENCE.tsv")):
        verdict(name + f" # SKIP no traces with a simulator's results in {folder}", True)
        return
    which = [] if os.environ.get("XC_TEST_LONG") else ["--max", "1500", "--mode", "obj"]
    done = subprocess.run(["bench/hitratio/table.py", folder, "--hitratio", HITRATIO, "--min",
                           "1000"] + which, capture_output=True, text=True, check=False)
    for line in done.stderr.splitlines():
        print("#", line)
    verdict(name, done.returncode == 0)


def main():
    if not os.path.exists(HITRATIO):
        print(f"SKIP: {HITRATIO} is not built")
        return 4
    print(f"# XC_TEST_SEED={SEED}")
    with tempfile.TemporaryDirectory() as folder:
        refuse_nonsense(folder)
        count_expiry(folder)
        compare_bytes(folder)
        compare_with_models(folder)
    compare_with_simulator()
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
