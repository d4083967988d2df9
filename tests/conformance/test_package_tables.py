"""User tables and catalog navigation by SQL through a package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import rerun as rr
import rerun.blueprint as rrb
from datafusion import col, lit
from package_data import SEGMENTS, catalog_module, table, uris

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("name", pa.utf8())])


def batch(*rows: tuple[int, str]) -> pa.RecordBatch:
    return pa.record_batch([[r[0] for r in rows], [r[1] for r in rows]], schema=SCHEMA)


def rows_of(entry: Any) -> list[tuple[Any, ...]]:
    rows = table(entry.reader(), "id")
    return list(zip(rows["id"].to_pylist(), rows["name"].to_pylist(), strict=True))


def count(client: Any, name: str) -> int:
    (row,) = client.ctx.sql(f"SELECT count(*) AS n FROM {name}").to_arrow_table().to_pylist()
    return row["n"]


# --- creation


@pytest.mark.covers("test_create_table")
@pytest.mark.covers("test_create_table_from_dataset")
@pytest.mark.covers("test_create_table_in_custom_schema")
@pytest.mark.covers("test_create_table_invalid_name")
def test_created(client: Any, recordings: list[Path], tmp_path: Path) -> None:
    made = client.create_table("mine", SCHEMA, (tmp_path / "table").as_uri())
    assert made.arrow_schema().remove_metadata().equals(SCHEMA)
    dataset = client.create_dataset("recordings")
    dataset.register(uris(recordings[:1])).wait()
    wanted = dataset.reader(index="time_3").schema()
    copy = client.create_table("copy", wanted)
    got = copy.arrow_schema()
    assert got.names == wanted.names
    for field in wanted:
        assert (got.field(field.name).metadata or {}) == (field.metadata or {})
    dotted = client.create_table("my_catalog.my_schema.my_table", SCHEMA)
    assert dotted.name == "my_catalog.my_schema.my_table"
    with pytest.raises(ValueError):
        client.create_table("no-name", SCHEMA)


@pytest.mark.covers("test_urls")
def test_addresses(client: Any, tmp_path: Path) -> None:
    assert client.url.startswith(("rerun://", "rerun+http://", "rerun+https://"))
    made = client.create_table("mine", SCHEMA, (tmp_path / "simple_datatypes").as_uri())
    assert "/simple_datatypes" in made.storage_url


# --- writing and reading


@pytest.mark.covers("test_client_write_table")
@pytest.mark.covers("current/test_create_table_and_append")
@pytest.mark.covers("current/test_write_table_with_record_batches")
@pytest.mark.covers("current/test_table_overwrite_mode")
@pytest.mark.covers("draft/test_create_table_and_append")
@pytest.mark.covers("draft/test_write_table_with_record_batches")
@pytest.mark.covers("draft/test_table_overwrite_mode")
def test_batches_in_all_forms(client: Any) -> None:
    made = client.create_table("mine", SCHEMA)
    three = [batch((i, "a"), (i + 1, "b"), (i + 2, "c")) for i in (0, 10, 20)]
    made.append(pa.RecordBatchReader.from_batches(SCHEMA, three))
    assert len(rows_of(made)) == 9
    made.append([[three[0]], [three[1]], [three[2]]])
    assert len(rows_of(made)) == 18
    made.append(three)
    assert len(rows_of(made)) == 27
    made.append(three[0])
    assert len(rows_of(made)) == 30
    made.overwrite(three[1])
    assert rows_of(made) == [(10, "a"), (11, "b"), (12, "c")]


@pytest.mark.covers("test_client_append_to_table")
def test_named_values(client: Any) -> None:
    made = client.create_table("mine", SCHEMA)
    made.append(id=1, name="one")
    made.append(id=[2, 3], name=["two", None])
    assert rows_of(made) == [(1, "one"), (2, "two"), (3, None)]


@pytest.mark.covers("test_table_upsert")
def test_upsert(client: Any) -> None:
    key = pa.field("id", pa.int64(), metadata={"rerun:is_table_index": "true"})
    made = client.create_table("mine", pa.schema([key, SCHEMA.field("name")]))
    made.append(id=[1, 2, 3], name=["a", "b", "c"])
    made.upsert(id=[1, 2, 4], name=["A", "B", "D"])
    assert rows_of(made) == [(1, "A"), (2, "B"), (3, "c"), (4, "D")]
    collected = made.reader().sort(col("id")).collect()
    assert len(collected) == 1


@pytest.mark.covers("test_datafusion_write_table")
def test_written_from_a_dataframe(client: Any) -> None:
    """The official client's tables take DataFusion's inserts; ours are read by it and written by their own methods."""
    made = client.create_table("mine", SCHEMA)
    made.append(batch((1, "one"), (2, "two")))
    frame = client.ctx.from_arrow(pa.Table.from_batches([batch((3, "three"))]))
    if catalog_module(client) is rr.catalog:
        frame.write_table("mine")
    else:
        with pytest.raises(Exception, match=r"(?i)insert"):
            frame.write_table("mine")
        assert count(client, "mine") == 2
        made.append(frame.collect())
    assert rows_of(made) == [(1, "one"), (2, "two"), (3, "three")]
    made.overwrite(frame.collect())
    assert rows_of(made) == [(3, "three")]


@pytest.mark.covers("current/test_table_api")
@pytest.mark.covers("current/test_read_table")
@pytest.mark.covers("current/test_catalog_basics")
@pytest.mark.covers("draft/test_table_api")
@pytest.mark.covers("draft/test_read_table")
def test_an_empty_table(client: Any) -> None:
    made = client.create_table("mine", SCHEMA)
    assert [b for b in made.reader().collect() if b.num_rows] == []
    assert client.table_names() == ["mine"]
    made.append(batch((1, "one")))
    for _ in range(2):
        assert rows_of(client.get_table("mine")) == [(1, "one")]
    assert client.ctx.table("mine").count() == 1
    empty = client.create_table("empty", pa.schema([]))
    assert empty.arrow_schema().names == []


@pytest.mark.covers("test_query_lance_table")
@pytest.mark.covers("test_tables_to_arrow_reader")
@pytest.mark.covers("test_datafusion_catalog_get_tables")
def test_all_tables_are_read(client: Any) -> None:
    for name in ("one", "two", "three"):
        client.create_table(name, SCHEMA).append(batch((1, name)))
    assert sorted(client.table_names()) == ["one", "three", "two"]
    kinds = {e.name: e.kind for e in client.tables(include_hidden=True)}
    assert kinds["__entries"] == catalog_module(client).EntryKind.TABLE
    for entry in client.tables(include_hidden=True):
        assert entry.reader().count() > 0
        assert sum(b.num_rows for b in entry.to_arrow_reader()) > 0
    for name in ("one", "two", "three"):
        assert count(client, name) == 1


@pytest.mark.covers("current/test_table_to_polars")
@pytest.mark.covers("draft/test_table_to_polars")
def test_polars(client: Any) -> None:
    made = client.create_table("mine", SCHEMA)
    made.append(batch((1, "one"), (2, "two")))
    frame = made.reader().sort(col("id")).to_polars()
    assert frame.rows() == [(1, "one"), (2, "two")]


# --- a table beside a dataset


@pytest.mark.covers("current/test_dataset_metadata")
@pytest.mark.covers("draft/test_dataset_metadata")
def test_rows_about_segments(client: Any, recordings: list[Path]) -> None:
    dataset = client.create_dataset("mine")
    dataset.register(uris(recordings[:3])).wait()
    about = client.create_table(
        "about", pa.schema([pa.field("rerun_segment_id", pa.utf8()), pa.field("good", pa.bool_())])
    )
    about.append(rerun_segment_id=SEGMENTS[:3], good=[True, False, True])
    joined = dataset.segment_table(join_meta=about.reader())
    rows = table(joined.filter(col("good") == lit(True)), "rerun_segment_id")
    assert rows["rerun_segment_id"].to_pylist() == [SEGMENTS[0], SEGMENTS[2]]


# --- navigation by SQL


@pytest.mark.covers("test_unqualified_name_resolves_in_default_catalog")
@pytest.mark.covers("test_dotted_name_resolves_through_virtual_hierarchy")
@pytest.mark.covers("test_catalog_schema_table_navigation_returns_provider")
@pytest.mark.covers("test_runtime_created_catalog_is_reachable_without_reconnect")
def test_names_are_found_by_sql(client: Any) -> None:
    client.create_table("plain", SCHEMA)
    assert count(client, "plain") == 0
    made = client.create_table("first.second.third", SCHEMA)
    made.append(batch((1, "one")))
    assert count(client, "first.second.third") == 1
    found = client.ctx.catalog("first").schema("second").table("third")
    assert found.schema.names == SCHEMA.names
    client.create_table("later.second.third", SCHEMA)
    assert count(client, "later.second.third") == 0


@pytest.mark.covers("test_missing_table_surfaces_error")
@pytest.mark.covers("test_lazy_catalog_lookups_do_not_appear_in_catalog_names")
def test_names_that_nothing_has(client: Any) -> None:
    with pytest.raises(Exception, match=r"(?i)not found|nothing"):
        count(client, "nothing")
    with pytest.raises(Exception, match=r"(?i)not found|nowhere"):
        count(client, "nowhere.at.all")
    assert "nowhere" not in client.ctx.catalog_names()


# --- blueprints of tables


def blueprint_file(folder: Path, name: str) -> str:
    path = folder / f"{name}.rbl"
    rrb.Blueprint(rrb.Spatial2DView(origin=f"/{name}")).save("rushes_conformance", path)
    return path.as_uri()


@pytest.mark.covers("test_configure_table_blueprint_dataset")
@pytest.mark.covers("test_table_blueprint_set_default_false_creates_dataset_without_default")
@pytest.mark.covers("test_table_default_blueprint_uses_creation_blueprint_dataset")
def test_default_blueprints(client: Any, tmp_path: Path) -> None:
    made = client.create_table("mine", SCHEMA)
    assert made.default_blueprint() is None
    made.register_blueprint(blueprint_file(tmp_path, "one"), set_default=False)
    assert made.default_blueprint() is None
    (first,) = made.blueprints()
    made.register_blueprint(blueprint_file(tmp_path, "two"))
    (second,) = [name for name in made.blueprints() if name != first]
    assert made.default_blueprint() == second
    made.set_default_blueprint(first)
    assert made.default_blueprint() == first
    made.set_default_blueprint("not registered")
    assert made.default_blueprint() == "not registered"
    made.set_default_blueprint(None)
    assert made.default_blueprint() is None


@pytest.mark.covers("test_table_default_blueprint_rejects_deleted_blueprint_dataset")
def test_a_default_of_deleted_blueprints(client: Any) -> None:
    made = client.create_table("mine", SCHEMA)
    made.blueprint_dataset().delete()
    with pytest.raises(ValueError, match="table blueprint dataset does not exist"):
        made.set_default_blueprint("anything")


# --- data of others


@pytest.mark.covers("test_write_to_registered_table")
@pytest.mark.ours("the official server reads Lance data; this one says what to do with them")
def test_registered_lance_data(client: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "_versions").mkdir(parents=True)
    with pytest.raises(Exception, match=r"(?i)lance"):
        client.register_table("mine", (tmp_path / "data").as_uri())
    assert client.table_names() == []
