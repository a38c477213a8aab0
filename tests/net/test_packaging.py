#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The shipped unit starts what it says, with no more rights than the daemon uses, few left open.

Method: the daemon as the unit runs it, an unprivileged user with the unit's own capabilities and no
others, on a bpf file system that only root may enter (as systemd mounts it). What systemd itself
thinks of the unit is asked where systemd-analyze is installed.
"""

import os
import re
import shutil
import subprocess
import sys

import lib_e2e as e2e

UNIT = "tools/packaging/xdpcached.service"
NOBODY = 65534
EXPOSURE_MAX = 2.1  # docs/operations.md lists what is in it
TIMES = 20
KEY, VALUE = b"unit", b"few rights"


def capabilities(setting):
    with open(UNIT, encoding="utf-8") as unit:
        words = re.search(rf"^{setting}=(.*)$", unit.read(), re.M).group(1).split()
    return [word.removeprefix("CAP_").lower() for word in words]


def as_the_unit():
    """A wrapper that becomes what systemd makes of the unit."""
    add = ",".join(f"+{name}" for name in capabilities("AmbientCapabilities"))
    keep = ",".join(f"+{name}" for name in capabilities("CapabilityBoundingSet"))
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            f"--inh-caps=-all,{add}", f"--ambient-caps=-all,{add}",
            f"--bounding-set=-all,{keep}", "--no-new-privs", "--"]


def effective(task):
    with open(f"{task}/status", encoding="ascii") as status:
        return int(re.search(r"CapEff:\t(\w+)", status.read()).group(1), 16)


def no_thread_keeps_a_capability(daemon):
    tasks = f"/proc/{daemon.process.pid}/task"
    for task in os.listdir(tasks):
        assert effective(f"{tasks}/{task}") == 0, task
    assert os.stat(tasks).st_uid == NOBODY


def kernel_answers(rig, daemon):
    daemon.pin(KEY)
    before = daemon.stats()["fastpath.hits"]
    with rig.udp() as s:
        for number in range(TIMES):
            s.send(e2e.frame(number, b"get %s\r\n" % KEY))
            assert s.recv(2048) == e2e.frame(number, e2e.value_reply(KEY, VALUE))
    assert daemon.stats()["fastpath.hits"] == before + TIMES


def start(rig):
    return e2e.Daemon(rig, "--allow", "10.78.0.0/24", wrapper=as_the_unit())


def daemon_with_the_units_rights_attaches_adopts_and_drops_them():
    os.chmod("/sys/fs/bpf", 0o700)
    os.makedirs("/run/xdpcache", exist_ok=True)
    os.chown("/run/xdpcache", NOBODY, NOBODY)
    with e2e.Rig("veth") as rig:
        os.chown(rig.folder, NOBODY, NOBODY)
        daemon = start(rig)
        daemon.set(KEY, VALUE)
        kernel_answers(rig, daemon)
        assert daemon.stats()["fastpath.state"] == "native"
        no_thread_keeps_a_capability(daemon)
        daemon.stop()
        daemon = start(rig)
        kernel_answers(rig, daemon)
        daemon.stop()


def warden_with_the_units_rights_attaches_again():
    with e2e.Rig("veth", native_client=False) as rig:
        os.chown(rig.folder, NOBODY, NOBODY)
        daemon = start(rig)
        daemon.set(KEY, VALUE)
        e2e.run("ip", "-n", rig.server_ns, "link", "del", rig.server_if)
        e2e.wait_until(lambda: daemon.stats()["fastpath.state"] == "off", what="the end of it")
        rig.make_wire()
        rig.attach_client()
        e2e.wait_until(lambda: daemon.stats()["fastpath.state"] == "native", what="native again")
        kernel_answers(rig, daemon)
        daemon.stop()


def analyze(*words):
    return subprocess.run(["systemd-analyze", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)


def systemd_takes_the_installed_unit_and_finds_little_open():
    """Installed below a folder of its own, so that every path in it exists."""
    if not shutil.which("systemd-analyze"):
        raise e2e.tap.Skip("systemd-analyze is not installed")
    with e2e.Rig("lo") as rig:
        prefix = f"{rig.folder}/usr"
        e2e.run("make", "install", "DESTDIR=", f"PREFIX={prefix}")
        unit = f"{prefix}/lib/systemd/system/xdpcached.service"
        with open(unit, encoding="utf-8") as text:
            documents = re.search(r"^Documentation=file:(.*)$", text.read(), re.M).group(1)
        assert os.path.isfile(documents), documents
        done = analyze("verify", "--man=no", unit)
        assert done.returncode == 0 and not done.stdout, done.stdout
        done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", unit)
        assert done.returncode == 0, done.stdout


sys.exit(e2e.main([
    daemon_with_the_units_rights_attaches_adopts_and_drops_them,
    warden_with_the_units_rights_attaches_again,
    systemd_takes_the_installed_unit_and_finds_little_open,
]))
