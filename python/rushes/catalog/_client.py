"""The client of a catalog."""

from __future__ import annotations

import re
import urllib.request
import uuid
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rushes import _core
from rushes._errors import AlreadyExistsError, NotFoundError, nearest

from ._entry import DatasetEntry, Entry, _uri
from ._events import CatalogEvents
from ._ids import EntryId, EntryKind
from ._table import TableEntry
from ._upload import stage

if TYPE_CHECKING:
    import datafusion

_DEFAULT_PORT = 51234
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]", "0.0.0.0")
_DATASET_KINDS = (EntryKind.DATASET, EntryKind.BLUEPRINT_DATASET, EntryKind.ASSET_DATASET)


@dataclass(frozen=True)
class VersionInfo:
    """What a server says about itself."""

    version: str
    cloud_provider: str | None
    cloud_region: str | None
    features: list[str]


@dataclass(frozen=True)
class BenchmarkResult:
    """How far away a server is.

    `rtt` is the time of a round trip. `bandwidth` is in bytes per second, or None where it could not be measured: too little was asked
    for, or the catalog is in this process and nothing travels.
    """

    rtt: timedelta
    bandwidth: float | None

    def __repr__(self) -> str:
        return f"BenchmarkResult(rtt={_duration(self.rtt)}, bandwidth={_rate(self.bandwidth)})"


