"""Reading a database in PostgreSQL: each call is one statement or one short transaction, on any connection."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from muniment.document import fold
from muniment.errors import DatabaseClosed
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision
from muniment.storage.base import Member
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, Pool, mapped_errors
from muniment.storage.postgres.facts import Facts, State, fold_collection, read_facts, read_state

T = TypeVar("T")
BATCH_ROWS: Final = 8192
BATCH_BYTES: Final = 8 << 20
DIGEST_BYTES: Final = 32
FOUND_ROWS: Final = 128
MEMBERS: Final = 2000
_MOMENT: Final = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0
"""
_COLUMNS: Final = (
    "log.etag, log.kind, coalesce(log.spelling, log.key), log.collection, log.modified, log.metadata, log.body,"
    " log.size, log.content"
)
_FROM_LOG: Final = f"SELECT {_COLUMNS} FROM {{s}}.log"
_FROM_CURRENT: Final = (
    f"SELECT {_COLUMNS} FROM {{s}}.current JOIN {{s}}.log ON log.etag = current.etag AND log.key = current.key"
)
_BY_ETAGS: Final = f"{_FROM_LOG} WHERE log.etag = ANY(%b)"
ALIVE: Final = (
    "log.body IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {s}.dead WHERE dead.etag = log.etag AND dead.key = log.key)"
)
_CURRENT_AT: Final = (
    "log.etag > %(after)s AND log.etag <= %(through)s AND NOT EXISTS (SELECT 1 FROM {s}.dead"
    " WHERE dead.etag = log.etag AND dead.key = log.key AND dead.replaced_by <= %(snapshot)s)"
)
# One row, in which PostgreSQL has gathered the bytes of all: no Python object is made for a revision. As many as fit.
_BATCH: Final = f"""
SELECT array_agg(etag), array_agg(modified), array_agg(octet_length(id)),
  array_agg(coalesce(octet_length(collection), -1)), array_agg(octet_length(metadata)),
  array_agg(coalesce(octet_length(body), -1)), string_agg(id, ''::bytea), string_agg(collection, ''::bytea),
  string_agg(metadata, ''::bytea), string_agg(body, ''::bytea), string_agg(digest, ''::bytea)
FROM (
  SELECT *, row_number() OVER (ORDER BY etag) AS place,
    sum(octet_length(metadata) + coalesce(octet_length(body), 0)) OVER (ORDER BY etag) AS total
  FROM (
    SELECT etag, modified, coalesce(spelling, key) AS id, collection, metadata, body, digest FROM {{s}}.log
    WHERE kind = {DOCUMENT} AND {_CURRENT_AT} ORDER BY etag LIMIT %(limit)s
  ) few
) measured WHERE place = 1 OR total <= {BATCH_BYTES}
"""
_MEMBERS: Final = """
SELECT kind, key, coalesce(spelling, key), collection, etag, digest FROM {s}.current
WHERE kind = %(kind)s AND key >= %(key)s AND (%(end)s::bytea IS NULL OR key < %(end)s) AND digest IS NOT NULL
ORDER BY key
"""
_HIGHEST: Final = f"""
SELECT max(substring(rest from '^[0-9]+')::bigint) FROM (
  SELECT encode(substring(key from %(first)s), 'escape') AS rest FROM {{s}}.current
  WHERE kind = {DOCUMENT} AND key >= %(key)s AND (%(end)s::bytea IS NULL OR key < %(end)s) AND digest IS NOT NULL
) named WHERE rest ~ '^[0-9]{{1,18}}(-[a-z])?$'
"""


