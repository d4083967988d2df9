"""Segments chunk by chunk, as they are stored: to look at them, to keep some of them, to write them to a file.

>>> store = dataset.segment_store("recording_001")
>>> print(store.summary())
>>> store.stream().filter(content="/world/**").write_rrd("world.rrd", application_id="demo", recording_id="recording_001")
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from rushes import _core
from rushes.catalog._content_filter import ContentFilter, expressions
from rushes.catalog._schema import Schema

__all__ = ["Chunk", "LazyChunkStream", "LazyStore"]

# Chunks are read in groups: so many decoded bytes, unless one chunk alone has more.
_GROUP_BYTES = 8 << 20
_GROUP_CHUNKS = 1024


class Chunk:
    """A chunk: rows of one entity, as they were logged. Immutable and thread safe; `pa.record_batch(chunk)` works, too."""

    __slots__ = ("_chunk",)

    def __init__(self, internal: _core.Chunk) -> None:
        self._chunk = internal

    @property
    def id(self) -> str:
        """The chunk's id: `chunk_` and 32 hex digits."""
        return self._chunk.id

    @property
    def entity_path(self) -> str:
        """The entity whose rows these are."""
        return self._chunk.entity_path

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        return self._chunk.num_rows

    @property
    def num_columns(self) -> int:
        """How many columns it has: row ids, timelines, components."""
        return self._chunk.num_columns

    @property
    def is_static(self) -> bool:
        """Whether it has no timeline: its values hold at any time."""
        return self._chunk.is_static

    @property
    def is_empty(self) -> bool:
        """Whether it has no row."""
        return self._chunk.num_rows == 0

    @property
    def timeline_names(self) -> list[str]:
        """The timelines of its rows, in the order of the columns."""
        return self._chunk.timeline_names

    def to_record_batch(self) -> pa.RecordBatch:
        """Return the rows as Arrow data: row ids, timelines, components as lists; the metadata say which is which. Copies nothing."""
        return pa.record_batch(self._chunk)

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        return self._chunk.__arrow_c_array__(requested_schema)

    def __len__(self) -> int:
        return self._chunk.num_rows

    def __repr__(self) -> str:
        return f"Chunk(id={self.id}, entity_path={self.entity_path}, num_rows={self.num_rows}, num_columns={self.num_columns})"


class _Listed(NamedTuple):
    """A chunk as the manifest lists it."""

    entity_path: str
    num_rows: int
    is_static: bool
    timelines: list[str]
    components: list[str]
    byte_size: int

    def describe(self) -> str:
        columns = sorted([*self.components, *self.timelines])
        return f"{self.entity_path} rows={self.num_rows} static={self.is_static} timelines={self.timelines} cols={columns}"


class LazyStore:
    """The chunks of a segment, read when they are asked for; made by :meth:`rushes.catalog.DatasetEntry.segment_store`.

    What it lists is what the segment had when the store was made: its manifest, held in memory. Chunks are read anew by each iteration, in
    groups of some megabytes. Thread safe.
    """

    __slots__ = ("_chunks", "_store")

    def __init__(self, internal: _core.SegmentStore) -> None:
        self._store = internal
        self._chunks = [_Listed(*row) for row in internal.chunks()]

    def schema(self) -> Schema:
        """Return the columns of the segment, then those that only assets have. Reads no chunk."""
        return Schema(pa.schema(self._store.schema()))

    def summary(self) -> str:
        """Return a line per chunk, by entity with static chunks first: rows, timelines, columns. Reads no chunk."""
        ordered = sorted(self._chunks, key=lambda chunk: (chunk.entity_path, not chunk.is_static))
        return "\n".join(chunk.describe() for chunk in ordered)

    def stream(self) -> LazyChunkStream:
        """Return all chunks as a stream, in the order of the manifest. Reads nothing before it is iterated or written."""
        return LazyChunkStream(self, range(len(self._chunks)))

    def write_rrd(
        self, path: str | PathLike[str], *, application_id: str, recording_id: str
    ) -> None:
        """Write all chunks to a recording; see :meth:`LazyChunkStream.write_rrd`."""
        self.stream().write_rrd(path, application_id=application_id, recording_id=recording_id)

    def _read(self, wanted: Sequence[int]) -> Iterator[Chunk]:
        begin = 0
        while begin < len(wanted):
            end, size = begin, 0
            while end < len(wanted) and end - begin < _GROUP_CHUNKS:
                size += self._chunks[wanted[end]].byte_size
                if end > begin and size > _GROUP_BYTES:
                    break
                end += 1
            yield from map(Chunk, self._store.read(list(wanted[begin:end])))
            begin = end

    def __len__(self) -> int:
        return len(self._chunks)

    def __repr__(self) -> str:
        return f"LazyStore({len(self)} chunks)"


