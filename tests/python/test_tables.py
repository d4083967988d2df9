"""Tables: life cycle, reading, writing, SQL, bad input, and what survives a crash."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import col

import rushes as rr
from rushes.catalog import AlreadyExistsError, CatalogClient, NotFoundError, TableEntry

KEY = {"rerun:is_table_index": "true"}
SCHEMA = pa.schema(
    [pa.field("id", pa.int64(), nullable=False, metadata=KEY), pa.field("name", pa.string())],
    metadata={"owner": "tests"},
)


def rows(table: TableEntry) -> list[dict[str, Any]]:
    return table.to_arrow_reader().read_all().to_pylist()


def batch(ids: list[int], names: list[str | None]) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array(ids, pa.int64()), pa.array(names, pa.string())], ["id", "name"]
    )


@pytest.fixture(params=["embedded", "remote"])
def client(server: rr.server.Server, request: pytest.FixtureRequest) -> CatalogClient:
    """Both ways to the same tables."""
    if request.param == "embedded":
        return server.client()
    return CatalogClient(server.url())


@pytest.fixture
def table(client: CatalogClient) -> TableEntry:
    return client.create_table("t", SCHEMA)


# --- entries


def test_a_table_is_an_entry(client: CatalogClient, table: TableEntry) -> None:
    assert repr(table) == "Entry(EntryKind.TABLE, 't')"
    assert table.kind == rr.catalog.EntryKind.TABLE
    assert client.table_names() == ["t"]
    assert sorted(client.table_names(include_hidden=True)) == ["__entries", "t"]
    assert client.entry_names() == ["t"]
    assert client.dataset_names() == []
    assert client.get_table("t") == table
    assert client.get_table(id=table.id) == table
    assert client.get_table(id=str(table.id)).created_at == table.created_at
    table.set_name("u")
    assert client.get_table("u") == table
    client.create_table("t", SCHEMA)  # the old name is free
    table.delete()
    assert client.table_names() == ["t"]
    with pytest.raises(NotFoundError):
        table.to_arrow_reader()
    with pytest.raises(NotFoundError):
        table.append(id=[1])


def test_the_schema_is_kept_with_its_metadata(table: TableEntry) -> None:
    schema = table.arrow_schema()
    assert schema.remove_metadata() == SCHEMA.remove_metadata()
    assert schema.metadata == {b"owner": b"tests", b"sorbet:version": b"0.1.4"}
    assert schema.field("id").metadata == {b"rerun:is_table_index": b"true"}
    assert not schema.field("id").nullable
    assert table.reader().schema().names == ["id", "name"]


def test_unknown_and_taken_names(client: CatalogClient, table: TableEntry) -> None:
    client.create_dataset("d")
    with pytest.raises(LookupError, match="No table found with name 'x'"):
        client.get_table("x")
    with pytest.raises(NotFoundError):
        client.get_table("d")
    with pytest.raises(NotFoundError):
        client.get_dataset("t")
    for name in ("t", "d"):
        with pytest.raises(AlreadyExistsError, match=f"Entry name '{name}' already exists"):
            client.create_table(name, SCHEMA)
    with pytest.raises(AlreadyExistsError):
        client.create_dataset("t")
    assert sorted(client.entry_names()) == ["d", "t"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a-b", "Unexpected token in identifier: -"),
        ("", "Empty input"),
        ("1a", "identifier"),
        ("a..b", "identifier"),
    ],
)
def test_names_that_sql_does_not_take(client: CatalogClient, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid table name. sql parser error: .*{words}"):
        client.create_table(name, SCHEMA)


def test_wrong_types_of_arguments(client: CatalogClient) -> None:
    with pytest.raises(TypeError, match="name must be a str"):
        client.create_table(1, SCHEMA)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"schema must be a pyarrow.Schema"):
        client.create_table("t", [("id", pa.int64())])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two columns of the schema are called 'a'"):
        client.create_table("t", pa.schema([("a", pa.int64()), ("a", pa.int64())]))
    with pytest.raises(ValueError, match="file:///path"):
        client.create_table("t", SCHEMA, "s3://bucket/tables")
    assert client.table_names() == []


def test_the_list_of_entries_is_a_table_that_nobody_writes(
    client: CatalogClient, table: TableEntry
) -> None:
    entries = client.get_table("__entries")
    assert entries.storage_url == ""
    kinds = {row["name"]: row["entry_kind"] for row in rows(entries)}
    assert kinds == {"__entries": 3, "t": 3, f"__bp_{table.id}": 5}
    with pytest.raises(ValueError, match="system table"):
        entries.append(entries.to_arrow_reader())
    with pytest.raises(ValueError, match="cannot be deleted"):
        entries.delete()


# --- writing


def test_everything_that_can_be_appended(client: CatalogClient, table: TableEntry) -> None:
    table.append(batch([1], ["a"]))
    table.append([batch([2], ["b"]), batch([3], ["c"])])
    table.append([[batch([4], ["d"])], [batch([5], ["e"])]])
    table.append(pa.RecordBatchReader.from_batches(batch([], []).schema, [batch([6], ["f"])]))
    table.append(pa.record_batch([pa.array([7])], ["id"]))  # what is missing is null
    table.append(client.ctx.sql("select 8 as id, 'h' as name"))
    table.append(id=[9, 10], name=["i", None])
    table.append(id=11, name="k")
    table.append(id=[12, 13])
    table.append(pa.record_batch([pa.array([14]), pa.nulls(1)], ["id", "name"]))
    found = rows(table)
    assert [row["id"] for row in found] == list(range(1, 15))
    assert [r["name"] for r in found] == [*"abcdef", None, "h", "i", None, "k", None, None, None]
    # Nothing is no change.
    table.append()
    table.append([])
    table.append(id=[], name=[])
    table.overwrite()
    assert len(rows(table)) == 14


def test_lists_are_values_of_list_columns(client: CatalogClient) -> None:
    table = client.create_table("lists", pa.schema([("x", pa.list_(pa.int64())), ("y", pa.int8())]))
    table.append(x=[1, 2, 3], y=1)
    table.append(x=[[1], None, []], y=[2, 3, 4])
    assert [row["x"] for row in rows(table)] == [[1, 2, 3], [1], None, []]
    with pytest.raises(ValueError, match=r"mismatched number of rows.*x=\[\[\.\.\.\]\]"):
        table.append(y=[1, 2], x=[1, 2])


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda t: t.append(batch([1], ["a"]), id=[1]), TypeError, "Cannot pass both"),
        (lambda t: t.append(pa.table({"id": [1]})), TypeError, "to_batches"),
        (lambda t: t.append([1]), TypeError, "Unexpected type: <class 'int'>"),
        (lambda t: t.append("abc"), TypeError, "Unexpected type: <class 'str'>"),
        (lambda t: t.append(7), TypeError, "Unexpected type: <class 'int'>"),
        (lambda t: t.append(nope=[1]), KeyError, "Column nope does not exist"),
        (lambda t: t.append(id=["x"]), pa.ArrowInvalid, "Could not convert"),
        (lambda t: t.append(id=[1, 2], name="x"), ValueError, "mismatched number of rows"),
        (lambda t: t.append(name=["x"]), ValueError, "column 'id' has a null"),
        (
            lambda t: t.append(pa.record_batch([pa.array(["x"])], ["id"])),
            ValueError,
            "column 'id' is int64 in the table and string in the batch",
        ),
        (
            lambda t: t.append(pa.record_batch([pa.array([1]), pa.array([1])], ["id", "z"])),
            ValueError,
            "the table has no column 'z'; it has: 'id', 'name'",
        ),
        (
            lambda t: t.append(pa.record_batch([pa.array(["x"])], ["name"])),
            ValueError,
            "'id' is missing",
        ),
        (
            lambda t: t.append([batch([1], ["a"]), pa.record_batch([pa.array([1])], ["id"])]),
            ValueError,
            "different schemas",
        ),
        (
            lambda t: t.upsert(batch([2, 2], ["a", "b"])),
            ValueError,
            r"the key \(id = 2\) occurs twice",
        ),
    ],
)
def test_bad_rows_change_nothing(
    table: TableEntry, write: Callable[[TableEntry], None], error: type[Exception], words: str
) -> None:
    table.append(id=1, name="a")
    with pytest.raises(error, match=words):
        write(table)
    assert rows(table) == [{"id": 1, "name": "a"}]
    table.append(id=2)  # and it can still be written
    assert len(rows(table)) == 2


def test_a_write_is_one_change(table: TableEntry) -> None:
    """An error in the middle of a stream, of the server or of the source, leaves nothing of it."""

    def failing() -> Any:
        yield batch([1], ["a"])
        raise RuntimeError("the source broke")

    for kind in ("append", "overwrite", "upsert"):
        reader = pa.RecordBatchReader.from_batches(batch([], []).schema, failing())
        with pytest.raises(Exception, match="the source broke"):
            getattr(table, kind)(reader)
    good, bad = batch([1], ["a"]), pa.record_batch([pa.array([None], pa.int64())], ["id"])
    with pytest.raises(ValueError, match="has a null"):
        table.append(pa.RecordBatchReader.from_batches(good.schema, [good, batch([None], ["b"])]))  # type: ignore[list-item]
    with pytest.raises(ValueError, match="has a null"):
        table.append(bad)
    assert rows(table) == []


def test_overwrite_keeps_all_batches(table: TableEntry) -> None:
    table.append(id=[1, 2, 3])
    table.overwrite([batch([4], ["d"]), batch([5], ["e"]), batch([6], ["f"])])
    assert [row["id"] for row in rows(table)] == [4, 5, 6]
    table.overwrite(id=7, name="g")
    assert rows(table) == [{"id": 7, "name": "g"}]
    table.overwrite(pa.record_batch([pa.array([8]), pa.nulls(1)], ["id", "name"]))
    assert table.arrow_schema().field("id").metadata == {b"rerun:is_table_index": b"true"}
    assert table.arrow_schema().field("name").type == pa.string()
    table.overwrite(pa.record_batch([pa.array([1.5])], ["x"]))
    assert table.arrow_schema().names == ["x"]
    assert rows(table) == [{"x": 1.5}]


def test_upsert(client: CatalogClient, table: TableEntry) -> None:
    table.append(id=[1, 2, 3], name=["a", "b", "c"])
    table.upsert(id=[4, 1, 2], name=["D", "A", "B"])
    assert [(r["id"], r["name"]) for r in rows(table)] == [(1, "A"), (2, "B"), (3, "c"), (4, "D")]
    table.upsert(pa.record_batch([pa.array([3, 9])], ["id"]))  # names of known keys stay
    assert [(r["id"], r["name"]) for r in rows(table)][2:] == [(3, "c"), (4, "D"), (9, None)]
    plain = client.create_table("plain", pa.schema([("x", pa.int64())]))
    with pytest.raises(RuntimeError, match="no key column"):
        plain.upsert(x=[1])


def test_keys_of_several_columns_and_nulls(client: CatalogClient) -> None:
    schema = pa.schema(
        [
            pa.field("a", pa.string(), metadata=KEY),
            pa.field("b", pa.float64(), metadata=KEY),
            pa.field("v", pa.int64()),
        ]
    )
    table = client.create_table("keys", schema)
    table.append(a=["x", "x", None], b=[0.0, 1.0, 2.0], v=[1, 2, 3])
    table.upsert(a=["x", None, "y"], b=[-0.0, 2.0, 1.0], v=[10, 30, 40])
    found = [(r["a"], r["b"], r["v"]) for r in rows(table)]
    assert found == [("x", 0.0, 10), ("x", 1.0, 2), (None, 2.0, 3), (None, 2.0, 30), ("y", 1.0, 40)]


def test_nested_and_dictionary_types_survive(client: CatalogClient) -> None:
    schema = pa.schema(
        [
            pa.field(
                "s", pa.struct([pa.field("x", pa.int64()), pa.field("y", pa.list_(pa.string()))])
            ),
            pa.field("d", pa.dictionary(pa.int32(), pa.string())),
            pa.field("v", pa.string_view()),
            pa.field("t", pa.timestamp("us", "UTC")),
            pa.field("f", pa.list_(pa.float32(), 3)),
        ]
    )
    table = client.create_table("types", schema)
    for word in ("a", "b"):  # two dictionaries in one file
        table.append(s=[{"x": 1, "y": [word]}], d=[word], v=[word], t=[1], f=[[1, 2, 3]])
    first, second = rows(table)
    assert first["s"] == {"x": 1, "y": ["a"]}
    assert (first["d"], second["d"]) == ("a", "b")
    assert second["f"] == [1, 2, 3]
    assert table.arrow_schema().types == schema.types


# --- reading


def test_engines_read_it(client: CatalogClient, table: TableEntry) -> None:
    table.append(id=list(range(100)), name=[f"n{i}" if i % 3 else None for i in range(100)])
    frame = table.reader()
    assert frame.count() == 100
    assert frame.filter(col("id") >= 90).select("name").count() == 10
    assert frame.filter(col("name").is_null()).count() == 34
    lazy = table.scan()
    assert lazy.count_rows() == 100
    assert lazy.to_table(columns=["name"], filter=pc.field("id") == 4).to_pylist() == [
        {"name": "n4"}
    ]
    assert duckdb.sql("select max(id), count(name) from lazy").fetchall() == [(99, 66)]
    assert duckdb.sql("select count(*) from lazy where name not in ('n1')").fetchall() == [(65,)]
    assert pl.scan_pyarrow_dataset(lazy).filter(pl.col("id") > 97).collect().height == 2
    assert table.reader().to_pandas().shape == (100, 2)
    with pytest.raises(ValueError, match="Column 'nme' does not exist"):
        lazy.to_table(columns=["nme"])


def test_readers_are_lazy_and_see_later_rows(table: TableEntry) -> None:
    frame = table.reader()
    assert frame.collect() == []
    table.append(id=1)
    assert frame.count() == 1
    reader = table.to_arrow_reader()  # has its version
    table.overwrite(id=[2, 3])
    assert reader.read_all().num_rows == 1
    assert frame.count() == 2


def test_a_print_shows_the_metadata(table: TableEntry) -> None:
    table.append(id=1, name="a")
    text = repr(table.reader())
    assert "* owner: tests" in text
    assert "is_table_index: true" in text


def test_sql_finds_tables_by_name(client: CatalogClient) -> None:
    client.create_table("one", SCHEMA).append(id=[1, 2])
    client.create_table("lab.two", SCHEMA).append(id=[2, 3])
    client.create_table("org.lab.three", SCHEMA).append(id=[3])
    sql = client.ctx.sql
    count = lambda text: sql(text).to_pydict()  # noqa: E731
    assert count("select count(*) as n from one") == {"n": [2]}
    assert count("select count(*) as n from datafusion.public.one") == {"n": [2]}
    assert count("select count(*) as n from lab.two") == {"n": [2]}
    assert count("select count(*) as n from org.lab.three") == {"n": [1]}
    assert count("select one.id as i from one join lab.two on one.id = two.id") == {"i": [2]}
    assert client.ctx.table("one").count() == 2
    with pytest.raises(Exception, match="nope"):
        sql("select * from nope")
    client.create_table("nope", SCHEMA)  # found without a new session
    assert count("select count(*) as n from nope") == {"n": [0]}
    assert client.ctx.catalog_names() == {"datafusion", "org"}
    schemas = client.ctx.catalog()
    assert schemas.schema_names() == {"public", "lab"}
    assert schemas.schema("public").table_names() == {"__entries", "one", "nope"}
    assert schemas.schema("lab").table("two").schema.names == ["id", "name"]
    assert sql("select name from __entries where entry_kind = 3 order by name").count() == 5


def test_names_with_capitals(client: CatalogClient) -> None:
    table = client.create_table("Mixed", SCHEMA)
    table.append(id=1)
    assert table.reader().count() == 1
    assert client.ctx.sql('select * from "Mixed"').count() == 1


def test_the_session_keeps_tables_of_its_own(client: CatalogClient) -> None:
    client.create_table("t", SCHEMA).append(id=[1, 2])
    own = client.ctx.from_pydict({"id": [2, 3]}, name="mine")
    assert client.ctx.sql("select t.id from t join mine on t.id = mine.id").to_pydict() == {
        "id": [2]
    }
    client.ctx.register_view("v", own.filter(col("id") > 2))
    assert client.ctx.sql("select count(*) as n from v").to_pydict() == {"n": [1]}
    assert client.table_names() == ["t"]


def test_a_table_joins_the_segments_of_a_dataset(demo_server: rr.server.Server) -> None:
    client = demo_server.client()
    dataset = client.get_dataset("howto")
    first = dataset.segment_ids()[0]
    notes = client.create_table(
        "notes", pa.schema([("rerun_segment_id", pa.string()), ("note", pa.string())])
    )
    try:
        notes.append(rerun_segment_id=[first], note=["good"])
        joined = dataset.segment_table(join_meta=notes).to_arrow_table().to_pylist()
        assert {row["rerun_segment_id"]: row["note"] for row in joined}[first] == "good"
        assert dataset.filter_segments(notes.reader()).segment_ids() == [first]
    finally:
        notes.delete()


# --- storage


def test_a_table_survives_its_server(tmp_path: Path) -> None:
    with rr.server.Server() as server:
        table = server.client().create_table("t", SCHEMA, tmp_path / "tables")
        table.append(id=[1, 2], name=["a", "b"])
        url = table.storage_url
        assert url.startswith((tmp_path / "tables").as_uri() + "/t-")
    with rr.server.Server() as server:
        client = server.client()
        for name, where in (
            ("by_url", url),
            ("by_path", Path(url.removeprefix("file://"))),
            ("slash", url + "/"),
        ):
            again = client.register_table(name, where)
            assert again.storage_url == url
            assert again.arrow_schema().metadata[b"owner"] == b"tests"
        client.get_table("by_url").append(id=[3])
        assert len(rows(client.get_table("by_path"))) == 3  # one directory, one table
        client.get_table("by_path").delete()  # the rows stay
        assert len(rows(client.get_table("slash"))) == 3
    with rr.server.Server(tables={"t": Path(url.removeprefix("file://"))}) as server:
        assert len(rows(server.client().get_table("t"))) == 3


def test_a_server_keeps_its_tables_in_a_directory(tmp_path: Path) -> None:
    with rr.server.Server(table_directory=tmp_path) as server:
        table = server.client().create_table("t", SCHEMA)
        table.append(id=1)
        url = table.storage_url
    assert Path(url.removeprefix("file://")).parent == tmp_path
    with rr.server.Server() as server:
        assert rows(server.client().register_table("t", url)) == [{"id": 1, "name": None}]


def test_temporary_tables_go_with_the_server() -> None:
    server = rr.server.Server()
    client = server.client()
    table = client.create_table("t", SCHEMA)
    table.append(id=1)
    directory = Path(table.storage_url.removeprefix("file://"))
    assert directory.is_dir()
    server.shutdown()
    assert not directory.parent.exists()
    with pytest.raises(ConnectionError):
        table.append(id=2)


def test_what_cannot_be_registered(client: CatalogClient, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such directory"):
        client.register_table("t", tmp_path / "none")
    with pytest.raises(ValueError, match="holds no table"):
        client.register_table("t", tmp_path)
    (tmp_path / "lance" / "_versions").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds a Lance table.*create_table"):
        client.register_table("t", tmp_path / "lance")
    with pytest.raises(ValueError, match="file:///path"):
        client.register_table("t", "s3://bucket/t")
    assert client.table_names() == []
    with pytest.raises(
        ValueError, match=r"Failed to start Rushes server: table 't': .*no such directory"
    ):
        rr.server.Server(tables={"t": tmp_path / "none"})
    with pytest.raises(TypeError, match="tables must be a dict"):
        rr.server.Server(tables=[tmp_path])  # type: ignore[arg-type]


def test_two_clients_append_at_once(server: rr.server.Server) -> None:
    server.client().create_table("t", SCHEMA)
    errors: list[BaseException] = []

    def write(client: CatalogClient, first: int) -> None:
        try:
            table = client.get_table("t")
            for i in range(first, first + 25):
                table.append(id=[i])
        except BaseException as error:
            errors.append(error)

    clients = [server.client(), CatalogClient(server.url()), CatalogClient(server.url())]
    threads = [threading.Thread(target=write, args=(c, 100 * i)) for i, c in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = [row["id"] for row in rows(server.client().get_table("t"))]
    assert sorted(found) == [100 * i + k for i in range(3) for k in range(25)]
    for i in range(3):  # each client's rows are in its order
        assert [n for n in found if n // 100 == i] == [100 * i + k for k in range(25)]


_WRITE_FOR_EVER = """
import sys, rushes as rr, pyarrow as pa
server = rr.server.Server()
client = rr.catalog.CatalogClient(server.url()) if sys.argv[2] == "remote" else server.client()
table = client.register_table("t", sys.argv[1])
n = int(sys.argv[3])
while True:
    table.append([pa.record_batch([pa.array([n]), pa.array(["x" * 1000])], ["id", "name"])
                  for n in range(n, n + 3)])
    n += 3
    print(n, flush=True)
