#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What scripts, test harnesses and exporters around memcached rely on is there, and true.

Method: a real server each, started as they start it; then what they read is compared with what was
done to the server."""

import os
import socket
import subprocess
import sys
import tempfile
import time

import servers
import tap


def wait_for(what, found, seconds=20):
    """What found() returns, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {seconds} s")


def answers(port, kind):
    """A server of ours is at the port."""
    frame = b"\0\1\0\0\0\1\0\0" if kind == socket.SOCK_DGRAM else b""
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        client.send(frame + b"version\r\n")
        reply = client.recv(4096)
    return reply.startswith(frame + b"VERSION 1.6.18-xdpcache-")


def ports_of(*arguments):
    """(kind, family) -> port, of what a server with these arguments tells; they are asked, too."""
    with tempfile.TemporaryDirectory(prefix="xcp") as folder:
        path = os.path.join(folder, "ports")
        command = [os.path.join(servers.BUILD, "xdpcached"), "-t", "2", "-u", "root"]
        command += ["--no-fastpath", "--control", os.path.join(folder, "control.sock")]
        log = tempfile.TemporaryFile()
        process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "MEMCACHED_PORT_FILENAME": path},
            stdout=log,
            stderr=log,
        )
        try:
            wait_for("file of ports", lambda: process.poll() is not None or os.path.exists(path))
            assert process.poll() is None, servers.written(log)
            with open(path, encoding="ascii") as file:
                lines = [line.strip().split(": ") for line in file]
            assert os.listdir(folder).count("ports.lck") == 0, "the unfinished file is left"
            ports = {tuple(name.split(" ")): int(port) for name, port in lines}
            assert len(ports) == len(lines), lines
            for (kind, family), port in ports.items():
                if family == "INET":
                    stream = kind == "TCP"
                    assert answers(port, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        finally:
            process.terminate()
            process.wait(20)
    return ports


def ports_file_names_what_is_bound():
    """MEMCACHED_PORT_FILENAME: a line for each address, TCP and UDP apart, and none for what is
    off."""
    tcp, udp = servers.free_port(), servers.free_port()
    wanted = {("TCP", "INET"): tcp}
    assert ports_of("-l", "127.0.0.1", "-p", str(tcp)) == wanted
    wanted[("UDP", "INET")] = udp
    assert ports_of("-l", "127.0.0.1", "-p", str(tcp), "-U", str(udp)) == wanted
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        wanted[("TCP", "INET6")] = tcp
        wanted[("UDP", "INET6")] = udp
        both = ports_of("-l", "127.0.0.1,::1", "-p", str(tcp), "-U", str(udp))
        assert both == wanted, both


def ports_of_minus_one_are_free_ones():
    """-p -1 and -U -1: any free port, each its own; -U -1 alone moves TCP, too."""
    port = servers.free_port()
    ours = ("-l", "127.0.0.1")
    random = ports_of(*ours, "-p", "-1")
    assert list(random) == [("TCP", "INET")] and random[("TCP", "INET")] != 11211, random
    random = ports_of(*ours, "-U", "-1")
    assert sorted(random) == [("TCP", "INET"), ("UDP", "INET")], random
    assert 11211 not in random.values(), random
    random = ports_of(*ours, "-p", str(port), "-U", "-1")
    assert random[("TCP", "INET")] == port and random[("UDP", "INET")] > 0, random
    random = ports_of(*ours, "-p", "-1", "-U", str(port))
    assert random[("UDP", "INET")] == port and random[("TCP", "INET")] > 0, random


TESTS = [
    ports_file_names_what_is_bound,
    ports_of_minus_one_are_free_ones,
]

if __name__ == "__main__":
    sys.exit(tap.run(TESTS))
