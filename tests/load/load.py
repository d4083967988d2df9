"""Many official clients at once against one server of ours: `make load`.

    python tests/load/load.py [--clients 64] [--processes 4] [--seconds 120] [--megabytes 600] [--folder build/load]

The clients (threads in a few processes, which yield to the server) mix registering recordings, listing, tables of
segments, queries and unregistering again. Beside them one program registers a large recording without a footer and another one fetches a second
large recording, over and over, while a lone client asks `FindEntries` twenty times a second.

Fails if any call fails, if the server's memory grows after the first half, or if the lone client's p99 is 50 ms or more. The lone client is
also measured with the large recordings alone, before the others start.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLE = Path(
    os.environ.get("RUSHES_EXECUTABLE", ROOT / "python" / "rushes" / "bin" / "rushes")
)
FIND_ENTRIES = "/rerun.cloud.v1alpha1.RerunCloudService/FindEntries"
START_TIMEOUT_S = 300
P99_MAX_MS = 50.0
# Memory after the first half may exceed that of the first half by this much: noise of allocators.
GROWTH_MAX = 1.1
GROWTH_MAX_BYTES = 32 << 20


def write_large(path: Path, recording_id: str, megabytes: int) -> None:
    """A recording of so many megabytes in chunks of about 1 MB that do not compress."""
    import numpy
    import rerun as rr

    rng = numpy.random.default_rng(megabytes)
    with rr.RecordingStream("rushes_load", recording_id=recording_id) as recording:
        recording.save(path)
        for frame in range(megabytes):
            recording.set_time("frame", sequence=frame)
            recording.log("/points", rr.Points3D(rng.random((87_000, 3), numpy.float32)))


def cut_footer(path: Path) -> None:
    """Takes the last 32 bytes, without which there is no footer."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 32)


def write_small(path: Path, recording_id: str) -> None:
    import rerun as rr

    with rr.RecordingStream("rushes_load", recording_id=recording_id) as recording:
        recording.save(path)
        for frame in range(200):
            recording.set_time("frame", sequence=frame)
            recording.log("/value", rr.Scalars(float(frame)))


def recordings(folder: Path, megabytes: int) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "large": folder / f"large_{megabytes}.rrd",
        "footerless": folder / f"footerless_{megabytes}.rrd",
        **{f"small_{i}": folder / f"small_{i}.rrd" for i in range(8)},
    }
    for name, path in files.items():
        if path.exists():
            continue
        unfinished = path.with_suffix(".part")
        if name.startswith("small"):
            write_small(unfinished, name)
        else:
            write_large(unfinished, name, megabytes)
        if name == "footerless":
            cut_footer(unfinished)
        unfinished.rename(path)
    return files


def one_round(
    client: Any, dataset: Any, files: dict[str, Path], rng: random.Random
) -> Counter[str]:
    """What one client does once, with a dataset of its own; counts the calls.

    Datasets stay: the official client lists them and then reads each, which fails for one that is deleted in between.
    """
    done: Counter[str] = Counter()
    names = [f"small_{small}" for small in rng.sample(range(8), 2)]
    for name in names:
        dataset.register([files[name].as_uri()]).wait()
        done["register"] += 1
    listed = client.dataset_names()
    assert dataset.name in listed, listed
    done["list"] += 1
    assert sorted(dataset.segment_ids()) == sorted(names)
    assert dataset.segment_table().count() == 2
    done["segment table"] += 2
    rows = dataset.reader(index="frame").count()
    assert rows == 400, rows
    done["query"] += 1
    dataset.unregister(segments_to_drop=names, layers_to_drop=[]).wait()
    done["unregister"] += 1
    return done


def run_clients(
    url: str, threads: int, seconds: float, barrier: Any, files: dict[str, Path], results: Any
) -> None:
    """One process of clients."""
    os.nice(10)
    os.environ.setdefault("TOKIO_WORKER_THREADS", "2")
    from rerun.catalog import CatalogClient

    counts: Counter[str] = Counter()
    errors: list[str] = []
    lock = threading.Lock()

    ready = [CatalogClient(url) for _ in range(threads)]
    datasets = [client.create_dataset(f"load_{os.getpid()}_{i}") for i, client in enumerate(ready)]
    barrier.wait(START_TIMEOUT_S)
    until = time.time() + seconds

    def run(place: int) -> None:
        rng = random.Random(os.getpid() + place)
        done: Counter[str] = Counter()
        try:
            client, dataset = ready[place], datasets[place]
            number = 0
            while time.time() < until:
                done += one_round(client, dataset, files, rng)
                number += 1
            if number == 0:
                raise RuntimeError("not a single round within the time")
        except Exception:
            with lock:
                errors.append(traceback.format_exc())
        with lock:
            counts.update(done)

    workers = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    results.put((dict(counts), errors))


