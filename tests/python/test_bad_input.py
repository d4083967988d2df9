"""What bad input gets: the right exception class, words that help, and a server that goes on serving."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import rushes as rr

Catalog = rr.catalog


@pytest.fixture
def dataset(
    client: Catalog.CatalogClient, howto_files: list[Path]
) -> Iterator[Catalog.DatasetEntry]:
    """A dataset that must still answer after what the test did to the server."""
    made = client.create_dataset("d")
    made.register(howto_files).wait()
    yield made
    assert client.get_dataset("d").reader(index="frame_nr").count() == 8


def test_a_missing_file(dataset: Catalog.DatasetEntry, tmp_path: Path) -> None:
    with pytest.raises(Catalog.NotFoundError, match=r"nowhere.rrd"):
        dataset.register(tmp_path / "nowhere.rrd").wait()


def test_a_directory_without_recordings(dataset: Catalog.DatasetEntry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?i)no rrd files found"):
        dataset.register_prefix(tmp_path).wait()
    with pytest.raises(ValueError):
        dataset.register_prefix(tmp_path / "missing").wait()
    with rr.server.Server(datasets={"nothing": tmp_path}) as server:
        assert server.client().get_dataset("nothing").segment_ids() == []


def test_a_text_file_named_rrd(dataset: Catalog.DatasetEntry, tmp_path: Path) -> None:
    text = tmp_path / "text.rrd"
    text.write_text("this is no recording\n" * 100)
    with pytest.raises(ValueError, match=r"text\.rrd"):
        dataset.register(text).wait()
    empty = tmp_path / "zero.rrd"
    empty.touch()
    with pytest.raises(ValueError, match=r"zero\.rrd"):
        dataset.register(empty).wait()


def test_a_truncated_recording(
    dataset: Catalog.DatasetEntry, howto_files: list[Path], tmp_path: Path
) -> None:
    whole = howto_files[0].read_bytes()
    cut = tmp_path / "cut.rrd"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.rrd"):
        dataset.register(cut, layer_name="cut").wait()
    # At start-up the rest of the files is served, and what is left of this one.
    with rr.server.Server(datasets={"d": [cut, howto_files[1]]}) as server:
        assert "recording_002" in server.client().get_dataset("d").segment_ids()


def test_an_unknown_dataset(client: Catalog.CatalogClient, dataset: Catalog.DatasetEntry) -> None:
    client.create_dataset("kitchen_robot")
    with pytest.raises(
        LookupError, match=r"No dataset found with name 'kitchen_robt'.*'kitchen_robot'"
    ):
        client.get_dataset("kitchen_robt")
    with pytest.raises(Catalog.NotFoundError):
        client.get_dataset(id="18EB0AF61C3B1FFB7a877c181f9cc37e")
    with pytest.raises(TypeError, match="exactly 32 hex characters, got 2 bytes"):
        client.get_dataset(id="xx")
    with pytest.raises(ValueError, match="Either 'id' or 'name'"):
        client.get_dataset()
    with pytest.raises(ValueError, match="Only one of 'id' or 'name'"):
        client.get_dataset("d", id=dataset.id)


def test_an_unknown_timeline(dataset: Catalog.DatasetEntry) -> None:
    with pytest.raises(
        ValueError, match=r"Index 'frame' does not exist in the dataset.*'frame_nr'"
    ):
        dataset.reader(index="frame")
    with pytest.raises(
        ValueError, match=r"Index 'frame' does not exist in the dataset.*'frame_nr'"
    ):
        dataset.reader(index="frame", using_index_values=[1])
    with pytest.raises(ValueError, match="does not exist"):
        dataset.reader(index="/world:ViewCoordinates:xyz")


def test_an_unknown_column(dataset: Catalog.DatasetEntry) -> None:
    with pytest.raises(Exception, match="fram_nr"):
        dataset.reader(index="frame_nr").select("fram_nr").to_arrow_table()
    with pytest.raises(ValueError, match=r"Column 'fram_nr' does not exist.*'frame_nr'"):
        dataset.scan(index="frame_nr").to_table(columns=["fram_nr"])
    import pyarrow.compute as pc

    with pytest.raises(ValueError, match=r"Column 'fram_nr' does not exist.*frame_nr"):
        dataset.scan(index="frame_nr").to_table(filter=pc.field("fram_nr") > 3)
    with pytest.raises(LookupError, match="Could not find column for selector"):
        dataset.schema().column_for_selector("/sensors/tmp:Scalars:scalars")


def test_an_unknown_segment(dataset: Catalog.DatasetEntry) -> None:
    with pytest.raises(Catalog.NotFoundError, match="recording_003"):
        dataset.segment("recording_003")
    assert dataset.filter_segments("recording_003").reader(index="frame_nr").count() == 0


def test_an_unknown_layer(dataset: Catalog.DatasetEntry) -> None:
    with pytest.raises(ValueError, match=r'LayerName\("x"\) not found.*\["base"\]'):
        dataset.layer("x")
    with pytest.raises(ValueError, match="must not be empty"):
        dataset.layer("")


def test_a_name_in_use(client: Catalog.CatalogClient, dataset: Catalog.DatasetEntry) -> None:
    with pytest.raises(Catalog.AlreadyExistsError, match="'d'"):
        client.create_dataset("d")
    other = client.create_dataset("other")
    with pytest.raises(Catalog.AlreadyExistsError):
        other.set_name("d")
    assert other.name == "other"


@pytest.mark.parametrize("name", ["", "a/b", "x" * 181, "naïve"])
def test_a_name_that_cannot_be(client: Catalog.CatalogClient, name: str) -> None:
    with pytest.raises(ValueError):
        client.create_dataset(name)


def test_a_segment_registered_twice(dataset: Catalog.DatasetEntry, howto_files: list[Path]) -> None:
    operation = dataset.register(howto_files[0])
    with pytest.raises(
        ValueError, match=r'(?s)Registration failed\..*"recording_001", layer "base": .*already'
    ):
        operation.wait()
    with pytest.raises(ValueError, match="Registration failed") as raised:
        operation.wait()
    assert str(raised.value).count("listed below") == str(raised.value).count("recording_001") == 1
    [result] = operation.iter_results()
    assert result.is_error
    assert not result.is_success
    assert result.segment_id == "recording_001"
    for mode in ("skip", Catalog.OnDuplicateSegmentLayer.REPLACE):
        assert dataset.register(howto_files[0], on_duplicate=mode).wait().segment_ids == [
            "recording_001"
        ]
    with pytest.raises(
        ValueError, match=r"invalid on_duplicate value: 'x'. Expected 'error', 'skip', or 'replace'"
    ):
        dataset.register(howto_files[0], on_duplicate="x")
    with pytest.raises(ValueError, match=r"(?i)duplicate"):
        dataset.register([howto_files[0], howto_files[0]], on_duplicate="replace").wait()


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=f"(?i)Failed to start Rushes server: .*{port}.*in use"
        ):
            rr.server.Server(port=port)


def test_server_arguments(tmp_path: Path, howto_files: list[Path]) -> None:
    with pytest.raises(ValueError, match='Invalid IP: "localhost"'):
        rr.server.Server(host="localhost")
    with pytest.raises(OverflowError):
        rr.server.Server(port=65536)
    with pytest.raises(TypeError):
        rr.server.Server("127.0.0.1")  # type: ignore[misc]
    with pytest.raises(TypeError):
        rr.server.Server(port="51234")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Prefix path .* for dataset 'd' must be a directory"):
        rr.server.Server(datasets={"d": tmp_path / "missing"})
    with pytest.raises(ValueError, match=r"Prefix path .* must be a directory"):
        rr.server.Server(datasets={"d": str(howto_files[0])})
    with pytest.raises(ValueError, match=r"Path .* for dataset 'd' must be a RRD file"):
        rr.server.Server(datasets={"d": [tmp_path]})
    with pytest.raises(TypeError):
        rr.server.Server(datasets={"d": 3})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="Failed to start Rushes server"):
        rr.server.Server(datasets={"a/b": [howto_files[0]]})


def test_a_closed_server(howto_files: list[Path]) -> None:
    server = rr.server.Server(datasets={"d": howto_files})
    client = server.client()
    remote = rr.catalog.CatalogClient(server.url())
    dataset, far = client.get_dataset("d"), remote.get_dataset("d")
    frame, far_frame = dataset.reader(index="frame_nr"), far.reader(index="frame_nr")
    assert frame.count() == far_frame.count() == 8
    server.shutdown()
    assert not server.is_running()
    with pytest.raises(RuntimeError, match="Cannot create client: server is not running"):
        server.client()
    with pytest.raises(ValueError, match="not running or has already been shut down"):
        server.shutdown()
    with pytest.raises(ConnectionError):
        client.dataset_names()
    with pytest.raises(Exception, match="closed"):
        frame.to_arrow_table()
    with pytest.raises(ConnectionError):
        remote.dataset_names()
    with pytest.raises(Exception, match=r"(?i)connect|unavailable"):
        far_frame.to_arrow_table()


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match=str(port)):
        rr.catalog.CatalogClient(f"rerun+http://127.0.0.1:{port}")


def test_a_server_that_speaks_something_else() -> None:
    import http.server
    import threading

    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever, daemon=True)
        thread.start()
        with pytest.raises(ConnectionError):
            rr.catalog.CatalogClient(f"127.0.0.1:{other.server_address[1]}")
        other.shutdown()


@pytest.mark.parametrize(
    "address",
    ["", "example.com:80", "ftp://localhost:1", "rerun+http://", "local host", "localhost:99999"],
)
def test_an_address_that_cannot_be(address: str) -> None:
    with pytest.raises(ValueError, match="Invalid URI"):
        rr.catalog.CatalogClient(address)


def test_wrong_argument_types(client: Catalog.CatalogClient, dataset: Catalog.DatasetEntry) -> None:
    for call in (
        lambda: client.create_dataset(3),  # type: ignore[arg-type]
        lambda: dataset.reader(),  # type: ignore[call-arg]
        lambda: dataset.reader(index=3),  # type: ignore[arg-type]
        lambda: dataset.reader(dataset.schema().index_columns()[0]),  # type: ignore[arg-type]
        lambda: dataset.filter_segments(3),  # type: ignore[arg-type]
        lambda: dataset.filter_segments([3]),  # type: ignore[list-item]
        lambda: dataset.filter_contents(3),  # type: ignore[arg-type]
        lambda: dataset.register(3),  # type: ignore[arg-type]
        lambda: dataset.register([3]),  # type: ignore[list-item]
        lambda: dataset.segment(3),  # type: ignore[arg-type]
        lambda: dataset.reader("frame_nr", using_index_values="x"),  # type: ignore[arg-type]
        lambda: dataset.reader("frame_nr", using_index_values=[1.5]),  # type: ignore[list-item]
        lambda: dataset.reader("frame_nr", using_index_values={"recording_001": [1.5]}),  # type: ignore[dict-item]
        lambda: dataset.reader("frame_nr", using_index_values=pa.array([1], pa.int32())),
        lambda: Catalog.CatalogClient(3),  # type: ignore[arg-type]
        lambda: dataset.register("x.rrd", layer_name=[3]),  # type: ignore[list-item]
    ):
        with pytest.raises(TypeError):
            call()


def test_registration_arguments(dataset: Catalog.DatasetEntry, howto_files: list[Path]) -> None:
    with pytest.raises(ValueError, match="same length"):
        dataset.register(howto_files, layer_name=["only one"])
    with pytest.raises(ValueError, match="no data sources"):
        dataset.register([])
    with pytest.raises(ValueError, match="must not be empty"):
        dataset.register(howto_files[0], layer_name="")
    with pytest.raises((ValueError, Catalog.NotFoundError)):
        dataset.register("s3://bucket/a.rrd").wait()
    with pytest.raises(TypeError, match="timeout_secs"):
        dataset.register(howto_files[0], on_duplicate="skip").wait(timeout_secs="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        dataset.unregister(segments_to_drop=[], layers_to_drop=[])


def test_index_values(dataset: Catalog.DatasetEntry) -> None:
    import datafusion

    frame = datafusion.SessionContext().from_pydict({"a": [1]})
    half = datafusion.SessionContext().from_pydict({"rerun_segment_id": ["recording_001"]})
    for values, index, words in (
        ([1, 1], "frame_nr", "Index values must be unique"),
        ({"recording_001": [2, 2]}, "frame_nr", "Index values must be unique"),
        ([1], None, "index must be provided"),
        (frame, None, "index must be provided"),
        (frame, "frame_nr", "must have a 'rerun_segment_id' column"),
        (half, "frame_nr", "must have an 'frame_nr' column"),
    ):
        with pytest.raises(ValueError, match=words):
            dataset.reader(index, using_index_values=values)


def test_an_empty_dataset(client: Catalog.CatalogClient) -> None:
    empty = client.create_dataset("empty")
    assert empty.schema().column_names() == []
    assert repr(empty.schema()) == ""
    assert empty.segment_ids() == []
    table = empty.reader(index=None).to_arrow_table()
    assert table.column_names == ["rerun_segment_id"]
    assert table.num_rows == 0
    assert repr(empty.reader(index=None)) == "No data to display"
    with pytest.raises(ValueError, match="Index 'frame_nr' does not exist"):
        empty.reader(index="frame_nr")
    assert empty.info().num_segments == 0
    assert empty.segment_table().count() == 0


def test_a_file_changed_after_registration(
    client: Catalog.CatalogClient, howto_files: list[Path], tmp_path: Path
) -> None:
    victim = tmp_path / "victim.rrd"
    shutil.copy(howto_files[0], victim)
    dataset = client.create_dataset("d")
    dataset.register([victim, howto_files[1]]).wait()
    victim.write_bytes(victim.read_bytes()[:1000])
    with pytest.raises(Exception, match=r"victim\.rrd|recording_001"):
        dataset.reader(index="frame_nr").to_arrow_table()
    # It harms its own segment only.
    assert (
        dataset.filter_segments("recording_002").reader(index="frame_nr").to_arrow_table().num_rows
        == 4
    )
    victim.unlink()
    with pytest.raises(Exception, match=r"victim\.rrd|recording_001"):
        dataset.reader(index="frame_nr").to_arrow_table()
    assert (
        dataset.filter_segments("recording_002").reader(index="frame_nr").to_arrow_table().num_rows
        == 4
    )


def test_an_entry_that_was_deleted(client: Catalog.CatalogClient, howto_files: list[Path]) -> None:
    dataset = client.create_dataset("gone")
    dataset.register(howto_files).wait()
    frame = dataset.reader(index="frame_nr")
    dataset.delete()
    assert dataset.name == "gone"
    with pytest.raises(Catalog.NotFoundError):
        dataset.schema()
    with pytest.raises(Catalog.NotFoundError):
        dataset.reader(index="frame_nr")
    with pytest.raises(Exception, match=r"(?i)not found|gone"):
        frame.to_arrow_table()
    assert client.entry_names() == []


def test_a_wrong_pyarrow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    code = (
        "import pyarrow\n"
        "class Info:\n"
        "    def __getattr__(self, name): return '2500'\n"
        "pyarrow.cpp_build_info = Info()\n"
        "pyarrow.__version__ = '25.0.0'\n"
        "import rushes\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "ImportError: rushes is built for pyarrow 26.0.x and found 25.0.0." in done.stderr
    assert "-m pip install 'pyarrow>=26.0.0,<26.1'" in done.stderr
