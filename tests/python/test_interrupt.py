"""Ctrl-C: ends a query within a second, a wait at once, and the process is usable afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rushes as rr


@pytest.fixture(scope="module")
def dataset(large: Path) -> Iterator[rr.catalog.DatasetEntry]:
    with rr.server.Server(datasets={"d": [large]}) as server:
        yield server.client().get_dataset("d")


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    return timer


SLOW = """
import os, signal, sys, threading, time
import rushes as rr
from rushes import _lazy

server = rr.server.Server(datasets={{"d": [sys.argv[1]]}})
dataset = server.client().get_dataset("d")
batches, table = _lazy.Query.batches, _lazy.Query.table
# Each batch takes a while, as from a slow disk.
def slowly(self, *args, **options):
    for batch in batches(self, *args, **options):
        time.sleep(0.05)
        yield batch
# A whole table as well: it is read again and again.
def again_and_again(self, *args, **options):
    end = time.monotonic() + 5
    while time.monotonic() < end:
        result = table(self, *args, **options)
    return result
_lazy.Query.batches, _lazy.Query.table = slowly, again_and_again
frame = dataset.reader("frame")
lazy = dataset.scan("frame")
sent = []
def press():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.5, press).start()
try:
    {call}
except BaseException as error:
    took = time.monotonic() - sent[0] if sent else -1
    assert "KeyboardInterrupt" in type(error).__name__ + str(error), repr(error)
    print(f"interrupted {{took:.2f}}")
else:
    print("finished")
try:
    # The next query is not disturbed.
    assert dataset.scan("frame").head(3).num_rows == 3
    print("usable")
except KeyboardInterrupt:
    print("interrupted again")
"""


@pytest.mark.parametrize(
    "call",
    [
        "frame.to_arrow_table()",
        "frame.count()",
        "lazy.to_table()",
        "lazy.count_rows()",
        "list(lazy.to_batches())",
    ],
)
def test_queries(call: str, large: Path) -> None:
    # Small batches would be over before the signal: this needs the whole recording.
    code = textwrap.dedent(SLOW).format(call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, str(large)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[0].startswith("interrupted"), done.stdout
    assert 0 <= float(lines[0].split()[1]) < 1.5, done.stdout
    assert lines[1] == "usable", done.stdout


@pytest.mark.parametrize("reads", ["batches", "table"])
def test_a_long_wait_for_one_batch(dataset: rr.catalog.DatasetEntry, reads: str) -> None:
    # No row passes, so no batch comes before the end: the wait itself must be interruptible.
    import pyarrow.compute as pc

    lazy = dataset.scan("frame", fill_latest_at=True)
    assert lazy.count_rows(pc.field("frame") < 0) == 0
    expensive = pc.scalar(False)
    took = 0.0
    bound = 1000

    def read() -> int:
        # A table of what is on this machine is read by the main thread itself.
        return (
            lazy.to_table(filter=expensive).num_rows
            if reads == "table"
            else lazy.count_rows(expensive)
        )

    # As long as it takes to take long.
    while took < 0.6:
        for _ in range(4):
            for i in range(8):
                length = pc.list_value_length(pc.field(f"/signal/{i}:Scalars:scalars"))
                expensive = expensive | (length > bound)
            bound += 1000
        took = min(timed(read) for _ in range(2))
    timer = interrupt_after(took / 3)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read()
    # In the middle of it, not when it is over.
    assert time.monotonic() - began < min(1.0, 0.8 * took)
    timer.join()


def test_server_wait() -> None:
    with rr.server.Server() as server:
        timer = interrupt_after(0.3)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            server.wait()
        assert time.monotonic() - began < 1.3
        timer.join()
        assert server.is_running()
        assert server.client().entries() == []


def test_server_wait_ends_with_shutdown() -> None:
    server = rr.server.Server()
    timer = threading.Timer(0.2, server.shutdown)
    timer.start()
    server.wait()
    assert not server.is_running()
    timer.join()


def test_a_served_script_ends_on_ctrl_c() -> None:
    code = "import rushes as rr\nserver = rr.server.Server()\nprint(server.url(), flush=True)\nserver.wait()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("rerun+http://")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
