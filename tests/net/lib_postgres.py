# SPDX-License-Identifier: BSD-2-Clause
"""lib_postgres.py - a PostgreSQL server of the test's own, in a folder below /tmp and reached
through a socket in it. It refuses to be root, so as root it runs as nobody.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile

from lib_e2e import wait_until

BIN = "/usr/lib/postgresql/15/bin"
NOBODY = 65534


class Postgres:
    """`with` starts it and leaves nothing behind. settings: "NAME=VALUE" each."""

    def __init__(self, *settings):
        self.settings = settings
        self.folder = self.process = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="xcpg", dir="/tmp")
        os.chmod(self.folder, 0o755)
        os.chown(self.folder, NOBODY, NOBODY)
        try:
            self.program("initdb", "-D", f"{self.folder}/data", "-U", "xc", "-A", "trust", "-E",
                         "UTF8", "--locale=C", "--no-sync").wait(60)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        if self.process:
            self.freeze(False)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def program(self, name, *words):
        with open(f"{self.folder}.log", "ab") as log:
            os.unlink(f"{self.folder}.log")
            return subprocess.Popen([f"{BIN}/{name}", *words], stdout=log, stderr=log,
                                    user=NOBODY, group=NOBODY, cwd="/", extra_groups=[])

    @property
    def conninfo(self):
        return f"host={self.folder} dbname=postgres user=xc"

    def start(self):
        options = [word for setting in self.settings for word in ("-c", setting)]
        self.process = self.program("postgres", "-D", f"{self.folder}/data", "-k", self.folder,
                                    "-c", "listen_addresses=", "-c", "fsync=off", *options)
        wait_until(lambda: self.run("SELECT 1", check=False) == "1", 30, "PostgreSQL answers")

    def stop(self):
        """At once, whoever is connected."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def freeze(self, stop=True):
        """Nobody answers and nothing is refused; or they go on."""
        number = signal.SIGSTOP if stop else signal.SIGCONT
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            pid = self.process.pid
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
                pids = [pid, *map(int, children.read().split())]
            for one in pids:
                os.kill(one, number)

    def run(self, text, check=True):
        """What it says, values without decoration."""
        done = subprocess.run([f"{BIN}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo,
                               "-c", text], capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()
