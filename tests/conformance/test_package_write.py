"""Registering, renaming and deleting through a package; both clients, a server in this process and another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from package_data import SEGMENTS, catalog_module, table, uris
from recording_proxy import TRACE_ID, RecordingProxy
from small_recordings import plain, static


def on_duplicate(client: Any, how: str) -> Any:
    return getattr(catalog_module(client).OnDuplicateSegmentLayer, how)


def recording(folder: Path, name: str, segment: str, test: float | str) -> str:
    """The URI of a recording with one static value; several may have the same segment id."""
    data_type = pa.utf8() if isinstance(test, str) else pa.float64()
    source = static(segment, 1 + hash(name) % 1000, {"/data": {plain("test", data_type): [test]}})
    return source.write(folder).rename(folder / f"{name}.rrd").as_uri()


def listed(dataset: Any) -> list[tuple[str, list[str]]]:
    rows = table(dataset.segment_table(), "rerun_segment_id").to_pylist()
    return [(r["rerun_segment_id"], r["rerun_layer_names"]) for r in rows]


def values(dataset: Any, column: str = "/data:test") -> list[Any]:
    rows = dataset.reader(index=None).to_arrow_table()
    return rows[column].to_pylist()


# --- entries


@pytest.mark.covers("test_entries_without_hidden")
@pytest.mark.covers("test_entries_with_hidden")
@pytest.mark.covers("test_entry_names_without_hidden")
@pytest.mark.covers("test_entry_names_with_hidden")
@pytest.mark.covers("test_entry_eq")
@pytest.mark.covers("draft/test_catalog_basics")
def test_listings(client: Any) -> None:
    assert client.entry_names() == []
    dataset = client.create_dataset("mine")
    assert client.entry_names() == ["mine"]
    assert client.dataset_names() == ["mine"]
    assert [e.id for e in client.entries()] == [dataset.id]
    assert dataset in client.entries()
    assert "mine" in client.entry_names()
    assert "another" not in client.entry_names()
    for hidden, visible in (
        (client.entry_names(include_hidden=True), client.entry_names()),
        (client.dataset_names(include_hidden=True), client.dataset_names()),
        (client.table_names(include_hidden=True), client.table_names()),
    ):
        assert set(hidden) >= set(visible)
    everything = client.entry_names(include_hidden=True)
    assert "__entries" in everything
    assert [name for name in everything if name.startswith("__bp_")]
    assert "__entries" in client.table_names(include_hidden=True)


@pytest.mark.covers("test_delete_dataset_removes_catalog_entry")
@pytest.mark.covers("draft/test_catalog_modify")
def test_renamed_and_deleted(client: Any) -> None:
    dataset = client.create_dataset("mine")
    dataset.set_name("renamed")
    assert client.entry_names() == ["renamed"]
    assert client.get_dataset("renamed").id == dataset.id
    dataset.delete()
    with pytest.raises(LookupError):
        client.get_dataset("renamed")
    with pytest.raises(catalog_module(client).NotFoundError):
        client.get_dataset(id=dataset.id)
    assert client.entry_names() == []
    assert client.entry_names(include_hidden=True) == ["__entries"]


@pytest.mark.covers("test_dataframe_query_static_empty_dataset")
def test_static_rows_of_nothing(client: Any) -> None:
    assert client.create_dataset("mine").reader(index=None).count() == 0


@pytest.mark.covers("test_network_unreachable")
def test_nobody_listens() -> None:
    import rushes.catalog

    with pytest.raises(ConnectionError):
        rushes.catalog.CatalogClient("rerun+http://127.0.0.1:1").entry_names()


# --- registration


@pytest.mark.covers("test_register_single_with_wait")
@pytest.mark.covers("test_register_single_with_iter_results")
@pytest.mark.covers("test_register_batch")
@pytest.mark.covers("test_register_batch_with_iter_results")
def test_results_name_segments_and_files(client: Any, recordings: list[Path]) -> None:
    files = uris(recordings[:3])
    assert client.create_dataset("one").register(files[:1]).wait().segment_ids == SEGMENTS[:1]
    assert sorted(client.create_dataset("all").register(files).wait().segment_ids) == SEGMENTS[:3]
    results = list(client.create_dataset("each").register(files).iter_results())
    assert {r.uri: r.segment_id for r in results} == dict(zip(files, SEGMENTS[:3], strict=True))
    assert all(r.error is None and r.is_success for r in results)


@pytest.mark.covers("test_register_unregister_batch")
def test_two_of_three_are_taken_away(client: Any, recordings: list[Path]) -> None:
    dataset = client.create_dataset("mine")
    dataset.register(uris(recordings[:3])).wait()

    def read() -> list[str]:
        rows = table(dataset.reader(index="time_3"))
        return sorted(set(rows["rerun_segment_id"].to_pylist()))

    assert read() == SEGMENTS[:3]
    dataset.unregister(segments_to_drop=SEGMENTS[:2], layers_to_drop=[]).wait()
    assert listed(dataset) == [(SEGMENTS[2], ["base"])]
    assert read() == SEGMENTS[2:3]


@pytest.mark.covers("test_register_with_layer_name")
@pytest.mark.covers("test_register_batch_with_different_layers")
@pytest.mark.covers("test_register_layer_name_length_mismatch")
@pytest.mark.covers("draft/test_dataset_register")
def test_layer_names(client: Any, recordings: list[Path]) -> None:
    dataset = client.create_dataset("mine")
    files = uris(recordings[:2])
    dataset.register(files[:1], layer_name="mine").wait()
    dataset.register(files, layer_name=["left", "right"]).wait()
    dataset.register(files, layer_name="shared").wait()
    rows = table(dataset.manifest(), "rerun_segment_id", "rerun_layer_name").to_pylist()
    assert [(r["rerun_layer_name"], r["rerun_segment_id"]) for r in rows] == [
        ("left", SEGMENTS[0]),
        ("mine", SEGMENTS[0]),
        ("shared", SEGMENTS[0]),
        ("right", SEGMENTS[1]),
        ("shared", SEGMENTS[1]),
    ]
    with pytest.raises(ValueError, match="must be the same length"):
        dataset.register(files, layer_name=["one"])


@pytest.mark.covers("draft/test_manifest_diagnostic_data")
def test_the_status_of_layers(client: Any, recordings: list[Path]) -> None:
    dataset = client.create_dataset("mine")
    dataset.register(uris(recordings[:2])).wait()
    assert "rerun_registration_status" not in table(dataset.manifest()).column_names
    rows = table(dataset.manifest(include_diagnostic_data=True))
    assert rows["rerun_registration_status"].to_pylist() == ["done"] * 2


@pytest.mark.covers("test_registration_invalidargs")
def test_what_cannot_be_registered(client: Any, tmp_path: Path) -> None:
    dataset = client.create_dataset("mine")
    with pytest.raises(ValueError, match="no data sources to register"):
        dataset.register([])
    with pytest.raises(ValueError, match="no rrd files found in"):
        dataset.register_prefix(tmp_path.as_uri())
    file = recording(tmp_path, "file", "segment", test=1.0)
    with pytest.raises(ValueError, match="expected prefix / directory but got an object"):
        dataset.register_prefix(file)


@pytest.mark.covers("test_register_conflicting_schema")
@pytest.mark.covers("test_failed_registration_not_in_segment_table")
def test_a_conflict(client: Any, tmp_path: Path) -> None:
    dataset = client.create_dataset("mine")
    dataset.register([recording(tmp_path, "good", "good", test=1.0)]).wait()
    with pytest.raises(ValueError, match=r"(?i)schema"):
        dataset.register([recording(tmp_path, "bad", "bad", test="text")]).wait()
    assert listed(dataset) == [("good", ["base"])]


@pytest.mark.covers("test_failed_layer_registration_not_in_segment_table")
def test_a_conflict_of_layers(client: Any, tmp_path: Path) -> None:
    dataset = client.create_dataset("mine")
    dataset.register([recording(tmp_path, "good", "segment", test=1.0)]).wait()
    bad = recording(tmp_path, "bad", "segment", test="text")
    with pytest.raises(ValueError, match=r"(?i)schema"):
        dataset.register([bad], layer_name="extra").wait()
    assert listed(dataset) == [("segment", ["base"])]


@pytest.mark.covers("test_register_conflicting_property_schema")
def test_a_conflict_of_properties(client: Any, tmp_path: Path) -> None:
    files = []
    for prefix, (name, data_type, value) in enumerate(
        (("one", pa.float64(), 1.0), ("two", pa.utf8(), "text")), start=1
    ):
        cells = {"/__properties/prop": {plain("test", data_type): [value]}}
        files.append(static(name, prefix, cells).write(tmp_path).as_uri())
    dataset = client.create_dataset("mine")
    dataset.register(files[:1]).wait()
    with pytest.raises(ValueError, match=r"(?i)schema"):
        dataset.register(files[1:]).wait()
    assert listed(dataset) == [("one", ["base"])]


@pytest.mark.covers("test_register_duplicate_error_behavior")
@pytest.mark.covers("test_register_duplicate_ignore_behavior")
@pytest.mark.covers("test_register_duplicate_replace_behavior")
def test_duplicates(client: Any, tmp_path: Path) -> None:
    old = recording(tmp_path, "old", "segment", test=1.0)
    new = recording(tmp_path, "new", "segment", test=2.0)
    dataset = client.create_dataset("mine")
    dataset.register([old]).wait()
    with pytest.raises(ValueError, match="already exists"):
        dataset.register([new], on_duplicate=on_duplicate(client, "ERROR")).wait()
    assert values(dataset) == [[1.0]]
    result = dataset.register([new], on_duplicate=on_duplicate(client, "SKIP")).wait()
    assert result.segment_ids == ["segment"]
    assert values(dataset) == [[1.0]]
    result = dataset.register([new], on_duplicate=on_duplicate(client, "REPLACE")).wait()
    assert result.segment_ids == ["segment"]
    assert values(dataset) == [[2.0]]


@pytest.mark.covers("test_register_intra_request_duplicates")
@pytest.mark.parametrize("how", ["ERROR", "SKIP", "REPLACE"])
def test_duplicates_in_one_request(client: Any, tmp_path: Path, how: str) -> None:
    files = [recording(tmp_path, name, "segment", test=1.0) for name in ("one", "two")]
    dataset = client.create_dataset("mine")
    with pytest.raises(ValueError) as raised:
        dataset.register(files, on_duplicate=on_duplicate(client, how))
    assert all(uri in str(raised.value) for uri in files)
    assert listed(dataset) == []


ITEM = pa.field("item", pa.float32())
NULLABLE = pa.field("x", pa.float32())
DRIFTS: dict[str, tuple[pa.DataType, Any, pa.DataType, Any, bool]] = {
    "struct gains a field": (
        pa.struct([NULLABLE]),
        {"x": 1.0},
        pa.struct([NULLABLE, pa.field("y", pa.float32())]),
        {"x": 1.0, "y": 2.0},
        True,
    ),
    "struct loses a field": (
        pa.struct([NULLABLE, pa.field("y", pa.float32())]),
        {"x": 1.0, "y": 2.0},
        pa.struct([NULLABLE]),
        {"x": 1.0},
        True,
    ),
    "struct in a list gains a field": (
        pa.list_(pa.struct([NULLABLE])),
        [{"x": 1.0}],
        pa.list_(pa.struct([NULLABLE, pa.field("y", pa.float32())])),
        [{"x": 1.0, "y": 2.0}],
        True,
    ),
    "nulls in a list": (
        pa.list_(pa.field("item", pa.float32(), False)),
        [1.0],
        pa.list_(ITEM),
        [None],
        True,
    ),
    "null type": (pa.null(), None, pa.float32(), 1.0, True),
    "the same fixed-size list": (
        pa.list_(pa.float32(), 2),
        [1.0, 2.0],
        pa.list_(pa.float32(), 2),
        [3.0, 4.0],
        True,
    ),
    "the same map": (
        pa.map_(pa.utf8(), pa.int32()),
        [("a", 1)],
        pa.map_(pa.utf8(), pa.int32()),
        [("b", 2)],
        True,
    ),
    "the same dictionary": (
        pa.dictionary(pa.int32(), pa.utf8()),
        "a",
        pa.dictionary(pa.int32(), pa.utf8()),
        "b",
        True,
    ),
    "wider integers": (pa.int32(), 1, pa.int64(), 1, False),
    "wider floats": (pa.float32(), 1.0, pa.float64(), 1.0, False),
    "another length": (
        pa.list_(pa.float32(), 2),
        [1.0, 2.0],
        pa.list_(pa.float32(), 3),
        [1.0, 2.0, 3.0],
        False,
    ),
    "dictionary and values": (pa.dictionary(pa.int32(), pa.utf8()), "a", pa.utf8(), "a", False),
    "another map": (
        pa.map_(pa.utf8(), pa.int32()),
        [("a", 1)],
        pa.map_(pa.utf8(), pa.int64()),
        [("a", 1)],
        False,
    ),
}


@pytest.mark.covers("test_schema_compatibility_contract")
@pytest.mark.parametrize("case", DRIFTS)
def test_which_types_go_together(client: Any, folder: Path, case: str) -> None:
    old_type, old, new_type, new, is_fine = DRIFTS[case]
    dataset = client.create_dataset("mine")
    for prefix, (segment, data_type, value) in enumerate(
        (("old", old_type, old), ("new", new_type, new)), start=1
    ):
        source = static(segment, prefix, {"/data": {plain("test", data_type): [value]}})
        task = dataset.register([source.write(folder).as_uri()])
        if segment == "old" or is_fine:
            task.wait()
        else:
            with pytest.raises(ValueError, match=r"(?i)schema"):
                task.wait()
    if is_fine:
        assert [s for s, _ in listed(dataset)] == ["new", "old"]
        assert table(dataset.reader(index=None)).num_rows == 2
    else:
        assert [s for s, _ in listed(dataset)] == ["old"]


# --- errors


@pytest.mark.covers("test_datafusion_error_surfaces_to_python_with_trace_id")
def test_errors_name_the_call_and_its_trace(client: Any, recordings: list[Path]) -> None:
    client.create_dataset("mine").register(uris(recordings[:1])).wait()
    for call in ("FindChunks", "FetchChunks"):
        with RecordingProxy(client.url.rsplit("//", 1)[1], fail=(call,)) as proxy:
            through = catalog_module(client).CatalogClient(proxy.url).get_dataset("mine")
            with pytest.raises(Exception, match="made to fail") as raised:
                through.reader(index="time_3").to_arrow_table()
            # By its class, or in words where DataFusion stands between.
            is_not_found = isinstance(raised.value, catalog_module(client).NotFoundError)
            assert is_not_found or "(NotFound)" in str(raised.value)
            assert call.lower() in str(raised.value).lower().replace("_", "")
            assert TRACE_ID in str(raised.value)


# --- datasets as the documentation shows them


@pytest.mark.covers("current/test_dataset_basics")
@pytest.mark.covers("current/test_dataset_schema")
@pytest.mark.covers("draft/test_dataset_basics")
@pytest.mark.covers("draft/test_dataset_schema")
def test_a_dataset_from_scratch(client: Any, recordings: list[Path]) -> None:
    dataset = client.create_dataset("mine")
    dataset.register(uris(recordings[:2])).wait()
    segments = table(dataset.segment_table(), "rerun_segment_id")
    field = segments.schema.field("property:RecordingInfo:start_time")
    assert field.metadata[b"rerun:entity_path"] == b"/__properties"
    assert field.metadata[b"rerun:archetype"] == b"rerun.archetypes.RecordingInfo"
    assert segments["time_3:start"].to_pylist() == [0, 1000]
    names = dataset.schema().to_arrow().names
    assert {"rerun.controls.RowId", "time_1", "time_2", "time_3"} <= set(names)
    assert "property:RecordingInfo:start_time" in names


@pytest.mark.covers("current/test_entries_to_polars")
@pytest.mark.covers("current/test_catalog_basics")
def test_the_table_of_entries(client: Any) -> None:
    client.create_dataset("mine")
    frame = client.get_table("__entries").reader()
    rows = frame.to_polars()
    assert sorted(rows["name"].to_list())[-1] == "mine"
    assert len(rows) == 4
    fields = table(frame).schema
    assert fields.field("entry_kind").type == pa.uint8()
    assert fields.field("created_at").type == pa.timestamp("ns")
