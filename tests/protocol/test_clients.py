#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Other people's clients work unchanged: pymemcache, pylibmc and PHP's over libmemcached, two of
Perl, one of Go, libmemcached's conformance program; and of those that speak the binary protocol
bmemcached, pylibmc, PHP's, memjs and the conformance program.

Method: their own calls against a real server. A client in another language is a program of
clients/, which prints a line for each thing it checked."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import servers
import tap

SERVER = None
CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")
GO_PACKAGES = "/usr/share/gocode"


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


def memccapable_passes(protocol, least):
    program = shutil.which("memccapable")
    if not program:
        raise tap.Skip("memccapable (libmemcached-tools) is not installed")
    host, port = SERVER.address
    result = subprocess.run([program, "-h", host, "-p", str(port), protocol, "-t", "10"],
                            capture_output=True, text=True, timeout=120, check=False)
    print("# " + result.stdout.replace("\n", "\n# "))
    assert result.returncode == 0 and "[FAIL]" not in result.stdout
    assert result.stdout.count("[pass]") >= least


def memccapable_ascii_passes():
    memccapable_passes("-a", 25)


def memccapable_binary_passes():
    memccapable_passes("-b", 27)


def bmemcached_works():
    try:
        import bmemcached
    except ImportError:
        raise tap.Skip("python3-binary-memcached is not installed") from None
    client = bmemcached.Client("%s:%d" % SERVER.address)
    client.flush_all()
    items = {f"key{i}": "value" * i for i in range(100)}
    assert client.set("a", {"x": [1, 2]}, time=100) and client.get("a") == {"x": [1, 2]}
    assert not client.add("a", 1) and client.replace("a", "text") and client.get("a") == "text"
    assert client.get("absent") is None
    value, unique = client.gets("a")
    assert value == "text" and client.cas("a", "new", unique) and not client.cas("a", "x", unique)
    assert client.incr("n", 5, default=40) == 40 and client.incr("n", 5) == 45
    assert client.decr("n", 100) == 0
    assert client.set_multi(items) == [] and client.get_multi([*items, "absent"]) == items
    assert client.delete("a") and client.get("a") is None
    assert client.delete_multi(list(items)) and client.get_multi(list(items)) == {}
    large = os.urandom(300000)
    assert client.set("large", large, compress_level=0) and client.get("large") == large
    assert int(next(iter(client.stats().values()))["curr_items"]) >= 1
    client.disconnect_all()


def libmemcached_binary_works():
    try:
        import pylibmc
    except ImportError:
        raise tap.Skip("python3-pylibmc is not installed") from None
    client = pylibmc.Client(["%s:%d" % SERVER.address], binary=True,
                            behaviors={"cas": True, "tcp_nodelay": True})
    client.flush_all()
    items = {f"key{i}": "value" * i for i in range(100)}
    assert client.set("a", "one") and client.append("a", "+") and client.prepend("a", "-")
    assert client.get("a") == "-one+" and client.gets("a")[0] == "-one+"
    assert client.cas("a", "two", client.gets("a")[1]) and client.touch("a", 100)
    assert client.set_multi(items) == [] and client.get_multi([*items, "absent"]) == items
    client.set("n", 10)
    assert client.incr("n", 5) == 15 and client.decr("n", 20) == 0
    assert client.delete("a") and client.get("a") is None


def run_client(command, least, **options):
    """Runs a program of clients/; it must have checked that many things, all of them right."""
    if not shutil.which(command[0]):
        raise tap.Skip(f"{command[0]} is not installed")
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False,
                            **options)
    wrong = [line for line in result.stdout.splitlines() if not line.startswith("ok ")]
    assert result.returncode == 0 and not wrong, f"{wrong}\n{result.stderr}"
    assert result.stdout.count("ok ") >= least, result.stdout


def address():
    return "%s:%d" % SERVER.address


def perl_cache_memcached_works():
    run_client(["perl", f"{CLIENTS}/cache_memcached.pl", address(), "Cache::Memcached"], 22)


def perl_cache_memcached_fast_works():
    run_client(["perl", f"{CLIENTS}/cache_memcached.pl", address(), "Cache::Memcached::Fast"], 29)


