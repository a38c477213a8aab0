#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The daemon's pages over HTTP: metrics that count a scripted workload exactly, in formats that
promtool and Prometheus read; who may see them; health.

Method: generic XDP on lo, so that the kernel answers, too; pages are fetched with http.client.
"""

import base64
import http.client
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

import lib_e2e as e2e
import tap

ADMIN = 9211
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def fetch(rig, path="/metrics", method="GET", host="127.0.0.1", port=ADMIN, **headers):
    """Status, headers and body."""
    with e2e.in_netns(rig.server_ns):
        client = http.client.HTTPConnection(host, port, timeout=10)
        client.connect()
    client.request(method, path, headers={name.replace("_", "-"): value
                                          for name, value in headers.items()})
    reply = client.getresponse()
    body = reply.read().decode()
    client.close()
    return reply.status, reply.headers, body


def parse(text):
    """{(name, labels): number}; each sample may be there once."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, line
        name, labels, number = match.groups()
        key = (name, tuple(sorted(LABEL.findall(labels or ""))))
        assert key not in found, line
        found[key] = float(number)
    return found


class Numbers:
    """The metrics of one moment."""

    def __init__(self, rig, **headers):
        status, _, body = fetch(rig, **headers)
        assert status == 200, body
        self.all = parse(body)

    def get(self, name, **labels):
        return self.all[(name, tuple(sorted(labels.items())))]

    def sum(self, name, **labels):
        return sum(value for (found, has), value in self.all.items()
                   if found == name and set(labels.items()) <= set(has))

    def requests(self, op, tier, result):
        return self.get("xdpcache_requests_total", op=op, tier=tier, result=result)


def talk(rig, script):
    """Requests one by one over one connection, each with the end of its reply."""
    with rig.tcp() as s:
        for request, end in script:
            s.sendall(request)
            reply = b""
            while not reply.endswith(end):
                part = s.recv(65536)
                assert part, (request, reply)
                reply += part


