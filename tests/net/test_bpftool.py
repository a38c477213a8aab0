#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Plain bpftool loads and attaches the object, word for word as the README says; the daemon adopts
what it finds and serves with it (the drawing is in lab.py).

    bpftool prog loadall build/xdpcache.bpf.o DIR/prog pinmaps DIR
    bpftool net attach xdp pinned DIR/prog/xc_fastpath dev IF
"""

import json
import os
import socket
import struct
import sys

import e2e
import lab
from lab import tap

LAB = None
KEY, VALUE = b"adopted", b"v" * 700


def pins():
    return f"{LAB.pin_root}/lab/v1"


def attached_id():
    shown = json.loads(LAB.on_server("ip", "-j", "-d", "link", "show", "dev",
                                     LAB.interface).stdout)
    return shown[0].get("xdp", {}).get("prog", {}).get("id")


def bpftool_loads_and_attaches():
    os.makedirs(pins())
    LAB.on_server("bpftool", "prog", "loadall", f"{lab.BUILD}/xdpcache.bpf.o", f"{pins()}/prog",
                  "pinmaps", pins())
    LAB.on_server("bpftool", "net", "attach", "xdp", "pinned", f"{pins()}/prog/xc_fastpath",
                  "dev", LAB.interface)
    assert attached_id()


def bpftool_shows_maps_readably():
    dump = LAB.on_server("bpftool", "-j", "map", "dump", "pinned", f"{pins()}/xc_conf").stdout
    value = json.loads(dump)[0].get("formatted", json.loads(dump)[0])["value"]
    assert value["magic"] == 0 and "serve_until_ns" in value, value
    dump = LAB.on_server("bpftool", "map", "dump", "pinned", f"{pins()}/xc_stats").stdout
    assert "pass_unconfigured" in dump, dump[:300]


def nobody_configured_every_packet_passes():
    """Another service on the port gets its datagrams, byte for byte."""
    with lab.inside(LAB.server_ns):
        service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        service.bind(("10.99.0.1", lab.PORT))
    service.settimeout(3)
    with lab.inside(LAB.client_ns):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(("10.99.0.1", lab.PORT))
    for text in (b"get a\r\n", b"no memcached at all", b"x" * 1400):
        sent = struct.pack(">4H", 1, 0, 1, 0) + text
        client.send(sent)
        assert service.recv(2000) == sent
    client.close()
    service.close()


def daemon_adopts_and_serves():
    before = attached_id()
    LAB.start()
    e2e.LAB = LAB
    e2e.pinned(KEY, VALUE)
    assert attached_id() == before, "the program that bpftool attached was exchanged"
    interface = LAB.cli("status")["interfaces"][0]
    assert interface["name"] == LAB.interface and not interface["by_link"], interface
    udp, hits = LAB.udp(), LAB.hits()
    for _ in range(20):
        assert udp.ask(b"get %s\r\n" % KEY) == e2e.reply_of(KEY, VALUE, 5)
    udp.close()
    assert LAB.hits() == hits + 20


def every_size_is_answered_as_with_our_loader():
    """Those that need tc too: the daemon added that hook."""
    e2e.every_size_is_answered_by_the_kernel(False)
    e2e.every_size_is_answered_by_the_kernel(True)
    assert LAB.counters()["hits_by"]["hit_tc"] > 0


def bpftool_dump_names_what_the_daemon_wrote():
    dump = json.loads(LAB.on_server("bpftool", "-j", "map", "dump", "pinned",
                                    f"{pins()}/xc_conf").stdout)
    value = dump[0].get("formatted", dump[0])["value"]
    assert value["magic"] == 0x43504458 and value["version"] == 1, value
    assert value["serve_until_ns"] > 0


def unload_removes_what_bpftool_attached():
    LAB.stop()
    assert LAB.cli_run("unload").returncode == 0
    assert attached_id() is None
    assert LAB.left() == [], LAB.left()


def main():
    global LAB
    with lab.Lab("native") as LAB:
        return tap.run([
            bpftool_loads_and_attaches,
            bpftool_shows_maps_readably,
            nobody_configured_every_packet_passes,
            daemon_adopts_and_serves,
            every_size_is_answered_as_with_our_loader,
            bpftool_dump_names_what_the_daemon_wrote,
            unload_removes_what_bpftool_attached,
        ])


if __name__ == "__main__":
    sys.exit(main())
