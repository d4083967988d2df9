"""What `reader` has beyond the official one: limits of the fill, a fixed rate, the memory budget. The rules are in tests/cases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datafusion import col

import rushes as rr

TEMPERATURE = "/sensors/temp:Scalars:scalars"


def filled(dataset: rr.catalog.DatasetEntry, index: str, **options: Any) -> pa.Table:
    return dataset.reader(index, fill_latest_at=True, **options).to_arrow_table()


def test_ages_of_a_sequence(howto: rr.catalog.DatasetEntry) -> None:
    # Logged on every second frame.
    endless = filled(howto, "frame_nr")[TEMPERATURE].null_count
    assert filled(howto, "frame_nr", fill_max_age=np.int64(1))[TEMPERATURE].null_count == endless
    plain = howto.reader("frame_nr").to_arrow_table()[TEMPERATURE].null_count
    assert filled(howto, "frame_nr", fill_max_age=0)[TEMPERATURE].null_count == plain > endless


@pytest.mark.parametrize("age", [timedelta(milliseconds=40), np.timedelta64(40, "ms"), 40_000_000])
def test_ages_of_a_time(demo: rr.catalog.DatasetEntry, age: object) -> None:
    some = filled(demo, "sim_time", fill_max_age=age)
    assert some.equals(filled(demo, "sim_time", fill_max_age=40_000_000))
    nulls = [
        sum(table[name].null_count for name in some.column_names)
        for table in (filled(demo, "sim_time"), some, demo.reader("sim_time").to_arrow_table())
    ]
    assert nulls[0] < nulls[1] < nulls[2]


@pytest.mark.parametrize(
    ("age", "error"),
    [
        (-1, ValueError),
        (2**63, ValueError),
        (np.timedelta64("NaT"), ValueError),
        (timedelta(days=-1), ValueError),
        (True, TypeError),
        (1.5, TypeError),
        ("1s", TypeError),
    ],
)
def test_ages_that_are_none(
    demo: rr.catalog.DatasetEntry, age: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match="fill_max_age"):
        demo.reader("sim_time", fill_latest_at=True, fill_max_age=age)  # type: ignore[arg-type]


def test_a_sequence_has_no_seconds(howto: rr.catalog.DatasetEntry) -> None:
    with pytest.raises(TypeError, match="sequence"):
        howto.reader("frame_nr", fill_latest_at=True, fill_max_age=timedelta(seconds=1))


def test_clears_end_the_fill(demo: rr.catalog.DatasetEntry) -> None:
    official, viewer = filled(demo, "frame_nr"), filled(demo, "frame_nr", fill_respects_clears=True)
    assert official.num_rows == viewer.num_rows
    more = {
        name: viewer[name].null_count - official[name].null_count for name in viewer.column_names
    }
    assert min(more.values()) == 0
    assert max(more.values()) > 0


def test_the_budget_of_the_environment(
    demo: rr.catalog.DatasetEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = demo.scan("frame_nr").to_table()
    monkeypatch.setenv("RUSHES_MEMORY_BUDGET", str(64 << 20))
    assert demo.scan("frame_nr").to_table().equals(expected)
    monkeypatch.setenv("RUSHES_MEMORY_BUDGET", "1")
    with pytest.raises(Exception, match="memory budget of 1"):
        demo.scan("frame_nr").to_table()
    assert demo.scan("frame_nr", memory_budget=64 << 20).to_table().equals(expected)
    monkeypatch.setenv("RUSHES_MEMORY_BUDGET", "1 GiB")
    with pytest.raises(ValueError, match="RUSHES_MEMORY_BUDGET must be a positive number of bytes"):
        demo.scan("frame_nr").to_table()


def test_rows_at_a_fixed_rate(demo: rr.catalog.DatasetEntry) -> None:
    ranges = demo.get_index_ranges().to_arrow_table()
    steps = {"frame_nr": (7, 7), "sim_time": (timedelta(milliseconds=33), 33_000_000)}
    for index, (step, width) in steps.items():
        table = demo.reader(index, every=step, fill_latest_at=True).to_arrow_table()
        first, last = (ranges[f"{index}:{edge}"].cast(pa.int64()) for edge in ("start", "end"))
        values = {
            segment: list(range(a, b + 1, width))
            for segment, a, b in zip(
                ranges["rerun_segment_id"].to_pylist(),
                first.to_pylist(),
                last.to_pylist(),
                strict=True,
            )
        }
        assert table.num_rows == sum(map(len, values.values())) > 20
        assert table.equals(
            demo.reader(
                index,
                using_index_values={s: np.array(v) for s, v in values.items()},
                fill_latest_at=True,
            ).to_arrow_table()
        )
    one = demo.filter_segments(["episode_001"]).scan("frame_nr", every=50)
    assert set(one.to_table()["rerun_segment_id"].to_pylist()) == {"episode_001"}


def test_rates_that_are_none(demo: rr.catalog.DatasetEntry) -> None:
    for value in (0, -3, timedelta(0)):
        with pytest.raises(ValueError, match="every must be"):
            demo.reader("sim_time", every=value)
    with pytest.raises(TypeError, match="every"):
        demo.reader("sim_time", every=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        demo.reader("frame_nr", every=5, using_index_values=[1])
    with pytest.raises(ValueError, match="index must be provided"):
        demo.reader(None, every=5)
    with pytest.raises(ValueError, match="frame_nr"):
        demo.reader("frame", every=5)
    with pytest.raises(ValueError, match=r"would give .* rows"):
        demo.reader("log_time", every=1)


def test_origin_times_say_where_values_are_from(howto: rr.catalog.DatasetEntry) -> None:
    table = filled(howto, "frame_nr", include_origin_times=True)
    origin = f"{TEMPERATURE}@frame_nr"
    assert table.schema.field(origin).type == table.schema.field("frame_nr").type
    pairs = list(zip(table["frame_nr"].to_pylist(), table[origin].to_pylist(), strict=True))
    shown = [value is not None for value in table[TEMPERATURE].to_pylist()]
    assert [at is not None for _, at in pairs] == shown
    assert all(at is None or at <= frame for frame, at in pairs)
    assert any(at is not None and at < frame for frame, at in pairs)
    # Without a fill a value is from its own row.
    plain = howto.reader("frame_nr", include_origin_times=True).to_arrow_table()
    for frame, at in zip(plain["frame_nr"].to_pylist(), plain[origin].to_pylist(), strict=True):
        assert at in (None, frame)


def test_origin_times_through_an_engine(howto: rr.catalog.DatasetEntry) -> None:
    frame = howto.reader("frame_nr", fill_latest_at=True, include_origin_times=True)
    origin = f"{TEMPERATURE}@frame_nr"
    old = frame.filter(col("frame_nr") > col(f'"{origin}"')).select("frame_nr").to_arrow_table()
    assert 0 < old.num_rows < frame.count()


def test_row_ids_ascend(howto: rr.catalog.DatasetEntry) -> None:
    table = howto.reader("frame_nr", include_row_ids=True).to_arrow_table()
    assert table.schema.names[-1] == "rerun_row_id"
    assert table.schema.field("rerun_row_id").type == pa.binary(16)
    ids = table["rerun_row_id"].to_pylist()
    assert None not in ids
    assert len(set(ids)) == len(ids)


def test_without_an_index_there_are_no_origins(howto: rr.catalog.DatasetEntry) -> None:
    plain = howto.reader(None).schema()
    assert howto.reader(None, include_origin_times=True, include_row_ids=True).schema() == plain


@pytest.mark.parametrize(
    "value",
    [
        np.timedelta64(400, "D") * 365,
        np.timedelta64(2**62, "s"),
        np.timedelta64(2**40, "W"),
        np.timedelta64(2**55, "us"),
    ],
)
def test_distances_beyond_64_bits_are_refused(
    demo: rr.catalog.DatasetEntry, value: np.timedelta64
) -> None:
    with pytest.raises(ValueError, match=r"every must be between 0 and 2\^63 - 1"):
        demo.reader("sim_time", every=value)
    with pytest.raises(ValueError, match=r"fill_max_age must be between 0 and 2\^63 - 1"):
        demo.reader("sim_time", fill_latest_at=True, fill_max_age=value)


def test_distances_of_every_unit_of_numpy(demo: rr.catalog.DatasetEntry) -> None:
    wanted = demo.scan("sim_time", every=timedelta(seconds=1)).to_table()
    for value in (
        np.timedelta64(1, "s"),
        np.timedelta64(1000, "ms"),
        np.timedelta64(10**6, "us"),
        np.timedelta64(10**9, "ns"),
        np.timedelta64(10**12 + 999, "ps"),
        np.timedelta64(4, "250ms"),
        np.timedelta64(10**9),
    ):
        assert demo.scan("sim_time", every=value).to_table().equals(wanted), value
    assert demo.scan("sim_time", every=np.timedelta64(1, "W")).count_rows() == 3
    for value in (np.timedelta64(1, "M"), np.timedelta64(1, "Y")):
        with pytest.raises(ValueError, match="every must be a time of certain length"):
            demo.reader("sim_time", every=value)
