"""The cases of tests/cases through the package: recordings written by the official SDK, read embedded and over the network,
by pyarrow and by DataFusion. tests/cases/README.md has the format; the C++ tests run the same files on the engine alone.
So are the examples of docs/query.md, read from the page."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import col, lit
from datafusion import functions as f

import rushes as rr

FOLDER = Path(__file__).resolve().parents[1] / "cases"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "query.md"
NOT_TIMELINES = {"segment", "layer", "chunk", "entity", "row", "cells"}
TYPES = {
    "null": pa.null(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "utf8": pa.string(),
    "bool": pa.bool_(),
    "float64": pa.float64(),
    "float32": pa.float32(),
}
TIME_TYPES = {
    "sequence": pa.int64(),
    "duration": pa.duration("ns"),
    "timestamp": pa.timestamp("ns"),
}


@dataclass
class Table:
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


@dataclass
class CaseQuery:
    line: int
    options: list[str] = field(default_factory=list)
    gives: Table | None = None
    num_rows: int | None = None
    fails: str | None = None


@dataclass
class Case:
    file: str
    title: str
    data: Table = field(default_factory=Table)
    settings: list[str] = field(default_factory=list)
    queries: list[CaseQuery] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.file.removesuffix('.txt')}: {self.title}"


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().split("\n"), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield number, text


def read_cases() -> list[Case]:
    cases: list[Case] = []
    for path in sorted(FOLDER.glob("*.txt")):
        if path.name == "content_filters.txt":
            continue
        table: Table | None = None
        in_query = False
        for number, line in lines_of(path):
            word, _, rest = line.partition(" ")
            rest = rest.strip()
            if word == "case":
                cases.append(Case(path.name, rest))
                in_query = False
                continue
            case = cases[-1]
            if line.startswith("|"):
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                assert table is not None, (path, number)
                if table.header:
                    assert len(cells) == len(table.header), (path, number)
                    table.rows.append(cells)
                else:
                    table.header = cells
                continue
            if line == "data":
                table = case.data
            elif line == "query":
                case.queries.append(CaseQuery(number))
                in_query = True
            elif not in_query:
                case.settings.append(line)
            elif line == "gives":
                table = case.queries[-1].gives = Table()
            elif line == "nothing":
                case.queries[-1].gives = Table()
            elif word == "rows":
                case.queries[-1].num_rows = int(rest)
            elif word == "fails":
                case.queries[-1].fails = rest
            else:
                case.queries[-1].options.append(line)
    return cases


def read_page() -> list[Case]:
    """The examples of docs/query.md: what was logged on the left, then one table per query, each under its title."""
    cases = []
    text = PAGE.read_text()
    for block in re.finditer(r"^```text\n(logged .*?)^```", text, re.MULTILINE | re.DOTALL):
        titles, *lines = block[1].rstrip("\n").split("\n")
        starts = [match.start() for match in re.finditer(r"(?<=  )\S|^\S", titles)]
        tables = []
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            rows = [re.split(r"\s{2,}", line[start:end].strip()) for line in lines]
            tables.append(Table(rows[0], [row for row in rows[1:] if row != [""]]))
        line_number = text[: block.start()].count("\n") + 2
        case = Case(PAGE.name, f"line {line_number}", tables[0])
        # Where chunks are cut never shows: each row is one.
        case.data.header.append("chunk")
        for number, row in enumerate(case.data.rows):
            row.append(f"c{number}")
        options: list[str] = []
        for start, end, table in zip(starts[1:], [*starts[2:], None], tables[1:], strict=True):
            options = options_of(titles[start:end].strip(), options)
            table.header = [
                "rerun_segment_id" if name == "segment" else name for name in table.header
            ]
            case.queries.append(CaseQuery(line_number, options, table))
        cases.append(case)
    return cases


def options_of(title: str, before: list[str]) -> list[str]:
    """The query that a title of the page stands for; `before`: that of the table on the left."""
    options = ["index frame"]
    for part in re.split(r", (?![^{]*})", title):
        if part == "the same":
            options = list(before)
        elif part in ("view_decides_rows", "fill") and title == part:
            # Of the columns of the first table beside it.
            columns = next(line for line in before if line.startswith("columns"))
            options += [columns, part.replace("_", " ")]
        elif part == "with semantically empty columns":
            options.append("include empty columns")
        elif part == "fill":
            options.append("fill")
        elif part == "include_origin_times":
            options.append("include origin times")
        elif match := re.fullmatch(r"(\d+) <= frame <= (\d+)", part):
            options.append(f"filter (and (>= frame {match[1]}) (<= frame {match[2]}))")
        elif part.startswith("{"):
            for segment, values in json.loads(part).items():
                options.append(f"values of {segment}: {' '.join(map(str, values))}")
        elif part.startswith("/") or part == "frame":
            known = [line for line in options if line.startswith("columns")]
            options = [line for line in options if line not in known]
            options.append(f"{known[0]}, {part}" if known else f"columns {part}")
        elif part != "index frame":
            raise AssertionError(f"what does {title!r} ask for?")
    return options


def test_the_page_has_examples() -> None:
    cases = read_page()
    assert len(cases) >= 8
    assert all(case.data.rows and case.queries for case in cases)
    assert sum(len(case.queries) for case in cases) >= 15


# --- recordings


def type_of(value: object) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, str):
        return pa.string()
    if isinstance(value, dict):
        return pa.struct([(name, type_of(part)) for name, part in value.items()])
    if isinstance(value, list):
        return pa.list_(type_of(value[0]) if value else pa.null())
    return pa.null()


def chunks_of(case: Case) -> dict[tuple[str, str], list[pa.RecordBatch]]:
    """(segment, layer) -> chunks, as record batches of the format."""
    given_types: dict[tuple[str, str], pa.DataType] = {}
    time_types: dict[str, pa.DataType] = {}
    for setting in case.settings:
        match setting.split():
            case ["timeline", name, kind]:
                time_types[name] = TIME_TYPES[kind]
            case ["type", chunk, component, kind]:
                given_types[chunk, component] = TYPES[kind]
            case _:
                raise AssertionError(f"what is {setting!r}?")

    grouped: dict[tuple[str, str, str, str], list[tuple[dict[str, str], dict[str, Any]]]] = {}
    entity_types: dict[tuple[str, str], pa.DataType] = {}
    for cells in case.data.rows:
        row = dict(zip(case.data.header, cells, strict=True))
        values: dict[str, Any] = {}
        for part in row["cells"].split(";"):
            component, _, text = part.partition("=")
            values[component.strip()] = json.loads(text)
            for item in values[component.strip()] or []:
                if item is not None:
                    entity_types.setdefault((row["entity"], component.strip()), type_of(item))
        key = (row.get("segment", "s1"), row.get("layer", "base"), row["chunk"], row["entity"])
        grouped.setdefault(key, []).append((row, values))

    numbers: dict[str, int] = {}
    out: dict[tuple[str, str], list[pa.RecordBatch]] = {}
    for (segment, layer, chunk, entity), rows in grouped.items():
        number = numbers.setdefault(chunk, len(numbers) + 1)
        fields = [
            pa.field(
                "rerun.controls.RowId",
                pa.binary(16),
                nullable=False,
                metadata={
                    "rerun:kind": "control",
                    "ARROW:extension:name": "rerun.datatypes.TUID",
                    "ARROW:extension:metadata": '{"namespace":"row"}',
                },
            )
        ]
        ids = [
            (1 << 124 | int(row["row"].removeprefix("r"))).to_bytes(16, "big") for row, _ in rows
        ]
        arrays = [pa.array(ids, pa.binary(16))]
        for name in case.data.header:
            if name in NOT_TIMELINES or rows[0][0][name] in ("-", "static"):
                continue
            kind = time_types.get(name, pa.int64())
            metadata = {"rerun:kind": "index", "rerun:index_name": name}
            fields.append(pa.field(name, kind, metadata=metadata))
            arrays.append(pa.array([int(row[name]) for row, _ in rows], pa.int64()).cast(kind))
        for component in dict.fromkeys(name for _, values in rows for name in values):
            items = [i for _, values in rows for i in values.get(component) or [] if i is not None]
            fallback = pa.bool_() if component == "Clear:is_recursive" else pa.int64()
            item_type = (
                type_of(items[0]) if items else entity_types.get((entity, component), fallback)
            )
            item_type = given_types.get((chunk, component), item_type)
            metadata = {"rerun:kind": "data", "rerun:component": component}
            if ":" in component:
                metadata["rerun:archetype"] = "rerun.archetypes." + component.split(":")[0]
            fields.append(pa.field(component, pa.list_(item_type), metadata=metadata))
            arrays.append(
                pa.array([values.get(component) for _, values in rows], pa.list_(item_type))
            )
        metadata = {
            "rerun:id": f"chunk_18{number:030X}",
            "rerun:entity_path": entity,
            "sorbet:version": "0.1.4",
        }
        batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))
        out.setdefault((segment, layer), []).append(batch)
    return out


Serve = Callable[[dict[tuple[str, str], list[pa.RecordBatch]]], list[rr.catalog.DatasetEntry]]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Makes a dataset of chunks; as seen in this process, and over the network."""
    chunk_module = pytest.importorskip("rerun.chunk")
    folder = tmp_path_factory.mktemp("cases")
    counter = itertools.count()
    with rr.server.Server() as server:
        local, remote = server.client(), rr.catalog.CatalogClient(server.url())

        def make(
            chunks: dict[tuple[str, str], list[pa.RecordBatch]],
        ) -> list[rr.catalog.DatasetEntry]:
            name = f"case_{next(counter)}"
            dataset = local.create_dataset(name)
            for number, ((segment, layer), batches) in enumerate(chunks.items()):
                path = folder / f"{name}_{number}.rrd"
                made = [chunk for b in batches for chunk in chunk_module.Chunk.from_record_batch(b)]
                stream = chunk_module.LazyChunkStream.from_iter(made)
                stream.write_rrd(path, application_id="cases", recording_id=segment)
                dataset.register(path, layer_name=layer).wait()
            return [dataset, remote.get_dataset(name)]

        yield make


