"""Blueprints and assets through a package; both clients, a server in this process and another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rerun as rr
import rerun.blueprint as rrb
from package_data import catalog_module


def blueprint_file(folder: Path, name: str) -> str:
    path = folder / f"{name}.rbl"
    rrb.Blueprint(rrb.Spatial2DView(origin=f"/{name}")).save("rushes_conformance", path)
    return path.as_uri()


@pytest.mark.covers("test_configure_blueprint_dataset")
@pytest.mark.covers("test_reregister_same_blueprint")
@pytest.mark.covers("draft/test_dataset_blueprints")
def test_default_blueprints(client: Any, tmp_path: Path) -> None:
    dataset = client.create_dataset("mine")
    assert dataset.blueprints() == []
    assert dataset.default_blueprint() is None
    one, two = (blueprint_file(tmp_path, name) for name in ("one", "two"))
    dataset.register_blueprint(one)
    (first,) = dataset.blueprints()
    assert dataset.default_blueprint() == first
    dataset.register_blueprint(two, set_default=False)
    assert len(dataset.blueprints()) == 2
    assert dataset.default_blueprint() == first
    (second,) = [name for name in dataset.blueprints() if name != first]
    dataset.set_default_blueprint(second)
    assert dataset.default_blueprint() == second
    dataset.register_blueprint(one)
    assert len(dataset.blueprints()) == 2


@pytest.mark.covers("test_dataset_default_blueprint_rejects_deleted_blueprint_dataset")
def test_a_default_of_deleted_blueprints(client: Any) -> None:
    dataset = client.create_dataset("mine")
    dataset.blueprint_dataset().delete()
    with pytest.raises(ValueError, match="dataset blueprint dataset does not exist"):
        dataset.set_default_blueprint("anything")


def asset_file(folder: Path, name: str, segment: str) -> str:
    path = folder / f"{name}.rrd"
    with rr.RecordingStream(
        "rushes_conformance", recording_id=segment, send_properties=False
    ) as stream:
        stream.save(str(path))
        stream.log("mesh", rr.TextDocument(name), static=True)
    return path.as_uri()


@pytest.mark.covers("test_register_asset_appears_in_asset_dataset")
@pytest.mark.covers("test_register_asset_replaces_duplicate")
@pytest.mark.covers("test_unregister_asset_removes_it_from_asset_dataset")
@pytest.mark.covers("test_unregister_unknown_asset_is_noop")
def test_assets(client: Any, tmp_path: Path) -> None:
    dataset = client.create_dataset("mine")
    assert dataset.asset_dataset().segment_ids() == []
    assert dataset.register_asset(asset_file(tmp_path, "first", "mesh")) == "mesh"
    assert dataset.asset_dataset().segment_ids() == ["mesh"]
    assert dataset.register_asset(asset_file(tmp_path, "second", "mesh")) == "mesh"
    assert dataset.asset_dataset().segment_ids() == ["mesh"]
    dataset.unregister_asset("unknown")
    assert dataset.assets() == ["mesh"]
    dataset.unregister_asset("mesh")
    assert dataset.asset_dataset().segment_ids() == []
    dataset.unregister_asset("mesh")


@pytest.mark.covers("test_deleting_dataset_deletes_asset_dataset")
def test_assets_go_with_their_dataset(client: Any) -> None:
    dataset = client.create_dataset("mine")
    assets = dataset.asset_dataset()
    assert assets.kind == catalog_module(client).EntryKind.ASSET_DATASET
    dataset.delete()
    with pytest.raises(catalog_module(client).NotFoundError):
        client.get_dataset(id=assets.id)
    assert client.entry_names(include_hidden=True) == ["__entries"]