"""


@pytest.mark.parametrize("how", ["embedded", "remote"])
def test_kill_9_loses_no_acknowledged_row(tmp_path: Path, how: str) -> None:
    with rr.server.Server() as server:
        url = server.client().create_table("t", SCHEMA, tmp_path).storage_url
    choose = random.Random(7)
    total = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITE_FOR_EVER, url, how, str(total)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        acknowledged = int(process.stdout.readline())
        timer = threading.Timer(choose.uniform(0.0, 0.3), process.send_signal, [signal.SIGKILL])
        timer.start()
        for line in process.stdout:
            acknowledged = int(line)
        assert process.wait(30) == -signal.SIGKILL
        timer.join()
        with rr.server.Server() as server:
            table = server.client().register_table("t", url)
            ids = [row["id"] for row in rows(table)]
        assert ids == list(range(len(ids)))
        assert len(ids) % 3 == 0  # whole writes only
        assert acknowledged <= len(ids) <= acknowledged + 3
        total = len(ids)


def test_ctrl_c_ends_a_write_and_nothing_is_written(table: TableEntry) -> None:
    def endless() -> Any:
        for i in range(10_000):
            time.sleep(0.01)
            yield batch([i], ["x"])

    timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        table.append(pa.RecordBatchReader.from_batches(batch([], []).schema, endless()))
    timer.join()
    time.sleep(0.3)
    assert rows(table) == []


# --- blueprints


def test_blueprints_of_a_table(client: CatalogClient, table: TableEntry, tmp_path: Path) -> None:
    blueprints = table.blueprint_dataset()
    assert blueprints.name == f"__bp_{table.id}"
    assert table.blueprints() == []
    assert table.default_blueprint() is None
    table.set_default_blueprint("not there")  # not checked
    assert table.default_blueprint() == "not there"
    table.set_default_blueprint(None)
    assert table.default_blueprint() is None
    rrb = pytest.importorskip("rerun.blueprint")
    path = tmp_path / "view.rbl"
    rrb.Blueprint(rrb.TextLogView()).save("app", str(path))
    table.register_blueprint(path.as_uri())
    assert table.blueprints() == [table.default_blueprint()]
    blueprints.delete()
    with pytest.raises(ValueError, match="table blueprint dataset does not exist"):
        table.set_default_blueprint("x")


def test_dataframes_are_written_by_the_table(client: CatalogClient) -> None:
    """What docs/tables.md says in place of `df.write_table`, which DataFusion refuses before anything is changed."""
    scores = client.create_table("scores", pa.schema({"run": pa.string(), "score": pa.float64()}))
    scores.append(run=["a", "b", "c"], score=[0.2, 0.7, 0.9])
    best = client.create_table("best", scores.arrow_schema())
    frame = client.ctx.sql("select * from scores where score > 0.5")
    with pytest.raises(Exception, match="Insert into not implemented"):
        frame.write_table("best")
    assert rows(best) == []
    best.append(frame)
    best.append(frame)
    assert [row["run"] for row in rows(best)] == ["b", "c", "b", "c"]
    best.overwrite(frame)
    assert [row["run"] for row in rows(best)] == ["b", "c"]
    # Also from the table that is written.
    scores.overwrite(client.ctx.sql("select run, score * 100 as score from scores"))
    assert [row["score"] for row in rows(scores)] == [20.0, 70.0, 90.0]
