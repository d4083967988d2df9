"""Tables: the official client on our server, and our client on the official server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import rerun
from rerun.catalog import CatalogClient

import rushes

KEY = {"rerun:is_table_index": "true"}
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False, metadata=KEY),
        pa.field("name", pa.string()),
        pa.field("xs", pa.list_(pa.float32())),
    ],
    metadata={"owner": "tests"},
)


def batch(ids: list[int], name: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids),
            pa.array([name] * len(ids)),
            pa.array([[1.0]] * len(ids), pa.list_(pa.float32())),
        ],
        schema=SCHEMA,
    )


def rows(table: Any) -> list[tuple[int, str | None]]:
    found = table.reader().to_arrow_table().to_pylist()
    return sorted((row["id"], row["name"]) for row in found)


@pytest.fixture
def ours(serve: Callable[..., Any]) -> CatalogClient:
    """The official client of our server."""
    return CatalogClient(serve().url)


@pytest.fixture
def theirs() -> Iterator[rushes.catalog.CatalogClient]:
    """Our client of the official server."""
    with rerun.server.Server(host="127.0.0.1") as server:
        yield rushes.catalog.CatalogClient(server.url())


@pytest.fixture(params=["official client, our server", "our client, official server"])
def client(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("ours" if request.param.startswith("official") else "theirs")


def test_life_of_a_table(client: Any) -> None:
    table = client.create_table("t", SCHEMA)
    assert repr(table) == "Entry(EntryKind.TABLE, 't')"
    assert client.table_names() == ["t"]
    assert table.storage_url.startswith("file://")
    assert table.arrow_schema().remove_metadata() == SCHEMA.remove_metadata()
    assert table.arrow_schema().field("id").metadata == {b"rerun:is_table_index": b"true"}
    assert table.arrow_schema().metadata[b"owner"] == b"tests"
    assert table.reader().collect() == []
    table.append(id=[1, 2], name=["a", "b"])
    table.append([batch([3], "c"), batch([4], "d")])
    table.append(pa.record_batch([pa.array([5])], ["id"]))
    assert rows(table)[:4] == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert rows(table)[4] == (5, None)
    assert client.get_table("t").to_arrow_reader().read_all().num_rows == 5
    table.upsert(id=[1, 9], name=["A", "new"])
    assert [name for id, name in rows(table) if id in (1, 9)] == ["A", "new"]
    table.overwrite(batch([7, 8], "z"))
    assert rows(table) == [(7, "z"), (8, "z")]
    table.overwrite(id=7, name="y")
    assert rows(table) == [(7, "y")]
    table.delete()
    assert client.table_names() == []


def test_sql(client: Any) -> None:
    for name in ("t", "lab.t", "org.lab.t"):
        client.create_table(name, SCHEMA).append(id=[1, 2], name=["a", name])
    for name in ("t", "lab.t", "org.lab.t"):
        found = client.ctx.sql(f"select name from {name} where id = 2").to_pydict()
        assert found == {"name": [name]}
    assert client.ctx.catalog().schema("lab").table_names() == {"t"}
    joined = client.ctx.sql("select count(*) as n from t join lab.t as u on t.id = u.id")
    assert joined.to_pydict() == {"n": [2]}
    with pytest.raises(Exception, match="nope"):
        client.ctx.sql("select * from nope")


def test_errors(client: Any) -> None:
    kinds = rerun.catalog if isinstance(client, CatalogClient) else rushes.catalog
    table = client.create_table("t", SCHEMA)
    client.create_dataset("d")
    for name in ("t", "d"):
        with pytest.raises(kinds.AlreadyExistsError, match="already exists"):
            client.create_table(name, SCHEMA)
    with pytest.raises(kinds.NotFoundError):
        client.get_table("d")
    with pytest.raises((ValueError, RuntimeError), match="z"):
        table.append(pa.record_batch([pa.array([1]), pa.array([1])], ["id", "z"]))
    with pytest.raises((ValueError, RuntimeError), match="int64"):
        table.append(pa.record_batch([pa.array(["x"])], ["id"]))
    plain = client.create_table("plain", pa.schema([("x", pa.int64())]))
    with pytest.raises(RuntimeError, match="key"):
        plain.upsert(x=[1])
    assert rows(table) == []
    table.delete()
    with pytest.raises((kinds.NotFoundError, LookupError)):
        client.get_table("t")


def test_details(client: Any) -> None:
    table = client.create_table("t", SCHEMA)
    assert table.blueprint_dataset().name == f"__bp_{table.id}"
    assert table.blueprints() == []
    table.set_default_blueprint("x")
    assert client.get_table("t").default_blueprint() == "x"
    table.set_default_blueprint(None)
    assert client.get_table("t").default_blueprint() is None
    table.set_name("renamed")
    assert client.get_table("renamed").id == table.id


def test_the_official_client_writes_through_datafusion(ours: CatalogClient) -> None:
    ours.create_table("source", SCHEMA).append([batch([1, 2], "a")])
    target = ours.create_table("target", SCHEMA)
    frame = ours.ctx.table("source")
    frame.write_table("target")
    frame.write_table("target")
    assert [id for id, _ in rows(target)] == [1, 1, 2, 2]
    from datafusion import DataFrameWriteOptions, InsertOp

    frame.write_table("target", DataFrameWriteOptions(insert_operation=InsertOp.OVERWRITE))
    assert [id for id, _ in rows(target)] == [1, 2]


def test_an_overwrite_of_several_batches_keeps_them_all(ours: CatalogClient) -> None:
    table = ours.create_table("t", SCHEMA)
    table.append(batch([0], "old"))
    table.overwrite([batch([1], "a"), batch([2], "b")])
    assert rows(table) == [(1, "a"), (2, "b")]


def test_our_overwrite_keeps_all_batches_on_the_official_server(
    theirs: rushes.catalog.CatalogClient,
) -> None:
    table = theirs.create_table("t", SCHEMA)
    table.overwrite([batch([1], "a"), batch([2], "b")])
    assert rows(table) == [(1, "a"), (2, "b")]


def test_a_table_of_the_columns_of_a_dataset(serve: Callable[..., Any], tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2] / "recordings" / "howto"
    client = CatalogClient(serve(root).url)
    frame = client.get_dataset("howto").reader(index="frame_nr")
    table = client.create_table("copy", frame.schema(), tmp_path.as_uri())
    table.append(frame.collect())
    assert table.reader().count() == frame.count() > 0
    for written, read in zip(table.arrow_schema(), frame.schema(), strict=True):
        assert (written.name, written.metadata) == (read.name, read.metadata)


def test_a_registered_table_survives_its_server(serve: Callable[..., Any], tmp_path: Path) -> None:
    first = serve()
    table = CatalogClient(first.url).create_table("t", SCHEMA, tmp_path.as_uri())
    table.append(batch([1], "a"))
    url = table.storage_url
    first.stop()
    client = CatalogClient(serve("--table", f"direct={url.removeprefix('file://')}").url)
    assert rows(client.get_table("direct")) == [(1, "a")]
    again = client.register_table("again", url + "/")
    assert again.storage_url.rstrip("/").endswith(url.rsplit("/", 1)[1])
    again.append(batch([2], "b"))
    assert rows(client.get_table("direct")) == [(1, "a"), (2, "b")]


_SLOW_WRITER = """
import sys, time, rushes as rr, pyarrow as pa
schema = pa.schema([("id", pa.int64())])
def slow():
    for n in range(1000):
        print(n, flush=True)
        yield pa.record_batch([pa.array([n] * 100_000)], schema=schema)
        time.sleep(0.05)
