"""What `--where` adds to SQL: a component column beside an operator stands for its first value.

Cells of component columns are lists, nearly always of one instance. `"/a:x" > 0.5` is what people write, and SQL has no such
comparison, so it becomes `"/a:x"[1] > 0.5`. Everything else is left as it is: `"/a:x" IS NOT NULL`, `"/a:x"[2] > 0`,
`cardinality("/a:x") > 1`, `"/a:x" = [1.0]`.
"""

from __future__ import annotations

import re
from collections.abc import Container

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*")
    |(?P<word>[A-Za-z_]\w*)
    |(?P<number>\d[\w.]*)
    |(?P<operator><=|>=|<>|!=|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPERATORS = {"=", "<", ">", "<=", ">=", "<>", "!=", "+", "-", "*", "/", "%", "||"}
_WORDS_AFTER = {"LIKE", "ILIKE", "BETWEEN", "IN", "NOT", "SIMILAR"}
_WORDS_BEFORE = {"LIKE", "ILIKE"}
_LISTS = {"[", "MAKE_ARRAY", "ARRAY"}


def with_first_values(expression: str, lists: Container[str]) -> str:
    """The expression, with `[1]` after each column of `lists` that stands beside an operator."""
    tokens = [(match.lastgroup, match[0]) for match in _TOKEN.finditer(expression)]
    # Positions of the tokens that mean something.
    solid = [i for i, (kind, _) in enumerate(tokens) if kind != "blank"]

    def at(position: int) -> str:
        if not 0 <= position < len(solid):
            return ""
        kind, text = tokens[solid[position]]
        return text.upper() if kind in ("word", "operator") else "\0"

    out = [text for _, text in tokens]
    for position, i in enumerate(solid):
        kind, text = tokens[i]
        if kind != "name" or text[1:-1].replace('""', '"') not in lists:
            continue
        before, after = at(position - 1), at(position + 1)
        if after == "[":
            continue
        if after in _OPERATORS or after in _WORDS_AFTER:
            is_beside_list = at(position + 2) in _LISTS
        elif before in _OPERATORS or before in _WORDS_BEFORE:
            is_beside_list = at(position - 2) == "]" and _ends_a_list(tokens, solid, position - 2)
        else:
            continue
        if not is_beside_list:
            out[i] += "[1]"
    return "".join(out)


def _ends_a_list(tokens: list[tuple[str | None, str]], solid: list[int], position: int) -> bool:
    """Whether the `]` there closes a list of values rather than the index of a column."""
    depth = 0
    while position >= 0:
        text = tokens[solid[position]][1]
        depth += (text == "]") - (text == "[")
        if depth == 0:
            before = tokens[solid[position - 1]] if position > 0 else (None, "")
            return before[0] not in ("name", "word") and before[1] not in (")", "]")
        position -= 1
    return False
