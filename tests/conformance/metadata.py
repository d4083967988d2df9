"""The two metadata tables as tests read them: schema and rows checked against what every server must send."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from protocol import decode_schema, fields_of, joined

TEXT_COLUMN = "property:text_log:TextLog:text"
POSITIONS_COLUMN = "property:points:Points2D:positions"
_LIST = pa.list_(pa.field("item", pa.utf8(), False))
_TIME = pa.timestamp("ns")

SEGMENT_BASE = [
    ("rerun_segment_id", pa.utf8(), False),
    ("rerun_layer_names", _LIST, False),
    ("rerun_storage_urls", _LIST, False),
    ("rerun_last_updated_at", _TIME, False),
    ("rerun_num_chunks", pa.uint64(), False),
    ("rerun_size_bytes", pa.uint64(), False),
]
MANIFEST_BASE = [
    ("rerun_layer_name", pa.utf8(), False),
    ("rerun_segment_id", pa.utf8(), False),
    ("rerun_storage_url", pa.utf8(), False),
    ("rerun_layer_type", pa.utf8(), False),
    ("rerun_registration_time", _TIME, False),
    ("rerun_last_updated_at", _TIME, False),
    ("rerun_num_chunks", pa.uint64(), True),
    ("rerun_size_bytes", pa.uint64(), True),
    ("rerun_schema_sha256", pa.binary(32), True),
    ("rerun_registration_status", pa.utf8(), False),
]


def _checked(schema: pa.Schema, rows: pa.Table, base: list[Any]) -> pa.Table:
    assert fields_of(rows.schema) == fields_of(schema), "advertised and sent schema differ"
    assert [f[:3] for f in fields_of(rows.schema)][: len(base)] == base
    return rows


def segment_table(catalog: Any, dataset: Any) -> pa.Table:
    """All rows by segment id."""
    schema = decode_schema(catalog.GetSegmentTableSchema(entry=dataset).schema)
    rows = _checked(schema, joined(catalog.ScanSegmentTable(entry=dataset)), SEGMENT_BASE)
    return rows.sort_by("rerun_segment_id").combine_chunks()


def manifest(catalog: Any, dataset: Any) -> pa.Table:
    """All rows by segment id, those of a segment as they were sent."""
    schema = decode_schema(catalog.GetDatasetManifestSchema(entry=dataset).schema)
    rows = _checked(schema, joined(catalog.ScanDatasetManifest(entry=dataset)), MANIFEST_BASE)
    numbered = rows.append_column("n", pa.array(range(rows.num_rows)))
    order = [("rerun_segment_id", "ascending"), ("n", "ascending")]
    return numbered.sort_by(order).drop_columns("n").combine_chunks()


def segments(catalog: Any, dataset: Any) -> list[tuple[str, list[str], int]]:
    """(segment, layers, chunks) per row."""
    rows = segment_table(catalog, dataset).to_pylist()
    return [(r["rerun_segment_id"], r["rerun_layer_names"], r["rerun_num_chunks"]) for r in rows]


def layers(catalog: Any, dataset: Any) -> list[tuple[str, str]]:
    """(segment, layer) per row of the manifest; all are done."""
    rows = manifest(catalog, dataset).to_pylist()
    assert {r["rerun_registration_status"] for r in rows} <= {"done"}
    assert {r["rerun_layer_type"] for r in rows} <= {"rrd"}
    return [(r["rerun_segment_id"], r["rerun_layer_name"]) for r in rows]


def ranges(rows: pa.Table, timeline: str) -> list[tuple[int | None, int | None]]:
    """(start, end) of the timeline per row, as integers."""
    columns = []
    for side in ("start", "end"):
        name = f"{timeline}:{side}"
        field = rows.schema.field(name)
        assert field.nullable
        assert field.metadata[b"rerun:index"] == timeline.encode()
        assert field.metadata[b"rerun:index_marker"] == side.encode()
        assert field.metadata[b"rerun:kind"] == b"index"
        kind = {pa.int64(): b"sequence", pa.duration("ns"): b"duration", _TIME: b"timestamp"}
        assert field.metadata[b"rerun:index_kind"] == kind[field.type]
        columns.append(rows[name].combine_chunks().view(pa.int64()).to_pylist())
    return list(zip(*columns, strict=True))
