"""Each official SDK from 0.36 to 0.41 against our server, through one script; the table of README comes from this run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLE = Path(
    os.environ.get("RUSHES_EXECUTABLE", ROOT / "python" / "rushes" / "bin" / "rushes")
)
BEGIN, END = "<!-- sdk table -->", "<!-- end of sdk table -->"

_spec = importlib.util.spec_from_file_location("make_sdks", ROOT / "tools" / "make_sdks.py")
assert _spec is not None
assert _spec.loader is not None
make_sdks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_sdks)

VERSIONS = [*make_sdks.VERSIONS, make_sdks.IN_VENV]
TOPICS = {
    "catalog": "Catalog: create, rename, list, delete",
    "registration": "Registration, layers, segment table",
    "query": "Queries: filters, filling, index values",
    "properties": "Properties of recordings",
    "segment_stores": "Segment stores",
    "blueprints": "Blueprints",
    "assets": "Assets",
    "tables": "Tables: append, upsert, overwrite, SQL",
    "staged_uploads": "Staged uploads",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [str(EXECUTABLE), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    url = ""
    for line in process.stdout:
        if line.startswith("Serving at "):
            url = line.split()[-1]
            break
    threading.Thread(target=process.stdout.read, daemon=True).start()
    try:
        yield url
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def answers(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Version -> topic -> what became of it. Two at a time; each starts when its SDK is there."""

    def run(version: str) -> dict[str, Any]:
        make_sdks.make(version)
        folder = tmp_path_factory.mktemp(f"sdk_{version}")
        script = Path(__file__).with_name("catalog_session.py")
        done = subprocess.run(
            [sys.executable, str(script), version, server, str(folder)],
            env={**os.environ, "PYTHONPATH": make_sdks.path_of(version)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(VERSIONS, pool.map(run, VERSIONS), strict=True))


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("version", VERSIONS)
def test_sdk(answers: dict[str, dict[str, Any]], version: str, topic: str) -> None:
    assert answers[version]["version"] == version
    assert answers[version][topic] in (True, None), answers[version][topic]


def test_what_an_sdk_may_lack(answers: dict[str, dict[str, Any]]) -> None:
    """A topic that is skipped where the SDK has it would pass unseen."""
    lacking = {
        (version, topic)
        for version, found in answers.items()
        for topic in TOPICS
        if found[topic] is None
    }
    assert lacking == {(v, "staged_uploads") for v in ("0.36.3", "0.37.2", "0.38.1")}


def table(answers: dict[str, dict[str, Any]]) -> str:
    marks = {True: "yes", None: "not in this SDK"}
    lines = [
        "| Official SDK | " + " | ".join(VERSIONS) + " |",
        "|---|" + "---|" * len(VERSIONS),
    ]
    for topic, title in TOPICS.items():
        cells = [marks.get(answers[version][topic], "**no**") for version in VERSIONS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_the_table_in_readme(answers: dict[str, dict[str, Any]]) -> None:
    """RUSHES_WRITE_README=1 puts it there."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    shown, after = rest.split(END)
    wanted = table(answers)
    if os.environ.get("RUSHES_WRITE_README"):
        readme.write_text(f"{before}{BEGIN}\n{wanted}\n{END}{after}")
        return
    assert shown.strip() == wanted
