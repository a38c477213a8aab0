#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/patterns.md: every file in it is right, a daemon starts with it, and what it says of reads,
writes, and keys that end together is so.

Method: the page's own blocks, with the paths of a database of the test's own.
"""

import contextlib
import re
import sqlite3
import sys
import time

import lib_e2e as e2e

PAGE = "docs/patterns.md"


def blocks():
    """Of each section that has one: the file."""
    with open(PAGE, encoding="utf-8") as page:
        sections = re.split(r"^## ", page.read(), flags=re.MULTILINE)[1:]
    found = {section.split("\n", 1)[0]: re.findall(r"^```\n(.*?)^```", section, re.M | re.S)
             for section in sections}
    return {name: texts[0] for name, texts in found.items() if texts}


@contextlib.contextmanager
def shop_with(text, *flags):
    """The daemon, and a function that asks the database."""
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/shop.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("CREATE TABLE product (id TEXT PRIMARY KEY, body)")
            db.execute("INSERT INTO product VALUES ('42', 'there')")

            def ask(statement):
                return db.execute(statement).fetchone()

            config = f"{rig.folder}/pattern.conf"
            with open(config, "w", encoding="utf-8") as out:
                out.write(text.replace("/var/lib/shop/shop.db", path)
                          .replace("/var/lib/xdpcache", rig.folder))
            yield config, lambda: e2e.Daemon(rig, "--config", config, "--no-fastpath", *flags), ask


def every_file_is_right_and_reads():
    assert len(blocks()) == 7, list(blocks())
    for name, text in blocks().items():
        with shop_with(text) as (config, start, _):
            e2e.run(f"{e2e.BUILD}/xdpcache", "config", "check", config)
            daemon = start()
            reply = daemon.ask(b"get product:42\r\n")
            assert reply == e2e.value_reply(b"product:42", b"there"), name
            assert daemon.ask(b"get product:none\r\n") == b"END\r\n", name


def files_that_write_do():
    for name in ("Write-through", "Write-behind"):
        with shop_with(blocks()[name]) as (_, start, ask):
            daemon = start()
            assert daemon.ask(b"set product:42 0 0 3\r\nnew\r\n", b"\r\n") == b"STORED\r\n"
            e2e.wait_until(lambda: ask("SELECT body FROM product WHERE id = '42'")[0] in
                           ("new", b"new"), what=name)
            assert daemon.ask(b"delete product:42\r\n", b"\r\n") == b"DELETED\r\n"
            e2e.wait_until(lambda: ask("SELECT count(*) FROM product") == (0,), what=name)


def peak_of(jitter, keys=2000):
    """Questions in the busiest fifth of a second, when all keys that were filled at once end."""
    text = blocks()["Jitter, and a bound"].replace(
        "ttl = 600; ttl_jitter = 120; max_miss_qps = 500; stale_if_error = 600;",
        f"ttl = 4; ttl_jitter = {jitter};").replace(
            "SELECT body FROM product WHERE id = $1", "SELECT 'v' || $1")
    assert f"ttl_jitter = {jitter}" in text and "'v'" in text
    requests = [b"get " + b" ".join(b"product:%d" % i for i in range(first, first + 500)) + b"\r\n"
                for first in range(0, keys, 500)]
    with shop_with(text) as (_, start, _):
        daemon = start()

        def ask_for_all():
            for request in requests:
                assert daemon.ask(request).count(b"VALUE") == 500
            stats = daemon.ask(b"stats origins\r\n")
            return int(stats.split(b":queries ")[1].split(b"\r\n")[0])

        seen = ask_for_all()
        assert seen == keys, seen
        begin, buckets = time.monotonic(), {}
        while time.monotonic() < begin + 8.5:
            now = ask_for_all()
            bucket = int((time.monotonic() - begin) * 5)
            buckets[bucket] = buckets.get(bucket, 0) + now - seen
            seen = now
            time.sleep(0.02)
        assert seen >= 2 * keys, seen
        return max(buckets.values())


def keys_that_end_together_do_not_with_jitter():
    without, jittered = peak_of(0), peak_of(3)
    print(f"# questions in the busiest fifth of a second: {without} without jitter, {jittered} "
          "with 3 of 4 seconds")
    assert jittered * 5 <= without, (without, jittered)


if __name__ == "__main__":
    sys.exit(e2e.main([every_file_is_right_and_reads, files_that_write_do,
                       keys_that_end_together_do_not_with_jitter]))
