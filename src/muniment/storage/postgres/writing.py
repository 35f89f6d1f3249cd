"""What writes make of a database, worked out in memory: the rows of the log, the pointers, and what they count.

The newest revisions of all ids that are written are read once for a whole group, and each of its commits is tried on
them: one that fails (a concurrency conflict) leaves nothing behind, so it needs no savepoint.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple, TypeAlias

from muniment.document import SEPARATOR, fold
from muniment.errors import ConcurrencyConflict, StorageFailure
from muniment.fingerprint import batch_digests, digest_sum, member_digest, row_digest
from muniment.revision import DOCUMENT, Batch, Packed, Revision
from muniment.storage.base import Write, Written
from muniment.storage.indexes import DEFINITIONS, Come, Index
from muniment.storage.postgres.connection import Connection, Names
from muniment.storage.postgres.facts import Sums, fold_collection
from muniment.storage.postgres.indexes import change
from muniment.storage.postgres.trip import Trip

ROWS_AT_ONCE: Final = 4096
BYTES_AT_ONCE: Final = 16 << 20
_NEWEST: Final = """
SELECT c.kind, c.key, c.spelling, c.etag, c.collection, c.size, c.digest FROM {s}.current c
JOIN unnest(%b::smallint[], %b::bytea[]) AS w(kind, key) ON c.kind = w.kind AND c.key = w.key
"""
_LOG: Final = """
INSERT INTO {s}.log(etag, key, kind, spelling, collection, folded, modified, metadata, body, content, size, digest)
SELECT * FROM unnest(%b::bigint[], %b::bytea[], %b::smallint[], %b::bytea[], %b::bytea[], %b::bytea[], %b::bigint[],
  %b::bytea[], %b::bytea[], %b::bigint[], %b::bigint[], %b::bytea[])
"""
_CURRENT: Final = """
INSERT INTO {s}.current(kind, key, spelling, etag, collection, size, digest)
SELECT * FROM unnest(%b::smallint[], %b::bytea[], %b::bytea[], %b::bigint[], %b::bytea[], %b::bigint[], %b::bytea[])
ON CONFLICT(kind, key) DO UPDATE SET spelling = excluded.spelling, etag = excluded.etag,
  collection = excluded.collection, size = excluded.size, digest = excluded.digest
