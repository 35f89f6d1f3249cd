"""What went wrong with single items when errors are passed over: all are counted, and the first few are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from muniment.errors import MunimentError

TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """An item that was passed over: its id, None where it is not known, and its place in the dump, if it is one's."""

    id: str | None
    position: int | None
    reason: str


@dataclass(slots=True)
class Faults:
    """How many items were passed over, and the first 20 of them."""

    count: int = 0
    first: list[Fault] = field(default_factory=list)

    def add(self, id: str | None, position: int | None, error: MunimentError) -> None:
        """Count an item that failed with this error."""
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(Fault(id, position, error.message))
