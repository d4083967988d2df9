"""Generate the recordings that the benchmarks read, with the official logging SDK.

    python benchmarks/recordings.py [--quick] [--sets aligned,segments] [FOLDER]      default FOLDER: build/bench-data

Each set is written once and found again by its mark file; delete the folder to start afresh. The content is a pure
function of this script (row ids, chunk ids and `log_time` aside).

    aligned/        1 recording, 20 scalar signals that share every one of 400,000 index values, in chunks of 8,000 rows
    aligned_static/ a second layer of that recording: a static number and a static text
    two_timelines/  the same with a second timeline, as every recording logged row by row has
    interleaved/    1 recording, 40 scalar signals at 40 different rates, 10,000 rows each on average, hardly ever at the same time
    episodes/       20 robot episodes: 7 joints at 50 Hz, two cameras at 10 Hz with JPEGs of about 30 kB, text, static model
    segments/       600 recordings of 100 rows in 4 columns
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_FOLDER = REPOSITORY / "build" / "bench-data"
APPLICATION_ID = "rushes_bench"
RECIPE = 4  # raise it when a recipe changes, so that old files are written anew

FULL = {
    "aligned": {"rows": 400_000, "columns": 20, "chunk_rows": 8_000},
    "aligned_static": {},
    "two_timelines": {"rows": 400_000, "columns": 20, "chunk_rows": 8_000},
    "interleaved": {"signals": 40, "rows": 10_000, "chunk_rows": 1_000},
    "episodes": {"episodes": 20, "seconds": 10, "jpeg_bytes": 30_000},
    "segments": {"segments": 600, "rows": 100, "columns": 4},
}
QUICK = {
    "aligned": {"rows": 20_000, "columns": 20, "chunk_rows": 8_000},
    "aligned_static": {},
    "two_timelines": {"rows": 20_000, "columns": 20, "chunk_rows": 8_000},
    "interleaved": {"signals": 40, "rows": 100, "chunk_rows": 50},
    "episodes": {"episodes": 3, "seconds": 2, "jpeg_bytes": 30_000},
    "segments": {"segments": 30, "rows": 100, "columns": 4},
}


def open_recording(path: Path):
    import rerun as rr

    recording = rr.RecordingStream(APPLICATION_ID, recording_id=path.stem)
    recording.save(path)
    return recording


def close_recording(recording) -> None:
    recording.flush()
    recording.disconnect()


def write_aligned(
    folder: Path, rows: int, columns: int, chunk_rows: int, *, with_clock: bool = False
) -> None:
    """Every signal has a value at every frame: the case a table engine should answer by copying."""
    import rerun as rr

    rng = np.random.default_rng(1)
    recording = open_recording(folder / "aligned.rrd")
    for start in range(0, rows, chunk_rows):
        frames = np.arange(start, min(start + chunk_rows, rows))
        times = [rr.TimeColumn("frame", sequence=frames)]
        if with_clock:
            times.append(
                rr.TimeColumn("sim_time", duration=(frames * 1_000_000).astype("timedelta64[ns]"))
            )
        for column in range(columns):
            values = rng.standard_normal(len(frames))
            recording.send_columns(
                f"signals/s{column:02d}", times, rr.Scalars.columns(scalars=values)
            )
    close_recording(recording)


def write_aligned_static(folder: Path) -> None:
    """Of the same recording id as the aligned one."""
    import rerun as rr

    recording = open_recording(folder / "aligned.rrd")
    recording.log("robot", rr.AnyValues(mass=12.5, name="arm 7"), static=True)
    close_recording(recording)


def write_two_timelines(folder: Path, rows: int, columns: int, chunk_rows: int) -> None:
    write_aligned(folder, rows, columns, chunk_rows, with_clock=True)


def write_interleaved(folder: Path, signals: int, rows: int, chunk_rows: int) -> None:
    """Signals of different rates and phases over the same span; most index values belong to one signal only."""
    import rerun as rr

    rng = np.random.default_rng(2)
    span = rows * 1_000
    recording = open_recording(folder / "interleaved.rrd")
    chunks = []
    for signal in range(signals):
        period = 700 + 17 * signal  # 1.7 times as fast at one end as at the other
        frames = np.arange(3 * signal, span, period) + rng.integers(
            0, 5, len(range(3 * signal, span, period))
        )
        values = rng.standard_normal(len(frames))
        for start in range(0, len(frames), chunk_rows):
            rows_here = slice(start, start + chunk_rows)
            chunks.append(
                (int(frames[start]), f"signals/s{signal:02d}", frames[rows_here], values[rows_here])
            )
    for _, entity, frames, values in sorted(
        chunks, key=lambda chunk: chunk[0]
    ):  # as a robot would write them
        recording.send_columns(
            entity, [rr.TimeColumn("frame", sequence=frames)], rr.Scalars.columns(scalars=values)
        )
    close_recording(recording)


def jpegs(count: int, target_bytes: int) -> list[bytes]:
    """Photo-like JPEGs (smooth noise) of about `target_bytes`."""
    from PIL import Image

    rng = np.random.default_rng(3)
    images = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize(
            (320, 240), Image.Resampling.BICUBIC
        )
        pixels = np.clip(
            np.asarray(coarse).astype(np.int16) + rng.integers(-24, 24, (240, 320, 3)), 0, 255
        ).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=75)
        images.append(buffer.getvalue()[:target_bytes].ljust(target_bytes, b"\0"))
    return images


def write_episodes(folder: Path, episodes: int, seconds: int, jpeg_bytes: int) -> None:
    import rerun as rr

    pictures = jpegs(16, jpeg_bytes)
    rng = np.random.default_rng(4)
    for episode in range(episodes):
        recording = open_recording(folder / f"episode_{episode:03d}.rrd")
        recording.log("world/base", rr.Boxes3D(half_sizes=[[0.1, 0.1, 0.2]]), static=True)
        ticks = np.arange(seconds * 50)
        elapsed = (ticks * 20_000_000).astype("timedelta64[ns]")
        times = [
            rr.TimeColumn("frame", sequence=ticks),
            rr.TimeColumn("sim_time", duration=elapsed),
        ]
        for joint in range(7):
            values = np.sin(0.02 * ticks + joint) + 0.001 * rng.standard_normal(len(ticks))
            recording.send_columns(f"joints/j{joint}", times, rr.Scalars.columns(scalars=values))
        for number, tick in enumerate(ticks[::5]):  # 10 Hz
            recording.set_time("frame", sequence=int(tick))
            recording.set_time("sim_time", duration=np.timedelta64(int(tick) * 20_000_000, "ns"))
            for camera in ["front", "wrist"]:
                # A fresh tail per image keeps each blob different and as incompressible as a photo.
                picture = pictures[(number + episode) % len(pictures)][:-64] + rng.bytes(64)
                recording.log(
                    f"cameras/{camera}", rr.EncodedImage(contents=picture, media_type="image/jpeg")
                )
            if number % 20 == 0:
                recording.log("log", rr.TextLog(f"step {number}"))
        close_recording(recording)


def write_segments(folder: Path, segments: int, rows: int, columns: int) -> None:
    import rerun as rr

    rng = np.random.default_rng(5)
    frames = np.arange(rows)
    for segment in range(segments):
        recording = open_recording(folder / f"segment_{segment:04d}.rrd")
        for column in range(columns):
            values = rng.standard_normal(rows)
            recording.send_columns(
                f"s{column}",
                [rr.TimeColumn("frame", sequence=frames)],
                rr.Scalars.columns(scalars=values),
            )
        close_recording(recording)


WRITERS: dict[str, Callable[..., None]] = {
    "aligned": write_aligned,
    "aligned_static": write_aligned_static,
    "two_timelines": write_two_timelines,
    "interleaved": write_interleaved,
    "episodes": write_episodes,
    "segments": write_segments,
}


def generate(
    folder: Path = DEFAULT_FOLDER, *, quick: bool = False, names: list[str] | None = None
) -> Path:
    """Write the sets that are missing and return the folder that holds them."""
    folder = folder / ("quick" if quick else "full")
    for name, parameters in (QUICK if quick else FULL).items():
        if names is not None and name not in names:
            continue
        target, mark = folder / name, folder / f"{name}.json"
        recipe = {"recipe": RECIPE, **parameters}
        if mark.exists() and json.loads(mark.read_text()) == recipe:
            continue
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        started = time.monotonic()
        WRITERS[name](target, **parameters)
        mark.write_text(json.dumps(recipe))
        files = list(target.iterdir())
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        print(
            f"wrote {name}: {len(files)} files, {megabytes:.1f} MB, {time.monotonic() - started:.1f} s",
            file=sys.stderr,
        )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    parser.add_argument("--quick", action="store_true", help="small sets, for a smoke test")
    parser.add_argument("--sets", help="comma-separated names (default: all): " + ", ".join(FULL))
    arguments = parser.parse_args()
    names = arguments.sets.split(",") if arguments.sets else None
    print(generate(arguments.folder, quick=arguments.quick, names=names))


if __name__ == "__main__":
    main()
