#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The xdpcache command against a real daemon with the fast path on lo (generic XDP).

Property: what stats, hot and config print is what the daemon and the kernel did; with the daemon
stopped, killed or not started the command says so and stats still shows the pins.
Method: count our own requests and compare; every number asked for with --json.
"""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

BUILD = os.environ.get("XC_BUILD", "build")
TMP = os.environ.get("TMPDIR", "/tmp")
CONTROL = f"{TMP}/control.sock"
PORT = 21211
COMMON = ["--control", CONTROL, "--instance", "cli"]
DAEMON = [f"{BUILD}/xdpcached", "-p", str(PORT), "-l", "127.0.0.1", "-m", "64", "-t", "2",
          "--interface", "lo", "--xdp-mode", "generic", *COMMON]


def cli(*words, status=0, as_json=True):
    """Runs the command; its parsed answer, or (with status) what it said on standard error."""
    run = subprocess.run([f"{BUILD}/xdpcache", *words, *COMMON, *(["--json"] if as_json else [])],
                         capture_output=True, text=True, timeout=30)
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    if status:
        return run.stderr
    return json.loads(run.stdout) if as_json else run.stdout


def wait_until(check, seconds=10, what="the condition"):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def answers():
    run = subprocess.run([f"{BUILD}/xdpcache", "stats", "--json", *COMMON], capture_output=True,
                         text=True)
    return run.returncode == 0 and '"daemon"' in run.stdout


def start(*more):
    daemon = subprocess.Popen([*DAEMON, *more])
    wait_until(lambda: answers() or daemon.poll() is not None, what="the daemon answers")
    assert daemon.poll() is None, "the daemon ended"
    return daemon


def stop(daemon):
    daemon.terminate()
    assert daemon.wait(timeout=15) == 0


def tcp(request, reply):
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as s:
        s.sendall(request)
        got = b""
        while len(got) < len(reply):
            part = s.recv(4096)
            assert part, got
            got += part
        assert got == reply, (got, reply)


def udp_get(key, value, times):
    """Sends that many GETs, one at a time; each must bring the value."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect(("127.0.0.1", PORT))
        for i in range(times):
            s.send(struct.pack(">4H", i, 0, 1, 0) + b"get %s\r\n" % key)
            frame = struct.pack(">4H", i, 0, 1, 0)
            want = frame + b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)
            got = s.recv(2048)
            assert got == want, (got, want)


def row_of(key):
    return next((r for r in cli("hot", "list")["keys"] if r["key"] == key), None)


def stats_counts_what_kernel_and_daemon_answered():
    tcp(b"set a 0 0 5\r\nhello\r\n", b"STORED\r\n")
    said = cli("hot", "pin", "a")
    assert said == {"pinned": True, "resident": True, "reason": "pinned", "why": "pinned"}, said
    wait_until(lambda: (row_of("a") or {}).get("resident"), what="a is resident")
    before = cli("stats")
    udp_get(b"a", b"hello", 300)
    tcp(b"get a\r\n", b"VALUE a 0 5\r\nhello\r\nEND\r\n")
    tcp(b"get nosuch\r\n", b"END\r\n")
    after = cli("stats")
    diff = {(part, name): after[part][name] - before[part][name]
            for part, name in (("fastpath", "hits"), ("daemon", "get_hits"),
                               ("daemon", "get_misses"))}
    assert diff == {("fastpath", "hits"): 300, ("daemon", "get_hits"): 1,
                    ("daemon", "get_misses"): 1}, diff
    assert after["fastpath"]["state"] == "generic"
    assert [i["name"] for i in after["fastpath"]["interfaces"]] == ["lo"]
    assert after["fastpath"]["lease_ms"] == 1000
    assert 0 < after["fastpath"]["lease_left_ms"] <= 1000
    assert after["daemon"]["limit_bytes"] == 64 << 20
    assert after["daemon"]["items"] == 1 and after["fastpath"]["entries"] == 1
    parts = [part for part in after.values() if isinstance(part, dict)] + after["routes"]
    numbers = [n for part in parts for n in part.values() if isinstance(n, float)]
    assert not numbers, "every number is an integer"


def stats_misses_are_the_sum_of_their_passes():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect(("127.0.0.1", PORT))
        before = cli("stats")["fastpath"]
        for i in range(10):
            s.send(struct.pack(">4H", i, 0, 1, 0) + b"get absent\r\n")
            s.recv(2048)
        after = cli("stats")["fastpath"]
    assert after["misses"] - before["misses"] == 10
    assert after["passes"]["pass_miss"] - before["passes"]["pass_miss"] == 10


