"""Telling of work, which never decides its fate: what cannot be told is counted, and told later.

A log line goes to stderr, which can be a pipe that nobody reads or a disk that is full; a status document goes to the
disk that the work has just filled. Whoever tells of work does it with `log` or within `telling`.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

PATIENCE_SECONDS: Final = 1.0
PIECE_BYTES: Final = 4096  # a pipe that can be written to takes so much without waiting


class Log:
    """Lines for whoever runs this process. `unwritten` is how many could not be written since it began."""

    def __init__(self) -> None:
        self.unwritten = 0
        self._untold = 0
        self._lock = threading.Lock()

    def __call__(self, message: str) -> None:
        """Write one line to stderr. Never raises, and waits a second at most for one who reads too slowly."""
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {message}\n"
        with self._lock:
            if self._untold:
                line = f"({self._untold:,} lines could not be written here)\n{line}"
            # Without Python's buffer: it would keep what could not be written, and fail at the end of the process.
            try:
                _write(sys.stderr, line.encode(errors="backslashreplace"), 0 if self._untold else PATIENCE_SECONDS)
            except Exception:
                self.unwritten += 1
                self._untold += 1
            else:
                self._untold = 0


def _write(stream: TextIO, data: bytes, patience: float) -> None:
    """Write all of this; raises `OSError` when it cannot be written, or `TimeoutError` when nobody takes it."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):  # a stream of somebody's own
        stream.write(data.decode())
        stream.flush()
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    rest = memoryview(data)
    while rest:
        if not poll.poll(patience * 1000):
            raise TimeoutError("nobody reads it")
        rest = rest[os.write(descriptor, rest[:PIECE_BYTES]) :]


log: Final = Log()


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Within it, something is told of work that goes on whatever becomes of that; what fails is a line of the log."""
    try:
        yield
    except Exception as error:
        with suppress(Exception):
            log(f"{what} could not be told: {error}")
