"""The lazy dataset in DataFusion, DuckDB, Polars, pandas and pyarrow: push-down, and the answers of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pytest
from datafusion import SessionContext, col, lit
from datafusion import functions as f
from rushes._lazy import LazyDataset, Query

import rushes as rr

A, B = "/a:Scalars:scalars", "/b:Scalars:scalars"


@pytest.fixture(scope="module")
def dataset(two_timelines: Path) -> Iterator[rr.catalog.DatasetEntry]:
    with rr.server.Server(datasets={"d": [two_timelines]}) as server:
        yield server.client().get_dataset("d")


@pytest.fixture
def lazy(dataset: rr.catalog.DatasetEntry) -> LazyDataset:
    return dataset.scan(index="frame")


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], bool, bool]]:
    """(columns, has a filter, SQL's meaning) of each scan that is run."""
    seen: list[tuple[list[str], bool, bool]] = []
    begin = Query._begin

    def record(
        self: Query,
        projected: pa.Schema,
        filter: pc.Expression | None,
        *,
        sql: bool,
        limit: int | None,
    ) -> Any:
        seen.append((projected.names, filter is not None, sql))
        return begin(self, projected, filter, sql=sql, limit=limit)

    monkeypatch.setattr(Query, "_begin", record)
    return seen


def frames(table: pa.Table) -> list[int]:
    return table["frame"].to_pylist()


def test_the_recording(lazy: LazyDataset) -> None:
    table = lazy.to_table()
    assert frames(table) == list(range(150))
    assert table["tick"].to_pylist() == [*range(1000, 1100), *[None] * 50]
    assert table[A].to_pylist() == [*([float(i)] for i in range(100)), *[None] * 50]
    assert table[B].to_pylist() == [*[None] * 50, *([float(i)] for i in range(100))]


# --- DataFusion


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("frame = 7", [7]),
        ("frame <> 7 and frame < 10", [0, 1, 2, 3, 4, 5, 6, 8, 9]),
        ("frame between 5 and 8", [5, 6, 7, 8]),
        ("frame not between 2 and 147", [0, 1, 148, 149]),
        ("frame in (3, 1, 200)", [1, 3]),
        ("frame in (3, 1, 200, 5, 9)", [1, 3, 5, 9]),
        ("tick not in (1000, 1001, 1002, 1003) and frame < 6", [4, 5]),
        # Null is in no list and not in none: SQL drops it.
        ("tick not in (1000, 1001, 1002, 1003)", list(range(4, 100))),
        ("not (tick in (1000, 1001, 1002, 1003, 1004))", list(range(5, 100))),
        ("tick is null", list(range(100, 150))),
        ("tick is not null and frame >= 97", [97, 98, 99]),
        ("tick > 1095 or frame > 147", [96, 97, 98, 99, 148, 149]),
        ("not (tick > 1005)", [0, 1, 2, 3, 4, 5]),
        ("rerun_segment_id = 'two' and frame = 3", [3]),
        ("rerun_segment_id = 'other'", []),
        ("rerun_segment_id like 't%' and frame < 2", [0, 1]),
        (f'"{A}" is not null and "{B}" is not null and frame < 53', [50, 51, 52]),
        (f'"{A}" is null and frame < 103', [100, 101, 102]),
        (f'"{A}"[1] > 97', [98, 99]),
        ("frame > 5 and frame < 3", []),
        ("frame % 50 = 0", [0, 50, 100]),
    ],
)
def test_datafusion_filters(lazy: LazyDataset, where: str, expected: list[int]) -> None:
    ctx = SessionContext()
    ctx.register_table("t", ctx.read_table(lazy).into_view())
    assert sorted(frames(ctx.sql(f"select * from t where {where}").to_arrow_table())) == expected
    if "is null" in where and A in where:
        return  # rows where /a has nothing: a count names /a alone, and then /a alone decides the rows
    # The count goes another way: no columns at all.
    assert ctx.sql(f"select count(*) as n from t where {where}").to_pydict() == {
        "n": [len(expected)]
    }