def stats_watch_prints_again_and_again():
    watch = subprocess.Popen([f"{BUILD}/xdpcache", "stats", "--watch", "1", "--json", *COMMON],
                             stdout=subprocess.PIPE, text=True)
    lines = [json.loads(watch.stdout.readline()) for _ in range(2)]
    watch.terminate()
    watch.wait()
    watch.stdout.close()
    assert lines[1]["daemon"]["uptime_sec"] > lines[0]["daemon"]["uptime_sec"]


def stats_for_people_names_what_happened():
    text = cli("stats", as_json=False)
    for word in ("answered in the kernel", "generic", "lo", "pass_miss", "key not resident"):
        assert word in text, (word, text)
    assert "%" in text, text
    for line in text.splitlines():
        assert line == line.rstrip(), repr(line)


def hot_unpin_undoes_pin():
    assert row_of("a")["pinned"]
    assert cli("hot", "unpin", "a") == {"pinned": False}
    assert not (row_of("a") or {}).get("pinned")
    assert "pinned" in cli("hot", "unpin", "a", status=1)


def hot_pin_says_what_came_of_it():
    said = cli("hot", "pin", "nobody-set-me", as_json=False)
    assert "Pinned: the kernel says that it has no item" in said, said
    assert row_of("nobody-set-me")["why"] == "pinned; it has no item", row_of("nobody-set-me")
    cli("hot", "unpin", "nobody-set-me")
    tcp(b"set big 0 0 2000\r\n" + b"x" * 2000 + b"\r\n", b"STORED\r\n")
    said = cli("hot", "pin", "big", as_json=False)
    assert "does not fit a datagram" in said, said
    assert row_of("big")["value_bytes"] == 2000, row_of("big")
    cli("hot", "unpin", "big")
    assert "not hexadecimal" in cli("hot", "pin", "--hex", "zz", status=2)


def hot_explain_for_people_says_what_to_do():
    said = cli("hot", "explain", "big", as_json=False)
    for words in ("served by  the daemon: value or key does not fit", "2.0 KiB of 1.4 KiB at most",
                  "To change it: make the value smaller"):
        assert words in said, (words, said)
    assert "Banned" in cli("hot", "ban", "big", as_json=False)
    listed = cli("hot", "list", as_json=False)
    assert "daemon x" in listed and "x banned by an operator" in listed, listed
    assert "No longer" in cli("hot", "unban", "big", as_json=False)
    assert "not banned" in cli("hot", "unban", "big", status=1)


def status_unknown_option_is_named():
    assert '"--jsn" is none of its options' in cli("status", "--jsn", status=2, as_json=False)


def hot_key_that_is_no_text_is_pinned_in_hexadecimal():
    tcp(b"set \xff\xfe 0 0 1\r\nx\r\n", b"STORED\r\n")
    assert "--hex" in cli("hot", "pin", b"\xff\xfe", status=2)
    cli("hot", "pin", "--hex", "fffe")
    assert row_of("\\xff\\xfe")["key_hex"] == "fffe"
    cli("hot", "unpin", "--hex", "fffe")


def config_effective_is_a_file_that_gives_the_same():
    path = f"{TMP}/effective.conf"
    effective = cli("config", "show", "--effective")
    with open(path, "w", encoding="utf-8") as out:
        out.write(cli("config", "show", "--effective", as_json=False))
    assert cli("config", "check", path)["ok"]
    again = cli("config", "show", "--config", path)
    effective.pop("sources")
    again.pop("sources")
    assert again == effective
    assert effective["memory"]["memory_limit"] == 64


def config_check_names_file_and_line():
    path = f"{TMP}/wrong.conf"
    with open(path, "w", encoding="utf-8") as out:
        out.write("network:\n{\n  port = 99999;\n};\n")
    assert f"{path}:3: network.port" in cli("config", "check", path, status=1, as_json=False)


def second_daemon_on_the_same_socket_refuses_to_start():
    run = subprocess.run([f"{BUILD}/xdpcached", "-p", "21212", "-l", "127.0.0.1", "--control",
                          CONTROL], capture_output=True, text=True, timeout=20)
    assert run.returncode != 0 and "another daemon answers" in run.stderr, run.stderr
    assert cli("stats")["daemon"]["pid"] == DAEMONS[0].pid


def stopped_daemon_is_reported_not_waited_for():
    DAEMONS[0].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        said = cli("hot", "list", status=1)
    finally:
        DAEMONS[0].send_signal(signal.SIGCONT)
    assert "does not reply" in said, said
    assert time.monotonic() - began < 10


def killed_daemon_leaves_stats_to_the_pins():
    hits = cli("stats")["fastpath"]["hits"]
    DAEMONS[0].kill()
    DAEMONS[0].wait()
    wait_until(lambda: cli("stats")["fastpath"]["state"] == "orphaned", what="orphaned")
    stats = cli("stats")
    assert "daemon" not in stats
    assert stats["fastpath"]["hits"] == hits
    assert [i["name"] for i in stats["fastpath"]["interfaces"]] == ["lo"]
    assert "no daemon answers" in cli("hot", "list", status=1)
    text = cli("stats", as_json=False)
    assert "orphaned" in text
    assert "%" not in text, text


