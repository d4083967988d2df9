"""Events of the catalog, in this process and over the network, and what ends the wait for them."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

import rushes as rr
from rushes.catalog import CatalogClient, CatalogEvent, EntryCreated, EntryDeleted


@pytest.fixture(params=["in process", "network"])
def client(request: pytest.FixtureRequest, server: rr.server.Server) -> CatalogClient:
    return server.client() if request.param == "in process" else CatalogClient(server.url())


def after(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def test_events_come_in_order(client: CatalogClient, server: rr.server.Server) -> None:
    client.create_dataset("before")
    with client.events() as events:
        other = CatalogClient(server.url())
        dataset = other.create_dataset("d")
        dataset.set_name("renamed")
        table = client.create_table("t", pa.schema({"x": pa.int64()}))
        dataset.delete()
        # Companions come and go without a word.
        assert [next(events) for _ in range(3)] == [
            EntryCreated(dataset.id),
            EntryCreated(table.id),
            EntryDeleted(dataset.id),
        ]
        table.delete()
        event = next(events)
        assert event == EntryDeleted(table.id)
        assert event != EntryCreated(table.id)
        assert repr(event) == f"EntryDeleted(id=EntryId('{table.id}'))"


def test_a_wait_ends_when_something_happens(client: CatalogClient) -> None:
    with client.events() as events:
        timer = after(0.3, lambda: client.create_dataset("d"))
        began = time.monotonic()
        event = next(events)
        assert 0.2 < time.monotonic() - began < 5
        assert event == EntryCreated(client.get_dataset("d").id)
        timer.join()


def test_each_stream_has_all_events(client: CatalogClient) -> None:
    with client.events() as one, client.events() as two:
        made = [client.create_dataset(f"d{i}").id for i in range(20)]
        for events in (one, two):
            assert [next(events).id for _ in made] == made


def test_close_ends_a_wait_of_another_thread(client: CatalogClient) -> None:
    events = client.events()
    got: list[list[CatalogEvent]] = []
    reader = threading.Thread(target=lambda: got.append(list(events)))
    reader.start()
    made = client.create_dataset("d")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and reader.is_alive():
        time.sleep(0.2)
        events.close()
    reader.join(1)
    assert got == [[EntryCreated(made.id)]]
    assert list(events) == []  # it stays closed
    events.close()


def test_threads_share_a_stream(client: CatalogClient) -> None:
    events = client.events()
    got: list[CatalogEvent] = []
    readers = [threading.Thread(target=lambda: got.extend(events)) for _ in range(4)]
    for reader in readers:
        reader.start()
    made = [client.create_dataset(f"d{i}") for i in range(100)]
    deadline = time.monotonic() + 10
    while len(got) < 100 and time.monotonic() < deadline:
        # A list that is being extended shows its items one after another.
        time.sleep(0.05)
    events.close()
    for reader in readers:
        reader.join(5)
    assert sorted(str(event.id) for event in got) == sorted(str(dataset.id) for dataset in made)


def test_ctrl_c_ends_a_wait_and_loses_no_event(client: CatalogClient) -> None:
    with client.events() as events:
        timer = after(0.3, lambda: signal.raise_signal(signal.SIGINT))
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(events)
        assert time.monotonic() - began < 1.3
        timer.join()
        made = client.create_dataset("d")
        assert next(events) == EntryCreated(made.id)


def test_shutdown_is_an_error_after_the_events_before(
    client: CatalogClient, server: rr.server.Server
) -> None:
    events = client.events()
    made = client.create_dataset("d")
    assert next(events) == EntryCreated(made.id)
    timer = after(0.3, server.shutdown)
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        next(events)
    assert time.monotonic() - began < 5
    timer.join()
    with pytest.raises(ConnectionError):
        next(events)
    events.close()
    assert list(events) == []
    with pytest.raises(ConnectionError):
        client.events()


@pytest.mark.parametrize("address", ["server.client()", "rr.catalog.CatalogClient(server.url())"])
def test_a_process_ends_while_a_stream_is_open(address: str) -> None:
    code = f"""
        import threading, time
        import rushes as rr
        server = rr.server.Server()
        client = {address}
        events = client.events()
        threading.Thread(target=lambda: list(events), daemon=True).start()
        client.create_dataset("d")
        print(time.monotonic())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - float(done.stdout) < 20


def test_recordings_without_a_server(howto_files: list[object]) -> None:
    client = rr.open_recordings(howto_files).catalog  # type: ignore[arg-type]
    with client.events() as events:
        made = client.create_dataset("mine")
        assert next(events) == EntryCreated(made.id)


def test_the_official_server() -> None:
    official = pytest.importorskip("rerun.server")
    with official.Server(host="127.0.0.1") as server:
        client = CatalogClient(server.url())
        with client.events() as events:
            dataset = client.create_dataset("d")
            dataset.delete()
            assert [next(events), next(events)] == [
                EntryCreated(dataset.id),
                EntryDeleted(dataset.id),
            ]
