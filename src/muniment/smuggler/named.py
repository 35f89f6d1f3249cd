"""Ids and collections that filters of an export name: each has to be there, also when the others were found."""

from __future__ import annotations

from collections.abc import Iterable

from muniment.smuggler.filter import COLLECTION, ID, Filter, Name


class Named:
    """Counts off the names: `missing` are those that nothing was noted for."""

    def __init__(self, filters: Iterable[Filter]) -> None:
        named = [name for filter in filters for name in filter.names]
        ids = [name for name in named if name.member == ID]
        self._collections = [name for name in named if name.member == COLLECTION]
        # There may be thousands of ids, and each document is held against them: plain ones are looked up.
        self._plain = {name.text.lower(): name for name in ids if name.plain}
        self._patterns = [name for name in ids if not name.plain]

    def note_collection(self, name: str) -> None:
        """There is this collection."""
        self._collections = _without(self._collections, name)

    def note_id(self, id: str) -> None:
        """There is a document with this id."""
        self._plain.pop(id.lower(), None)
        if self._patterns:
            self._patterns = _without(self._patterns, id)
        if self._plain and not id.isascii():  # the Kelvin sign is a k to a filter
            self._plain = {key: name for key, name in self._plain.items() if not name.pattern.fullmatch(id)}

    @property
    def seeks_ids(self) -> bool:
        """Whether an id that was named has not been seen yet."""
        return bool(self._plain or self._patterns)

    @property
    def missing(self) -> list[Name]:
        """Those that nothing was noted for, collections first."""
        return [*self._collections, *self._plain.values(), *self._patterns]


def _without(names: list[Name], found: str) -> list[Name]:
    return [name for name in names if not name.pattern.fullmatch(found)]
