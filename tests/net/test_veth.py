#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""On a veth the mode is chosen in which replies arrive, and a mode in which they do not is told.

A veth's other end takes what native XDP sends only while it carries a program in its driver.
Method: real pairs, the other end with such a program, without, and with a generic one; a client
there counts the answers.
"""

import json
import sys

import lib_e2e as e2e

TIMES = 50
KEY, VALUE = b"resident", b"some bytes"
REASON = "peer carries no native XDP program"


def start(rig, mode):
    daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24", mode=mode)
    daemon.set(KEY, VALUE)
    daemon.pin(KEY)
    return daemon


def answered(rig, daemon):
    """(replies, kernel's hits) of TIMES GETs."""
    before = daemon.stats()["fastpath.hits"]
    replies = 0
    with rig.udp() as s:
        s.settimeout(0.1 * e2e.SCALE)
        for number in range(TIMES):
            s.send(e2e.frame(number, b"get %s\r\n" % KEY))
            try:
                replies += s.recv(2048) == e2e.frame(number, e2e.value_reply(KEY, VALUE))
            except TimeoutError:
                if number == 4 and replies == 0:
                    break
    return replies, daemon.stats()["fastpath.hits"] - before


def interface(daemon):
    """As status tells it: mode and reason."""
    row = daemon.cli("status")["interfaces"][0]
    return row["mode"], row["reason"]


def detach_client(rig):
    rig.on_client("bpftool", "net", "detach", "xdpdrv", "dev", rig.client_if)


def doctor(rig, name):
    """The finding about an interface: verdict and text."""
    text = rig.on_server(f"{e2e.BUILD}/xdpcache", "--pin-root", rig.pin_root, "--instance", "e2e",
                         "--control", f"{rig.folder}/c.sock", "--json", "doctor", "--interface",
                         name, check=False)
    rows = [row for row in json.loads(text) if row["check"] == f"interface {name}"]
    return rows[-1]["verdict"], rows[-1]["text"]


def auto_bare_peer_is_generic_and_answers_every_get():
    with e2e.Rig("veth", native_client=False) as rig:
        verdict, text = doctor(rig, rig.server_if)
        assert verdict == "warn" and REASON in text, (verdict, text)
        daemon = start(rig, "auto")
        mode, reason = interface(daemon)
        assert mode == "generic" and REASON in reason, (mode, reason)
        assert answered(rig, daemon) == (TIMES, TIMES)
        assert doctor(rig, rig.server_if)[0] == "ok"
        daemon.stop()


def auto_peer_with_a_generic_program_is_generic():
    with e2e.Rig("veth") as rig:
        detach_client(rig)
        rig.on_client("bpftool", "net", "attach", "xdpgeneric", "pinned",
                      f"{rig.client_pins}/prog/xc_fastpath", "dev", rig.client_if)
        daemon = start(rig, "auto")
        assert interface(daemon)[0] == "generic", interface(daemon)
        assert answered(rig, daemon) == (TIMES, TIMES)
        daemon.stop()


def auto_peer_with_a_program_is_native():
    with e2e.Rig("veth") as rig:
        verdict, text = doctor(rig, rig.server_if)
        assert (verdict, text) == ("ok", "native XDP works"), (verdict, text)
        daemon = start(rig, "auto")
        assert interface(daemon) == ("native", ""), interface(daemon)
        assert answered(rig, daemon) == (TIMES, TIMES)
        assert "warn" not in daemon.output(), daemon.output()
        daemon.stop()


def auto_restarted_after_the_peer_lost_its_program_leaves_native():
    with e2e.Rig("veth") as rig:
        daemon = start(rig, "auto")
        assert interface(daemon) == ("native", ""), interface(daemon)
        detach_client(rig)
        mode, reason = interface(daemon)
        assert mode == "native" and REASON in reason, (mode, reason)
        daemon.stop()
        daemon = start(rig, "auto")
        assert interface(daemon)[0] == "generic", interface(daemon)
        assert answered(rig, daemon) == (TIMES, TIMES)
        daemon.stop()


def native_bare_peer_is_obeyed_and_warned_about():
    with e2e.Rig("veth", native_client=False) as rig:
        daemon = start(rig, "native")
        mode, reason = interface(daemon)
        assert mode == "native" and REASON in reason, (mode, reason)
        warnings = [line for line in daemon.output().splitlines() if line.startswith("warn")]
        assert len(warnings) == 1 and REASON in warnings[0], warnings
        verdict, text = doctor(rig, rig.server_if)
        assert verdict == "warn" and REASON in text, (verdict, text)
        # what it warns of; should a kernel deliver them one day, the check is to go
        replies, hits = answered(rig, daemon)
        assert replies == 0 and hits > 0, (replies, hits)
        daemon.stop()


def peer_in_the_same_namespace_is_asked():
    with e2e.Rig("veth") as rig:
        e2e.run("ip", "-n", rig.server_ns, "link", "add", "near0", "type", "veth", "peer",
                "name", "near1")
        verdict, text = doctor(rig, "near0")
        assert verdict == "warn" and REASON in text, (verdict, text)
        rig.on_server("bpftool", "net", "attach", "xdpdrv", "pinned",
                      f"{rig.client_pins}/prog/xc_fastpath", "dev", "near1")
        assert doctor(rig, "near0") == ("ok", "native XDP works"), doctor(rig, "near0")


sys.exit(e2e.main([
    auto_bare_peer_is_generic_and_answers_every_get,
    auto_peer_with_a_generic_program_is_generic,
    auto_peer_with_a_program_is_native,
    auto_restarted_after_the_peer_lost_its_program_leaves_native,
    native_bare_peer_is_obeyed_and_warned_about,
    peer_in_the_same_namespace_is_asked,
]))
