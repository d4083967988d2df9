"""The live messages of a server, read and written without the official SDK: the messages' classes come by reflection."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "rerun.sdk_comms.v1alpha1.MessageProxyService"


class LiveMessages:
    """A raw client of the service."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]
        )
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        pool = DescriptorPool(self.database)
        self.service = pool.FindServiceByName(SERVICE)
        self.pool = pool

    def call(self, method: str, kind: str) -> Any:
        """A callable for one method; `kind` as grpcio names it: `unary_stream`."""
        descriptor = self.service.methods_by_name[method]
        request, response = map(GetMessageClass, (descriptor.input_type, descriptor.output_type))
        return getattr(self.channel, kind)(
            f"/{SERVICE}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def message(self, name: str, **fields: Any) -> Any:
        """A message by its full name."""
        return GetMessageClass(self.pool.FindMessageTypeByName(name))(**fields)

    def read(self, quiet_s: float = 2.0) -> list[Any]:
        """The messages there are, until none comes for so long."""
        request = self.message("rerun.sdk_comms.v1alpha1.ReadMessagesRequest")
        stream = self.call("ReadMessages", "unary_stream")(request)
        got: queue.Queue[Any] = queue.Queue()

        def drain() -> None:
            try:
                for response in stream:
                    got.put(response.log_msg)
            except grpc.RpcError:
                pass

        thread = threading.Thread(target=drain, daemon=True)
        thread.start()
        messages = list(_until_quiet(got, quiet_s))
        stream.cancel()
        thread.join(10)
        return messages


def _until_quiet(got: queue.Queue[Any], quiet_s: float) -> Iterator[Any]:
    while True:
        try:
            yield got.get(timeout=quiet_s)
        except queue.Empty:
            return
