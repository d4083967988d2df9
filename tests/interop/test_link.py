"""How far away a server is: what both clients measure of one that is slow on purpose."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import rushes

official = pytest.importorskip("rerun")


def test_delay_and_throttle_are_measured(serve: Callable[..., Any]) -> None:
    server = serve("--latency-ms", "40", "--bandwidth-limit", "20MB")
    for package in (rushes, official):
        client = package.catalog.CatalogClient(server.url)
        result = client.benchmark(num_bytes=4 << 20, num_pings=2)
        assert timedelta(milliseconds=40) <= result.rtt < timedelta(seconds=2), package
        assert 2e6 < result.bandwidth < 22e6, package
