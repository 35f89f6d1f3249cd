"""A clock that tests set."""

from __future__ import annotations

import threading

START = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z, in microseconds since 1970
SECOND = 1_000_000


class Clock:
    """Microseconds since 1970: every reading is a step later than the one before, unless a test sets the time."""

    def __init__(self, now: int = START, step: int = 1) -> None:
        self.now = now
        self.step = step
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.now += self.step
            return self.now
