"""Ids and collections that filters of an export name: each has to be there, also when the others were found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from muniment.backup.matches import MANY, collections_of, near, near_hint
from muniment.errors import DocumentNotFound
from muniment.fingerprint import Fingerprint
from muniment.smuggler.filter import COLLECTION, ID, Filter, Name
from muniment.smuggler.options import DOCUMENTS, SmugglerOptions


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


def check_named(
    options: SmugglerOptions, named: Named, found: Fingerprint, ids: Callable[[], Iterator[str]] | None = None
) -> None:
    """Raises `DocumentNotFound` for collections and ids that the filters name and that are not there.

    `ids` are all that there are, for those that the export had no need to see, and to find one that is like a name;
    without them only collections are looked at.
    """
    if DOCUMENTS not in options.carried:
        return
    collections = collections_of(found)
    for collection in collections:
        named.note_collection(collection)
    for id in ids() if ids and named.seeks_ids else ():
        named.note_id(id)
    told, alike = [], []
    for name in named.missing:
        if name.member == COLLECTION:
            told.append(f"no document in a collection {name.text!r}")
            alike += near(name.text, collections)
        elif ids:
            told.append(f"no document {name.text!r}")
            alike += near(name.text, islice(ids(), MANY))
    if told:
        raise DocumentNotFound(f"there is {' and '.join(told)}, so nothing was exported", near_hint(alike))


def check_met(options: SmugglerOptions, written: int, seen: int, found: Fingerprint) -> None:
    """Raises `DocumentNotFound` when there were documents, and none met the filters."""
    if options.filters and DOCUMENTS in options.carried and seen and not written:
        told = ", ".join(repr(filter.text) for filter in options.filters)
        values = [value for filter in options.filters for value in filter.text.partition("=")[2].split(",")]
        alike = [name for value in values for name in near(value.strip().strip("'"), collections_of(found))]
        raise DocumentNotFound(
            f"none of the {seen:,} documents meets {told}, so nothing was exported", near_hint(alike)
        )
