"""The first rows of an answer as a table for people: as many columns as fit, the names of the others below."""

from __future__ import annotations

import os
import shutil
import sys
import time
import unicodedata

import pyarrow as pa

from rushes.catalog._format import _cell

from .output import Output

DEFAULT_ROWS = 20
_WIDTH_ELSEWHERE = 120
_WIDEST_COLUMN = 32
_GAP = "  "
# How long rows that are not shown are counted.
_COUNTING_S = 1.0


class TableWriter:
    """Keeps the first rows, counts the others for a moment, and writes the table in the end."""

    def __init__(self, output: Output, schema: pa.Schema, *, limit: int | None) -> None:
        self._output = output
        self._schema = schema
        # With a limit, the answer ends there.
        self._is_limited = limit is not None
        self._wanted = DEFAULT_ROWS if limit is None else limit
        self._shown: list[pa.RecordBatch] = []
        self._rows = self._kept = 0
        self._deadline: float | None = None
        self.has_enough = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        if self._kept < self._wanted:
            self._shown.append(batch.slice(0, self._wanted - self._kept))
            self._kept += self._shown[-1].num_rows
        self._rows += batch.num_rows
        if self._rows > self._wanted:
            now = time.monotonic()
            self._deadline = self._deadline or now + _COUNTING_S
            self.has_enough = now > self._deadline

    def close(self) -> None:
        """Writes the table."""
        table = pa.Table.from_batches(self._shown, self._schema)
        lines = table_lines(table, _width(self._output))
        if self._rows > self._kept:
            more = f"more than {self._rows:,}" if self.has_enough else f"{self._rows:,}"
            lines += [
                "",
                f"{self._kept:,} of {more} rows; --limit N shows others, -o FILE.csv writes all",
            ]
        elif self._is_limited and self._kept == self._wanted:
            first = "row" if self._kept == 1 else f"{self._kept:,} rows"
            lines += ["", f"the first {first}"]
        else:
            lines += ["", _count(self._kept, "row")]
        self._output.stream.write(("\n".join(lines) + "\n").encode(errors="replace"))


def table_lines(table: pa.Table, width: int) -> list[str]:
    """The rows under the names of their columns; what does not fit into `width` is named below."""
    blocks: list[list[str]] = []
    names: list[list[str]] = []
    widths: list[int] = []
    used = 0
    for position, field in enumerate(table.schema):
        cells = [_clean(_cell(value)) for value in table.column(position)]
        cells = [_cut(cell, _WIDEST_COLUMN) for cell in cells]
        name = _wrapped(_clean(field.name), max([12, *map(_cells, cells)]))
        needed = max(map(_cells, [*name, *cells]))
        if blocks and used + len(_GAP) + needed > width:
            break
        used += needed + (len(_GAP) if blocks else 0)
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            cells = [" " * (needed - _cells(cell)) + cell for cell in cells]
        blocks.append(cells)
        names.append(name)
        widths.append(needed)
    height = max((len(name) for name in names), default=0)
    rows = [[name[line] if line < len(name) else "" for name in names] for line in range(height)]
    rows.append(["-" * needed for needed in widths])
    rows += [[cells[row] for cells in blocks] for row in range(table.num_rows)]
    lines = [
        _GAP.join(
            cell + " " * (needed - _cells(cell)) for cell, needed in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    left = [_clean(name) for name in table.schema.names[len(blocks) :]]
    if left:
        lines += [
            "",
            f"and {_count(len(left), 'column')} that {'do' if len(left) > 1 else 'does'} not fit:",
        ]
        lines += [f"  {name}" for name in left[:12]]
        if len(left) > 12:
            lines.append(f"  … {len(left) - 12} more; `rushes schema` lists all")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _width(output: Output) -> int:
    if (output.is_stdout and sys.stdout.isatty()) or os.environ.get("COLUMNS", "").isdigit():
        return max(20, shutil.get_terminal_size().columns)
    return _WIDTH_ELSEWHERE


def _clean(text: str) -> str:
    """Without characters that move the cursor or worse: a recording may hold anything."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text
    )


def _cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _cut(text: str, width: int) -> str:
    if _cells(text) <= width:
        return text
    while _cells(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _wrapped(name: str, width: int) -> list[str]:
    """The name in lines; it breaks before a slash or a colon where it can."""
    lines = [""]
    part = ""
    parts = []
    for c in name:
        if c in "/:" and part:
            parts.append(part)
            part = ""
        part += c
    parts.append(part)
    for part in parts:
        if lines[-1] and _cells(lines[-1]) + _cells(part) > width:
            lines.append("")
        lines[-1] += part
        while _cells(lines[-1]) > max(width, _WIDEST_COLUMN):
            lines.append(lines[-1][_WIDEST_COLUMN:])
            lines[-2] = lines[-2][:_WIDEST_COLUMN]
    return lines
