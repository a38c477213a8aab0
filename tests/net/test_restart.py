#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a client keeps when the daemon is stopped, replaced or damaged.

Method: contents with flags, TTL and cas are compared before and after a stop, with the log in a
file, in pinned maps, and in a memfd that a made-up systemd keeps. While a daemon is replaced by
--upgrade, clients ask over UDP at a pace, connect over TCP again and again, and write versions;
what was not answered, refused or went back is counted.
"""

import array
import glob
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import lib_e2e as e2e
import lib_trace

ALLOW = ["--allow", "10.78.0.0/24"]
KEYS = [b"keep%d" % n for n in range(200)]
TTL_SEC = 1000
LONG = os.environ.get("XC_TEST_LONG") == "1"
UPGRADES = 30 if LONG else 3
KILLS = 100 if LONG else 5
SEED = int(os.environ.get("XC_TEST_SEED") or time.time_ns() & 0xffffffff)
PACE_SEC = 0.002


def fill(daemon):
    with daemon.rig.tcp() as s, s.makefile("rb") as file:
        for n, key in enumerate(KEYS):
            value = key * (1 + n % 50)
            ttl = TTL_SEC + n if n % 3 == 0 else 0
            s.sendall(b"set %s %d %d %d\r\n%s\r\n" % (key, n % 7, ttl, len(value), value))
            assert file.readline() == b"STORED\r\n"
        large = b"large" * 100000
        s.sendall(b"set large 9 0 %d\r\n%s\r\n" % (len(large), large))
        assert file.readline() == b"STORED\r\n"
        s.sendall(b"delete keep7\r\n")
        assert file.readline() == b"DELETED\r\n"


def contents(daemon):
    """Every key's whole answer, with its cas."""
    found = {}
    with daemon.rig.tcp() as s, s.makefile("rb") as file:
        for key in KEYS + [b"large"]:
            s.sendall(b"gets %s\r\n" % key)
            head = file.readline()
            body = b"" if head == b"END\r\n" else file.read(int(head.split()[3]) + 2)
            assert not body or file.readline() == b"END\r\n"
            found[key] = (head, body)
    return found


def plain(rig, *flags, **more):
    return e2e.Daemon(rig, "--no-fastpath", *ALLOW, *flags, **more)


