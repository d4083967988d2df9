"""Many short recordings of one shape, which are read and kept as bundles: the same rows, whatever was asked for before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import rushes as rr

SEGMENTS, ROWS = 150, 30
X, Y, SERIAL = "/arm:State:x", "/leg:State:y", "/robot:Robot:serial"


def record(folder: Path, segment: int, shift: float = 0.0) -> None:
    sdk = pytest.importorskip("rerun")
    frames = list(range(segment, segment + ROWS))
    path = folder / f"{segment:03}.rrd"
    with sdk.RecordingStream("rushes_tests", recording_id=f"segment_{segment:03}") as stream:
        stream.save(path)
        for entity, name, factor in ("/arm", "x", 1.0), ("/leg", "y", 2.0):
            values = [factor * frame + 1000 * segment + shift for frame in frames]
            if entity == "/leg" and segment % 40 == 7:
                frames_here, values = frames[:-1], values[:-1]  # another shape
            else:
                frames_here = frames
            columns = sdk.DynamicArchetype.columns(archetype="State", components={name: values})
            index = sdk.TimeColumn("frame", sequence=frames_here)
            stream.send_columns(entity, [index], columns)
        serial = sdk.DynamicArchetype("Robot", components={"serial": np.array([segment])})
        stream.log("/robot", serial, static=True)


def expected(segments: range | list[int], shifts: dict[int, float] | None = None) -> pa.Table:
    rows = []
    for segment in segments:
        shift = (shifts or {}).get(segment, 0.0)
        for frame in range(segment, segment + ROWS):
            has_y = not (segment % 40 == 7 and frame == segment + ROWS - 1)
            x, y = frame + 1000 * segment + shift, 2.0 * frame + 1000 * segment + shift
            rows.append(
                {
                    "rerun_segment_id": f"segment_{segment:03}",
                    "frame": frame,
                    X: [x],
                    Y: [y] if has_y else None,
                    SERIAL: [segment],
                }
            )
    return pa.Table.from_pylist(rows)


def check(dataset: Any, want: pa.Table, columns: list[str] | None = None, **query: Any) -> None:
    table = dataset.scan(index="frame", **query).to_table(columns)
    for name in columns or want.column_names:
        assert table.column(name).to_pylist() == want.column(name).to_pylist(), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short_segments")
    for segment in range(SEGMENTS):
        record(folder, segment)
    return folder


@pytest.mark.parametrize("cache_bytes", [0, 40_000, 1 << 28])
def test_the_rows_do_not_depend_on_what_is_kept(folder: Path, cache_bytes: int) -> None:
    want = expected(range(SEGMENTS))
    with rr.server.Server(datasets={"d": folder}, cache_bytes=cache_bytes) as server:
        dataset = server.client().get_dataset("d")
        for _ in range(3):
            check(dataset, want)
            # The named columns decide the rows.
            check(dataset, want.filter(pc.field(Y).is_valid()), ["frame", Y, "rerun_segment_id"])
            check(dataset, want, [X])
            some = list(range(20, 110, 3)) + list(range(110, 140))
            check(
                dataset.filter_segments([f"segment_{segment:03}" for segment in some]),
                expected(some),
            )
            check(
                dataset.filter_contents(["/arm", "/robot"]), want, ["rerun_segment_id", X, SERIAL]
            )
            # Where the last row of a segment lacks a value, the one before fills it.
            filled = dataset.scan(index="frame", fill_latest_at=True).to_table()
            assert filled.column(Y).null_count == 0
            high = dataset.scan(index="frame").to_table(filter=pc.field("frame") > 150)
            assert high.num_rows == sum(max(0, s + ROWS - 151) for s in range(SEGMENTS))


def test_scans_of_another_kind_get_nothing_that_was_kept(folder: Path) -> None:
    """The same columns, but other rows: alone, the segments of another shape have no row without `y`."""
    columns = ["rerun_segment_id", "frame", Y]
    everything = expected(range(SEGMENTS))
    with rr.server.Server(datasets={"d": folder}) as server:
        dataset = server.client().get_dataset("d")
        for _ in range(3):
            check(dataset, everything.filter(pc.field(Y).is_valid()), columns)
            check(dataset, everything, columns, view_decides_rows=True)
            check(
                dataset.filter_contents(["/leg"]),
                everything.filter(pc.field(Y).is_valid()),
                columns,
            )


def test_a_second_dataset_and_a_registration_in_between(folder: Path, tmp_path: Path) -> None:
    for segment in range(20):
        record(tmp_path, segment)
    with rr.server.Server(datasets={"d": tmp_path}) as server:
        client = server.client()
        dataset = client.get_dataset("d")
        check(dataset, expected(range(20)))
        other = client.create_dataset("other")
        other.register(
            [(folder / f"{segment:03}.rrd").as_uri() for segment in range(10, 30)]
        ).wait()
        check(other, expected(range(10, 30)))
        # A segment in the middle gets other values: what was kept of it counts no more.
        record(tmp_path, 11, shift=0.5)
        uri = (tmp_path / "011.rrd").as_uri()
        dataset.register([uri], on_duplicate=rr.catalog.OnDuplicateSegmentLayer.REPLACE).wait()
        check(dataset, expected(range(20), {11: 0.5}))
        check(other, expected(range(10, 30)))
        dataset.unregister(segments_to_drop=["segment_005"], layers_to_drop=[])
        left = [segment for segment in range(20) if segment != 5]
        check(dataset, expected(left, {11: 0.5}))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    for segment in range(20):
        record(tmp_path, segment)
    with rr.server.Server(datasets={"d": tmp_path}, cache_bytes=0) as server:
        dataset = server.client().get_dataset("d")
        (tmp_path / "012.rrd").unlink()
        with pytest.raises(Exception, match=r"012\.rrd is not there any more"):
            dataset.scan(index="frame").to_table()
        rows = []
        with pytest.raises(Exception, match=r"segment_012.*012\.rrd"):
            for batch in dataset.scan(index="frame").to_batches():
                rows.append(batch)
        before = {f"segment_{segment:03}" for segment in range(12)}
        assert all(set(batch["rerun_segment_id"].to_pylist()) <= before for batch in rows)


def test_chunks_of_bundles_are_counted(folder: Path) -> None:
    with rr.server.Server(datasets={"d": folder}) as server:
        lazy = server.client().get_dataset("d").scan(index="frame")
        lazy.to_table()
        statistics = lazy.statistics
        assert statistics.segments == SEGMENTS
        assert statistics.chunks_fetched == 3 * SEGMENTS
        assert statistics.rows == SEGMENTS * ROWS
        assert statistics.bytes_fetched > SEGMENTS * ROWS * 2 * 8
