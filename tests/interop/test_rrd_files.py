"""Files of our writer, judged by the official tools; damaged files, judged by both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLE = Path(
    os.environ.get("RUSHES_EXECUTABLE", ROOT / "python" / "rushes" / "bin" / "rushes")
)
TOOL = EXECUTABLE.resolve().parent / "rushes_rrd_tool"
RERUN = Path(sys.executable).parent / "rerun"

RECORDINGS = sorted(
    [
        *(ROOT / "tests/data").glob("sdk_*/*.r[rb][dl]"),
        *(ROOT / "tests/data/rrd").glob("*.rrd"),
        *(ROOT / "recordings/demo").glob("*.rrd"),
        *(ROOT / "recordings/howto").glob("*.rrd"),
    ]
)
READABLE = [path for path in RECORDINGS if path.parent.name != "sdk_0.22"]
NAMES = [f"{path.parent.name}-{path.name}" for path in READABLE]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False
    )


def tool(*arguments: str | Path) -> str:
    done = run(TOOL, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rerun_rrd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(RERUN, "rrd", *arguments)


def chunks(path: Path) -> list[str]:
    return [line for line in tool("list", path).splitlines() if line.startswith("chunk ")]


@pytest.mark.parametrize("path", READABLE, ids=NAMES)
@pytest.mark.parametrize("form", ["lz4", "plain"])
def test_official_tools_accept_what_we_write(path: Path, form: str, tmp_path: Path) -> None:
    out = tmp_path / path.name
    tool("rewrite", path, out, *(["--plain"] if form == "plain" else []))
    expected = chunks(path)
    assert chunks(out) == expected

    verified = rerun_rrd("verify", out)
    assert verified.returncode == 0, verified.stderr
    if expected:
        assert "1 file verified without error" in verified.stdout + verified.stderr

    stats = rerun_rrd("stats", out)
    assert stats.returncode == 0, stats.stderr
    printed = rerun_rrd("print", "-vvv", out)
    assert printed.returncode == 0, printed.stderr
    for line in expected:
        assert line.split()[1].lower() in printed.stdout.lower()

    # Only files of one recording can be compared.
    if expected and rerun_rrd("compare", path, path).returncode == 0:
        compared = rerun_rrd("compare", path, out)
        assert compared.returncode == 0, compared.stdout + compared.stderr


def test_files_without_a_footer_are_accepted(tmp_path: Path) -> None:
    path = ROOT / "recordings/demo/episode_000.rrd"
    out = tmp_path / "no_footer.rrd"
    tool("rewrite", path, out, "--no-footer")
    assert out.stat().st_size < path.stat().st_size
    assert chunks(out) == chunks(path)
    assert rerun_rrd("compare", path, out).returncode == 0


def test_optimised_and_split_files_are_read(tmp_path: Path) -> None:
    path = ROOT / "recordings/demo/episode_000.rrd"
    optimised = tmp_path / "optimised.rrd"
    done = rerun_rrd("optimize", path, "-o", optimised)
    assert done.returncode == 0, done.stderr
    assert 0 < len(chunks(optimised)) <= len(chunks(path))
    assert "warning" not in tool("list", optimised)

    merged = tmp_path / "merged.rrd"
    done = rerun_rrd("merge", path, ROOT / "recordings/demo/episode_001.rrd", "-o", merged)
    assert done.returncode == 0, done.stderr
    listed = tool("list", merged)
    assert listed.count("store recording rushes_demo episode_00") == 2
    assert len(chunks(merged)) == len(chunks(path)) + len(
        chunks(ROOT / "recordings/demo/episode_001.rrd")
    )


@pytest.mark.parametrize("missing", [1, 40, 3000, 100_000])
def test_what_is_left_of_a_cut_file_is_what_the_official_reader_finds(
    missing: int, tmp_path: Path
) -> None:
    path = ROOT / "recordings/demo/episode_000.rrd"
    cut = tmp_path / "cut.rrd"
    shutil.copy(path, cut)
    with cut.open("r+b") as file:
        file.truncate(path.stat().st_size - missing)
    ours = {line.split()[1].lower() for line in chunks(cut)}
    printed = rerun_rrd("print", "-vvv", cut)
    found = {word for word in ours if word in printed.stdout.lower()}
    assert found == ours
    lost = {line.split()[1].lower() for line in chunks(path)} - ours
    assert not [word for word in lost if word in printed.stdout.lower()]
    if missing > 40:
        assert "warning" in tool("list", cut)
