"""Write one small recording with each old logging SDK, and beside each what a reader must find in it.

    python recordings/make_old.py [--sdks FOLDER] [--output FOLDER]

Run it with rerun-sdk 0.41 installed. For each older version it makes (once) a virtual environment under FOLDER and runs
itself there with `--write`. Output: `tests/data/sdk_<version>/`, described in `tests/data/README.md`.

What must be found is what the script logged, kept in its own notes while logging (`Recorder`), and not what some
reader said. The official 0.41 reader is then asked for the same file; a difference stops the run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
READABLE_VERSIONS = ["0.23", "0.24", "0.26", "0.28", "0.30", "0.36", "0.39"]
REFUSED_VERSION = "0.22"
NEWEST_VERSION = "0.41"  # the SDK this script itself runs on
APPLICATION_ID = "rushes_old"
CLOCK_NS = 1_700_000_000_000_000_000


# --------------------------------------------------------------------------------------------------------------------
# Run by each SDK: write the files, note what was logged.


class Recorder:
    """Logs to the SDK and notes each cell: entity, component (by its name of today), time, value."""

    def __init__(self) -> None:
        self.columns: dict[tuple[str, str], dict] = {}

    def note(self, entity: str, times: dict | None, cells: dict) -> None:
        for component, value in cells.items():
            column = self.columns.setdefault(
                (entity, component),
                {"entity": entity, "component": component, "static": times is None, "rows": []},
            )
            column["rows"].append({**(times or {}), "value": value})

    def log(
        self, entity: str, frame: int | None, archetype, cells: dict, path: str | list | None = None
    ) -> None:
        """Row-wise: at `frame` on the timelines `frame` and `clock`, or static without a frame."""
        import rerun as rr

        times = None
        if frame is not None:
            times = {"frame": frame, "clock": CLOCK_NS + frame * 10_000_000}
            rr.set_time("frame", sequence=frame)
            rr.set_time("clock", timestamp=np_time(times["clock"]))
        rr.log(path or entity.lstrip("/"), archetype, static=frame is None)
        self.note(entity, times, cells)

    def write(self, path: Path, **more) -> None:
        path.write_text(json.dumps({**more, "columns": list(self.columns.values())}))


def np_time(ns: int):
    import numpy as np

    return np.datetime64(ns, "ns")


def flush(rr) -> None:
    """Make the SDK's batcher emit what it holds, so that the next row starts a chunk."""
    import inspect

    recording = rr.get_global_data_recording()
    waits = "blocking" in inspect.signature(recording.flush).parameters
    recording.flush(**({"blocking": True} if waits else {}))


def write_with_this_sdk(output: Path) -> None:
    import rerun as rr

    version = tuple(int(part) for part in rr.__version__.split(".")[:2])
    if version < (0, 23):
        rr.init(APPLICATION_ID, recording_id="old_0.22")
        rr.save(output / "recording.rrd")
        rr.set_time_sequence("frame", 1)
        rr.log("scalars", rr.Scalar(1.5))
        rr.disconnect()
        return

    recording_id = f"old_{version[0]}.{version[1]}"
    rr.init(APPLICATION_ID, recording_id=recording_id)
    rr.save(output / "recording.rrd")
    recorder = Recorder()
    log_everything(rr, recorder, version)
    rr.disconnect()
    recorder.write(
        output / "recording.logged.json", writer=rr.__version__, recording_id=recording_id
    )

    # The same stream carries a blueprint: from 0.28 to 0.31 this makes the footer list chunks under the wrong store.
    import rerun.blueprint as rrb

    blueprint = rrb.Blueprint(rrb.TimeSeriesView(origin="/scalars"), collapse_panels=True)
    recording_id += "_blueprint"
    rr.init(APPLICATION_ID, recording_id=recording_id)
    rr.save(output / "with_blueprint.rrd")
    recorder = Recorder()
    recorder.log("/scalars", 0, rr.Scalars(0.5), {"Scalars:scalars": [0.5]})
    flush(rr)
    rr.send_blueprint(blueprint)
    for frame in range(1, 4):
        recorder.log("/scalars", frame, rr.Scalars(frame + 0.5), {"Scalars:scalars": [frame + 0.5]})
    recorder.log(
        "/text", 3, rr.TextLog("after the blueprint"), {"TextLog:text": ["after the blueprint"]}
    )
    rr.disconnect()
    recorder.write(
        output / "with_blueprint.logged.json", writer=rr.__version__, recording_id=recording_id
    )

    blueprint.save(APPLICATION_ID, str(output / "blueprint.rbl"))


