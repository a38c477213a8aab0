#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xdpcache cluster ring, and config check --cluster, from a file of nodes alone.

Property: the owner it names is the server that a stock client stores the key on; why, passed over
nodes and shares agree with it; a mistake in the file is told with its line.
Method: four memcached on lo, filled by pylibmc with libmemcached's weighted ketama; each of them is
then asked for every key directly.
"""
import json
import os
import socket
import subprocess
import sys
import time

import pylibmc

BUILD = os.environ.get("XC_BUILD", "build")
TMP = os.environ.get("TMPDIR", "/tmp")
FILE = f"{TMP}/cluster.conf"
PORTS = [11211, 21812, 21813, 21814]
WEIGHTS = [1, 2, 1, 3]
ZONES = ["row1", "row1", "row1", "row2"]
KEYS = [f"user:{i}" for i in range(200)]


def write_nodes(text=None, weights=WEIGHTS):
    nodes = ",\n".join(f'  {{ name = "n{i}"; ring_name = "127.0.0.1:{port}"; '
                       f'weight = {weights[i]}; zone = "{ZONES[i]}"; }}'
                       for i, port in enumerate(PORTS))
    with open(FILE, "w", encoding="utf-8") as out:
        out.write(text or f"copies = 2;\nnodes = (\n{nodes}\n);\n")


def cli(*words, status=0, as_json=True):
    run = subprocess.run([f"{BUILD}/xdpcache", *words, *(["--json"] if as_json else [])],
                         capture_output=True, text=True, timeout=30)
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    if status and not as_json:
        return run.stderr
    return json.loads(run.stdout) if as_json else run.stdout


def holds(port, key):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as conn:
        conn.sendall(f"get {key}\r\n".encode())
        return conn.recv(4096).startswith(b"VALUE")


def ring_owner_is_where_a_stock_client_stored_the_key():
    write_nodes()
    client = pylibmc.Client([f"127.0.0.1:{port}:{weight}" for port, weight in zip(PORTS, WEIGHTS)],
                            behaviors={"ketama_weighted": True})
    for key in KEYS:
        client.set(key, "x")
    seen = set()
    for key in KEYS:
        owner = cli("cluster", "ring", key, "--file", FILE)["copies"][0]
        assert owner["role"] == "owner" and "first at or behind the hash" in owner["why"]
        index = int(owner["node"][1:])
        assert [holds(port, key) for port in PORTS] == [i == index for i in range(4)], key
        seen.add(index)
    assert seen == {0, 1, 2, 3}


def ring_replica_lies_in_another_zone_and_says_what_was_passed_over():
    write_nodes()
    passed = 0
    for key in KEYS[:60]:
        ring = cli("cluster", "ring", "--file", FILE, key)
        owner, replica = ring["copies"]
        assert {owner["zone"], replica["zone"]} == {"row1", "row2"}, ring
        assert replica["role"] == "replica"
        for name in replica["passed_over"]:
            assert ZONES[int(name[1:])] == owner["zone"]
        assert ("zone of its own" in replica["why"]) == bool(replica["passed_over"])
        passed += bool(replica["passed_over"])
        arc = ring["arc"]
        assert arc["to"] == owner["point"]
        assert (ring["hash"] - arc["behind"] - 1) % 2**32 < arc["hashes"]
    assert passed
    text = cli("cluster", "ring", KEYS[0], "--file", FILE, as_json=False)
    ring = cli("cluster", "ring", KEYS[0], "--file", FILE)
    assert str(ring["hash"]) in text and ring["copies"][0]["why"] in text


def ring_key_in_hex_is_the_same_key():
    write_nodes()
    plain = cli("cluster", "ring", "user:1", "--file", FILE)
    assert cli("cluster", "ring", "--hex", b"user:1".hex(), "--file", FILE) == plain
    assert cli("cluster", "ring", "--hex", "6bff", "--file", FILE)["key_hex"] == "6bff"
    error = cli("cluster", "ring", "--hex", "0", "--file", FILE, status=2, as_json=False)
    assert "1 to 250 bytes" in error


def ring_without_a_key_shows_every_share():
    write_nodes()
    ring = cli("cluster", "ring", "--file", FILE)
    assert sum(node["owned_hashes"] for node in ring["nodes"]) == 2**32
    assert sum(node["held_hashes"] for node in ring["nodes"]) == 2 * 2**32
    assert sum(node["points"] for node in ring["nodes"]) == ring["arcs"]
    # 640 points by weights 1 2 1 3, in steps of 4
    assert [node["points"] for node in ring["nodes"]] == [88, 180, 88, 272]
    text = cli("cluster", "ring", "--file", FILE, as_json=False)
    assert "HOLDS" in text and text.count("127.0.0.1:") == 4


def config_check_names_the_line_of_a_mistake():
    write_nodes()
    assert cli("config", "check", "--cluster", FILE)["ok"]
    assert "fine" in cli("config", "check", "--cluster", FILE, as_json=False)
    write_nodes('nodes = (\n { name = "a"; ring_name = "h"; },\n { name = "b"; wieght = 2; } );\n')
    error = cli("config", "check", "--cluster", FILE, status=1, as_json=False)
    assert f"{FILE}:3: nodes.wieght: no such option; a node has" in error, error
    answer = cli("config", "check", "--cluster", FILE, status=1)
    assert not answer["ok"] and f"{FILE}:3:" in answer["findings"][0]["message"]
    error = cli("cluster", "ring", "k", "--file", FILE, status=1, as_json=False)
    assert f"{FILE}:3: nodes.wieght" in error


def cluster_wrong_words_show_the_usage():
    write_nodes()
    for words in (["cluster"], ["cluster", "rin"], ["cluster", "ring", "a", "b"],
                  ["cluster", "ring", "--file"], ["cluster", "ring", "--fil", "x"]):
        assert "xdpcache cluster ring KEY" in cli(*words, status=2, as_json=False), words
    error = cli("cluster", "ring", "k", "--file", f"{TMP}/none", status=1, as_json=False)
    assert "docs/cluster.md" in error
    error = cli("cluster", "ring", "k" * 251, "--file", FILE, status=2, as_json=False)
    assert "250" in error


TESTS = [
    ring_owner_is_where_a_stock_client_stored_the_key,
    ring_replica_lies_in_another_zone_and_says_what_was_passed_over,
    ring_key_in_hex_is_the_same_key,
    ring_without_a_key_shows_every_share,
    config_check_names_the_line_of_a_mistake,
    cluster_wrong_words_show_the_usage,
]


def main():
    user = ["-u", "root"] if os.getuid() == 0 else []
    servers = [subprocess.Popen(["memcached", "-p", str(port), "-l", "127.0.0.1", *user])
               for port in PORTS]
    failed = 0
    try:
        for port in PORTS:
            end = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < end, f"memcached does not come up on {port}"
                    time.sleep(0.05)
        print(f"1..{len(TESTS)}")
        for number, test in enumerate(TESTS, 1):
            try:
                test()
                print(f"ok {number} - {test.__name__}")
            except Exception as error:  # pylint: disable=broad-except
                failed += 1
                print(f"# {error!r}")
                print(f"not ok {number} - {test.__name__}")
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=10)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
