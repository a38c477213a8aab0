#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A start needs no more than what was asked for; one that fails says why once and leaves nothing.

Method: the daemon as an unprivileged user beside a /run/xdpcache that is root's, and starts that
cannot succeed; what they say and what is there afterwards.
"""

import json
import os
import signal
import socket
import subprocess
import sys

import lib_e2e as e2e

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
DEFAULT = "/run/xdpcache/control.sock"


def command(*flags, wrapper=()):
    return [*wrapper, f"{e2e.BUILD}/xdpcached", "-l", "127.0.0.1", *flags]


def refused(*flags, wrapper=()):
    """What a start that fails says."""
    done = subprocess.run(command(*flags, wrapper=wrapper), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=30 * e2e.SCALE)
    assert done.returncode == 1, done
    return done.stdout


def version():
    try:
        with socket.create_connection(("127.0.0.1", e2e.PORT), 5) as s:
            s.sendall(b"version\r\n")
            return s.recv(100)
    except ConnectionRefusedError:
        return b""


def unprivileged_daemon_serves_without_the_default_control_socket():
    os.makedirs("/run/xdpcache", exist_ok=True)
    os.chown("/run/xdpcache", 0, 0)
    with subprocess.Popen(command(wrapper=NOBODY), stderr=subprocess.PIPE, text=True) as daemon:
        try:
            e2e.wait_until(lambda: version().startswith(b"VERSION") or daemon.poll() is not None,
                           what="it serves")
            assert daemon.poll() is None, daemon.stderr.read()
            assert not os.path.exists(DEFAULT)
        finally:
            daemon.send_signal(signal.SIGTERM)
        said = daemon.stderr.read()
        assert daemon.wait() == 0, said
    warnings = [line for line in said.splitlines() if line.startswith("warn")]
    assert len(warnings) == 1 and DEFAULT in warnings[0] and "--control" in warnings[0], said


def second_daemon_goes_on_without_the_default_control_socket():
    """As memcached's users start several: with another port and nothing else."""
    with subprocess.Popen(command("-p", "11311"), stderr=subprocess.DEVNULL) as first:
        try:
            e2e.wait_until(lambda: os.path.exists(DEFAULT), what="the first serves")
            with subprocess.Popen(command(), stderr=subprocess.PIPE, text=True) as second:
                try:
                    e2e.wait_until(lambda: version().startswith(b"VERSION") or
                                   second.poll() is not None, what="the second serves")
                finally:
                    second.send_signal(signal.SIGTERM)
                said = second.stderr.read()
                assert second.wait() == 0, said
            assert "warn control: another daemon answers" in said and "--control" in said, said
            assert os.path.exists(DEFAULT), "the second took the first one's socket along"
        finally:
            first.send_signal(signal.SIGTERM)
        assert first.wait() == 0


def unprivileged_daemon_with_a_named_control_socket_does_not_start_without():
    for path in (DEFAULT, "/run/xdpcache/other.sock"):
        said = refused("--control", path, wrapper=NOBODY)
        assert f"error control: cannot listen on {path}: Permission denied" in said, said


def unknown_user_is_noticed_before_anything_is_made():
    with e2e.Rig("lo") as rig:
        said = refused("-u", "nosuch", "--interface", "lo", "--pin-root", rig.pin_root,
                       "--control", f"{rig.folder}/c.sock")
        assert said.count("error") == 1 and 'no user "nosuch"' in said, said
        assert "fastpath" not in said, said
        assert not os.path.exists(rig.pin_root)


def unknown_interface_gets_one_hint():
    with e2e.Rig("lo") as rig:
        said = refused("--interface", "nope", "--pin-root", rig.pin_root, "--control",
                       f"{rig.folder}/c.sock")
        why = "nope: cannot attach in auto mode: no such interface; see: ip -br link\n"
        assert why in said, said
        assert not os.path.exists(rig.pin_root)


def command_line(rig, *words, wrapper=()):
    words = (f"{e2e.BUILD}/xdpcache", "--pin-root", rig.pin_root, "--instance", "e2e", "--control",
             f"{rig.folder}/c.sock", "--json", *words)
    return subprocess.run(["nsenter", f"--net=/run/netns/{rig.server_ns}", *wrapper, *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


def doctor_on_port(rig, wrapper=()):
    """Its finding about the daemon's UDP port: verdict and text."""
    rows = json.loads(command_line(rig, "doctor", "--port", str(e2e.PORT), wrapper=wrapper).stdout)
    row, = (row for row in rows if row["check"] == "port")
    return row["verdict"], row["text"]


def doctor_does_not_take_the_daemon_for_a_stranger():
    with e2e.Rig("lo") as rig:
        os.chmod(rig.folder, 0o755)
        daemon = e2e.Daemon(rig)
        for wrapper in ((), NOBODY):
            verdict, text = doctor_on_port(rig, wrapper)
            assert verdict == "ok" and f"the daemon (pid {daemon.process.pid})" in text, text
        daemon.stop()
        daemon = e2e.Daemon(rig, "--no-fastpath")
        verdict, text = doctor_on_port(rig)
        assert verdict == "ok" and "by the daemon" in text, text
        verdict, text = doctor_on_port(rig, NOBODY)
        assert verdict == "warn" and "only root sees" in text, text
        daemon.stop()


def load_as_nobody_says_to_be_root():
    with e2e.Rig("lo") as rig:
        done = command_line(rig, "load", "--interface", "lo", wrapper=NOBODY)
        assert done.returncode == 1 and "run it as root" in done.stderr, done


def log_as_json_is_json_to_the_last_line():
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/x.conf"
        with open(path, "w", encoding="ascii") as out:
            out.write('process: { log_level = "debug"; };\n')
        daemon = e2e.Daemon(rig, "--log-format", "json", "--config", path)
        with open(path, "w", encoding="ascii") as out:
            out.write('process: { log_level = "loud"; };\n')
        daemon.process.send_signal(signal.SIGHUP)
        e2e.wait_until(lambda: "not reloaded" in daemon.output(), what="the word")
        daemon.stop()
        lines = [json.loads(line) for line in daemon.output().splitlines()]
        ready, = [line for line in lines if line["message"].startswith("ready: ")]
        assert (ready["level"], ready["module"], ready["tcp"]) == ("info", "main", e2e.PORT), ready
        assert lines[-1]["ts"] >= lines[0]["ts"] and len(lines) > 5, lines


sys.exit(e2e.main([
    unprivileged_daemon_serves_without_the_default_control_socket,
    second_daemon_goes_on_without_the_default_control_socket,
    unprivileged_daemon_with_a_named_control_socket_does_not_start_without,
    unknown_user_is_noticed_before_anything_is_made,
    unknown_interface_gets_one_hint,
    doctor_does_not_take_the_daemon_for_a_stranger,
    load_as_nobody_says_to_be_root,
    log_as_json_is_json_to_the_last_line,
]))
