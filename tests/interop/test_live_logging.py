"""Live logging: programs with the official SDK log to our server, the official CLI and raw readers watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

rr = pytest.importorskip("rerun")
numpy = pytest.importorskip("numpy")
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from live_messages import SERVICE, LiveMessages  # noqa: E402

import rushes  # noqa: E402

# Values that do not compress.
RANDOM = numpy.random.default_rng(1)


def start_recording(url: str, recording_id: str = "run") -> Any:
    recording = rr.RecordingStream("live_app", recording_id=recording_id)
    recording.connect_grpc(f"{url}/proxy")
    return recording


def log_points(recording: Any, frames: range, points: int = 100) -> None:
    for frame in frames:
        recording.set_time("frame", sequence=frame)
        positions = RANDOM.random((points, 3), numpy.float32)
        recording.log("/points", rr.Points3D(positions))
    recording.flush(timeout_sec=30)


class Saver:
    """`rerun URL --save FILE`: the official reader of live messages."""

    def __init__(self, url: str, path: Path, port: int) -> None:
        self.path = path
        self.log = path.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "rerun"),
                    f"{url}/proxy",
                    "--save",
                    str(path),
                    "--port",
                    str(port),
                ],
                env={**os.environ, "RERUN_ANALYTICS": "0"},
                stdout=log,
                stderr=subprocess.STDOUT,
                # Whoever was started in the background by a script ignores Ctrl-C, and so would what it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def wait_for_bytes(self, size: int, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.path.exists() or self.path.stat().st_size < size:
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        # What has arrived is written at once; wait until nothing more comes.
        size = -1
        while size != self.path.stat().st_size:
            size = self.path.stat().st_size
            time.sleep(0.5)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def frames_of(path: Path) -> list[int]:
    table = rushes.open_recordings(path).reader(index="frame").to_pandas()
    return sorted(int(frame) for frame in table["frame"])


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_official_cli_saves_what_was_and_what_comes(
    serve, tmp_path: Path, free_port: int
) -> None:
    """It comes after the first half of the frames and leaves after the second."""
    server = serve()
    recording = start_recording(server.url)
    recording.log("/note", rr.TextLog("kept"), static=True)
    log_points(recording, range(50))
    saver = Saver(server.url, tmp_path / "saved.rrd", free_port)
    saver.wait_for_bytes(1000)
    log_points(recording, range(50, 100))
    saver.stop()
    assert frames_of(saver.path) == list(range(100))
    schema = rushes.open_recordings(saver.path).schema()
    assert "/note" in {column.entity_path for column in schema.component_columns()}
    recording.disconnect()


def test_a_raw_reader_gets_the_order_of_replay(serve) -> None:
    server = serve()
    recording = start_recording(server.url)
    log_points(recording, range(3))
    recording.log("/note", rr.TextLog("kept"), static=True)
    recording.flush(timeout_sec=30)
    recording.disconnect()
    kinds = []
    for message in LiveMessages(server.port).read():
        case = message.WhichOneof("msg")
        kinds.append(f"static={message.arrow_msg.is_static}" if case == "arrow_msg" else str(case))
    assert kinds[0] == "set_store_info"
    assert kinds == sorted(kinds, key=["set_store_info", "static=True", "static=False"].index)
    assert kinds.count("static=True") >= 2  # the note and the recording's own properties
    assert kinds.count("static=False") >= 1


def test_several_programs_and_blueprints(serve) -> None:
    server = serve()
    import rerun.blueprint as rrb

    for name in ("a", "b", "c"):
        recording = start_recording(server.url, name)
        log_points(recording, range(2))
        recording.send_blueprint(rrb.Blueprint(rrb.TimeSeriesView()))
        recording.flush(timeout_sec=30)
        recording.disconnect()
    messages = LiveMessages(server.port).read()
    infos = Counter(
        m.set_store_info.info.store_id.recording_id
        for m in messages
        if m.HasField("set_store_info") and m.set_store_info.info.store_id.kind == 1
    )
    assert set(infos) == {"a", "b", "c"}
    assert any(m.HasField("blueprint_activation_command") for m in messages)
    assert any(m.HasField("arrow_msg") and m.arrow_msg.store_id.kind == 2 for m in messages)


def test_history_and_memory_stay_within_the_bound(serve) -> None:
    """240 MB through a history of 16 MiB, with a reader that never reads."""
    server = serve("--live-history", "16MiB")
    process = psutil.Process(server.process.pid)
    live = LiveMessages(server.port)
    stuck = live.call("ReadMessages", "unary_stream")(
        live.message("rerun.sdk_comms.v1alpha1.ReadMessagesRequest")
    )
    recording = start_recording(server.url)
    recording.log("/note", rr.TextLog("kept"), static=True)
    log_points(recording, range(2), points=100_000)
    before = process.memory_info().rss
    peak = 0
    for part in range(10):
        log_points(recording, range(part * 20, part * 20 + 20), points=100_000)
        peak = max(peak, process.memory_info().rss - before)
    recording.disconnect()
    assert peak < 100 << 20
    messages = live.read()
    size = sum(m.ByteSize() for m in messages)
    assert 8 << 20 < size <= 16 << 20
    # The newest is left, and everything that is kept.
    assert messages[0].HasField("set_store_info")
    assert sum(m.HasField("arrow_msg") and m.arrow_msg.is_static for m in messages) >= 2
    stuck.cancel()


def test_errors_of_raw_writers(serve) -> None:
    server = serve()
    live = LiveMessages(server.port)
    request = live.message("rerun.sdk_comms.v1alpha1.WriteMessagesRequest")
    with pytest.raises(grpc.RpcError) as error:
        live.call("WriteMessages", "stream_unary")(iter([request]))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "WriteMessagesRequest.log_msg" in error.value.details()


def test_live_logging_can_be_off(serve) -> None:
    server = serve("--live-history", "0")
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    read = channel.unary_stream(f"/{SERVICE}/ReadMessages")
    with pytest.raises(grpc.RpcError) as error:
        next(iter(read(b"")))
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_reflection_and_health_with_their_own_packages(serve) -> None:
    server = serve()
    live = LiveMessages(server.port)
    services = set(live.database.get_services())
    assert {SERVICE, "rerun.cloud.v1alpha1.RerunCloudService", "grpc.health.v1.Health"} <= services
    stub = health_pb2_grpc.HealthStub(live.channel)
    assert stub.Check(health_pb2.HealthCheckRequest()).status == 1
    assert stub.Check(health_pb2.HealthCheckRequest(service=SERVICE)).status == 1
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == 1
    assert server.stop() == 0
    assert next(watch).status == 2
