#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""TLS (-Z): every client that memcached's TLS serves is served, nobody else is, and nobody else
holds up those who are.

Method: a real server, certificates made for the occasion, and clients of three kinds: Python's own
TLS, pymemcache, `openssl s_client`. The transcripts of cases/ are played over TLS as well."""

import concurrent.futures
import os
import random
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import certificates
import run_cases
import servers
import tap
from test_connections import VALUE_MAX, Client, item, resident_bytes

CERTS = None


class TlsClient(Client):
    """A stream under TLS with line and count reads."""

    def __init__(self, address, context=None, receive_buffer=0):
        super().__init__(address, receive_buffer=receive_buffer)
        self.file.close()
        self.sock = (context or CERTS.context()).wrap_socket(
            self.sock, server_hostname="localhost", suppress_ragged_eofs=False)
        self.file = self.sock.makefile("rb", buffering=65536)


def exchange(client, request, reply_len):
    """Sends and reads at the same time, in one thread: OpenSSL has one connection in one thread
    at a time, and a peer that is not read from may stop reading."""
    request = memoryview(request)
    pieces, got = [], 0
    timeout = client.sock.gettimeout()
    client.sock.setblocking(False)
    deadline = time.monotonic() + 60
    while request or got < reply_len:
        assert time.monotonic() < deadline, (len(request), got, reply_len)
        select.select([client.sock], [client.sock] if request else [], [], 1)
        try:
            while request:
                request = request[client.sock.send(request[:16384]):]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        try:
            while got < reply_len:
                piece = client.sock.recv(min(reply_len - got, 65536))
                if not piece:
                    return b"".join(pieces)
                pieces.append(piece)
                got += len(piece)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
    client.sock.settimeout(timeout)
    return b"".join(pieces)


class Tls:
    """A server with -Z; its end shows that the sandbox refused nothing and no sanitizer spoke."""

    def __init__(self, *options, flags=()):
        self.server = servers.start_ours(*CERTS.options(*options), *flags)

    def __enter__(self):
        return self.server

    def __exit__(self, kind, *error):
        status = self.server.stop()
        output = self.server.output()
        if kind is None:
            assert status == 0, (status, output)
            assert "sandbox" not in output and "Sanitizer" not in output, output


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.02)


def count(client, name):
    return int(client.stats()[name])


def refused(address, context):
    """True if the server ends the connection of a client that shows what `context` has."""
    try:
        client = TlsClient(address, context)
        client.sock.settimeout(5)
        return client.ask(b"version\r\n") == b""
    except (ssl.SSLError, ConnectionError):
        return True


def pymemcache_works():
    try:
        from pymemcache.client.base import Client as Pymemcache
    except ImportError:
        raise tap.Skip("python3-pymemcache is not installed") from None
    with Tls() as server:
        client = Pymemcache(("localhost", server.address[1]), tls_context=CERTS.context(),
                            timeout=5)
        assert client.set("a", b"v" * 100000, noreply=False)
        assert client.get("a") == b"v" * 100000
        items = {f"key{i}": b"value%d" % i * 50 for i in range(1000)}
        assert client.set_many(items, noreply=False) == []
        assert client.get_many(list(items) + ["absent"]) == items
        assert client.incr("absent", 1) is None
        assert client.stats()[b"ssl_handshake_errors"] >= 0
        client.quit()


def s_client(server, *options, text=b"version\r\nquit\r\n"):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.address[1]}", "-quiet",
               "-verify_return_error", "-CAfile", CERTS.file("ca.pem"), *options]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=20, check=False)


def s_client_of_each_version_works():
    with Tls() as server:
        for version in ("-tls1_2", "-tls1_3"):
            assert s_client(server, version).stdout.startswith(b"VERSION 1.6.18"), version
    with Tls("ssl_min_version=3") as server:
        assert s_client(server, "-tls1_3").stdout.startswith(b"VERSION")
        assert s_client(server, "-tls1_2").stdout == b""
        assert count(TlsClient(server.address), "ssl_handshake_errors") > 0


def transcripts_play_the_same():
    with Tls() as server:
        wrong = [(name, reason) for name, reason
                 in run_cases.run_all(server.address, False, tls=CERTS.context()) if reason]
        assert not wrong, wrong


def settings_and_counters_are_memcacheds():
    with Tls("ssl_verify_mode=1", f"ssl_ca_cert={CERTS.file('ca.pem')}",
             "ssl_session_cache") as server:
        client = TlsClient(server.address)
        stats = client.stats()
        for name in ("ssl_handshake_errors", "ssl_new_sessions", "time_since_server_cert_refresh"):
            assert name in stats, name
        client.send(b"stats settings\r\n")
        ours = {}
        while (line := client.file.readline()) != b"END\r\n":
            _, name, value = line.split(b" ", 2)
            ours[name] = value.strip()
        assert ours[b"ssl_enabled"] == b"yes"
        assert ours[b"ssl_verify_mode"] == b"1"
        assert ours[b"ssl_keyformat"] == b"1"
        assert ours[b"ssl_ciphers"] == b"NULL"
        assert ours[b"ssl_wbuf_size"] == b"16384"
        assert ours[b"ssl_session_cache"] == b"yes"
        assert ours[b"ssl_min_version"] == b"tlsv1.2"
        assert ours[b"ssl_ca_cert"] == CERTS.file("ca.pem").encode()


def client_without_certificate_is_refused_where_one_is_required():
    ca = f"ssl_ca_cert={CERTS.file('ca.pem')}"
    for mode in (2, 3):
        with Tls(f"ssl_verify_mode={mode}", ca) as server:
            client = TlsClient(server.address, CERTS.context("client"))
            before = count(client, "ssl_handshake_errors")
            assert refused(server.address, CERTS.context())
            assert refused(server.address, CERTS.context("intruder"))
            wait_until(lambda: count(client, "ssl_handshake_errors") == before + 2)
            client.store(b"a", b"served")
    with Tls("ssl_verify_mode=1", ca) as server:
        client = TlsClient(server.address)
        assert refused(server.address, CERTS.context("intruder"))
        assert not refused(server.address, CERTS.context("client"))
        client.store(b"a", b"served")


def server_of_another_authority_is_refused_by_the_client():
    with Tls() as server:
        try:
            TlsClient(server.address, CERTS.context(authority="stranger"))
            raise AssertionError("connected")
        except ssl.SSLCertVerificationError:
            pass
        client = TlsClient(server.address)
        wait_until(lambda: count(client, "ssl_handshake_errors") > 0)


def plain_bytes_end_and_are_counted():
    with Tls() as server:
        client = TlsClient(server.address)
        before = count(client, "ssl_handshake_errors")
        for text in (b"version\r\n", b"get a\r\n" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"x" * 99):
            plain = Client(server.address)
            plain.send(text)
            try:
                assert b"VERSION" not in plain.file.read()
            except ConnectionError:
                pass
        wait_until(lambda: count(client, "ssl_handshake_errors") == before + 4)
        # TLS broken later is another counter's.
        raw = TlsClient(server.address)
        broken = socket.socket(fileno=os.dup(raw.sock.fileno()))
        broken.sendall(b"version\r\n" * 10)
        try:
            raw.file.read()
        except (ssl.SSLError, ConnectionError):
            pass
        wait_until(lambda: count(client, "ssl_proto_errors") == 1)


def values_cut_anywhere_come_back_whole():
    rng = random.Random(int(os.environ.get("XC_TEST_SEED", "13")))
    for options in ((), ("ssl_wbuf_size=1",), ("ssl_wbuf_size=64",)):
        with Tls(*options) as server:
            client = TlsClient(server.address)
            for size in (0, 1, 16383, 16384, 16385, 65536, 65537, VALUE_MAX):
                value = rng.randbytes(size)
                data = b"set a 0 0 %d\r\n%s\r\nget a\r\n" % (size, value)
                at = 0
                while at < len(data):
                    step = rng.choice([1, 100, 4096, 16384, 70000, 300000])
                    client.send(data[at:at + step])
                    at += step
                want = b"STORED\r\n" + item(b"a", value) + b"END\r\n"
                assert client.read(len(want)) == want, size


def pipelines_keep_order():
    with Tls() as server:
        client = TlsClient(server.address)
        client.store(b"a", b"x" * 3000)
        requests = b"".join(b"incr n%d 1\r\nget a\r\n" % i for i in range(3000))
        want = (b"NOT_FOUND\r\n" + item(b"a", b"x" * 3000) + b"END\r\n") * 3000
        assert exchange(client, requests, len(want)) == want
        # The start of a line waits in a buffer of 4 KiB; then one record brings 41 bytes more than
        # there is room for: only OpenSSL knows of those, epoll does not.
        client.send(b"get")
        time.sleep(0.2)
        client.send(b" b\r\n" + b"get b\r\n" * 590)
        assert client.read(591 * 5) == b"END\r\n" * 591


def uploads_that_wait_for_room_all_get_it():
    with Tls() as server:
        clients = [TlsClient(server.address) for _ in range(24)]
        for i, client in enumerate(clients):
            client.send(b"set w%d 0 0 400000\r\n" % i + b"w" * 1000)
        # each by itself: who waits for room is not read from
        rest = b"w" * 399000 + b"\r\n"
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
            for line in pool.map(lambda client: exchange(client, rest, 8), clients):
                assert line == b"STORED\r\n", line
        assert count(clients[0], "upload_waits") > 0


def slow_reader_gets_every_reply_whole_while_the_store_churns():
    with Tls() as server:
        writer = TlsClient(server.address)
        values = [bytes([65 + i]) * 200000 for i in range(20)]
        for i, value in enumerate(values):
            writer.store(b"k%d" % i, value)
        before = resident_bytes(server)
        slow = TlsClient(server.address, receive_buffer=4096)
        slow.send(b"".join(b"get k%d\r\n" % (i % 20) for i in range(60)))
        time.sleep(0.5)
        assert resident_bytes(server) - before < 8 << 20
        for i in range(60):
            writer.store(b"c%d" % i, b"z" * 150000)
            line = slow.file.readline()
            if line == b"END\r\n":
                continue  # evicted before it was asked for
            assert line == b"VALUE k%d 0 200000\r\n" % (i % 20), line
            assert slow.read(200002) == values[i % 20] + b"\r\n", f"foreign bytes in k{i % 20}"
            assert slow.file.readline() == b"END\r\n"
        assert writer.ask(b"version\r\n").startswith(b"VERSION")


def keys_changed_amid_a_reply_are_followed():
    """A client that asks for new keys makes the server write in order to read."""
    with Tls() as server:
        TlsClient(server.address).store(b"a", b"v" * 300000)
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.address[1]}", "-tls1_3",
                   "-CAfile", CERTS.file("ca.pem")]
        with tempfile.TemporaryFile() as log, subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as client:
            for _ in range(5):
                client.stdin.write(b"get a\r\n")
                client.stdin.flush()
                time.sleep(0.1)
                client.stdin.write(b"K\n")  # a line of its own: s_client's word for it
                client.stdin.flush()
                time.sleep(0.1)
            client.stdin.write(b"version\r\n")
            client.stdin.flush()
            time.sleep(0.2)
            client.stdin.write(b"quit\r\n")
            client.stdin.flush()
            output = client.stdout.read()
            client.wait(20)
            log.seek(0)
            assert b"KEYUPDATE" in log.read()
        assert output.count(b"v" * 300000) == 5, output.count(b"VALUE a")
        assert b"VERSION 1.6.18" in output


def end_is_told_before_the_close():
    with Tls() as server:
        client = TlsClient(server.address)
        client.send(b"version\r\nquit\r\n")
        # suppress_ragged_eofs is off: a close without TLS's own end would raise
        assert client.file.read().startswith(b"VERSION")
        client = TlsClient(server.address)
        client.send(b"x" * 3000)
        assert client.file.read() == b"CLIENT_ERROR line too long\r\n"


def client_that_ends_its_side_gets_all_it_asked_for():
    with Tls() as server:
        client = TlsClient(server.address)
        client.store(b"a", b"v" * 50000)
        client.send(b"get a\r\n" * 20)
        client.sock.shutdown(socket.SHUT_WR)
        raw = Client.__new__(Client)
        raw.sock = socket.socket(fileno=os.dup(client.sock.fileno()))
        raw.sock.settimeout(20)
        total = 0
        while data := raw.sock.recv(65536):
            total += len(data)
        assert total > 20 * 50000, total


def slow_handshakes_hold_nobody_up_and_are_closed():
    with Tls("ssl_handshake_timeout=1", flags=("-t", "1")) as server:
        client = TlsClient(server.address)
        before = count(client, "ssl_handshake_timeouts")
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        silent = [Client(server.address) for _ in range(60)]
        start = time.monotonic()
        for number, one in enumerate(silent):
            one.send(hello[:number % len(hello)])
        longest = 0
        while count(client, "ssl_handshake_timeouts") < before + 60:
            asked = time.monotonic()
            client.store(b"a", b"v" * 1000)
            longest = max(longest, time.monotonic() - asked)
            assert asked - start < 10, "not closed"
        assert time.monotonic() - start >= 0.9
        print(f"# longest set beside 60 slow handshakes: {longest * 1000:.1f} ms")
        assert longest < 0.5, longest
        for one in silent:
            try:
                one.file.read()
            except ConnectionError:
                pass
        assert count(client, "curr_connections") == 1


def many_at_once_all_shake_hands():
    with Tls(flags=("-t", "1")) as server:
        first = TlsClient(server.address)
        results = []

        def join():
            one = TlsClient(server.address)
            one.store(b"k%d" % threading.get_ident(), b"v")
            results.append(one)

        threads = [threading.Thread(target=join) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 100
        assert count(first, "curr_connections") == 101


def memory_is_counted_and_comes_back():
    def tls_bytes(client):
        client.send(b"stats memory\r\n")
        found = 0
        while (line := client.file.readline()) != b"END\r\n":
            if line.startswith(b"STAT tls_bytes "):
                found = int(line.split()[2])
        return found

    with Tls() as server:
        client = TlsClient(server.address)
        context = CERTS.context()
        others = [TlsClient(server.address, context) for _ in range(20)]
        for one in others:
            one.close()
        wait_until(lambda: count(client, "curr_connections") == 1)
        before = tls_bytes(client)
        assert before > 0
        others = [TlsClient(server.address, context) for _ in range(200)]
        for one in others:
            one.store(b"a", b"v" * 20000)
        each = (tls_bytes(client) - before) / 200
        print(f"# an idle connection costs {each / 1024:.1f} KiB in OpenSSL")
        assert 1024 < each < 32768, each
        for one in others:
            one.close()
        wait_until(lambda: count(client, "curr_connections") == 1)
        assert tls_bytes(client) < before + 65536


def serial(address):
    client = TlsClient(address)
    number = client.sock.getpeercert()["serialNumber"]
    client.close()
    return number


def certificates_are_refreshed_and_connections_stay():
    with Tls() as server:
        client = TlsClient(server.address)
        for how in ("command", "signal"):
            old = serial(server.address)
            CERTS.make("server")
            assert serial(server.address) == old
            time.sleep(1.1)
            assert count(client, "time_since_server_cert_refresh") >= 1
            if how == "command":
                assert client.ask(b"refresh_certs\r\n") == b"OK\r\n"
                assert serial(server.address) != old
            else:
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda old=old: serial(server.address) != old)
            assert count(client, "time_since_server_cert_refresh") == 0
            client.store(b"a", b"still connected")


def refresh_that_fails_leaves_the_old_certificates():
    with Tls() as server:
        client = TlsClient(server.address)
        old = serial(server.address)
        key = CERTS.file("server.key")
        shutil.copy(CERTS.file("client.key"), key + ".other")
        os.rename(key, key + ".kept")
        try:
            assert client.ask(b"refresh_certs\r\n").startswith(b"SERVER_ERROR ")
            os.rename(key + ".other", key)
            assert client.ask(b"refresh_certs\r\n").startswith(b"SERVER_ERROR ")
        finally:
            os.rename(key + ".kept", key)
        output = server.output()
        assert "cannot be read: No such file" in output, output
        assert "is not the key of" in output, output
        assert serial(server.address) == old
        assert client.ask(b"refresh_certs\r\n") == b"OK\r\n"


def start_fails(*options):
    """What the daemon says, which must not start."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="xct") as folder:
        command = [os.path.join(servers.BUILD, "xdpcached"), "-p", str(port), "-l", "127.0.0.1",
                   "-u", "root", "-m", "64", "--no-fastpath",
                   "--control", os.path.join(folder, "c"), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=30, check=False)
    assert done.returncode == 1, done
    return done.stdout.decode()


