"""The server cases of `make bench`: the same calls to our server and to the official one, in turn.

Run by run.py. Each round starts a fresh server process, lets one client (`rushes_bench_client`, which counts and drops
what it gets) ask it, and looks at the server's CPU time and peak memory from outside.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common import (
    ENGINES,
    call_child,
    cpu_seconds,
    markdown_table,
    milliseconds,
    peak_memory_bytes,
    program,
    times,
)

START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Measure:
    """One row of the table: `name` of a value of the result, and what it must be."""

    name: str
    title: str
    unit: str  # "s", "bytes", "bytes/s"
    ratio_min: float | None = None  # how many times as good as the official server
    limit: float | None = None  # the largest value of ours, in the unit
    bound: str | None = None  # the name of a value of the result that no server can exceed
    bound_part_min: float = 0  # of which ours must be this part

    @property
    def is_rate(self) -> bool:
        return self.unit == "bytes/s"

    def ratio(self, ours: float, official: float) -> float:
        """Above one: ours is better."""
        better, worse = (ours, official) if self.is_rate else (official, ours)
        return better / worse if worse > 0 else float("inf")

    def words(self, value: float) -> str:
        if self.unit == "s":
            return milliseconds(value)
        scaled = f"{value / 1e6:,.0f}"
        return f"{scaled} MB/s" if self.is_rate else f"{scaled} MB"


@dataclass(frozen=True)
class Recipe:
    """Arguments of rushes_bench_writer."""

    kind: str
    segments: int
    rows: int
    columns: int
    chunk_rows: int
    blob_bytes: int = 1

    def arguments(self) -> list[str]:
        return [
            *("--kind", self.kind),
            *("--segments", str(self.segments)),
            *("--rows", str(self.rows)),
            *("--columns", str(self.columns)),
            *("--chunk-rows", str(self.chunk_rows)),
            *("--blob-bytes", str(self.blob_bytes)),
        ]


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    full: Recipe
    quick: Recipe
    measures: list[Measure]
    run: Callable[[str, Path, bool], dict]  # engine, folder of the recordings, quick
    rounds: int = 2


def write_recordings(recipe: Recipe, folder: Path) -> Path:
    """Written once; the mark beside the folder tells whether it still is what the recipe says."""
    mark = folder.with_suffix(".json")
    wanted = json.dumps(recipe.arguments())
    if mark.exists() and mark.read_text() == wanted and folder.exists():
        return folder
    if folder.exists():
        for path in folder.glob("*.rrd"):
            path.unlink()
    subprocess.run(
        [str(program("rushes_bench_writer")), *recipe.arguments(), str(folder)], check=True
    )
    mark.write_text(wanted)
    return folder


def warm(folder: Path) -> int:
    """Read all files, so that no server pays for the disk; the bytes there are."""
    total = 0
    for path in sorted(folder.glob("*.rrd")):
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 22):
                total += len(block)
    return total


# --------------------------------------------------------------------------------------------------------------------
# Servers.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def official_program() -> str:
    """The executable itself: the console script would start it as a child of its own."""
    try:
        import rerun_cli
    except ImportError:
        sys.exit("the official server is missing: install rerun-sdk (`make setup-test`)")
    return str(Path(next(iter(rerun_cli.__path__))) / "rerun")


@contextlib.contextmanager
def server(engine: str, datasets: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """A fresh server process on the datasets: its process id and address."""
    port = free_port()
    chosen = [option for name, path in datasets.items() for option in ("-d", f"{name}={path}")]
    if engine == "ours":
        command = [str(program("rushes")), "serve", "--port", str(port), *chosen]
    else:
        command = [official_program(), "server", "--host", "127.0.0.1", "-p", str(port), *chosen]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "RERUN_ANALYTICS": "0"},
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(
                        f"{' '.join(command)} did not start:\n{log.read().decode(errors='replace')[-2000:]}"
                    )
                time.sleep(0.01)
            yield process.pid, f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def bare_cpu_rate(folder: Path, repeat: int) -> float:
    """Bytes per second of CPU of a process that reads the files and sends them over loopback to one that drops them, and does nothing else:
    blocks of 1 MiB from the page cache into one buffer, from there into the socket. A server that reads files has to do as much.
    """
    block = memoryview(bytearray(1 << 20))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = multiprocessing.get_context("fork").Process(
            target=_drop_all, args=(listener.getsockname(),), daemon=True
        )
        reader.start()
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 << 10)
            sent = 0
            began = time.process_time()
            for path in [*sorted(folder.glob("*.rrd"))] * repeat:
                with path.open("rb", buffering=0) as file:
                    while count := file.readinto(block):
                        connection.sendall(block[:count])
                        sent += count
            used = time.process_time() - began
    reader.join()
    return sent / used


def _drop_all(address: tuple[str, int]) -> None:
    block = memoryview(bytearray(1 << 20))
    with socket.create_connection(address) as connection:
        while connection.recv_into(block):
            pass


def ask(address: str, *arguments: str) -> dict:
    return call_child([str(program("rushes_bench_client")), address, *arguments], 600)


# --------------------------------------------------------------------------------------------------------------------
# Cases. Each gives lists of values by name of the measure.


def run_fetch(engine: str, folder: Path, quick: bool) -> dict:
    """Everything of one large segment: in one request, then in requests of 8 MiB as clients make them."""
    size = warm(folder)
    result: dict = {}
    with server(engine, {"bench": folder}) as (pid, address):
        # What a first answer costs once, such as threads, is not part of what a byte costs.
        for name, request_bytes in [("whole", 0), ("pieces", 8 << 20)]:
            before = cpu_seconds(pid)
            repeat = 1 if quick else 3
            answer = ask(address, "fetch", "bench", str(request_bytes), str(repeat))
            used = cpu_seconds(pid) - before
            result[f"{name}_rate"] = [size / seconds for seconds in answer["seconds"]]
            result[f"{name}_cpu_rate"] = [size * repeat / used]
            result[f"{name}_first"] = answer["first_message_seconds"]
            result["chunks"] = answer["chunks"]
        result["peak"] = [peak_memory_bytes(pid)]
    result["bare_cpu_rate"] = [bare_cpu_rate(folder, 1 if quick else 3)]
    return result


def run_registration(engine: str, folder: Path, quick: bool) -> dict:
    warm(folder)
    files = sorted(folder.glob("*.rrd"))
    with (
        server(engine, {}) as (pid, address),
        tempfile.NamedTemporaryFile("w", suffix=".txt") as names,
    ):
        names.write("\n".join(map(str, files)) + "\n")
        names.flush()
        before = cpu_seconds(pid)
        answer = ask(address, "register", "bench", names.name)
        return {
            "total": answer["seconds"],
            "per_file": [seconds / answer["files"] for seconds in answer["seconds"]],
            "cpu": [cpu_seconds(pid) - before],
            "files": answer["files"],
        }


def run_metadata(engine: str, folder: Path, quick: bool) -> dict:
    warm(folder)
    repeat = 3 if quick else 50
    with server(engine, {"bench": folder}) as (pid, address):
        ask(address, "segment_table", "bench", "1")
        before = cpu_seconds(pid)
        answer = ask(address, "segment_table", "bench", str(repeat))
        expected = len(list(folder.glob("*.rrd")))
        if answer["rows"] != expected:
            sys.exit(f"the segment table has {answer['rows']} rows for {expected} segments")
        used = cpu_seconds(pid) - before
        return {"scan": answer["seconds"], "cpu": [used / (repeat + 1)], "rows": answer["rows"]}


CASES = [
    Case(
        "fetch",
        "FetchChunks of a segment of 600 MB",
        Recipe("images", 1, 6000, 1, 10, 100_000),
        Recipe("images", 1, 60, 1, 10, 100_000),
        [
            Measure("whole_rate", "FetchChunks, 600 MB in one request", "bytes/s"),
            Measure("whole_cpu_rate", "… per second of CPU", "bytes/s", ratio_min=3),
            Measure("whole_first", "… until the first message", "s", limit=0.020),
            Measure("pieces_rate", "FetchChunks, 600 MB in requests of 8 MiB", "bytes/s"),
            # Three times the official rate is more than this machine's loopback gives to anybody who reads a file (README.md).
            Measure(
                "pieces_cpu_rate",
                "… per second of CPU",
                "bytes/s",
                bound="bare_cpu_rate",
                bound_part_min=0.7,
            ),
            Measure("pieces_first", "… until the first message", "s", limit=0.020),
            Measure("peak", "Peak memory of the server after these", "bytes"),
        ],
        run_fetch,
    ),
    Case(
        "registration",
        "registration of 800 files",
        Recipe("scalars", 800, 100, 4, 100),
        Recipe("scalars", 20, 100, 4, 100),
        [
            Measure("total", "Registration of 800 files", "s"),
            Measure("per_file", "… per file", "s", limit=0.0005),
            Measure("cpu", "… CPU", "s"),
        ],
        run_registration,
        rounds=3,
    ),
    Case(
        "metadata",
        "segment table of 400 segments",
        Recipe("scalars", 400, 100, 4, 100),
        Recipe("scalars", 20, 100, 4, 100),
        [
            Measure("scan", "ScanSegmentTable of 400 segments", "s"),
            Measure("cpu", "… CPU", "s"),
        ],
        run_metadata,
        rounds=3,
    ),
]


# --------------------------------------------------------------------------------------------------------------------
# What run.py calls.


def measure(case: Case, data: Path, quick: bool) -> dict:
    """All rounds of one case, the servers taking turns; medians by measure and engine."""
    folder = data / "server" / (f"{case.name}_quick" if quick else case.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_recordings(case.quick if quick else case.full, folder)
    values: dict = {engine: {m.name: [] for m in case.measures} for engine in ENGINES}
    for turn in range(1 if quick else case.rounds):
        for engine in ENGINES:
            result = case.run(engine, folder, quick)
            for m in case.measures:
                values[engine][m.name] += result[m.name]
                if m.bound is not None:
                    values[engine].setdefault(m.bound, []).extend(result[m.bound])
            shown = ", ".join(
                f"{m.name} {m.words(statistics.median(result[m.name]))}" for m in case.measures
            )
            print(f"  {case.name} {engine:8} round {turn + 1}: {shown}", file=sys.stderr)
    medians = {
        engine: {name: statistics.median(numbers) for name, numbers in by_name.items()}
        for engine, by_name in values.items()
    }
    return {"case": case.name, "title": case.title, "values": values, "medians": medians}


def rows_of(summary: dict) -> Iterator[tuple[Measure, float, float, float]]:
    case = next(case for case in CASES if case.name == summary["case"])
    for m in case.measures:
        ours = summary["medians"]["ours"][m.name]
        official = summary["medians"]["official"][m.name]
        yield m, ours, official, m.ratio(ours, official)


def missed_targets(summary: dict) -> list[str]:
    missed = []
    for m, ours, _, ratio in rows_of(summary):
        what = f"{summary['case']}: {m.name}"
        if m.ratio_min is not None and ratio < m.ratio_min:
            missed.append(f"{what} {ratio:.2f} times as good, target {m.ratio_min:g}")
        if m.limit is not None and ours > m.limit:
            missed.append(f"{what} {m.words(ours)}, target {m.words(m.limit)}")
        if m.bound is not None:
            bound = summary["medians"]["ours"][m.bound]
            if ours < m.bound_part_min * bound:
                missed.append(
                    f"{what} {ours / bound:.2f} of what is possible, target {m.bound_part_min:g}"
                )
    return missed


def markdown(summaries: list[dict]) -> str:
    rows = []
    for summary in summaries:
        for m, ours, official, ratio in rows_of(summary):
            target = [f"{m.ratio_min:g} x"] if m.ratio_min is not None else []
            target += [f"under {m.words(m.limit)}"] if m.limit is not None else []
            if m.bound is not None:
                bound = summary["medians"]["ours"][m.bound]
                target.append(
                    f"{m.bound_part_min:g} of {m.words(bound)}, what reading and sending alone gives; reached {ours / bound:.2f}"
                )
            rows.append(
                [
                    m.title,
                    m.words(official),
                    m.words(ours),
                    times(ratio),
                    ", ".join(target) or "-",
                ]
            )
    return markdown_table(["Measure", "Official", "Rushes", "Better by", "Target"], rows)
