#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Three daemons of one cluster, on three hosts.

Properties: any node answers any key, over every protocol, as the key's own node would, and the
key's item is on that node alone; clients that know the ring are never passed on; a node that is
dead or asleep costs its own keys an error in bounded time, and nobody else anything.
Method: real daemons in namespaces (lib_nodes.py), stock clients and plain sockets.
"""
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib

import pylibmc

from lib_e2e import in_netns, run, tap, wait_until
from lib_nodes import ADDRESS, BUILD, NAMES, PORT, Nodes, now

KEYS = [b"key:%d" % i for i in range(300)]
NODES = None  # while main runs


def stat(name, field):
    client = NODES.client(name)
    stats = dict(line.split(b" ", 2)[1:] for line in
                 client.ask(b"stats\r\n", b"END\r\n").split(b"\r\n") if line.startswith(b"STAT"))
    client.close()
    return int(stats[field.encode()])


def owners(keys=tuple(KEYS[:60])):
    """Whose each key is, as the ring says it."""
    return {key: json.loads(run(f"{BUILD}/xdpcache", "cluster", "ring", key.decode(), "--file",
                                f"{NODES.folder}/cluster.conf", "--json"))["copies"][0]["node"]
            for key in keys}


def any_node_answers_any_key():
    clients = {name: NODES.client(name) for name in NAMES}
    for i, key in enumerate(KEYS):
        assert clients[NAMES[i % 3]].set(key, b"value of " + key) == b"STORED\r\n"
    for client in clients.values():
        for key in KEYS:
            assert client.get(key) == b"value of " + key
    items = [stat(name, "curr_items") for name in NAMES]
    assert sum(items) == len(KEYS) and min(items) > len(KEYS) // 6, items
    whose = owners()
    assert set(whose.values()) == set(NAMES)
    for client in clients.values():
        reply = client.ask(b"get " + b" ".join(KEYS) + b" none\r\n", b"END\r\n")
        assert reply == b"".join(b"VALUE %s 0 %d\r\nvalue of %s\r\n" % (key, len(key) + 9, key)
                                 for key in KEYS) + b"END\r\n"
        client.close()


def every_command_is_the_owners():
    a, b, c = (NODES.client(name) for name in NAMES)
    for i in range(30):
        key = b"word:%d" % i
        assert a.ask(b"add %s 7 0 2\r\n10\r\n" % key) == b"STORED\r\n"
        assert b.ask(b"add %s 7 0 2\r\n10\r\n" % key) == b"NOT_STORED\r\n"
        assert c.ask(b"incr %s 5\r\n" % key) == b"15\r\n"
        assert a.ask(b"append %s 0 0 1\r\n0\r\n" % key) == b"STORED\r\n"
        line = b.ask(b"gets %s\r\n" % key, b"END\r\n")
        assert line.startswith(b"VALUE %s 7 3 " % key) and b"\r\n150\r\n" in line, line
        cas = line.split(b"\r\n")[0].split()[4]
        assert c.ask(b"cas %s 7 0 1 %s\r\nx\r\n" % (key, cas)) == b"STORED\r\n"
        assert a.ask(b"cas %s 7 0 1 %s\r\ny\r\n" % (key, cas)) == b"EXISTS\r\n"
        assert b.ask(b"mg %s v f t\r\n" % key, b"x\r\n") == b"VA 1 f7 t-1\r\nx\r\n"
        assert c.ask(b"touch %s 100\r\n" % key) == b"TOUCHED\r\n"
        assert a.ask(b"gat 0 %s\r\n" % key, b"END\r\n").startswith(b"VALUE")
        # quiet ones say nothing, and what follows them sees what they did
        b.send(b"set %s 0 0 1 noreply\r\nz\r\nmd %s q\r\nmn\r\n" % (key, key))
        assert b.take() == b"MN\r\n"
        assert c.get(key) is None
        # base64, and a key that is no key
        assert a.ask(b"ms d29yZA== 2 b\r\nhi\r\n") == b"HD\r\n"
        assert b.get(b"word") == b"hi"
        assert c.ask(b"set %s 0 0 1\r\nxx\r\n" % key) == b"CLIENT_ERROR bad data chunk\r\n"
        assert c.take() in (b"ERROR\r\n",)


def replies_keep_the_order_of_requests():
    for name in NAMES:
        client = NODES.client(name)
        rand = random.Random(7)
        keys = [rand.choice(KEYS) for _ in range(2000)]
        client.send(b"".join(b"get %s\r\n" % key for key in keys))
        for key in keys:
            assert client.take(b"END\r\n") == b"VALUE %s 0 %d\r\nvalue of %s\r\nEND\r\n" % (
                key, len(key) + 9, key)
        client.close()


def increments_through_all_nodes_add_up():
    NODES.client("a").set(b"sum", b"0")

    def add(name):
        client = NODES.client(name)
        for _ in range(300):
            client.ask(b"incr sum 1\r\n")
        client.close()
    threads = [threading.Thread(target=add, args=(name,)) for name in NAMES * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert NODES.client("b").get(b"sum") == b"1800"


def binary_protocol_and_udp_are_passed_on_too():
    with in_netns(NODES.clients):
        for name in NAMES:
            client = pylibmc.Client([ADDRESS[name]], binary=True)
            for key in KEYS[:50]:
                assert client.get(key.decode()) == b"value of " + key
            client.set("binary", "from " + name)
            assert client.get_multi([key.decode() for key in KEYS[:50]]) == {
                key.decode(): b"value of " + key for key in KEYS[:50]}
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.settimeout(5)
        for i, key in enumerate(KEYS[:60]):
            udp.sendto(struct.pack("!HHHH", i, 0, 1, 0) + b"get %s\r\n" % key,
                       (ADDRESS[NAMES[i % 3]], PORT))
            reply = udp.recv(2000)
            assert struct.unpack("!H", reply[:2]) == (i,)
            assert reply[8:] == b"VALUE %s 0 %d\r\nvalue of %s\r\nEND\r\n" % (key, len(key) + 9,
                                                                           key)


def clients_that_know_the_ring_are_not_passed_on():
    before = sum(NODES.status(name)["asked"] for name in NAMES)
    with in_netns(NODES.clients):
        client = pylibmc.Client([ADDRESS[name] for name in NAMES],
                                behaviors={"ketama_weighted": True})
        for key in KEYS:
            assert client.get(key.decode()) == b"value of " + key
            client.set(key.decode(), b"value of " + key)
    assert sum(NODES.status(name)["asked"] for name in NAMES) == before


def large_values_are_passed_on():
    whose = owners()
    for key in KEYS[:6]:
        for name in NAMES:
            client = NODES.client(name)
            value = random.Random(name).randbytes(700000)
            # what comes behind it waits for its answer
            client.send(b"set %s 7 0 %d\r\n%s\r\nmn\r\n" % (key, len(value), value))
            assert client.take() == b"STORED\r\n" and client.take() == b"MN\r\n"
            assert client.ask(b"add %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)) == \
                b"NOT_STORED\r\n"
            assert client.ask(b"set %s 0 0 20000\r\n%s--" % (key, bytes(20000))) == \
                b"CLIENT_ERROR bad data chunk\r\n"
            for other in NAMES:
                assert zlib.crc32(NODES.client(other).get(key)) == zlib.crc32(value)
            assert client.ask(b"append %s 0 0 20000\r\n%s\r\n" % (key, bytes(20000))) == \
                b"STORED\r\n"
            assert NODES.client(whose[key]).get(key) == value + bytes(20000)
            if name != whose[key]:
                assert client.set(key, bytes(3 << 20)) == \
                    b"SERVER_ERROR object too large for another node's key, ask that node\r\n"
            # who leaves, before the end or while the other node has it, harms nobody
            for part in (value[:-1], value + b"\r\n"):
                client.send(b"set left%s 0 0 %d\r\n%s" % (key, len(value), part))
                client.close()
                client = NODES.client(name)
            client.close()
        NODES.client("a").set(key, b"value of " + key)


def status_shows_every_node():
    status = NODES.status("b")
    assert status["node"] == "b" and status["copies"] == 2
    assert [node["node"] for node in status["nodes"]] == list(NAMES)
    assert [node["self"] for node in status["nodes"]] == [False, True, False]
    assert status["asked"] == status["answered"] > 0 and status["guests"] > 0
    text = run(f"{BUILD}/xdpcache", "--control", f"{NODES.folder}/b.sock", "cluster", "status")
    assert "this one" in text and text.count("connected") == 2 and "10.79.0.1:11311" in text


def split_by_owner(victim):
    whose = owners()
    return ([key for key in whose if whose[key] == victim],
            [key for key in whose if whose[key] != victim])


def dead_node_costs_its_own_keys_an_error():
    lost, kept = split_by_owner("c")
    NODES.kill("c")
    client = NODES.client("a")
    for key in lost:
        began = now()
        assert client.get(key) == b"SERVER_ERROR the key's node does not answer\r\n"
        assert now() - began < 1.0
        assert client.set(key, b"x").startswith(b"SERVER_ERROR")
    for key in kept:
        assert client.get(key) == b"value of " + key
    # no half of a reply, and no miss that is none
    reply = client.ask(b"get %s %s\r\n" % (kept[0], lost[0]))
    assert reply == b"SERVER_ERROR the key's node does not answer\r\n"
    assert client.get(kept[0]) == b"value of " + kept[0]
    nodes = {node["node"]: node for node in NODES.status("a")["nodes"]}
    assert not nodes["c"]["connected"] and nodes["b"]["connected"]
    NODES.start("c")
    NODES.wait_connected()
    assert client.get(lost[0]) is None
    assert client.set(lost[0], b"value of " + lost[0]) == b"STORED\r\n"
    for key in lost:
        assert NODES.client("b").set(key, b"value of " + key) == b"STORED\r\n"


def node_that_sleeps_costs_its_own_keys_the_timeout():
    lost, kept = split_by_owner("b")
    other = NODES.client("a")
    NODES.daemons["b"].send_signal(signal.SIGSTOP)
    try:
        client = NODES.client("a")
        began = now()
        client.send(b"get %s\r\n" % lost[0])
        slowest = 0
        for key in kept:  # another client's, meanwhile
            start = now()
            assert other.get(key) == b"value of " + key
            slowest = max(slowest, now() - start)
        assert client.take() == b"SERVER_ERROR the key's node does not answer\r\n"
        assert 0.2 < now() - began < 2.5
        assert slowest < 0.5, slowest
    finally:
        NODES.daemons["b"].send_signal(signal.SIGCONT)
    # what it answers too late is nobody's reply
    wait_until(lambda: client.get(lost[0]) == b"value of " + lost[0], 5)
    for key in lost:
        assert client.get(key) == b"value of " + key


def node_that_nobody_knows_is_told_so():
    run_ = run("nsenter", f"--net=/run/netns/{NODES.ns('a')}", f"{BUILD}/xdpcached", "-l",
               ADDRESS["a"], "-p", "11299", "--admin", "", "--instance", f"{NODES.tag}z",
               "--control", f"{NODES.folder}/z.sock", "-u", "root", "--cluster",
               f"{NODES.folder}/cluster.conf", "--node", "nobody", check=False, timeout=10)
    assert 'no node "nobody"' in run_, run_


def other_nodes_keys_stay_out_of_the_kernel():
    """Pinned where it is not owned, a key is still answered by its owner, and with its value."""
    whose = owners([b"hot:%d" % i for i in range(16)])
    folder, tag = NODES.folder, NODES.tag
    foreign = next(key for key in whose if whose[key] != "a")
    own = next(key for key in whose if whose[key] == "a")
    NODES.kill("a", signal.SIGTERM)
    # what a restart finds in place must be given up, too
    NODES.start("a", "--interface", "eth0", "--instance", f"{tag}k")
    try:
        NODES.wait_connected()
        cli = [f"{BUILD}/xdpcache", "--control", f"{folder}/a.sock"]
        client = NODES.client("a")
        for key in (foreign, own):
            assert client.set(key, b"one") == b"STORED\r\n"
            run(*cli, "hot", "pin", key.decode(), check=False)
        reason = json.loads(run(*cli, "hot", "explain", foreign.decode(), "--json"))
        assert reason["reason"] == "elsewhere" and not reason["resident"], reason
        reason = json.loads(run(*cli, "hot", "explain", own.decode(), "--json"))
        assert reason["resident"], reason
        with in_netns(NODES.clients):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.settimeout(10)
        udp.connect((ADDRESS["a"], PORT))
        for key in (foreign, own):
            udp.send(b"\0\1\0\0\0\1\0\0get " + key + b"\r\n")
            assert udp.recv(2048)[8:] == b"VALUE %s 0 3\r\none\r\nEND\r\n" % key
        client.close()
        udp.close()
    finally:
        NODES.kill("a", signal.SIGTERM)
        run("nsenter", f"--net=/run/netns/{NODES.ns('a')}", f"{BUILD}/xdpcache", "--instance",
            f"{tag}k", "unload", check=False)
        NODES.start("a")
        NODES.wait_connected()


def items_that_are_others_by_now_are_dropped():
    """A daemon that was alone, with a memory file, becomes one of three."""
    memory = f"/dev/shm/{NODES.tag}"
    NODES.kill("a", signal.SIGTERM)
    words = ["nsenter", f"--net=/run/netns/{NODES.ns('a')}", f"{BUILD}/xdpcached", "-l",
             ADDRESS["a"], "-p", str(PORT), "-m", "64", "-u", "root", "--admin", "", "--instance",
             NODES.ns("a"), "--control", f"{NODES.folder}/a.sock", "-e", memory]
    alone = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "11211" in run("nsenter", f"--net=/run/netns/{NODES.ns('a')}", "ss",
                                          "-ltn"), 10)
        client = NODES.client("a")
        for key in KEYS:
            assert client.set(key, b"stale") == b"STORED\r\n"
        client.close()
        alone.send_signal(signal.SIGUSR1)
        alone.wait(20)
        NODES.start("a", "-e", memory)
        NODES.wait_connected()
        assert 0 < stat("a", "curr_items") < len(KEYS) // 2
        client = NODES.client("a")
        whose = owners()
        for key, name in whose.items():
            assert client.get(key) == (b"stale" if name == "a" else b"value of " + key)
    finally:
        alone.kill()
        run("rm", "-f", memory)


def make_certificate(folder, name, ca="ca"):
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
        f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.csr")
    run("openssl", "x509", "-req", "-days", "2", "-in", f"{folder}/{name}.csr", "-CA",
        f"{folder}/{ca}.pem", "-CAkey", f"{folder}/{ca}.key", "-CAcreateserial", "-out",
        f"{folder}/{name}.pem")


def make_authority(folder, name):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out",
        f"{folder}/{name}.pem")


def tls_args(folder, name):
    return ("--cluster-cert", f"{folder}/{name}.pem", "--cluster-key", f"{folder}/{name}.key",
            "--cluster-ca", f"{folder}/ca.pem")


def under_tls_nodes_are_as_they_were_and_others_are_none():
    folder = NODES.folder
    make_authority(folder, "ca")
    make_authority(folder, "other")
    for name in NAMES:
        make_certificate(folder, name)
        NODES.kill(name, signal.SIGTERM)
    for name in NAMES:
        NODES.start(name, *tls_args(folder, name))
    NODES.wait_connected()
    assert NODES.status("a")["tls"]
    a, b = NODES.client("a"), NODES.client("b")
    for key in KEYS:
        assert a.set(key, b"value of " + key) == b"STORED\r\n"
        assert b.get(key) == b"value of " + key
    # what goes between them is TLS, and shows no key
    with in_netns(NODES.clients):
        dump = subprocess.Popen(["tcpdump", "-i", "br0", "-U", "--immediate-mode", "-Z", "root",
                                 "-w", f"{folder}/dump", "port",
                                 "11311"], stderr=subprocess.PIPE)
    dump.stderr.readline()
    for key in KEYS:
        assert b.get(key) == b"value of " + key
    wait_until(lambda: os.path.getsize(f"{folder}/dump") > 10000, 5, "packets are seen")
    dump.terminate()
    dump.wait()
    with open(f"{folder}/dump", "rb") as packets:
        said = packets.read()
    assert len(said) > 10000, len(said)
    for text in (b"key:", b"value of"):
        assert text not in said, said[said.find(text) - 200:said.find(text) + 100]
    # a certificate of another authority, and none at all
    NODES.kill("c", signal.SIGTERM)
    make_certificate(folder, "c", ca="other")
    for args in (tls_args(folder, "c"), ()):
        NODES.start("c", *args)
        lost, kept = split_by_owner("c")
        assert a.get(lost[0]) == b"SERVER_ERROR the key's node does not answer\r\n"
        assert a.get(kept[0]) == b"value of " + kept[0]
        assert NODES.client("c").get(kept[0]) == b"SERVER_ERROR the key's node does not answer\r\n"
        NODES.kill("c", signal.SIGTERM)
    # its own again, and read anew by the others, who need not start again
    make_certificate(folder, "c")
    NODES.daemons["a"].send_signal(signal.SIGHUP)
    NODES.start("c", *tls_args(folder, "c"))
    NODES.wait_connected()
    assert "certificates are read again" in NODES.log("a")
    assert NODES.client("c").get(kept[0]) == b"value of " + kept[0]


POINTS = [any_node_answers_any_key, every_command_is_the_owners,
          replies_keep_the_order_of_requests, increments_through_all_nodes_add_up,
          binary_protocol_and_udp_are_passed_on_too, clients_that_know_the_ring_are_not_passed_on,
          large_values_are_passed_on, status_shows_every_node,
          dead_node_costs_its_own_keys_an_error, node_that_sleeps_costs_its_own_keys_the_timeout,
          other_nodes_keys_stay_out_of_the_kernel,
          node_that_nobody_knows_is_told_so, items_that_are_others_by_now_are_dropped,
          under_tls_nodes_are_as_they_were_and_others_are_none]


def main():
    global NODES
    with Nodes(args=("-I", "4m")) as NODES:
        status = tap.run(POINTS)
        if status:
            for name in NAMES:
                print("# " + NODES.log(name)[-2000:].replace("\n", "\n# "))
    return status


sys.exit(main())
