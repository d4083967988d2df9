"""Both clients on both servers, and ours in process: the same question gets the same table everywhere.

The official client on the official server is the reference. The recordings avoid what its engine is known to answer in
another way than docs/query.md: static data beside temporal data of one component, clear chunks of several rows, columns
that begin with empty lists, columns of several types, filters on a timeline other than the index. Those with clears are
not asked for ranges: the official engine knows of a clear only in columns of which it fetched something.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datafusion import col, lit

import rushes

official = pytest.importorskip("rerun")

ROOT = Path(__file__).resolve().parents[2]
DEMO = sorted((ROOT / "recordings" / "demo").glob("*.rrd"))
HOWTO = sorted((ROOT / "recordings" / "howto").glob("*.rrd"))
SEEDS = range(12)
CLEARED = [seed for seed in SEEDS if seed % 3 == 0]

Frame = Any  # a datafusion.DataFrame
Dataset = Any  # a DatasetEntry of either package
Layers = list[tuple[str, list[Path]]]


# --- random recordings


def write_random(seed: int, folder: Path) -> Layers:
    """Two or three segments, the first with a second layer; what they have in common is by chance."""
    rng = random.Random(seed)
    clears = 0.3 if seed in CLEARED else 0.0
    timelines = rng.sample(["frame", "tick", "clock", "since"], rng.randint(1, 3))
    entities = rng.sample(["/a", "/a/b", "/a/b/c", "/d", "/e f", "/x.y", "/D"], rng.randint(2, 5))
    layers: Layers = [("base", []), ("extra", [])]
    for segment in range(rng.randint(2, 3)):
        for number, (layer, files) in enumerate(layers):
            if number and segment:
                continue
            path = folder / f"{seed}_{segment}_{layer}.rrd"
            write_segment(path, f"segment_{segment}", rng, timelines, entities, clears)
            files.append(path)
    return layers


def write_segment(
    path: Path,
    recording_id: str,
    rng: random.Random,
    timelines: list[str],
    entities: list[str],
    clears: float,
) -> None:
    with official.RecordingStream(
        "random", recording_id=recording_id, send_properties=False
    ) as stream:
        stream.save(path)
        for entity in rng.sample(entities, rng.randint(1, len(entities))):
            for _ in range(rng.randint(1, 4)):
                if rng.random() < 0.4:
                    send_columns(stream, entity, rng, timelines)
                else:
                    log_rows(stream, entity, rng, timelines)
            if rng.random() < clears:
                set_times(stream, rng, timelines)
                stream.log(entity, official.Clear(recursive=False))
            stream.flush()


def time_of(timeline: str, value: int) -> dict[str, Any]:
    if timeline == "clock":
        return {"timestamp": np.datetime64(1_700_000_000_000_000_000 + value * 1_000_000, "ns")}
    if timeline == "since":
        return {"duration": np.timedelta64(value * 1000, "ns")}
    return {"sequence": value}


def set_times(stream: Any, rng: random.Random, timelines: list[str]) -> None:
    stream.reset_time()
    chosen = (
        timelines if rng.random() < 0.7 else rng.sample(timelines, rng.randint(1, len(timelines)))
    )
    for timeline in chosen:
        stream.set_time(timeline, **time_of(timeline, rng.randint(-5, 30)))


def component(rng: random.Random) -> Any:
    count = rng.randint(1, 3)
    what = rng.randint(0, 3)
    if what == 0:
        return official.Scalars(
            [rng.choice([0.5, -1.0, float(rng.randint(0, 9))]) for _ in range(count)]
        )
    if what == 1:
        return official.TextLog(
            rng.choice(["one", "two", "", "zwölf"]), level=rng.choice([None, "INFO"])
        )
    points = [[float(rng.randint(0, 9)) for _ in range(3)] for _ in range(count)]
    if what == 2:
        return official.Points3D(
            points, radii=rng.choice([None, [0.5]]), labels=rng.choice([None, ["p"]])
        )
    return official.AnyValues(
        number=[rng.randint(0, 99) for _ in range(count)], flag=[rng.random() < 0.5]
    )


def log_rows(stream: Any, entity: str, rng: random.Random, timelines: list[str]) -> None:
    for _ in range(rng.randint(1, 8)):
        set_times(stream, rng, timelines)
        stream.log(entity, component(rng))


def send_columns(stream: Any, entity: str, rng: random.Random, timelines: list[str]) -> None:
    rows = rng.randint(1, 12)
    names = rng.sample(timelines, rng.randint(1, len(timelines)))
    indexes = []
    for name in names:
        times = [rng.randint(-5, 30) for _ in range(rows)]
        if rng.random() < 0.5:
            times.sort()
        if name == "clock":
            indexes.append(
                official.TimeColumn(name, timestamp=[time_of(name, t)["timestamp"] for t in times])
            )
        elif name == "since":
            indexes.append(
                official.TimeColumn(name, duration=[time_of(name, t)["duration"] for t in times])
            )
        else:
            indexes.append(official.TimeColumn(name, sequence=times))
    values = [float(rng.randint(0, 9)) for _ in range(rows)]
    stream.send_columns(entity, indexes=indexes, columns=official.Scalars.columns(scalars=values))


# --- servers and clients

CLIENTS = {"official": official.catalog.CatalogClient, "ours": rushes.catalog.CatalogClient}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Layers]:
    """Name -> layers of files."""
    folder = tmp_path_factory.mktemp("random")
    random_ones = {f"random_{seed}": write_random(seed, folder) for seed in SEEDS}
    return {"demo": [("base", DEMO)], "howto": [("base", HOWTO)], **random_ones}


@pytest.fixture(scope="module")
def ways(datasets: dict[str, Layers]) -> Iterator[dict[str, Callable[[str], Dataset]]]:
    """The five ways to a dataset, the reference first. Registered once by each package's own client."""
    theirs = official.server.Server(host="127.0.0.1")
    ours = rushes.server.Server()
    with theirs, ours:
        theirs_direct, ours_direct = theirs.client(), ours.client()
        for name, layers in datasets.items():
            for client in (theirs_direct, ours_direct):
                dataset = client.create_dataset(name)
                for layer, files in layers:
                    if files:
                        dataset.register(
                            [path.resolve().as_uri() for path in files], layer_name=layer
                        ).wait()
        yield {
            "official on official": theirs_direct.get_dataset,
            "official on ours": CLIENTS["official"](ours.url()).get_dataset,
            "ours on official": CLIENTS["ours"](theirs.url()).get_dataset,
            "ours on ours": CLIENTS["ours"](ours.url()).get_dataset,
            "ours in process": ours_direct.get_dataset,
        }


