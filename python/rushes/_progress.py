"""A line on stderr for what takes long; nothing when stderr is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

DELAY_S = 2.0
_PERIOD_S = 0.2
_BAR_CELLS = 24


class Progress:
    """Shows `what` with its count once it has taken over two seconds.

    A thread draws, so that it keeps moving while nothing is delivered. It starts only on a terminal.
    """

    def __init__(self, what: str, unit: str, total: int | None = None) -> None:
        self.count = 0
        self._what, self._unit, self._total = what, unit, total
        self._began = time.monotonic()
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None
        if _is_terminal():
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._draw, name="rushes-progress", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Removes the line."""
        if self._stop is not None and self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._stop = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def line(self) -> str:
        """The text shown now."""
        seconds = time.monotonic() - self._began
        if self._total:
            filled = min(_BAR_CELLS, _BAR_CELLS * self.count // self._total)
            bar = "█" * filled + "░" * (_BAR_CELLS - filled)
            return f"{self._what} {bar} {self.count:,} of {self._total:,} {self._unit}, {seconds:.0f} s"
        return f"{self._what} {self.count:,} {self._unit}, {seconds:.0f} s"

    def _draw(self) -> None:
        assert self._stop is not None
        if self._stop.wait(DELAY_S):
            return
        try:
            while True:
                sys.stderr.write("\r\x1b[2K" + self.line())
                sys.stderr.flush()
                if self._stop.wait(_PERIOD_S):
                    break
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # the terminal went away


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
