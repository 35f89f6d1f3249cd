"""Filling indexes while writes go on, in a thread of its own: from the state of a moment, in steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from time import monotonic
from typing import Final, Protocol, TypeAlias

from muniment.document import Document
from muniment.errors import Cancelled
from muniment.query.extract import Extractor
from muniment.query.keys import Key
from muniment.query.model import Field
from muniment.query.plan import Wanted
from muniment.revision import Revision
from muniment.storage.base import Snapshot
from muniment.storage.indexes import Fault, Index, Named, by_field, faults_of

Filled: TypeAlias = Sequence[tuple[int, Sequence[Sequence[Key]]]]
"""Documents by their etags, ascending, with their keys in each index."""

STEP: Final = 2000
RETRY_SECONDS: Final = 60.0  # after which a query tries again to make an index that could not be made


class Kept(Protocol):
    """The indexes that an engine keeps, for who makes and fills them: what a method says is on disk when it returns.

    `on_definition` is called when a document has been written that may define an index. `texts`: what is searched is
    filled as texts, and not as words (`Extractor`).
    """

    texts: bool

    named: Named
    on_definition: Callable[[], object] | None

    @property
    def all(self) -> Sequence[Index]: ...

    def documents(self, collection: str | None) -> int:
        """How many documents a collection has, or all have."""

    def want(self, collection: str | None, fields: Sequence[Field]) -> Sequence[Index]:
        """From now on have one on each of these fields, as far as there is room; those not ready are to be filled."""

    def fill(self, indexes: Sequence[Index], documents: Filled, faults: Sequence[Fault]) -> None:
        """Add these, but for those that are no longer current."""

    def filled(self, indexes: Sequence[Index], upto: int) -> None:
        """From now on these answer queries; they were filled from the state at `upto`, which is still pinned."""

    def abandon(self, indexes: Sequence[Index]) -> None:
        """Have these no more."""

    def drop_fields(self, fields: Container[tuple[str | None, Field]]) -> None:
        """Drop those on these fields of collections (folded)."""


class Documents(Protocol):
    """What reads the documents of a state that is pinned; see the engines' readers."""

    def bodies(self, collection: str | None, upto: int) -> Iterator[tuple[int, bytes]]: ...

    def documents(self, collection: str | None, upto: int) -> Iterator[Revision]: ...

    def revisions(self, etags: list[int]) -> Iterator[Revision]: ...


