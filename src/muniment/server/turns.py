"""How many long jobs run at once: the others wait, in the order in which they came, and say so in their status."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Final

from muniment.errors import Cancelled
from muniment.server.bodies import RETRY
from muniment.server.wire import Refused

if TYPE_CHECKING:
    from muniment.server.operations import Operation

LONGEST: Final = 1000
LOOK_SECONDS: Final = 0.2


class Turns:
    """So many jobs have their turn at once. A thread of its own waits for each that has not."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._changed = threading.Condition()
        self._running: list[Operation] = []
        self._waiting: list[Operation] = []

    @property
    def are_taken(self) -> bool:
        """Whether a job that comes now has to wait."""
        return len(self._running) >= self._number

    def check(self) -> None:
        """Raises `Refused` (503) when too many wait already."""
        if len(self._waiting) >= LONGEST:
            hint = "nothing was done: try again when some have ended"
            raise Refused(503, f"{LONGEST:,} jobs wait for their turn already", hint, headers=[RETRY])

    def enter(self, operation: Operation) -> None:
        """Give it its turn, or a place behind those that wait."""
        with self._changed:
            self._waiting.append(operation)
            self._advance()

    def wait(self, operation: Operation) -> None:
        """Return when it has its turn, or was cancelled: it need not wait to find that out."""
        with self._changed:
            while operation in self._waiting:
                try:
                    operation.progress.check()
                except Cancelled:
                    self._waiting.remove(operation)
                    operation.position = 0
                    self._advance()
                else:
                    self._changed.wait(LOOK_SECONDS)

    def leave(self, operation: Operation) -> None:
        """It has ended; the next has its turn."""
        with self._changed:
            for jobs in (self._running, self._waiting):
                if operation in jobs:
                    jobs.remove(operation)
            self._advance()

    def _advance(self) -> None:
        while self._waiting and not self.are_taken:
            first = self._waiting.pop(0)
            self._running.append(first)
            first.position = 0
            first.progress.stage = ""
            first.progress.started = monotonic()
        for position, operation in enumerate(self._waiting, 1):
            operation.position = position
            operation.progress.stage = f"waiting for its turn, as number {position}"
        self._changed.notify_all()
