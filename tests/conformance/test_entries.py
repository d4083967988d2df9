"""Entries of the catalog: datasets, their hidden companions, look-ups, renames, events."""

from __future__ import annotations

import grpc
import pyarrow as pa
import pytest
from catalog_client import Catalog
from protocol import (
    decode,
    decode_schema,
    entry_id,
    entry_id_text,
    fields_of,
    joined,
    pb,
    refused,
)

DATASET, TABLE, BLUEPRINT, ASSET = 1, 3, 5, 6
ENTRIES_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), False),
        pa.field("name", pa.utf8(), False),
        pa.field(
            "entry_kind",
            pa.uint8(),
            False,
            {"rerun:component_type": "rerun.components.EntryKind"},
        ),
        pa.field("created_at", pa.timestamp("ns"), False),
        pa.field("updated_at", pa.timestamp("ns"), False),
    ]
)


def entries_rows(catalog: Catalog) -> list[tuple[str, int]]:
    """(name, kind) of the rows of `__entries`, whose schema is checked."""
    found = catalog.FindEntries(filter=pb.EntryFilter(name="__entries")).entries
    assert [e.entry_kind for e in found] == [TABLE]
    advertised = decode_schema(catalog.GetTableSchema(table_id=found[0].id).schema)
    rows = joined(catalog.ScanTable(table_id=found[0].id), "dataframe_part")
    assert fields_of(advertised) == fields_of(ENTRIES_SCHEMA)
    assert fields_of(rows.schema) == fields_of(ENTRIES_SCHEMA)
    return sorted(zip(rows["name"].to_pylist(), rows["entry_kind"].to_pylist(), strict=True))


# --- creation


@pytest.mark.covers("create_dataset_tests")
def test_datasets_are_created_with_their_companions(catalog: Catalog) -> None:
    first = catalog.CreateDatasetEntry(name="dataset1").dataset
    second = catalog.CreateDatasetEntry(name="dataset2", id=entry_id(0, 123)).dataset
    assert second.details.id == entry_id(0, 123)
    for made in (first, second):
        assert made.details.entry_kind == DATASET
        for filter in ({"name": made.details.name}, {"id": made.details.id}):
            found = catalog.FindEntries(filter=pb.EntryFilter(entry_kinds=[DATASET], **filter))
            assert [e.id for e in found.entries] == [made.details.id]
        details = made.dataset_details
        assert details.HasField("blueprint_dataset")
        assert details.HasField("asset_dataset")
        assert not details.HasField("default_blueprint_segment")
        assert not details.HasField("default_segment_table_blueprint_segment")
        companion = catalog.details(details.blueprint_dataset)
        assert companion.details.entry_kind == BLUEPRINT
        assert companion.details.name == f"__bp_{entry_id_text(made.details.id)}"
        assert companion.dataset_details == pb.DatasetDetails()
    with refused("ALREADY_EXISTS", "dataset1"):
        catalog.CreateDatasetEntry(name="dataset1")
    with refused("ALREADY_EXISTS"):
        catalog.CreateDatasetEntry(name="other", id=entry_id(0, 123))
    with refused("ALREADY_EXISTS", "__entries"):  # one name space over all kinds
        catalog.CreateDatasetEntry(name="__entries")


@pytest.mark.ours("the official server leaves companions of the failed ones behind")
def test_a_failed_creation_leaves_nothing(catalog: Catalog) -> None:
    catalog.CreateDatasetEntry(name="dataset1", id=entry_id(0, 123))
    before = catalog.names(entry_kinds=[1, 2, 3, 4, 5, 6])
    for fields in ({"name": "dataset1"}, {"name": "x", "id": entry_id(0, 123)}, {"name": "a/b"}):
        with pytest.raises(grpc.RpcError):
            catalog.CreateDatasetEntry(**fields)
    assert catalog.names(entry_kinds=[1, 2, 3, 4, 5, 6]) == before


# --- the table of entries


@pytest.mark.covers("list_entries_table")
def test_an_empty_catalog_lists_its_own_table(catalog: Catalog) -> None:
    assert entries_rows(catalog) == [("__entries", TABLE)]


