"""A headless Chromium, driven over its DevTools protocol in real time."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy
from PIL import Image
from websockets.sync.client import connect

COMMAND = shutil.which("chromium") or shutil.which("chromium-browser")


class DevToolsError(Exception):
    """A command that the browser refused."""


class Browser:
    """One page. Software GL, so that it draws on machines without a graphics card."""

    def __init__(self, folder: Path, timeout_s: float = 60) -> None:
        assert COMMAND, "Debian's package chromium is needed (tools/apt-packages-test.txt)"
        self.process = subprocess.Popen(
            [
                COMMAND,
                "--headless=new",
                "--no-sandbox",
                "--no-first-run",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--use-gl=angle",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--ignore-gpu-blocklist",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder / 'profile'}",
                "--window-size=1000,700",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(folder)},
        )
        self.output: list[str] = []
        timer = threading.Timer(timeout_s, self.process.kill)
        timer.start()
        address = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.output.append(line)
            if "DevTools listening on" in line:
                address = line.split()[-1]
                break
        timer.cancel()
        assert address, "Chromium did not start:\n" + "".join(self.output)
        threading.Thread(
            target=lambda: self.output.extend(self.process.stderr or []), daemon=True
        ).start()
        host = address.split("/")[2]
        deadline = time.monotonic() + timeout_s
        while True:
            with urllib.request.urlopen(f"http://{host}/json/list", timeout=timeout_s) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                break
            assert time.monotonic() < deadline, "Chromium has no page"
            time.sleep(0.1)
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(
            connect(pages[0]["webSocketDebuggerUrl"], max_size=None, open_timeout=timeout_s)
        )
        self.number = 0

    def command(self, method: str, timeout_s: float = 60, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        deadline = time.monotonic() + timeout_s
        while True:
            message = json.loads(self.socket.recv(timeout=max(0.1, deadline - time.monotonic())))
            if message.get("id") == self.number:
                if "error" in message:
                    raise DevToolsError(message["error"]["message"])
                return dict(message["result"])

    def open(self, url: str) -> None:
        """Goes to a page, without waiting for it to be loaded."""
        self.command("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise's value if it is one."""
        answer = self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self) -> numpy.ndarray:
        """What the page shows, as RGB. While it is exchanged for another one there is nothing to see: that is waited for."""
        deadline = time.monotonic() + 30
        while True:
            try:
                data = base64.b64decode(
                    self.command("Page.captureScreenshot", format="png")["data"]
                )
                break
            except DevToolsError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def close(self) -> None:
        self.stack.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
