"""Rushes: an open catalog server and query engine for robot recordings.

>>> import rushes as rr
>>> with rr.server.Server(datasets={"my_dataset": ["recording.rrd"]}) as server:
...     dataset = server.client().get_dataset("my_dataset")
...     print(dataset.reader(index="frame_nr"))
"""

from __future__ import annotations

import sys as _sys

# Order matters: pyarrow's libraries must be loaded, and the compute kernels registered, before the module that uses them.
try:
    import pyarrow as _pa
    import pyarrow.compute as _pc  # noqa: F401
except ImportError as _error:
    raise ImportError(
        f"rushes needs pyarrow 26.0.x: {_error}\n"
        f"Run: {_sys.executable} -m pip install 'pyarrow>=26.0.0,<26.1'"
    ) from _error

if str(_pa.cpp_build_info.so_version) != "2600":
    raise ImportError(
        f"rushes is built for pyarrow 26.0.x and found {_pa.__version__}.\n"
        f"Run: {_sys.executable} -m pip install 'pyarrow>=26.0.0,<26.1'"
    )

from . import catalog as catalog
from . import chunk as chunk
from . import server as server
from ._open import open_recordings as open_recordings

__version__ = "0.1.0"

# Keys of Arrow field metadata.
SORBET_ARCHETYPE_NAME = b"rerun:archetype"
SORBET_COMPONENT = b"rerun:component"
SORBET_COMPONENT_TYPE = b"rerun:component_type"
SORBET_ENTITY_PATH = b"rerun:entity_path"
SORBET_INDEX_NAME = b"rerun:index_name"
SORBET_IS_TABLE_INDEX = b"rerun:is_table_index"

__all__ = [
    "SORBET_ARCHETYPE_NAME",
    "SORBET_COMPONENT",
    "SORBET_COMPONENT_TYPE",
    "SORBET_ENTITY_PATH",
    "SORBET_INDEX_NAME",
    "SORBET_IS_TABLE_INDEX",
    "__version__",
    "catalog",
    "chunk",
    "open_recordings",
    "server",
]
