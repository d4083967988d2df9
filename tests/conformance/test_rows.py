"""The list of rows itself: none without a test, no test of a row that is not there, the page as the tests are."""

from __future__ import annotations

import subprocess
import sys

from protocol import ROOT


def test_every_row_is_covered_and_the_page_says_by_what() -> None:
    tool = ROOT / "tools" / "make_conformance.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(tool.parent))
    try:
        import make_conformance
    finally:
        sys.path.remove(str(tool.parent))
    assert len(make_conformance.rows()["protocol"]) == 123
