"""Recordings without a server: the same answers, the same engine, nothing listening."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rushes as rr

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "recordings" / "demo"


def test_a_directory_answers_as_a_server_does(demo: rr.catalog.DatasetEntry) -> None:
    local = rr.open_recordings(DEMO)
    assert local.name == "demo"
    assert local.segment_ids() == demo.segment_ids()
    assert local.schema() == demo.schema()
    for fill in (False, True):
        assert (
            local.reader("frame_nr", fill_latest_at=fill)
            .to_arrow_table()
            .equals(demo.reader("frame_nr", fill_latest_at=fill).to_arrow_table())
        )
    some = local.filter_segments(["episode_001"]).filter_contents("/joints/**")
    assert 0 < some.scan(index="frame_nr").count_rows() < local.scan(index="frame_nr").count_rows()


@pytest.mark.parametrize("form", [str, Path, lambda p: p.as_uri(), lambda p: [p]])
def test_one_recording(form) -> None:
    path = DEMO / "episode_002.rrd"
    assert rr.open_recordings(form(path)).segment_ids() == ["episode_002"]


def test_nothing_need_be_kept_alive() -> None:
    frame = rr.open_recordings([DEMO / "episode_000.rrd", DEMO / "episode_001.rrd"]).reader(
        "frame_nr"
    )
    gc.collect()
    assert frame.count() > 0


def test_nothing_listens() -> None:
    code = """
import os, sys, rushes
assert rushes.open_recordings(sys.argv[1]).reader("frame_nr").count() > 0
print([t for t in (os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")[:-1]) if t.startswith("socket")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(DEMO)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_more_recordings_can_be_added(howto_files: list[Path]) -> None:
    dataset = rr.open_recordings(howto_files[0], name="both")
    dataset.register([howto_files[1]]).wait()
    assert dataset.segment_ids() == ["recording_001", "recording_002"]


def test_bad_input(tmp_path: Path, howto_files: list[Path]) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        rr.open_recordings(tmp_path / "missing.rrd")
    with pytest.raises(ValueError, match=r"no \.rrd file"):
        rr.open_recordings(tmp_path)
    with pytest.raises(TypeError, match="int"):
        rr.open_recordings(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        rr.open_recordings([])
    text = tmp_path / "text.rrd"
    text.write_text("this is not a recording")
    with pytest.raises(ValueError, match=r"text\.rrd"):
        rr.open_recordings(text)
    with pytest.raises(ValueError, match="recording_001"):
        rr.open_recordings([howto_files[0], shutil.copy(howto_files[0], tmp_path / "again.rrd")])
    with pytest.raises(ValueError, match="name"):
        rr.open_recordings(howto_files[0], name="a/b")
    cut = tmp_path / "cut.rrd"
    cut.write_bytes(howto_files[0].read_bytes()[:-40])
    assert rr.open_recordings(cut).segment_ids() == ["recording_001"]
    odd = tmp_path / "what? ü.rrd"
    shutil.copy(howto_files[0], odd)
    assert rr.open_recordings(odd).name == "what_ _"
