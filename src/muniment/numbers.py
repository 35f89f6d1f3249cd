"""The documents that hold the last number given out: `Raven/Hilo/orders` (HiLo) and `Raven/Identities/orders/`.

Who gives out the next number reads it there, so it has to be at least that of every document, and never goes back.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from muniment.document import IDENTITIES, decode, encode, fold
from muniment.errors import ConcurrencyConflict, InvalidDocument
from muniment.revision import DOCUMENT, Revision
from muniment.storage.base import Storage, Write

HILO: Final = "Raven/Hilo/"
_PAGE: Final = 500
_MEMBERS: Final = ((fold(HILO), "Max"), (fold(IDENTITIES), "Value"))
_numbered = re.compile(r"(.+/)\d{1,18}(?:-[a-z])?", re.DOTALL | re.ASCII)  # RavenDB 4 and later append a node's letter


class Series(NamedTuple):
    """What a number is for: the ids that begin so; `member` is where its document holds it."""

    prefix: str
    member: str


def series_of(id: str) -> Series | None:
    """What the number in this document is for, None for a document that holds none."""
    if id[:6].lower() != "raven/":
        return None
    key = fold(id)
    for start, member in _MEMBERS:
        if key.startswith(start) and len(key) > len(start):
            name = key[len(start) :]
            return Series(name + "/" if member == "Max" else name, member)
    return None


def numbers_for(id: str) -> tuple[str, ...]:
    """The folded ids of the documents that may hold the number of this document's id; none if it has no number."""
    found = _numbered.fullmatch(fold(id))
    if not found:
        return ()
    prefix = found[1]
    return (fold(HILO) + prefix[:-1], fold(IDENTITIES) + prefix)


def last_given(body: bytes | None, member: str) -> int | None:
    """The number that such a document holds, None if it holds none."""
    with suppress(InvalidDocument, KeyError, TypeError, ValueError, OverflowError):
        return int(decode(body or b"null")[member])
    return None


def store_number(storage: Storage, write: Write) -> bool:
    """Write a number's document, unless the one that is there holds a higher number: then that stays.

    Returns whether it was written, on disk then. Whoever gives out numbers meanwhile is not overtaken.
    """
    series = series_of(write.id)
    assert series is not None
    wanted = last_given(write.body, series.member)
    while True:
        present = storage.get(DOCUMENT, write.id)
        known = last_given(present.body, series.member) if present else None
        if known is not None and (wanted is None or wanted < known):
            return False
        try:
            storage.commit([write._replace(expected=present.etag if present else 0)])
        except ConcurrencyConflict:
            continue
        return True


def raise_numbers(storage: Storage) -> int:
    """Raise every number that is behind the documents; returns how many that were. To be called when many came."""
    return sum(_raised(storage, revision) for revision in number_documents(storage))


def number_documents(storage: Storage) -> Iterator[Revision]:
    """The documents that hold numbers."""
    for start in (HILO, IDENTITIES):
        position = 0
        while page := storage.by_prefix(DOCUMENT, start, position, _PAGE):
            yield from page
            position += len(page)


def _raised(storage: Storage, document: Revision) -> bool:
    series = series_of(document.id)
    known = last_given(document.body, series.member) if series else None
    if series is None or known is None:
        return False
    highest = storage.highest_number(series.prefix)
    if not highest or highest <= known:
        return False
    body = encode({**decode(document.body or b"{}"), series.member: highest})
    write = Write(document.id, body, document.metadata, document.collection)
    return store_number(storage, write)


def free_after(after: int, width: int) -> Generator[int, bool, int]:
    """Find a number behind which `width` numbers are free; the nearest, where those in use follow each other.

    Gives a number and has to be told whether one of the `width` after it is in use: a few times, however many are.
    """
    if not (yield after):
        return after
    used, step = after, width
    free = used + step
    while (yield free):
        used, step = free, 2 * step
        free = used + step
    while free - used > width:
        middle = used + (free - used) // 2
        if (yield middle):
            used = middle
        else:
            free = middle
    return free