def restarted_daemon_replaces_the_stale_socket():
    assert os.path.exists(CONTROL)
    DAEMONS[0] = start()
    assert cli("stats")["daemon"]["pid"] == DAEMONS[0].pid
    assert cli("stats")["fastpath"]["owner_epoch"] == 2
    assert "%" not in cli("stats", as_json=False)  # the kernel's counters are of two daemons
    stop(DAEMONS[0])
    assert not os.path.exists(CONTROL)


def debian_memcached_conf_starts_us():
    """Its user and its folder for the pid file come with Debian's package; made here if absent."""
    conf = "/etc/memcached.conf"
    if not os.path.exists(conf):
        return "no /etc/memcached.conf: package memcached is not installed"
    os.makedirs("/var/run/memcached", exist_ok=True)
    daemon = start_plain(["--config", conf, "-p", str(PORT)])
    try:
        tcp(b"set k 0 0 1\r\nv\r\n", b"STORED\r\n")
        assert cli("config", "show", "--effective")["network"]["listen"][0] == "127.0.0.1"
    finally:
        stop(daemon)
    return None


def debian_start_script_starts_us():
    """The flags that systemd-memcached-wrapper makes of the file; it runs /usr/bin/memcached."""
    wrapper = "/usr/share/memcached/scripts/systemd-memcached-wrapper"
    if not os.path.exists(wrapper):
        return "no start script: package memcached is not installed"
    with open(wrapper, encoding="utf-8") as script:
        text = script.read()
    with open("/etc/memcached.conf", encoding="utf-8") as conf:
        lines = conf.read().replace("-p 11211", f"-p {PORT}")
    ours, flags = f"{TMP}/wrapper", f"{TMP}/memcached.conf"
    program = os.path.abspath(f"{BUILD}/xdpcached") + f" --control {CONTROL}"
    with open(ours, "w", encoding="utf-8") as out:
        out.write(text.replace('"/usr/bin/memcached"', f'"{program}"'))
    with open(flags, "w", encoding="utf-8") as out:
        out.write(lines)
    os.makedirs("/var/run/memcached", exist_ok=True)
    daemon = start_plain(None, ["perl", ours, flags])
    try:
        tcp(b"get k\r\n", b"END\r\n")
    finally:
        stop(daemon)
    return None


def start_plain(flags, command=None):
    words = command or [f"{BUILD}/xdpcached", "--control", CONTROL, *flags]
    daemon = subprocess.Popen(words)
    wait_until(lambda: answers() or daemon.poll() is not None, what="the daemon answers")
    assert daemon.poll() is None, "the daemon ended"
    return daemon


def unload_leaves_nothing():
    cli("unload")
    assert cli("stats", status=1)
    assert not os.path.exists("/sys/fs/bpf/xdpcache/cli")


TESTS = [
    stats_counts_what_kernel_and_daemon_answered,
    stats_misses_are_the_sum_of_their_passes,
    stats_watch_prints_again_and_again,
    stats_for_people_names_what_happened,
    hot_unpin_undoes_pin,
    hot_pin_says_what_came_of_it,
    hot_explain_for_people_says_what_to_do,
    status_unknown_option_is_named,
    hot_key_that_is_no_text_is_pinned_in_hexadecimal,
    config_effective_is_a_file_that_gives_the_same,
    config_check_names_file_and_line,
    second_daemon_on_the_same_socket_refuses_to_start,
    stopped_daemon_is_reported_not_waited_for,
    killed_daemon_leaves_stats_to_the_pins,
    restarted_daemon_replaces_the_stale_socket,
    debian_memcached_conf_starts_us,
    debian_start_script_starts_us,
    unload_leaves_nothing,
]
DAEMONS = []


def main():
    failed = 0
    print(f"1..{len(TESTS)}", flush=True)
    DAEMONS.append(start())
    try:
        for number, test in enumerate(TESTS, 1):
            try:
                skip = test()
                print(f"ok {number} - {test.__name__}" + (f" # SKIP {skip}" if skip else ""),
                      flush=True)
            except (AssertionError, OSError, KeyError, ValueError, TypeError,
                    subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"# {error!r}\nnot ok {number} - {test.__name__}", flush=True)
    finally:
        if DAEMONS[0].poll() is None:
            DAEMONS[0].kill()
            DAEMONS[0].wait()
        subprocess.run([f"{BUILD}/xdpcache", "unload", "--force", *COMMON],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
