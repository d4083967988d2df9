"""`fill_max_age`, `fill_respects_clears` and the memory budget, as Python gives them; the rules are in tests/cases/fill.txt."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

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
