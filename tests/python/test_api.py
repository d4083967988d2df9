"""Names, signatures, reprs and results, beside those of the official package where it is installed."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import rushes as rr

Catalog = rr.catalog

MADE_BY_THE_LIBRARY = {
    "DatasetEntry",
    "DatasetSelection",
    "Entry",
    "Layer",
    "RegistrationOperation",
    "Schema",
    "Segment",
    "TableEntry",
    "UnregistrationHandle",
}

# Addresses to bind: theirs listens on every interface, ours on this machine.
OTHER_DEFAULTS = {("Server", "__init__", "host"), ("Server", "__init__", "addr")}


def official_classes() -> list[tuple[str, type, type]]:
    catalog = pytest.importorskip("rerun.catalog")
    import rerun.server

    pairs: list[tuple[str, type, type]] = [("Server", rr.server.Server, rerun.server.Server)]
    for name in dir(catalog):
        if name.startswith("_") or name in ("DatasetView", "RegistrationHandle"):
            continue
        theirs = getattr(catalog, name)
        if inspect.isclass(theirs) and "rerun" in theirs.__module__:
            assert hasattr(rr.catalog, name), f"rushes.catalog.{name} is missing"
            pairs.append((name, getattr(rr.catalog, name), theirs))
    return pairs


def test_every_public_name_is_here() -> None:
    for name, ours, theirs in official_classes():
        for member in dir(theirs):
            if member.startswith("_"):
                continue
            if issubclass(theirs, (str, Exception)) and member in dir(str) + dir(Exception):
                continue
            assert hasattr(ours, member), f"{name}.{member} is missing"


def test_parameters_are_the_same() -> None:
    for name, ours, theirs in official_classes():
        for member, value in vars(theirs).items():
            if member.startswith("_") and member != "__init__":
                continue
            if (
                isinstance(value, property)
                or not callable(getattr(theirs, member))
                or not hasattr(ours, member)
            ):
                continue
            try:
                expected = inspect.signature(getattr(theirs, member)).parameters
                got = inspect.signature(getattr(ours, member)).parameters
            except (TypeError, ValueError):
                continue
            if member == "__init__" and name in MADE_BY_THE_LIBRARY:
                continue
            for parameter in expected.values():
                if parameter.name == "self":
                    continue
                where = f"{name}.{member}({parameter.name})"
                assert parameter.name in got, f"{where} is missing"
                assert got[parameter.name].kind == parameter.kind, where
                if (name, member, parameter.name) in OTHER_DEFAULTS:
                    continue
                ours_default, default = got[parameter.name].default, parameter.default
                assert str(ours_default) == str(default), (
                    f"{where}: {ours_default!r} instead of {default!r}"
                )
            for parameter in got.values():
                if parameter.name not in expected:
                    assert parameter.default is not inspect.Parameter.empty, (
                        f"{name}.{member}: new {parameter.name}"
                    )


def test_chunks_go_by_the_same_names() -> None:
    """What there is of `rerun.chunk` is called as there; docs/coming_from_rerun.md lists what is not."""
    theirs = pytest.importorskip("rerun.chunk")
    for name in rr.chunk.__all__:
        members = {m for m in dir(getattr(rr.chunk, name)) if not m.startswith("_")}
        assert members <= set(dir(getattr(theirs, name))), name
        for member in members:
            value = inspect.getattr_static(getattr(theirs, name), member)
            if isinstance(value, property):
                continue
            expected = inspect.signature(getattr(getattr(theirs, name), member)).parameters
            got = inspect.signature(getattr(getattr(rr.chunk, name), member)).parameters
            left_out = {"components"} if member in ("filter", "drop") else set()
            assert set(expected) - set(got) == left_out, f"{name}.{member}"
            for parameter in got.values():
                where = f"{name}.{member}({parameter.name})"
                assert parameter.kind == expected[parameter.name].kind, where
                assert parameter.default == expected[parameter.name].default, where


def test_constants() -> None:
    assert rr.SORBET_ENTITY_PATH == b"rerun:entity_path"
    assert rr.SORBET_IS_TABLE_INDEX == b"rerun:is_table_index"
    sdk = pytest.importorskip("rerun")
    for name in dir(sdk):
        if name.startswith("SORBET_"):
            assert getattr(rr, name) == getattr(sdk, name), name


def test_module_attributes() -> None:
    with pytest.warns(DeprecationWarning, match="RegistrationOperation"):
        assert Catalog.RegistrationHandle is Catalog.RegistrationOperation
    with pytest.raises(AttributeError, match="nothing"):
        Catalog.nothing  # noqa: B018
    assert Catalog.NotFoundError.__bases__ == (Exception,)
    assert Catalog.AlreadyExistsError.__bases__ == (Exception,)


def test_entry(howto: Catalog.DatasetEntry) -> None:
    assert repr(howto) == str(howto) == "Entry(EntryKind.DATASET, 'howto')"
    assert howto.kind == Catalog.EntryKind.DATASET
    assert repr(howto.kind) == str(howto.kind) == "EntryKind.DATASET"
    assert int(howto.kind) == 1
    assert howto == "howto"
    assert howto == howto.id
    assert howto == howto.catalog.get_dataset(id=str(howto.id))
    assert howto != "demo"
    with pytest.raises(TypeError):
        hash(howto)
    assert re.fullmatch("[0-9A-F]{16}[0-9a-f]{16}", str(howto.id))
    assert Catalog.EntryId(str(howto.id).lower()) == howto.id
    assert len(howto.id.as_bytes()) == 16
    for time in (howto.created_at, howto.updated_at):
        assert time.tzinfo is UTC
        assert abs(datetime.now(UTC) - time) < timedelta(hours=1)
    assert howto.manifest_url == f"memory:///{howto.id}"
    assert howto.catalog.ctx is howto.catalog.ctx


def test_rename_and_delete(client: Catalog.CatalogClient) -> None:
    dataset = client.create_dataset("one")
    dataset.set_name("two")
    assert dataset.name == "two"
    assert client.dataset_names() == ["two"]
    with pytest.raises(LookupError):
        client.get_dataset("one")
    with pytest.warns(DeprecationWarning, match="set_name"):
        dataset.update(name="one")
    assert client.get_dataset("one") == dataset
    with pytest.raises(ValueError):
        dataset.set_name("a/b")
    client.create_dataset("__hidden")
    assert client.dataset_names() == client.entry_names() == ["one"]
    assert "__hidden" in client.dataset_names(include_hidden=True)
    dataset.delete()
    assert client.entries() == []


def test_entries_table(client: Catalog.CatalogClient) -> None:
    client.create_dataset("one")
    table = client.get_table("__entries").reader().to_arrow_table()
    assert "one" in table["name"].to_pylist()
    assert table.schema.field("id").type == pa.binary(16)
    assert table.schema.field("entry_kind").type == pa.uint8()
    with pytest.raises(Catalog.NotFoundError):
        client.get_table("one")
    with pytest.raises(Catalog.NotFoundError):
        client.get_dataset("__entries")


def test_schema(howto: Catalog.DatasetEntry) -> None:
    schema = howto.schema()
    assert schema.entity_paths() == ["/sensors/temp", "/world", "/world/robot"]
    assert schema.entity_paths(include_properties=True)[0] == "/__properties"
    assert schema.archetypes() == [
        "Position3D",
        "rerun.archetypes.Scalars",
        "rerun.archetypes.ViewCoordinates",
    ]
    assert "rerun.components.Scalar" in schema.component_types()
    assert schema.column_names_for(archetype="Scalars") == ["/sensors/temp:Scalars:scalars"]
    assert schema.column_names_for(
        entity_path="world", component_type="rerun.components.ViewCoordinates"
    ) == ["/world:ViewCoordinates:xyz"]
    assert schema.column_names_for(archetype="RecordingInfo") == []
    column = schema.column_for("/sensors/temp", "Scalars:scalars")
    assert column is not None
    assert schema.column_for("/sensors/temp", "nothing") is None
    assert schema.column_for_selector("/sensors/temp:Scalars:scalars") == column
    assert (
        schema.column_for_selector(
            Catalog.ComponentColumnSelector("sensors/temp", "Scalars:scalars")
        )
        == column
    )
    assert schema.column_for_selector(column) is column
    assert hash(column) == hash(howto.schema().column_for("/sensors/temp", "Scalars:scalars"))
    with pytest.raises(ValueError, match="Expected string in the form of"):
        schema.column_for_selector("x")
    with pytest.raises(TypeError):
        schema.column_for_selector(3)  # type: ignore[arg-type]
    assert schema == howto.schema()
    with pytest.raises(TypeError):
        hash(schema)
    assert repr(column) == (
        "Column name: /sensors/temp:Scalars:scalars\n\tEntity path: /sensors/temp\n\tArchetype: rerun.archetypes.Scalars\n"
        "\tComponent type: rerun.components.Scalar\n\tComponent: Scalars:scalars"
    )
    assert repr(schema).startswith(
        "Index(timeline:frame_nr)\nIndex(timeline:log_time)\nColumn name: "
    )
    assert pa.schema(schema).equals(schema.to_arrow(), check_metadata=True)
    assert schema.to_arrow().names[0] == "rerun.controls.RowId"
    assert repr(Catalog.ComponentColumnSelector("a", "B:c")) == "/a:B:c"
    assert repr(Catalog.IndexColumnSelector("t")) == "Index(timeline:t)"
    with pytest.raises(ValueError, match="must not be empty"):
        Catalog.IndexColumnSelector("")
    with pytest.warns(DeprecationWarning, match="to_arrow"):
        assert howto.arrow_schema() == schema.to_arrow()


def test_selection_schema(howto: Catalog.DatasetEntry) -> None:
    names = howto.filter_contents("/world/**").schema().column_names()
    assert names == [
        "frame_nr",
        "log_time",
        "/world:ViewCoordinates:xyz",
        "/world/robot:Position3D:positions",
    ]
    assert (
        "property:RecordingInfo:start_time"
        in howto.filter_segments("recording_001").schema().column_names()
    )


def test_content_filter() -> None:
    everything = Catalog.ContentFilter.everything()
    assert repr(everything) == "ContentFilter(['/**'])"
    built = (
        Catalog.ContentFilter.nothing()
        .include("/a", subtree=True)
        .exclude("/a/b")
        .include_properties()
    )
    assert built.to_exprs() == ["/a/**", "-/a/b", "/__properties/**"]
    assert everything == Catalog.ContentFilter(["/**"])
    assert hash(everything) == hash(Catalog.ContentFilter(("/**",)))
    assert everything.to_exprs() is not everything.to_exprs()
    with pytest.raises(ValueError, match="Entity path expression must start with '/', got: 'a'"):
        everything.include("a")


def test_selections_chain(howto: Catalog.DatasetEntry) -> None:
    robot = "/world/robot:Position3D:positions"
    both = howto.filter_contents("/world/**").filter_contents(["/**", "-/world"])
    assert set(both.reader("frame_nr").schema().names) == {
        "rerun_segment_id",
        "log_time",
        "frame_nr",
        robot,
    }
    assert (
        howto.filter_segments(["recording_001"]).filter_segments("recording_002").segment_ids()
        == []
    )
    assert howto.filter_segments([]).reader("frame_nr").count() == 0
    frame = howto.segment_table().select("rerun_segment_id").limit(1)
    assert len(howto.filter_segments(frame).segment_ids()) == 1
    nothing = howto.filter_contents([])
    assert nothing.reader("frame_nr").count() == 0
    assert repr(nothing).endswith("content_filters=[''])")
    assert repr(howto.filter_contents("/b /a -/c/**")).endswith(
        "content_filters=['+ /a + /b - /c/**'])"
    )
    properties = howto.filter_contents(["/__properties/**"]).reader(index=None).to_arrow_table()
    assert "property:RecordingInfo:start_time" in properties.column_names
    assert properties.num_rows == 2


def test_segment_and_layer(howto: Catalog.DatasetEntry) -> None:
    segment = howto.segment("recording_001")
    assert str(segment) == segment.id == "recording_001"
    assert repr(segment) == f'Segment(dataset_id={howto.id}, id="recording_001")'
    assert segment.url == f"{howto.catalog.url}/dataset/{howto.id}?segment_id=recording_001"
    assert segment.layers() == {"base"}
    assert segment.schema() == howto.schema()
    layer = howto.layer("base")
    assert str(layer) == "base"
    assert repr(layer) == f'Layer(dataset_id={howto.id}, name="base")'
    assert sorted(layer.segment_ids()) == ["recording_001", "recording_002"]


def test_segment_url(howto: Catalog.DatasetEntry) -> None:
    base = f"{howto.catalog.url}/dataset/{howto.id}?segment_id=s"
    for arguments, expected in (
        (("s",), ""),
        (("s", "frame_nr", 5), "#when=frame_nr@5"),
        (("s", "frame_nr", 5, 9), "#when=frame_nr@5&time_selection=frame_nr@5..9"),
        (
            ("s", "frame_nr", None, 9),
            "#when=frame_nr@1677-09-21T00:12:43.145224193Z&time_selection=frame_nr@9..9",
        ),
        (("s", "t", timedelta(seconds=1.5)), "#when=t@+1.5s"),
        (("s", "t", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)), "#when=t@2024-01-02T03:04:05Z"),
        (
            ("s", "t", np.datetime64(1795540445775520337, "ns")),
            "#when=t@2026-11-24T17:14:05.775520337Z",
        ),
    ):
        assert howto.segment_url(*arguments) == base + expected  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`timeline` must also be specified"):
        howto.segment_url("s", None, 5)


def test_info(howto: Catalog.DatasetEntry, demo: Catalog.DatasetEntry) -> None:
    info = howto.info()
    assert info.num_segments == 2
    assert info.num_entities == info.num_component_columns == 3
    assert info.property_columns == {"property:RecordingInfo:start_time"}
    assert info.layers == {Catalog.LayerInfo("base", 2)}
    [frames] = [timeline for timeline in info.timelines if timeline.name == "frame_nr"]
    assert (frames.kind, frames.min, frames.max) == ("sequence", 0, 103)
    assert repr(frames) == "TimelineInfo(frame_nr: sequence, #0 … #103, in 2 segments)"
    assert hash(info) == hash(howto.info())
    lines = repr(info).split("\n")
    assert re.fullmatch(r"DatasetInfo\(howto: 2 segments, \d+\.\d KiB\)", lines[0])
    assert lines[1:6] == [
        "  contents: 3 entities, 3 component columns",
        "  properties: property:RecordingInfo:start_time",
        "  layers:",
        "    base: in 2 segments",
        "  timelines:",
    ]
    assert {timeline.kind for timeline in demo.info().timelines} == {
        "sequence",
        "timestamp",
        "duration",
    }


def test_segment_table(howto: Catalog.DatasetEntry) -> None:
    table = howto.segment_table().to_arrow_table()
    assert table.column_names == [
        "rerun_segment_id",
        "rerun_layer_names",
        "rerun_storage_urls",
        "rerun_last_updated_at",
        "rerun_num_chunks",
        "rerun_size_bytes",
        "property:RecordingInfo:start_time",
        "frame_nr:end",
        "frame_nr:start",
        "log_time:end",
        "log_time:start",
    ]
    rows = {row["rerun_segment_id"]: row for row in table.to_pylist()}
    assert rows["recording_002"]["frame_nr:start"] == 100
    assert rows["recording_002"]["rerun_layer_names"] == ["base"]
    assert rows["recording_002"]["rerun_storage_urls"][0].endswith(
        "recordings/howto/recording_002.rrd"
    )
    ranges = howto.get_index_ranges().to_arrow_table()
    assert ranges.column_names == [
        "rerun_segment_id",
        "frame_nr:start",
        "frame_nr:end",
        "log_time:start",
        "log_time:end",
    ]
    with pytest.warns(DeprecationWarning, match="manifest"):
        manifest = howto.manifest()
    assert manifest.count() == 2


def test_join_meta(howto: Catalog.DatasetEntry) -> None:
    import datafusion

    meta = datafusion.SessionContext().from_pydict(
        {"rerun_segment_id": ["recording_001"], "note": ["first"]}
    )
    joined = howto.segment_table(meta).to_arrow_table()
    assert sorted(joined["note"].to_pylist(), key=str) == [None, "first"]
    with pytest.raises(ValueError, match="join_meta must contain join_key column 'x'"):
        howto.segment_table(meta, join_key="x")
    with pytest.raises(
        ValueError, match="Dataset segment table must contain join_key column 'note'"
    ):
        howto.segment_table(meta, join_key="note")


def test_layers(
    client: Catalog.CatalogClient, howto_files: list[Path], write_recording: object, tmp_path: Path
) -> None:
    extra = write_recording(
        tmp_path / "extra.rrd", "recording_001", {"/extra": {"frame_nr": [1, 2]}}
    )  # type: ignore[operator]
    dataset = client.create_dataset("d")
    dataset.register(howto_files).wait()
    result = dataset.register([extra], layer_name="more").wait()
    assert result.segment_ids == ["recording_001"]
    segment = dataset.segment("recording_001")
    assert segment.layers() == {"base", "more"}
    column = "/extra:Scalars:scalars"
    table = dataset.reader("frame_nr").to_arrow_table()
    assert table.num_rows == 8
    assert table[column].to_pylist()[:4] == [None, [0.0], [1.0], None]
    handle = segment.delete_layer("more")
    handle.wait()
    handle.wait(timeout_secs=1)
    assert segment.layers() == {"base"}
    assert column not in dataset.schema().column_names()
    dataset.unregister(segments_to_drop="recording_001", layers_to_drop=[]).wait()
    assert dataset.segment_ids() == ["recording_002"]
    dataset.unregister(segments_to_drop="unknown", layers_to_drop="unknown").wait()


def test_register_prefix(client: Catalog.CatalogClient, howto_files: list[Path]) -> None:
    dataset = client.create_dataset("d")
    operation = dataset.register_prefix(howto_files[0].parent.as_uri())
    assert sorted(r.segment_id for r in operation.iter_results()) == [
        "recording_001",
        "recording_002",
    ]
    assert all(r.is_success and r.error is None for r in operation.iter_results())
    assert sorted(operation.wait(timeout_secs=5).segment_ids) == ["recording_001", "recording_002"]
    operation.cancel()


def test_using_index_values(howto: Catalog.DatasetEntry) -> None:
    import datafusion

    def frames(values: object, **options: bool) -> list[tuple[str, int]]:
        table = howto.reader("frame_nr", using_index_values=values, **options).to_arrow_table()  # type: ignore[arg-type]
        return list(
            zip(table["rerun_segment_id"].to_pylist(), table["frame_nr"].to_pylist(), strict=True)
        )

    expected = [("recording_001", 1), ("recording_001", 3), ("recording_002", 101)]
    assert (
        frames({"recording_001": [3, 1], "recording_002": np.array([101]), "nope": [7]}) == expected
    )
    assert frames(pa.array([101, 3, 1, 50])) == expected
    assert frames(np.array([101, 3, 1])) == expected
    assert frames(pa.chunked_array([[101], [3, 1]])) == expected
    frame = datafusion.SessionContext().from_pydict(
        {"rerun_segment_id": [s for s, _ in expected], "frame_nr": [v for _, v in expected]}
    )
    assert frames(frame) == expected
    assert frames({}) == frames([]) == frames({"recording_001": []}) == []
    assert frames({"recording_001": [77]}) == [("recording_001", 77)]
    filled = howto.reader(
        "frame_nr", using_index_values=[1, 3], fill_latest_at=True
    ).to_arrow_table()
    assert filled["/sensors/temp:Scalars:scalars"].to_pylist() == [[20.0], [22.0]]
    only = howto.filter_segments("recording_002").reader(
        "frame_nr", using_index_values={"recording_001": [1]}
    )
    assert only.count() == 0
    assert howto.reader(None, using_index_values={"recording_001": [1]}).count() == 1
    assert howto.reader(None, using_index_values={}).count() == 0
    times = howto.get_index_ranges().to_arrow_table()["log_time:start"].to_numpy()
    got = howto.reader(
        "log_time", using_index_values=times.astype("datetime64[ns]")
    ).to_arrow_table()
    assert got["log_time"].to_numpy().tolist() == sorted(times.tolist())


def test_reprs_of_dataframes(howto: Catalog.DatasetEntry, demo: Catalog.DatasetEntry) -> None:
    text = repr(demo.reader("frame_nr"))
    assert "Data truncated due to size." in text
    assert len({len(line) for line in text.split("\n")[:-1]}) == 1
    row = next(line for line in text.split("\n") if "episode_000" in line)
    assert max(len(cell.strip()) for cell in row.split(" ┆ ")) <= 110  # blobs are cut
    assert repr(howto.reader("frame_nr").filter("frame_nr > 1000")) == "No data to display"
    page = demo.reader("frame_nr")._repr_html_()
    assert page.count("<tr>") == page.count("</tr>") > 2
    assert "rerun-table" in page
    import datafusion

    # Others' frames print as before.
    assert repr(datafusion.SessionContext().from_pydict({"a": [1]})).startswith("DataFrame()")


def test_version_info(demo_server: rr.server.Server) -> None:
    info = demo_server.client().version_info()
    assert info.cloud_provider is info.cloud_region is None
    assert "per_segment_index_values" in info.features


def test_the_server_goes_by_its_address() -> None:
    with rr.server.Server(host="127.0.0.1", port=0) as server:
        assert server.host() == "127.0.0.1"
        assert server.is_running()
        assert re.fullmatch(r"rerun\+http://127\.0\.0\.1:\d+", server.url())
        for address in (f"{server.url()}/catalog", f"{server.url()}/"):
            assert rr.catalog.CatalogClient(address).url == server.url()
    assert not server.is_running()
    assert re.fullmatch(r"rerun\+http://127\.0\.0\.1:\d+", server.url())
    with rr.server.Server(host="0.0.0.0") as everywhere:
        assert everywhere.url().startswith("rerun+http://127.0.0.1:")
    with (
        pytest.warns(DeprecationWarning, match="host"),
        rr.server.Server(addr="127.0.0.2") as other,
    ):
        assert other.host() == "127.0.0.2"
