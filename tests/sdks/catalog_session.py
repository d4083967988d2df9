"""What a user of one version of the official SDK does with a catalog; prints what works, as JSON.

    python catalog_session.py VERSION URL FOLDER

Runs in the environment of that version. Per topic: `true`, or `null` where the SDK has no such thing, or the error's text. Names
of entries carry the version, so that several may share a server.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rerun as rr
import rerun.blueprint as rrb
from datafusion import col, lit
from rerun.catalog import CatalogClient, NotFoundError

warnings.simplefilter("ignore", DeprecationWarning)
VERSION, URL, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
TAG = "v" + VERSION.replace(".", "_")
SEGMENTS = ["drive_0", "drive_1", "drive_2"]
SPEED = "/speed:Scalars:scalars"
CAMERA = "/camera:Scalars:scalars"


class Absent(Exception):
    """This version of the SDK has no such thing."""


def need(thing: Any, name: str) -> Any:
    if not hasattr(thing, name):
        raise Absent(name)
    return getattr(thing, name)


def equal(got: Any, want: Any) -> None:
    assert got == want, f"{got!r} instead of {want!r}"


def fails(kind: type[BaseException], words: str, act: Callable[[], Any]) -> None:
    raised = None
    try:
        act()
    except kind as error:
        raised = error
    assert raised is not None, f"no {kind.__name__}"
    assert words.lower() in str(raised).lower(), f"{words!r} is not in {raised}"


def record(segment: int, name: str = "", values: str = "speed") -> str:
    """Ten frames, written by this version."""
    path = FOLDER / f"{SEGMENTS[segment]}{name}.rrd"
    with rr.RecordingStream(f"sdk_{TAG}", recording_id=SEGMENTS[segment]) as stream:
        stream.save(str(path))
        stream.send_property("drive", rr.AnyValues(number=segment))
        stream.log("about", rr.TextDocument(f"drive {segment}"), static=True)
        for entity, every in ((values, 1), ("camera", 5)):
            frames = np.arange(0, 10, every)
            stream.send_columns(
                entity,
                indexes=[
                    rr.TimeColumn("frame", sequence=frames),
                    rr.TimeColumn("since", duration=frames.astype("timedelta64[ms]")),
                ],
                columns=rr.Scalars.columns(scalars=frames * 1.0 + 100 * segment),
            )
    return path.as_uri()


def rows(frame: Any, *columns: str) -> list[tuple[Any, ...]]:
    """Rows of a dataframe by segment and frame."""
    table = pa.Table.from_batches([b for b in frame.collect() if b.num_rows], frame.schema())
    keys = [k for k in ("rerun_segment_id", "frame") if k in table.column_names]
    table = table.sort_by([(k, "ascending") for k in keys]) if keys else table
    return list(zip(*(table[c].to_pylist() for c in columns), strict=True))


def quoted(name: str) -> Any:
    return col(f'"{name}"')


client = CatalogClient(URL)
dataset = client.create_dataset(f"{TAG} recordings")


def catalog() -> None:
    assert client.version_info().version
    equal(client.get_dataset(f"{TAG} recordings").id, dataset.id)
    other = client.create_dataset(f"{TAG} other")
    other.set_name(f"{TAG} renamed")
    assert f"{TAG} renamed" in client.dataset_names()
    assert f"{TAG} other" not in client.dataset_names()
    fails(ValueError, "invalid character", lambda: client.create_dataset("a/b"))
    entries = client.get_table("__entries").reader()
    assert f"{TAG} renamed" in {name for (name,) in rows(entries, "name")}
    other.delete()
    fails(NotFoundError, "not found", lambda: client.get_dataset(id=other.id))
    fails(LookupError, TAG, lambda: client.get_dataset(f"{TAG} renamed"))


def registration() -> None:
    files = [record(i) for i in range(3)]
    results = list(dataset.register(files[:2]).iter_results())
    equal({r.uri: r.segment_id for r in results}, dict(zip(files[:2], SEGMENTS[:2], strict=True)))
    dataset.register(files[2:]).wait()
    extra = record(0, "_extra", "extra")
    dataset.register([extra], layer_name="extra").wait()
    table = dataset.segment_table()
    equal(
        rows(table, "rerun_segment_id", "rerun_layer_names", "frame:start", "frame:end"),
        [(s, ["base", *["extra"] * (s == SEGMENTS[0])], 0, 9) for s in SEGMENTS],
    )
    equal(sorted(dataset.segment_ids()), SEGMENTS)
    fails(Exception, "already exists", lambda: dataset.register(files[:1]).wait())
    equal(len(rows(dataset.manifest(), "rerun_segment_id")), 4)
    dataset.unregister(segments_to_drop=[SEGMENTS[0]], layers_to_drop=["extra"]).wait()
    equal(len(rows(dataset.manifest(), "rerun_segment_id")), 3)
    fails(Exception, "", lambda: dataset.register([(FOLDER / "missing.rrd").as_uri()]).wait())
    equal(len(rows(dataset.get_index_ranges(), "rerun_segment_id")), 3)


def query() -> None:
    names = dataset.schema().to_arrow().names if hasattr(dataset.schema(), "to_arrow") else []
    assert not names or {SPEED, CAMERA, "frame", "since"} <= set(names)
    whole = [
        (s, f, [f * 1.0 + 100 * n], [f * 1.0 + 100 * n] if f % 5 == 0 else None)
        for n, s in enumerate(SEGMENTS)
        for f in range(10)
    ]
    keys = ("rerun_segment_id", "frame", SPEED, CAMERA)
    equal(rows(dataset.reader(index="frame"), *keys), whole)
    filled = rows(dataset.reader(index="frame", fill_latest_at=True), *keys)
    equal(
        [c for _, _, _, c in filled],
        [[f // 5 * 5.0 + 100 * n] for n in range(3) for f in range(10)],
    )
    some = dataset.filter_segments([SEGMENTS[1], "unknown"]).filter_contents(["/camera/**"])
    equal(
        rows(some.reader(index="frame"), "frame", CAMERA),
        [(0, [100.0]), (5, [105.0])],
    )
    bounded = dataset.reader(index="frame").filter(
        (col("frame") >= lit(3)) & (col("frame") < lit(6)),
        col("rerun_segment_id") == lit(SEGMENTS[2]),
    )
    equal(rows(bounded, "frame", SPEED), [(3, [203.0]), (4, [204.0]), (5, [205.0])])
    one = dataset.reader(index="frame").select("rerun_segment_id", "frame", quoted(CAMERA))
    equal(len(rows(one, "frame")), 6)
    at = {SEGMENTS[0]: np.array([2, 7]), SEGMENTS[1]: np.array([4])}
    sampled = dataset.reader(index="frame", using_index_values=at, fill_latest_at=True)
    equal(
        rows(sampled, "rerun_segment_id", "frame", CAMERA),
        [(SEGMENTS[0], 2, [0.0]), (SEGMENTS[0], 7, [5.0]), (SEGMENTS[1], 4, [100.0])],
    )
    equal(
        sorted(rows(dataset.reader(index=None), "rerun_segment_id", "/about:TextDocument:text")),
        [(s, [f"drive {n}"]) for n, s in enumerate(SEGMENTS)],
    )
    equal(dataset.reader(index="since").count(), 30)


def properties() -> None:
    name = "property:drive:number"
    equal(
        rows(dataset.segment_table(), "rerun_segment_id", name),
        [(s, [n]) for n, s in enumerate(SEGMENTS)],
    )
    shown = dataset.filter_contents(["/__properties/**", "/camera/**"]).reader(index="frame")
    assert name in shown.schema().names


def segment_stores() -> None:
    store = need(dataset, "segment_store")(SEGMENTS[0])
    chunks = store.stream().to_chunks()
    assert {"/speed", "/camera", "/about"} <= {c.entity_path for c in chunks}
    assert sum(c.num_rows for c in chunks if c.entity_path == "/speed") == 10
    fails(NotFoundError, "unknown", lambda: dataset.segment_store("unknown"))


def blueprints() -> None:
    need(dataset, "register_blueprint")
    path = FOLDER / "view.rbl"
    rrb.Blueprint(rrb.TimeSeriesView(origin="/speed")).save(f"sdk_{TAG}", str(path))
    dataset.register_blueprint(path.as_uri())
    equal([dataset.default_blueprint()], dataset.blueprints())
    dataset.register_blueprint(path.as_uri())
    equal(len(dataset.blueprints()), 1)


def assets() -> None:
    register = need(dataset, "register_asset")
    path = FOLDER / "mesh.rrd"
    with rr.RecordingStream("sdk", recording_id="mesh", send_properties=False) as stream:
        stream.save(str(path))
        stream.log("mesh", rr.TextDocument("a mesh"), static=True)
    equal(register(path.as_uri()), "mesh")
    equal(register(path.as_uri()), "mesh")
    equal(dataset.assets(), ["mesh"])
    if hasattr(dataset, "assets_for_segment"):
        register(path.as_uri(), mode="opt_in", segments=[SEGMENTS[1]])
        equal(dataset.assets_for_segment(SEGMENTS[1]), ["mesh"])
        equal(dataset.assets_for_segment(SEGMENTS[0]), [])
    dataset.unregister_asset("mesh")
    equal(dataset.assets(), [])


def tables() -> None:
    key = pa.field("id", pa.int64(), metadata={"rerun:is_table_index": "true"})
    schema = pa.schema([key, pa.field("name", pa.utf8())])
    made = client.create_table(f"{TAG}_table", schema)
    made.append(id=[1, 2], name=["one", "two"])
    made.append(pa.record_batch([[3], [None]], schema=schema))
    made.upsert(id=[2, 4], name=["TWO", "four"])
    equal(
        sorted(rows(made.reader(), "id", "name")),
        [(1, "one"), (2, "TWO"), (3, None), (4, "four")],
    )
    made.overwrite(id=[9], name=["nine"])
    equal(rows(client.get_table(f"{TAG}_table").reader(), "id", "name"), [(9, "nine")])
    counted = client.ctx.sql(f"SELECT count(*) AS n FROM {TAG}_table")
    equal(rows(counted, "n"), [(1,)])
    made.delete()
    assert f"{TAG}_table" not in client.table_names()


def staged_uploads() -> None:
    stage = need(client, "stage")
    url = stage(FOLDER / f"{SEGMENTS[0]}.rrd", key=f"{TAG}/drive.rrd")
    staged = client.create_dataset(f"{TAG} staged")
    staged.register([url]).wait()
    equal(staged.segment_ids(), SEGMENTS[:1])
    fails(Exception, "", lambda: stage(b"bytes", key=f"{TAG}/drive.rrd"))


TOPICS = [
    catalog,
    registration,
    query,
    properties,
    segment_stores,
    blueprints,
    assets,
    tables,
    staged_uploads,
]


def main() -> None:
    found = {"version": rr.__version__}
    for topic in TOPICS:
        try:
            topic()
            found[topic.__name__] = True
        except Absent:
            found[topic.__name__] = None
        except Exception:
            found[topic.__name__] = traceback.format_exc()
    print(json.dumps(found))


main()
