"""Recordings for the conformance tests: small, with chosen chunk ids, row ids and times.

Chunk ids and row ids of a file are Tuids (prefix, 1), (prefix, 2), .. in two counters. Temporal chunks carry points and
colours, static ones labels.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from protocol import ROOT, tuid

TOOL = ROOT / "build" / "release" / "bin" / "rushes_rrd_tool"

POINT = pa.struct([pa.field("x", pa.float32(), False), pa.field("y", pa.float32(), False)])
FRAME, DURATION, TIMESTAMP = "frame_nr", "duration", "timestamp"
TIME_TYPES = {
    FRAME: pa.int64(),
    DURATION: pa.duration("ns"),
    TIMESTAMP: pa.timestamp("ns"),
    "log_time": pa.timestamp("ns"),
    "sim_time": pa.duration("ns"),
}


@dataclass(frozen=True)
class Component:
    """A component: how it is described, and the type of an instance."""

    name: str
    item: pa.DataType
    archetype: str | None = None
    component_type: str | None = None

    def field(self) -> pa.Field:
        metadata = {"rerun:kind": "data", "rerun:component": self.name}
        if self.archetype:
            metadata["rerun:archetype"] = self.archetype
        if self.component_type:
            metadata["rerun:component_type"] = self.component_type
        return pa.field(self.name, pa.list_(pa.field("item", self.item)), metadata=metadata)


def _mine(name: str, component_type: str, item: pa.DataType) -> Component:
    return Component(f"example.MyPoints:{name}", item, "example.MyPoints", component_type)


POINTS = _mine("points", "example.MyPoint", POINT)
COLORS = _mine("colors", "example.MyColor", pa.uint32())
LABELS = _mine("labels", "example.MyLabel", pa.utf8())
TEXT = Component("TextLog:text", pa.utf8(), "rerun.archetypes.TextLog", "rerun.components.Text")
POSITIONS = Component(
    "Points2D:positions",
    pa.list_(pa.field("item", pa.float32(), False), 2),
    "rerun.archetypes.Points2D",
    "rerun.components.Position2D",
)
BLOB = Component("blob", pa.binary())


def plain(name: str, item: pa.DataType) -> Component:
    return Component(name, item)


@dataclass
class Source:
    """One file to be: a store and its chunks."""

    segment: str
    prefix: int
    kind: str = "recording"
    layer: str = "base"
    chunks: list[pa.RecordBatch] = field(default_factory=list)
    footer: bool = True
    _rows: int = 0

    def chunk(
        self,
        entity: str,
        times: dict[str, Sequence[int]],
        cells: dict[Component, Sequence[list[Any] | None]],
    ) -> Source:
        """Adds a chunk; without `times` a static one. A cell of None was not logged."""
        count = len(next(iter(cells.values())))
        rows = [tuid(self.prefix, self._rows + i + 1) for i in range(count)]
        self._rows += count
        is_sorted = {"rerun:is_sorted": "true"}
        fields = [
            pa.field(
                "rerun.controls.RowId",
                pa.binary(16),
                False,
                {
                    "rerun:kind": "control",
                    "ARROW:extension:name": "rerun.datatypes.TUID",
                    "ARROW:extension:metadata": '{"namespace":"row"}',
                    **is_sorted,
                },
            )
        ]
        arrays: list[pa.Array] = [pa.array(rows, pa.binary(16))]
        for name in sorted(times):
            values = list(times[name])
            metadata = {"rerun:kind": "index", "rerun:index_name": name}
            if values == sorted(values):
                metadata |= is_sorted
            fields.append(pa.field(name, TIME_TYPES[name], True, metadata))
            arrays.append(pa.array(values, pa.int64()).cast(TIME_TYPES[name]))
        for component in sorted(cells, key=lambda c: c.name):
            fields.append(component.field())
            arrays.append(pa.array(list(cells[component]), component.field().type))
        chunk_id = tuid(self.prefix, len(self.chunks) + 1).hex()
        metadata = {
            "rerun:entity_path": entity if entity.startswith("/") else f"/{entity}",
            "rerun:id": f"chunk_{chunk_id[:16].upper()}{chunk_id[16:]}",
            "sorbet:version": "0.1.4",
        }
        self.chunks.append(pa.record_batch(arrays, pa.schema(fields, metadata)))
        return self

    def write(self, folder: Path) -> Path:
        sink = pa.BufferOutputStream()
        for chunk in self.chunks:
            with pa.ipc.new_stream(sink, chunk.schema) as writer:
                writer.write_batch(chunk)
        data = sink.getvalue().to_pybytes()
        key = hashlib.sha256(
            data + f"{self.kind} {self.segment} {self.prefix} {self.footer}".encode()
        ).hexdigest()[:16]
        suffix = "rbl" if self.kind == "blueprint" else "rrd"
        path = folder / f"{self.segment}_{key}.{suffix}"
        if not path.exists():
            raw = path.with_suffix(".arrow")
            raw.write_bytes(data)
            subprocess.run(
                [
                    str(TOOL),
                    "write",
                    str(raw),
                    str(path),
                    self.kind,
                    f"rerun_example_{self.segment}",
                    self.segment,
                    *([] if self.footer else ["--no-footer"]),
                ],
                check=True,
            )
            raw.unlink()
        return path


def points(*numbers: int) -> list[list[dict[str, float]]]:
    return [[{"x": float(i), "y": float(i)}] for i in numbers]


def colors(*numbers: int | None) -> list[list[int] | None]:
    return [None if i is None else [i] for i in numbers]


def labels(entity: str, source: Source, *texts: str) -> Source:
    return source.chunk(entity, {}, {LABELS: [[t] for t in texts or ("simple",)]})


def simple(
    segment: str,
    prefix: int,
    entities: Iterable[str],
    t0: int = 0,
    timeline: str = FRAME,
    layer: str = "base",
) -> Source:
    """Per entity one chunk of four rows at t0 + 10 .. 40, then static labels."""
    source = Source(segment, prefix, layer=layer)
    for entity in entities:
        source.chunk(
            entity,
            {timeline: [t0 + t for t in (10, 20, 30, 40)]},
            {POINTS: points(0, 1, 2, 3), COLORS: colors(0, 1, 2, 3)},
        )
        labels(entity, source)
    return source


def per_frame(segment: str, prefix: int, t0: int, timeline: str = FRAME) -> Source:
    """As `simple`, one row per chunk, of `my/entity`."""
    source = Source(segment, prefix)
    for i in range(4):
        source.chunk(
            "my/entity",
            {timeline: [t0 + 10 * (i + 1)]},
            {POINTS: points(i), COLORS: colors(i)},
        )
    return labels("my/entity", source)


def multi_chunk(segment: str, prefix: int, entities: Iterable[str]) -> Source:
    """Three chunks per entity whose rows are not in the order of time; the middle one has no colours."""
    source = Source(segment, prefix)
    for base in (0, 30, 60):
        for entity in entities:
            cells: dict[Component, Sequence[list[Any] | None]] = {POINTS: points(0, 1, 2)}
            if base != 30:
                cells[COLORS] = colors(0, 1, 2)
            source.chunk(entity, {FRAME: [base + 10, base + 30, base + 20]}, cells)
            if base == 0:
                labels(entity, source)
    return source


def nasty(segment: str, prefix: int, entity: str, layer: str) -> Source:
    """Chunks that overlap and repeat, on three timelines, with labels both temporal and static."""
    source = Source(segment, prefix, layer=layer)
    for _ in range(3):
        for times in ([10, 20, 30, 40], [10, 10, 30, 30], [5, 45, 20, 20]):
            source.chunk(
                entity,
                {FRAME: times, "log_time": [t * 1000 for t in times], "sim_time": times},
                {POINTS: points(0, 1, 2, 3), COLORS: colors(0, None, 2, None)},
            )
        source.chunk(entity, {FRAME: [25]}, {LABELS: [["temporal"]]})
    labels(entity, source, "first")
    labels(entity, source, "second")
    source.chunk(entity, {FRAME: [70]}, {COLORS: colors(7)})
    return source.chunk(entity, {FRAME: [80]}, {LABELS: [["late"]]})


def two_timelines(segment: str, prefix: int, start: int, offset_ms: int) -> Source:
    """Chunks whose order on the second timeline is another than on the first."""
    source = Source(segment, prefix)
    for rows in (
        [(10, 80), (30, 90), (20, 70)],
        [(40, 60), (60, 50), (50, 40)],
        [(70, 20), (90, 10), (80, 30)],
    ):
        source.chunk(
            "my/entity",
            {
                FRAME: [start + frame for frame, _ in rows],
                TIMESTAMP: [(offset_ms + ms) * 1_000_000 for _, ms in rows],
            },
            {POINTS: points(0, 1, 2), COLORS: colors(0, None, None)},
        )
    return labels("my/entity", source)


def static(
    segment: str, prefix: int, cells: dict[str, dict[Component, list[Any]]], layer: str = "base"
) -> Source:
    """One static chunk of one row per entity path; the values are the instances."""
    source = Source(segment, prefix, layer=layer)
    for entity, components in cells.items():
        source.chunk(entity, {}, {c: [value] for c, value in components.items()})
    return source


def properties(
    segment: str, prefix: int, values: dict[str, dict[Component, list[Any]]], layer: str = "props"
) -> Source:
    cells = {f"/__properties/{name}": components for name, components in values.items()}
    return static(segment, prefix, cells, layer)


def blueprint(segment: str, prefix: int) -> Source:
    source = Source(segment, prefix, kind="blueprint")
    panel = plain("state", pa.uint8())
    return source.chunk("/time_panel", {FRAME: [0]}, {panel: [[1]]})


def asset(segment: str, prefix: int, layer: str = "base") -> Source:
    return static(segment, prefix, {"/entity": {BLOB: [b"an asset"]}}, layer)


# --- sets of them


def simple_set(prefix: int = 1) -> list[Source]:
    return [
        simple("my_segment_id1", prefix, ["my/entity", "my/other/entity"]),
        simple("my_segment_id2", prefix + 1, ["my/entity"]),
        simple("my_segment_id3", prefix + 2, ["my/entity", "another/one", "yet/another/one"]),
    ]


def multi_chunk_set(prefix: int = 1) -> list[Source]:
    return [
        multi_chunk("my_segment_id1", prefix, ["my/entity", "my/other/entity"]),
        multi_chunk("my_segment_id2", prefix + 1, ["my/entity"]),
        multi_chunk("my_segment_id3", prefix + 2, ["my/entity", "another/one", "yet/another/one"]),
    ]


def layered_set() -> list[Source]:
    return [
        simple("partition1", 1, ["my/entity"]),
        simple("partition1", 2, ["extra/entity"], layer="extra"),
        simple("partition2", 3, ["another/one"]),
        simple("partition2", 4, ["extra/entity"], layer="extra"),
        simple("partition3", 5, ["i/am/alone"]),
    ]


def mixed_set(prefix: int = 1) -> list[Source]:
    return [
        simple("segment_sequence", prefix, ["my/entity"]),
        simple("segment_timestamp", prefix + 1, ["my/entity"], timeline=TIMESTAMP),
    ]


def per_segment_set(prefix: int, timeline: str = FRAME) -> list[Source]:
    return [per_frame(f"seg{i}", prefix + i - 1, 1000 * i, timeline) for i in (1, 2, 3)]


def index_values_set(timeline: str) -> list[Source]:
    text = {"text_log": {TEXT: ["i'm segment 1"]}}
    return [
        simple("my_segment_id1", 1, ["my/entity", "my/other/entity"], 1000, timeline),
        properties("my_segment_id1", 2, text),
        simple("my_segment_id2", 3, ["my/entity"], 2000, timeline),
        simple(
            "my_segment_id3", 4, ["my/entity", "another/one", "yet/another/one"], 3000, timeline
        ),
    ]


Maker = Callable[..., list[Source]]
