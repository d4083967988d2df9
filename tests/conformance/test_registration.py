"""Registration: what becomes of files, what is refused, what is taken away again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from catalog_client import Catalog
from metadata import (
    MANIFEST_BASE,
    POSITIONS_COLUMN,
    TEXT_COLUMN,
    layers,
    manifest,
    ranges,
    segment_table,
    segments,
)
from protocol import decode, decode_schema, fields_of, joined, pb, refused
from small_recordings import (
    DURATION,
    FRAME,
    POSITIONS,
    TEXT,
    TIMESTAMP,
    blueprint,
    plain,
    properties,
    simple,
    simple_set,
    static,
)

SKIP, OVERWRITE, ERROR = 2, 1, 3
SIMPLE_SEGMENTS = [
    ("my_segment_id1", ["base"], 4),
    ("my_segment_id2", ["base"], 2),
    ("my_segment_id3", ["base"], 6),
]
# Digests of the schemas of layers, as other servers give them.
DIGESTS = {
    "my/entity": "7445711ea6547499a41035b6572d7adb6021f9efb63e9a01b7210e2e3b0074f1",
    "my/entity my/other/entity": "d993555a9bb588ccebb86ba420107954c37d657515fa8894d040f533fa77d0a9",
    "my/entity another/one yet/another/one": "a2844c9fa0464c154088a30c919663988c7a332a8ffc8fff66671c8e1d6ad071",
    "another/one yet/another/one": "20b07d4125b80736347c4e24b0b9ede99206fc2",
    "extra/entity": "d328d995050d482d9dcab998ce8e6d8c56c5460",
    "i/am/alone": "496617cd4f12a81dae0df59fab061fee0ecd702",
    "my/entity on duration": "d075f23341a648ded6226e82f57a43dd86f6b6b",
    "three on timestamp": "74fd95b8600d70baa3adc1c3da240357706aa5a",
    "my/entity my/fourth/entity": "f22e3c43fe73314b283334c1b67c23804af70dc",
    "text_log": "90433089a733d463b38411fbda5e7deb84ba382",
    "text_log points": "132a7fb5ae403979886a2980d083b836c38892d",
}


def digests(catalog: Catalog, dataset: object) -> list[str]:
    return [d.hex() for d in manifest(catalog, dataset)["rerun_schema_sha256"].to_pylist()]


def assert_digests(got: list[str], names: list[str]) -> None:
    assert len(got) == len(names)
    for digest, name in zip(got, names, strict=True):
        assert digest.startswith(DIGESTS[name]), f"{name}: {digest}"


def assert_simple_set(catalog: Catalog, dataset: object) -> None:
    rows = segment_table(catalog, dataset)
    assert segments(catalog, dataset) == SIMPLE_SEGMENTS
    assert ranges(rows, FRAME) == [(10, 40)] * 3
    assert rows.column_names[6:] == ["frame_nr:end", "frame_nr:start"]
    assert layers(catalog, dataset) == [(s, "base") for s, _, _ in SIMPLE_SEGMENTS]
    assert_digests(
        digests(catalog, dataset),
        ["my/entity my/other/entity", "my/entity", "my/entity another/one yet/another/one"],
    )


# --- what becomes of files


@pytest.mark.covers("register_and_scan_simple_dataset")
def test_three_recordings(catalog: Catalog) -> None:
    sources = simple_set()
    dataset = catalog.dataset("mine", sources)
    assert_simple_set(catalog, dataset)
    urls = [catalog.uri(s) for s in sources]
    assert segment_table(catalog, dataset)["rerun_storage_urls"].to_pylist() == [[u] for u in urls]
    assert manifest(catalog, dataset)["rerun_storage_url"].to_pylist() == urls
    assert all(size > 0 for size in segment_table(catalog, dataset)["rerun_size_bytes"].to_pylist())


@pytest.mark.covers("register_and_scan_simple_dataset_with_layers")
def test_layers(catalog: Catalog) -> None:
    dataset = catalog.dataset(
        "mine",
        [
            simple("segment1", 1, ["my/entity", "another/one", "yet/another/one"]),
            simple("segment1", 2, ["extra/entity"], layer="extra"),
            simple("segment2", 3, ["another/one", "yet/another/one"]),
            simple("segment2", 4, ["extra/entity"], layer="extra"),
            simple("segment3", 5, ["i/am/alone"]),
        ],
    )
    assert segments(catalog, dataset) == [
        ("segment1", ["base", "extra"], 8),
        ("segment2", ["base", "extra"], 6),
        ("segment3", ["base"], 2),
    ]
    assert layers(catalog, dataset) == [
        ("segment1", "base"),
        ("segment1", "extra"),
        ("segment2", "base"),
        ("segment2", "extra"),
        ("segment3", "base"),
    ]
    assert_digests(
        digests(catalog, dataset),
        [
            "my/entity another/one yet/another/one",
            "extra/entity",
            "another/one yet/another/one",
            "extra/entity",
            "i/am/alone",
        ],
    )
    for row in segment_table(catalog, dataset).to_pylist():
        assert len(row["rerun_storage_urls"]) == len(row["rerun_layer_names"])


@pytest.mark.covers("register_and_scan_simple_dataset_with_properties")
def test_properties_become_columns(catalog: Catalog) -> None:
    one, two, three = simple_set()
    dataset = catalog.dataset(
        "mine",
        [
            one,
            properties("my_segment_id1", 4, {"text_log": {TEXT: ["i'm segment 1"]}}),
            two,
            properties(
                "my_segment_id2",
                5,
                {"text_log": {TEXT: ["i'm segment 2"]}, "points": {POSITIONS: [[0, 1]]}},
            ),
            three,
        ],
    )
    assert segments(catalog, dataset) == [
        ("my_segment_id1", ["base", "props"], 5),
        ("my_segment_id2", ["base", "props"], 4),
        ("my_segment_id3", ["base"], 6),
    ]
    rows = segment_table(catalog, dataset)
    assert sorted(rows.column_names[6:8]) == [POSITIONS_COLUMN, TEXT_COLUMN]
    assert rows[TEXT_COLUMN].to_pylist() == [["i'm segment 1"], ["i'm segment 2"], None]
    assert rows[POSITIONS_COLUMN].to_pylist() == [None, [[0.0, 1.0]], None]
    field = rows.schema.field(POSITIONS_COLUMN)
    assert field.type == pa.list_(pa.list_(pa.float32(), 2))
    assert field.nullable
    assert field.metadata == {
        b"rerun:archetype": b"rerun.archetypes.Points2D",
        b"rerun:component": b"Points2D:positions",
        b"rerun:component_type": b"rerun.components.Position2D",
        b"rerun:entity_path": b"/__properties/points",
        b"rerun:kind": b"data",
    }
    per_layer = manifest(catalog, dataset)
    assert per_layer[TEXT_COLUMN].to_pylist() == [
        None,
        ["i'm segment 1"],
        None,
        ["i'm segment 2"],
        None,
    ]
    assert_digests(
        digests(catalog, dataset),
        [
            "my/entity my/other/entity",
            "text_log",
            "my/entity",
            "text_log points",
            "my/entity another/one yet/another/one",
        ],
    )


@pytest.mark.covers("register_and_scan_simple_dataset_with_properties_out_of_order")
def test_the_layer_registered_last_wins(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    early = properties("segment", 1, {"text_log": {TEXT: ["logged first"]}}, "prop1")
    late = properties("segment", 2, {"text_log": {TEXT: ["logged later"]}}, "prop2")
    for source in (late, early):
        catalog.register(dataset, [source])
    assert segments(catalog, dataset) == [("segment", ["prop2", "prop1"], 2)]
    assert segment_table(catalog, dataset)[TEXT_COLUMN].to_pylist() == [["logged first"]]
    rows = manifest(catalog, dataset)
    assert rows["rerun_layer_name"].to_pylist() == ["prop2", "prop1"]
    assert rows[TEXT_COLUMN].to_pylist() == [["logged later"], ["logged first"]]
    first, second = rows["rerun_registration_time"].cast(pa.int64()).to_pylist()
    assert first < second


@pytest.mark.covers("register_and_scan_simple_dataset_multiple_timelines")
def test_timelines_of_all_types(catalog: Catalog) -> None:
    dataset = catalog.dataset(
        "mine",
        [
            simple("my_segment_id1", 1, ["my/entity", "my/other/entity"]),
            properties("my_segment_id1", 2, {"text_log": {TEXT: ["i'm segment 1"]}}),
            simple("my_segment_id2", 3, ["my/entity"], timeline=DURATION),
            simple("my_segment_id2", 4, ["my/entity", "my/fourth/entity"], layer="layer_two"),
            simple(
                "my_segment_id3",
                5,
                ["my/entity", "another/one", "yet/another/one"],
                timeline=TIMESTAMP,
            ),
        ],
    )
    assert segments(catalog, dataset) == [
        ("my_segment_id1", ["base", "props"], 5),
        ("my_segment_id2", ["base", "layer_two"], 6),
        ("my_segment_id3", ["base"], 6),
    ]
    rows = segment_table(catalog, dataset)
    # Servers differ in the order of timelines that not all segments have.
    assert rows.column_names[6] == TEXT_COLUMN
    of_timelines = rows.column_names[7:]
    assert sorted(zip(of_timelines[::2], of_timelines[1::2], strict=True)) == [
        (f"{t}:end", f"{t}:start") for t in (DURATION, FRAME, TIMESTAMP)
    ]
    nothing, span = (None, None), (10, 40)
    assert ranges(rows, FRAME) == [span, span, nothing]
    assert ranges(rows, DURATION) == [nothing, span, nothing]
    assert ranges(rows, TIMESTAMP) == [nothing, nothing, span]
    assert_digests(
        digests(catalog, dataset),
        [
            "my/entity my/other/entity",
            "text_log",
            "my/entity on duration",
            "my/entity my/fourth/entity",
            "three on timestamp",
        ],
    )


@pytest.mark.covers("register_and_scan_empty_dataset")
def test_nothing_registered(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    assert segment_table(catalog, dataset).num_rows == 0
    assert manifest(catalog, dataset).num_rows == 0


@pytest.mark.covers("register_and_scan_blueprint_dataset")
def test_a_blueprint(catalog: Catalog) -> None:
    blueprints = catalog.details(catalog.create("mine")).dataset_details.blueprint_dataset
    catalog.register(blueprints, [blueprint("blueprint_segment_id", 1)])
    assert segments(catalog, blueprints) == [("blueprint_segment_id", ["base"], 1)]
    assert ranges(segment_table(catalog, blueprints), FRAME) == [(0, 0)]
    assert layers(catalog, blueprints) == [("blueprint_segment_id", "base")]


@pytest.mark.covers("register_with_prefix")
def test_a_directory(catalog: Catalog, tmp_path: Path) -> None:
    for source in simple_set():
        source.write(tmp_path)
    (tmp_path / "notes.txt").write_text("no recording")
    for name, slash in (("with", "/"), ("without", "")):
        dataset = catalog.create(name)
        source = pb.DataSource(storage_url=tmp_path.as_uri() + slash, typ=1, prefix=True)
        rows = catalog.register_sources(name, [source])
        assert {row[2] for row in rows} == {"success"}
        assert_simple_set(catalog, dataset)


@pytest.mark.covers("register_segment_bumps_timestamp")
def test_registration_counts_as_a_change(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    times = [catalog.updated_at(dataset)]
    for prefix, layer in ((1, "base"), (2, "layer2")):
        catalog.register(dataset, [simple("segment", prefix, ["my/entity"], layer=layer)])
        times.append(catalog.updated_at(dataset))
    assert times == sorted(set(times))


# --- what is refused


@pytest.mark.covers("register_bad_file_uri_should_error")
def test_files_that_are_not_there(catalog: Catalog, tmp_path: Path) -> None:
    catalog.create("mine")
    there = simple("segment", 1, ["my/entity"]).write(tmp_path)
    for url in (
        (tmp_path / "missing.rrd").as_uri(),
        f"file://host{there}",
        tmp_path.as_uri(),
    ):
        with refused("NOT_FOUND"):
            catalog.register_sources("mine", [pb.DataSource(storage_url=url, typ=1)])
    assert segments(catalog, "mine") == []


@pytest.mark.covers("register_with_dataset_if_duplicate_behavior_error")
def test_a_duplicate_fails_its_task(catalog: Catalog) -> None:
    source = simple("segment", 1, ["my/entity"])
    dataset = catalog.dataset("mine", [source])
    ((segment, layer, status, message),) = catalog.try_register(dataset, [source], ERROR)
    assert (segment, layer) == ("segment", "base")
    assert status != "success"
    assert "already exists" in message
    assert segments(catalog, dataset) == [("segment", ["base"], 2)]


@pytest.mark.covers("register_with_dataset_if_duplicate_behavior_skip")
@pytest.mark.covers("register_with_dataset_if_duplicate_behavior_overwrite")
@pytest.mark.parametrize(("mode", "left"), [(SKIP, "first"), (0, "first"), (OVERWRITE, "second")])
def test_a_duplicate_is_skipped_or_replaces(catalog: Catalog, mode: int, left: str) -> None:
    dataset = catalog.create("mine")
    for prefix, text in ((1, "first"), (2, "second")):
        source = properties("segment", prefix, {"text_log": {TEXT: [text]}}, "base")
        catalog.register(dataset, [source], mode)
    assert manifest(catalog, dataset)[TEXT_COLUMN].to_pylist() == [[left]]


@pytest.mark.covers("register_intra_request_duplicates")
@pytest.mark.parametrize("mode", [OVERWRITE, SKIP, ERROR])
def test_a_request_names_a_layer_twice(catalog: Catalog, mode: int) -> None:
    dataset = catalog.create("mine")
    sources = [simple("segment", prefix, ["my/entity"]) for prefix in (1, 2)]
    urls = [catalog.uri(s) for s in sources]
    assert urls[0] != urls[1]
    with refused(
        "INVALID_ARGUMENT",
        "duplicate segment layers in request",
        "segment id:",
        "layer name:",
        *urls,
    ):
        catalog.try_register(dataset, sources, mode)
    assert segments(catalog, dataset) == []


@pytest.mark.covers("register_empty_request")
def test_a_request_without_sources(catalog: Catalog) -> None:
    catalog.create("mine")
    with refused("INVALID_ARGUMENT", "no data sources to register"):
        catalog.register_sources("mine", [])


@pytest.mark.covers("register_fully_skipped")
def test_all_of_it_is_skipped(catalog: Catalog) -> None:
    source = simple("segment", 1, ["my/entity"])
    dataset = catalog.dataset("mine", [source])
    catalog.register(dataset, [source], SKIP)
    assert segments(catalog, dataset) == [("segment", ["base"], 2)]


FLOAT, DOUBLE = plain("test", pa.float32()), plain("test", pa.float64())
PROPERTY = "/__properties/prop"


@pytest.mark.covers("register_conflicting_schema")
def test_one_conflict_fails_one_source(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    good = static("segment1", 1, {"/data": {DOUBLE: [1.0]}, PROPERTY: {DOUBLE: [1.0, 2.0, 3.0]}})
    bad = static("segment2", 2, {"/data": {FLOAT: [1.0]}, PROPERTY: {DOUBLE: [4.0]}})
    rows = catalog.try_register(dataset, [good, bad])
    assert [(row[0], row[2] == "success") for row in rows] == [
        ("segment1", True),
        ("segment2", False),
    ]
    assert "schema incompatibility " in rows[1][3].lower()
    assert segments(catalog, dataset) == [("segment1", ["base"], 2)]
    assert segment_table(catalog, dataset)["property:prop:test"].to_pylist() == [[1.0, 2.0, 3.0]]


@pytest.mark.covers("register_conflicting_property_schema")
def test_properties_conflict_too(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    sources = [
        static(f"segment{i}", i, {PROPERTY: {component: [1.0]}})
        for i, component in ((1, DOUBLE), (2, FLOAT))
    ]
    rows = catalog.try_register(dataset, sources)
    failed = [row for row in rows if row[2] != "success"]
    assert len(failed) == 1
    assert "schema incompatibility " in failed[0][3].lower()


@pytest.mark.covers("register_conflicting_schema_filters_segment_table")
def test_a_segment_that_failed_is_not_listed(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [static("segment1", 1, {"/data": {DOUBLE: [1.0]}})])
    bad = static("segment2", 2, {"/data": {FLOAT: [1.0]}})
    ((_, _, status, message),) = catalog.try_register(dataset, [bad])
    assert status != "success"
    assert "schema" in message.lower()
    assert [s for s, _, _ in segments(catalog, dataset)] == ["segment1"]


@pytest.mark.covers("register_conflicting_schema_same_segment_filters_layer")
def test_a_layer_that_failed_is_not_listed(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [static("segment1", 1, {"/data": {DOUBLE: [1.0]}})])
    bad = static("segment1", 2, {"/data": {FLOAT: [1.0]}}, "extra")
    ((_, _, status, message),) = catalog.try_register(dataset, [bad])
    assert status != "success"
    assert "schema" in message.lower()
    assert segments(catalog, dataset) == [("segment1", ["base"], 1)]


# --- what is taken away


@pytest.mark.covers("unregister_simple")
def test_segments_go_and_come_back(catalog: Catalog) -> None:
    sources = simple_set()
    dataset = catalog.dataset("mine", sources)
    times = [catalog.updated_at(dataset)]
    catalog.unregister(dataset, ["my_segment_id2"], [])
    times.append(catalog.updated_at(dataset))
    assert segments(catalog, dataset) == [SIMPLE_SEGMENTS[0], SIMPLE_SEGMENTS[2]]
    assert layers(catalog, dataset) == [("my_segment_id1", "base"), ("my_segment_id3", "base")]
    catalog.unregister(dataset, ["my_segment_id1", "my_segment_id3"], [])
    times.append(catalog.updated_at(dataset))
    assert segments(catalog, dataset) == []
    assert layers(catalog, dataset) == []
    catalog.register(dataset, sources)
    times.append(catalog.updated_at(dataset))
    assert_simple_set(catalog, dataset)
    assert times == sorted(set(times))


@pytest.mark.covers("unregister_products")
def test_segments_times_layers(catalog: Catalog) -> None:
    sources = [
        simple(f"segment{s}", 10 * s + n, [f"in/{layer}"], layer=layer)
        for s in (1, 2, 3)
        for n, layer in enumerate("ABCD")
    ]

    def left(name: str, drop_segments: list[int], drop_layers: str) -> list[object]:
        dataset = catalog.dataset(name, sources)
        catalog.unregister(dataset, [f"segment{s}" for s in drop_segments], list(drop_layers))
        listed = segments(catalog, dataset)
        assert layers(catalog, dataset) == [(s, layer) for s, of, _ in listed for layer in of]
        return listed

    assert left("some of some", [1, 3], "BD") == [
        ("segment1", ["A", "C"], 4),
        ("segment2", ["A", "B", "C", "D"], 8),
        ("segment3", ["A", "C"], 4),
    ]
    assert left("some of all", [], "BD") == [(f"segment{s}", ["A", "C"], 4) for s in (1, 2, 3)]
    assert left("all of some", [2, 3], "") == [("segment1", ["A", "B", "C", "D"], 8)]


@pytest.mark.covers("unregister_missing_dataset")
def test_nothing_to_take_it_from(catalog: Catalog) -> None:
    with refused("NOT_FOUND", "nothing"):
        catalog.unregister("nothing", ["segment"], [])


@pytest.mark.covers("unregister_missing_segment")
def test_a_segment_that_is_not_there(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [simple("segment", 1, ["my/entity"])])
    answer = catalog.unregister(dataset, ["another"], [])
    assert answer
    expected = decode_schema(catalog.GetDatasetManifestSchema(entry=dataset).schema)
    for message in answer:
        batch = decode(message.data)
        assert batch.num_rows == 0
        assert fields_of(batch.schema) == fields_of(expected)
        assert [f[:3] for f in fields_of(batch.schema)] == MANIFEST_BASE
        done = joined(catalog.QueryTasksOnCompletion(ids=[message.task_id])).to_pylist()
        assert [row["exec_status"] for row in done] == ["success"]
    assert segments(catalog, dataset) == [("segment", ["base"], 2)]


@pytest.mark.covers("unregister_invalid_args")
def test_neither_segments_nor_layers(catalog: Catalog) -> None:
    with refused("NOT_FOUND"):
        catalog.unregister("nothing", [], [])
    catalog.create("mine")
    with refused("INVALID_ARGUMENT"):
        catalog.unregister("mine", [], [])


@pytest.mark.covers("unregister_then_query")
def test_what_is_gone_is_not_found(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [simple("segment", 1, ["my/entity", "my/other/entity"])])
    assert joined(catalog.find_all(dataset)).num_rows == 4
    catalog.unregister(dataset, ["segment"], [])
    found = joined(catalog.find_all(dataset))
    assert found.num_rows == 0
    assert {"chunk_id", "chunk_segment_id", "chunk_key"} <= set(found.column_names)
