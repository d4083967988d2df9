"""User tables: as entries beside datasets, their storage, what is written and read."""

from __future__ import annotations

from typing import Any

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
    joined,
    pb,
    refused,
)
from recordings import blueprint

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
