"""The exception classes of the catalog; others are Python's own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NotFoundError(Exception):
    """What was asked for is not in the catalog."""

    __module__ = "rushes.catalog"


class AlreadyExistsError(Exception):
    """The name, or the (segment, layer), is taken."""

    __module__ = "rushes.catalog"


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """ " Did you mean …?" with the names closest to `name`, else a list of what there is, else nothing."""
    names = list(known)
    folded = {candidate.lower(): candidate for candidate in names}
    close = [
        folded[match]
        for match in difflib.get_close_matches(name.lower(), list(folded), n=count, cutoff=0.5)
    ]
    # Part of a long column name is a likely way to ask for it.
    close += [c for c in names if c not in close and len(name) > 2 and name.lower() in c.lower()]
    close = close[:count]
    if close:
        return " Did you mean " + " or ".join(f"'{candidate}'" for candidate in close) + "?"
    if names:
        shown = ", ".join(f"'{candidate}'" for candidate in names[:8])
        return f" There is {shown}{', …' if len(names) > 8 else ''}."
    return ""
