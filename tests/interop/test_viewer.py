"""The official viewer shows a segment of our server: its screenshot has the recording's colours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

rr = pytest.importorskip("rerun")
numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
from rerun.catalog import CatalogClient  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "recordings" / "demo"
COLOURS = json.loads((DEMO / "colours.json").read_text())


def screenshot(url: str, path: Path) -> numpy.ndarray:
    """What the viewer shows of `url`, as RGB."""
    viewer = Path(sys.executable).parent / "rerun"
    command = str(viewer) if viewer.exists() else shutil.which("rerun")
    assert command, "rerun-sdk brings the viewer"
    done = subprocess.run(
        [
            command,
            "--headless",
            "--port",
            "auto",
            "--window-size",
            "1600x1000",
            "--screenshot-to",
            str(path),
            url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "RERUN_ANALYTICS": "0"},
    )
    assert path.exists(), done.stdout + done.stderr
    return numpy.asarray(Image.open(path).convert("RGB")).astype(int)


def pixels_of_colours(image: numpy.ndarray) -> dict[str, int]:
    counts = {}
    for camera, colours in COLOURS["cameras"].items():
        for colour in colours:
            near = abs(image - numpy.array(colour)).max(axis=2) <= COLOURS["tolerance"]
            counts[f"{camera} {colour}"] = int(near.sum())
    return counts


def shows_the_colours(url: str, folder: Path, attempts: int) -> tuple[bool, dict[str, int]]:
    """Whether a picture has them all, and what the last one has.

    The viewer takes its picture after so many frames, whether or not the data has arrived by then, so it gets several attempts.
    """
    for attempt in range(attempts):
        counts = pixels_of_colours(screenshot(url, folder / f"{attempt}.png"))
        if all(count >= COLOURS["pixels_min"] for count in counts.values()):
            return True, counts
    return False, counts


def test_shows_a_segment(serve, tmp_path: Path) -> None:
    server = serve(DEMO)
    dataset = CatalogClient(server.url).get_dataset("demo")
    shown, counts = shows_the_colours(dataset.segment_url("episode_001"), tmp_path, attempts=20)
    assert len(counts) == 4
    assert shown, counts


def test_the_check_can_fail(serve, tmp_path: Path) -> None:
    """The same on a segment without images."""
    server = serve()
    path = tmp_path / "plain.rrd"
    with rr.RecordingStream("rushes_test", recording_id="plain") as recording:
        recording.save(path)
        recording.set_time("frame_nr", sequence=0)
        recording.log("/nothing", rr.TextLog("no colours here"))
    dataset = CatalogClient(server.url).create_dataset("plain")
    dataset.register([path.as_uri()]).wait()
    shown, counts = shows_the_colours(dataset.segment_url("plain"), tmp_path, attempts=3)
    assert not shown, counts