OTHERS = ["official on ours", "ours on official", "ours on ours", "ours in process"]
NAMES = ["demo", "howto", *(f"random_{seed}" for seed in SEEDS)]


# --- questions: each takes a dataset of either package and the index, and gives a dataframe


def component_names(dataset: Dataset, *, temporal: bool = True) -> list[str]:
    columns = dataset.schema().component_columns()
    return [
        c.name
        for c in columns
        if not c.is_property
        and not (temporal and c.is_static)
        and not c.component.startswith("Clear:")
    ]


def read(dataset: Dataset, index: str) -> Frame:
    return dataset.reader(index=index)


def fill(dataset: Dataset, index: str) -> Frame:
    return dataset.reader(index=index, fill_latest_at=True)


def all_columns(dataset: Dataset, index: str) -> Frame:
    return dataset.reader(
        index=index, include_semantically_empty_columns=True, include_tombstone_columns=True
    )


def one_segment(dataset: Dataset, index: str) -> Frame:
    return dataset.filter_segments(sorted(dataset.segment_ids())[1]).reader(index=index)


def segment_predicate(dataset: Dataset, index: str) -> Frame:
    return dataset.reader(index=index).filter(
        col("rerun_segment_id") == lit(sorted(dataset.segment_ids())[-1])
    )