def start_says_what_is_wrong_with_the_files():
    key = CERTS.file("server.key")
    with open(CERTS.file("junk"), "w", encoding="ascii") as file:
        file.write("junk\n")
    certificates.run("ec", "-in", key, "-aes256", "-passout", "pass:x", "-out",
                     CERTS.file("locked.key"))

    def tls(cert, key_file, *more):
        return start_fails("-Z", "-o", ",".join([f"ssl_chain_cert={CERTS.file(cert)}",
                                                 f"ssl_key={CERTS.file(key_file)}", *more]))

    assert "cannot be read: No such file" in tls("absent", "server.key")
    assert "cannot be read: No such file" in tls("server.pem", "absent")
    assert "it must hold the server's certificate" in tls("junk", "server.key")
    assert "it must hold the private key" in tls("server.pem", "junk")
    assert "without a password" in tls("server.pem", "locked.key")
    assert "is not the key of" in tls("server.pem", "client.key")
    assert "`openssl ciphers`" in tls("server.pem", "server.key", "ssl_ciphers=nonsense")
    assert "authorities whose clients" in tls("server.pem", "server.key",
                                              f"ssl_ca_cert={CERTS.file('junk')}")
    assert "ssl_chain_cert=<file>" in start_fails("-Z")


def key_in_der_or_beside_its_certificate_works():
    certificates.run("ec", "-in", CERTS.file("server.key"), "-outform", "DER", "-out",
                     CERTS.file("key.der"))
    with Tls(f"ssl_key={CERTS.file('key.der')}", "ssl_keyformat=DER") as server:
        assert TlsClient(server.address).ask(b"version\r\n").startswith(b"VERSION")
    with open(CERTS.file("both.pem"), "w", encoding="ascii") as both:
        for name in ("server.pem", "server.key"):
            with open(CERTS.file(name), encoding="ascii") as part:
                both.write(part.read())
    with Tls(f"ssl_chain_cert={CERTS.file('both.pem')}", "ssl_key=") as server:
        assert TlsClient(server.address).ask(b"version\r\n").startswith(b"VERSION")


