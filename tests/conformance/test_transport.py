"""What surrounds the calls: addressing, headers, capabilities, the web's way in, reflection, health, live messages."""

from __future__ import annotations

import base64
import http.client
import struct
from typing import Any

import grpc
import pyarrow as pa
import pytest
from catalog_client import Catalog
from protocol import (
    SERVICE,
    decode,
    encode,
    entry_id,
    entry_id_text,
    pb,
    refused,
    segment_ids,
)

# --- which entry


@pytest.mark.covers("entry_by_header")
def test_datasets_are_named_by_header(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    read = catalog.ReadDatasetEntry
    assert read(entry=dataset).dataset.details.name == "mine"
    assert read(entry="mine").dataset.details.id == dataset
    both = [("x-rerun-entry-name-bin", b"another")]
    assert read(entry=dataset, headers=both).dataset.details.id == dataset
    with refused("INVALID_ARGUMENT", "^missing mandatory", "entry-id", "entry-name"):
        read()
    for bad in ("abc", "x" * 32, "0" * 31):
        with refused("INVALID_ARGUMENT"):
            read(headers=[("x-rerun-entry-id", bad)])
    with refused("NOT_FOUND", "'nothing'"):
        read(entry="nothing")
    with refused("NOT_FOUND"):
        read(entry="__entries")  # a table
    with refused("NOT_FOUND", entry_id_text(entry_id(1, 2))):
        read(entry=entry_id(1, 2))


@pytest.mark.covers("entry_by_header_or_body")
def test_entries_are_named_by_header_or_body(catalog: Catalog) -> None:
    dataset, other = catalog.create("mine"), catalog.create("other")
    update = pb.EntryDetailsUpdate()

    def name(**where: Any) -> str:
        return catalog.UpdateEntry(entry_details_update=update, **where).entry_details.name

    assert name(id=dataset) == name(entry=dataset) == name(id=dataset, entry=dataset) == "mine"
    with refused(
        "INVALID_ARGUMENT",
        "mismatched entry id",
        entry_id_text(dataset),
        entry_id_text(other),
    ):
        name(id=dataset, entry=other)
    with refused("INVALID_ARGUMENT", "missing entry id"):
        name()
    with refused("INVALID_ARGUMENT"):
        catalog.UpdateEntry(id=dataset)
    with refused("NOT_FOUND"):
        catalog.DeleteEntry(id=entry_id(1, 2))


# --- headers and capabilities


@pytest.mark.covers("response_headers")
def test_headers_of_every_answer(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    stub = catalog.channel.unary_unary(f"/{SERVICE}/ReadDatasetEntry")
    sent = [
        ("x-rerun-entry-id", entry_id_text(dataset)),
        ("x-rerun-client-version", "test/1.0"),
        ("x-rerun-client-id", "0" * 32),
        ("x-rerun-dataset-revision", "0"),
    ]
    _, call = stub.with_call(b"", metadata=sent, timeout=20)
    got = dict(call.initial_metadata())
    assert got["x-rerun-server-version"]
    assert len(got["x-request-trace-id"]) == 32
    assert got["x-rerun-client-version"] == "test/1.0"
    assert got["x-rerun-entry-id"] == entry_id_text(dataset)
    with pytest.raises(grpc.RpcError) as raised:
        stub(b"", timeout=20)
    failed = dict([*raised.value.initial_metadata(), *raised.value.trailing_metadata()])
    assert len(failed["x-request-trace-id"]) == 32


@pytest.mark.covers("version_and_capabilities")
def test_what_the_server_says_of_itself(catalog: Catalog) -> None:
    version = catalog.Version()
    assert version.version
    assert version.HasField("cloud_provider") == version.HasField("cloud_region")
    assert "per_segment_index_values" in version.features
    assert version.build_info.HasField("version")
    who = catalog.WhoAmI()
    assert who.can_read
    assert who.can_write
    assert who.HasField("capabilities")
    assert {
        "catalog:write:register:file",
        "catalog:write:staging",
        "dataset:find_chunks",
    } <= set(who.capabilities.capabilities)


@pytest.mark.covers("bandwidth_test")
def test_as_many_bytes_as_asked_for(catalog: Catalog) -> None:
    for size in (0, 1, 1 << 20, (1 << 20) + 3, 32 << 20):
        pieces = [len(m.payload) for m in catalog.DoBandwidthTest(num_bytes=size)]
        assert sum(pieces) == size
        assert max(pieces, default=0) <= 1 << 20
    with refused("INVALID_ARGUMENT"):
        catalog.DoBandwidthTest(num_bytes=(32 << 20) + 1)


@pytest.mark.covers("unknown_methods")
def test_methods_that_are_none(catalog: Catalog) -> None:
    with refused("UNIMPLEMENTED"):
        catalog.channel.unary_unary(f"/{SERVICE}/NoSuchMethod")(b"", timeout=20)


@pytest.mark.covers("message_size")
def test_messages_beyond_the_usual_limit(catalog: Catalog) -> None:
    """Four million bytes are where gRPC stops unless told otherwise."""
    catalog.create("mine")
    long = "x" * (8 << 20)
    row = pa.record_batch({"property:note:text": pa.array([[long]])})
    catalog.SetSegmentProperties(
        entry="mine", segment_id=pb.SegmentId(id="segment"), properties=encode(row)
    )
    (answer,) = catalog.GetSegmentProperties(entry="mine", segment_ids=segment_ids("segment"))
    assert decode(answer.segments[0].properties)[0].to_pylist() == [[long]]


# --- the web's way in


def send(
    catalog: Catalog, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(catalog.url.rsplit("//", 1)[1], timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        got = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, got, answer.read()
    finally:
        connection.close()


@pytest.mark.covers("http_version")
def test_the_version_over_http(catalog: Catalog) -> None:
    status, headers, body = send(catalog, "GET", "/version")
    assert status == 200
    assert body.strip()
    assert len(body.splitlines()) == 1
    assert headers["x-rerun-server-version"]
    assert send(catalog, "GET", "/nothing/here")[0] == 404


WEB = {"content_type": "application/grpc-web+proto", "accept": "application/grpc-web+proto"}


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        flag, length = struct.unpack(">BI", body[:5])
        found.append((flag, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def trailers(headers: dict[str, str], body: bytes) -> dict[str, str]:
    """The status of a call: at the end of the body, or among the headers."""
    last = [content for flag, content in frames(body) if flag == 0x80]
    if not last:
        return headers
    pairs = (line.split(":", 1) for line in last[0].decode().split("\r\n") if line)
    return {name.strip(): value.strip() for name, value in pairs}


def web_body(message: Any) -> bytes:
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


@pytest.mark.covers("grpc_web")
def test_calls_from_a_browser(catalog: Catalog) -> None:
    catalog.create("mine")
    path = f"/{SERVICE}/FindEntries"
    request = web_body(pb.FindEntriesRequest(filter=pb.EntryFilter(name="mine")))
    status, headers, body = send(catalog, "POST", path, request, **WEB)
    assert status == 200
    assert headers["content-type"] == "application/grpc-web+proto"
    (message,) = [content for flag, content in frames(body) if flag == 0]
    found = pb.FindEntriesResponse.FromString(message)
    assert [e.name for e in found.entries] == ["mine"]
    assert trailers(headers, body)["grpc-status"] == "0"
    # As text.
    text = {"content_type": "application/grpc-web-text", "accept": "application/grpc-web-text"}
    status, headers, body = send(catalog, "POST", path, base64.b64encode(request), **text)
    assert headers["content-type"] == "application/grpc-web-text+proto"
    plain = b"".join(
        base64.b64decode(body[i : i + 4]) for i in range(0, len(body), 4)
    )  # padding may stand between frames
    assert [content for flag, content in frames(plain) if flag == 0] == [message]
    # A stream.
    asked = web_body(pb.DoBandwidthTestRequest(num_bytes=(2 << 20) + 5))
    status, headers, body = send(catalog, "POST", f"/{SERVICE}/DoBandwidthTest", asked, **WEB)
    pieces = [content for flag, content in frames(body) if flag == 0]
    sizes = [len(pb.DoBandwidthTestResponse.FromString(p).payload) for p in pieces]
    assert sum(sizes) == (2 << 20) + 5
    assert trailers(headers, body)["grpc-status"] == "0"


@pytest.mark.covers("grpc_web_errors")
def test_errors_in_a_browser(catalog: Catalog) -> None:
    origin = "http://localhost:1234"
    path = f"/{SERVICE}/ReadDatasetEntry"
    body = web_body(pb.ReadDatasetEntryRequest())
    status, headers, body = send(catalog, "POST", path, body, origin=origin, **WEB)
    assert status == 200
    ended = trailers(headers, body)
    assert ended["grpc-status"] == "3"
    assert "missing" in ended["grpc-message"]
    assert headers["access-control-allow-origin"] == origin


@pytest.mark.covers("grpc_web_errors")
@pytest.mark.ours(
    "the official server exposes no header, so that pages of other origins cannot read errors"
)
def test_errors_are_readable_across_origins(catalog: Catalog) -> None:
    path = f"/{SERVICE}/ReadDatasetEntry"
    body = web_body(pb.ReadDatasetEntryRequest())
    _, headers, _ = send(catalog, "POST", path, body, origin="http://localhost:1234", **WEB)
    exposed = {n.strip().lower() for n in headers["access-control-expose-headers"].split(",")}
    assert {
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "x-request-trace-id",
        "x-rerun-server-version",
    } <= exposed


@pytest.mark.covers("cross_origin")
def test_which_pages_may_call(catalog: Catalog) -> None:
    path = f"/{SERVICE}/FindEntries"

    def preflight(origin: str) -> dict[str, str]:
        status, headers, _ = send(
            catalog,
            "OPTIONS",
            path,
            origin=origin,
            access_control_request_method="POST",
            access_control_request_headers="content-type,x-grpc-web,x-rerun-entry-id",
        )
        assert status == 200
        return headers

    for origin in (
        "http://localhost",
        "https://localhost:9090",
        "http://127.0.0.1:80",
        "https://rerun.io",
    ):
        headers = preflight(origin)
        assert headers["access-control-allow-origin"] == origin
        assert "POST" in headers["access-control-allow-methods"]
        allowed = headers["access-control-allow-headers"].lower()
        assert all(n in allowed for n in ("content-type", "x-grpc-web", "x-rerun-entry-id"))
        assert headers["access-control-allow-credentials"] == "true"
        assert "origin" in headers["vary"].lower()
    for origin in ("https://example.com", "http://localhost.example.com", "null"):
        assert "access-control-allow-origin" not in preflight(origin)


# --- for tools


@pytest.mark.covers("reflection")
def test_the_services_say_what_they_are(catalog: Catalog) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    database = ProtoReflectionDescriptorDatabase(catalog.channel)
    assert SERVICE in database.get_services()
    file = database.FindFileContainingSymbol(SERVICE)
    (described,) = [s for s in file.service if s.name == SERVICE.rsplit(".", 1)[1]]
    assert {"FindChunks", "WriteTable"} <= {m.name for m in described.method}


@pytest.mark.covers("health")
@pytest.mark.ours("the official server has no health service")
def test_health(catalog: Catalog) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(catalog.channel)
    for name in ("", SERVICE):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with refused("NOT_FOUND"):
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=20)


# --- live messages

PROXY = "/rerun.sdk_comms.v1alpha1.MessageProxyService"


@pytest.mark.covers("live_messages")
@pytest.mark.ours("the official catalog server and the official proxy are two programs")
def test_what_is_logged_is_read(catalog: Catalog) -> None:
    """Bytes as they are: both messages have a `LogMsg` in field 1."""

    def wrapped(message: Any) -> bytes:
        data = message.SerializeToString()
        assert len(data) < 128
        return bytes([0x0A, len(data)]) + data

    store = pb.StoreId(
        kind=1, recording_id="live", application_id=pb.ApplicationId(id="conformance")
    )
    info = pb.LogMsg(
        set_store_info=pb.SetStoreInfo(
            row_id=pb.Tuid(time_ns=1, inc=1),
            info=pb.StoreInfo(store_id=store, store_source=pb.StoreSource(kind=2)),
        )
    )
    activation = pb.LogMsg(
        blueprint_activation_command=pb.BlueprintActivationCommand(blueprint_id=store)
    )
    write = catalog.channel.stream_unary(f"{PROXY}/WriteMessages")
    read = catalog.channel.unary_stream(f"{PROXY}/ReadMessages")(b"", timeout=20)
    live = catalog.channel.unary_stream(f"{PROXY}/ReadMessages")
    write(iter([wrapped(info)]), timeout=20)
    assert next(read) == wrapped(info)
    write(iter([wrapped(activation)]), timeout=20)
    assert next(read) == wrapped(activation)
    read.cancel()
    late = live(b"", timeout=20)
    assert [next(late), next(late)] == [wrapped(info), wrapped(activation)]
    late.cancel()
    with refused("INVALID_ARGUMENT"):
        write(iter([b""]), timeout=20)
    with refused("INVALID_ARGUMENT"):
        write(iter([b"\x0a\x00"]), timeout=20)
