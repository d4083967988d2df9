"""The official Python client against our server; its tables must equal those from the official server."""

from __future__ import annotations

import base64
import http.client
import shutil
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

rr = pytest.importorskip("rerun")
from rerun.catalog import AlreadyExistsError, CatalogClient, NotFoundError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DEMO = sorted((ROOT / "recordings" / "demo").glob("*.rrd"))
HOWTO = sorted((ROOT / "recordings" / "howto").glob("*.rrd"))


def uris(paths: list[Path]) -> list[str]:
    return [path.resolve().as_uri() for path in paths]


@pytest.fixture
def client(serve) -> CatalogClient:
    return CatalogClient(serve().url)


@pytest.fixture
def demo(client):
    dataset = client.create_dataset("demo")
    dataset.register(uris(DEMO)).wait()
    return dataset


@pytest.fixture(scope="module")
def official_demo():
    with rr.server.Server(host="127.0.0.1") as server:
        dataset = server.client().create_dataset("demo")
        dataset.register(uris(DEMO)).wait()
        yield dataset


def table(frame) -> pa.Table:
    return frame.to_arrow_table()


def by_segment(frame, *more: str) -> pa.Table:
    rows = table(frame)
    return rows.sort_by(
        [(name, "ascending") for name in ("rerun_segment_id", *more)]
    ).combine_chunks()


def temporal(dataset) -> list[str]:
    """Names of the component columns that are not static: the official engine drops static ones at times."""
    return sorted(
        field.name
        for field in dataset.schema().to_arrow()
        if (field.metadata or {}).get(b"rerun:kind") == b"data"
        and b"rerun:is_static" not in field.metadata
        and not field.name.startswith("property:")
    )


# --- entries


def test_create_rename_delete(client: CatalogClient) -> None:
    assert client.datasets() == []
    created = client.create_dataset("first")
    assert client.get_dataset("first").id == created.id
    assert client.get_dataset(id=created.id).name == "first"
    with pytest.raises(AlreadyExistsError, match="first"):
        client.create_dataset("first")
    created.set_name("second [v1.0]: x-y_z")
    assert client.get_dataset("second [v1.0]: x-y_z").id == created.id
    with pytest.raises(LookupError):
        client.get_dataset("first")
    client.create_dataset("first")  # the old name is free again
    with pytest.raises(AlreadyExistsError):
        created.set_name("first")
    for bad, words in (
        ("", "must not be empty"),
        ("a/b", "invalid character '/'"),
        ("x" * 181, "180"),
    ):
        with pytest.raises(ValueError, match=words):
            client.create_dataset(bad)
    created.delete()
    assert [dataset.name for dataset in client.datasets()] == ["first"]
    names = {entry.name for entry in client.entries(include_hidden=True)}
    assert "__entries" in names
    assert len([name for name in names if name.startswith("__bp_")]) == 1


def test_entries_table(client: CatalogClient) -> None:
    def rows() -> list[tuple[str, int]]:
        entries = table(client.get_table("__entries").reader())
        assert entries.schema.field("entry_kind").type == pa.uint8()
        return sorted(
            zip(entries["name"].to_pylist(), entries["entry_kind"].to_pylist(), strict=True)
        )

    assert rows() == [("__entries", 3)]
    dataset = client.create_dataset("d")
    kinds = sorted(kind for _, kind in rows())
    assert kinds == [1, 3, 5, 6]
    dataset.delete()
    assert rows() == [("__entries", 3)]


def test_version_and_empty_dataset(client: CatalogClient) -> None:
    assert "rushes" in str(client.version_info())
    dataset = client.create_dataset("empty")
    assert dataset.segment_ids() == []
    assert len(dataset.schema().to_arrow()) == 0
    assert table(dataset.segment_table()).num_rows == 0
    assert table(dataset.manifest()).num_rows == 0


# --- metadata equals that of the official server

# Differ by run, or by what is counted.
VOLATILE = {"rerun_last_updated_at", "rerun_registration_time"}


def comparable(rows: pa.Table) -> pa.Table:
    return rows.drop_columns([name for name in VOLATILE if name in rows.column_names])


def test_segment_table(demo, official_demo) -> None:
    ours, theirs = by_segment(demo.segment_table()), by_segment(official_demo.segment_table())
    assert ours.schema.names == theirs.schema.names
    for mine, other in zip(ours.schema, theirs.schema, strict=True):
        assert mine.equals(other, check_metadata=True), (mine, mine.metadata, other, other.metadata)
    assert comparable(ours).equals(comparable(theirs))


