# SPDX-License-Identifier: MIT
"""Headless Chromium, driven by the W3C WebDriver protocol of chromedriver."""
import base64
import json
import pathlib
import shutil
import subprocess
import time
import unittest
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"enter": "\ue007", "escape": "\ue00c", "tab": "\ue004", "shift": "\ue008"}


class Browser:
    """One window. Raises SkipTest where there is no Chromium with its driver."""

    def __init__(self):
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        driver = shutil.which("chromedriver")
        if not chromium or not driver:
            raise unittest.SkipTest("chromium or chromedriver is not installed; "
                                    "run 'tools/setup.sh browser'")
        self.process = subprocess.Popen([driver, "--port=0"], text=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            self.base = self.address()
            # No sandbox: root and many containers have none, and only our own page is opened.
            flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                     "--disable-dev-shm-usage"]
            wanted = {"browserName": "chrome", "pageLoadStrategy": "normal",
                      "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                      "goog:chromeOptions": {"binary": chromium, "args": flags}}
            made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self.base += f"/session/{made['sessionId']}"
        except BaseException:
            self.close()
            raise

    def address(self):
        for line in self.process.stdout:
            if "started successfully on port" in line:
                return f"http://127.0.0.1:{line.split()[-1].rstrip('.')}"
        raise AssertionError("chromedriver did not start")

    def call(self, verb, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=verb,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def open(self, url):
        self.logs("browser")
        self.logs("performance")
        self.call("POST", "/url", {"url": url})

    def js(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def find(self, selector):
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return f"/element/{found[ELEMENT]}"

    def click(self, selector):
        self.call("POST", self.find(selector) + "/click", {})

    def type(self, *keys):
        """To what has the focus. 'shift+enter' holds a key, words of KEYS are keys, others text."""
        actions = []
        for key in keys:
            held, _, name = key.rpartition("+") if key.startswith("shift+") else ("", "", key)
            down = [{"type": "keyDown", "value": KEYS[held]}] if held else []
            for value in [KEYS[name]] if name in KEYS else name:
                down += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
            actions += down + ([{"type": "keyUp", "value": KEYS[held]}] if held else [])
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self.call("POST", "/actions", {"actions": [source]})

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? null", selector)

    def wait(self, script, *arguments, seconds=30):
        """Until the expression is true; its value."""
        end = time.monotonic() + seconds
        while not (value := self.js(f"return {script}", *arguments)):
            if time.monotonic() > end:
                raise AssertionError(f"never true: {script} {arguments}")
            time.sleep(0.02)
        return value

    def logs(self, kind):
        return self.call("POST", "/se/log", {"type": kind})

    def requests(self):
        """Addresses that the page asked for since it was opened."""
        told = [json.loads(entry["message"])["message"] for entry in self.logs("performance")]
        return [entry["params"]["request"]["url"] for entry in told
                if entry["method"] == "Network.requestWillBeSent"]

    def emulate(self, width=None, height=900, **features):
        """A window's size, and CSS media features such as prefers_color_scheme='dark'."""
        self.devtools("Emulation.setEmulatedMedia", media="", features=[
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()])
        if width is None:
            self.devtools("Emulation.clearDeviceMetricsOverride")
        else:
            self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                          deviceScaleFactor=1, mobile=width < 600)

    def screenshot(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def close(self):
        if "/session/" in getattr(self, "base", ""):
            try:
                self.call("DELETE", "")
            except (OSError, AssertionError):
                pass  # it has ended by itself
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
