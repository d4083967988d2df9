"""Compare Rushes with the official engine, rerun-sdk 0.41.0: same recordings, same calls, same run.

    python benchmarks/run.py [--quick] [--no-check] [--cases aligned,episodes]

For each case the two engines take turns, each in a fresh process that starts a server on the recordings, connects a
client to it and reads a dataset into an Arrow table. Printed per case: the median time of both, the ratio, the time to
the first batch, the peak memory of the process, and whether the two tables are equal. A difference that a known defect
of the official engine explains is verified cell by cell and named; any other difference fails the run.

Exit code 1: a table differs without explanation, or (unless --no-check) a target is missed. Results also go to
build/bench.json and build/bench.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = REPOSITORY / "build"
ENGINES = ["ours", "official"]
OFFICIAL_VERSION = "0.41.0"


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    recordings: str  # folder below the data folder
    index: str
    fill: bool
    scan_ratio_min: float | None  # official time / our time
    first_batch_ratio_min: float | None
    official_scans: int = 3  # timed scans per process
    official_rounds: int = 3  # processes


CASES = [
    Case("aligned", "aligned scalars, 400,000 rows x 20 columns", "aligned", "frame", False, 10, 5),
    Case(
        "two_timelines", "the same with a second timeline", "two_timelines", "frame", False, None, 5
    ),
    Case(
        "interleaved",
        "40 interleaved signals, filled",
        "interleaved",
        "frame",
        True,
        50,
        5,
        official_scans=1,
        official_rounds=2,
    ),
    Case("episodes", "20 robot episodes with images", "episodes", "frame", False, None, 5),
    Case("segments", "600 small segments", "segments", "frame", False, None, 5),
]
OUR_SCANS = 5
OUR_ROUNDS = 3


# --------------------------------------------------------------------------------------------------------------------
# Child processes. The parent imports nothing heavy: a child's peak memory must be its own.


def peak_memory_bytes() -> int:
    """The high-water mark of this process image. getrusage's number would include what the parent had before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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


def run_child(
    engine: str, case: Case, task: str, data: Path, scans: int, table_path: str | None
) -> None:
    """`first`: time to the first batch in a fresh process. `scan`: whole tables, `scans` times. Prints one JSON line."""
    module, version = open_engine(engine)
    started = time.perf_counter()
    server = module.server.Server(host="127.0.0.1", datasets={"bench": str(data / case.recordings)})
    client = server.client()
    dataset = client.get_dataset("bench")
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
    if table_path is not None:
        import pyarrow as pa

        with pa.OSFile(table_path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    finish_child(result)


def finish_child(result: dict) -> None:
    print(json.dumps(result), flush=True)
    os._exit(0)  # an abandoned stream need not be drained


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


def child_command(python: str, *arguments: str) -> list[str]:
    return [python, str(Path(__file__).resolve()), *arguments]


def call_child(command: list[str], timeout_seconds: float) -> dict:
    finished = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env={**os.environ, "RERUN_ANALYTICS": "0"},
    )
    if finished.returncode != 0 or not finished.stdout.strip():
        sys.exit(
            f"benchmark process failed ({finished.returncode}): {' '.join(command[1:])}\n{finished.stderr[-3000:]}"
        )
    return json.loads(finished.stdout.strip().splitlines()[-1])


def measure(
    case: Case, engines: list[str], pythons: dict[str, str], data: Path, quick: bool, folder: Path
) -> dict:
    """All rounds of one case, the engines taking turns."""
    results: dict = {
        engine: {"scan_seconds": [], "first_batch_seconds": [], "peak_bytes": []}
        for engine in engines
    }
    rounds = {"ours": OUR_ROUNDS, "official": case.official_rounds}
    scans = {"ours": OUR_SCANS, "official": case.official_scans}
    for turn in range(1 if quick else max(rounds.values())):
        for engine in engines:
            if turn >= rounds[engine]:
                continue
            common = ["--engine", engine, "--case", case.name, "--data", str(data)]
            table = ["--table", str(folder / f"{engine}.arrow")] if turn == 0 else []
            first = call_child(child_command(pythons[engine], "--child", "first", *common), 900)
            scan = call_child(
                child_command(
                    pythons[engine],
                    "--child",
                    "scan",
                    *common,
                    "--scans",
                    str(scans[engine]),
                    *table,
                ),
                1800,
            )
            result = results[engine]
            result["first_batch_seconds"].append(first["first_batch_seconds"])
            result["scan_seconds"] += scan["scan_seconds"]
            result["peak_bytes"].append(scan["peak_bytes"])
            result.update(
                {
                    key: scan[key]
                    for key in [
                        "version",
                        "rows",
                        "columns",
                        "output_bytes",
                        "start_bytes",
                        "open_seconds",
                    ]
                }
            )
            print(
                f"  {case.name} {engine:8} round {turn + 1}: scan {statistics.median(scan['scan_seconds']):.4f} s, "
                f"first batch {first['first_batch_seconds'] * 1e3:.1f} ms, peak {scan['peak_bytes'] / 1e6:.0f} MB, {scan['rows']} rows",
                file=sys.stderr,
            )
    summary: dict = {"case": case.name, "title": case.title, "engines": results}
    for result in results.values():
        result["scan_median"] = statistics.median(result["scan_seconds"])
        result["first_batch_median"] = statistics.median(result["first_batch_seconds"])
        result["peak_max"] = max(result["peak_bytes"])
    if len(engines) == 2:
        ours, official = results["ours"], results["official"]
        summary["scan_ratio"] = official["scan_median"] / ours["scan_median"]
        summary["first_batch_ratio"] = official["first_batch_median"] / ours["first_batch_median"]
        paths = [str(folder / f"{engine}.arrow") for engine in ENGINES]
        summary["tables"] = call_child(
            child_command(pythons["official"], "--compare", *paths, case.index), 900
        )
    for path in folder.glob("*.arrow"):
        path.unlink()
    return summary