class CatalogClient:
    """A connection to a catalog server.

    Parameters
    ----------
    url
        Where the server is: `rerun+http://host:port`, or `host:port` for this machine. A local address without a port means
        port 51234.
    token
        A bearer token, if the server wants one.
    object_store_auth
        Not supported yet.
    addr
        Deprecated name of `url`.

    """

    __slots__ = ("__weakref__", "_connection", "_context", "_token")

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        object_store_auth: object | None = None,
        addr: str | None = None,
    ) -> None:
        if addr is not None:
            import warnings

            warnings.warn(
                "`addr` is deprecated, use `url` instead.", DeprecationWarning, stacklevel=2
            )
            url = addr
        if not isinstance(url, str):
            raise TypeError(f"url must be a str, not {type(url).__name__}")
        if token is not None and not isinstance(token, str):
            raise TypeError(f"token must be a str, not {type(token).__name__}")
        if object_store_auth is not None:
            raise NotImplementedError(
                "object_store_auth is not supported: chunks come through the server"
            )
        _new_context(None)  # says what is missing before anything is connected
        self._token = token or ""
        self._connection = _core.Connection.open(_origin(url), token=self._token)
        self._context = _new_context(self._connection)

    @classmethod
    def _from_connection(cls, connection: _core.Connection) -> CatalogClient:
        made = cls.__new__(cls)
        made._connection = connection
        made._context = _new_context(connection)
        made._token = ""
        return made

    @property
    def url(self) -> str:
        """The server's address."""
        return self._connection.url()

    @property
    def ctx(self) -> datafusion.SessionContext:
        """The DataFusion session that the dataframes of this client belong to.

        Its SQL finds the tables of the catalog by their names: `client.ctx.sql("select * from my_table")`.
        """
        context: datafusion.SessionContext = self._context
        return context

    def entries(self, *, include_hidden: bool = False) -> list[DatasetEntry | TableEntry]:
        """Return all entries. Hidden ones have names that start with two underscores."""
        return [self._entry(details) for details in self._find(include_hidden)]

    def datasets(self, *, include_hidden: bool = False) -> list[DatasetEntry]:
        """Return the datasets."""
        return [
            e for e in self.entries(include_hidden=include_hidden) if isinstance(e, DatasetEntry)
        ]

    def tables(self, *, include_hidden: bool = False) -> list[TableEntry]:
        """Return the tables."""
        return [e for e in self.entries(include_hidden=include_hidden) if isinstance(e, TableEntry)]

    def entry_names(self, *, include_hidden: bool = False) -> list[str]:
        """Return the names of all entries."""
        return [details.name for details in self._find(include_hidden)]

    def dataset_names(self, *, include_hidden: bool = False) -> list[str]:
        """Return the names of the datasets."""
        return [entry.name for entry in self.datasets(include_hidden=include_hidden)]

    def table_names(self, *, include_hidden: bool = False) -> list[str]:
        """Return the names of the tables."""
        return [entry.name for entry in self.tables(include_hidden=include_hidden)]

    def get_dataset(
        self, name: str | None = None, *, id: EntryId | str | None = None
    ) -> DatasetEntry:
        """Return a dataset by its name or id.

        Raises
        ------
        LookupError
            If no entry has the name.
        NotFoundError
            If no entry has the id, or the entry is no dataset.

        """
        details = self._resolve(name, id, "dataset")
        if EntryKind(details.kind) not in _DATASET_KINDS:
            raise NotFoundError(
                f"Entry '{details.name}' is not a dataset but a {_kind_name(details)} (NotFound)"
            )
        return DatasetEntry(self, self._connection.read_dataset(details.id))

    def get_table(self, name: str | None = None, *, id: EntryId | str | None = None) -> TableEntry:
        """Return a table by its name or id."""
        details = self._resolve(name, id, "table")
        if EntryKind(details.kind) in _DATASET_KINDS:
            raise NotFoundError(
                f"Entry '{details.name}' is not a table but a {_kind_name(details)} (NotFound)"
            )
        return TableEntry(self, details)

    def create_dataset(self, name: str, *, exist_ok: bool = False) -> DatasetEntry:
        """Create an empty dataset. With `exist_ok`, return the one that has the name already.

        Raises
        ------
        AlreadyExistsError
            If the name is taken.
        ValueError
            If it cannot be a name.

        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        try:
            return DatasetEntry(self, self._connection.create_dataset(name))
        except AlreadyExistsError:
            if not exist_ok:
                raise
            return self.get_dataset(name)

    def create_table(
        self, name: str, schema: pa.Schema, url: str | PathLike[str] | None = None
    ) -> TableEntry:
        """Create an empty table.

        Parameters
        ----------
        name
            A name that SQL takes: `t`, or `schema.t`, or `catalog.schema.t`, of letters, digits and underscores.
        schema
            Its columns. Fields whose metadata say `rerun:is_table_index` = `true` are the key of :meth:`TableEntry.upsert`.
        url
            A directory as the server sees it, as a `file://` URL or path; the table gets a new directory below it, see
            `TableEntry.storage_url`. Without one the server chooses: by default a place that is gone when it is shut down.

        Raises
        ------
        AlreadyExistsError
            If the name is taken.
        ValueError
            If it cannot be a name, or the URL is not one of a directory.

        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        _check_table_name(name)
        if not isinstance(schema, pa.Schema):
            raise TypeError(f"schema must be a pyarrow.Schema, not {type(schema).__name__}")
        where = None if url is None else f"{_uri(url).rstrip('/')}/{_new_directory(name)}"
        info = self._connection.create_table(name, schema, where)
        return TableEntry(self, info.entry)

    def register_table(self, name: str, url: str | PathLike[str]) -> TableEntry:
        """Make a table that was created before, by this server or another one, an entry of the catalog.

        Parameters
        ----------
        name
            The name of the entry.
        url
            The table's directory as the server sees it: its `TableEntry.storage_url`, or the path.

        Raises
        ------
        NotFoundError
            If there is no such directory.
        ValueError
            If it holds no table that the server can read.
        AlreadyExistsError
            If the name is taken.

        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        return TableEntry(self, self._connection.register_table(name, _uri(url)).entry)

    def stage(self, source: str | PathLike[str] | bytes, *, key: str) -> str:
        """Upload a file or bytes into the server's storage; return the URL, for :meth:`DatasetEntry.register`.

        Nothing is registered, and nothing is checked but the key. Uploads that no dataset uses stay until maintenance removes them or, in
        a temporary directory, until the server ends.

        Parameters
        ----------
        source
            A path, or the bytes themselves.
        key
            The name there: up to 255 letters, digits, `.`, `-` and `_`, in parts separated by `/`.

        Raises
        ------
        AlreadyExistsError
            If the key is taken.
        ValueError
            If it cannot be a key.
        OSError
            If the file cannot be read.

        """
        return stage(self, source, key)

    def do_global_maintenance(self) -> None:
        """Remove files of the server's own that are older than a day and that no dataset uses: uploads, and what compaction wrote."""
        self._connection.maintain_all()

    def version_info(self) -> VersionInfo:
        """Return what is known of the server."""
        from rushes import __version__

        if self._connection.is_local():
            return VersionInfo(f"rushes/{__version__}", None, None, ["per_segment_index_values"])
        return VersionInfo(_version_of(self.url), None, None, [])

    def benchmark(
        self, *, num_bytes: int = 16 * 1024 * 1024, num_pings: int = 5
    ) -> BenchmarkResult:
        """Measure how fast the server answers and how fast its bytes arrive.

        In process the round trip is the smallest question to the catalog, and there is no bandwidth. Thread safe; others that use the
        network at the same time are measured with it.

        Parameters
        ----------
        num_bytes
            How much to download, in bytes that do not compress: at most 32 MiB.
        num_pings
            How many round trips to make, 1 to 10000; the shortest counts.

        Raises
        ------
        ValueError
            If one of them is out of bounds.
        TypeError
            If one of them is no int.
        ConnectionError
            If the server cannot be reached.

        """
        pings = _count("num_pings", num_pings)
        rtt, bandwidth = self._connection.measure_link(_count("num_bytes", num_bytes), pings)
        return BenchmarkResult(timedelta(seconds=rtt), bandwidth)

    def events(self) -> CatalogEvents:
        """Watch the entries of the catalog; return an iterator over what happens to them from now on.

        Whatever happens after this call has returned is in it: an :class:`EntryCreated` or :class:`EntryDeleted` for each dataset and table,
        by whichever client. Renaming and registering recordings are no events, nor are the datasets that belong to an entry. At most 1024
        events wait for a reader; beyond, the oldest are lost.

        >>> with client.events() as events:
        ...     for event in events:
        ...         print(event)

        Returns
        -------
        CatalogEvents
            To be closed by its `close`, by `with`, or by dropping it. Thread safe.

        Raises
        ------
        ConnectionError
            If the server cannot be reached or is shut down.
        NotImplementedError
            If the server knows of no events.

        """
        return CatalogEvents(self._connection.watch_events())

    def _find(self, include_hidden: bool) -> list[_core.EntryDetails]:
        found = self._connection.find_entries()
        return [details for details in found if include_hidden or not details.name.startswith("__")]

    def _entry(self, details: _core.EntryDetails) -> DatasetEntry | TableEntry:
        if EntryKind(details.kind) in _DATASET_KINDS:
            return DatasetEntry(self, details)
        return TableEntry(self, details)

    def _resolve(self, name: object, id: EntryId | str | None, kind: str) -> _core.EntryDetails:
        if name is not None and id is not None:
            raise ValueError("Only one of 'id' or 'name' must be provided.")
        if id is not None:
            entry_id = id if isinstance(id, EntryId) else EntryId(id)
            found = self._connection.find_entries(id=entry_id.as_bytes())
            if not found:
                raise NotFoundError(
                    f"Entry id '{entry_id}' not found (NotFound)\n- Server: {self.url}"
                )
            return found[0]
        if not isinstance(name, str):
            raise ValueError("Either 'id' or 'name' must be provided.")
        try:
            found = self._connection.find_entries(name=name)
        except NotFoundError:
            found = []
        if not found:
            names = self.dataset_names() if kind == "dataset" else self.table_names()
            raise LookupError(f"No {kind} found with name '{name}'.{nearest(name, names)}")
        return found[0]

    def __repr__(self) -> str:
        return f"CatalogClient({self.url})"


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} must be between 0 and {2**32 - 1}, got {value}")
    return value


