"""`rushes query`: what it prints and writes, what it refuses, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import resource
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rushes._command.errors import CommandError
from rushes._command.query import main
from rushes._command.values import distance, index_values, parts_of, size
from rushes._command.where import with_first_values

import rushes as rr

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "recordings" / "demo")
ELBOW = "/joints/elbow:Scalars:scalars"
COMMAND = [sys.executable, "-m", "rushes", "query"]


@dataclass
class Result:
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


Query = Callable[..., Result]


@pytest.fixture
def query(capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Query]:
    """Runs the command in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str, at: str = DEMO) -> Result:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main([at, *arguments])
        captured = capfdbinary.readouterr()
        assert isinstance(end.value.code, int)
        return Result(end.value.code, captured.out, captured.err.decode())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def expected(**options: Any) -> pa.Table:
    columns = options.pop("columns", None)
    index = options.pop("index", "frame_nr")
    return rr.open_recordings(DEMO).scan(index, **options).to_table(columns=columns)


# --- formats


def test_csv(query: Query) -> None:
    columns = ["rerun_segment_id", "frame_nr", ELBOW, "/logs/controller:TextLog:text"]
    done = query("--index", "frame_nr", "--columns", ",".join(columns), "--format", "csv")
    assert (done.code, done.err) == (0, "")
    rows = list(csv.reader(io.StringIO(done.text, newline="")))
    assert rows[0] == columns
    table = expected(columns=columns)
    assert len(rows) == table.num_rows + 1
    for row, wanted in zip(rows[1:], table.to_pylist(), strict=True):
        for text, name in zip(row, columns, strict=True):
            value = wanted[name]
            if value is None:
                assert text == ""
            elif isinstance(value, list):
                assert json.loads(text) == value
            else:
                assert text == str(value)
    assert b"\r" not in done.out


def test_json(query: Query) -> None:
    columns = ["frame_nr", "sim_time", "robot_time", ELBOW, "/world/robot:Position3D:positions"]
    done = query("--index", "frame_nr", "--columns", ",".join(columns), "--format", "json")
    assert done.code == 0
    table = expected(columns=columns)
    for line, row in zip(done.lines, table.to_pylist(), strict=True):
        found = json.loads(line)
        assert list(found) == columns
        for name in ("frame_nr", ELBOW, "/world/robot:Position3D:positions"):
            wanted = row[name]
            if name.startswith("/world") and wanted is not None:
                # As short as float32 can be told apart.
                assert [
                    [pa.scalar(x, pa.float32()).as_py() for x in item] for item in found[name]
                ] == wanted
            else:
                assert found[name] == wanted
    first = json.loads(done.lines[0])
    moment = table["robot_time"][0].value
    assert first["robot_time"].startswith("2026-01-01T00:00:00.")
    assert int(first["robot_time"].split(".")[1]) == moment % 10**9
    assert first["sim_time"] == f"PT{table['sim_time'][0].value / 10**9:g}S"


@pytest.mark.parametrize("where", ["", "frame_nr >= 7"])
def test_parquet_and_arrow_hold_the_same_rows(query: Query, tmp_path: Path, where: str) -> None:
    table = expected()
    if where:
        table = table.filter(pc.field("frame_nr") >= 7)
    arguments = ["--index", "frame_nr", *(["--where", where] if where else [])]
    parquet, arrow = tmp_path / "x.parquet", tmp_path / "x.arrow"
    for path in (parquet, arrow):
        done = query(*arguments, "-o", str(path))
        assert (done.code, done.out, done.err) == (0, b"", "")
    assert pq.read_table(parquet).equals(table)
    assert pq.read_schema(parquet).field(ELBOW).metadata[b"rerun:entity_path"] == b"/joints/elbow"
    assert pa.ipc.open_file(arrow).read_all().equals(table)
    piped = query(*arguments, "--format", "arrow")
    assert pa.ipc.open_stream(piped.out).read_all().equals(table)
    piped = query(*arguments, "--format", "parquet")
    assert pq.read_table(pa.BufferReader(piped.out)).equals(table)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.arrow", "x.parquet"]