def missed_targets(case: Case, summary: dict) -> list[str]:
    missed = []
    for what, key, minimum in [
        ("scan", "scan_ratio", case.scan_ratio_min),
        ("first batch", "first_batch_ratio", case.first_batch_ratio_min),
    ]:
        if minimum is not None and summary[key] < minimum:
            missed.append(
                f"{case.name}: {what} {summary[key]:.1f} times as fast, target {minimum:g}"
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


def markdown(summaries: list[dict], machine: str) -> str:
    lines = [
        f"Measured on {machine}; medians; official is rerun-sdk {OFFICIAL_VERSION}. Memory is the peak of the whole process: server, client and table.",
        "",
        "| Case | Rows x columns | Official | Rushes | Ratio | First batch official / Rushes | Ratio | Peak memory official / Rushes | Tables |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for summary in summaries:
        ours, official = summary["engines"].get("ours"), summary["engines"].get("official")
        shape = ours or official

        def show(result: dict | None, key: str, scale: float, unit: str) -> str:
            return (
                "-"
                if result is None
                else f"{result[key] * scale:,.{1 if result[key] * scale < 100 else 0}f} {unit}"
            )

        lines.append(
            f"| {summary['title']} | {shape['rows']:,} x {shape['columns']} "
            f"| {show(official, 'scan_median', 1e3, 'ms')} | {show(ours, 'scan_median', 1e3, 'ms')} | {format_ratio(summary, 'scan_ratio')} "
            f"| {show(official, 'first_batch_median', 1e3, 'ms')} / {show(ours, 'first_batch_median', 1e3, 'ms')} | {format_ratio(summary, 'first_batch_ratio')} "
            f"| {show(official, 'peak_max', 1e-6, 'MB')} / {show(ours, 'peak_max', 1e-6, 'MB')} | {table_words(summary)} |"
        )
    return "\n".join(lines) + "\n"


def format_ratio(summary: dict, key: str) -> str:
    return f"{summary[key]:.1f} x" if key in summary else "-"


def machine_words() -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small recordings, one round: a smoke test, targets not checked",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="do not fail when a target is missed"
    )
    parser.add_argument(
        "--cases", help="comma-separated names: " + ", ".join(case.name for case in CASES)
    )
    parser.add_argument("--engine", choices=ENGINES, help="only this engine")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter that has both packages"
    )
    parser.add_argument("--official-python", help="another interpreter for the official package")
    parser.add_argument("--child", choices=["first", "scan"], help=argparse.SUPPRESS)
    parser.add_argument("--compare", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument(
        "--data", type=Path, help="folder of the recordings (default build/bench-data)"
    )
    parser.add_argument("--scans", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compare:
        return compare_child(*arguments.compare)
    if arguments.child:
        case = next(case for case in CASES if case.name == arguments.case)
        return run_child(
            arguments.engine,
            case,
            arguments.child,
            arguments.data,
            arguments.scans,
            arguments.table,
        )

    names = arguments.cases.split(",") if arguments.cases else [case.name for case in CASES]
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        parser.error(
            f"unknown cases {sorted(unknown)}; there are {', '.join(case.name for case in CASES)}"
        )
    pythons = {"ours": arguments.python, "official": arguments.official_python or arguments.python}
    engines = [arguments.engine] if arguments.engine else ENGINES
    data = arguments.data or BUILD / "bench-data"
    generator = [
        pythons["official"],
        str(Path(__file__).with_name("recordings.py")),
        str(data),
        *(["--quick"] if arguments.quick else []),
    ]
    data = Path(
        subprocess.run(generator, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    )

    summaries, missed, broken = [], [], []
    for case in (case for case in CASES if case.name in names):
        print(f"{case.name}: {case.title}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=data) as folder:
            summary = measure(case, engines, pythons, data, arguments.quick, Path(folder))
        summaries.append(summary)
        if len(engines) == 2:
            missed += missed_targets(case, summary)
            broken += [f"{case.name}: {problem}" for problem in summary["tables"]["problems"]]

    machine = machine_words()
    BUILD.mkdir(exist_ok=True)
    text = markdown(summaries, machine)
    suffix = "-quick" if arguments.quick else ""
    (BUILD / f"bench{suffix}.json").write_text(
        json.dumps(
            {"machine": machine, "cases": summaries, "missed": missed, "broken": broken}, indent=1
        )
        + "\n"
    )
    (BUILD / f"bench{suffix}.md").write_text(text)
    print(text)
    for words in broken:
        print(f"TABLES DIFFER  {words}")
    for words in missed:
        print(f"TARGET MISSED  {words}")
    if len(engines) == 2 and not broken and not missed:
        print(
            "All targets met: aligned scan 10 times, filled interleaved signals 50 times, first batch 5 times as fast; tables equal or explained."
        )
    sys.exit(1 if broken or (missed and not (arguments.no_check or arguments.quick)) else 0)


if __name__ == "__main__":
    main()
