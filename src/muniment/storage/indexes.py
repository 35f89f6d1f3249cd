"""What indexes are on every engine: for a field of a collection, the keys of every current document.

They are kept in the transaction that writes a document, so an index is never behind. How an engine keeps them is its
own; which there are to be, what is in them and what they are called is said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from muniment.document import Document, fold_collection, from_microseconds, without_time_kept
from muniment.query.extract import Extractor
from muniment.query.keys import Key
from muniment.query.model import ID, SEARCHED, As, Field
from muniment.query.plan import Wanted

Named: TypeAlias = Mapping[tuple[str | None, Field], str]
"""The names of the indexes that somebody has defined, by collection (folded) and field."""

DEFINITIONS: Final = "raven/indexes/"  # begins the ids of documents that may define indexes
UNUSED_SECONDS: Final = 30 * 24 * 3600
MAKES_ROOM_SECONDS: Final = 24 * 3600
MOST: Final = 64  # in one database: each is a little work for every write
MOST_FAULTS: Final = 100  # that are told of each index
_ROW: Final = tuple[int, str | None, str, As, int, int, int]


class Index(NamedTuple):
    """An index that there is: of a collection (folded; None for all documents), on a field.

    `several`: a document may have more than one key in it. `used` is when it last answered a query (microseconds).
    """

    number: int
    collection: str | None
    field: Field
    ready: bool
    several: bool
    used: int

    @property
    def name(self) -> str:
        """What answers call it, as RavenDB calls those that it makes: `Auto/Orders/ByFreight`."""
        field = self.field
        by = f"{field.kind.title()}({Field(field.path)})" if self.of_words else str(field)
        return f"Auto/{self.collection or 'AllDocs'}/By{by}".replace(" ", "")

    @property
    def of_words(self) -> bool:
        """Whether words are searched for in it: it has all words of a document, in their order."""
        return self.field.kind in SEARCHED


class Fault(NamedTuple):
    """A document that an index could not read, and why."""

    number: int
    etag: int
    id: str
    reason: str


class Gone(NamedTuple):
    """A document that is no longer current."""

    etag: int
    collection: str | None


class Come(NamedTuple):
    """A document that is current now."""

    etag: int
    collection: str | None
    id: str
    modified: int
    metadata: bytes
    body: bytes

    @property
    def document(self) -> Document:
        """All of it."""
        metadata, changed = without_time_kept(self.metadata, self.modified)
        return Document(self.id, self.etag, from_microseconds(changed), metadata, self.body)


class Extractors:
    """Find the keys of documents for these indexes; `texts` as of `Extractor`."""

    def __init__(self, indexes: Iterable[Index], *, texts: bool = False) -> None:
        self._all = tuple(indexes)
        self._texts = texts
        self._of: dict[str | None, tuple[tuple[Index, ...], Extractor]] = {}

    def of(self, collection: str | None) -> tuple[tuple[Index, ...], Extractor]:
        """The indexes that have the documents of a collection, and what finds their keys."""
        found = self._of.get(collection)
        if found is None:
            folded = fold_collection(collection)
            mine = tuple(each for each in self._all if each.collection is None or each.collection == folded)
            found = self._of[collection] = mine, Extractor((each.field for each in mine), texts=self._texts)
        return found

    def rows(self, come: Iterable[Come]) -> tuple[dict[int, list[tuple[int, Key]]], list[Fault]]:
        """Of these documents the etags and keys for each index, by its number; and what could not be read."""
        rows: dict[int, list[tuple[int, Key]]] = {}
        faults: list[Fault] = []
        for collection, documents in _by_collection(come).items():
            indexes, extractor = self.of(collection)
            if not indexes:
                continue
            columns = [rows.setdefault(index.number, []) for index in indexes]
            for each in documents:
                etag = each.etag
                try:
                    keys = extractor.of_body(each.body) if extractor.body_only else extractor.keys(each.document)
                except Exception:
                    keys, failed = extractor.safe_keys(each.document)
                    faults += faults_of(indexes, etag, each.id, failed)
                for column, found in zip(columns, keys, strict=True):
                    if len(found) == 1:  # nearly always
                        column.append((etag, found[0]))
                    else:
                        column += [(etag, key) for key in found]
        return rows, faults


class Wanting(NamedTuple):
    """What is to be done so that there are the indexes that are wanted; `again` were not filled to their end."""

    drop: list[Index]
    make: list[Field]
    again: list[Index]


def wanting(
    indexes: Sequence[Index], named: Named, collection: str | None, fields: Iterable[Field], now: int
) -> Wanting:
    """How to have an index on each of these fields of a collection (folded), as far as there is room.

    Those are dropped that no query has used for long, and that nobody has defined.
    """
    drop = [each for each in unnamed(indexes, named) if each.used < now - UNUSED_SECONDS * 1_000_000]
    left = [each for each in indexes if each not in drop]
    there = {each.field: each for each in left if each.collection == collection}
    make: list[Field] = []
    again: list[Index] = []
    room = MOST - len(unnamed(left, named))
    for field in dict.fromkeys(fields):
        if field in there:
            again += [] if there[field].ready else [there[field]]
        elif (collection, field) in named:
            make.append(field)
        else:
            others = [each for each in unnamed(left, named) if each not in drop]
            oldest = min(others, key=lambda index: index.used, default=None)
            if room < 1 and oldest is not None and oldest.used < now - MAKES_ROOM_SECONDS * 1_000_000:
                drop.append(oldest)
                room += 1
            if room > 0:
                make.append(field)
                room -= 1
    return Wanting(drop, make, [each for each in again if each not in drop])


def unnamed(indexes: Iterable[Index], named: Named) -> list[Index]:
    """Those that queries have made, and nobody has defined."""
    return [index for index in indexes if (index.collection, index.field) not in named]


def by_field(wanted: Mapping[str, Wanted]) -> Named:
    """The names of indexes by what they have; of several that have the same, the first."""
    return {
        (fold_collection(each.collection), field): name
        for name, each in reversed([*wanted.items()])
        for field in each.fields
        if indexable(field)
    }


def faults_of(indexes: Sequence[Index], etag: int, id: str, faults: Iterable[tuple[Field, str]]) -> Iterator[Fault]:
    """What these indexes could not read of a document."""
    numbers = {index.field: index.number for index in indexes}
    for field, reason in faults:
        yield Fault(numbers[field], etag, id, reason)


@lru_cache(64)
def indexes_of(rows: tuple[tuple[Any, ...], ...]) -> tuple[Index, ...]:
    """Indexes as an engine keeps them: number, collection, path as JSON, kind, ready, several, used."""
    found = [msgspec.convert(row, _ROW) for row in rows]
    return tuple(
        Index(number, collection, _field(path, kind), bool(ready), bool(several), used)
        for number, collection, path, kind, ready, several, used in found
    )


@lru_cache(1024)
def _field(path: str, kind: As) -> Field:
    return Field(msgspec.json.decode(path, type=tuple[str, ...]), kind)


def indexable(field: Field) -> bool:
    """Whether there can be an index on a field; the ids have one of their own."""
    return field.path[0] != ID


def _by_collection(come: Iterable[Come]) -> dict[str | None, list[Come]]:
    found: dict[str | None, list[Come]] = {}
    for each in come:
        found.setdefault(each.collection, []).append(each)
    return found