def test_table(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    done = query("--index", "frame_nr")
    assert done.code == 0
    assert max(map(len, done.lines)) <= 90
    assert done.lines[0].split() == ["rerun_segment_id", "frame_nr", "log_time"]
    assert all(len(line) <= 70 for line in done.lines[:22])
    assert done.lines[2].split()[:2] == ["episode_000", "0"]
    assert done.lines[21].split()[:2] == ["episode_000", "19"]
    assert "and 42 columns that do not fit:" in done.lines
    total = expected().num_rows
    assert done.lines[-1].startswith(f"20 of {total:,} rows;")
    few = query("--index", "frame_nr", "--columns", "frame_nr", "--limit", "3")
    assert few.lines == [
        *("frame_nr", "--------", "       0", "       1", "       2", ""),
        "the first 3 rows",
    ]


def test_answers_without_rows_have_a_header(query: Query, tmp_path: Path) -> None:
    none = ["--index", "frame_nr", "--columns", f"frame_nr,{ELBOW}", "--where", "frame_nr < 0"]
    assert query(*none, "--format", "csv").text == f"frame_nr,{ELBOW}\n"
    assert query(*none, "--format", "json").text == ""
    assert query(*none).lines[-1] == "0 rows"
    schema = expected(columns=["frame_nr", ELBOW]).schema
    for path in (tmp_path / "x.parquet", tmp_path / "x.arrow"):
        assert query(*none, "-o", str(path)).code == 0
    assert pq.read_table(tmp_path / "x.parquet").schema.equals(schema)
    assert pa.ipc.open_file(tmp_path / "x.arrow").schema.equals(schema)
    assert query("--index", "frame_nr", "--limit", "0", "--format", "csv").text.count("\n") == 1


def batch(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize(
    ("values", "as_csv", "as_json"),
    [
        (pa.array([None, "", 'a"b', "x,y", " z", "a\nb", "ü"]),
         ["", '""', '"a""b"', '"x,y"', '" z"', '"a\nb"', "ü"],
         ["null", '""', '"a\\"b"', '"x,y"', '" z"', '"a\\nb"', '"ü"']),
        (pa.array([1.0, 0.1, 1e300, float("nan"), float("inf"), None]),
         ["1", "0.1", "1e+300", "nan", "inf", ""], ["1", "0.1", "1e+300", "null", "null", "null"]),
        (pa.array([0.1], pa.float32()), ["0.1"], ["0.1"]),
        (pa.array([1.5], pa.float16()), ["1.5"], ["1.5"]),
        (pa.array([-(2**63), 2**63 - 1]), [str(-(2**63)), str(2**63 - 1)],
         [str(-(2**63)), str(2**63 - 1)]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)], [str(2**64 - 1)]),
        (pa.array([-8], pa.int8()), ["-8"], ["-8"]),
        (pa.array([True, False]), ["true", "false"], ["true", "false"]),
        (pa.array([b"\x00\xff"]), ["AP8="], ['"AP8="']),
        (pa.array([-1, 0], pa.timestamp("ns")),
         ["1969-12-31T23:59:59.999999999", "1970-01-01T00:00:00.000000000"],
         ['"1969-12-31T23:59:59.999999999"', '"1970-01-01T00:00:00.000000000"']),
        (pa.array([-(2**63) + 1, 2**63 - 1], pa.timestamp("ns", "UTC")),
         ["1677-09-21T00:12:43.145224193Z", "2262-04-11T23:47:16.854775807Z"],
         ['"1677-09-21T00:12:43.145224193Z"', '"2262-04-11T23:47:16.854775807Z"']),
        (pa.array([2**62], pa.timestamp("s")), [str(2**62)], [f'"{2**62}"']),
        (pa.array([-1500, 10**10, -(2**63) + 1], pa.duration("ns")),
         ["-PT0.0000015S", "PT10S", "-PT9223372036.854775807S"],
         ['"-PT0.0000015S"', '"PT10S"', '"-PT9223372036.854775807S"']),
        (pa.array([1], pa.date32()), ["1970-01-02"], ['"1970-01-02"']),
        (pa.array([3_723_000_001], pa.time64("us")), ["01:02:03.000001"], ['"01:02:03.000001"']),
        (pa.array([[1, None], [], None], pa.list_(pa.int64())),
         ['"[1,null]"', "[]", ""], ["[1,null]", "[]", "null"]),
        (pa.array([[[1.5, 2.0]]], pa.list_(pa.list_(pa.float32(), 2))),
         ['"[[1.5,2]]"'], ["[[1.5,2]]"]),
        (pa.array([{"a": 1, "b": "x"}]), ['"{""a"":1,""b"":""x""}"'], ['{"a":1,"b":"x"}']),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"], ['"a"', "null", '"a"']),
        (pa.array(["a"], pa.string_view()), ["a"], ['"a"']),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
         ['"[{""key"":""k"",""value"":1}]"'], ['[{"key":"k","value":1}]']),
        (pa.nulls(1), [""], ["null"]),
        (pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
         ["1", '"""b"""'], ["1", '"b"']),
    ],
)  # fmt: skip
def test_values_as_text(values: pa.Array, as_csv: list[str], as_json: list[str]) -> None:
    from rushes import _core

    whole = batch(v=values, n=pa.array(range(len(values))))
    # As a slice too: offsets must not matter.
    sliced = pa.concat_arrays([values.slice(0, 1), values]).slice(1) if len(values) else values
    for rows in (whole, batch(v=sliced, n=whole["n"])):
        assert _core.csv_lines(rows).decode() == "".join(
            f"{text},{i}\n" for i, text in enumerate(as_csv)
        )
        assert _core.json_lines(rows).decode() == "".join(
            f'{{"v":{text},"n":{i}}}\n' for i, text in enumerate(as_json)
        )


