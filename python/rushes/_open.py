"""Recordings on this machine, without a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from . import _core
from ._arguments import CACHE_BYTES, checked_cache_bytes, local_path
from .catalog import CatalogClient, DatasetEntry

_LONGEST_NAME = 180


def open_recordings(
    path: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    name: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> DatasetEntry:
    """Open recordings of this machine as a dataset; no server is started and nothing listens.

    Everything a dataset of a server can do works: `schema()`, `reader()`, `scan()`, `filter_contents()`, `register()` of more
    recordings. It is gone when the last dataset or dataframe that came from it is.

    Parameters
    ----------
    path
        A recording, a directory whose `.rrd` files are taken, or a list of recordings. Each recording becomes a segment whose
        id is the recording id. Of a truncated recording the readable part is there, and a warning is logged.
    name
        The name of the dataset; by default that of the directory or of the first file.
    cache_bytes
        Bound of the cache of decoded chunks that queries of this dataset share; 0 keeps none.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ValueError
        If a file is no recording or does not fit the others, a directory holds none, or two files hold the same recording.

    Examples
    --------
    >>> import rushes as rr
    >>> rr.open_recordings("recordings/demo").reader(index="frame_nr")

    """
    given: object = path
    if isinstance(given, (str, PathLike)):
        given = [given]
    if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
        raise TypeError(f"path must be a str, a path or a list of them, not {type(path).__name__}")
    paths: list[Path] = []
    for item in given:
        if not isinstance(item, (str, PathLike)):
            raise TypeError(f"path must hold str or paths, not {type(item).__name__}")
        paths.append(local_path(item).resolve())
        if not paths[-1].exists():
            raise FileNotFoundError(f"no such file or directory: {local_path(item)}")
    if not paths:
        raise ValueError("path must name at least one recording")
    if name is None:
        stem = paths[0].name if paths[0].is_dir() else paths[0].stem
        name = re.sub(r"[^A-Za-z0-9_. \[\]:-]", "_", stem)[:_LONGEST_NAME] or "recordings"
    connection = _core.Connection.open_recordings(
        [str(p) for p in paths], name, checked_cache_bytes(cache_bytes)
    )
    return CatalogClient._from_connection(connection).get_dataset(name)
