"""Which documents are carried and how they are changed; and a check that what the filters name exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Self, TypeAlias

from muniment.backup.matches import MANY, collections_of, near, near_hint
from muniment.document import decode, from_microseconds
from muniment.errors import DocumentNotFound, InvalidInput
from muniment.fingerprint import Fingerprint
from muniment.smuggler.filter import COLLECTION, ID, AnyOf, Filter, Name
from muniment.smuggler.metadata import EXPIRES
from muniment.smuggler.options import DOCUMENTS, SmugglerOptions
from muniment.smuggler.script import Transform
from muniment.smuggler.summary import Faults
from muniment.storage.base import system_clock

FILTERED: Final = "documents that the filters left out"
EXPIRED: Final = "documents that had expired"
DROPPED: Final = "documents that the script left out"

Choose: TypeAlias = Callable[[str, bytes, bytes], tuple[bytes, bytes] | None]


class Chooser:
    """Takes documents one by one and returns what to carry of each. Must be closed, since a script runs in a process.

    `left_out` counts documents by the reason why they are not carried. With `ignore_errors`, those for which a script
    failed are left out too, and listed in `faults`; `position` is that of the next document in a dump, if it is in one.
    """

    def __init__(self, options: SmugglerOptions, *, clock: Callable[[], int] = system_clock) -> None:
        """Raises `InvalidScript` for a script that does not compile; `clock` gives microseconds since 1970."""
        self.left_out: Counter[str] = Counter()
        self.faults = Faults()
        self.position: int | None = None
        self._ignore_errors = options.ignore_errors
        self._filters = options.filters
        self._now = from_microseconds(clock()) if options.exclude_expired else None
        self._transform = Transform(options.transform) if options.transform is not None else None

    @property
    def choose(self) -> Choose | None:
        """`document` as a function, or None when every document is carried unchanged and need not be passed."""
        return self.document if self._filters or self._now or self._transform else None

    def document(self, id: str, metadata: bytes, body: bytes) -> tuple[bytes, bytes] | None:
        """The metadata and body to carry, or None to leave the document out.

        `metadata` is as Muniment stores it. What no script has changed is returned as the same bytes. Raises
        `InvalidScript` with the id when a script fails, unless errors are ignored.
        """
        if not all(filter.accepts(id, metadata, body) for filter in self._filters):
            self.left_out[FILTERED] += 1
            return None
        if self._now and has_expired(metadata, self._now):
            self.left_out[EXPIRED] += 1
            return None
        return self._transformed(id, metadata, body) if self._transform else (metadata, body)

    def _transformed(self, id: str, metadata: bytes, body: bytes) -> tuple[bytes, bytes] | None:
        assert self._transform is not None
        try:
            result = self._transform.document(id, metadata, body)
        except InvalidInput as error:
            if not self._ignore_errors:
                raise
            self.faults.add(id, self.position, error)
            return None
        if result is None:
            self.left_out[DROPPED] += 1
        return result

    def close(self) -> None:
        """End the script's process, if there is one."""
        if self._transform:
            self._transform.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def has_expired(metadata: bytes, now: datetime) -> bool:
    """Whether the expiration date in this metadata has passed; an invalid date never does, as in RavenDB."""
    if EXPIRES.lower().encode() not in metadata.lower() and b"\\" not in metadata:
        return False
    for name, value in decode(metadata).items():
        if name.lower() == EXPIRES.lower() and isinstance(value, str):
            with suppress(ValueError):
                expires = datetime.fromisoformat(value)
                return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)) < now
    return False


class Named:
    """The ids and collections that the filters of an export name; `missing` are those that were not found."""

    def __init__(self, filters: Iterable[Filter | AnyOf]) -> None:
        named = [name for filter in filters for name in filter.names]
        ids = [name for name in named if name.member == ID]
        self._collections = [name for name in named if name.member == COLLECTION]
        # There may be thousands of ids to compare each document with: plain ones are looked up in a dict.
        self._plain = {name.text.lower(): name for name in ids if name.plain}
        self._patterns = [name for name in ids if not name.plain]

    def note_collection(self, name: str) -> None:
        """Note that this collection exists."""
        self._collections = _without(self._collections, name)

    def note_id(self, id: str) -> None:
        """Note that a document with this id exists."""
        self._plain.pop(id.lower(), None)
        if self._patterns:
            self._patterns = _without(self._patterns, id)
        if self._plain and not id.isascii():  # a filter takes the Kelvin sign for a k
            self._plain = {key: name for key, name in self._plain.items() if not name.pattern.fullmatch(id)}

    @property
    def seeks_ids(self) -> bool:
        """Whether a named id has not been found yet."""
        return bool(self._plain or self._patterns)

    @property
    def missing(self) -> list[Name]:
        """Those that were not found, collections first."""
        return [*self._collections, *self._plain.values(), *self._patterns]


def _without(names: list[Name], found: str) -> list[Name]:
    return [name for name in names if not name.pattern.fullmatch(found)]


def check_named(
    options: SmugglerOptions, named: Named, found: Fingerprint, ids: Callable[[], Iterator[str]] | None = None
) -> None:
    """Raises `DocumentNotFound` for collections and ids that the filters name but that do not exist.

    `ids` are all ids of the database: they cover documents that the export did not read, and a similar one goes into
    the hint. Without them, only collections are checked.
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
