"""Assets of a dataset, which segments they cover, and the properties of segments."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from catalog_client import Catalog
from metadata import layers, manifest, segments
from protocol import decode, encode, pb, refused, segment_ids
from small_recordings import BLOB, asset, plain, simple, static

MIB = 1 << 20
ERROR, OVERWRITE = 3, 1


def companions(catalog: Catalog, name: str = "mine") -> tuple[Any, Any, Any]:
    """A new dataset, its assets, its blueprints."""
    dataset = catalog.create(name)
    details = catalog.details(dataset).dataset_details
    return dataset, details.asset_dataset, details.blueprint_dataset


def coverage(mode: str | None, *listed: str, rows: int = 1) -> Any:
    columns = {}
    if mode is not None:
        columns["property:asset:mode"] = pa.array([[mode]] * rows, pa.list_(pa.utf8()))
    columns["property:asset:segments"] = pa.array([list(listed)] * rows, pa.list_(pa.utf8()))
    return encode(pa.record_batch(columns))


def covering(catalog: Catalog, dataset: Any, assets: Any, segment: str | None) -> list[str]:
    """Which assets a segment is answered; every message must name the asset dataset."""
    asked = {} if segment is None else {"segment_id": pb.SegmentId(id=segment)}
    found = []
    for message in catalog.GetAssetsForSegment(entry=dataset, **asked):
        assert message.assets_entry == assets
        found += [item.id for item in message.asset_segment_ids]
    return sorted(found)


def stored(catalog: Catalog, dataset: Any, *ids: str) -> dict[str, tuple[dict[str, Any], int]]:
    """Segment -> (properties, revision)."""
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for message in catalog.GetSegmentProperties(entry=dataset, segment_ids=segment_ids(*ids)):
        for item in message.segments:
            assert item.segment_id.id not in found
            (row,) = decode(item.properties).to_pylist()
            found[item.segment_id.id] = (row, item.revision)
    return found


def put(
    catalog: Catalog, dataset: Any, segment: str, properties: Any, expected: int | None = None
) -> int:
    more = {} if expected is None else {"expected_revision": expected}
    return catalog.SetSegmentProperties(
        entry=dataset, segment_id=pb.SegmentId(id=segment), properties=properties, **more
    ).revision


# --- the asset dataset and its limits


@pytest.mark.covers("deleting_dataset_deletes_asset_dataset")
def test_assets_go_with_their_dataset(catalog: Catalog) -> None:
    dataset, assets, _ = companions(catalog)
    assert catalog.details(assets).details.entry_kind == 6
    catalog.DeleteEntry(id=dataset)
    with refused("NOT_FOUND"):
        catalog.details(assets)
    assert catalog.names(entry_kinds=[6]) == []


@pytest.mark.covers("asset_dataset_enforces_segment_limit")
def test_twelve_assets_at_most(catalog: Catalog) -> None:
    _, assets, _ = companions(catalog)
    catalog.register(assets, [asset(f"asset{i}", i) for i in range(1, 13)])
    ((_, _, status, message),) = catalog.try_register(assets, [asset("asset13", 13)])
    assert status != "success"
    assert "would exceed the limit" in message
    assert len(layers(catalog, assets)) == 12


@pytest.mark.covers("asset_dataset_segment_limit_counts_layers")
def test_layers_count_as_assets(catalog: Catalog) -> None:
    _, assets, _ = companions(catalog)
    sources = [asset(f"asset{i}", i) for i in range(1, 13)]
    catalog.register(assets, sources)
    catalog.register(assets, [sources[4]], OVERWRITE)
    ((_, _, status, message),) = catalog.try_register(assets, [asset("asset5", 20, "second")])
    assert status != "success"
    assert "would exceed the limit" in message
    assert len(layers(catalog, assets)) == 12


@pytest.fixture(scope="module")
def big_files(folder: Path) -> Iterator[Callable[[str, int, str], str]]:
    """Makes files of static bytes that do not compress; one that is asked for again is not made again."""
    made: dict[tuple[str, int, str], Path] = {}

    def make(segment: str, size_bytes: int, kind: str) -> str:
        key = (segment, size_bytes, kind)
        if key not in made:
            source = static(segment, 1, {"/entity": {BLOB: [secrets.token_bytes(size_bytes)]}})
            source.kind = kind
            made[key] = source.write(folder)
        return made[key].as_uri()

    yield make
    for path in made.values():
        path.unlink()


def try_sizes(catalog: Catalog, dataset: Any, make: Any, limit: int, margin: int, kind: str) -> str:
    """One below the limit must pass; the message of the one above it."""

    def register(segment: str, size_bytes: int) -> tuple[str, str]:
        source = pb.DataSource(storage_url=make(segment, size_bytes, kind), typ=1)
        ((_, _, status, message),) = catalog.register_sources(dataset, [source])
        return status, message

    assert register("below", limit - margin)[0] == "success"
    status, message = register("above", limit + margin)
    assert status != "success"
    assert [s for s, _, _ in segments(catalog, dataset)] == ["below"]
    return message


@pytest.mark.covers("asset_dataset_enforces_segment_size_limit")
def test_the_size_of_an_asset(catalog: Catalog, big_files: Any) -> None:
    _, assets, _ = companions(catalog)
    message = try_sizes(catalog, assets, big_files, 300 * MIB, 2 * MIB, "recording")
    assert "-byte limit for asset datasets" in message


@pytest.mark.covers("blueprint_dataset_enforces_segment_size_limit")
def test_the_size_of_a_blueprint(catalog: Catalog, big_files: Any) -> None:
    _, _, blueprints = companions(catalog)
    message = try_sizes(catalog, blueprints, big_files, 25 * MIB, MIB, "blueprint")
    assert "-byte limit for blueprint datasets" in message


@pytest.mark.covers("asset_dataset_rejects_temporal_recording")
def test_assets_have_no_time(catalog: Catalog) -> None:
    _, assets, _ = companions(catalog)
    ((_, _, status, message),) = catalog.try_register(assets, [simple("segment", 1, ["my/entity"])])
    assert status != "success"
    assert "asset datasets only accept static chunks" in message
    assert segments(catalog, assets) == []


# --- which segments an asset covers


@pytest.mark.covers("get_assets_for_segment_returns_registered_assets")
def test_only_what_is_registered(catalog: Catalog) -> None:
    dataset, assets, _ = companions(catalog)
    catalog.register(dataset, [simple("main_segment", 1, ["my/entity"])])
    catalog.register(assets, [asset("asset_segment", 2)])
    assert covering(catalog, dataset, assets, None) == ["asset_segment"]


@pytest.mark.covers("get_assets_for_segment_rejects_non_recording_dataset")
def test_companions_have_no_assets(catalog: Catalog) -> None:
    _, assets, blueprints = companions(catalog)
    for companion in (assets, blueprints):
        with refused("INVALID_ARGUMENT"):
            catalog.GetAssetsForSegment(entry=companion)


@pytest.mark.covers("get_assets_for_segment_filters_by_properties")
def test_opting_in_and_out(catalog: Catalog) -> None:
    dataset, assets, _ = companions(catalog)
    catalog.register(assets, [asset("shared_asset", 1), asset("special_asset", 2)])
    put(catalog, assets, "shared_asset", coverage("OptOut", "seg_custom"))
    put(catalog, assets, "special_asset", coverage("OptIn", "seg_custom"))
    assert covering(catalog, dataset, assets, "seg_default") == ["shared_asset"]
    assert covering(catalog, dataset, assets, "seg_custom") == ["special_asset"]
    assert covering(catalog, dataset, assets, None) == ["shared_asset"]


@pytest.mark.covers("get_assets_for_segment_treats_missing_properties_as_opt_out")
def test_assets_cover_everything_unless_told(catalog: Catalog) -> None:
    dataset, assets, _ = companions(catalog)
    catalog.register(assets, [asset("asset", 1)])
    assert covering(catalog, dataset, assets, "any segment") == ["asset"]
    put(catalog, assets, "asset", coverage(None, "left out"))
    assert covering(catalog, dataset, assets, "any segment") == ["asset"]
    assert covering(catalog, dataset, assets, "left out") == []


@pytest.mark.covers("set_segment_properties_changes_asset_coverage_without_registering")
def test_coverage_follows_at_once(catalog: Catalog) -> None:
    dataset, assets, _ = companions(catalog)
    catalog.register(assets, [asset("asset", 1)])
    rows = manifest(catalog, assets)
    revisions = [put(catalog, assets, "asset", coverage("OptIn", "seg_a"))]
    assert covering(catalog, dataset, assets, "seg_a") == ["asset"]
    assert covering(catalog, dataset, assets, "seg_b") == []
    wide = coverage("OptIn", "seg_a", "seg_b")
    revisions.append(put(catalog, assets, "asset", wide, revisions[-1]))
    assert covering(catalog, dataset, assets, "seg_b") == ["asset"]
    revisions.append(put(catalog, assets, "asset", coverage("OptIn", "seg_b"), revisions[-1]))
    assert covering(catalog, dataset, assets, "seg_a") == []
    assert covering(catalog, dataset, assets, "seg_b") == ["asset"]
    assert 0 not in revisions
    assert len(set(revisions)) == 3
    assert manifest(catalog, assets).equals(rows)


# --- properties of segments


@pytest.mark.covers("set_segment_properties_refuses_a_stale_revision")
def test_a_stale_revision(catalog: Catalog) -> None:
    dataset, _, _ = companions(catalog)
    first = put(catalog, dataset, "segment", coverage("OptIn", "one"), 0)
    with refused("FAILED_PRECONDITION"):
        put(catalog, dataset, "segment", coverage("OptIn", "again"), 0)
    second = put(catalog, dataset, "segment", coverage("OptIn", "two"), first)
    before = stored(catalog, dataset, "segment")
    with refused("FAILED_PRECONDITION"):
        put(catalog, dataset, "segment", coverage("OptIn", "three"), first)
    assert stored(catalog, dataset, "segment") == before
    assert before["segment"][1] == second
    assert before["segment"][0]["property:asset:segments"] == ["two"]


@pytest.mark.covers("set_segment_properties_rejects_a_multi_row_batch")
@pytest.mark.parametrize("rows", [2, 0])
def test_properties_are_one_row(catalog: Catalog, rows: int) -> None:
    dataset, _, _ = companions(catalog)
    with refused("INVALID_ARGUMENT"):
        put(catalog, dataset, "segment", coverage("OptIn", "a", rows=rows))
    assert stored(catalog, dataset, "segment") == {}


@pytest.mark.covers("get_segment_properties_reads_several_segments")
def test_those_that_have_properties(catalog: Catalog) -> None:
    dataset, _, _ = companions(catalog)
    revisions = {s: put(catalog, dataset, s, coverage("OptIn", s)) for s in ("one", "two")}
    found = stored(catalog, dataset, "one", "two", "three")
    assert {segment: revision for segment, (_, revision) in found.items()} == revisions
    assert found["two"][0]["property:asset:segments"] == ["two"]


@pytest.mark.covers("get_segment_properties_rejects_an_empty_request")
def test_properties_of_no_segment(catalog: Catalog) -> None:
    dataset, _, _ = companions(catalog)
    with refused("INVALID_ARGUMENT"):
        catalog.GetSegmentProperties(entry=dataset)


def deletion(segment: str | None, expected: int | None = None) -> Any:
    item = pb.SegmentPropertiesDeletion()
    if segment is not None:
        item.segment_id.id = segment
    if expected is not None:
        item.expected_revision = expected
    return item


@pytest.mark.covers("delete_segment_properties_drops_them")
def test_properties_are_deleted(catalog: Catalog) -> None:
    dataset, _, _ = companions(catalog)
    names = ("free", "matching", "stale", "unnamed")
    revisions = {name: put(catalog, dataset, name, coverage("OptIn", name)) for name in names}
    catalog.DeleteSegmentProperties(
        entry=dataset,
        segments=[
            deletion("free"),
            deletion("matching", revisions["matching"]),
            deletion("stale", revisions["stale"] ^ 1),
            deletion("never written"),
        ],
    )
    left = stored(catalog, dataset, *names)
    assert {name: revision for name, (_, revision) in left.items()} == {
        name: revisions[name] for name in ("stale", "unnamed")
    }
    catalog.DeleteSegmentProperties(entry=dataset)
    assert len(stored(catalog, dataset, *names)) == 2


@pytest.mark.ours("the official server has deleted the items before the one that is wrong")
def test_a_deletion_is_checked_before_it_starts(catalog: Catalog) -> None:
    dataset, _, _ = companions(catalog)
    put(catalog, dataset, "kept", coverage("OptIn", "a"))
    with refused("INVALID_ARGUMENT"):
        catalog.DeleteSegmentProperties(entry=dataset, segments=[deletion("kept"), deletion(None)])
    assert set(stored(catalog, dataset, "kept")) == {"kept"}


@pytest.mark.covers("unregistering_a_segment_preserves_its_properties")
def test_properties_outlive_the_segment(catalog: Catalog) -> None:
    dataset, assets, _ = companions(catalog)
    source = asset("asset", 1)
    catalog.register(assets, [source])
    put(catalog, assets, "asset", coverage("OptIn", "seg_a"))
    before = stored(catalog, assets, "asset")

    def covered() -> list[list[str]]:
        return [covering(catalog, dataset, assets, s) for s in ("seg_a", "seg_b")]

    assert covered() == [["asset"], []]
    catalog.unregister(assets, ["asset"], [])
    assert covered() == [[], []]
    assert stored(catalog, assets, "asset") == before
    catalog.register(assets, [source])
    assert stored(catalog, assets, "asset") == before
    assert covered() == [["asset"], []]


@pytest.mark.covers("dropping_the_last_layer_of_a_segment_preserves_its_properties")
def test_properties_outlive_the_last_layer(catalog: Catalog) -> None:
    value = plain("value", pa.float32())
    dataset = catalog.create("mine")
    catalog.register(
        dataset,
        [
            static(segment, i, {"/entity": {value: [1.0]}}, layer)
            for i, (segment, layer) in enumerate(
                [
                    ("emptied", "only_layer"),
                    ("kept", "dropped_layer"),
                    ("kept", "surviving_layer"),
                ],
                start=1,
            )
        ],
    )
    for segment in ("emptied", "kept"):
        put(catalog, dataset, segment, coverage("OptIn", segment))
    before = stored(catalog, dataset, "emptied", "kept")
    catalog.unregister(dataset, [], ["only_layer", "dropped_layer"])
    assert layers(catalog, dataset) == [("kept", "surviving_layer")]
    assert stored(catalog, dataset, "emptied", "kept") == before
    assert set(before) == {"emptied", "kept"}


def test_errors_of_registration_come_first(catalog: Catalog) -> None:
    """A duplicate asset under Error is a failed task, as anywhere."""
    _, assets, _ = companions(catalog)
    source = asset("asset", 1)
    catalog.register(assets, [source])
    ((_, _, status, message),) = catalog.try_register(assets, [source], ERROR)
    assert status != "success"
    assert "already exists" in message
