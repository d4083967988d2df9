"""Twenty recordings written by the official SDK, as users have them, and how tests read tables of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rerun as rr

SEGMENTS = [f"recording_{i:02d}" for i in range(20)]
ROWS = 50
START_NS = 1_700_000_000_000_000_000
X1, X2 = "/obj1:Points3D:positions", "/obj2:Points3D:positions"
TEXT = "/obj3:TextLog:text"
INDEXES = {
    "time_1": pa.timestamp("ns"),
    "time_2": pa.duration("ns"),
    "time_3": pa.int64(),
}


def times_of(segment: int) -> dict[str, list[int]]:
    """Timeline -> times of the rows, as integers."""
    step = 10_000_000 * (segment + 1)
    return {
        "time_1": [START_NS + i * step for i in range(ROWS)],
        "time_2": [i * step for i in range(ROWS)],
        "time_3": [segment * 1000 + i for i in range(ROWS)],
    }


def write_recordings(folder: Path) -> list[Path]:
    return [write_recording(folder, i) for i in range(len(SEGMENTS))]


def write_recording(folder: Path, segment: int) -> Path:
    """The second entity logs every third row only, the third every tenth."""
    path = folder / f"{SEGMENTS[segment]}.rrd"
    times = times_of(segment)

    def indexes(rows: list[int]) -> list[rr.TimeColumn]:
        def at(name: str) -> list[int]:
            return [times[name][i] for i in rows]

        return [
            rr.TimeColumn("time_1", timestamp=np.array(at("time_1"), "datetime64[ns]")),
            rr.TimeColumn("time_2", duration=np.array(at("time_2"), "timedelta64[ns]")),
            rr.TimeColumn("time_3", sequence=at("time_3")),
        ]

    with rr.RecordingStream("rushes_conformance", recording_id=SEGMENTS[segment]) as stream:
        stream.save(str(path))
        stream.send_property("info", rr.AnyValues(index=segment, is_odd=segment % 2 == 1))
        for entity, every in (("obj1", 1), ("obj2", 3)):
            rows = list(range(0, ROWS, every))
            positions = [[float(i + 1), float(segment), 0.0] for i in rows]
            stream.send_columns(
                entity, indexes=indexes(rows), columns=rr.Points3D.columns(positions=positions)
            )
        rows = list(range(0, ROWS, 10))
        texts = [f"{SEGMENTS[segment]} at {i}" for i in rows]
        stream.send_columns("obj3", indexes=indexes(rows), columns=rr.TextLog.columns(text=texts))
        stream.log("calibration", rr.TextDocument("static words"), static=True)
    return path


def uris(paths: list[Path]) -> list[str]:
    return [path.resolve().as_uri() for path in paths]


def table(frame: Any, *keys: str) -> pa.Table:
    """All rows, columns by name, sorted by `keys`."""
    rows = frame.to_arrow_table()
    rows = rows.select(sorted(rows.column_names))
    return rows.sort_by([(key, "ascending") for key in keys]).combine_chunks() if keys else rows


def integers(column: pa.ChunkedArray) -> list[int | None]:
    values = pa.chunked_array([c.view(pa.int64()) for c in column.chunks], pa.int64())
    return values.to_pylist()


def catalog_module(client: Any) -> Any:
    """`rerun.catalog` or `rushes.catalog`, whichever the client is of."""
    return importlib.import_module(type(client).__module__.split(".")[0] + ".catalog")
