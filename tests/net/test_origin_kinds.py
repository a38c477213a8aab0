#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Routes whose origin is a PostgreSQL server or an HTTP server: keys are read from it; its outage
is an error that is told at once and in the log, and ends by itself.

Method: a real PostgreSQL and a real HTTP server, which count what they are asked.
"""

import contextlib
import http.server
import sys
import threading
import time

import lib_e2e as e2e
from lib_postgres import Postgres

HTTP_PORT = 18080
ERROR = b"SERVER_ERROR the origin does not answer\r\n"


@contextlib.contextmanager
def daemon_of(text, *flags):
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/origin.conf"
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        yield rig, e2e.Daemon(rig, "--config", path, *flags)


@contextlib.contextmanager
def of_postgres(extra="", timeout=5000):
    with Postgres() as server:
        server.run("CREATE TABLE product (shop int, id int, name text, price numeric, body bytea,"
                   " PRIMARY KEY (shop, id));"
                   "INSERT INTO product SELECT s, i, 'n' || i, i + 0.5, ('v' || i)::bytea"
                   " FROM generate_series(1, 2) s, generate_series(1, 500) i;"
                   "CREATE TABLE asked (id int)")
        text = ('origins = ( { name = "shop"; kind = "postgresql"; target = "%s"; timeout = %d; } '
                ');\nroutes = (\n { prefix = "product:"; origin = "shop"; '
                'key = "product:{shop}:{id}"; negative_ttl = 0; %s read = "WITH a AS '
                '(INSERT INTO asked VALUES ($2::int)) SELECT body FROM product '
                'WHERE shop = $1::int AND id = $2::int"; },\n'
                ' { prefix = "row:"; origin = "shop"; key = "row:{id}"; json = true; '
                'read = "SELECT id, name, price FROM product WHERE shop = 1 AND id = $1"; }\n);\n'
                % (server.conninfo, timeout, extra))
        with daemon_of(text) as (rig, daemon):
            yield server, rig, daemon


def postgres_is_asked_once():
    with of_postgres() as (server, rig, daemon):
        assert daemon.ask(b"get product:1:7\r\n") == e2e.value_reply(b"product:1:7", b"v7")
        assert daemon.ask(b"get product:1:7\r\n") == e2e.value_reply(b"product:1:7", b"v7")
        assert server.run("SELECT count(*) FROM asked WHERE id = 7") == "1"
        assert daemon.ask(b"get product:3:7\r\n") == b"END\r\n"
        assert daemon.ask(b"get row:3\r\n") == e2e.value_reply(
            b"row:3", b'{"id":3,"name":"n3","price":3.5}')
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(rig.tcp()) for _ in range(200)]
            server.freeze()
            for s in clients:
                s.sendall(b"get product:2:9\r\n")
            e2e.wait_until(lambda: b"origins:shop:asked 203\r\n" in
                           daemon.ask(b"stats origins\r\n"), 20, "all have asked")
            server.freeze(False)
            want = e2e.value_reply(b"product:2:9", b"v9")
            for s in clients:
                assert s.recv(200) == want
        assert server.run("SELECT count(*) FROM asked WHERE id = 9") == "1"


def an_outage_is_told_at_once_and_ends_by_itself():
    with of_postgres(timeout=1000) as (server, _, daemon):
        assert daemon.ask(b"get product:1:1\r\n") == e2e.value_reply(b"product:1:1", b"v1")
        server.stop()
        for i in range(20):
            assert daemon.ask(b"get product:1:%d\r\n" % (i + 2), b"\r\n") == ERROR
        begin = time.monotonic()
        for i in range(20):
            assert daemon.ask(b"get product:1:%d\r\n" % (i + 2), b"\r\n") == ERROR
        assert time.monotonic() - begin < 1 * e2e.SCALE
        assert daemon.ask(b"get product:1:1\r\n") == e2e.value_reply(b"product:1:1", b"v1")
        assert daemon.output().count("shop fails and is left alone") == 1, daemon.output()
        server.start()
        e2e.wait_until(lambda: daemon.ask(b"get product:1:2\r\n", b"\r\n") != ERROR, 30,
                       "it is asked again")
        for i in range(3, 9):
            daemon.ask(b"get product:1:%d\r\n" % i, b"\r\n")
        e2e.wait_until(lambda: "shop answers again" in daemon.output(), 20, "the log says so")


def a_silent_server_costs_nobody_more_than_the_timeout():
    with of_postgres(timeout=400) as (server, rig, daemon):
        assert daemon.ask(b"get product:1:1\r\n") == e2e.value_reply(b"product:1:1", b"v1")
        server.freeze()
        begin = time.monotonic()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(rig.tcp()) for _ in range(20)]
            for i, s in enumerate(clients):
                s.sendall(b"get product:1:%d\r\n" % (i + 10))
            for s in clients:
                assert s.recv(200) == ERROR
        assert time.monotonic() - begin < 3 * 0.4 * e2e.SCALE
        server.freeze(False)
        e2e.wait_until(lambda: daemon.ask(b"get product:1:50\r\n", b"\r\n") != ERROR, 30,
                       "it is asked again")


class Shop(http.server.BaseHTTPRequestHandler):
    """/p/1: an answer; /p/404: none; /p/500: trouble; /age/N: one that says how long it is good."""
    asked = []
    age = ""

    def do_GET(self):
        number = self.path.rsplit("/", 1)[1]
        self.asked.append(self.path)
        body = b"body of " + number.encode()
        self.send_response(int(number) if number in ("404", "500") else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.path.startswith("/age/"):
            self.send_header("Cache-Control", self.age)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def of_http():
    text = ('origins = ( { name = "web"; kind = "http"; target = "http://127.0.0.1:%d"; } );\n'
            'routes = (\n { prefix = "p:"; origin = "web"; key = "p:{id}"; negative_ttl = 0; '
            'read = "GET /p/$1"; },\n { prefix = "age:"; origin = "web"; key = "age:{id}"; '
            'ttl = 100; read = "GET /age/$1"; }\n);\n' % HTTP_PORT)
    with daemon_of(text) as (rig, daemon):
        with e2e.in_netns(rig.server_ns):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", HTTP_PORT), Shop)
        Shop.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield rig, daemon
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def a_web_server_is_asked_once():
    with of_http() as (_, daemon):
        for _ in range(2):
            assert daemon.ask(b"get p:1\r\n") == e2e.value_reply(b"p:1", b"body of 1")
            assert daemon.ask(b"get p:a/b%\r\n") == e2e.value_reply(b"p:a/b%", b"body of a%2Fb%25")
        assert Shop.asked == ["/p/1", "/p/a%2Fb%25"], Shop.asked
        assert daemon.ask(b"get p:404\r\n") == b"END\r\n"
        assert daemon.ask(b"get p:500\r\n", b"\r\n") == ERROR


def what_a_web_server_says_of_its_age_is_kept_to():
    with of_http() as (_, daemon):
        for age, left in (("max-age=10", b"t10"), ("max-age=1000", b"t100"),
                          ("max-age=10, s-maxage=20", b"t20"), ("public", b"t100")):
            Shop.age = age
            daemon.ask(b"delete age:1\r\n", b"\r\n")
            daemon.ask(b"get age:1\r\n")
            assert daemon.ask(b"mg age:1 t\r\n", b"\r\n") == b"HD " + left + b"\r\n", age
        for age in ("no-store", "private", "max-age=0"):
            Shop.age = age
            daemon.ask(b"delete age:2\r\n", b"\r\n")
            Shop.asked.clear()
            for _ in range(3):
                assert daemon.ask(b"get age:2\r\n") == e2e.value_reply(b"age:2", b"body of 2")
            assert len(Shop.asked) == 3, (age, Shop.asked)


def a_wrong_target_or_statement_stops_the_start():
    for kind, target, read, hint in (
            ("postgresql", "no such word", "SELECT 1", "is no connection string"),
            ("http", "ftp://x", "GET /$1", "write it like http://"),
            ("http", "http://127.0.0.1:1", "/p/$1", "write a method and a path")):
        try:
            with daemon_of(f'origins = ( {{ name = "o"; kind = "{kind}"; target = "{target}"; }} );'
                           f'\nroutes = ( {{ prefix = "p:"; origin = "o"; key = "p:{{id}}"; '
                           f'read = "{read}"; }} );\n', "--no-fastpath"):
                raise RuntimeError("the daemon started")
        except AssertionError as error:
            assert "cannot open the origin o: " in str(error) and hint in str(error), error


if __name__ == "__main__":
    sys.exit(e2e.main([
        postgres_is_asked_once,
        an_outage_is_told_at_once_and_ends_by_itself,
        a_silent_server_costs_nobody_more_than_the_timeout,
        a_web_server_is_asked_once,
        what_a_web_server_says_of_its_age_is_kept_to,
        a_wrong_target_or_statement_stops_the_start,
    ]))
