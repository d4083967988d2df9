"""The time of a round trip and the bandwidth, in this process and over the network."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rushes.catalog._client import BenchmarkResult

import rushes as rr
from rushes.catalog import CatalogClient


def test_over_the_network(server: rr.server.Server) -> None:
    result = CatalogClient(server.url()).benchmark()
    assert timedelta(0) < result.rtt < timedelta(seconds=2)
    # Through a socket of this machine.
    assert result.bandwidth is not None
    assert 1e6 < result.bandwidth < 1e12


def test_in_process(client: CatalogClient, howto_files: list[Any]) -> None:
    for here in (client, rr.open_recordings(howto_files).catalog):
        result = here.benchmark(num_pings=100)
        assert timedelta(0) <= result.rtt < timedelta(milliseconds=50)
        assert result.bandwidth is None
        assert repr(result).endswith("bandwidth=(too fast to measure))")


def test_the_official_server() -> None:
    official = pytest.importorskip("rerun.server")
    with official.Server(host="127.0.0.1") as server:
        result = CatalogClient(server.url()).benchmark(num_bytes=32 << 20, num_pings=1)
        assert timedelta(0) < result.rtt < timedelta(seconds=2)
        assert result.bandwidth is not None
        assert 1e6 < result.bandwidth < 1e12


@pytest.mark.parametrize("where", ["in process", "network"])
def test_bad_arguments(where: str, server: rr.server.Server) -> None:
    client = server.client() if where == "in process" else CatalogClient(server.url())
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"num_pings": 0}, ValueError, "num_pings must be between 1 and 10000, got 0"),
        ({"num_pings": 10_001}, ValueError, "between 1 and 10000, got 10001"),
        ({"num_pings": -1}, ValueError, "num_pings must be between 0 and"),
        ({"num_bytes": -1}, ValueError, "num_bytes must be between 0 and"),
        ({"num_bytes": (32 << 20) + 1}, ValueError, "at most 33554432, got 33554433"),
        ({"num_bytes": 2**40}, ValueError, "num_bytes must be between 0 and"),
        ({"num_bytes": 1.5}, TypeError, "num_bytes must be an int, not float"),
        ({"num_pings": True}, TypeError, "num_pings must be an int, not bool"),
    ]
    for arguments, error, words in wrong:
        with pytest.raises(error, match=words):
            client.benchmark(**arguments)
    server.shutdown()
    with pytest.raises(ConnectionError):
        client.benchmark()


def test_text() -> None:
    cases = [
        (timedelta(microseconds=157), 152.4 * 2**20, "rtt=157.0 μs, bandwidth=152 MiB/s"),
        (timedelta(microseconds=12345), 95.4 * 2**20, "rtt=12.3 ms, bandwidth=95.4 MiB/s"),
        (timedelta(seconds=61), 9.3 * 2**30, "rtt=61.00 s, bandwidth=9.3 GiB/s"),
        (timedelta(0), 0.0, "rtt=0.0 μs, bandwidth=0 B/s"),
        (timedelta(0), 1023.0, "rtt=0.0 μs, bandwidth=1023 B/s"),
        (timedelta(0), 1500.0, "rtt=0.0 μs, bandwidth=1.5 KiB/s"),
        (timedelta(milliseconds=1), None, "rtt=1.0 ms, bandwidth=(too fast to measure)"),
    ]
    for rtt, bandwidth, expected in cases:
        assert repr(BenchmarkResult(rtt, bandwidth)) == f"BenchmarkResult({expected})"
    theirs = pytest.importorskip("rerun.catalog._catalog_client").BenchmarkResult
    for rtt, bandwidth, _ in cases:
        assert repr(theirs(rtt, bandwidth)) == repr(BenchmarkResult(rtt, bandwidth))
