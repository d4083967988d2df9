"""Staging of files: what may be asked for, what is stored, and that storing registers nothing."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from catalog_client import Catalog
from metadata import segments
from package_data import SEGMENTS, catalog_module
from protocol import pb, refused
from small_recordings import simple


def put(catalog: Catalog, grant: Any, data: bytes, headers: dict[str, str] | None = None) -> int:
    """Redeems a grant; the HTTP status."""
    asked = grant.http_request
    assert asked.method == "PUT"
    origin = "http://" + catalog.url.split("://", 1)[1]
    address = origin + asked.url if asked.same_origin else asked.url
    request = urllib.request.Request(address, data, method="PUT")
    sent = {h.name: h.value for h in asked.headers} if headers is None else headers
    for name, value in sent.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.covers("test_staging")
def test_staged_files_are_registered_by_their_url(catalog: Catalog, tmp_path: Path) -> None:
    data = simple("segment", 1, ["my/entity"]).write(tmp_path).read_bytes()
    answer = catalog.GetWriteAccessGrant(key="some/where/a.rrd")
    assert answer.grant.expires_at.seconds > 0
    assert put(catalog, answer.grant, data, headers={}) == 403
    assert put(catalog, answer.grant, data) == 200
    dataset = catalog.create("mine")
    assert segments(catalog, dataset) == []
    rows = catalog.register_sources(dataset, [pb.DataSource(storage_url=answer.storage_url, typ=1)])
    assert [(row[0], row[2]) for row in rows] == [("segment", "success")]
    with refused("ALREADY_EXISTS"):
        catalog.GetWriteAccessGrant(key="some/where/a.rrd")


@pytest.mark.covers("test_staging")
def test_one_key_is_stored_once(catalog: Catalog) -> None:
    grants = [catalog.GetWriteAccessGrant(key="a.rrd").grant for _ in range(2)]
    assert [put(catalog, grant, b"bytes") for grant in grants] == [200, 412]


@pytest.mark.covers("test_staging")
@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "a/../b", "a/.b", "a/b.", "ä", "a b", "x" * 256]
)
def test_keys_that_are_none(catalog: Catalog, key: str) -> None:
    with refused("INVALID_ARGUMENT", "invalid object key"):
        catalog.GetWriteAccessGrant(key=key)


@pytest.mark.covers("test_staging")
def test_stage(client: Any, recordings: list[Path], tmp_path: Path) -> None:
    data = recordings[0].read_bytes()
    dataset = client.create_dataset("mine")
    for key, source in (
        ("text.rrd", str(recordings[0])),
        ("path.rrd", recordings[0]),
        ("bytes.rrd", data),
    ):
        url = client.stage(source, key=key)
        assert client.create_dataset(key).register([url]).wait().segment_ids == SEGMENTS[:1]
    assert dataset.segment_ids() == []
    with pytest.raises(catalog_module(client).AlreadyExistsError):
        client.stage(data, key="bytes.rrd")
    with pytest.raises(ValueError, match="invalid object key"):
        client.stage(data, key="../a.rrd")
    with pytest.raises(OSError):
        client.stage(tmp_path / "missing.rrd", key="missing.rrd")
