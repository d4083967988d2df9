"""Writes the Arrow streams beside it: what requests and answers carry, and types that a writer may well use there.

Files named `found_*.arrows` are inputs on which the fuzz test once found something; they are kept by hand.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

HERE = Path(__file__).resolve().parent
ID = pa.array([bytes(range(16))], pa.binary(16))


def save(name: str, batch: pa.RecordBatch, **options: object) -> None:
    with pa.ipc.new_stream(
        str(HERE / f"{name}.arrows"), batch.schema, options=pa.ipc.IpcWriteOptions(**options)
    ) as writer:
        writer.write_batch(batch)


def one(name: str, array: pa.Array, **options: object) -> None:
    save(name, pa.record_batch([array], ["property:asset:segments"]), **options)


def main() -> None:
    texts = pa.list_(pa.utf8())
    save(
        "coverage",
        pa.record_batch(
            {
                "property:asset:mode": pa.array([["OptIn"]], texts),
                "property:asset:segments": pa.array([["a", "b", None]], texts),
            }
        ),
    )
    save(
        "chunk_infos",
        pa.record_batch(
            {
                "chunk_id": ID,
                "chunk_segment_id": ["segment"],
                "rerun_segment_layer": ["base"],
                "chunk_key": pa.array([bytes(36)], pa.binary()),
                "chunk_entity_path": ["/a"],
                "chunk_is_static": [False],
                "chunk_byte_len": pa.array([100], pa.uint64()),
                "chunk_byte_size_uncompressed": pa.array([200], pa.uint64()),
                "chunk_timeline_start": pa.array([7], pa.int64()),
                "rerun_layer_direct_url": pa.array([None], pa.dictionary(pa.int32(), pa.utf8())),
                "rerun_layer_direct_url_expires_at": pa.array(
                    [None], pa.dictionary(pa.int32(), pa.int64())
                ),
            }
        ),
    )
    save(
        "tasks",
        pa.record_batch(
            {
                "task_id": ["t"],
                "exec_status": ["failed"],
                "msgs": ["words"],
                "blob": pa.array([b"x"]),
                "attempts": pa.array([1], pa.uint8()),
            }
        ),
    )
    save(
        "registered",
        pa.record_batch(
            {
                "rerun_segment_id": ["s"],
                "rerun_segment_layer": ["base"],
                "rerun_segment_type": ["rrd"],
                "rerun_storage_url": ["file:///a.rrd"],
                "rerun_task_id": ["task"],
            }
        ),
    )
    key = pa.field("id", pa.int64(), metadata={"rerun:is_table_index": "true"})
    save(
        "table_rows",
        pa.record_batch(
            [pa.array([1, 2, None]), pa.array(["a", None, "c"])],
            schema=pa.schema([key, pa.field("name", pa.utf8())]),
        ),
    )
    row_id = {"rerun:kind": "control", "ARROW:extension:name": "rerun.datatypes.TUID"}
    save(
        "chunk",
        pa.record_batch(
            [ID, pa.array([10]), pa.array([[1.5, 2.5]])],
            schema=pa.schema(
                [
                    pa.field("rerun.controls.RowId", pa.binary(16), False, row_id),
                    pa.field(
                        "frame",
                        pa.int64(),
                        True,
                        {"rerun:kind": "index", "rerun:index_name": "frame"},
                    ),
                    pa.field(
                        "x",
                        pa.list_(pa.float64()),
                        True,
                        {"rerun:kind": "data", "rerun:component": "x"},
                    ),
                ],
                {
                    "rerun:entity_path": "/a",
                    "rerun:id": "chunk_00000000000000070000000000000001",
                    "sorbet:version": "0.1.4",
                },
            ),
        ),
    )
    points = pa.struct([pa.field("x", pa.float32()), pa.field("y", pa.list_(pa.int8()))])
    one("struct", pa.array([{"x": 1.0, "y": [1, 2]}], points))
    one("fixed_list", pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3)))
    one("large", pa.array([["a"]], pa.large_list(pa.large_utf8())))
    one("list_view", pa.array([["a", "b"]], pa.list_view(pa.utf8())))
    one("string_view", pa.array(["text that is longer than twelve bytes"], pa.string_view()))
    one("map", pa.array([[("a", 1)]], pa.map_(pa.utf8(), pa.int32())))
    one("dictionary", pa.array(["a"], pa.dictionary(pa.int8(), pa.utf8())))
    one(
        "dictionary_of_lists",
        pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([["a", "b"]], texts)),
    )
    one("run_ends", pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"])))
    one(
        "dense_union",
        pa.UnionArray.from_dense(
            pa.array([1], pa.int8()), pa.array([0], pa.int32()), [pa.array([1]), pa.array(["a"])]
        ),
    )
    one(
        "sparse_union",
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["a"])]),
    )
    one("null", pa.nulls(1))
    one("timestamp", pa.array([1], pa.timestamp("us", "Europe/Berlin")))
    one("decimal", pa.array([1], pa.decimal128(20, 3)))
    one("zstd", pa.array([["a" * 500]], texts), compression="zstd")
    one("lz4", pa.array([["a" * 500]], texts), compression="lz4")
    save("no_columns", pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([]))))
    save("no_rows", pa.record_batch([pa.array([], texts)], ["property:asset:segments"]))


if __name__ == "__main__":
    main()