WORKLOAD = [
    (b"set a 0 0 2\r\n10\r\n", b"STORED\r\n"),
    (b"set b 0 0 1\r\nx\r\n", b"STORED\r\n"),
    (b"add b 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
    (b"cas b 0 0 1 1\r\nx\r\n", b"EXISTS\r\n"),
    (b"cas none 0 0 1 1\r\nx\r\n", b"NOT_FOUND\r\n"),
    (b"set big 0 0 3000000\r\n" + b"x" * 3000000 + b"\r\n", b"\r\n"),
    (b"get a b none\r\n", b"END\r\n"),
    (b"mg a v\r\n", b"\r\n10\r\n"),
    (b"mg none v\r\n", b"EN\r\n"),
    (b"incr a 5\r\n", b"15\r\n"),
    (b"incr none 5\r\n", b"NOT_FOUND\r\n"),
    (b"decr a 1\r\n", b"14\r\n"),
    (b"touch a 100\r\n", b"TOUCHED\r\n"),
    (b"touch none 100\r\n", b"NOT_FOUND\r\n"),
    (b"delete b\r\n", b"DELETED\r\n"),
    (b"delete b\r\n", b"NOT_FOUND\r\n"),
    (b"version\r\n", b"\r\n"),
    (b"flush_all 1000\r\n", b"OK\r\n"),
]
KINDS = {"set": 6, "get": 3, "incr": 3, "touch": 2, "delete": 2, "other": 2}


def totals_are_exactly_those_of_the_workload():
    with e2e.Rig("lo") as rig:
        e2e.Daemon(rig, "--no-fastpath")
        before = Numbers(rig)
        talk(rig, WORKLOAD * 3)
        # how long a request took is known once its reply is sent
        e2e.wait_until(lambda: Numbers(rig).sum("xdpcache_request_duration_seconds_count")
                       >= 3 * len(WORKLOAD), what="the last duration")
        after = Numbers(rig)

        def more(name, **labels):
            return after.get(name, **labels) - before.get(name, **labels)

        for op, result, cnt in (("get", "hit", 3), ("get", "miss", 2), ("set", "done", 5),
                                ("delete", "hit", 1), ("delete", "miss", 1), ("incr", "hit", 1),
                                ("incr", "miss", 1), ("decr", "hit", 1), ("decr", "miss", 0),
                                ("touch", "hit", 1), ("touch", "miss", 1), ("flush", "done", 1)):
            got = more("xdpcache_requests_total", op=op, tier="daemon", result=result)
            assert got == 3 * cnt, (op, result, got)
        for op, cnt in KINDS.items():
            got = more("xdpcache_request_duration_seconds_count", op=op)
            assert got == 3 * cnt, (op, got)
            assert after.get("xdpcache_request_duration_seconds_bucket", op=op, le="+Inf") \
                == after.get("xdpcache_request_duration_seconds_count", op=op)
        assert more("xdpcache_cas_total", result="conflict") == 3
        assert more("xdpcache_cas_total", result="absent") == 3
        assert more("xdpcache_store_errors_total", reason="too_large") == 3
        assert more("xdpcache_connection_events_total", event="opened") == 1
        sent = sum(len(request) for request, _ in WORKLOAD) * 3
        assert more("xdpcache_network_bytes_total", direction="in", tier="daemon") == sent
        assert after.get("xdpcache_items") == 1


def kernel_answers_are_counted_in_their_tier():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--hot-threshold", "1")
        daemon.set(b"hot:1", b"v")
        daemon.pin(b"hot:1")
        before = Numbers(rig)
        with rig.udp() as s:
            for number in range(500):
                s.send(e2e.frame(number, b"get hot:1\r\n"))
                assert s.recv(2048)[8:] == e2e.value_reply(b"hot:1", b"v")
            s.send(e2e.frame(1, b"stats\r\n"))
            s.recv(2048)
        after = Numbers(rig)
        kernel = after.requests("get", "kernel", "hit") - before.requests("get", "kernel", "hit")
        own = after.requests("get", "daemon", "hit") - before.requests("get", "daemon", "hit")
        assert kernel + own == 500 and kernel >= 490, (kernel, own)
        assert kernel == sum(after.get("xdpcache_fastpath_packets_total", outcome=how)
                             - before.get("xdpcache_fastpath_packets_total", outcome=how)
                             for how in ("hit_tail", "hit_head", "hit_tc"))
        stats = daemon.stats()
        assert after.get("xdpcache_fastpath_entries") == stats["fastpath.entries"]
        assert after.get("xdpcache_kernel_program_seconds_count", result="answered") <= kernel
        assert after.get("xdpcache_kernel_program_seconds_bucket", result="other", le="+Inf") == \
            after.get("xdpcache_kernel_program_seconds_count", result="other")
        if stats["fastpath.times.hits.samples"]:
            assert 0 < stats["fastpath.times.hits.p50_ns"] <= stats["fastpath.times.hits.p99_ns"]
        assert after.get("xdpcache_fastpath_state", state="generic") == 1
        assert after.sum("xdpcache_fastpath_state") == 1
        assert 0 < after.get("xdpcache_fastpath_lease_seconds") <= 1
        assert after.get("xdpcache_fastpath_interface_info", interface="lo", mode="generic",
                         tc="yes" if stats_tc(daemon) else "no") == 1
        e2e.wait_until(lambda: Numbers(rig).get("xdpcache_hot_key_reads_per_second", key="hot:1",
                                                tier="kernel") > 0, what="the kernel's rate")


def stats_tc(daemon):
    return daemon.cli("stats")["fastpath"]["interfaces"][0]["tc"]


def memory_s_kinds_add_up_to_the_total():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig)
        for number in range(200):
            daemon.set(b"k%d" % number, b"v" * 1000)
        numbers = Numbers(rig)
        memory = daemon.cli("stats")["memory"]
        total = numbers.sum("xdpcache_memory_bytes")
        # the process's pages are counted anew for each question
        assert abs(total - memory["total_bytes"]) < 1 << 20, (total, memory)
        assert numbers.get("xdpcache_memory_limit_bytes") == 64 << 20
        live = numbers.get("xdpcache_memory_bytes", kind="log_live")
        assert 200 * 1000 < live < 200 * 1100, live
        assert numbers.get("xdpcache_items") == 200
        assert numbers.get("xdpcache_payload_bytes") == 200 * 1000 + sum(
            len("k%d" % number) for number in range(200))
        assert 0 <= numbers.get("xdpcache_memory_fragmentation_ratio") <= 1