def php_memcached_works():
    host, port = SERVER.address
    run_client(["php", f"{CLIENTS}/memcached.php", host, str(port), "text"], 30)


def php_memcached_in_binary_works():
    host, port = SERVER.address
    run_client(["php", f"{CLIENTS}/memcached.php", host, str(port), "binary"], 32)


def node_memjs_works():
    modules = os.path.abspath(f"{servers.BUILD}/tests/npm/node_modules")
    if not os.path.isdir(f"{modules}/memjs"):
        raise tap.Skip("npm could not fetch memjs (make test tries)")
    run_client(["node", f"{CLIENTS}/memjs.js", address()], 25,
               env={**os.environ, "NODE_PATH": modules})


def go_gomemcache_works():
    if not shutil.which("go"):
        raise tap.Skip("golang-go is not installed")
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/gomemcache"
        # Debian's packages of Go code lie in a GOPATH of their own.
        subprocess.run(["go", "build", "-o", program, f"{CLIENTS}/gomemcache.go"], check=True,
                       timeout=300, env={**os.environ, "GO111MODULE": "off", "GOPATH": GO_PACKAGES,
                                         "GOCACHE": f"{folder}/cache", "GOFLAGS": ""})
        run_client([program, address()], 28)


def pylibmc_client(server, **options):
    try:
        import pylibmc
    except ImportError:
        raise tap.Skip("python3-pylibmc is not installed") from None
    return pylibmc.Client([server], **options)


def pylibmc_works():
    client = pylibmc_client(address(), behaviors={"cas": True})
    client.flush_all()
    assert client.set("a", {"x": [1, 2]}) and client.get("a") == {"x": [1, 2]}
    assert client.get("absent") is None and not client.add("a", 1)
    items = {f"key{i}": f"value{i}" * 50 for i in range(1000)}
    assert client.set_multi(items) == []
    assert client.get_multi(list(items) + ["absent"]) == items
    value, unique = client.gets("a")
    assert value == {"x": [1, 2]} and client.cas("a", "two", unique)
    assert not client.cas("a", "three", unique) and client.get("a") == "two"
    client.set("n", 10)
    assert client.incr("n", 5) == 15 and client.decr("n", 20) == 0
    big = os.urandom(1000000)
    assert client.set("big", big) and client.get("big") == big
    client.set("bytes", b"END\r\n\0get a\r\n")
    assert client.get("bytes") == b"END\r\n\0get a\r\n"
    client.set("a", "x", time=1)
    client.set("b", "y", time=1)
    assert client.touch("b", 100)
    time.sleep(2.2)
    assert client.get("a") is None and client.get("b") == "y"
    assert int(client.get_stats()[0][1]["curr_items"]) > 1000
    assert client.delete_multi(list(items)) and client.get_multi(list(items)) == {}


def libmemcached_over_udp_writes():
    # libmemcached sends over UDP and reads no reply; what it wrote is there for TCP.
    client = pylibmc_client("udp:" + address())
    for i in range(100):
        client.set(f"udp{i}", f"value{i}" * 20)
    client.delete("udp7")
    reader = pylibmc_client(address())
    want = {f"udp{i}": f"value{i}" * 20 for i in range(100) if i != 7}
    deadline = time.monotonic() + 10
    while reader.get_multi([f"udp{i}" for i in range(100)]) != want:
        assert time.monotonic() < deadline, "writes over UDP did not all arrive"
        time.sleep(0.05)


TESTS = [
    pymemcache_storage_commands_work,
    pymemcache_cas_works,
    pymemcache_many_keys_work,
    pymemcache_arithmetic_works,
    pymemcache_expiry_works,
    pymemcache_noreply_pipeline_works,
    memccapable_ascii_passes,
    memccapable_binary_passes,
    bmemcached_works,
    libmemcached_binary_works,
    pylibmc_works,
    libmemcached_over_udp_writes,
    perl_cache_memcached_works,
    perl_cache_memcached_fast_works,
    php_memcached_works,
    php_memcached_in_binary_works,
    node_memjs_works,
    go_gomemcache_works,
]

if __name__ == "__main__":
    with servers.start_ours() as SERVER:
        STATUS = tap.run(TESTS)
    sys.exit(STATUS)
