"""Paths of recordings, as users give them."""

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
