"""What an import writes on its way to disk: a few batches at once, in the order of the dump."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, NamedTuple

from muniment.errors import MunimentError
from muniment.smuggler.reader import DumpDocument
from muniment.storage.base import Arrived, Documents, Storage, Upload, Write, Written

BATCH_BYTES: Final = 8 << 20
PENDING_BATCHES: Final = 2
# Of small batches more are pending, for the storage to write half of it as one meanwhile.
PENDING_BYTES: Final = 16 << 20
WRITE_BYTES: Final = 1 << 10  # about what is in memory of a write besides the document
FEW: Final = 64  # documents in columns that are written with others


class Batch(NamedTuple):
    """Documents with their attachments, and deletions, in one transaction: everything in the dump through `last`.

    `positions` are those of the documents in the dump, None for other writes; `size` is the documents' bytes, `held`
    about how many bytes of memory all of it takes, and `replaced` is filled by the storage (see
    `SqliteStorage.submit`). Documents in columns are not among the `writes`.
    """

    writes: list[Write]
    future: Future[list[Written]] | Future[Arrived]
    positions: Sequence[int | None]
    size: int
    held: int
    last: DumpDocument | None
    replaced: dict[int, int]

    @property
    def documents(self) -> int:
        return len(self.positions) - self.positions.count(None)

    @property
    def uploads(self) -> list[Upload]:
        return [write.upload for write in self.writes if write.upload]


class Batches:
    """Takes in writes; `acknowledged` is called with each batch that is on disk.

    `stored` is the document through which the dump is known to be on disk, None before the first.
    """

    def __init__(self, storage: Storage, most: int, acknowledged: Callable[[Batch], None]) -> None:
        self.stored: DumpDocument | None = None
        self._storage = storage
        self._most = most
        self._acknowledged = acknowledged
        self._last: DumpDocument | None = None  # of those that were taken
        self._pending: deque[Batch] = deque()
        self._begin()

    def _begin(self) -> None:
        self._writes: list[Write] = []
        self._positions: list[int | None] = []
        self._size = self._held = 0

    def add(self, writes: list[Write], document: DumpDocument | None = None) -> None:
        """Take in a document and its attachments, in this order, or deletions; they are written in one transaction."""
        positions = [document.position if document else None, *[None] * (len(writes) - 1)]
        self._add(writes, positions, len(writes[0].body or b"") if document else 0, document)

    def _add(self, writes: list[Write], positions: Sequence[int | None], size: int, last: DumpDocument | None) -> None:
        self._writes += writes
        self._positions += positions
        self._size += size
        for write in writes:
            self._held += len(write.metadata) + len(write.body or b"")
        self._last = last or self._last
        if len(self._writes) >= self._most or self._held >= BATCH_BYTES:
            self._submit()

    def add_documents(self, documents: Documents, positions: Sequence[int], last: DumpDocument) -> None:
        """Take in documents of which nothing is to be known but their places and the last one."""
        if len(positions) < FEW:
            self._add(documents.writes(), positions, len(documents.bodies.data), last)
            return
        self._submit()
        replaced: dict[int, int] = {}
        self._last = last
        future = self._storage.submit_documents(documents, replaced)
        held = sum(len(each.data) for each in documents)
        self._pending.append(Batch([], future, positions, len(documents.bodies.data), held, last, replaced))
        self._wait()

    def pass_by(self, document: DumpDocument) -> None:
        """Note that this document of the dump is on disk without having been added, while nothing waits."""
        self._last = self.stored = document

    def flush(self) -> None:
        """Wait until everything taken so far is on disk."""
        self._submit()
        while self._pending:
            self._acknowledge()

    def drain(self) -> list[Batch]:
        """Wait until what was submitted is written or has failed; the batches on disk that were not acknowledged."""
        stored, failed = [], False
        for batch in self._pending:
            if batch.future.exception() is None:
                stored.append(batch)
                self.stored = self.stored if failed else batch.last
            else:
                failed = True
                self._discard(batch.writes)
        self._pending.clear()
        self._discard(self._writes)
        self._begin()
        return stored

    def _submit(self) -> None:
        if self._writes:
            replaced: dict[int, int] = {}
            future = self._storage.submit(self._writes, replaced)
            held = self._held + WRITE_BYTES * len(self._writes)
            self._pending.append(Batch(self._writes, future, self._positions, self._size, held, self._last, replaced))
            self._begin()
        self._wait()

    def _wait(self) -> None:
        pending = sum(batch.held for batch in self._pending)
        while len(self._pending) > PENDING_BATCHES and pending > PENDING_BYTES:
            pending -= self._pending[0].held
            self._acknowledge()

    def _acknowledge(self) -> None:
        batch = self._pending[0]
        batch.future.result()
        self._pending.popleft()
        self.stored = batch.last
        self._acknowledged(batch)

    def _discard(self, writes: list[Write]) -> None:
        for upload in (write.upload for write in writes if write.upload):
            with suppress(MunimentError):  # opening the database again forgets it too
                self._storage.discard(upload)