def test_manifest(demo, official_demo) -> None:
    ours, theirs = (
        by_segment(demo.manifest(include_diagnostic_data=True)),
        by_segment(official_demo.manifest(include_diagnostic_data=True)),
    )
    assert ours.schema.equals(theirs.schema, check_metadata=True)
    assert comparable(ours).equals(comparable(theirs))  # the hashes of the schemas among it


def test_schema(demo, official_demo) -> None:
    ours, theirs = demo.schema().to_arrow(), official_demo.schema().to_arrow()
    assert sorted(ours.names) == sorted(theirs.names)
    for name in ours.names:
        assert ours.field(name).equals(theirs.field(name), check_metadata=True), name
    assert demo.schema().index_columns() == official_demo.schema().index_columns()


def test_segment_schema_and_info(demo, official_demo) -> None:
    ours, theirs = (
        demo.segment("episode_001").schema().to_arrow(),
        official_demo.segment("episode_001").schema().to_arrow(),
    )
    assert sorted(ours.names) == sorted(theirs.names)
    assert str(demo.info()) == str(official_demo.info()).replace(
        str(official_demo.id), str(demo.id)
    )
    ranges = by_segment(demo.get_index_ranges()), by_segment(official_demo.get_index_ranges())
    assert ranges[0].equals(ranges[1])


# --- dataframes equal those from the official server


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("index", ["frame_nr", "sim_time", "robot_time", "log_time"])
def test_reader(demo, official_demo, index: str, fill: bool) -> None:
    ours = by_segment(demo.reader(index=index, fill_latest_at=fill), index)
    theirs = by_segment(official_demo.reader(index=index, fill_latest_at=fill), index)
    assert sorted(ours.column_names) == sorted(theirs.column_names)
    assert ours.num_rows == theirs.num_rows > 0
    # Without the columns that readers leave out, such as those of clears.
    shown = [name for name in temporal(demo) if name in theirs.column_names]
    assert len(shown) > 20
    columns = ["rerun_segment_id", "frame_nr", "sim_time", "robot_time", "log_time", *shown]
    assert ours.select(columns).equals(theirs.select(columns))


def test_reader_static(demo, official_demo) -> None:
    ours, theirs = by_segment(demo.reader(index=None)), by_segment(official_demo.reader(index=None))
    assert ours.num_rows == theirs.num_rows == 3
    assert sorted(ours.column_names) == sorted(theirs.column_names)
    for name in ours.column_names:
        if not name.startswith("property:"):
            assert ours[name].equals(theirs[name]), name


def test_reader_views(demo, official_demo) -> None:
    from datafusion import col, lit

    def read(dataset) -> list[pa.Table]:
        joints = dataset.filter_contents(["/joints/**"])
        two = dataset.filter_segments(["episode_000", "episode_002", "unknown"]).filter_contents(
            ["/sensors/**", "/joints/base"]
        )
        return [
            by_segment(joints.reader(index="frame_nr"), "frame_nr"),
            by_segment(two.reader(index="sim_time"), "sim_time"),
            by_segment(
                joints.reader(index="frame_nr")
                .filter(col("frame_nr") >= lit(50))
                .filter(col("frame_nr") < lit(60)),
                "frame_nr",
            ),
            by_segment(
                joints.reader(
                    index="frame_nr",
                    using_index_values={"episode_001": [3, 50, 1000]},
                    fill_latest_at=True,
                ),
                "frame_nr",
            ),
            by_segment(
                dataset.reader(index="frame_nr").select(
                    "rerun_segment_id", "frame_nr", "/sensors/temp:Scalars:scalars"
                ),
                "frame_nr",
            ),
        ]

    for ours, theirs in zip(read(demo), read(official_demo), strict=True):
        assert ours.num_rows > 0
        assert sorted(ours.column_names) == sorted(theirs.column_names)
        assert ours.equals(theirs.select(ours.column_names))


def test_segment_store(demo, official_demo) -> None:
    """Through GetRrdManifest and FetchChunks, as the viewer reads."""

    def chunks(dataset) -> dict[str, int]:
        stream = dataset.segment_store("episode_000").stream()
        return {str(chunk.id): chunk.num_rows for chunk in stream.to_chunks()}

    assert chunks(demo) == chunks(official_demo)


