"""The protocol as Python sees it: message classes made from proto/, calls, and dataframes on the wire."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "rerun.cloud.v1alpha1.RerunCloudService"
PACKAGES = (
    "rerun.cloud.v1alpha1.",
    "rerun.common.v1alpha1.",
    "rerun.log_msg.v1alpha1.",
    "google.protobuf.",
)


def _load() -> tuple[SimpleNamespace, Any]:
    """All messages by their short names, and the service; from the .proto files as they are now."""
    files = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto"))
    done = subprocess.run(
        ["protoc", "-I", "proto", "--include_imports", "-o", "/dev/stdout", *files],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    described = descriptor_pb2.FileDescriptorSet.FromString(done.stdout)
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)
    messages = SimpleNamespace()
    for file in described.file:
        if f"{file.package}." in PACKAGES:
            for message in file.message_type:
                found = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
                setattr(messages, message.name, message_factory.GetMessageClass(found))
    return messages, pool.FindServiceByName(SERVICE)


pb, service = _load()
EMPTY = pb.Empty()


def _streams() -> dict[str, tuple[bool, bool]]:
    proto = descriptor_pb2.ServiceDescriptorProto()
    service.CopyToProto(proto)
    return {m.name: (m.client_streaming, m.server_streaming) for m in proto.method}


STREAMS = _streams()


class Client:
    """Calls of the service by name: `client.FindEntries(filter=...)`.

    Keyword arguments are the fields of the request. `entry` names the dataset of the call: an EntryId goes into the id
    header, a str into the name header. Streams come back as a list. Failures raise `grpc.RpcError`.
    """

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )

    def close(self) -> None:
        self.channel.close()

    def __getattr__(self, name: str) -> Any:
        if name not in STREAMS:
            raise AttributeError(name)
        method = service.methods_by_name[name]
        request_class = getattr(pb, method.input_type.name)

        def call(
            *messages: Any,
            entry: Any = None,
            headers: tuple[tuple[str, Any], ...] = (),
            **fields: Any,
        ) -> Any:
            stub = self._stub(name)
            metadata = [*entry_header(entry), *headers]
            request = iter(messages) if STREAMS[name][0] else request_class(**fields)
            answer = stub(request, metadata=metadata, timeout=60)
            return list(answer) if STREAMS[name][1] else answer

        return call

    def open(self, name: str, request: Any, entry: Any = None, timeout: float = 60) -> Any:
        """A server stream that is read as it comes."""
        return self._stub(name)(request, metadata=entry_header(entry), timeout=timeout)

    def _stub(self, name: str) -> Any:
        method = service.methods_by_name[name]
        kinds = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, False): self.channel.stream_unary,
        }
        return kinds[STREAMS[name]](
            f"/{SERVICE}/{name}",
            request_serializer=getattr(pb, method.input_type.name).SerializeToString,
            response_deserializer=getattr(pb, method.output_type.name).FromString,
        )


def entry_header(entry: Any) -> list[tuple[str, Any]]:
    if entry is None:
        return []
    if isinstance(entry, str):
        return [("x-rerun-entry-name-bin", entry.encode())]
    return [("x-rerun-entry-id", entry_id_text(entry))]


@contextlib.contextmanager
def refused(code: str, *words: str) -> Iterator[None]:
    """The block must end with this gRPC code, or one of several joined by `|`; each of `words`, a pattern, must be found in its message, in any case."""
    with pytest.raises(grpc.RpcError) as raised:
        yield
    error = raised.value
    assert error.code().name in code.split("|"), f"{error.code().name}: {error.details()}"
    for pattern in words:
        assert re.search(pattern, error.details(), re.IGNORECASE), error.details()


# --- ids


def entry_id(time_ns: int, inc: int) -> Any:
    return pb.EntryId(id=pb.Tuid(time_ns=time_ns, inc=inc))


def entry_id_text(entry: Any) -> str:
    return f"{entry.id.time_ns:016X}{entry.id.inc:016x}"


def tuid(prefix: int, number: int) -> bytes:
    return prefix.to_bytes(8, "big") + number.to_bytes(8, "big")


def segment_ids(*ids: str) -> list[Any]:
    return [pb.SegmentId(id=i) for i in ids]


# --- dataframes


def decode(part: Any) -> pa.RecordBatch:
    """The one batch of a dataframe; the form of the message is checked."""
    assert part.encoder_version == 1
    payload = part.payload
    if part.compression == 2:
        payload = pa.Codec("lz4_raw").decompress(payload, part.uncompressed_size)
    else:
        assert part.compression in (0, 1)
    with pa.ipc.open_stream(payload) as stream:
        batches = list(stream)
    assert len(batches) == 1, "a dataframe holds exactly one batch"
    return batches[0]


def encode(batch: pa.RecordBatch) -> Any:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pb.DataframePart(encoder_version=1, payload=sink.getvalue().to_pybytes())


def encode_schema(schema: pa.Schema) -> Any:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, schema).close()
    return pb.Schema(arrow_schema=sink.getvalue().to_pybytes())


def decode_schema(schema: Any) -> pa.Schema:
    with pa.ipc.open_stream(schema.arrow_schema) as stream:
        return stream.schema


def fields_of(schema: pa.Schema) -> list[tuple[str, pa.DataType, bool, dict[bytes, bytes]]]:
    """What two schemas must have in common to count as the same: names, types, nulls, metadata of fields, order."""
    return [(f.name, f.type, f.nullable, dict(f.metadata or {})) for f in schema]


def joined(messages: list[Any], field: str = "data") -> pa.Table:
    """The dataframes of a stream as one table. There must be one, and all must have the same schema."""
    batches = [decode(getattr(message, field)) for message in messages]
    assert batches, "a stream of dataframes has at least one"
    for batch in batches[1:]:
        assert fields_of(batch.schema) == fields_of(batches[0].schema)
    return pa.Table.from_batches([b.replace_schema_metadata(None) for b in batches])
