"""What an export reads before it can write it: attachments, which come before their documents, and deletions.

They wait in a scratch database, so that memory use does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

from muniment.document import SEPARATOR, fold
from muniment.owner import deleted_content, owners, split_id
from muniment.revision import ATTACHMENT, Revision
from muniment.storage.scratch import scratch_database

_TABLES: Final = """
CREATE TABLE attachment(
  etag INTEGER PRIMARY KEY, id TEXT, collection TEXT, modified INTEGER, metadata BLOB, sha256 BLOB, size INTEGER,
  content INTEGER
);
-- Every document that may be the one an attachment belongs to: the folded part of its key before one of its slashes.
CREATE TABLE owner(key TEXT, etag INTEGER, slash INTEGER, PRIMARY KEY(key, etag)) WITHOUT ROWID;
CREATE TABLE part(etag INTEGER, position INTEGER, data BLOB, PRIMARY KEY(etag, position)) WITHOUT ROWID;
CREATE TABLE deletion(kind INTEGER, id TEXT, collection TEXT, modified INTEGER, metadata BLOB);
CREATE TABLE kept(section TEXT, item BLOB);
"""
_KEYS: Final = 500
_COLUMNS: Final = "etag, id, collection, modified, metadata, sha256, size, content"


class Owned(NamedTuple):
    """An attachment of a document, and the name that it has there."""

    revision: Revision
    name: str


class Deletion(NamedTuple):
    """A deletion, with its time in microseconds; for an attachment, also its owner and the content that it had."""

    id: str
    collection: str | None
    modified: int
    owner: str | None
    name: str
    hash: str
    type: str


class Pending:
    """The attachments that have not been written yet, and the deletions. `close` throws everything away.

    An attachment that was stored by its key `orders/830/photo.png` alone belongs to the document `orders/830`, or if
    there is none, to `orders`. `exists` says whether there is a document with an id.
    """

    def __init__(self, exists: Callable[[str], bool]) -> None:
        self.attachments = 0
        self._exists = exists
        self._stack = ExitStack()
        self._run = self._stack.enter_context(scratch_database()).execute
        self._run(_TABLES).fetchall()

    def close(self) -> None:
        """Forget everything."""
        self._stack.close()

    def add(self, revision: Revision, parts: Iterable[bytes] = ()) -> None:
        """Remember an attachment, with its content if that cannot be read again later."""
        etag = revision.etag
        self._run("INSERT INTO attachment VALUES(?, ?, ?, ?, ?, ?, ?, ?)", (etag, *revision[2:]))
        for slash, key in _owners(revision.id):
            self._run("REPLACE INTO owner VALUES(?, ?, ?)", (fold(key), etag, slash))
        for position, part in enumerate(parts):
            self._run("INSERT INTO part VALUES(?, ?, ?)", (etag, position, part))
        self.attachments += 1

    def content(self, revision: Revision) -> Iterator[bytes]:
        """The parts of a content that came with its revision."""
        position = 0
        query = "SELECT data FROM part WHERE etag = ? AND position = ?"
        while row := self._run(query, (revision.etag, position)).fetchone():
            yield row[0]
            position += 1

    def take(self, id: str) -> list[Owned]:
        """Remove and return the attachments of this document, in the order of their names."""
        if not self.attachments:
            return []
        query = f"SELECT {_COLUMNS}, slash FROM owner JOIN attachment USING(etag) WHERE key = ?"
        taken = []
        rows: list[Any] = self._run(query, (fold(id),)).fetchall()
        for *columns, slash in rows:
            revision = _revision(columns)
            if not any(self._exists(key) for longer, key in _owners(revision.id) if longer > slash):
                taken.append(Owned(revision, revision.id[slash + 1 :]))
                self._forget(revision)
        return sorted(taken, key=lambda owned: owned.name)

    def owners_among(self, ids: Sequence[str]) -> set[str]:
        """Which of these documents have attachments that were not taken yet, or may have, where names nest."""
        keys = [fold(id) for id in ids] if self.attachments else []
        found: set[str] = set()
        for start in range(0, len(keys), _KEYS):
            some = keys[start : start + _KEYS]
            query = f"SELECT DISTINCT key FROM owner WHERE key IN (VALUES {', '.join(['(?)'] * len(some))})"
            found.update(key for (key,) in self._run(query, some))
        return {id for id, key in zip(ids, keys, strict=True) if key in found} if found else found

    def _forget(self, revision: Revision) -> None:
        for _, key in _owners(revision.id):
            self._run("DELETE FROM owner WHERE key = ? AND etag = ?", (fold(key), revision.etag))
        self._run("DELETE FROM attachment WHERE etag = ?", (revision.etag,))
        self.attachments -= 1

    def waits(self, revision: Revision) -> bool:
        """Whether no document has taken this attachment yet."""
        return self._run("SELECT 1 FROM attachment WHERE etag = ?", (revision.etag,)).fetchone() is not None

    def left(self) -> Iterator[Revision]:
        """The attachments that no document has taken, in the order of their etags."""
        etag = -1
        query = f"SELECT {_COLUMNS} FROM attachment WHERE etag > ? ORDER BY etag LIMIT 1"
        while row := self._run(query, (etag,)).fetchone():
            etag = row[0]
            yield _revision(row)

    def keep(self, section: str, item: bytes) -> None:
        """Remember an item of another section than that of documents."""
        self._run("INSERT INTO kept VALUES(?, ?)", (section, item))

    def kept_sections(self) -> list[str]:
        """The sections of which there are items."""
        return [section for (section,) in self._run("SELECT DISTINCT section FROM kept")]

    def kept(self, section: str) -> Iterator[bytes]:
        """The items of this section, in the order in which they came."""
        for (item,) in self._run("SELECT item FROM kept WHERE section = ? ORDER BY rowid", (section,)):
            yield item

    def delete(self, revision: Revision) -> None:
        """Remember a deletion."""
        row = (revision.kind, revision.id, revision.collection, revision.modified, revision.metadata)
        self._run("INSERT INTO deletion VALUES(?, ?, ?, ?, ?)", row)

    def deletions(self, kind: int) -> Iterator[Deletion]:
        """The deletions of documents or of attachments."""
        query = "SELECT id, collection, modified, metadata FROM deletion WHERE kind = ? ORDER BY rowid"
        for id, collection, modified, metadata in self._run(query, (kind,)):
            owner, name, hash, type = None, id, "", ""
            if kind == ATTACHMENT:
                longest_first = reversed(list(_owners(id)))
                owned = SEPARATOR in id
                found = next((slash for slash, key in longest_first if owned or self._exists(key)), None)
                owner, name = (None, id) if found is None else (id[:found], id[found + 1 :])
                hash, type = deleted_content(metadata)
            yield Deletion(id, collection, modified, owner, name, hash, type)


def _revision(columns: Sequence[Any]) -> Revision:
    return Revision(columns[0], ATTACHMENT, *columns[1:])


def _owners(id: str) -> Iterator[tuple[int, str]]:
    """The documents to which an attachment may belong, each with the place of the slash that ends its id."""
    owner, _ = split_id(id)
    return owners(id) if owner is None else iter([(len(owner), owner)])
