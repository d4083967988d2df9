"""Chunk selections and chunks as tests read them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from protocol import EMPTY, decode, fields_of, joined, pb, segment_ids

_CONTROL = {b"rerun:kind": b"control"}
BASE = [
    ("chunk_id", pa.binary(16), False, _CONTROL),
    ("chunk_segment_id", pa.utf8(), False, _CONTROL),
    ("rerun_segment_layer", pa.utf8(), False, {}),
    ("chunk_key", pa.binary(), False, {}),
    ("chunk_entity_path", pa.utf8(), False, _CONTROL),
    ("chunk_is_static", pa.bool_(), False, _CONTROL),
    ("chunk_byte_len", pa.uint64(), False, {}),
    ("chunk_byte_size_uncompressed", pa.uint64(), True, {}),
]
START = ("chunk_timeline_start", pa.int64(), True, {b"rerun:kind": b"index"})
URLS = [
    ("rerun_layer_direct_url", pa.dictionary(pa.int32(), pa.utf8()), True, {}),
    ("rerun_layer_direct_url_expires_at", pa.dictionary(pa.int32(), pa.int64()), True, {}),
]

SMALLEST, LARGEST = -(2**63) + 1, 2**63 - 1
NONE, LATEST_AT, EARLIEST_AT = 1, 2, 3


def some(*ids: str) -> Any:
    return pb.SegmentSelection(explicit=pb.SegmentIds(ids=segment_ids(*ids)))


ALL = pb.SegmentSelection(all=EMPTY)


def static_mode(segments: Any = ALL) -> dict[str, Any]:
    return {"static": pb.StaticSelection(segments=segments)}


def range_mode(
    start: int | None = None,
    end: int | None = None,
    fill: int = NONE,
    segments: Any = ALL,
    timeline: str = "frame_nr",
) -> dict[str, Any]:
    selection = pb.RangeSelection(timeline=timeline, fill_mode=fill, segments=segments)
    if start is not None:
        selection.start_inclusive = start
    if end is not None:
        selection.end_inclusive = end
    return {"range": selection}


def samples_mode(
    values: dict[str, list[int]], fill: int = NONE, timeline: str = "frame_nr"
) -> dict[str, Any]:
    listed = [
        pb.SegmentSamples(segment_id=pb.SegmentId(id=segment), values=at)
        for segment, at in values.items()
    ]
    return {
        "samples": pb.SegmentSamplesSelection(timeline=timeline, segments=listed, fill_mode=fill)
    }


def contents(entities: dict[str, list[str] | None]) -> Any:
    """Entities with their components; None: all of them."""
    selected = []
    for path, components in entities.items():
        item = pb.EntitySelection(entity_path=pb.EntityPath(path=path))
        if components is None:
            item.all.SetInParent()
        else:
            item.explicit.CopyFrom(pb.ComponentIds(ids=components))
        selected.append(item)
    return pb.ContentSelection(explicit=pb.EntitySelections(entities=selected))


def find(catalog: Any, dataset: Any, mode: dict[str, Any], selection: Any = None) -> pa.Table:
    """The rows of FindChunks, whose schema, uniqueness and sizes are checked."""
    answer = catalog.FindChunks(
        entry=dataset, contents=selection or pb.ContentSelection(all=EMPTY), **mode
    )
    expected = [*BASE, START, *URLS]
    for message in answer:
        assert fields_of(decode(message.data).schema) == expected
    rows = joined(answer)
    _check(rows)
    return rows


def query(catalog: Any, dataset: Any, **fields: Any) -> pa.Table:
    """The rows of QueryDataset; the base columns must be in every batch."""
    answer = catalog.QueryDataset(entry=dataset, **fields)
    for message in answer:
        got = {f[0]: f for f in fields_of(decode(message.data).schema)}
        assert [got[f[0]] for f in [*BASE, *URLS]] == [*BASE, *URLS]
        order = [name for name in got if name in {f[0] for f in [*BASE, *URLS]}]
        assert order == [f[0] for f in [*BASE, *URLS]]
    rows = joined(answer)
    _check(rows)
    return rows


def _check(rows: pa.Table) -> None:
    ids = rows["chunk_id"].to_pylist()
    assert len(ids) == len(set(ids)), "a chunk came twice"
    for name in ("chunk_byte_len", "chunk_byte_size_uncompressed"):
        assert all(size and size > 0 for size in rows[name].to_pylist()), name
    for name, _, _, _ in URLS:
        assert rows[name].null_count == rows.num_rows


def ids(rows: pa.Table) -> set[bytes]:
    return set(rows["chunk_id"].to_pylist())


def fetch(catalog: Any, dataframes: list[Any]) -> dict[bytes, pa.RecordBatch]:
    """The chunks that the dataframes name, by id; what is said around a chunk must agree with it."""
    found = {}
    for response in catalog.FetchChunks(chunk_infos=dataframes):
        for message in response.chunks:
            payload = message.payload
            if message.compression == 2:
                payload = pa.Codec("lz4_raw").decompress(payload, message.uncompressed_size)
            with pa.ipc.open_stream(payload) as stream:
                (batch,) = list(stream)
            chunk_id = message.chunk_id.time_ns.to_bytes(8, "big") + message.chunk_id.inc.to_bytes(
                8, "big"
            )
            text = batch.schema.metadata[b"rerun:id"].decode().removeprefix("chunk_")
            assert bytes.fromhex(text) == chunk_id
            has_index = any((f.metadata or {}).get(b"rerun:kind") == b"index" for f in batch.schema)
            assert message.is_static == (not has_index)
            assert chunk_id not in found
            found[chunk_id] = batch
    return found
