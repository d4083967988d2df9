"""`rushes query`: aligned rows of recordings or of a dataset, filtered or asked by SQL, as a table, CSV, JSON, Parquet or Arrow.

The work is done on a thread; the main thread waits for it and for signals, so that Ctrl-C ends the process at once and leaves no
half file, whatever the work is busy with.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import pyarrow as pa

from rushes._errors import nearest
from rushes._lazy import LazyDataset
from rushes._progress import Progress
from rushes.catalog import DatasetEntry, DatasetSelection

from . import output as outputs
from .errors import CommandError, words_of_datafusion
from .table import TableWriter
from .target import open_target
from .values import distance, index_values, parts_of, size
from .where import with_first_values

_DESCRIPTION = """\
Rows of recordings, aligned on one timeline: one row per time, one column per signal.

examples:
  rushes query recordings/demo --index frame_nr
  rushes query recordings/demo --index frame_nr --fill --where '"/joints/elbow:Scalars:scalars" > 0.5' -o elbow.csv
  rushes query localhost:51234/demo --index sim_time --every 100ms --fill -o demo.parquet
  rushes query recordings/demo --index frame_nr --sql 'select rerun_segment_id, max(frame_nr) from data group by 1'
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rushes query",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "target",
        metavar="PATH_OR_URL",
        help="a recording, a directory of them, or the address of a catalog: HOST:PORT/DATASET",
    )
    what = parser.add_argument_group("what to read")
    what.add_argument("--dataset", metavar="NAME", help="which dataset of the catalog")
    what.add_argument("--token", default=os.environ.get("REDAP_TOKEN", ""), help="token to send")
    what.add_argument("--index", metavar="TIMELINE", help="the timeline that rows are placed on")
    what.add_argument(
        "--static",
        action="store_true",
        help="static data, one row per segment, in place of --index",
    )
    what.add_argument(
        "--contents",
        action="append",
        metavar="RULES",
        help="entities, such as '/world/** -/world/camera'",
    )
    what.add_argument(
        "--segments", action="append", metavar="ID,…", help="only these segments (recordings)"
    )
    rows = parser.add_argument_group("rows")
    rows.add_argument("--fill", action="store_true", help="fill nulls with the latest value")
    rows.add_argument("--fill-max-age", metavar="D", help="but with values no older than this")
    rows.add_argument(
        "--fill-respects-clears", action="store_true", help="and not with what was cleared"
    )
    rows.add_argument(
        "--every", metavar="D", help="rows at this distance: 10, or 100ms on a timeline of time"
    )
    rows.add_argument("--at", action="append", metavar="VALUE,…", help="rows at these values")
    rows.add_argument(
        "--view-decides-rows",
        action="store_true",
        help="rows of all entities in view, whatever --columns and --where name",
    )
    rows.add_argument(
        "--origin-times",
        action="store_true",
        help="beside each column, the time its value was logged",
    )
    rows.add_argument("--row-ids", action="store_true", help="one more column, rerun_row_id")
    answer = parser.add_argument_group("answer")
    answer.add_argument(
        "--columns", action="append", metavar="NAME,…", help="only these columns, in this order"
    )
    answer.add_argument("--where", metavar="SQL", help="only rows for which this is true")
    answer.add_argument(
        "--sql", metavar="SQL", help="a query of the table `data`: select … from data"
    )
    answer.add_argument("--limit", type=int, metavar="N", help="at most this many rows")
    into = parser.add_argument_group("output")
    into.add_argument(
        "--format", choices=outputs.FORMATS, help="default: as the file is named, or table"
    )
    into.add_argument("-o", "--output", metavar="FILE", help="default: stdout")
    into.add_argument("--force", action="store_true", help="overwrite the file")
    into.add_argument(
        "--memory-budget", metavar="SIZE", help="bound of decoded recordings, such as 512MiB (1GiB)"
    )
    return parser


def _checked(arguments: list[str]) -> argparse.Namespace:
    parser = _parser()
    given = parser.parse_args(arguments)
    # Without either the timelines there are must be told; see _scan.
    if given.static and given.index is not None:
        parser.error("--index and --static exclude each other")
    if given.sql is not None and (given.where is not None or given.columns is not None):
        parser.error("--sql has its own select and where: leave --columns and --where out")
    if given.every is not None and given.at is not None:
        parser.error("--every and --at exclude each other")
    if given.static and (given.every is not None or given.at is not None):
        parser.error("--static has no times: leave --every and --at out")
    if not given.fill and (given.fill_max_age is not None or given.fill_respects_clears):
        parser.error("--fill-max-age and --fill-respects-clears need --fill")
    if given.limit is not None and given.limit < 0:
        parser.error("--limit must not be negative")
    return given


