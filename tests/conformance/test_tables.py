"""User tables: as entries beside datasets, their storage, what is written and read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from catalog_client import Catalog
from metadata import layers, segments
from protocol import (
    decode,
    decode_schema,
    encode,
    encode_schema,
    entry_id,
    entry_id_text,
    fields_of,
    pb,
    refused,
)
from small_recordings import blueprint

DATASET, TABLE, BLUEPRINT, ASSET = 1, 3, 5, 6

# --- beside datasets


@pytest.mark.covers("create_dataset_tests")
def test_a_table_takes_a_name(catalog: Catalog) -> None:
    made = catalog.make_table("table")
    for filter in ({"name": "table"}, {"id": made.details.id}):
        assert catalog.names(entry_kinds=[TABLE], **filter) == ["table"]
    with refused("ALREADY_EXISTS", "table"):
        catalog.create("table")


@pytest.mark.covers("delete_table_deletes_attached_blueprint_dataset")
def test_a_table_takes_its_blueprints_along(catalog: Catalog) -> None:
    made = catalog.make_table("table")
    blueprints = made.table_details.blueprint_dataset
    assert catalog.details(blueprints).details.entry_kind == BLUEPRINT
    catalog.DeleteEntry(id=made.details.id)
    with refused("NOT_FOUND"):
        catalog.ReadTableEntry(id=made.details.id)
    with refused("NOT_FOUND"):
        catalog.ReadDatasetEntry(entry=blueprints)


@pytest.mark.covers("find_entries_default_excludes_asset_datasets")
def test_an_empty_filter_leaves_assets_out(catalog: Catalog) -> None:
    catalog.create("mine")
    catalog.make_table("table")
    for request in ({}, {"filter": pb.EntryFilter()}):
        found = catalog.FindEntries(**request).entries
        assert {"mine", "table"} <= {e.name for e in found}
        kinds = {e.entry_kind for e in found}
        assert BLUEPRINT in kinds
        assert ASSET not in kinds


@pytest.mark.covers("find_entries_entry_kinds_exact")
def test_just_the_kinds_asked_for(catalog: Catalog) -> None:
    assets = f"__as_{entry_id_text(catalog.create('mine'))}"
    catalog.make_table("table")
    for kinds, names in (
        ([DATASET], {"mine"}),
        ([ASSET], {assets}),
        ([DATASET, TABLE], {"mine", "table"}),
    ):
        found = catalog.FindEntries(filter=pb.EntryFilter(entry_kinds=kinds)).entries
        assert {e.entry_kind for e in found} == set(kinds)
        assert names <= {e.name for e in found}


@pytest.mark.covers("find_entries_entry_kinds_multi_kind_name_lookup")
def test_a_name_among_several_kinds(catalog: Catalog) -> None:
    catalog.create("mine")
    catalog.make_table("table")
    assert catalog.names(name="table", entry_kinds=[DATASET, TABLE]) == ["table"]


@pytest.mark.covers("update_entry_tests")
def test_renames(catalog: Catalog) -> None:
    datasets = [catalog.create(f"dataset{i}") for i in (1, 2)]
    tables = [catalog.make_table(f"table{i}").details.id for i in (1, 2)]

    def rename(entry: object, name: str | None) -> str:
        update = pb.EntryDetailsUpdate(name=name) if name else pb.EntryDetailsUpdate()
        return catalog.UpdateEntry(id=entry, entry_details_update=update).entry_details.name

    for entry, old in ((datasets[0], "dataset1"), (tables[0], "table1")):
        assert rename(entry, None) == old
        assert rename(entry, f"{old} new") == f"{old} new"
        assert catalog.names(id=entry, entry_kinds=[DATASET, TABLE]) == [f"{old} new"]
    for entry, taken in (
        (datasets[0], "dataset2"),
        (tables[0], "dataset2"),
        (tables[0], "table2"),
    ):
        with refused("ALREADY_EXISTS", taken):
            rename(entry, taken)


@pytest.mark.covers("update_table_entry_blueprint_details")
def test_a_default_blueprint_of_a_table(catalog: Catalog) -> None:
    table = catalog.make_table("table")
    details = pb.TableDetails(
        blueprint_dataset=table.table_details.blueprint_dataset,
        default_blueprint_segment=pb.SegmentId(id="not registered"),
    )
    answer = catalog.UpdateTableEntry(id=table.details.id, table_details=details).table
    assert answer.table_details == details
    assert catalog.ReadTableEntry(id=table.details.id).table.table_details == details


@pytest.mark.covers("update_table_entry_rejects_invalid_blueprint_details")
def test_what_cannot_be_the_blueprints_of_a_table(catalog: Catalog) -> None:
    table = catalog.make_table("table").details.id
    dataset = catalog.create("mine")
    unknown = entry_id(1, 2)
    with refused("NOT_FOUND"):
        catalog.UpdateTableEntry(
            id=unknown, table_details=pb.TableDetails(blueprint_dataset=unknown)
        )
    with refused("INVALID_ARGUMENT", "table blueprint dataset does not exist"):
        catalog.UpdateTableEntry(id=table, table_details=pb.TableDetails(blueprint_dataset=unknown))
    with refused("INVALID_ARGUMENT"):
        catalog.UpdateTableEntry(id=table, table_details=pb.TableDetails(blueprint_dataset=dataset))


@pytest.mark.covers("register_and_attach_table_blueprint_dataset")
def test_a_blueprint_of_a_table(catalog: Catalog) -> None:
    table = catalog.make_table("table")
    blueprints = table.table_details.blueprint_dataset
    catalog.register(blueprints, [blueprint("blueprint_segment_id", 1)])
    details = pb.TableDetails(
        blueprint_dataset=blueprints,
        default_blueprint_segment=pb.SegmentId(id="blueprint_segment_id"),
    )
    catalog.UpdateTableEntry(id=table.details.id, table_details=details)
    assert catalog.ReadTableEntry(id=table.details.id).table.table_details == details
    assert segments(catalog, blueprints) == [("blueprint_segment_id", ["base"], 1)]
    assert layers(catalog, blueprints) == [("blueprint_segment_id", "base")]


# --- storage

COLUMNS = pa.schema(
    [
        pa.field("name", pa.utf8(), False, {"about": "a name"}),
        pa.field("count", pa.int64()),
        pa.field("ratio", pa.float64(), False),
        pa.field("flag", pa.bool_()),
    ]
)


def stored_at(url: str) -> Any:
    """Where a table is to be stored, as clients say it."""
    details = pb.Any(type_url="/rerun.cloud.v1alpha1.LanceTable")
    details.value = pb.LanceTable(table_url=url).SerializeToString()
    return details


def schema_of(catalog: Catalog, table: Any) -> pa.Schema:
    return decode_schema(catalog.GetTableSchema(table_id=table.details.id).schema)


def rows_of(catalog: Catalog, table: Any) -> list[dict[str, Any]]:
    """All rows; what is sent must have the schema that is announced."""
    schema = schema_of(catalog, table)
    rows = []
    for message in catalog.ScanTable(table_id=table.details.id):
        batch = decode(message.dataframe_part)
        assert fields_of(batch.schema) == fields_of(schema)
        rows += batch.to_pylist()
    return rows


def write(catalog: Catalog, table: Any, mode: int, *batches: pa.RecordBatch) -> None:
    messages = [pb.WriteTableRequest(dataframe_part=encode(b), insert_mode=mode) for b in batches]
    catalog.WriteTable(*messages, entry=table.details.id)


@pytest.mark.covers("create_table_entry")
def test_a_table_at_a_place(catalog: Catalog, tmp_path: Path) -> None:
    made = catalog.CreateTableEntry(
        name="mine",
        schema=encode_schema(COLUMNS),
        provider_details=stored_at((tmp_path / "table").as_uri()),
    ).table
    assert made.details.name == "mine"
    assert made.details.entry_kind == TABLE
    blueprints = catalog.details(made.table_details.blueprint_dataset)
    assert blueprints.details.entry_kind == BLUEPRINT
    assert blueprints.details.name == f"__bp_{entry_id_text(made.details.id)}"
    assert fields_of(schema_of(catalog, made)) == fields_of(COLUMNS)
    assert rows_of(catalog, made) == []


@pytest.mark.covers("create_table_entry_duplicate_url")
def test_two_tables_at_one_place(catalog: Catalog, tmp_path: Path) -> None:
    url = (tmp_path / "table").as_uri()
    fields = {"schema": encode_schema(COLUMNS), "provider_details": stored_at(url)}
    catalog.CreateTableEntry(name="one", **fields)
    with refused("ALREADY_EXISTS", re.escape(url)):
        catalog.CreateTableEntry(name="two", **fields)


@pytest.mark.covers("create_table_entry_failed_does_not_leak_name")
def test_a_name_stays_free_when_creation_fails(catalog: Catalog, tmp_path: Path) -> None:
    schema = encode_schema(COLUMNS)
    with pytest.raises(grpc.RpcError):
        catalog.CreateTableEntry(
            name="mine", schema=schema, provider_details=stored_at("surprise://bad")
        )
    assert catalog.names(name="mine") == []
    good = stored_at((tmp_path / "table").as_uri())
    made = catalog.CreateTableEntry(name="mine", schema=schema, provider_details=good).table
    assert made.details.name == "mine"


# --- rows

KEY = {"rerun:is_table_index": "true"}
TYPES = {
    "boolean": (pa.bool_(), [True, False, True]),
    "int8": (pa.int8(), [1, 2, 3]),
    "int16": (pa.int16(), [1, 2, 3]),
    "int32": (pa.int32(), [11, 12, 13]),
    "int64": (pa.int64(), [18, 20, 21]),
    "uint8": (pa.uint8(), [1, 2, 3]),
    "uint16": (pa.uint16(), [1, 2, 3]),
    "uint32": (pa.uint32(), [1, 2, 3]),
    "uint64": (pa.uint64(), [1, 2, 3]),
    "float32": (pa.float32(), [0.5, 1.5, 2.5]),
    "float64": (pa.float64(), [0.5, 1.5, 2.5]),
    "utf8": (pa.utf8(), ["a", "b", "c"]),
    "binary": (pa.binary(), [b"a", b"b", b"c"]),
}
KEYS = ("int32_nullable", "int64_not_nullable")


def many_columns() -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """26 columns, each type with and without nulls, in two batches of three rows."""
    fields, columns = [], [[], []]
    for name, (data_type, values) in TYPES.items():
        for nullable in (True, False):
            full = f"{name}_{'nullable' if nullable else 'not_nullable'}"
            # Columns that the replacing batch leaves out must take nulls, whatever their name.
            takes_nulls = nullable or full not in (*KEYS, "utf8_not_nullable")
            fields.append(pa.field(full, data_type, takes_nulls, KEY if full in KEYS else None))
            columns[0].append(pa.array(values, data_type))
            shifted = [
                v + 100 if isinstance(v, (int, float)) and not isinstance(v, bool) else v
                for v in values
            ]
            columns[1].append(pa.array(shifted, data_type))
    schema = pa.schema(fields)
    return schema, [pa.record_batch(c, schema=schema) for c in columns]


@pytest.mark.covers("write_table")
def test_appending_overwriting_replacing(catalog: Catalog) -> None:
    schema, batches = many_columns()
    assert len(schema) == 26
    table = catalog.CreateTableEntry(name="mine", schema=encode_schema(schema)).table
    write(catalog, table, 1, *batches)
    original = [row for b in batches for row in b.to_pylist()]
    assert rows_of(catalog, table) == original
    write(catalog, table, 1, *batches)
    assert len(rows_of(catalog, table)) == 12
    write(catalog, table, 2, *batches)
    restored = rows_of(catalog, table)
    if len(restored) != 6:  # servers that let each message of an overwrite replace the one before
        assert restored == batches[1].to_pylist()
        write(catalog, table, 2, pa.Table.from_batches(batches).combine_chunks().to_batches()[0])
        restored = rows_of(catalog, table)
    assert restored == original

    names = ["boolean_nullable", *KEYS, "utf8_not_nullable"]
    few = pa.schema([schema.field(n) for n in names])
    values = [[False, None, True], [11, -1, 12], [18, 19, 20], ["new a", "inserted", "new b"]]
    arrays = [pa.array(v, f.type) for v, f in zip(values, few, strict=True)]
    new_rows = pa.record_batch(arrays, schema=few)
    write(catalog, table, 3, new_rows)
    by_key = {tuple(row[k] for k in KEYS): row for row in rows_of(catalog, table)}
    expected = {tuple(row[k] for k in KEYS): dict(row) for row in original}
    for row in new_rows.to_pylist():
        key = tuple(row[k] for k in KEYS)
        expected[key] = {**expected.get(key, dict.fromkeys(schema.names)), **row}
    assert set(by_key) == set(expected)
    inserted = (-1, 19)
    assert {k: v for k, v in by_key.items() if k != inserted} == {
        k: v for k, v in expected.items() if k != inserted
    }
    got = by_key[inserted]
    for name, value in expected[inserted].items():
        assert got[name] == value, name


@pytest.mark.ours("the official server reads Lance data; this one says what to do with them")
def test_lance_data_are_refused_with_advice(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "data" / "_versions").mkdir(parents=True)
    with refused("INVALID_ARGUMENT|UNIMPLEMENTED|FAILED_PRECONDITION", "lance"):
        catalog.RegisterTable(name="mine", provider_details=stored_at((tmp_path / "data").as_uri()))
    assert catalog.names(name="mine") == []
