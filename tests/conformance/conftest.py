"""One server per test with an empty catalog: embedded in this process and reached over loopback, or as another process.

`CONFORMANCE_SERVER=official` judges the official server instead: what these tests expect of every server, it must do too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_client import Catalog

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLE = Path(
    os.environ.get("RUSHES_EXECUTABLE", ROOT / "python" / "rushes" / "bin" / "rushes")
)
OFFICIAL = os.environ.get("CONFORMANCE_SERVER") == "official"
KINDS = ["official"] if OFFICIAL else ["embedded", "process"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "covers(*rows): the rows of tests/conformance/rows.toml that the test is for"
    )
    config.addinivalue_line("markers", "ours(why): what other servers do differently, on purpose")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Against another server, what is ours alone is not asked for."""
    if OFFICIAL:
        for item in items:
            for mark in item.iter_markers("ours"):
                item.add_marker(pytest.mark.skip(reason=f"ours alone: {mark.args[0]}"))


@contextlib.contextmanager
def running(kind: str) -> Iterator[str]:
    """The address, `rerun+http://host:port`, of a fresh server."""
    if kind == "embedded":
        import rushes.server

        with rushes.server.Server() as server:
            yield server.url()
    elif kind == "official":
        import rerun as rr

        with rr.server.Server(host="127.0.0.1") as server:
            yield server.url()
    else:
        process = subprocess.Popen(
            [str(EXECUTABLE), "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        timer = threading.Timer(60, process.kill)
        timer.start()
        output = []
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if line.startswith("Serving at "):
                break
        timer.cancel()
        assert "".join(output[-1:]).startswith("Serving at "), "".join(output)
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        try:
            yield output[-1].split()[-1]
        finally:
            died = process.poll()
            process.terminate()
            code = process.wait(30)
            assert died is None, f"the server ended by itself with {died}"
            assert code == 0, f"the server ended with {code}"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(request.param) as address:
        yield address


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture
def catalog(url: str, folder: Path) -> Iterator[Catalog]:
    made = Catalog(url, folder)
    yield made
    made.close()


# --- through a package, as users do


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty of them, in one folder."""
    from package_data import write_recordings

    return write_recordings(tmp_path_factory.mktemp("twenty"))


# Whose client, and where the server is.
WAYS = ["official client", "our client", "our client in process"]


@contextlib.contextmanager
def opened(way: str) -> Iterator[object]:
    """A client of an empty catalog."""
    import rerun as rr

    import rushes.catalog
    import rushes.server

    if way == "our client in process":
        with rushes.server.Server() as server:
            yield server.client()
    else:
        package = rr if way.startswith("official") else rushes
        with running(KINDS[-1]) as url:
            yield package.catalog.CatalogClient(url)


@pytest.fixture(params=WAYS)
def client(request: pytest.FixtureRequest) -> Iterator[object]:
    """A client of an empty catalog, fresh for the test."""
    with opened(request.param) as made:
        yield made


@pytest.fixture(params=WAYS, scope="module")
def shared(request: pytest.FixtureRequest, recordings: list[Path]) -> Iterator[object]:
    """A client of a catalog with the twenty recordings as dataset `ro`; tests only read it."""
    with opened(request.param) as made:
        made.create_dataset("ro").register_prefix(recordings[0].parent.as_uri()).wait()
        yield made


@pytest.fixture
def ro(shared: object) -> object:
    return shared.get_dataset("ro")