# --- what to read


def _scan(given: argparse.Namespace) -> LazyDataset:
    dataset, segments = open_target(given.target, given.dataset, given.token)
    timelines = {column.name: column for column in dataset.schema().index_columns()}
    if given.index is None and not given.static:
        known = ", ".join(timelines) or "none"
        raise CommandError(
            f"say which timeline rows are placed on with --index: {known}; or --static"
        )
    if given.index is not None and given.index not in timelines:
        raise CommandError(
            f"there is no timeline {given.index}.{nearest(given.index, list(timelines))}"
        )
    selection = _select(dataset, parts_of(given.segments), segments, given.contents)
    options: dict[str, Any] = {}
    if given.index is not None:
        schema = dataset.schema().to_arrow()
        kind = schema.field(given.index).type
        if given.every is not None:
            options["every"] = distance(given.every, "--every", given.index, kind)
        if given.fill_max_age is not None:
            options["fill_max_age"] = distance(
                given.fill_max_age, "--fill-max-age", given.index, kind
            )
        if given.at is not None:
            options["using_index_values"] = index_values(
                parts_of(given.at) or [], "--at", given.index, kind
            )
    if given.memory_budget is not None:
        options["memory_budget"] = size(given.memory_budget, "--memory-budget")
    lazy = selection.scan(
        given.index,
        fill_latest_at=given.fill,
        fill_respects_clears=given.fill_respects_clears,
        view_decides_rows=given.view_decides_rows,
        include_origin_times=given.origin_times,
        include_row_ids=given.row_ids,
        **options,
    )
    lazy._query.shows_progress = False  # there is one line for the whole command
    return lazy


def _select(
    dataset: DatasetEntry,
    wanted: list[str] | None,
    of_address: list[str] | None,
    contents: list[str] | None,
) -> DatasetSelection:
    selection = DatasetSelection(dataset)
    for ids in (wanted, of_address):
        if ids is None:
            continue
        known = dataset.segment_ids()
        for name in ids:
            if name not in known:
                raise CommandError(f"there is no segment {name}.{nearest(name, known)}")
        selection = selection.filter_segments(ids)
    if contents is not None:
        selection = selection.filter_contents(contents)
    return selection


# --- the answer