def _duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} μs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _rate(value: float | None) -> str:
    if value is None:
        return "(too fast to measure)"
    unit, *larger = ("B/s", "KiB/s", "MiB/s", "GiB/s")
    while larger and value >= 1024:
        value /= 1024
        unit, *larger = larger
    return f"{value:.0f} {unit}" if unit == "B/s" or value >= 100 else f"{value:.1f} {unit}"


def _version_of(url: str) -> str:
    """What the server answers to `GET /version`; "unknown" if it does not."""
    address = url.replace("rerun+http://", "http://").replace("rerun://", "https://")
    try:
        with urllib.request.urlopen(f"{address}/version", timeout=5) as answer:
            return str(answer.headers.get("x-rerun-server-version") or "unknown")
    except OSError:
        return "unknown"


def _kind_name(details: _core.EntryDetails) -> str:
    return EntryKind(details.kind).name.lower().replace("_", " ")


def _check_table_name(name: str) -> None:
    why = None
    if not name:
        why = "Empty input when parsing identifier"
    elif match := re.search(r"[^A-Za-z0-9_.$]", name):
        why = f"Unexpected token in identifier: {match.group()}"
    elif not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]*", part) for part in name.split(".")):
        why = f"'{name}' is not an identifier, nor several joined by dots"
    if why is not None:
        raise ValueError(f"Invalid table name. sql parser error: {why}")