# --- queries


def words_of(text: str) -> list[tuple[str, str]]:
    """(word, its quote) of each word; parentheses are words."""
    found = re.findall(r"\"([^\"]*)\"|'([^']*)'|([()])|([^\s()]+)", text)
    return [
        (double or single or paren or bare, '"' if double else "'" if single else "")
        for double, single, paren, bare in found
    ]


class Filter:
    """`(and (is_not_null "/a:x") (<= frame 10))` for pyarrow and for DataFusion."""

    def __init__(self, text: str) -> None:
        self._words = words_of(text)

    def build(self) -> tuple[pc.Expression, Any]:
        assert self._words.pop(0)[0] == "("
        name = self._words.pop(0)[0]
        if name in ("and", "or", "not"):
            parts = []
            while self._words[0][0] != ")":
                parts.append(self.build())
            self._words.pop(0)
            if name == "not":
                return ~parts[0][0], ~parts[0][1]
            arrow, fusion = parts[0]
            for more_arrow, more_fusion in parts[1:]:
                arrow = arrow & more_arrow if name == "and" else arrow | more_arrow
                fusion = fusion & more_fusion if name == "and" else fusion | more_fusion
            return arrow, fusion
        column = self._words.pop(0)[0]
        values: list[Any] = []
        while self._words[0][0] != ")":
            word, quote = self._words.pop(0)
            values.append(word if quote else int(word))
        self._words.pop(0)
        a, d = pc.field(column), col(f'"{column}"')
        if name == "is_not_null":
            return a.is_valid(), d.is_not_null()
        if name == "is_null":
            return a.is_null(), d.is_null()
        if name == "in":
            return a.isin(values), f.in_list(d, [lit(value) for value in values], False)
        value = values[0]
        match name:
            case "=":
                return a == value, d == value
            case "!=":
                return a != value, d != value
            case "<":
                return a < value, d < value
            case "<=":
                return a <= value, d <= value
            case ">":
                return a > value, d > value
            case ">=":
                return a >= value, d >= value
        raise AssertionError(f"no function {name}")


