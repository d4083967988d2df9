"""The command line: starts the executable that the package carries. `query` is done here, with what the package can do."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Runs `query`; for all else replaces this process by the `rushes` executable, with the same arguments."""
    if sys.argv[1:2] == ["query"]:
        from rushes._command.query import main as query

        query(sys.argv[2:])
    import pyarrow  # its folder has the libraries that the executable needs

    executable = Path(__file__).resolve().parent / "bin" / "rushes"
    if not executable.exists():
        executable = Path(__file__).parent / "bin" / "rushes"
    if not executable.exists():
        sys.exit(f"rushes: the executable is missing at {executable}; install the package again")
    # Found by its own search path in a usual installation; this serves the others.
    libraries = pyarrow.get_library_dirs()[0]
    known = os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = f"{libraries}:{known}" if known else libraries
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(executable, ["rushes", *sys.argv[1:]])


if __name__ == "__main__":
    main()
