"""Blueprints, assets, properties, uploads and maintenance, in this process and over the network."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import rushes as rr
from rushes.catalog import (
    AlreadyExistsError,
    CatalogClient,
    DatasetEntry,
    NotFoundError,
)

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "recordings" / "howto" / "recording_001.rrd"
BLUEPRINT = ROOT / "tests" / "data" / "sdk_0.41" / "blueprint.rbl"


@pytest.fixture(params=["in process", "network"])
def client(request: pytest.FixtureRequest, server: rr.server.Server) -> CatalogClient:
    return server.client() if request.param == "in process" else CatalogClient(server.url())


@pytest.fixture
def dataset(client: CatalogClient) -> DatasetEntry:
    made = client.create_dataset("d")
    made.register(HOWTO).wait()
    return made


@pytest.fixture(scope="session")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of static data: a robot's shape."""
    sdk = pytest.importorskip("rerun")
    path = tmp_path_factory.mktemp("assets") / "robot.rrd"
    stream = sdk.RecordingStream("rushes_tests", recording_id="robot", send_properties=False)
    stream.save(str(path))
    stream.log("robot/shape", sdk.Points3D([[1, 2, 3]]), static=True)
    stream.flush()
    stream.disconnect()
    return path


@pytest.fixture(scope="session")
def fragments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 300 chunks of one row."""
    sdk = pytest.importorskip("rerun")
    path = tmp_path_factory.mktemp("fragments") / "fragments.rrd"
    stream = sdk.RecordingStream("rushes_tests", recording_id="fragments")
    stream.save(str(path))
    for i in range(100):
        for entity in ("a", "b/c", "d"):
            stream.send_columns(
                entity,
                indexes=[sdk.TimeColumn("frame", sequence=[2 * i])],
                columns=sdk.Scalars.columns(scalars=[float(i)]),
            )
    stream.log("still", sdk.TextLog("static"), static=True)
    stream.flush()
    stream.disconnect()
    return path


# --- blueprints


def test_blueprints(dataset: DatasetEntry) -> None:
    companion = dataset.blueprint_dataset()
    assert companion is not None
    assert companion.name == f"__bp_{dataset.id}"
    assert dataset.blueprints() == []
    assert dataset.default_blueprint() is None
    dataset.register_blueprint(BLUEPRINT)
    [blueprint] = dataset.blueprints()
    assert dataset.default_blueprint() == blueprint
    assert dataset.default_segment_table_blueprint() is None
    dataset.register_blueprint(BLUEPRINT.as_uri(), segment_table=True)
    assert dataset.blueprints() == [blueprint]
    assert dataset.default_segment_table_blueprint() == blueprint
    dataset.set_default_blueprint(None)
    assert dataset.default_blueprint() is None
    assert dataset.default_segment_table_blueprint() == blueprint
    dataset.set_default_segment_table_blueprint("not there")
    assert dataset.default_segment_table_blueprint() == "not there"
    dataset.register_blueprint(BLUEPRINT, set_default=False)
    assert dataset.default_blueprint() is None


def test_blueprints_that_cannot_be(dataset: DatasetEntry, client: CatalogClient) -> None:
    with pytest.raises(IndexError, match="no blueprint"):
        dataset.register_blueprint(HOWTO)
    with pytest.raises(NotFoundError):
        dataset.register_blueprint("/nowhere.rbl")
    with pytest.raises(TypeError, match="uri must be"):
        dataset.register_blueprint(3)  # type: ignore[arg-type]
    companion = dataset.blueprint_dataset()
    assert companion is not None
    companion.delete()
    with pytest.raises(NotFoundError):
        dataset.blueprint_dataset()
    with pytest.raises(ValueError, match="does not exist"):
        dataset.set_default_blueprint("x")
    assert client.get_dataset("d").asset_dataset() is not None


# --- assets


def test_assets(dataset: DatasetEntry, asset: Path) -> None:
    assert dataset.assets() == []
    assert dataset.assets_for_segment("recording_001") == []
    assert dataset.register_asset(asset) == "robot"
    assert dataset.register_asset(str(asset)) == "robot"  # the same one again
    assert dataset.assets() == ["robot"]
    assert dataset.assets_for_segment("recording_001") == ["robot"]
    dataset.remove_segments_from_asset("robot", ["recording_001", "other"])
    assert dataset.assets_for_segment("recording_001") == []
    assert dataset.assets_for_segment("third") == ["robot"]
    dataset.add_segments_to_asset("robot", "recording_001")
    assert dataset.assets_for_segment("recording_001") == ["robot"]
    assert dataset.assets_for_segment("other") == []

    dataset.register_asset(asset, mode="opt_in", segments=["recording_001"])
    assert dataset.assets_for_segment("recording_001") == ["robot"]
    assert dataset.assets_for_segment("other") == []
    dataset.add_segments_to_asset("robot", "other")
    assert dataset.assets_for_segment("other") == ["robot"]

    dataset.unregister_asset("robot")
    dataset.unregister_asset("robot")  # nothing there
    assert dataset.assets() == []
    assert dataset.assets_for_segment("recording_001") == []


def test_schema_with_assets(dataset: DatasetEntry, asset: Path) -> None:
    dataset.register_asset(asset)
    segment = dataset.segment(dataset.segment_ids()[0])
    own = segment.schema().to_arrow().names
    both = segment.schema(include_assets=True).to_arrow().names
    assert both[: len(own)] == own
    assert "/robot/shape:Points3D:positions" in both[len(own) :]
    assert "/robot/shape:Points3D:positions" not in dataset.schema().to_arrow().names
    dataset.unregister_asset("robot")
    assert segment.schema(include_assets=True).to_arrow().names == own


def test_assets_that_cannot_be(dataset: DatasetEntry, asset: Path) -> None:
    with pytest.raises(KeyError):
        dataset.register_asset(asset, mode="sometimes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="static"):
        dataset.register_asset(HOWTO)
    with pytest.raises(IndexError, match="no recording"):
        dataset.register_asset(BLUEPRINT)
    assert dataset.assets() == []
    with pytest.raises(TypeError, match="segments must be str"):
        dataset.register_asset(asset, segments=[1])  # type: ignore[list-item]
    # An unknown asset may get a list before it is registered.
    dataset.remove_segments_from_asset("robot", ["recording_001"])
    assert dataset.assets_for_segment("recording_001") == []


def test_edits_of_an_asset_do_not_undo_each_other(server: rr.server.Server, asset: Path) -> None:
    client = server.client()
    client.create_dataset("d").register_asset(asset)

    def add(name: str) -> None:
        CatalogClient(server.url()).get_dataset("d").remove_segments_from_asset("robot", name)

    threads = [threading.Thread(target=add, args=(f"s{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dataset = client.get_dataset("d")
    assert [i for i in range(6) if dataset.assets_for_segment(f"s{i}")] == []


def test_properties_are_deleted(dataset: DatasetEntry, asset: Path) -> None:
    dataset.register_asset(asset, mode="opt_in", segments=["a"])
    assets = dataset.asset_dataset()
    assert assets is not None
    assert dataset.assets_for_segment("b") == []
    assets.delete_segment_properties("robot")
    assets.delete_segment_properties(["robot", "unknown"])
    assert dataset.assets_for_segment("b") == ["robot"]  # without properties it applies to all
    with pytest.raises(TypeError, match="segment_ids must be str"):
        assets.delete_segment_properties([1])  # type: ignore[list-item]


# --- uploads


def test_stage(client: CatalogClient, dataset: DatasetEntry, tmp_path: Path) -> None:
    url = client.stage(HOWTO, key="runs/one.rrd")
    assert url.startswith("file://")
    assert url.endswith("runs/one.rrd")
    other = client.create_dataset("uploaded")
    assert other.register([url]).wait().segment_ids == dataset.segment_ids()
    assert pa.table(other.reader(index=None)).num_rows == 1
    assert other.segment_table().to_pydict()["rerun_storage_urls"] == [[url]]
    assert client.stage(b"bytes", key="runs/bytes") == url.replace("one.rrd", "bytes")
    assert Path(url.removeprefix("file://")).read_bytes() == HOWTO.read_bytes()
    client.stage(b"", key="empty")
    with pytest.raises(AlreadyExistsError, match=r"runs/one\.rrd"):
        client.stage(b"other", key="runs/one.rrd")
    for key in ("", "/a", "../a", "a b", "a/", "x" * 256):
        with pytest.raises(ValueError, match="invalid object key"):
            client.stage(b"x", key=key)
    with pytest.raises(FileNotFoundError):
        client.stage(tmp_path / "missing", key="missing")
    with pytest.raises(OSError, match="directory"):
        client.stage(tmp_path, key="directory")
    with pytest.raises(TypeError, match="source"):
        client.stage(3, key="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key"):
        client.stage(b"x", key=3)  # type: ignore[arg-type]


def test_limits_of_uploads(tmp_path: Path) -> None:
    with rr.server.Server(
        staging_directory=tmp_path / "staging", max_upload_bytes=1000, max_staging_bytes=1500
    ) as server:
        for client in (server.client(), CatalogClient(server.url())):
            with pytest.raises((ConnectionError, MemoryError), match="1000 bytes"):
                client.stage(b"x" * 1001, key="large")
        client.stage(b"x" * 1000, key="one")
        for client in (server.client(), CatalogClient(server.url())):
            with pytest.raises((ConnectionError, MemoryError), match="1500 bytes"):
                client.stage(b"x" * 600, key="two")
        assert not list((tmp_path / "staging" / "drafts").iterdir())
        with pytest.raises(ValueError, match="in use"):
            rr.server.Server(staging_directory=tmp_path / "staging")
    # A directory that was given is kept.
    assert (tmp_path / "staging" / "objects" / "one").read_bytes() == b"x" * 1000


def test_a_temporary_staging_directory_goes_with_the_server() -> None:
    server = rr.server.Server()
    url = server.client().stage(b"x", key="x")
    path = Path(url.removeprefix("file://"))
    assert path.exists()
    server.shutdown()
    del server
    assert not path.parents[1].exists()


@pytest.fixture
def storage() -> Iterator[tuple[str, list[tuple[str, bytes]], list[int]]]:
    """A web server that takes PUTs: its address, what it got, and codes to answer with first."""
    got: list[tuple[str, bytes]] = []
    codes: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, body))
            code = codes.pop(0) if codes else 200
            self.send_response(code)
            self.send_header("etag", f'"{len(got)}"')
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}", got, codes
        web.shutdown()
        thread.join()


class _FakeRequest:
    def __init__(self, url: str) -> None:
        self.method, self.url, self.same_origin = "PUT", url, False
        self.headers: list[tuple[str, str]] = []


class _FakeGrant:
    def __init__(self, url: str, token: bytes) -> None:
        self.storage_url, self.upload_token, self.part_bytes = "s3://bucket/key", token, 4
        self.requests = [_FakeRequest(url + "/given")]


class _FakeConnection:
    """A server that gives grants for another place, in parts of four bytes."""

    def __init__(self, url: str, token: bytes) -> None:
        self._url, self._token = url, token
        self.completed: list[str] | None = None
        self.aborted = False

    def is_local(self) -> bool:
        return False

    def url(self) -> str:
        return "rerun+http://127.0.0.1:1"

    def write_grant(self, key: str, size: int | None) -> _FakeGrant:
        return _FakeGrant(self._url, self._token)

    def part_grant(self, token: bytes, number: int) -> _FakeRequest:
        assert token == self._token
        return _FakeRequest(f"{self._url}/part{number}")

    def complete_upload(self, token: bytes, etags: list[str]) -> None:
        self.completed = etags

    def abort_upload(self, token: bytes) -> None:
        self.aborted = True


def _client(connection: object) -> CatalogClient:
    return CatalogClient._from_connection(connection)  # type: ignore[arg-type]


def test_upload_in_parts(storage: tuple[str, list[tuple[str, bytes]], list[int]]) -> None:
    url, got, codes = storage
    connection = _FakeConnection(url, b"token")
    codes += [200, 403, 503]  # the second part is refused, then fails, then is taken
    assert _client(connection).stage(b"0123456789", key="key") == "s3://bucket/key"
    assert got == [
        ("/given", b"0123"),
        ("/part2", b"4567"),
        ("/part2", b"4567"),
        ("/part2", b"4567"),
        ("/part3", b"89"),
    ]
    assert connection.completed == ['"1"', '"4"', '"5"']
    assert not connection.aborted


def test_upload_in_parts_that_fails(
    storage: tuple[str, list[tuple[str, bytes]], list[int]],
) -> None:
    url, got, codes = storage
    connection = _FakeConnection(url, b"token")
    codes += [503] * 9
    with pytest.raises(ConnectionError, match="503"):
        _client(connection).stage(b"0123456789", key="key")
    assert connection.aborted
    assert connection.completed is None
    assert len(got) == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, ValueError),
        (403, PermissionError),
        (412, AlreadyExistsError),
        (413, ConnectionError),
        (500, RuntimeError),
    ],
)
def test_upload_that_is_refused(
    storage: tuple[str, list[tuple[str, bytes]], list[int]], code: int, error: type[Exception]
) -> None:
    url, _, codes = storage
    codes.append(code)
    with pytest.raises(error, match="key"):
        _client(_FakeConnection(url, b"")).stage(b"0123", key="key")


# --- tasks


def test_a_registration_is_cancelled(
    client: CatalogClient, tmp_path: Path, howto_files: list[Path]
) -> None:
    dataset = client.create_dataset("d")
    operation = dataset.register(howto_files)
    operation.cancel()  # done already: no effect
    assert len(operation.wait().segment_ids) == 2
    assert [result.is_success for result in operation.iter_results()] == [True, True]
    dataset.unregister(segments_to_drop=dataset.segment_ids(), layers_to_drop=[], force=True).wait()
    assert dataset.segment_ids() == []


# --- maintenance


def test_compaction_does_not_show(client: CatalogClient, fragments: Path) -> None:
    dataset = client.create_dataset("d")
    dataset.register(fragments).wait()
    contents = fragments.read_bytes()

    def tables() -> list[pa.Table]:
        reader = dataset.filter_contents("/**").reader
        return [
            pa.table(reader(index="frame").sort("frame")),
            pa.table(reader(index="frame", fill_latest_at=True).sort("frame")),
            pa.table(reader(index=None)),
        ]

    before = tables()
    assert before[0].num_rows == 100
    chunks = dataset.segment_table().to_pydict()["rerun_num_chunks"][0]
    lazy = dataset.reader(index="frame").sort("frame")  # planned before, read after
    report = dataset.do_maintenance(compact_fragments=True)
    assert "1 layer" in report
    after = dataset.segment_table().to_pydict()
    assert after["rerun_num_chunks"][0] < chunks / 10
    assert after["rerun_storage_urls"] == [[fragments.as_uri()]]
    for old, new in zip(before, tables(), strict=True):
        assert new.equals(old)
    assert lazy.to_arrow_table().num_rows == 100
    assert fragments.read_bytes() == contents
    assert "no layer" in dataset.do_maintenance(compact_fragments=True)
    # Removed and cleaned up, nothing is left of it; the recording is.
    dataset.unregister(segments_to_drop="fragments", layers_to_drop=[]).wait()
    del lazy
    assert dataset.do_maintenance() == ""
    soon = datetime.now(UTC) + timedelta(seconds=1)
    with pytest.raises(ValueError, match="one hour ago"):
        dataset.do_maintenance(cleanup_before=soon)
    dataset.do_maintenance(cleanup_before=soon, unsafe_allow_recent_cleanup=True)
    client.do_global_maintenance()
    assert fragments.read_bytes() == contents


def test_maintenance_holds_up_nobody(server: rr.server.Server, fragments: Path) -> None:
    client = CatalogClient(server.url())
    dataset = client.create_dataset("d")
    dataset.register(fragments).wait()
    expected = pa.table(dataset.reader(index="frame").sort("frame"))
    stop = threading.Event()
    problems: list[object] = []

    def read() -> None:
        mine = CatalogClient(server.url()).get_dataset("d")
        while not stop.is_set():
            try:
                if not pa.table(mine.reader(index="frame").sort("frame")).equals(expected):
                    problems.append("another answer")
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for layer in ("a", "b"):
        dataset.do_maintenance(compact_fragments=True)
        dataset.register(fragments, layer_name=layer).wait()
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_narrowed_columns_agree(server: rr.server.Server, fragments: Path) -> None:
    """Over the network only chunks that hold a wanted component are looked for; in process all are at hand."""
    local = server.client().create_dataset("d")
    local.register(fragments).wait()
    remote = CatalogClient(server.url()).get_dataset("d")
    for columns in (["frame", "/a:Scalars:scalars"], ["frame"], ["/still:TextLog:text"]):
        frames = [
            d.reader(index="frame").select(*[f'"{c}"' for c in columns]) for d in (local, remote)
        ]
        tables = [pa.table(frame) for frame in frames]
        assert tables[0].num_rows == tables[1].num_rows
        assert tables[0].to_pydict() == tables[1].to_pydict()
