"""Writes docs/conformance.md: which test covers which row of tests/conformance/rows.toml. `--check` only compares."""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "conformance"
PAGE = ROOT / "docs" / "conformance.md"

INTRO = """# Conformance

What a server of this protocol is held to, and which test of `tests/conformance` holds ours to it. Every row of the first
four parts runs against a server embedded in the process and against one in another process; rows about packages run
with our client over the network, with our client in process, and with the official one. Written by
`python tools/make_conformance.py`; a test compares.

`CONFORMANCE_SERVER=official python -m pytest tests/conformance` asks the same of the official server. Tests that are marked
`ours` are left out there: {ours}.

No row needs Lance data: where one comes with some (`write_table`, `test_urls`, `test_query_lance_table`,
`test_datafusion_catalog_get_tables`, `test_write_to_registered_table`), its test uses a table that the server stores itself, and
what a directory of Lance data is answered has tests of its own.

{counts}
"""
TITLES = {
    "protocol": "Calls",
    "around": "What surrounds the calls",
    "package": "Through a Python package",
    "examples": "Examples of the documentation",
    "client_only": "Not asked of a server",
}


def rows() -> dict[str, list[tuple[str, str, str]]]:
    """Part -> (area, row, meaning)."""
    table = tomllib.loads((TESTS / "rows.toml").read_text())
    found: dict[str, list[tuple[str, str, str]]] = {}
    for part, content in table.items():
        found[part] = []
        for key, value in content.items():
            if isinstance(value, dict):
                found[part] += [(key, row, meaning) for row, meaning in value.items()]
            else:
                found[part].append(("", key, value))
    return found


def marks() -> tuple[dict[str, list[str]], list[str]]:
    """Row -> the tests that say they cover it, and the reasons of those that are ours alone."""
    covering: dict[str, list[str]] = {}
    ours = []
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                if not isinstance(decorator, ast.Call):
                    continue
                name = ast.unparse(decorator.func)
                values = [a.value for a in decorator.args if isinstance(a, ast.Constant)]
                if name == "pytest.mark.covers":
                    for row in values:
                        covering.setdefault(str(row), []).append(f"{path.stem}::{node.name}")
                elif name == "pytest.mark.ours":
                    ours += [str(value) for value in values]
    return covering, ours


def page() -> str:
    """The page. ValueError names rows without a test and marks without a row."""
    parts, (covering, ours) = rows(), marks()
    known = {row for part, of in parts.items() if part != "client_only" for _, row, _ in of}
    lacking = sorted(known - set(covering))
    strange = sorted(set(covering) - known)
    if lacking or strange:
        raise ValueError(f"rows without a test: {lacking}; tests of no row: {strange}")
    counts = [
        f"{len(of)} {'are left out' if part == 'client_only' else 'rows'} in [{TITLES[part]}]"
        f"(#{TITLES[part].lower().replace(' ', '-')})"
        for part, of in parts.items()
    ]
    lines = [INTRO.format(ours="; ".join(dict.fromkeys(ours)), counts=", ".join(counts) + ".")]
    for part, of in parts.items():
        lines.append(f"## {TITLES[part]}\n")
        last = "Why" if part == "client_only" else "Test"
        lines += [f"| Row | {'' if part == 'client_only' else 'What it asks for | '}{last} |"]
        lines.append("|---|---|" if part == "client_only" else "|---|---|---|")
        area_before = ""
        for area, row, meaning in of:
            if area and area != area_before:
                lines.append(f"| **{area}** | | |")
                area_before = area
            tests = "<br>".join(f"`{t}`" for t in covering.get(row, []))
            lines.append(
                f"| `{row}` | {meaning} |"
                if part == "client_only"
                else f"| `{row}` | {meaning} | {tests} |"
            )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Returns 1 if the page is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    wanted = page()
    if args.check:
        if not PAGE.exists() or PAGE.read_text() != wanted:
            print(f"{PAGE.relative_to(ROOT)} is not up to date: run python {Path(__file__).name}")
            return 1
        return 0
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
