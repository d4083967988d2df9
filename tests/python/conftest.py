"""Recordings and servers that the tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rushes as rr

# Jobs in the background begin with SIGINT ignored, and Python then leaves it so; the tests of Ctrl-C need it, here and in children.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "recordings" / "howto"
DEMO = ROOT / "recordings" / "demo"


@pytest.fixture(scope="session")
def howto_files() -> list[Path]:
    return [HOWTO / "recording_001.rrd", HOWTO / "recording_002.rrd"]


@pytest.fixture(scope="session")
def demo_server() -> Iterator[rr.server.Server]:
    with rr.server.Server(datasets={"demo": DEMO, "howto": HOWTO, "empty": []}) as server:
        yield server


@pytest.fixture
def demo(demo_server: rr.server.Server) -> rr.catalog.DatasetEntry:
    return demo_server.client().get_dataset("demo")


@pytest.fixture
def howto(demo_server: rr.server.Server) -> rr.catalog.DatasetEntry:
    return demo_server.client().get_dataset("howto")


@pytest.fixture
def server() -> Iterator[rr.server.Server]:
    """A fresh, empty server."""
    with rr.server.Server() as fresh:
        yield fresh


@pytest.fixture
def client(server: rr.server.Server) -> rr.catalog.CatalogClient:
    return server.client()


@pytest.fixture(scope="session")
def write_recording() -> Callable[..., Path]:
    """Writes a recording with the official SDK: `{entity: {timeline: values}}` of one scalar each."""
    sdk = pytest.importorskip("rerun")

    def write(path: Path, recording_id: str, entities: dict[str, dict[str, list[int]]]) -> Path:
        stream = sdk.RecordingStream("rushes_tests", recording_id=recording_id)
        stream.save(str(path))
        for entity, timelines in entities.items():
            count = len(next(iter(timelines.values())))
            columns = [sdk.TimeColumn(name, sequence=values) for name, values in timelines.items()]
            stream.send_columns(
                entity,
                indexes=columns,
                columns=sdk.Scalars.columns(scalars=[float(i) for i in range(count)]),
            )
        stream.flush()
        stream.disconnect()
        return path

    return write


@pytest.fixture(scope="session")
def two_timelines(
    tmp_path_factory: pytest.TempPathFactory, write_recording: Callable[..., Path]
) -> Path:
    """`/a` on frame 0..99 and tick 1000..1099, `/b` on frame 50..149 only: rows of /b alone have no tick."""
    return write_recording(
        tmp_path_factory.mktemp("recordings") / "two.rrd",
        "two",
        {
            "/a": {"frame": list(range(100)), "tick": list(range(1000, 1100))},
            "/b": {"frame": list(range(50, 150))},
        },
    )


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, write_recording: Callable[..., Path]) -> Path:
    """Interleaved signals, long enough that a full read takes a while."""
    count = 400_000
    return write_recording(
        tmp_path_factory.mktemp("recordings") / "large.rrd",
        "large",
        {f"/signal/{i}": {"frame": list(range(i, count * 8 + i, 8))} for i in range(8)},
    )
