"""Uploads, blueprints, assets and maintenance: the official client against our server, ours against the official one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

official = pytest.importorskip("rerun")
from rerun.catalog import AlreadyExistsError as OfficialAlreadyExistsError  # noqa: E402
from rerun.catalog import CatalogClient as OfficialClient  # noqa: E402

import rushes  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "recordings" / "howto" / "recording_001.rrd"
BLUEPRINT = ROOT / "tests" / "data" / "sdk_0.41" / "blueprint.rbl"


@pytest.fixture(scope="module")
def official_server() -> Iterator[Any]:
    with official.server.Server(host="127.0.0.1") as server:
        yield server


@pytest.fixture(params=["theirs at ours", "ours at theirs", "ours at ours"])
def client(
    request: pytest.FixtureRequest, serve: Callable[..., Any], official_server: Any
) -> Iterator[Any]:
    """The same calls work whoever asks whom."""
    if request.param == "ours at theirs":
        client: Any = rushes.catalog.CatalogClient(official_server.url())
    elif request.param == "ours at ours":
        client = rushes.catalog.CatalogClient(serve().url)
    else:
        client = OfficialClient(serve().url)
    yield client
    for dataset in client.datasets():
        dataset.delete()


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("assets") / "robot.rrd"
    stream = official.RecordingStream("rushes_tests", recording_id="robot", send_properties=False)
    stream.save(str(path))
    stream.log("robot/shape", official.Points3D([[1, 2, 3]]), static=True)
    stream.flush()
    stream.disconnect()
    return path


def test_stage(client: Any, request: pytest.FixtureRequest) -> None:
    # The official server lives for the whole module: keys are used once.
    prefix = f"{abs(hash(request.node.name)):x}"
    url = client.stage(HOWTO, key=f"{prefix}/one.rrd")
    assert Path(url.removeprefix("file://")).read_bytes() == HOWTO.read_bytes()
    dataset = client.create_dataset("uploaded")
    assert dataset.register([url]).wait().segment_ids == ["recording_001"]
    frame = dataset.filter_contents("/**").reader(index=None)
    assert frame.to_arrow_table().num_rows == 1
    assert client.stage(b"bytes", key=f"{prefix}/bytes").endswith(f"{prefix}/bytes")
    with pytest.raises((rushes.catalog.AlreadyExistsError, OfficialAlreadyExistsError)):
        client.stage(b"bytes", key=f"{prefix}/bytes")
    for key in ("", "/a", "../a"):
        with pytest.raises(ValueError, match="invalid object key"):
            client.stage(b"x", key=key)
    with pytest.raises(OSError, match="missing"):
        client.stage(HOWTO.with_name("missing.rrd"), key=f"{prefix}/missing")


def test_blueprints(client: Any) -> None:
    dataset = client.create_dataset("d")
    assert dataset.blueprints() == []
    assert dataset.default_blueprint() is None
    dataset.register_blueprint(BLUEPRINT.as_uri())
    [blueprint] = dataset.blueprints()
    assert dataset.default_blueprint() == blueprint
    dataset.register_blueprint(BLUEPRINT.as_uri(), segment_table=True)
    assert dataset.default_segment_table_blueprint() == blueprint
    assert dataset.default_blueprint() == blueprint
    dataset.set_default_blueprint(None)
    assert dataset.default_blueprint() is None
    dataset.set_default_segment_table_blueprint(None)
    assert dataset.default_segment_table_blueprint() is None
    assert dataset.blueprint_dataset().name.startswith("__bp_")
    with pytest.raises(IndexError):
        dataset.register_blueprint(HOWTO.as_uri())


def test_assets(client: Any, asset: Path) -> None:
    dataset = client.create_dataset("d")
    dataset.register([HOWTO.as_uri()]).wait()
    assert dataset.assets() == []
    assert dataset.register_asset(asset.as_uri()) == "robot"
    assert dataset.register_asset(asset.as_uri()) == "robot"
    assert dataset.assets_for_segment("recording_001") == ["robot"]
    dataset.remove_segments_from_asset("robot", ["recording_001"])
    assert dataset.assets_for_segment("recording_001") == []
    assert dataset.assets_for_segment("other") == ["robot"]
    dataset.add_segments_to_asset("robot", ["recording_001"])
    assert dataset.assets_for_segment("recording_001") == ["robot"]
    dataset.register_asset(asset.as_uri(), mode="opt_in", segments=["other"])
    assert dataset.assets_for_segment("recording_001") == []
    dataset.add_segments_to_asset("robot", ["recording_001"])
    assert dataset.assets_for_segment("recording_001") == ["robot"]

    segment = dataset.segment("recording_001")
    own = {column.name for column in segment.schema().component_columns()}
    both = {column.name for column in segment.schema(include_assets=True).component_columns()}
    assert both - own == {"/robot/shape:Points3D:positions"}

    dataset.asset_dataset().delete_segment_properties(["robot"])
    assert dataset.assets_for_segment("anything") == ["robot"]
    with pytest.raises(ValueError, match="static"):
        dataset.register_asset(HOWTO.as_uri())
    dataset.unregister_asset("robot")
    dataset.unregister_asset("robot")
    assert dataset.assets() == []
    with pytest.raises(KeyError):
        dataset.register_asset(asset.as_uri(), mode="sometimes")


def test_edits_of_both_clients(serve: Callable[..., Any], asset: Path) -> None:
    """One client goes on where the other stopped."""
    url = serve().url
    theirs, ours = OfficialClient(url), rushes.catalog.CatalogClient(url)
    theirs.create_dataset("d").register_asset(asset.as_uri(), segments=["a"])
    ours.get_dataset("d").remove_segments_from_asset("robot", ["b"])
    theirs.get_dataset("d").remove_segments_from_asset("robot", ["c"])
    ours.get_dataset("d").add_segments_to_asset("robot", ["a"])
    for dataset in (theirs.get_dataset("d"), ours.get_dataset("d")):
        assert [s for s in "abcd" if dataset.assets_for_segment(s) == []] == ["b", "c"]


def test_compaction_does_not_show_to_the_official_client(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "fragments.rrd"
    stream = official.RecordingStream("rushes_tests", recording_id="fragments")
    stream.save(str(path))
    for i in range(60):
        for entity in ("a", "b/c"):
            stream.send_columns(
                entity,
                indexes=[official.TimeColumn("frame", sequence=[2 * i])],
                columns=official.Scalars.columns(scalars=[float(i)]),
            )
    stream.flush()
    stream.disconnect()
    client = OfficialClient(serve().url)
    dataset = client.create_dataset("d")
    dataset.register([path.as_uri()]).wait()

    def tables() -> list[pa.Table]:
        columns = sorted(dataset.reader(index="frame").schema().names)
        return [
            dataset.reader(index="frame", fill_latest_at=fill)
            .select(*[f'"{name}"' for name in columns])
            .sort("frame")
            .to_arrow_table()
            .combine_chunks()
            for fill in (False, True)
        ]

    before = tables()
    assert before[0].num_rows == 60
    chunks = dataset.segment_table().to_pydict()["rerun_num_chunks"][0]
    dataset.do_maintenance(compact_fragments=True)
    assert dataset.segment_table().to_pydict()["rerun_num_chunks"][0] < chunks / 4
    for old, new in zip(before, tables(), strict=True):
        assert new.equals(old)
    # The new file is one that the official server reads as well.
    store = dataset.segment_store("fragments")
    assert store is not None
    client.do_global_maintenance()
    with pytest.raises(ValueError, match="one hour ago"):
        from datetime import UTC, datetime

        dataset.do_maintenance(cleanup_before=datetime.now(UTC))


def test_a_cancelled_task_and_a_timeout_are_understood(serve: Callable[..., Any]) -> None:
    """The official client waits for a registration of ours that is slow."""
    client = OfficialClient(serve().url)
    dataset = client.create_dataset("d")
    operation = dataset.register([HOWTO.as_uri()])
    assert operation.wait(timeout_secs=10).segment_ids == ["recording_001"]
    operation.cancel()
    dataset.unregister(segments_to_drop=["recording_001"], layers_to_drop=[], force=True).wait()
    assert dataset.segment_ids() == []
