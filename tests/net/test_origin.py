#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Routes with an origin: a key that is not there is read from an SQLite database, over text, meta,
binary and UDP, in the order of the requests; a thousand clients of one cold key cost one query; a
delete during a query keeps its answer out; nobody waits past the deadline; who leaves, a reload and
a stop do no harm; the kernel answers what was read.

Method: the database counts its queries itself (INSERT … RETURNING), and the test stops them by
taking the database's lock.
"""

import contextlib
import http.client
import os
import signal
import socket
import sqlite3
import struct
import sys
import time

import lib_e2e as e2e

READ = ("INSERT INTO asked (id) VALUES ($1) RETURNING "
        "(SELECT body FROM product WHERE id = $1)")
CONFIG = """
origins = ( { name = "shop"; kind = "sqlite"; target = "%(path)s"; timeout = %(timeout)d; } );
routes = (
    { prefix = "product:"; origin = "shop"; key = "product:{id}"; ttl = 60; negative_ttl = 60;
      read = "%(read)s"; },
    { prefix = "row:"; origin = "shop"; key = "row:{id}"; json = true; negative_ttl = 0;
      read = "SELECT id, name, price FROM product WHERE id = $1"; }
);
"""


class Shop:
    """The database and the daemon's file."""

    def __init__(self, rig, timeout=5000):
        self.path = f"{rig.folder}/shop.db"
        self.config = f"{rig.folder}/origin.conf"
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            db.execute("CREATE TABLE asked (id)")
            db.execute("CREATE TABLE product (id INTEGER PRIMARY KEY, name, price, body)")
            db.executemany("INSERT INTO product VALUES (?, ?, ?, ?)",
                           [(i, f"n{i}", i + 0.5, b"v%d" % i) for i in range(500)])
            db.execute("INSERT INTO product VALUES (1000, 'large', 1, ?)", (b"x" * 300000,))
            db.commit()
        self.write(timeout=timeout)

    def write(self, timeout=5000, read=READ):
        with open(self.config, "w", encoding="ascii") as out:
            out.write(CONFIG % {"path": self.path, "timeout": timeout, "read": read})

    def asked(self, number):
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            return db.execute("SELECT count(*) FROM asked WHERE id = ?",
                              (str(number),)).fetchone()[0]

    @contextlib.contextmanager
    def locked(self):
        """Nobody else reads or writes; what the body executes is committed at its end."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            yield db
            db.execute("COMMIT")


@contextlib.contextmanager
def shop_and_daemon(*flags, timeout=5000):
    with e2e.Rig("lo") as rig:
        shop = Shop(rig, timeout)
        yield rig, shop, e2e.Daemon(rig, "--config", shop.config, *flags)


def value(number, key=None):
    return e2e.value_reply(key or b"product:%d" % number, b"v%d" % number)


def read_until(sock, end):
    got = b""
    while not got.endswith(end):
        part = sock.recv(65536)
        assert part, got
        got += part
    return got


def reload(daemon, line="reloaded: routes="):
    before = daemon.output().count(line)
    os.kill(daemon.process.pid, signal.SIGHUP)
    e2e.wait_until(lambda: daemon.output().count(line) > before, what=line)


def asked_cnt(daemon):
    text = daemon.ask(b"stats origins\r\n")
    return int(text.split(b"STAT origins:shop:asked ")[1].split(b"\r\n")[0])


def every_protocol_reads_through():
    with shop_and_daemon() as (rig, shop, daemon):
        assert daemon.ask(b"get product:7\r\n") == value(7)
        assert daemon.ask(b"get product:7\r\n") == value(7)
        assert shop.asked(7) == 1
        assert daemon.ask(b"mg product:8 v t\r\n", b"v8\r\n") == b"VA 2 t60\r\nv8\r\n"
        assert daemon.ask(b"mg product:998 v\r\n", b"\r\n") == b"EN\r\n"
        assert daemon.ask(b"get row:3\r\n") == e2e.value_reply(
            b"row:3", b'{"id":3,"name":"n3","price":3.5}')
        assert daemon.ask(b"gat 100 product:9\r\n") == value(9)
        large = daemon.ask(b"get product:1000\r\n")
        assert large == e2e.value_reply(b"product:1000", b"x" * 300000)
        key = b"product:10"
        request = struct.pack(">BBHBBHIIQ", 0x80, 0, len(key), 0, 0, 0, len(key), 9, 0) + key
        reply = daemon.ask(request, b"v10")
        assert reply[:8] == bytes((0x81, 0, 0, 0, 4, 0, 0, 0)), reply
        with rig.udp() as s:
            s.send(e2e.frame(5, b"get product:11 product:12\r\nget product:13\r\n"))
            got = s.recv(2048)
            both = value(11)[:-5] + value(12)
            assert got[8:] == both + value(13), got
        # a key of another form is an ordinary one
        assert daemon.ask(b"get product:\r\n") == b"END\r\n"


def replies_keep_the_order_of_the_requests():
    with shop_and_daemon() as (_, shop, daemon):
        daemon.set(b"here", b"h")
        with daemon.rig.tcp() as s, shop.locked():
            s.sendall(b"get here\r\nget product:1 here product:999 product:2\r\n"
                      b"set product:3 0 0 3\r\nnew\r\nget product:3\r\nget product:4\r\nmn\r\n")
            e2e.wait_until(lambda: asked_cnt(daemon) == 3, what="three keys at a time")
            assert read_until(s, b"END\r\n") == e2e.value_reply(b"here", b"h")
            shop_free = s
            # others are served meanwhile
            assert daemon.ask(b"get here\r\n") == e2e.value_reply(b"here", b"h")
            rest = shop_free.dup()
        with rest:
            rest.settimeout(10)
            got = read_until(rest, b"MN\r\n")
        here = e2e.value_reply(b"here", b"h")[:-5]
        want = (value(1)[:-5] + here + value(2) + b"STORED\r\n" +
                e2e.value_reply(b"product:3", b"new") + value(4) + b"MN\r\n")
        assert got == want, got
        assert shop.asked(3) == 0


def a_thousand_clients_of_one_key_cost_one_query():
    with shop_and_daemon("-c", "2000", timeout=20000) as (rig, shop, daemon):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(rig.tcp()) for _ in range(1000)]
            with shop.locked():
                for s in clients:
                    s.sendall(b"get product:1\r\n")
                e2e.wait_until(lambda: asked_cnt(daemon) == 1000, 20, "a thousand asked")
            for s in clients:
                s.settimeout(20)
                assert read_until(s, b"END\r\n") == value(1)
        assert shop.asked(1) == 1


def absent_keys_are_remembered_until_they_are_created():
    with shop_and_daemon() as (_, shop, daemon):
        for _ in range(5):
            assert daemon.ask(b"get product:777\r\n") == b"END\r\n"
        assert shop.asked(777) == 1
        daemon.set(b"product:777", b"made")
        assert daemon.ask(b"get product:777\r\n") == e2e.value_reply(b"product:777", b"made")
        daemon.ask(b"delete product:777\r\n", b"DELETED\r\n")
        assert daemon.ask(b"get product:777\r\n") == b"END\r\n"
        assert shop.asked(777) == 2, shop.asked(777)


def a_delete_during_a_query_keeps_its_answer_out():
    with shop_and_daemon() as (rig, shop, daemon):
        with rig.tcp() as s:
            with shop.locked():
                s.sendall(b"get product:1\r\n")
                e2e.wait_until(lambda: asked_cnt(daemon) == 1, what="a query")
                assert daemon.ask(b"delete product:1\r\n", b"\r\n") == b"NOT_FOUND\r\n"
            assert read_until(s, b"END\r\n") == value(1)
        assert daemon.ask(b"get product:1\r\n") == value(1)
        assert shop.asked(1) == 2
        assert daemon.ask(b"get product:1\r\n") == value(1)
        assert shop.asked(1) == 2


def nobody_waits_past_the_deadline():
    with shop_and_daemon(timeout=300) as (rig, shop, daemon):
        error = b"SERVER_ERROR the origin does not answer\r\n"
        with shop.locked():
            begin = time.monotonic()
            assert daemon.ask(b"get product:1\r\n", b"\r\n") == error
            assert daemon.ask(b"mg product:1 v\r\n", b"\r\n") == error
            with rig.udp() as s:
                s.send(e2e.frame(1, b"get product:2\r\n"))
                assert s.recv(2048)[8:] == error
            key = b"product:3"
            reply = daemon.ask(struct.pack(">BBHBBHIIQ", 0x80, 0, len(key), 0, 0, 0, len(key), 9,
                                           0) + key, b"answer")
            assert reply[6:8] == b"\x00\x86", reply
            assert time.monotonic() - begin < 4 * 0.3 * 3 * e2e.SCALE
            # after so many at a time the breaker is open: who comes is told so at once
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(rig.tcp()) for _ in range(20)]
                for i, s in enumerate(clients):
                    s.sendall(b"get product:%d\r\n" % (10 + i))
                for s in clients:
                    assert read_until(s, b"\r\n") == error
            begin = time.monotonic()
            for _ in range(10):
                assert daemon.ask(b"get product:1\r\n", b"\r\n") == error
            assert time.monotonic() - begin < 5 * 0.3
        e2e.wait_until(lambda: daemon.ask(b"get product:1\r\n", b"\r\n") != error, 20,
                       "the origin is asked again")


def what_waits_over_udp_is_bounded():
    with shop_and_daemon("-t", "1", timeout=20000) as (rig, shop, daemon):
        datagram = b"get product:1\r\n" * 4000
        refused = asked = 0
        with rig.udp() as s, shop.locked():
            s.setblocking(False)
            while not refused:
                s.send(e2e.frame(1, datagram))
                asked += 1
                e2e.wait_until(lambda: asked_cnt(daemon) == asked, what="it waits")
                with contextlib.suppress(BlockingIOError):
                    got = s.recv(2048)[8:]
                    assert got.startswith(b"SERVER_ERROR out of memory"), got
                    refused += 1
                assert asked < 400, "17 MiB wait"
        assert asked > 200, asked


def replies_that_a_slow_reader_leaves_are_kept():
    """A value that is not in the store, as its key was deleted meanwhile, is the request's."""
    size = 24 << 20
    os.environ["MALLOC_PERTURB_"] = "165"  # what is freed changes
    with shop_and_daemon("-t", "1", "-I", "32m", "-m", "256") as (rig, shop, daemon):
        del os.environ["MALLOC_PERTURB_"]
        with shop.locked() as db:
            db.execute("INSERT INTO product VALUES (1001, 'huge', 1, ?)", (b"x" * size,))
        with rig.tcp() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            with shop.locked():
                s.sendall(b"mg product:1001 v\r\n")
                e2e.wait_until(lambda: asked_cnt(daemon) == 1, what="a query")
                assert daemon.ask(b"delete product:1001\r\n", b"\r\n") == b"NOT_FOUND\r\n"
            got = [s.recv(100)]
            for _ in range(30):  # turns of the worker
                assert daemon.ask(b"mn\r\n", b"\r\n") == b"MN\r\n"
            got.append(read_until(s, b"\r\n"))
            assert b"".join(got) == b"VA %d\r\n" % size + b"x" * size + b"\r\n"


