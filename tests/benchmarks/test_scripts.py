"""The benchmark scripts run, on very little data: what they print is looked at, how long anything took is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import micro  # noqa: E402
import page  # noqa: E402
import profiling  # noqa: E402
import query_cases  # noqa: E402
import scaling  # noqa: E402
import server_cases  # noqa: E402
from svg_chart import Series, line_chart  # noqa: E402


def run_script(name: str, *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert finished.returncode == 0, f"{finished.stdout[-2000:]}\n{finished.stderr[-2000:]}"
    return finished.stdout


def row_of(text: str, start: str) -> list[str]:
    """The cells of the one table row that begins like this."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    assert len(rows) == 1, f"{len(rows)} rows begin with {start!r} in\n{text}"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def test_bench_compares_engines_parquet_and_servers() -> None:
    text = run_script("run.py", "--quick", "--cases", "interleaved,fetch,registration,metadata")
    engines, parquet = [
        line for line in text.splitlines() if line.startswith("| 40 interleaved signals, filled")
    ]
    assert engines.endswith("| equal |")
    assert parquet.count(" x / ") == 3  # pyarrow, DuckDB, Polars
    assert "The values are the same." in text
    assert "MB/s" in row_of(text, "FetchChunks, 600 MB in one request")[1]
    assert row_of(text, "… per file")[-1] == "under 0.50 ms"
    result = json.loads((ROOT / "build" / "bench-quick.json").read_text())
    assert result["broken"] == []
    assert [case["case"] for case in result["cases"]] == ["interleaved"]
    assert [case["case"] for case in result["servers"]] == ["fetch", "registration", "metadata"]
    for case in result["servers"]:
        for engine in "ours", "official":
            assert all(value > 0 for value in case["medians"][engine].values()), case


def test_bench_measures_what_more_may_be_asked() -> None:
    text = run_script("run.py", "--quick", "--engine", "ours", "--cases", "aligned")
    for words in query_cases.EXTRAS.values():
        assert row_of(text, words)[-1] == "1.25"


def test_bench_rejects_unknown_cases() -> None:
    finished = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--cases", "aligned,nothing"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 2
    assert "unknown cases ['nothing']" in finished.stderr


def test_scaling_measures_each_point() -> None:
    text = run_script("scaling.py", "--quick", "--axes", "filled_rows,threads")
    assert "## Time against rows, interleaved and filled" in text
    assert "## Time against threads" in text
    result = json.loads((ROOT / "build" / "scaling-quick.json").read_text())
    wanted = {axis.name: axis for axis in scaling.axes(True)}
    for name in "filled_rows", "threads":
        assert [point["x"] for point in result[name]] == [x for x, _ in wanted[name].points]
        assert all(
            point["kept"] > 0 and point["cold"] > 0 and point["floor"] > 0 for point in result[name]
        )
    # Signals at times of their own: nearly every row of each makes a row of the table.
    for point in result["filled_rows"]:
        assert 0.9 * point["x"] * 21 < point["cells"] <= point["x"] * 21


def test_steps_are_judged_between_neighbours() -> None:
    def points(*ns_per_cell: float) -> list[scaling.Point]:
        both = [{"kept": ns * 1e-6, "cold": ns * 1e-6} for ns in ns_per_cell]
        return [
            scaling.Point(i + 1, 1_000, seconds, seconds, 2e-6 * (i + 1))
            for i, seconds in enumerate(both)
        ]

    axis = scaling.Axis("rows", "rows", "nothing", [])
    table, uneven = scaling.describe(axis, points(10, 14, 22, 12))
    assert "1.40 |" in table
    assert "1.57 !" in table
    assert table.splitlines()[3].endswith("| 2.00 |"), "of the files alone"
    assert [f"{step:.2f}" for _, step in uneven] == ["1.57", "1.57", "0.55", "0.55"]
    assert uneven[0][0].startswith("rows 2 to 3, ")


def test_micro_benchmarks_report_their_share_of_memory() -> None:
    text = run_script("micro.py", "--quick")
    for stage in micro.STAGES.values():
        assert f"| {stage} |" in text
    shares = [line.split("|")[-2].strip() for line in text.splitlines() if line.startswith("| ")]
    assert all(share.endswith("%") for share in shares if share not in ("Of memory", "---"))


@pytest.mark.skipif(shutil.which("perf") is None, reason="perf is for `make profile` only")
def test_profile_names_symbols() -> None:
    probe = subprocess.run(
        ["perf", "record", "-q", "-e", "cpu-clock", "-o", "/dev/null", "true"],
        capture_output=True,
        timeout=60,
    )
    if probe.returncode != 0:
        pytest.skip("perf is not allowed here")
    text = run_script("profiling.py", "--quick", "--cases", "segments", "--top", "3")
    cells = row_of(text, "600 small segments")
    assert cells[1].endswith("%")
    assert cells[2].startswith("`")