def evictions_are_counted_by_reason():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--no-fastpath", memory=32)
        with rig.tcp() as s:
            for number in range(60):
                s.sendall(b"".join(b"set %d:%d 0 0 9000 noreply\r\n%s\r\n"
                                   % (number, i, b"x" * 9000) for i in range(100)))
            s.sendall(b"version\r\n")
            s.recv(100)
        # the reclaimer goes on until its reserve is there
        def evicted_cnt():
            return daemon.stats()["store.evicted"]
        seen = [-1]
        e2e.wait_until(lambda: seen.append(evicted_cnt()) or (seen[-1] == seen[-2] and
                                                             time.sleep(0.3) is None and
                                                             evicted_cnt() == seen[-1]),
                       what="the reclaimer is done")
        numbers = Numbers(rig)
        evicted = numbers.get("xdpcache_items_removed_total", reason="evicted")
        assert evicted > 1000, evicted
        assert evicted == daemon.stats()["store.evicted"]
        assert numbers.get("xdpcache_items_removed_unread_total", reason="evicted") <= evicted
        assert numbers.get("xdpcache_requests_total", op="set", tier="daemon", result="done") \
            == 6000


def routes_and_keys_are_bounded():
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/routes.conf"
        with open(path, "w", encoding="ascii") as out:
            out.write('routes = ( %s );\n' % ", ".join('{ prefix = "%s:"; }' % name
                                                       for name in "abcd"))
        daemon = e2e.Daemon(rig, "--no-fastpath", "--config", path, "--metrics-routes", "2",
                            "--metrics-hot-keys", "3", "--metrics-hash-keys")
        for name in b"abcd":
            daemon.set(b"%c:1" % name, b"v")
            daemon.ask(b"get %c:1 %c:2\r\n" % (name, name))
        e2e.wait_until(lambda: "xdpcache_hot_key" in fetch(rig)[2]
                       and len(keys_of(rig)) == 3, what="three hot keys")
        numbers = Numbers(rig)
        rows = {dict(labels)["route"] for name, labels in numbers.all
                if name == "xdpcache_route_requests_total"}
        assert rows == {"a:*", "b:*", "(others)"}, rows

        def route(name, result):
            return numbers.get("xdpcache_route_requests_total", route=name, op="get",
                               tier="daemon", result=result)

        assert (route("a:*", "hit"), route("a:*", "miss")) == (1, 1)
        assert (route("(others)", "hit"), route("(others)", "miss")) == (2, 2)
        assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys_of(rig)), keys_of(rig)


def keys_of(rig):
    return {dict(labels)["key"] for name, labels in Numbers(rig).all
            if name == "xdpcache_hot_key_reads_per_second"}


def keys_of_any_bytes_do_not_break_the_page():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--no-fastpath")
        for key in (b'quote"back\\slash', b"\xff\xfe", "schl\u00fcssel".encode()):
            daemon.ask(b"get " + key + b"\r\n")
        e2e.wait_until(lambda: len(keys_of(rig)) == 3, what="three keys")
        assert keys_of(rig) == {r'quote\"back\\slash', r"\\xff\\xfe", "schl\u00fcssel"}
        check_with_promtool(fetch(rig)[2])


