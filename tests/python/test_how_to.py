"""Each row of the how-to's acceptance table, with our import and no warning."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import rushes as rr

ROOT = Path(__file__).resolve().parents[2]
TEMPERATURE = "/sensors/temp:Scalars:scalars"
POSITIONS = "/world/robot:Position3D:positions"
WORLD = "/world:ViewCoordinates:xyz"

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def dataset(howto_files: list[Path]) -> Iterator[rr.catalog.DatasetEntry]:
    with rr.server.Server(datasets={"my_dataset": howto_files}) as server:
        yield server.client().get_dataset("my_dataset")


def test_row_01_server_client_dataset(howto_files: list[Path]) -> None:
    with rr.server.Server(datasets={"my_dataset": [str(howto_files[0])]}) as server:
        client = server.client()
        dataset = client.get_dataset("my_dataset")
        assert repr(client) == f"CatalogClient({server.url()})"
        assert repr(dataset) == "Entry(EntryKind.DATASET, 'my_dataset')"
        assert server.url().startswith("rerun+http://127.0.0.1:")


def test_row_02_lists_and_directories(howto_files: list[Path], tmp_path: Path) -> None:
    shutil.copy(howto_files[0], tmp_path / "UPPER.RRD")
    (tmp_path / "below").mkdir()
    shutil.copy(howto_files[1], tmp_path / "below" / "not_a_child.rrd")
    (tmp_path / "notes.txt").write_text("no recording")
    with rr.server.Server(datasets={"dataset1": howto_files, "dataset2": str(tmp_path)}) as server:
        client = server.client()
        assert sorted(client.dataset_names()) == ["dataset1", "dataset2"]
        assert client.get_dataset("dataset2").segment_ids() == ["recording_001"]


def test_row_03_segments_are_recordings(dataset: rr.catalog.DatasetEntry) -> None:
    assert sorted(dataset.segment_ids()) == ["recording_001", "recording_002"]


def test_row_04_address() -> None:
    server = rr.server.Server()
    assert server.address() == server.url()
    assert server.address().startswith("rerun+http://127.0.0.1:")


def test_row_05_connect_to_addresses(howto_files: list[Path]) -> None:
    with rr.server.Server(datasets={"d": howto_files}) as server:
        port = server.url().rsplit(":", 1)[1]
        for address in (
            server.url(),
            f"localhost:{port}",
            f"127.0.0.1:{port}",
            f"http://127.0.0.1:{port}",
        ):
            assert rr.catalog.CatalogClient(address).dataset_names() == ["d"]


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "rerun+http://localhost"])
def test_row_05_a_local_address_without_port_is_51234(
    address: str, howto_files: list[Path]
) -> None:
    try:
        server = rr.server.Server(port=51234, datasets={"d": howto_files})
    except ValueError:
        pytest.skip("port 51234 is in use on this machine")
    with server:
        client = rr.catalog.CatalogClient(address)
        assert client.dataset_names() == ["d"]
        assert client.url.endswith(":51234")


def test_row_06_create_dataset(client: rr.catalog.CatalogClient) -> None:
    dataset = client.create_dataset(
        name="oss_demo",
    )
    assert isinstance(dataset, rr.catalog.DatasetEntry)
    with pytest.raises(rr.catalog.AlreadyExistsError, match="oss_demo"):
        client.create_dataset(name="oss_demo")
    assert client.create_dataset("oss_demo", exist_ok=True) == dataset


def test_row_07_register(client: rr.catalog.CatalogClient, howto_files: list[Path]) -> None:
    first, second = howto_files
    expected = "RegistrationResult(segment_ids=['recording_001'])"
    as_url = client.create_dataset("url").register(first.resolve().as_uri()).wait()
    assert repr(as_url) == expected
    assert repr(client.create_dataset("path").register(first).wait()) == expected
    assert repr(client.create_dataset("text").register(str(first)).wait()) == expected
    several = client.create_dataset("list").register([first.as_uri(), second]).wait()
    assert several.segment_ids == ["recording_001", "recording_002"]


@pytest.mark.parametrize("viewer", [False, True])
def test_row_08_connect_command(viewer: bool, howto_files: list[Path], tmp_path: Path) -> None:
    with rr.server.Server(datasets={"my_dataset": howto_files}) as server:
        address = "localhost:" + server.url().rsplit(":", 1)[1]
        path = os.environ["PATH"] if viewer else str(tmp_path)
        environment = {
            k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")
        }
        done = subprocess.run(
            [sys.executable, "-m", "rushes", "connect", address],
            capture_output=True,
            text=True,
            timeout=60,
            env={**environment, "PATH": path},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "my_dataset" in done.stdout


def test_row_10_schema(dataset: rr.catalog.DatasetEntry) -> None:
    schema = dataset.schema()
    assert isinstance(schema, rr.catalog.Schema)
    assert repr(schema.index_columns()) == "[Index(timeline:frame_nr), Index(timeline:log_time)]"
    names = [column.name for column in schema.component_columns()]
    assert names == [TEMPERATURE, WORLD, POSITIONS, "property:RecordingInfo:start_time"]


def test_row_11_reader(dataset: rr.catalog.DatasetEntry) -> None:
    import datafusion

    df = dataset.reader(index="frame_nr")
    assert isinstance(df, datafusion.DataFrame)
    assert set(df.schema().names) == {
        "rerun_segment_id",
        "log_time",
        "frame_nr",
        TEMPERATURE,
        WORLD,
        POSITIONS,
    }
    text = repr(df)
    assert text.startswith("┌─")
    for part in (
        "* version: 0.1.4",
        "type: non-null Utf8",
        "archetype: Scalars",
        "is_static: true",
        "[[0.0, 0.5, 1.0]]",
    ):
        assert part in text
    assert "<strong>frame_nr</strong>" in df._repr_html_()


def test_row_12_one_row_per_index_value_and_segment(dataset: rr.catalog.DatasetEntry) -> None:
    table = dataset.reader(index="frame_nr").to_arrow_table()
    assert table.num_rows == 8
    assert table["frame_nr"].to_pylist() == [0, 1, 2, 3, 100, 101, 102, 103]
    assert table[TEMPERATURE].to_pylist() == [[20.0], None, [22.0], None] * 2


def test_row_13_index_none(dataset: rr.catalog.DatasetEntry) -> None:
    table = dataset.reader(index=None).to_arrow_table()
    assert table["rerun_segment_id"].to_pylist() == ["recording_001", "recording_002"]
    assert table["frame_nr"].null_count == table["log_time"].null_count == 2
    assert table[WORLD].to_pylist() == [[[3, 5, 1]]] * 2
    assert TEMPERATURE not in table.column_names


def test_row_14_fill(dataset: rr.catalog.DatasetEntry) -> None:
    table = dataset.reader(index="frame_nr", fill_latest_at=True).to_arrow_table()
    assert table[TEMPERATURE].to_pylist() == [[20.0], [20.0], [22.0], [22.0]] * 2


def test_row_15_selections(dataset: rr.catalog.DatasetEntry) -> None:
    view = dataset.filter_contents(["/world/robot/**"]).filter_segments(
        ["recording_001", "unknown"]
    )
    assert isinstance(view, rr.catalog.DatasetSelection)
    assert (
        repr(view)
        == "DatasetSelection(Entry(EntryKind.DATASET, 'my_dataset'), 2 segments, content_filters=['+ /world/robot/**'])"
    )
    assert view.segment_ids() == ["recording_001"]
    assert repr(dataset.filter_segments([])) == (
        "DatasetSelection(Entry(EntryKind.DATASET, 'my_dataset'), 0 segments, no content filter)"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert rr.catalog.DatasetView is rr.catalog.DatasetSelection
    assert [w.category for w in caught] == [DeprecationWarning]


def test_row_16_selection_reader(dataset: rr.catalog.DatasetEntry) -> None:
    dataset_view = dataset.filter_segments(["recording_001"]).filter_contents(["/world/robot/**"])
    df = dataset_view.reader(index="frame_nr")
    assert set(df.schema().names) == {"rerun_segment_id", "log_time", "frame_nr", POSITIONS}
    assert df.count() == 4
    assert "recording_001" in repr(df)


def test_row_17_datafusion(dataset: rr.catalog.DatasetEntry) -> None:
    from datafusion import col

    df = dataset.reader(index="frame_nr")
    df = df.filter(col("frame_nr") >= 0).filter(col("frame_nr") <= 100)
    df = df.filter(col(POSITIONS).is_not_null())
    result = df.select("frame_nr", POSITIONS).to_pydict()
    assert result["frame_nr"] == [0, 1, 2, 3, 100]
    assert result[POSITIONS][0] == [[0.0, 0.5, 1.0]]


def test_row_18_arrow(dataset: rr.catalog.DatasetEntry) -> None:
    table = dataset.reader(index="frame_nr").to_arrow_table()
    assert isinstance(table, pa.Table)
    assert table.schema.metadata == {b"sorbet:version": b"0.1.4"}
    assert table.schema.field("frame_nr").metadata[b"rerun:kind"] == b"index"
    assert table.schema.field(TEMPERATURE).metadata[b"rerun:entity_path"] == b"/sensors/temp"
    assert not table.schema.field("rerun_segment_id").nullable


def test_row_19_pandas(dataset: rr.catalog.DatasetEntry) -> None:
    pytest.importorskip("pandas")
    frame = dataset.reader(index="frame_nr").to_pandas()
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert types["rerun_segment_id"] in ("str", "object")
    assert types["log_time"] == "datetime64[ns]"
    assert types["frame_nr"] == "int64"
    assert types[POSITIONS] == "object"


def test_row_20_polars(dataset: rr.catalog.DatasetEntry) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.from_arrow(dataset.reader(index="frame_nr").to_arrow_table())
    assert frame.schema[POSITIONS] == pl.List(pl.Array(pl.Float32, 3))
    assert frame.schema["log_time"] == pl.Datetime("ns")


def test_row_21_duckdb(dataset: rr.catalog.DatasetEntry) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = dataset.reader(index="frame_nr").to_arrow_table()
    types = dict(zip(duckdb.arrow(table).columns, map(str, duckdb.arrow(table).types), strict=True))
    assert types["rerun_segment_id"] == "VARCHAR"
    assert types["log_time"] == "TIMESTAMP_NS"
    assert types["frame_nr"] == "BIGINT"
    assert types[POSITIONS] == "FLOAT[3][]"
    assert len(duckdb.arrow(dataset.reader(index="frame_nr")).fetchall()) == 8


def test_the_example_runs_without_the_official_package() -> None:
    script = ROOT / "examples" / "how_to.py"
    guard = (
        "import runpy, sys\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('rerun', 'rerun_bindings'): raise ImportError('rerun is not for the how-to')\n"
        "sys.meta_path.insert(0, Guard())\n"
        f"sys.argv = [{str(script)!r}]\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", guard], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all snippets ran" in done.stdout
    assert "FAILED" not in done.stdout
