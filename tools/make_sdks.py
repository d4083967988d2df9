"""Puts older official SDKs into build/sdk/<version>, each once; what they depend on is that of .venv.

    python tools/make_sdks.py            all
    python tools/make_sdks.py 0.36.3     that one

`PYTHONPATH` of a version, ahead of what .venv has, is what `path_of` says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "sdk"
# The last release of each minor version that our server must serve; that of .venv is tested everywhere.
VERSIONS = ("0.36.3", "0.37.2", "0.38.1", "0.39.0", "0.40.0")
IN_VENV = "0.41.0"


def make(version: str) -> None:
    """Installs one, if it is not there. A run that is cut short leaves nothing that looks whole."""
    target = FOLDER / version
    if version == IN_VENV or target.exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        made = Path(scratch) / version
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        what = ["--no-deps", "--no-compile", "--target", str(made), f"rerun-sdk=={version}"]
        subprocess.run([*install, *what], check=True)
        # The viewer is half of it.
        for viewer in made.rglob("rerun_cli"):
            shutil.rmtree(viewer)
        made.rename(target)


def path_of(version: str) -> str:
    """The folders to import the version from; empty for the one in .venv."""
    if version == IN_VENV:
        return ""
    target = FOLDER / version
    # Up to 0.38 the package lay in a folder that a .pth file names.
    return os.pathsep.join(str(f) for f in (target / "rerun_sdk", target) if f.is_dir())


def main() -> int:
    """Returns 0 when all are there."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, sys.argv[1:] or VERSIONS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
