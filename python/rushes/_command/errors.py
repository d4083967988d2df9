"""What goes wrong in a command, and its words."""

from __future__ import annotations

import re

from rushes._errors import nearest


class CommandError(Exception):
    """For stderr, without a traceback; the process ends with exit code 1."""


_FROM_PYTHON = re.compile(
    r"\b(?:ValueError|TypeError|OSError|MemoryError|RuntimeError|ConnectionError|NotFoundError|NotImplementedError"
    r"|PermissionError|FileNotFoundError|TimeoutError): (.*)",
    re.DOTALL,
)


def words_of_datafusion(error: BaseException, columns: list[str]) -> str:
    """What an exception of DataFusion says, without its wrappings; `columns` there are, for unknown ones."""
    text = str(error)
    if match := re.search(r"No field named (.+?)\.(?: Did you mean| Valid fields|\s|$)", text):
        name = match[1]
        name = re.sub(r'^("\?table\?"|\?table\?|data)\.', "", name)
        name = name[1:-1].replace('""', '"') if name.startswith('"') else name
        hint = ""
        if ":" in name or "/" in name:
            hint = " Names with other characters than letters need double quotes."
        return f"there is no column {name}.{nearest(name, columns) or hint}"
    if match := re.search(r"table 'datafusion\.public\.(.+?)' not found", text):
        return f"there is no table {match[1]}; the rows are in the table data"
    if match := re.search(r'ParserError\("(.*)"\)', text, re.DOTALL):
        return "not an SQL expression: " + match[1].replace('\\"', '"')
    if match := _FROM_PYTHON.search(text):
        return match[1].strip()
    text = text.split("\ncaused by\n")[-1].strip()
    text = re.sub(
        r"^(?:DataFusion error: |Error during planning: |Execution error: |Arrow error: )+",
        "",
        text,
    )
    # Candidates and backtraces follow on lines of their own.
    text = text.split("\n")[0].replace("?table?.", "")[:600]
    if "List(" in text:
        text = (
            text.rstrip(".") + '. Component columns hold lists: "/a:x"[1] is the first value of one'
        )
    return text
