#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write-through: a change is in the database and in the cache when the client is told of it, over
every protocol and by every command; what the database refuses changes nothing; of what it does not
confirm the cache knows nothing. Changes of one key come to both in one order.

Method: an SQLite database that the test reads and locks, with a constraint that refuses values; and
a PostgreSQL server.
"""

import contextlib
import sqlite3
import struct
import sys
import threading
import time

import lib_e2e as e2e
from lib_postgres import Postgres

REFUSED = b"SERVER_ERROR the origin refused the change\r\n"
UNSURE = b"SERVER_ERROR the origin did not confirm the change\r\n"
CONFIG = """
origins = ( { name = "shop"; kind = "%(kind)s"; target = "%(target)s"; timeout = %(timeout)d; } );
routes = (
    { prefix = "p:"; origin = "shop"; key = "p:{id}"; ttl = 600; negative_ttl = %(negative)d;
      read = "SELECT body FROM p WHERE id = $1"; %(extra)s
      write = "INSERT INTO p (id, body) VALUES ($1, $2)
               ON CONFLICT (id) DO UPDATE SET body = excluded.body"; },
    { prefix = "u:"; origin = "shop"; key = "u:{id}";
      read = "SELECT body FROM p WHERE id = $1";
      write = "UPDATE p SET body = $2 WHERE id = $1"; }
);
"""
DELETE = 'delete = "DELETE FROM p WHERE id = $1";'


class Shop:
    def __init__(self, rig, timeout, extra):
        self.path = f"{rig.folder}/shop.db"
        self.config = f"{rig.folder}/origin.conf"
        with self.open() as db:
            db.execute("CREATE TABLE p (id TEXT PRIMARY KEY, body CHECK (body <> 'bad'))")
        with open(self.config, "w", encoding="ascii") as out:
            out.write(CONFIG % {"kind": "sqlite", "target": self.path, "timeout": timeout,
                                "extra": extra, "negative": 60})

    @contextlib.contextmanager
    def open(self):
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            yield db

    def put(self, key, body):
        with self.open() as db:
            db.execute("INSERT OR REPLACE INTO p VALUES (?, ?)", (key, body))

    def get(self, key):
        """What the database has; None: nothing."""
        with self.open() as db:
            row = db.execute("SELECT body FROM p WHERE id = ?", (key,)).fetchone()
        if row is None:
            return None
        return row[0].encode() if isinstance(row[0], str) else row[0]

    @contextlib.contextmanager
    def locked(self):
        with self.open() as db:
            db.execute("BEGIN EXCLUSIVE")
            yield
            db.execute("ROLLBACK")


@contextlib.contextmanager
def shop_and_daemon(*flags, timeout=5000, extra=DELETE):
    with e2e.Rig("lo") as rig:
        shop = Shop(rig, timeout, extra)
        yield shop, e2e.Daemon(rig, "--config", shop.config, *flags)


def line(daemon, request):
    return daemon.ask(request, b"\r\n")


def get(daemon, key):
    """The value; None: there is none."""
    reply = daemon.ask(b"get " + key + b"\r\n")
    return None if reply == b"END\r\n" else reply.split(b"\r\n")[1]


def every_command_changes_both():
    with shop_and_daemon("--no-fastpath") as (shop, daemon):
        def both(want):
            assert get(daemon, b"p:1") == want and shop.get("1") == want, (shop.get("1"), want)

        steps = [
            (b"set p:1 5 0 3\r\none\r\n", b"STORED", b"one"),
            (b"add p:1 0 0 3\r\ntwo\r\n", b"NOT_STORED", b"one"),
            (b"replace p:1 0 0 3\r\ntwo\r\n", b"STORED", b"two"),
            (b"append p:1 0 0 2\r\n-a\r\n", b"STORED", b"two-a"),
            (b"prepend p:1 0 0 2\r\nb-\r\n", b"STORED", b"b-two-a"),
            (b"incr p:1 1\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value",
             b"b-two-a"),
            (b"cas p:1 0 0 1 1\r\nx\r\n", b"EXISTS", b"b-two-a"),
            (b"set p:1 0 0 2\r\n10\r\n", b"STORED", b"10"),
            (b"incr p:1 90\r\n", b"100", b"100"),
            (b"decr p:1 91\r\n", b"9", b"9  "),
            (b"ms p:1 3 T0\r\n100\r\n", b"HD", b"100"),
            (b"ma p:1 D11 v\r\n", b"VA 3", b"111"),
            (b"ms p:1 2 MA\r\n22\r\n", b"HD", b"11122"),
            (b"md p:1\r\n", b"HD", None),
            (b"delete p:1\r\n", b"NOT_FOUND", None),
            (b"append p:1 0 0 1\r\nx\r\n", b"NOT_STORED", None),
            (b"ma p:1 N0 J7\r\n", b"HD", b"7"),
            (b"delete p:1\r\n", b"DELETED", None),
            (b"add p:1 0 0 3\r\nnew\r\n", b"STORED", b"new"),
            (b"delete p:1 noreply\r\nmn\r\n", b"MN", None),
        ]
        for request, reply, want in steps:
            assert line(daemon, request).startswith(reply + b"\r\n"), request
            both(want)
        cas = daemon.ask(b"set p:1 0 0 1\r\na\r\ngets p:1\r\n").split()[5]
        assert line(daemon, b"cas p:1 0 0 1 " + cas + b"\r\nb\r\n") == b"STORED\r\n"
        both(b"b")
        # a touch is the cache's own
        assert line(daemon, b"touch p:1 5\r\n") == b"TOUCHED\r\n"
        assert line(daemon, b"mg p:1 t\r\n") == b"HD t5\r\n"


def what_only_the_database_has_is_changed_as_it_is():
    with shop_and_daemon("--no-fastpath") as (shop, daemon):
        for key in "abcdef":
            shop.put(key, "5")
        assert line(daemon, b"incr p:a 2\r\n") == b"7\r\n" and shop.get("a") == b"7"
        assert line(daemon, b"append p:b 0 0 1\r\n0\r\n") == b"STORED\r\n"
        assert shop.get("b") == b"50"
        assert line(daemon, b"add p:c 0 0 1\r\n0\r\n") == b"NOT_STORED\r\n"
        assert line(daemon, b"replace p:d 0 0 1\r\n0\r\n") == b"STORED\r\n"
        assert shop.get("d") == b"0" and shop.get("c") == b"5"
        assert line(daemon, b"delete p:e\r\n") == b"DELETED\r\n" and shop.get("e") is None
        assert line(daemon, b"incr p:none 2\r\n") == b"NOT_FOUND\r\n"


def binary_protocol_and_udp_change_both():
    with shop_and_daemon() as (shop, daemon):
        def binary(opcode, key, extras=b"", value=b""):
            body = extras + key + value
            reply = daemon.ask(struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0,
                                           len(body), 1, 0) + body +
                               struct.pack(">BBHBBHIIQ", 0x80, 10, 0, 0, 0, 0, 0, 2, 0),
                               struct.pack(">IIQ", 0, 2, 0))
            return struct.unpack(">H", reply[6:8])[0]

        assert binary(1, b"p:1", struct.pack(">II", 0, 0), b"41") == 0 and shop.get("1") == b"41"
        assert binary(5, b"p:1", struct.pack(">QQI", 1, 0, 0)) == 0 and shop.get("1") == b"42"
        assert binary(1, b"p:1", struct.pack(">II", 0, 0), b"bad") == 5 and shop.get("1") == b"42"
        assert binary(4, b"p:1") == 0 and shop.get("1") is None
        with daemon.rig.udp() as s:
            s.send(e2e.frame(1, b"set p:2 0 0 1\r\nx\r\n"))
            assert s.recv(100)[8:] == b"STORED\r\n" and shop.get("2") == b"x"


def what_is_refused_changes_nothing():
    with shop_and_daemon("--no-fastpath") as (shop, daemon):
        assert line(daemon, b"set p:1 0 0 2\r\nba\r\n") == b"STORED\r\n"
        for request in (b"set p:1 0 0 3\r\nbad\r\n", b"append p:1 0 0 1\r\nd\r\n",
                        b"ms p:1 3\r\nbad\r\n"):
            assert line(daemon, request) == REFUSED
            assert get(daemon, b"p:1") == b"ba" and shop.get("1") == b"ba"
        # a statement that changes no row has changed nothing
        assert line(daemon, b"set u:none 0 0 1\r\nx\r\n") == REFUSED
        assert get(daemon, b"u:none") is None
        assert line(daemon, b"set u:1 0 0 1\r\nx\r\n") == b"STORED\r\n" and shop.get("1") == b"x"
        # its removal is the cache's own: the origin is told of none
        assert line(daemon, b"delete u:1\r\n") == b"DELETED\r\n" and shop.get("1") == b"x"
        assert get(daemon, b"u:1") == b"x"


def of_what_is_not_confirmed_the_cache_knows_nothing():
    with shop_and_daemon("--no-fastpath", timeout=300) as (shop, daemon):
        assert line(daemon, b"set p:1 0 0 3\r\none\r\n") == b"STORED\r\n"
        with shop.locked():
            begin = time.monotonic()
            assert line(daemon, b"set p:1 0 0 3\r\ntwo\r\n") == UNSURE
            assert time.monotonic() - begin < 3 * 0.3 * e2e.SCALE
        e2e.wait_until(lambda: b"SERVER" not in line(daemon, b"get p:1\r\n"), 20, "it is back")
        assert get(daemon, b"p:1") == shop.get("1")


def values_of_any_size_go_through():
    with shop_and_daemon("--no-fastpath", "-I", "8m", timeout=20000) as (shop, daemon):
        for size in (0, 1, 2000, 100000, 3 << 20):
            body = b"z" * size
            assert line(daemon, b"set p:big 0 0 %d\r\n%s\r\n" % (size, body)) == b"STORED\r\n"
            assert shop.get("big") == body
            assert line(daemon, b"append p:big 0 0 1000000\r\n%s\r\n" % (b"y" * 1000000)
                        ) == b"STORED\r\n"
            assert shop.get("big") == body + b"y" * 1000000
            assert get(daemon, b"p:big") == body + b"y" * 1000000
        # the next request waits for the upload before it
        with daemon.rig.tcp() as s:
            s.settimeout(30)
            s.sendall(b"set p:big 0 0 %d\r\n%s\r\nget p:big\r\n" % (size, b"q" * size))
            got = b""
            while not got.endswith(b"END\r\n"):
                got += s.recv(1 << 20)
        assert got == b"STORED\r\n" + e2e.value_reply(b"p:big", b"q" * size)


def changes_of_one_key_have_one_order():
    with shop_and_daemon("--no-fastpath", timeout=30000) as (shop, daemon):
        line(daemon, b"set p:n 0 0 1\r\n0\r\n")

        def work(number):
            with daemon.rig.tcp() as s:
                s.settimeout(60)
                s.sendall(b"".join(b"incr p:n 1\r\nset p:s 0 0 5\r\n%02d-%02d\r\n" % (number, i)
                                   for i in range(20)))
                got = b""
                while got.count(b"\r\n") < 40:
                    got += s.recv(65536)
            assert got.count(b"STORED\r\n") == 20

        workers = [threading.Thread(target=work, args=(i,)) for i in range(10)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert get(daemon, b"p:n") == b"200" == shop.get("n").strip()
        assert get(daemon, b"p:s") == shop.get("s")


def the_kernel_serves_the_new_value_at_once():
    with shop_and_daemon() as (shop, daemon):
        line(daemon, b"set p:1 0 0 5\r\n00000\r\n")
        daemon.pin(b"p:1")
        before = daemon.stats()["fastpath.hits"]
        with daemon.rig.udp() as s, daemon.rig.tcp() as t:
            for number in range(200):
                t.sendall(b"set p:1 0 0 5\r\n%05d\r\n" % number)
                assert t.recv(100) == b"STORED\r\n"
                s.send(e2e.frame(number, b"get p:1\r\n"))
                assert s.recv(200)[8:] == e2e.value_reply(b"p:1", b"%05d" % number)
        assert daemon.stats()["fastpath.hits"] == before + 200
        assert shop.get("1") == b"00199"


def who_leaves_and_a_stop_lose_nothing_that_was_told():
    with shop_and_daemon("--no-fastpath", timeout=1000) as (shop, daemon):
        with shop.locked():
            gone = [daemon.rig.tcp() for _ in range(20)]
            for i, s in enumerate(gone):
                s.sendall(b"set p:%d 0 0 1\r\nx\r\n" % i)
            e2e.wait_until(lambda: b"shop:writes 0" not in daemon.ask(b"stats origins\r\n"),
                           what="one is at the origin")
            for s in gone:
                s.close()
            with daemon.rig.tcp() as stays:
                stays.sendall(b"set p:x 0 0 1\r\nx\r\n")
                time.sleep(0.1)
                daemon.process.terminate()
                assert stays.recv(100) == UNSURE
            assert daemon.process.wait(20 * e2e.SCALE) == 0, daemon.output()


def counters_say_what_came_of_changes():
    with shop_and_daemon("--no-fastpath", timeout=300) as (shop, daemon):
        line(daemon, b"set p:1 0 0 1\r\nx\r\n")
        line(daemon, b"set p:1 0 0 3\r\nbad\r\n")
        with shop.locked():
            line(daemon, b"set p:1 0 0 1\r\ny\r\n")
        # the client's time may be over before the origin's thread sees that its own is
        e2e.wait_until(lambda: b"writes_failed 1" in daemon.ask(b"stats origins\r\n"),
                       what="the last one has failed")
        stats = daemon.ask(b"stats origins\r\n")
        for want in (b"writes 3", b"writes_made 1", b"writes_refused 1", b"writes_failed 1"):
            assert b"shop:" + want + b"\r\n" in stats, (want, stats)
        assert b"STAT cmd_set 3\r\n" in daemon.ask(b"stats\r\n")


def postgres_is_written_through():
    with Postgres() as server, e2e.Rig("lo") as rig:
        server.run("CREATE TABLE p (id text PRIMARY KEY, body bytea CHECK (body <> 'bad'))")
        config = f"{rig.folder}/origin.conf"
        with open(config, "w", encoding="ascii") as out:
            out.write(CONFIG % {"kind": "postgresql", "target": server.conninfo, "timeout": 5000,
                                "extra": DELETE, "negative": 0})
        daemon = e2e.Daemon(rig, "--config", config, "--no-fastpath")

        def there(key):
            return server.run(f"SELECT convert_from(body, 'UTF8') FROM p WHERE id = '{key}'")

        assert line(daemon, b"set p:1 0 0 2\r\n41\r\n") == b"STORED\r\n" and there(1) == "41"
        assert line(daemon, b"incr p:1 1\r\n") == b"42\r\n" and there(1) == "42"
        assert line(daemon, b"set p:1 0 0 3\r\nbad\r\n") == REFUSED
        assert get(daemon, b"p:1") == b"42" and there(1) == "42"
        with daemon.rig.tcp() as s:
            s.settimeout(60)
            s.sendall(b"".join(b"set p:k%d 0 0 1\r\nx\r\n" % i for i in range(300)))
            got = b""
            while got.count(b"\r\n") < 300:
                got += s.recv(65536)
        assert server.run("SELECT count(*) FROM p") == "301"
        assert line(daemon, b"delete p:1\r\n") == b"DELETED\r\n" and there(1) == ""
        server.stop()
        reply = line(daemon, b"set p:k1 0 0 1\r\ny\r\n")
        assert reply == UNSURE, reply
        server.start()
        e2e.wait_until(lambda: line(daemon, b"set p:k1 0 0 1\r\nz\r\n") == b"STORED\r\n", 30,
                       "it is back")
        assert there("k1") == "z" and get(daemon, b"p:k1") == b"z"


if __name__ == "__main__":
    sys.exit(e2e.main([
        every_command_changes_both,
        what_only_the_database_has_is_changed_as_it_is,
        binary_protocol_and_udp_change_both,
        what_is_refused_changes_nothing,
        of_what_is_not_confirmed_the_cache_knows_nothing,
        values_of_any_size_go_through,
        changes_of_one_key_have_one_order,
        the_kernel_serves_the_new_value_at_once,
        who_leaves_and_a_stop_lose_nothing_that_was_told,
        counters_say_what_came_of_changes,
        postgres_is_written_through,
    ]))