def the_metrics_say_what_came_of_questions():
    with shop_and_daemon(timeout=300) as (rig, shop, daemon):
        def metrics():
            with e2e.in_netns(rig.server_ns):
                page = http.client.HTTPConnection("127.0.0.1", 9211, timeout=10)
                page.connect()
            page.request("GET", "/metrics")
            lines = page.getresponse().read().decode().splitlines()
            page.close()
            return {name: int(value) for name, value in
                    (line.rsplit(" ", 1) for line in lines if line.startswith("xdpcache_origin"))}

        daemon.ask(b"get product:1 product:2 product:999\r\n")
        with shop.locked(), contextlib.ExitStack() as stack:
            clients = [stack.enter_context(rig.tcp()) for _ in range(10)]
            for i, s in enumerate(clients):
                s.sendall(b"get product:%d\r\n" % (10 + i))
            for s in clients:
                read_until(s, b"\r\n")
            for i in range(10):
                daemon.ask(b"get product:%d\r\n" % (20 + i), b"\r\n")
        got = metrics()
        origin = 'origin="shop"'
        asked = got.pop(f"xdpcache_origin_asks_total{{{origin}}}")
        refused = got.pop(f"xdpcache_origin_refused_total{{{origin}}}")
        failed = got.pop(f'xdpcache_origin_queries_total{{{origin},result="failed"}}')
        assert asked == 23 and refused >= 5 and refused + failed == 20, (asked, refused, failed)
        assert got == {
            f'xdpcache_origin_queries_total{{{origin},result="found"}}': 2,
            f'xdpcache_origin_queries_total{{{origin},result="absent"}}': 1,
            f"xdpcache_origin_voided_total{{{origin}}}": 0,
            f'xdpcache_origin_writes_total{{{origin},result="made"}}': 0,
            f'xdpcache_origin_writes_total{{{origin},result="refused"}}': 0,
            f'xdpcache_origin_writes_total{{{origin},result="failed"}}': 0,
            f'xdpcache_origin_stale_total{{{origin},reason="refresh"}}': 0,
            f'xdpcache_origin_stale_total{{{origin},reason="error"}}': 0,
            f'xdpcache_origin_breaker_state{{{origin},state="closed"}}': 0,
            f'xdpcache_origin_breaker_state{{{origin},state="open"}}': 1,
            f'xdpcache_origin_breaker_state{{{origin},state="half_open"}}': 0}, got