class Reader:
    """Reads what is committed. Threads may share it."""

    def __init__(self, pool: Pool, names: Names, address: Address) -> None:
        self._pool = pool
        self._names = names
        self._address = address
        self._closed = False

    def close(self) -> None:
        """Whoever goes on reading gets `DatabaseClosed`."""
        self._closed = True

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that nobody else uses meanwhile."""
        if self._closed:
            raise DatabaseClosed(f"the database in {self._address} is closed", "open it again")
        with self._pool.connection() as connection, mapped_errors(self._address):
            yield connection

    def read(self, what: Callable[[Connection], T]) -> T:
        """What this reads, which is tried again when the connection is lost."""

        def once() -> T:
            with self.connection() as connection:
                return what(connection)

        return self._pool.patiently(once)

    @contextmanager
    def moment(self) -> Iterator[Connection]:
        """A connection in a transaction that sees one moment, and may last."""
        with self.connection() as connection:
            connection.execute(_MOMENT)  # in one message, since it has no parameters
            try:
                yield connection
            finally:
                if not connection.closed:
                    connection.rollback()

    def rows(self, query: str, bindings: Any = None) -> list[tuple[Any, ...]]:
        """What a query gives."""

        def run(connection: Connection) -> list[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(self._names.sql(query), bindings).fetchall()

        return self.read(run)

    def _revisions(self, query: str, bindings: Any) -> list[Revision]:
        return list(map(revision_of, self.rows(query, bindings)))

    def facts(self) -> Facts:
        """What the database knows of itself."""
        return self.read(lambda connection: read_facts(connection, self._names))

    def state(self) -> State:
        """The state alone."""
        return self.read(lambda connection: read_state(connection, self._names))

    def last_etag(self) -> int:
        """That of the last commit."""
        return int(self.rows("SELECT etag FROM {s}.muniment")[0][0])

    def get(self, kind: int, id: str) -> Revision | None:
        """The current revision of this id, None when there is none or it is deleted."""
        query = f"{_FROM_CURRENT} WHERE current.kind = %s AND current.key = %s AND current.digest IS NOT NULL"
        found = self._revisions(query, (kind, fold(id).encode()))
        return found[0] if found else None

    def members(self, prefixes: Sequence[str]) -> Iterator[Member]:
        """What is current and whose id begins with one of these, by kind and folded id; all of one moment."""
        apart: list[bytes] = []
        for key in sorted(fold(prefix).encode() for prefix in prefixes):
            if not (apart and key.startswith(apart[-1])):
                apart.append(key)
        with self.moment() as connection:
            for kind in (DOCUMENT, ATTACHMENT):
                for key in apart:
                    with connection.cursor("members", scrollable=False) as cursor:
                        cursor.itersize = MEMBERS
                        bound = {"kind": kind, "key": key, "end": after_prefix(key)}
                        cursor.execute(self._names.sql(_MEMBERS), bound, binary=True)
                        for of, folded, id, collection, etag, digest in cursor:
                            yield Member(of, folded.decode(), id.decode(), _text(collection), etag, digest)

    def highest_number(self, prefix: str) -> int:
        """See `base`: read from the ids alone."""
        key = fold(prefix).encode()
        bound = {"key": key, "end": after_prefix(key), "first": len(key) + 1}
        found: int | None = self.rows(_HIGHEST, bound)[0][0]
        return found or 0

    def by_prefix(self, kind: int, prefix: str, start: int, limit: int, after: str) -> list[Revision]:
        """Current revisions whose ids begin with the prefix, in the order of their folded ids, from the one `after`."""
        key, last = fold(prefix).encode(), fold(after).encode()
        end = after_prefix(key)
        below = "" if end is None else "AND current.key < %(end)s"
        above = "> %(last)s" if last >= key else ">= %(key)s"
        query = f"""{_FROM_CURRENT} WHERE current.kind = %(kind)s AND current.key {above} {below}
            AND current.digest IS NOT NULL ORDER BY current.key LIMIT %(limit)s OFFSET %(start)s"""
        bound = {"kind": kind, "key": key, "last": last, "end": end, "limit": limit, "start": start}
        return self._revisions(query, bound)

    def by_collection(self, collection: str, after: int, limit: int) -> list[Revision]:
        """Current documents of a collection (in any case) in the order of their etags, from the one after `after`."""
        query = f"""{_FROM_LOG} WHERE log.folded = %s AND log.etag > %s AND log.kind = {DOCUMENT} AND {ALIVE}
            ORDER BY log.etag LIMIT %s"""
        return self._revisions(query, (fold_collection(collection.encode()), after, limit))

    def by_etag(self, kind: int, after: int, limit: int) -> list[Revision]:
        """Current documents or attachments in the order of their etags, from the one after `after`."""
        query = f"{_FROM_LOG} WHERE log.etag > %s AND log.kind = {kind:d} AND {ALIVE} ORDER BY log.etag LIMIT %s"
        return self._revisions(query, (after, limit))

    def documents(self, collection: str | None, upto: int) -> Iterator[Revision]:
        """The documents of a collection, or all, that were current at `upto`, in the order of their etags.

        The caller holds a pin at `upto`.
        """
        named = "" if collection is None else "AND log.folded = %(collection)s"
        query = f"""{_FROM_LOG} WHERE log.kind = {DOCUMENT} {named} AND {_CURRENT_AT} AND log.body IS NOT NULL
            ORDER BY log.etag LIMIT {FOUND_ROWS}"""
        after, folded = 0, None if collection is None else fold_collection(collection.encode())
        while rows := self._revisions(query, {**_span(after, upto, upto), "collection": folded}):
            yield from rows
            after = rows[-1].etag

    def bodies(self, collection: str | None, upto: int) -> Iterator[tuple[int, bytes]]:
        """The etags and bodies of these documents; the caller holds a pin at `upto`."""
        named = "" if collection is None else "AND log.folded = %(collection)s"
        query = f"""SELECT log.etag, log.body FROM {{s}}.log WHERE log.kind = {DOCUMENT} {named} AND {_CURRENT_AT}
            AND log.body IS NOT NULL ORDER BY log.etag LIMIT {FOUND_ROWS}"""
        after, folded = 0, None if collection is None else fold_collection(collection.encode())
        while rows := self.rows(query, {**_span(after, upto, upto), "collection": folded}):
            yield from rows
            after = rows[-1][0]

    def revisions(self, etags: list[int]) -> Iterator[Revision]:
        """The revisions with these etags, in their order; the caller holds a pin."""
        for start in range(0, len(etags), FOUND_ROWS):
            few = etags[start : start + FOUND_ROWS]
            yield from _sorted_as(few, self.rows(_BY_ETAGS, (few,)))

    def revisions_in(self, connection: Connection, etags: list[int]) -> list[Revision]:
        """The same, in the transaction of a connection."""
        with connection.cursor(binary=True) as cursor:
            return _sorted_as(etags, cursor.execute(self._names.sql(_BY_ETAGS), (etags,)).fetchall()) if etags else []

    def changes(self, after: int, upto: int, *, history: bool = False, through: int | None = None) -> Iterator[Batch]:
        """See `base`: the documents' revisions that were current at `upto` and are later than `after`."""
        limit, through, snapshot = BATCH_ROWS, upto if through is None else through, 0 if history else upto
        while True:
            bound = {**_span(after, through, snapshot), "limit": limit}
            batch = _batch_of(self.rows(_BATCH, bound)[0])
            if batch is None:
                return
            yield batch
            after = batch.etags[-1]
            # About as many rows as will fit: gathering more would waste time.
            limit = min(BATCH_ROWS, limit * 2 if len(batch) == limit else len(batch) + len(batch) // 16 + 1)

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]:
        """See `base`: the attachments' revisions that were current at `upto` and are later than `after`."""
        query = f"{_FROM_LOG} WHERE log.kind = {ATTACHMENT} AND {_CURRENT_AT} ORDER BY log.etag LIMIT 100"
        while rows := self._revisions(query, _span(after, upto, 0 if history else upto)):
            yield from rows
            after = rows[-1].etag

    def versions(self, id: str) -> list[Revision]:
        """All revisions of this document that the log has: it has no index by id, so all of it is looked through."""
        query = f"{_FROM_LOG} WHERE log.kind = {DOCUMENT} AND log.key = %s ORDER BY log.etag"
        return self._revisions(query, (fold(id).encode(),))

    def logged(self, etag: int) -> tuple[int, bytes] | None:
        """The time and the digest of the row with this etag, None when the log does not have it."""
        rows = self.rows("SELECT modified, digest FROM {s}.log WHERE etag = %s", (etag,))
        return (rows[0][0], rows[0][1]) if rows else None

    def content(self, content: int) -> Iterator[bytes]:
        """The parts of an attachment's content, of at most 1 MiB each."""
        number, query = 0, "SELECT data FROM {s}.part WHERE content = %s AND number = %s"
        while rows := self.rows(query, (content, number)):
            yield rows[0][0]
            number += 1


