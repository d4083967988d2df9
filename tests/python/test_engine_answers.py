"""Engines over lazy datasets, in process and over the network, judged by the same engine over the same rows in memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import datafusion
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pytest
from rushes._lazy import LazyDataset

import rushes as rr

sdk = pytest.importorskip("rerun")


def write_gaps(path: Path) -> Path:
    """Rows on `i` that have a `frame` or a `clock`, or not, and values that are there or not."""
    with sdk.RecordingStream("test", recording_id="gaps", send_properties=False) as recording:
        recording.save(path)
        for i in range(60):
            recording.reset_time()
            recording.set_time("i", sequence=i)
            if i % 2:
                recording.set_time("frame", sequence=i // 2)
            if i % 3:
                recording.set_time("clock", timestamp=1_700_000_000 + i)
            if i % 5 == 0:
                recording.log("/a", sdk.Scalars([float(i), float(i % 7)]))
            elif i % 5 == 1:
                recording.log("/a", sdk.Scalars([float("nan")]))
            else:
                recording.log("/b", sdk.TextLog("even" if i % 2 == 0 else "odd"))
    return path


@pytest.fixture(scope="module", params=["in process", "over the network"])
def gaps(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LazyDataset]:
    path = write_gaps(tmp_path_factory.mktemp("gaps") / "gaps.rrd")
    with rr.server.Server(datasets={"gaps": [path]}) as server:
        remote = request.param == "over the network"
        client = rr.catalog.CatalogClient(server.url()) if remote else server.client()
        yield client.get_dataset("gaps").scan(index="i", view_decides_rows=True)


def same(got: pa.Table, want: pa.Table) -> None:
    """Equal rows in any order."""
    assert got.column_names == want.column_names
    assert sorted(map(repr, got.to_pylist())) == sorted(map(repr, want.to_pylist()))


# Each with the number of rows that SQL says; None: the judge alone knows.
PREDICATES = [
    ("i = 7", 1),
    ("i <> 7", 59),
    ("i between 10 and 19", 10),
    ("i not between 10 and 19", 50),
    ("i in (1, 2)", 2),
    ("i in (1, 2, 3, 4, 5, 99)", 5),
    ("i not in (1, 2, 3, 4, 5, 99)", 55),
    ("frame is null", 30),
    ("frame is not null", 30),
    ("frame > 3", 26),
    ("not (frame > 3)", 4),
    ("frame not in (1, 2)", 28),
    ("frame not in (1, 2, 3, 4, 5, 6, 7)", 23),
    ("not (frame in (1, 2, 3, 4, 5, 6, 7))", 23),
    ("frame in (1, 2, 3, 4, 5, 6, 7) or i < 4", 10),
    ("frame not in (1, 2, 3, 4, null)", 0),
    ("frame is null and i >= 30", 15),
    ("frame = i", 0),
    ("frame + 1 = i - frame", None),
    ("clock is null", 20),
    ("clock >= timestamp '2023-11-14 22:13:50'", None),
    ("clock = timestamp '2023-11-14 22:13:21' or clock is null", 21),
    ('"/a:Scalars:scalars" is not null', 24),
    ('"/a:Scalars:scalars" is null and "/b:TextLog:text" is null', 0),
    ('"/a:Scalars:scalars"[1] > 10', None),
    ("\"/b:TextLog:text\"[1] = 'odd'", 18),
    ("rerun_segment_id = 'gaps'", 60),
    ("rerun_segment_id <> 'gaps'", 0),
    ("rerun_segment_id in ('a', 'b', 'c', 'd', 'gaps')", 60),
    ("rerun_segment_id like 'ga%'", 60),
    ("i > 5 and (frame is null or frame > 20)", None),
    ("i > 10 and i < 5", 0),
    ("false", 0),
    ("true", 60),
]


@pytest.mark.parametrize(("predicate", "count"), PREDICATES)
def test_datafusion(gaps: LazyDataset, predicate: str, count: int | None) -> None:
    context = datafusion.SessionContext()
    context.register_dataset("lazy", gaps)
    context.register_record_batches("memory", [gaps.to_table().to_batches()])
    got = context.sql(f"select * from lazy where {predicate}").to_arrow_table()
    same(got, context.sql(f"select * from memory where {predicate}").to_arrow_table())
    if count is not None:
        assert got.num_rows == count
    counted = context.sql(f"select count(*) as n from lazy where {predicate}")
    assert counted.to_pydict()["n"] == [got.num_rows]
    assert context.sql(f"select i from lazy where {predicate}").count() == got.num_rows


@pytest.mark.parametrize(("predicate", "count"), PREDICATES)
def test_duckdb(gaps: LazyDataset, predicate: str, count: int | None) -> None:
    memory = gaps.to_table()  # noqa: F841 DuckDB finds it by name
    got = duckdb.sql(f"select * from gaps where {predicate}").to_arrow_table()
    same(got, duckdb.sql(f"select * from memory where {predicate}").to_arrow_table())
    if count is not None:
        assert got.num_rows == count
    counted = duckdb.sql(f"select count(*) as n from gaps where {predicate}").to_arrow_table()
    assert counted["n"].to_pylist() == [got.num_rows]


POLARS = [
    (pl.col("i") == 7, 1),
    (pl.col("i").is_between(10, 19), 10),
    (pl.col("i").is_in([1, 2, 3, 4, 5, 99]), 5),
    (pl.col("frame").is_null(), 30),
    (pl.col("frame") > 3, 26),
    (pl.col("frame").is_not_null() & (pl.col("i") < 30), 15),
    (pl.col("clock") >= dt.datetime(2023, 11, 14, 22, 13, 50), None),
    (pl.col("/a:Scalars:scalars").is_not_null(), 24),
    (pl.col("/a:Scalars:scalars").list.first() > 10, None),
    (pl.col("rerun_segment_id") == "gaps", 60),
    (pl.col("rerun_segment_id").str.starts_with("x"), 0),
]


@pytest.mark.parametrize(("predicate", "count"), POLARS, ids=[str(p) for p, _ in POLARS])
def test_polars(gaps: LazyDataset, predicate: pl.Expr, count: int | None) -> None:
    got = pl.scan_pyarrow_dataset(gaps).filter(predicate).collect()
    want = pl.DataFrame(gaps.to_table()).filter(predicate)
    same(got.to_arrow(), want.to_arrow())
    if count is not None:
        assert got.height == count


PYARROW = [
    pc.field("i") == 7,
    pc.field("frame") > 3,
    ~(pc.field("frame") > 3),
    pc.field("frame").isin([1, 2, 3]),
    ~pc.field("frame").isin([1, 2, 3]),
    pc.field("frame").is_null(),
    pc.field("/a:Scalars:scalars").is_valid(),
    (pc.field("rerun_segment_id") == "gaps") & (pc.field("i") < 3),
    pc.field("clock") > pa.scalar(np.datetime64("2023-11-14T22:13:50", "ns")),
    pc.scalar(True),
    pc.scalar(False),
]


def equal(got: pa.Table, want: pa.Table) -> None:
    """Equal rows in this order; NaN equals itself."""
    assert got.schema.equals(want.schema)
    assert repr(got.to_pylist()) == repr(want.to_pylist())


@pytest.mark.parametrize("expression", PYARROW, ids=str)
def test_pyarrow(gaps: LazyDataset, expression: pc.Expression) -> None:
    want = pds.dataset(gaps.to_table()).to_table(filter=expression)
    equal(gaps.to_table(filter=expression), want)
    assert gaps.count_rows(filter=expression) == want.num_rows
    equal(gaps.to_table(columns=["frame", "i"], filter=expression), want.select(["frame", "i"]))
    equal(gaps.head(3, columns=["i"], filter=expression), want.select(["i"]).slice(0, 3))
    equal(pa.Table.from_batches(gaps.to_batches(filter=expression), gaps.schema), want)


def test_a_comparison_of_lists_may_be_null_where_no_list_is(tmp_path: Path) -> None:
    name = "/a:Scalars:scalars"
    lists = rr.open_recordings(write_gaps(tmp_path / "gaps.rrd")).filter_contents(["/a"]).scan("i")
    assert lists.to_table()[name].null_count == 0
    kind = lists.schema.field(name).type
    same_as = [(None, 0, 0), ([0.0, 0.0], 24, 1)]
    for value, known, equal_rows in same_as:
        comparison = pc.field(name) == pa.scalar(value, kind)
        assert lists.to_table(filter=comparison.is_valid()).num_rows == known
        assert lists.to_table(filter=comparison).num_rows == equal_rows
