#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who is in the kernel, and what the list says of it.

Method: a daemon with the fast path on lo (generic XDP) and a low threshold, or over veth (native)
as it is by default; keys are made hot by reading them over TCP, and over UDP.
"""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

import lib_e2e as e2e

IP_RECVTTL = 12  # no name in socket
EAGER = ["--hot-threshold", "1"]


class Reader(threading.Thread):
    """Reads keys over TCP, all of them about twenty times a second."""

    def __init__(self, rig, keys):
        super().__init__()
        self.rig, self.keys, self.ending = rig, keys, False

    def run(self):
        with self.rig.tcp() as s, s.makefile("rb") as file:
            while not self.ending:
                s.sendall(b"get " + b" ".join(self.keys) + b"\r\n")
                while file.readline() != b"END\r\n":
                    pass
                time.sleep(0.05)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.ending = True
        self.join()


def fill(daemon, keys):
    with daemon.rig.tcp() as s, s.makefile("rb") as file:
        for key in keys:
            s.sendall(b"set %s 0 0 1\r\nv\r\n" % key)
            assert file.readline() == b"STORED\r\n"


def rows(daemon, count=1024):
    return {row["key"]: row for row in daemon.cli("hot", "list", str(count))["keys"]}


def resident_cnt(daemon):
    return daemon.stats()["fastpath.entries"]


def hot_key_heads_the_list_wherever_its_place_is():
    """More keys are resident than are listed."""
    keys = [b"k%04d" % n for n in range(1500)]
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        fill(daemon, keys)
        # in this order they get their places
        for part, want in ((keys[:1200], 1200), (keys[1200:], 1500)):
            with Reader(rig, part):
                e2e.wait_until(lambda cnt=want: resident_cnt(daemon) == cnt, 20, "resident keys")
        time.sleep(1)
        with rig.udp() as s:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                s.send(e2e.frame(1, b"get k1499\r\n"))
                s.recv(1000)
        first = daemon.cli("hot", "list", "1")["keys"][0]
        assert first["key"] == "k1499" and first["resident"], first
        assert first["kernel_reads_sec"] > 100, first
        daemon.stop()


def pin_finds_a_place_where_there_is_none():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "3")
        fill(daemon, [b"a", b"b", b"c", b"wanted"])
        with Reader(rig, [b"a", b"b", b"c"]):
            e2e.wait_until(lambda: resident_cnt(daemon) == 3, 20, "all places are taken")
        daemon.cli("hot", "pin", "wanted")
        e2e.wait_until(lambda: rows(daemon)["wanted"]["resident"], 10, "the pin is resident")
        assert resident_cnt(daemon) == 3
        assert rows(daemon)["wanted"]["why"] == "pinned"
        # A cold one that stays is not called hot.
        daemon.cli("hot", "unpin", "wanted")
        row = rows(daemon)["wanted"]
        assert row["resident"] and row["why"].startswith("was hot"), row
        daemon.stop()


def lower_budget_holds_for_adopted_keys():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "20")
        keys = [b"k%d" % n for n in range(15)]
        fill(daemon, keys)
        with Reader(rig, keys):
            e2e.wait_until(lambda: resident_cnt(daemon) == 15, 20, "resident keys")
        daemon.stop()
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "4")
        e2e.wait_until(lambda: resident_cnt(daemon) == 4, 10, "4 of them")
        daemon.stop()


def explain(daemon, *key):
    """The reason, once more than the first glance: what is new takes a round to be seen."""
    return daemon.cli("hot", "explain", *key)


def explain_names_what_keeps_each_key_out():
    """Every rule an item or an operator can break, told by the policy that applied it."""
    with e2e.Rig("lo") as rig:
        conf = f"{rig.folder}/d.conf"
        with open(conf, "w", encoding="utf-8") as out:
            out.write('routes = ( { prefix = "cart:"; promote = false; },'
                      ' { prefix = "login:"; auth = true; } );')
        daemon = e2e.Daemon(rig, "--hot-threshold", "5", "--config", conf)
        fill(daemon, [b"cart:1", b"login:1", b"cold", b"bad", b"hot"])
        daemon.set(b"big", b"x" * 3000)
        daemon.set(b"stale", b"x")
        daemon.ask(b"ms YmFzZQ== 1 b\r\nx\r\n", b"HD\r\n")  # "base"
        daemon.ask(b"md stale I T30\r\n", b"HD\r\n")
        daemon.cli("hot", "ban", "bad")
        reads = [b"cart:1", b"login:1", b"big", b"base", b"bad", b"hot"]
        with Reader(rig, reads):
            e2e.wait_until(lambda: rows(daemon).get("hot", {}).get("resident"), 10, "hot")
            want = {"cart:1": "route", "login:1": "auth", "big": "too_large", "base": "base64",
                    "bad": "banned", "hot": "hot", "cold": "cold", "nobody": "absent",
                    "stale": "stale"}
            got = {key: explain(daemon, key)["reason"] for key in want}
            assert got == want, got
            # The list says the same of those it has.
            listed = {key: row["reason"] for key, row in rows(daemon).items()}
            for key in ("cart:1", "login:1", "big", "base", "bad", "hot"):
                assert listed[key] == want[key], (key, listed[key])
            # Read as often as the others, and most of what is sent.
            most = daemon.cli("hot", "list", "1", "--by", "bytes")["keys"]
            assert [row["key"] for row in most] == ["big"], most
            assert most[0]["bytes_sec"] > 1000 * most[0]["reads_sec"] > 0, most
            # Whoever is told to win has won it for everybody.
            assert b" W" in daemon.ask(b"mg stale v\r\n", b"\r\nx\r\n")
            assert explain(daemon, "stale")["reason"] == "won"
        big = explain(daemon, "big")
        assert (big["value_bytes"], big["value_max_bytes"]) == (3000, 1456), big
        assert big["why"].startswith("value or key does not fit") and big["advice"], big
        assert explain(daemon, "--hex", "686f74")["key"] == "hot"
        daemon.stop()


def explain_tells_rates_from_writes_and_lifetimes():
    """A burst of writes, a life that is about to end, and a threshold that is out of reach."""
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        fill(daemon, [b"busy"])
        with rig.tcp() as s, s.makefile("rb") as file:
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                for _ in range(5):
                    s.sendall(b"set busy 0 0 1\r\nv\r\n")
                    file.readline()
                s.sendall(b"get busy\r\n")
                while file.readline() != b"END\r\n":
                    pass
        # First a read made it a candidate, so it may be resident; a ban and its end start anew.
        daemon.cli("hot", "ban", "busy")
        daemon.cli("hot", "unban", "busy")
        busy = explain(daemon, "busy")
        assert busy["reason"] == "writes" and busy["writes_sec"] > busy["reads_sec"], busy
        assert not busy["resident"]
        daemon.stop()
        daemon = e2e.Daemon(rig, "--hot-threshold", "1000000")
        with Reader(rig, [b"busy"]):
            time.sleep(1)
            busy = explain(daemon, "busy")
        assert busy["reason"] == "cold" and busy["reads_sec"] >= 5, busy
        assert busy["threshold"] == 1000000
        daemon.stop()


def explain_without_room_says_who_has_it():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "2")
        fill(daemon, [b"a", b"b", b"c"])
        daemon.pin(b"a", b"b")
        with Reader(rig, [b"c"]):
            e2e.wait_until(lambda: explain(daemon, "c")["reason"] == "no_room", 10, "no room")
            c = explain(daemon, "c")
        assert (c["entries"], c["entries_budget"]) == (2, 2), c
        daemon.stop()


def ban_takes_a_key_out_and_keeps_it_out():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        fill(daemon, [b"k"])
        with Reader(rig, [b"k"]):
            e2e.wait_until(lambda: resident_cnt(daemon) == 1, 10, "resident")
            said = daemon.cli("hot", "ban", "k")
            assert said == {"banned": True, "reason": "banned",
                            "why": "banned by an operator"}, said
            before = daemon.stats()["fastpath.hits"]
            with rig.udp() as s:
                for n in range(50):
                    s.send(e2e.frame(n, b"get k\r\n"))
                    assert s.recv(1000).endswith(b"VALUE k 0 1\r\nv\r\nEND\r\n")
            assert daemon.stats()["fastpath.hits"] == before
            time.sleep(0.5)
            assert resident_cnt(daemon) == 0
            assert rows(daemon)["k"]["banned"]
            # A pin is the opposite wish: the last one counts.
            assert daemon.cli("hot", "pin", "k")["resident"]
            row = rows(daemon)["k"]
            assert row["resident"] and row["pinned"] and not row["banned"], row
            daemon.cli("hot", "ban", "k")
            assert daemon.cli("hot", "unban", "k") == {"banned": False}
            e2e.wait_until(lambda: resident_cnt(daemon) == 1, 10, "resident again")
        daemon.stop()


def oversized_hot_key_takes_nobody_s_place():
    """It used to make the coldest resident leave, again and again, for a place it could not use."""
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "2")
        fill(daemon, [b"a", b"b"])
        daemon.set(b"big", b"x" * 3000)
        with Reader(rig, [b"a", b"b"]):
            e2e.wait_until(lambda: resident_cnt(daemon) == 2, 10, "resident")
            time.sleep(2.5)  # they may leave by now
            with Reader(rig, [b"big"] * 8):
                end = time.monotonic() + 3
                while time.monotonic() < end:
                    assert resident_cnt(daemon) == 2
        daemon.stop()


def limits(daemon, verb, *words):
    return daemon.cli("hot", verb, *words)


def threshold_changes_while_it_runs():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--hot-threshold", "1000000")
        fill(daemon, [b"k"])
        with Reader(rig, [b"k"]):
            time.sleep(1)
            assert resident_cnt(daemon) == 0
            said = limits(daemon, "threshold", "5")
            assert (said["threshold"], said["threshold_start"]) == (5, 1000000), said
            e2e.wait_until(lambda: resident_cnt(daemon) == 1, 5, "resident")
            assert limits(daemon, "threshold", "default")["threshold"] == 1000000
        daemon.stop()


def budget_in_keys_or_bytes_takes_effect_at_once():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-max", "20")
        keys = [b"k%d" % n for n in range(15)]
        fill(daemon, keys)
        with Reader(rig, keys):
            e2e.wait_until(lambda: resident_cnt(daemon) == 15, 20, "resident keys")
            time.sleep(2.5)  # nobody leaves sooner
            limits(daemon, "budget", "--entries", "4")
            e2e.wait_until(lambda: resident_cnt(daemon) == 4, 5, "4 of them")
            each = limits(daemon, "budget")["entry_bytes"]
            said = limits(daemon, "budget", "--entries", "default", "--bytes", str(9 * each + 1))
            assert said["entries_budget"] == 9, said
            e2e.wait_until(lambda: resident_cnt(daemon) == 9, 5, "9 of them")
            assert limits(daemon, "budget", "--bytes", "1m")["entries_budget"] == 20
            e2e.wait_until(lambda: resident_cnt(daemon) == 15, 5, "all of them")
        said = daemon.rig.on_server(f"{e2e.BUILD}/xdpcache", "hot", "budget", "--entries", "21",
                                    *daemon.control, check=False)
        assert "have 20 places" in said, said
        daemon.stop()


def watch_tells_who_comes_and_goes_and_why():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        fill(daemon, [b"k"])
        words = ["nsenter", f"--net=/run/netns/{rig.server_ns}", f"{e2e.BUILD}/xdpcache", "hot",
                 "watch", "--json", *daemon.control]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as watch:
            try:
                time.sleep(0.6)
                with Reader(rig, [b"k"]):
                    came = json.loads(watch.stdout.readline())
                    assert (came["key"], came["in"], came["reason"]) == ("k", True, "hot"), came
                    daemon.cli("hot", "ban", "k")
                    went = json.loads(watch.stdout.readline())
                    assert (went["in"], went["reason"]) == (False, "banned"), went
                daemon.stop()
                assert "no daemon answers" in watch.stderr.readline()
                daemon = e2e.Daemon(rig, *EAGER)
                assert "is back" in watch.stderr.readline()
                daemon.cli("hot", "pin", "k")
                came = json.loads(watch.stdout.readline())
                assert (came["key"], came["reason"]) == ("k", "pinned"), came
            finally:
                watch.kill()
        daemon.stop()


class Watch:
    """`hot watch`: the moves of a key, as they are told."""

    def __init__(self, daemon):
        words = ["nsenter", f"--net=/run/netns/{daemon.rig.server_ns}", f"{e2e.BUILD}/xdpcache",
                 "hot", "watch", "--json", *daemon.control]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)

    def __enter__(self):
        time.sleep(0.6)
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def moves(self, key):
        found = [json.loads(line) for line in e2e.servers.written(self.log).splitlines()]
        return [move for move in found if move["key"] == key]


def from_kernel(s, request):
    """Asks once; (who answers: the program's IP TTL is 64, the daemon's host has 63; the reply)."""
    s.send(e2e.frame(1, request))
    data, extra, _, _ = s.recvmsg(2000, 100)
    ttls = [struct.unpack("i", value)[0] for _, kind, value in extra if kind == socket.IP_TTL]
    return ttls == [64], data[8:]


def asker(rig):
    s = rig.udp()
    s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    return s


def seconds_until_kernel(s, key):
    start = time.monotonic()
    while True:
        kernel, reply = from_kernel(s, b"get " + key + b"\r\n")
        assert reply == b"VALUE %s 0 1\r\nv\r\nEND\r\n" % key, reply
        if kernel:
            return time.monotonic() - start
        assert time.monotonic() - start < 10 * e2e.SCALE, key
        time.sleep(0.002)


def new_hot_key_is_in_the_kernel_within_a_second():
    """Places are full of keys that nobody asks for any more: the shifts replace them."""
    shifts = 100 if os.environ.get("XC_TEST_LONG") == "1" else 10
    old = [b"old%d" % n for n in range(shifts)]
    new = [b"new%d" % n for n in range(shifts)]
    with e2e.Rig("veth") as rig:
        rig.on_server("sysctl", "-qw", "net.ipv4.ip_default_ttl=63")
        daemon = e2e.Daemon(rig, "--hot-max", str(shifts), "--allow", "10.78.0.0/24")
        fill(daemon, old + new)
        with Reader(rig, old):
            e2e.wait_until(lambda: resident_cnt(daemon) == shifts, 20, "the old ones")
        time.sleep(4)
        with asker(rig) as s:
            waits = sorted(seconds_until_kernel(s, key) for key in new)
        p99 = waits[-(-len(waits) * 99 // 100) - 1]
        print(f"# {shifts} shifts: median {waits[len(waits) // 2]:.3f} s, p99 {p99:.3f} s,"
              f" most {waits[-1]:.3f} s")
        assert p99 <= 1 * e2e.SCALE, waits
        left = rows(daemon)
        # Within the budget, so as many of the old as came of the new are gone.
        assert resident_cnt(daemon) <= shifts
        assert left[f"new{shifts - 1}"]["resident"]
        kept = sum(row["resident"] for key, row in left.items() if key.startswith("old"))
        assert kept <= shifts // 2, kept
        daemon.stop()


def written_as_often_as_read_stays_coherent_and_does_not_thrash():
    with e2e.Rig("veth") as rig:
        rig.on_server("sysctl", "-qw", "net.ipv4.ip_default_ttl=63")
        daemon = e2e.Daemon(rig, "--allow", "10.78.0.0/24")
        daemon.set(b"k", b"0")
        from_kernel_cnt = turns = 0
        with Watch(daemon) as watch, asker(rig) as s, rig.tcp() as tcp:
            end = time.monotonic() + 4
            while time.monotonic() < end:
                turns += 1
                value = b"%d" % turns
                tcp.sendall(b"set k 0 0 %d\r\n%s\r\n" % (len(value), value))
                assert tcp.recv(100) == b"STORED\r\n"
                kernel, reply = from_kernel(s, b"get k\r\n")
                from_kernel_cnt += kernel
                assert reply == b"VALUE k 0 %d\r\n%s\r\nEND\r\n" % (len(value), value), reply
            time.sleep(0.5)
            moves = watch.moves("k")
        assert turns > 100, turns
        assert len(moves) <= 2, moves
        # At one write a read it may be in or out; in, it is the kernel that answers.
        assert not moves or from_kernel_cnt > 0, (moves, turns)
        print(f"# {turns} writes and reads, {from_kernel_cnt} by the kernel, {len(moves)} moves")
        daemon.stop()


def saved(rig):
    return f"{rig.folder}/hot.json"


def saved_choices_survive_a_restart_and_others_do_not():
    with e2e.Rig("lo") as rig:
        flags = [*EAGER, "--hot-max", "20", "--hot-file", saved(rig)]
        daemon = e2e.Daemon(rig, *flags)
        fill(daemon, [b"k", b"bad", b"\xff\xfe"])
        assert daemon.cli("hot", "pin", "k")["resident"]
        daemon.cli("hot", "ban", "bad")
        daemon.cli("hot", "pin", "--hex", "fffe")
        limits(daemon, "threshold", "7")
        assert not os.path.exists(saved(rig))
        assert limits(daemon, "budget", "--entries", "9", "--save")["saved"]
        assert stat.S_IMODE(os.stat(saved(rig)).st_mode) == 0o600
        daemon.cli("hot", "pin", "later")
        daemon.stop()
        daemon = e2e.Daemon(rig, *flags)
        e2e.wait_until(lambda: rows(daemon).get("k", {}).get("resident"), 5, "pinned again")
        found = rows(daemon)
        assert found["k"]["pinned"] and found["\\xff\\xfe"]["pinned"], found
        assert found["bad"]["banned"] and "later" not in found, found
        now = limits(daemon, "budget")
        assert (now["threshold"], now["entries_budget"]) == (7, 9), now
        assert "hot keys: pinned=2 banned=1 threshold=7 entries=9" in daemon.output()
        # What is undone and saved is gone for good; a kill changes nothing in that.
        daemon.cli("hot", "unpin", "k", "--save")
        daemon.kill()
        daemon = e2e.Daemon(rig, *flags)
        assert not rows(daemon).get("k", {}).get("pinned")
        assert rows(daemon)["bad"]["banned"]
        daemon.stop()
        assert os.listdir(rig.folder).count("hot.json.new") == 0


def damaged_file_of_choices_is_ignored_with_a_warning():
    with e2e.Rig("lo") as rig:
        flags = [*EAGER, "--hot-file", saved(rig)]
        daemon = e2e.Daemon(rig, *flags)
        daemon.cli("hot", "ban", "bad", "--save")
        daemon.stop()
        with open(saved(rig), "rb") as file:
            whole = file.read()
        for wrong in (whole[:-9], whole.replace(b'"version": 1', b'"version": 2'), b"",
                      whole.replace(b'"threshold": 0', b'"threshold": -1'),
                      whole.replace(b'"bad"', b'"b d"'), whole.replace(b"pins", b"pens")):
            assert wrong != whole
            with open(saved(rig), "wb") as file:
                file.write(wrong)
            daemon = e2e.Daemon(rig, *flags)
            assert "is not what was saved" in daemon.output(), daemon.output()
            assert "bad" not in rows(daemon)
            daemon.stop()
        daemon = e2e.Daemon(rig, *flags)
        daemon.cli("hot", "ban", "bad", "--save")  # replaces what was damaged
        daemon.stop()
        with open(saved(rig), "rb") as file:
            assert file.read() == whole


def choices_that_cannot_be_saved_count_and_are_told():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER, "--hot-file", f"{rig.folder}/absent/hot.json")
        said = daemon.rig.on_server(f"{e2e.BUILD}/xdpcache", "hot", "ban", "bad", "--save",
                                    *daemon.control, check=False)
        assert "done, but not saved" in said and "--hot-file" in said, said
        assert rows(daemon)["bad"]["banned"]
        daemon.stop()


def choices_lie_beside_the_lock_where_no_file_is_named():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, *EAGER)
        path = "/run/xdpcache/" + rig.pin_root.replace("/", "_") + ".e2e.hot"
        try:
            daemon.cli("hot", "ban", "bad", "--save")
            daemon.stop()
            with open(path, encoding="ascii") as file:
                assert json.load(file)["bans"] == [{"key": "bad"}]
            daemon = e2e.Daemon(rig, *EAGER)
            assert rows(daemon)["bad"]["banned"]
            daemon.stop()
        finally:
            if os.path.exists(path):
                os.unlink(path)


sys.exit(e2e.main([
    new_hot_key_is_in_the_kernel_within_a_second,
    written_as_often_as_read_stays_coherent_and_does_not_thrash,
    threshold_changes_while_it_runs,
    budget_in_keys_or_bytes_takes_effect_at_once,
    watch_tells_who_comes_and_goes_and_why,
    saved_choices_survive_a_restart_and_others_do_not,
    damaged_file_of_choices_is_ignored_with_a_warning,
    choices_that_cannot_be_saved_count_and_are_told,
    choices_lie_beside_the_lock_where_no_file_is_named,
    explain_names_what_keeps_each_key_out,
    explain_tells_rates_from_writes_and_lifetimes,
    explain_without_room_says_who_has_it,
    ban_takes_a_key_out_and_keeps_it_out,
    oversized_hot_key_takes_nobody_s_place,
    hot_key_heads_the_list_wherever_its_place_is,
    pin_finds_a_place_where_there_is_none,
    lower_budget_holds_for_adopted_keys,
]))
