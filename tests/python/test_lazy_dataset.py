"""The lazy dataset as a `pyarrow.dataset.Dataset`: every inherited name works or raises, none crashes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pytest

ROOT = Path(__file__).resolve().parents[2]

WALK = """
import sys
import pyarrow as pa, pyarrow.compute as pc, pyarrow.dataset as pds
import rushes as rr

server = rr.server.Server(datasets={"d": sys.argv[1]})
lazy = server.client().get_dataset("d").scan(index="frame_nr")
table = pa.table({"frame_nr": pa.array([1, 2], pa.int64()), "x": [1, 2]})
schema = pa.schema([("frame_nr", pa.int64())])
GUESSES = [
    (), (1,), ([0],), ("frame_nr",), (schema,), (table,), (pc.field("frame_nr") > 1,), ([("frame_nr", "ascending")],),
    (table, "frame_nr"), (table, "frame_nr", "frame_nr", 1), (None,), ("no_such_column",), (["no_such_column"],), ("",),
]

def use(value):
    # What came out is looked at, too.
    if isinstance(value, (pds.Dataset, pds.Scanner)):
        value.head(1)
    elif hasattr(value, "__next__"):
        next(value, None)

SKIPPED = {"__init__", "__setattr__", "__delattr__", "__setstate__", "__init_subclass__", "__subclasshook__", "__class__", "__new__", "__del__"}

def walk(thing):
    n = 0
    for name in dir(thing):
        if name in SKIPPED:
            continue
        try:
            member = getattr(thing, name)
        except Exception:
            continue
        if not callable(member):
            continue
        for arguments in GUESSES:
            sys.stderr.write(f"{type(thing).__name__}.{name}{arguments!r}\\n")
            try:
                use(member(*arguments))
            except Exception:
                pass
            n += 1
    return n

n = walk(lazy) + walk(lazy.get_fragments()[0]) + walk(lazy.scanner())
for attempt in (
    lambda: pds.dataset([lazy]).to_table(),
    lambda: pds.Scanner.from_dataset(lazy).to_table(),
    lambda: pds.UnionDataset(lazy.schema, [lazy]).to_table(),
    lambda: pds.write_dataset(lazy, "/nonexistent/rushes", format="parquet"),
    lambda: str(lazy), lambda: repr(lazy), lambda: hash(lazy), lambda: lazy == lazy,
):
    try:
        attempt()
    except Exception:
        pass
print("walked", n, lazy.count_rows())
"""


def test_walk_of_all_names():
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", WALK, str(ROOT / "recordings" / "howto")],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    words = done.stdout.split()
    assert words[0] == "walked"
    assert int(words[1]) > 500
    assert words[2] == "8"


@pytest.fixture
def lazy(howto):
    return howto.scan(index="frame_nr")


def test_is_a_dataset(lazy):
    assert isinstance(lazy, pds.Dataset)
    assert repr(lazy) == "LazyDataset('howto', index='frame_nr', 6 columns)"
    assert lazy.schema.names[0] == "rerun_segment_id"


def test_reading(lazy):
    table = lazy.to_table()
    assert table.num_rows == lazy.count_rows() == 8
    assert table.schema.equals(lazy.schema, check_metadata=True)
    assert lazy.head(3).num_rows == 3
    assert lazy.head(0).num_rows == 0
    assert lazy.take([1, 0]).equals(table.take([1, 0]))
    assert sum(batch.num_rows for batch in lazy.to_batches()) == 8
    assert lazy.scanner().to_reader().read_all().equals(table)
    assert pa.table(lazy).equals(table)
    assert pa.RecordBatchReader.from_stream(lazy).read_all().equals(table)
    assert lazy.to_table(columns=["frame_nr", "rerun_segment_id"]).column_names == [
        "frame_nr",
        "rerun_segment_id",
    ]
    # Read again: a dataset is no iterator.
    assert lazy.to_table().equals(table)


def test_whole_table_operations(lazy):
    assert lazy.sort_by([("frame_nr", "descending")]).to_table()["frame_nr"].to_pylist()[0] == 103
    assert lazy.filter(pc.field("frame_nr") < 2).to_table().num_rows == 2
    right = pds.dataset(pa.table({"frame_nr": pa.array([0, 100], pa.int64()), "x": [1, 2]}))
    left = (
        lazy.filter(pc.field("frame_nr") >= 0).to_table().select(["frame_nr", "rerun_segment_id"])
    )
    assert left.num_rows == 8
    renamed = lazy.to_table(columns={"f": pc.field("frame_nr") + 1})
    assert sorted(renamed["f"].to_pylist()) == [1, 2, 3, 4, 101, 102, 103, 104]
    with pytest.raises(pa.ArrowException):
        lazy.join(right, "no_such_key").to_table()


def test_what_it_is_not(lazy):
    with pytest.raises(NotImplementedError):
        lazy.replace_schema(pa.schema([]))
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(lazy)
    # Inherited C++ readers see one fragment that cannot exist, with our words in its name.
    with pytest.raises(Exception, match="lazy dataset"):
        pds.Scanner.from_dataset(lazy).to_table()
    with pytest.raises(Exception, match="lazy dataset"):
        acero.Declaration("scan", acero.ScanNodeOptions(lazy)).to_table()
    with pytest.raises(TypeError, match="filter must be"):
        lazy.to_table(filter="frame_nr > 1")
    with pytest.raises(TypeError, match="columns"):
        lazy.to_table(columns=[1])


def test_planning_never_raises(lazy):
    """An error before the first batch would reach users as a dump of the engine's insides."""
    scanner = lazy.get_fragments()[0].scanner(columns=["no_such_column"])
    with pytest.raises(ValueError, match="no_such_column"):
        next(iter(scanner.to_batches()))


def test_unknown_filter_column(lazy):
    with pytest.raises(Exception, match="no_such_column"):
        lazy.to_table(filter=pc.field("no_such_column") > 1)


def test_filter_that_cannot_be_evaluated(lazy):
    with pytest.raises(Exception, match=r"."):
        lazy.to_table(filter=pc.field("rerun_segment_id") > 1)
    assert lazy.count_rows() == 8


def test_abandoned_readers(demo):
    """Dropped in the middle, and many of them."""
    for _ in range(20):
        batches = demo.scan(index="frame_nr").to_batches()
        next(batches)
        del batches
    assert demo.scan(index="frame_nr").count_rows() > 0