"""
_DEAD: Final = """
INSERT INTO {s}.dead(etag, key, replaced_by) SELECT * FROM unnest(%b::bigint[], %b::bytea[], %b::bigint[])
"""
_DEFINITIONS: Final = DEFINITIONS.encode()
_NAMED: Final = "UPDATE {s}.content SET staged = false WHERE content = ANY(%b::bigint[])"
_STAGED: Final = "SELECT content FROM {s}.content WHERE content = ANY(%b::bigint[]) FOR UPDATE"


class Key(NamedTuple):
    """Under what a revision is found."""

    kind: int
    key: bytes


class Present(NamedTuple):
    """The newest revision of an id, as it was read. Without a digest it is a tombstone."""

    spelling: bytes | None
    etag: int
    collection: bytes | None
    size: int
    digest: bytes | None

    @property
    def alive(self) -> bool:
        """Whether it is no tombstone."""
        return self.digest is not None


class Logged(NamedTuple):
    """A row of the log, without what follows from it."""

    etag: int
    key: Key
    spelling: bytes | None
    collection: bytes | None
    modified: int
    metadata: bytes
    body: bytes | None
    content: int | None
    size: int

    @property
    def alive(self) -> bool:
        """Whether it is no tombstone."""
        return self.body is not None

    @property
    def id(self) -> bytes:
        """The id as it is spelled."""
        return self.spelling or self.key.key


Newest: TypeAlias = Present | Logged
_Current: TypeAlias = tuple[int, bytes, bytes | None, int, bytes | None, int, bytes | None]


def keys_of(writes: Sequence[Write]) -> list[Key]:
    """Under what these write."""
    return [Key(write.kind, fold(write.id).encode()) for write in writes]


class Rows:
    """What a transaction stores: what each caller has written is in it or not at all. It is sent in pieces."""

    def __init__(self) -> None:
        self.newest: dict[Key, Newest] = {}
        """What is known to be there, and what is written over it."""
        self.etag = 0
        """The last one."""
        self.sums = Sums()
        self._log: list[Logged] = []
        self._over: list[Newest | None] = []  # what each row of the log has replaced
        self._contents: list[int] = []
        self.dead = 0
        self.written = 0
        self.indexes: tuple[Index, ...] = ()
        self.defines = False

    def write(self, writes: Sequence[Write], keys: Sequence[Key], modified: int) -> list[Written]:
        """Carry out these in order; raises `ConcurrencyConflict`, and keeps nothing, if an etag is not the expected."""
        before = self.etag, len(self._log), len(self._contents)
        try:
            return [self._write(write, key, modified) for write, key in zip(writes, keys, strict=True)]
        except BaseException:
            self._forget(*before)
            raise

    def _forget(self, etag: int, rows: int, contents: int) -> None:
        for row, old in zip(reversed(self._log[rows:]), reversed(self._over[rows:]), strict=True):
            if old is None:
                del self.newest[row.key]
            else:
                self.newest[row.key] = old
        self.etag = etag
        del self._log[rows:], self._over[rows:], self._contents[contents:]

    def _write(self, write: Write, key: Key, modified: int) -> Written:
        old, body, upload = self.newest.get(key), write.body, write.upload
        actual = old.etag if old is not None and old.alive else 0
        if write.expected is not None and write.expected != actual:
            raise ConcurrencyConflict(write.id, write.expected, actual)
        if body is None and not actual:
            return Written(write.id, 0, False)
        id = write.id.encode()
        if old is not None and SEPARATOR not in write.id:  # the name of a document's attachment takes its new spelling
            id = old.spelling or key.key
        if body is None:
            collection, size = old.collection if old is not None else None, 0
        else:
            collection = None if write.collection is None else write.collection.encode()
            size = upload.size if upload else len(body)
        if upload:
            self._contents.append(upload.content)
        self.etag += 1
        spelling, content = None if id == key.key else id, upload.content if upload else None
        self._take(Logged(self.etag, key, spelling, collection, modified, write.metadata, body, content, size), old)
        return Written(id.decode(), self.etag, bool(actual))

    def take_over(self, revision: Revision, key: Key, content: int | None) -> None:
        """Carry out what another database has committed, with the etag and time that it has there."""
        id, etag, body = revision.id.encode(), revision.etag, revision.body
        spelling = None if id == key.key else id
        collection = None if revision.collection is None else revision.collection.encode()
        rest = revision.modified, revision.metadata, body, content, revision.size
        self._take(Logged(etag, key, spelling, collection, *rest), self.newest.get(key))

    def _take(self, row: Logged, old: Newest | None) -> None:
        self._log.append(row)
        self._over.append(old)
        self.newest[row.key] = row

    def replaced_after(self, etag: int) -> dict[int, int]:
        """The etags of revisions that are replaced by those after this etag, by the etags of these."""
        pairs = zip(reversed(self._log), reversed(self._over), strict=True)
        mine = takewhile(lambda pair: pair[0].etag > etag, pairs)
        return {row.etag: old.etag for row, old in mine if old is not None}

    def send(self, trip: Trip, names: Names) -> None:
        """Send what has not been sent; part of the transaction."""
        log, over = self._log, self._over
        sql, execute = names.sql, trip.execute
        members: list[bytes] = []
        for piece in _pieces(log):
            digests = _digests(piece)
            members += digests.members
            execute(sql(_LOG), (*_columns(piece), digests.rows))
            self.sums.add_rows((row.etag for row in piece), digest_sum(digests.rows), 1)
        current = [
            (*row.key, row.spelling, row.etag, row.collection, row.size, member if row.alive else None)
            for row, member in zip(log, members, strict=True)
            if self.newest[row.key] is row
        ]
        for start in range(0, len(current), ROWS_AT_ONCE):
            execute(sql(_CURRENT), list(zip(*current[start : start + ROWS_AT_ONCE], strict=True)))
        dead = [(old.etag, row.key.key, row.etag) for row, old in zip(log, over, strict=True) if old is not None]
        if dead:
            execute(sql(_DEAD), list(zip(*dead, strict=True)))
        if self._contents:
            execute(sql(_NAMED), (self._contents,))
        self._count(current)
        if self.indexes:
            self._index(trip, names, [etag for etag, _, _ in dead])
        self.dead += len(dead)
        self.written += len(log)
        self.defines = self.defines or any(row.key.key.startswith(_DEFINITIONS) for row in log)
        self._log, self._over, self._contents = [], [], []

    def _count(self, current: Sequence[_Current]) -> None:
        """Count out what was read and is no longer current, and in what is."""
        add = self.sums.add
        for row, old in zip(self._log, self._over, strict=True):
            if isinstance(old, Present) and old.digest is not None:
                name = (old.collection or b"").decode()
                add(row.key.kind, name, -1, -old.size, -int.from_bytes(old.digest, "big"))
        for kind, _, _, _, collection, size, digest in current:
            if digest is not None:
                add(kind, (collection or b"").decode(), 1, size, int.from_bytes(digest, "big"))

    def _index(self, trip: Trip, names: Names, dead: Iterable[int]) -> None:
        """Keep the indexes; what is gone again at once is among the new ones, and never comes."""
        gone = set(dead)
        come = [
            Come(
                row.etag,
                None if row.collection is None else row.collection.decode(),
                row.id.decode(),
                row.modified,
                row.metadata,
                row.body,
            )
            for row in self._log
            if row.key.kind == DOCUMENT and row.body is not None and row.etag not in gone
        ]
        change(trip, names, self.indexes, sorted(gone), come)


class _Digested(NamedTuple):
    members: Sequence[bytes]
    rows: Sequence[bytes]


def _digests(log: Sequence[Logged]) -> _Digested:
    if any(row.key.kind != DOCUMENT for row in log):
        members = [member_digest(row.id, row.metadata, row.body or b"") for row in log]
        return _Digested(
            members,
            [
                row_digest(row.etag, row.key.kind, row.modified, row.collection, member, tombstone=row.body is None)
                for row, member in zip(log, members, strict=True)
            ],
        )
    etags, _, _, collections, modified, metadata, bodies, *_ = zip(*log, strict=True)
    ids = Packed.of(row.id for row in log)
    columns = array("q", etags), ids, Packed.of(collections), array("q", modified), Packed.of(metadata)
    digests = batch_digests(Batch(*columns, Packed.of(bodies)))
    return _Digested(digests.members.values(), digests.rows.values())


def _columns(log: Sequence[Logged]) -> Sequence[Sequence[Any]]:
    """Those of the table, but for the digest."""
    etags, keys, spellings, collections, *rest = zip(*log, strict=True)
    kinds, folded = zip(*keys, strict=True)
    return etags, folded, kinds, spellings, collections, list(map(fold_collection, collections)), *rest


def _pieces(rows: Sequence[Logged]) -> Sequence[Sequence[Logged]]:
    """The rows in pieces of limited size, each of at least one row."""
    found: list[list[Logged]] = []
    size = 0
    for row in rows:
        if not found or size > BYTES_AT_ONCE or len(found[-1]) >= ROWS_AT_ONCE:
            found.append([])
            size = 0
        found[-1].append(row)
        size += len(row.metadata) + len(row.body or b"")
    return found


def newest_query(keys: Sequence[Key]) -> tuple[str, tuple[list[int], list[bytes]]]:
    """The query for the newest revisions under these keys, each once, and what it binds."""
    different = list(dict.fromkeys(keys))
    return _NEWEST, ([key.kind for key in different], [key.key for key in different])


def newest_of(rows: Sequence[tuple[Any, ...]]) -> dict[Key, Newest]:
    """What that query gave."""
    return {Key(row[0], row[1]): Present(*row[2:]) for row in rows}


def check_uploads(connection: Connection, names: Names, writes: Sequence[Write]) -> Callable[[Sequence[Write]], None]:
    """What raises `StorageFailure` for writes that name a content which nobody has any more."""
    wanted = [write.upload.content for write in writes if write.upload]
    if not wanted:
        return lambda _: None
    there = {content for (content,) in connection.execute(names.sql(_STAGED), (wanted,))}

    def check(some: Sequence[Write]) -> None:
        for write in some:
            if write.upload and write.upload.content not in there:
                raise StorageFailure(f"the content of {write.id!r} is no longer there", "upload it again")

    return check
