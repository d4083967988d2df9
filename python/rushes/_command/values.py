"""Index values and distances as the command line writes them."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pyarrow as pa

from .errors import CommandError

_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_LEAST, _GREATEST = -(2**63) + 1, 2**63 - 1
_DATE = re.compile(r"(\d{4})-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?Z?", re.IGNORECASE)


def parts_of(given: list[str] | None) -> list[str] | None:
    r"""The names of an option that may be given several times, each with commas; `\,` is a comma within a name."""
    if given is None:
        return None
    out = []
    for text in given:
        # Entity paths keep the backslash: it is how they write a comma.
        out += [part.strip() for part in re.split(r"(?<!\\),", text)]
    return [part for part in out if part]


def distance(text: str, option: str, index: str, kind: pa.DataType) -> int:
    """A distance on the index: a number, on timelines of time with a unit if it is not in nanoseconds."""
    value = _number_with_unit(text, option, index, kind)
    if value < 0:
        raise CommandError(f"{option} must not be negative, got {text}")
    return value


def index_values(given: list[str], option: str, index: str, kind: pa.DataType) -> pa.Array:
    """Values of the index: numbers, dates on a timeline of timestamps, numbers with a unit on one of durations."""
    values = []
    for text in given:
        if pa.types.is_timestamp(kind) and (match := _DATE.fullmatch(text)):
            if not 1678 <= int(match[1]) <= 2261:
                raise CommandError(f"{option}: {text} is beyond the times there are, 1678 to 2261")
            try:
                moment = np.datetime64(text.rstrip("zZ").replace(" ", "T"), "ns")
            except ValueError as error:
                raise CommandError(f"{option}: {text} is no date: {error}") from None
            values.append(int(moment.astype(np.int64)))
        elif pa.types.is_timestamp(kind) and not re.fullmatch(r"[+-]?\d+", text):
            raise CommandError(
                f"{option}: {text} is no time of {index}: write 2024-05-17T12:30:00.5 or nanoseconds since 1970"
            )
        else:
            values.append(_number_with_unit(text, option, index, kind))
    return pa.array(values, pa.int64())


def _number_with_unit(text: str, option: str, index: str, kind: pa.DataType) -> int:
    match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match is None:
        raise CommandError(f"{option}: {text} is no number")
    number, unit = match.groups()
    if pa.types.is_int64(kind):
        if unit or "." in number:
            raise CommandError(
                f"{option}: {index} counts, so it takes a whole number without a unit, not {text}"
            )
        value = int(number)
    else:
        if unit and unit not in _UNITS_NS:
            raise CommandError(f"{option}: no unit {unit}; there are {', '.join(_UNITS_NS)}")
        if not unit and "." in number:
            raise CommandError(f"{option}: {text} needs a unit, such as {text}s")
        exact = Decimal(number) * _UNITS_NS[unit or "ns"]
        value = int(exact)
        if exact != value:
            raise CommandError(f"{option}: {text} is no whole number of nanoseconds")
    if not _LEAST <= value <= _GREATEST:
        raise CommandError(f"{option}: {text} is beyond 64 bits")
    return value


def size(text: str, option: str) -> int:
    """Bytes, such as 512MiB."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(iB|B)?", text.strip(), re.IGNORECASE)
    value = 0
    if match is not None:
        binary = (match[3] or "").lower() != "b" or not match[2]
        power = " KMGT".index(match[2].upper() or " ")
        value = int(match[1]) * (1024 if binary else 1000) ** power
    if not 0 < value <= _GREATEST:
        raise CommandError(f"{option}: {text} is no size; write 512MiB or 2GiB")
    return value
