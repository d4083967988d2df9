"""Recordings larger than the memory they may take: each reader must get through with a limit set by the system.

The limit is on address space, so that nothing can slip by: what the process has after opening, and room for a few batches more.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROWS = 4_000
BLOB = 100_000
BUDGET = 16 << 20  # a twenty-fifth of what the recording holds
HEADROOM = 320 << 20  # batches of up to 64 MiB on their way, engines' own buffers, allocators

LIMITED = """
import resource, sys
import pyarrow as pa, pyarrow.parquet as pq, duckdb, datafusion
import rushes as rr

path, out, rows, blob, budget, headroom = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
pa.jemalloc_set_decay_ms(0) if "jemalloc" in pa.supported_memory_backends() else None
pa.set_memory_pool(pa.system_memory_pool())  # gives back what it frees
dataset = rr.open_recordings(path, cache_bytes=budget)
small = dataset.scan(index="frame", memory_budget=budget).head(1)  # threads and their stacks are there now
lazy = dataset.scan(index="frame", memory_budget=budget, fill_latest_at={fill})
def size():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size() + headroom, size() + headroom))
assert headroom < rows * blob
try:
    pa.allocate_buffer(rows * blob)
    raise SystemExit("the limit does not hold")
except MemoryError:
    pass
{read}
print("through")
"""

READERS = {
    "batches": """
        seen = sum(batch.num_rows for batch in lazy.to_batches())
        assert seen == rows, seen
    """,
    "parquet": """
        with pq.ParquetWriter(out, lazy.schema, compression="none") as writer:
            for batch in lazy.to_batches():
                writer.write_batch(batch, row_group_size=64)
        assert pq.ParquetFile(out).metadata.num_rows == rows
    """,
    "datafusion": """
        frame = dataset.reader("frame", memory_budget=budget)
        seen = 0
        for batch in frame.execute_stream():
            seen += batch.to_pyarrow().num_rows
        assert seen == rows, seen
    """,
    "duckdb": """
        duckdb.sql("set threads = 1")
        [[total]] = duckdb.sql("select sum(len(\\"/camera:Blob:bytes\\"[1])) from lazy").fetchall()
        assert total == rows * blob, total
    """,
}


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of incompressible bytes, and a signal beside them."""
    import numpy as np

    sdk = pytest.importorskip("rerun")
    path = tmp_path_factory.mktemp("memory") / "huge.rrd"
    random = np.random.default_rng(1)
    with sdk.RecordingStream("rushes_tests", recording_id="huge") as stream:
        stream.save(path)
        for frame in range(ROWS):
            stream.set_time("frame", sequence=frame)
            blob = random.integers(0, 256, BLOB, np.uint8)
            stream.log("/camera", sdk.DynamicArchetype("Blob", components={"bytes": [blob]}))
            stream.log("/signal", sdk.Scalars(float(frame)))
    assert path.stat().st_size > ROWS * BLOB
    return path


@pytest.mark.parametrize("fill", [False, True], ids=["plain", "filled"])
@pytest.mark.parametrize("reader", READERS)
def test_memory_stays_flat(reader: str, fill: bool, huge: Path, tmp_path: Path) -> None:
    code = LIMITED.format(fill=fill, read=textwrap.dedent(READERS[reader]))
    numbers = [str(n) for n in (ROWS, BLOB, BUDGET, HEADROOM)]
    done = subprocess.run(
        [sys.executable, "-c", code, str(huge), str(tmp_path / "out.parquet"), *numbers],
        capture_output=True,
        text=True,
        timeout=240,
        # What threads reserve and allocators keep for later would count too.
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20)),
    )
    assert done.stdout.strip() == "through", done.stdout + done.stderr[-3000:]
