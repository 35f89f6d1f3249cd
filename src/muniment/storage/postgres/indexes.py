"""Indexes in PostgreSQL: the keys of all of them in one table, kept in the transaction of each commit.

Whoever commits reads which indexes there are when it holds the lock on the last etag, so every process keeps those that
any has begun. A key is in two pieces, of which the first is indexed: PostgreSQL takes no more than a third of a page.
Of what is searched, each word is such a key, and its place that in the text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec
import psycopg

from muniment.document import fold_collection
from muniment.errors import Cancelled, MunimentError
from muniment.query.keys import MISSING, Key
from muniment.query.model import Field
from muniment.query.plan import IndexFault
from muniment.query.words import GAP
from muniment.revision import DOCUMENT
from muniment.storage.building import Filled
from muniment.storage.indexes import MOST_FAULTS, Come, Extractors, Fault, Index, Named, indexes_of, wanting
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, mapped_errors
from muniment.storage.postgres.facts import HEAD
from muniment.storage.postgres.reader import ALIVE, Reader
from muniment.storage.postgres.trip import Trip

HEAD_BYTES: Final = 512
ROWS_AT_ONCE: Final = 50_000
POLL_SECONDS: Final = 0.1
_FILLING, _READY, _GONE, _FORGOTTEN = range(4)  # the states of an index; a number is given once only
DEFINED: Final = f"""
SELECT number, collection, path, kind, state = {_READY}, several, used FROM {{s}}.index_definition
WHERE state IN ({_FILLING}, {_READY}) ORDER BY number
"""
_DEFINE: Final = f"""
INSERT INTO {{s}}.index_definition SELECT coalesce(max(number), 0) + 1, %b, %b, %s, {_FILLING}, false, %s
FROM {{s}}.index_definition RETURNING number
"""
_END: Final = f"""
UPDATE {{s}}.index_definition SET state = {_GONE} WHERE number = ANY(%b::integer[]) AND state < {_GONE}
"""
_OPEN: Final = f"""
SELECT number FROM {{s}}.index_definition WHERE number = ANY(%b::integer[]) AND state = {_FILLING} FOR SHARE
"""
_LEASE: Final = """
INSERT INTO {s}.lease(name, owner, expires, about) VALUES(%s, %s, now() + interval '60 seconds', %s)
"""
_BUILT_ELSEWHERE: Final = """
SELECT name FROM {s}.lease WHERE name LIKE 'index %%' AND owner <> %s AND expires > now()
"""
_TABLES: Final = ("index_key", "index_text", "index_fault")
_KEYS: Final = """
INSERT INTO {s}.index_key(etag, number, place, head, tail)
SELECT * FROM unnest(%b::bigint[], %b::integer[], %b::integer[], %b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING
"""
_TEXTS: Final = """
INSERT INTO {s}.index_text(etag, number, words)
SELECT * FROM unnest(%b::bigint[], %b::integer[], %b::integer[]) ON CONFLICT DO NOTHING
"""
_COPY_KEYS: Final = "COPY {s}.index_key(etag, number, place, head, tail) FROM STDIN (FORMAT BINARY)"
_COPY_TEXTS: Final = "COPY {s}.index_text(etag, number, words) FROM STDIN (FORMAT BINARY)"
_TYPES: Final = "int8 int4 int4 bytea bytea".split()
_FAULTS: Final = """
INSERT INTO {s}.index_fault(etag, number, id, reason)
SELECT * FROM unnest(%b::bigint[], %b::integer[], %b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING
"""


def defined(rows: Iterable[Sequence[Any]]) -> tuple[Index, ...]:
    """The indexes, from the rows of `DEFINED`."""
    return indexes_of(
        tuple(
            (number, None if of is None else of.decode(), path.decode(), kind, int(ready), int(several), used)
            for number, of, path, kind, ready, several, used in rows
        )
    )


@lru_cache(16)
def _extractors(indexes: tuple[Index, ...]) -> Extractors:
    return Extractors(indexes)


class _Rows:
    """What is to be added to the tables of indexes, as columns."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, int, int, bytes, bytes]] = []
        self.texts: list[tuple[int, int, int]] = []
        self.several: set[int] = set()

    def add(self, index: Index, etag: int, keys: Sequence[Key]) -> None:
        """The keys of a document in an index."""
        number = index.number
        if not index.of_words:
            different = [*dict.fromkeys(keys)]
            if len(different) > 1 and not index.several:
                self.several.add(number)
            self.keys += [
                (etag, number, place, key[:HEAD_BYTES], key[HEAD_BYTES:]) for place, key in enumerate(different)
            ]
            return
        if keys[0] == MISSING:
            self.texts.append((etag, number, 0))
            return
        self.texts.append((etag, number, len(keys)))
        self.keys += [
            (etag, number, place, word[:HEAD_BYTES], word[HEAD_BYTES:])
            for place, word in enumerate(keys)
            if word != GAP
        ]

    def send(self, trip: Trip, names: Names, faults: Sequence[Fault]) -> None:
        """Add them; part of a transaction."""
        for query, rows in ((_KEYS, self.keys), (_TEXTS, self.texts)):
            for start in range(0, len(rows), ROWS_AT_ONCE):
                columns = zip(*rows[start : start + ROWS_AT_ONCE], strict=True)
                trip.execute(names.sql(query), [list(column) for column in columns])
        self._send_facts(trip, names, faults)

    def copy(self, connection: Connection, names: Names, faults: Sequence[Fault]) -> None:
        """The same of many, none of which is there; less than half the work."""
        _copy(connection, names.sql(_COPY_KEYS), self.keys)
        _copy(connection, names.sql(_COPY_TEXTS), self.texts)
        self._send_facts(connection, names, faults)

    def _send_facts(self, connection: Connection | Trip, names: Names, faults: Sequence[Fault]) -> None:
        if self.several:
            query = "UPDATE {s}.index_definition SET several = true WHERE number = ANY(%b::integer[])"
            connection.execute(names.sql(query), (sorted(self.several),))
        if faults:
            columns = zip(
                *((fault.etag, fault.number, fault.id.encode(), fault.reason.encode()) for fault in faults), strict=True
            )
            connection.execute(names.sql(_FAULTS), [list(column) for column in columns])


def change(trip: Trip, names: Names, indexes: tuple[Index, ...], gone: Sequence[int], come: Sequence[Come]) -> None:
    """Keep these indexes: part of the transaction in which the documents of these etags are gone, and these come."""
    if gone:
        for table in _TABLES:
            trip.execute(names.sql(f"DELETE FROM {{s}}.{table} WHERE etag = ANY(%b::bigint[])"), (list(gone),))
    found, faults = _extractors(indexes).rows(come)
    rows = _Rows()
    for index in indexes:
        for etag, of_document in groupby(found.get(index.number, ()), key=itemgetter(0)):
            rows.add(index, etag, [key for _, key in of_document])
    rows.send(trip, names, faults)


def _copy(connection: Connection, statement: str, rows: Sequence[tuple[int | bytes, ...]]) -> None:
    if rows:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(_TYPES[: len(rows[0])])
            for row in rows:
                copy.write_row(row)


class Indexes:
    """The indexes of a database, for a process that writes to it; see `building.Kept`.

    `all` are those that were there when somebody last looked.
    """

    texts = False

    def __init__(
        self, reader: Reader, names: Names, address: Address, clock: Callable[[], int], owner: object, about: str
    ) -> None:
        self._reader = reader
        self._names = names
        self._address = address
        self._clock = clock
        self._owner = owner
        self._about = about
        self._stopped = threading.Event()
        self._begun: dict[int, int] = {}  # of indexes that are filled here, the last etag that commits do not add
        self.all: tuple[Index, ...] = ()
        self.named: Named = {}
        self.on_definition: Callable[[], object] | None = None

    def stop(self) -> None:
        """Wait no longer for what another process builds."""
        self._stopped.set()

    def definition_written(self) -> None:
        """Called when a document has been written that may define an index, after the commit."""
        if self.on_definition:
            self.on_definition()

    @contextmanager
    def _changing(self, *, lock: bool = True) -> Iterator[Connection]:
        """A transaction, in which with `lock` nobody commits meanwhile."""
        with self._reader.connection() as connection, mapped_errors(self._address), connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
            if lock:
                connection.execute(self._names.sql(f"{HEAD} FOR UPDATE"))
            yield connection

    def _read(self, connection: Connection) -> tuple[Index, ...]:
        with connection.cursor(binary=True) as cursor:
            self.all = defined(cursor.execute(self._names.sql(DEFINED)).fetchall())
        return self.all

    def documents(self, collection: str | None) -> int:
        """See `building.Kept`."""
        tallies = self._reader.facts().fingerprint.tallies
        return sum(
            tally.count
            for (kind, name), tally in tallies.items()
            if kind == DOCUMENT and (collection is None or fold_collection(name) == collection)
        )

    def want(self, collection: str | None, fields: Sequence[Field]) -> Sequence[Index]:
        """See `building.Kept`. Where another process fills all that are missing, this waits for it."""
        while True:
            with self._changing() as connection:
                others = self._begin(connection, collection, fields)
                found = [each for each in self.all if each.collection == collection and each.field in fields]
            self._forget()
            mine = [each for each in found if each not in others]
            if len(mine) < len(found) and all(each.ready for each in mine):
                if self._stopped.wait(POLL_SECONDS):
                    raise Cancelled("the database is being closed", "the next query makes the index")
                continue
            return mine

    def _begin(self, connection: Connection, collection: str | None, fields: Sequence[Field]) -> list[Index]:
        """Note what there is to be; gives those that another process is filling."""
        sql, execute = self._names.sql, connection.execute
        there = self._read(connection)
        names = {str(name) for (name,) in execute(sql(_BUILT_ELSEWHERE), (self._owner,)).fetchall()}
        others = [each for each in there if not each.ready and f"index {each.number}" in names]
        now = self._clock()
        drop, make, again = wanting(there, self.named, collection, fields, now)
        again = [each for each in again if each not in others]
        execute(sql(_END), ([each.number for each in (*drop, *again)],))
        last: int = execute(sql(HEAD)).fetchall()[0][0]
        for field in (*make, *(each.field for each in again)):
            path = msgspec.json.encode(field.path)
            bound = None if collection is None else collection.encode(), path, field.kind, now
            [(number,)] = execute(sql(_DEFINE), bound).fetchall()
            execute(sql(_LEASE), (f"index {number}", self._owner, self._about))
            self._begun[number] = last
        self._read(connection)
        return others

    def fill(self, indexes: Sequence[Index], documents: Filled, faults: Sequence[Fault]) -> None:
        """See `building.Kept`. Commits go on meanwhile: what they have made dead is taken out again by `filled`."""
        with self._changing(lock=False) as connection:
            numbers = [each.number for each in indexes]
            left = {number for (number,) in connection.execute(self._names.sql(_OPEN), (numbers,)).fetchall()}
            rows = _Rows()
            for place, index in enumerate(indexes):
                if index.number in left:
                    for etag, keys in documents:
                        if etag <= self._begun[index.number]:
                            rows.add(index, etag, keys[place])
            rows.copy(connection, self._names, [each for each in faults if each.number in left])

    def filled(self, indexes: Sequence[Index], upto: int) -> None:
        """See `building.Kept`."""
        numbers, sql = [each.number for each in indexes], self._names.sql
        with self._changing() as connection:
            for table in _TABLES:
                query = f"""DELETE FROM {{s}}.{table} i USING {{s}}.dead d
                    WHERE d.replaced_by > %s AND i.etag = d.etag AND i.number = ANY(%b::integer[])"""
                connection.execute(sql(query), (upto, numbers))
            query = f"""UPDATE {{s}}.index_definition SET state = {_READY}
                WHERE number = ANY(%b::integer[]) AND state = {_FILLING}"""
            connection.execute(sql(query), (numbers,))
            query = "DELETE FROM {s}.lease WHERE name = ANY(%b::text[])"
            connection.execute(sql(query), ([f"index {number}" for number in numbers],))
            self._read(connection)
        with suppress(MunimentError), self._reader.connection() as connection:
            for table in _TABLES:
                connection.execute(sql(f"ANALYZE {{s}}.{table}"))

    def abandon(self, indexes: Sequence[Index]) -> None:
        """See `building.Kept`."""
        numbers = {each.number for each in indexes}
        self._drop(lambda index: index.number in numbers)

    def abandon_all(self) -> None:
        """Have none any more, since one cannot be kept."""
        self._drop(lambda _: True)

    def drop(self, name: str) -> bool:
        """Drop those of this name, in any case; returns whether there were any."""
        return self._drop(lambda index: index.name.lower() == name.lower())

    def drop_fields(self, fields: Container[tuple[str | None, Field]]) -> None:
        """See `building.Kept`."""
        self._drop(lambda index: (index.collection, index.field) in fields)

    def _drop(self, which: Callable[[Index], bool]) -> bool:
        with self._changing() as connection:
            found = [index.number for index in self._read(connection) if which(index)]
            connection.execute(self._names.sql(_END), (found,))
            self._read(connection)
        self._forget()
        return bool(found)

    def used(self, indexes: Sequence[Index]) -> None:
        """Note that these have answered a query."""
        query = "UPDATE {s}.index_definition SET used = %s WHERE number = ANY(%b::integer[])"
        with suppress(MunimentError), self._changing(lock=False) as connection:
            connection.execute(self._names.sql(query), (self._clock(), [index.number for index in indexes]))

    def _forget(self) -> None:
        """Remove the rows of indexes that are gone, which nobody reads or adds to any more."""
        take = f"SELECT number FROM {{s}}.index_definition WHERE state = {_GONE} FOR UPDATE SKIP LOCKED"
        done = f"UPDATE {{s}}.index_definition SET state = {_FORGOTTEN} WHERE number = ANY(%b::integer[])"
        with self._changing(lock=False) as connection:
            gone = [number for (number,) in connection.execute(self._names.sql(take)).fetchall()]
            if not gone:
                return
            for table in _TABLES:
                query = f"DELETE FROM {{s}}.{table} WHERE number = ANY(%b::integer[])"
                connection.execute(self._names.sql(query), (gone,))
            connection.execute(self._names.sql(done), (gone,))
            names = [f"index {number}" for number in gone]
            connection.execute(self._names.sql("DELETE FROM {s}.lease WHERE name = ANY(%b::text[])"), (names,))


def read_faults(connection: Connection, names: Names) -> dict[int, tuple[IndexFault, ...]]:
    """The documents that indexes could not read, by the indexes' numbers, of each the first hundred."""
    found: dict[int, list[IndexFault]] = {}
    query = "SELECT number, id, reason FROM {s}.index_fault ORDER BY number, etag"
    with connection.cursor(binary=True) as cursor:
        for number, id, reason in cursor.execute(names.sql(query)):
            found.setdefault(number, []).append(IndexFault(id.decode(), reason.decode()))
    return {number: tuple(faults[:MOST_FAULTS]) for number, faults in found.items()}


def read_indexes(connection: Connection, names: Names) -> tuple[Index, ...]:
    """The indexes that there are at this moment."""
    with connection.cursor(binary=True) as cursor:
        return defined(cursor.execute(names.sql(DEFINED)).fetchall())


def check_indexes(connection: Connection, names: Names) -> Iterator[str]:
    """One sentence for each index that does not have the keys of the current documents."""
    for index in read_indexes(connection, names):
        if not index.ready:
            continue
        named, bound = ("", ()) if index.collection is None else (" AND log.folded = %b", (index.collection.encode(),))
        current = f"SELECT log.etag FROM {{s}}.log WHERE log.kind = {DOCUMENT} AND {ALIVE}{named}"
        table = "index_text" if index.of_words else "index_key"
        indexed = f"SELECT etag FROM {{s}}.{table} WHERE number = {index.number:d}"
        for what, sql in (("lacks", f"{current} EXCEPT {indexed}"), ("has beyond", f"{indexed} EXCEPT {current}")):
            query = names.sql(f"SELECT count(*) FROM ({sql}) differing")
            if count := connection.execute(query, bound).fetchall()[0][0]:
                yield f"the index {index.name} {what} the current documents: {count}"


def is_of_an_index(error: BaseException | None) -> bool:
    """Whether it says that an index could not be kept, not only that it took too long, or that the disk is full."""
    named = isinstance(error, psycopg.Error) and "index_" in str(error)
    return named and not isinstance(error, psycopg.OperationalError)
