"""What writes make of a database, worked out in memory: the rows of the log, the pointers, and what they count.

The newest revisions of all ids that are written are read once for a whole group, and each of its commits is tried on
them: one that fails (a concurrency conflict) leaves nothing behind, so it needs no savepoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from muniment.document import SEPARATOR, fold
from muniment.errors import ConcurrencyConflict, StorageFailure
from muniment.fingerprint import Fingerprint, digest_sum, member_digest, row_digest
from muniment.revision import DOCUMENT, Revision
from muniment.storage.base import Write, Written
from muniment.storage.indexes import DEFINITIONS, Come, Index
from muniment.storage.postgres.connection import Connection, Names
from muniment.storage.postgres.facts import Sums, fold_collection
from muniment.storage.postgres.indexes import change

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
    """The newest revision of an id. Without a digest it is a tombstone."""

    spelling: bytes | None
    etag: int
    collection: bytes | None
    size: int
    digest: bytes | None


class Logged(NamedTuple):
    """A row of the log."""

    etag: int
    key: bytes
    kind: int
    spelling: bytes | None
    collection: bytes | None
    folded: bytes | None
    modified: int
    metadata: bytes
    body: bytes | None
    content: int | None
    size: int
    digest: bytes


class Dead(NamedTuple):
    """A revision that is no longer current."""

    etag: int
    key: bytes
    replaced_by: int


def keys_of(writes: Sequence[Write]) -> list[Key]:
    """Under what these write."""
    return [Key(write.kind, fold(write.id).encode()) for write in writes]


class Commit:
    """What one caller commits, upon what was there before: `newest` is not changed until it is `taken`."""

    def __init__(self, newest: Mapping[Key, Present], etag: int, modified: int) -> None:
        self._newest = newest
        self.etag = etag
        self.modified = modified
        self.changed: dict[Key, Present] = {}
        self.log: list[Logged] = []
        self.dead: list[Dead] = []
        self.contents: list[int] = []
        self.fingerprint = Fingerprint()

    def write(self, writes: Sequence[Write], keys: Sequence[Key]) -> list[Written]:
        """Carry out these in order; raises `ConcurrencyConflict` when an etag is not the expected one."""
        return [self._write(write, key) for write, key in zip(writes, keys, strict=True)]

    def _write(self, write: Write, key: Key) -> Written:
        old = self.changed.get(key) or self._newest.get(key)
        actual = old.etag if old and old.digest else 0
        if write.expected is not None and write.expected != actual:
            raise ConcurrencyConflict(write.id, write.expected, actual)
        if write.body is None and not actual:
            return Written(write.id, 0, False)
        self.etag += 1
        id = write.id.encode()
        if old:
            if SEPARATOR not in write.id:  # the name of a document's attachment takes its new spelling
                id = old.spelling or key.key
            self.dead.append(Dead(old.etag, key.key, self.etag))
            if old.digest:
                group = write.kind, (old.collection or b"").decode()
                self.fingerprint.add(group, -1, -old.size, -int.from_bytes(old.digest, "big"))
        self.changed[key] = self._revision(write, id, key, old)
        return Written(id.decode(), self.etag, bool(actual))

    def take_over(self, revision: Revision, key: Key, content: int | None) -> None:
        """Carry out what another database has committed, with the etag and time that it has there."""
        old = self.changed.get(key) or self._newest.get(key)
        id = revision.id.encode()
        if old:
            self.dead.append(Dead(old.etag, key.key, revision.etag))
            if old.digest:
                group = key.kind, (old.collection or b"").decode()
                self.fingerprint.add(group, -1, -old.size, -int.from_bytes(old.digest, "big"))
        spelling = None if id == key.key else id
        collection = None if revision.collection is None else revision.collection.encode()
        member = member_digest(id, revision.metadata, revision.body or b"")
        deleted = revision.body is None
        row = row_digest(revision.etag, key.kind, revision.modified, collection, member, tombstone=deleted)
        if not deleted:
            group = key.kind, (collection or b"").decode()
            self.fingerprint.add(group, 1, revision.size, int.from_bytes(member, "big"))
        rest = revision.modified, revision.metadata, revision.body, content, revision.size, row
        folded = fold_collection(collection)
        self.log.append(Logged(revision.etag, key.key, key.kind, spelling, collection, folded, *rest))
        self.changed[key] = Present(spelling, revision.etag, collection, revision.size, None if deleted else member)

    def _revision(self, write: Write, id: bytes, key: Key, old: Present | None) -> Present:
        body, upload, content = write.body, write.upload, None
        collection = None if write.collection is None else write.collection.encode()
        member = member_digest(id, write.metadata, body or b"")
        size, digest = 0, None
        if body is None:
            collection = old.collection if old else None
        else:
            size, digest = upload.size if upload else len(body), member
            group = write.kind, (collection or b"").decode()
            self.fingerprint.add(group, 1, size, int.from_bytes(digest, "big"))
        if upload:
            content = upload.content
            self.contents.append(content)
        row = row_digest(self.etag, write.kind, self.modified, collection, member, tombstone=body is None)
        spelling, folded = None if id == key.key else id, fold_collection(collection)
        rest = self.modified, write.metadata, body, content, size, row
        self.log.append(Logged(self.etag, key.key, key.kind, spelling, collection, folded, *rest))
        return Present(spelling, self.etag, collection, size, digest)


class Rows:
    """What a transaction stores: the sum of its commits, sent in pieces."""

    def __init__(self) -> None:
        self.newest: dict[Key, Present] = {}
        self.sums = Sums()
        self._changed: dict[Key, Present] = {}
        self._log: list[Logged] = []
        self._dead: list[Dead] = []
        self._contents: list[int] = []
        self._bytes = 0
        self.dead = 0
        self.written = 0
        self.indexes: tuple[Index, ...] = ()
        self.defines = False
        self.etag = 0  # the last one, when all of it is sent

    def take(self, commit: Commit) -> None:
        """Count in a commit that has succeeded."""
        self.newest |= commit.changed
        self._changed |= commit.changed
        self._log += commit.log
        self._dead += commit.dead
        self._contents += commit.contents
        self._bytes += sum(len(row.metadata) + len(row.body or b"") for row in commit.log)
        self.dead += len(commit.dead)
        self.written += len(commit.log)
        self.defines = self.defines or any(key.key.startswith(_DEFINITIONS) for key in commit.changed)
        self.sums.add_fingerprint(commit.fingerprint)
        if commit.log:
            digests = digest_sum([row.digest for row in commit.log])
            self.sums.add_rows((row.etag for row in commit.log), digests, 1)

    @property
    def full(self) -> bool:
        """Whether it is time to send."""
        return self._bytes > BYTES_AT_ONCE or len(self._log) > ROWS_AT_ONCE

    def send(self, connection: Connection, names: Names) -> None:
        """Send what has not been sent; part of the transaction."""
        execute = connection.execute
        for piece in _pieces(self._log):
            execute(names.sql(_LOG), _columns(piece))
        if self._changed:
            rows = [(*key, *present) for key, present in self._changed.items()]
            for start in range(0, len(rows), ROWS_AT_ONCE):
                execute(names.sql(_CURRENT), _columns(rows[start : start + ROWS_AT_ONCE]))
        if self._dead:
            execute(names.sql(_DEAD), _columns(self._dead))
        if self._contents:
            execute(names.sql(_NAMED), (self._contents,))
        if self.indexes:
            self._index(connection, names)
        self._changed, self._log, self._dead, self._contents, self._bytes = {}, [], [], [], 0

    def _index(self, connection: Connection, names: Names) -> None:
        """Keep the indexes; what is gone again at once is among the new ones, and never comes."""
        gone = {row.etag for row in self._dead}
        come = [
            Come(
                row.etag,
                None if row.collection is None else row.collection.decode(),
                (row.spelling or row.key).decode(),
                row.modified,
                row.metadata,
                row.body,
            )
            for row in self._log
            if row.kind == DOCUMENT and row.body is not None and row.etag not in gone
        ]
        change(connection, names, self.indexes, sorted(gone), come)


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


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


def newest_of(rows: Sequence[tuple[Any, ...]]) -> dict[Key, Present]:
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