@dataclass
class Call:
    selection: rr.catalog.DatasetSelection
    index: str | None = None
    columns: list[str] | None = None
    where: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def read_call(query: CaseQuery, dataset: rr.catalog.DatasetEntry) -> Call:
    call = Call(rr.catalog.DatasetSelection(dataset))
    for line in query.options:
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "index":
            call.index = None if rest == "none" else rest
        elif word == "contents":
            call.selection = call.selection.filter_contents([text for text, _ in words_of(rest)])
        elif word == "segments":
            call.selection = call.selection.filter_segments([text for text, _ in words_of(rest)])
        elif line == "include empty columns":
            call.options["include_semantically_empty_columns"] = True
        elif line == "include tombstone columns":
            call.options["include_tombstone_columns"] = True
        elif line == "include origin times":
            call.options["include_origin_times"] = True
        elif line == "fill":
            call.options["fill_latest_at"] = True
        elif line.startswith("fill max age "):
            call.options["fill_max_age"] = int(line.removeprefix("fill max age "))
        elif line == "fill respects clears":
            call.options["fill_respects_clears"] = True
        elif line == "view decides rows":
            call.options["view_decides_rows"] = True
        elif line == "values of no segment":
            call.options["using_index_values"] = {}
        elif line.startswith("values of "):
            segment, _, text = line.removeprefix("values of ").partition(":")
            values = call.options.setdefault("using_index_values", {})
            values[segment.strip()] = [int(value) for value in text.split()]
        elif word == "values:":
            call.options["using_index_values"] = [int(value) for value in rest.split()]
        elif word == "columns":
            call.columns = [name.strip() for name in rest.split(",") if name.strip()]
        elif word == "filter":
            call.where = rest
        else:
            raise AssertionError(f"what is {line!r}?")
    return call