# --- registration


def test_layers_and_unregister(client: CatalogClient) -> None:
    dataset = client.create_dataset("layers")
    dataset.register(uris(HOWTO)).wait()
    dataset.register(uris(HOWTO[:1]), layer_name="extra").wait()
    segments = by_segment(dataset.segment_table())
    assert segments["rerun_layer_names"].to_pylist() == [["base", "extra"], ["base"]]
    assert dataset.layer("extra").segment_ids() == ["recording_001"]
    manifest = table(dataset.manifest())
    assert sorted(
        zip(
            manifest["rerun_segment_id"].to_pylist(),
            manifest["rerun_layer_name"].to_pylist(),
            strict=True,
        )
    ) == [
        ("recording_001", "base"),
        ("recording_001", "extra"),
        ("recording_002", "base"),
    ]
    dataset.unregister(segments_to_drop="recording_001", layers_to_drop="extra").wait()
    assert by_segment(dataset.segment_table())["rerun_layer_names"].to_pylist() == [
        ["base"],
        ["base"],
    ]
    dataset.unregister(segments_to_drop=["recording_001", "unknown"], layers_to_drop=[]).wait()
    assert dataset.segment_ids() == ["recording_002"]
    with pytest.raises(ValueError, match="at least 1 segment ID or layer"):
        dataset.unregister(segments_to_drop=[], layers_to_drop=[]).wait()
    assert dataset.register(uris(HOWTO[:1])).wait().segment_ids == ["recording_001"]


def test_properties_that_share_a_column(client: CatalogClient, tmp_path: Path) -> None:
    """Names lose their punctuation in the metadata tables; what cannot be one column is refused, and the tables stay readable."""
    dataset = client.create_dataset("properties")
    for name, values in (("first", {"a-b": [1.5]}), ("second", {"a_b": ["text"]})):
        with rr.RecordingStream("properties", recording_id=name) as stream:
            stream.save(tmp_path / f"{name}.rrd")
            stream.send_property("run", rr.AnyValues(**values))
    dataset.register(uris([tmp_path / "first.rrd"])).wait()
    with pytest.raises(ValueError, match=r"(?s)schema incompatibility .*property:run:a_b"):
        dataset.register(uris([tmp_path / "second.rrd"])).wait()
    assert table(dataset.segment_table())["rerun_segment_id"].to_pylist() == ["first"]


def test_duplicates(client: CatalogClient) -> None:
    dataset = client.create_dataset("duplicates")
    dataset.register(uris(HOWTO)).wait()
    first = by_segment(dataset.segment_table())["rerun_last_updated_at"]
    with pytest.raises(ValueError, match='Segment "recording_001", layer "base": already exists'):
        dataset.register(uris(HOWTO[:1])).wait()
    assert dataset.register(uris(HOWTO[:1]), on_duplicate="skip").wait().segment_ids == [
        "recording_001"
    ]
    assert by_segment(dataset.segment_table())["rerun_last_updated_at"].equals(first)
    assert dataset.register(uris(HOWTO[:1]), on_duplicate="replace").wait().segment_ids == [
        "recording_001"
    ]
    assert pc.greater(
        by_segment(dataset.segment_table())["rerun_last_updated_at"], first
    ).to_pylist() == [True, False]
    with pytest.raises(ValueError, match="duplicate segment layers in request"):
        dataset.register(uris([HOWTO[0], HOWTO[0]]))


