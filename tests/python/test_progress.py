"""The line on stderr: for what takes over two seconds, on a terminal only."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rushes._progress import Progress

SCRIPT = """
import sys, time
import rushes as rr

server = rr.server.Server(datasets={"d": [sys.argv[1]]})
dataset = server.client().get_dataset("d")
lazy = dataset.scan("frame")
begin = time.monotonic()
for batch in lazy.to_batches():
    time.sleep(0.25)
    if time.monotonic() - begin > 3.5:
        break
"""


def run_on_terminal(code: str, *arguments: str) -> str:
    """Runs Python with stderr on a terminal; what it wrote there."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=follower)
    os.close(follower)
    output = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        if not part:
            break
        output += part
    os.close(leader)
    assert process.wait(60) == 0, output.decode()
    return output.decode()


def test_a_long_scan(large: Path) -> None:
    output = run_on_terminal(SCRIPT, str(large))
    assert "rows" in output
    assert "segment 1 of 1" in output
    assert output.endswith("\r\x1b[2K")


def test_a_short_scan_shows_nothing(howto_files: list[Path]) -> None:
    code = (
        "import rushes as rr, sys\n"
        "server = rr.server.Server(datasets={'d': [sys.argv[1]]})\n"
        "client = server.client()\n"
        "client.create_dataset('e').register(sys.argv[1]).wait()\n"
        "assert client.get_dataset('d').reader('frame_nr').count() == 4\n"
    )
    assert run_on_terminal(code, str(howto_files[0])) == ""


def test_a_long_wait() -> None:
    code = (
        "import time\n"
        "from rushes._progress import Progress\n"
        "with Progress('registering', 'recordings', 10) as progress:\n"
        "    progress.count = 5\n"
        "    time.sleep(2.6)\n"
    )
    output = run_on_terminal(code)
    assert "registering ████████████░░░░░░░░░░░░ 5 of 10 recordings" in output
    assert output.endswith("\r\x1b[2K")


def test_nothing_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress("registering", "recordings", 3) as progress:
        progress.count = 1
        time.sleep(0.01)
    assert progress.line().startswith("registering ████████░░░░░░░░░░░░░░░░ 1 of 3 recordings")
    assert capfd.readouterr().err == ""
