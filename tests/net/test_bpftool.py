#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""README's block for plain bpftool works word for word, and the daemon adopts what it finds.

Method: the lines are read out of README.md and run as they stand, on a host whose interface is
eth0. The pin paths are README's: the test wants a bpf file system where they are free.
"""

import json
import os
import shlex
import shutil
import sys

import lib_e2e as e2e

PINS = "/sys/fs/bpf/xdpcache"
CONTROL = "/run/xdpcache/control.sock"
TIMES = 50
KEY, VALUE = b"adopted", b"from the kernel"


def block():
    """The commands of README's section: for the shell, and the daemon's."""
    with open("README.md", encoding="utf-8") as readme:
        section = readme.read().split("## With plain bpftool", 1)[1]
    lines = section.split("```")[1].strip().splitlines()
    assert "bpftool prog loadall" in lines[1] and "bpftool net attach" in lines[2], lines
    assert lines[3].startswith("build/xdpcached "), lines
    return "\n".join(lines[:3]).replace("build/", f"{e2e.BUILD}/"), lines[3]


def counters(rig):
    """Of the pins: no daemon is needed."""
    text = rig.on_server(f"{e2e.BUILD}/xdpcache", "stats", "--json", check=False)
    return json.loads(text[text.index("{"):])["fastpath"]


def every_packet_passes(rig):
    before = counters(rig)["passes"]["pass_unconfigured"]
    sent = e2e.ask_nobody(rig, KEY, TIMES)
    after = counters(rig)
    passed = after["passes"]["pass_unconfigured"] - before
    assert passed >= sent >= TIMES / 2, (passed, sent, after)  # TCP and ARP pass, too
    assert after["hits"] == 0 and not any(after["drops"].values()), after


def adopted_program_answers(rig, daemon, prog_id):
    """One key, and two, for which it goes on with another program that bpftool loaded."""
    daemon.set(KEY, VALUE)
    daemon.pin(KEY)
    value, end = e2e.value_reply(KEY, VALUE)[:-5], b"END\r\n"
    for keys in 1, 2:
        before = daemon.stats()
        with rig.udp() as s:
            for number in range(TIMES):
                s.send(e2e.frame(number, b"get" + (b" " + KEY) * keys + b"\r\n"))
                assert s.recv(2048) == e2e.frame(number, value * keys + end)
        counts = e2e.difference(daemon.stats(), before)
        assert counts["fastpath.hits"] == TIMES * keys, counts
        assert counts["daemon.udp_requests"] == 0, counts
    assert attached(rig) == prog_id, "the daemon adopted the program that bpftool had attached"


def attached(rig):
    link = json.loads(e2e.run("ip", "-n", rig.server_ns, "-j", "link", "show", "dev", "eth0"))[0]
    return link.get("xdp", {}).get("prog", {}).get("id")


def nothing_left(rig):
    assert attached(rig) is None, "no program on the interface"
    assert not os.path.exists(PINS), os.listdir(PINS)
    qdiscs = e2e.run("tc", "-n", rig.server_ns, "qdisc", "show", "dev", "eth0")
    assert "clsact" not in qdiscs, qdiscs
    hooks = json.loads(rig.on_server("bpftool", "-j", "net"))
    assert not any(part for net in hooks for part in net.values()), hooks


def readme_block_is_adopted_and_unloaded():
    if os.path.exists(PINS) or os.path.exists(CONTROL):
        raise e2e.tap.Skip(f"{PINS} or {CONTROL} is somebody else's")
    shell, daemon_line = block()
    with e2e.Rig("veth", server_if="eth0", server_ip="10.0.0.1", client_ip="10.0.0.2") as rig:
        try:
            rig.on_server("sh", "-ec", shell)
            prog_id = attached(rig)
            assert prog_id, "bpftool attached it"
            every_packet_passes(rig)
            words = shlex.split(daemon_line.replace("build/", f"{e2e.BUILD}/", 1))
            daemon = e2e.Daemon(rig, command=words)
            adopted_program_answers(rig, daemon, prog_id)
            daemon.stop()
            rig.on_server(f"{e2e.BUILD}/xdpcache", "unload")
            nothing_left(rig)
        finally:
            for one in rig.daemons:
                one.end()
            rig.on_server(f"{e2e.BUILD}/xdpcache", "unload", "--force", check=False)
            shutil.rmtree(PINS, ignore_errors=True)


sys.exit(e2e.main([readme_block_is_adopted_and_unloaded]))
