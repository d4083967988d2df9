"""Registration and its outcome."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from rushes import _core
from rushes._progress import Progress

_LONGEST_WAIT_S = 3600.0
_LISTED = "Registration failed for the segments/layers listed below."


class OnDuplicateSegmentLayer(enum.StrEnum):
    """What to do with a (segment, layer) that is registered already."""

    ERROR = "error"
    SKIP = "skip"
    REPLACE = "replace"


def on_duplicate_code(value: OnDuplicateSegmentLayer | str) -> int:
    """The value on the wire."""
    try:
        return {"replace": 1, "skip": 2, "error": 3}[str(value)]
    except KeyError:
        raise ValueError(
            f"invalid on_duplicate value: '{value}'. Expected 'error', 'skip', or 'replace'"
        ) from None


@dataclass(frozen=True)
class SegmentRegistrationResult:
    """How the registration of one recording ended."""

    uri: str
    segment_id: str
    error: str | None

    @property
    def is_success(self) -> bool:
        """True if it is registered."""
        return self.error is None

    @property
    def is_error(self) -> bool:
        """True if it is not."""
        return self.error is not None


@dataclass(frozen=True)
class RegistrationResult:
    """The segments that a registration gave, in the order of the request."""

    segment_ids: list[str]


class RegistrationOperation:
    """A registration that was handed to the server."""

    def __init__(self, connection: _core.Connection, rows: list[_core.RegisteredSource]) -> None:
        self._connection = connection
        self._rows = rows
        self._errors: dict[str, str | None] = {}  # task id -> message

    def wait(self, timeout_secs: int | None = None) -> RegistrationResult:
        """Wait until all recordings are registered. May be called again.

        Raises
        ------
        ValueError
            If recordings could not be registered; the text names each with the reason. The others are registered.
        TimeoutError
            If it takes longer than `timeout_secs`.

        """
        with Progress("registering", "recordings", len(self._rows)) as progress:
            for _ in self._finish(timeout_secs):
                progress.count += 1
        failed = [row for row in self._rows if self._errors.get(row.task_id) is not None]
        if failed:
            lines = ["Registration failed.", "", "The following segments failed:"]
            for row in failed:
                lines.append(f"{_LISTED} (InvalidArguments)")
                lines.append(f"- Server: {self._connection.url()}")
                lines.append(_reason(row, self._errors[row.task_id]))
            raise ValueError("\n".join(lines))
        return RegistrationResult(segment_ids=[row.segment_id for row in self._rows])

    def iter_results(self, timeout_secs: int | None = None) -> Iterator[SegmentRegistrationResult]:
        """Yield the outcome of each recording as it ends."""
        return (self._result(row) for row in self._finish(timeout_secs))

    def cancel(self) -> None:
        """Give up what is not registered yet: nothing of it will be. What is registered stays registered."""
        self._connection.cancel_tasks(
            list({row.task_id for row in self._rows if row.task_id not in self._errors})
        )

    def _finish(self, timeout_secs: int | None) -> Iterator[_core.RegisteredSource]:
        if timeout_secs is not None and (
            isinstance(timeout_secs, bool) or not isinstance(timeout_secs, int)
        ):
            raise TypeError(
                f"timeout_secs must be an int or None, not {type(timeout_secs).__name__}"
            )
        yield from (row for row in self._rows if row.task_id in self._errors)
        open_rows: dict[str, list[_core.RegisteredSource]] = {}
        for row in self._rows:
            if row.task_id not in self._errors:
                open_rows.setdefault(row.task_id, []).append(row)
        if not open_rows:
            return
        limit = _LONGEST_WAIT_S if timeout_secs is None else float(timeout_secs)
        tasks = self._connection.wait_for_tasks(list(open_rows), limit)
        while (outcome := tasks.next()) is not None:
            task_id, succeeded, message = outcome
            self._errors[task_id] = None if succeeded else (message or "unknown error")
            yield from open_rows.pop(task_id, [])
        for task_id, rows in open_rows.items():
            # The server knows only of tasks that failed.
            self._errors[task_id] = None
            yield from rows

    def _result(self, row: _core.RegisteredSource) -> SegmentRegistrationResult:
        message = self._errors[row.task_id]
        error = None
        if message is not None:
            error = "Registration failed for the segments/layers listed below.\n" + _reason(
                row, message
            )
        return SegmentRegistrationResult(uri=row.url, segment_id=row.segment_id, error=error)


def _reason(row: _core.RegisteredSource, message: str | None) -> str:
    # A server may have named the place already.
    text = (message or "").removeprefix(_LISTED).strip()
    return (
        text
        if text.startswith("- ")
        else f'- Segment "{row.segment_id}", layer "{row.layer}": {text}'
    )


class UnregistrationHandle:
    """A removal that was handed to the server."""

    def __init__(self, removed: pa.Table) -> None:
        self._removed = removed

    def wait(self, timeout_secs: int | None = None) -> None:
        """Wait until the segments or layers are removed. May be called again."""
        if timeout_secs is not None and (
            isinstance(timeout_secs, bool) or not isinstance(timeout_secs, int)
        ):
            raise TypeError(
                f"timeout_secs must be an int or None, not {type(timeout_secs).__name__}"
            )

    def cancel(self) -> None:
        """Give up waiting; no effect on a removal that is done."""
