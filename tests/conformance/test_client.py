"""What our client asks servers for, seen by a proxy, and the rows it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from catalog_client import Catalog
from chunks import LATEST_AT, NONE, find, ids, range_mode
from datafusion import col, lit
from protocol import tuid
from recording_proxy import FIND_CHUNKS, RecordingProxy
from small_recordings import (
    DURATION,
    FRAME,
    TIME_TYPES,
    TIMESTAMP,
    Source,
    index_values_set,
    multi_chunk_set,
    per_segment_set,
    plain,
    two_timelines,
)

import rushes.catalog

PREFIX = "/my/entity:example.MyPoints:"
POINTS, COLORS, LABELS = (PREFIX + name for name in ("points", "colors", "labels"))
SEGMENTS = ["my_segment_id1", "my_segment_id2", "my_segment_id3"]
FRAMES = list(range(10, 100, 10))
POINT_AT = dict(zip(FRAMES, [0, 2, 1] * 3, strict=True))
COLOR_AT = {10: 0, 20: 2, 30: 1, 70: 0, 80: 2, 90: 1}
FILLED_AT = {**COLOR_AT, 40: 1, 50: 1, 60: 1}

Open = Callable[..., tuple[RecordingProxy, rushes.catalog.CatalogClient]]


@pytest.fixture
def through(catalog: Catalog) -> Iterator[Open]:
    """Opens our client on a proxy of the server."""
    opened: list[RecordingProxy] = []

    def start(**options: Any) -> tuple[RecordingProxy, rushes.catalog.CatalogClient]:
        proxy = RecordingProxy(catalog.url.rsplit("//", 1)[1], **options)
        opened.append(proxy)
        return proxy, rushes.catalog.CatalogClient(proxy.url)

    yield start
    for proxy in opened:
        proxy.close()


CALLS = {"FindChunks": {}, "QueryDataset": {"hide": (FIND_CHUNKS,)}}


def column(name: str) -> Any:
    return col('"' + name + '"')


def between(low: int, high: int) -> Any:
    return col(FRAME).between(lit(low), lit(high))


def sorted_rows(frame: Any, index: str = FRAME) -> pa.Table:
    order = [("rerun_segment_id", "ascending"), (index, "ascending")]
    return frame.to_arrow_table().sort_by(order).combine_chunks()


def listed(frame: Any) -> list[tuple[str, int, Any, Any, Any]]:
    """(segment, frame, point, colour, labels) of the rows, in order."""
    return [
        (
            row["rerun_segment_id"],
            row[FRAME],
            None if row[POINTS] is None else row[POINTS][0]["x"],
            None if row[COLORS] is None else row[COLORS][0],
            row[LABELS],
        )
        for row in sorted_rows(frame).to_pylist()
    ]


def expected(
    segments: list[str], frames: list[int], colors: dict[int, int]
) -> list[tuple[str, int, Any, Any, Any]]:
    return [
        (segment, frame, POINT_AT[frame], colors.get(frame), ["simple"])
        for segment in segments
        for frame in frames
    ]


def bounds(request: Any) -> tuple[int | None, int | None]:
    if request.WhichOneof("mode") == "samples":  # as for `index = value`
        values = {value for s in request.samples.segments for value in s.values}
        return min(values), max(values)
    selection = request.range
    return (
        selection.start_inclusive if selection.HasField("start_inclusive") else None,
        selection.end_inclusive if selection.HasField("end_inclusive") else None,
    )


# --- filters


@pytest.mark.covers("query_dataset_simple_filter")
def test_filters_become_bounds(catalog: Catalog, through: Open) -> None:
    catalog.dataset("mine", multi_chunk_set())
    proxy, client = through()
    view = client.get_dataset("mine").filter_contents(["/my/entity"])
    for fill, colors in ((False, COLOR_AT), (True, FILLED_AT)):
        frame = view.reader(index=FRAME, fill_latest_at=fill)
        for filter, segments, frames in (
            (lit(True), SEGMENTS, FRAMES),
            (column("rerun_segment_id") == lit("my_segment_id2"), ["my_segment_id2"], FRAMES),
            (col(FRAME) == lit(50), SEGMENTS, [50]),
            (between(40, 60), SEGMENTS, [40, 50, 60]),
        ):
            proxy.take()
            assert listed(frame.filter(filter)) == expected(segments, frames, colors)
            (request,) = proxy.take("FindChunks", "QueryDataset")
            low, high = bounds(request)
            if frames == FRAMES:
                assert (low, high) == (None, None)
            else:
                assert (low, high) == (frames[0], frames[-1])
            asked = [item.id for item in request.range.segments.explicit.ids] or [
                item.segment_id.id for item in request.samples.segments
            ]
            assert asked == segments


@pytest.mark.covers("query_dataset_range_filter_with_and_without_latest_at_fill")
def test_a_range_is_filled_from_before(catalog: Catalog, through: Open) -> None:
    catalog.dataset("mine", multi_chunk_set())
    proxy, client = through()
    view = client.get_dataset("mine").filter_contents(["/my/entity"])
    for fill, mode, colors in ((False, NONE, {}), (True, LATEST_AT, FILLED_AT)):
        frame = view.reader(index=FRAME, fill_latest_at=fill).filter(between(40, 60))
        proxy.take()
        assert listed(frame) == expected(SEGMENTS, [40, 50, 60], colors)
        (request,) = proxy.take("FindChunks")
        assert request.range.fill_mode == mode
        assert bounds(request) == (40, 60)


@pytest.mark.covers("query_dataset_with_limit")
def test_limits(catalog: Catalog, through: Open) -> None:
    catalog.dataset("mine", multi_chunk_set())
    _, client = through()
    view = client.get_dataset("mine").filter_contents(["/my/entity"])
    total = len(SEGMENTS) * len(FRAMES)
    for limit in (1, total // 2, total, total + 100):
        frame = view.reader(index=FRAME).limit(limit)
        assert frame.to_arrow_table().num_rows == min(limit, total)


@pytest.mark.covers("query_dataset_or_of_ranges_fans_out")
@pytest.mark.covers("query_dataset_or_of_ranges_fans_out_query_dataset_path")
@pytest.mark.parametrize("call", CALLS)
def test_ranges_joined_by_or(catalog: Catalog, through: Open, call: str) -> None:
    """Ours asks once, with bounds around all ranges, where the official client asks once per range."""
    catalog.dataset("mine", multi_chunk_set())
    proxy, client = through(**CALLS[call])
    view = client.get_dataset("mine").filter_contents(["/my/entity"])
    two = between(10, 30) | between(50, 70)
    for filter, frames in (
        (two | between(55, 75), [10, 20, 30, 50, 60, 70]),
        (two, [10, 20, 30, 50, 60, 70]),
    ):
        for _ in range(3):
            proxy.take()
            frame = view.reader(index=FRAME).filter(filter)
            assert listed(frame) == expected(SEGMENTS, frames, COLOR_AT)
            (request,) = proxy.take(call)
            if call == "FindChunks":
                low, high = bounds(request)
            else:
                low, high = (
                    request.query.range.index_range.start,
                    request.query.range.index_range.end,
                )
            assert low == 10
            assert 70 <= high <= 75


@pytest.mark.covers("query_dataset_or_with_empty_branch_and_projection")
def test_a_range_without_rows(catalog: Catalog, through: Open) -> None:
    catalog.dataset("mine", multi_chunk_set())
    _, client = through()
    frame = client.get_dataset("mine").filter_contents(["/my/entity"]).reader(index=FRAME)
    some, none = between(40, 60), between(1000, 2000)
    for filter, count in ((some | none, 9), (none | some, 9), (none, 0)):
        chosen = frame.filter(filter).select("rerun_segment_id", FRAME, column(POINTS))
        assert chosen.to_arrow_table().num_rows == count


@pytest.mark.covers("query_dataset_projection_narrows_components_without_view_contents")
def test_a_projection_narrows_what_is_asked_for(catalog: Catalog, through: Open) -> None:
    catalog.dataset("mine", multi_chunk_set())
    proxy, client = through()
    frame = client.get_dataset("mine").reader(index=FRAME)
    proxy.take()
    rows = sorted_rows(frame.select("rerun_segment_id", FRAME, column(COLORS)))
    # The entity that is named decides the rows.
    assert [(r["rerun_segment_id"], r[FRAME]) for r in rows.to_pylist()] == [
        (segment, at) for segment in SEGMENTS for at in FRAMES
    ]
    assert [None if c is None else c[0] for c in rows[COLORS].to_pylist()] == [
        COLOR_AT.get(at) for _ in SEGMENTS for at in FRAMES
    ]
    (request,) = proxy.take("FindChunks")
    selected = request.contents.explicit.entities
    assert [item.entity_path.path for item in selected] == ["/my/entity"]


@pytest.mark.covers("query_dataset_foreign_selection_timeline_matches_oracle")
@pytest.mark.parametrize("call", CALLS)
def test_filters_on_another_timeline(catalog: Catalog, through: Open, call: str) -> None:
    sources = [two_timelines("segment1", 40, 0, 0), two_timelines("segment2", 41, 5, 15)]
    dataset = catalog.dataset("mine", sources)
    found = find(catalog, dataset, range_mode())
    assert ids(found) == {tuid(p, i) for p in (40, 41) for i in (1, 2, 3, 4)}
    _, client = through(**CALLS[call])
    low, high = 85_000_000, 100_000_000

    def ms(value: int) -> Any:
        return lit(pa.scalar(value, pa.timestamp("ns")))

    times = column(TIMESTAMP).between(ms(low), ms(high))
    for fill in (False, True):
        frame = client.get_dataset("mine").reader(index=FRAME, fill_latest_at=fill)
        everything = sorted_rows(frame)
        assert everything.num_rows == 18
        stamps = everything[TIMESTAMP].combine_chunks().view(pa.int64()).to_pylist()
        frames = everything[FRAME].to_pylist()
        for filter, keep in (
            (times, lambda f, t: low <= t <= high),
            (times & between(10, 20), lambda f, t: low <= t <= high and 10 <= f <= 20),
            (times | between(60, 70), lambda f, t: low <= t <= high or 60 <= f <= 70),
        ):
            mask = [keep(f, t) for f, t in zip(frames, stamps, strict=True)]
            assert any(mask)
            assert sorted_rows(frame.filter(filter)).equals(everything.filter(pa.array(mask)))


@pytest.mark.covers("query_dataset_entity_without_filtered_timeline_reads_null")
def test_an_entity_without_the_filtered_timeline(catalog: Catalog, through: Open) -> None:
    """Ours keeps what the entity has on the index; the official client is known to lose it."""
    value = plain("value", pa.float64())
    source = Source("segment", 1)
    source.chunk("/both", {FRAME: [10, 20], TIMESTAMP: [1000, 2000]}, {value: [[1.0], [2.0]]})
    source.chunk("/one", {FRAME: [10, 20]}, {value: [[3.0], [4.0]]})
    catalog.dataset("mine", [source])
    _, client = through()
    frame = client.get_dataset("mine").reader(index=FRAME)
    stamp = lit(pa.scalar(2000, pa.timestamp("ns")))
    (row,) = frame.filter(column(TIMESTAMP) == stamp).to_arrow_table().to_pylist()
    assert row[FRAME] == 20
    assert row["/both:value"] == [2.0]
    assert row["/one:value"] in ([4.0], None)
    unfiltered = sorted_rows(frame).to_pylist()
    assert [r["/one:value"] for r in unfiltered] == [[3.0], [4.0]]


# --- index values


@pytest.mark.covers("query_dataset_emits_per_segment_pushdown")
@pytest.mark.covers("query_dataset_emits_per_segment_pushdown_query_dataset_path")
@pytest.mark.parametrize("timeline", [FRAME, DURATION, TIMESTAMP])
@pytest.mark.parametrize("call", CALLS)
def test_index_values_are_asked_for_by_segment(
    catalog: Catalog, through: Open, call: str, timeline: str
) -> None:
    catalog.dataset("mine", per_segment_set(1, timeline))
    proxy, client = through(**CALLS[call])
    dataset = client.get_dataset("mine")
    values = {"seg1": [1010, 1030], "seg2": [2020], "seg3": [3040]}

    def typed(at: list[int]) -> pa.Array:
        return pa.array(at, pa.int64()).cast(TIME_TYPES[timeline])

    proxy.take()
    wanted = {segment: typed(at) for segment, at in values.items()}
    rows = dataset.reader(index=timeline, using_index_values=wanted).to_arrow_table()
    assert rows.num_rows == 4
    (request,) = proxy.take("FindChunks", "QueryDataset")
    if call == "FindChunks":
        assert request.samples.timeline == timeline
        assert request.samples.fill_mode == NONE
        asked = {s.segment_id.id: list(s.values) for s in request.samples.segments}
    else:
        latest = request.query.latest_at
        assert latest.index.timeline.name == timeline
        assert not latest.HasField("at")
        lists = [list(item.values) for item in latest.per_segment_values]
        asked = dict(zip([s.id for s in request.segment_ids], lists, strict=True))
    assert asked == values
    empty = {segment: typed([]) for segment in values}
    rows = dataset.reader(index=timeline, using_index_values=empty).to_arrow_table()
    assert rows.num_rows == 0
    assert proxy.take("FindChunks", "QueryDataset") == []


@pytest.mark.covers("query_dataset_index_values")
@pytest.mark.covers("query_dataset_index_values_query_dataset_path")
@pytest.mark.parametrize("timeline", [FRAME, DURATION, TIMESTAMP])
@pytest.mark.parametrize("call", CALLS)
def test_rows_at_index_values(catalog: Catalog, through: Open, call: str, timeline: str) -> None:
    catalog.dataset("mine", index_values_set(timeline))
    _, client = through(**CALLS[call])
    view = client.get_dataset("mine").filter_contents(["/my/entity"])
    values = {
        "my_segment_id1": [1020, 1040],
        "my_segment_id2": [2010, 2030],
        "my_segment_id3": [3010, 3020, 3030, 3040],
    }

    def read(wanted: dict[str, list[int]]) -> list[tuple[str, int, Any, Any, Any]]:
        typed = {
            segment: pa.array(at, pa.int64()).cast(TIME_TYPES[timeline])
            for segment, at in wanted.items()
        }
        table = sorted_rows(view.reader(index=timeline, using_index_values=typed), timeline)
        at = table[timeline].combine_chunks().view(pa.int64()).to_pylist()
        return [
            (row["rerun_segment_id"], i, row[POINTS], row[COLORS], row[LABELS])
            for i, row in zip(at, table.to_pylist(), strict=True)
        ]

    def rows(wanted: dict[str, list[int]]) -> list[tuple[str, int, Any, Any, Any]]:
        out = []
        for segment, at in wanted.items():
            for i in at:
                n = (i % 1000) // 10 - 1
                out.append((segment, i, [{"x": float(n), "y": float(n)}], [n], ["simple"]))
        return out

    assert len(rows(values)) == 8
    assert read(values) == rows(values)
    one = {"my_segment_id2": values["my_segment_id2"]}
    assert read(one) == rows(one)
    assert read({"unknown": [1020]}) == []


# --- which call


@pytest.mark.covers("find_chunks_dispatch_follows_advertised_capabilities")
def test_the_call_follows_what_the_server_says(catalog: Catalog, through: Open) -> None:
    catalog.dataset("mine", multi_chunk_set())
    for options, used in (
        ({}, "FindChunks"),
        ({"hide": (FIND_CHUNKS,)}, "QueryDataset"),
        ({"hide": (FIND_CHUNKS,), "refuse": ("FindChunks",)}, "QueryDataset"),
    ):
        proxy, client = through(**options)
        rows = client.get_dataset("mine").reader(index=FRAME).to_arrow_table()
        assert rows.num_rows == 27
        other = "QueryDataset" if used == "FindChunks" else "FindChunks"
        assert proxy.take(other) == []
        client.get_dataset("mine").reader(index=FRAME).to_arrow_table()
        assert len(proxy.take(used)) == 1
    # Said to be there but refused: an error, and no second try.
    proxy, client = through(refuse=("FindChunks",))
    with pytest.raises(Exception, match=r"(?i)FindChunks|unimplemented"):
        client.get_dataset("mine").reader(index=FRAME).to_arrow_table()
    assert proxy.take("QueryDataset") == []
