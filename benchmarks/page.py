"""The generated parts of docs/performance.md: each script replaces what lies between its own pair of markers."""

from __future__ import annotations

from pathlib import Path

from common import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"


def markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin, generated -->", f"<!-- {name}: end -->"


def update(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` between the markers of `name`; ValueError if the page does not have them once each, in order."""
    begin, end = markers(name)
    old = page.read_text()
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ValueError(f"{page} must have {begin} and {end} once each")
    head, rest = old.split(begin)
    tail = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}")
