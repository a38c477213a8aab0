#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Starting over pins that are not what this build would have left.

Method: after a daemon was killed one map's pin is removed, or words in xc_conf are changed, and
the next daemon is started. It either refuses and says what to do, or what the kernel answers
follows every write; what was stored before is there or gone, never another value.
"""

import json
import os
import subprocess
import sys

import lib_e2e as e2e

ALLOW = ["--allow", "10.78.0.0/24"]
KEPT = ("xc_hot", "xc_filter", "xc_hint", "xc_entry", "xc_hits", "xc_stats", "xc_local", "xc_allow",
        "xc_verdict", "xc_rate")


def pin_of(rig, name):
    return f"{rig.pin_root}/e2e/v1/{name}"


def get(rig, key=b"hot"):
    """One GET over UDP; None: nobody answers."""
    with rig.udp() as s:
        s.send(e2e.frame(9, b"get %s\r\n" % key))
        try:
            return s.recv(4096)[8:]
        except TimeoutError:
            return None


def prepared(rig, end):
    daemon = e2e.Daemon(rig, *ALLOW)
    daemon.set(b"hot", b"before")
    daemon.pin(b"hot")
    assert get(rig) == e2e.value_reply(b"hot", b"before")
    getattr(daemon, end)()


def follows_writes(rig, daemon, reply):
    """What the kernel says is what was written last, and it is the kernel that says it."""
    assert reply in (e2e.value_reply(b"hot", b"before"), b"END\r\n"), reply
    daemon.set(b"hot", b"x")
    assert get(rig) == e2e.value_reply(b"hot", b"x")
    daemon.pin(b"hot")
    hits = daemon.stats()["fastpath.hits"]
    for n in range(20):
        daemon.set(b"hot", b"after-%d" % n)
        assert get(rig) == e2e.value_reply(b"hot", b"after-%d" % n), n
    assert daemon.stats()["fastpath.hits"] >= hits + 20, "the daemon answered"
    daemon.set(b"other", b"value")
    daemon.pin(b"other")
    daemon.ask(b"delete other\r\n", b"\r\n")
    assert get(rig, b"other") == b"END\r\n"


def refused(rig, *words, mode="native"):
    """The daemon does not start, and says so; what it said."""
    asked = subprocess.run(
        ["nsenter", f"--net=/run/netns/{rig.server_ns}", f"{e2e.BUILD}/xdpcached", "-p",
         str(e2e.PORT), "-m", "64", "--pin-root", rig.pin_root, "--instance", "e2e", "--control",
         f"{rig.folder}/c.sock", "--interface", rig.server_if, "--xdp-mode", mode, *ALLOW],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30 * e2e.SCALE)
    assert asked.returncode == 1, (asked.returncode, asked.stdout)
    for word in words:
        assert word in asked.stdout, asked.stdout


def unloaded_starts_anew(rig):
    rig.on_server(f"{e2e.BUILD}/xdpcache", "--pin-root", rig.pin_root, "--instance", "e2e",
                  "unload")
    assert not os.path.exists(f"{rig.pin_root}/e2e")
    daemon = e2e.Daemon(rig, *ALLOW)
    follows_writes(rig, daemon, get(rig))
    daemon.stop()


def without(name, end):
    with e2e.Rig("veth") as rig:
        prepared(rig, end)
        os.unlink(pin_of(rig, name))
        daemon = e2e.Daemon(rig, *ALLOW)
        assert f"{name} is missing" in daemon.output(), daemon.output()
        follows_writes(rig, daemon, get(rig))
        # and whole again
        daemon.kill()
        daemon = e2e.Daemon(rig, *ALLOW)
        assert "is missing" not in daemon.output(), daemon.output()
        assert get(rig) == e2e.value_reply(b"hot", b"after-19")
        follows_writes(rig, daemon, b"END\r\n")
        daemon.stop()


def start_without_a_map_makes_it_anew_for_program_and_daemon():
    for n, name in enumerate(KEPT):
        without(name, "kill" if n % 2 else "stop")


def start_without_the_log_is_empty():
    without("xc_seg", "kill")


def start_without_xc_conf_is_refused():
    with e2e.Rig("veth") as rig:
        prepared(rig, "kill")
        os.unlink(pin_of(rig, "xc_conf"))
        for mode in ("native", "auto"):
            refused(rig, "xc_conf is missing", "xdpcache unload", mode=mode)
        unloaded_starts_anew(rig)


def conf_words(rig):
    dump = json.loads(e2e.run("bpftool", "-j", "map", "dump", "pinned", pin_of(rig, "xc_conf")))
    return [int(byte, 16) for byte in dump[0]["value"]]


def change_conf(rig, offset, value):
    conf = conf_words(rig)
    conf[offset] = value
    e2e.run("bpftool", "map", "update", "pinned", pin_of(rig, "xc_conf"), "key", "0", "0", "0", "0",
            "value", *[str(byte) for byte in conf])


def start_over_another_version_is_refused():
    for offset, word in ((4, "xc_conf.version: 77 there"), (0, "xc_conf.magic")):
        with e2e.Rig("veth") as rig:
            prepared(rig, "kill")
            change_conf(rig, offset, 77)
            for mode in ("native", "auto"):
                refused(rig, word, "xdpcache unload", mode=mode)
            assert conf_words(rig)[offset] == 77, "left as it was"
            unloaded_starts_anew(rig)


def start_over_a_map_of_another_shape_is_refused():
    with e2e.Rig("veth") as rig:
        prepared(rig, "kill")
        os.unlink(pin_of(rig, "xc_filter"))
        e2e.run("bpftool", "map", "create", pin_of(rig, "xc_filter"), "type", "array", "key", "4",
                "value", "8", "entries", "16", "name", "xc_filter")
        refused(rig, "xc_filter: ", "of another version", "xdpcache unload")
        unloaded_starts_anew(rig)


sys.exit(e2e.main([
    start_without_a_map_makes_it_anew_for_program_and_daemon,
    start_without_the_log_is_empty,
    start_without_xc_conf_is_refused,
    start_over_another_version_is_refused,
    start_over_a_map_of_another_shape_is_refused,
]))
