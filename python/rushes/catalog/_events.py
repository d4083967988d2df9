"""What happens in a catalog, as it happens."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from rushes import _core

from ._ids import EntryId


@dataclass(frozen=True, eq=True)
class EntryCreated:
    """A dataset or table was created or registered."""

    id: EntryId


@dataclass(frozen=True, eq=True)
class EntryDeleted:
    """A dataset or table was deleted; there is nothing any more that the id could name."""

    id: EntryId


CatalogEvent: TypeAlias = EntryCreated | EntryDeleted


class CatalogEvents:
    """The events of a catalog since :meth:`CatalogClient.events` was called: an iterator that waits for the next one.

    It ends when it is closed, also by another thread while one waits. Waiting ends on Ctrl-C, too, and loses nothing.

    Thread safe: of several threads that iterate, each event goes to one.

    Raises
    ------
    ConnectionError
        While iterating, when the server was shut down or the connection is lost; after the events before that.

    """

    __slots__ = ("__weakref__", "_finalizer", "_stream")

    def __init__(self, stream: _core.EventStream) -> None:
        self._stream = stream
        # Also at the end of the process, where a thread may still wait for the network.
        self._finalizer = weakref.finalize(self, _close, stream)

    def __iter__(self) -> CatalogEvents:
        return self

    def __next__(self) -> CatalogEvent:
        event = self._stream.next()
        if event is None:
            raise StopIteration
        created, id = event
        return EntryCreated(EntryId._of(id)) if created else EntryDeleted(EntryId._of(id))

    def close(self) -> None:
        """End the iteration, wherever it waits. Events that nobody took are dropped. May be called again."""
        self._stream.close()

    def __enter__(self) -> CatalogEvents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _close(stream: _core.EventStream) -> None:
    if not _core._is_forked_child():
        stream.close()