def _new_directory(name: str) -> str:
    return f"{name.replace('$', '_')}-{uuid.uuid4().hex}"


def _new_context(connection: _core.Connection | None) -> Any:
    try:
        import datafusion
    except ImportError as error:
        raise ImportError(
            f"rushes.catalog needs datafusion: {error}\nRun: python -m pip install 'datafusion>=54,<55'"
        ) from error
    from ._format import install

    install()
    # Batches come in a good size already.
    config = datafusion.SessionConfig({"datafusion.execution.coalesce_batches": "false"})
    context = datafusion.SessionContext(config)
    if connection is not None:
        from ._sql import Catalogs

        context.register_catalog_provider_list(Catalogs(connection))
    return context


_INVALID = "Invalid URI: Invalid or missing scheme (expected one of: `rerun://`, `rerun+http://`, `rerun+https://`)"


def _origin(url: str) -> str:
    """The scheme, host and port that an address means."""
    match = re.fullmatch(
        r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(\[[0-9A-Fa-f:.]+\]|[^/:?#\s]+)(?::(\d{1,5}))?(?:[/?#].*)?",
        url,
    )
    if match is None:
        raise ValueError(f"{_INVALID}, got '{url}'")
    scheme, host, port = match.groups()
    is_local = host.lower() in _LOCAL_HOSTS
    if scheme is None:
        if not is_local and not host.endswith("rerun.io"):
            raise ValueError(f"{_INVALID}, got '{url}'. Did you mean 'rerun+http://{url}'?")
        scheme = "rerun+http" if is_local else "rerun"
    scheme = {"http": "rerun+http", "https": "rerun", "rerun+https": "rerun"}.get(
        scheme.lower(), scheme.lower()
    )
    if scheme not in ("rerun", "rerun+http"):
        raise ValueError(f"{_INVALID}, got '{url}'")
    if port is None:
        port = str(_DEFAULT_PORT) if is_local else ("80" if scheme == "rerun+http" else "443")
    if int(port) > 65535:
        raise ValueError(f"Invalid URI: port {port} is not between 0 and 65535, got '{url}'")
    return f"{scheme}://{host}:{port}"


__all__ = ["CatalogClient", "Entry", "VersionInfo"]
