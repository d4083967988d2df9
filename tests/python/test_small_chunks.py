"""Recordings of many small chunks and segments, over the network and in process: the same rows, whichever chunks were joined or brought
together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

import rushes as rr

SEGMENTS = 90
A, B, TEXT = "/arm:State:a", "/arm:State:b", "/note:Note:text"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chunks of 1 to 6 rows: of two shapes in turns, some of which overlap in time or come out of order, text, and static values."""
    sdk = pytest.importorskip("rerun")
    random = np.random.default_rng(7)
    folder = tmp_path_factory.mktemp("small_chunks")

    def send(
        stream: Any, entity: str, archetype: str, frames: list[int], **values: list[Any]
    ) -> None:
        columns = sdk.DynamicArchetype.columns(archetype=archetype, components=values)
        stream.send_columns(entity, [sdk.TimeColumn("frame", sequence=frames)], columns)

    for segment in range(SEGMENTS):
        with sdk.RecordingStream("rushes_tests", recording_id=f"segment_{segment:03}") as stream:
            stream.save(folder / f"{segment:03}.rrd")
            at = 0
            for chunk in range(1 + segment % 40):
                frames = [at + i for i in range(1 + int(random.integers(6)))]
                numbers = [float(1000 * segment + frame) for frame in frames]
                if chunk % 3 == 2:
                    send(stream, "/arm", "State", frames, b=numbers)
                else:
                    send(stream, "/arm", "State", frames, a=numbers, b=numbers)
                if chunk % 4 == 1:
                    send(stream, "/note", "Note", frames, text=[f"{segment} {f}" for f in frames])
                # Now and then back in time.
                at = max(0, frames[-1] + 1 - (3 if chunk % 7 == 3 else 0))
            if segment % 2:
                stream.log(
                    "/robot", sdk.DynamicArchetype("Robot", components={"name": ["r"]}), static=True
                )
    return folder


@pytest.fixture(scope="module")
def remote(folder: Path) -> Iterator[rr.catalog.DatasetEntry]:
    with rr.server.Server(datasets={"d": folder}) as server:
        yield rr.catalog.CatalogClient(server.url()).get_dataset("d")


@pytest.fixture(scope="module")
def local(folder: Path) -> Any:
    return rr.open_recordings(folder)


READS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "everything": ({}, {}),
    "filled": ({"fill_latest_at": True}, {}),
    "some columns": ({}, {"columns": ["rerun_segment_id", "frame", A]}),
    "a range": ({}, {"filter": (pc.field("frame") >= 10) & (pc.field("frame") < 30)}),
    "a range, filled": ({"fill_latest_at": True}, {"filter": pc.field("frame") >= 40}),
    "not null": ({}, {"columns": ["frame", TEXT], "filter": pc.field(TEXT).is_valid()}),
    "a value": ({}, {"filter": pc.list_element(pc.field(B), 0) == 45_003.0}),
    "row ids and origins": (
        {"fill_latest_at": True, "include_row_ids": True, "include_origin_times": True},
        {},
    ),
}


@pytest.mark.parametrize("name", ["everything", "filled"])
def test_all_entities_by_name(name: str, local: Any) -> None:
    """Then each chunk is looked at before groups of them are found; without names groups are found at once."""
    options, _ = READS[name]
    everything = local.scan("frame", **options)
    named = local.filter_contents(["/arm", "/note", "/robot"]).scan("frame", **options)
    for _ in range(2):  # text dissolves its groups when they are first read
        assert named.to_table().equals(everything.to_table())
        assert named.statistics == everything.statistics
    assert everything.statistics.chunks_found > 2 * SEGMENTS


@pytest.mark.parametrize("name", READS)
def test_the_network_gives_the_same_rows(
    name: str, remote: rr.catalog.DatasetEntry, local: Any
) -> None:
    options, read = READS[name]
    expected = local.scan("frame", **options).to_table(**read)
    assert expected.num_rows > 0
    assert remote.scan("frame", **options).to_table(**read).equals(expected)


def test_static_values_and_limits(remote: rr.catalog.DatasetEntry, local: Any) -> None:
    assert remote.scan(None).to_table().equals(local.scan(None).to_table())
    everything = local.scan("frame").to_table()
    assert remote.scan("frame").head(700).equals(everything.slice(0, 700))
    assert remote.scan("frame").count_rows() == everything.num_rows


def test_a_tight_budget_joins_nothing(remote: rr.catalog.DatasetEntry, local: Any) -> None:
    expected = local.scan("frame").to_table()
    assert remote.scan("frame", memory_budget=1 << 20).to_table().equals(expected)
