"""What `using_index_values` takes, as nanoseconds or sequence numbers per segment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

IndexValuesLike: TypeAlias = (
    npt.NDArray[np.int64] | npt.NDArray[np.datetime64] | pa.Int64Array | pa.Array | Sequence[int]
)

Distance: TypeAlias = int | timedelta | np.timedelta64 | np.integer[Any]

_ACCEPTED = (
    "IndexValuesLike must be a pyarrow.Array, a pyarrow.ChunkedArray, a numpy array of int64 or datetime64, "
    "or a sequence of int"
)


def to_int64(values: object) -> npt.NDArray[np.int64]:
    """The values as sorted int64; times become nanoseconds. Nulls are dropped, duplicates refused."""
    result, nulls = _convert(values)
    if nulls > 1 or len(np.unique(result)) != len(result):
        raise ValueError("Index values must be unique.")
    return np.sort(result)


def _convert(values: object) -> tuple[npt.NDArray[np.int64], int]:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = (
                pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
            )
    if isinstance(values, pa.Array):
        kind = values.type
        if pa.types.is_timestamp(kind):
            values = values.cast(pa.timestamp("ns", kind.tz))
        elif pa.types.is_duration(kind):
            values = values.cast(pa.duration("ns"))
        elif not pa.types.is_int64(kind):
            raise TypeError(
                f"pyarrow.Array for IndexValuesLike must be of type int64, timestamp, or duration, not {kind}."
            )
        array: Any = values
        nulls = int(array.null_count)
        # Times are 64-bit integers underneath; a cast would go through the zone.
        plain = array.drop_null().view(pa.int64())
        return plain.to_numpy(zero_copy_only=False).astype(np.int64), nulls
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{_ACCEPTED}; got {type(values).__name__}")
    if isinstance(values, (list, tuple)) and any(
        isinstance(value, bool) or not isinstance(value, (int, np.integer)) for value in values
    ):
        odd = next(v for v in values if isinstance(v, bool) or not isinstance(v, (int, np.integer)))
        raise TypeError(f"{_ACCEPTED}; got a {type(values).__name__} with a {type(odd).__name__}")
    numbers: npt.NDArray[Any] = np.asarray(values if hasattr(values, "__array__") else list(values))
    if numbers.size == 0 and not hasattr(values, "__array__"):
        return np.empty(0, np.int64), 0
    if numbers.ndim != 1:
        raise TypeError(f"{_ACCEPTED}; got an array of {numbers.ndim} dimensions")
    if numbers.dtype.kind == "M":
        nanos = numbers.astype("datetime64[ns]")
        missing = np.isnat(nanos)
        return nanos[~missing].astype(np.int64), int(missing.sum())
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
        if (
            numbers.dtype.kind == "u"
            and numbers.size
            and int(numbers.max()) > np.iinfo(np.int64).max
        ):
            raise OverflowError("an index value does not fit into 64 bits")
        return numbers.astype(np.int64), 0
    raise TypeError(f"{_ACCEPTED}; got an array of {numbers.dtype}")


def to_distance(value: object, name: str, is_sequence: bool) -> int:
    """A distance on the index in its units, sequence numbers or nanoseconds. `name`: of the parameter, for errors."""
    if isinstance(value, (timedelta, np.timedelta64)):
        if is_sequence:
            raise TypeError(
                f"{name} must be an int for a sequence timeline, not {type(value).__name__}"
            )
        if isinstance(value, timedelta):
            # In whole microseconds, as the type has them: a conversion by numpy could overflow without a word.
            result = (value // timedelta(microseconds=1)) * 1000
        elif np.isnat(value):
            raise ValueError(f"{name} must not be NaT")
        else:
            result = _nanoseconds(value, name)
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        result = int(value)
    else:
        raise TypeError(f"{name} must be an int or a timedelta, not {type(value).__name__}")
    if not 0 <= result <= np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be between 0 and 2^63 - 1, got {value}")
    return result


# Nanoseconds in one step of a unit; finer units have fewer than one.
_UNIT_NS = {
    "W": 604_800 * 10**9,
    "D": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
    "generic": 1,
}
_UNIT_PER_NS = {"ps": 10**3, "fs": 10**6, "as": 10**9}


def _nanoseconds(value: np.timedelta64, name: str) -> int:
    """The whole nanoseconds of a distance; numpy's own conversion overflows without a word."""
    unit, steps = np.datetime_data(value.dtype)
    count = int(value.astype(np.int64)) * steps
    if unit in _UNIT_NS:
        return count * _UNIT_NS[unit]
    if unit in _UNIT_PER_NS:
        return count // _UNIT_PER_NS[unit]
    raise ValueError(f"{name} must be a time of certain length, got {value}")
