"""A Chromium that tests drive over its DevTools protocol, by a pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0  # s for an answer, on a busy machine
QUIET = "--no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-gpu "
QUIET += "--hide-scrollbars --autoplay-policy=no-user-gesture-required"


class Browser:
    """One page of a browser.

    Attributes:
        faults: errors of scripts, of the console and of the page's policy.
        hosts: addresses that were asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._rest, self._number = to_browser, from_browser, b"", 0
        self.faults: list[str] = []
        self.hosts: list[str] = []
        self._session = ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._from], [], [], PATIENCE)[0], "the browser does not answer"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        told = json.loads(line)
        method, content = told.get("method"), told.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.faults.append(str(content["exceptionDetails"]))
        elif method == "Log.entryAdded" and content["entry"]["level"] == "error":
            self.faults.append(f"{content['entry']['text']} {content['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.hosts.append(content["request"]["url"])
        return told

    def go(self, address: str) -> None:
        """Open an address, and wait until its scripts have run."""
        with self.another_page():
            self._ask("Page.navigate", url=address)

    @contextmanager
    def another_page(self) -> Iterator[None]:
        """Wait for the page that what is done in the block leads to."""
        self.js("window.left = true")
        yield
        self.wait("!window.left && document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.js(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"{expression} stays false: {self.faults}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key that writes a character."""
        self._ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        self._ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self._ask("Input.insertText", text=text)

    def look(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Choose the size of the window in pixels, and its colours."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1 + phone, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser; skips the test where there is none."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no chromium here to look at the page with")
    to_read, to_browser = os.pipe()
    from_browser, to_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [
            f"--user-data-dir={profile}",
            "--headless",
            "--no-sandbox",
            "--remote-debugging-pipe",
            *QUIET.split(),
        ]
        command = f"import os, sys; os.dup2({to_read}, 3); os.dup2({to_write}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                command,
                program,
                *options,
                *QUIET.split(),
                "--autoplay-policy=no-user-gesture-required",
            ],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        try:
            yield Browser(to_browser, from_browser)
        finally:
            process.terminate()
            process.wait()
            os.close(to_browser)
            os.close(from_browser)
