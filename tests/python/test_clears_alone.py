"""Recordings of which nothing is in view."""

from __future__ import annotations

from pathlib import Path

import pytest

import rushes as rr


def test_many_clears_and_nothing_to_clear(tmp_path: Path) -> None:
    # More than is loaded at once; a fill used to divide by the number of columns in view.
    sdk = pytest.importorskip("rerun")
    rows = 40_000
    with sdk.RecordingStream("rushes_tests", recording_id="clears") as stream:
        stream.save(tmp_path / "clears.rrd")
        for part in range(3):
            frames = list(range(part * rows, (part + 1) * rows))
            stream.send_columns(
                "/robot",
                [sdk.TimeColumn("frame", sequence=frames)],
                sdk.Clear.columns(is_recursive=[False] * rows),
            )
    recording = rr.open_recordings(tmp_path / "clears.rrd")
    for fill in (False, True):
        table = recording.scan("frame", fill_latest_at=fill).to_table()
        assert table.num_rows == 0
        assert table.schema.names == ["rerun_segment_id", "frame"]