def memory_file_keeps_contents_over_stop_and_kill():
    with e2e.Rig("veth") as rig:
        path = rig.memory_file()
        try:
            daemon = plain(rig, "-e", path)
            fill(daemon)
            daemon.set(b"soon", b"gone")
            daemon.ask(b"touch soon 3\r\n", b"\r\n")
            before = contents(daemon)
            daemon.stop()
            assert os.stat(path).st_size > 32 << 20 and os.stat(path).st_mode & 0o777 == 0o600
            daemon = plain(rig, "-e", path)
            assert contents(daemon) == before
            assert "took over the last stop's state" in daemon.output(), daemon.output()
            daemon.set(b"keep1", b"written since")
            daemon.kill()
            # Both find the log; neither trusts the state that was used before.
            daemon = plain(rig, "-e", path)
            assert "took over the log of an earlier process" in daemon.output(), daemon.output()
            after = contents(daemon)
            assert after.pop(b"keep1")[1] == b"written since\r\n" and before.pop(b"keep1")
            assert after == before
            time.sleep(3.2)
            assert daemon.ask(b"get soon\r\n") == b"END\r\n", "a TTL outlives a restart"
            second = subprocess.run(
                ["nsenter", f"--net=/run/netns/{rig.server_ns}", f"{e2e.BUILD}/xdpcached", "-p",
                 "11300", "-m", "64", "-e", path, "--control", f"{rig.folder}/2.sock"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
            assert second.returncode and "another daemon uses it" in second.stdout, second.stdout
            daemon.stop()
            daemon = plain(rig, "-e", path, memory=128)
            assert "starting empty" in daemon.output(), daemon.output()
            assert daemon.ask(b"get keep1\r\n") == b"END\r\n"
            daemon.stop()
        finally:
            os.unlink(path)


def promised_flush_outlives_a_stop_and_a_kill():
    with e2e.Rig("veth") as rig:
        path = rig.memory_file()
        try:
            for end in ("stop", "kill"):
                daemon = plain(rig, "-e", path)
                daemon.set(b"doomed", b"value")
                assert daemon.ask(b"flush_all 4\r\n", b"\r\n") == b"OK\r\n"
                getattr(daemon, end)()
                daemon = plain(rig, "-e", path)
                assert daemon.ask(b"get doomed\r\n") != b"END\r\n", "too early"
                e2e.wait_until(lambda d=daemon: d.ask(b"get doomed\r\n") == b"END\r\n", 8,
                               "the promised flush")
                daemon.stop()
        finally:
            os.unlink(path)


def damaged_memory_file_serves_what_is_whole():
    with e2e.Rig("veth") as rig:
        path = rig.memory_file()
        try:
            daemon = plain(rig, "-e", path)
            fill(daemon)
            before = contents(daemon)
            daemon.stop()
            with open(path, "r+b") as file:
                at = file.read().index(b"keep100keep100")
                file.seek(at + 9)
                file.write(b"X")
            daemon = plain(rig, "-e", path)
            after = contents(daemon)
            assert "damaged segments are dropped: 1 of" in daemon.output(), daemon.output()
            assert after[b"keep100"] == (b"END\r\n", b"")
            assert all(after[key] in (before[key], (b"END\r\n", b"")) for key in before)
            # of another TTL, so of another segment
            assert after[b"keep99"] == before[b"keep99"]
            daemon.stop()
        finally:
            os.unlink(path)


def pinned_log_is_taken_over_by_its_state():
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, *ALLOW)
        fill(daemon)
        daemon.pin(b"keep1", b"keep2")
        before = contents(daemon)
        daemon.stop()
        daemon = e2e.Daemon(rig, *ALLOW)
        assert "took over the last stop's state" in daemon.output(), daemon.output()
        assert "kernel entries kept: 2" in daemon.output(), daemon.output()
        assert contents(daemon) == before
        daemon.kill()
        daemon = e2e.Daemon(rig, *ALLOW)
        assert "took over the log of an earlier process" in daemon.output(), daemon.output()
        assert contents(daemon) == before
        daemon.stop()
        daemon.cli("unload", check=False)
        left = glob.glob(f"/run/xdpcache/*{rig.tag}*")
        assert not left, left


# --- killed while it stops ---


def stop_and_kill(daemon, nth):
    """Where the daemon was killed: at the nth stop of its end. None: it ended before."""
    try:
        tracer = lib_trace.Tracer(daemon.process.pid)
    except PermissionError:
        raise e2e.tap.Skip("no permission to trace a child") from None
    daemon.process.terminate()
    place = None
    for _ in range(nth):
        place = tracer.to_next()
        if not place:
            daemon.process.returncode = os.waitstatus_to_exitcode(tracer.status)
            assert daemon.process.returncode == 0, daemon.output()
            return None
    daemon.kill()
    return place


def killed_at_each_step_of_a_stop(rig, *flags):
    """Before and behind each call that changes a file: the next start has everything."""
    daemon = e2e.Daemon(rig, *ALLOW, *flags)
    fill(daemon)
    before = contents(daemon)
    places, loaded = [], []
    for nth in range(1, 200):
        # Each stop saves something else.
        daemon.set(b"version", b"%d" % nth)
        place = stop_and_kill(daemon, nth)
        daemon = e2e.Daemon(rig, *ALLOW, *flags)
        used = "took over the last stop's state" in daemon.output()
        assert used or "took over the log of an earlier process" in daemon.output(), place
        assert " dropped=0" in daemon.output() or used, (place, daemon.output())
        assert contents(daemon) == before, place
        assert daemon.ask(b"get version\r\n").splitlines()[1] == b"%d" % nth, place
        if not place:
            break
        places.append(place)
        loaded.append(used)
    daemon.stop()
    print("# " + ", ".join(f"{place}{' (state used)' * used}"
                           for place, used in zip(places, loaded)))
    assert used and not place, "a stop that nobody disturbs leaves its state"
    # Nothing is believed before the last word of it is written, and all of it afterwards.
    last = max(n for n, name in enumerate(places) if name == "behind pwrite64")
    assert loaded == [n >= last for n in range(len(places))], list(zip(places, loaded))
    assert places.count("behind pwrite64") >= 3 and "behind ftruncate" in places, places


def killed_at_each_step_of_a_stop_keeps_everything():
    with e2e.Rig("veth") as rig:
        path = rig.memory_file()
        try:
            killed_at_each_step_of_a_stop(rig, "--no-fastpath", "-e", path)
        finally:
            os.unlink(path)


def killed_at_each_step_of_a_stop_of_the_fast_path_keeps_everything():
    with e2e.Rig("veth") as rig:
        killed_at_each_step_of_a_stop(rig)


# --- replaced under load ---


class Asker(threading.Thread):
    """GETs over UDP at a pace from several sockets; none is sent twice."""

    def __init__(self, rig, keys):
        super().__init__()
        self.socks = [rig.udp() for _ in range(8)]
        for s in self.socks:
            s.setblocking(False)
        self.keys = keys
        self.ending = False
        self.open, self.wrong, self.sent, self.slowest = {}, [], 0, 0

    def read(self):
        for s in self.socks:
            try:
                while True:
                    got = s.recv(4096)
                    number = int.from_bytes(got[:2], "big")
                    key, at = self.open.pop(number, (None, 0))
                    self.slowest = max(self.slowest, time.monotonic() - at)
                    if not key or not got[8:].startswith(b"VALUE %s " % key):
                        self.wrong.append((number, key, got))
            except BlockingIOError:
                pass

    def run(self):
        while not self.ending:
            number = self.sent & 0xffff
            key = self.keys[self.sent % len(self.keys)]
            self.open[number] = (key, time.monotonic())
            self.socks[self.sent % len(self.socks)].send(
                e2e.frame(number, b"get %s\r\n" % key))
            self.sent += 1
            time.sleep(PACE_SEC)
            self.read()
        end = time.monotonic() + 5
        while self.open and time.monotonic() < end:
            time.sleep(0.01)
            self.read()
        for s in self.socks:
            s.close()


class Connector(threading.Thread):
    """A new TCP connection for each GET. One that was closed unanswered is tried again."""

    def __init__(self, rig):
        super().__init__()
        self.rig = rig
        self.ending = False
        self.done, self.refused, self.closed, self.wrong = 0, 0, 0, []

    def once(self):
        reply = b""
        with self.rig.tcp() as s:
            s.sendall(b"get keep3\r\n")
            while not reply.endswith(b"END\r\n"):
                part = s.recv(4096)
                if not part:
                    break
                reply += part
        if not reply:
            raise ConnectionResetError
        if not reply.startswith(b"VALUE keep3 3 ") or not reply.endswith(b"END\r\n"):
            self.wrong.append(reply)

    def run(self):
        while not self.ending:
            try:
                self.once()
                self.done += 1
            except ConnectionRefusedError:
                self.refused += 1
            except OSError:
                self.closed += 1


class Writer(threading.Thread):
    """Versions of one key over a connection that lives until it is closed; reads each back."""

    def __init__(self, rig):
        super().__init__()
        self.rig = rig
        self.ending = False
        self.acked, self.closed, self.refused, self.wrong = 0, 0, 0, []

    def write(self, s, file):
        version = self.acked
        while not self.ending:
            version += 1
            s.sendall(b"set version 0 0 %d\r\n%d\r\nget version\r\n" % (len(str(version)), version))
            line = file.readline()
            if not line:
                raise ConnectionResetError
            if line != b"STORED\r\n":
                self.wrong.append(line)
            self.acked = version
            lines = [file.readline() for _ in range(3)]
            if not lines[0]:
                raise ConnectionResetError
            if lines[1] != b"%d\r\n" % version:
                self.wrong.append((version, lines))

    def check(self, s, file):
        """What was acknowledged last, or the one that was under way."""
        s.sendall(b"get version\r\n")
        head = file.readline()
        if head == b"END\r\n" and self.acked == 0:
            return
        if not head.startswith(b"VALUE"):
            raise ConnectionResetError
        found = int(file.readline())
        file.readline()
        if found not in (self.acked, self.acked + 1):
            self.wrong.append(("went back", self.acked, found))
        self.acked = found

    def run(self):
        while not self.ending:
            try:
                with self.rig.tcp() as s, s.makefile("rb") as file:
                    self.check(s, file)
                    self.write(s, file)
            except ConnectionRefusedError:
                self.refused += 1
            except OSError:
                self.closed += 1


def upgrade(rig, old, *flags):
    """The next daemon, once it serves; the old one has ended by then."""
    pid = old.process.pid
    daemon = e2e.Daemon(rig, "--upgrade", *flags)
    old.process.wait(20 * e2e.SCALE)
    assert old.process.returncode == 0, old.output()
    e2e.wait_until(lambda: "taken over: sockets=" in daemon.output(), 20, "what was taken over")
    e2e.wait_until(
        lambda: daemon.cli("stats", check=False).get("daemon", {}).get("pid", pid) != pid, 20,
        "the new daemon answers")
    return daemon


def replaced_under_load(*flags, pinned=()):
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, *ALLOW, *flags)
        fill(daemon)
        if pinned:
            daemon.pin(*pinned)
        before = contents(daemon)
        clients = [Asker(rig, [b"keep1", b"keep2", b"keep3"]), Connector(rig), Writer(rig)]
        for client in clients:
            client.start()
        try:
            for turn in range(UPGRADES):
                time.sleep(0.5)
                daemon = upgrade(rig, daemon, *ALLOW, *flags, "-t", str(1 + turn % 3))
            time.sleep(0.5)
        finally:
            for client in clients:
                client.ending = True
            for client in clients:
                client.join()
        asker, connector, writer = clients
        print(f"# udp: {asker.sent} asked, {len(asker.open)} lost, slowest "
              f"{asker.slowest * 1000:.0f} ms; tcp: {connector.done} served, "
              f"{connector.refused + writer.refused} refused, {connector.closed} closed before "
              f"their answer; {writer.acked} writes over {writer.closed + 1} connections")
        assert not asker.wrong and not connector.wrong and not writer.wrong, \
            (asker.wrong[:3], connector.wrong[:3], writer.wrong[:3])
        assert asker.sent > 300 and not asker.open, (asker.sent, list(asker.open.items())[:5])
        assert connector.done > 100 and connector.refused == writer.refused == 0
        assert writer.acked > 100 and writer.closed >= UPGRADES - 1, (writer.acked, writer.closed)
        assert contents(daemon) == before
        if pinned:
            assert daemon.stats()["fastpath.hits"] > 0
        daemon.stop()


