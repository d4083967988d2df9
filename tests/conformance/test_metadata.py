"""Schemas, projections and filters of the metadata tables, manifests of segments."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pytest
from catalog_client import Catalog
from chunks import fetch
from metadata import (
    MANIFEST_BASE,
    POSITIONS_COLUMN,
    SEGMENT_BASE,
    TEXT_COLUMN,
    manifest,
    segments,
)
from protocol import decode, decode_schema, fields_of, joined, pb, refused, tuid
from small_recordings import (
    COLORS,
    LABELS,
    POINTS,
    POSITIONS,
    TEXT,
    nasty,
    plain,
    properties,
    simple,
    simple_set,
    static,
)

# --- projections

SCANS = {
    "ScanSegmentTable": [name for name, _, _ in SEGMENT_BASE],
    "ScanDatasetManifest": [name for name, _, _ in MANIFEST_BASE],
}


@pytest.mark.covers("test_segment_table_column_projections")
@pytest.mark.covers("test_dataset_manifest_column_projections")
@pytest.mark.parametrize("scan", SCANS)
def test_projections(catalog: Catalog, scan: str) -> None:
    values = {"text_log": {TEXT: ["words"]}, "points": {POSITIONS: [[0, 1]]}}
    dataset = catalog.dataset("mine", [properties("segment", 1, values)])
    base = SCANS[scan]

    def names(*columns: str) -> list[str]:
        return joined(getattr(catalog, scan)(entry=dataset, columns=columns)).column_names

    assert names() == [*base, POSITIONS_COLUMN, TEXT_COLUMN]
    for wanted in (
        ["rerun_segment_id"],
        [TEXT_COLUMN],
        [TEXT_COLUMN, "rerun_segment_id"],
        [base[-1], POSITIONS_COLUMN, base[0]],
    ):
        assert names(*wanted) == wanted
    with refused("INVALID_ARGUMENT", "no_such_column", "not found"):
        names("no_such_column")
    with refused("INVALID_ARGUMENT", "rerun_segment_id", "twice|duplicate"):
        names("rerun_segment_id", "rerun_segment_id")


# --- filters


def scan_segments(catalog: Catalog, scan: str, **fields: Any) -> list[str]:
    rows = joined(getattr(catalog, scan)(entry="mine", **fields))
    return sorted(rows["rerun_segment_id"].to_pylist())


@pytest.mark.covers("scan_segment_table_filter")
@pytest.mark.covers("scan_dataset_manifest_filter")
@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("columns", [[], ["rerun_segment_id"]])
def test_filters_on_segments(catalog: Catalog, scan: str, columns: list[str]) -> None:
    catalog.dataset("mine", simple_set())
    one, two, three = (f"my_segment_id{i}" for i in (1, 2, 3))
    for strategy, listed, left in (
        ("scan_only", [two], [two]),
        ("scan_only", [one, three], [one, three]),
        ("scan_only", ["unknown"], []),
        ("scan_only", ["unknown", three], [three]),
        ("scan_only", [], []),
        ("skip", [], [one, two, three]),
        ("skip", [two], [one, three]),
        ("skip", ["unknown"], [one, two, three]),
    ):
        filter = pb.SegmentIdFilter(**{strategy: pb.SegmentIdList(segment_ids=listed)})
        assert scan_segments(catalog, scan, columns=columns, segment_id_filter=filter) == left, (
            strategy,
            listed,
        )
    assert scan_segments(
        catalog, scan, columns=columns, segment_id_filter=pb.SegmentIdFilter()
    ) == [one, two, three]


@pytest.mark.covers("scan_dataset_manifest_layer_filter")
def test_filters_on_layers(catalog: Catalog) -> None:
    sources = [
        simple(f"seg{s}", 10 * s + n, [f"in/{layer}"], layer=layer)
        for s, of in ((1, ["base", "extra"]), (2, ["base", "extra"]), (3, ["base"]))
        for n, layer in enumerate(of)
    ]
    catalog.dataset("mine", sources)
    everything = [(s.segment, s.layer) for s in sources]
    extra = [row for row in everything if row[1] == "extra"]
    base = [row for row in everything if row[1] == "base"]

    def rows(filter: Any, **fields: Any) -> list[tuple[str, str]]:
        got = joined(
            catalog.ScanDatasetManifest(entry="mine", layer_name_filter=filter, **fields)
        ).to_pylist()
        return sorted((r["rerun_segment_id"], r["rerun_layer_name"]) for r in got)

    def only(*names: str) -> Any:
        return pb.LayerNameFilter(scan_only=pb.LayerNameList(layer_names=names))

    def skip(*names: str) -> Any:
        return pb.LayerNameFilter(skip=pb.LayerNameList(layer_names=names))

    for filter, left in (
        (only("extra"), extra),
        (skip("extra"), base),
        (only("unknown"), []),
        (only(), []),
        (skip("unknown"), everything),
        (skip(), everything),
        (pb.LayerNameFilter(), everything),
    ):
        assert rows(filter) == left
    both = pb.SegmentIdFilter(scan_only=pb.SegmentIdList(segment_ids=["seg1", "seg3"]))
    assert rows(only("extra"), segment_id_filter=both) == [("seg1", "extra")]
    # What is filtered on need not be sent.
    hashes = joined(
        catalog.ScanDatasetManifest(
            entry="mine", layer_name_filter=only("extra"), columns=["rerun_schema_sha256"]
        )
    )
    assert (hashes.column_names, hashes.num_rows) == (["rerun_schema_sha256"], 2)


# --- schemas of datasets


@pytest.mark.covers("empty_dataset_schema")
def test_the_schema_of_nothing(catalog: Catalog) -> None:
    catalog.create("mine")
    assert decode_schema(catalog.GetDatasetSchema(entry="mine").schema).names == []


@pytest.mark.covers("simple_dataset_schema")
def test_the_schema_of_a_dataset(catalog: Catalog) -> None:
    catalog.dataset("mine", simple_set())
    schema = decode_schema(catalog.GetDatasetSchema(entry="mine").schema)
    row_id = {
        b"rerun:kind": b"control",
        b"ARROW:extension:name": b"rerun.datatypes.TUID",
        b"ARROW:extension:metadata": b'{"namespace":"row"}',
    }
    expected = [
        ("rerun.controls.RowId", pa.binary(16), False, row_id),
        (
            "frame_nr",
            pa.int64(),
            True,
            {b"rerun:kind": b"index", b"rerun:index_name": b"frame_nr"},
        ),
    ]
    for entity in ("/my/entity", "/my/other/entity", "/another/one", "/yet/another/one"):
        for component in (POINTS, COLORS, LABELS):
            metadata = dict(component.field().metadata)
            metadata[b"rerun:entity_path"] = entity.encode()
            if component is LABELS:
                metadata[b"rerun:is_static"] = b"true"
            name = f"{entity}:{component.name}"
            expected.append((name, component.field().type, True, metadata))
    by_name = sorted(fields_of(schema), key=lambda f: f[0])
    assert by_name == sorted(expected, key=lambda f: f[0])
    again = decode_schema(catalog.GetDatasetSchema(entry="mine").schema)
    assert sorted(fields_of(again), key=lambda f: f[0]) == by_name


# --- schemas of layers by their digest


def held(catalog: Catalog, dataset: Any, ids: list[bytes | None]) -> dict[bytes, pa.Schema]:
    asked = [pb.SchemaId() if i is None else pb.SchemaId(sha256=i) for i in ids]
    answer = catalog.GetSchemas(entry=dataset, schema_ids=asked)
    found = {m.schema_id.sha256: decode_schema(m.schema) for m in answer}
    assert len(found) == len(answer), "a schema came twice"
    assert set(found) <= set(ids)
    return found


def digests(catalog: Catalog, dataset: Any) -> list[bytes]:
    return manifest(catalog, dataset)["rerun_schema_sha256"].to_pylist()


@pytest.mark.covers("get_schemas")
def test_schemas_by_their_digest(catalog: Catalog) -> None:
    dataset = catalog.dataset(
        "mine",
        [
            simple("run-1", 1, ["my/entity"]),
            simple("run-2", 2, ["my/entity"]),
            simple("run-1", 3, ["other/entity"], layer="extra"),
        ],
    )
    rows = manifest(catalog, dataset).to_pylist()
    ids = {r["rerun_layer_name"]: r["rerun_schema_sha256"] for r in rows}
    assert len({r["rerun_schema_sha256"] for r in rows}) == 2
    found = held(catalog, dataset, [ids["base"], ids["extra"], b"\xab" * 32, ids["base"]])
    assert set(found) == set(ids.values())
    for layer, entity, other in (
        ("base", "/my/entity", "/other/entity"),
        ("extra", "/other/entity", "/my/entity"),
    ):
        names = found[ids[layer]].names
        assert f"{entity}:{POINTS.name}" in names
        assert not any(name.startswith(other) for name in names)
    # A dataset whose layers have the schema that was sent gives the same digest: the schema says all that it covers.
    for layer, source in (
        ("base", simple("again", 4, ["my/entity"])),
        ("extra", simple("again", 5, ["other/entity"])),
    ):
        again = catalog.dataset(f"again {layer}", [source])
        assert digests(catalog, again) == [ids[layer]]
        sent = decode_schema(catalog.GetDatasetSchema(entry=again).schema)
        by_name = sorted(fields_of(sent), key=lambda f: f[0])
        assert by_name == sorted(fields_of(found[ids[layer]]), key=lambda f: f[0])


@pytest.mark.covers("get_schemas_empty_request")
def test_no_schema_asked_for(catalog: Catalog) -> None:
    assert held(catalog, catalog.dataset("mine", simple_set()), []) == {}


@pytest.mark.covers("get_schemas_other_dataset_id")
def test_the_schema_of_another_dataset(catalog: Catalog) -> None:
    mine = catalog.dataset("mine", [simple("segment", 1, ["my/entity"])])
    other = catalog.dataset("other", [simple("segment", 1, ["other/entity"])])
    (digest,) = digests(catalog, other)
    assert held(catalog, mine, [digest]) == {}
    assert set(held(catalog, other, [digest])) == {digest}


@pytest.mark.covers("get_schemas_invalid_id")
def test_what_is_no_digest(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    for bad in (b"abc", None):
        with refused("INVALID_ARGUMENT"):
            held(catalog, dataset, [bad])


@pytest.mark.covers("get_schemas_too_many_ids")
def test_the_bound_on_digests(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [simple("segment", 1, ["my/entity"])])
    (digest,) = digests(catalog, dataset)
    assert set(held(catalog, dataset, [digest] * 1024)) == {digest}
    with refused("INVALID_ARGUMENT", "1024"):
        held(catalog, dataset, [digest] * 1025)


# --- manifests of segments


def rrd_manifest(catalog: Catalog, dataset: Any, segment: str) -> tuple[pa.Table, Any]:
    """The rows by chunk id, and the first message's manifest."""
    answer = catalog.GetRrdManifest(entry=dataset, segment_id=pb.SegmentId(id=segment))
    parts = [message.rrd_manifest for message in answer]
    rows = joined(parts)
    return rows.sort_by("chunk_id").combine_chunks(), parts[0]


