#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""xdpcache top: what is on the screen, what its keys do, and how it leaves the terminal.

Method: a daemon with the fast path on lo (generic XDP), clients that read over TCP and UDP, and the
screen in a tmux of our own, whose panes are captured as text.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import lib_e2e as e2e
import tap

EAGER = ["--hot-threshold", "1"]


class Readers(threading.Thread):
    """One GET a key over TCP and one of the last key over UDP, forty times a second."""

    def __init__(self, rig, *keys):
        super().__init__()
        self.rig, self.keys, self.ending = rig, keys, False

    def run(self):
        with self.rig.tcp() as s, s.makefile("rb") as file, self.rig.udp() as udp:
            number = 0
            while not self.ending:
                s.sendall(b"get " + b" ".join(self.keys) + b"\r\n")
                while file.readline() != b"END\r\n":
                    pass
                for _ in range(5):
                    number += 1
                    udp.send(e2e.frame(number, b"get %s\r\n" % self.keys[-1]))
                    udp.recv(2000)
                time.sleep(0.025)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.ending = True
        self.join()


class Screen:
    """A shell in a tmux; what it runs, and what can be seen."""

    def __init__(self, rig, term="screen", lang="C.UTF-8", size=(80, 24)):
        self.rig, self.term = rig, term
        self.socket = f"{rig.folder}/tmux"
        self.env = dict(os.environ, LC_ALL=lang, TERM="screen", PS1="$ ")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]),
                  "sh")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.tmux("kill-server", check=False)

    def tmux(self, *words, check=True):
        done = subprocess.run(["tmux", "-u", "-S", self.socket, *words], env=self.env,
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 or not check, (words, done.stderr)
        return done.stdout

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def lines(self):
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def text(self):
        return "\n".join(self.lines())

    def await_text(self, *wanted, seconds=10):
        end = time.monotonic() + seconds * e2e.SCALE
        while True:
            text = self.text()
            if all(word in text for word in wanted):
                return text
            assert time.monotonic() < end, f"{wanted} not within {seconds} s in:\n{text}"
            time.sleep(0.1)

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def top(self, daemon, *words, after="echo ENDED $?"):
        """Starts it between two looks at the terminal's settings."""
        folder = self.rig.folder
        with open(f"{folder}/run", "w", encoding="utf-8") as out:
            out.write(f"stty -a >{folder}/before\n"
                      f"TERM={self.term} nsenter --net=/run/netns/{self.rig.server_ns} "
                      f"{e2e.BUILD}/xdpcache top {' '.join([*words, *daemon.control])}\n{after}\n"
                      f"stty -a >{folder}/after\n")
        self.press(f". {folder}/run", "Enter")

    def pid(self):
        """Of the top that runs in it."""
        shell = int(self.tmux("list-panes", "-F", "#{pane_pid}"))
        with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as children:
            return int(children.read().split()[0])

    def assert_restored(self, status):
        self.await_text(f"ENDED {status}")
        found = []
        for name in ("before", "after"):
            path = f"{self.rig.folder}/{name}"
            e2e.wait_until(lambda: os.path.exists(path) and os.path.getsize(path), 5, path)
            with open(path, encoding="ascii") as file:
                found.append(file.read())
        assert found[0] == found[1], found
        # echo works, the cursor is seen, and the screen from before is back
        assert self.tmux("display", "-p", "#{cursor_flag}#{alternate_on}").strip() == "10"
        for name in ("before", "after"):
            os.unlink(f"{self.rig.folder}/{name}")


def row_of(screen, key):
    return next((line for line in screen.lines() if key in line.split()[:3]), "")


def screen_shows_who_answers_and_what_is_hot():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        for key in (b"apple", b"pear", b"plum"):
            daemon.set(key, b"x" * 100)
        with Readers(rig, b"apple", b"pear", b"plum"), Screen(rig) as screen:
            screen.top(daemon)
            screen.await_text("fast path generic", "kernel", "daemon", "not found", "latency",
                              "memory", "in kernel", "apple", "plum", "WHY", "q quit")
            # UDP is the kernel's, about 200 a second
            e2e.wait_until(lambda: any(line.startswith("kernel ") and "%" in line
                                       and int(line.split()[1].replace(",", "")) > 20
                                       for line in screen.lines()), 10, "kernel reads")
            e2e.wait_until(lambda: "kernel" in row_of(screen, "plum"), 10, "plum is resident")
            lines = screen.lines()
            assert len(lines) == 24 and all(len(line) <= 80 for line in lines), lines
            assert " us " in next(line for line in lines if line.startswith("latency")), lines
            assert any(block in screen.text() for block in "▁▂▃▄▅▆▇█"), screen.text()
            screen.press("q")
            screen.assert_restored(0)
        daemon.stop()


def keys_select_sort_pin_ban_and_explain():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--hot-threshold", "1000000")
        for key in (b"apple", b"pear"):
            daemon.set(key, b"x" * 100)
        with Readers(rig, b"apple", b"pear"), Screen(rig) as screen:
            screen.top(daemon, "--interval", "0.2")
            screen.await_text("apple", "pear", "cold")
            screen.press("s", "s", "s", "s", "s")
            screen.await_text("sort: bytes a second")
            screen.press("s")
            screen.await_text("sort: key")
            screen.press("Up", "Up")
            e2e.wait_until(lambda: row_of(screen, "apple").startswith(">"), 5, "apple selected")
            screen.press("Down")
            e2e.wait_until(lambda: row_of(screen, "pear").startswith(">"), 5, "pear selected")
            screen.press("p")
            screen.await_text("pinned: yes, pear")
            e2e.wait_until(lambda: "kernel +" in row_of(screen, "pear"), 5, "pear is pinned")
            screen.press("b")
            e2e.wait_until(lambda: "daemon x" in row_of(screen, "pear"), 5, "pear is banned")
            screen.press("b")
            screen.await_text("banned: no longer, pear")
            screen.press("e")
            screen.await_text("pear: below the threshold. xdpcache hot pin KEY")
            screen.press("Space")
            screen.await_text("PAUSED", seconds=15)
            screen.press("q")
            screen.assert_restored(0)
        daemon.stop()


def size_is_followed_from_large_to_tiny():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        daemon.set(b"apple", b"x")
        with Readers(rig, b"apple"), Screen(rig) as screen:
            screen.top(daemon, "--interval", "0.2")
            screen.await_text("apple", "q quit")
            screen.resize(120, 40)
            e2e.wait_until(lambda: len(screen.lines()) == 40
                           and "q quit" in screen.lines()[-1], 10, "40 lines")
            screen.resize(40, 10)
            e2e.wait_until(lambda: len(screen.lines()) == 10 and "q quit" in screen.lines()[-1]
                           and "apple" in screen.text(), 10, "10 lines")
            for size in ((20, 4), (5, 2), (80, 24)):
                screen.resize(*size)
                time.sleep(0.5)
            screen.await_text("apple", "q quit")
            screen.press("q")
            screen.assert_restored(0)
        daemon.stop()


def terminal_without_utf8_or_colours_will_do():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        daemon.set(b"apple", b"x")
        with Readers(rig, b"apple"), Screen(rig, term="vt100", lang="C") as screen:
            screen.top(daemon, "--interval", "0.2")
            text = screen.await_text("apple", "in kernel", "%")
            time.sleep(1)
            assert screen.text().isascii(), screen.text()
            assert any(mark in line for line in screen.lines()[1:3] for mark in "#@*"), text
            screen.press("q")
            screen.await_text("ENDED 0")
        daemon.stop()


def every_end_gives_the_terminal_back():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        with Screen(rig) as screen:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                screen.top(daemon)
                screen.await_text("q quit")
                if number == signal.SIGINT:
                    screen.press("C-c")
                else:
                    os.kill(screen.pid(), number)
                screen.assert_restored(128 + number)
                screen.press("clear", "Enter")
                e2e.wait_until(lambda: "ENDED" not in screen.text(), 5, "a clear screen")
            # also while the daemon is stopped and a question waits
            screen.top(daemon)
            screen.await_text("q quit")
            daemon.signal_all(signal.SIGSTOP)
            time.sleep(1.5)
            screen.press("q")
            began = time.monotonic()
            screen.assert_restored(0)
            daemon.signal_all(signal.SIGCONT)
            assert time.monotonic() - began < 3 * e2e.SCALE
        daemon.stop()


def daemon_that_goes_away_is_said_and_waited_for():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        daemon.set(b"apple", b"x")
        with Screen(rig) as screen:
            screen.top(daemon, "--interval", "0.3")
            with Readers(rig, b"apple"):
                screen.await_text(f"pid {daemon.process.pid}", "apple")
            daemon.kill()
            screen.await_text("NO DAEMON", "no daemon answers")
            screen.press("p")  # what cannot be done is said
            screen.await_text("no daemon answers on", "apple")
            daemon = e2e.Daemon(rig, *EAGER)
            screen.await_text(f"pid {daemon.process.pid}")
            assert "NO DAEMON" not in screen.text()
            screen.press("q")
            screen.assert_restored(0)
        daemon.stop()


def once_prints_text_or_json_without_a_terminal():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        daemon.set(b"apple", b"x")
        words = [f"{e2e.BUILD}/xdpcache", "top", "--once", *daemon.control]
        with Readers(rig, b"apple"):
            time.sleep(1)
            text = rig.on_server("env", "TERM=dumb", *words)
            got = json.loads(rig.on_server(*words, "--json"))
        assert "\x1b" not in text and "apple" in text and "memory" in text, text
        assert 50 < got["rates"]["kernel"] + got["rates"]["daemon"] < 1000, got["rates"]
        # of turns that served somebody: a daemon that nobody asks has none
        assert 1000 <= got["rates"]["p50_ns"] <= got["rates"]["p99_ns"], got["rates"]
        latency = got["stats"]["latency"]
        assert len(latency["ends_ns"]) == len(latency["turns"]) and sum(latency["turns"]) > 40
        assert latency["ends_ns"] == sorted(set(latency["ends_ns"])), latency
        assert got["keys"][0]["key"] == "apple" and got["limits"]["threshold"] == 1, got
        assert got["stats"]["daemon"]["pid"] == daemon.process.pid
        said = rig.on_server(f"{e2e.BUILD}/xdpcache", "top", *daemon.control, check=False)
        assert "--once" in said, said
        daemon.stop()
        assert "no daemon answers" in rig.on_server(*words, check=False)


def keys_of_any_bytes_leave_the_screen_whole():
    """A key may hold what a terminal would obey; it is shown, not sent."""
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        odd = "\x9b2J".encode() + b"\xff" + "é漢".encode()
        daemon.set(odd, b"x")
        long = b"l" * 250
        daemon.set(long, b"x")
        with Readers(rig, odd, long), Screen(rig) as screen:
            screen.top(daemon, "--interval", "0.2")
            screen.await_text("\\xc2\\x9b2J\\xff", "llllllllllll", "in kernel", "q quit")
            assert all(len(line) <= 80 for line in screen.lines())
            screen.press("q")
            screen.assert_restored(0)
        daemon.stop()


def main():
    if subprocess.run(["tmux", "-V"], capture_output=True, check=False).returncode:
        raise tap.Skip("no tmux: package tmux")
    return e2e.main([
        screen_shows_who_answers_and_what_is_hot,
        keys_select_sort_pin_ban_and_explain,
        size_is_followed_from_large_to_tiny,
        terminal_without_utf8_or_colours_will_do,
        every_end_gives_the_terminal_back,
        daemon_that_goes_away_is_said_and_waited_for,
        once_prints_text_or_json_without_a_terminal,
        keys_of_any_bytes_leave_the_screen_whole,
    ])


sys.exit(main())
