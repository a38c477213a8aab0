#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who has not proved who he is gets nothing, and who has gets everything: -Y in the text protocol,
byte for byte as stock memcached, and -S with PLAIN in the binary protocol, through other people's
clients, too. Users come and go with SIGHUP; what cannot be had together refuses to start."""

import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import servers
import tap

USERS = b"foo:bar\nbaaaz:quux\nwith:colon:in it\n"
GET, SET, VERSION, NOOP, LIST, AUTH, STEP = 0x00, 0x01, 0x0b, 0x0a, 0x20, 0x21, 0x22
OK, INVALID, REFUSED = 0x00, 0x04, 0x20


@contextlib.contextmanager
def users_file(content=USERS):
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file


@contextlib.contextmanager
def ours(*flags, content=USERS):
    """A server without UDP, and its users' file."""
    with users_file(content) as file:
        words = [word.replace("FILE", file.name) for word in flags]
        with servers.start_ours("-U", "0", *words) as server:
            yield server, file


def connect(server):
    sock = socket.create_connection(server.address, timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def stats(server, line=b"stats\r\n"):
    with connect(server) as s, s.makefile("rb") as file:
        s.sendall(b"set x 0 0 7\r\nfoo bar\r\n" + line)
        assert file.readline() == b"STORED\r\n"
        found = {}
        while (reply := file.readline()) != b"END\r\n":
            found[reply.split()[1].decode()] = reply.split()[2].decode()
        return found


# --- text ---

# Each a connection: what is sent, one after the other's reply.
TALKS = [
    [b"get foo\r\n"],
    [b"set foo 0 0 2\r\nhi\r\n"],
    [b"set foo 0 0 7\r\nfoo bab\r\n", b"get foo\r\n"],
    [b"set foo 0 0 7\r\nfoo bar\r\n", b"get foo\r\n", b"set foo 0 0 1\r\n1\r\n", b"get foo\r\n"],
    [b"set any 5 0 10\r\nbaaaz quux\r\n", b"mn\r\n"],
    [b"set foo 0 0 9\r\n foo  bar\r\n", b"get foo\r\n"],
    [b"set foo 0 0 11\r\nfoo bar baz\r\n", b"get foo\r\n"],
    [b"set foo 0 0 3\r\nfoo\r\n", b"get foo\r\n"],
    [b"set foo 0 0 0\r\n\r\n", b"get foo\r\n"],
    [b"set foo 0 0 7\r\nfoo barXX", b"get foo\r\n"],
    [b"set foo 0 0 7 noreply\r\nfoo bar\r\n", b"get foo\r\n"],
    [b"set foo 0 0 x\r\n", b"get foo\r\n"],
    [b"set foo 0 0\r\n", b"get foo\r\n"],
    [b"add foo 0 0 7\r\n", b"set foo 0 0 7\r\nfoo bar\r\n", b"get foo\r\n"],
    [b"flush_all\r\n", b"stats\r\n", b"quit\r\n", b"mn\r\n", b"ms foo 2\r\n", b"version\r\n",
     b"set foo 0 0 7\r\nfoo bar\r\n", b"mn\r\n"],
    [b"\r\n", b"\r\n", b"set foo 0 0 7\r\nfoo bar\r\n", b"mn\r\n"],
    [b"set foo 0 0 7\r\nFoo bar\r\n", b"get foo\r\n"],
    [b"set foo 0 0 7\r\nfoo Bar\r\n", b"get foo\r\n"],
    [b"set foo 0 0 8\r\nfoo bar1\r\n", b"get foo\r\n"],
    [b"set foo 0 0 6\r\nfoo ba\r\n", b"get foo\r\n"],
    [b"set foo 0 0 16\r\nwith colon:in it\r\n", b"get foo\r\n"],
    [b"set foo 0 0 4\r\nfoo \r\n", b"get foo\r\n"],
]


def talk(server, *pieces, pause=0.001):
    """All that comes back until the server closes."""
    with connect(server) as s:
        for piece in pieces:
            s.sendall(piece)
            time.sleep(pause)
        s.shutdown(socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := s.recv(65536):
                got += part
        return got


def text_is_as_stock_memcached_s():
    with users_file() as file:
        stock = servers.start_stock("-Y", file.name, "-U", "0")
        if not stock:
            raise tap.Skip("memcached is not installed")
        with stock, servers.start_ours("-U", "0", "-Y", file.name) as server:
            for pieces in TALKS:
                # Without the pause stock overwrites a reply with the next one.
                want, got = (talk(each, *pieces, pause=0.02) for each in (stock, server))
                assert got == want, (pieces, got, want)


def text_in_any_pieces_is_the_same():
    with ours("-Y", "FILE") as (server, _):
        for pieces in TALKS:
            text = b"".join(pieces)
            talk(server, text)  # leaves what it stores
            whole = talk(server, text)
            for cut in range(1, len(text)):
                got = talk(server, text[:cut], text[cut:])
                assert got == whole, (text, cut, got, whole)


def text_without_end_is_bounded():
    with ours("-Y", "FILE") as (server, _):
        for text in (b"x" * 4000, b"set foo 0 0 100000\r\n" + b"a" * 3000,
                     b"set foo 0 0 1000000000\r\n"):
            with connect(server) as s:
                s.sendall(text)
                s.settimeout(5)
                got = b""
                with contextlib.suppress(ConnectionResetError):
                    while part := s.recv(4096):
                        got += part
                assert got in (b"", b"CLIENT_ERROR bad authentication token format\r\n"), got
        with ours("-Y", "FILE") as (other, _):
            assert talk(other, b"\x80" + b"\0" * 23).count(b"\x81") == 0, "no binary with -Y"


def text_counts_and_settings_tell():
    with ours("-Y", "FILE") as (server, file):
        talk(server, b"set foo 0 0 7\r\nfoo bab\r\nget a\r\n")
        found = stats(server)
        assert (found["auth_cmds"], found["auth_errors"]) == ("2", "1"), found
        assert found["cmd_get"] == "0" and found["cmd_set"] == "0", "nothing reached the store"
        settings = stats(server, b"stats settings\r\n")
        assert settings["auth_enabled_ascii"] == file.name
        assert settings["auth_enabled_sasl"] == "no" and settings["binding_protocol"] == "ascii"


# --- binary ---


class Binary:
    """A binary connection: ask() is (status, value), None once it is closed."""

    def __init__(self, server):
        self.sock = connect(server)
        self.file = self.sock.makefile("rb")

    def ask(self, opcode, key=b"", value=b"", extras=b""):
        body = extras + key + value
        self.sock.sendall(struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0,
                                      len(body), 7, 0) + body)
        return self.take()

    def take(self):
        head = self.file.read(24)
        if len(head) < 24:
            return None
        fields = struct.unpack(">BBHBBHIIQ", head)
        assert fields[0] == 0x81 and fields[7] == 7, fields
        return fields[5], self.file.read(fields[6])[fields[3]:]

    def plain(self, user, password, rights=b""):
        return self.ask(AUTH, b"PLAIN", b"%s\0%s\0%s" % (rights, user, password))

    def set(self, key, value):
        return self.ask(SET, key, value, b"\0" * 8)[0]

    def close(self):
        self.file.close()
        self.sock.close()


def sasl_proof_opens_and_nothing_else_does():
    with ours("-S", "--sasl-pwdb", "FILE") as (server, _):
        client = Binary(server)
        assert client.ask(LIST) == (OK, b"PLAIN")
        assert client.ask(VERSION)[0] == OK
        for user, password in ((b"foo", b"bab"), (b"foo", b""), (b"", b""), (b"bar", b"foo"),
                               (b"baaaz", b"bar"), (b"foo", b"bar\0")):
            assert client.plain(user, password) == (REFUSED, b"Auth failure."), user
        assert client.ask(AUTH, b"PLAIN", b"foo") == (REFUSED, b"Auth failure.")
        assert client.ask(AUTH, b"CRAM-MD5", b"") == (REFUSED, b"Auth failure.")
        assert client.ask(AUTH, b"X" * 33, b"")[0] == INVALID
        assert client.ask(AUTH, b"PLAIN", b"a" * 100000)[0] == INVALID
        assert client.ask(STEP, b"PLAIN", b"\0foo\0bar") == (REFUSED, b"Auth failure.")
        assert client.plain(b"foo", b"bar", b"baaaz") == (REFUSED, b"Auth failure.")
        assert client.plain(b"foo", b"bar", b"foo") == (OK, b"Authenticated")
        assert client.plain(b"with", b"colon:in it") == (OK, b"Authenticated")
        assert client.set(b"key", b"value") == OK
        assert client.ask(GET, b"key") == (OK, b"value")
        # A second proof that fails takes the first one away.
        assert client.plain(b"foo", b"wrong")[0] == REFUSED
        assert client.ask(GET, b"key") == (REFUSED, b"Auth failure.")
        assert client.take() is None, "and closed"
        client.close()


def sasl_without_proof_reaches_nothing():
    with ours("-S", "--sasl-pwdb", "FILE") as (server, _):
        for opcode in [*range(0x00, 0x0b), *range(0x0c, 0x20), *range(0x23, 0x30), 0xff]:
            client = Binary(server)
            reply = client.ask(opcode, b"key")
            assert reply == (REFUSED, b"Auth failure."), (opcode, reply)
            assert client.take() is None, opcode
            client.close()
        client = Binary(server)
        assert client.plain(b"foo", b"bar")[0] == OK
        assert client.ask(GET, b"key")[0] == 1, "nobody has stored it"
        client.close()
        assert talk(server, b"get key\r\n") == b"", "no text with -S"


def sasl_in_any_pieces_is_the_same():
    with ours("-S", "--sasl-pwdb", "FILE") as (server, _):
        message = b"\0foo\0bar"
        text = struct.pack(">BBHBBHIIQ", 0x80, AUTH, 5, 0, 0, 0, 5 + len(message), 7, 0)
        text += b"PLAIN" + message
        text += struct.pack(">BBHBBHIIQ", 0x80, NOOP, 0, 0, 0, 0, 0, 7, 0)
        whole = talk(server, text)
        assert whole.count(b"Authenticated") == 1 and len(whole) == 24 + 13 + 24, whole
        for cut in range(1, len(text)):
            assert talk(server, text[:cut], text[cut:]) == whole, cut


def without_s_sasl_is_no_command():
    with servers.start_ours() as server:
        client = Binary(server)
        assert client.ask(LIST)[0] == 0x81
        assert client.plain(b"foo", b"bar")[0] == 0x81
        assert client.set(b"key", b"value") == OK
        client.close()


def bmemcached_authenticates():
    import bmemcached  # pylint: disable=import-outside-toplevel
    with ours("-S", "--sasl-pwdb", "FILE") as (server, _):
        client = bmemcached.Client(["%s:%d" % server.address], "foo", "bar")
        assert client.set("key", "value") and client.get("key") == "value"
        client.disconnect_all()
        stranger = bmemcached.Client(["%s:%d" % server.address], "foo", "wrong")
        try:
            assert not stranger.set("key", "other")
        except bmemcached.exceptions.MemcachedException:
            pass
        assert client.get("key") == "value"
        client.disconnect_all()


def pylibmc_authenticates():
    import pylibmc  # pylint: disable=import-outside-toplevel
    if not pylibmc.support_sasl:
        raise tap.Skip("this pylibmc has no SASL")
    with ours("-S", "--sasl-pwdb", "FILE") as (server, _):
        client = pylibmc.Client(["%s:%d" % server.address], binary=True, username="foo",
                                password="bar")
        assert client.set("key", "value") and client.get("key") == "value"


# --- users ---


def signal_and_wait(server, line, count):
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while server.output().count(line) < count:
        assert time.monotonic() < end, server.output()
        time.sleep(0.02)


def rewrite(file, content):
    file.seek(0)
    file.truncate()
    file.write(content)
    file.flush()


def users_come_and_go_with_sighup():
    """Who is in stays in; a file with a mistake changes nothing."""
    with ours("-Y", "FILE") as (server, file), connect(server) as old, \
            old.makefile("rb") as replies:
        old.sendall(b"set x 0 0 7\r\nfoo bar\r\n")
        assert replies.readline() == b"STORED\r\n"
        rewrite(file, b"new:one\n")
        signal_and_wait(server, "users: read from", 2)
        assert talk(server, b"set x 0 0 7\r\nfoo bar\r\n").startswith(b"CLIENT_ERROR")
        assert talk(server, b"set x 0 0 7\r\nnew one\r\n") == b"STORED\r\n"
        old.sendall(b"set y 0 0 1\r\n1\r\n")
        assert replies.readline() == b"STORED\r\n"
        for broken in (b"", b"no colon\n", b":nobody\n", b"empty:\n", b"a:" + b"p" * 256 + b"\n",
                       b"u" * 2000):
            before = server.output().count("those known so far stay")
            rewrite(file, broken)
            signal_and_wait(server, "those known so far stay", before + 1)
            assert talk(server, b"set x 0 0 7\r\nnew one\r\n") == b"STORED\r\n", broken
        os.unlink(file.name)
        signal_and_wait(server, "cannot open", 1)
        assert talk(server, b"set x 0 0 7\r\nnew one\r\n") == b"STORED\r\n"
        with open(file.name, "wb") as again:  # for its own removal
            again.write(b"x:y\n")


def reloads_beside_proofs_lose_none():
    """Each client is in one of both tables, and the file always has one of them whole."""
    with ours("-Y", "FILE", content=b"one:1\nboth:b\n") as (server, file):
        for number in range(40):
            rewrite(file, b"two:2\nboth:b\n" if number % 2 == 0 else b"one:1\nboth:b\n")
            server.process.send_signal(signal.SIGHUP)
            assert talk(server, b"set x 0 0 6\r\nboth b\r\n") == b"STORED\r\n", number


# --- what refuses to start ---


def what_cannot_be_had_refuses_to_start():
    with users_file() as good, users_file(b"no colon\n") as bad, users_file(b"") as empty:
        port = str(servers.free_port())
        rows = [
            (["-S"], "--sasl-pwdb"),
            (["-S", "--sasl-pwdb", good.name, "-B", "ascii"], "-B binary"),
            (["-S", "--sasl-pwdb", good.name, "-B", "auto"], "-B binary"),
            (["-Y", good.name, "-B", "binary"], "-B ascii"),
            (["-S", "--sasl-pwdb", good.name, "-Y", good.name], "leave out one"),
            (["-S", "--sasl-pwdb", good.name, "-U", port], "datagrams prove nothing"),
            (["-Y", good.name, "-U", port], "datagrams prove nothing"),
            (["-Y", good.name, "--interface", "lo"], "datagrams prove nothing"),
            (["-Y", "/nonexistent/users"], "cannot open"),
            (["-Y", bad.name], "line 1: user:password is expected"),
            (["-Y", empty.name], "has no user in it"),
        ]
        for flags, said in rows:
            with tempfile.TemporaryDirectory() as folder:
                done = subprocess.run(
                    [f"{servers.BUILD}/xdpcached", "-p", port, "-u", "root", "-l", "127.0.0.1",
                     "--control", f"{folder}/c", *flags], capture_output=True, text=True,
                    timeout=30, check=False, env={"PATH": os.environ["PATH"]})
            assert done.returncode != 0, flags
            assert said in done.stderr, (flags, done.stderr)
            assert "bar" not in done.stderr and "colon" not in done.stderr, "no password is told"


def env_names_the_users_of_s():
    with users_file() as file:
        os.environ["MEMCACHED_SASL_PWDB"] = file.name
        try:
            with servers.start_ours("-U", "0", "-S") as server:
                client = Binary(server)
                assert client.plain(b"foo", b"bar")[0] == OK
                client.close()
        finally:
            del os.environ["MEMCACHED_SASL_PWDB"]


def random_bytes_open_nothing():
    """Seeded: what is no proof never becomes one, and the server goes on."""
    seed = int(os.environ.get("XC_TEST_SEED") or time.time_ns() & 0xffffffff)
    print(f"# seed {seed}")
    rand = random.Random(seed)
    words = [b"set", b" ", b"foo", b"\r\n", b"7", b"0", b"bab", b"\0", b"get", b"x" * 300, b"-1"]
    with ours("-Y", "FILE") as (server, _):
        for _ in range(300):
            text = b"".join(rand.choice(words) for _ in range(rand.randrange(1, 30)))
            got = talk(server, text)
            assert b"STORED" not in got and b"VALUE" not in got and b"END" not in got, (text, got)
        assert talk(server, b"set x 0 0 7\r\nfoo bar\r\n") == b"STORED\r\n"


sys.exit(tap.run([
    text_is_as_stock_memcached_s,
    text_in_any_pieces_is_the_same,
    text_without_end_is_bounded,
    text_counts_and_settings_tell,
    sasl_proof_opens_and_nothing_else_does,
    sasl_without_proof_reaches_nothing,
    sasl_in_any_pieces_is_the_same,
    without_s_sasl_is_no_command,
    bmemcached_authenticates,
    pylibmc_authenticates,
    users_come_and_go_with_sighup,
    reloads_beside_proofs_lose_none,
    what_cannot_be_had_refuses_to_start,
    env_names_the_users_of_s,
    random_bytes_open_nothing,
]))