def chunk_ids(rows: pa.Table) -> list[bytes]:
    return rows["chunk_id"].to_pylist()


SIMPLE_DIGEST = "7445711ea6547499a41035b6572d7adb6021f9efb63e9a01b7210e2e3b0074f1"
MERGED_DIGEST = "ec802bca32cdf0a913ecddcde2c6b8c868cc4f1fce727224f3fbc15443883809"
STATIC_DIGEST = "1e413f649cbbc0e3edc95d674fcf0c1c865135ad39b562e063dc142b318836f6"


@pytest.mark.covers("simple_dataset_rrd_manifest")
def test_the_manifest_of_a_segment(catalog: Catalog) -> None:
    source = simple("my_segment", 1, ["my/entity"])
    dataset = catalog.dataset("mine", [source])
    rows, message = rrd_manifest(catalog, dataset, "my_segment")
    assert message.store_id.kind == 1
    assert message.store_id.recording_id == "my_segment"
    assert message.sorbet_schema_sha256.hex() == SIMPLE_DIGEST
    names = decode_schema(message.sorbet_schema).names
    assert sorted(names) == sorted(
        [
            "rerun.controls.RowId",
            "frame_nr",
            *(f"/my/entity:{c.name}" for c in (POINTS, COLORS, LABELS)),
        ]
    )
    expected: dict[str, list[Any]] = {
        "chunk_id": [tuid(1, 1), tuid(1, 2)],
        "chunk_entity_path": ["/my/entity"] * 2,
        "chunk_is_static": [False, True],
        "chunk_num_rows": [4, 1],
        "example_MyPoints:colors:has_static_data": [False, False],
        "example_MyPoints:points:has_static_data": [False, False],
        "example_MyPoints:labels:has_static_data": [False, True],
        "frame_nr:start": [10, None],
        "frame_nr:end": [40, None],
    }
    for name in ("colors", "points"):
        expected[f"frame_nr:example_MyPoints:{name}:start"] = [10, None]
        expected[f"frame_nr:example_MyPoints:{name}:end"] = [40, None]
        expected[f"frame_nr:example_MyPoints:{name}:num_rows"] = [4, 0]
    for name, values in expected.items():
        assert rows[name].to_pylist() == values, name
    assert not [n for n in rows.column_names if n.startswith("frame_nr:example_MyPoints:labels")]
    assert rows.schema.field("chunk_key").type == pa.binary()
    assert all(size > 0 for size in rows["chunk_byte_size"].to_pylist())
    # The dataframe as it came is what FetchChunks takes.
    fetched = fetch(catalog, [message.data])
    assert {key: batch.to_pylist() for key, batch in fetched.items()} == {
        tuid(1, i + 1): chunk.to_pylist() for i, chunk in enumerate(source.chunks)
    }


