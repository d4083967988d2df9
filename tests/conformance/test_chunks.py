"""Which chunks answer a query, and the chunks themselves."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from catalog_client import Catalog
from chunks import (
    BASE,
    EARLIEST_AT,
    LARGEST,
    LATEST_AT,
    SMALLEST,
    START,
    URLS,
    contents,
    fetch,
    find,
    ids,
    query,
    range_mode,
    samples_mode,
    some,
    static_mode,
)
from protocol import EMPTY, decode, encode, fields_of, joined, pb, refused, segment_ids, tuid
from small_recordings import (
    DURATION,
    FRAME,
    TIMESTAMP,
    Source,
    layered_set,
    mixed_set,
    per_frame,
    per_segment_set,
    plain,
    simple,
    simple_set,
)


def all_ids(*sources: Source) -> set[bytes]:
    return {tuid(s.prefix, i + 1) for s in sources for i in range(len(s.chunks))}


def static_ids(*sources: Source) -> set[bytes]:
    return {
        tuid(s.prefix, i + 1)
        for s in sources
        for i, chunk in enumerate(s.chunks)
        if not any((f.metadata or {}).get(b"rerun:kind") == b"index" for f in chunk.schema)
    }


# --- FindChunks


@pytest.mark.covers("find_chunks_simple_dataset")
def test_modes(catalog: Catalog) -> None:
    sources = simple_set()
    dataset = catalog.dataset("mine", sources)
    everything, only_static = all_ids(*sources), static_ids(*sources)
    assert len(everything) == 12
    assert len(only_static) == 6
    for mode, expected in (
        (static_mode(), only_static),
        (range_mode(), everything),
        (range_mode(start=40), everything),
        (range_mode(end=10), everything),
        (range_mode(start=41), only_static),
        (range_mode(end=9), only_static),
        (range_mode(25, 25, LATEST_AT), everything),
    ):
        assert ids(find(catalog, dataset, mode)) == expected, mode
    labels = contents({"/my/entity": ["example.MyPoints:labels"]})
    rows = find(catalog, dataset, range_mode(25, 25, LATEST_AT), labels)
    assert set(rows["chunk_entity_path"].to_pylist()) == {"/my/entity"}
    of_entity = {
        tuid(s.prefix, i + 1)
        for s in sources
        for i, chunk in enumerate(s.chunks)
        if chunk.schema.metadata[b"rerun:entity_path"] == b"/my/entity"
    }
    assert only_static & of_entity <= ids(rows)


@pytest.mark.covers("find_chunks_range_bounds")
def test_bounds(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", per_segment_set(500))
    *t, s = (tuid(500, i + 1) for i in range(5))
    only = some("seg1")
    for start, end, fill, expected in (
        (1010, 1010, 1, {t[0], s}),
        (1015, 1015, 1, {s}),
        (None, SMALLEST, 1, {s}),
        (1010, 1020, 1, {t[0], t[1], s}),
        (1010, 1010, LATEST_AT, {t[0], s}),
        (1015, 1015, LATEST_AT, {t[0], s}),
        (LARGEST, LARGEST, LATEST_AT, {t[3], s}),
    ):
        rows = find(catalog, dataset, range_mode(start, end, fill, only))
        assert ids(rows) == expected, (start, end, fill)


@pytest.mark.covers("find_chunks_samples")
def test_samples(catalog: Catalog) -> None:
    sources = per_segment_set(600)
    dataset = catalog.dataset("mine", sources)
    only_static = static_ids(*sources)
    values = {"seg1": [1010], "seg2": [2015], "seg3": [3010]}
    first = [tuid(600 + i, 1) for i in range(3)]
    filled = find(catalog, dataset, samples_mode(values, LATEST_AT))
    assert ids(filled) == {*first, *only_static}
    exact = find(catalog, dataset, samples_mode(values))
    assert ids(exact) == {first[0], first[2], *only_static}
    # A segment without values is left out, its static chunks too.
    partly = find(catalog, dataset, samples_mode({"seg1": [1010], "seg2": []}))
    assert set(partly["chunk_segment_id"].to_pylist()) == {"seg1"}


@pytest.mark.covers("find_chunks_with_layers")
def test_chunks_name_their_layer(catalog: Catalog) -> None:
    sources = layered_set()
    dataset = catalog.dataset("mine", sources)
    found: dict[tuple[str, str], set[bytes]] = {}
    for row in find(catalog, dataset, range_mode()).to_pylist():
        key = (row["chunk_segment_id"], row["rerun_segment_layer"])
        found.setdefault(key, set()).add(row["chunk_id"])
    assert found == {(s.segment, s.layer): all_ids(s) for s in sources}


@pytest.mark.covers("find_chunks_fixed_schema")
def test_a_timeline_that_some_segments_lack(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", mixed_set())
    rows = find(catalog, dataset, range_mode()).to_pylist()
    starts = {r["chunk_id"]: r["chunk_timeline_start"] for r in rows}
    assert starts == {tuid(1, 1): 10, tuid(1, 2): None, tuid(2, 1): None, tuid(2, 2): None}
    assert [f[0] for f in [*BASE, START, *URLS]][:3] == [
        "chunk_id",
        "chunk_segment_id",
        "rerun_segment_layer",
    ]


@pytest.mark.covers("find_chunks_segment_scope")
def test_segments(catalog: Catalog) -> None:
    sources = per_segment_set(800)
    dataset = catalog.dataset("mine", sources)
    everything = find(catalog, dataset, static_mode())
    assert ids(everything) == static_ids(*sources)
    listed = find(catalog, dataset, static_mode(some("seg1", "seg2", "seg3")))
    assert ids(listed) == ids(everything)
    assert ids(find(catalog, dataset, static_mode(some("seg2")))) == {tuid(801, 5)}
    for nothing in ((), ("unknown",)):
        answer = catalog.FindChunks(
            entry=dataset, contents={"all": EMPTY}, **static_mode(some(*nothing))
        )
        assert [decode(m.data).num_rows for m in answer] == [0]
        assert find(catalog, dataset, static_mode(some(*nothing))).num_rows == 0


@pytest.mark.covers("find_chunks_invalid_requests")
def test_what_cannot_be_found(catalog: Catalog) -> None:
    full = catalog.dataset("full", simple_set())
    empty = catalog.create("empty")
    for dataset, segments in ((full, None), (full, some()), (empty, None)):
        more = {} if segments is None else {"segments": segments}
        with refused("UNIMPLEMENTED"):
            find(catalog, dataset, range_mode(0, 10, EARLIEST_AT, **more))
    with refused("UNIMPLEMENTED"):
        find(catalog, full, samples_mode({"my_segment_id1": [10]}, EARLIEST_AT))
    with refused("INVALID_ARGUMENT", "no_such_timeline"):
        find(catalog, full, range_mode(timeline="no_such_timeline"))
    for mode in (static_mode(), range_mode()):
        answer = catalog.FindChunks(entry=empty, contents={"all": EMPTY}, **mode)
        assert [decode(m.data).num_rows for m in answer] == [0]
        assert find(catalog, empty, mode).num_rows == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"contents": {"all": EMPTY}}, "mode"),
        (static_mode(), "contents"),
        ({"contents": {"all": EMPTY}, **static_mode(pb.SegmentSelection())}, "segments"),
        ({"contents": {"all": EMPTY}, **range_mode(timeline="")}, "timeline"),
        ({"contents": {"all": EMPTY}, **range_mode(5, 4)}, ""),
        ({"contents": {"all": EMPTY}, **range_mode(None, 4, LATEST_AT)}, "start"),
        ({"contents": contents({"/a": [""]}), **range_mode()}, "component"),
        ({"contents": {"all": EMPTY}, **samples_mode({"a": [-(2**63)]})}, ""),
        ({"contents": {"all": EMPTY}, "direct_url_mode": 9, **range_mode()}, ""),
    ],
)
def test_requests_that_make_no_sense(catalog: Catalog, fields: dict[str, Any], words: str) -> None:
    dataset = catalog.dataset("mine", simple_set())
    with refused("INVALID_ARGUMENT", words):
        catalog.FindChunks(entry=dataset, **fields)


# --- QueryDataset, which older clients send


def per_file(*sources: Source) -> dict[str, set[bytes]]:
    found: dict[str, set[bytes]] = {}
    for source in sources:
        found.setdefault(source.segment, set()).update(all_ids(source))
    return found


@pytest.mark.covers("query_empty_dataset")
def test_a_query_of_nothing(catalog: Catalog) -> None:
    rows = query(catalog, catalog.create("mine"), select_all_entity_paths=True)
    assert rows.num_rows == 0


@pytest.mark.covers("query_simple_dataset")
def test_queries_by_segment_and_entity(catalog: Catalog) -> None:
    sources = simple_set()
    dataset = catalog.dataset("mine", sources)
    rows = query(catalog, dataset, select_all_entity_paths=True).to_pylist()
    got = {
        r["chunk_id"]: (
            r["chunk_segment_id"],
            r["rerun_segment_layer"],
            r["chunk_entity_path"],
            r["chunk_is_static"],
        )
        for r in rows
    }
    static_ones = static_ids(*sources)
    assert got == {
        tuid(s.prefix, i + 1): (
            s.segment,
            "base",
            chunk.schema.metadata[b"rerun:entity_path"].decode(),
            tuid(s.prefix, i + 1) in static_ones,
        )
        for s in sources
        for i, chunk in enumerate(s.chunks)
    }
    one = query(
        catalog,
        dataset,
        select_all_entity_paths=True,
        segment_ids=segment_ids("my_segment_id3"),
    )
    assert ids(one) == all_ids(sources[2])
    entity = query(catalog, dataset, entity_paths=[pb.EntityPath(path="/my/entity")])
    assert entity.num_rows == 6
    assert set(entity["chunk_entity_path"].to_pylist()) == {"/my/entity"}


@pytest.mark.covers("query_simple_dataset_with_layers")
def test_queries_name_layers(catalog: Catalog) -> None:
    sources = layered_set()
    dataset = catalog.dataset("mine", sources)
    rows = query(catalog, dataset, select_all_entity_paths=True).to_pylist()
    got = {(r["chunk_segment_id"], r["rerun_segment_layer"], r["chunk_id"]) for r in rows}
    assert got == {(s.segment, s.layer, i) for s in sources for i in all_ids(s)}
    assert len(rows) == 10


@pytest.mark.covers("query_dataset_unknown_segment_id_returns_empty")
def test_segments_that_are_not_there(catalog: Catalog) -> None:
    source = simple("real_segment", 1, ["my/entity"])
    dataset = catalog.dataset("mine", [source])

    def ask(*segments: str) -> list[pa.RecordBatch]:
        answer = catalog.QueryDataset(
            entry=dataset,
            select_all_entity_paths=True,
            segment_ids=segment_ids(*segments),
            scan_parameters=pb.ScanParameters(columns=["frame_nr:start"]),
        )
        return [decode(message.data) for message in answer]

    for segments, expected in (
        (["unknown"], set()),
        (["real_segment", "unknown"], all_ids(source)),
    ):
        batches = ask(*segments)
        assert batches
        for batch in batches:
            field = batch.schema.field("frame_nr:start")
            assert (field.type, field.nullable) == (pa.int64(), True)
            assert field.metadata == {
                b"rerun:index": b"frame_nr",
                b"rerun:kind": b"index",
                b"rerun:index_marker": b"start",
            }
        assert ids(pa.Table.from_batches(batches)) == expected


@pytest.mark.covers("query_dataset_has_uncompressed_sizes")
def test_sizes(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [simple("segment", 1, ["my/entity"])])
    rows = query(catalog, dataset, select_all_entity_paths=True)
    assert rows.num_rows == 2
    sizes = rows["chunk_byte_size_uncompressed"].to_pylist()
    assert all(size is not None and size > 0 for size in sizes)


@pytest.mark.covers("query_dataset_with_various_queries")
def test_static_beside_temporal(catalog: Catalog) -> None:
    value = plain("value", pa.float64())
    source = Source("static_test_segment", 100)
    source.chunk("/static_only", {}, {value: [[1.0]]})
    source.chunk("/both", {}, {value: [[2.0]]})
    source.chunk("/both", {FRAME: [0]}, {value: [[3.0]]})
    source.chunk("/temporal_only", {FRAME: [0]}, {value: [[4.0]]})
    dataset = catalog.dataset("mine", [source])
    everything = all_ids(source)
    assert len(everything) == 4
    for more in ({}, {"query": pb.Query()}):
        assert ids(query(catalog, dataset, select_all_entity_paths=True, **more)) == everything
    ranged = ids(
        query(catalog, dataset, select_all_entity_paths=True, query=old_range(SMALLEST, LARGEST))
    )
    # The third is hidden by the static data of its entity.
    assert everything - {tuid(100, 3)} <= ranged <= everything


def selector(timeline: str) -> Any:
    return pb.IndexColumnSelector(timeline=pb.Timeline(name=timeline))


def old_range(start: int, end: int, timeline: str = FRAME, at: int | None = None) -> Any:
    asked = pb.Query(
        range=pb.QueryRange(
            index=selector(timeline), index_range=pb.TimeRange(start=start, end=end)
        )
    )
    if at is not None:
        asked.latest_at.CopyFrom(pb.QueryLatestAt(index=selector(timeline), at=at))
    return asked


def old_latest_at(at: int, timeline: str = FRAME) -> Any:
    return pb.Query(latest_at=pb.QueryLatestAt(index=selector(timeline), at=at))


def old_samples(*values: list[int], timeline: str = FRAME) -> Any:
    return pb.Query(
        latest_at=pb.QueryLatestAt(
            index=selector(timeline),
            per_segment_values=[pb.IndexValueList(values=v) for v in values],
        )
    )


POINTS = "example.MyPoints:points"
EVERY = {"select_all_entity_paths": True}
ONE_AND_THREE = segment_ids("seg1", "seg3")
# (what QueryDataset is asked, what FindChunks is asked, what it selects, whether the starts must be there)
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any], Any, bool]] = {
    "static": ({"query": pb.Query(latest_at=pb.QueryLatestAt())}, static_mode(), None, False),
    "all": ({}, range_mode(), None, False),
    "all with starts": (
        {"scan_parameters": pb.ScanParameters(columns=["chunk_id", "frame_nr:start"])},
        range_mode(),
        None,
        True,
    ),
    "bounds of two segments": (
        {"query": old_range(1010, 3020), "segment_ids": ONE_AND_THREE},
        range_mode(1010, 3020, segments=some("seg1", "seg3")),
        None,
        True,
    ),
    "bounds, with addresses": (
        {"query": old_range(1010, 2020), "generate_direct_urls": True},
        range_mode(1010, 2020),
        None,
        True,
    ),
    "from": ({"query": old_range(2020, LARGEST)}, range_mode(start=2020), None, True),
    "until": ({"query": old_range(SMALLEST, 2020)}, range_mode(end=2020), None, True),
    "latest at the end": (
        {"query": old_latest_at(LARGEST)},
        range_mode(LARGEST, LARGEST, LATEST_AT),
        None,
        True,
    ),
    "the smallest time": (
        {"query": old_range(SMALLEST, SMALLEST)},
        range_mode(SMALLEST, SMALLEST),
        None,
        True,
    ),
    "latest at": ({"query": old_latest_at(2015)}, range_mode(2015, 2015, LATEST_AT), None, True),
    "samples": (
        {
            "query": old_samples([1010], [2015], [3010, 3040]),
            "segment_ids": segment_ids("seg1", "seg2", "seg3"),
        },
        samples_mode({"seg1": [1010], "seg2": [2015], "seg3": [3010, 3040]}, LATEST_AT),
        None,
        True,
    ),
    "samples, one empty": (
        {"query": old_samples([1010], []), "segment_ids": segment_ids("seg1", "seg2")},
        samples_mode({"seg1": [1010], "seg2": []}, LATEST_AT),
        None,
        True,
    ),
    "samples, all empty": (
        {"query": old_samples([], []), "segment_ids": segment_ids("seg1", "seg2")},
        samples_mode({"seg1": [], "seg2": []}, LATEST_AT),
        None,
        True,
    ),
    "a component": (
        {
            "select_all_entity_paths": False,
            "entity_paths": [pb.EntityPath(path="/my/entity")],
            "fuzzy_descriptors": [POINTS],
            "query": old_range(1010, 2020),
        },
        range_mode(1010, 2020),
        contents({"/my/entity": [POINTS]}),
        True,
    ),
    "a component of all": (
        {"fuzzy_descriptors": [POINTS], "query": old_range(1010, 2020)},
        range_mode(1010, 2020),
        contents({"/my/entity": [POINTS]}),
        True,
    ),
    "latest at, then a range": (
        {"query": old_range(1015, 1030, at=1015)},
        range_mode(1015, 1030, LATEST_AT),
        None,
        True,
    ),
}


@pytest.mark.covers("query_dataset_matches_find_chunks")
@pytest.mark.parametrize("which", ["per segment", "mixed"])
def test_both_calls_select_the_same(catalog: Catalog, which: str) -> None:
    assert len(PAIRS) == 16
    sources = per_segment_set(900) if which == "per segment" else mixed_set()
    dataset = catalog.dataset("mine", sources)
    selected = 0
    for name, (old, mode, selection, has_start) in PAIRS.items():
        found = find(catalog, dataset, mode, selection)
        queried = query(catalog, dataset, **{**EVERY, **old})
        assert ids(queried) == ids(found), name
        selected += found.num_rows
        if has_start:
            starts = dict(
                zip(
                    found["chunk_id"].to_pylist(),
                    found["chunk_timeline_start"].to_pylist(),
                    strict=True,
                )
            )
            rows = queried.to_pylist()
            assert {r["chunk_id"]: r["frame_nr:start"] for r in rows} == starts, name
    assert selected > 20


@pytest.mark.covers("query_dataset_per_segment_values_wire_level")
@pytest.mark.parametrize("timeline", [FRAME, DURATION, TIMESTAMP])
def test_values_per_segment(catalog: Catalog, timeline: str) -> None:
    dataset = catalog.dataset("mine", per_segment_set(1, timeline))
    three = segment_ids("seg1", "seg2", "seg3")
    full = ids(query(catalog, dataset, **EVERY, query=old_range(0, 5000, timeline)))
    some_values = old_samples([1010], [2020], [3030], timeline=timeline)
    part = ids(query(catalog, dataset, **EVERY, query=some_values, segment_ids=three))
    assert part
    assert part < full


@pytest.mark.covers("query_dataset_per_segment_values_validation_rejected")
def test_values_per_segment_beside_a_time(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", per_segment_set(1))
    bad = old_samples([1010])
    bad.latest_at.at = 1010
    with refused("INVALID_ARGUMENT"):
        query(catalog, dataset, **EVERY, query=bad, segment_ids=segment_ids("seg1"))
    for more in ({}, {"segment_ids": segment_ids("seg1", "seg2")}):
        with refused("INVALID_ARGUMENT"):  # one list per segment
            query(catalog, dataset, **EVERY, query=old_samples([1010]), **more)


@pytest.mark.covers("query_dataset_per_segment_values_empty_entity_paths_short_circuits")
def test_values_of_no_entity(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", per_segment_set(1))
    rows = query(catalog, dataset, query=old_samples([1010]), segment_ids=segment_ids("seg1"))
    assert rows.num_rows == 0


# --- FetchChunks


@pytest.mark.covers("simple_dataset_fetch_chunk_snapshot")
def test_chunks_are_what_was_logged(catalog: Catalog) -> None:
    sources = simple_set()
    dataset = catalog.dataset("mine", sources)
    found = find(catalog, dataset, range_mode())
    needed = [
        "chunk_key",
        "chunk_id",
        "chunk_segment_id",
        "rerun_segment_layer",
        "chunk_byte_len",
    ]
    (batch,) = found.select(needed).combine_chunks().to_batches()
    fetched = fetch(catalog, [encode(batch)])
    logged = {tuid(s.prefix, i + 1): c for s in sources for i, c in enumerate(s.chunks)}
    assert set(fetched) == set(logged)
    assert len(fetched) == 12
    for key, chunk in logged.items():
        got = fetched[key]
        assert got.schema.names == chunk.schema.names
        assert fields_of(got.schema) == fields_of(chunk.schema)
        assert got.schema.metadata == chunk.schema.metadata
        assert got.to_pylist() == chunk.to_pylist()
    first = fetched[tuid(1, 1)]
    assert first.schema.names == [
        "rerun.controls.RowId",
        "frame_nr",
        "example.MyPoints:colors",
        "example.MyPoints:points",
    ]
    assert first.column(0).to_pylist() == [tuid(1, i) for i in (1, 2, 3, 4)]
    assert fetched[tuid(1, 2)].column(0).to_pylist() == [tuid(1, 5)]


@pytest.mark.covers("multi_dataset_fetch_chunk_completeness")
def test_one_call_for_two_datasets(catalog: Catalog) -> None:
    asked, frames = set(), []
    for name, prefix in (("one", 1), ("two", 101)):
        sources = simple_set(prefix)
        catalog.dataset(name, sources)
        frames += [message.data for message in catalog.find_all(name)]
        asked |= all_ids(*sources)
    assert len(asked) == 24
    assert set(fetch(catalog, frames)) == asked


def test_keys_that_lead_nowhere(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", [per_frame("segment", 1, 0)])
    rows = joined(catalog.find_all(dataset))
    (batch,) = rows.combine_chunks().to_batches()
    broken = batch.set_column(
        batch.schema.get_field_index("chunk_key"),
        pa.field("chunk_key", pa.binary(), False),
        pa.array([b"no key"] * batch.num_rows, pa.binary()),
    )
    with refused("INVALID_ARGUMENT", "key"):
        fetch(catalog, [encode(broken)])
    with refused("INVALID_ARGUMENT", "chunk_key"):
        fetch(catalog, [encode(batch.select(["chunk_id"]))])
    assert fetch(catalog, []) == {}
    catalog.unregister(dataset, ["segment"], [])
    with refused("NOT_FOUND"):
        fetch(catalog, [encode(batch)])
