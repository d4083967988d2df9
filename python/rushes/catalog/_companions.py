"""Blueprints, assets, properties and maintenance of a dataset."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Literal, cast

import pyarrow as pa

from rushes import _core

from ._registration import OnDuplicateSegmentLayer

if TYPE_CHECKING:
    from ._entry import DatasetEntry

_MODES = {"opt_out": "OptOut", "opt_in": "OptIn"}
_MODE = "property:asset:mode"
_SEGMENTS = "property:asset:segments"
# How often an edit is made anew that met another one.
_MOST_EDITS = 10


class Companions:
    """What :class:`DatasetEntry` has beside its own segments."""

    __slots__ = ()

    # --- blueprints: how viewers show the dataset

    def blueprint_dataset(self) -> DatasetEntry | None:
        """Return the dataset of this one's blueprints, or `None` if it has none.

        Raises
        ------
        NotFoundError
            If that dataset was deleted.

        """
        return self._companion(self._details_now().blueprint_dataset)

    def blueprints(self) -> list[str]:
        """Return the ids of the registered blueprints."""
        dataset = self.blueprint_dataset()
        return [] if dataset is None else dataset.segment_ids()

    def register_blueprint(
        self,
        uri: str | PathLike[str],
        set_default: bool = True,
        *,
        segment_table: bool = False,
        object_store_config: str | None = None,
    ) -> None:
        """Register a blueprint file (`.rbl`), in place of an earlier one of the same id, and wait until it is there.

        Parameters
        ----------
        uri
            A path or `file://` URL.
        set_default
            Let viewers use it for segments of this dataset.
        segment_table
            Let them use it for the table of segments instead.
        object_store_config
            Accepted for compatibility.

        Raises
        ------
        IndexError
            If the file holds no blueprint.
        LookupError
            If the dataset has no dataset for blueprints.

        """
        dataset = self.blueprint_dataset()
        if dataset is None:
            raise LookupError(f"a blueprint dataset is not configured for '{self._self().name}'")
        ids = dataset._register_one(uri, object_store_config)
        if not ids:
            raise IndexError(f"there is no blueprint in {uri}")
        if set_default and segment_table:
            self.set_default_segment_table_blueprint(ids[0])
        elif set_default:
            self.set_default_blueprint(ids[0])

    def default_blueprint(self) -> str | None:
        """Return the id of the blueprint that viewers use for segments."""
        return self._details_now().default_blueprint_segment

    def set_default_blueprint(self, blueprint_name: str | None) -> None:
        """Let viewers use this blueprint for segments; `None` for none. It need not be registered yet."""
        details = self._details_now()
        details.default_blueprint_segment = blueprint_name
        self._update_details(details)

    def default_segment_table_blueprint(self) -> str | None:
        """Return the id of the blueprint that viewers use for the table of segments."""
        return self._details_now().default_segment_table_blueprint_segment

    def set_default_segment_table_blueprint(self, blueprint_name: str | None) -> None:
        """Let viewers use this blueprint for the table of segments; `None` for none."""
        details = self._details_now()
        details.default_segment_table_blueprint_segment = blueprint_name
        self._update_details(details)

    # --- assets: static data that segments share

    def asset_dataset(self) -> DatasetEntry | None:
        """Return the dataset of this one's assets, or `None` if it has none."""
        return self._companion(self._details_now().asset_dataset)

    def assets(self) -> list[str]:
        """Return the segment ids of the registered assets."""
        dataset = self.asset_dataset()
        return [] if dataset is None else dataset.segment_ids()

    def assets_for_segment(self, segment_id: str) -> list[str]:
        """Return the ids of the assets that apply to a segment, which need not exist."""
        if not isinstance(segment_id, str):
            raise TypeError(f"segment_id must be a str, not {type(segment_id).__name__}")
        me = self._self()
        return me._client._connection.assets_for_segment(me._details.id, segment_id)

    def register_asset(
        self,
        uri: str | PathLike[str],
        *,
        mode: Literal["opt_out", "opt_in"] = "opt_out",
        segments: Sequence[str] | None = None,
        object_store_config: str | None = None,
    ) -> str:
        """Register a recording of static data that segments share, in place of an earlier one of the same id.

        Parameters
        ----------
        uri
            A path or `file://` URL.
        mode
            `"opt_out"`: it applies to all segments but those listed; `"opt_in"`: to those only.
        segments
            The list. The segments need not exist.
        object_store_config
            Accepted for compatibility.

        Returns
        -------
        str
            The asset's segment id.

        Raises
        ------
        ValueError
            If the recording has data on a timeline, or a limit would be exceeded (12 assets, 300 MiB each).
        IndexError
            If the file holds no recording.

        """
        kind = _MODES[mode]
        listed = _strings(segments, "segments")
        dataset = self._needed_asset_dataset()
        ids = dataset._register_one(uri, object_store_config)
        if not ids:
            raise IndexError(f"there is no recording in {uri}")
        row = {_MODE: pa.array([[kind]]), _SEGMENTS: pa.array([listed], pa.list_(pa.string()))}
        dataset._set_properties(ids[0], pa.record_batch(row), None)
        return ids[0]

    def unregister_asset(self, segment_id: str) -> None:
        """Remove an asset; nothing happens if there is none of that id."""
        dataset = self.asset_dataset()
        if dataset is not None:
            dataset.unregister(segments_to_drop=segment_id, layers_to_drop=[]).wait()

    def add_segments_to_asset(self, asset_segment_id: str, segments: str | Sequence[str]) -> None:
        """Make an asset apply to these segments too: an `"opt_in"` asset lists them, an `"opt_out"` asset no longer does."""
        self._edit_asset(asset_segment_id, _strings(segments, "segments"), applies=True)

    def remove_segments_from_asset(
        self, asset_segment_id: str, segments: str | Sequence[str]
    ) -> None:
        """Make an asset not apply to these segments any more: the counterpart of :meth:`add_segments_to_asset`."""
        self._edit_asset(asset_segment_id, _strings(segments, "segments"), applies=False)

    # --- properties that do not come from recordings

    def delete_segment_properties(self, segment_ids: str | Sequence[str]) -> None:
        """Delete the properties that were set for these segments; segments without any are ignored.

        Properties that recordings hold are not meant: they go with their layer.
        """
        me = self._self()
        ids = _strings(segment_ids, "segment_ids")
        me._client._connection.delete_properties(me._details.id, ids)

    # --- maintenance

    def do_maintenance(
        self,
        optimize_indexes: bool = False,
        retrain_indexes: bool = False,
        compact_fragments: bool = False,
        cleanup_before: datetime | None = None,
        unsafe_allow_recent_cleanup: bool = False,
    ) -> str:
        """Maintain the dataset's storage; blocks until it is done. Recordings that were registered are never written.

        Parameters
        ----------
        optimize_indexes, retrain_indexes
            Nothing needs doing on a Rushes server.
        compact_fragments
            Write layers of many small chunks anew, with larger ones, into the server's own files. Queries give the same answers.
        cleanup_before
            Remove uploads, and files that compaction wrote, that are older than this and that no dataset uses.
        unsafe_allow_recent_cleanup
            Allow a `cleanup_before` that is less than an hour ago.

        Returns
        -------
        str
            What was done, for people to read.

        """
        me = self._self()
        before = None
        if cleanup_before is not None:
            before = int(cleanup_before.timestamp() * 1_000_000) * 1000
        return me._client._connection.maintain(
            me._details.id,
            bool(compact_fragments),
            bool(optimize_indexes),
            bool(retrain_indexes),
            before,
            bool(unsafe_allow_recent_cleanup),
        )

    # --- inside

    def _self(self) -> DatasetEntry:
        return cast("DatasetEntry", self)

    def _details_now(self) -> _core.DatasetDetails:
        me = self._self()
        return me._client._connection.dataset_details(me._details.id)

    def _update_details(self, details: _core.DatasetDetails) -> None:
        me = self._self()
        me._client._connection.update_dataset(me._details.id, details)

    def _companion(self, id: bytes | None) -> DatasetEntry | None:
        from ._entry import DatasetEntry

        if id is None:
            return None
        client = self._self()._client
        return DatasetEntry(client, client._connection.read_dataset(id))

    def _needed_asset_dataset(self) -> DatasetEntry:
        dataset = self.asset_dataset()
        if dataset is None:
            raise LookupError(f"'{self._self().name}' has no dataset for assets")
        return dataset

    def _register_one(self, uri: str | PathLike[str], object_store_config: str | None) -> list[str]:
        if not isinstance(uri, (str, PathLike)):
            raise TypeError(f"uri must be a str or a Path, not {type(uri).__name__}")
        operation = self._self().register(
            uri,
            on_duplicate=OnDuplicateSegmentLayer.REPLACE,
            object_store_config=object_store_config,
        )
        return operation.wait().segment_ids

    def _set_properties(self, segment_id: str, row: pa.RecordBatch, revision: int | None) -> int:
        me = self._self()
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, row.schema) as writer:
            writer.write_batch(row)
        return me._client._connection.set_properties(
            me._details.id, segment_id, sink.getvalue(), revision
        )

    def _get_properties(self, segment_id: str) -> tuple[pa.Table | None, int]:
        me = self._self()
        for _, row, revision in me._client._connection.get_properties(me._details.id, [segment_id]):
            return pa.table(row), revision
        return None, 0

    def _edit_asset(self, asset_segment_id: str, segments: list[str], *, applies: bool) -> None:
        if not isinstance(asset_segment_id, str):
            raise TypeError(
                f"asset_segment_id must be a str, not {type(asset_segment_id).__name__}"
            )
        dataset = self._needed_asset_dataset()
        row, revision = dataset._get_properties(asset_segment_id)
        for _ in range(_MOST_EDITS):
            columns = {} if row is None else {name: row[name] for name in row.column_names}
            columns.setdefault(_MODE, pa.chunked_array([pa.array([["OptOut"]])]))
            old = (columns[_SEGMENTS][0].as_py() if _SEGMENTS in columns else None) or []
            # What the list means depends on the mode.
            if applies == (columns[_MODE][0].as_py() == ["OptIn"]):
                new = old + [s for s in dict.fromkeys(segments) if s not in old]
            else:
                new = [s for s in old if s not in segments]
            columns[_SEGMENTS] = pa.chunked_array([pa.array([new], pa.list_(pa.string()))])
            [batch] = pa.table(columns).combine_chunks().to_batches()
            try:
                dataset._set_properties(asset_segment_id, batch, revision)
                return
            except RuntimeError:
                # Somebody else was faster, or it is not about that.
                row, now = dataset._get_properties(asset_segment_id)
                if now == revision:
                    raise
                revision = now
        raise RuntimeError(
            f"the segments of asset '{asset_segment_id}' are edited all the time by others"
        )


def _strings(value: str | Sequence[str] | None, what: str) -> list[str]:
    if value is None:
        return []
    values = [value] if isinstance(value, str) else list(value)
    for item in values:
        if not isinstance(item, str):
            raise TypeError(f"{what} must be str, not {type(item).__name__}")
    return values
