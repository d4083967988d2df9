"""How the time of a scan grows: with rows, columns, rows per chunk, segments, timelines and threads.

    python benchmarks/scaling.py [--quick] [--axes rows,segments] [--write]

Each point is a process of its own that opens the recordings in this process's catalog and reads them whole with
`scan().to_table()`: with decoded chunks kept from the scan before, and with nothing kept. What is printed is
nanoseconds per cell (rows times columns of the table, the segment id left out; of CPU time, on the axis of threads) and
the step from one point to the next, which should stay within 1.5. Beside it stands what rushes_bench_floor takes to open the same
files, read the messages and decompress them, on as many threads. Recordings are written once into build/bench-data/scaling.

--write puts the tables and curves into docs/performance.md and docs/scaling, with the table of the last `make bench`.
Exit code 0 also when a step is larger: the table says which.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import page
from common import (
    BUILD,
    DATA,
    REPOSITORY,
    call_child,
    finish_child,
    machine_words,
    markdown_table,
    milliseconds,
    program,
    script,
)
from svg_chart import Series, line_chart

STEP_MAX = 1.5
MEASURE_S = 1.0  # at least, per point and kind
CURVES = REPOSITORY / "docs" / "scaling"
KINDS = {"kept": "chunks decoded before", "cold": "nothing decoded"}


@dataclass(frozen=True)
class Shape:
    """What is read: arguments of rushes_bench_writer, and how."""

    segments: int = 1
    rows: int = 100_000  # of each column in each segment
    columns: int = 10
    chunk_rows: int = 4_096
    timelines: int = 1
    kind: str = "scalars"
    fill: bool = False
    threads: int = 0  # 0: as many as there are cores

    def folder(self) -> str:
        parts = [self.kind, self.segments, self.rows, self.columns, self.chunk_rows, self.timelines]
        return "-".join(map(str, parts))

    def writer_arguments(self) -> list[str]:
        return [
            *("--kind", self.kind),
            *("--segments", str(self.segments)),
            *("--rows", str(self.rows)),
            *("--columns", str(self.columns)),
            *("--chunk-rows", str(self.chunk_rows)),
            *("--timelines", str(self.timelines)),
        ]


@dataclass(frozen=True)
class Axis:
    name: str
    title: str
    what: str  # what stays the same
    points: list[tuple[int, Shape]]


def axes(quick: bool) -> list[Axis]:
    """The curves; `quick` has the same ones with little data, to see that everything works."""
    part = 100 if quick else 1
    cores = len(os.sched_getaffinity(0))

    def rows(count: int) -> int:
        return count // part

    return [
        Axis(
            "rows",
            "rows",
            "1 segment, 10 columns, 4,096 rows a chunk",
            [
                (rows(n), Shape(rows=rows(n)))
                for n in (25_000, 50_000, 100_000, 200_000, 400_000, 800_000)
            ],
        ),
        Axis(
            "filled_rows",
            "rows, interleaved and filled",
            "1 segment, 20 signals at times of their own, 1,000 rows a chunk",
            [
                (
                    20 * rows(n),
                    Shape(
                        rows=rows(n), columns=20, chunk_rows=1_000, kind="interleaved", fill=True
                    ),
                )
                for n in (1_200, 2_500, 5_000, 10_000, 20_000)
            ],
        ),
        Axis(
            "columns",
            "columns",
            f"1 segment, {rows(40_000):,} rows, 4,000 rows a chunk",
            [
                (n, Shape(rows=rows(40_000), columns=n, chunk_rows=rows(4_000)))
                for n in (5, 10, 20, 50, 100, 200)
            ],
        ),
        Axis(
            "chunk_rows",
            "rows per chunk",
            f"1 segment, {rows(131_072):,} rows, 10 columns",
            [
                (n, Shape(rows=rows(131_072), chunk_rows=n))
                for n in (20, 64, 256, 1_024, 4_096, 16_384, 65_536)
                if n <= max(rows(131_072), 64)
            ],
        ),
        Axis(
            "segments",
            "segments",
            f"{rows(1_000_000):,} rows in all, 4 columns, 4,096 rows a chunk at most",
            [
                (n, Shape(segments=n, rows=rows(1_000_000) // n, columns=4))
                for n in (1, 10, 100, 1_000, 10_000)
                if n <= rows(1_000_000)
            ][: 3 if quick else None],
        ),
        Axis(
            "timelines",
            "timelines",
            f"1 segment, {rows(100_000):,} rows, 10 columns",
            [(n, Shape(rows=rows(100_000), timelines=n)) for n in (1, 2, 4, 8)],
        ),
        Axis(
            "threads",
            "threads",
            f"1 segment, {rows(400_000):,} rows, 10 columns; nanoseconds of CPU time, of all threads together",
            [
                (n, Shape(rows=rows(400_000), threads=n))
                for n in sorted({1, 2, cores, *(2**i for i in range(1, 8) if 2**i < cores)})
                if n <= cores
            ],
        ),
    ]


def recordings(shape: Shape, quick: bool) -> Path:
    """Write what is to be read, unless it is there: the folder's name says all of the recipe."""
    folder = DATA / ("scaling_quick" if quick else "scaling") / shape.folder()
    if not folder.exists():
        started = time.monotonic()
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        writer = str(program("rushes_bench_writer"))
        subprocess.run([writer, *shape.writer_arguments(), str(unfinished)], check=True)
        unfinished.rename(folder)
        print(f"  wrote {folder.name} in {time.monotonic() - started:.1f} s", file=sys.stderr)
    return folder


