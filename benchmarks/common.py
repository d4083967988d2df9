"""What the benchmark scripts share: paths, child processes, words about the machine. Imports nothing heavy."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BENCHMARKS = REPOSITORY / "benchmarks"
BUILD = REPOSITORY / "build"
DATA = BUILD / "bench-data"
ENGINES = ["ours", "official"]
NAMES = {"ours": "Rushes", "official": "Official"}
OFFICIAL_VERSION = "0.41.0"
_load_at_start = os.getloadavg()[0]


def program(name: str) -> Path:
    """A program of the build directory; the exit message says how to make it."""
    path = BUILD / "release" / "bin" / name
    if not path.exists():
        sys.exit(f"{path} is missing: run `make bench-tools`")
    return path


def peak_memory_bytes(pid: int | str = "self") -> int:
    """The high-water mark of a process image. getrusage's number would include what the parent had before exec."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_seconds(pid: int) -> float:
    """What another process used so far, user and system, in all of its threads."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it


def script(name: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """The command that runs one of the scripts beside this one."""
    return [python, str(BENCHMARKS / name), *arguments]


def call_child(
    command: list[str], timeout_seconds: float, environment: dict[str, str] | None = None
) -> dict:
    """Run a process that prints one line of JSON last; its failure ends the benchmark."""
    finished = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env={**os.environ, "RERUN_ANALYTICS": "0", **(environment or {})},
    )
    if finished.returncode != 0 or not finished.stdout.strip():
        sys.exit(
            f"benchmark process failed ({finished.returncode}): {' '.join(command[1:])}\n{finished.stderr[-3000:]}"
        )
    return json.loads(finished.stdout.strip().splitlines()[-1])


def finish_child(result: dict) -> None:
    """Print the result and end at once: an abandoned stream need not be drained."""
    print(json.dumps(result), flush=True)
    os._exit(0)


def machine_words() -> str:
    """Cores and processor, and a warning if the machine had other work when this process began."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    words = f"{os.cpu_count()} cores of {model}"
    if _load_at_start > 0.5 * (os.cpu_count() or 1):
        words += f", beside other work (load {_load_at_start:.1f})"
    return words


def milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    value = seconds * 1e3
    digits = 2 if value < 1 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} ms"


def megabytes(count: float | None) -> str:
    return "-" if count is None else f"{count / 1e6:,.0f} MB"


def times(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:,.{2 if ratio < 1 else 1 if ratio < 100 else 0}f} x"


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
