"""A dataframe query as a `pyarrow.dataset.Dataset`: the one object that DataFusion, DuckDB, Polars and pyarrow all read.

Projection and filter go into the C++ scan; batches come out as it makes them. What must hold:

- The base class has a real C++ object behind it (one fragment whose path cannot exist), so that inherited methods raise
  instead of crashing.
- Engines drop the filters they push, so the scan applies them completely. Those of SQL engines, which read fragments, mean
  what SQL means; those of a scanner mean what pyarrow means.
- Nothing raises in `schema`, nor in a fragment's scanner: errors wait for the first batch, where every engine reports them.
- One fragment: a blocked reader occupies one worker of DataFusion, and rows keep their order.
- The object owns all it reads from (query, source, connection, server) and no dataframe, which would be a cycle.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.fs

from . import _core
from ._errors import nearest
from ._progress import DELAY_S, _is_terminal

SEGMENT_ID = "rerun_segment_id"

_FORMAT = pds.ParquetFileFormat()
# What a dataset is asked for that is not known to be lazy.
_FRAGMENT = _FORMAT.make_fragment(
    "lazy dataset: read it through to_table, to_batches, scanner, or a query engine",
    pyarrow.fs.LocalFileSystem(),
)


@dataclass(frozen=True)
class ScanStatistics:
    """What the scans of a lazy dataset have read so far, summed up.

    `chunks_found` were looked up, `chunks_fetched` were needed; of those `chunks_in_part` without the values of some components.
    `bytes_fetched` counts them decoded, `rows` what was given out.
    """

    segments: int
    chunks_found: int
    chunks_fetched: int
    chunks_in_part: int
    bytes_fetched: int
    rows: int


class Query:
    """A planned query and the words for its errors."""

    def __init__(
        self,
        query: _core.Query,
        *,
        label: str,
        segments: Callable[[], list[str]],
        memory_budget: int | None = None,
    ) -> None:
        self.schema: pa.Schema = query.schema
        self.label = label
        self._query = query
        self._segments = segments
        self._memory_budget = memory_budget
        self.shows_progress = True

    def project(self, columns: list[str] | None) -> pa.Schema:
        """The schema of a scan of these columns; ValueError names what is close to an unknown one."""
        if columns is None:
            return self.schema
        known = set(self.schema.names)
        for name in columns:
            if not isinstance(name, str):
                raise TypeError(f"columns must be str, not {type(name).__name__}")
            if name not in known:
                raise ValueError(
                    f"Column '{name}' does not exist in the dataset.{nearest(name, self.schema.names)}"
                )
        fields = [self.schema.field(name) for name in columns]
        return pa.schema(fields, metadata=self.schema.metadata)

    @property
    def statistics(self) -> ScanStatistics:
        """What all its scans have read."""
        return ScanStatistics(**self._query.statistics())

    def batches(
        self,
        projected: pa.Schema,
        filter: pc.Expression | None,
        *,
        sql: bool,
        limit: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Runs the query, to its end or for `limit` rows; nothing happens before the first `next`."""
        scan = self._begin(projected, filter, sql=sql, limit=limit)
        progress = _ScanProgress(self._segments) if self._draws_progress() else None
        try:
            for batch in _read_batches(scan, projected):
                if progress is not None:
                    progress.add(batch)
                yield batch
        finally:
            if progress is not None:
                progress.close()

    def table(self, projected: pa.Schema, filter: pc.Expression | None, *, sql: bool) -> pa.Table:
        """Runs the query to its end, without a Python object for each batch unless progress is drawn. There must be a column."""
        if self._draws_progress():
            return pa.Table.from_batches(self.batches(projected, filter, sql=sql), projected)
        table: pa.Table = self._begin(projected, filter, sql=sql, limit=None).read_table()
        if table.schema.equals(projected, check_metadata=True):
            return table
        return pa.Table.from_arrays(table.columns, schema=projected)

    def _begin(
        self, projected: pa.Schema, filter: pc.Expression | None, *, sql: bool, limit: int | None
    ) -> _core.Scan:
        everything = projected is self.schema
        return self._query.scan(
            columns=None if everything else projected.names,
            filter=None if filter is None else _filter_bytes(filter),
            sql_filter_semantics=sql,
            memory_budget=self._memory_budget,
            limit=limit,
        )

    def _draws_progress(self) -> bool:
        return self.shows_progress and _is_terminal()


