"""How dataframes of recordings print: a box with the metadata of the columns, and an HTML table."""

from __future__ import annotations

import html
import shutil
import sys
import textwrap
from typing import Any

import numpy as np
import pyarrow as pa

_CELL_CHARS = 100
_SHORT = ("rerun.archetypes.", "rerun.components.")


def install() -> None:
    """Makes DataFusion print frames with our metadata in our way; others stay as they are."""
    from datafusion import dataframe_formatter as formatting

    # A formatter that somebody chose stays.
    if type(formatting.get_formatter()) is not formatting.DataFrameHtmlFormatter:
        return

    class Formatter(formatting.DataFrameHtmlFormatter):
        def format_str(
            self,
            batches: list[Any],
            schema: Any,
            has_more: bool = False,
            table_uuid: str | None = None,
        ) -> str:
            arrow = _arrow_schema(batches, schema)
            if arrow is None or not _is_ours(arrow):
                return str(super().format_str(batches, schema, has_more, table_uuid))
            return format_text(_table(batches, arrow), has_more)

        def format_html(
            self,
            batches: list[Any],
            schema: Any,
            has_more: bool = False,
            table_uuid: str | None = None,
        ) -> str:
            arrow = _arrow_schema(batches, schema)
            if arrow is None or not _is_ours(arrow):
                return str(super().format_html(batches, schema, has_more, table_uuid))
            return format_html(_table(batches, arrow), has_more)

    formatting.set_formatter(Formatter(max_rows=20, max_memory_bytes=10 * 1024 * 1024))


def _arrow_schema(batches: list[Any], schema: Any) -> pa.Schema | None:
    try:
        return schema if isinstance(schema, pa.Schema) else pa.schema(schema)
    except (TypeError, ValueError):
        return batches[0].schema if batches else None


def _is_ours(schema: pa.Schema) -> bool:
    if b"sorbet:version" in (schema.metadata or {}):
        return True
    return any(key.startswith(b"rerun:") for field in schema for key in field.metadata or {})


def _table(batches: list[Any], schema: pa.Schema) -> pa.Table:
    converted = [b if isinstance(b, pa.RecordBatch) else pa.record_batch(b) for b in batches]
    return pa.Table.from_batches(converted, schema)


def format_text(table: pa.Table, has_more: bool = False) -> str:
    """The rows in a box."""
    if table.num_rows == 0:
        return "No data to display"
    schema = table.schema
    columns: list[tuple[list[str], list[str]]] = []
    for position, field in enumerate(schema):
        head = [field.name, "---", f"type: {_field_type(field)}"]
        head += [f"{key}: {value}" for key, value in _metadata(field.metadata, "rerun:")]
        columns.append((head, [_cell(value) for value in table.column(position)]))
    notes = [f"* {key}: {value}" for key, value in _metadata(schema.metadata, "sorbet:")]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    frame = 4 if notes else 0
    lines = _box(columns, table.num_rows, None if limit is None else limit - frame)
    if notes:
        width = max(len(lines[0]), *(len(note) for note in notes))
        lines = (
            ["┌" + "─" * (width + 2) + "┐"]
            + [f"│ {note.ljust(width)} │" for note in ["METADATA:", *notes]]
            + ["├" + "╌" * (width + 2) + "┤"]
            + [f"│ {line.ljust(width)} │" for line in lines]
            + ["└" + "─" * (width + 2) + "┘"]
        )
    if has_more:
        lines.append("Data truncated due to size.")
    return "\n".join(lines)


def _box(columns: list[tuple[list[str], list[str]]], num_rows: int, limit: int | None) -> list[str]:
    widths = [max(len(text) for text in [*head, *cells]) for head, cells in columns]
    if limit is not None:
        widths = _narrow(widths, limit)
    rule = ["─" * (width + 2) for width in widths]
    dashes = ["╌" * (width + 2) for width in widths]
    double = ["═" * (width + 2) for width in widths]
    heads = [
        [line for text in head for line in _wrapped(text, width)]
        for (head, _), width in zip(columns, widths, strict=True)
    ]
    lines = ["┌" + "┬".join(rule) + "┐", *_row(heads, widths), "╞" + "╪".join(double) + "╡"]
    for row in range(num_rows):
        if row:
            lines.append("├" + "┼".join(dashes) + "┤")
        lines += _row(
            [
                _wrapped(cells[row], width)
                for (_, cells), width in zip(columns, widths, strict=True)
            ],
            widths,
        )
    return [*lines, "└" + "┴".join(rule) + "┘"]


def _row(cells: list[list[str]], widths: list[int]) -> list[str]:
    height = max(len(lines) for lines in cells)
    out = []
    for i in range(height):
        parts = [
            (lines[i] if i < len(lines) else "").ljust(width)
            for lines, width in zip(cells, widths, strict=True)
        ]
        out.append("│ " + " ┆ ".join(parts) + " │")
    return out


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=True, drop_whitespace=False) or [""]


