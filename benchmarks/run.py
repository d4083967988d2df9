"""Compare Rushes with the official engine and server, rerun-sdk 0.41.0: same recordings, same calls, same run.

    python benchmarks/run.py [--quick] [--no-check] [--cases aligned,fetch]

Query cases: the two engines take turns, each in a fresh process that starts a server on the recordings, connects a
client to it and reads a dataset into an Arrow table. A difference that a known defect of the official engine explains is
verified cell by cell and named; any other difference fails the run. The same tables are then read from Parquet by
pyarrow, DuckDB and Polars.

Server cases: the two servers take turns, each in a fresh process, asked by the same client.

Exit code 1: a table differs without explanation, or (unless --no-check) a target is missed. Results also go to
build/bench.json and build/bench.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import query_cases
import server_cases
from common import BENCHMARKS, BUILD, DATA, ENGINES, OFFICIAL_VERSION, machine_words

QUERY_NAMES = [case.name for case in query_cases.CASES]
SERVER_NAMES = [case.name for case in server_cases.CASES]


def run_queries(names: list[str], arguments: argparse.Namespace) -> tuple[str, dict]:
    """Measure the query cases; the text of their tables, and what goes into the JSON file."""
    pythons = {"ours": arguments.python, "official": arguments.official_python or arguments.python}
    engines = [arguments.engine] if arguments.engine else ENGINES
    sets = [name for case in query_cases.CASES if case.name in names for name in case.folders]
    generator = [
        pythons["official"],
        str(BENCHMARKS / "recordings.py"),
        str(arguments.data),
        "--sets",
        ",".join(sets),
        *(["--quick"] if arguments.quick else []),
    ]
    data = Path(
        subprocess.run(generator, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    )
    summaries: list[dict] = []
    missed: list[str] = []
    broken: list[str] = []
    for case in query_cases.CASES:
        if case.name not in names:
            continue
        print(f"{case.name}: {case.title}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=data) as folder:
            summary = query_cases.measure(
                case, engines, pythons, data, arguments.quick, Path(folder)
            )
        summaries.append(summary)
        if len(engines) == 2:
            missed += query_cases.missed_targets(case, summary)
            broken += [f"{case.name}: {problem}" for problem in summary["tables"]["problems"]]
    text = (
        f"Measured on {machine_words()}; medians; official is rerun-sdk {OFFICIAL_VERSION}. "
        "Memory is the peak of the whole process: server, client and table.\n\n"
        + query_cases.markdown(summaries)
    )
    return text, {"cases": summaries, "missed": missed, "broken": broken}


def run_servers(names: list[str], arguments: argparse.Namespace) -> tuple[str, dict]:
    summaries: list[dict] = []
    missed: list[str] = []
    for case in server_cases.CASES:
        if case.name not in names:
            continue
        print(f"{case.name}: {case.title}", file=sys.stderr)
        summary = server_cases.measure(case, arguments.data, arguments.quick)
        summaries.append(summary)
        missed += server_cases.missed_targets(summary)
    text = (
        f"Servers, asked by the same client on the same machine ({machine_words()}); official is `rerun server` "
        f"{OFFICIAL_VERSION}. CPU is that of the server's process.\n\n"
        + server_cases.markdown(summaries)
    )
    return text, {"servers": summaries, "missed": missed}


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
        "--cases", help="comma-separated names: " + ", ".join([*QUERY_NAMES, *SERVER_NAMES])
    )
    parser.add_argument(
        "--engine", choices=ENGINES, help="only this engine; query cases only, nothing is compared"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter that has both packages"
    )
    parser.add_argument("--official-python", help="another interpreter for the official package")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of the recordings (default %(default)s)"
    )
    arguments = parser.parse_args()

    everything = QUERY_NAMES if arguments.engine else [*QUERY_NAMES, *SERVER_NAMES]
    names = arguments.cases.split(",") if arguments.cases else everything
    unknown = sorted(set(names) - set(everything))
    if unknown:
        parser.error(f"unknown cases {unknown}; there are {', '.join(everything)}")
    started = time.monotonic()
    texts: list[str] = []
    if arguments.quick:
        texts.append(
            "A smoke test on small recordings: the sizes that titles name are those of the full run.\n"
        )
    result: dict = {"machine": machine_words(), "missed": [], "broken": []}
    for run, known in [(run_queries, QUERY_NAMES), (run_servers, SERVER_NAMES)]:
        chosen = [name for name in names if name in known]
        if not chosen:
            continue
        text, part = run(chosen, arguments)
        texts.append(text)
        result["missed"] += part.pop("missed")
        result["broken"] += part.pop("broken", [])
        result.update(part)

    BUILD.mkdir(exist_ok=True)
    suffix = "-quick" if arguments.quick else ""
    (BUILD / f"bench{suffix}.json").write_text(json.dumps(result, indent=1) + "\n")
    (BUILD / f"bench{suffix}.md").write_text("\n".join(texts))
    print("\n".join(texts))
    print(f"{len(names)} cases in {time.monotonic() - started:.0f} s")
    for words in result["broken"]:
        print(f"TABLES DIFFER  {words}")
    for words in result["missed"]:
        print(f"TARGET MISSED  {words}")
    if not arguments.engine and not result["broken"] and not result["missed"]:
        print("All targets met; tables equal or explained.")
    is_checked = not (arguments.no_check or arguments.quick)
    sys.exit(1 if result["broken"] or (result["missed"] and is_checked) else 0)


if __name__ == "__main__":
    main()
