"""Write the demo recordings with the official logging SDK (rerun-sdk 0.41).

    python recordings/make_demo.py [OUTPUT]      default: the folder of this script

Two sets come out:

    demo/     episode_000.rrd to episode_002.rrd, a small pick-and-place robot, and colours.json
    howto/    recording_001.rrd and recording_002.rrd, the smallest files the how-to can run on

The content is a pure function of this script. Only chunk ids, row ids and the `log_time` that the SDK adds to
row-wise logging change from run to run. What is in each file is listed in README.md beside this script.

Two things are kept simple on purpose, so that a correct reader and the official one agree on every cell:
each clear is a chunk of its own with a single row, and stands on an entity that has other columns too.
"""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import rerun as rr
from PIL import Image

APPLICATION_ID = "rushes_demo"
EPISODE_COUNT = 3
TICK_COUNT = 200  # per episode
TICK_NS = 20_000_000  # 50 Hz
EPOCH_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
EPISODE_GAP_NS = 60_000_000_000

JOINTS = ["base", "shoulder", "elbow", "wrist", "flange", "gripper"]
COLUMNAR_JOINTS = JOINTS[:3]  # sent as whole columns; the others are logged row by row

# Each camera image is split into two solid halves, so a screenshot of a viewer can be checked by counting pixels.
CAMERAS = {
    "front": {"every": 3, "size": (96, 72), "colours": [(220, 40, 40), (40, 90, 220)]},
    "wrist": {"every": 5, "size": (64, 64), "colours": [(30, 170, 80), (240, 190, 30)]},
}
TASKS = ["pick up the red cube", "place the cube in the tray", "open the drawer"]


def set_tick(recording: rr.RecordingStream, episode: int, tick: int, offset_ns: int = 0) -> None:
    """Put the recording's cursor at a control tick on the sequence timeline and on both clocks."""
    elapsed_ns = tick * TICK_NS + offset_ns
    recording.set_time("frame_nr", sequence=tick)
    recording.set_time("sim_time", duration=np.timedelta64(elapsed_ns, "ns"))
    recording.set_time("robot_time", timestamp=np.datetime64(start_ns(episode) + elapsed_ns, "ns"))


def time_columns(episode: int, ticks: np.ndarray) -> list[rr.TimeColumn]:
    """The same three timelines as `set_tick`, for columnar sends."""
    elapsed_ns = ticks.astype(np.int64) * TICK_NS
    return [
        rr.TimeColumn("frame_nr", sequence=ticks),
        rr.TimeColumn("sim_time", duration=elapsed_ns.astype("timedelta64[ns]")),
        rr.TimeColumn(
            "robot_time", timestamp=(start_ns(episode) + elapsed_ns).astype("datetime64[ns]")
        ),
    ]


def start_ns(episode: int) -> int:
    return EPOCH_NS + episode * EPISODE_GAP_NS


def joint_angle(episode: int, joint: int, tick: int) -> float:
    """A smooth, exactly repeatable joint angle in radians."""
    return round(math.sin(0.03 * tick + 0.7 * joint + 0.2 * episode), 6)


