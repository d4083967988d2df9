"""Nothing has to be kept but what is used; dropping things never hangs and never stops a server in use."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

import rushes as rr

ROOT = Path(__file__).resolve().parents[2]


def test_one_expression(howto_files: list[Path]) -> None:
    server = rr.server.Server(datasets={"d": howto_files})
    assert server.client().get_dataset("d").reader(index="frame_nr").to_arrow_table().num_rows == 8
    server.shutdown()


def test_a_dataframe_keeps_everything(howto_files: list[Path]) -> None:
    def frame() -> object:
        return (
            rr.server.Server(datasets={"d": howto_files})
            .client()
            .get_dataset("d")
            .reader(index="frame_nr")
        )

    df = frame()
    for _ in range(3):
        gc.collect()
    assert df.to_arrow_table().num_rows == 8  # type: ignore[attr-defined]
    assert df.select("frame_nr").count() == 8  # type: ignore[attr-defined]


def test_a_lazy_dataset_keeps_everything(howto_files: list[Path]) -> None:
    lazy = (
        rr.server.Server(datasets={"d": howto_files})
        .client()
        .get_dataset("d")
        .scan(index="frame_nr")
    )
    gc.collect()
    assert lazy.count_rows() == 8
    batches = lazy.to_batches()
    del lazy
    gc.collect()
    assert sum(batch.num_rows for batch in batches) == 8


def test_a_client_keeps_its_server_reachable_for_others(howto_files: list[Path]) -> None:
    client = rr.server.Server(datasets={"d": howto_files}).client()
    gc.collect()
    other = rr.catalog.CatalogClient(client.url)
    assert other.get_dataset("d").reader(index="frame_nr").count() == 8


def test_a_dropped_server_stops(howto_files: list[Path]) -> None:
    url = rr.server.Server(datasets={"d": howto_files}).url()
    gc.collect()
    with pytest.raises(ConnectionError):
        rr.catalog.CatalogClient(url)


@pytest.mark.parametrize("pause_s", [0, 0.01], ids=["at once", "slowly"])
def test_a_stream_that_moves_between_threads(large: Path, pause_s: float) -> None:
    # The main thread reads ahead, other threads do not: no batch may be lost or change its place.
    lazy = rr.open_recordings(large).scan("frame")
    whole = lazy.to_table()
    batches = lazy.to_batches()
    read: list[pa.RecordBatch] = []
    errors: list[BaseException] = []

    def take(count: int) -> None:
        try:
            for batch in itertools.islice(batches, count):
                read.append(batch)
                time.sleep(pause_s)
        except BaseException as error:
            errors.append(error)

    for count in (1, 7, 2, 20):
        take(count)
        thread = threading.Thread(target=take, args=(3,))
        thread.start()
        thread.join()
    pause_s = 0
    take(10_000)
    assert not errors
    assert pa.Table.from_batches(read).equals(whole)


def test_the_main_thread_is_read_ahead_of_within_bounds(large: Path) -> None:
    lazy = rr.open_recordings(large).scan("frame")
    batches = lazy.to_batches()
    most = max(batch.num_rows for batch in lazy.to_batches())
    before = lazy.statistics.rows
    taken = 0
    for _ in range(4):
        taken += next(batches).num_rows
    # Long enough for a thread without bounds to be far away: as many batches as were taken, and one at work.
    time.sleep(0.3)
    ahead = lazy.statistics.rows - before - taken
    assert 0 <= ahead <= 5 * most
    del batches


def test_rows_before_an_error_arrive(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.rrd"
    shutil.copy(large, path)
    lazy = rr.open_recordings(path, cache_bytes=0).scan("frame")
    whole = lazy.to_table()
    batches = lazy.to_batches()
    read = [next(batches)]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(OSError, match=r"cut.rrd was changed"):
        read.extend(batches)
    rows = sum(batch.num_rows for batch in read)
    assert 0 < rows < whole.num_rows
    assert pa.Table.from_batches(read).equals(whole.slice(0, rows))


def test_readers_that_are_dropped_half_way(large: Path) -> None:
    with rr.server.Server(datasets={"d": [large]}) as server:
        dataset = server.client().get_dataset("d")
        for _ in range(5):
            batches = dataset.scan("frame").to_batches()
            next(batches)
            del batches
        stream = dataset.reader("frame").execute_stream()
        next(iter(stream))
        del stream
        assert dataset.reader("frame").limit(5).to_arrow_table().num_rows == 5


def test_shutdown_during_a_scan(large: Path) -> None:
    server = rr.server.Server(datasets={"d": [large]})
    batches = server.client().get_dataset("d").scan("frame").to_batches()
    next(batches)
    began = time.monotonic()
    server.shutdown()
    with pytest.raises(ConnectionError):
        for _ in batches:
            pass
        raise ConnectionError("all of it had been read")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "server.shutdown()",
        "del server",
        "iterator = lazy.to_batches(); next(iterator)",
    ],
)
def test_the_process_ends(ending: str, howto_files: list[Path]) -> None:
    code = (
        "import rushes as rr\n"
        f"server = rr.server.Server(datasets={{'d': {[str(p) for p in howto_files]!r}}})\n"
        "remote = rr.catalog.CatalogClient(server.url())\n"
        "frame = remote.get_dataset('d').reader(index='frame_nr')\n"
        "lazy = server.client().get_dataset('d').scan(index='frame_nr')\n"
        "assert frame.count() == lazy.count_rows() == 8\n"
        f"{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
