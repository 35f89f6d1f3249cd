"""How many requests of one kind are answered at once: what they hold is bounded, and who comes too many is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from muniment.server.bodies import RETRY
from muniment.server.wire import Refused


class Seats:
    """So many places for what is called `what`: "large attachments"."""

    def __init__(self, number: int, what: str) -> None:
        self._number = number
        self._what = what
        self._taken = 0

    def take(self) -> None:
        """Take one; raises `Refused` (503) when there is none."""
        if self._taken >= self._number:
            raise Refused(
                503,
                f"{self._taken} {self._what} are on their way already",
                "nothing was done: send it again in a second",
                headers=[RETRY],
            )
        self._taken += 1

    def leave(self) -> None:
        """Give one back."""
        self._taken -= 1

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take one, and give it back at the end."""
        self.take()
        try:
            yield
        finally:
            self.leave()
