"""What is fetched for a question: chunks and bytes, case by case, and that engines' questions arrive.

The recording: 200 frames of a camera, whose images (1 MB a chunk of 20) lie beside a small column of the same entity (100 rows a chunk);
a signal on the same frames (50 rows a chunk) and one on the first 20 alone; a static mesh of 2 MB and a static name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import col, lit
from datafusion import functions as f
from rushes._lazy import LazyDataset

import rushes as rr

FRAMES = 200
BLOB = 50_000
IMAGE, EXPOSURE = "/camera:Image:bytes", "/camera:Image:exposure"
SIGNAL, EARLY = "/signal:Scalars:scalars", "/early:Scalars:scalars"
MESH, NAME = "/mesh:Mesh:bytes", "/robot:Robot:name"
MB = 1_000_000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sdk = pytest.importorskip("rerun")
    path = tmp_path_factory.mktemp("push_down") / "robot.rrd"
    random = np.random.default_rng(1)

    def log(
        entity: str,
        archetype: str,
        name: str,
        frames: range,
        rows: int,
        value: Callable[[int], Any],
    ) -> None:
        for begin in range(frames.start, frames.stop, rows):
            part = range(begin, min(begin + rows, frames.stop))
            columns = sdk.DynamicArchetype.columns(
                archetype=archetype, components={name: [value(i) for i in part]}
            )
            stream.send_columns(entity, [sdk.TimeColumn("frame", sequence=list(part))], columns)

    with sdk.RecordingStream("rushes_tests", recording_id="robot") as stream:
        stream.save(path)
        log(
            "/camera",
            "Image",
            "bytes",
            range(FRAMES),
            20,
            lambda _: random.integers(0, 256, BLOB, np.uint8),
        )
        log("/camera", "Image", "exposure", range(FRAMES), 100, float)
        log("/signal", "Scalars", "scalars", range(FRAMES), 50, float)
        log("/early", "Scalars", "scalars", range(20), 20, float)
        stream.log(
            "/mesh",
            sdk.DynamicArchetype(
                "Mesh", components={"bytes": [random.integers(0, 256, 2 * MB, np.uint8)]}
            ),
            static=True,
        )
        stream.log(
            "/robot", sdk.DynamicArchetype("Robot", components={"name": ["r2"]}), static=True
        )
    return path


@pytest.fixture
def lazy(recording: Path) -> Callable[..., LazyDataset]:
    """A scan of the recording that has nothing cached."""

    def open_lazy(index: str | None = "frame", **options: Any) -> LazyDataset:
        return rr.open_recordings(recording, cache_bytes=0).scan(index=index, **options)

    return open_lazy


@dataclass(frozen=True)
class Case:
    name: str
    read: Callable[[LazyDataset], int]  # returns the number of rows
    rows: int
    chunks: int  # fetched
    in_part: int
    max_bytes: int
    options: dict[str, Any]
    index: str | None = "frame"


def table(**arguments: Any) -> Callable[[LazyDataset], int]:
    return lambda lazy: lazy.to_table(**arguments).num_rows


IMAGES = FRAMES // 20  # chunks
EXPOSURES, SIGNALS = FRAMES // 100, FRAMES // 50
TEMPORAL = IMAGES + EXPOSURES + SIGNALS + 1

CASES = [
    Case("everything", table(), FRAMES, TEMPORAL + 2, 0, 13 * MB, {}),
    Case("count", lambda d: d.count_rows(), FRAMES, TEMPORAL, IMAGES, 200_000, {}),
    Case("index alone", table(columns=["frame"]), FRAMES, TEMPORAL, IMAGES, 200_000, {}),
    # Rows depend on the images, so their heads are read.
    Case(
        "small column beside images",
        table(columns=[EXPOSURE]),
        FRAMES,
        IMAGES + EXPOSURES,
        IMAGES,
        200_000,
        {},
    ),
    # Rows do not depend on them.
    Case(
        "where it is not null",
        table(columns=[EXPOSURE], filter=pc.field(EXPOSURE).is_valid()),
        FRAMES,
        EXPOSURES,
        0,
        100_000,
        {},
    ),
    Case(
        "values of its own",
        table(columns=["frame", EXPOSURE]),
        3,
        EXPOSURES,
        0,
        100_000,
        {"using_index_values": [5, 6, 150]},
    ),
    Case(
        "values, nothing of the data",
        lambda d: d.count_rows(),
        3,
        0,
        0,
        0,
        {"using_index_values": [5, 6, 150]},
    ),
    Case("another entity's column", table(columns=[SIGNAL]), FRAMES, SIGNALS, 0, 100_000, {}),
    # Only the images of frames where the other column has a value.
    Case(
        "images where another is not null",
        table(columns=[IMAGE, EARLY], filter=pc.field(EARLY).is_valid()),
        20,
        2,
        0,
        1_100_000,
        {},
    ),
    Case(
        "a range of the index",
        table(columns=["frame", IMAGE, SIGNAL], filter=pc.field("frame") < 30),
        30,
        2 + 1 + 1,
        0,
        2_200_000,
        {},
    ),
    Case(
        "some values of the index",
        table(columns=["frame", IMAGE], filter=pc.field("frame").isin([3, 190])),
        2,
        2 + 2,
        0,
        2_200_000,
        {},
    ),
    Case("another segment", table(filter=pc.field("rerun_segment_id") == "other"), 0, 0, 0, 0, {}),
    Case("a limit", lambda d: d.head(10).num_rows, 10, 1 + 1 + 1 + 1 + 2, 0, 3_200_000, {}),
    Case("no index, the small value", table(columns=[NAME]), 1, 1, 0, 10_000, {}, None),
    Case("no index, counted", lambda d: d.count_rows(), 1, 0, 0, 0, {}, None),
    # A fill looks back to the one chunk that may hold the value.
    Case(
        "filled from a row on",
        table(columns=["frame", EXPOSURE, EARLY], filter=pc.field("frame") >= 195),
        5,
        1 + 1 + 1 + 1,
        1,
        100_000,
        {"fill_latest_at": True},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_fetched(case: Case, lazy: Callable[..., LazyDataset]) -> None:
    dataset = lazy(case.index, **case.options)
    assert case.read(dataset) == case.rows
    seen = dataset.statistics
    assert (seen.chunks_fetched, seen.chunks_in_part) == (case.chunks, case.in_part), seen
    assert seen.bytes_fetched <= case.max_bytes, seen
    assert seen.rows == case.rows


def test_values_are_those_of_a_whole_read(lazy: Callable[..., LazyDataset]) -> None:
    whole = lazy().to_table()
    for column in (IMAGE, EXPOSURE, SIGNAL, EARLY):
        only = lazy().to_table(columns=["frame", column], filter=pc.field(column).is_valid())
        expected = whole.select(["frame", column]).filter(pc.field(column).is_valid())
        assert only.equals(expected), column


# --- the same questions, as engines ask them

ENGINES: dict[str, Callable[[LazyDataset], int]] = {
    "pyarrow": lambda d: (
        d.scanner(columns=[EXPOSURE], filter=pc.field(EXPOSURE).is_valid()).to_table().num_rows
    ),
    "datafusion": lambda d: (
        rr_frame(d)
        .filter(col(f'"{EXPOSURE}"').is_not_null())
        .select(col(f'"{EXPOSURE}"'))
        .to_arrow_table()
        .num_rows
    ),
    "datafusion, counted": lambda d: (
        rr_frame(d)
        .filter(col(f'"{EXPOSURE}"').is_not_null())
        .aggregate([], [f.count_star().alias("n")])
        .to_pydict()["n"][0]
    ),
    "duckdb": lambda d: (
        duckdb.from_arrow(d)
        .filter(f'"{EXPOSURE}" is not null')
        .project(f'"{EXPOSURE}"')
        .to_arrow_table()
        .num_rows
    ),
    "polars": lambda d: (
        pl.scan_pyarrow_dataset(d)
        .filter(pl.col(EXPOSURE).is_not_null())
        .select(EXPOSURE)
        .collect()
        .height
    ),
}


def rr_frame(lazy: LazyDataset) -> Any:
    import datafusion

    return datafusion.SessionContext().read_table(lazy)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_push_down_not_null(engine: str, lazy: Callable[..., LazyDataset]) -> None:
    dataset = lazy()
    assert ENGINES[engine](dataset) == FRAMES
    assert dataset.statistics.chunks_fetched == EXPOSURES
    assert dataset.statistics.bytes_fetched < 100_000


RANGES: dict[str, Callable[[LazyDataset], int]] = {
    "pyarrow": lambda d: (
        d.to_table(columns=["frame", IMAGE], filter=pc.field("frame") < 20).num_rows
    ),
    "datafusion": lambda d: (
        rr_frame(d)
        .filter(col("frame") < 20)
        .select(col("frame"), col(f'"{IMAGE}"'))
        .to_arrow_table()
        .num_rows
    ),
    "duckdb": lambda d: (
        duckdb.from_arrow(d)
        .filter("frame < 20")
        .project(f'frame, "{IMAGE}"')
        .to_arrow_table()
        .num_rows
    ),
    "polars": lambda d: (
        pl.scan_pyarrow_dataset(d)
        .filter(pl.col("frame") < 20)
        .select("frame", IMAGE)
        .collect()
        .height
    ),
}


@pytest.mark.parametrize("engine", RANGES)
def test_engines_push_down_ranges(engine: str, lazy: Callable[..., LazyDataset]) -> None:
    dataset = lazy()
    assert RANGES[engine](dataset) == 20
    assert dataset.statistics.chunks_fetched == 2
    assert dataset.statistics.bytes_fetched < 1_100_000


COUNTS: dict[str, Callable[[LazyDataset], int]] = {
    "pyarrow": lambda d: d.count_rows(),
    "datafusion": lambda d: rr_frame(d).count(),
    "duckdb": lambda d: duckdb.from_arrow(d).aggregate("count(*)").fetchall()[0][0],
    "polars": lambda d: pl.scan_pyarrow_dataset(d).select(pl.len()).collect().item(),
    "datafusion, greatest": lambda d: (
        rr_frame(d).aggregate([], [f.max(col("frame")).alias("m")]).to_pydict()["m"][0] + 1
    ),
    "duckdb, greatest": lambda d: duckdb.from_arrow(d).aggregate("max(frame)").fetchall()[0][0] + 1,
    "polars, distinct": lambda d: (
        pl.scan_pyarrow_dataset(d).select(pl.col("frame").unique()).collect().height
    ),
}


@pytest.mark.parametrize("engine", COUNTS)
def test_counts_and_extremes_read_no_images(engine: str, lazy: Callable[..., LazyDataset]) -> None:
    dataset = lazy()
    assert COUNTS[engine](dataset) == FRAMES
    assert dataset.statistics.bytes_fetched < 200_000


def test_a_limit_reads_little(lazy: Callable[..., LazyDataset]) -> None:
    dataset = lazy()
    assert rr_frame(dataset).limit(10).to_arrow_table().num_rows == 10
    assert dataset.statistics.bytes_fetched < 9 * MB


def test_times_in_duckdb_take_a_filter_before_it(tmp_path: Path) -> None:
    """DuckDB does not push comparisons of timestamp[ns] down; the other engines do, and docs/query.md says what to write instead."""
    sdk = pytest.importorskip("rerun")
    with sdk.RecordingStream("rushes_tests", recording_id="clock") as stream:
        stream.save(tmp_path / "clock.rrd")
        for begin in range(0, 1000, 100):
            seconds = np.arange(begin, begin + 100)
            stream.send_columns(
                "/a",
                [sdk.TimeColumn("clock", timestamp=seconds.astype("datetime64[s]"))],
                sdk.Scalars.columns(scalars=seconds.astype(float)),
            )
    dataset = rr.open_recordings(tmp_path / "clock.rrd", cache_bytes=0)
    bound = pa.scalar(50 * 10**9, pa.timestamp("ns"))
    read: dict[str, Callable[[LazyDataset], int]] = {
        "datafusion": lambda d: rr_frame(d).filter(col("clock") < lit(bound)).count(),
        "polars": lambda d: (
            pl.scan_pyarrow_dataset(d)
            .filter(pl.col("clock") < datetime(1970, 1, 1, 0, 0, 50))
            .collect()
            .height
        ),
        "pyarrow": lambda d: d.to_table(filter=pc.field("clock") < bound).num_rows,
        "duckdb": lambda d: (
            duckdb.from_arrow(d.scanner(filter=pc.field("clock") < bound).to_reader())
            .aggregate("count(*)")
            .fetchall()[0][0]
        ),
    }
    for engine, count in read.items():
        lazy = dataset.scan("clock")
        assert count(lazy) == 50, engine
        assert lazy.statistics.chunks_fetched == 1, engine


def test_small_chunks_with_a_wide_column_are_read_in_part(tmp_path: Path) -> None:
    # Small enough to be read by the group when all is asked for; 32 kB each, of which the narrow column is 2 %.
    sdk = pytest.importorskip("rerun")
    chunks, rows = 10, 40
    with sdk.RecordingStream("rushes_tests", recording_id="wide") as stream:
        stream.save(tmp_path / "wide.rrd")
        for chunk in range(chunks):
            frames = range(chunk * rows, (chunk + 1) * rows)
            columns = sdk.DynamicArchetype.columns(
                archetype="State",
                components={
                    "narrow": [float(i) for i in frames],
                    "wide": [np.full(100, i, np.float64) for i in frames],
                },
            )
            stream.send_columns("/robot", [sdk.TimeColumn("frame", sequence=list(frames))], columns)
    narrow = "/robot:State:narrow"
    lazy = rr.open_recordings(tmp_path / "wide.rrd", cache_bytes=0).scan(index="frame")
    only = lazy.to_table(columns=["frame", narrow])
    assert lazy.statistics.chunks_in_part == chunks
    assert lazy.statistics.bytes_fetched < 100_000
    whole = lazy.to_table()
    assert only.equals(
        whole.select(["frame", narrow]).replace_schema_metadata(only.schema.metadata)
    )
    assert whole.column(narrow).to_pylist() == [[float(i)] for i in range(chunks * rows)]