def who_leaves_while_waiting_does_no_harm():
    with shop_and_daemon() as (rig, shop, daemon):
        with rig.tcp() as stays, shop.locked():
            gone = [rig.tcp() for _ in range(50)]
            for s in gone:
                s.sendall(b"get product:1 product:2\r\n")
            stays.sendall(b"get product:1\r\n")
            e2e.wait_until(lambda: asked_cnt(daemon) == 101, what="all have asked")
            for i, s in enumerate(gone):
                if i % 2:  # a reset, or a plain end
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
            time.sleep(0.2)
            kept = stays.dup()
        with kept:
            kept.settimeout(10)
            assert read_until(kept, b"END\r\n") == value(1)
        assert daemon.ask(b"get product:2\r\n") == value(2)
        assert (shop.asked(1), shop.asked(2)) == (1, 1)
        assert daemon.process.poll() is None


def a_stop_answers_who_waits():
    with shop_and_daemon(timeout=1000) as (rig, shop, daemon):
        with rig.tcp() as s:
            with shop.locked():
                s.sendall(b"get product:1\r\n")
                e2e.wait_until(lambda: asked_cnt(daemon) == 1, what="a query")
                daemon.process.send_signal(signal.SIGTERM)
                assert read_until(s, b"\r\n") == b"SERVER_ERROR the origin does not answer\r\n"
                assert daemon.process.wait(20 * e2e.SCALE) == 0, daemon.output()