def test_text_that_is_not_utf8_and_types_that_are_no_text() -> None:
    from rushes import _core

    broken = pa.array([b"a\xffb\xc3"]).view(pa.string())
    assert _core.json_lines(batch(v=broken)).decode() == '{"v":"a\ufffdb\ufffd"}\n'
    assert _core.csv_lines(batch(v=broken)).decode() == "a\ufffdb\ufffd\n"
    # A line of nothing would be skipped by readers.
    assert _core.csv_lines(batch(v=pa.nulls(2))) == b'""\n""\n'
    runs = pa.RunEndEncodedArray.from_arrays([2], ["x"])
    with pytest.raises(NotImplementedError, match="column 'v' of type run_end_encoded"):
        _core.csv_lines(batch(v=runs))


# --- what is read


def test_fill_every_at_segments_contents(query: Query) -> None:
    def rows(*arguments: str) -> list[dict[str, Any]]:
        done = query(*arguments, "--format", "json")
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.lines]

    fill = rows("--index", "frame_nr", "--fill", "--columns", f"frame_nr,{ELBOW}")
    assert [r[ELBOW] for r in fill] == expected(fill_latest_at=True)[ELBOW].to_pylist()
    every = rows("--index", "sim_time", "--every", "1s", "--fill", "--columns", "sim_time")
    assert [r["sim_time"] for r in every][:4] == ["PT0S", "PT1S", "PT2S", "PT3S"]
    assert len(every) == expected(index="sim_time", every=10**9).num_rows
    at = rows("--index", "frame_nr", "--at", "3,1", "--at", "100", "--segments", "episode_001")
    assert [(r["rerun_segment_id"], r["frame_nr"]) for r in at] == [
        ("episode_001", n) for n in (1, 3, 100)
    ]
    at = rows("--index", "robot_time", "--at", "2026-01-01T00:00:01.5Z", "--columns", "robot_time")
    assert {r["robot_time"] for r in at} == {"2026-01-01T00:00:01.500000000"}
    seen = rows("--index", "frame_nr", "--contents", "/joints/** -/joints/elbow", "--limit", "1")
    assert ELBOW not in seen[0]
    assert sum(name.startswith("/") for name in seen[0]) == 5
    young = rows(
        *(
            "--index",
            "sim_time",
            "--fill",
            "--fill-max-age",
            "0ns",
            "--columns",
            f"sim_time,{ELBOW}",
        ),
        *("--where", f'"{ELBOW}" IS NULL'),
    )
    assert young
    more = rows("--index", "frame_nr", "--fill", "--origin-times", "--row-ids", "--limit", "1")
    assert {"rerun_row_id", f"{ELBOW}@frame_nr"} <= set(more[0])
    static = rows("--static", "--columns", "/world:ViewCoordinates:xyz,rerun_segment_id")
    assert [r["rerun_segment_id"] for r in static] == ["episode_000", "episode_001", "episode_002"]