def by_pyarrow(call: Call) -> pa.Table:
    where = Filter(call.where).build()[0] if call.where else None
    lazy = call.selection.scan(call.index, **call.options)
    return lazy.to_table(columns=call.columns, filter=where)


def by_datafusion(call: Call) -> pa.Table:
    frame = call.selection.reader(call.index, **call.options)
    if call.where:
        frame = frame.filter(Filter(call.where).build()[1])
    if call.columns is not None:
        if not call.columns:
            return pa.table({"": pa.nulls(frame.count())}).select([])
        frame = frame.select(*[col(f'"{name}"') for name in call.columns])
    return frame.to_arrow_table()


def judge(table: pa.Table, query: CaseQuery, all_columns: bool) -> None:
    if query.num_rows is not None:
        assert table.num_rows == query.num_rows
        return
    want = query.gives
    assert want is not None
    if not want.header:
        assert table.num_rows == 0
        return
    names = table.column_names
    if all_columns and names[0] == "rerun_segment_id" and want.header[0] != names[0]:
        names = names[1:]
    assert names == want.header
    for position, name in enumerate(names):
        column = table[name]
        texts = [row[position] for row in want.rows]
        bare = pa.types.is_string(column.type)
        values = [None if t == "null" else t if bare else json.loads(t) for t in texts]
        expected = pa.chunked_array([pa.array(values, column.type)])
        assert column.equals(expected), f"column {name}: {column.to_pylist()} instead of {values}"


@pytest.mark.parametrize("case", [*read_cases(), *read_page()], ids=str)
def test_case(case: Case, serve: Serve) -> None:
    assert case.queries
    try:
        datasets = serve(chunks_of(case))
    except ValueError as error:
        # Types that cannot be united are refused when they are registered.
        assert all(query.fails is not None and query.fails in str(error) for query in case.queries)  # noqa: PT017
        return
    for query in case.queries:
        for dataset in datasets:
            for engine in (by_pyarrow, by_datafusion):
                call = read_call(query, dataset)
                where = f"{case.file}:{query.line} {engine.__name__} {dataset.catalog.url}"
                if query.fails is not None:
                    with pytest.raises(Exception, match=re.escape(query.fails)):
                        engine(call)
                    continue
                try:
                    judge(engine(call), query, call.columns is None)
                except AssertionError as error:
                    raise AssertionError(f"{where}\n{error}") from None


def entities_of(text: str) -> list[str]:
    """Entities end at two spaces, for one may stand in a path."""
    return [entity.strip() for entity in text.strip().split("  ") if entity.strip()]


def content_filters() -> list[tuple[int, list[list[str]], list[str]]]:
    out = []
    contents: list[list[str]] = []
    for number, line in lines_of(FOLDER / "content_filters.txt"):
        if line.split()[0] == "contents":
            contents.append([text for text, _ in words_of(line.removeprefix("contents"))])
        elif line.split()[0] == "view":
            out.append((number, contents, entities_of(line.removeprefix("view"))))
            contents = []
    return out


def test_content_filters(serve: Serve) -> None:
    lines = [line for _, line in lines_of(FOLDER / "content_filters.txt")]
    entities = entities_of(lines[lines.index("entities") + 1])
    header = ["chunk", "entity", "row", "frame", "cells"]
    rows = [[f"c{i}", entity, f"r{i}", "1", "v = [7]"] for i, entity in enumerate(entities, 1)]
    datasets = serve(chunks_of(Case("content_filters.txt", "", Table(header, rows))))
    cases = content_filters()
    assert len(cases) > 30
    for number, contents, view in cases:
        for dataset in datasets:
            selection = rr.catalog.DatasetSelection(dataset)
            for rules in contents:
                selection = selection.filter_contents(rules)
            table = selection.reader("frame").to_arrow_table()
            shown = {
                (f.metadata or {})[b"rerun:entity_path"].decode()
                for f in table.schema
                if b"rerun:entity_path" in (f.metadata or {})
            }
            where = f"tests/cases/content_filters.txt:{number}"
            assert shown == set(view), where
            assert table.num_rows == (1 if view else 0), where
            components = selection.schema().component_columns()
            if contents:
                assert {column.entity_path for column in components} == set(view), where
