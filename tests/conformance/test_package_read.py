"""Reading through a package: both clients, against a server in this process and another one."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import rerun as rr
from datafusion import SessionContext, col, lit
from datafusion import functions as f
from package_data import INDEXES, ROWS, SEGMENTS, TEXT, X1, X2, integers, table, times_of

KEYS = ("rerun_segment_id", "time_3")


def column(name: str) -> Any:
    return col('"' + name + '"')


def typed(index: str, value: int) -> Any:
    return lit(pa.scalar(value, pa.int64()).cast(INDEXES[index]))


def ids(frame: Any) -> set[str]:
    return set(table(frame)["rerun_segment_id"].to_pylist())


def views(ro: Any, *numbers: int) -> Any:
    return ro.filter_segments([SEGMENTS[n] for n in numbers])


# --- segments and schemas


@pytest.mark.covers("test_segment_ids")
def test_the_segment_table(ro: Any) -> None:
    assert sorted(ro.segment_ids()) == SEGMENTS
    rows = table(ro.segment_table(), "rerun_segment_id")
    assert rows["rerun_segment_id"].to_pylist() == SEGMENTS
    assert rows["rerun_layer_names"].to_pylist() == [["base"]] * 20
    assert all(count >= 5 for count in rows["rerun_num_chunks"].to_pylist())
    assert [v[0] for v in rows["property:info:index"].to_pylist()] == list(range(20))
    for index in INDEXES:
        for side, at in (("start", 0), ("end", -1)):
            expected = [times_of(n)[index][at] for n in range(20)]
            assert integers(rows[f"{index}:{side}"]) == expected


@pytest.mark.covers("test_index_ranges")
@pytest.mark.covers("test_index_ranges_dataset_view")
@pytest.mark.covers("draft/test_index_ranges")
def test_index_ranges(ro: Any) -> None:
    for view, numbers in ((ro, range(20)), (views(ro, 3, 5), (3, 5))):
        rows = table(view.get_index_ranges(), "rerun_segment_id")
        assert rows["rerun_segment_id"].to_pylist() == [SEGMENTS[n] for n in numbers]
        for index, data_type in INDEXES.items():
            for side, at in (("start", 0), ("end", -1)):
                name = f"{index}:{side}"
                assert rows.schema.field(name).type == data_type
                assert integers(rows[name]) == [times_of(n)[index][at] for n in numbers]


@pytest.mark.covers("test_readonly_dataset_schema_comparison_self_consistent")
@pytest.mark.covers("current/test_schema_column_for_selector")
def test_the_schema_stays_the_same(ro: Any) -> None:
    assert ro.schema() == ro.schema()
    names = [c.name for c in ro.schema().component_columns()]
    assert {X1, X2, TEXT} <= set(names)
    found = ro.schema().column_for_selector(X1)
    assert (found.entity_path, found.component) == ("/obj1", "Points3D:positions")
    with pytest.raises(LookupError):
        ro.schema().column_for_selector("/nothing:at_all")


@pytest.mark.covers("test_version_info")
def test_the_version(shared: Any) -> None:
    info = shared.version_info()
    assert info.version
    assert (info.cloud_provider is None) == (info.cloud_region is None)


# --- rows


@pytest.mark.covers("test_dataset_to_arrow_reader")
@pytest.mark.covers("test_df_count")
def test_streams_have_rows(ro: Any) -> None:
    frame = ro.reader(index="time_1")
    assert frame.count() == 20 * ROWS
    assert table(frame).num_rows == 20 * ROWS
    assert sum(batch.to_pyarrow().num_rows for batch in frame.execute_stream()) == 20 * ROWS
    assert table(ro.segment_table()).num_rows == 20


@pytest.mark.covers("test_df_aggregation")
def test_aggregation(ro: Any) -> None:
    x = f.array_element(f.array_element(column(X1), lit(1)), lit(1))
    frame = ro.reader(index="time_1").aggregate([], [f.min(x).alias("low"), f.max(x).alias("high")])
    assert frame.to_arrow_table().to_pylist() == [{"low": 1.0, "high": 50.0}]


@pytest.mark.covers("test_component_filtering")
def test_filtering_on_presence(ro: Any) -> None:
    rows = table(ro.reader(index="time_1").filter(column(X2).is_not_null()))
    assert rows.num_rows == 20 * len(range(0, ROWS, 3))
    assert rows[X2].null_count == 0


@pytest.mark.covers("test_segment_ordering")
@pytest.mark.parametrize("index", INDEXES)
def test_segments_are_whole_and_times_ascend(ro: Any, index: str) -> None:
    frame = ro.reader(index=index, fill_latest_at=True).select("rerun_segment_id", index)
    seen: set[str] = set()
    for stream in frame.execute_stream_partitioned():
        here: list[tuple[str, int]] = []
        for batch in stream:
            rows = batch.to_pyarrow()
            times = integers(pa.chunked_array([rows[index]]))
            here += zip(rows["rerun_segment_id"].to_pylist(), times, strict=True)
        assert here == sorted(here)
        mine = {segment for segment, _ in here}
        assert not mine & seen
        seen |= mine
    assert seen == set(SEGMENTS)


@pytest.mark.covers("test_query_view_from_schema")
def test_each_column_alone(ro: Any) -> None:
    view = views(ro, 0, 1)
    for described in ro.schema().component_columns():
        if described.is_property:
            continue
        index = None if described.is_static else "time_3"
        frame = view.reader(index=index).select(column(described.name))
        assert table(frame).num_rows > 0, described.name


@pytest.mark.covers("test_dataset_view_reader")
@pytest.mark.covers("current/test_dataframe_api_filter_segment_id")
@pytest.mark.covers("draft/test_dataframe_api_filter_segment_id")
@pytest.mark.covers("draft/test_dataset_view_dataframe")
def test_rows_of_one_segment(ro: Any) -> None:
    frame = views(ro, 2).filter_contents(["/obj2/**"]).reader(index="time_3")
    rows = table(frame, *KEYS)
    every = range(0, ROWS, 3)
    assert rows["time_3"].to_pylist() == [times_of(2)["time_3"][i] for i in every]
    assert rows[X2].to_pylist() == [[[i + 1.0, 2.0, 0.0]] for i in every]
    assert X1 not in rows.column_names
    declared = frame.schema()
    for batch in frame.collect():
        assert batch.schema.equals(declared, check_metadata=True)
    other = ro.reader(index="time_3").filter(
        column("rerun_segment_id") == lit(SEGMENTS[2]), column(X2).is_not_null()
    )
    assert table(other, *KEYS).select(rows.column_names).equals(rows)


FILTERS = [
    col("time_3") == lit(1005),
    col("time_3") < lit(1005),
    col("time_3") <= lit(1005),
    col("time_3") > lit(18_040),
    col("time_3") >= lit(18_040),
    col("time_3").between(lit(1005), lit(2005)),
    (col("time_3") > lit(1005)) & (col("time_3") < lit(1010)),
    (col("time_3") < lit(5)) | (col("time_3") > lit(19_045)),
    ~(col("time_3") > lit(5)),
    col("time_3") != lit(1005),
    lit(1005) == col("time_3"),
    f.in_list(col("time_3"), [lit(1), lit(1005), lit(99_999)]),
    f.in_list(col("time_3"), [lit(1), lit(1005)], negated=True),
    col("time_3") == lit(-1),
    (col("time_3") == lit(3)) & (col("time_3") == lit(4)),
    col("rerun_segment_id") == lit(SEGMENTS[3]),
    col("rerun_segment_id") != lit(SEGMENTS[3]),
    f.in_list(col("rerun_segment_id"), [lit(SEGMENTS[1]), lit(SEGMENTS[4])]),
    f.in_list(col("rerun_segment_id"), [lit(SEGMENTS[1])], negated=True),
    (col("rerun_segment_id") == lit(SEGMENTS[3])) & (col("time_3") > lit(3040)),
    (col("rerun_segment_id") == lit(SEGMENTS[3])) | (col("time_3") > lit(18_040)),
    (col("rerun_segment_id") == lit(SEGMENTS[3])) & (col("rerun_segment_id") == lit(SEGMENTS[4])),
    col("time_1") > typed("time_1", times_of(19)["time_1"][40]),
    col("time_2").between(typed("time_2", 0), typed("time_2", 50_000_000)),
    col("time_3").is_not_null(),
    lit(True),
]


@pytest.mark.covers("test_df_filters")
@pytest.mark.parametrize("number", range(len(FILTERS)))
def test_filters_equal_filtering_in_memory(ro: Any, number: int) -> None:
    frame = ro.reader(index="time_3")
    in_memory = SessionContext().from_arrow(frame.to_arrow_table())
    expected = table(in_memory.filter(FILTERS[number]), *KEYS)
    got = table(frame.filter(FILTERS[number]), *KEYS)
    assert got.num_rows == expected.num_rows
    for name in ("rerun_segment_id", "time_3", X1, X2, TEXT):
        assert got[name].combine_chunks().equals(expected[name].combine_chunks()), name


# --- narrowing


@pytest.mark.covers("test_narrowing_drops_all_null_rows_single_entity")
@pytest.mark.covers("test_narrowed_select_snapshot")
@pytest.mark.parametrize("index", INDEXES)
def test_one_entity_decides_the_rows(ro: Any, index: str) -> None:
    frame = views(ro, 0, 1).reader(index=index)
    keys = ("rerun_segment_id", index)
    narrow = table(frame.select("rerun_segment_id", index, column(X2)), *keys)
    full = table(frame.filter(column(X2).is_not_null()), *keys)
    assert narrow.equals(full.select(narrow.column_names))
    assert narrow.num_rows == 2 * len(range(0, ROWS, 3))


@pytest.mark.covers("test_narrowing_drops_all_null_rows_two_entities")
@pytest.mark.parametrize("index", INDEXES)
def test_two_entities_decide_the_rows(ro: Any, index: str) -> None:
    frame = views(ro, 0, 1).reader(index=index)
    keys = ("rerun_segment_id", index)
    narrow = table(frame.select("rerun_segment_id", index, column(X2), column(TEXT)), *keys)
    some = column(X2).is_not_null() | column(TEXT).is_not_null()
    assert narrow.equals(table(frame.filter(some), *keys).select(narrow.column_names))
    assert 0 < narrow.num_rows < 2 * ROWS


@pytest.mark.covers("test_fill_latest_at_disables_narrowing")
@pytest.mark.covers("test_fill_latest_at_no_narrow_snapshot")
@pytest.mark.parametrize("index", INDEXES)
def test_filling_of_a_selected_column(ro: Any, index: str) -> None:
    """Rows at which the column was logged show what they show without a projection."""
    frame = views(ro, 0, 1).reader(index=index, fill_latest_at=True)
    keys = ("rerun_segment_id", index)
    full = table(frame, *keys)
    assert full[X2].null_count == 0
    assert full.num_rows == 2 * ROWS
    narrow = table(frame.select("rerun_segment_id", index, column(X2)), *keys)
    kept = full.select(narrow.column_names).to_pylist()
    assert all(row in kept for row in narrow.to_pylist())
    assert narrow.num_rows >= 2 * len(range(0, ROWS, 3))


@pytest.mark.covers("test_filter_on_other_entity_expands_fetch_set")
@pytest.mark.parametrize("index", INDEXES)
def test_a_filter_on_another_entity(ro: Any, index: str) -> None:
    frame = views(ro, 0, 1).reader(index=index)
    keys = ("rerun_segment_id", index)
    present = column(TEXT).is_not_null()
    rows = table(frame.filter(present).select("rerun_segment_id", index, column(X1)), *keys)
    full = table(frame.filter(present), *keys)
    assert rows.equals(full.select(rows.column_names))
    assert rows.num_rows == 2 * 5


@pytest.mark.covers("test_filter_contents_view_narrowing_intersection")
@pytest.mark.parametrize("index", INDEXES)
def test_view_and_projection_intersect(ro: Any, index: str) -> None:
    view = views(ro, 0).filter_contents(["/obj1/**", "/obj2/**"])
    frame = view.reader(index=index).select("rerun_segment_id", index, column(X2))
    rows = table(frame, "rerun_segment_id", index)
    assert rows.num_rows == len(range(0, ROWS, 3))
    assert rows[X2].null_count == 0


@pytest.mark.covers("test_filter_on_index_column_does_not_expand_fetch_set")
@pytest.mark.covers("test_limit_does_not_propagate_into_server_request")
@pytest.mark.covers("test_empty_result_filter_still_pushes_down")
def test_filters_on_the_index_and_limits(ro: Any) -> None:
    frame = views(ro, 0).reader(index="time_3").select("time_3", column(X2))
    assert table(frame.filter(col("time_3") < lit(10))).num_rows == 4
    assert table(frame.limit(3)).num_rows == 3
    assert table(frame.filter(col("time_3") > lit(10**6))).num_rows == 0


# --- views


@pytest.mark.covers("test_dataset_view_filter_segments")
@pytest.mark.covers("test_dataset_view_filter_segments_with_dataframe")
@pytest.mark.covers("draft/test_dataset_view_filter_segments")
def test_views_of_segments(shared: Any, ro: Any) -> None:
    chosen = [SEGMENTS[3], SEGMENTS[7]]
    assert sorted(ro.filter_segments(chosen).segment_ids()) == chosen
    frame = shared.ctx.from_arrow(pa.table({"rerun_segment_id": chosen}))
    view = ro.filter_segments(frame)
    assert sorted(view.segment_ids()) == chosen
    assert ids(view.segment_table()) == set(chosen)
    assert table(view.segment_table()).num_rows == 2


@pytest.mark.covers("test_dataset_view_filter_contents")
@pytest.mark.covers("test_dataset_view_no_filter_contents")
@pytest.mark.covers("draft/test_dataset_view_filter_entities")
@pytest.mark.covers("draft/test_dataset_view_schema")
def test_views_of_contents(ro: Any) -> None:
    def named(view: Any) -> set[str]:
        return {c.name for c in view.schema().component_columns()}

    assert {X1, X2, TEXT} <= named(ro)
    one = ro.filter_contents(["/obj1/**"])
    assert {n for n in named(one) if not n.startswith("property:")} == {X1}
    full, part = ro.schema().to_arrow(), one.schema().to_arrow()
    assert part.field(X1).equals(full.field(X1), check_metadata=True)
    assert set(INDEXES) <= {c.name for c in one.schema().index_columns()}


@pytest.mark.covers("test_dataset_view_filter_contents_nonexistent_path")
@pytest.mark.covers("test_dataset_view_filter_contents_empty_list")
def test_views_of_nothing(ro: Any) -> None:
    for contents in (["/nothing/**"], []):
        columns = ro.filter_contents(contents).schema().component_columns()
        assert [c.name for c in columns if not c.is_property] == []


@pytest.mark.covers("test_content_filter_everything_matches_glob")
@pytest.mark.covers("test_content_filter_nothing_matches_empty_list")
@pytest.mark.covers("test_content_filter_include_subtree_matches_raw")
@pytest.mark.covers("test_content_filter_exclude_matches_raw")
@pytest.mark.covers("test_content_filter_on_dataset_view")
def test_built_filters_are_the_written_ones(ro: Any) -> None:
    package = importlib.import_module(type(ro).__module__.split(".")[0] + ".catalog")
    build = package.ContentFilter

    def columns(view: Any) -> list[str]:
        return sorted(c.name for c in view.schema().component_columns() if not c.is_property)

    both = build.nothing().include("/obj1/**").include("/obj2/**")
    for start in (ro, views(ro, 0, 1)):
        for built, written in (
            (build.everything(), ["/**"]),
            (build.nothing(), []),
            (build.nothing().include("/obj1/**"), ["/obj1/**"]),
            (both, ["/obj1/**", "/obj2/**"]),
            (build.everything().exclude("/obj1/**"), ["/**", "- /obj1/**"]),
        ):
            got = columns(start.filter_contents(built))
            assert got == columns(start.filter_contents(written)), written


# --- index values


def sampled(view: Any, values: Any, index: str = "time_3") -> list[tuple[str, int]]:
    rows = table(view.reader(index=index, using_index_values=values), "rerun_segment_id", index)
    return list(zip(rows["rerun_segment_id"].to_pylist(), integers(rows[index]), strict=True))


@pytest.mark.covers("test_dataframe_api_using_index_values")
@pytest.mark.covers("test_dataframe_api_using_index_values_empty")
@pytest.mark.covers("current/test_dataframe_api_using_index_values_unknown")
@pytest.mark.covers("current/test_dataframe_api_using_index_values_mixed_known_unknown")
def test_values_per_segment(ro: Any) -> None:
    rows = [(SEGMENTS[0], 3), (SEGMENTS[0], 4), (SEGMENTS[1], 1006)]
    values = {SEGMENTS[0]: [3, 4], SEGMENTS[1]: [1006]}
    assert sampled(ro, values) == rows
    assert sampled(ro, {**values, "unknown": [3]}) == rows
    assert sampled(ro, {"unknown": [3]}) == []
    assert sampled(ro, {SEGMENTS[0]: []}) == []


@pytest.mark.covers("test_dataframe_api_using_index_values_same_indices_on_all_segments")
@pytest.mark.covers("test_dataframe_api_using_index_values_partial_overlap")
def test_the_same_values_for_all(ro: Any) -> None:
    low, high = times_of(0)["time_1"][-1], times_of(1)["time_1"][-1]
    at = [times_of(0)["time_1"][0], low, high, 2 * high]
    expected = sorted(
        (segment, value)
        for n, segment in enumerate(SEGMENTS[:3])
        for value in at
        if value <= times_of(n)["time_1"][-1]
    )
    assert 3 < len(expected) < 12
    view = views(ro, 0, 1, 2)
    stamps = pa.array(at, pa.timestamp("ns"))
    for values in (
        stamps,
        pa.chunked_array([stamps[:2], stamps[2:]]),
        np.array(at, "datetime64[ns]"),
        np.array(at, "int64"),
    ):
        assert sampled(view, values, "time_1") == expected


@pytest.mark.covers("test_dataframe_api_using_index_values_dataframe")
def test_rows_give_index_values(ro: Any) -> None:
    frame = (
        views(ro, 0, 1).reader(index="time_3").select("rerun_segment_id", "time_3", column(TEXT))
    )
    values = frame.filter(column(TEXT).is_not_null()).select("rerun_segment_id", "time_3")
    assert sampled(ro, values) == [
        (SEGMENTS[n], n * 1000 + i) for n in (0, 1) for i in range(0, ROWS, 10)
    ]


@pytest.mark.covers("test_using_index_values_with_arrow_types")
@pytest.mark.parametrize("index", INDEXES)
def test_values_of_all_types(ro: Any, index: str) -> None:
    at = [times_of(4)[index][i] for i in (1, 5, 9)]
    values = {SEGMENTS[4]: pa.array(at, pa.int64()).cast(INDEXES[index])}
    assert sampled(ro, values, index) == [(SEGMENTS[4], t) for t in at]


# --- what is not there


@pytest.mark.covers("current/test_dataframe_api_filter_segments_unknown")
@pytest.mark.covers("current/test_dataframe_api_filter_unknown_segment_id_pushdown")
@pytest.mark.covers("current/test_dataframe_api_filter_segments_mixed_known_unknown")
@pytest.mark.covers("current/test_dataframe_api_filter_mixed_segment_id_pushdown")
def test_unknown_segments(ro: Any) -> None:
    known = lit(SEGMENTS[6])
    segment = column("rerun_segment_id")
    assert table(ro.filter_segments(["unknown"]).reader(index="time_3")).num_rows == 0
    mixed = ro.filter_segments(["unknown", SEGMENTS[6]]).reader(index="time_3")
    assert ids(mixed) == {SEGMENTS[6]}
    frame = ro.reader(index="time_3")
    assert table(frame.filter(segment == lit("unknown"))).num_rows == 0
    either = frame.filter((segment == lit("unknown")) | (segment == known))
    assert ids(either) == {SEGMENTS[6]}


@pytest.mark.covers("test_dataframe_query_unknown_index_errors")
def test_an_unknown_index(ro: Any) -> None:
    with pytest.raises(Exception, match="does not exist in the dataset"):
        ro.reader(index="no_such_timeline").to_arrow_table()


@pytest.mark.covers("test_segment_store_basic")
@pytest.mark.covers("test_segment_store_stream_to_chunks")
@pytest.mark.covers("test_segment_store_compile_twice_works")
@pytest.mark.covers("test_segment_store_summary_uses_manifest")
def test_the_store_of_a_segment(ro: Any) -> None:
    """The way the viewer reads: manifest, then chunks."""
    store = ro.segment_store(SEGMENTS[0])
    chunks = store.stream().to_chunks()
    assert {"/obj1", "/obj2", "/obj3", "/calibration"} <= {c.entity_path for c in chunks}
    assert all(chunk.num_rows > 0 for chunk in chunks)
    again = ro.segment_store(SEGMENTS[0]).stream().to_chunks()
    assert sorted(str(c.id) for c in again) == sorted(str(c.id) for c in chunks)
    assert "/obj1" in str(store.summary())
    rows = ro.segment_table().to_arrow_table().to_pylist()
    counts = {r["rerun_segment_id"]: r["rerun_num_chunks"] for r in rows}
    assert counts[SEGMENTS[0]] == len(chunks)


@pytest.mark.covers("test_segment_store_unknown_segment_raises")
def test_the_store_of_no_segment(ro: Any) -> None:
    with pytest.raises(Exception, match="no such segment") as caught:
        ro.segment_store("no such segment")
    assert type(caught.value).__name__ == "NotFoundError"


@pytest.mark.covers("test_segment_store_write_rrd_roundtrip")
def test_the_store_written_to_a_file(ro: Any, tmp_path: Any) -> None:
    store = ro.segment_store(SEGMENTS[0])
    path = tmp_path / "copy.rrd"
    store.write_rrd(str(path), application_id="copy", recording_id=SEGMENTS[0])
    with rr.server.Server(host="127.0.0.1", datasets={"copy": [path]}) as server:
        copy = server.client().get_dataset("copy").segment_store(SEGMENTS[0])
        assert sorted(str(c.id) for c in copy.stream().to_chunks()) == sorted(
            str(c.id) for c in store.stream().to_chunks()
        )
        assert copy.schema().column_names() == store.schema().column_names()


@pytest.mark.covers("current/test_segment_table_to_polars")
@pytest.mark.covers("current/test_dataframe_query_to_polars")
@pytest.mark.covers("draft/test_segment_table_to_polars")
@pytest.mark.covers("draft/test_dataframe_query_to_polars")
def test_polars(ro: Any) -> None:
    segments = ro.segment_table().to_polars()
    assert segments["rerun_segment_id"].sort().to_list() == SEGMENTS
    rows = views(ro, 0).reader(index="time_3").sort(col("time_3")).to_polars()
    assert rows["time_3"].to_list() == times_of(0)["time_3"]
    assert rows[X1].to_list()[0] == [[1.0, 0.0, 0.0]]


def test_the_data_are_what_the_tests_say(ro: Any) -> None:
    rows = table(ro.reader(index="time_3"), *KEYS)
    assert rows.num_rows == 20 * ROWS
    assert pc.sum(pc.is_valid(rows[TEXT])).as_py() == 20 * 5