def log_everything(rr, recorder: Recorder, version: tuple[int, int]) -> None:
    """A bit of each kind of data, all floats exact in 32 bits."""
    # Columns sent whole, on two timelines, and on a duration.
    frames = list(range(5))
    clock = [np_time(CLOCK_NS + frame * 10_000_000) for frame in frames]
    rr.send_columns(
        "scalars/columns",
        [rr.TimeColumn("frame", sequence=frames), rr.TimeColumn("clock", timestamp=clock)],
        rr.Scalars.columns(scalars=[frame * 0.5 for frame in frames]),
    )
    for frame in frames:
        times = {"frame": frame, "clock": CLOCK_NS + frame * 10_000_000}
        recorder.note("/scalars/columns", times, {"Scalars:scalars": [frame * 0.5]})
    rr.send_columns(
        "scalars/elapsed",
        [rr.TimeColumn("elapsed", duration=[0.25, 0.5])],
        rr.Scalars.columns(scalars=[-1.0, -2.0]),
    )
    for elapsed_ns, value in [(250_000_000, -1.0), (500_000_000, -2.0)]:
        recorder.note("/scalars/elapsed", {"elapsed": elapsed_ns}, {"Scalars:scalars": [value]})

    # Row by row. `Scalar` is the name before 0.24.
    scalar = getattr(rr, "Scalar", None) if version < (0, 24) else rr.Scalars
    for frame in [0, 2, 4]:
        recorder.log(
            "/scalars/rows", frame, scalar(10.0 + frame), {"Scalars:scalars": [10.0 + frame]}
        )
    recorder.log(
        "/points",
        0,
        rr.Points3D(
            [[0.0, 0.5, 1.0], [2.0, 2.5, 3.0]],
            colors=[[255, 0, 0, 255], [0, 255, 0, 128]],
            radii=[0.25, 0.5],
        ),
        {
            "Points3D:positions": [[0.0, 0.5, 1.0], [2.0, 2.5, 3.0]],
            "Points3D:colors": [0xFF0000FF, 0x00FF0080],
            "Points3D:radii": [0.25, 0.5],
        },
    )
    recorder.log(
        "/points", 3, rr.Points3D([[4.0, 4.5, 5.0]]), {"Points3D:positions": [[4.0, 4.5, 5.0]]}
    )
    recorder.log(
        "/lines",
        1,
        rr.LineStrips3D(
            [
                [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
                [[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 3.0, 0.5]],
            ]
        ),
        {
            "LineStrips3D:strips": [
                [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
                [[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 3.0, 0.5]],
            ]
        },
    )
    blob = bytes(range(0, 250, 10))
    recorder.log(
        "/camera",
        1,
        rr.EncodedImage(contents=blob, media_type="image/jpeg"),
        {"EncodedImage:blob": [list(blob)], "EncodedImage:media_type": ["image/jpeg"]},
    )
    import numpy as np

    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    image_format = {
        "width": 2,
        "height": 2,
        "pixel_format": None,
        "color_model": 2,
        "channel_datatype": 6,
    }
    recorder.log(
        "/image",
        2,
        rr.Image(pixels),
        {"Image:buffer": [list(range(12))], "Image:format": [image_format]},
    )
    recorder.log(
        "/pose",
        1,
        rr.Transform3D(translation=[1.0, 2.0, 3.0], quaternion=[0.0, 0.0, 0.0, 1.0]),
        {
            "Transform3D:translation": [[1.0, 2.0, 3.0]],
            "Transform3D:quaternion": [[0.0, 0.0, 0.0, 1.0]],
        },
    )
    if version < (0, 28):  # renamed since; readers must give the name of today
        recorder.log(
            "/axes",
            None,
            rr.Transform3D.from_fields(axis_length=0.5),
            {"TransformAxes3D:axis_length": [0.5]},
        )
    else:
        recorder.log("/axes", None, rr.TransformAxes3D(0.5), {"TransformAxes3D:axis_length": [0.5]})
    recorder.log(
        "/instances",
        2,
        rr.InstancePoses3D(translations=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        {"InstancePoses3D:translations": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]},
    )
    line = (
        rr.SeriesLine(color=[255, 0, 0], name="a", width=2.0)
        if version < (0, 24)
        else rr.SeriesLines(colors=[[255, 0, 0]], names=["a"], widths=[2.0])
    )
    recorder.log(
        "/scalars/rows",
        None,
        line,
        {
            "SeriesLines:colors": [0xFF0000FF],
            "SeriesLines:names": ["a"],
            "SeriesLines:widths": [2.0],
        },
    )
    recorder.log(
        "/scalars/columns",
        None,
        rr.SeriesPoints(visible_series=[True]),
        {"SeriesPoints:visible_series": [True]},
    )
    if hasattr(rr, "CoordinateFrame"):
        recorder.log(
            "/frame", None, rr.CoordinateFrame("tool"), {"CoordinateFrame:frame": ["tool"]}
        )
    recorder.log(
        "/log",
        2,
        rr.TextLog("hello, wörld", level="WARN"),
        {"TextLog:text": ["hello, wörld"], "TextLog:level": ["WARN"]},
    )
    recorder.log(
        "/static/box",
        None,
        rr.Boxes3D(half_sizes=[[0.5, 1.0, 1.5]], labels=["box"]),
        {"Boxes3D:half_sizes": [[0.5, 1.0, 1.5]], "Boxes3D:labels": ["box"]},
    )
    recorder.log(
        "/any",
        3,
        rr.AnyValues(count=[1, 2, 3], word="seven", ratio=0.125),
        {"count": [1, 2, 3], "word": ["seven"], "ratio": [0.125]},
    )
    recorder.log(
        r"/odd\ name/café/x\.y\:z".replace(r"\.", "."),
        2,
        rr.TextLog("odd"),
        {"TextLog:text": ["odd"]},
        path=["odd name", "café", "x.y:z"],
    )

    # Clears, each in a chunk of its own.
    for entity in ["/cleared/flat", "/cleared/tree", "/cleared/tree/leaf"]:
        for frame in [0, 4]:
            recorder.log(entity, frame, scalar(float(frame)), {"Scalars:scalars": [float(frame)]})
    flush(rr)
    recorder.log("/cleared/flat", 2, rr.Clear(recursive=False), {"Clear:is_recursive": [False]})
    recorder.log("/cleared/tree", 3, rr.Clear(recursive=True), {"Clear:is_recursive": [True]})
    flush(rr)

    if version >= (0, 24):
        rr.send_recording_name("an old recording")
        rr.send_property("run", rr.AnyValues(operator="ada", number=7))
        recorder.note("/__properties", None, {"RecordingInfo:name": ["an old recording"]})
        recorder.note("/__properties/run", None, {"operator": ["ada"], "number": [7]})
    else:
        rr.send_recording_name("an old recording")
        recorder.note("/__properties", None, {"RecordingInfo:name": ["an old recording"]})


# --------------------------------------------------------------------------------------------------------------------
# Run by the newest SDK: start the others, ask the official reader, write what must be found.


def official_reading(path: Path) -> dict:
    """All stores of a file as the official reader shows them, chunk by chunk."""
    import pyarrow as pa
    from rerun.chunk import RrdReader

    reader = RrdReader(path)
    stores = []
    for store in [*reader.recordings(), *reader.blueprints()]:
        columns: dict[tuple[str, str], dict] = {}
        timelines: dict[str, str] = {}
        row_counts: dict[str, int] = {}
        chunk_count = 0
        for chunk in reader.stream(store=store):
            batch = chunk.to_record_batch()
            if not any(field.metadata[b"rerun:kind"] == b"data" for field in batch.schema):
                continue  # an indicator of before 0.24: no component is left after migration
            chunk_count += 1
            row_counts[chunk.entity_path] = row_counts.get(chunk.entity_path, 0) + batch.num_rows
            times: dict[str, list[int]] = {}
            for field, array in zip(batch.schema, batch.columns, strict=True):
                if field.metadata[b"rerun:kind"] == b"index":
                    kind = (
                        "timestamp"
                        if pa.types.is_timestamp(field.type)
                        else "duration"
                        if pa.types.is_duration(field.type)
                        else "sequence"
                    )
                    timelines[field.name] = kind
                    times[field.name] = array.cast(pa.int64()).to_pylist()
            for field, array in zip(batch.schema, batch.columns, strict=True):
                metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
                if metadata["rerun:kind"] != "data":
                    continue
                column = columns.setdefault(
                    (chunk.entity_path, metadata["rerun:component"]),
                    {
                        "entity": chunk.entity_path,
                        "component": metadata["rerun:component"],
                        "archetype": metadata.get("rerun:archetype"),
                        "component_type": metadata.get("rerun:component_type"),
                        "arrow_type": str(field.type),
                        "static": chunk.is_static,
                        "rows": [],
                    },
                )
                for row, value in enumerate(array.to_pylist()):
                    if value is not None:
                        column["rows"].append(
                            {
                                **{name: values[row] for name, values in times.items()},
                                "value": value,
                            }
                        )
        stores.append(
            {
                "kind": store.kind,
                "application_id": store.application_id,
                "recording_id": store.recording_id,
                "chunk_count": chunk_count,
                "timelines": dict(sorted(timelines.items())),
                "row_counts": dict(sorted(row_counts.items())),
                "columns": [columns[key] for key in sorted(columns)],
            }
        )
    return {"stores": stores}


# Columns the SDKs add by themselves: present, but their values are not ours to foretell.
AUTOMATIC = {("/__properties", "RecordingInfo:start_time")}
AUTOMATIC_TIMELINES = {"log_time", "log_tick"}


def check_against_log(found: dict, logged: dict, where: str) -> None:
    """Stop unless the official reader found exactly the cells that were logged."""
    store = next(store for store in found["stores"] if store["kind"] == "recording")
    assert store["application_id"] == APPLICATION_ID, (where, store["application_id"])
    assert store["recording_id"] == logged["recording_id"], (where, store["recording_id"])
    official = {(column["entity"], column["component"]): column for column in store["columns"]}
    expected = {(column["entity"], column["component"]): column for column in logged["columns"]}
    for key, column in official.items():
        empty = all(row["value"] == [] for row in column["rows"])
        assert key in expected or key in AUTOMATIC or empty, (
            f"{where}: {key} was never logged: {column['rows'][:2]}"
        )
        column["expected_from"] = "log" if key in expected else "reader"
    for key, column in expected.items():
        assert key in official, f"{where}: {key} was logged but not found; found {sorted(official)}"
        rows = [
            {k: v for k, v in row.items() if k not in AUTOMATIC_TIMELINES}
            for row in official[key]["rows"]
        ]
        assert column["static"] == official[key]["static"], (where, key)
        assert sorted(map(repr_row, rows)) == sorted(map(repr_row, column["rows"])), (
            where,
            key,
            rows,
            column["rows"],
        )


def repr_row(row: dict) -> str:
    return json.dumps(row, sort_keys=True)


def write_expectation(path: Path, found: dict, writer: str) -> None:
    """One JSON per file; a row per line keeps diffs readable."""
    for store in found["stores"]:
        frames = {
            row["frame"]
            for column in store["columns"]
            if not column["static"]
            and column["rows"]
            and any(row["value"] != [] for row in column["rows"])
            for row in column["rows"]
            if "frame" in row
        }
        store["frame_values"] = sorted(frames)
    path.with_name(path.name + ".json").write_text(
        json.dumps({"file": path.name, "writer": writer, **found}, indent=1, ensure_ascii=False)
        + "\n"
    )


def python_of(version: str, sdks: Path) -> Path:
    """The interpreter of a virtual environment with that SDK, made at first use."""
    if version == NEWEST_VERSION:
        return Path(sys.executable)
    python = sdks / version / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", sdks / version], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", f"rerun-sdk=={version}.*"], check=True
        )
    return python


