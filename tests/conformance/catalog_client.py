"""A client of a catalog with what many of these tests do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from protocol import EMPTY, Client, decode, encode_schema, joined, pb
from small_recordings import Source


class Catalog(Client):
    """A client of an empty catalog, with what many tests do."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url.rsplit("//", 1)[1])
        self.url = url
        self.folder = folder

    def create(self, name: str) -> Any:
        """A new dataset; its id."""
        return self.CreateDatasetEntry(name=name).dataset.details.id

    def details(self, dataset: Any) -> Any:
        return self.ReadDatasetEntry(entry=dataset).dataset

    def updated_at(self, dataset: Any) -> int:
        return self.details(dataset).details.updated_at.ToNanoseconds()

    def uri(self, source: Source) -> str:
        return source.write(self.folder).as_uri()

    def try_register(
        self, dataset: Any, sources: list[Source], on_duplicate: int = 3
    ) -> list[tuple[str, str, str, str]]:
        """Registers; (segment, layer, status, message) per row of the answer once its task is done."""
        data_sources = [
            pb.DataSource(storage_url=self.uri(s), layer=s.layer, typ=1) for s in sources
        ]
        return self.register_sources(dataset, data_sources, on_duplicate)

    def register_sources(
        self, dataset: Any, data_sources: list[Any], on_duplicate: int = 3
    ) -> list[tuple[str, str, str, str]]:
        answer = self.RegisterWithDataset(
            entry=dataset, data_sources=data_sources, on_duplicate=on_duplicate
        )
        rows = decode(answer.data).to_pylist()
        ids = sorted({row["rerun_task_id"] for row in rows})
        tasks: dict[str, Any] = {}
        if ids:
            done = self.QueryTasksOnCompletion(
                ids=[pb.TaskId(id=i) for i in ids], timeout=pb.Duration(seconds=20)
            )
            for row in joined(done).to_pylist():
                assert row["task_id"] not in tasks
                tasks[row["task_id"]] = row
        assert sorted(tasks) == ids
        return [
            (
                row["rerun_segment_id"],
                row["rerun_segment_layer"],
                tasks[row["rerun_task_id"]]["exec_status"],
                tasks[row["rerun_task_id"]]["msgs"] or "",
            )
            for row in rows
        ]

    def register(self, dataset: Any, sources: list[Source], on_duplicate: int = 3) -> None:
        """Registers; every source must succeed."""
        for row in self.try_register(dataset, sources, on_duplicate):
            assert row[2] == "success", row

    def dataset(self, name: str, sources: list[Source]) -> Any:
        """A new dataset with these registered by its name; its id."""
        created = self.create(name)
        self.register(name, sources)
        return created

    def unregister(self, dataset: Any, segments: list[str], layers: list[str]) -> list[Any]:
        return self.UnregisterFromDataset(
            entry=dataset,
            segments_to_drop=[pb.SegmentId(id=s) for s in segments],
            layers_to_drop=layers,
        )

    def find_all(self, dataset: Any, timeline: str = "frame_nr") -> list[Any]:
        return self.FindChunks(
            entry=dataset,
            contents={"all": EMPTY},
            range=pb.RangeSelection(timeline=timeline, segments={"all": EMPTY}, fill_mode=1),
        )

    def names(self, **filter: Any) -> list[str]:
        return sorted(e.name for e in self.FindEntries(filter=pb.EntryFilter(**filter)).entries)

    def make_table(self, name: str) -> Any:
        """A table whose storage the server chooses; its entry."""
        schema = pa.schema([pa.field("id", pa.int64(), False), pa.field("value", pa.utf8())])
        return self.CreateTableEntry(name=name, schema=encode_schema(schema)).table