@pytest.mark.covers("layered_segment")
def test_the_manifest_of_layers(catalog: Catalog) -> None:
    data = plain("test", pa.float32())
    dataset = catalog.dataset(
        "mine",
        [
            simple("my_segment", 1, ["my/entity"]),
            static("my_segment", 2, {"/data": {data: [1.0]}}, "extra"),
        ],
    )
    rows, message = rrd_manifest(catalog, dataset, "my_segment")
    assert message.sorbet_schema_sha256.hex() == MERGED_DIGEST
    assert chunk_ids(rows) == [tuid(1, 1), tuid(1, 2), tuid(2, 1)]
    assert rows["test:has_static_data"].to_pylist() == [False, False, True]
    assert rows["frame_nr:start"].to_pylist() == [10, None, None]
    assert rows["frame_nr:example_MyPoints:colors:num_rows"].to_pylist() == [4, 0, 0]
    assert rows["example_MyPoints:labels:has_static_data"].to_pylist() == [False, True, False]
    catalog.unregister(dataset, ["my_segment"], ["base"])
    rows, message = rrd_manifest(catalog, dataset, "my_segment")
    assert message.sorbet_schema_sha256.hex() == STATIC_DIGEST
    assert chunk_ids(rows) == [tuid(2, 1)]
    assert rows["test:has_static_data"].to_pylist() == [True]
    assert not [n for n in rows.column_names if n.startswith("frame_nr")]
    catalog.unregister(dataset, [], ["extra"])
    with refused("NOT_FOUND", "my_segment"):
        rrd_manifest(catalog, dataset, "my_segment")