def replaced_daemon_loses_no_get_and_refuses_no_connection():
    replaced_under_load("--no-fastpath")


def replaced_daemon_with_fast_path_loses_no_get_and_refuses_no_connection():
    replaced_under_load(pinned=(b"keep1",))


def killed_amid(rig, rand, *flags):
    """Both daemons are killed somewhere between the asking and the first answer of the next."""
    daemon = e2e.Daemon(rig, *ALLOW, *flags)
    fill(daemon)
    before = contents(daemon)
    for kill in range(KILLS):
        daemon.set(b"version", b"%d" % kill)
        if kill % 2 and not flags:
            daemon.pin(b"version")
        words = daemon.process.args + ["--upgrade"]
        following = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rand.random() * 0.15)
        daemon.kill()
        following.kill()
        following.wait()
        daemon = e2e.Daemon(rig, *ALLOW, *flags)
        assert contents(daemon) == before, kill
        assert daemon.ask(b"get version\r\n").splitlines()[1] == b"%d" % kill, kill
    daemon.stop()


def killed_amid_an_upgrade_keeps_everything():
    print(f"# XC_TEST_SEED={SEED}")
    with e2e.Rig("veth") as rig:
        path = rig.memory_file()
        try:
            killed_amid(rig, random.Random(SEED), "--no-fastpath", "-e", path)
        finally:
            os.unlink(path)


