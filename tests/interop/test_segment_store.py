"""Segments chunk by chunk: both clients on both servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rushes

official = pytest.importorskip("rerun")

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "recordings" / "demo"
HOWTO = ROOT / "recordings" / "howto"


@pytest.fixture(scope="module")
def urls() -> Iterator[list[str]]:
    """Our server and the official one, with the same recordings."""
    paths = {"demo": DEMO, "howto": HOWTO}
    with (
        rushes.server.Server(datasets=paths) as ours,
        official.server.Server(host="127.0.0.1", datasets=paths) as theirs,
    ):
        yield [ours.url(), theirs.url()]


def chunks(store: Any) -> dict[str, Any]:
    return {chunk.id: chunk.to_record_batch() for chunk in store.stream()}


@pytest.mark.parametrize("name", ["demo", "howto"])
def test_segments_are_the_same_chunks_everywhere(urls: list[str], name: str) -> None:
    reference = official.catalog.CatalogClient(urls[1]).get_dataset(name)
    for segment in reference.segment_ids():
        expected = reference.segment_store(segment)
        expected_chunks = chunks(expected)
        for url in urls:
            for package in (rushes, official):
                store = package.catalog.CatalogClient(url).get_dataset(name).segment_store(segment)
                where = f"{package.__name__} on {url}"
                assert len(store) == len(expected), where
                # Chunks of one entity are ordered by what the file says, which theirs does not keep.
                assert sorted(store.summary().split("\n")) == sorted(
                    expected.summary().split("\n")
                ), where
                assert store.schema().column_names() == expected.schema().column_names(), where
                got = chunks(store)
                assert got.keys() == expected_chunks.keys(), where
                for id, batch in got.items():
                    assert batch.equals(expected_chunks[id]), f"{where}: {id}"


def test_content_filters_keep_the_same(urls: list[str]) -> None:
    for criteria in (
        {"content": "/world/**"},
        {"content": ["/**", "-/joints/**"], "is_static": False},
        {"content": "/__properties/**"},
        {"has_timeline": "log_time"},
        {"is_static": True},
    ):
        answers = []
        for package in (rushes, official):
            dataset = package.catalog.CatalogClient(urls[0]).get_dataset("demo")
            store = dataset.segment_store("episode_000")
            answers.append(
                [
                    sorted(chunk.id for chunk in getattr(store.stream(), how)(**criteria))
                    for how in ("filter", "drop")
                ]
            )
        assert answers[0] == answers[1], criteria
        assert all(answers[0]), criteria


def test_the_official_reader_opens_what_we_write(urls: list[str], tmp_path: Path) -> None:
    store = rushes.catalog.CatalogClient(urls[1]).get_dataset("demo").segment_store("episode_001")
    store.write_rrd(tmp_path / "copy.rrd", application_id="app", recording_id="copy")
    reader = official.chunk.RrdReader(tmp_path / "copy.rrd")
    [recording] = reader.recordings()
    assert (recording.application_id, recording.recording_id) == ("app", "copy")
    written = reader.store()
    assert sorted(written.summary().split("\n")) == sorted(store.summary().split("\n"))
    assert chunks(written).keys() == chunks(store).keys()
