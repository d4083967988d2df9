"""Where the time of each query case goes: `perf record` around warm scans, the top symbols of each.

    python benchmarks/profiling.py [--quick] [--cases aligned] [--top 5] [--write]

Needs perf (Debian: linux-perf; `make profile` installs it) and the right to use it: be root, or set kernel.perf_event_paranoid
to 2 or less. --write puts the tables into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import page
import query_cases
from common import DATA, machine_words, markdown_table, milliseconds, script

import recordings

SAMPLES_PER_S = 1999


@dataclass(frozen=True)
class Symbol:
    share: float  # percent of all samples
    library: str
    name: str


def profiled_child(
    case: query_cases.Case, data: Path, scans: int, control: str, answer: str
) -> None:
    """Scans once to fill the caches, lets perf begin, scans `scans` times, lets perf end; seconds on stdout."""
    import rushes

    server, dataset = query_cases.open_dataset(rushes, case, data)

    def scan():
        return dataset.reader(index=case.index, fill_latest_at=case.fill).to_arrow_table()

    table = scan()
    commands = os.open(control, os.O_WRONLY)
    answers = os.open(answer, os.O_RDONLY)

    def tell(command: bytes) -> None:
        os.write(commands, command)
        os.read(answers, 16)

    tell(b"enable\n")
    started = time.perf_counter()
    for _ in range(scans):
        table = None
        table = scan()
    seconds = time.perf_counter() - started
    tell(b"disable\n")
    del table, server
    print(seconds / scans, flush=True)
    os._exit(0)


def record(case: query_cases.Case, data: Path, scans: int, folder: Path) -> tuple[Path, float]:
    """Run the child under perf; the file of samples, and seconds a scan."""
    control, answer, samples = folder / "control", folder / "answer", folder / "perf.data"
    os.mkfifo(control)
    os.mkfifo(answer)
    child = script(
        "profiling.py",
        *("--child", case.name),
        *("--data", str(data)),
        *("--scans", str(scans)),
        *("--fifos", str(control), str(answer)),
    )
    # A clock, since counters of the processor are not to be had in many virtual machines.
    command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "-D", "-1"]
    command += ["--control", f"fifo:{control},{answer}", "-o", str(samples), "--", *child]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=900)
    lines = [line for line in finished.stdout.splitlines() if re.fullmatch(r"[\d.e-]+", line)]
    if finished.returncode != 0 or not lines:
        sys.exit(
            f"perf record failed ({finished.returncode}). It must be allowed: be root, or set kernel.perf_event_paranoid to 2 or less.\n"
            f"{finished.stderr[-2000:]}"
        )
    return samples, float(lines[-1])


def shorten(name: str) -> str:
    """A symbol without template arguments, parameters and the kernel's mark."""
    name = re.sub(r"^\[[.k]\] ", "", name)
    name = name.replace("(anonymous namespace)::", "")
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return re.sub(r"\(.*$", "", name).strip() or "?"


def parse_report(text: str) -> list[Symbol]:
    """Lines `12.34%|library|[.] symbol`; what has no symbol is added up by library. The largest come first."""
    shares: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if line.startswith("#") or len(fields) < 3 or not re.fullmatch(r"[\d.]+%", fields[0]):
            continue
        name = shorten(fields[2])
        if re.fullmatch(r"0x[0-9a-f]+", name):
            name = "(no symbols)"
        library = re.sub(r"\.cpython-[\w-]+|\.so[\d.]*$|\.abi3", "", fields[1]).strip("[]")
        key = (library.replace("kernel.kallsyms", "kernel"), name)
        shares[key] = shares.get(key, 0.0) + float(fields[0][:-1])
    found = [Symbol(share, *key) for key, share in shares.items()]
    return sorted(found, key=lambda symbol: -symbol.share)


def report(samples: Path) -> list[Symbol]:
    command = ["perf", "report", "-i", str(samples), "--stdio", "--no-children", "-g", "none"]
    command += ["-F", "overhead,dso,symbol", "-t", "|"]
    return parse_report(
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    )


def main() -> None:
    names = [case.name for case in query_cases.CASES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small recordings, few scans")
    parser.add_argument("--cases", help="comma-separated: " + ", ".join(names))
    parser.add_argument("--top", type=int, default=5, help="symbols of each case")
    parser.add_argument("--seconds", type=float, default=5, help="of scanning per case, about")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scans", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fifos", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    by_name = {case.name: case for case in query_cases.CASES}
    if arguments.child:
        return profiled_child(
            by_name[arguments.child], arguments.data, arguments.scans, *arguments.fifos
        )
    if shutil.which("perf") is None:
        sys.exit("perf is not installed: `make profile` does so (Debian: linux-perf)")
    wanted = arguments.cases.split(",") if arguments.cases else names
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"unknown cases {unknown}; there are {', '.join(names)}")
    if arguments.write and (arguments.cases or arguments.quick):
        parser.error("--write needs all cases with all of their data")

    data = recordings.generate(
        DATA, quick=arguments.quick, names=[by_name[name].recordings for name in wanted]
    )
    rows = []
    for name in wanted:
        case = by_name[name]
        with tempfile.TemporaryDirectory() as folder:
            scans = 3
            if not arguments.quick:
                # As many scans as fill the time, from a short run.
                with tempfile.TemporaryDirectory() as probe:
                    _, seconds = record(case, data, 3, Path(probe))
                scans = max(3, round(arguments.seconds / seconds))
            samples, seconds = record(case, data, scans, Path(folder))
            symbols = report(samples)
        if not symbols:
            sys.exit(f"{name}: perf saw no samples")
        print(f"{name}: {scans} scans of {milliseconds(seconds)}", file=sys.stderr)
        for number, symbol in enumerate(symbols[: arguments.top]):
            first = f"{case.title}, {milliseconds(seconds)} a scan" if number == 0 else ""
            rows.append([first, f"{symbol.share:.1f} %", f"`{symbol.name}`", symbol.library])
    text = f"Measured on {machine_words()} by `perf` ({SAMPLES_PER_S} samples a second of each thread's CPU time).\n\n"
    text += markdown_table(["Case", "Samples", "Symbol", "Of"], rows)
    print(text)
    if arguments.write:
        page.update("profile", text)


if __name__ == "__main__":
    main()