@pytest.mark.covers("entries_table_with_empty_dataset")
def test_entries_come_and_go(catalog: Catalog) -> None:
    dataset = catalog.create("empty_dataset")
    text = entry_id_text(dataset)
    assert entries_rows(catalog) == sorted(
        [
            ("__entries", TABLE),
            (f"__bp_{text}", BLUEPRINT),
            (f"__as_{text}", ASSET),
            ("empty_dataset", DATASET),
        ]
    )
    catalog.DeleteEntry(id=dataset)
    assert entries_rows(catalog) == [("__entries", TABLE)]


# --- look-ups


@pytest.mark.covers("find_entries_entry_kinds_rejects_unspecified")
def test_kind_zero_is_refused(catalog: Catalog) -> None:
    for kinds in ([0], [1, 0]):
        with refused("INVALID_ARGUMENT"):
            catalog.names(entry_kinds=kinds)


@pytest.mark.covers("find_entries_legacy_entry_kind_still_works")
def test_the_single_kind_of_old_clients(catalog: Catalog) -> None:
    catalog.create("mine")
    found = catalog.FindEntries(filter=pb.EntryFilter(entry_kind=DATASET)).entries
    assert {e.entry_kind for e in found} == {DATASET}
    assert "mine" in [e.name for e in found]


@pytest.mark.covers("find_entries_legacy_entry_kind_miss_returns_empty")
def test_a_name_that_nothing_has(catalog: Catalog) -> None:
    assert catalog.names(entry_kind=DATASET, name="nothing") == []


@pytest.mark.covers("find_entries_rejects_legacy_unspecified")
def test_the_single_kind_zero_is_refused(catalog: Catalog) -> None:
    with refused("INVALID_ARGUMENT"):
        catalog.names(entry_kind=0)


@pytest.mark.covers("find_entries_asset_by_name_requires_explicit_kind")
def test_assets_by_name_only_when_asked_for(catalog: Catalog) -> None:
    name = f"__as_{entry_id_text(catalog.create('mine'))}"
    assert catalog.names(name=name) == []
    assert catalog.names(name=name, entry_kinds=[ASSET]) == [name]


@pytest.mark.covers("find_entries_asset_by_id_requires_explicit_kind")
def test_assets_by_id_only_when_asked_for(catalog: Catalog) -> None:
    assets = catalog.details(catalog.create("mine")).dataset_details.asset_dataset
    assert catalog.names(id=assets) == []
    assert len(catalog.names(id=assets, entry_kinds=[ASSET])) == 1
    assert catalog.names(id=assets, entry_kinds=[DATASET]) == []


@pytest.mark.covers("find_entries_ignores_unknown_entry_kinds")
def test_kinds_to_come_match_nothing(catalog: Catalog) -> None:
    catalog.create("mine")
    found = catalog.FindEntries(filter=pb.EntryFilter(entry_kinds=[DATASET, 1000])).entries
    assert {e.entry_kind for e in found} == {DATASET}
    assert "mine" in [e.name for e in found]


# --- changes


@pytest.mark.covers("update_entry_bumps_timestamp")
def test_a_rename_counts_as_a_change(catalog: Catalog) -> None:
    dataset = catalog.create("before")
    times = [catalog.updated_at(dataset)]
    for name in ("after", "after"):
        update = pb.EntryDetailsUpdate(name=name)
        answer = catalog.UpdateEntry(id=dataset, entry_details_update=update)
        assert answer.entry_details.name == name
        times.append(catalog.updated_at(dataset))
    assert times[0] < times[1]
    assert times[1] == times[2]  # the same name is none


@pytest.mark.ours("the official server goes on to resolve the old name")
def test_the_old_name_is_free_after_a_rename(catalog: Catalog) -> None:
    dataset = catalog.create("before")
    catalog.UpdateEntry(id=dataset, entry_details_update=pb.EntryDetailsUpdate(name="after"))
    assert catalog.names(name="before") == []
    catalog.create("before")


