"""Content filters: which entities are in view."""

from __future__ import annotations

from collections.abc import Sequence


class ContentFilter:
    """Rules that include and exclude entities; immutable.

    The most specific rule that covers an entity decides; what no rule covers is out. Properties are in only if a rule names them.

    >>> ContentFilter.nothing().include("/world", subtree=True).exclude("/world/camera")
    ContentFilter(['/world/**', '-/world/camera'])
    """

    __slots__ = ("_exprs",)

    def __init__(self, exprs: tuple[str, ...] | list[str]) -> None:
        self._exprs = tuple(exprs)

    @classmethod
    def everything(cls) -> ContentFilter:
        """All entities, without properties."""
        return cls(("/**",))

    @classmethod
    def nothing(cls) -> ContentFilter:
        """No entity; add some by :meth:`include`."""
        return cls(())

    def include(self, path: str, *, subtree: bool = False) -> ContentFilter:
        """Add a rule that puts `path`, and what is below it if `subtree`, into view."""
        return ContentFilter((*self._exprs, _rule(path, subtree)))

    def exclude(self, path: str, *, subtree: bool = False) -> ContentFilter:
        """Add a rule that takes `path`, and what is below it if `subtree`, out of view."""
        return ContentFilter((*self._exprs, "-" + _rule(path, subtree)))

    def include_properties(self) -> ContentFilter:
        """Add the properties of the recordings."""
        return ContentFilter((*self._exprs, "/__properties/**"))

    def to_exprs(self) -> list[str]:
        """Return the rules as text."""
        return list(self._exprs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ContentFilter):
            return NotImplemented
        return self._exprs == other._exprs

    def __hash__(self) -> int:
        return hash(self._exprs)

    def __repr__(self) -> str:
        return f"ContentFilter({list(self._exprs)!r})"


def _rule(path: str, subtree: bool) -> str:
    if not path.startswith("/"):
        raise ValueError(f"Entity path expression must start with '/', got: {path!r}")
    if subtree and not path.endswith("/**"):
        return path.rstrip("/") + "/**"
    return path


def expressions(exprs: ContentFilter | str | Sequence[str]) -> list[str]:
    """The argument of `filter_contents` as a list of rules."""
    if isinstance(exprs, ContentFilter):
        return exprs.to_exprs()
    if isinstance(exprs, str):
        return [exprs]
    rules = list(exprs)
    for rule in rules:
        if not isinstance(rule, str):
            raise TypeError(f"content expressions must be str, not {type(rule).__name__}")
    return rules


def describe(exprs: list[str]) -> str:
    """The rules of one call, signs in front, sorted by path; for reprs."""
    rules: dict[str, str] = {}
    for token in _tokens(" ".join(exprs)):
        sign = token[0] if token[0] in "+-" else "+"
        path = token.lstrip("+-" if token[0] in "+-" else "").strip()
        if path:
            rules[path] = sign
    return " ".join(f"{rules[path]} {path}" for path in sorted(rules))


def _tokens(text: str) -> list[str]:
    """Splits at white space that is not escaped; white space after a leading sign belongs to its token."""
    tokens: list[str] = []
    current = ""
    escaped = False
    for char in text:
        if escaped:
            current += char
            escaped = False
        elif char == "\\":
            current += char
            escaped = True
        elif char.isspace() and not (current.strip() in ("+", "-") and char != "\n"):
            if current:
                tokens.append(current)
            current = ""
        else:
            current += char
    if current:
        tokens.append(current)
    return tokens
