"""Reading a database file: short queries on pooled connections, and changes in batches of columns."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import add
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from muniment.document import fold
from muniment.errors import DamagedDatabase, DatabaseClosed, StorageFailure
from muniment.native import TEXT, Native
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage.base import Member
from muniment.storage.sqlite.files import FILE, StillFiles, inode_of, still_files
from muniment.storage.sqlite.rows import Numbers, Strings, in_c, take
from muniment.storage.sqlite.schema import connect, mapped, mapped_errors, parts_of

BATCH_ROWS: Final = 8192
BATCH_BYTES: Final = 8 << 20
SPARE_BYTES: Final = 1 << 20  # of metadata besides; by how much what was read may be larger, before less is taken
DIGEST_BYTES: Final = 32
FOUND_ROWS: Final = 128

_numbers: Final = msgspec.json.Decoder(list[int]).decode

_COLUMNS: Final = (
    "log.etag, log.kind, log.id, log.collection, log.modified, log.metadata, log.body,"
    " coalesce(content.size, octet_length(log.body), 0), log.content"
)
_FROM_LOG: Final = f"SELECT {_COLUMNS} FROM log LEFT JOIN content ON content.content = log.content"
_FROM_CURRENT: Final = (
    f"SELECT {_COLUMNS} FROM current CROSS JOIN log ON log.etag = current.etag"
    " LEFT JOIN content ON content.content = log.content"
)
# Takes a third of the time of the same query as a join.
_DOCUMENT: Final = f"""
SELECT etag, kind, id, collection, modified, metadata, body, octet_length(body), NULL FROM log
WHERE etag = (SELECT etag FROM current WHERE kind = {DOCUMENT} AND key = ? AND digest IS NOT NULL)
"""
_BY_ETAGS: Final = """
SELECT etag, kind, log.id, collection, modified, metadata, body, octet_length(body), NULL
FROM json_each(?) asked CROSS JOIN log ON log.etag = asked.value
"""
ALIVE: Final = "log.body IS NOT NULL AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.etag = log.etag)"
OF_COLLECTION: Final = """log.collection = :collection COLLATE NOCASE AND log.collection IS NOT NULL
AND lower(log.collection) = lower(:collection) -- NOCASE compares only as far as a NUL
"""
_CURRENT_AT: Final = (
    "log.etag > :after AND log.etag <= :through"
    " AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.etag = log.etag AND dead.replaced_by <= :snapshot)"
)
_MEMBERS: Final = """
SELECT kind, key, ifnull(spelling, key), collection, etag, digest FROM current
WHERE kind = :kind AND key >= :key {} AND digest IS NOT NULL ORDER BY key
"""
_HIGHEST: Final = f"""
SELECT max(CAST(number AS INTEGER)) FROM (
  SELECT CASE WHEN rest GLOB '*-[a-z]' THEN substr(rest, 1, length(rest) - 2) ELSE rest END AS number FROM (
    SELECT substr(key, :first) AS rest FROM current
    WHERE kind = {DOCUMENT} AND key >= :key {{}} AND digest IS NOT NULL
  )
) WHERE number GLOB '[0-9]*' AND number NOT GLOB '*[^0-9]*' AND length(number) <= 18
"""
# What is taken by C; its numbers are bound in the order in which they are named.
_REVISIONS: Final = f"""
SELECT etag, modified, id, collection, metadata, body, digest FROM log WHERE kind = {DOCUMENT} AND {_CURRENT_AT}
ORDER BY etag
"""
# Without C, SQLite gathers the columns of a batch, outside Python's global lock and without an object for each row.
_GATHER: Final = f"""
SELECT json_group_array(etag), json_group_array(modified), json_group_array(octet_length(id)),
  json_group_array(ifnull(octet_length(collection), -1)), json_group_array(octet_length(metadata)),
  json_group_array(ifnull(octet_length(body), -1)),
  CAST(group_concat(id, '') AS BLOB), CAST(group_concat(collection, '') AS BLOB),
  CAST(group_concat(metadata, '') AS BLOB), CAST(group_concat(body, '') AS BLOB),
  CAST(group_concat(digest, '') AS BLOB),
  ifnull(sum(typeof(id) <> 'text' OR typeof(collection) NOT IN ('text', 'null') OR typeof(metadata) <> 'blob'
    OR typeof(body) NOT IN ('blob', 'null') OR typeof(digest) <> 'blob'), 0)