def key_of_root_alone_is_read_before_privileges_go():
    if os.geteuid() != 0:
        raise tap.Skip("not root")
    os.chmod(CERTS.file("server.key"), 0o600)
    with Tls(flags=("-u", "nobody")) as server:
        client = TlsClient(server.address)
        assert "certificates cannot be refreshed" in server.output()
        assert client.ask(b"refresh_certs\r\n").startswith(b"SERVER_ERROR ")
        assert "let the user of -u read it" in server.output()
        assert TlsClient(server.address).ask(b"version\r\n").startswith(b"VERSION")


def listener_without_tls_stays_plain():
    other = servers.free_port()
    with Tls(flags=("-l", f"127.0.0.1,notls:127.0.0.1:{other}")) as server:
        plain = Client(("127.0.0.1", other))
        plain.store(b"a", b"from the plain one")
        assert TlsClient(server.address).ask(b"get a\r\n") == b"VALUE a 0 18\r\n"


def sessions_are_kept_and_counted_when_asked_for():
    context = CERTS.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    for cached in (True, False):
        with Tls(*(["ssl_session_cache"] if cached else [])) as server:
            first = TlsClient(server.address, context)
            assert not cached or count(first, "ssl_new_sessions") > 0
            sock = socket.create_connection(server.address)
            again = context.wrap_socket(sock, server_hostname="localhost",
                                        session=first.sock.session)
            assert again.session_reused == cached
            again.close()


