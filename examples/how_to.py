"""The how-to, from recordings to dataframes: runs each snippet on the committed recordings and shows what it prints.

python examples/how_to.py
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Each step: what it shows, the code, and the packages it needs beside rushes.
STEPS: list[tuple[str, str, tuple[str, ...]]] = [
    (
        "Start a server on a few recordings; each becomes a segment whose id is the recording id",
        """\
import rushes as rr

with rr.server.Server(datasets={
    "my_dataset": ["recordings/howto/recording_001.rrd", "recordings/howto/recording_002.rrd"],
    "robot": "recordings/demo",
}) as server:
    client = server.client()
    print(client)
    print(client.datasets())
    print(sorted(client.get_dataset("robot").segment_ids()))
""",
        (),
    ),
    (
        "Start an empty server and connect to its address",
        """\
server = rr.server.Server()
server_address = server.address()
client = rr.catalog.CatalogClient(server_address)
print(client.url == server_address, client.entries())
""",
        (),
    ),
    (
        "Create a dataset and register recordings in it",
        """\
from pathlib import Path

dataset = client.create_dataset(
    name="oss_demo",
)
for name in ("recording_001", "recording_002"):
    print(dataset.register(Path(f"recordings/howto/{name}.rrd").resolve().as_uri()).wait())
""",
        (),
    ),
    (
        "What a dataset holds",
        """\
schema = dataset.schema()
print(schema.index_columns())
for column in schema.component_columns():
    print(column.name)
print(dataset.info())
""",
        (),
    ),
    (
        "A dataframe: one row per segment and value of the index",
        """\
df = dataset.reader(index="frame_nr")
print(df)
""",
        (),
    ),
    ("Static data only: one row per segment", "print(dataset.reader(index=None))\n", ()),
    (
        "Fill what was not logged with the latest value",
        """\
filled = dataset.reader(index="frame_nr", fill_latest_at=True)
print(filled.select("rerun_segment_id", "frame_nr", "/sensors/temp:Scalars:scalars"))
""",
        (),
    ),
    (
        "Select entities and segments before reading",
        """\
dataset_view = dataset.filter_contents(["/world/robot/**"]).filter_segments(["recording_001"])
print(dataset_view)
df = dataset_view.reader(index="frame_nr")
print(df)
""",
        (),
    ),
    (
        "Filter rows and select columns with DataFusion; both reach the recordings",
        """\
from datafusion import col

df = dataset.reader(index="frame_nr")
df = df.filter(col("frame_nr") >= 0).filter(col("frame_nr") <= 100)
df = df.filter(col("/world/robot:Position3D:positions").is_not_null())
print(df.select("frame_nr", "/world/robot:Position3D:positions").to_pydict())
""",
        (),
    ),
    (
        "Sample at index values of one's own",
        """\
import numpy as np

sampled = dataset.reader(
    index="frame_nr", using_index_values=np.array([1, 3, 101]), fill_latest_at=True
)
print(sampled.select("rerun_segment_id", "frame_nr", "/sensors/temp:Scalars:scalars"))
""",
        (),
    ),
    (
        "Properties of the recordings, and the ranges of their timelines",
        """\
robot = client.create_dataset("robot")
robot.register_prefix("recordings/demo").wait()
properties = robot.segment_table()
print(properties.select("rerun_segment_id", "property:episode:task", "property:episode:success"))
print(robot.get_index_ranges().select("rerun_segment_id", "frame_nr:start", "frame_nr:end"))
""",
        (),
    ),
    (
        "To Arrow, with nothing else kept",
        """\
print(server.client().get_dataset("oss_demo").reader(index="frame_nr").to_arrow_table().num_rows)
table = server.client().get_dataset("robot").reader(index="frame_nr").to_arrow_table()
print(table.num_rows, "rows,", table.num_columns, "columns,", f"{table.nbytes / 1e6:.1f} MB")
""",
        (),
    ),
    (
        "To pandas",
        """\
frame = dataset.reader(index="frame_nr").to_pandas()
print(frame.dtypes)
""",
        ("pandas",),
    ),
    (
        "To Polars: through Arrow, or lazily with columns and filters pushed down",
        """\
import polars as pl

print(pl.from_arrow(dataset.reader(index="frame_nr").to_arrow_table()).schema)
lazy = pl.scan_pyarrow_dataset(robot.scan(index="frame_nr"))
elbow = lazy.filter(pl.col("frame_nr") < 3).select("rerun_segment_id", "frame_nr", "/joints/elbow:Scalars:scalars")
print(elbow.collect())
""",
        ("polars",),
    ),
    (
        "DuckDB reads the same lazy object by its name",
        """\
import duckdb

rows = robot.scan(index="frame_nr")
print(duckdb.sql("select rerun_segment_id, count(*) as frames, max(frame_nr) as last from rows group by all order by all"))
""",
        ("duckdb",),
    ),
    (
        "A mistyped name",
        """\
try:
    dataset.reader(index="frame")
except ValueError as error:
    print(error)
""",
        (),
    ),
]


def run_step(
    number: int, title: str, code: str, needs: tuple[str, ...], names: dict[str, object]
) -> bool:
    """Shows a snippet and what it prints; False if it failed."""
    print(f"\n\x1b[1m{number}. {title}\x1b[0m" if sys.stdout.isatty() else f"\n{number}. {title}")
    print("".join(f"    >>> {line}\n" for line in code.rstrip().split("\n")))
    missing = [package for package in needs if find_spec(package) is None]
    if missing:
        print(f"    (skipped: {', '.join(missing)} is not installed)")
        return True
    output = io.StringIO()
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(code, f"<how-to {number}>", "exec"), names)
    except Exception as error:
        print(output.getvalue())
        print(f"    FAILED: {type(error).__name__}: {error}")
        return False
    print("\n".join("    " + line for line in output.getvalue().rstrip().split("\n")))
    print(f"    ({(time.perf_counter() - began) * 1000:.0f} ms)")
    return True


def show_connect(server: object) -> bool:
    """The command line against the running server."""
    address = server.address().removeprefix("rerun+http://")  # type: ignore[attr-defined]
    print(f"\nFrom another process\n    $ rushes connect {address}")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")
    }
    command = [sys.executable, "-m", "rushes", "connect", "--no-viewer", address]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    print("\n".join("    " + line for line in (done.stdout + done.stderr).rstrip().split("\n")))
    return done.returncode == 0


def main() -> int:
    os.chdir(ROOT)
    names: dict[str, object] = {}
    failed = 0
    for number, (title, code, needs) in enumerate(STEPS, 1):
        failed += not run_step(number, title, code, needs, names)
    if "server" in names:
        failed += not show_connect(names["server"])
        names["server"].shutdown()  # type: ignore[attr-defined]
    print(f"\n{'all snippets ran' if not failed else f'{failed} snippets failed'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
