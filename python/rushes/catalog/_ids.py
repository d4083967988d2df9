"""Ids and kinds of catalog entries."""

from __future__ import annotations

import enum


class EntryKind(enum.Enum):
    """What an entry is."""

    DATASET = 1
    DATASET_VIEW = 2
    TABLE = 3
    TABLE_VIEW = 4
    BLUEPRINT_DATASET = 5
    ASSET_DATASET = 6

    def __int__(self) -> int:
        return int(self.value)

    def __str__(self) -> str:
        return f"EntryKind.{self.name}"

    def __repr__(self) -> str:
        return f"EntryKind.{self.name}"

    # Comparable to numbers, as its `int()` is.
    def __eq__(self, other: object) -> bool:
        if isinstance(other, int) and not isinstance(other, bool):
            return int(self.value) == other
        return self is other

    def __hash__(self) -> int:
        return hash(self.value)


class EntryId:
    """The id of an entry: 32 hex digits."""

    __slots__ = ("_bytes",)

    def __init__(self, id: str) -> None:
        if not isinstance(id, str):
            raise TypeError(f"invalid Tuid: expected a str, not {type(id).__name__}")
        if len(id) != 32:
            raise TypeError(
                f"invalid Tuid: expected exactly 32 hex characters, got {len(id.encode())} bytes"
            )
        try:
            self._bytes = bytes.fromhex(id)
        except ValueError:
            self._bytes = b""
        if len(self._bytes) != 16:
            raise TypeError(f"invalid Tuid: '{id}' is not made of hex digits")

    @classmethod
    def _of(cls, data: bytes) -> EntryId:
        made = cls.__new__(cls)
        made._bytes = bytes(data)
        return made

    def as_bytes(self) -> bytes:
        """Return the 16 bytes of the id."""
        return self._bytes

    def __str__(self) -> str:
        # Time and counter are told apart by their case.
        return self._bytes[:8].hex().upper() + self._bytes[8:].hex()

    def __repr__(self) -> str:
        return f"EntryId('{self}')"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EntryId):
            return NotImplemented
        return self._bytes == other._bytes

    __hash__ = None  # type: ignore[assignment]
