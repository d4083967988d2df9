"""What a result table costs elsewhere: read from Parquet by pyarrow, DuckDB and Polars; a fill as a chain of Polars joins.

Run by query_cases.py. As a script it is one of the child processes: each library reads in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from common import (
    call_child,
    finish_child,
    markdown_table,
    megabytes,
    milliseconds,
    peak_memory_bytes,
    script,
    times,
)

LIBRARIES = {"pyarrow": "pyarrow", "duckdb": "DuckDB", "polars": "Polars"}
ROWS_PER_GROUP = 131_072  # small enough that DuckDB and Polars use all cores


# --------------------------------------------------------------------------------------------------------------------
# Child processes.


def storable(table):
    """The table as one would put it into Parquet: images as binary instead of lists of single bytes."""
    import pyarrow as pa

    columns = []
    for column in table.columns:
        inner = column.type.value_type if pa.types.is_list(column.type) else None
        if inner is not None and pa.types.is_list(inner) and pa.types.is_uint8(inner.value_type):
            parts = []
            for outer in column.chunks:
                blobs = outer.values
                if blobs.null_count or blobs.values.offset:
                    raise ValueError("images with nulls or of a slice")
                data = pa.Array.from_buffers(
                    pa.binary(),
                    len(blobs),
                    [None, blobs.buffers()[1], blobs.values.buffers()[1]],
                    offset=blobs.offset,
                )
                parts.append(pa.ListArray.from_arrays(outer.offsets, data, mask=outer.is_null()))
            column = pa.chunked_array(parts)
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def write_child(arrow_path: str, parquet_path: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.memory_map(arrow_path) as source:
        table = storable(pa.ipc.open_file(source).read_all())
        pq.write_table(table, parquet_path, row_group_size=ROWS_PER_GROUP)
    finish_child({"rows": table.num_rows, "file_bytes": Path(parquet_path).stat().st_size})


def read_child(library: str, path: str, repeat: int) -> None:
    """All of the file into the form that the library works on."""
    seconds = []
    rows = 0
    if library == "pyarrow":
        import pyarrow.parquet as pq

        for _ in range(repeat):
            table = None
            started = time.perf_counter()
            table = pq.read_table(path)
            seconds.append(time.perf_counter() - started)
            rows = table.num_rows
    elif library == "duckdb":
        import duckdb

        connection = duckdb.connect()
        for _ in range(repeat):
            connection.execute("drop table if exists bench")
            started = time.perf_counter()
            connection.execute("create table bench as from read_parquet(?)", [path])
            seconds.append(time.perf_counter() - started)
            rows = connection.execute("select count(*) from bench").fetchone()[0]
    else:
        import polars as pl

        for _ in range(repeat):
            frame = None
            started = time.perf_counter()
            frame = pl.read_parquet(path)
            seconds.append(time.perf_counter() - started)
            rows = frame.height
    finish_child({"seconds": seconds, "rows": rows, "peak_bytes": peak_memory_bytes()})


def asof_child(recordings: str, filled_path: str, index: str, repeat: int) -> None:
    """The filled table from one column of numbers per signal, all in memory: join after join onto the sorted index values.

    The numbers must be those of the filled table.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    import rushes

    server = rushes.server.Server(datasets={"bench": recordings})
    unfilled = server.client().get_dataset("bench").reader(index=index).to_arrow_table()
    names = [name for name in unfilled.column_names if name.startswith("/")]
    signals = []
    for name in names:
        logged = unfilled.select([index, name]).filter(pc.is_valid(unfilled[name])).combine_chunks()
        values = logged[name].combine_chunks().flatten()
        signal = pl.DataFrame({index: logged[index].to_numpy(), name: values.to_numpy()})
        signals.append(signal.with_columns(pl.col(index).set_sorted()))
    times_only = pl.DataFrame({index: unfilled[index].to_numpy()})
    times_only = times_only.with_columns(pl.col(index).set_sorted())

    seconds = []
    for _ in range(repeat):
        frame = None
        started = time.perf_counter()
        frame = times_only
        for signal in signals:
            frame = frame.join_asof(signal, on=index)
        frame = frame.rechunk()
        seconds.append(time.perf_counter() - started)

    with pa.memory_map(filled_path) as source:
        filled = pa.ipc.open_file(source).read_all()
    different = 0
    for name in names:
        wanted = filled[name].combine_chunks()
        found = frame[name].to_arrow()
        if not pc.equal(wanted.is_valid(), found.is_valid()).to_numpy(
            False
        ).all() or not wanted.flatten().equals(found.drop_null()):
            different += 1
    finish_child(
        {"seconds": seconds, "rows": frame.height, "signals": len(signals), "different": different}
    )