@pytest.mark.covers("layered_segment_stress")
def test_the_manifest_while_layers_go(catalog: Catalog) -> None:
    data = plain("test", pa.float32())
    sources = [
        nasty("segment", 1, "nasty/one", "nasty1"),
        simple("segment", 2, ["simple/one"], layer="simple1"),
        static("segment", 3, {"/static/one": {data: [1.0]}}, "static1"),
        nasty("segment", 4, "nasty/one", "nasty2"),
        simple("segment", 5, ["simple/two"], layer="simple2"),
        static("segment", 6, {"/static/two": {data: [1.0]}}, "static2"),
    ]
    dataset = catalog.dataset("mine", sources)
    left = list(sources)
    while left:
        rows, message = rrd_manifest(catalog, dataset, "segment")
        expected = sorted(tuid(s.prefix, i + 1) for s in left for i in range(len(s.chunks)))
        assert chunk_ids(rows) == expected
        assert sorted(fetch(catalog, [message.data])) == expected
        gone = left.pop(0)
        catalog.unregister(dataset, ["segment"], [gone.layer])
        assert [s for s, _, _ in segments(catalog, dataset)] == ["segment"] * bool(left)
    with refused("NOT_FOUND", "segment"):
        rrd_manifest(catalog, dataset, "segment")


@pytest.mark.covers("unregistered_segment")
def test_the_manifest_of_what_is_gone(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [simple("segment", 1, ["my/entity"])])
    catalog.unregister(dataset, ["segment"], [])
    with refused("NOT_FOUND", "segment"):
        rrd_manifest(catalog, dataset, "segment")


@pytest.mark.covers("segment_id_not_found")
def test_the_manifest_of_what_never_was(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    with refused("NOT_FOUND", "never was"):
        rrd_manifest(catalog, dataset, "never was")
    with refused("INVALID_ARGUMENT", "segment_id"):
        catalog.GetRrdManifest(entry=dataset)


def test_digests_are_digests(catalog: Catalog) -> None:
    """Two layers with one schema share a digest of the length that SHA-256 has."""
    same = [simple(f"run-{i}", i, ["my/entity"]) for i in (1, 2)]
    first, second = digests(catalog, catalog.dataset("mine", same))
    assert first == second
    assert len(first) == hashlib.sha256().digest_size


def test_one_batch_per_dataframe(catalog: Catalog) -> None:
    catalog.create("mine")
    answer = catalog.ScanSegmentTable(entry="mine")
    assert [decode(message.data).num_rows for message in answer] == [0]
