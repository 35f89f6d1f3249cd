"""How many requests were answered, how, and how soon: in plain numbers, for each request adds to them."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0)
METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "EVAL", "OPTIONS"})


class Answered:
    """Counts by method and status, and how many began to be answered within each of `BOUNDS` (seconds), or later."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}
        self.within = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def __add__(self, other: Answered) -> Answered:
        """Those of both."""
        both = Answered()
        for each in (self, other):
            for key, count in list(each.counts.items()):
                both.counts[key] = both.counts.get(key, 0) + count
            both.within = [sum(pair) for pair in zip(both.within, each.within, strict=True)]
            both.seconds += each.seconds
        return both

    @property
    def total(self) -> int:
        """How many there are in all."""
        return sum(list(self.counts.values()))

    def count(self, method: str, status: int, seconds: float) -> None:
        """Add one; only for one thread."""
        key = (method if method in METHODS else "other", status)
        self.counts[key] = self.counts.get(key, 0) + 1
        self.within[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
