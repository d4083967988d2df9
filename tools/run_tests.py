"""Runs everything `make test` promises, step by step, with the time of each.

A step that fails does not hide the ones after it, unless they need it; any failure makes the run fail. The last lines
repeat the closing line of each test program.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
PYTEST = [sys.executable, "-m", "pytest", "-q", "--color=no", "--durations=5", "-ra"]

# The closing lines of ctest and of pytest.
CLOSING = re.compile(
    r"^(\d+% tests passed, .*|=* ?\d+ (passed|failed|error|skipped).* in [\d.]+s.*)$"
)


@dataclass
class Step:
    """One command. `needs` names steps that must have passed; without them it counts as failed."""

    name: str
    command: list[str]
    timeout_s: int
    needs: list[str] = field(default_factory=list)
    wants_closing_line: bool = False
    seconds: float = 0.0
    outcome: str = "not run"
    closing: str = ""


def steps(jobs: int) -> list[Step]:
    """All steps, in order."""
    pytest_env = ["env", "PYTHONFAULTHANDLER=1"]
    return [
        Step("configure", ["cmake", "--preset", "release"], 300),
        Step("build", ["cmake", "--build", str(BUILD), "-j", str(jobs)], 1500, ["configure"]),
        Step("link", ["tools/link_build.sh", str(BUILD)], 60, ["build"]),
        Step(
            "C++ tests",
            [
                "ctest",
                "--test-dir",
                str(BUILD),
                "--output-on-failure",
                "--no-tests=error",
                "-LE",
                "soak",
            ],
            900,
            ["build"],
            True,
        ),
        Step("Python tests", [*pytest_env, *PYTEST, "tests/python"], 600, ["link"], True),
        Step(
            "conformance",
            [*pytest_env, *PYTEST, "tests/conformance"],
            900,
            ["link"],
            True,
        ),
        Step("interop tests", [*pytest_env, *PYTEST, "tests/interop"], 900, ["link"], True),
        Step(
            "benchmark programs",
            [
                "cmake",
                "--build",
                str(BUILD),
                "-j",
                str(jobs),
                "--target",
                "bench_tools",
                "rushes_micro_benchmark",
            ],
            600,
            ["build"],
        ),
        Step(
            "benchmark tests",
            [*pytest_env, *PYTEST, "tests/benchmarks"],
            300,
            ["link", "benchmark programs"],
            True,
        ),
        Step("official SDKs", [*pytest_env, *PYTEST, "tests/sdks"], 600, ["link"], True),
        Step("wheel", ["tools/make_wheel.sh"], 600, ["build"]),
        Step(
            "packaging tests",
            [*pytest_env, *PYTEST, "tests/packaging"],
            1200,
            ["wheel", "link"],
            True,
        ),
    ]


def run(step: Step) -> None:
    """Runs one step, its output passed on as it comes; fills in how it went."""
    print(f"\n=== {step.name}", flush=True)
    start = time.monotonic()
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(step.timeout_s, stop)
    timer.start()
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            if CLOSING.match(line.strip()):
                step.closing = line.strip()
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    finally:
        timer.cancel()
    step.seconds = time.monotonic() - start
    if timed_out.is_set():
        step.outcome = f"FAILED: stopped after {step.timeout_s} s"
    elif code != 0:
        step.outcome = f"FAILED: exit code {code}"
    elif step.wants_closing_line and not step.closing:
        step.outcome = "FAILED: it did not say how many tests ran"
    else:
        step.outcome = "ok"
    print(f"=== {step.name}: {step.outcome}, {step.seconds:.1f} s", flush=True)


def main() -> int:
    """Returns 0 if every step passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--only", help="run only steps whose name contains this, with what they need"
    )
    args = parser.parse_args()

    start = time.monotonic()
    plan = steps(args.jobs)
    if args.only:
        wanted = {s.name for s in plan if args.only in s.name}
        for step in reversed(plan):
            if step.name in wanted:
                wanted.update(step.needs)
        plan = [s for s in plan if s.name in wanted]
    passed: set[str] = set()
    for step in plan:
        lacking = [need for need in step.needs if need not in passed]
        if lacking:
            step.outcome = f"FAILED: not run, since {', '.join(lacking)} failed"
            continue
        run(step)
        if step.outcome == "ok":
            passed.add(step.name)

    print(f"\n=== summary, {time.monotonic() - start:.0f} s in all")
    for step in plan:
        print(f"{step.name:<16} {step.seconds:7.1f} s  {step.outcome}")
    failed = [s.name for s in plan if s.outcome != "ok"]
    print(
        f"{len(plan) - len(failed)} of {len(plan)} steps ok"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    for step in plan:
        if step.closing:
            print(step.closing)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