def _answer(
    lazy: LazyDataset, given: argparse.Namespace
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    columns = parts_of(given.columns)
    if columns is not None:
        if not columns:
            raise CommandError("--columns names no column")
        for i, name in enumerate(columns):
            if name not in lazy.schema.names:
                raise CommandError(f"there is no column {name}.{nearest(name, lazy.schema.names)}")
            if name in columns[:i]:
                raise CommandError(f"--columns names {name} twice")
    if given.where is None and given.sql is None:
        scanner = lazy.scanner(columns)
        return scanner.projected_schema, scanner.first_batches(given.limit)
    frame = _by_sql(lazy, given) if given.sql is not None else _by_where(lazy, given, columns)
    if given.limit is not None:
        frame = frame.limit(given.limit)
    schema = _without_views(frame.schema())
    return schema, _batches(frame, schema, lazy.schema.names)


def _context(given: argparse.Namespace) -> Any:
    import datafusion

    # One partition keeps the order of rows. Names are taken as they are written. Sorts and groups beyond the bound go to disk.
    config = datafusion.SessionConfig(
        {
            "datafusion.execution.coalesce_batches": "false",
            "datafusion.sql_parser.enable_ident_normalization": "false",
            "datafusion.sql_parser.map_string_types_to_utf8view": "false",
        }
    ).with_target_partitions(1)
    bound = 1 << 30
    if given.memory_budget is not None:
        bound = size(given.memory_budget, "--memory-budget")
    runtime = datafusion.RuntimeEnvBuilder().with_disk_manager_os().with_fair_spill_pool(bound)
    return datafusion.SessionContext(config, runtime)


def _by_where(lazy: LazyDataset, given: argparse.Namespace, columns: list[str] | None) -> Any:
    frame = _context(given).read_table(lazy)
    lists = {field.name for field in lazy.schema if pa.types.is_list(field.type)}
    try:
        condition = frame.parse_sql_expr(with_first_values(given.where, lists))
        frame = frame.filter(condition)
        if columns is not None:
            frame = frame.select(*[_column(name) for name in columns])
        # What is wrong with types shows when it is planned.
        frame.execution_plan()
    except Exception as error:
        raise CommandError(f"--where: {words_of_datafusion(error, lazy.schema.names)}") from error
    return frame


def _by_sql(lazy: LazyDataset, given: argparse.Namespace) -> Any:
    import datafusion

    context = _context(given)
    context.register_table("data", lazy)
    only_questions = (
        datafusion.SQLOptions()
        .with_allow_ddl(False)
        .with_allow_dml(False)
        .with_allow_statements(False)
    )
    try:
        frame = context.sql_with_options(given.sql, only_questions)
        frame.execution_plan()
    except Exception as error:
        raise CommandError(f"--sql: {words_of_datafusion(error, lazy.schema.names)}") from error
    return frame


def _column(name: str) -> Any:
    import datafusion

    return datafusion.col('"' + name.replace('"', '""') + '"')


def _without_views(schema: pa.Schema) -> pa.Schema:
    """Views of text and bytes, which some expressions give, as what other tools read."""
    fields = []
    for field in schema:
        if field.type == pa.string_view():
            field = field.with_type(pa.string())
        elif field.type == pa.binary_view():
            field = field.with_type(pa.binary())
        fields.append(field)
    return pa.schema(fields, metadata=schema.metadata)


def _batches(frame: Any, schema: pa.Schema, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        for item in frame.execute_stream():
            batch = item.to_pyarrow()
            if batch.num_rows == 0:
                continue
            arrays = [
                array if array.type == field.type else array.cast(field.type)
                for array, field in zip(batch.columns, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    except GeneratorExit:
        raise
    except Exception as error:
        raise CommandError(words_of_datafusion(error, columns)) from error


# --- running it


class _Job:
    """One command. `run` is called on a thread of its own; `discard` by the main thread, when a signal ends the work."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._output: outputs.Output | None = None
        self._progress: Progress | None = None
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error
        finally:
            self.discard()
            self.done.set()

    def discard(self) -> None:
        if self._progress is not None:
            self._progress.close()
        if self._output is not None:
            self._output.discard()

    def _run(self) -> None:
        given = self._given
        form = outputs.format_of(given.format, given.output)
        to_terminal = given.output is None and sys.stdout.isatty()
        if to_terminal and form in outputs.BINARY:
            raise CommandError(f"{form} is binary: name a file with -o FILE, or pipe it")
        lazy = _scan(given)
        schema, batches = _answer(lazy, given)
        self._output = output = outputs.Output(given.output, overwrite=given.force)
        output.open()
        # On a terminal that also shows the rows, a line of progress would run into them.
        if not to_terminal or form == "table":
            self._progress = Progress("querying", "rows")
        writer: Any = _writing(given, _writer, form, output, schema, given.limit)
        for batch in batches:
            _writing(given, writer.write, batch)
            if self._progress is not None:
                self._progress.count += batch.num_rows
            if getattr(writer, "has_enough", False):
                break
        if self._progress is not None:
            self._progress.close()
        _writing(given, writer.close)
        _writing(given, output.commit)


def _writer(
    form: str, output: outputs.Output, schema: pa.Schema, limit: int | None
) -> outputs.Writer:
    match form:
        case "csv":
            return outputs.CsvWriter(output, schema)
        case "json":
            return outputs.JsonWriter(output, schema)
        case "arrow":
            return outputs.ArrowWriter(output, schema)
        case "parquet":
            return outputs.ParquetWriter(output, schema)
        case _:
            return TableWriter(output, schema, limit=limit)


def _writing(given: argparse.Namespace, action: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return action(*arguments)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise CommandError(
            f"cannot write {given.output or 'to stdout'}: {error.strerror or error}"
        ) from error


class _SignalError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: FrameType | None) -> None:
    raise _SignalError(number)


def _die_of(number: int) -> NoReturn:
    """As the signal would have ended the process, for shells to see."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def main(arguments: list[str]) -> NoReturn:
    """Runs the command. Exit codes: 0, 1 for what went wrong, 2 for options that make no sense."""
    given = _checked(arguments)
    job = _Job(given)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _stop)
        threading.Thread(target=job.run, name="rushes-query", daemon=True).start()
        while not job.done.wait(60):
            pass
    except _SignalError as stopped:
        job.discard()
        _die_of(stopped.number)
    error = job.error
    if error is None:
        sys.exit(0)
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        _die_of(signal.SIGPIPE)
    words = str(error)
    expected = (CommandError, ValueError, OSError, MemoryError, LookupError)
    if not isinstance(error, expected) and not type(error).__module__.startswith("rushes"):
        words = f"unexpected error: {type(error).__name__}: {error}"
    print(f"rushes: {words}", file=sys.stderr)
    sys.exit(1)