def test_datafusion_expressions(dataset: rr.catalog.DatasetEntry) -> None:
    df = dataset.reader(index="frame")
    assert df.filter(col("frame") >= 3, col("frame") < 5).count() == 2
    assert (
        df.filter(f.in_list(col("tick"), [lit(v) for v in (1000, 1001, 1002, 1003)], True)).count()
        == 96
    )
    assert df.filter(col("frame") == "3").count() == 1
    assert df.aggregate([], [f.max(col("frame")).alias("last")]).to_pydict() == {"last": [149]}
    assert frames(df.sort(col("frame").sort(ascending=False)).limit(3).to_arrow_table()) == [
        149,
        148,
        147,
    ]
    assert frames(df.to_arrow_table()) == list(range(150))
    assert df.union(df).count() == 300
    assert pa.table(df).num_rows == 150
    assert sum(b.to_pyarrow().num_rows for b in df.execute_stream()) == 150
    assert df.cache().count() == 150
    left = dataset.reader(index="frame").select("frame", "tick")
    right = dataset.reader(index="frame").select(col("frame").alias("other"), col(B))
    assert left.join(right, left_on="frame", right_on="other").to_arrow_table().num_rows == 100


def test_datafusion_pushes(dataset: rr.catalog.DatasetEntry, scans: list[Any]) -> None:
    df = dataset.reader(index="frame")
    assert scans == []
    df.filter(col("tick") > 1005).select("frame", A).to_arrow_table()
    assert scans == [(["frame", A], True, True)]
    scans.clear()
    assert df.aggregate([], [f.count_star().alias("n")]).to_pydict() == {"n": [150]}
    assert scans == [([], False, True)]
    scans.clear()
    # Read as it is, without an execution plan in between.
    assert df.count() == 150
    assert scans == [([], False, False)]
    scans.clear()
    assert df.to_arrow_table().num_rows == 150
    assert scans == [(df.schema().names, False, False)]
    scans.clear()
    assert len(df.limit(3).collect()) == 1
    assert len(scans) == 1


def test_metadata_survives(dataset: rr.catalog.DatasetEntry) -> None:
    df = dataset.reader(index="frame")
    expected = df.schema()
    assert expected.metadata == {b"sorbet:version": b"0.1.4"}
    for table in (
        df.to_arrow_table(),
        df.filter(col("frame") > 1000).to_arrow_table(),
        pa.table(df),
    ):
        assert table.schema.equals(expected, check_metadata=True)


# --- DuckDB


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("frame = 7", [7]),
        ("frame in (3, 1, 5, 9, 200)", [1, 3, 5, 9]),
        ("tick not in (1000, 1001, 1002, 1003)", list(range(4, 100))),
        ("tick is null and frame < 103", [100, 101, 102]),
        (f'"{A}" is not null and frame > 97', [98, 99]),
        (f'"{A}"[1] > 97', [98, 99]),
        ("rerun_segment_id = 'two' and frame between 5 and 6", [5, 6]),
        ("not (tick > 1001)", [0, 1]),
    ],
)
def test_duckdb(lazy: LazyDataset, where: str, expected: list[int]) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        relation = connection.from_arrow(lazy)  # noqa: F841
        got = connection.sql(f"select frame from relation where {where} order by frame").fetchall()
        assert [row[0] for row in got] == expected
        assert connection.sql(f"select count(*) from lazy where {where}").fetchall() == [
            (len(expected),)
        ]


def test_duckdb_pushes(lazy: LazyDataset, scans: list[Any]) -> None:
    duckdb = pytest.importorskip("duckdb")
    duckdb.sql("select frame from lazy where tick > 1090").fetchall()
    assert len(scans) == 1
    columns, filtered, _ = scans[0]
    assert "frame" in columns
    assert A not in columns
    assert filtered


# --- Polars, pandas


def test_polars(lazy: LazyDataset, scans: list[Any]) -> None:
    pl = pytest.importorskip("polars")
    scanned = pl.scan_pyarrow_dataset(lazy)
    got = scanned.filter(pl.col("frame").is_in([3, 1, 5, 9, 200])).select("frame", A).collect()
    assert got["frame"].to_list() == [1, 3, 5, 9]
    assert got[A].to_list() == [[1.0], [3.0], [5.0], [9.0]]
    assert all(B not in columns for columns, _, _ in scans)
    assert scanned.filter(pl.col("tick").is_null()).collect().height == 50
    assert scanned.select(pl.len()).collect().item() == 150
    assert scanned.head(3).collect().height == 3
    assert pl.DataFrame(lazy).height == 150


def test_pandas(dataset: rr.catalog.DatasetEntry) -> None:
    pytest.importorskip("pandas")
    frame = dataset.reader(index="frame").to_pandas()
    assert frame["frame"].tolist() == list(range(150))
    assert frame["tick"].isna().sum() == 50


# --- pyarrow