def test_where(query: Query) -> None:
    def frames(where: str) -> list[int]:
        done = query(
            "--index", "frame_nr", "--columns", "frame_nr", "--format", "csv", "--where", where
        )
        assert done.code == 0, done.err
        return [int(line) for line in done.lines[1:]]

    table = expected(columns=["frame_nr", ELBOW])
    high = [
        row["frame_nr"]
        for row in table.to_pylist()
        if row[ELBOW] is not None and row[ELBOW][0] > 0.5
    ]
    assert high
    assert frames(f'"{ELBOW}" > 0.5') == high
    assert frames(f'0.5 < "{ELBOW}"[1]') == high
    assert frames(f'"{ELBOW}" > 0.5 AND frame_nr BETWEEN 10 AND 20') == [
        frame for frame in high if 10 <= frame <= 20
    ]
    assert frames("rerun_segment_id = 'episode_001' and frame_nr in (5, 6)") == [5, 6]


def test_sql(query: Query) -> None:
    done = query(
        *("--index", "frame_nr", "--format", "csv", "--sql"),
        f'select rerun_segment_id as id, count("{ELBOW}") as n, upper(rerun_segment_id) as up '
        "from data group by 1 order by 1 desc",
    )
    assert done.code == 0, done.err
    table = expected(columns=["rerun_segment_id", ELBOW])
    counts = table.group_by("rerun_segment_id").aggregate([(ELBOW, "count")])
    wanted = sorted(
        zip(
            counts["rerun_segment_id"].to_pylist(),
            counts[f"{ELBOW}_count"].to_pylist(),
            strict=True,
        )
    )
    assert done.lines == ["id,n,up", *(f"{i},{n},{i.upper()}" for i, n in reversed(wanted))]
    limited = query("--index", "frame_nr", "--sql", "select frame_nr from data", "--limit", "2")
    assert limited.lines[-1] == "the first 2 rows"