class LazyChunkStream:
    """Some chunks of a store, in order; to be iterated or written any number of times.

    Immutable and thread safe. :meth:`filter` and :meth:`drop` decide from the manifest: what they leave out is never read.
    """

    __slots__ = ("_positions", "_store")

    def __init__(self, store: LazyStore, positions: Sequence[int]) -> None:
        self._store = store
        self._positions = positions

    def filter(
        self,
        *,
        content: ContentFilter | str | Sequence[str] | None = None,
        has_timeline: str | None = None,
        is_static: bool | None = None,
    ) -> LazyChunkStream:
        """Keep the chunks that pass all of the criteria that are given.

        Parameters
        ----------
        content
            Rules of entity paths, as in :meth:`rushes.catalog.DatasetEntry.filter_contents`.
        has_timeline
            A timeline that the chunk must have.
        is_static
            True: only chunks without time; False: only those with times.

        Raises
        ------
        TypeError
            If a criterion is of another type.

        """
        kept = self._matching(content, has_timeline, is_static)
        return LazyChunkStream(self._store, [i for i in self._positions if i in kept])

    def drop(
        self,
        *,
        content: ContentFilter | str | Sequence[str] | None = None,
        has_timeline: str | None = None,
        is_static: bool | None = None,
    ) -> LazyChunkStream:
        """Leave out the chunks that :meth:`filter` would keep."""
        dropped = self._matching(content, has_timeline, is_static)
        return LazyChunkStream(self._store, [i for i in self._positions if i not in dropped])

    def to_chunks(self) -> list[Chunk]:
        """Read all chunks of the stream into memory."""
        return list(self)

    def write_rrd(
        self, path: str | PathLike[str], *, application_id: str, recording_id: str
    ) -> None:
        """Write the chunks to a recording file of one store, with a footer.

        The file appears, or replaces the one that was there, when it is complete: an error or Ctrl-C leaves no part of it. Chunks without
        rows are left out.

        Parameters
        ----------
        path
            The file.
        application_id, recording_id
            The ids of the recording; the recording id is the segment id where the file is registered.

        Raises
        ------
        ValueError
            If an id is empty.
        TypeError
            If an argument is of another type.
        OSError
            If the file cannot be written.
        ConnectionError
            If the server went away.

        """
        if not isinstance(path, (str, PathLike)):
            raise TypeError(f"path must be a str or a path, not {type(path).__name__}")
        for name, value in (("application_id", application_id), ("recording_id", recording_id)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, not {type(value).__name__}")
            if not value:
                raise ValueError(f"{name} must not be empty")
        target = Path(path)
        # Beside it, so that the last step is one: the file may be what is being read.
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            writer = _core.RecordingWriter.open(os.fspath(part), application_id, recording_id)
            for chunk in self:
                writer.write(chunk._chunk)
            writer.close()
            part.replace(target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()

    def _matching(
        self,
        content: ContentFilter | str | Sequence[str] | None,
        has_timeline: str | None,
        is_static: bool | None,
    ) -> set[int]:
        if has_timeline is not None and not isinstance(has_timeline, str):
            raise TypeError(f"has_timeline must be a str, not {type(has_timeline).__name__}")
        if is_static is not None and not isinstance(is_static, bool):
            raise TypeError(f"is_static must be a bool, not {type(is_static).__name__}")
        chunks = self._store._chunks
        kept = set(self._positions)
        if content is not None:
            paths = sorted({chunks[i].entity_path for i in kept})
            matches = _core.match_contents([expressions(content)], paths)
            inside = {path for path, match in zip(paths, matches, strict=True) if match}
            kept = {i for i in kept if chunks[i].entity_path in inside}
        if has_timeline is not None:
            kept = {i for i in kept if has_timeline in chunks[i].timelines}
        if is_static is not None:
            kept = {i for i in kept if chunks[i].is_static == is_static}
        return kept

    def __iter__(self) -> Iterator[Chunk]:
        return self._store._read(self._positions)

    def __repr__(self) -> str:
        return f"LazyChunkStream({len(self._positions)} chunks)"
