"""The query cases of `make bench`: whole tables from the same recordings, by both engines in turn.

Run by run.py. As a script it is one of the child processes: a server on the recordings, a client, one task.
"""

from __future__ import annotations

import argparse
import json
import mmap
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import parquet_peers
from common import (
    ENGINES,
    OFFICIAL_VERSION,
    call_child,
    finish_child,
    markdown_table,
    megabytes,
    milliseconds,
    peak_memory_bytes,
    script,
    times,
)


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    recordings: str  # folder below the data folder
    index: str
    fill: bool
    scan_ratio_min: float | None  # official time / our time
    first_batch_ratio_min: float | None = 5
    official_scans: int = 3  # timed scans per process
    official_rounds: int = 3  # processes
    copy_ratio_max: float | None = None  # our time / time to copy the table into fresh memory
    has_asof_chain: bool = False  # also as a chain of Polars joins
    # With what more may be asked of it: the folder of its static layer, and that of the same with a second timeline.
    extras: tuple[str, str] | None = None

    @property
    def folders(self) -> list[str]:
        return [self.recordings, *(self.extras or ())]


CASES = [
    Case(
        "aligned",
        "aligned scalars, 400,000 rows x 20 columns",
        "aligned",
        "frame",
        False,
        30,
        extras=("aligned_static", "two_timelines"),
    ),
    Case(
        "two_timelines",
        "the same with a second timeline",
        "two_timelines",
        "frame",
        False,
        30,
    ),
    Case(
        "interleaved",
        "40 interleaved signals, filled",
        "interleaved",
        "frame",
        True,
        150,
        official_scans=1,
        official_rounds=2,
        has_asof_chain=True,
    ),
    Case(
        "episodes",
        "20 robot episodes with images",
        "episodes",
        "frame",
        False,
        8,
        copy_ratio_max=2,
    ),
    Case("segments", "600 small segments", "segments", "frame", False, 20),
]
OUR_SCANS = 5
OUR_ROUNDS = 3
EXTRA_SCANS = 100
FIRST_BATCH_MAX_S = 0.050
EXTRAS = {
    "timeline": "a second timeline",
    "static": "two static columns",
    "fill": "`fill_latest_at`, where nothing is to fill",
    "not_null": "an `IS NOT NULL` that every row passes",
}
EXTRA_MAX = 1.25


# --------------------------------------------------------------------------------------------------------------------
# Child processes. The parent imports nothing heavy: a child's peak memory must be its own.


def open_engine(engine: str):
    if engine == "ours":
        import rushes as module

        return module, getattr(module, "__version__", "?")
    import rerun as module

    if module.__version__ != OFFICIAL_VERSION:
        sys.exit(
            f"the benchmark compares with rerun-sdk {OFFICIAL_VERSION}, found {module.__version__}"
        )
    return module, module.__version__


def open_dataset(module, case: Case, data: Path):
    """A server on the case's recordings and a dataset of its client; the server lives as long as the dataset."""
    server = module.server.Server(host="127.0.0.1", datasets={"bench": str(data / case.recordings)})
    dataset = server.client().get_dataset("bench")
    return server, dataset