def revision_of(row: tuple[Any, ...]) -> Revision:
    """A row as the queries here give it."""
    etag, kind, id, collection, modified, metadata, body, size, content = row
    return Revision(etag, kind, id.decode(), _text(collection), modified, metadata, body, size, content)


def _sorted_as(etags: list[int], rows: list[tuple[Any, ...]]) -> list[Revision]:
    found = {row[0]: revision_of(row) for row in rows}
    return [found[etag] for etag in etags]


def _text(name: bytes | None) -> str | None:
    return None if name is None else name.decode()


def _batch_of(row: tuple[Any, ...]) -> Batch | None:
    if row[0] is None:
        return None
    etags, modified, *lengths = row[:6]
    columns = [
        Packed.of_lengths(sizes, data or b"")
        for sizes, data in zip((*lengths, [DIGEST_BYTES] * len(etags)), row[6:], strict=True)
    ]
    return Batch(array("q", etags), columns[0], columns[1], array("q", modified), columns[2], columns[3], columns[4])


def _span(after: int, through: int, snapshot: int) -> dict[str, int]:
    """Bindings for `_CURRENT_AT`; no revision was dead at snapshot 0, so 0 gives the whole history."""
    return {"after": after, "through": through, "snapshot": snapshot}


def after_prefix(key: bytes) -> bytes | None:
    """The least bytes greater than all that begin with this key, None when there are none."""
    return key[:-1] + bytes((key[-1] + 1,)) if key else None