def test_prefix(client: CatalogClient, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    shutil.copy(HOWTO[0], tmp_path / "a" / "one.rrd")
    shutil.copy(HOWTO[1], tmp_path / "a" / "b" / "two with space.rrd")
    (tmp_path / "a" / "notes.txt").write_text("no recording")
    dataset = client.create_dataset("prefix")
    assert sorted(dataset.register_prefix(tmp_path.as_uri()).wait().segment_ids) == [
        "recording_001",
        "recording_002",
    ]
    for prefix, words in (
        (tmp_path / "none", "Directory not found"),
        (tmp_path / "a" / "notes.txt", "expected prefix / directory but got an object"),
    ):
        with pytest.raises(ValueError, match=words):
            dataset.register_prefix(prefix.as_uri())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no rrd files found in"):
        dataset.register_prefix((tmp_path / "empty").as_uri())


def test_bad_files(client: CatalogClient, tmp_path: Path) -> None:
    dataset = client.create_dataset("bad")
    text = tmp_path / "text.rrd"
    text.write_text("this is not a recording")
    cut = tmp_path / "cut.rrd"
    cut.write_bytes(DEMO[0].read_bytes()[: DEMO[0].stat().st_size // 2])
    with pytest.raises(NotFoundError, match=r"missing\.rrd"):
        dataset.register([(tmp_path / "missing.rrd").as_uri()])
    with pytest.raises(NotFoundError, match="directory"):
        dataset.register([tmp_path.as_uri()])
    with pytest.raises(NotFoundError):
        dataset.register(["s3://bucket/recording.rrd"])
    for path in (text, cut):
        with pytest.raises(ValueError, match=path.name):
            dataset.register([path.as_uri(), *uris(HOWTO)])
    assert dataset.segment_ids() == []  # all or nothing
    with pytest.raises(ValueError, match="no data sources"):
        dataset.register([])


def test_schema_conflict_fails_its_source_only(client: CatalogClient, tmp_path: Path) -> None:
    def write(name: str, kind) -> Path:
        path = tmp_path / f"{name}.rrd"
        with rr.RecordingStream("rushes_test", recording_id=name) as recording:
            recording.save(path)
            recording.set_time("t", sequence=1)
            recording.log("/x", rr.AnyValues(value=pa.array([1], kind)))
        return path

    paths = [write("good", pa.int64()), write("other", pa.float32())]
    dataset = client.create_dataset("conflict")
    dataset.register(uris(paths[:1])).wait()
    with pytest.raises(ValueError, match="schema incompatibility on segment 'other'"):
        dataset.register([*uris(paths[1:]), *uris(HOWTO[:1])]).wait()
    assert sorted(dataset.segment_ids()) == ["good", "recording_001"]


def test_file_changed_after_registration(client: CatalogClient, tmp_path: Path) -> None:
    paths = [Path(shutil.copy(path, tmp_path / path.name)) for path in DEMO]
    dataset = client.create_dataset("changed")
    dataset.register(uris(paths)).wait()
    paths[1].write_bytes(paths[1].read_bytes()[:1000])
    paths[2].unlink()
    # What is known stays known; only the data of the two is gone.
    assert len(dataset.segment_ids()) == table(dataset.segment_table()).num_rows == 3
    assert (
        by_segment(
            dataset.filter_segments(["episode_000"]).reader(index="frame_nr"), "frame_nr"
        ).num_rows
        == 200
    )
    for gone in ("episode_001", "episode_002"):
        with pytest.raises(Exception, match=gone):
            table(dataset.filter_segments([gone]).reader(index="frame_nr"))
    assert dataset.filter_segments(["episode_000"]).reader(index="frame_nr").count() == 200


def test_blueprint_and_asset(client: CatalogClient, tmp_path: Path) -> None:
    import rerun.blueprint as rrb

    dataset = client.create_dataset("with_blueprint")
    dataset.register(uris(DEMO)).wait()
    blueprint = tmp_path / "view.rbl"
    rrb.Blueprint(rrb.Spatial2DView(origin="/cameras/front")).save("rushes_demo", blueprint)
    dataset.register_blueprint(blueprint.as_uri())
    assert len(dataset.blueprints()) == 1
    assert dataset.default_blueprint() == dataset.blueprints()[0]
    dataset.register_blueprint(blueprint.as_uri())  # again: replaces
    assert len(dataset.blueprints()) == 1

    asset = tmp_path / "asset.rrd"
    with rr.RecordingStream("rushes_test", recording_id="mesh", send_properties=False) as recording:
        recording.save(asset)
        recording.log("/mesh", rr.Points3D([[1, 2, 3]]), static=True)
    name = dataset.register_asset(asset.as_uri(), mode="opt_in", segments=["episode_001"])
    assert dataset.assets() == [name] == ["mesh"]
    assert dataset.assets_for_segment("episode_001") == ["mesh"]
    assert dataset.assets_for_segment("episode_000") == []
    with pytest.raises(ValueError, match="static"):
        dataset.register_asset(DEMO[0].resolve().as_uri())
    dataset.unregister_asset("mesh")
    assert dataset.assets() == []


# --- the port


def http_get(
    port: int,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response, response.read()


def web_frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flag, length = struct.unpack(">BI", body[:5])
        frames.append((flag, body[5 : 5 + length]))
        body = body[5 + length :]
    return frames


def test_http_on_the_same_port(serve) -> None:
    server = serve(*DEMO)
    response, body = http_get(server.port, "/version")
    assert response.status == 200
    assert body.startswith(b"rushes ")
    assert response.headers["x-rerun-server-version"].startswith("rushes/")
    response, body = http_get(server.port, "/elsewhere")
    assert response.status == 404
    assert b"rerun+http://" in body
    assert CatalogClient(server.url).get_dataset("recordings").segment_ids()


def test_grpc_web(serve) -> None:
    server = serve(*DEMO)
    path = "/rerun.cloud.v1alpha1.RerunCloudService/"
    headers = {
        "content-type": "application/grpc-web+proto",
        "origin": "http://localhost:9090",
        "x-grpc-web": "1",
    }
    response, body = http_get(server.port, path + "Version", "POST", b"\0\0\0\0\0", headers)
    assert response.status == 200
    assert response.headers["content-type"] == "application/grpc-web+proto"
    assert response.headers["access-control-allow-origin"] == "http://localhost:9090"
    (data, message), (end, trailers) = web_frames(body)
    assert (data, end) == (0, 0x80)
    assert b"rushes" in message
    assert trailers.startswith(b"grpc-status:0")

    bandwidth = struct.pack(">BI", 0, 5) + b"\x08" + bytes([0x80, 0x80, 0xC0, 0x02])  # 5 MiB
    response, body = http_get(server.port, path + "DoBandwidthTest", "POST", bandwidth, headers)
    frames = web_frames(body)
    assert sum(len(frame) for flag, frame in frames if flag == 0) > 5 << 20
    assert frames[-1][1].startswith(b"grpc-status:0")

    text = {**headers, "content-type": "application/grpc-web-text"}
    response, body = http_get(
        server.port, path + "Version", "POST", base64.b64encode(b"\0\0\0\0\0"), text
    )
    assert b"rushes" in b"".join(
        base64.b64decode(part + b"===") for part in body.replace(b"=", b"= ").split()
    )

    response, body = http_get(
        server.port, path + "ReadDatasetEntry", "POST", b"\0\0\0\0\0", headers
    )
    assert web_frames(body)[-1][1].startswith(b"grpc-status:3")
    response, body = http_get(server.port, path + "NoSuchMethod", "POST", b"\0\0\0\0\0", headers)
    assert response.headers["grpc-status"] == "12"

    preflight = {
        "origin": "http://localhost:9090",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-grpc-web",
    }
    response, _ = http_get(server.port, path + "Version", "OPTIONS", headers=preflight)
    assert response.status == 200
    assert response.headers["access-control-allow-headers"] == "x-grpc-web"
    response, _ = http_get(server.port, "/version", headers={"origin": "https://example.com"})
    assert "access-control-allow-origin" not in response.headers


def test_strange_connections_do_no_harm(serve) -> None:
    server = serve(*DEMO)
    opened = []
    for first in (
        b"",
        b"P",
        b"PR",
        b"PRI * HTTP/2.0\r\n\r\nnonsense",
        b"\x16\x03\x01\x00\x05hello",
        b"\0" * 1000,
        b"GET / HTTP/1.1\r\nHost: x",
    ):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(first)
        opened.append(connection)
    client = CatalogClient(server.url)
    assert sorted(client.get_dataset("recordings").segment_ids()) == [
        "episode_000",
        "episode_001",
        "episode_002",
    ]
    assert server.stop() == 0  # although they are still open
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stops_while_it_is_read(serve, how: signal.Signals) -> None:
    server = serve(*DEMO)
    dataset = CatalogClient(server.url).get_dataset("recordings")
    stop = threading.Event()
    errors: list[Exception] = []

    def read() -> None:
        while not stop.is_set():
            try:
                table(dataset.reader(index="frame_nr"))
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    stop.wait(0.5)
    assert server.stop(how) == 0
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_port_in_use(serve) -> None:
    server = serve()
    second = subprocess.run(
        [server.executable, "serve", "--port", str(server.port)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode != 0
    assert f"127.0.0.1:{server.port}" in second.stderr
    assert "in use" in second.stderr