def a_reload_changes_times_and_refuses_statements():
    with shop_and_daemon() as (_, shop, daemon):
        assert daemon.ask(b"get product:1\r\n") == value(1)
        shop.write(read="SELECT 'other' WHERE $1")
        reload(daemon, "restart for it")
        assert daemon.ask(b"get product:2\r\n") == value(2)
        with open(shop.config, "w", encoding="ascii") as out:
            out.write(CONFIG.replace("ttl = 60; negative", "ttl = 30; negative") %
                      {"path": shop.path, "timeout": 5000, "read": READ})
        reload(daemon)
        assert daemon.ask(b"mg product:3 t\r\n", b"\r\n") == b"HD t30\r\n"


def the_kernel_answers_what_was_read():
    with shop_and_daemon("--hot-threshold", "1") as (rig, shop, daemon):
        assert daemon.ask(b"get product:5\r\n") == value(5)
        daemon.pin(b"product:5")
        before = daemon.stats()["fastpath.hits"]
        with rig.udp() as s:
            for number in range(100):
                s.send(e2e.frame(number, b"get product:5\r\n"))
                assert s.recv(2048)[8:] == value(5)
        assert daemon.stats()["fastpath.hits"] - before == 100
        assert shop.asked(5) == 1


def the_kernel_never_says_that_an_origin_has_nothing():
    """What is not here may be there by now; of other keys the kernel knows."""
    with shop_and_daemon("--hot-threshold", "1") as (rig, shop, daemon):
        with rig.udp() as s:
            def ask(request):
                s.send(e2e.frame(1, request))
                return s.recv(2048)[8:]

            def answers():
                before = daemon.stats()["fastpath.absent"]
                assert ask(b"get other:1\r\n") == b"END\r\n"
                assert ask(b"get product:777\r\n") == b"END\r\n"
                return daemon.stats()["fastpath.absent"] - before

            e2e.wait_until(answers, 10, "the kernel knows one of them")
            for _ in range(20):
                assert answers() == 1
                time.sleep(0.05)


def a_wrong_statement_or_path_stops_the_start():
    with e2e.Rig("lo") as rig:
        shop = Shop(rig)
        for read, hint in (("SELECT absent FROM product", "no such column: absent"),
                           ("DELETE FROM product WHERE id = $1", "write a SELECT"),
                           ("SELECT $2", "there is no parameter $2, but 1 of them")):
            shop.write(read=read)
            try:
                e2e.Daemon(rig, "--config", shop.config, "--no-fastpath")
            except AssertionError as error:
                assert "cannot open the origin shop: " in str(error) and hint in str(error), error
            else:
                raise AssertionError("the daemon started")
        shop.write()
        os.unlink(shop.path)
        try:
            e2e.Daemon(rig, "--config", shop.config, "--no-fastpath")
        except AssertionError as error:
            assert "it must exist and be readable" in str(error), error
        else:
            raise AssertionError("the daemon started")


TESTS = [
    every_protocol_reads_through,
    replies_keep_the_order_of_the_requests,
    a_thousand_clients_of_one_key_cost_one_query,
    absent_keys_are_remembered_until_they_are_created,
    a_delete_during_a_query_keeps_its_answer_out,
    nobody_waits_past_the_deadline,
    what_waits_over_udp_is_bounded,
    replies_that_a_slow_reader_leaves_are_kept,
    the_metrics_say_what_came_of_questions,
    who_leaves_while_waiting_does_no_harm,
    a_stop_answers_who_waits,
    a_reload_changes_times_and_refuses_statements,
    the_kernel_answers_what_was_read,
    the_kernel_never_says_that_an_origin_has_nothing,
    a_wrong_statement_or_path_stops_the_start,
]

if __name__ == "__main__":
    sys.exit(e2e.main(TESTS))