def killed_amid_an_upgrade_of_the_fast_path_keeps_everything():
    with e2e.Rig("veth") as rig:
        killed_amid(rig, random.Random(SEED + 1))


def abandoned_hand_over_keeps_the_items():
    """Whoever asked is gone before it gets anything: the daemon has ended, the items have not."""
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, *ALLOW)
        fill(daemon)
        before = contents(daemon)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{rig.folder}/c.sock")
            s.sendall(b'{"cmd":"handover"}\n')
        daemon.process.wait(20)
        daemon = e2e.Daemon(rig, *ALLOW)
        assert contents(daemon) == before
        daemon.stop()


def upgrade_without_a_daemon_is_a_start():
    with e2e.Rig("veth") as rig:
        daemon = plain(rig, "--upgrade")
        assert "nothing to take over" in daemon.output(), daemon.output()
        daemon.stop()


def reload_that_comes_before_the_hand_over_waits():
    """Systemd is told the pid of the next daemon before that one has anything to reload. And who is
    asked may end before it has given anything: then there is nobody to wait for."""
    with e2e.Rig("veth") as rig, tempfile.TemporaryFile() as out:
        path = f"{rig.folder}/slow.sock"
        old = subprocess.Popen(
            [sys.executable, "-c",
             "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
             "print('up', flush=True); c=s.accept()[0]; print(c.recv(100), flush=True);"
             "sys.stdin.read()", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert old.stdout.readline() == b"up\n"
        following = subprocess.Popen(
            [f"{e2e.BUILD}/xdpcached", "--no-fastpath", "-p", "0", "-s", f"{rig.folder}/s",
             "--control", path, "--upgrade", "-u", "root"], stdout=out, stderr=out)
        try:
            assert b"handover" in old.stdout.readline()
            following.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert following.poll() is None, following.returncode
            old.kill()
            e2e.wait_until(lambda: "main: reloaded" in e2e.servers.written(out), 20, "a reload")
            said = e2e.servers.written(out)
            assert "ended before it had handed over" in said, said
            following.terminate()
            assert following.wait(20) == 0
        finally:
            for process in (old, following):
                process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream:
                        stream.close()


def killed_while_it_hands_over_is_followed_all_the_same():
    rand = random.Random(SEED + 2)
    print(f"# XC_TEST_SEED={SEED}")
    with e2e.Rig("veth") as rig:
        daemon = e2e.Daemon(rig, *ALLOW)
        fill(daemon)
        before = contents(daemon)
        for kill in range(2 * KILLS):
            old = daemon

            def kill_soon(old=old):
                time.sleep(rand.random() * 0.15)
                old.kill()
            killer = threading.Thread(target=kill_soon)
            killer.start()
            daemon = e2e.Daemon(rig, "--upgrade", *ALLOW)
            killer.join()
            e2e.wait_until(lambda: "main: ready" in daemon.output(), what="the next serves")
            assert contents(daemon) == before, kill
        daemon.stop()


def hand_over_is_refused_to_others():
    with e2e.Rig("veth") as rig:
        daemon = plain(rig)
        path = f"{rig.folder}/c.sock"
        os.chmod(path, 0o666)
        os.chmod(rig.folder, 0o755)
        asked = subprocess.run(
            ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c",
             "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
             "s.sendall(b'{\"cmd\":\"handover\"}\\n'); print(s.recv(1000))", path],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        assert '"ok":false' in asked.stdout, asked.stdout
        daemon.set(b"still", b"here")
        daemon.stop()


# --- systemd ---


class Systemd:
    """What the service manager does for us: keeps descriptors, and gives them to the next start."""

    def __init__(self, rig):
        self.rig = rig
        self.path = f"{rig.folder}/notify"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.fds = []

    def receive(self):
        self.sock.settimeout(0.2)
        try:
            while True:
                text, control, _, _ = self.sock.recvmsg(4096, 4096)
                fds = array.array("i")
                for level, kind, data in control:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                        fds.frombytes(data)
                if b"FDSTOREREMOVE=1" in text:
                    self.drop()  # all of ours have one name
                if b"FDSTORE=1" in text:
                    self.fds += self.unknown(fds)
                else:
                    for fd in fds:
                        os.close(fd)
        except TimeoutError:
            pass

    def unknown(self, fds):
        """As systemd does: the same file twice is kept once."""
        known = {os.fstat(fd).st_ino for fd in self.fds}
        fresh = []
        for fd in fds:
            if os.fstat(fd).st_ino in known:
                os.close(fd)
            else:
                fresh.append(fd)
        return fresh

    def start(self, *words):
        """ exec keeps the process id that LISTEN_PID has to name. """
        script = f"{self.rig.folder}/start.sh"
        with open(script, "w", encoding="ascii") as file:
            file.write("#!/bin/bash\n")
            # from the highest down: their places may overlap
            high = 100 + len(self.fds)
            for n, fd in enumerate(self.fds):
                file.write(f"exec {high + n}<&{fd}\n")
            for n in range(len(self.fds)):
                file.write(f"exec {3 + n}<&{high + n} {high + n}<&-\n")
            file.write(f"export NOTIFY_SOCKET={self.path}\n")
            if self.fds:
                file.write(f"export LISTEN_PID=$$ LISTEN_FDS={len(self.fds)}\n")
            file.write(f"exec {' '.join(words)}\n")
        os.chmod(script, 0o755)
        out = tempfile.TemporaryFile()
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.rig.server_ns}", script],
            pass_fds=self.fds, stdout=out, stderr=out)
        return process, out

    def drop(self):
        while self.fds:
            os.close(self.fds.pop())

    def close(self):
        self.drop()
        self.sock.close()


