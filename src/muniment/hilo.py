"""Ids like `orders/33`, from ranges that the document `Raven/Hilo/orders` reserves, as RavenDB's clients make them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from muniment.command import Command, Put
from muniment.document import Document
from muniment.errors import ConcurrencyConflict, InvalidDocument, InvalidInput
from muniment.faces import Blocking, Steps
from muniment.numbers import HILO as PREFIX
from muniment.numbers import free_after
from muniment.storage.base import Written

CAPACITY: Final = 32


class Documents(Protocol):
    """What HiLo needs of a database, embedded or remote."""

    def get_many(self, ids: Iterable[str]) -> list[Document | None]: ...

    def batch(self, commands: Sequence[Command]) -> list[Written]: ...


class Ranges:
    """Numbers for new ids. A range is reserved by moving `Max` on; what a program does not use of it is skipped.

    No document has an id of the range when it is reserved, whatever `Max` says. Steps of two calls must not mix.
    """

    def __init__(self, documents: Any) -> None:
        self._documents = documents
        self._left: dict[str, Iterator[int]] = {}

    def forget(self, id: str) -> None:
        """Somebody else has used this id: the next one comes from a range that is reserved anew."""
        self._left.pop(id.rpartition("/")[0], None)

    def _next_id(self, collection: str) -> Steps[str]:
        tag = tag_of(collection)
        while (number := next(self._left.get(tag, iter(())), None)) is None:
            self._left[tag] = iter((yield from self._reserve(tag)))
        return f"{tag}/{number}"

    def _reserve(self, tag: str, suffixes: Sequence[str] = ("",)) -> Steps[range]:
        while True:
            [document] = yield partial(self._documents.get_many, [PREFIX + tag])
            search = free_after(_maximum(tag, document), CAPACITY)
            try:
                after = next(search)
                while True:
                    ids = [f"{tag}/{number}{suffix}" for number in _range(after) for suffix in suffixes]
                    found = yield partial(self._documents.get_many, ids)
                    after = search.send(any(found))
            except StopIteration as end:
                after = end.value
            known = document.json() if document else {}
            metadata = document.metadata_json if document else None
            etag = document.etag if document else 0
            try:
                put = Put(PREFIX + tag, {**known, "Max": after + CAPACITY}, metadata, etag)
                yield partial(self._documents.batch, [put])
            except ConcurrencyConflict:
                continue
            return _range(after)


class HiLo(Ranges, Blocking):
    """Hands out ids, to any thread."""

    def __init__(self, documents: Documents) -> None:
        super().__init__(documents)
        self._lock = threading.Lock()

    def next_id(self, collection: str) -> str:
        """A new id for a document of this collection."""
        with self._lock:
            return self._run(self._next_id(collection))

    def reserve(self, tag: str, suffix: str) -> range:
        """Numbers for somebody else, who makes ids of them that end in `suffix`: `orders/33-A`."""
        with self._lock:
            return self._run(self._reserve(tag, ("", suffix)))

    def give_back(self, tag: str, end: int, last: int) -> None:
        """Of the range that ends with `end` nothing after `last` was used: give it out again, if it is the latest."""
        [document] = self._documents.get_many([PREFIX + tag])
        if document is None or _maximum(tag, document) != end or not end - CAPACITY <= last < end:
            return
        put = Put(PREFIX + tag, {**document.json(), "Max": last}, document.metadata_json, document.etag)
        with suppress(ConcurrencyConflict):  # somebody has got the next range meanwhile
            self._documents.batch([put])


def _range(after: int) -> range:
    return range(after + 1, after + CAPACITY + 1)


def _maximum(tag: str, document: Document | None) -> int:
    try:
        return int(document.json()["Max"]) if document else 0
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidDocument(
            f"{PREFIX + tag} does not say which ids are taken", 'store {"Max": LAST} in it'
        ) from error


def tag_of(collection: str) -> str:
    """The part of an id before the number: lower case unless the name has several capitals (`LastFms`)."""
    if not isinstance(collection, str):
        raise InvalidInput(f"the name of a collection is text, not {collection!r}", "pass a str, for example 'Orders'")
    if not collection:
        raise InvalidInput("a document without id needs a collection", "pass id= or collection=")
    return collection if sum(letter.isupper() for letter in collection) > 1 else collection.lower()


def collection_for(type: type) -> str:
    """The collection of a class, as RavenDB's clients name it: the plural of its name."""
    name = type.__name__
    if name[-1:] == "y" and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "ch", "sh")) else "s")