def run_large(
    url: str, what: str, seconds: float, barrier: Any, files: dict[str, Path], results: Any
) -> None:
    """Registers the recording without a footer, or fetches the other one, until the time is over."""
    os.nice(5)
    from rerun.catalog import CatalogClient

    counts: Counter[str] = Counter()
    errors: list[str] = []
    try:
        client = CatalogClient(url)
        if what == "register":
            dataset = client.create_dataset(f"footerless_{os.getpid()}")
        barrier.wait(START_TIMEOUT_S)
        until = time.time() + seconds
        while time.time() < until:
            if what == "register":
                dataset.register([files["footerless"].as_uri()]).wait()
                dataset.unregister(segments_to_drop=["footerless"], layers_to_drop=[]).wait()
            else:
                frames = 0
                for batch in client.get_dataset("large").reader(index="frame").execute_stream():
                    frames += batch.to_pyarrow().num_rows
                assert frames > 0
            counts[f"{what} large"] += 1
    except Exception:
        errors.append(traceback.format_exc())
    results.put((dict(counts), errors))


def ask_alone(port: int, seconds: float, barrier: Any, results: Any) -> None:
    """The lone client: latencies of `FindEntries` in milliseconds."""
    import grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    find = channel.unary_unary(FIND_ENTRIES)
    find(b"", timeout=30)
    latencies, errors = [], []
    barrier.wait(START_TIMEOUT_S)
    until = time.time() + seconds
    try:
        while time.time() < until:
            start = time.perf_counter()
            find(b"", timeout=30)
            latencies.append((time.perf_counter() - start) * 1e3)
            time.sleep(0.05)
    except Exception:
        errors.append(traceback.format_exc())
    results.put((latencies, errors))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "load")
    arguments = parser.parse_args()

    import psutil

    files = recordings(arguments.folder, arguments.megabytes)
    server = subprocess.Popen(
        [str(EXECUTABLE), "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = next(line.split()[-1] for line in server.stdout if line.startswith("Serving at "))
    threading.Thread(target=server.stdout.read, daemon=True).start()
    port = int(url.rsplit(":", 1)[1])
    context = multiprocessing.get_context("spawn")
    failures: list[str] = []
    report: dict[str, Any] = {"cores": os.cpu_count(), "load before": os.getloadavg()[0]}

    def start(target: Any, *args: Any) -> tuple[Any, Any]:
        results = context.Queue()
        process = context.Process(target=target, args=(*args, results))
        process.start()
        return process, results

    def finish(started: tuple[Any, Any]) -> tuple[Any, list[str]]:
        process, results = started
        value, errors = results.get(timeout=arguments.seconds + 600)
        process.join()
        failures.extend(errors)
        return value, errors

    def describe(latencies: list[float]) -> dict[str, float]:
        return {
            "calls": len(latencies),
            "p50 ms": round(percentile(latencies, 0.5), 2),
            "p99 ms": round(percentile(latencies, 0.99), 2),
            "max ms": round(max(latencies), 2),
        }

    try:
        from rerun.catalog import CatalogClient

        CatalogClient(url).create_dataset("large").register([files["large"].as_uri()]).wait()

        # What the machine itself makes the lone client wait, whatever else runs on it.
        barrier = context.Barrier(1)
        alone, _ = finish(start(ask_alone, port, min(15.0, arguments.seconds), barrier))
        report["alone"] = describe(alone)

        seconds = min(30.0, arguments.seconds)
        barrier = context.Barrier(3)
        beside = [
            start(run_large, url, what, seconds, barrier, files) for what in ("register", "fetch")
        ]
        alone, _ = finish(start(ask_alone, port, seconds, barrier))
        large: Counter[str] = Counter()
        for one in beside:
            large.update(finish(one)[0])
        report["beside large recordings"] = {**describe(alone), **large}

        seconds = arguments.seconds
        barrier = context.Barrier(arguments.processes + 4)
        share, rest = divmod(arguments.clients, arguments.processes)
        running = [
            start(run_clients, url, share + (i < rest), seconds, barrier, files)
            for i in range(arguments.processes)
        ]
        running += [
            start(run_large, url, what, seconds, barrier, files) for what in ("register", "fetch")
        ]
        lone = start(ask_alone, port, seconds, barrier)
        barrier.wait(START_TIMEOUT_S)
        begin = time.time()
        until = begin + seconds
        process = psutil.Process(server.pid)
        halves: list[list[int]] = [[], []]
        while time.time() < until:
            halves[time.time() > begin + arguments.seconds / 2].append(process.memory_info().rss)
            time.sleep(0.5)
        counts: Counter[str] = Counter()
        for one in running:
            counts.update(finish(one)[0])
        latencies, _ = finish(lone)
        first, second = max(halves[0]), max(halves[1])
        report["calls"] = dict(counts)
        report["beside everything"] = describe(latencies)
        report["memory MB"] = {"first half": first >> 20, "second half": second >> 20}
        if second > first * GROWTH_MAX + GROWTH_MAX_BYTES:
            failures.append(f"memory grew from {first >> 20} to {second >> 20} MB")
        for name in ("beside large recordings", "beside everything"):
            if report[name]["p99 ms"] >= P99_MAX_MS:
                failures.append(f"FindEntries {name}: p99 is {report[name]['p99 ms']} ms")
        if server.poll() is not None:
            failures.append(f"the server ended with {server.returncode}")
    finally:
        server.terminate()
        server.wait(20)
    print(json.dumps(report, indent=2))
    for failure in failures[:10]:
        print(f"FAILED: {failure}", file=sys.stderr)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
