#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What an origin said is served a while longer than it is fresh: while it is fetched anew (stale),
and while that cannot be done (stale_if_error); what is asked for near its end is fetched before
(refresh_ahead), also when only the kernel is asked. The kernel serves nothing that is old.
Questions a second are bounded (max_miss_qps).

Method: an SQLite database that counts its queries, and that the test changes and locks.
"""

import contextlib
import sqlite3
import sys
import time

import lib_e2e as e2e

ERROR = b"SERVER_ERROR the origin does not answer\r\n"
CONFIG = """
origins = ( { name = "shop"; kind = "sqlite"; target = "%(path)s"; timeout = %(timeout)d; } );
routes = ( { prefix = "p:"; origin = "shop"; key = "p:{id}"; %(route)s
    read = "INSERT INTO asked (id) VALUES ($1) RETURNING (SELECT body FROM p WHERE id = $1)"; } );
"""


class Shop:
    def __init__(self, rig, route, timeout):
        self.path = f"{rig.folder}/shop.db"
        self.config = f"{rig.folder}/origin.conf"
        with self.open() as db:
            db.execute("CREATE TABLE asked (id)")
            db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, body)")
            db.executemany("INSERT INTO p VALUES (?, ?)", [(i, b"old") for i in range(200)])
        with open(self.config, "w", encoding="ascii") as out:
            out.write(CONFIG % {"path": self.path, "route": route, "timeout": timeout})

    @contextlib.contextmanager
    def open(self):
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            yield db

    def change(self, body):
        with self.open() as db:
            db.execute("UPDATE p SET body = ?", (body,))

    def asked(self):
        with self.open() as db:
            return db.execute("SELECT count(*) FROM asked").fetchone()[0]

    @contextlib.contextmanager
    def locked(self):
        with self.open() as db:
            db.execute("BEGIN EXCLUSIVE")
            yield
            db.execute("ROLLBACK")


@contextlib.contextmanager
def shop_and_daemon(route, *flags, timeout=300):
    with e2e.Rig("lo") as rig:
        shop = Shop(rig, route, timeout)
        yield shop, e2e.Daemon(rig, "--config", shop.config, *flags)


def get(daemon, key=b"p:1"):
    """The value; an error as it was said."""
    reply = daemon.ask(b"get " + key + b"\r\n", b"\r\n")
    if not reply.startswith(b"VALUE"):
        return reply
    return reply.split(b"\r\n")[1]


def stat(daemon, name):
    return int(daemon.ask(b"stats origins\r\n").split(b"STAT origins:shop:%s " % name)[1]
               .split(b"\r\n")[0])


def old_value_is_served_while_a_new_one_is_fetched():
    with shop_and_daemon("ttl = 1; stale = 60;", "--no-fastpath") as (shop, daemon):
        assert get(daemon) == b"old"
        shop.change(b"new")
        time.sleep(1.3)
        with shop.locked():
            begin = time.monotonic()
            for _ in range(20):
                assert get(daemon) == b"old"
            assert time.monotonic() - begin < 0.3 * e2e.SCALE, "nobody waits for the origin"
        e2e.wait_until(lambda: get(daemon) == b"new", what="the new value")
        assert stat(daemon, b"stale") >= 20 and stat(daemon, b"refreshes") >= 1
        assert stat(daemon, b"asked") == 1


def old_value_is_served_when_none_can_be_had():
    with shop_and_daemon("ttl = 1; stale_if_error = 60;", "--no-fastpath") as (shop, daemon):
        assert get(daemon) == b"old"
        shop.change(b"new")
        time.sleep(1.3)
        with shop.locked():
            assert get(daemon) == b"old"
            assert stat(daemon, b"stale_error") == 1 and stat(daemon, b"stale") == 0
            # what was never here cannot be served
            assert get(daemon, b"p:2") == ERROR
            # neither does anybody wait once it is known: so many failures open the breaker
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(daemon.rig.tcp()) for _ in range(20)]
                for i, s in enumerate(clients):
                    s.sendall(b"get p:%d\r\n" % (10 + i))
                for s in clients:
                    assert s.recv(100) == ERROR
            begin = time.monotonic()
            for _ in range(5):
                assert get(daemon) == b"old"
            assert time.monotonic() - begin < 5 * 0.3 * e2e.SCALE
        e2e.wait_until(lambda: get(daemon) == b"new", 20, "the new value")


def old_value_is_gone_when_its_window_is_over():
    with shop_and_daemon("ttl = 1; stale = 1; stale_if_error = 2;",
                         "--no-fastpath") as (shop, daemon):
        assert get(daemon) == b"old"
        with shop.locked():
            time.sleep(3.3)
            assert get(daemon) == ERROR


def value_that_is_asked_for_near_its_end_is_fetched_before():
    with shop_and_daemon("ttl = 4; refresh_ahead = 3;", "--no-fastpath") as (shop, daemon):
        assert get(daemon) == b"old"
        shop.change(b"new")
        assert get(daemon) == b"old" and shop.asked() == 1
        time.sleep(1.2)
        assert get(daemon) == b"old"
        e2e.wait_until(lambda: get(daemon) == b"new", what="the new value")
        assert stat(daemon, b"asked") == 1 and stat(daemon, b"refreshes") == 1
        assert daemon.ask(b"mg p:1 t\r\n", b"\r\n") in (b"HD t4\r\n", b"HD t3\r\n")


def value_that_only_the_kernel_serves_is_fetched_before():
    with shop_and_daemon("ttl = 3; refresh_ahead = 2; stale = 60;") as (shop, daemon):
        assert get(daemon) == b"old"
        daemon.pin(b"p:1")
        before, sent = daemon.stats(), 0
        with daemon.rig.udp() as s:
            def ask():
                nonlocal sent
                sent += 1
                s.send(e2e.frame(sent % 65536, b"get p:1\r\n"))
                return s.recv(2048)[8:]

            end = time.monotonic() + 4.5
            shop.change(b"new")
            while time.monotonic() < end:
                ask()
                time.sleep(0.001)
            assert ask() == e2e.value_reply(b"p:1", b"new")
        after = daemon.stats()
        hits = after["fastpath.hits"] - before["fastpath.hits"]
        assert hits >= sent - 5, (hits, sent)
        assert 1 <= stat(daemon, b"refreshes") <= 5
        assert stat(daemon, b"stale") == 0


def kernel_serves_nothing_old_and_takes_up_the_new_value():
    with shop_and_daemon("ttl = 2; stale = 60;") as (shop, daemon):
        assert get(daemon) == b"old"
        daemon.pin(b"p:1")
        with daemon.rig.udp() as s:
            def ask():
                s.send(e2e.frame(1, b"get p:1\r\n"))
                return s.recv(2048)[8:]

            before = daemon.stats()["fastpath.hits"]
            assert ask() == e2e.value_reply(b"p:1", b"old")
            assert daemon.stats()["fastpath.hits"] == before + 1
            time.sleep(2.3)
            shop.change(b"new")
            with shop.locked():
                before = daemon.stats()["fastpath.hits"]
                assert ask() == e2e.value_reply(b"p:1", b"old")
                assert daemon.stats()["fastpath.hits"] == before
            e2e.wait_until(lambda: ask() == e2e.value_reply(b"p:1", b"new"), what="the new value")
            before = daemon.stats()["fastpath.hits"]
            assert ask() == e2e.value_reply(b"p:1", b"new")
            assert daemon.stats()["fastpath.hits"] == before + 1


def restart_keeps_the_kernels_entries():
    with shop_and_daemon("ttl = 60; stale = 60;") as (shop, daemon):
        assert get(daemon) == b"old"
        daemon.pin(b"p:1")
        daemon.stop()
        daemon = e2e.Daemon(daemon.rig, "--config", shop.config)
        assert "kernel entries kept: 1 of" in daemon.output(), daemon.output()
        daemon.stop()
        # of another window: the kernel's moment would be wrong
        with open(shop.config, encoding="ascii") as text:
            text = text.read()
        with open(shop.config, "w", encoding="ascii") as out:
            out.write(text.replace("stale = 60", "stale = 30"))
        daemon = e2e.Daemon(daemon.rig, "--config", shop.config)
        assert "kernel entries kept: 0 of" in daemon.output(), daemon.output()


def times_that_clients_give_are_theirs():
    with shop_and_daemon("ttl = 60; stale = 60;", "--no-fastpath") as (shop, daemon):
        assert daemon.ask(b"set p:1 0 100 4\r\nours\r\n", b"\r\n") == b"STORED\r\n"
        assert daemon.ask(b"mg p:1 t\r\n", b"\r\n") == b"HD t100\r\n"
        assert daemon.ask(b"mg p:1 T50 t\r\n", b"\r\n") == b"HD t50\r\n"
        # the last 60 of 50 seconds: who asks wins the right to recache
        assert daemon.ask(b"mg p:1 R60 v\r\n", b"ours\r\n") == b"VA 4 W\r\nours\r\n"
        assert daemon.ask(b"mg p:2 R30 t\r\n", b"\r\n") == b"HD t60\r\n"
        assert daemon.ask(b"set p:3 0 0 4\r\nours\r\n", b"\r\n") == b"STORED\r\n"
        assert daemon.ask(b"mg p:3 t\r\n", b"\r\n") == b"HD t-1\r\n"


def questions_a_second_are_bounded():
    with shop_and_daemon("ttl = 60; max_miss_qps = 10;", "--no-fastpath",
                         timeout=10000) as (shop, daemon):
        with daemon.rig.tcp() as s:
            begin = time.monotonic()
            s.sendall(b"".join(b"get p:%d\r\n" % i for i in range(100)))
            reply = b""
            while reply.count(b"END\r\n") + reply.count(ERROR) < 100:
                reply += s.recv(65536)
            took = time.monotonic() - begin
        found = reply.count(b"END\r\n")
        assert 10 <= found <= 10 + 10 * took + 1, (found, took)
        limited, refused = stat(daemon, b"limited"), stat(daemon, b"refused")
        assert limited == 100 - found == refused, (found, limited, refused)
        # it is no failure of the origin's
        time.sleep(0.3)
        assert get(daemon, b"p:99") == b"old"


if __name__ == "__main__":
    sys.exit(e2e.main([
        old_value_is_served_while_a_new_one_is_fetched,
        old_value_is_served_when_none_can_be_had,
        old_value_is_gone_when_its_window_is_over,
        value_that_is_asked_for_near_its_end_is_fetched_before,
        value_that_only_the_kernel_serves_is_fetched_before,
        kernel_serves_nothing_old_and_takes_up_the_new_value,
        restart_keeps_the_kernels_entries,
        times_that_clients_give_are_theirs,
        questions_a_second_are_bounded,
    ]))
