"""Revisions of a RavenDB dump become history, where the database keeps history, and go out again while it is there.

A dump has them after the documents, and in the log the version of now has to be the last. So they wait until all is
read; then each document's are written, one after another, with its present version behind them, in one transaction: no
moment of the database shows any of them as current. What RavenDB says of a revision (its change vector, flags and time)
is in its metadata; it has one for a deletion too, without content. The document `Raven/Smuggler/History` says which
part of the log they are in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import msgspec

from muniment import json_bytes
from muniment.document import collection_of, encode, fold
from muniment.errors import ConcurrencyConflict
from muniment.progress import Progress
from muniment.revision import DOCUMENT, Revision
from muniment.smuggler.dump_document import dump_document
from muniment.smuggler.kept import OTHERS, REVISIONS, SECTION
from muniment.smuggler.metadata import stored_metadata
from muniment.smuggler.options import SmugglerOptions
from muniment.smuggler.split import split
from muniment.storage.base import Storage, Write
from muniment.storage.scratch import Scratch, scratch_database

HISTORY: Final = f"{OTHERS}History"
_MARK: Final = encode({SECTION: "History"})
_OF_REVISION: Final = ("@change-vector", "@flags")
_DELETED: Final = b"DeleteRevision"
_MARKS: Final = tuple(f'{{"{name}":'.encode() for name in _OF_REVISION)
_BATCH_BYTES: Final = 8 << 20
_BATCH_IDS: Final = 200


class Place(msgspec.Struct, frozen=True, rename="pascal"):
    """Revisions have etags after the first of these, and none after the second."""

    after: int
    through: int


class Revisions:
    """The revisions of a dump, while it is read."""

    def __init__(self, scratch: Scratch) -> None:
        self._run = scratch.execute
        self._run("CREATE TABLE revision(key TEXT, number INTEGER, id TEXT, metadata BLOB, body BLOB)").fetchall()
        self._count = 0

    @classmethod
    @contextmanager
    def wanted(cls, storage: Storage, options: SmugglerOptions) -> Iterator[Self | None]:
        """A place for revisions; None if the database keeps no history, or they are kept as documents or not wanted."""
        asked = options.types is None or REVISIONS in options.types
        if not asked or REVISIONS in options.kept_sections or not storage.history.kept:
            yield None
            return
        with scratch_database() as scratch:
            yield cls(scratch)

    def add(self, item: bytes) -> None:
        """Take in a revision as the dump has it; raises `Malformed` for what is none."""
        found = split(item)
        told = {name: value for name in _OF_REVISION if (value := json_bytes.member_value(found.metadata, name))}
        kept = stored_metadata(found.metadata, later=True)
        metadata = encode({name: msgspec.Raw(value) for name, value in told.items()})[:-1]
        metadata += (b"," if len(kept) > 2 and told else b"") + kept[1:]
        row = (fold(found.id), self._count, found.id, metadata, found.body)
        self._run("INSERT INTO revision VALUES(?, ?, ?, ?, ?)", row)
        self._count += 1

    def store(self, storage: Storage, progress: Progress) -> int:
        """Write all of them, each document's behind one another; returns how many had no document to go with.

        Those are left out, as their documents were.
        """
        before, lost, batch, size = storage.last_etag, 0, [], 0
        for (key,) in self._run("SELECT DISTINCT key FROM revision ORDER BY key").fetchall():
            progress.check()
            batch.append(str(key))
            size += int(self._run("SELECT total(length(body)) FROM revision WHERE key = ?", (key,)).get)
            if size >= _BATCH_BYTES or len(batch) >= _BATCH_IDS:
                lost += self._store(storage, batch)
                batch, size = [], 0
        lost += self._store(storage, batch)
        if storage.last_etag > before:
            _note(storage, before)
        return lost

    def _store(self, storage: Storage, keys: list[str]) -> int:
        while True:
            writes: list[Write] = []
            lost = 0
            for key in keys:
                chain = self._chain(storage, key)
                lost += 0 if chain else int(self._run("SELECT count(*) FROM revision WHERE key = ?", (key,)).get)
                writes += chain
            try:
                if writes:
                    storage.commit(writes)
            except ConcurrencyConflict:  # somebody has just changed one of the documents
                continue
            return lost

    def _chain(self, storage: Storage, key: str) -> list[Write]:
        """The revisions of a document, and behind them what it is now."""
        query = "SELECT id, metadata, body FROM revision WHERE key = ? ORDER BY number"
        rows: list[Any] = self._run(query, (key,)).fetchall()
        now = storage.get(DOCUMENT, rows[0][0])
        deleted = now is None or now.body is None
        if deleted and _DELETED not in rows[-1][1]:
            return []
        chain = [Write(id, body, metadata, collection_of(metadata)) for id, metadata, body in rows]
        chain[0] = chain[0]._replace(expected=0 if deleted or now is None else now.etag)
        if deleted or now is None:
            return [*chain, Write(rows[0][0], None)]
        return [*chain, Write(now.id, now.body, now.metadata, now.collection)]


def _note(storage: Storage, before: int) -> None:
    """Keep where in the log the revisions are, together with those of earlier imports."""
    present = storage.get(DOCUMENT, HISTORY)
    known = place_in(present) if present else None
    place = Place(min(before, known.after) if known else before, storage.last_etag)
    storage.commit([Write(HISTORY, encode(place), _MARK)])


def place_in(document: Revision) -> Place | None:
    """What this document says, if it is the one that tells where revisions are."""
    if document.metadata != _MARK or fold(document.id) != fold(HISTORY):
        return None
    try:
        return msgspec.json.decode(document.body or b"", type=Place)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def revisions_in(storage: Storage, place: Place, after: int, upto: int) -> Iterator[bytes]:
    """The revisions that are in this part of the log, after an etag, and not purged yet, as a dump has them."""
    for batch in storage.changes(max(place.after, after), upto, history=True):
        if batch.etags[0] > place.through:
            return
        if not any(mark[1:] in batch.metadata.data for mark in _MARKS):
            continue
        for revision in batch:
            if revision.etag <= place.through and revision.metadata.startswith(_MARKS):
                yield dump_document(revision, [])
