#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write-behind: a change is told as soon as it is in the journal, whatever the database does; the
database gets it later, in each key's order, also after the daemon was killed; until then it is
read from the journal. What the database refuses for good is kept apart.

Method: a real PostgreSQL, stopped and started; the daemon is killed with SIGKILL.
"""

import contextlib
import random
import sys

import lib_e2e as e2e
from lib_postgres import Postgres

CONFIG = """
origins = ( { name = "shop"; kind = "postgresql"; target = "%s"; timeout = 1000;
              journal = "%s/shop.journal"; } );
routes = (
    { prefix = "p:"; origin = "shop"; key = "p:{id}"; ttl = 600; behind = true;
      read = "SELECT body FROM p WHERE id = $1"; delete = "DELETE FROM p WHERE id = $1";
      write = "INSERT INTO p (id, body) VALUES ($1, $2)
               ON CONFLICT (id) DO UPDATE SET body = excluded.body"; }
);
"""


class Shop:
    def __init__(self, rig, server):
        self.rig, self.server = rig, server
        server.run("CREATE TABLE p (id text PRIMARY KEY, body text CHECK (body <> 'bad'));"
                   "CREATE TABLE history (n serial, id text, body text);"
                   "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                   "INSERT INTO history (id, body) VALUES (NEW.id, NEW.body); RETURN NEW; END $$;"
                   "CREATE TRIGGER note AFTER INSERT OR UPDATE ON p FOR EACH ROW "
                   "EXECUTE FUNCTION note()")
        self.config = f"{rig.folder}/origin.conf"
        with open(self.config, "w", encoding="ascii") as out:
            out.write(CONFIG % (server.conninfo, rig.folder))
        self.daemon = None

    def start(self, *flags):
        self.daemon = e2e.Daemon(self.rig, "--config", self.config, "--no-fastpath", *flags)
        return self.daemon

    def line(self, request):
        return self.daemon.ask(request, b"\r\n")

    def set(self, key, value):
        assert self.line(b"set p:%s 0 0 %d\r\n%s\r\n" % (key, len(value), value)) == b"STORED\r\n"

    def get(self, key):
        reply = self.daemon.ask(b"get p:%s\r\n" % key, b"\r\n")
        return reply.split(b"\r\n")[1] if reply.startswith(b"VALUE") else reply

    def stat(self, name):
        return int(self.daemon.ask(b"stats origins\r\n").split(b"STAT origins:shop:%s " % name)[1]
                   .split(b"\r\n")[0])

    def there(self, key):
        return self.server.run(f"SELECT body FROM p WHERE id = '{key}'")

    def settle(self):
        e2e.wait_until(lambda: self.stat(b"journal_pending") == 0, 30, "the origin has it all")


@contextlib.contextmanager
def shop_with(*flags):
    with Postgres() as server, e2e.Rig("lo") as rig:
        shop = Shop(rig, server)
        shop.start(*flags)
        yield shop


def changes_reach_the_database():
    with shop_with() as shop:
        shop.set(b"1", b"one")
        assert shop.get(b"1") == b"one"
        assert shop.line(b"append p:1 0 0 4\r\n-two\r\n") == b"STORED\r\n"
        shop.set(b"n", b"1")
        for i in range(20):
            assert shop.line(b"incr p:n 1\r\n") == b"%d\r\n" % (i + 2)
        shop.set(b"gone", b"x")
        assert shop.line(b"delete p:gone\r\n") == b"DELETED\r\n"
        assert shop.line(b"delete p:never\r\n") == b"NOT_FOUND\r\n"
        shop.settle()
        assert (shop.there("1"), shop.there("n"), shop.there("gone")) == ("one-two", "21", "")
        # what only the database has is changed as it is
        shop.server.run("INSERT INTO p VALUES ('db', '41')")
        assert shop.line(b"incr p:db 1\r\n") == b"42\r\n"
        shop.settle()
        assert shop.there("db") == "42"


def an_outage_costs_no_write():
    with shop_with() as shop:
        shop.set(b"first", b"x")
        shop.settle()
        shop.server.stop()
        for i in range(200):
            shop.set(b"%d" % (i % 20), b"v%d" % i)
        assert shop.line(b"delete p:0\r\n") == b"DELETED\r\n"
        assert shop.get(b"0") == b"END\r\n" and shop.get(b"19") == b"v199"
        assert shop.stat(b"journal_pending") == 20
        # what is not in the cache any more is read from the journal
        assert shop.line(b"flush_all\r\n") == b"OK\r\n"
        assert shop.get(b"19") == b"v199" and shop.get(b"0") == b"END\r\n"
        assert shop.line(b"flush_all\r\n") == b"OK\r\n"
        assert shop.line(b"append p:19 0 0 1\r\n+\r\n") == b"STORED\r\n"
        assert shop.line(b"delete p:0\r\n") == b"NOT_FOUND\r\n"
        assert shop.line(b"add p:0 0 0 1\r\n0\r\n") == b"STORED\r\n"
        assert shop.line(b"delete p:0\r\n") == b"DELETED\r\n"
        assert shop.stat(b"pending") >= 4
        shop.server.start()
        shop.settle()
        assert shop.server.run("SELECT count(*) FROM p") == "20"
        assert shop.there("19") == "v199+" and shop.there("18") == "v198"
        assert shop.there("0") == ""


def a_killed_daemon_loses_nothing_that_was_told():
    rand = random.Random(7)
    with shop_with() as shop:
        told = {}
        for kill in range(5):
            if kill == 2:
                shop.server.stop()
            for _ in range(rand.randrange(20, 60)):
                key, value = b"%d" % rand.randrange(30), b"%d-%d" % (kill, rand.randrange(10 ** 6))
                shop.set(key, value)
                told[key] = value
            shop.daemon.kill()
            shop.start()
            if kill == 2:
                # the cache is empty and the database is away
                assert all(shop.get(key) == value for key, value in told.items()
                           if value.startswith(b"2-"))
                shop.server.start()
        shop.settle()
        for key, value in told.items():
            assert shop.there(key.decode()).encode() == value, (key, value)
        # of no key an older value came behind a newer one: values of a later life are newer
        assert shop.server.run(
            "SELECT count(*) FROM history a JOIN history b ON a.id = b.id AND a.n < b.n AND "
            "split_part(a.body, '-', 1)::int > split_part(b.body, '-', 1)::int") == "0"


def what_the_database_refuses_is_kept_apart():
    with shop_with() as shop:
        shop.set(b"1", b"bad")
        shop.set(b"2", b"good")
        e2e.wait_until(lambda: shop.stat(b"journal_dead") == 1, what="it is dead")
        shop.settle()
        assert shop.there("2") == "good" and shop.there("1") == ""
        shop.daemon.stop()
        shop.start()
        assert shop.stat(b"journal_dead") == 1 and shop.stat(b"journal_pending") == 0


def a_stop_keeps_what_is_pending():
    with shop_with() as shop:
        shop.server.stop()
        for i in range(50):
            shop.set(b"%d" % i, b"x")
        shop.daemon.stop()
        shop.server.start()
        shop.start()
        shop.settle()
        assert shop.server.run("SELECT count(*) FROM p") == "50"


def a_journal_that_cannot_be_had_stops_the_start():
    with Postgres() as server, e2e.Rig("lo") as rig:
        shop = Shop(rig, server)
        with open(f"{rig.folder}/shop.journal", "w", encoding="ascii") as out:
            out.write("no journal at all, but some text of a length that is not nothing\n" * 100)
        try:
            shop.start()
        except AssertionError as error:
            assert "cannot start the origin shop: " in str(error), error
            assert "shop.journal" in str(error), error
        else:
            raise AssertionError("the daemon started")


if __name__ == "__main__":
    sys.exit(e2e.main([
        changes_reach_the_database,
        an_outage_costs_no_write,
        a_killed_daemon_loses_nothing_that_was_told,
        what_the_database_refuses_is_kept_apart,
        a_stop_keeps_what_is_pending,
        a_journal_that_cannot_be_had_stops_the_start,
    ]))