def test_pyarrow_filters_mean_what_pyarrow_means(lazy: LazyDataset) -> None:
    table = lazy.to_table()
    wanted = pa.array([1000, 1001, 1002, 1003])
    for expression in (
        pc.field("frame") > 3,
        (pc.field("frame") > 3) & (pc.field("tick") < 1010),
        (pc.field("tick") < 1003) | (pc.field("frame") == 149),
        # In pyarrow null is not in a list, so its negation keeps nulls.
        ~pc.field("tick").isin(wanted),
        pc.field("tick").isin(wanted),
        pc.field("tick").is_null(),
        pc.field(A).is_valid() & pc.field(B).is_valid(),
        pc.list_value_length(pc.field(A)) == 1,
        pc.starts_with(pc.field("rerun_segment_id"), "tw"),
        pc.field("frame") + pc.field("tick") > 1100,
        pc.scalar(True),
        pc.scalar(False),
    ):
        assert lazy.to_table(filter=expression).equals(table.filter(expression)), expression
        assert lazy.count_rows(filter=expression) == table.filter(expression).num_rows, expression


def test_pyarrow_reads(lazy: LazyDataset) -> None:
    table = lazy.to_table()
    assert lazy.to_table(columns=["tick", "frame"]).equals(table.select(["tick", "frame"]))
    assert lazy.to_table(columns=[]).num_rows == 150
    assert lazy.count_rows() == 150
    assert frames(lazy.head(5)) == [0, 1, 2, 3, 4]
    assert lazy.head(0).num_rows == 0
    assert frames(lazy.take([5, 2])) == [5, 2]
    assert frames(lazy.sort_by([("frame", "descending")]).head(1)) == [149]
    assert lazy.filter(pc.field("frame") < 3).count_rows() == 3
    assert pa.Table.from_batches(lazy.to_batches(), lazy.schema).equals(table)
    assert lazy.scanner(columns=["frame"]).to_reader().read_all().num_rows == 150
    doubled = lazy.to_table(columns={"twice": pc.field("frame") + pc.field("frame")})
    assert doubled["twice"].to_pylist() == [2 * v for v in range(150)]
    assert pa.table(lazy).equals(table)


def test_every_attribute_of_the_dataset_answers_or_raises(lazy: LazyDataset) -> None:
    """Inherited methods of a Dataset without a C++ object behind it crash the process."""
    for name in dir(lazy):
        try:
            value = getattr(lazy, name)
        except Exception:
            continue
        if not callable(value) or name in (
            "__class__",
            "__init_subclass__",
            "__subclasshook__",
            "__new__",
            "__init__",
        ):
            continue
        for arguments in ((), (None,), (lazy,)):
            try:
                value(*arguments)
            except Exception:
                continue
    assert lazy.count_rows() == 150


def test_arrow_cannot_look_behind_it(lazy: LazyDataset) -> None:
    with pytest.raises((OSError, TypeError, NotImplementedError)):
        pds.Scanner.from_dataset(lazy).to_table()
    import pickle

    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(lazy)


@pytest.mark.parametrize("engine", ["datafusion", "pyarrow"])
def test_the_view_may_decide_the_rows(dataset: rr.catalog.DatasetEntry, engine: str) -> None:
    def count(**options: bool) -> int:
        if engine == "pyarrow":
            return dataset.scan("frame", **options).to_table(columns=["frame", A]).num_rows
        return dataset.reader("frame", **options).select("frame", A).to_arrow_table().num_rows

    assert count() == 100
    assert count(view_decides_rows=True) == 150
    assert count(fill_latest_at=True) == 150


def test_a_memory_budget_too_small_says_so(large: Path) -> None:
    with rr.server.Server(datasets={"d": [large]}) as server:
        dataset = server.client().get_dataset("d")
        with pytest.raises(ValueError, match="memory_budget"):
            dataset.scan("frame", memory_budget=0)
        try:
            table = dataset.scan("frame", memory_budget=1 << 20).to_table()
        except MemoryError as error:
            assert "budget" in str(error)  # noqa: PT017
        else:
            assert table.num_rows == 3_200_000


def test_threads(dataset: rr.catalog.DatasetEntry) -> None:
    from concurrent.futures import ThreadPoolExecutor

    shared = dataset.reader(index="frame")
    lazy = dataset.scan(index="frame")

    def work(i: int) -> tuple[int, int, int]:
        own = dataset.catalog.get_dataset("d").reader(index="frame", fill_latest_at=bool(i % 2))
        return (
            shared.filter(col("frame") >= i).count(),
            lazy.count_rows(pc.field("frame") < i),
            own.count(),
        )

    with ThreadPoolExecutor(8) as pool:
        for i, got in enumerate(pool.map(work, range(40))):
            assert got == (150 - i, i, 150)
