"""After fork() a query in the child works or raises; it never hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rushes as rr

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def server(howto_files: list[Path]) -> Iterator[rr.server.Server]:
    with rr.server.Server(datasets={"d": howto_files}) as running:
        running.client().get_dataset("d").reader(index="frame_nr").count()
        yield running


def in_child(work: Callable[[], str]) -> str:
    """What `work` returns in a forked child, or "ExceptionName: text"; fails if the child hangs or dies."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            try:
                answer = work()
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(write, answer.encode()[:60000])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with os.fdopen(read) as pipe:
                answer = pipe.read()
            assert status == 0, f"the child died with status {status}: {answer}"
            return answer
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    pytest.fail(f"the child hung for {TIMEOUT_S} s")


@pytest.mark.parametrize("remote", [False, True])
def test_what_was_opened_before(server: rr.server.Server, remote: bool) -> None:
    client = rr.catalog.CatalogClient(server.url()) if remote else server.client()
    dataset = client.get_dataset("d")
    lazy, frame = dataset.scan(index="frame_nr"), dataset.reader(index="frame_nr")
    assert lazy.count_rows() == frame.count() == 8
    calls: list[Callable[[], object]] = [
        lambda: lazy.to_table().num_rows,
        lambda: frame.to_arrow_table().num_rows,
        lambda: frame.count(),
        lambda: dataset.reader(index="frame_nr").count(),
        lambda: client.dataset_names(),
        lambda: server.client(),
    ]
    for call in calls:
        answer = in_child(lambda call=call: f"worked: {call()}")  # type: ignore[misc]
        assert answer.startswith("worked") or "fork()" in answer, answer
    # The parent is none the worse.
    assert frame.count() == 8


def test_new_objects_in_the_child(server: rr.server.Server, howto_files: list[Path]) -> None:
    url = server.url()

    def embedded() -> str:
        with rr.server.Server(datasets={"d": howto_files}) as own:
            return f"worked: {own.client().get_dataset('d').scan(index='frame_nr').count_rows()}"

    def connect() -> str:
        return f"worked: {rr.catalog.CatalogClient(url).dataset_names()}"

    for work in (embedded, connect):
        answer = in_child(work)
        assert answer.startswith("worked") or "fork()" in answer, answer


def test_an_iterator_that_was_begun_before(server: rr.server.Server) -> None:
    batches = server.client().get_dataset("d").scan(index="frame_nr").to_batches()
    next(batches)
    answer = in_child(lambda: f"worked: {sum(batch.num_rows for batch in batches)}")
    assert answer.startswith("worked") or "fork()" in answer, answer


@pytest.mark.parametrize(
    "drop", ["pass", "del server, dataset, lazy, batches; import gc; gc.collect()"]
)
def test_a_child_that_exits_the_usual_way(drop: str, howto_files: list[Path]) -> None:
    """Destructors and exit handlers of the child must not wait for threads that are not there."""
    code = (
        "import os, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "import rushes as rr\n"
        f"server = rr.server.Server(datasets={{'d': {[str(p) for p in howto_files]!r}}})\n"
        "dataset = rr.catalog.CatalogClient(server.url()).get_dataset('d')\n"
        "lazy = server.client().get_dataset('d').scan(index='frame_nr')\n"
        "assert lazy.count_rows() == dataset.reader(index='frame_nr').count() == 8\n"
        "batches = lazy.to_batches(); next(batches)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    {drop}\n"
        "    sys.exit(0)\n"
        "pid, status = os.waitpid(child, 0)\n"
        "assert lazy.count_rows() == 8\n"
        "sys.exit(status != 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_workers_that_import_after_the_fork(howto_files: list[Path]) -> None:
    """A parent that never used the package may fork workers that do."""
    code = (
        "import os, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "import rushes as rr\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    with rr.server.Server(datasets={{'d': {[str(p) for p in howto_files]!r}}}) as server:\n"
        "        frame = rr.catalog.CatalogClient(server.url()).get_dataset('d').reader(index='frame_nr')\n"
        "        assert frame.count() == server.client().get_dataset('d').scan('frame_nr').count_rows() == 8\n"
        "    sys.exit(0)\n"
        "sys.exit(os.waitpid(child, 0)[1] != 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_spawned_workers(server: rr.server.Server) -> None:
    code = (
        "import multiprocessing, sys\n"
        "import rushes as rr\n"
        "def work(url):\n"
        "    return rr.catalog.CatalogClient(url).get_dataset('d').reader(index='frame_nr').count()\n"
        "if __name__ == '__main__':\n"
        "    here = rr.catalog.CatalogClient(sys.argv[1])\n"
        "    with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "        assert pool.map(work, [sys.argv[1]] * 4) == [8] * 4\n"
    )
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"rushes_spawn_{os.getpid()}.py"
    path.write_text(code)
    try:
        done = subprocess.run(
            [sys.executable, str(path), server.url()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        path.unlink()
    assert done.returncode == 0, done.stderr