def connection_over_the_limit_is_closed():
    with Tls(flags=("-c", "4")) as server:
        first = TlsClient(server.address)
        wait_until(lambda: count(first, "curr_connections") == 1)
        clients = [TlsClient(server.address) for _ in range(3)]
        assert refused(server.address, CERTS.context())
        assert count(first, "rejected_connections") == 1
        clients.pop().close()
        wait_until(lambda: count(first, "curr_connections") == 3)
        assert not refused(server.address, CERTS.context())


def listeners_are_handed_over_in_an_upgrade():
    with Tls() as server:
        client = TlsClient(server.address)
        client.store(b"a", b"kept?")
        failures = []
        stop = threading.Event()

        def connect():
            while not stop.is_set():
                try:
                    socket.create_connection(server.address, timeout=5).close()
                except OSError as error:
                    failures.append(error)
                time.sleep(0.002)

        thread = threading.Thread(target=connect)
        thread.start()
        words = server.process.args + ["--upgrade"]
        with open(CERTS.file("new.log"), "wb") as log:
            new = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            server.process.wait(20)
            # an open connection ends, as TLS ends it
            assert client.file.read() == b""
            again = TlsClient(server.address)
            assert again.stats()["pid"] == str(new.pid)
            stop.set()
            thread.join()
            assert not failures, failures
        finally:
            stop.set()
            new.terminate()
            new.wait(20)


