"""Servers for the interop tests: ours as its own process, the official one in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The one that `make build` links into the tree, or another one to be judged.
EXECUTABLE = Path(
    os.environ.get("RUSHES_EXECUTABLE", ROOT / "python" / "rushes" / "bin" / "rushes")
)


class RushesProcess:
    """`rushes serve` with the given arguments, on a free port."""

    def __init__(self, *arguments: str) -> None:
        self.executable = str(EXECUTABLE)
        self.process = subprocess.Popen(
            [self.executable, "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.url = ""
        self.output: list[str] = []
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("Serving at "):
                self.url = line.split()[-1]
                break
        timer.cancel()
        assert self.url, "the server did not start:\n" + "".join(self.output)
        self.port = int(self.url.rsplit(":", 1)[1])
        # Drained, so that the server never waits for its log.
        self._drain = threading.Thread(
            target=lambda: self.output.extend(self.process.stdout), daemon=True
        )
        self._drain.start()

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 20) -> int:
        """Ends it as a user would; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the server did not stop within {timeout_s} s")


@pytest.fixture
def serve() -> Iterator[Callable[..., RushesProcess]]:
    """Starts our server; ended after the test, which must find it alive or have stopped it itself."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str | Path) -> RushesProcess:
            server = RushesProcess(*map(str, arguments))

            def end() -> None:
                ended = server.process.poll()
                code = server.stop()
                assert code == 0, (
                    f"exit code {code} ({'ended by itself' if ended else 'stopped'}):\n"
                    + "".join(server.output)
                )

            stack.callback(end)
            return server

        yield start