@pytest.mark.covers("update_dataset_entry_rejects_invalid_blueprint_details")
def test_blueprints_of_a_dataset(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    blueprints = catalog.details(dataset).dataset_details.blueprint_dataset
    wanted = pb.DatasetDetails(
        blueprint_dataset=blueprints,
        default_blueprint_segment=pb.SegmentId(id="not registered"),
        default_segment_table_blueprint_segment=pb.SegmentId(id="nor this"),
    )
    answer = catalog.UpdateDatasetEntry(id=dataset, dataset_details=wanted).dataset
    assert answer.dataset_details.default_blueprint_segment.id == "not registered"
    stored = catalog.details(dataset).dataset_details
    assert stored.default_segment_table_blueprint_segment.id == "nor this"
    for details, words in (
        ({"default_blueprint_segment": pb.SegmentId(id="x")}, "blueprint dataset"),
        ({"default_segment_table_blueprint_segment": pb.SegmentId(id="x")}, "blueprint dataset"),
        ({"blueprint_dataset": entry_id(1, 2)}, "dataset blueprint dataset does not exist"),
        ({"blueprint_dataset": dataset}, "blueprint"),
    ):
        with refused("INVALID_ARGUMENT", words):
            catalog.UpdateDatasetEntry(id=dataset, dataset_details=pb.DatasetDetails(**details))
    assert catalog.details(dataset).dataset_details == stored


@pytest.mark.covers("update_dataset_entry_keeps_asset_dataset")
def test_assets_stay_when_not_named(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    before = catalog.details(dataset).dataset_details
    wanted = pb.DatasetDetails(blueprint_dataset=before.blueprint_dataset)
    after = catalog.UpdateDatasetEntry(id=dataset, dataset_details=wanted).dataset
    assert after.dataset_details.asset_dataset == before.asset_dataset
    assert catalog.details(dataset).dataset_details.asset_dataset == before.asset_dataset


@pytest.mark.covers("update_dataset_entry_replaces_deleted_asset_dataset")
def test_deleted_assets_are_made_anew(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    details = catalog.details(dataset).dataset_details
    seen = [entry_id_text(details.asset_dataset)]
    for by_id in (False, True):
        catalog.DeleteEntry(id=details.asset_dataset)
        wanted = pb.DatasetDetails(blueprint_dataset=details.blueprint_dataset)
        if by_id:
            wanted.asset_dataset.CopyFrom(details.asset_dataset)
        details = catalog.UpdateDatasetEntry(
            id=dataset, dataset_details=wanted
        ).dataset.dataset_details
        assert catalog.details(details.asset_dataset).details.entry_kind == ASSET
        seen.append(entry_id_text(details.asset_dataset))
    assert len(set(seen)) == 3


@pytest.mark.covers("update_dataset_entry_rejects_invalid_asset_details")
def test_what_cannot_be_the_assets(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    before = catalog.details(dataset).dataset_details
    for other in (entry_id(1, 2), dataset):
        wanted = pb.DatasetDetails(blueprint_dataset=before.blueprint_dataset, asset_dataset=other)
        with refused("INVALID_ARGUMENT"):
            catalog.UpdateDatasetEntry(id=dataset, dataset_details=wanted)
    assert catalog.details(dataset).dataset_details == before


# --- events


def first_event(catalog: Catalog, act: object) -> object:
    """The first event after `act` of a subscriber that was there before."""
    stream = catalog.open("WatchEvents", pb.WatchEventsRequest(), timeout=20)
    stream.initial_metadata()
    act()
    event = next(iter(stream))
    stream.cancel()
    return event


@pytest.mark.covers("watch_events_entry_created")
def test_a_creation_is_an_event(catalog: Catalog) -> None:
    made = []
    event = first_event(catalog, lambda: made.append(catalog.create("mine")))
    assert event.WhichOneof("kind") == "entry_created"
    assert event.entry_created.id == made[0]


@pytest.mark.covers("watch_events_entry_deleted")
def test_a_deletion_is_an_event(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    event = first_event(catalog, lambda: catalog.DeleteEntry(id=dataset))
    assert event.WhichOneof("kind") == "entry_deleted"
    assert event.entry_deleted.id == dataset


def test_decode_refuses_several_batches() -> None:
    """The helper that all rows rest on sees what a dataframe must not be."""
    batch = pa.record_batch({"a": [1]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    part = pb.DataframePart(encoder_version=1, payload=sink.getvalue().to_pybytes())
    with pytest.raises(AssertionError):
        decode(part)