# --------------------------------------------------------------------------------------------------------------------
# Parent.


def measure(arrow_path: Path, folder: Path, repeat: int) -> dict:
    """Write the table once as Parquet and let each library read it `repeat` times."""
    path = folder / "table.parquet"
    written = call_child(script("parquet_peers.py", "--write", str(arrow_path), str(path)), 900)
    result: dict = {"file_bytes": written["file_bytes"], "libraries": {}}
    for library in LIBRARIES:
        read = call_child(
            script("parquet_peers.py", "--read", library, str(path), "--repeat", str(repeat)), 900
        )
        if read["rows"] != written["rows"]:
            sys.exit(f"{library} read {read['rows']} of {written['rows']} rows")
        read["median"] = statistics.median(read["seconds"])
        result["libraries"][library] = read
    path.unlink()
    return result


def measure_asof_chain(recordings: Path, arrow_path: Path, index: str, repeat: int) -> dict:
    result = call_child(
        script(
            "parquet_peers.py",
            "--asof",
            str(recordings),
            str(arrow_path),
            index,
            "--repeat",
            str(repeat),
        ),
        900,
    )
    if result["different"]:
        sys.exit(
            f"{result['different']} columns of the chain of joins differ from the filled table"
        )
    result["median"] = statistics.median(result["seconds"])
    return result


def markdown(summaries: list[dict]) -> str:
    """Ratios are the time of the library over ours: of all runs of a process, and of its first one."""
    rows = []
    for summary in summaries:
        ours = summary["engines"]["ours"]
        again, first = ours["scan_median"], ours["first_scan_median"]
        row = [summary["title"], f"{milliseconds(again)} / {milliseconds(first)}"]
        for library in LIBRARIES:
            read = summary["parquet"]["libraries"][library]
            row.append(
                f"{milliseconds(read['median'])} / {milliseconds(read['seconds'][0])} "
                f"({times(read['median'] / again)} / {times(read['seconds'][0] / first)})"
            )
        row.append(megabytes(summary["parquet"]["file_bytes"]))
        rows.append(row)
    text = (
        "The same tables, read whole from Parquet: the median of all runs of a process / its first run, which finds nothing in memory but the "
        "file in the page cache; in brackets these times over those of Rushes.\n\n"
    )
    text += markdown_table(
        ["Case", "Rushes, all / first", *LIBRARIES.values(), "Parquet file"], rows
    )
    for summary in summaries:
        if "asof_chain" not in summary:
            continue
        chain, ours = summary["asof_chain"], summary["engines"]["ours"]
        text += (
            f'\nThe fill of "{summary["title"]}" as {chain["signals"]} Polars `join_asof` in a row, on columns of plain numbers that are in '
            f"memory already: {milliseconds(chain['median'])}, {times(chain['median'] / ours['scan_median'])} the time of Rushes, "
            f"{times(chain['median'] / ours['first_scan_median'])} that of its first scan, which reads and decodes the recording. "
            "The values are the same.\n"
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", nargs=2)
    parser.add_argument("--read", nargs=2)
    parser.add_argument("--asof", nargs=3)
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.write:
        write_child(*arguments.write)
    elif arguments.read:
        read_child(*arguments.read, arguments.repeat)
    elif arguments.asof:
        asof_child(*arguments.asof, arguments.repeat)


if __name__ == "__main__":
    main()