def _read_batches(scan: _core.Scan, projected: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches of a scan; what went wrong is raised as the scan itself says it."""
    reader = pa.RecordBatchReader.from_stream(scan)
    relabel = not reader.schema.equals(projected, check_metadata=True)
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except BaseException:
            scan.raise_for_status()
            raise
        if relabel and projected.names:
            batch = pa.RecordBatch.from_arrays(batch.columns, schema=projected)
        yield batch


class _ScanProgress:
    """Drawn when a batch is delivered: a scan that nobody reads any more must not go on drawing."""

    def __init__(self, segments: Callable[[], list[str]]) -> None:
        self._segments = segments
        self._position: dict[str, int] | None = None
        self._rows = 0
        self._began = self._drawn = time.monotonic()
        self._is_shown = False

    def add(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        now = time.monotonic()
        if now - self._began < DELAY_S or now - self._drawn < 0.2:
            return
        self._drawn = now
        sys.stderr.write(
            f"\r\x1b[2Kreading {self._bar(batch)}{self._rows:,} rows, {now - self._began:.0f} s"
        )
        sys.stderr.flush()
        self._is_shown = True

    def _bar(self, batch: pa.RecordBatch) -> str:
        # Segments come in the order of their ids: the last one seen says how far the scan is.
        if SEGMENT_ID not in batch.schema.names or batch.num_rows == 0:
            return ""
        if self._position is None:
            self._position = {
                name: i for i, name in enumerate(sorted(self._segments(), key=str.encode))
            }
        total = len(self._position)
        done = self._position.get(batch.column(SEGMENT_ID)[-1].as_py(), 0)
        filled = 24 * done // total if total else 0
        return f"{'█' * filled}{'░' * (24 - filled)} segment {done + 1:,} of {total:,}, "

    def close(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _filter_bytes(expression: pc.Expression | pa.BooleanScalar) -> bytes:
    if isinstance(expression, pa.BooleanScalar):
        # A filter that DataFusion found to be the same for every row, as `x = 1 and x = 2`.
        expression = pc.scalar(expression)
    if not isinstance(expression, pc.Expression):
        raise TypeError(
            f"filter must be a pyarrow.compute.Expression, not {type(expression).__name__}"
        )
    # What an expression pickles to is the form that Arrow's C++ reads back.
    buffer = expression.__reduce__()[1][0]
    return bytes(buffer.to_pybytes())


class LazyScanner:
    """One projection and filter of a lazy dataset, with the methods of `pyarrow.dataset.Scanner`."""

    def __init__(
        self, query: Query, projected: pa.Schema, filter: pc.Expression | None, *, sql: bool
    ) -> None:
        self.projected_schema = projected
        self.dataset_schema = query.schema
        self._query, self._filter, self._sql = query, filter, sql

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Run the scan and yield its batches as they come."""
        return self._query.batches(self.projected_schema, self._filter, sql=self._sql)

    def scan_batches(self) -> Iterator[pds.TaggedRecordBatch]:
        """Not available: batches of a lazy dataset belong to no fragment."""
        raise NotImplementedError("scan_batches: use to_batches")

    def to_reader(self) -> pa.RecordBatchReader:
        """Run the scan behind a reader."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self.to_batches())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def to_table(self) -> pa.Table:
        """Run the scan to its end."""
        if not self.projected_schema.names:
            # A table of no columns keeps its row count only in this way.
            rows = self.count_rows()
            return pa.table({"": pa.nulls(rows)}).select([])
        return self._query.table(self.projected_schema, self._filter, sql=self._sql)

    def count_rows(self) -> int:
        """Run the scan and count."""
        return sum(batch.num_rows for batch in self.to_batches())

    def head(self, num_rows: int) -> pa.Table:
        """Run the scan until it gave `num_rows` rows."""
        if num_rows < 0:
            raise ValueError(f"num_rows must not be negative, got {num_rows}")
        return pa.Table.from_batches(list(self.first_batches(num_rows)), self.projected_schema)

    def first_batches(self, num_rows: int | None) -> Iterator[pa.RecordBatch]:
        """Run the scan for so many rows (None: all) and yield its batches as they come."""
        return self._query.batches(
            self.projected_schema, self._filter, sql=self._sql, limit=num_rows
        )

    def take(self, indices: object) -> pa.Table:
        """Run the scan to its end and take rows."""
        return self.to_table().take(indices)


class _Fragment:
    """The whole dataset, as SQL engines ask for it."""

    def __init__(self, query: Query) -> None:
        self.physical_schema = query.schema
        self.partition_expression = pc.scalar(True)
        self._query = query

    def scanner(
        self,
        schema: pa.Schema | None = None,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,
        **_: object,
    ) -> LazyScanner:
        try:
            projected = self._query.project(columns)
        except (TypeError, ValueError) as error:
            return _FailingScanner(self._query, error)
        return LazyScanner(self._query, projected, filter, sql=True)

    def count_rows(self, **options: Any) -> int:
        return self.scanner(columns=[], filter=options.get("filter")).count_rows()

    def to_table(self, **options: Any) -> pa.Table:
        return self.scanner(**options).to_table()

    def to_batches(self, **options: Any) -> Iterator[pa.RecordBatch]:
        return self.scanner(**options).to_batches()

    def head(self, num_rows: int, **options: Any) -> pa.Table:
        return self.scanner(**options).head(num_rows)


class _FailingScanner(LazyScanner):
    """Raises where engines report errors well: at the first batch."""

    def __init__(self, query: Query, error: Exception) -> None:
        super().__init__(query, query.schema, None, sql=True)
        self._error = error

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Return an iterator that raises."""
        return self

    def head(self, num_rows: int) -> NoReturn:
        """Raise."""
        raise self._error

    def __iter__(self) -> _FailingScanner:
        return self

    def __next__(self) -> NoReturn:
        raise self._error


class LazyDataset(pds.FileSystemDataset):  # type: ignore[misc]
    """The dataframe of a query, not read yet.

    A `pyarrow.dataset.Dataset`: pass it to `datafusion.SessionContext().read_table`, use it in DuckDB's SQL by the name of
    its variable, in `polars.scan_pyarrow_dataset`, or through the methods here. Columns and filters reach the storage.
    """

    def __init__(self, query: Query) -> None:
        super().__init__([_FRAGMENT], query.schema, _FORMAT)
        self._query = query

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the metadata of their fields."""
        return self._query.schema

    @property
    def statistics(self) -> ScanStatistics:
        """What has been read through this object so far, by whichever engine."""
        return self._query.statistics

    def get_fragments(self, filter: pc.Expression | None = None) -> list[Any]:
        """Return one fragment, for query engines."""
        # An engine whose own threads died with fork() would wait for them forever; this is the last place to say so.
        _core._check_process()
        return [_Fragment(self._query)]

    def scanner(
        self,
        columns: list[str] | dict[str, pc.Expression] | None = None,
        filter: pc.Expression | None = None,
        **options: Any,
    ) -> Any:
        """Return a scanner of `columns` and of the rows that pass `filter`."""
        _core._check_process()
        if isinstance(columns, dict):
            reader = LazyScanner(self._query, self._query.schema, filter, sql=False).to_reader()
            return pds.Scanner.from_batches(reader, columns=columns)
        names = None if columns is None else list(columns)
        return LazyScanner(self._query, self._query.project(names), filter, sql=False)

    def to_batches(
        self,
        columns: list[str] | dict[str, pc.Expression] | None = None,
        filter: pc.Expression | None = None,
        **options: Any,
    ) -> Iterator[pa.RecordBatch]:
        """Read, batch by batch."""
        batches: Iterator[pa.RecordBatch] = self.scanner(columns, filter).to_batches()
        return batches

    def to_table(
        self,
        columns: list[str] | dict[str, pc.Expression] | None = None,
        filter: pc.Expression | None = None,
        **options: Any,
    ) -> pa.Table:
        """Read everything."""
        return self.scanner(columns, filter).to_table()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.scanner().to_reader().__arrow_c_stream__(requested_schema)

    def count_rows(self, filter: pc.Expression | None = None, **options: Any) -> int:
        """Count the rows; reads no more than is needed to know."""
        return int(self.scanner([], filter).count_rows())

    def head(
        self,
        num_rows: int,
        columns: list[str] | dict[str, pc.Expression] | None = None,
        filter: pc.Expression | None = None,
        **options: Any,
    ) -> pa.Table:
        """Read the first rows."""
        return self.scanner(columns, filter).head(num_rows)

    def take(self, indices: object, *args: Any, **options: Any) -> pa.Table:
        """Read everything and take rows."""
        return self.to_table().take(indices)

    def filter(self, expression: pc.Expression) -> pds.Dataset:
        """Return the rows that pass, read into memory."""
        return pds.InMemoryDataset(self.to_table(filter=expression))

    def sort_by(self, sorting: Any, **options: Any) -> pds.Dataset:
        """Return the rows in another order, read into memory."""
        return pds.InMemoryDataset(self.to_table().sort_by(sorting, **options))

    def join(self, right_dataset: Any, *args: Any, **options: Any) -> pds.Dataset:
        """Join with another dataset, both read into memory."""
        right = (
            right_dataset.to_table() if isinstance(right_dataset, pds.Dataset) else right_dataset
        )
        return pds.InMemoryDataset(self.to_table().join(right, *args, **options))

    def join_asof(self, right_dataset: Any, *args: Any, **options: Any) -> pds.Dataset:
        """Join with another dataset by the nearest key, both read into memory."""
        right = (
            right_dataset.to_table() if isinstance(right_dataset, pds.Dataset) else right_dataset
        )
        return pds.InMemoryDataset(self.to_table().join_asof(right, *args, **options))

    def replace_schema(self, schema: pa.Schema) -> NoReturn:
        """Not available."""
        raise NotImplementedError("the schema of a lazy dataset is that of its query")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a lazy dataset cannot be pickled: it holds a connection. Send the address, dataset name and query instead"
        )

    def __repr__(self) -> str:
        return f"LazyDataset({self._query.label}, {len(self.schema)} columns)"
