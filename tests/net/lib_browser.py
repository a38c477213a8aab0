# SPDX-License-Identifier: BSD-2-Clause
"""lib_browser.py - a Chromium without a screen, driven over its DevTools pipe.

Messages are JSON that ends with a NUL: ours on its descriptor 3, its own on 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import lib_e2e as e2e
import tap


class Browser:
    """`with` starts and ends it. complaints: what pages wrote to the console as errors."""

    def __init__(self, namespace):
        self.program = shutil.which("chromium")
        if not self.program:
            raise tap.Skip("no chromium")
        self.namespace = namespace
        self.complaints = []
        self.number, self.buffer, self.session = 0, b"", None

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="xcb", dir="/tmp")
        theirs_in, self.out = os.pipe()
        self.back, theirs_out = os.pipe()

        def place():
            # through higher numbers, so that neither lands on the other
            os.dup2(os.dup2(theirs_in, 103), 3)
            os.dup2(os.dup2(theirs_out, 104), 4)

        # Root has no sandbox of Chromium's; the box around the test is one.
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", self.program, "--headless=new",
             "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
             f"--user-data-dir={self.home}", "--remote-debugging-pipe", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(3, 4), preexec_fn=place, env=dict(os.environ, HOME=self.home))
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            self.attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def attach(self):
        def page():
            for target in self.call("Target.getTargets")["targetInfos"]:
                if target["type"] == "page":
                    return target["targetId"]
            return None

        e2e.wait_until(page, 30, "a page")
        self.session = self.call("Target.attachToTarget", targetId=page(),
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.back)
        shutil.rmtree(self.home, ignore_errors=True)

    def receive(self, seconds):
        """The next message; None: there was none in that time."""
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.back], [], [], left)[0]:
                return None
            part = os.read(self.back, 1 << 20)
            assert part, "the browser ended"
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        self.note(message)
        return message

    def note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(params["args"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"])

    def call(self, method, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        end = time.monotonic() + 60 * e2e.SCALE
        while True:
            message = self.receive(end - time.monotonic())
            assert message, f"{method}: no answer"
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url):
        self.call("Page.navigate", url=url)
        e2e.wait_until(lambda: self.evaluate("document.readyState") == "complete", 30, url)

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 500)

    def prefer(self, scheme):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shoot(self, path):
        """The whole page as a PNG."""
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(path, "wb") as out:
            out.write(base64.b64decode(image["data"]))