# --------------------------------------------------------------------------------------------------------------------
# The child process.


def measure_child(folder: str, fill: bool, quick: bool, threads: int) -> None:
    if threads:
        # Who waits for the threads works too: only the cores that it may use keep that to `threads` in all.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import rushes

    result: dict = {}
    for kind in KINDS:
        cache_bytes = 2 << 30 if kind == "kept" else 0
        with rushes.server.Server(datasets={"bench": folder}, cache_bytes=cache_bytes) as server:
            dataset = server.client().get_dataset("bench")

            def read(dataset=dataset):
                return dataset.scan(index="frame", fill_latest_at=fill).to_table()

            table = read()
            result["rows"], result["columns"] = table.num_rows, table.num_columns
            seconds: list[float] = []
            cpu_seconds: list[float] = []
            while len(seconds) < 5 or sum(seconds) < MEASURE_S:
                table = None
                cpu_started, started = time.process_time(), time.perf_counter()
                table = read()
                seconds.append(time.perf_counter() - started)
                cpu_seconds.append(time.process_time() - cpu_started)
                if quick:
                    break
            table = None
            result[kind] = seconds
            result[f"{kind} cpu"] = cpu_seconds
    finish_child(result)


# --------------------------------------------------------------------------------------------------------------------
# The parent.


@dataclass(frozen=True)
class Point:
    x: int
    cells: int
    seconds: dict[str, float]  # by kind
    cost: dict[str, float]  # the same, or seconds of CPU time
    floor: float  # seconds: files opened, read and decompressed
    threads: int = 1

    def ns_per_cell(self, kind: str) -> float:
        return self.cost[kind] * 1e9 / self.cells