TESTS = [
    pymemcache_works,
    s_client_of_each_version_works,
    transcripts_play_the_same,
    settings_and_counters_are_memcacheds,
    client_without_certificate_is_refused_where_one_is_required,
    server_of_another_authority_is_refused_by_the_client,
    plain_bytes_end_and_are_counted,
    values_cut_anywhere_come_back_whole,
    pipelines_keep_order,
    uploads_that_wait_for_room_all_get_it,
    slow_reader_gets_every_reply_whole_while_the_store_churns,
    keys_changed_amid_a_reply_are_followed,
    end_is_told_before_the_close,
    client_that_ends_its_side_gets_all_it_asked_for,
    slow_handshakes_hold_nobody_up_and_are_closed,
    many_at_once_all_shake_hands,
    memory_is_counted_and_comes_back,
    certificates_are_refreshed_and_connections_stay,
    refresh_that_fails_leaves_the_old_certificates,
    start_says_what_is_wrong_with_the_files,
    key_in_der_or_beside_its_certificate_works,
    key_of_root_alone_is_read_before_privileges_go,
    listener_without_tls_stays_plain,
    sessions_are_kept_and_counted_when_asked_for,
    connection_over_the_limit_is_closed,
    listeners_are_handed_over_in_an_upgrade,
]


def main():
    global CERTS
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="xct") as folder:
        os.chmod(folder, 0o755)
        try:
            CERTS = certificates.Folder(folder)
        except tap.Skip as reason:
            print(f"SKIP: {reason}")
            return 4
        return tap.run([t for t in TESTS if not only or any(w in t.__name__ for w in only)])


if __name__ == "__main__":
    sys.exit(main())