def test_perf_reports_are_parsed() -> None:
    text = """# Overhead|Shared Object|Symbol
    60.00%|libc.so.6                             |[.] __memcmp_evex_movbe
    10.50%|_core.cpython-311-x86_64-linux-gnu.so |[.] rushes::(anonymous namespace)::Gather<std::vector<int> >(int)
     9.00%|_internal.abi3.so                     |[.] 0x0000000006cd2002
     8.00%|_internal.abi3.so                     |[.] 0x0000000002121f3a
     1.00%|[kernel.kallsyms]                     |[k] clear_page_erms
"""
    lines = "\n".join(line.strip() for line in text.splitlines())
    assert profiling.parse_report(lines) == [
        profiling.Symbol(60.0, "libc", "__memcmp_evex_movbe"),
        profiling.Symbol(17.0, "_internal", "(no symbols)"),
        profiling.Symbol(10.5, "_core", "rushes::Gather"),
        profiling.Symbol(1.0, "kernel", "clear_page_erms"),
    ]


def test_missed_server_targets_are_named() -> None:
    better = {"whole_rate": 9e8, "whole_cpu_rate": 2e9, "whole_first": 0.004, "peak": 1e8}
    better |= {"pieces_rate": 9e8, "pieces_cpu_rate": 2e9, "pieces_first": 0.021}
    worse = dict.fromkeys(better, 1e9)
    better |= {"bare_cpu_rate": 4e9}
    summary = {"case": "fetch", "medians": {"ours": better, "official": worse}}
    assert server_cases.missed_targets(summary) == [
        "fetch: whole_cpu_rate 2.00 times as good, target 3",
        "fetch: pieces_cpu_rate 0.50 of what is possible, target 0.7",
        "fetch: pieces_first 21.0 ms, target 20.0 ms",
    ]


def test_missed_query_targets_are_named() -> None:
    def summary(name: str, scan_ratio: float, first_batch_s: float = 0.01) -> dict:
        ours = {"first_batch_median": first_batch_s, "scan_median": 0.01}
        return {
            "case": name,
            "scan_ratio": scan_ratio,
            "first_batch_ratio": 6,
            "engines": {"ours": ours},
        }

    cases = {case.name: case for case in query_cases.CASES}
    extras = {"plain": 0.010, **dict.fromkeys(query_cases.EXTRAS, 0.012)}
    aligned = summary("aligned", 31) | {"extras": extras}
    assert query_cases.missed_targets(cases["aligned"], aligned) == []
    extras["timeline"] = 0.013
    assert query_cases.missed_targets(cases["aligned"], aligned) == [
        "aligned: 1.30 times as long with a second timeline, target 1.25",
    ]
    assert query_cases.missed_targets(
        cases["two_timelines"], summary("two_timelines", 29, 0.06)
    ) == [
        "two_timelines: scan 29.0 times as fast, target 30",
        "two_timelines: first batch after 60.0 ms, target 50.0 ms",
    ]


def test_page_parts_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    begin, end = page.markers("micro")
    path.write_text(f"above\n{begin}\nold\n{end}\nbelow\n")
    page.update("micro", "new", path)
    page.update("micro", "newer", path)
    assert path.read_text() == f"above\n{begin}\n\nnewer\n\n{end}\nbelow\n"
    with pytest.raises(ValueError, match="once each"):
        page.update("scaling", "new", path)


def test_the_page_has_a_place_for_each_script() -> None:
    text = page.PAGE.read_text()
    for name in "bench", "scaling", "profile", "micro":
        for marker in page.markers(name):
            assert text.count(marker) == 1, marker


def test_charts_are_svg_with_a_mark_per_point() -> None:
    series = [Series("a < b", [(1, 10), (10, 12), (100, 90)]), Series("c", [(1, 3), (100, 3)])]
    chart = ElementTree.fromstring(line_chart("Title & more", "x", "y", series))
    namespace = "{http://www.w3.org/2000/svg}"
    circles = chart.findall(f"{namespace}circle")
    assert len(circles) == 5
    heights = [float(circle.attrib["cy"]) for circle in circles]
    assert heights[0] > heights[1] > heights[2]  # larger is higher
    assert heights[3] == heights[4]
    assert {"Title & more", "a < b"} <= {text.text for text in chart.iter(f"{namespace}text")}
    with pytest.raises(ValueError, match="positive"):
        line_chart("empty", "x", "y", [Series("none", [(1, 0)])])
