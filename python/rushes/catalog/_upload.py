"""Objects put into the storage of a catalog server."""

from __future__ import annotations

import http.client
import io
import os
import ssl
from os import PathLike
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from rushes import _core
from rushes._errors import AlreadyExistsError
from rushes._progress import Progress

if TYPE_CHECKING:
    from ._client import CatalogClient

# Between two pieces of an answer, or of a request that the server takes.
_TIMEOUT_S = 120.0
_BLOCK_BYTES = 1 << 20
_ATTEMPTS_PER_PART = 3


def stage(client: CatalogClient, source: str | PathLike[str] | bytes, key: str) -> str:
    """Upload a file or bytes under a key; return the URL. See :meth:`CatalogClient.stage`."""
    if not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    if isinstance(source, (bytes, bytearray, memoryview)):
        contents = bytes(source)
        if client._connection.is_local():
            return client._connection.stage_bytes(key, contents)
        return _send(client, io.BytesIO(contents), len(contents), key)
    if not isinstance(source, (str, PathLike)):
        raise TypeError(f"source must be a path or bytes, not {type(source).__name__}")
    with open(source, "rb") as file:  # noqa: PTH123
        if client._connection.is_local():
            return client._connection.stage_file(key, os.fsdecode(source))
        return _send(client, file, os.fstat(file.fileno()).st_size, key)


def _send(client: CatalogClient, file: BinaryIO, size: int, key: str) -> str:
    connection = client._connection
    grant = connection.write_grant(key, size)
    with Progress("uploading", "bytes", size) as progress:
        if not grant.upload_token:
            _put(client, grant.requests[0], _Window(file, 0, size, progress), key)
            return grant.storage_url
        etags: list[str] = []
        try:
            for begin in range(0, max(size, 1), grant.part_bytes):
                length = min(grant.part_bytes, size - begin)
                etags.append(
                    _put_part(client, grant, len(etags), file, begin, length, key, progress)
                )
            connection.complete_upload(grant.upload_token, etags)
        except BaseException:
            # What has arrived is of no use to anybody.
            connection.abort_upload(grant.upload_token)
            raise
    return grant.storage_url


def _put_part(
    client: CatalogClient,
    grant: _core.UploadGrant,
    index: int,
    file: BinaryIO,
    begin: int,
    length: int,
    key: str,
    progress: Progress,
) -> str:
    """Upload part `index`; a broken connection costs this part only. Its ETag."""
    for attempt in range(1, _ATTEMPTS_PER_PART + 1):
        # Requests that came with the grant may have expired meanwhile.
        if index < len(grant.requests) and attempt == 1:
            request = grant.requests[index]
        else:
            request = client._connection.part_grant(grant.upload_token, index + 1)
        try:
            return _put(client, request, _Window(file, begin, length, progress), key)
        except PermissionError:
            if attempt == _ATTEMPTS_PER_PART:
                raise
        except OSError:
            if attempt == _ATTEMPTS_PER_PART:
                raise
        progress.count = begin
    raise AssertionError("not reached")


class _Window:
    """Some of a file's bytes, as http.client reads them."""

    def __init__(self, file: BinaryIO, begin: int, length: int, progress: Progress) -> None:
        file.seek(begin)
        self.length = length
        self._file, self._left, self._progress = file, length, progress

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        block = self._file.read(wanted)
        if len(block) < wanted:
            raise OSError("the file became shorter while it was uploaded")
        self._left -= len(block)
        self._progress.count += len(block)
        return block


def _put(client: CatalogClient, request: _core.UploadRequest, body: _Window, key: str) -> str:
    origin = client.url.replace("rerun+http://", "http://").replace("rerun://", "https://")
    url = origin + request.url if request.same_origin else request.url
    place = urlsplit(url)
    if request.method != "PUT" or place.scheme not in ("http", "https") or place.hostname is None:
        raise RuntimeError(f"the server asks to upload by {request.method} to '{url}'")
    headers = dict(request.headers)
    headers["content-length"] = str(body.length)
    if request.same_origin and client._token:
        headers["authorization"] = f"Bearer {client._token}"
    connection: http.client.HTTPConnection
    if place.scheme == "https":
        connection = http.client.HTTPSConnection(
            place.hostname,
            place.port,
            timeout=_TIMEOUT_S,
            blocksize=_BLOCK_BYTES,
            context=ssl.create_default_context(),
        )
    else:
        connection = http.client.HTTPConnection(
            place.hostname, place.port, timeout=_TIMEOUT_S, blocksize=_BLOCK_BYTES
        )
    try:
        target = place.path + (f"?{place.query}" if place.query else "")
        broken: OSError | None = None
        try:
            connection.request("PUT", target, body=body, headers=headers)
        except (BrokenPipeError, ConnectionResetError) as error:
            broken = error  # the server has answered, perhaps, before it had all
        try:
            answer = connection.getresponse()
            text = answer.read(4096).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(
                f"upload of '{key}' to {origin} failed: {broken or error}"
            ) from error
        if answer.status in (200, 201, 204):
            return answer.headers.get("etag") or ""
        raise _error(answer.status, text, key)
    finally:
        connection.close()


def _error(status: int, text: str, key: str) -> Exception:
    if status in (409, 412) and "exists" in (text or "exists"):
        return AlreadyExistsError(text or f"object '{key}' already exists")
    words = (
        f"upload of '{key}' failed: {text or http.client.responses.get(status, '')} (HTTP {status})"
    )
    if status == 400:
        return ValueError(words)
    if status in (401, 403):
        return PermissionError(words)
    if status in (408, 413, 429, 503, 507):
        return ConnectionError(words)
    return RuntimeError(words)