FROM (
  SELECT etag, id, collection, modified, metadata, body, digest FROM log WHERE kind = {DOCUMENT} AND {_CURRENT_AT}
  ORDER BY etag LIMIT :limit
)
"""

# Connections without locks to files that have become writable: by POSIX's rules, closing them would end the locks of a
# writer that this process may have opened meanwhile.
_left_open: Final[list[apsw.Connection]] = []


class _Gathering:
    """Takes batches by C."""

    def __init__(self, library: Native) -> None:
        rows = BATCH_ROWS
        self._library = library
        self._numbers = Numbers(rows), Numbers(rows)
        self._strings = (
            Strings(rows, SPARE_BYTES, TEXT),
            Strings(rows, SPARE_BYTES, TEXT, absent=True),
            Strings(rows, SPARE_BYTES),
            Strings(rows, BATCH_BYTES, absent=True),
            Strings(rows, DIGEST_BYTES * rows),
        )

    def next(self, connection: apsw.Connection, after: int, through: int, snapshot: int) -> Batch | None:
        """The next revisions, as many as there is room for; None if there is none for the first, or it is damaged."""
        columns = *self._numbers, *self._strings
        rows, more = take(self._library, connection, _REVISIONS, (after, through, snapshot), BATCH_ROWS, columns)
        etags, modified = (each.taken(rows) for each in self._numbers)
        ids, collections, metadata, bodies, digests = (each.taken(rows) for each in self._strings)
        if more and not rows:
            return None
        for text in (ids, collections):
            str(text.memory, "utf-8")  # invalid UTF-8 is damage, and must not get into a backup
        return Batch(etags, ids, collections, modified, metadata, bodies, digests)


class Reader:
    """Reads what is committed. Every call borrows a connection for one short read transaction; threads may share it.

    All of them read the file that there was at first: one that has taken its place is another database.
    With `still` files, whatever was read while somebody could write to them after all is refused, not returned.
    """

    def __init__(self, folder: Path, still: StillFiles | None = None, key: EncryptionKey | None = None) -> None:
        self._folder = folder
        self._file = str(folder / FILE)
        self._inode = inode_of(self._file)
        self._still = still
        self._key = key
        self._free: deque[apsw.Connection] = deque()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """A connection that nobody else uses meanwhile."""
        connection = self._borrow()
        try:
            with mapped_errors(self._folder):
                yield connection
        finally:
            self._give_back(connection)

    def _borrow(self) -> apsw.Connection:
        self._check_open()
        try:
            return self._free.pop()
        except IndexError:
            connection = connect(self._folder, key=self._key, read_only=True, still=self._still)
        if not self._still and inode_of(self._file) != self._inode:  # those that stand still are compared anyway
            connection.close()
            raise StorageFailure(
                f"{FILE} in {self._folder} was replaced while the database was open: what is there now is another one",
                "close it, and open it again; and find out what touches its files",
            )
        return connection

    def _give_back(self, connection: apsw.Connection) -> None:
        self._free.append(connection)
        if self._closed:  # meanwhile
            self.close()
        if self._still:
            self._still.check()

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed(f"the database in {self._folder} is closed", "open it again")

    def close(self) -> None:
        """Close the connections; a thread that is still reading gets `DatabaseClosed`."""
        self._closed = True
        while True:
            try:
                connection = self._free.pop()
            except IndexError:
                return
            if self._still and self._still.log and not still_files(self._folder):
                _left_open.append(connection)
            else:
                connection.close()

    def _rows(self, query: str, bindings: Any) -> list[Revision]:
        with self.connection() as connection:
            return [msgspec.convert(row, Revision) for row in connection.execute(query, bindings)]

    def get(self, kind: int, id: str) -> Revision | None:
        """The current revision of this id, None when there is none or it is deleted."""
        if kind == DOCUMENT:
            return self._document(fold(id))
        query = f"{_FROM_CURRENT} WHERE current.kind = ? AND current.key = ? AND current.digest IS NOT NULL"
        rows = self._rows(query, (kind, fold(id)))
        return rows[0] if rows else None

    def _document(self, key: str) -> Revision | None:
        connection = self._borrow()
        try:
            rows = connection.execute(_DOCUMENT, (key,)).fetchall()
            return msgspec.convert(rows[0], Revision) if rows else None
        except Exception as error:
            raise mapped(error, self._folder) from error
        finally:
            self._give_back(connection)

    def told(self, query: str, bindings: tuple[Any, ...]) -> tuple[list[Revision], int]:
        """The revisions that a query of one statement finds, and the number that it tells in each row.

        There are none where it asks a table that is not there.
        """
        connection = self._borrow()
        try:
            rows = connection.execute(query, bindings).fetchall()
            found = msgspec.convert([row[:-1] for row in rows], list[Revision])
            return found, msgspec.convert(rows[0][-1], int) if rows else 0
        except apsw.SQLError:
            return [], 0
        except Exception as error:
            raise mapped(error, self._folder) from error
        finally:
            self._give_back(connection)

    def members(self, prefixes: Sequence[str]) -> Iterator[Member]:
        """What is current and whose id begins with one of these, by kind and folded id; all of one moment."""
        apart: list[str] = []
        for key in sorted(map(fold, prefixes)):
            if not (apart and key.startswith(apart[-1])):
                apart.append(key)
        with self.connection() as connection, connection:  # one transaction
            for kind in (DOCUMENT, ATTACHMENT):
                for key in apart:
                    end = _after_prefix(key)
                    query = _MEMBERS.format("" if end is None else "AND key < :end")
                    bindings = {"kind": kind, "key": key, "end": end}
                    for row in connection.execute(query, bindings):
                        yield msgspec.convert(row, Member)

    def highest_number(self, prefix: str) -> int:
        """See `base`: read from the ids alone."""
        key = fold(prefix)
        query = _HIGHEST.format("" if (end := _after_prefix(key)) is None else "AND key < :end")
        with self.connection() as connection:
            found = connection.execute(query, {"key": key, "end": end, "first": len(key) + 1}).get
        return found or 0

    def by_prefix(self, kind: int, prefix: str, start: int, limit: int, after: str) -> list[Revision]:
        """Current revisions whose ids begin with the prefix, in the order of their folded ids, from the one `after`."""
        key, last = fold(prefix), fold(after)
        end = _after_prefix(key)
        below = "" if end is None else "AND current.key < :end"
        above = "> :last" if last >= key else ">= :key"
        query = f"""{_FROM_CURRENT} WHERE current.kind = :kind AND current.key {above} {below}
            AND current.digest IS NOT NULL ORDER BY current.key LIMIT :limit OFFSET :start"""
        bindings = {"kind": kind, "key": key, "last": last, "end": end, "limit": limit, "start": start}
        return self._rows(query, bindings)

    def by_collection(self, collection: str, after: int, limit: int) -> list[Revision]:
        """Current documents of a collection (in any case) in the order of their etags, from the one after `after`."""
        query = f"""{_FROM_LOG} WHERE {OF_COLLECTION} AND log.etag > :after AND log.kind = {DOCUMENT} AND {ALIVE}
            ORDER BY log.etag LIMIT :limit"""
        return self._rows(query, {"collection": collection, "after": after, "limit": limit})

    def by_etag(self, kind: int, after: int, limit: int) -> list[Revision]:
        """Current documents or attachments in the order of their etags, from the one after `after`."""
        query = f"{_FROM_LOG} WHERE log.etag > ? AND log.kind = {kind:d} AND {ALIVE} ORDER BY log.etag LIMIT ?"
        return self._rows(query, (after, limit))

    def documents(self, collection: str | None, upto: int) -> Iterator[Revision]:
        """The documents of a collection, or all, that were current at `upto`, in the order of their etags.

        The caller holds a pin at `upto`.
        """
        named = "" if collection is None else f"AND {OF_COLLECTION}"
        query = f"""{_FROM_LOG} WHERE log.kind = {DOCUMENT} {named} AND {_CURRENT_AT} AND log.body IS NOT NULL
            ORDER BY log.etag LIMIT {FOUND_ROWS}"""
        after = 0
        while rows := self._rows(query, {**_span(after, upto, upto), "collection": collection}):
            yield from rows
            after = rows[-1].etag

    def bodies(self, collection: str | None, upto: int) -> Iterator[tuple[int, bytes]]:
        """The etags and bodies of these documents; the caller holds a pin at `upto`."""
        named = "" if collection is None else f"AND {OF_COLLECTION}"
        query = f"""SELECT etag, body FROM log WHERE kind = {DOCUMENT} {named} AND {_CURRENT_AT}
            AND log.body IS NOT NULL ORDER BY etag LIMIT {FOUND_ROWS}"""
        after = 0
        while True:
            with self.connection() as connection:
                bound = {**_span(after, upto, upto), "collection": collection}
                rows: list[tuple[Any, ...]] = connection.execute(query, bound).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    def revisions(self, etags: list[int]) -> Iterator[Revision]:
        """The revisions with these etags, in their order; the caller holds a pin."""
        for start in range(0, len(etags), FOUND_ROWS):
            with self.connection() as connection:
                rows = read_revisions(connection, etags[start : start + FOUND_ROWS])
            yield from rows

    def changes(self, after: int, upto: int, *, history: bool = False, through: int | None = None) -> Iterator[Batch]:
        """See `base`: the documents' revisions that were current at `upto` and are later than `after`."""
        limit, through, snapshot = BATCH_ROWS, upto if through is None else through, 0 if history else upto
        with mapped_errors(self._folder):  # there may be no memory for it
            gathering = _Gathering(library) if (library := in_c()) else None
        while True:
            with self.connection() as connection:
                batch = gathering.next(connection, after, through, snapshot) if gathering else None
                if gathering:
                    limit = 1  # of what C has left
                while batch is None:
                    batch = _next_batch(connection, after, through, snapshot, limit)
                    limit = max(1, limit // 2) if batch is None else limit
            if not batch.etags:
                return
            yield batch
            after = batch.etags[-1]
            # A little less than will fit, if they are like these: what has been read in excess is read again.
            size = batch.metadata.size + batch.bodies.size
            limit = min(BATCH_ROWS, len(batch) * (BATCH_BYTES - SPARE_BYTES // 4) // max(size, 1) + 1)
            del batch  # so that its memory is used again, if nobody else has it

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]:
        """See `base`: the attachments' revisions that were current at `upto` and are later than `after`."""
        query = f"{_FROM_LOG} WHERE log.kind = {ATTACHMENT} AND {_CURRENT_AT} ORDER BY log.etag LIMIT 100"
        while rows := self._rows(query, _span(after, upto, 0 if history else upto)):
            yield from rows
            after = rows[-1].etag

    def versions(self, id: str) -> list[Revision]:
        """All revisions of this document that the log has: read from all its ids, for it has no index by id."""
        key = fold(id)
        query = f"SELECT etag, id FROM log WHERE kind = {DOCUMENT} AND length(id) = ?"  # which folding does not change
        with self.connection() as connection:
            etags = [etag for etag, each in connection.execute(query, (len(key),)) if fold(each) == key]
            found = connection.executemany(f"{_FROM_LOG} WHERE log.etag = ?", ((etag,) for etag in etags))
            return [msgspec.convert(row, Revision) for row in found]

    def logged(self, etag: int) -> tuple[int, bytes] | None:
        """The time and the digest of the row with this etag, None when the log does not have it."""
        with self.connection() as connection:
            row = connection.execute("SELECT modified, digest FROM log WHERE etag = ?", (etag,)).fetchone()
            return None if row is None else msgspec.convert(row, tuple[int, bytes])

    def content(self, content: int) -> Iterator[bytes]:
        """The parts of an attachment's content, of at most 1 MiB each."""
        (part, _), query = parts_of(content), "SELECT data FROM part WHERE part = ?"
        while True:
            with self.connection() as connection:
                row = connection.execute(query, (part,)).fetchone()
                if row is None:
                    return
                data = msgspec.convert(row[0], bytes)
            yield data
            part += 1


def read_revisions(connection: apsw.Connection, etags: list[int]) -> list[Revision]:
    """The documents' revisions with these etags, in their order."""
    return msgspec.convert(connection.execute(_BY_ETAGS, (str(etags),)).fetchall(), list[Revision])


def _next_batch(connection: apsw.Connection, after: int, through: int, snapshot: int, limit: int) -> Batch | None:
    """The next revisions, as many as fit, at most `limit`; None if those would be much more than fit."""
    longest = connection.limit(apsw.SQLITE_LIMIT_LENGTH)
    if limit > 1:  # a single one may be of any size
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, BATCH_BYTES + SPARE_BYTES)
    try:
        found = connection.execute(_GATHER, _span(after, through, snapshot) | {"limit": limit}).fetchone()
    except apsw.TooBigError:
        return None
    finally:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, longest)
    assert found is not None
    etags, modified, *lengths = (_numbers(text) for text in found[:6])
    gathered, wrong = found[6:-1], found[-1]
    for text in gathered[:2]:
        (text or b"").decode()  # invalid UTF-8 is damage, and must not get into a backup
    columns = [
        Packed.of_lengths(each, data or b"")
        for each, data in zip((*lengths, [DIGEST_BYTES] * len(etags)), gathered, strict=True)
    ]
    if wrong or any(column.size != column.offsets[-1] for column in columns):
        raise DamagedDatabase(
            f"revisions after etag {after} hold values of a wrong type", "run `muniment check` on the database"
        )
    ids, collections, metadata, bodies, digests = columns
    batch = Batch(array("q", etags), ids, collections, array("q", modified), metadata, bodies, digests)
    sizes = list(map(add, metadata.offsets[1:], bodies.offsets[1:]))  # ids are short, and there are not many
    return batch.first(max(1, bisect_right(sizes, BATCH_BYTES)))


def _span(after: int, through: int, snapshot: int) -> dict[str, int]:
    """Bindings for `_CURRENT_AT`; no revision was dead at snapshot 0, so 0 gives the whole history."""
    return {"after": after, "through": through, "snapshot": snapshot}


def _after_prefix(key: str) -> str | None:
    """The least string greater than all that begin with this key, None when there is none."""
    key = key.rstrip("\U0010ffff")
    if not key:
        return None
    following = ord(key[-1]) + 1
    return key[:-1] + chr(0xE000 if following == 0xD800 else following)
