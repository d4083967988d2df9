"""Segments chunk by chunk, in this process and over the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import rushes as rr
from rushes.catalog import CatalogClient, ContentFilter, DatasetEntry, NotFoundError
from rushes.chunk import LazyStore

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "recordings" / "howto"
DEMO = ROOT / "recordings" / "demo"


@pytest.fixture(params=["in process", "network"])
def client(request: pytest.FixtureRequest, server: rr.server.Server) -> CatalogClient:
    return server.client() if request.param == "in process" else CatalogClient(server.url())


@pytest.fixture
def dataset(client: CatalogClient) -> DatasetEntry:
    made = client.create_dataset("d")
    made.register([HOWTO / "recording_001.rrd", DEMO / "episode_000.rrd"]).wait()
    return made


def entities(chunks: Any) -> list[str]:
    return [chunk.entity_path for chunk in chunks]


def test_what_there_is(dataset: DatasetEntry) -> None:
    store = dataset.segment_store("recording_001")
    assert repr(store) == "LazyStore(4 chunks)"
    assert len(store) == 4
    assert store.schema() == dataset.segment("recording_001").schema()
    assert store.summary().split("\n") == [
        "/__properties rows=1 static=True timelines=[] cols=['RecordingInfo:start_time']",
        "/sensors/temp rows=2 static=False timelines=['frame_nr', 'log_time'] "
        "cols=['Scalars:scalars', 'frame_nr', 'log_time']",
        "/world rows=1 static=True timelines=[] cols=['ViewCoordinates:xyz']",
        "/world/robot rows=4 static=False timelines=['frame_nr', 'log_time'] "
        "cols=['Position3D:positions', 'frame_nr', 'log_time']",
    ]


def test_chunks_as_arrow_data(dataset: DatasetEntry) -> None:
    store = dataset.segment_store("recording_001")
    chunks = {chunk.entity_path: chunk for chunk in store.stream()}
    assert len(chunks) == 4
    robot = chunks["/world/robot"]
    assert (robot.num_rows, len(robot), robot.num_columns) == (4, 4, 4)
    assert not robot.is_static
    assert not robot.is_empty
    assert sorted(robot.timeline_names) == ["frame_nr", "log_time"]
    assert robot.id.startswith("chunk_")
    assert (
        repr(robot) == f"Chunk(id={robot.id}, entity_path=/world/robot, num_rows=4, num_columns=4)"
    )
    batch = robot.to_record_batch()
    assert batch.equals(pa.record_batch(robot))
    assert batch.schema.metadata[b"rerun:id"].decode() == robot.id
    column = "/world/robot:Position3D:positions"
    rows = dataset.filter_segments("recording_001").reader("frame_nr").to_arrow_table()
    expected = rows.select(["frame_nr", column]).drop_null()
    assert batch["frame_nr"].to_pylist() == expected["frame_nr"].to_pylist()
    assert batch["Position3D:positions"].to_pylist() == expected[column].to_pylist()
    assert chunks["/world"].is_static
    assert chunks["/world"].timeline_names == []


def test_the_listing_is_what_the_chunks_hold(dataset: DatasetEntry) -> None:
    """The manifest and the chunks themselves tell the same of each chunk."""
    store = dataset.segment_store("episode_000")
    assert len(store) > 40
    lines = []
    for chunk in store.stream():
        batch = chunk.to_record_batch()
        # Columns without any value are not listed.
        components = [
            field.name
            for field, column in zip(batch.schema, batch.columns, strict=True)
            if (field.metadata or {}).get(b"rerun:kind") == b"data"
            and column.null_count < len(column)
        ]
        lines.append(
            f"{chunk.entity_path} rows={batch.num_rows} static={chunk.is_static} "
            f"timelines={sorted(chunk.timeline_names)} cols={sorted(components + chunk.timeline_names)}"
        )
    assert sorted(lines) == sorted(store.summary().split("\n"))


def test_filters(dataset: DatasetEntry) -> None:
    store = dataset.segment_store("recording_001")
    everything = {"/__properties", "/sensors/temp", "/world", "/world/robot"}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, everything),
        ({"content": "/**"}, everything - {"/__properties"}),
        ({"content": "/world"}, {"/world"}),
        ({"content": ["/**", "-/world/**"]}, {"/sensors/temp"}),
        ({"content": ContentFilter.everything().include_properties()}, everything),
        ({"content": []}, set()),
        ({"has_timeline": "frame_nr"}, {"/sensors/temp", "/world/robot"}),
        ({"has_timeline": "nothing"}, set()),
        ({"is_static": True}, {"/__properties", "/world"}),
        ({"is_static": False}, {"/sensors/temp", "/world/robot"}),
        ({"content": "/world/**", "is_static": False}, {"/world/robot"}),
    ]
    for criteria, kept in cases:
        assert set(entities(store.stream().filter(**criteria))) == kept, criteria
        assert set(entities(store.stream().drop(**criteria))) == everything - kept, criteria
    stream = store.stream()
    narrow = stream.filter(content="/world/**").drop(is_static=True)
    assert repr(narrow) == "LazyChunkStream(1 chunks)"
    assert entities(narrow) == entities(narrow) == ["/world/robot"]
    assert len(stream.to_chunks()) == 4


def test_what_is_left_out_is_not_read(dataset: DatasetEntry) -> None:
    store = dataset.segment_store("episode_000")
    read: list[int] = []

    class Spy:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def read(self, chunks: list[int]) -> Any:
            read.extend(chunks)
            return self.inner.read(chunks)

    store._store = Spy(store._store)  # type: ignore[assignment]
    assert read == []
    assert entities(store.stream().filter(content="/world", is_static=True)) == ["/world"]
    assert len(read) == 1
    assert len(store.stream().to_chunks()) == len(store)
    assert sorted(read[1:]) == list(range(len(store)))


def test_groups_are_bounded(dataset: DatasetEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.chunk._GROUP_BYTES", 1)
    store = dataset.segment_store("recording_001")
    one_by_one = [chunk.id for chunk in store.stream()]
    monkeypatch.undo()
    assert one_by_one == [chunk.id for chunk in store.stream()]


def test_unknown_segments(dataset: DatasetEntry, server: rr.server.Server) -> None:
    with pytest.raises(NotFoundError, match="'nope' not found in dataset"):
        dataset.segment_store("nope")
    with pytest.raises(TypeError, match="segment_id must be a str, not int"):
        dataset.segment_store(3)  # type: ignore[arg-type]
    store = dataset.segment_store("recording_001")
    server.shutdown()
    with pytest.raises(ConnectionError):
        store.stream().to_chunks()
    with pytest.raises(ConnectionError):
        dataset.segment_store("recording_001")


def test_bad_criteria(dataset: DatasetEntry) -> None:
    stream = dataset.segment_store("recording_001").stream()
    with pytest.raises(TypeError, match="has_timeline must be a str, not int"):
        stream.filter(has_timeline=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is_static must be a bool, not str"):
        stream.drop(is_static="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="content expressions must be str, not int"):
        stream.filter(content=[3])  # type: ignore[list-item]


def test_a_written_recording_is_the_segment(dataset: DatasetEntry, tmp_path: Path) -> None:
    store = dataset.segment_store("episode_000")
    path = tmp_path / "copy.rrd"
    path.write_bytes(b"what was there before")
    store.write_rrd(path, application_id="app", recording_id="copy")
    assert [p.name for p in tmp_path.iterdir()] == ["copy.rrd"]
    copy = rr.open_recordings(path)
    assert copy.segment_ids() == ["copy"]
    again = copy.segment_store("copy")
    assert again.summary() == store.summary()
    assert [c.id for c in again.stream()] == [c.id for c in store.stream()]
    assert again.schema() == store.schema()
    expected = rr.open_recordings(DEMO / "episode_000.rrd").reader("frame_nr").to_arrow_table()
    got = copy.reader("frame_nr").to_arrow_table()
    assert got.drop_columns("rerun_segment_id").equals(expected.drop_columns("rerun_segment_id"))


def test_part_of_a_segment_over_the_file_it_is_read_from(
    client: CatalogClient, tmp_path: Path
) -> None:
    path = tmp_path / "r.rrd"
    path.write_bytes((HOWTO / "recording_001.rrd").read_bytes())
    dataset = client.create_dataset("d")
    dataset.register(path).wait()
    stream = dataset.segment_store("recording_001").stream().filter(content="/world/**")
    stream.write_rrd(str(path), application_id="app", recording_id="recording_001")
    assert sorted(entities(rr.open_recordings(path).segment_store("recording_001").stream())) == [
        "/world",
        "/world/robot",
    ]


def test_writing_that_fails_leaves_nothing(
    dataset: DatasetEntry, server: rr.server.Server, tmp_path: Path
) -> None:
    store = dataset.segment_store("recording_001")
    with pytest.raises(OSError, match="nowhere"):
        store.write_rrd(tmp_path / "nowhere" / "x.rrd", application_id="a", recording_id="r")
    with pytest.raises(ValueError, match="recording_id must not be empty"):
        store.write_rrd(tmp_path / "x.rrd", application_id="a", recording_id="")
    with pytest.raises(TypeError, match="application_id must be a str"):
        store.write_rrd(tmp_path / "x.rrd", application_id=None, recording_id="r")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="path must be a str or a path, not int"):
        store.write_rrd(3, application_id="a", recording_id="r")  # type: ignore[arg-type]
    server.shutdown()
    with pytest.raises(ConnectionError):
        store.write_rrd(tmp_path / "x.rrd", application_id="a", recording_id="r")
    assert list(tmp_path.iterdir()) == []


def test_layers_and_what_comes_later(
    client: CatalogClient, write_recording: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = client.create_dataset("d")
    dataset.register(HOWTO / "recording_001.rrd").wait()
    before = dataset.segment_store("recording_001")
    extra = write_recording(
        tmp_path / "extra.rrd", "recording_001", {"/extra": {"frame_nr": [1, 2]}}
    )
    dataset.register(extra, layer_name="more").wait()
    assert len(before) == len(before.stream().to_chunks()) == 4
    both = dataset.segment_store("recording_001")
    assert "/extra" in entities(both.stream())
    assert len(both) > 4
    ids = [chunk.id for chunk in both.stream()]
    assert len(set(ids)) == len(ids) == len(both)
    # The same file in two layers holds each chunk once.
    dataset.register(HOWTO / "recording_001.rrd", layer_name="again").wait()
    assert [chunk.id for chunk in dataset.segment_store("recording_001").stream()] == ids


def test_assets(dataset: DatasetEntry, tmp_path: Path) -> None:
    sdk = pytest.importorskip("rerun")
    with sdk.RecordingStream("tests", recording_id="robot", send_properties=False) as stream:
        stream.save(tmp_path / "robot.rrd")
        stream.log("robot/shape", sdk.Points3D([[1, 2, 3]]), static=True)
    dataset.register_asset(tmp_path / "robot.rrd", segments=["episode_000"])  # not for that one
    column = "/robot/shape:Points3D:positions"

    def has_asset(store: LazyStore) -> tuple[bool, bool]:
        return "/robot/shape" in entities(store.stream()), column in store.schema().column_names()

    assert has_asset(dataset.segment_store("recording_001")) == (True, True)
    assert has_asset(dataset.segment_store("recording_001", include_assets=False)) == (False, False)
    assert has_asset(dataset.segment_store("episode_000")) == (False, False)
    store = dataset.segment_store("recording_001")
    assert store.schema() == dataset.segment("recording_001").schema(include_assets=True)
    store.write_rrd(tmp_path / "with.rrd", application_id="a", recording_id="r")
    written = rr.open_recordings(tmp_path / "with.rrd")
    assert column in written.schema().column_names()


def test_threads_share_a_store(dataset: DatasetEntry) -> None:
    store = dataset.segment_store("episode_000")
    expected = [chunk.to_record_batch() for chunk in store.stream()]
    same: list[bool] = []

    def read() -> None:
        got = [chunk.to_record_batch() for chunk in store.stream()]
        same.append(all(a.equals(b) for a, b in zip(got, expected, strict=True)))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 6


def test_a_store_outlives_its_server_object() -> None:
    store = (
        rr.server.Server(datasets={"d": HOWTO})
        .client()
        .get_dataset("d")
        .segment_store("recording_001")
    )
    assert len(store.stream().to_chunks()) == 4
