"""Writes the table of Unicode letters and digits that entity paths keep unescaped.

Usage: python tools/make_alphanumeric_table.py > src/rushes/chunk/alphanumeric.inc   (needs the PyPI package `regex`)
"""

import regex

KEPT = regex.compile(r"[\p{Alphabetic}\p{N}]")


def ranges():
    start = None
    for code in range(0x80, 0x110000):
        kept = not 0xD800 <= code <= 0xDFFF and KEPT.match(chr(code)) is not None
        if kept and start is None:
            start = code
        elif not kept and start is not None:
            yield start, code - 1
            start = None


if __name__ == "__main__":
    print(
        "// Made by tools/make_alphanumeric_table.py: first and last code point of each range above ASCII."
    )
    line = ""
    for first, last in ranges():
        item = f"{{0x{first:X}, 0x{last:X}}}, "
        if len(line) + len(item) > 110:
            print(line.rstrip())
            line = ""
        line += item
    print(line.rstrip())
