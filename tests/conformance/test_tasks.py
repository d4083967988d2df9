"""Tasks, maintenance, revisions of datasets, and uploads in parts."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from catalog_client import Catalog
from chunks import fetch, find, range_mode
from metadata import layers, segments
from protocol import decode, fields_of, joined, pb, refused
from small_recordings import COLORS, FRAME, POINTS, Source, colors, per_segment_set, points, simple

TASKS = [
    ("task_id", pa.utf8(), False),
    ("kind", pa.utf8(), True),
    ("data", pa.utf8(), True),
    ("exec_status", pa.utf8(), False),
    ("msgs", pa.utf8(), True),
    ("blob", pa.binary(), True),
    ("lease_owner", pa.utf8(), True),
    ("lease_expiration", pa.timestamp("ns"), True),
    ("attempts", pa.uint8(), False),
    ("creation_time", pa.timestamp("ns"), True),
    ("last_update_time", pa.timestamp("ns"), True),
]


def failed_task(catalog: Catalog) -> str:
    source = simple("segment", 1, ["my/entity"])
    dataset = catalog.dataset("mine", [source])
    answer = catalog.RegisterWithDataset(
        entry=dataset,
        data_sources=[pb.DataSource(storage_url=catalog.uri(source), typ=1)],
        on_duplicate=3,
    )
    (row,) = decode(answer.data).to_pylist()
    return row["rerun_task_id"]


@pytest.mark.covers("tasks")
def test_the_state_of_tasks(catalog: Catalog) -> None:
    task = failed_task(catalog)
    asked = [pb.TaskId(id=i) for i in (task, "task_unknown")]
    done = joined(catalog.QueryTasksOnCompletion(ids=asked, timeout=pb.Duration(seconds=20)))
    assert [f[:3] for f in fields_of(done.schema)] == TASKS
    states = {row["task_id"]: row for row in done.to_pylist()}
    assert len(states) == done.num_rows == 2
    assert states[task]["exec_status"] not in ("success", "pending")
    assert "already exists" in states[task]["msgs"]
    assert states["task_unknown"]["exec_status"] == "success"
    again = decode(catalog.QueryTasks(ids=[*asked, asked[0]]).data)
    assert again["task_id"].to_pylist() == [task, "task_unknown", task]
    catalog.CancelTasks(ids=asked)
    assert decode(catalog.QueryTasks(ids=asked[:1]).data)["exec_status"].to_pylist() == [
        states[task]["exec_status"]
    ]


@pytest.mark.covers("revisions")
@pytest.mark.ours("the official server has no revisions")
def test_revisions_grow_and_are_waited_for(catalog: Catalog) -> None:
    dataset = catalog.create("mine")
    before = catalog.GetDatasetSchema(entry=dataset).meta
    catalog.register(dataset, [simple("segment", 1, ["my/entity"])])
    after = catalog.GetDatasetSchema(entry=dataset).meta
    assert before.entry_id == after.entry_id == dataset
    assert 1 <= before.dataset_revision < after.dataset_revision
    first, *others = catalog.find_all(dataset)
    assert first.meta == after
    assert all(not message.HasField("meta") for message in others)

    def read(revision: str) -> Any:
        return catalog.GetDatasetSchema(
            entry=dataset, headers=[("x-rerun-dataset-revision", revision)]
        )

    assert read(str(after.dataset_revision)).meta == after
    with refused("FAILED_PRECONDITION"):
        read(str(after.dataset_revision + 1))


def merged(catalog: Catalog, dataset: Any) -> list[tuple[Any, ...]]:
    """All rows of all chunks, whatever chunk they are in."""
    frames = [message.data for message in catalog.find_all(dataset)]
    rows = []
    for batch in fetch(catalog, frames).values():
        for row in batch.to_pylist():
            cells = {k: str(v) for k, v in row.items() if v is not None}
            rows.append((batch.schema.metadata[b"rerun:entity_path"], sorted(cells.items())))
    return sorted(rows)


@pytest.mark.covers("maintenance")
@pytest.mark.ours("the official server answers UNIMPLEMENTED")
def test_maintenance_changes_no_value(catalog: Catalog, tmp_path: Path) -> None:
    source = Source("segment", 1)
    for i in range(50):
        source.chunk("my/entity", {FRAME: [i]}, {POINTS: points(i), COLORS: colors(i)})
    dataset = catalog.dataset("mine", [source])
    path = source.write(catalog.folder)
    original = path.read_bytes()
    before = merged(catalog, dataset)
    assert catalog.DoMaintenance(entry=dataset).report == ""
    assert segments(catalog, dataset) == [("segment", ["base"], 50)]
    report = catalog.DoMaintenance(entry=dataset, compact_fragments=True).report
    assert report
    assert merged(catalog, dataset) == before
    ((_, _, chunks),) = segments(catalog, dataset)
    assert chunks < 50
    assert layers(catalog, dataset) == [("segment", "base")]
    assert path.read_bytes() == original
    with refused("NOT_FOUND"):
        catalog.DoMaintenance(entry="nothing", compact_fragments=True)
    catalog.DoGlobalMaintenance()


@pytest.mark.covers("unregister_is_a_task")
def test_unregistering_ends_before_its_task_does(catalog: Catalog) -> None:
    dataset = catalog.dataset("mine", per_segment_set(1))
    answer = catalog.UnregisterFromDataset(
        entry=dataset, segments_to_drop=[pb.SegmentId(id="seg1")], force=True
    )
    for message in answer:
        catalog.QueryTasksOnCompletion(ids=[message.task_id], timeout=pb.Duration(seconds=20))
    assert [s for s, _, _ in segments(catalog, dataset)] == ["seg2", "seg3"]
    found = find(catalog, dataset, range_mode())
    assert set(found["chunk_segment_id"].to_pylist()) == {"seg2", "seg3"}


# --- uploads in parts


def put(catalog: Catalog, asked: Any, data: bytes) -> str:
    origin = "http://" + catalog.url.split("://", 1)[1]
    address = origin + asked.url if asked.same_origin else asked.url
    request = urllib.request.Request(address, data, method=asked.method)
    for header in asked.headers:
        request.add_header(header.name, header.value)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers.get("ETag") or ""


@pytest.mark.covers("uploads_in_parts")
@pytest.mark.ours("the official server takes uploads in one request only")
def test_an_upload_in_parts(catalog: Catalog, tmp_path: Path) -> None:
    source = Source("segment", 1)
    source.chunk("my/entity", {FRAME: [1]}, {POINTS: points(1)})
    data = source.write(tmp_path).read_bytes()
    answer = catalog.GetWriteAccessGrant(
        key="a.rrd", supported_upload_methods=[2], size_bytes=len(data)
    )
    asked = answer.grant.multipart_request
    assert asked.upload_token
    assert asked.part_size_bytes > 0
    size = asked.part_size_bytes
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    grants = catalog.GetMultipartUploadPartGrants(
        upload_token=asked.upload_token, part_numbers=list(range(1, len(pieces) + 1))
    ).requests
    parts = [
        pb.UploadedPart(part_number=n, etag=put(catalog, grant, piece))
        for n, (grant, piece) in enumerate(zip(grants, pieces, strict=True), start=1)
    ]
    dataset = catalog.create("mine")
    url = [pb.DataSource(storage_url=answer.storage_url, typ=1)]
    with refused("NOT_FOUND"):
        catalog.register_sources(dataset, url)  # not there before it is whole
    for _ in range(2):  # and again, in case the answer got lost
        catalog.CompleteMultipartUpload(upload_token=asked.upload_token, parts=parts)
    rows = catalog.register_sources(dataset, url)
    assert [(row[0], row[2]) for row in rows] == [("segment", "success")]
    with refused("ALREADY_EXISTS"):
        catalog.GetWriteAccessGrant(key="a.rrd", supported_upload_methods=[2])


@pytest.mark.covers("uploads_in_parts")
@pytest.mark.ours("the official server takes uploads in one request only")
def test_an_upload_that_is_given_up(catalog: Catalog) -> None:
    answer = catalog.GetWriteAccessGrant(key="a.rrd", supported_upload_methods=[2])
    token = answer.grant.multipart_request.upload_token
    for _ in range(2):
        catalog.AbortMultipartUpload(upload_token=token)
    with refused("NOT_FOUND|INVALID_ARGUMENT|FAILED_PRECONDITION|ABORTED"):
        catalog.CompleteMultipartUpload(
            upload_token=token, parts=[pb.UploadedPart(part_number=1, etag="x")]
        )
    assert catalog.GetWriteAccessGrant(key="a.rrd").storage_url
    assert time.time() < answer.grant.expires_at.seconds
