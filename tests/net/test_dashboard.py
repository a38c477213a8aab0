#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The dashboard shows something in every panel, and the alerts speak of what a daemon says.

Method: a real Prometheus scrapes a daemon that answers a load, with our rules; each panel's queries
are run as Grafana would run them, and each selector of the rules must find a series.
"""

import contextlib
import http.client
import json
import math
import re
import shutil
import subprocess
import sys
import urllib.parse

import lib_e2e as e2e
import tap
from lib_load import KEYS, Load

FOLDER = "tools/observability"
PORT = 9390
CONFIG = """
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [ "%s/alerts.yml" ]
scrape_configs:
  - job_name: xdpcache
    static_configs: [ { targets: [ "127.0.0.1:9211" ] } ]
"""
SELECTOR = re.compile(r"\bxdpcache_\w+(?:\{[^}]*\})?|\bup\{[^}]*\}")
# What Grafana puts in for its variables; a rate needs four scrapes.
VARIABLES = {"$instance": ".+", "$__rate_interval": "6s"}


def text_of(name):
    with open(f"{FOLDER}/{name}", encoding="utf-8") as file:
        return file.read()


class Prometheus:
    """One beside the daemon. `with` starts and ends it."""

    def __init__(self, rig):
        self.rig = rig
        self.program = shutil.which("prometheus")
        if not self.program:
            raise tap.Skip("no prometheus")

    def __enter__(self):
        folder = self.rig.folder
        shutil.copy(f"{FOLDER}/alerts.yml", folder)
        with open(f"{folder}/prometheus.yml", "w", encoding="ascii") as out:
            out.write(CONFIG % folder)
        self.log = open(f"{folder}/prometheus.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.rig.server_ns}", self.program,
             f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{PORT}"], stdout=self.log, stderr=self.log)
        try:
            e2e.wait_until(self.scrapes, 30, "the first scrape")
        except BaseException:
            self.__exit__()
            with open(f"{folder}/prometheus.log", encoding="utf-8") as log:
                print("# " + log.read().replace("\n", "\n# "))
            raise
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait(20 * e2e.SCALE)
        self.log.close()

    def get(self, path, **arguments):
        with e2e.in_netns(self.rig.server_ns):
            client = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10 * e2e.SCALE)
            client.connect()
        with contextlib.closing(client):
            client.request("GET", f"{path}?{urllib.parse.urlencode(arguments)}")
            reply = json.loads(client.getresponse().read())
        assert reply["status"] == "success", (arguments, reply)
        return reply["data"]

    def query(self, text):
        """Labels and numbers."""
        return [(row["metric"], float(row["value"][1]))
                for row in self.get("/api/v1/query", query=text)["result"]]

    def scrapes(self):
        assert self.process.poll() is None, "prometheus ended"
        # before it is ready it answers with a text
        with contextlib.suppress(OSError, ValueError):
            return bool(self.query('up{job="xdpcache"} == 1'))
        return False


@contextlib.contextmanager
def watched():
    """A daemon with a fast path and routes, under load, and the Prometheus that watches it."""
    with e2e.Rig("lo") as rig:
        path = f"{rig.folder}/routes.conf"
        with open(path, "w", encoding="ascii") as out:
            out.write('routes = ( { prefix = "product:"; }, { prefix = "banner:"; } );\n')
        daemon = e2e.Daemon(rig, "--config", path, "--hot-threshold", "1")
        for key in KEYS:
            daemon.set(key, b"v" * 100)
        daemon.pin(*KEYS)
        with Load(rig) as load, Prometheus(rig) as prometheus:
            yield daemon, load, prometheus


def panels():
    return [panel for panel in json.loads(text_of("dashboard.json"))["panels"]
            if panel["type"] != "row"]


def filled(text):
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def says_nothing(prometheus, target):
    """Why a query draws nothing under the name that it promises; None: it does."""
    rows = prometheus.query(filled(target["expr"]))
    if not any(math.isfinite(number) for _, number in rows):
        return f"{target['expr']}: {rows}"
    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        if not all(label in labels for labels, _ in rows):
            return f"{target['expr']}: no label {label}: {rows}"
    return None


def no_panel_is_empty():
    targets = [target for panel in panels() for target in panel["targets"]]
    assert len(targets) > 30, len(targets)
    with watched() as (_, _, prometheus):
        missing = []

        def complete():
            missing[:] = filter(None, (says_nothing(prometheus, target) for target in targets))
            return not missing

        try:
            e2e.wait_until(complete, 30, "all panels")
        except AssertionError:
            raise AssertionError("\n".join(missing)) from None


def panels_agree_with_the_daemon():
    by_title = {panel["title"]: panel for panel in panels()}

    def shown(title):
        return prometheus.query(filled(by_title[title]["targets"][0]["expr"]))

    with watched() as (daemon, _, prometheus):
        e2e.wait_until(lambda: any(share > 0.5 for _, share in shown("Answered by the kernel")),
                       20, "kernel hits")
        assert shown("Items")[0][1] > len(KEYS)
        hottest = max(shown("Hottest keys, reads a second"), key=lambda row: row[1])
        assert hottest[0]["key"] == KEYS[0].decode(), hottest
        assert shown("Fast path") == [({"state": "generic"}, 1)]
        total = sum(number for _, number in shown("Memory by kind"))
        assert abs(total - daemon.stats()["memory.total_bytes"]) < 4 << 20, total


def dashboard_is_laid_out():
    dashboard = json.loads(text_of("dashboard.json"))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [(panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
              for panel in dashboard["panels"]
              for x in range(panel["gridPos"]["w"]) for y in range(panel["gridPos"]["h"])]
    assert len(places) == len(set(places)), "panels overlap"
    assert all(x < 24 for x, _ in places), "panels beyond the right edge"
    for panel in panels():
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, part


def rules_speak_of_what_is_there():
    selectors = set(SELECTOR.findall("\n".join(
        line for line in text_of("alerts.yml").splitlines() if not line.lstrip().startswith("#"))))
    assert len(selectors) > 10, selectors
    with watched() as (daemon, load, prometheus):
        gone = [text for text in selectors if not prometheus.query(text)]
        assert not gone, gone

        def rules():
            return [rule for group in prometheus.get("/api/v1/rules")["groups"]
                    for rule in group["rules"]]

        e2e.wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), 20, "all rules")
        on = [rule["name"] for rule in rules() if rule.get("state", "inactive") != "inactive"]
        assert not on, on
        load.end()
        daemon.kill()
        e2e.wait_until(lambda: {"XdpcacheDown", "XdpcacheFastPathOrphaned"} <=
                       {rule["name"] for rule in rules() if rule.get("state") == "pending"}, 20,
                       "the alerts for a daemon that was killed")


TESTS = [
    dashboard_is_laid_out,
    no_panel_is_empty,
    panels_agree_with_the_daemon,
    rules_speak_of_what_is_there,
]

if __name__ == "__main__":
    sys.exit(tap.run(TESTS))
