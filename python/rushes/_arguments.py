"""What users give to servers and to recordings without one: paths and bounds."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(value: str | PathLike[str]) -> Path:
    """A path, or the path of a `file://` URL."""
    text = os.fspath(value)
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return Path(text)


CACHE_BYTES = 1 << 30


def checked_cache_bytes(value: object) -> int:
    """A bound of the cache of decoded chunks; 0 keeps none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"cache_bytes must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"cache_bytes must not be negative, got {value}")
    return value


LIVE_HISTORY_BYTES = 1 << 30
LIVE_HISTORY_BYTES_MIN = 1 << 20


def checked_live_history_bytes(value: object) -> int:
    """A bound of the history of live messages; 0 refuses them."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"live_history_bytes must be an int, not {type(value).__name__}")
    if value != 0 and value < LIVE_HISTORY_BYTES_MIN:
        raise ValueError(
            f"live_history_bytes must be 0 or at least {LIVE_HISTORY_BYTES_MIN}, got {value}"
        )
    return value