def systemd_keeps_contents_and_sockets(end):
    with e2e.Rig("veth") as rig:
        systemd = Systemd(rig)
        words = [f"{e2e.BUILD}/xdpcached", "-p", str(e2e.PORT), "-U", str(e2e.PORT), "-m", "64",
                 "-t", "2", "--control", f"{rig.folder}/c.sock", *ALLOW]
        process, _ = systemd.start(*words)
        try:
            e2e.wait_until(lambda: os.path.exists(f"{rig.folder}/c.sock"), what="a daemon")
            systemd.receive()
            # the log, and two threads' sockets of two kinds and two families
            assert len(systemd.fds) == 9, len(systemd.fds)
            with rig.tcp() as s:
                s.sendall(b"set kept 4 0 5\r\nvalue\r\n")
                assert s.recv(100) == b"STORED\r\n"
            process.send_signal(end)
            process.wait(20)
            # Nobody is there, and nobody is refused.
            with rig.tcp() as s, rig.udp() as u:
                s.sendall(b"get kept\r\n")
                u.send(e2e.frame(5, b"get kept\r\n"))
                process, out = systemd.start(*words)
                s.settimeout(20)
                u.settimeout(20)
                want = e2e.value_reply(b"kept", b"value", 4)
                assert s.recv(100) == want
                assert u.recv(100)[8:] == want
            said = e2e.servers.written(out)
            assert "from systemd: sockets=8 log=yes" in said, said
            assert ("took over the last stop's state" in said) == (end == signal.SIGTERM), said
            before = len(systemd.fds)
            systemd.receive()
            assert len(systemd.fds) == before, "the same ones are kept"
        finally:
            process.terminate()
            process.wait(20)
            systemd.close()