def _narrow(widths: list[int], limit: int) -> list[int]:
    """Takes from the widest columns until the row fits; none gets below eight."""
    widths = list(widths)
    excess = sum(widths) + 3 * len(widths) + 1 - limit
    while excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= 8:
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def format_html(table: pa.Table, has_more: bool = False) -> str:
    """The rows as an HTML table."""
    if table.num_rows == 0:
        return "No data to display"
    head = "".join(
        f"<th><strong>{html.escape(f.name)}</strong><br>{html.escape(_field_type(f))}</th>"
        for f in table.schema
    )
    cells = [[html.escape(_cell(value)) for value in column] for column in table.columns]
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{column[row]}</td>" for column in cells) + "</tr>"
        for row in range(table.num_rows)
    )
    more = "\n<div>Data truncated due to size.</div>" if has_more else ""
    return (
        '<div style="width: 100%; overflow: auto; border: 1px solid #ccc;">\n'
        "<style>.rerun-table { border-collapse: collapse; text-align: left; } "
        ".rerun-table th { font-weight: normal; }</style>\n"
        f'<table class="rerun-table">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>{more}'
    )


def _metadata(metadata: dict[bytes, bytes] | None, prefix: str) -> list[tuple[str, str]]:
    out = []
    for key, value in sorted((metadata or {}).items()):
        text = value.decode(errors="replace")
        for start in _SHORT:
            text = text.removeprefix(start)
        out.append((key.decode(errors="replace").removeprefix(prefix), text))
    return out


def _field_type(field: pa.Field) -> str:
    return ("" if field.nullable else "non-null ") + type_name(field.type)


_NAMES = {
    "bool": "Boolean",
    "string": "Utf8",
    "large_string": "LargeUtf8",
    "binary": "Binary",
    "large_binary": "LargeBinary",
    "halffloat": "Float16",
    "float": "Float32",
    "double": "Float64",
    "null": "Null",
}


def type_name(type: pa.DataType) -> str:
    """The name of an Arrow type, as the ecosystem writes it."""
    if pa.types.is_timestamp(type):
        return f"Timestamp({type.unit}{'' if type.tz is None else ', ' + repr(type.tz)})"
    if pa.types.is_duration(type):
        return f"Duration({type.unit})"
    if pa.types.is_fixed_size_list(type):
        return f"FixedSizeList({type.list_size} x {_field_type(type.value_field)})"
    if pa.types.is_list(type):
        return f"List({_field_type(type.value_field)})"
    if pa.types.is_large_list(type):
        return f"LargeList({_field_type(type.value_field)})"
    if pa.types.is_struct(type):
        return "Struct(" + ", ".join(f'"{f.name}": {_field_type(f)}' for f in type) + ")"
    if pa.types.is_fixed_size_binary(type):
        return f"FixedSizeBinary({type.byte_width})"
    if pa.types.is_dictionary(type):
        return f"Dictionary({type_name(type.index_type)}, {type_name(type.value_type)})"
    text = str(type)
    if pa.types.is_integer(type):
        return text.replace("uint", "UInt").replace("int", "Int").replace("UInt", "UInt")
    return _NAMES.get(text, text)


def _cell(scalar: pa.Scalar) -> str:
    text = _value(scalar, _CELL_CHARS + 1).replace("\n", "\\n")
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"


def _value(scalar: pa.Scalar, room: int) -> str:
    """The value as text; what goes beyond `room` characters is not looked at."""
    if not scalar.is_valid:
        return "null"
    type = scalar.type
    if pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type):
        out = "["
        for i, item in enumerate(scalar.values):
            out += (", " if i else "") + _value(item, room - len(out))
            if len(out) > room:
                return out
        return out + "]"
    if pa.types.is_struct(type):
        out = "{"
        for i, (name, item) in enumerate(scalar.items()):
            part = item if isinstance(item, pa.Scalar) else pa.scalar(item)
            out += (", " if i else "") + f"{name}: " + _value(part, room - len(out))
            if len(out) > room:
                return out
        return out + "}"
    if pa.types.is_timestamp(type):
        text = str(np.datetime64(scalar.value, type.unit))
        if "." in text:
            text = text.rstrip("0").rstrip(".") if text.endswith("000000000") else text
        return text + ("Z" if type.tz else "")
    if pa.types.is_duration(type):
        return _duration(scalar.value, type.unit)
    if (
        pa.types.is_binary(type)
        or pa.types.is_fixed_size_binary(type)
        or pa.types.is_large_binary(type)
    ):
        return str(
            scalar.as_buffer().slice(0, min(room, scalar.as_buffer().size)).to_pybytes().hex()
        )
    if pa.types.is_boolean(type):
        return "true" if scalar.as_py() else "false"
    return str(scalar.as_py())[:room]


def _duration(value: int, unit: str) -> str:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    seconds, rest = divmod(abs(value), per_second)
    digits = len(str(per_second)) - 1
    fraction = f".{rest:0{digits}}".rstrip("0") if rest else ""
    return f"{'-' if value < 0 else ''}PT{seconds}{fraction}S"
