"""Catalogs of recordings: clients, datasets, selections, and the dataframes they give."""

from __future__ import annotations

from typing import Any

from rushes._errors import AlreadyExistsError, NotFoundError
from rushes._index_values import IndexValuesLike

from ._client import CatalogClient, VersionInfo
from ._content_filter import ContentFilter
from ._entry import DatasetEntry, DatasetSelection, Entry, Layer, Segment
from ._events import CatalogEvent, CatalogEvents, EntryCreated, EntryDeleted
from ._ids import EntryId, EntryKind
from ._info import DatasetInfo, LayerInfo, TimelineInfo
from ._registration import (
    OnDuplicateSegmentLayer,
    RegistrationOperation,
    RegistrationResult,
    SegmentRegistrationResult,
    UnregistrationHandle,
)
from ._schema import (
    ComponentColumnDescriptor,
    ComponentColumnSelector,
    IndexColumnDescriptor,
    IndexColumnSelector,
    Schema,
)
from ._table import TableEntry

__all__ = [
    "AlreadyExistsError",
    "CatalogClient",
    "CatalogEvent",
    "CatalogEvents",
    "ComponentColumnDescriptor",
    "ComponentColumnSelector",
    "ContentFilter",
    "DatasetEntry",
    "DatasetInfo",
    "DatasetSelection",
    "Entry",
    "EntryCreated",
    "EntryDeleted",
    "EntryId",
    "EntryKind",
    "IndexColumnDescriptor",
    "IndexColumnSelector",
    "IndexValuesLike",
    "Layer",
    "LayerInfo",
    "NotFoundError",
    "OnDuplicateSegmentLayer",
    "RegistrationOperation",
    "RegistrationResult",
    "Schema",
    "Segment",
    "SegmentRegistrationResult",
    "TableEntry",
    "TimelineInfo",
    "UnregistrationHandle",
    "VersionInfo",
]

_RENAMED: dict[str, Any] = {
    "DatasetView": DatasetSelection,
    "RegistrationHandle": RegistrationOperation,
}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        import warnings

        target = _RENAMED[name]
        warnings.warn(
            f"`rushes.catalog.{name}` was renamed to `rushes.catalog.{target.__name__}`.",
            DeprecationWarning,
            stacklevel=2,
        )
        return target
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