def run_child(
    engine: str, case: Case, task: str, data: Path, scans: int, table_path: str | None
) -> None:
    """`first`: time to the first batch in a fresh process. `scan`: whole tables, `scans` times. Prints one JSON line."""
    module, version = open_engine(engine)
    started = time.perf_counter()
    server, dataset = open_dataset(module, case, data)
    result: dict = {
        "version": version,
        "open_seconds": time.perf_counter() - started,
        "start_bytes": peak_memory_bytes(),
    }

    if task == "first":
        started = time.perf_counter()
        stream = dataset.reader(index=case.index, fill_latest_at=case.fill).execute_stream()
        batch = next(iter(stream)).to_pyarrow()
        result["first_batch_seconds"] = time.perf_counter() - started
        result["first_batch_rows"] = batch.num_rows
        finish_child(result)

    seconds = []
    for _ in range(scans):
        table = None  # the previous table must not count into the next scan's memory
        started = time.perf_counter()
        table = dataset.reader(index=case.index, fill_latest_at=case.fill).to_arrow_table()
        seconds.append(time.perf_counter() - started)
    result.update(
        scan_seconds=seconds,
        rows=table.num_rows,
        columns=table.num_columns,
        output_bytes=table.nbytes,
        peak_bytes=peak_memory_bytes(),
    )
    if case.copy_ratio_max is not None:
        result["copy_seconds"] = copy_seconds(table)
    if table_path is not None:
        import pyarrow as pa

        with pa.OSFile(table_path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    del server
    finish_child(result)


def extras_child(case: Case, data: Path, scans: int) -> None:
    """The scan as it is and with each of EXTRAS, taking turns; all find decoded chunks in the cache. By `scan`, which applies
    filters itself: what DataFusion costs is not asked here.
    """
    import pyarrow.compute as pc

    import rushes

    folder = str(data / case.recordings)
    assert case.extras is not None
    static, timeline = (data / name for name in case.extras)
    server = rushes.server.Server(
        datasets={"bench": folder, "static": folder, "timeline": str(timeline)}
    )
    client = server.client()
    dataset, with_static = client.get_dataset("bench"), client.get_dataset("static")
    with_timeline = client.get_dataset("timeline")
    layers = [str(path) for path in sorted(static.glob("*.rrd"))]
    with_static.register(layers, layer_name="static").wait()
    names = dataset.scan(index=case.index).schema.names
    first = next(name for name in names if name.startswith("/"))
    asks = {
        "plain": lambda: dataset.scan(index=case.index).to_table(),
        "timeline": lambda: with_timeline.scan(index=case.index).to_table(),
        "static": lambda: with_static.scan(index=case.index).to_table(),
        "fill": lambda: dataset.scan(index=case.index, fill_latest_at=True).to_table(),
        "not_null": lambda: dataset.scan(index=case.index).to_table(
            filter=pc.field(first).is_valid()
        ),
    }
    shapes = {name: ask().shape for name, ask in asks.items()}
    rows, columns = shapes["plain"]
    wanted = dict.fromkeys(asks, columns) | {"timeline": columns + 1, "static": columns + 2}
    if shapes != {name: (rows, count) for name, count in wanted.items()}:
        sys.exit(f"the tables have the shapes {shapes}")
    seconds: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(scans):
        for name, ask in asks.items():
            started = time.perf_counter()
            table = ask()
            seconds[name].append(time.perf_counter() - started)
            del table
    del server
    finish_child({"seconds": seconds})


def copy_seconds(table) -> float:
    """The best of three copies of as many bytes as the table has into memory that nobody touched before."""
    source = memoryview(bytearray(table.nbytes))
    best = float("inf")
    for _ in range(3):
        with mmap.mmap(-1, len(source)) as fresh:
            started = time.perf_counter()
            fresh[:] = source
            best = min(best, time.perf_counter() - started)
    return best


def compare_child(ours_path: str, official_path: str, index: str) -> None:
    """Compare two tables by column name, in order of segment and index; explain what a known defect explains."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def load(path: str) -> pa.Table:
        with pa.memory_map(path) as source:
            return pa.ipc.open_file(source).read_all()

    def sort_key(table: pa.Table) -> pa.Array:
        keys = pa.table(
            {"segment": table["rerun_segment_id"].cast(pa.string()), "index": table[index]}
        )
        return pc.sort_indices(keys, sort_keys=[("segment", "ascending"), ("index", "ascending")])

    def same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
        if left.type != right.type:
            left = left.cast(right.type)
        return left.equals(right)

    ours, official = load(ours_path), load(official_path)
    verdict: dict = {"problems": [], "explained": [], "equal_columns": 0}
    if set(ours.column_names) != set(official.column_names):
        verdict["problems"].append(
            f"columns differ: {sorted(set(ours.column_names) ^ set(official.column_names))[:6]}"
        )
    if ours.num_rows != official.num_rows:
        verdict["problems"].append(f"{ours.num_rows} rows, official {official.num_rows}")
    else:
        ours_order, official_order = sort_key(ours), sort_key(official)
        ours_sorted = ours_order.equals(pa.array(range(len(ours_order)), pa.uint64()))
        official_sorted = official_order.equals(pa.array(range(len(official_order)), pa.uint64()))
        for name in (name for name in ours.column_names if name in official.column_names):
            left = ours[name] if ours_sorted else ours[name].take(ours_order)
            right = official[name] if official_sorted else official[name].take(official_order)
            if left.type != right.type:
                verdict["problems"].append(f"{name}: type {left.type}, official {right.type}")
                continue
            if same(left, right):
                verdict["equal_columns"] += 1
                continue
            metadata = ours.schema.field(name).metadata or {}
            shown = pc.is_valid(right)
            lost = pc.sum(pc.invert(shown)).as_py()
            if (
                metadata.get(b"rerun:is_static") == b"true"
                and lost
                and left.filter(shown).equals(right.filter(shown))
            ):
                # Static data stands in every row of its segment. Ours must have it wherever the official table has it in any row.
                segments = (
                    ours["rerun_segment_id"]
                    if ours_sorted
                    else ours["rerun_segment_id"].take(ours_order)
                ).cast(pa.string())
                with_value = pc.unique(segments.filter(shown))
                ours_missing = (
                    pc.sum(
                        pc.and_(pc.is_in(segments, with_value), pc.invert(pc.is_valid(left)))
                    ).as_py()
                    or 0
                )
                if ours_missing == 0:
                    verdict["explained"].append(
                        f"{name}: the official engine loses the static value in {lost} of {len(right)} rows"
                    )
                    continue
            differing = sum(
                1
                for a, b in zip(
                    left.to_pylist()[:200_000], right.to_pylist()[:200_000], strict=True
                )
                if a != b
            )
            verdict["problems"].append(f"{name}: {differing} cells differ")
    print(json.dumps(verdict), flush=True)


# --------------------------------------------------------------------------------------------------------------------
# Parent.


def measure(
    case: Case, engines: list[str], pythons: dict[str, str], data: Path, quick: bool, folder: Path
) -> dict:
    """All rounds of one case, the engines taking turns; then the same table from Parquet by others."""
    results: dict = {
        engine: {
            "scan_seconds": [],
            "first_scan_seconds": [],
            "first_batch_seconds": [],
            "peak_bytes": [],
        }
        for engine in engines
    }
    rounds = {"ours": OUR_ROUNDS, "official": case.official_rounds}
    scans = {"ours": OUR_SCANS, "official": case.official_scans}
    for turn in range(1 if quick else max(rounds.values())):
        for engine in engines:
            if turn >= rounds[engine]:
                continue
            common = ["--engine", engine, "--case", case.name, "--data", str(data)]
            child = script("query_cases.py", *common, python=pythons[engine])
            first = call_child([*child, "--child", "first"], 900)
            table = ["--table", str(folder / f"{engine}.arrow")] if turn == 0 else []
            number = "1" if quick else str(scans[engine])
            scan = call_child([*child, "--child", "scan", "--scans", number, *table], 1800)
            result = results[engine]
            result["first_batch_seconds"].append(first["first_batch_seconds"])
            result["scan_seconds"] += scan["scan_seconds"]
            result["first_scan_seconds"].append(scan["scan_seconds"][0])
            result["peak_bytes"].append(scan["peak_bytes"])
            if "copy_seconds" in scan:
                result.setdefault("copy_seconds", []).append(scan["copy_seconds"])
            for key in "version", "rows", "columns", "output_bytes", "start_bytes", "open_seconds":
                result[key] = scan[key]
            print(
                f"  {case.name} {engine:8} round {turn + 1}: scan {statistics.median(scan['scan_seconds']):.4f} s, "
                f"first batch {first['first_batch_seconds'] * 1e3:.1f} ms, peak {scan['peak_bytes'] / 1e6:.0f} MB, {scan['rows']} rows",
                file=sys.stderr,
            )
    summary: dict = {"case": case.name, "title": case.title, "engines": results}
    for result in results.values():
        result["scan_median"] = statistics.median(result["scan_seconds"])
        result["first_scan_median"] = statistics.median(result["first_scan_seconds"])
        result["first_batch_median"] = statistics.median(result["first_batch_seconds"])
        result["peak_max"] = max(result["peak_bytes"])
        if "copy_seconds" in result:
            result["copy_median"] = statistics.median(result["copy_seconds"])
    if len(engines) == 2:
        ours, official = results["ours"], results["official"]
        summary["scan_ratio"] = official["scan_median"] / ours["scan_median"]
        summary["first_batch_ratio"] = official["first_batch_median"] / ours["first_batch_median"]
        paths = [str(folder / f"{engine}.arrow") for engine in ENGINES]
        summary["tables"] = call_child(
            script(
                "query_cases.py",
                "--compare",
                *paths,
                "--case",
                case.name,
                python=pythons["official"],
            ),
            900,
        )
    if "ours" in engines:
        table = folder / "ours.arrow"
        summary["parquet"] = parquet_peers.measure(table, folder, 1 if quick else OUR_SCANS)
        if case.extras is not None:
            summary["extras"] = measure_extras(case, data, 2 if quick else EXTRA_SCANS)
        if case.has_asof_chain:
            summary["asof_chain"] = parquet_peers.measure_asof_chain(
                data / case.recordings, table, case.index, 1 if quick else 3
            )
    for path in folder.iterdir():
        path.unlink()
    return summary


def measure_extras(case: Case, data: Path, scans: int) -> dict[str, float]:
    """The medians of the scan as it is ("plain") and with each of EXTRAS: many, for the differences are small beside what the machine adds."""
    child = script("query_cases.py", "--child", "extras", "--case", case.name, "--data", str(data))
    result = call_child([*child, "--scans", str(scans)], 900)
    return {name: statistics.median(seconds) for name, seconds in result["seconds"].items()}


def missed_targets(case: Case, summary: dict) -> list[str]:
    """What is not as good as it must be."""
    missed = []
    for what, key, minimum in [
        ("scan", "scan_ratio", case.scan_ratio_min),
        ("first batch", "first_batch_ratio", case.first_batch_ratio_min),
    ]:
        if minimum is not None and summary[key] < minimum:
            missed.append(
                f"{case.name}: {what} {summary[key]:.1f} times as fast, target {minimum:g}"
            )
    ours = summary["engines"]["ours"]
    if ours["first_batch_median"] > FIRST_BATCH_MAX_S:
        missed.append(
            f"{case.name}: first batch after {milliseconds(ours['first_batch_median'])}, target {milliseconds(FIRST_BATCH_MAX_S)}"
        )
    if case.copy_ratio_max is not None:
        ratio = ours["scan_median"] / ours["copy_median"]
        if ratio > case.copy_ratio_max:
            missed.append(
                f"{case.name}: {ratio:.1f} times as long as a copy of the table into fresh memory, target {case.copy_ratio_max:g}"
            )
    for name, words in EXTRAS.items():
        if "extras" in summary and summary["extras"][name] > EXTRA_MAX * summary["extras"]["plain"]:
            ratio = summary["extras"][name] / summary["extras"]["plain"]
            missed.append(
                f"{case.name}: {ratio:.2f} times as long with {words}, target {EXTRA_MAX:g}"
            )
    return missed


def table_words(summary: dict) -> str:
    tables = summary.get("tables")
    if tables is None:
        return "not compared"
    if tables["problems"]:
        return "DIFFERENT: " + "; ".join(tables["problems"])
    if tables["explained"]:
        return "equal but for a known defect: " + "; ".join(tables["explained"])
    return "equal"


def markdown(summaries: list[dict]) -> str:
    """The cases as two tables: against the official engine, and against the same tables read from Parquet."""
    rows = []
    for summary in summaries:
        ours = summary["engines"].get("ours", {})
        official = summary["engines"].get("official", {})
        shape = ours or official
        rows.append(
            [
                summary["title"],
                f"{shape['rows']:,} x {shape['columns']}",
                milliseconds(official.get("scan_median")),
                milliseconds(ours.get("scan_median")),
                times(summary.get("scan_ratio")),
                f"{milliseconds(official.get('first_batch_median'))} / {milliseconds(ours.get('first_batch_median'))}",
                times(summary.get("first_batch_ratio")),
                f"{megabytes(official.get('peak_max'))} / {megabytes(ours.get('peak_max'))}",
                table_words(summary),
            ]
        )
    text = markdown_table(
        [
            "Case",
            "Rows x columns",
            "Official",
            "Rushes",
            "Ratio",
            "First batch official / Rushes",
            "Ratio",
            "Peak memory official / Rushes",
            "Tables",
        ],
        rows,
    )
    compared = [summary for summary in summaries if "parquet" in summary]
    if compared:
        text += "\n" + parquet_peers.markdown(compared)
    copied = [summary for summary in compared if "copy_median" in summary["engines"]["ours"]]
    for summary in copied:
        ours = summary["engines"]["ours"]
        text += (
            f'\nA copy of the {megabytes(ours["output_bytes"])} of "{summary["title"]}" into fresh memory takes '
            f"{milliseconds(ours['copy_median'])}; the scan {times(ours['scan_median'] / ours['copy_median'])} that.\n"
        )
    for summary in summaries:
        if "extras" not in summary:
            continue
        plain = summary["extras"]["plain"]
        text += f'\nWhat more may be asked of "{summary["title"]}", by `scan`; medians of scans that took turns in one process:\n\n'
        text += markdown_table(
            ["With", "Scan", "Ratio", "Target"],
            [
                ["nothing more", milliseconds(plain), "1.00 x", "-"],
                *(
                    [
                        words,
                        milliseconds(summary["extras"][name]),
                        f"{summary['extras'][name] / plain:.2f} x",
                        f"{EXTRA_MAX:g}",
                    ]
                    for name, words in EXTRAS.items()
                ),
            ],
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=[case.name for case in CASES], required=True)
    parser.add_argument("--compare", nargs=2)
    parser.add_argument("--child", choices=["first", "scan", "extras"])
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--scans", type=int, default=1)
    parser.add_argument("--table")
    arguments = parser.parse_args()
    case = next(case for case in CASES if case.name == arguments.case)
    if arguments.compare:
        compare_child(*arguments.compare, case.index)
    elif arguments.child == "extras":
        extras_child(case, arguments.data, arguments.scans)
    else:
        run_child(
            arguments.engine,
            case,
            arguments.child,
            arguments.data,
            arguments.scans,
            arguments.table,
        )


if __name__ == "__main__":
    main()
