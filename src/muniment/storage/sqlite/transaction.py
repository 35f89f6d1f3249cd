"""What jobs write in a commit: decided one after the other in memory, then stored together.

So a job that fails (a concurrency conflict, say) has written nothing, and many jobs take no more statements than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from muniment.document import SEPARATOR, fold
from muniment.errors import ConcurrencyConflict
from muniment.fingerprint import Fingerprint, Tally, digest_sum, member_digest, row_digest
from muniment.revision import DOCUMENT
from muniment.storage.base import Write, Written
from muniment.storage.indexes import DEFINITIONS, Come, Gone
from muniment.storage.sqlite.indexes import Indexes, Words

_FIND: Final = "SELECT kind, key, spelling, etag, collection, size, digest FROM current WHERE kind = ? AND key = ?"
_Key = tuple[int, str]
_number: Final = int.from_bytes


class _Present(NamedTuple):
    """The newest revision of an id, from the table `current`. Without a digest it is a tombstone."""

    spelling: str | None
    etag: int
    collection: str | None
    size: int
    digest: bytes | None


class Writes:
    """A job that does nothing but these writes, so that it can be stored together with others.

    `replaced`, if given, is filled when they are stored: each new etag to the etag that it replaced.
    """

    __slots__ = "keys", "replaced", "writes"

    def __init__(self, writes: Sequence[Write], replaced: dict[int, int] | None = None) -> None:
        self.writes = writes
        self.keys: list[_Key] = [(write.kind, fold(write.id)) for write in writes]
        self.replaced = replaced

    def __call__(self, transaction: Transaction) -> list[Written]:
        """Carry them out in order; raises `ConcurrencyConflict` when an etag is not the expected one."""
        return transaction.carry_out(self)


class Changes:
    """What some jobs change, after the etag given."""

    def __init__(self, cursor: apsw.Cursor, jobs: Iterable[Writes], etag: int) -> None:
        self.etag = etag
        self._cursor = cursor
        keys = [key for job in jobs for key in job.keys]
        found: list[tuple[Any, ...]] = _run(cursor, _FIND, keys).fetchall()
        self._newest = {(row[0], row[1]): msgspec.convert(row[2:], _Present) for row in found}
        self._log: list[tuple[Any, ...]] = []
        self._made: list[tuple[_Key, _Present]] = []  # by the rows of the log
        self._replaced: list[tuple[int, _Present, int]] = []  # the new etag, what it replaced, its kind
        self.defines = False  # whether a document was written that may define an index
        self.words: list[Words] = []
        self._told: list[tuple[dict[int, int], int, int]] = []  # which of these to tell to whom

    def decide(self, job: Writes, modified: int) -> list[Written]:
        """Carry out its writes in order, or none of them: raises what is wrong with one."""
        before = self.etag, len(self._log), len(self._replaced)
        undo: list[tuple[_Key, _Present | None]] = []
        try:
            written = [self._write(write, key, modified, undo) for write, key in zip(job.writes, job.keys, strict=True)]
        except BaseException:
            for key, old in reversed(undo):
                if old is None:
                    del self._newest[key]
                else:
                    self._newest[key] = old
            self.etag, rows, replaced = before
            del self._log[rows:], self._made[rows:], self._replaced[replaced:]
            raise
        if job.replaced is not None:
            self._told.append((job.replaced, before[2], len(self._replaced)))
        return written

    def _write(self, write: Write, key: _Key, modified: int, undo: list[tuple[_Key, _Present | None]]) -> Written:
        id, body, metadata, collection, expected, kind, upload = write
        old = self._newest.get(key)
        actual = old.etag if old and old.digest else 0
        if expected is not None and expected != actual:
            raise ConcurrencyConflict(id, expected, actual)
        if body is None and not actual:
            return Written(id, 0, False)
        if old and SEPARATOR not in id:  # the name of a document's attachment takes its new spelling
            id = old.spelling or key[1]
        if body is None and old:
            collection = old.collection
        member = member_digest(id.encode(), metadata, body or b"")
        name = None if collection is None else collection.encode()
        etag = self.etag + 1
        row = row_digest(etag, kind, modified, name, member, tombstone=body is None)
        if body is None:
            size, digest = 0, None
        else:
            size, digest = upload.size if upload else len(body), member
        new = _Present(None if id == key[1] else id, etag, collection, size, digest)
        content = upload.content if upload else None
        undo.append((key, old))
        self.etag = etag
        self._newest[key] = new
        self._made.append((key, new))
        self._log.append((etag, kind, id, collection, modified, metadata, body, content, row))
        if old:
            self._replaced.append((etag, old, kind))
        if key[1].startswith(DEFINITIONS):
            self.defines = True
        return Written(id, etag, bool(actual))

    @property
    def dead(self) -> int:
        """How many revisions are no longer current."""
        return len(self._replaced)

    def store(self, indexes: Indexes | None) -> None:
        """Write what was decided; it is all there or, when this raises, to be undone."""
        if not self._log:
            return
        cursor, made = self._cursor, dict(self._made)
        _run(cursor, "INSERT INTO log VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", self._log)
        _run(cursor, "REPLACE INTO current VALUES(?, ?, ?, ?, ?, ?, ?)", [(*key, *made[key]) for key in made])
        if self._replaced:
            _run(cursor, "INSERT INTO dead VALUES(?, ?)", [(old.etag, etag) for etag, old, _ in self._replaced])
        if contents := [(row[7],) for row in self._log if row[7] is not None]:
            _run(cursor, "UPDATE content SET staged = 0 WHERE content = ?", contents)
        if indexes is not None and indexes.all:
            self._index(indexes)

    def _index(self, indexes: Indexes) -> None:
        """Keep the indexes; what is gone again at once is among the new ones, and never comes."""
        gone = [Gone(old.etag, old.collection) for _, old, kind in self._replaced if kind == DOCUMENT and old.digest]
        new = self._log[0][0]
        passing = {each.etag for each in gone if each.etag >= new}
        come = [
            Come(etag, collection, id, modified, metadata, body)
            for etag, kind, id, collection, modified, metadata, body, *_ in self._log
            if kind == DOCUMENT and body is not None and etag not in passing
        ]
        self.words = indexes.change([each for each in gone if each.etag < new], come)

    def count(self, fingerprint: Fingerprint, rows: Tally) -> None:
        """Count what was stored, and tell what it replaced."""
        rows.add(len(self._log), 0, digest_sum([row[8] for row in self._log]))
        for (kind, _), new in self._made:
            if new.digest:
                fingerprint.add((kind, new.collection or ""), 1, new.size, _number(new.digest, "big"))
        for _, old, kind in self._replaced:
            if old.digest:
                fingerprint.add((kind, old.collection or ""), -1, -old.size, -_number(old.digest, "big"))
        for told, first, last in self._told:
            told.update((etag, old.etag) for etag, old, _ in self._replaced[first:last])


def _run(cursor: apsw.Cursor, statement: str, rows: Sequence[Any]) -> apsw.Cursor:
    """Execute a statement for each of these rows; for a single one, as most are, in half of the time."""
    return cursor.execute(statement, rows[0]) if len(rows) == 1 else cursor.executemany(statement, rows)


class Transaction:
    """What one job does inside a commit; its effect on counters and fingerprint is kept apart until it succeeds."""

    def __init__(self, connection: apsw.Connection, etag: int, modified: int, indexes: Indexes | None = None) -> None:
        self.connection = connection
        self.etag = etag
        self.modified = modified
        self.fingerprint = Fingerprint()
        self.rows = Tally()
        self.dead = 0
        self.afterwards: list[Callable[[], object]] = []
        self.indexes = indexes
        self.words: list[Words] = []

    def write(self, writes: Sequence[Write], replaced: dict[int, int] | None = None) -> list[Written]:
        """Carry out these writes in order; see `Writes`."""
        return self.carry_out(Writes(writes, replaced))

    def carry_out(self, job: Writes) -> list[Written]:
        """Carry out this job as a part of this one."""
        changes = Changes(self.connection.cursor(), [job], self.etag)
        written = changes.decide(job, self.modified)
        changes.store(self.indexes)
        changes.count(self.fingerprint, self.rows)
        self.etag = changes.etag
        self.dead += changes.dead
        self.words += changes.words
        if changes.defines and self.indexes is not None:
            self.afterwards.append(self.indexes.definition_written)
        return written