def half_of_the_entities(dataset: Dataset, index: str) -> Frame:
    paths = sorted(dataset.schema().entity_paths())
    chosen = [path.replace(" ", "\\ ") for path in paths[: (len(paths) + 1) // 2]]
    return dataset.filter_contents(chosen).reader(index=index)


def a_subtree_filled(dataset: Dataset, index: str) -> Frame:
    return dataset.filter_contents(["/a/**", "/joints/**", "/world/**", "- /a/b"]).reader(
        index=index, fill_latest_at=True
    )


def index_range(dataset: Dataset, index: str) -> Frame:
    low, high = bounds(dataset, index)
    return dataset.reader(index=index).filter(column(index) > low).filter(column(index) <= high)


def index_range_filled(dataset: Dataset, index: str) -> Frame:
    low, high = bounds(dataset, index)
    return dataset.reader(index=index, fill_latest_at=True).filter(column(index).between(low, high))


def one_column(dataset: Dataset, index: str) -> Frame:
    return dataset.reader(index=index).select(
        column("rerun_segment_id"), column(index), column(component_names(dataset)[0])
    )


def column_is_there(dataset: Dataset, index: str) -> Frame:
    return dataset.reader(index=index).filter(column(component_names(dataset)[-1]).is_not_null())


def one_column_filled(dataset: Dataset, index: str) -> Frame:
    return dataset.reader(index=index, fill_latest_at=True).select(
        column("rerun_segment_id"), column(index), column(component_names(dataset)[-1])
    )


def samples(dataset: Dataset, index: str) -> Frame:
    """At values inside the ranges, filled; where nothing comes before a value, official rows go missing."""
    values = {
        segment: sample_values(dataset, index, start, end)
        for segment, (start, end) in ranges(dataset, index).items()
    }
    return dataset.reader(index=index, fill_latest_at=True, using_index_values=values)


QUESTIONS = [
    read,
    fill,
    all_columns,
    one_segment,
    segment_predicate,
    half_of_the_entities,
    a_subtree_filled,
    index_range,
    index_range_filled,
    one_column,
    one_column_filled,
    column_is_there,
    samples,
]


def column(name: str) -> Any:
    return col('"' + name.replace('"', '""') + '"')


def ranges(dataset: Dataset, index: str) -> dict[str, tuple[int, int]]:
    """First and last value per segment, as integers."""
    table = dataset.get_index_ranges().to_arrow_table()
    start, end = (
        [None if v is None else int(v) for v in integers(table[f"{index}:{side}"])]
        for side in ("start", "end")
    )
    rows = zip(table["rerun_segment_id"].to_pylist(), start, end, strict=True)
    return {segment: (low, high) for segment, low, high in rows if low is not None}


def integers(values: pa.ChunkedArray) -> list[int | None]:
    return pa.chunked_array(
        [chunk.view(pa.int64()) for chunk in values.chunks], pa.int64()
    ).to_pylist()


def typed(dataset: Dataset, index: str, value: int) -> Any:
    return pa.scalar(value, pa.int64()).cast(index_type(dataset, index))


def index_type(dataset: Dataset, index: str) -> pa.DataType:
    return dataset.schema().to_arrow().field(index).type


def bounds(dataset: Dataset, index: str) -> tuple[Any, Any]:
    low = min(start for start, _ in ranges(dataset, index).values())
    high = max(end for _, end in ranges(dataset, index).values())
    third = (high - low) // 3
    return lit(typed(dataset, index, low + third)), lit(typed(dataset, index, high - third))


def sample_values(dataset: Dataset, index: str, start: int, end: int) -> pa.Array:
    values = sorted({start + (end - start) * i // 7 for i in range(8)})
    return pa.array(values, pa.int64()).cast(index_type(dataset, index))


# --- comparison


def normal(frame: Frame, *keys: str) -> pa.Table:
    """Columns by name, rows by segment and index: their order is the one thing that may differ."""
    table = frame.to_arrow_table()
    table = table.select(sorted(table.column_names))
    return table.sort_by([(key, "ascending") for key in keys]).combine_chunks()


def assert_same(got: pa.Table, want: pa.Table) -> None:
    assert got.column_names == want.column_names
    assert got.num_rows == want.num_rows
    for name in want.column_names:
        ours, theirs = got.schema.field(name), want.schema.field(name)
        assert ours.equals(theirs, check_metadata=True), (
            f"{ours} {ours.metadata}\n{theirs} {theirs.metadata}"
        )
        if not got[name].equals(want[name]):
            pairs = enumerate(zip(got[name].to_pylist(), want[name].to_pylist(), strict=True))
            different = [(row, a, b) for row, (a, b) in pairs if repr(a) != repr(b)]
            # NaN is not equal to itself; its text is.
            assert not different, (
                f"{name}: rows, got, want: {different[:5]} and {max(0, len(different) - 5)} more"
            )
    assert got.schema.metadata == want.schema.metadata


def indexes(dataset: Dataset) -> list[str]:
    return [
        column.name for column in dataset.schema().index_columns() if ranges(dataset, column.name)
    ]


@pytest.fixture(scope="module")
def reference(ways):
    """What the official client gets from the official server; asked once."""
    known: dict[tuple[str, str, str], pa.Table | str] = {}

    def ask(question: Callable[[Dataset, str], Frame], name: str, index: str) -> pa.Table:
        key = (question.__name__, name, index)
        if key not in known:
            known[key] = normal(
                question(ways["official on official"](name), index), "rerun_segment_id", index
            )
        return known[key]

    return ask


RANGED = (index_range, index_range_filled, samples)
ASKED = [
    pytest.param(question, name, id=f"{question.__name__}-{name}")
    for question in QUESTIONS
    for name in NAMES
    if not (question in RANGED and name in [f"random_{seed}" for seed in CLEARED])
]


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize(("question", "name"), ASKED)
def test_equal_tables(ways, reference, question, name, way) -> None:
    dataset = ways[way](name)
    asked = 0
    for index in indexes(ways["official on official"](name)):
        got = normal(question(dataset, index), "rerun_segment_id", index)
        assert_same(got, reference(question, name, index))
        asked += 1
    assert asked


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize("name", ["demo", "howto"])
def test_static_data(ways, name, way) -> None:
    for contents in (None, "/**", "/__properties/**", ["/world/**", "/__properties/**"]):
        got, want = (
            normal(
                (d if contents is None else d.filter_contents(contents)).reader(index=None),
                "rerun_segment_id",
            )
            for d in (ways[way](name), ways["official on official"](name))
        )
        assert want.num_rows > 0
        assert_same(got, want)


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize("name", NAMES)
def test_schema_and_segments(ways, name, way) -> None:
    got, want = ways[way](name), ways["official on official"](name)
    assert sorted(got.segment_ids()) == sorted(want.segment_ids())
    # Ours sorts the timelines of all segments; a server of the other kind sends them in its own order.
    assert sorted(map(repr, got.schema())) == sorted(map(repr, want.schema()))
    ours, theirs = got.schema().to_arrow(), want.schema().to_arrow()
    assert sorted(ours.names) == sorted(theirs.names)
    assert ours.metadata == theirs.metadata
    for field in theirs:
        assert ours.field(field.name).equals(field, check_metadata=True), field.name
    for index in indexes(want):
        assert ranges(got, index) == ranges(want, index)
    for table in (lambda d: d.segment_table(),):
        ours, theirs = (
            normal(table(got), "rerun_segment_id"),
            normal(table(want), "rerun_segment_id"),
        )
        assert ours.column_names == theirs.column_names
        for column_name in ours.column_names:
            assert ours.schema.field(column_name).type == theirs.schema.field(column_name).type, (
                column_name
            )
        same = [
            n for n in ours.column_names if n not in ("rerun_last_updated_at", "rerun_size_bytes")
        ]
        assert ours.select(same).equals(theirs.select(same))


def test_the_random_recordings_are_worth_it(ways) -> None:
    """They have several layers, gaps to fill and clears somewhere; else the comparison says little."""
    filled = layered = cleared = rows = 0
    for seed in SEEDS:
        dataset = ways["official on official"](f"random_{seed}")
        layered += any(
            len(names) > 1
            for names in dataset.segment_table().to_arrow_table()["rerun_layer_names"].to_pylist()
        )
        for index in indexes(dataset):
            plain, full = (
                read(dataset, index).to_arrow_table(),
                fill(dataset, index).to_arrow_table(),
            )
            rows += plain.num_rows
            filled += sum(
                plain[n].null_count - full[n].null_count for n in component_names(dataset)
            )
            cleared += sum(v == [] for n in component_names(dataset) for v in plain[n].to_pylist())
    assert layered
    assert filled > 100
    assert cleared > 10
    assert rows > 300
