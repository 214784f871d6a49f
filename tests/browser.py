"""A headless Chromium, asked through chromedriver in the W3C WebDriver protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds until chromedriver must have begun."""


class Browser:
    """One window of one browser."""

    def __init__(self, address: str) -> None:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments, "perfLoggingPrefs": {"enableNetwork": True}},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }
        self.address = address
        opened = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{opened['sessionId']}"

    def open(self, page: Path) -> None:
        self._ask("POST", f"{self.session}/url", {"url": page.resolve().as_uri()})

    def resize(self, width: int, height: int = 900) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self, wanted: bool = True) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body in JavaScript gives back."""
        return self._ask("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def asked_for(self) -> list[str]:
        """The addresses that were asked for since the last look."""
        entries = self._ask("POST", f"{self.session}/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """What the browser had to say since the last look: what it refused to load, what is wrong with the page."""
        return [entry["message"] for entry in self._ask("POST", f"{self.session}/se/log", {"type": "browser"})]

    def picture(self, file: Path, whole: bool = True) -> None:
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def paper(self, file: Path) -> None:
        printed = self.devtools("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)
        file.write_bytes(base64.b64decode(printed["data"]))

    def on_paper(self, file: Path) -> str:
        """All that can be read where a page is printed on A4; skipped, visibly, where nothing reads what was printed."""
        if shutil.which("pdftotext") is None:
            pytest.skip("no pdftotext: apt-get install poppler-utils")
        self.paper(file)
        return subprocess.run(["pdftotext", "-raw", str(file), "-"], capture_output=True, text=True, check=True).stdout

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._ask("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self) -> None:
        self._ask("DELETE", self.session)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())["value"]


@contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """A browser; skipped, visibly, where there is none."""
    program = shutil.which("chromedriver")
    if program is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    with (folder / "chromedriver.log").open("w+") as log:
        process = subprocess.Popen([program, "--port=0"], stdout=log, stderr=subprocess.STDOUT)
        try:
            browser = Browser(f"http://127.0.0.1:{_port(folder / 'chromedriver.log')}")
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
            process.wait()


def _port(log: Path) -> str:
    """The port that chromedriver took."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        text = log.read_text()
        if " on port " in text and "successfully" in text:
            return text.rpartition(" on port ")[2].split(".")[0].strip()
        time.sleep(0.05)
    raise AssertionError(f"chromedriver does not begin: {log.read_text()}")