def make_version(version: str, sdks: Path, output: Path) -> None:
    folder = output / f"sdk_{version}"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "RERUN_ANALYTICS": "0"}
    subprocess.run(
        [python_of(version, sdks), __file__, "--write", folder], check=True, env=environment
    )
    if version == REFUSED_VERSION:
        (folder / "recording.rrd.json").write_text(
            json.dumps({"file": "recording.rrd", "writer": "0.22.1", "refused": True}, indent=1)
            + "\n"
        )
        return
    for name in ["recording.rrd", "with_blueprint.rrd"]:
        logged_path = (folder / name).with_suffix(".logged.json")
        logged = json.loads(logged_path.read_text())
        found = official_reading(folder / name)
        check_against_log(found, logged, f"{version}/{name}")
        write_expectation(folder / name, found, logged["writer"])
        logged_path.unlink()
    write_expectation(
        folder / "blueprint.rbl", official_reading(folder / "blueprint.rbl"), logged["writer"]
    )


def make_special(output: Path) -> None:
    """Files that one SDK call does not make: several recordings in one stream, two streams in one file, no footer."""
    import rerun as rr

    folder = output / f"sdk_{NEWEST_VERSION}"
    sources = []
    for number in range(2):
        path = folder / f"part_{number}.rrd"
        with rr.RecordingStream(APPLICATION_ID, recording_id=f"part_{number}") as recording:
            recording.save(path)
            for frame in range(3):
                recording.set_time("frame", sequence=10 * number + frame)
                recording.log("scalars", rr.Scalars(100.0 * number + frame))
            recording.flush()
            recording.disconnect()
        sources.append(path)
    rerun = Path(sys.executable).with_name("rerun")
    merged = folder / "two_recordings.rrd"
    subprocess.run([rerun, "rrd", "merge", *sources, "-o", merged], check=True, capture_output=True)
    concatenated = folder / "concatenated.rrd"
    concatenated.write_bytes(b"".join(path.read_bytes() for path in sources))
    # The official reader takes the last trailer for the whole file and gives up, so each part is read by itself.
    parts = {"stores": [store for path in sources for store in official_reading(path)["stores"]]}
    for path in sources:
        path.unlink()

    no_footer = folder / "no_footer.rrd"
    with rr.RecordingStream(APPLICATION_ID, recording_id="no_footer") as recording:
        rr.save(no_footer, recording=recording, write_footer=False)
        for frame in range(3):
            recording.set_time("frame", sequence=frame)
            recording.log("scalars", rr.Scalars(float(frame)))
        recording.flush()
        recording.disconnect()

    empty = folder / "empty.rrd"
    with rr.RecordingStream(
        APPLICATION_ID, recording_id="empty", send_properties=False
    ) as recording:
        recording.save(empty)
        recording.disconnect()

    for path, count in [(merged, 2), (concatenated, 2), (no_footer, 1), (empty, 0)]:
        found = parts if path == concatenated else official_reading(path)
        assert len(found["stores"]) == count, (path, found)
        for store in found["stores"]:
            number = {"part_0": 0, "part_1": 1}.get(store["recording_id"], 0)
            for column in store["columns"]:
                if column["entity"] == "/scalars":
                    rows = [(row["frame"], row["value"]) for row in column["rows"]]
                    assert rows == [
                        (10 * number + frame, [100.0 * number + frame]) for frame in range(3)
                    ], (path, rows)
        write_expectation(path, found, rr.__version__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write",
        type=Path,
        help="write with the SDK of this interpreter into the folder, nothing else",
    )
    parser.add_argument(
        "--sdks",
        type=Path,
        default=REPOSITORY / "build" / "old-sdks",
        help="where the virtual environments live",
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / "tests" / "data")
    parser.add_argument("--only", help="one version")
    arguments = parser.parse_args()
    if arguments.write:
        write_with_this_sdk(arguments.write)
        return
    versions = (
        [arguments.only]
        if arguments.only
        else [REFUSED_VERSION, *READABLE_VERSIONS, NEWEST_VERSION]
    )
    for version in versions:
        make_version(version, arguments.sdks, arguments.output)
        if version == NEWEST_VERSION:
            make_special(arguments.output)
        print(
            f"sdk_{version}: {sum(file.stat().st_size for file in (arguments.output / f'sdk_{version}').iterdir()):,} bytes"
        )


if __name__ == "__main__":
    main()
