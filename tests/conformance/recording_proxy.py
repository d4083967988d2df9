"""A gRPC proxy between a client and a server that keeps the requests, and can change what the server says of itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from protocol import SERVICE, STREAMS, pb, service

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
FIND_CHUNKS = "dataset:find_chunks"
# In answers that the proxy makes up.
TRACE_ID = "0123456789abcdef0123456789abcdef"


class RecordingProxy(grpc.GenericRpcHandler):
    """Forwards messages, metadata, codes and details as they are.

    `hide`: capabilities that WhoAmI no longer lists. `refuse`: methods that are answered UNIMPLEMENTED.
    `fail`: methods that are answered NOT_FOUND, with a trace id.
    """

    def __init__(
        self,
        address: str,
        hide: tuple[str, ...] = (),
        refuse: tuple[str, ...] = (),
        fail: tuple[str, ...] = (),
    ) -> None:
        self._hide, self._refuse, self._made_to_fail = hide, refuse, fail
        self._lock = threading.Lock()
        self._requests: list[tuple[str, bytes]] = []
        self._upstream = grpc.insecure_channel(
            address, options=[*_UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=_UNLIMITED)
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(1).wait()
        self._upstream.close()

    def __enter__(self) -> RecordingProxy:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"rerun+http://127.0.0.1:{self.port}"

    def take(self, *methods: str) -> list[Any]:
        """The requests to these methods since the last call, in order, parsed; all others are forgotten."""
        with self._lock:
            taken, self._requests = self._requests, []
        return [
            getattr(pb, service.methods_by_name[name].input_type.name).FromString(data)
            for name, data in taken
            if name in methods
        ]

    def service(self, details: Any) -> Any:
        path = details.method
        name = path.rsplit("/", 1)[1]
        metadata = [
            (k, v)
            for k, v in details.invocation_metadata
            if not k.startswith("grpc-") and k != "user-agent"
        ]
        if path != f"/{SERVICE}/{name}" or name in self._refuse or STREAMS.get(name, (True,))[0]:
            return None  # which gRPC answers with UNIMPLEMENTED

        def unary(request: bytes, context: Any) -> bytes:
            self._keep(name, request, context)
            call = self._upstream.unary_unary(path)
            try:
                answer, done = call.with_call(request, metadata=metadata)
            except grpc.RpcError as error:
                self._fail(context, error)
            context.send_initial_metadata(done.initial_metadata())
            return self._who_am_i(answer) if name == "WhoAmI" else answer

        def stream(request: bytes, context: Any) -> Iterator[bytes]:
            self._keep(name, request, context)
            call = self._upstream.unary_stream(path)(request, metadata=metadata)
            context.add_callback(call.cancel)
            try:
                yield from call
            except grpc.RpcError as error:
                self._fail(context, error)

        if STREAMS[name][1]:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    def _keep(self, name: str, request: bytes, context: Any) -> None:
        if name in self._made_to_fail:
            context.send_initial_metadata((("x-request-trace-id", TRACE_ID),))
            context.abort(grpc.StatusCode.NOT_FOUND, "made to fail")
        with self._lock:
            self._requests.append((name, request))

    def _who_am_i(self, answer: bytes) -> bytes:
        message = pb.WhoAmIResponse.FromString(answer)
        left = [c for c in message.capabilities.capabilities if c not in self._hide]
        message.capabilities.capabilities[:] = left
        return message.SerializeToString()

    @staticmethod
    def _fail(context: Any, error: Any) -> None:
        context.set_trailing_metadata(error.trailing_metadata() or ())
        context.abort(error.code(), error.details())
