#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The status page in a real browser: its numbers move with a load and agree with the daemon's, it
fits a phone, both colour schemes can be read, a screen reader finds names, nothing complains.

Method: Chromium without a screen, beside a daemon with generic XDP on lo. With XC_SHOTS=DIR the
screenshots stay there (`docs/status-*.png` are made so).
"""

import os
import sys
import time

import lib_browser
import lib_e2e as e2e
import tap
from lib_load import KEYS, Load

URL = "http://127.0.0.1:9211/"

# Of the text that is seen: the smallest contrast with what is behind it, and where.
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = (color) => rgb(color).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (c !== "rgba(0, 0, 0, 0)") return c; } return "white"; };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility() || e.tagName === "NOSCRIPT") continue;
    const a = light(getComputedStyle(e).color), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.data];
  }
  return worst;
})()
"""


class Page:
    """The status page of a daemon."""

    def __init__(self, rig, browser):
        self.rig, self.browser = rig, browser
        browser.open(URL)

    def text(self, name):
        return self.browser.evaluate(f"document.getElementById({name!r}).textContent")

    def number(self, name):
        """As the page writes them: "1.5 k", "12.0 %"; None: it shows none yet."""
        words = self.text(name).split()
        try:
            scale = {"k": 1e3, "M": 1e6}.get(words[1] if len(words) > 1 else "", 1)
            return float(words[0]) * scale
        except ValueError:
            return None

    def wait_number(self, name, check=lambda n: n > 0):
        e2e.wait_until(lambda: self.number(name) is not None and check(self.number(name)), 20,
                       f"{name} on the page: {self.text(name)}")
        return self.number(name)


def shoot(rig, browser, name):
    folder = os.environ.get("XC_SHOTS", rig.folder)
    path = f"{folder}/status-{name}.png"
    browser.shoot(path)
    assert os.path.getsize(path) > 10000, path


def numbers_move_with_the_load_and_agree_with_the_daemon():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--hot-threshold", "1")
        for key in KEYS:
            daemon.set(key, b"v" * 100)
        daemon.pin(*KEYS)
        with lib_browser.Browser(rig.server_ns) as browser:
            page = Page(rig, browser)
            e2e.wait_until(lambda: page.text("state") == "serving", what="the first answer")
            assert page.wait_number("gets", lambda n: n == 0) == 0
            with Load(rig):
                kernel = page.wait_number("kernel", lambda n: n > 100)
                page.wait_number("daemon")
                page.wait_number("miss")
                page.wait_number("sets")
                before = daemon.stats()["fastpath.hits"]
                start = time.monotonic()
                time.sleep(6)
                true = (daemon.stats()["fastpath.hits"] - before) / (time.monotonic() - start)
                kernel = page.number("kernel")
                # rates of different seconds on a machine that others use, too
                assert true / 2 < kernel < true * 2, (true, kernel)
                share = kernel / page.number("gets")
                assert abs(page.number("share") / 100 - share) < 0.1, (share, page.text("share"))
                for name in ("p50", "p95", "p99"):
                    assert page.number(name) > 0, page.text(name)
                rows = browser.evaluate("[...document.querySelectorAll('#hot th')]"
                                        ".map((cell) => cell.textContent)")
                # the coldest of the ranking may not be on the page
                assert rows[0] == KEYS[0].decode() and KEYS[1].decode() in rows, rows
                memory = browser.evaluate("[...document.querySelectorAll('#memory td')]"
                                          ".map((cell) => Number(cell.textContent))")
                total = daemon.stats()["memory.total_bytes"] / (1 << 20)
                assert abs(sum(memory) - total) < 1.5, (memory, total)
                assert page.text("fp-state") == "generic"
                paths = "document.querySelectorAll('#plot-gets path').length"
                assert browser.evaluate(paths) == 3
                label = browser.evaluate("document.getElementById('plot-gets').ariaLabel")
                assert "by the kernel" in label, label
                looks(rig, browser)
            page.wait_number("gets", lambda n: n == 0)
            assert not browser.complaints, browser.complaints


def looks(rig, browser):
    """Both schemes at a desk's and a phone's width."""
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        for name, width in (("wide", 1200), ("phone", 360)):
            browser.resize(width, 800)
            time.sleep(0.3)
            overflow = browser.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, (scheme, name, overflow)
            ratio, text = browser.evaluate(CONTRAST)
            assert ratio >= 4.5, (scheme, ratio, text)
            shoot(rig, browser, f"{name}-{scheme}")
    browser.resize(1200, 800)
    browser.prefer("light")


def reader_finds_a_name_for_everything():
    with e2e.Rig("lo") as rig:
        e2e.Daemon(rig, "--no-fastpath")
        with lib_browser.Browser(rig.server_ns) as browser:
            page = Page(rig, browser)
            e2e.wait_until(lambda: page.number("gets") is not None, what="two answers")
            nodes = [node for node in browser.call("Accessibility.getFullAXTree")["nodes"]
                     if not node.get("ignored")]
            roles = {}
            for node in nodes:
                roles.setdefault(node["role"]["value"], []).append(node["name"]["value"]
                                                                   if "name" in node else "")
            for role in ("image", "button", "link", "heading", "table"):
                assert roles.get(role) and all(roles[role]), (role, roles.get(role))
            assert "main" in roles and "banner" in roles, roles.keys()
            assert browser.evaluate("document.documentElement.lang") == "en"
            # the button by the keyboard alone
            browser.evaluate("document.getElementById('pause').focus()")
            for kind in ("keyDown", "keyUp"):
                browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter",
                             windowsVirtualKeyCode=13, text="\r" if kind == "keyDown" else "")
            assert browser.evaluate("document.getElementById('pause').ariaPressed") == "true"
            assert not browser.complaints, browser.complaints


def page_asks_nobody_else_and_says_when_nobody_answers():
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig, "--no-fastpath")
        # a key that would be markup, were it not text
        daemon.ask(b"get <img/src=x/onerror=throw/1>\r\n")
        with lib_browser.Browser(rig.server_ns) as browser:
            page = Page(rig, browser)
            e2e.wait_until(lambda: "<img/" in page.text("hot"), what="the key")
            asked = browser.evaluate("performance.getEntriesByType('resource').map((r) => r.name)")
            assert asked and all(name.startswith(URL) for name in asked), asked
            assert browser.evaluate("document.images.length") == 0
            assert not browser.complaints, browser.complaints
            daemon.stop()
            e2e.wait_until(lambda: page.text("state") == "no answer from the daemon", 20,
                           what="the word")
            e2e.Daemon(rig, "--no-fastpath")
            e2e.wait_until(lambda: page.text("state") == "serving", 20, what="its successor")


TESTS = [
    numbers_move_with_the_load_and_agree_with_the_daemon,
    reader_finds_a_name_for_everything,
    page_asks_nobody_else_and_says_when_nobody_answers,
]

if __name__ == "__main__":
    sys.exit(tap.run(TESTS))