def systemd_gives_up_what_the_next_start_has_no_use_for():
    """Another port: nobody is left hanging on the old one. A fast path: no second log is held."""
    with e2e.Rig("veth") as rig:
        systemd = Systemd(rig)
        words = [f"{e2e.BUILD}/xdpcached", "-m", "64", "-t", "2", "--control",
                 f"{rig.folder}/c.sock", "--instance", "e2e", "--pin-root", rig.pin_root]
        # a log, and sockets of two threads and two families; with UDP twice as many
        starts = ((["--no-fastpath", "-p", str(e2e.PORT + 1)], 5),
                  (["--no-fastpath", "-p", str(e2e.PORT)], 5),
                  (["-p", str(e2e.PORT), "--interface", rig.server_if], 8))
        process = None
        try:
            for flags, kept in starts:
                process, out = systemd.start(*words, *flags)
                e2e.wait_until(lambda: "main: ready" in e2e.servers.written(out), 20, "a daemon")
                systemd.receive()
                assert len(systemd.fds) == kept, (flags, len(systemd.fds))
                process.terminate()
                assert process.wait(20) == 0, e2e.servers.written(out)
        finally:
            if process and process.poll() is None:
                process.kill()
                process.wait()
            systemd.close()


def systemd_restart_keeps_contents_and_refuses_nobody():
    systemd_keeps_contents_and_sockets(signal.SIGTERM)


def systemd_restart_after_a_kill_does_too():
    systemd_keeps_contents_and_sockets(signal.SIGKILL)


sys.exit(e2e.main([
    memory_file_keeps_contents_over_stop_and_kill,
    promised_flush_outlives_a_stop_and_a_kill,
    damaged_memory_file_serves_what_is_whole,
    pinned_log_is_taken_over_by_its_state,
    killed_at_each_step_of_a_stop_keeps_everything,
    killed_at_each_step_of_a_stop_of_the_fast_path_keeps_everything,
    replaced_daemon_loses_no_get_and_refuses_no_connection,
    replaced_daemon_with_fast_path_loses_no_get_and_refuses_no_connection,
    killed_amid_an_upgrade_keeps_everything,
    killed_amid_an_upgrade_of_the_fast_path_keeps_everything,
    abandoned_hand_over_keeps_the_items,
    upgrade_without_a_daemon_is_a_start,
    reload_that_comes_before_the_hand_over_waits,
    killed_while_it_hands_over_is_followed_all_the_same,
    hand_over_is_refused_to_others,
    systemd_gives_up_what_the_next_start_has_no_use_for,
    systemd_restart_keeps_contents_and_refuses_nobody,
    systemd_restart_after_a_kill_does_too,
]))