def measure_floor(folder: Path, shape: Shape) -> float:
    threads = shape.threads or len(os.sched_getaffinity(0))
    command = [str(program("rushes_bench_floor")), str(threads), str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(axis: Axis, quick: bool) -> list[Point]:
    points = []
    for x, shape in axis.points:
        folder = recordings(shape, quick)
        command = script("scaling.py", "--child", str(folder))
        if shape.fill:
            command.append("--fill")
        if quick:
            command.append("--quick")
        command += ["--threads", str(shape.threads)]
        # Read by Arrow's pools, ours among them.
        environment = {"OMP_NUM_THREADS": str(shape.threads)} if shape.threads else None
        result = call_child(command, 1800, environment)
        # The fastest: whatever else the machine does only takes away.
        seconds = {kind: min(result[kind]) for kind in KINDS}
        cpu = {kind: min(result[f"{kind} cpu"]) for kind in KINDS}
        cells = result["rows"] * (result["columns"] - 1)
        point = Point(
            x,
            cells,
            seconds,
            cpu if shape.threads else seconds,
            measure_floor(folder, shape),
            max(1, shape.threads),
        )
        points.append(point)
        shown = ", ".join(
            f"{kind} {milliseconds(seconds[kind])} = {point.ns_per_cell(kind):.2f} ns a cell"
            for kind in KINDS
        )
        print(
            f"  {axis.title} {x:,}: {shown} (median {milliseconds(statistics.median(result['kept']))})",
            file=sys.stderr,
        )
    return points


def steps(points: list[Point], kind: str) -> list[float | None]:
    """The ratio of each point to the one before it."""
    costs = [point.ns_per_cell(kind) for point in points]
    return [None, *(after / before for before, after in itertools.pairwise(costs))]


def is_even(step: float | None) -> bool:
    return step is None or 1 / STEP_MAX <= step <= STEP_MAX


def describe(axis: Axis, points: list[Point]) -> tuple[str, list[tuple[str, float]]]:
    """The table of a curve, and its steps that are too large, named."""
    rows: list[list[str]] = []
    uneven: list[tuple[str, float]] = []
    by_kind = {kind: steps(points, kind) for kind in KINDS}
    for number, point in enumerate(points):
        row = [f"{point.x:,}", f"{point.cells:,}"]
        for kind, title in KINDS.items():
            step = by_kind[kind][number]
            shown = "" if step is None else f"{step:.2f}{'' if is_even(step) else ' !'}"
            row += [milliseconds(point.seconds[kind]), f"{point.ns_per_cell(kind):.2f}", shown]
            if step is not None and not is_even(step):
                uneven.append(
                    (f"{axis.title} {points[number - 1].x:,} to {point.x:,}, {title}", step)
                )
        floors = [p.floor * p.threads / p.cells for p in points[max(0, number - 1) : number + 1]]
        row += [milliseconds(point.floor), f"{floors[1] / floors[0]:.2f}" if number else ""]
        rows.append(row)
    head = [axis.title, "cells"]
    for title in KINDS.values():
        head += [title, "ns a cell", "step"]
    head += ["its files alone", "step"]
    return markdown_table(head, rows), uneven


def write_page(texts: list[str], measured: list[tuple[Axis, list[Point]]]) -> None:
    CURVES.mkdir(exist_ok=True)
    for axis, points in measured:
        series = [
            Series(title, [(point.x, point.ns_per_cell(kind)) for point in points])
            for kind, title in KINDS.items()
        ]
        chart = line_chart(f"Time against {axis.title}", axis.title, "ns a cell", series)
        (CURVES / f"{axis.name}.svg").write_text(chart)
    page.update("scaling", "\n".join(texts))
    bench = BUILD / "bench.md"
    if bench.exists():
        page.update("bench", bench.read_text())
    else:
        print("no build/bench.md: run `make bench` first for its table", file=sys.stderr)


def main() -> None:
    names = [axis.name for axis in axes(False)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, one scan a point")
    parser.add_argument("--axes", help="comma-separated: " + ", ".join(names))
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return measure_child(arguments.child, arguments.fill, arguments.quick, arguments.threads)
    wanted = arguments.axes.split(",") if arguments.axes else names
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"unknown axes {unknown}; there are {', '.join(names)}")
    if arguments.write and (arguments.axes or arguments.quick):
        parser.error("--write needs all axes with all of their data")

    measured, texts, uneven = (
        [],
        [f"Measured on {machine_words()}; the fastest of several scans.\n"],
        [],
    )
    for axis in axes(arguments.quick):
        if axis.name not in wanted:
            continue
        print(f"{axis.title}: {axis.what}", file=sys.stderr)
        points = measure(axis, arguments.quick)
        measured.append((axis, points))
        table, large = describe(axis, points)
        uneven += large
        texts.append(
            f"### Time against {axis.title}\n\n{axis.what[0].upper()}{axis.what[1:]}.\n\n"
            f"![Time against {axis.title}](scaling/{axis.name}.svg)\n\n{table}"
        )
    count = sum(len(points) - 1 for _, points in measured) * len(KINDS)
    texts.append(
        f"{count - len(uneven)} of {count} steps are within {STEP_MAX} times; those that are not are marked with !."
    )
    for title, is_meant in {
        "Where a cell gets dearer": lambda step: step > 1,
        "Where a cell gets cheaper, since what a scan or a chunk costs is shared by more of them": lambda step: (
            step < 1
        ),
    }.items():
        if listed := [f"- {words}: {step:.2f}" for words, step in uneven if is_meant(step)]:
            texts.append(f"\n{title}:\n\n" + "\n".join(listed))
    print("\n".join(texts))
    BUILD.mkdir(exist_ok=True)
    suffix = "-quick" if arguments.quick else ""
    (BUILD / f"scaling{suffix}.json").write_text(
        json.dumps(
            {
                axis.name: [
                    {"x": p.x, "cells": p.cells, "floor": p.floor, **p.seconds} for p in points
                ]
                for axis, points in measured
            },
            indent=1,
        )
        + "\n"
    )
    if arguments.write:
        write_page(texts, measured)


if __name__ == "__main__":
    main()
