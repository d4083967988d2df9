"""Tables: rows that users write, with a schema of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rushes import _core
from rushes._errors import NotFoundError, nearest
from rushes._lazy import LazyDataset, Query, ScanStatistics, _filter_bytes

from ._entry import DatasetEntry, Entry
from ._ids import EntryId
from ._registration import OnDuplicateSegmentLayer

if TYPE_CHECKING:
    import datafusion

_APPEND, _OVERWRITE, _REPLACE = 1, 2, 3


class TableEntry(Entry):
    """A table of the catalog."""

    __slots__ = ()

    # --- reading

    def reader(self) -> datafusion.DataFrame:
        """Return the rows as a dataframe.

        Nothing is read before it is used, and each use reads the rows as they are then. Columns and filters reach the storage.
        """
        return self._client.ctx.read_table(self.scan())

    def scan(self) -> LazyDataset:
        """Return the rows as a `pyarrow.dataset.Dataset`, for DuckDB, Polars, pyarrow and other sessions of DataFusion."""
        return lazy_table(self._client._connection, self._details.id, self._name)

    def to_arrow_reader(self) -> pa.RecordBatchReader:
        """Return the rows as they are now, batch by batch."""
        return pa.RecordBatchReader.from_stream(
            self._client._connection.scan_table(self._details.id)
        )

    def arrow_schema(self) -> pa.Schema:
        """Return the schema."""
        return pa.schema(self._client._connection.table_schema(self._details.id))

    @property
    def storage_url(self) -> str:
        """Where the rows are kept; empty for tables of the system."""
        return self._client._connection.read_table(self._details.id).url

    # --- writing

    def append(self, batches: object = None, **named_params: Any) -> None:
        """Add rows.

        Parameters
        ----------
        batches
            A record batch, a sequence of them (also nested, as `DataFrame.collect()` gives it), a `RecordBatchReader` or a
            DataFusion dataframe. Columns that it lacks are null in the new rows. All of it is one change, which happens
            wholly or not at all.
        **named_params
            Instead of batches: the values of each column, or one value for one row.

        Raises
        ------
        ValueError
            If a column is unknown, has another type, or has a null where none may be. The table is then as it was.

        """
        self._write(batches, named_params, _APPEND)

    def overwrite(self, batches: object = None, **named_params: Any) -> None:
        """Replace all rows by the given ones; see :meth:`append`. Batches with other columns give the table their schema."""
        self._write(batches, named_params, _OVERWRITE)

    def upsert(self, batches: object = None, **named_params: Any) -> None:
        """Replace the rows that have the same key as a given row, and add the given rows whose key is new.

        The key is the columns whose field metadata say `rerun:is_table_index` = `true`. Columns that are not given keep their
        values. Parameters are those of :meth:`append`.

        Raises
        ------
        RuntimeError
            If the table has no key column.
        ValueError
            If a key occurs twice in one batch, and as for :meth:`append`.

        """
        self._write(batches, named_params, _REPLACE)

    def _write(self, batches: object, named: dict[str, Any], mode: int) -> None:
        if batches is not None and named:
            raise TypeError("Cannot pass both batches and named parameters. Use one or the other.")
        rows = _of_values(self.arrow_schema, named) if batches is None else _of_batches(batches)
        if rows is not None:
            self._client._connection.write_table(self._details.id, mode, rows)

    # --- blueprints

    def register_blueprint(
        self, uri: str, set_default: bool = True, *, object_store_config: str | None = None
    ) -> None:
        """Register a blueprint (`.rbl`) that the server can read, and make it the default of this table."""
        registered = (
            self.blueprint_dataset()
            .register(
                [uri],
                on_duplicate=OnDuplicateSegmentLayer.REPLACE,
                object_store_config=object_store_config,
            )
            .wait()
        )
        if set_default:
            self.set_default_blueprint(registered.segment_ids[0])

    def blueprints(self) -> list[str]:
        """Return the names of the blueprints of this table."""
        return self.blueprint_dataset().segment_ids()

    def set_default_blueprint(self, blueprint_name: str | None) -> None:
        """Choose one of them for viewers, or none."""
        if blueprint_name is not None and not isinstance(blueprint_name, str):
            raise TypeError(f"blueprint_name must be a str, not {type(blueprint_name).__name__}")
        connection = self._client._connection
        info = connection.read_table(self._details.id)
        connection.update_table(self._details.id, info.blueprint_dataset, blueprint_name)

    def default_blueprint(self) -> str | None:
        """Return the chosen blueprint."""
        return self._client._connection.read_table(self._details.id).default_blueprint_segment

    def blueprint_dataset(self) -> DatasetEntry:
        """Return the dataset that holds the blueprints of this table. It goes with the table."""
        connection = self._client._connection
        info = connection.read_table(self._details.id)
        if info.blueprint_dataset is None:
            # Tables of older servers have none; an update without one makes it.
            info = connection.update_table(self._details.id, None, None)
        if info.blueprint_dataset is None:
            raise NotFoundError(f"table '{self._name}' has no blueprint dataset (NotFound)")
        return self._client.get_dataset(id=EntryId._of(info.blueprint_dataset))


class _TableQuery(Query):
    """All rows of a table, for :class:`LazyDataset`."""

    shows_progress = False

    def __init__(self, connection: _core.Connection, id: bytes, name: str) -> None:
        self.schema = pa.schema(connection.table_schema(id))
        self.label = f"table '{name}'"
        self._connection, self._id = connection, id

    @property
    def statistics(self) -> ScanStatistics:
        raise NotImplementedError("scans of tables are not counted")

    def batches(
        self,
        projected: pa.Schema,
        filter: pc.Expression | None,
        *,
        sql: bool,
        limit: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        if limit == 0:
            return
        for batch in super().batches(projected, filter, sql=sql):
            if limit is not None:
                batch = batch.slice(0, limit)
                limit -= batch.num_rows
            yield batch
            if limit == 0:
                return

    def _begin(
        self, projected: pa.Schema, filter: pc.Expression | None, *, sql: bool, limit: int | None
    ) -> _core.Scan:
        return self._connection.scan_table(
            self._id,
            columns=None if projected is self.schema else projected.names,
            filter=None if filter is None else _filter_bytes(filter),
            sql_filter_semantics=sql,
        )


def lazy_table(connection: _core.Connection, id: bytes, name: str) -> LazyDataset:
    """The rows of a table, read when they are used."""
    return LazyDataset(_TableQuery(connection, id, name))


def _of_batches(batches: object) -> object | None:
    """Something with `__arrow_c_stream__`; None if there is nothing to write."""
    if isinstance(batches, pa.Table):
        raise TypeError(f"Unexpected type: {type(batches)}; pass `table.to_batches()`")
    if isinstance(batches, pa.RecordBatch):
        found = [batches]
    elif hasattr(batches, "__arrow_c_stream__"):
        return batches
    elif isinstance(batches, Iterable) and not isinstance(batches, (str, bytes)):
        found = []
        for item in batches:
            if isinstance(item, pa.RecordBatch):
                found.append(item)
            elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
                found.extend(item)
            else:
                raise TypeError(f"Unexpected type: {type(item)}")
        for batch in found:
            if not isinstance(batch, pa.RecordBatch):
                raise TypeError(f"Unexpected type: {type(batch)}")
    else:
        raise TypeError(f"Unexpected type: {type(batches)}")
    if not found:
        return None
    schema = found[0].schema
    for batch in found:
        if not batch.schema.equals(schema):
            raise ValueError(
                f"the batches have different schemas: {_fields(schema)} and {_fields(batch.schema)}"
            )
    reader: object = pa.RecordBatchReader.from_batches(schema, found)
    return reader


def _fields(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _of_values(schema_of: Callable[[], pa.Schema], named: dict[str, Any]) -> object | None:
    if not named:
        return None
    schema = schema_of()
    columns: dict[str, pa.Array] = {}
    first = ""
    for name, value in named.items():
        if name not in schema.names:
            raise KeyError(
                f"Column {name} does not exist in the table.{nearest(name, schema.names)}"
            )
        field = schema.field(name)
        columns[name] = _array(value, field.type)
        first = first or name
        if len(columns[name]) != len(columns[first]):
            hint = ""
            if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
                hint = f" A value of this column is a list: for one row write {name}=[[...]]."
            raise ValueError(
                f"Columns have mismatched number of rows. Column '{name}' has {len(columns[name])} rows, "
                f"'{first}' has {len(columns[first])}.{hint}"
            )
    rows = len(columns[first])
    if rows == 0:
        return None
    arrays = [
        columns[field.name] if field.name in columns else pa.nulls(rows, field.type)
        for field in schema
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    reader: object = pa.RecordBatchReader.from_batches(schema, [batch])
    return reader


def _array(value: Any, type: pa.DataType) -> pa.Array:
    """A column of several values, or of one."""
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        array = value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
        return array if array.type == type else array.cast(type)
    if isinstance(value, (str, bytes)):
        value = [value]
    elif isinstance(value, Iterable) and not _holds_lists(value) and _is_nested(type):
        # A list given for a column of lists is one value.
        value = [value]
    try:
        made = pa.array(value, type=type)
    except TypeError:
        made = pa.array([value], type=type)
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def _is_nested(type: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type)
    )


def _holds_lists(value: Iterable[Any]) -> bool:
    return any(item is None or isinstance(item, Iterable) for item in value)