class Builder:
    """Makes indexes ready."""

    def __init__(self, kept: Kept, reader: Documents, pin: Callable[[], AbstractContextManager[Snapshot]]) -> None:
        self.kept = kept
        self._reader = reader
        self._pin = pin
        self._lock = threading.Lock()
        self._running: dict[tuple[str | None, Field], threading.Thread] = {}
        self._failed: dict[tuple[str | None, Field], float] = {}
        self._done: dict[tuple[str | None, Field], int] = {}
        self._stopped = threading.Event()
        self._named: Callable[[], Mapping[str, Wanted]] = dict
        self._looking: threading.Thread | None = None
        self._look_again = False

    def keep(self, named: Callable[[], Mapping[str, Wanted]]) -> None:
        """Have what is given by name, now and whenever a definition has been written."""
        self._named = named
        self.kept.on_definition = self._definition_written
        self.kept.named = by_field(named())
        if self.kept.named:
            self._definition_written()

    def _definition_written(self) -> None:
        """Look, in a thread of its own, at what is to be there."""
        with self._lock:
            self._look_again = True
            if self._looking is None and not self._stopped.is_set():
                self._looking = threading.Thread(target=self._look, name="muniment indexes", daemon=True)
                self._looking.start()

    def _look(self) -> None:
        while True:
            with self._lock:
                if not self._look_again or self._stopped.is_set():
                    self._looking = None
                    return
                self._look_again = False
            with suppress(Exception):  # a query that needs one makes it
                self._make_named()

    def _make_named(self) -> None:
        before, named = self.kept.named, by_field(self._named())
        self.kept.named = named
        if gone := set(before) - set(named):
            self.kept.drop_fields(gone)
        ready = {(index.collection, index.field) for index in self.kept.all if index.ready}
        for collection in dict.fromkeys(collection for collection, _ in named):
            missing = [field for of, field in named if of == collection and (of, field) not in ready]
            if missing:
                self.want(collection, missing, 0)

    def progress(self, collection: str | None, field: Field) -> float | None:
        """How much of an index has been built, from 0 to 1; None if none is being built."""
        with self._lock:
            if (collection, field) not in self._running:
                return None
            done = self._done.get((collection, field), 0)
        return min(done / max(self.kept.documents(collection), 1), 0.99)

    def want(self, collection: str | None, fields: Sequence[Field], wait: float) -> None:
        """Have an index on each of these fields; wait until there is, or so many seconds."""
        with self._lock:
            new = [field for field in fields if (collection, field) not in self._running]
            late = monotonic() - RETRY_SECONDS
            new = [field for field in new if self._failed.get((collection, field), late) <= late]
            if new and not self._stopped.is_set():
                thread = threading.Thread(
                    target=self._build, args=(collection, new), name="muniment index", daemon=True
                )
                self._running |= dict.fromkeys([(collection, field) for field in new], thread)
                thread.start()
            threads = {self._running.get((collection, field)) for field in fields}
        for each in threads - {None}:
            each.join(wait)  # type: ignore[union-attr]

    def _build(self, collection: str | None, fields: Sequence[Field]) -> None:
        made: list[Index] = []
        try:
            self._check_open()
            wanted = self.kept.want(collection, fields)
            made = [index for index in wanted if not index.ready]
            self._fill(collection, made)
            failed = set(fields) - {index.field for index in wanted}  # there are too many
        except Exception:  # whatever it is, queries look at every document then
            failed = set(fields)
            with suppress(Exception):
                self._check_open()
                self.kept.abandon(made)
        with self._lock:
            for field in fields:
                self._running.pop((collection, field), None)
                self._failed.pop((collection, field), None)
                self._done.pop((collection, field), None)
            self._failed |= {(collection, field): monotonic() for field in failed}

    def _fill(self, collection: str | None, indexes: Sequence[Index]) -> None:
        extractor = Extractor((index.field for index in indexes), texts=self.kept.texts)
        with self._pin() as snapshot:
            faults: list[Fault] = []
            documents = self._keys(collection, snapshot.etag, extractor, indexes, faults)
            while found := list(islice(documents, STEP)):
                self._check_open()
                self.kept.fill(indexes, found, tuple(faults))
                faults.clear()
                for index in indexes:
                    self._done[collection, index.field] = self._done.get((collection, index.field), 0) + len(found)
            self._check_open()
            self.kept.filled(indexes, snapshot.etag)

    def _keys(
        self, collection: str | None, upto: int, extractor: Extractor, indexes: Sequence[Index], faults: list[Fault]
    ) -> Iterator[tuple[int, list[list[Key]]]]:
        if extractor.body_only:
            for etag, body in self._reader.bodies(collection, upto):
                try:
                    keys = extractor.of_body(body)
                except Exception:
                    [revision] = self._reader.revisions([etag])
                    keys, failed = extractor.safe_keys(Document.of(revision))
                    faults += faults_of(indexes, etag, revision.id, failed)
                yield etag, keys
            return
        for each in self._reader.documents(collection, upto):
            keys, failed = extractor.safe_keys(Document.of(each))
            faults += faults_of(indexes, each.etag, each.id, failed)
            yield each.etag, keys

    def _check_open(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("the database is being closed", "the next query makes the index")

    def close(self) -> None:
        """Stop, before the writer does."""
        self._stopped.set()
        with self._lock:
            threads = {*self._running.values(), *([self._looking] if self._looking else [])}
        for thread in threads:
            thread.join()