def test_a_dataset_of_a_server(query: Query, demo_server: rr.server.Server) -> None:
    url = demo_server.url()
    dataset = demo_server.client().get_dataset("demo")
    local = query("--index", "frame_nr", "--columns", f"frame_nr,{ELBOW}", "--format", "csv")
    arguments = ["--index", "frame_nr", "--columns", f"frame_nr,{ELBOW}", "--format", "csv"]
    port = url.rpartition(":")[2]
    for target, more in (
        (url, ["--dataset", "demo"]),
        (f"{url}/demo", []),
        (f"{url}/entry/demo", []),
        (f"{url}/entry/{dataset.id}", []),
        (f"127.0.0.1:{port}", ["--dataset", "demo"]),
    ):
        done = query(*arguments, *more, at=target)
        assert (done.code, done.err, done.out) == (0, "", local.out), target
    segment = query(*arguments, at=dataset.segment_url("episode_001"))
    assert len(segment.lines) < len(local.lines)
    refused = query(*arguments, at=url)
    assert refused.code == 1
    assert "name one of the datasets with --dataset: demo, empty, howto" in refused.err
    assert "no dataset named dmo" in query(*arguments, "--dataset", "dmo", at=url).err
    assert "Did you mean 'demo'?" in query(*arguments, at=f"{url}/dmo").err
    assert "--dataset howto is not" in query(*arguments, "--dataset", "howto", at=f"{url}/demo").err


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say which timeline rows are placed on with --index: frame_nr, log_time, robot_time, sim_time; or --static"),
        (["--index", "frame"], "there is no timeline frame. Did you mean 'frame_nr'?"),
        (["--index", "frame_nr", "--columns", "fram_nr"], "there is no column fram_nr. Did you mean 'frame_nr'"),
        (["--index", "frame_nr", "--columns", "frame_nr,frame_nr"], "--columns names frame_nr twice"),
        (["--index", "frame_nr", "--columns", ","], "--columns names no column"),
        (["--index", "frame_nr", "--where", "fram_nr > 3"], "--where: there is no column fram_nr. Did you mean 'frame_nr'"),
        (["--index", "frame_nr", "--where", "Frame_nr > 3"], "--where: there is no column Frame_nr. Did you mean 'frame_nr'"),
        (["--index", "frame_nr", "--where", '"a""b" > 3'], '--where: there is no column a"b'),
        (["--index", "frame_nr", "--where", "frame_nr >"], "--where: not an SQL expression: Expected: an expression, found: EOF"),
        (["--index", "frame_nr", "--where", ""], "--where: not an SQL expression"),
        (["--index", "frame_nr", "--where", "1 = 1) or (2 = 2"], "--where: not an SQL expression: Expected: end of expression, found: )"),
        (["--index", "frame_nr", "--where", "frame_nr; drop table data"], "--where: not an SQL expression"),
        (["--index", "frame_nr", "--where", "frame_nr"], "--where: Cannot create filter with non-boolean predicate 'frame_nr'"),
        (["--index", "frame_nr", "--where", f'abs("{ELBOW}") > 1'], '"/a:x"[1] is the first value of one'),
        (["--index", "frame_nr", "--where", "nope(frame_nr)"], "--where: Invalid function 'nope'"),
        (["--index", "frame_nr", "--where", "sum(frame_nr) > 3"], "--where: "),
        (["--index", "frame_nr", "--sql", "select * from dta"], "--sql: there is no table dta; the rows are in the table data"),
        (["--index", "frame_nr", "--sql", "drop table data"], "--sql: DDL not supported"),
        (["--index", "frame_nr", "--sql", "copy data to 'x.csv'"], "--sql: DML not supported"),
        (["--index", "frame_nr", "--sql", "select frm_nr from data"], "--sql: there is no column frm_nr"),
        (["--index", "frame_nr", "--sql", "select 1 / 0"], "Divide by zero"),
        (["--index", "frame_nr", "--segments", "episode_01"], "there is no segment episode_01. Did you mean 'episode_001'"),
        (["--index", "frame_nr", "--every", "1s"], "--every: frame_nr counts, so it takes a whole number without a unit, not 1s"),
        (["--index", "frame_nr", "--every", "0"], "every must be positive"),
        (["--index", "frame_nr", "--every", "-4"], "--every must not be negative, got -4"),
        (["--index", "sim_time", "--every", "1.5"], "--every: 1.5 needs a unit, such as 1.5s"),
        (["--index", "sim_time", "--every", "1y"], "--every: no unit y; there are ns, us, ms"),
        (["--index", "sim_time", "--every", "0.1ns"], "--every: 0.1ns is no whole number of nanoseconds"),
        (["--index", "sim_time", "--every", "400000d"], "--every: 400000d is beyond 64 bits"),
        (["--index", "frame_nr", "--at", "1,1"], "Index values must be unique."),
        (["--index", "frame_nr", "--at", "1,two"], "--at: two is no number"),
        (["--index", "robot_time", "--at", "yesterday"], "--at: yesterday is no time of robot_time"),
        (["--index", "robot_time", "--at", "2026-13-01"], "--at: 2026-13-01 is no date"),
        (["--index", "robot_time", "--at", "9999-01-01"], "--at: 9999-01-01 is beyond the times there are"),
        (["--index", "frame_nr", "--memory-budget", "lots"], "--memory-budget: lots is no size"),
        (["--index", "frame_nr", "-o", "x.xlsx"], "which format is x.xlsx?"),
        (["--index", "frame_nr", "--dataset", "demo"], "--dataset is for catalogs"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(query: Query, arguments: list[str], words: str) -> None:
    done = query(*arguments, *(() if "-o" in arguments else ("--format", "csv")))
    assert done.code == 1
    assert done.err.startswith("rushes: "), done.err
    assert words in done.err
    assert len(done.err) < 1000
    assert done.err.count("\n") == 1
    # Nothing but a header of what was begun.
    assert done.out.count(b"\n") <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--index", "frame_nr", "--format", "xml"], "invalid choice: 'xml'"),
        (["--index", "frame_nr", "--limit", "-1"], "--limit must not be negative"),
        (["--index", "frame_nr", "--limit", "many"], "invalid int value: 'many'"),
        (["--index", "frame_nr", "--static"], "--index and --static exclude each other"),
        (["--static", "--every", "3"], "--static has no times"),
        (["--index", "frame_nr", "--every", "3", "--at", "1"], "--every and --at exclude each other"),
        (["--index", "frame_nr", "--fill-max-age", "3"], "need --fill"),
        (["--index", "frame_nr", "--sql", "select 1", "--where", "true"], "leave --columns and --where out"),
        (["--index", "frame_nr", "--colums", "x"], "unrecognized arguments: --colums"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(query: Query, arguments: list[str], words: str) -> None:
    done = query(*arguments)
    assert done.code == 2
    assert words in done.err


def test_targets_that_are_none(query: Query, tmp_path: Path) -> None:
    index = ["--index", "frame_nr"]
    for target in ("nowhere", "./nowhere", "nowhere.rrd", str(tmp_path / "x"), "a b", "no/where"):
        done = query(*index, at=target)
        assert (done.code, f"no such file or directory: {target}" in done.err) == (1, True), target
    assert "there is no .rrd file in" in query(*index, at=str(tmp_path)).err
    (tmp_path / "x.rrd").write_bytes(b"no recording at all")
    done = query(*index, at=str(tmp_path / "x.rrd"))
    assert done.code == 1
    assert "x.rrd" in done.err
    assert "cannot connect" in query(*index, at="localhost:1").err
    assert query(*index, at="ftp://localhost:1").code == 1


def test_files_that_cannot_be_written(query: Query, tmp_path: Path) -> None:
    index = ["--index", "frame_nr", "--columns", "frame_nr"]
    there = tmp_path / "there.csv"
    there.write_text("precious")
    done = query(*index, "-o", str(there))
    assert done.code == 1
    assert done.err == f"rushes: {there} exists; --force overwrites it\n"
    assert there.read_text() == "precious"
    missing = tmp_path / "missing" / "x.csv"
    assert (
        f"cannot write {missing}: No such file or directory"
        in query(*index, "-o", str(missing)).err
    )
    (tmp_path / "folder.csv").mkdir()
    assert "it is a directory" in query(*index, "-o", str(tmp_path / "folder.csv"), "--force").err
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    assert f"cannot write {loop}" in query(*index, "-o", str(loop)).err
    loop.unlink()
    assert "cannot write a\0b.csv" in query(*index, "-o", "a\0b.csv").err
    # An error halfway leaves what was there.
    bad = ["--index", "frame_nr", "--sql", "select 1 / (frame_nr - 150) from data"]
    done = query(*bad, "-o", str(there), "--force")
    assert done.code == 1
    assert "Divide by zero" in done.err
    assert there.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.csv", "there.csv"]

    there.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(there)
    assert query(*index, "-o", str(link), "--force").code == 0
    assert link.is_symlink()
    assert there.read_text().startswith("frame_nr\n0\n1\n")
    assert stat.S_IMODE(there.stat().st_mode) == 0o640
    assert query(*index, "-o", "/dev/null", "--format", "csv").code == 0
    assert not Path("/dev/null").is_file()
    full = query(*index, "-o", "/dev/full", "--format", "csv")
    assert (full.code, "cannot write /dev/full: No space left on device" in full.err) == (1, True)


# --- the words of options


def test_first_values() -> None:
    lists = {"/a:x", '/b"c:y'}
    for given, wanted in (
        ('"/a:x" > 1', '"/a:x"[1] > 1'),
        ('1<"/a:x"', '1<"/a:x"[1]'),
        ('"/a:x"[2] > 1', '"/a:x"[2] > 1'),
        ('"/a:x" IS NOT NULL and "/a:x" >= 2', '"/a:x" IS NOT NULL and "/a:x"[1] >= 2'),
        ('"/a:x" not in (1, 2)', '"/a:x"[1] not in (1, 2)'),
        ('"/a:x" between 1 and 2', '"/a:x"[1] between 1 and 2'),
        ('"/a:x" = [1.0]', '"/a:x" = [1.0]'),
        ('[1.0] = "/a:x"', '[1.0] = "/a:x"'),
        ('"/a:x"[2] = "/a:x"', '"/a:x"[2] = "/a:x"[1]'),
        ('"/a:x" = make_array(1)', '"/a:x" = make_array(1)'),
        ('cardinality("/a:x") > 1', 'cardinality("/a:x") > 1'),
        ('"/b""c:y" + 1 > 2', '"/b""c:y"[1] + 1 > 2'),
        ("""'"/a:x" > 1' = 'a'""", """'"/a:x" > 1' = 'a'"""),
        ('"/a:x" /* "/a:x" > 1 */ > 1 -- "/a:x" > 2', '"/a:x"[1] /* "/a:x" > 1 */ > 1 -- "/a:x" > 2'),
        ('"/other:x" > 1', '"/other:x" > 1'),
        ('"/a:x', '"/a:x'),
        ("", ""),
    ):  # fmt: skip
        assert with_first_values(given, lists) == wanted


def test_names_with_commas_and_units() -> None:
    assert parts_of(None) is None
    assert parts_of(["a, b", r"/x\,y:z,", "c"]) == ["a", "b", r"/x\,y:z", "c"]
    time_type = pa.duration("ns")
    for text, nanos in (("5", 5), ("1.5us", 1500), ("2ms", 2 * 10**6), ("1.25 s", 125 * 10**7),
                        ("1m", 60 * 10**9), ("1h", 3600 * 10**9), ("1d", 86400 * 10**9)):  # fmt: skip
        assert distance(text, "--every", "t", time_type) == nanos
    moments = index_values(
        ["1970-01-01", "1970-01-01 00:00:01", "1969-12-31T23:59:59.999999999Z", "7"],
        "--at", "t", pa.timestamp("ns"),
    )  # fmt: skip
    assert moments.to_pylist() == [0, 10**9, -1, 7]
    assert [size(t, "-") for t in ("7", "1KiB", "2M", "1kb", "3GiB")] == [
        7,
        1024,
        2 << 20,
        1000,
        3 << 30,
    ]
    for text in ("0", "-1", "", "1XB", "9999999999TiB"):
        with pytest.raises(CommandError):
            size(text, "--memory-budget")


# --- how it runs and ends


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=120, **options)


def test_the_executable_of_the_tree() -> None:
    executable = ROOT / "build" / "release" / "bin" / "rushes"
    done = subprocess.run(
        [executable, "query", DEMO, "--index", "frame_nr", "--columns=frame_nr", "--limit", "1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("frame_nr\n")
    done = subprocess.run(
        [executable, "query", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert "--where SQL" in done.stdout
    assert subprocess.run([executable, "query"], capture_output=True, timeout=60).returncode == 2


def test_the_executable_without_the_package(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    executable = tmp_path / "bin" / "rushes"
    executable.write_bytes((ROOT / "build" / "release" / "bin" / "rushes").read_bytes())
    executable.chmod(0o755)
    # A folder of the name where it is started is not the package.
    (tmp_path / "rushes").mkdir()
    (tmp_path / "rushes" / "__init__.py").write_text("raise RuntimeError('not me')")
    python = tmp_path / "python3"
    environment = {"PATH": str(tmp_path), "LD_LIBRARY_PATH": pa.get_library_dirs()[0]}
    call = [executable, "query", DEMO, "--index", "frame_nr"]
    none = subprocess.run(
        call, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path
    )
    assert none.returncode == 1
    assert "query needs Python 3.11 or later with the package rushes" in none.stderr
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    python.chmod(0o755)
    lacking = subprocess.run(
        call, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path
    )
    assert lacking.returncode == 1
    assert "query is part of the Python package, which" in lacking.stderr
    assert "-m pip install rushes" in lacking.stderr


def test_a_reader_that_leaves(large: Path) -> None:
    for more in (["--format", "csv"], ["--format", "json"], ["--format", "arrow"],
                 ["--format", "csv", "--where", "frame >= 0"]):  # fmt: skip
        process = subprocess.Popen(
            [*COMMAND, str(large), "--index", "frame", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == -signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_ctrl_c_leaves_no_file(large: Path, tmp_path: Path, form: str, number: int) -> None:
    target = tmp_path / f"out.{form}"
    for _ in range(10):
        target.write_text("precious")
        process = subprocess.Popen(
            [*COMMAND, str(large), "--index", "frame", "--fill", "--force", "-o", str(target)],
            stderr=subprocess.PIPE,
        )
        # Once it writes.
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out*.part")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        # Else it was done before the signal came, if only just.
        if process.returncode != 0 and target.read_bytes() == b"precious":
            break
    # A busy machine does nothing within a second.
    is_busy = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
    assert time.monotonic() - began < (30 if is_busy else 1.5)
    assert process.returncode == -number
    assert errors == b""
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    assert target.read_text() == "precious"


def on_terminal(
    arguments: list[str], *, stdout: bool, seconds: float = 120
) -> tuple[int, str, str]:
    """Runs it with stderr, and stdout if asked for, on a terminal: exit code, the terminal's text, what went to a pipe."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=follower if stdout else subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    shown = b""

    def read() -> None:
        nonlocal shown
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                return
            if not part:
                return
            shown += part

    thread = threading.Thread(target=read)
    thread.start()
    piped = process.stdout.read() if process.stdout is not None else b""
    code = process.wait(seconds)
    thread.join()
    os.close(leader)
    return code, shown.decode(), piped.decode()


def test_binary_is_not_for_terminals() -> None:
    for form in ("parquet", "arrow"):
        code, shown, _ = on_terminal([DEMO, "--index", "frame_nr", "--format", form], stdout=True)
        assert code == 1
        assert f"{form} is binary: name a file with -o FILE, or pipe it" in shown


def test_progress(large: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.csv"
    # Text of eight filled columns takes a while; if not here, there is nothing to see.
    began = time.monotonic()
    code, shown, piped = on_terminal(
        [str(large), "--index", "frame", "--fill", "-o", str(slow)], stdout=False
    )
    took = time.monotonic() - began
    assert (code, piped) == (0, "")
    if took < 4:
        pytest.skip("this machine is too fast for the test")
    assert "querying " in shown
    assert " rows, " in shown
    assert shown.endswith("\r\x1b[2K")


def test_rows_on_a_terminal_are_not_disturbed(large: Path) -> None:
    arguments = [str(large), "--index", "frame", "--format", "csv", "--limit", "300000"]
    code, shown, _ = on_terminal(arguments, stdout=True)
    assert code == 0
    assert "\x1b" not in shown
    assert shown.count("\n") == 300_001


def test_memory_stays_flat(large: Path, tmp_path: Path) -> None:
    """Twice the rows do not need more: the whole answer is some hundred megabytes of text."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (110, 110))

    peaks = []
    for rows in (200_000, 1_600_000):
        script = (
            "import resource, sys\nfrom rushes._command.query import main\n"
            "try:\n    main(sys.argv[1:])\n"
            "finally:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(large), "--index", "frame", "--fill", "--format", "csv",
             "--limit", str(rows), "-o", str(tmp_path / f"{rows}.csv")],
            stderr=subprocess.PIPE, text=True, timeout=120, preexec_fn=limit,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stderr.split()[-1]) // 1024)
    assert (tmp_path / "1600000.csv").stat().st_size > 4 * (tmp_path / "200000.csv").stat().st_size
    assert peaks[1] < peaks[0] + 150, peaks


# --- the page


def page_commands() -> list[str]:
    """What docs/command_line.md and README.md have people type."""
    out = []
    for page in (ROOT / "docs" / "command_line.md", ROOT / "README.md"):
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            out += [line for line in lines if line.startswith("rushes query ")]
    return out


def page_sessions() -> list[tuple[str, str]]:
    """(command, what it prints) of docs/command_line.md."""
    text = (ROOT / "docs" / "command_line.md").read_text()
    out = []
    for block in re.findall(r"^```text\n(\$.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, printed = part.partition("\n")
            out.append((line, printed))
    return out


@pytest.fixture
def beside_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recordings").symlink_to(ROOT / "recordings")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def test_the_page_has_commands() -> None:
    assert len(page_commands()) >= 8
    assert len(page_sessions()) >= 2


@pytest.mark.parametrize("line", page_commands())
def test_commands_of_the_page(query: Query, beside_recordings: Path, line: str) -> None:
    _, _, target, *arguments = shlex.split(line)
    done = query(*arguments, at=target)
    assert (done.code, done.err) == (0, "")
    if "-o" in arguments:
        table = pq.read_table(beside_recordings / arguments[arguments.index("-o") + 1])
        assert table.num_rows > 10
    else:
        assert done.out.count(b"\n") > 1


@pytest.mark.parametrize(("line", "printed"), page_sessions())
def test_sessions_of_the_page(
    query: Query, beside_recordings: Path, line: str, printed: str
) -> None:
    _, _, target, *arguments = shlex.split(line)
    assert query(*arguments, at=target).text == printed


def test_the_page_has_every_option() -> None:
    text = (ROOT / "docs" / "command_line.md").read_text()
    shown = command("--help").stdout.decode()
    for option in set(re.findall(r"--[a-z][a-z-]+", shown)) - {"--help"}:
        assert option in text, option