def camera_jpeg(camera: str, frame: int) -> bytes:
    """A JPEG of two solid halves and a small white square that moves along the seam."""
    width, height = CAMERAS[camera]["size"]
    left, right = CAMERAS[camera]["colours"]
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2] = left
    pixels[:, width // 2 :] = right
    top = (frame * 8) % (height - 8) // 8 * 8
    pixels[top : top + 8, width // 2 - 8 : width // 2] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def listed_colours() -> dict:
    """The colours as a decoder gives them back, which is what a viewer paints."""
    cameras = {}
    for name, camera in CAMERAS.items():
        width, height = camera["size"]
        decoded = np.asarray(Image.open(io.BytesIO(camera_jpeg(name, 0))).convert("RGB"))
        row = height - 8  # below the white square of frame 0
        cameras[f"/cameras/{name}"] = [decoded[row, 8].tolist(), decoded[row, width - 8].tolist()]
    return {
        "about": "RGB of the two halves of each camera's image; compare with the tolerance per channel",
        "tolerance": 6,
        "pixels_min": 200,
        "cameras": cameras,
    }


def log_static_model(recording: rr.RecordingStream) -> None:
    recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log(
        "world/table",
        rr.Boxes3D(
            centers=[[0.5, 0.0, -0.05]],
            half_sizes=[[0.6, 0.4, 0.05]],
            colors=[[120, 120, 120]],
            labels=["table"],
        ),
        static=True,
    )
    recording.log(
        "world/robot/model",
        rr.Mesh3D(
            vertex_positions=[[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.3]],
            triangle_indices=[[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]],
            vertex_colors=[[200, 200, 210]] * 4,
        ),
        static=True,
    )
    for (
        name,
        camera,
    ) in CAMERAS.items():  # a pinhole gives each camera an image view of its own in the viewer
        width, height = camera["size"]
        recording.log(
            f"cameras/{name}",
            rr.Pinhole(resolution=[width, height], focal_length=float(width)),
            static=True,
        )


def log_properties(recording: rr.RecordingStream, episode: int) -> None:
    """RecordingInfo with a fixed start time, and two groups of custom properties."""
    recording.log(
        "__properties",
        rr.archetypes.RecordingInfo(start_time=start_ns(episode), name=f"Episode {episode}"),
        static=True,
    )
    recording.send_property(
        "episode",
        rr.AnyValues(
            task=TASKS[episode % len(TASKS)],
            success=bool(episode != 1),
            operator="ada",
            quality=0.5 + 0.25 * episode,
        ),
    )
    recording.send_property(
        "robot", rr.AnyValues(serial=f"arm-{episode % 2:03d}", joint_count=len(JOINTS))
    )


def write_episode(path: Path, episode: int) -> None:
    recording = rr.RecordingStream(
        APPLICATION_ID, recording_id=f"episode_{episode:03d}", send_properties=False
    )
    recording.save(path)
    log_properties(recording, episode)
    log_static_model(recording)

    ticks = np.arange(TICK_COUNT)
    for joint, name in enumerate(COLUMNAR_JOINTS):
        angles = [joint_angle(episode, joint, tick) for tick in range(TICK_COUNT)]
        recording.send_columns(
            f"joints/{name}", time_columns(episode, ticks), rr.Scalars.columns(scalars=angles)
        )
    warm_ticks = ticks[::2]
    recording.send_columns(
        "sensors/temp",
        time_columns(episode, warm_ticks),
        rr.Scalars.columns(scalars=[20.0 + episode + 0.01 * int(tick) for tick in warm_ticks]),
    )
    # Where the tool is, as an archetype of our own: one position per row, on every fifth tick.
    tool_ticks = ticks[::5]
    tool = np.array([[0.005 * tick, 0.5, 1.0 + 0.1 * episode] for tick in tool_ticks], np.float32)
    recording.send_columns(
        "world/robot",
        time_columns(episode, tool_ticks),
        rr.DynamicArchetype.columns(
            "Position3D", components={"positions": rr.components.Position3DBatch(tool)}
        ),
    )

    for tick in range(TICK_COUNT):
        set_tick(recording, episode, tick)
        for joint in range(len(COLUMNAR_JOINTS), len(JOINTS)):
            recording.log(f"joints/{JOINTS[joint]}", rr.Scalars(joint_angle(episode, joint, tick)))
        if tick % 5 == 0:
            log_poses(recording, episode, tick)
        if tick % 20 == 0:
            log_markers(recording, tick)
        if tick % 50 == 0:
            level = [rr.TextLogLevel.INFO, rr.TextLogLevel.WARN][tick // 50 % 2]
            recording.log(
                "logs/controller", rr.TextLog(f"episode {episode}: step {tick // 50}", level=level)
            )
        if tick == 110:  # flat: the target goes, what hangs below it stays
            log_clear(recording, "world/target", recursive=False)
        if tick == 150:  # recursive: all markers go
            log_clear(recording, "world/markers", recursive=True)

    # Cameras run at their own rates, with a latency of some milliseconds against the control ticks.
    for number, (name, camera) in enumerate(CAMERAS.items()):
        for frame, tick in enumerate(range(0, TICK_COUNT, camera["every"])):
            set_tick(recording, episode, tick, offset_ns=(number + 1) * 1_500_000)
            recording.log(
                f"cameras/{name}",
                rr.EncodedImage(contents=camera_jpeg(name, frame), media_type="image/jpeg"),
            )
    recording.flush()
    recording.disconnect()


def log_poses(recording: rr.RecordingStream, episode: int, tick: int) -> None:
    angle = joint_angle(episode, 0, tick)
    recording.log(
        "world/robot/arm",
        rr.Transform3D(
            translation=[0.0, 0.0, 0.3],
            quaternion=rr.Quaternion(xyzw=[0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)]),
        ),
    )
    recording.log(
        "world/robot/arm", rr.Boxes3D(half_sizes=[[0.3, 0.03, 0.03]], colors=[[230, 120, 20]])
    )


def log_markers(recording: rr.RecordingStream, tick: int) -> None:
    x = 0.002 * tick
    recording.log(
        "world/target", rr.Points3D([[x, 0.1, 0.0]], colors=[[255, 0, 255]], radii=[0.03])
    )
    recording.log("world/target/label", rr.Points3D([[x, 0.1, 0.1]], labels=[f"target {tick}"]))
    recording.log("world/markers", rr.Points3D([[x, -0.1, 0.0], [x, -0.2, 0.0]], radii=[0.02]))
    recording.log(
        "world/markers/near", rr.Points3D([[x, -0.3, 0.0]], colors=[[0, 200, 200]], radii=[0.02])
    )


def log_clear(recording: rr.RecordingStream, entity: str, *, recursive: bool) -> None:
    """A clear in a chunk of its own."""
    recording.flush()
    recording.log(entity, rr.Clear(recursive=recursive))
    recording.flush()


def write_howto(path: Path, recording_id: str, first_frame: int) -> None:
    """Four frames: a position in each, a temperature in every second, one static component."""
    recording = rr.RecordingStream(APPLICATION_ID, recording_id=recording_id)
    recording.save(path)
    recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    for step in range(4):
        recording.set_time("frame_nr", sequence=first_frame + step)
        position = rr.components.Position3DBatch([[float(step), 0.5, 1.0]])
        recording.log(
            "world/robot", rr.DynamicArchetype("Position3D", components={"positions": position})
        )
        if step % 2 == 0:
            recording.log("sensors/temp", rr.Scalars(20.0 + step))
    recording.flush()
    recording.disconnect()


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    demo, howto = output / "demo", output / "howto"
    demo.mkdir(parents=True, exist_ok=True)
    howto.mkdir(parents=True, exist_ok=True)
    for episode in range(EPISODE_COUNT):
        write_episode(demo / f"episode_{episode:03d}.rrd", episode)
    (demo / "colours.json").write_text(json.dumps(listed_colours(), indent=2) + "\n")
    write_howto(howto / "recording_001.rrd", "recording_001", first_frame=0)
    write_howto(howto / "recording_002.rrd", "recording_002", first_frame=100)
    for file in sorted([*demo.iterdir(), *howto.iterdir()]):
        print(f"{file.relative_to(output)}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