table = rr.catalog.CatalogClient(sys.argv[1]).get_table("t")
table.append(pa.RecordBatchReader.from_batches(schema, slow()))
"""


def test_a_client_that_is_killed_while_it_writes_leaves_nothing(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    url = serve().url
    table = CatalogClient(url).create_table("t", pa.schema([("id", pa.int64())]), tmp_path.as_uri())
    table.append(id=[1])
    data = Path(table.storage_url.removeprefix("file://")) / "data"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _SLOW_WRITER, url], stdout=subprocess.PIPE, text=True
        )
        for line in process.stdout:
            if int(line) == 5:
                break
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while len(list(data.iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(data.iterdir())) == 1
    assert table.reader().count() == 1


def test_a_lance_table_is_refused_with_what_to_do(ours: CatalogClient, tmp_path: Path) -> None:
    with rerun.server.Server(host="127.0.0.1") as server:
        lance = CatalogClient(server.url()).create_table("t", SCHEMA, tmp_path.as_uri())
        lance.append(batch([1], "a"))
        url = lance.storage_url
    with pytest.raises(ValueError, match=r"holds a Lance table.*`lance`"):
        ours.register_table("t", url)
    with pytest.raises(ValueError, match=r"relative URL|file:///path"):
        ours.register_table("t", "nowhere")


def test_bounds_and_places_are_options(serve: Callable[..., Any], tmp_path: Path) -> None:
    places = ("--table-dir", tmp_path, "--max-table-batch", "1MB", "--max-table-upsert", "10KB")
    client = CatalogClient(serve(*places).url)
    table = client.create_table("t", SCHEMA)
    assert Path(table.storage_url.removeprefix("file://").rstrip("/")).parent == tmp_path
    with pytest.raises(ValueError, match="that this server takes at once; send"):
        table.append(batch(list(range(300_000)), "a"))
    with pytest.raises(ValueError, match="an upsert of more than 10240 bytes"):
        table.upsert(batch(list(range(1000)), "a"))
    table.append(batch(list(range(1000)), "a"))
    assert table.reader().count() == 1000
