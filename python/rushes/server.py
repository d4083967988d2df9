"""A catalog server in this process."""

from __future__ import annotations

import atexit
import ipaddress
import os
import weakref
from collections.abc import Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING

from . import _core
from ._arguments import (
    CACHE_BYTES,
    LIVE_HISTORY_BYTES,
    checked_cache_bytes,
    checked_live_history_bytes,
    local_path,
)

if TYPE_CHECKING:
    from .catalog import CatalogClient

__all__ = ["Server"]

_running: weakref.WeakSet[Server] = weakref.WeakSet()


class Server:
    """Serves recordings from this process, to clients here and over the network.

    Clients of :meth:`client` read without the network; viewers and other processes use :meth:`url`. The server runs until
    :meth:`shutdown`, the end of a `with` block, or the end of the process, and, when it is dropped, until the last client,
    dataset or dataframe that came from it is gone.

    Parameters
    ----------
    host
        The address to listen on. The default is reachable from this machine only; `"0.0.0.0"` listens on all interfaces.
    port
        The port; `None` or 0 lets the system choose.
    datasets
        For each dataset name a directory of recordings, or a list of recordings. Each recording becomes a segment whose id
        is the recording id.
    tables
        For each table name the directory of a table that was created before, by `create_table(..., url=...)`.
    table_directory
        Where tables are kept that are created without a URL; they stay there, each in its own directory, and can be given in
        `tables` again. By default they are in a temporary directory, which is removed at shutdown.
    addr
        Deprecated name of `host`.
    cache_bytes
        Bound of the cache of decoded chunks that queries in this process share; 0 keeps none.
    live_history_bytes
        Bound of what is kept of live messages, which programs log with `rr.connect_grpc(server.url() + "/proxy")`, for viewers
        that come later: at least 1 MiB. 0 refuses live messages.
    staging_directory
        Where uploads go, and files that maintenance writes. By default a temporary directory that goes with the server.
    max_upload_bytes
        Bound of one upload; 64 GiB by default.
    max_staging_bytes
        Bound of all files in the staging directory; 1 TiB by default.

    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        datasets: dict[str, str | PathLike[str] | Sequence[str | PathLike[str]]] | None = None,
        tables: dict[str, PathLike[str]] | None = None,
        addr: str = "127.0.0.1",
        table_directory: str | PathLike[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
        live_history_bytes: int = LIVE_HISTORY_BYTES,
        staging_directory: str | PathLike[str] | None = None,
        max_upload_bytes: int = 64 << 30,
        max_staging_bytes: int = 1 << 40,
    ) -> None:
        if addr != "127.0.0.1" and host == "127.0.0.1":
            import warnings

            warnings.warn(
                "`addr` is deprecated, use `host` instead.", DeprecationWarning, stacklevel=2
            )
            host = addr
        if not isinstance(host, str):
            raise TypeError(f"host must be a str, not {type(host).__name__}")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f'Invalid IP: "{host}": invalid IP address syntax') from None
        if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
            raise TypeError(f"port must be an int or None, not {type(port).__name__}")
        if port is not None and not 0 <= port <= 65535:
            raise OverflowError(f"port {port} is not between 0 and 65535")
        if tables is not None and not isinstance(tables, dict):
            raise TypeError(
                f"tables must be a dict of name to directory, not {type(tables).__name__}"
            )
        if datasets is not None and not isinstance(datasets, dict):
            raise TypeError(
                f"datasets must be a dict of name to recordings, not {type(datasets).__name__}"
            )
        files = {name: _recordings(name, value) for name, value in (datasets or {}).items()}
        directories = {name: str(local_path(path)) for name, path in (tables or {}).items()}
        own_directory = (
            "" if table_directory is None else str(local_path(table_directory).absolute())
        )
        cache_bytes = checked_cache_bytes(cache_bytes)
        live_history_bytes = checked_live_history_bytes(live_history_bytes)
        try:
            self._server = _core.Server.start(
                host=host,
                port=port or 0,
                datasets=files,
                tables=directories,
                table_directory=own_directory,
                cache_bytes=cache_bytes,
                live_history_bytes=live_history_bytes,
                staging_directory="" if staging_directory is None else os.fspath(staging_directory),
                max_upload_bytes=max_upload_bytes,
                max_staging_bytes=max_staging_bytes,
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"Failed to start Rushes server: {error}") from None
        _running.add(self)

    def url(self) -> str:
        """Return the address to connect to, `rerun+http://host:port`."""
        return self._server.url()

    def address(self) -> str:
        """Return :meth:`url`."""
        return self.url()

    def host(self) -> str:
        """Return the address the server listens on."""
        return self._server.host()

    def client(self) -> CatalogClient:
        """Return a new client of this server. It reads in this process, without the network."""
        from .catalog import CatalogClient

        if not self.is_running():
            raise RuntimeError("Cannot create client: server is not running.")
        return CatalogClient._from_connection(self._server.connect())

    def is_running(self) -> bool:
        """Return False after :meth:`shutdown`."""
        return self._server.is_running()

    def shutdown(self) -> None:
        """Stop listening and end what runs. Clients of this server raise `ConnectionError` from then on."""
        if not self.is_running():
            raise ValueError("Server is not running or has already been shut down")
        _running.discard(self)
        self._server.shutdown()

    def wait(self) -> None:
        """Wait until the server is shut down, for scripts that only serve. Ctrl-C raises `KeyboardInterrupt`."""
        self._server.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_running():
            self.shutdown()


def _recordings(name: object, value: object) -> list[str]:
    """The files that the value of a dataset means."""
    if not isinstance(name, str):
        raise TypeError(f"dataset names must be str, not {type(name).__name__}")
    if isinstance(value, (str, PathLike)):
        prefix = local_path(value)
        if not prefix.is_dir():
            raise ValueError(f"Prefix path '{prefix}' for dataset '{name}' must be a directory.")
        found = (p for p in prefix.iterdir() if p.suffix.lower() == ".rrd" and p.is_file())
        return [str(path.resolve()) for path in sorted(found)]
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        raise TypeError(
            f"dataset '{name}': expected a directory or a list of recordings, not {type(value).__name__}"
        )
    files = []
    for item in value:
        if not isinstance(item, (str, PathLike)):
            raise TypeError(f"dataset '{name}': expected paths, not {type(item).__name__}")
        path = local_path(item)
        if not path.is_file():
            raise ValueError(f"Path '{path}' for dataset '{name}' must be a RRD file.")
        files.append(str(path.resolve()))
    return files


@atexit.register
def _shutdown_all() -> None:
    if _core._is_forked_child():
        return
    for server in list(_running):
        if server.is_running():
            server.shutdown()
    # Calls that a Ctrl-C left behind end before the libraries they use are taken down.
    _core._drain(5.0)
