"""The wheel, installed into a fresh environment with nothing but its own dependencies, does the work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "recordings" / "howto"

USE_IT = """
import sys
from pathlib import Path
import rushes

recordings = Path(sys.argv[1])
with rushes.server.Server(datasets={"d": recordings}) as server:
    dataset = server.client().get_dataset("d")
    assert len(dataset.segment_ids()) == len(list(recordings.glob("*.rrd"))), dataset.segment_ids()
    index = dataset.schema().index_columns()[0].name
    table = dataset.reader(index=index).to_arrow_table()
    assert table.num_rows > 0 and table.num_columns > 3, table.schema
    assert dataset.scan(index=index).count_rows() == table.num_rows
    remote = rushes.catalog.CatalogClient(server.url()).get_dataset("d")
    assert remote.reader(index=index).to_arrow_table().num_rows == table.num_rows

mapped = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
print("rows", table.num_rows)
for path in sorted(mapped):
    print("mapped", path)
"""

FAKE_PYARROW = """
__version__ = "25.0.0"
class cpp_build_info:
    so_version = "2500"
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted((ROOT / "dist").glob("rushes-*.whl"))
    assert len(found) == 1, f"make wheel leaves one wheel in dist/, found {found}"
    return found[0]


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    subprocess.run(
        [
            str(folder / "bin" / "pip"),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            str(wheel),
        ],
        check=True,
        timeout=400,
    )
    return folder


def clean_environment() -> dict[str, str]:
    keep = {"PATH", "HOME", "LANG", "TMPDIR"}
    return {k: v for k, v in os.environ.items() if k in keep}


def run(fresh: Path, *command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(fresh / "bin" / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**clean_environment(), **env},
    )


def test_name_and_contents(wheel: Path) -> None:
    assert re.search(r"manylinux_2_\d+_x86_64", wheel.name), wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(re.fullmatch(r"rushes/_core\S*\.so", n) for n in names)
    assert "rushes/bin/rushes" in names
    assert "rushes/py.typed" in names
    assert any(n.endswith("LICENSE-MIT") for n in names)
    assert any(n.endswith("LICENSE-APACHE") for n in names)
    assert not [n for n in names if re.search(r"lib(arrow|parquet)\w*[-.]", n)], (
        "Arrow is the user's"
    )
    assert not [n for n in names if n.endswith((".cc", ".h", ".pyc", ".a"))]


def test_it_works_and_needs_no_library_of_the_system(fresh: Path, tmp_path: Path) -> None:
    done = run(fresh, "python", "-c", USE_IT, str(RECORDINGS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(re.search(r"^rows (\d+)$", done.stdout, re.M)[1]) > 0
    mapped = re.findall(r"^mapped (\S+)$", done.stdout, re.M)
    assert any("_core" in path for path in mapped)
    bundled = re.compile(r"lib(grpc|gpr|protobuf|absl|crypto|ssl|re2|cares|lz4)\S*\.so")
    site = str(fresh)
    assert [p for p in mapped if bundled.search(p) and p.startswith(site)], (
        "Debian's libraries travel in it"
    )
    outside = [p for p in mapped if bundled.search(p) and not p.startswith(site)]
    # Python's own _ssl module may have loaded the system's OpenSSL.
    assert [p for p in outside if not re.search(r"lib(crypto|ssl)\.so", p)] == []


def test_the_executable_runs(fresh: Path, tmp_path: Path) -> None:
    done = run(fresh, "rushes", "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b0\.1\.0\b", done.stdout), done.stdout
    listed = run(fresh, "rushes", "ls", str(RECORDINGS), cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.strip()


def test_query(fresh: Path, tmp_path: Path) -> None:
    index = ["--index", "frame_nr", "--columns", "frame_nr"]
    done = run(
        fresh, "rushes", "query", str(RECORDINGS), *index, "--where", "frame_nr < 2", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:4] == ["frame_nr", "--------", "0", "1"]
    done = run(fresh, "rushes", "query", str(RECORDINGS), *index, "-o", "x.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.parquet").read_bytes()[:4] == b"PAR1"
    # The executable that the package carries finds the interpreter of its environment.
    (carried,) = fresh.glob("lib/python*/site-packages/rushes/bin/rushes")
    done = subprocess.run(
        [str(carried), "query", str(RECORDINGS), *index, "--limit", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={"PATH": "/nowhere"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["frame_nr", "--------", "0"]


def test_another_pyarrow_is_refused_with_the_line_to_run(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow" / "__init__.py").write_text(FAKE_PYARROW)
    (tmp_path / "pyarrow" / "compute.py").write_text("")
    done = run(fresh, "python", "-c", "import rushes", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert re.search(r"^ImportError: .*\b25\.0\.0\b", done.stderr, re.M), done.stderr
    assert "pip install 'pyarrow>=26.0.0,<26.1'" in done.stderr.replace('"', "'")


def test_pip_install_from_the_tree_into_an_empty_environment(tmp_path: Path) -> None:
    """Build isolation and all; the compiler cache keeps it short where it has seen our sources."""
    folder = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    env = {"CC": "cc", "CXX": "c++", **clean_environment()}
    subprocess.run(
        [
            str(folder / "bin" / "pip"),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            str(ROOT),
        ],
        check=True,
        timeout=900,
        env=env,
    )
    done = run(folder, "python", "-c", "import rushes; print(rushes.__version__)", cwd=tmp_path)
    assert done.stdout.strip() == "0.1.0", done.stderr
    assert run(folder, "rushes", "--version", cwd=tmp_path).returncode == 0
