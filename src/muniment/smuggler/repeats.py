"""Finding documents that one dump holds more than once, by what the storage says it replaced."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from muniment.storage.base import Written


class Repeat(NamedTuple):
    """A document at this place in the dump, and in words where it stood before."""

    id: str
    position: int
    before: str


class _Range(NamedTuple):
    """A batch that was written: its etags, and where its first and last document stand in the dump."""

    first_etag: int
    last_etag: int
    first: int
    last: int


class Repeats:
    """Remembers what an import has written, in a few numbers for each batch."""

    def __init__(self) -> None:
        self._ranges: list[_Range] = []

    def add(
        self, written: Sequence[Written], positions: Sequence[int | None], replaced: Mapping[int, int]
    ) -> list[Repeat]:
        """Take in a batch; gives those of its documents that replaced one of this or an earlier batch.

        A deletion has no position, and is none of them. `replaced` has the etags that these have replaced.
        """
        places = [position for result, position in zip(written, positions, strict=True) if result.etag]
        etags = [result.etag for result in written if result.etag]
        whole = [position for position in places if position is not None]
        if not whole:
            return []
        self._ranges.append(_Range(etags[0], etags[-1], whole[0], whole[-1]))
        if not replaced:
            return []
        repeats = []
        for result, position in zip(written, positions, strict=True):
            old = replaced.get(result.etag, 0) if result.existed else 0
            if position is None or old < self._ranges[0].first_etag:
                continue
            if old >= etags[0]:
                repeats.append(Repeat(result.id, position, f"at byte {places[old - etags[0]]:,}"))
            elif found := self._range(old):
                repeats.append(Repeat(result.id, position, f"between the bytes {found.first:,} and {found.last:,}"))
        return repeats

    def _range(self, etag: int) -> _Range | None:
        """The batch that wrote this etag; None if somebody else did meanwhile."""
        found = self._ranges[bisect_right(self._ranges, etag, key=lambda batch: batch.first_etag) - 1]
        return found if etag <= found.last_etag else None
