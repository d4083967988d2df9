"""What a dataset holds, at a glance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ._schema import Schema

TimelineKind: TypeAlias = Literal["sequence", "timestamp", "duration"]
TimelineValue: TypeAlias = np.int64 | np.datetime64 | np.timedelta64

_THIN = "\u2009"
_MINUS = "\u2212"


@dataclass(frozen=True)
class LayerInfo:
    """A layer, and how many segments have it."""

    name: str
    num_segments: int

    def _text(self) -> str:
        return f"{self.name}: in {_count(self.num_segments, 'segment', 'segments')}"

    def __repr__(self) -> str:
        return f"LayerInfo({self._text()})"


@dataclass(frozen=True)
class TimelineInfo:
    """A timeline: its range over all segments, and how many segments have it."""

    name: str
    kind: TimelineKind
    num_segments: int
    min: TimelineValue | None
    max: TimelineValue | None

    def _text(self) -> str:
        if self.min is None or self.max is None:
            return f"{self.name}: {self.kind}, no data"
        span = f"{_index_value(self.kind, self.min)} … {_index_value(self.kind, self.max)}"
        return f"{self.name}: {self.kind}, {span}, in {_count(self.num_segments, 'segment', 'segments')}"

    def __repr__(self) -> str:
        return f"TimelineInfo({self._text()})"


@dataclass(frozen=True)
class DatasetInfo:
    """The contents of a dataset; its repr is a summary to read.

    Entities and component columns are counted without properties.
    """

    dataset_name: str
    num_segments: int
    size_bytes: int
    layers: frozenset[LayerInfo]
    timelines: frozenset[TimelineInfo]
    num_entities: int
    num_component_columns: int
    property_columns: frozenset[str]

    def __repr__(self) -> str:
        size = _bytes(self.size_bytes)
        text = f"DatasetInfo({self.dataset_name}: {_count(self.num_segments, 'segment', 'segments')}, {size})"
        entities = _count(self.num_entities, "entity", "entities")
        columns = _count(self.num_component_columns, "component column", "component columns")
        text += f"\n  contents: {entities}, {columns}"
        text += f"\n  properties: {', '.join(sorted(self.property_columns)) or '(none)'}"
        for title, parts in (("layers", self.layers), ("timelines", self.timelines)):
            if parts:
                text += f"\n  {title}:"
                text += "".join(f"\n    {part._text()}" for part in _by_name(parts))
        return text


def _by_name(parts: Iterable[LayerInfo] | Iterable[TimelineInfo]) -> list[LayerInfo | TimelineInfo]:
    return sorted(parts, key=lambda part: part.name)


def dataset_info(name: str, segments: pa.Table, schema: Schema) -> DatasetInfo:
    """Sums up a segment table."""
    layers: dict[str, int] = {}
    for names in segments["rerun_layer_names"].to_pylist():
        for layer in set(names):
            layers[layer] = layers.get(layer, 0) + 1
    timelines = []
    for field in segments.schema:
        metadata = field.metadata or {}
        if metadata.get(b"rerun:index_marker") != b"start":
            continue
        timeline = metadata[b"rerun:index"].decode()
        kind: TimelineKind = _kind(field.type)
        start, end = segments[f"{timeline}:start"], segments[f"{timeline}:end"]
        count = len(start) - start.null_count
        low = _numpy(kind, _extreme(start, "min")) if count else None
        high = _numpy(kind, _extreme(end, "max")) if count else None
        timelines.append(TimelineInfo(timeline, kind, count, low, high))
    columns = [column for column in schema.component_columns() if not column.is_property]
    return DatasetInfo(
        dataset_name=name,
        num_segments=segments.num_rows,
        size_bytes=pc.sum(segments["rerun_size_bytes"]).as_py() or 0,
        layers=frozenset(LayerInfo(layer, count) for layer, count in layers.items()),
        timelines=frozenset(timelines),
        num_entities=len({column.entity_path for column in columns}),
        num_component_columns=len(columns),
        property_columns=frozenset(n for n in segments.schema.names if n.startswith("property:")),
    )


def _extreme(column: pa.ChunkedArray, which: str) -> int:
    plain = [chunk.view(pa.int64()) for chunk in column.chunks]
    return int(pc.min_max(pa.chunked_array(plain, pa.int64()))[which].as_py())


def _kind(type: pa.DataType) -> TimelineKind:
    if pa.types.is_timestamp(type):
        return "timestamp"
    return "duration" if pa.types.is_duration(type) else "sequence"


def _numpy(kind: TimelineKind, value: int) -> TimelineValue:
    if kind == "timestamp":
        return np.datetime64(value, "ns")
    if kind == "duration":
        return np.timedelta64(value, "ns")
    return np.int64(value)


def _grouped(value: int) -> str:
    return (_MINUS if value < 0 else "") + f"{abs(value):,}".replace(",", _THIN)


def _count(n: int, one: str, many: str) -> str:
    return f"{_grouped(n)} {one if n == 1 else many}"


def _bytes(n: int) -> str:
    if n < 1024:
        return f"{n} B"
    value, unit = float(n), "B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):  # noqa: B007
        value /= 1024
        if value < 1024:
            break
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"


def _index_value(kind: TimelineKind, value: TimelineValue) -> str:
    number = int(value.astype(np.int64))
    if kind == "sequence":
        return "#" + _grouped(number)
    if kind == "timestamp":
        seconds, nanos = divmod(number, 10**9)
        text = str(np.datetime64(seconds, "s")).replace("T", " ")
        return text + _fraction(nanos // 1000) + "Z"
    micros, rest = divmod(abs(number), 1000)
    seconds, fraction = divmod(micros + (rest >= 500), 10**6)
    return (_MINUS if number < 0 else "+") + _grouped(seconds) + _fraction(fraction) + "s"


def _fraction(micros: int) -> str:
    """`.775 520`: groups of three digits, trailing zeros left out."""
    if micros == 0:
        return ""
    milli, micro = divmod(micros, 1000)
    if micro == 0:
        return "." + f"{milli:03}".rstrip("0")
    return f".{milli:03}{_THIN}{micro:03}"
