"""Filling indexes while writes go on, in a thread of its own: from the state of a moment, in steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from time import monotonic
from typing import Any, Final

from muniment.document import Document
from muniment.errors import Cancelled
from muniment.query.extract import Extractor
from muniment.query.keys import Key
from muniment.query.model import Field
from muniment.storage.base import Snapshot
from muniment.storage.sqlite.indexes import Index
from muniment.storage.sqlite.reader import Reader
from muniment.storage.sqlite.transaction import Transaction
from muniment.storage.sqlite.writer import Writer

STEP: Final = 2000
RETRY_SECONDS: Final = 60.0  # after which a query tries again to make an index that could not be made


class Builder:
    """Makes indexes ready."""

    def __init__(self, writer: Writer, reader: Reader, pin: Callable[[], AbstractContextManager[Snapshot]]) -> None:
        self._writer = writer
        self._reader = reader
        self._pin = pin
        self._lock = threading.Lock()
        self._running: dict[tuple[str | None, Field], threading.Thread] = {}
        self._failed: dict[tuple[str | None, Field], float] = {}
        self._stopped = threading.Event()

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
            wanted = self._submit(lambda transaction: self._writer.want_indexes(transaction, collection, fields))
            made = [index for index in wanted if not index.ready]
            self._fill(collection, made)
            failed = set(fields) - {index.field for index in wanted}  # there are too many
        except Exception:  # whatever it is, queries look at every document then
            failed = set(fields)
            with suppress(Exception):
                self._submit(lambda _: self._writer.indexes.abandon(made))
        with self._lock:
            for field in fields:
                self._running.pop((collection, field), None)
                self._failed.pop((collection, field), None)
            self._failed |= {(collection, field): monotonic() for field in failed}

    def _fill(self, collection: str | None, indexes: Sequence[Index]) -> None:
        extractor, fill = Extractor(index.field for index in indexes), self._writer.indexes.fill
        with self._pin() as snapshot:
            documents = self._keys(collection, snapshot.etag, extractor)
            while found := list(islice(documents, STEP)):
                self._submit(lambda _, found=found: fill(indexes, found))  # type: ignore[misc]
        self._submit(lambda _: self._writer.indexes.filled(indexes))

    def _keys(self, collection: str | None, upto: int, extractor: Extractor) -> Iterator[tuple[int, list[list[Key]]]]:
        if extractor.body_only:
            for etag, body in self._reader.bodies(collection, upto):
                yield etag, extractor.of_body(body)
            return
        for each in self._reader.documents(collection, upto):
            yield each.etag, extractor.keys(Document.of(each))

    def _submit(self, job: Callable[[Transaction], Any]) -> Any:
        if self._stopped.is_set():
            raise Cancelled("the database is being closed", "the next query makes the index")
        return self._writer.submit(job).result()

    def close(self) -> None:
        """Stop, before the writer does."""
        self._stopped.set()
        with self._lock:
            threads = set(self._running.values())
        for thread in threads:
            thread.join()
