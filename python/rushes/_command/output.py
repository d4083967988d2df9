"""Where an answer goes and in which form: files that appear only when they are complete, and one writer per format."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import sys
import threading
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa

from rushes import _core

from .errors import CommandError

FORMATS = ("table", "csv", "json", "parquet", "arrow")
BINARY = ("parquet", "arrow")
_FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".txt": "table",
}

# A row group of Parquet is as large as one of these.
_GROUP_ROWS = 1 << 18
_GROUP_BYTES = 64 << 20


def format_of(name: str | None, path: str | None) -> str:
    """The format asked for, else the one of the file's name, else a table."""
    if name is not None:
        return name
    if path is None:
        return "table"
    found = _FORMAT_OF_SUFFIX.get(Path(path).suffix.lower())
    if found is None:
        raise CommandError(
            f"which format is {path}? Give --format, one of {', '.join(FORMATS)}, or a name that ends in .csv, .json, .parquet or .arrow"
        )
    return found


class Output:
    """Bytes for stdout or for a file. A file is written beside its place and moved there by `commit`.

    `open` comes first; `discard` may be called at any time and by another thread.
    """

    def __init__(self, path: str | None, *, overwrite: bool) -> None:
        self._path = path
        self._temporary: Path | None = None
        self._target: Path | None = None
        self._overwrite = overwrite
        self._lock = threading.Lock()
        self._is_discarded = False
        self.is_stdout = path is None
        self.stream: IO[bytes]

    def open(self) -> None:
        """Makes the file. CommandError if that is impossible, or if there is one that must not be overwritten."""
        if self._path is None:
            sys.stdout.flush()
            self.stream = io.BufferedWriter(io.FileIO(1, "wb", closefd=False), buffer_size=1 << 20)
            return
        try:
            # A link is followed: what it leads to is replaced.
            path = Path(self._path)
            self._target = path.resolve() if path.is_symlink() else path
            self._open_file(self._target)
        except (OSError, RuntimeError, ValueError) as error:
            words = error.strerror if isinstance(error, OSError) else None
            raise CommandError(f"cannot write {self._path}: {words or error}") from None

    def _open_file(self, target: Path) -> None:
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            mode = None
        if mode is not None and stat.S_ISDIR(mode):
            raise CommandError(f"cannot write {target}: it is a directory")
        if mode is not None and not stat.S_ISREG(mode):
            # A device or a pipe is no place to move a file to.
            self._target = None
            self.stream = target.open("wb")
            return
        if mode is not None and not self._overwrite:
            raise CommandError(f"{target} exists; --force overwrites it")
        temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
        with self._lock:
            if self._is_discarded:
                raise CommandError("stopped")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o666)
            self._temporary = temporary
        self.stream = os.fdopen(handle, "wb", buffering=1 << 20)
        if mode is not None:
            shutil.copymode(target, temporary)

    def flush(self) -> None:
        """Hands on what is there, for whoever reads a pipe."""
        self.stream.flush()

    def commit(self) -> None:
        """Everything is written: the file appears."""
        self.stream.flush()
        if self._temporary is None or self._target is None:
            if not self.is_stdout:
                self.stream.close()
            return
        os.fsync(self.stream.fileno())
        self.stream.close()
        if self._overwrite:
            self._temporary.replace(self._target)
        else:
            self._move_to_new()
        self._temporary = None

    def _move_to_new(self) -> None:
        assert self._temporary is not None
        assert self._target is not None
        try:
            os.link(self._temporary, self._target)
        except FileExistsError:
            raise CommandError(
                f"{self._target} came to be meanwhile; --force overwrites it"
            ) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            self._temporary.replace(self._target)  # no links on this file system
        else:
            self._temporary.unlink()

    def discard(self) -> None:
        """Leaves nothing behind; after `commit` it does nothing. May be called while another thread writes."""
        with self._lock:
            self._is_discarded = True
            temporary, self._temporary = self._temporary, None
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


class Writer(Protocol):
    """Takes the batches of an answer. A writer is made with the schema and writes a header, if its format has one."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""

    def close(self) -> None:
        """Writes what ends the format."""


class CsvWriter:
    """RFC 4180, lines ending in LF; nested values as JSON text, null as nothing, an empty text as `""`."""

    def __init__(self, output: Output, schema: pa.Schema) -> None:
        self._output = output
        names = pa.record_batch(
            [pa.array([name]) for name in schema.names], names=[str(i) for i in range(len(schema))]
        )
        self._output.stream.write(_core.csv_lines(names))
        self._output.flush()

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._output.stream.write(_core.csv_lines(batch))
        self._output.flush()

    def close(self) -> None:
        """Nothing more to write."""


class JsonWriter:
    """One object per line."""

    def __init__(self, output: Output, schema: pa.Schema) -> None:
        self._output = output

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._output.stream.write(_core.json_lines(batch))
        self._output.flush()

    def close(self) -> None:
        """Nothing more to write."""


class _Counted(io.RawIOBase):
    """A stream that knows how much went through it, for writers that ask; pipes do not know."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._count = 0

    def writable(self) -> bool:
        """Return true."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        view = memoryview(data).cast("B")
        self._stream.write(view)
        self._count += len(view)
        return len(view)

    def tell(self) -> int:
        """Return the bytes written."""
        return self._count

    def flush(self) -> None:
        """Hand on what is there."""
        self._stream.flush()


class ArrowWriter:
    """The Arrow IPC file format for a file, the stream format for stdout."""

    def __init__(self, output: Output, schema: pa.Schema) -> None:
        sink = pa.PythonFile(_Counted(output.stream), "w")
        make = pa.ipc.new_stream if output.is_stdout else pa.ipc.new_file
        self._writer = make(sink, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Writes the footer."""
        self._writer.close()


class ParquetWriter:
    """Parquet with the Arrow schema; row groups of up to 262,144 rows or 64 MiB."""

    def __init__(self, output: Output, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        try:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(_Counted(output.stream), "w"), schema, store_schema=True
            )
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise CommandError(f"Parquet cannot hold these columns: {error}") from None
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._batches, self._schema)
        self._batches.clear()
        self._rows = self._bytes = 0
        try:
            self._writer.write_table(table, row_group_size=_GROUP_ROWS)
        except pa.ArrowNotImplementedError as error:
            raise CommandError(f"Parquet cannot hold these columns: {error}") from None

    def close(self) -> None:
        """Writes the last row group and the footer."""
        if self._batches:
            self._flush()
        self._writer.close()
