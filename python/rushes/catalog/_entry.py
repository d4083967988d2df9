"""Entries of a catalog, and what a dataset offers: schema, segments, dataframes, registration."""

from __future__ import annotations

import os
import warnings
from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rushes import _core
from rushes._errors import NotFoundError, nearest
from rushes._frame import ReaderFrame
from rushes._index_values import Distance, IndexValuesLike, to_distance, to_int64
from rushes._lazy import SEGMENT_ID, LazyDataset, Query
from rushes._progress import Progress

from ._companions import Companions
from ._content_filter import ContentFilter, describe, expressions
from ._ids import EntryId, EntryKind
from ._info import DatasetInfo, dataset_info
from ._registration import (
    OnDuplicateSegmentLayer,
    RegistrationOperation,
    UnregistrationHandle,
    on_duplicate_code,
)
from ._schema import Schema

if TYPE_CHECKING:
    import datafusion

    from rushes.chunk import LazyStore

    from ._client import CatalogClient
    from ._table import TableEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# Rows of a fixed distance are listed before they are read: 8 bytes each.
_MOST_ROWS_EVERY = 100_000_000


class Entry(ABC):  # noqa: B024
    """A named entry of a catalog. What it says was true when it was fetched."""

    __slots__ = ("_client", "_details", "_name")

    def __init__(self, client: CatalogClient, details: _core.EntryDetails) -> None:
        self._client = client
        self._details = details
        self._name = details.name

    @property
    def id(self) -> EntryId:
        """The entry's id."""
        return EntryId._of(self._details.id)

    @property
    def name(self) -> str:
        """The entry's name."""
        return self._name

    @property
    def kind(self) -> EntryKind:
        """What the entry is."""
        return EntryKind(self._details.kind)

    @property
    def created_at(self) -> datetime:
        """When it was created, in UTC."""
        return _EPOCH + timedelta(microseconds=self._details.created_at_ns // 1000)

    @property
    def updated_at(self) -> datetime:
        """When it was last changed, in UTC."""
        return _EPOCH + timedelta(microseconds=self._details.updated_at_ns // 1000)

    @property
    def catalog(self) -> CatalogClient:
        """The client it came from."""
        return self._client

    def delete(self) -> None:
        """Remove it from the catalog. Recordings stay where they are."""
        self._client._connection.delete_entry(self._details.id)

    def set_name(self, name: str) -> None:
        """Give it another name."""
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        self._details = self._client._connection.rename_entry(self._details.id, name)
        self._name = self._details.name

    def update(self, *, name: str | None = None) -> None:
        """Deprecated: use :meth:`set_name`."""
        warnings.warn(
            "`update` is deprecated, use `set_name` instead.", DeprecationWarning, stacklevel=2
        )
        if name is not None:
            self.set_name(name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Entry):
            return self.id == other.id
        if isinstance(other, str):
            return self._name == other
        if isinstance(other, EntryId):
            return self.id == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Entry({self.kind!r}, '{self._name}')"


class DatasetEntry(Companions, Entry):
    """A dataset: segments (recordings) that share a schema."""

    __slots__ = ("_opened",)

    def __init__(self, client: CatalogClient, details: _core.EntryDetails) -> None:
        super().__init__(client, details)
        self._opened: _core.Source | None = None

    # --- what there is

    def schema(self) -> Schema:
        """Return the columns of all segments."""
        return Schema(self._arrow_schema())

    def arrow_schema(self) -> pa.Schema:
        """Deprecated: use `schema().to_arrow()`."""
        warnings.warn(
            "`arrow_schema` is deprecated, use `schema().to_arrow()` instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self._arrow_schema()

    def info(self) -> DatasetInfo:
        """Return a summary: segments, layers, timelines, properties. Reads no data."""
        return dataset_info(self._name, self._segment_table(), self.schema())

    def segment_ids(self) -> list[str]:
        """Return the ids of all segments."""
        return self._source().segments()

    def segment(self, segment_id: str) -> Segment:
        """Return a segment; `NotFoundError` if there is none of that id."""
        if not isinstance(segment_id, str):
            raise TypeError(f"segment_id must be a str, not {type(segment_id).__name__}")
        known = self.segment_ids()
        if segment_id not in known:
            raise NotFoundError(
                f"Segment not found (NotFound)\n- Server: {self._client.url}\n- Dataset: {self.id}\n"
                f"Segment: {segment_id}.{nearest(segment_id, known)}"
            )
        return Segment(self, segment_id)

    def layer(self, name: str) -> Layer:
        """Return a layer; `ValueError` if no segment has it."""
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if not name:
            raise ValueError("Invalid `LayerName`: must not be empty")
        known = sorted(
            {n for names in self._segment_table()["rerun_layer_names"].to_pylist() for n in names}
        )
        if name not in known:
            available = ", ".join(f'"{layer}"' for layer in known)
            raise ValueError(
                f'Layer LayerName("{name}") not found in dataset {self.id}. Available layers: [{available}]'
            )
        return Layer(self, name)

    def segment_table(
        self, join_meta: TableEntry | datafusion.DataFrame | None = None, join_key: str = SEGMENT_ID
    ) -> datafusion.DataFrame:
        """Return one row per segment: layers, files, sizes, properties, ranges of the timelines; as they are now.

        With `join_meta`, its columns are added to the segments that its `join_key` names.
        """
        return _segment_table(self._segment_table(), join_meta, join_key)

    def manifest(self, include_diagnostic_data: bool = False) -> datafusion.DataFrame:
        """Deprecated. Return one row per segment and layer."""
        warnings.warn("`manifest` is deprecated.", DeprecationWarning, stacklevel=2)
        table = pa.table(self._client._connection.manifest(self._details.id))
        status = "rerun_registration_status"
        if not include_diagnostic_data and status in table.column_names:
            table = table.filter(pc.equal(table[status], "done")).drop_columns([status])
        return _in_memory(table)

    def get_index_ranges(self) -> datafusion.DataFrame:
        """Return first and last value of each timeline, one row per segment."""
        return _in_memory(_index_ranges(self._segment_table(), self.schema()))

    def segment_url(
        self,
        segment_id: str,
        timeline: str | None = None,
        start: datetime | timedelta | int | None = None,
        end: datetime | timedelta | int | None = None,
    ) -> str:
        """Return the address of a segment, for viewers; with a time or a range of times to show."""
        if timeline is None and (start is not None or end is not None):
            raise ValueError("If `start` or `end` is specified, `timeline` must also be specified.")
        url = f"{self._client.url}/dataset/{self.id}?segment_id={segment_id}"
        if timeline is None:
            return url
        first = "1677-09-21T00:12:43.145224193Z" if start is None else _time_text(start)
        url += f"#when={timeline}@{first}"
        if end is not None:
            last = _time_text(end)
            url += f"&time_selection={timeline}@{last if start is None else first}..{last}"
        return url

    @property
    def manifest_url(self) -> str:
        """An address of the dataset's manifest, for information."""
        return f"memory:///{self.id}"

    # --- data

    def segment_store(self, segment_id: str, *, include_assets: bool = True) -> LazyStore:
        """Open a segment chunk by chunk: to see what it is made of, to read chunks as Arrow data, to write a recording.

        The manifest is read at once, chunks when they are asked for. For rows on a timeline use :meth:`reader`.

        Parameters
        ----------
        segment_id
            The segment.
        include_assets
            Whether the chunks of the assets that apply to it come with it.

        Returns
        -------
        rushes.chunk.LazyStore
            The segment as it is now. Thread safe.

        Raises
        ------
        NotFoundError
            If there is no such segment.
        TypeError
            If the id is no str.
        ConnectionError
            If the server cannot be reached.

        """
        from rushes.chunk import LazyStore

        if not isinstance(segment_id, str):
            raise TypeError(f"segment_id must be a str, not {type(segment_id).__name__}")
        connection = self._client._connection
        return LazyStore(
            connection.open_segment(self._details.id, segment_id, bool(include_assets))
        )

    def filter_segments(
        self, segment_ids: str | Sequence[str] | datafusion.DataFrame
    ) -> DatasetSelection:
        """Select segments by id. Unknown ids are ignored."""
        return DatasetSelection(self).filter_segments(segment_ids)

    def filter_contents(self, exprs: ContentFilter | str | Sequence[str]) -> DatasetSelection:
        """Select entities by path: `/world/**` with all below, `-/world/camera` to leave one out."""
        return DatasetSelection(self).filter_contents(exprs)

    def reader(
        self,
        index: str | None,
        *,
        include_semantically_empty_columns: bool = False,
        include_tombstone_columns: bool = False,
        fill_latest_at: bool = False,
        using_index_values: Mapping[str, IndexValuesLike]
        | datafusion.DataFrame
        | IndexValuesLike
        | None = None,
        every: Distance | None = None,
        fill_max_age: Distance | None = None,
        fill_respects_clears: bool = False,
        view_decides_rows: bool = False,
        include_origin_times: bool = False,
        include_row_ids: bool = False,
        memory_budget: int | None = None,
    ) -> datafusion.DataFrame:
        """Return a dataframe of all segments, placed on a timeline; see :meth:`DatasetSelection.reader`."""
        return DatasetSelection(self).reader(
            index,
            include_semantically_empty_columns=include_semantically_empty_columns,
            include_tombstone_columns=include_tombstone_columns,
            fill_latest_at=fill_latest_at,
            using_index_values=using_index_values,
            every=every,
            fill_max_age=fill_max_age,
            fill_respects_clears=fill_respects_clears,
            view_decides_rows=view_decides_rows,
            include_origin_times=include_origin_times,
            include_row_ids=include_row_ids,
            memory_budget=memory_budget,
        )

    def scan(
        self,
        index: str | None,
        *,
        include_semantically_empty_columns: bool = False,
        include_tombstone_columns: bool = False,
        fill_latest_at: bool = False,
        using_index_values: Mapping[str, IndexValuesLike]
        | datafusion.DataFrame
        | IndexValuesLike
        | None = None,
        every: Distance | None = None,
        fill_max_age: Distance | None = None,
        fill_respects_clears: bool = False,
        view_decides_rows: bool = False,
        include_origin_times: bool = False,
        include_row_ids: bool = False,
        memory_budget: int | None = None,
    ) -> LazyDataset:
        """Return the dataframe as a `pyarrow.dataset.Dataset`; see :meth:`DatasetSelection.scan`."""
        return DatasetSelection(self).scan(
            index,
            include_semantically_empty_columns=include_semantically_empty_columns,
            include_tombstone_columns=include_tombstone_columns,
            fill_latest_at=fill_latest_at,
            using_index_values=using_index_values,
            every=every,
            fill_max_age=fill_max_age,
            fill_respects_clears=fill_respects_clears,
            view_decides_rows=view_decides_rows,
            include_origin_times=include_origin_times,
            include_row_ids=include_row_ids,
            memory_budget=memory_budget,
        )

    # --- registration

    def register(
        self,
        recording_uri: str | PathLike[str] | Sequence[str | PathLike[str]],
        *,
        layer_name: str | Sequence[str] = "base",
        on_duplicate: OnDuplicateSegmentLayer | str = OnDuplicateSegmentLayer.ERROR,
        object_store_config: str | None = None,
    ) -> RegistrationOperation:
        """Register recordings, each as a layer of the segment named by its recording id.

        Parameters
        ----------
        recording_uri
            A path, a `file://` URL, or a list of them. Paths are those of this machine.
        layer_name
            The layer, or one per recording.
        on_duplicate
            What to do with a (segment, layer) that exists: fail, skip it or replace it.
        object_store_config
            Accepted for compatibility.

        """
        uris = _uris(recording_uri)
        if isinstance(layer_name, str):
            layers = [layer_name] * len(uris)
        else:
            layers = list(layer_name)
        if len(layers) != len(uris):
            raise ValueError("`layer_name` must be the same length as `recording_uri`")
        for layer in layers:
            _check_layer(layer)
        return self._register(
            [(u, n, False) for u, n in zip(uris, layers, strict=True)], on_duplicate
        )

    def register_prefix(
        self,
        recordings_prefix: str | PathLike[str],
        layer_name: str | None = None,
        on_duplicate: OnDuplicateSegmentLayer | str = OnDuplicateSegmentLayer.ERROR,
        *,
        object_store_config: str | None = None,
    ) -> RegistrationOperation:
        """Register all recordings (`*.rrd`) in a directory and below."""
        layer = "base" if layer_name is None else layer_name
        _check_layer(layer)
        [uri] = _uris(recordings_prefix)
        return self._register([(uri, layer, True)], on_duplicate)

    def unregister(
        self,
        *,
        segments_to_drop: str | Sequence[str],
        layers_to_drop: str | Sequence[str],
        force: bool = False,
    ) -> UnregistrationHandle:
        """Remove the given layers of the given segments; an empty list means all. Files stay where they are."""
        segments = (
            [segments_to_drop] if isinstance(segments_to_drop, str) else list(segments_to_drop)
        )
        layers = [layers_to_drop] if isinstance(layers_to_drop, str) else list(layers_to_drop)
        removed = self._client._connection.unregister(self._details.id, segments, layers, force)
        return UnregistrationHandle(pa.table(removed))

    # --- inside

    def _register(
        self, sources: list[tuple[str, str, bool]], on_duplicate: OnDuplicateSegmentLayer | str
    ) -> RegistrationOperation:
        connection = self._client._connection
        code = on_duplicate_code(on_duplicate)
        with Progress("registering", "recordings") as progress:
            progress.count = len(sources)
            rows = connection.register(self._details.id, sources, code)
        return RegistrationOperation(connection, rows)

    def _source(self) -> _core.Source:
        if self._opened is None:
            self._opened = self._client._connection.open_dataset(self._details.id)
        return self._opened

    def _arrow_schema(self) -> pa.Schema:
        return pa.schema(self._client._connection.dataset_schema(self._details.id))

    def _segment_table(self) -> pa.Table:
        return pa.table(self._client._connection.segment_table(self._details.id))


class DatasetSelection:
    """Segments and entities of a dataset. Immutable; reads nothing by itself."""

    __slots__ = ("_contents", "_dataset", "_segments")

    def __init__(
        self,
        internal: DatasetEntry,
        *,
        segments: tuple[str, ...] | None = None,
        contents: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self._dataset = internal
        self._segments = segments
        self._contents = contents

    @property
    def dataset(self) -> DatasetEntry:
        """The dataset."""
        return self._dataset

    def filter_segments(
        self, segment_ids: str | Sequence[str] | datafusion.DataFrame
    ) -> DatasetSelection:
        """Keep only these of the selected segments. Unknown ids are ignored; a dataframe gives its `rerun_segment_id`."""
        wanted = dict.fromkeys(_segment_ids(segment_ids))
        if self._segments is not None:
            wanted = dict.fromkeys(s for s in self._segments if s in wanted)
        return DatasetSelection(self._dataset, segments=tuple(wanted), contents=self._contents)

    def filter_contents(self, exprs: ContentFilter | str | Sequence[str]) -> DatasetSelection:
        """Keep only the selected entities that these rules select as well."""
        rules = tuple(expressions(exprs))
        return DatasetSelection(
            self._dataset, segments=self._segments, contents=(*self._contents, rules)
        )

    def schema(self) -> Schema:
        """Return the columns of the selection."""
        return Schema(self.arrow_schema())

    def arrow_schema(self) -> pa.Schema:
        """Return the columns of the selection as an Arrow schema."""
        schema = self._dataset._arrow_schema()
        if self._segments is not None:
            here = self.segment_ids()
            connection = self._dataset._client._connection
            if not here:
                return pa.schema([], metadata=schema.metadata)
            schema = pa.schema(connection.segment_schema(self._dataset._details.id, here, []))
        if not self._contents:
            return schema
        paths = [(f.metadata or {}).get(b"rerun:entity_path", b"").decode() for f in schema]
        matches = _core.match_contents([list(rules) for rules in self._contents], paths)
        fields = [
            field
            for field, match in zip(schema, matches, strict=True)
            if match or (field.metadata or {}).get(b"rerun:kind") != b"data"
        ]
        return pa.schema(fields, metadata=schema.metadata)

    def segment_ids(self) -> list[str]:
        """Return the ids of the selected segments that exist."""
        ids = self._dataset.segment_ids()
        if self._segments is None:
            return ids
        wanted = set(self._segments)
        return [segment for segment in ids if segment in wanted]

    def segment_table(
        self, join_meta: TableEntry | datafusion.DataFrame | None = None, join_key: str = SEGMENT_ID
    ) -> datafusion.DataFrame:
        """Return one row per selected segment; see :meth:`DatasetEntry.segment_table`."""
        return _segment_table(self._rows(), join_meta, join_key)

    def get_index_ranges(self) -> datafusion.DataFrame:
        """Return first and last value of each timeline, one row per selected segment."""
        return _in_memory(_index_ranges(self._rows(), self._dataset.schema()))

    def reader(
        self,
        index: str | None,
        *,
        include_semantically_empty_columns: bool = False,
        include_tombstone_columns: bool = False,
        fill_latest_at: bool = False,
        using_index_values: Mapping[str, IndexValuesLike]
        | datafusion.DataFrame
        | IndexValuesLike
        | None = None,
        every: Distance | None = None,
        fill_max_age: Distance | None = None,
        fill_respects_clears: bool = False,
        view_decides_rows: bool = False,
        include_origin_times: bool = False,
        include_row_ids: bool = False,
        memory_budget: int | None = None,
    ) -> datafusion.DataFrame:
        """Return a dataframe: one row per segment and distinct value of a timeline, one column per component.

        Nothing is read before the dataframe is used. Columns and filters reach the storage.

        Parameters
        ----------
        index
            The timeline that rows are placed on, or `None` for static data, one row per segment.
        include_semantically_empty_columns
            Also show columns that hold nothing but nulls and empty lists.
        include_tombstone_columns
            Also show the columns of clears.
        fill_latest_at
            Show the latest value at or before a row where the row has none; never across segments.
        using_index_values
            Rows at these index values instead of at those of the data: for each segment, or one list for all whose range
            covers them.
        every
            Rows at a fixed distance, from the first time of each segment on the index to its last: a number in units of the
            timeline (nanoseconds for times), or a `timedelta` for timelines of time. Not together with `using_index_values`.
        fill_max_age
            With `fill_latest_at`: fill only values that are at most this old, given like `every`.
        fill_respects_clears
            With `fill_latest_at`: a clear ends the fill of what it clears, as in the viewer. By default rows after a clear
            show the last value again, as in the official reader.
        view_decides_rows
            Let all selected entities decide which rows there are. By default only those whose columns are used do.
        include_origin_times
            One more column per component column, `"column@index"`: at which index value the value shown was logged. Null where
            nothing is shown, and for static values.
        include_row_ids
            One more column, `rerun_row_id` (16 bytes, ascending with time): the greatest row id of the temporal values shown.
        memory_budget
            Bytes of decoded recordings that one execution may hold. By default what the environment variable
            `RUSHES_MEMORY_BUDGET` says, or 1 GiB.

        Raises
        ------
        ValueError
            If the dataset has no such timeline.

        """
        lazy = self.scan(
            index,
            include_semantically_empty_columns=include_semantically_empty_columns,
            include_tombstone_columns=include_tombstone_columns,
            fill_latest_at=fill_latest_at,
            using_index_values=using_index_values,
            every=every,
            fill_max_age=fill_max_age,
            fill_respects_clears=fill_respects_clears,
            view_decides_rows=view_decides_rows,
            include_origin_times=include_origin_times,
            include_row_ids=include_row_ids,
            memory_budget=memory_budget,
        )
        return ReaderFrame(self._dataset._client.ctx.read_table(lazy), lazy)

    def scan(
        self,
        index: str | None,
        *,
        include_semantically_empty_columns: bool = False,
        include_tombstone_columns: bool = False,
        fill_latest_at: bool = False,
        using_index_values: Mapping[str, IndexValuesLike]
        | datafusion.DataFrame
        | IndexValuesLike
        | None = None,
        every: Distance | None = None,
        fill_max_age: Distance | None = None,
        fill_respects_clears: bool = False,
        view_decides_rows: bool = False,
        include_origin_times: bool = False,
        include_row_ids: bool = False,
        memory_budget: int | None = None,
    ) -> LazyDataset:
        """Return the dataframe of :meth:`reader` as a `pyarrow.dataset.Dataset`.

        For DuckDB, Polars and pyarrow: they pass columns and filters down to the storage, and no table is made in between.
        """
        if index is not None and not isinstance(index, str):
            raise TypeError(f"index must be a str or None, not {type(index).__name__}")
        if memory_budget is not None and memory_budget <= 0:
            raise ValueError(f"memory_budget must be positive, got {memory_budget}")
        age = None
        if fill_max_age is not None:
            age = to_distance(fill_max_age, "fill_max_age", self._is_sequence(index))
        source = self._dataset._source()
        if every is None:
            values = self._index_values(index, using_index_values)
        elif using_index_values is None:
            values = self._values_every(index, every)
        else:
            raise ValueError("either every or using_index_values can be given, not both")
        segments = None if self._segments is None else list(self._segments)
        if index is None and values is not None:
            # Without an index only the segments that are named matter.
            segments = [s for s in values if segments is None or s in segments]
            values = None
        try:
            query = source.query(
                index=index,
                contents=[list(rules) for rules in self._contents],
                segments=segments,
                include_semantically_empty_columns=bool(include_semantically_empty_columns),
                include_tombstone_columns=bool(include_tombstone_columns),
                fill_latest_at=bool(fill_latest_at),
                using_index_values=None
                if values is None
                else {s: v.tobytes() for s, v in values.items()},
                fill_max_age=age,
                fill_respects_clears=bool(fill_respects_clears),
                view_decides_rows=bool(view_decides_rows),
                include_origin_times=bool(include_origin_times),
                include_row_ids=bool(include_row_ids),
            )
        except NotFoundError as error:
            if index is None or index in self._timelines():
                raise
            raise self._unknown_index(index) from error
        return LazyDataset(
            Query(
                query,
                label=self._label(index),
                segments=self.segment_ids,
                memory_budget=memory_budget,
            )
        )

    def _label(self, index: str | None) -> str:
        return f"'{self._dataset.name}', index={index!r}"

    def _timelines(self) -> list[str]:
        return [column.name for column in self._dataset.schema().index_columns()]

    def _is_sequence(self, index: str | None) -> bool:
        schema = self._dataset.schema().to_arrow()
        return index in schema.names and pa.types.is_int64(schema.field(index).type)

    def _unknown_index(self, index: str) -> ValueError:
        known = nearest(index, self._timelines())
        return ValueError(f"Index '{index}' does not exist in the dataset.{known}")

    def _index_values(
        self, index: str | None, values: Any
    ) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]] | None:
        if values is None:
            return None
        if isinstance(values, Mapping):
            for segment in values:
                if not isinstance(segment, str):
                    raise TypeError(
                        f"keys of using_index_values must be segment ids, not {type(segment).__name__}"
                    )
            return {segment: to_int64(given) for segment, given in values.items()}
        if _is_dataframe(values):
            if index is None:
                raise ValueError("index must be provided when using_index_values is a DataFrame")
            return _values_of_dataframe(values, index)
        if index is None:
            raise ValueError("index must be provided when using_index_values is specified")
        try:
            wanted = to_int64(values)
        except TypeError as error:
            raise TypeError(
                "using_index_values must be index values, a dict of segment ID to index values, or a datafusion.DataFrame "
                f"with 'rerun_segment_id' and '{index}' columns: {error}"
            ) from None
        if index not in self._timelines():
            raise self._unknown_index(index)
        inside = {}
        for segment, start, end in self._dataset._source().index_ranges(index):
            covered = wanted[(wanted >= start) & (wanted <= end)]
            if len(covered):
                inside[segment] = covered
        return inside

    def _values_every(
        self, index: str | None, every: Distance
    ) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
        if index is None:
            raise ValueError("index must be provided when every is specified")
        if index not in self._timelines():
            raise self._unknown_index(index)
        step = to_distance(every, "every", self._is_sequence(index))
        if step == 0:
            raise ValueError("every must be positive, got 0")
        ranges = self._dataset._source().index_ranges(index)
        wanted = None if self._segments is None else set(self._segments)
        ranges = [r for r in ranges if wanted is None or r[0] in wanted]
        rows = sum((end - start) // step + 1 for _, start, end in ranges)
        if rows > _MOST_ROWS_EVERY:
            raise ValueError(
                f"every {every} would give {rows:,} rows; at most {_MOST_ROWS_EVERY:,} are possible in one dataframe"
            )
        return {
            segment: start + step * np.arange((end - start) // step + 1, dtype=np.int64)
            for segment, start, end in ranges
        }

    def _rows(self) -> pa.Table:
        table = self._dataset._segment_table()
        if self._segments is None:
            return table
        return table.filter(pc.is_in(table[SEGMENT_ID], pa.array(self._segments, pa.string())))

    def __repr__(self) -> str:
        segments = "all segments" if self._segments is None else f"{len(self._segments)} segments"
        contents = "no content filter"
        if self._contents:
            contents = f"content_filters={[describe(list(rules)) for rules in self._contents]!r}"
        return f"DatasetSelection({self._dataset!r}, {segments}, {contents})"


class Segment:
    """A segment of a dataset: one recording, in one or more layers."""

    __slots__ = ("_dataset", "_id")

    def __init__(self, inner: DatasetEntry, id: str) -> None:
        self._dataset = inner
        self._id = id

    @property
    def id(self) -> str:
        """The segment's id: the recording id."""
        return self._id

    @property
    def dataset(self) -> DatasetEntry:
        """The dataset."""
        return self._dataset

    @property
    def url(self) -> str:
        """The segment's address, for viewers."""
        return self._dataset.segment_url(self._id)

    def schema(self, *, include_assets: bool = False) -> Schema:
        """Return the columns of this segment; with `include_assets`, those of the assets that apply to it at the end."""
        connection = self._dataset._client._connection
        schema = pa.schema(connection.segment_schema(self._dataset._details.id, [self._id], []))
        if not include_assets:
            return Schema(schema)
        assets = self._dataset.assets_for_segment(self._id)
        dataset = self._dataset.asset_dataset() if assets else None
        if dataset is not None:
            more = pa.schema(connection.segment_schema(dataset._details.id, assets, []))
            known = set(schema.names)
            for field in more:
                if field.name not in known:
                    schema = schema.append(field)
        return Schema(schema)

    def layers(self) -> set[str]:
        """Return the names of its layers, as they are now."""
        rows = self._dataset.filter_segments(self._id)._rows()
        return {name for names in rows["rerun_layer_names"].to_pylist() for name in names}

    def delete_layer(self, name: str) -> UnregistrationHandle:
        """Remove a layer from it; nothing happens if it has none of that name."""
        return self._dataset.unregister(segments_to_drop=self._id, layers_to_drop=name)

    def __str__(self) -> str:
        return self._id

    def __repr__(self) -> str:
        return f'Segment(dataset_id={self._dataset.id}, id="{self._id}")'


class Layer:
    """A layer of a dataset: what was registered under one name, across segments."""

    __slots__ = ("_dataset", "_name")

    def __init__(self, inner: DatasetEntry, name: str) -> None:
        self._dataset = inner
        self._name = name

    @property
    def name(self) -> str:
        """The layer's name."""
        return self._name

    @property
    def dataset(self) -> DatasetEntry:
        """The dataset."""
        return self._dataset

    def segment_ids(self) -> list[str]:
        """Return the segments that have the layer, as they are now."""
        table = self._dataset._segment_table()
        rows = zip(
            table[SEGMENT_ID].to_pylist(), table["rerun_layer_names"].to_pylist(), strict=True
        )
        return [segment for segment, layers in rows if self._name in layers]

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f'Layer(dataset_id={self._dataset.id}, name="{self._name}")'


def _in_memory(table: pa.Table) -> datafusion.DataFrame:
    """A dataframe of a small table, in a session of its own: nothing is left behind in the client's."""
    import datafusion

    batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    return datafusion.SessionContext().create_dataframe([batches], schema=table.schema)


def _segment_table(
    table: pa.Table, join_meta: TableEntry | datafusion.DataFrame | None, join_key: str
) -> datafusion.DataFrame:
    segments = _in_memory(table)
    if join_meta is None:
        return segments
    meta = join_meta.reader() if isinstance(join_meta, Entry) else join_meta
    if join_key not in meta.schema().names:
        raise ValueError(f"join_meta must contain join_key column '{join_key}'.")
    if join_key not in table.column_names:
        raise ValueError(f"Dataset segment table must contain join_key column '{join_key}'.")
    return segments.join(meta, on=join_key, how="left")


def _index_ranges(table: pa.Table, schema: Schema) -> pa.Table:
    columns = [SEGMENT_ID]
    for column in schema.index_columns():
        if f"{column.name}:start" in table.column_names:
            columns += [f"{column.name}:start", f"{column.name}:end"]
    return table.select(columns)


def _is_dataframe(value: object) -> bool:
    import datafusion

    return isinstance(value, datafusion.DataFrame)


def _segment_ids(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if _is_dataframe(value):
        frame: datafusion.DataFrame = value  # type: ignore[assignment]
        if SEGMENT_ID not in frame.schema().names:
            raise ValueError(f"the DataFrame of segments must have a '{SEGMENT_ID}' column")
        ids = frame.select(_column(SEGMENT_ID)).to_arrow_table()[SEGMENT_ID].to_pylist()
        return [segment for segment in ids if segment is not None]
    if not isinstance(value, Iterable):
        raise TypeError(
            f"segment ids must be a str, a sequence of str or a DataFrame, not {type(value).__name__}"
        )
    ids = list(value)
    for segment in ids:
        if not isinstance(segment, str):
            raise TypeError(f"segment ids must be str, not {type(segment).__name__}")
    return ids


def _column(name: str) -> Any:
    import datafusion

    return datafusion.col('"' + name.replace('"', '""') + '"')


def _values_of_dataframe(
    frame: datafusion.DataFrame, index: str
) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    names = frame.schema().names
    for name in (SEGMENT_ID, index):
        if name not in names:
            article = "a" if name == SEGMENT_ID else "an"
            raise ValueError(f"using_index_values DataFrame must have {article} '{name}' column")
    table = frame.select(_column(SEGMENT_ID), _column(index)).to_arrow_table()
    segments = table[SEGMENT_ID].cast(pa.string()).dictionary_encode().combine_chunks()
    if isinstance(segments, pa.ChunkedArray):
        segments = (
            segments.chunk(0)
            if segments.num_chunks
            else pa.array([], pa.string()).dictionary_encode()
        )
    values = {}
    for code, segment in enumerate(segments.dictionary.to_pylist()):
        rows = pc.fill_null(pc.equal(segments.indices, code), False)
        values[segment] = to_int64(table[index].filter(rows))
    return values


def _uris(value: object) -> list[str]:
    if isinstance(value, (str, PathLike)):
        return [_uri(value)]
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Iterable):
        raise TypeError(
            f"recording_uri must be a str, a Path or a list of them, not {type(value).__name__}"
        )
    return [_uri(item) for item in value]


def _uri(value: object) -> str:
    if not isinstance(value, (str, PathLike)):
        raise TypeError(
            f"recording_uri must be a str, a Path or a list of them, not {type(value).__name__}"
        )
    text = os.fspath(value)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text:
        raise ValueError("recording_uri must not be empty")
    if "://" in text:
        return text
    # Absolute, with `..` and links left for the server to follow.
    return Path(os.path.abspath(text)).as_uri()  # noqa: PTH100


def _check_layer(layer: object) -> None:
    if not isinstance(layer, str):
        raise TypeError(f"layer names must be str, not {type(layer).__name__}")
    if not layer:
        raise ValueError("Invalid `LayerName`: must not be empty")


def _time_text(value: object) -> str:
    """An index value as addresses of segments write it."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError("a time must be an int, a datetime or a timedelta, not a bool")
    if isinstance(value, np.timedelta64):
        return _duration_text(int(value.astype("timedelta64[ns]").astype(np.int64)))
    if isinstance(value, np.datetime64):
        return f"{value.astype('datetime64[ns]')!s}Z"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        return _duration_text(micros * 1000)
    if isinstance(value, datetime):
        # A naive one is local time, as everywhere in Python.
        utc = value.astimezone(UTC)
        text = utc.strftime("%Y-%m-%dT%H:%M:%S")
        return f"{text}.{utc.microsecond:06}".rstrip("0") + "Z" if utc.microsecond else text + "Z"
    raise TypeError(f"a time must be an int, a datetime or a timedelta, not {type(value).__name__}")


def _duration_text(nanos: int) -> str:
    sign = "-" if nanos < 0 else "+"
    seconds, fraction = divmod(abs(nanos), 10**9)
    text = f"{seconds}"
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    return f"{sign}{text}s"
