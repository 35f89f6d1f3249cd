"""Ids like `orders/33`, from ranges that the document `Raven/Hilo/orders` reserves, as RavenDB's clients make them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Protocol

from muniment.command import Command, Put
from muniment.document import Document
from muniment.errors import ConcurrencyConflict, InvalidDocument, InvalidInput
from muniment.storage.base import Written

CAPACITY: Final = 32
PREFIX: Final = "Raven/Hilo/"


class Documents(Protocol):
    """What HiLo needs of a database, embedded or remote."""

    def get(self, id: str) -> Document | None: ...

    def batch(self, commands: Sequence[Command]) -> list[Written]: ...


class HiLo:
    """Hands out ids. A range is reserved by moving `Max` on; what a program does not use of it is skipped."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._lock = threading.Lock()
        self._ranges: dict[str, range] = {}

    def next_id(self, collection: str) -> str:
        """A new id for a document of this collection."""
        tag = tag_of(collection)
        with self._lock:
            left = self._ranges.get(tag) or self._reserve(tag)
            self._ranges[tag] = left[1:]
        return f"{tag}/{left[0]}"

    def _reserve(self, tag: str) -> range:
        while True:
            reservation, reserved = reserve(tag, self._documents.get(PREFIX + tag))
            try:
                self._documents.batch([reservation])
            except ConcurrencyConflict:
                continue
            return reserved


def reserve(tag: str, document: Document | None) -> tuple[Put, range]:
    """What to write to reserve the next range, given the document as it is, and that range."""
    known = document.json() if document else {}
    try:
        maximum = int(known["Max"]) if document else 0
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidDocument(
            f"{PREFIX + tag} does not say which ids are taken", 'store {"Max": LAST} in it'
        ) from error
    metadata = document.metadata_json if document else None
    etag = document.etag if document else 0
    reservation = Put(PREFIX + tag, {**known, "Max": maximum + CAPACITY}, metadata, etag)
    return reservation, range(maximum + 1, maximum + CAPACITY + 1)


def tag_of(collection: str) -> str:
    """The part of an id before the number: lower case unless the name has several capitals (`LastFms`)."""
    if not collection:
        raise InvalidInput("a document without id needs a collection", "pass id= or collection=")
    return collection if sum(letter.isupper() for letter in collection) > 1 else collection.lower()


def collection_for(type: type) -> str:
    """The collection of a class, as RavenDB's clients name it: the plural of its name."""
    name = type.__name__
    if name[-1:] == "y" and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "ch", "sh")) else "s")
