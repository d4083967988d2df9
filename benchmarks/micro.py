"""Run the micro-benchmarks and print them as one table.

    python benchmarks/micro.py [--quick] [--filter REGEX] [--write]

--write puts the table into docs/performance.md. The program itself, build/release/bin/rushes_micro_benchmark, takes the options
of Google Benchmark.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import page
from common import machine_words, markdown_table, program

STAGES = {
    "Memcpy": "`memcpy` of 64 MiB",
    "DecodePlain": "Arrow IPC to chunk",
    "DecodeLz4": "LZ4 and Arrow IPC to chunk",
    "MergeTimes": "merge of index values",
    "FindCells": "as-of pass",
    "Gather": "gather",
}


# One of each, with little data.
QUICK = "Memcpy|scalars/20$|same_times|interleaved_filled|numbers_slice"


def duration(nanoseconds: float) -> str:
    for limit, scale, unit in [(1e3, 1, "ns"), (1e6, 1e3, "µs"), (float("inf"), 1e6, "ms")]:
        if nanoseconds < limit:
            return f"{nanoseconds / scale:,.1f} {unit}"
    raise AssertionError


def run(quick: bool, only: str | None) -> dict:
    command = [str(program("rushes_micro_benchmark")), "--benchmark_format=json"]
    command += [f"--benchmark_min_time={0.001 if quick else 0.5}"]
    if only or quick:
        command.append(f"--benchmark_filter={only or QUICK}")
    finished = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    if finished.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{finished.stderr[-2000:]}")
    return json.loads(finished.stdout)


def describe(result: dict) -> str:
    """The table; the exit message names a benchmark that failed."""
    to_ns = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
    rows = []
    for one in result["benchmarks"]:
        if one.get("error_occurred"):
            sys.exit(f"{one['name']}: {one['error_message']}")
        name, *details = one["name"].removeprefix("BM_").split("/")
        # Its last part is the number of rows or cells.
        count = f"{int(details.pop()):,}" if details and details[-1].isdigit() else ""
        items = one.get("items_per_second")
        rows.append(
            [
                STAGES.get(name, name),
                " ".join(details).replace("_", " "),
                count,
                duration(one["cpu_time"] * to_ns[one["time_unit"]]),
                f"{1e9 / items:.2f}" if items else "",
                f"{one['bytes_per_second'] / 1e9:.2f}",
                f"{one['of_memory']:.0%}",
            ]
        )
    context = result["context"]
    text = (
        f"Measured on {machine_words()}. One thread gets {float(context['triad_gb_per_second']):.1f} GB/s from memory with the triad, "
        f"{float(context['memcpy_gb_per_second']):.1f} GB/s with `memcpy` (bytes read and written).\n\n"
    )
    head = ["Stage", "Of", "Rows or cells", "CPU time", "ns each", "GB/s", "Of memory"]
    return text + markdown_table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few, as short as can be")
    parser.add_argument("--filter", help="only benchmarks whose name this finds")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    arguments = parser.parse_args()
    if arguments.write and (arguments.filter or arguments.quick):
        parser.error("--write needs all benchmarks at full length")
    text = describe(run(arguments.quick, arguments.filter))
    print(text)
    if arguments.write:
        page.update("micro", text)


if __name__ == "__main__":
    main()
