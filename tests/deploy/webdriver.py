"""A browser driven over the W3C WebDriver protocol, which is JSON over HTTP."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.deploy.toolchain import need

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,1900", "--hide-scrollbars"]


class Browser:
    """One session of chromedriver."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options = {"args": FLAGS, "binary": need("chromium")}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._base += f"/session/{self._call('POST', '/session', wanted)['sessionId']}"

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def evaluate(self, expression: str) -> Any:
        return self._call("POST", "/execute/sync", {"script": f"return {expression}", "args": []})

    def wait(self, expression: str, seconds: float = 60) -> Any:
        """The first truthy value of a JavaScript expression."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} stayed {value!r}"
            time.sleep(0.05)
        return value

    def choose_files(self, selector: str, *paths: Path) -> None:
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        self._call("POST", f"/element/{element}/value", {"text": "\n".join(map(str, paths))})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def close(self) -> None:
        self._call("DELETE", "")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """A fresh headless Chromium, gone afterwards."""
    driver = subprocess.Popen([need("chromedriver"), "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        line = next(line for line in driver.stdout if "started successfully on port" in line)
        session = Browser(int(line.rstrip(".\n").rsplit(" ", 1)[1]))
        try:
            yield session
        finally:
            session.close()
    finally:
        driver.terminate()
        driver.wait(10)