def check_with_promtool(text):
    promtool = shutil.which("promtool")
    if not promtool:
        raise tap.Skip("no promtool (package prometheus)")
    done = subprocess.run([promtool, "check", "metrics"], input=text, text=True, timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and not done.stdout, done.stdout


def promtool_finds_nothing_wrong():
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/routes.conf"
        with open(path, "w", encoding="ascii") as out:
            out.write('routes = ( { prefix = "a:"; } );\n')
        e2e.Daemon(rig, "--config", path)
        talk(rig, WORKLOAD)
        status, headers, body = fetch(rig)
        assert status == 200
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        check_with_promtool(body)
        status, headers, body = fetch(rig, Accept="application/openmetrics-text; version=1.0.0")
        assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert body.endswith("\n# EOF\n")
        # the same numbers under the same names
        assert parse(body).keys() == Numbers(rig).all.keys()


def scrape_is_fast():
    """In the median; what a machine that is busy with other things adds is not the page's."""
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/routes.conf"
        with open(path, "w", encoding="ascii") as out:
            out.write('routes = ( %s );\n' % ", ".join('{ prefix = "r%d:"; }' % number
                                                       for number in range(200)))
        daemon = e2e.Daemon(rig, "--config", path, "--metrics-hot-keys", "100")
        with rig.tcp() as s:
            s.sendall(b"".join(b"set r%d:%d 0 0 1 noreply\r\nx\r\n" % (i % 200, i)
                               for i in range(20000)) + b"version\r\n")
            s.recv(100)
        took = []
        for _ in range(31):
            start = time.monotonic()
            fetch(rig)
            took.append(time.monotonic() - start)
        print(f"# scrape: median {statistics.median(took) * 1000:.2f} ms, "
              f"best {min(took) * 1000:.2f} ms")
        # connecting and parsing in Python are in it
        assert min(took) < 0.005, took
        assert daemon.stats()["store.items"] == 20000


def only_the_allowed_get_a_byte():
    with e2e.Rig("lo") as rig:
        e2e.run("ip", "-n", rig.server_ns, "addr", "add", "192.0.2.7/32", "dev", "lo")
        e2e.Daemon(rig, "--no-fastpath", "--admin", "192.0.2.7:9300", "--admin-allow",
                   "127.0.0.0/8")
        try:
            # the connection's own address is the one it is made to
            fetch(rig, host="192.0.2.7", port=9300)
            raise AssertionError("a page for one who is not allowed")
        except (http.client.RemoteDisconnected, ConnectionResetError):
            pass
    with e2e.Rig("lo") as rig:
        e2e.run("ip", "-n", rig.server_ns, "addr", "add", "192.0.2.7/32", "dev", "lo")
        e2e.Daemon(rig, "--no-fastpath", "--admin", "192.0.2.7:9300", "--admin-allow",
                   "192.0.2.0/24")
        assert fetch(rig, host="192.0.2.7", port=9300)[0] == 200


def token_is_asked_for_but_by_probes():
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/token"
        with open(path, "w", encoding="ascii") as out:
            out.write("s3cret-words\n")
        e2e.Daemon(rig, "--no-fastpath", "--admin-token-file", path)
        status, headers, body = fetch(rig)
        assert status == 401 and "xdpcache_" not in body, body
        assert headers["WWW-Authenticate"].startswith("Basic realm=")
        assert fetch(rig, "/nothing")[0] == 401
        for wrong in ("Bearer s3cret-word", "Bearer s3cret-words-", "Bearer ", "Bearer",
                      "Bearer s3cret-wordx", "Basic " + basic("x", "wrong"), "s3cret-words"):
            assert fetch(rig, Authorization=wrong)[0] == 401, wrong
        assert fetch(rig, Authorization="Bearer s3cret-words")[0] == 200
        assert fetch(rig, Authorization="Basic " + basic("anyone", "s3cret-words"))[0] == 200
        assert fetch(rig, "/healthz")[0] == 200
        assert fetch(rig, "/readyz")[0] == 200


def basic(name, password):
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def token_that_cannot_be_read_ends_the_start():
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/empty"
        with open(path, "w", encoding="ascii"):
            pass
        for name, why in ((path, "No data available"), (path + ".none", "No such file")):
            said = rig.on_server(f"{e2e.BUILD}/xdpcached", "--no-fastpath", "--control",
                                 f"{rig.folder}/x.sock", "--admin-token-file", name, check=False)
            assert "cannot take the token from" in said and why in said, said


def pages_can_only_be_read():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--no-fastpath")
        assert fetch(rig, "/nothing")[0] == 404
        assert fetch(rig, "/metrics/")[0] == 404
        for method in ("POST", "PUT", "DELETE"):
            status, headers, _ = fetch(rig, method=method)
            assert status == 405 and headers["Allow"] == "GET, HEAD"
        status, headers, body = fetch(rig, method="HEAD")
        assert status == 200 and body == "" and int(headers["Content-Length"]) > 1000
        with e2e.in_netns(rig.server_ns):
            s = http.client.socket.create_connection(("127.0.0.1", ADMIN))
        with s:
            s.sendall(b"GARBAGE\r\n\r\n" * 100)
            s.settimeout(5 * e2e.SCALE)
            s.recv(4096)
        assert fetch(rig, "/healthz")[2] == "ok\n"
        assert "system call" not in daemon.output(), daemon.output()


def clients_that_say_nothing_leave_room_in_time():
    """More of them than there are places: their time runs out, and pages come again."""
    with e2e.Rig("lo") as rig:
        e2e.Daemon(rig, "--no-fastpath")
        with e2e.in_netns(rig.server_ns):
            idle = [http.client.socket.create_connection(("127.0.0.1", ADMIN)) for _ in range(40)]

        def answers():
            try:
                return fetch(rig, "/healthz")[0] == 200
            except OSError:
                return False

        e2e.wait_until(answers, 40, "a page")
        for s in idle:
            s.close()


def taken_default_address_is_told_and_gone_without():
    with e2e.Rig("lo") as rig:
        first = e2e.Daemon(rig, "--no-fastpath")
        said = rig.on_server("timeout", "-s", "TERM", "2", f"{e2e.BUILD}/xdpcached",
                             "--no-fastpath", "-p", "11999", "--instance", "second", "--control",
                             f"{rig.folder}/second.sock", check=False)
        assert "warn http: cannot listen on 127.0.0.1:9211" in said, said
        assert "main: ready: tcp=11999" in said, said
        said = rig.on_server("timeout", "-s", "TERM", "2", f"{e2e.BUILD}/xdpcached",
                             "--no-fastpath", "-p", "11999", "--instance", "second", "--control",
                             f"{rig.folder}/second.sock", "--admin", "127.0.0.1:9211", check=False)
        assert "error http: cannot listen on 127.0.0.1:9211" in said, said
        assert "main: ready" not in said, said
        first.stop()
        e2e.Daemon(rig, "--no-fastpath", "--admin=")
        try:
            fetch(rig)
            raise AssertionError("nobody should listen")
        except ConnectionRefusedError:
            pass


def upgrade_takes_the_address_over():
    with e2e.Rig("lo") as rig:
        old = e2e.Daemon(rig, "--no-fastpath", "-U", "0", "-e", rig.memory_file())
        old_start = Numbers(rig).get("xdpcache_start_time_seconds")
        new = e2e.Daemon(rig, "--no-fastpath", "-U", "0", "-e", rig.memory_file(), "--upgrade")
        assert old.process.wait(20) == 0, old.output()
        # the old one may have been the one that answered
        e2e.wait_until(lambda: "main: ready" in new.output(), what="the new daemon")
        numbers = Numbers(rig)
        assert numbers.get("xdpcache_start_time_seconds") > old_start
        assert "http" not in new.output(), new.output()
        new.stop()
        assert "system call" not in new.output(), new.output()
        os.unlink(rig.memory_file())


TESTS = [
    totals_are_exactly_those_of_the_workload,
    kernel_answers_are_counted_in_their_tier,
    memory_s_kinds_add_up_to_the_total,
    evictions_are_counted_by_reason,
    routes_and_keys_are_bounded,
    keys_of_any_bytes_do_not_break_the_page,
    promtool_finds_nothing_wrong,
    scrape_is_fast,
    only_the_allowed_get_a_byte,
    token_is_asked_for_but_by_probes,
    token_that_cannot_be_read_ends_the_start,
    pages_can_only_be_read,
    clients_that_say_nothing_leave_room_in_time,
    taken_default_address_is_told_and_gone_without,
    upgrade_takes_the_address_over,
]

if __name__ == "__main__":
    sys.exit(tap.run(TESTS))
