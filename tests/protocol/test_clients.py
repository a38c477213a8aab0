#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Stock clients work unchanged: pymemcache and libmemcached's conformance program.

Method: their own calls against a real server."""

import shutil
import subprocess
import sys
import time

import servers
import tap

SERVER = None


def pymemcache_client():
    try:
        from pymemcache.client.base import Client
        from pymemcache.serde import pickle_serde
    except ImportError:
        raise tap.Skip("python3-pymemcache is not installed") from None
    client = Client(SERVER.address, serde=pickle_serde, timeout=5)
    client.flush_all()
    return client


def pymemcache_storage_commands_work():
    client = pymemcache_client()
    assert client.set("a", {"x": [1, 2]}, noreply=False)
    assert client.get("a") == {"x": [1, 2]}
    assert not client.add("a", 1, noreply=False)
    assert client.replace("a", "text", noreply=False)
    assert client.get("a") == "text"
    assert client.get("absent") is None
    assert client.delete("a", noreply=False)
    assert not client.delete("a", noreply=False)
    client.set("b", b"raw")
    assert client.append("b", b"+end", noreply=False)
    assert client.prepend("b", b"start+", noreply=False)
    assert client.get("b") == b"start+raw+end"


def pymemcache_cas_works():
    client = pymemcache_client()
    client.set("a", "one", noreply=False)
    value, unique = client.gets("a")
    assert value == "one"
    assert client.cas("a", "two", unique) is True
    assert client.cas("a", "three", unique) is False
    assert client.cas("absent", "x", unique) is None


def pymemcache_many_keys_work():
    client = pymemcache_client()
    items = {f"key{i}": f"value{i}" * 50 for i in range(1000)}
    assert client.set_many(items, noreply=False) == []
    assert client.get_many(list(items) + ["absent"]) == items
    assert len(client.gets_many(list(items))) == 1000
    assert client.delete_many(list(items), noreply=False)
    assert client.get_many(list(items)) == {}


def pymemcache_arithmetic_works():
    client = pymemcache_client()
    client.set("n", "10", noreply=False)
    assert client.incr("n", 5) == 15
    assert client.decr("n", 100) == 0
    assert client.incr("absent", 1) is None


def pymemcache_expiry_works():
    client = pymemcache_client()
    client.set("a", "x", expire=1, noreply=False)
    client.set("b", "y", expire=1, noreply=False)
    assert client.touch("b", 100, noreply=False)
    assert client.get("a") == "x"
    time.sleep(2.2)
    assert client.get("a") is None and client.get("b") == "y"


def pymemcache_noreply_pipeline_works():
    client = pymemcache_client()
    for i in range(5000):
        client.set(f"k{i % 100}", f"v{i}", noreply=True)
    assert client.get("k99") == "v4999"
    assert client.stats()[b"curr_items"] >= 100


def memccapable_ascii_passes():
    program = shutil.which("memccapable")
    if not program:
        raise tap.Skip("memccapable (libmemcached-tools) is not installed")
    host, port = SERVER.address
    result = subprocess.run([program, "-h", host, "-p", str(port), "-a", "-t", "10"],
                            capture_output=True, text=True, timeout=120, check=False)
    print("# " + result.stdout.replace("\n", "\n# "))
    assert result.returncode == 0 and "[FAIL]" not in result.stdout
    assert result.stdout.count("[pass]") >= 25


TESTS = [
    pymemcache_storage_commands_work,
    pymemcache_cas_works,
    pymemcache_many_keys_work,
    pymemcache_arithmetic_works,
    pymemcache_expiry_works,
    pymemcache_noreply_pipeline_works,
    memccapable_ascii_passes,
]

if __name__ == "__main__":
    with servers.start_ours() as SERVER:
        STATUS = tap.run(TESTS)
    sys.exit(STATUS)
