"""Indexes: for a field of a collection, the keys of every current document, kept in the transaction that writes it.

So an index is never behind. One is made by the first query that wants it, while writes go on: it is noted, from then on
kept by every write, and filled in steps from the state of a moment after that (`building`). A program that knows no
indexes does not keep them; `through` shows what it has written, and then they are filled anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from muniment.document import fold_collection
from muniment.query.keys import Key
from muniment.query.model import SEARCHED, Field
from muniment.query.plan import IndexFault
from muniment.revision import DOCUMENT
from muniment.storage.indexes import (
    MOST_FAULTS,
    Come,
    Extractors,
    Fault,
    Gone,
    Index,
    Named,
    indexes_of,
    wanting,
)

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS index_definition(
  number INTEGER PRIMARY KEY, collection TEXT, path TEXT NOT NULL, kind TEXT NOT NULL, ready INTEGER NOT NULL,
  several INTEGER NOT NULL, used INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS index_state(through INTEGER NOT NULL) STRICT;
"""
_FAULTS: Final = """
CREATE TABLE IF NOT EXISTS index_fault(
  number INTEGER NOT NULL, etag INTEGER NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY(number, etag)
) STRICT, WITHOUT ROWID
"""
# The second is made when the first is full: sorted once, it takes a tenth of the time.
_INDEX: Final = """
CREATE TABLE index_{0:d}(etag INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY(etag, key)) STRICT, WITHOUT ROWID
"""
_BY_KEY: Final = "CREATE INDEX IF NOT EXISTS index_{0:d}_key ON index_{0:d}(key, etag)"
# One on words: what documents say in it, without the documents. It cuts the words out of what `words.text_of` gives.
_TEXT_INDEX: Final = """
CREATE VIRTUAL TABLE index_{0:d}
USING fts5(words, content='', contentless_delete=1, tokenize="ascii tokenchars '_'''")
"""
_NEWEST: Final = """
SELECT ifnull(max(CAST(substr(name, 7) AS INTEGER)), 0) FROM sqlite_schema
WHERE type = 'table' AND name GLOB 'index_[0-9]*'
"""
_USABLE: Final = """
SELECT number, collection, path, kind, ready, several, used FROM index_definition
WHERE collection IS ? AND ready AND (SELECT max(through) FROM index_state) >= (SELECT ifnull(max(etag), 0) FROM log)
"""


_CURRENT: Final = f"""
SELECT etag, collection, id, modified, metadata, body FROM log
WHERE kind = {DOCUMENT} AND body IS NOT NULL AND etag NOT IN (SELECT etag FROM dead) ORDER BY etag
"""
TOGETHER: Final = 256  # documents whose keys are compared at once
TOGETHER_BYTES: Final = 8 << 20


class Words(NamedTuple):
    """What a job has changed of what is searched: in which index, the etag, and the words, None where they are gone."""

    number: int
    etag: int
    words: bytes | None


class Indexes:
    """The indexes of a database, for the connection that writes to it."""

    def __init__(self, connection: apsw.Connection, last_etag: int) -> None:
        self._connection = connection
        self._last = 0  # the number of the newest: none is given twice, for what fills one that was dropped may go on
        self.all: tuple[Index, ...] = ()
        self.named: Named = {}
        self.on_definition: Callable[[], object] | None = None
        self._faulty = False
        if has_indexes(connection):
            if connection.execute("SELECT ifnull(max(through), 0) FROM index_state").get < last_etag:
                with connection:
                    connection.execute("UPDATE index_definition SET ready = 0")
                    self.reached(last_etag)
            self.read()

    def read(self) -> None:
        """Read what there is, as it is in the present transaction. After one was undone, it may be less than before."""
        self._faulty = has_faults(self._connection)
        self.all = read_indexes(self._connection) if has_indexes(self._connection) else ()
        self._extractors = Extractors(self.all, texts=True)

    def change(self, gone: Sequence[Gone], come: Sequence[Come]) -> list[Words]:
        """Keep the indexes: part of the transaction that writes this, which no index makes fail.

        One that cannot be kept (it is damaged) is dropped, and the next query makes it anew. Gives what is left to be
        done by `change_words`, at the end of the transaction: FTS5 writes out what it has at each savepoint.
        """
        try:
            return self._change(gone, come)
        except Exception as error:
            full = isinstance(error, apsw.FullError | apsw.IOError | apsw.NoMemError | MemoryError)
            if full or not self._connection.in_transaction:
                raise
            collections = {each.collection for each in gone} | {each.collection for each in come}
            self.abandon({index for collection in collections for index in self._extractors.of(collection)[0]})
            return []

    def change_words(self, changes: Sequence[Words]) -> None:
        """Keep the indexes on words; as `change`."""
        indexes = {index.number: index for index in self.all if index.of_words}
        by_index: dict[int, dict[int, bytes | None]] = {}
        for number, etag, words in changes:
            rows = by_index.setdefault(number, {})
            if words is None and etag in rows:
                del rows[etag]  # it came in the same transaction
            else:
                rows[etag] = words
        for number, rows in by_index.items():
            if number in indexes:
                try:
                    self._change_words(number, rows)
                except apsw.Error as error:
                    full = isinstance(error, apsw.FullError | apsw.IOError | apsw.NoMemError)
                    if full or not self._connection.in_transaction:
                        raise
                    self.abandon([indexes[number]])

    def _change_words(self, number: int, rows: Mapping[int, bytes | None]) -> None:
        gone = [(etag,) for etag, words in rows.items() if words is None]
        come = [(etag, words.decode()) for etag, words in sorted(rows.items()) if words is not None]
        execute, run = self._connection.execute, self._connection.executemany
        execute("SAVEPOINT words")
        try:
            run(f"DELETE FROM index_{number:d} WHERE rowid = ?", gone)
            run(f"INSERT INTO index_{number:d}(rowid, words) VALUES(?, ?)", come)
            execute("SAVEPOINT written; RELEASE written")  # FTS5 writes here, and not where all is committed
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK TO words; RELEASE words")  # or what it could not write would be tried again
            raise
        execute("RELEASE words")

    def abandon(self, indexes: Iterable[Index]) -> None:
        """Have these no more, even if nothing can be read or written there; part of a transaction."""
        numbers = {index.number for index in indexes}
        for index in self.all:
            if index.number in numbers:
                self._connection.execute("DELETE FROM index_definition WHERE number = ?", (index.number,))
                with suppress(apsw.CorruptError, apsw.SQLError, apsw.ConstraintError):
                    self._connection.execute(f"DROP TABLE index_{index.number:d}")
                if self._faulty:  # or they would be told of the next one that gets this number
                    with suppress(apsw.CorruptError, apsw.SQLError):
                        self._connection.execute("DELETE FROM index_fault WHERE number = ?", (index.number,))
        self.read()

    def _change(self, gone: Sequence[Gone], come: Iterable[Come]) -> list[Words]:
        words: list[Words] = []
        removed: dict[int, list[tuple[int]]] = {}
        for etag, collection in gone:
            for index in self._extractors.of(collection)[0]:
                if index.of_words:
                    words.append(Words(index.number, etag, None))
                else:
                    removed.setdefault(index.number, []).append((etag,))
        if self._faulty:
            self._connection.executemany("DELETE FROM index_fault WHERE etag = ?", [(etag,) for etag, _ in gone])
        for number, etags in removed.items():
            self._connection.executemany(f"DELETE FROM index_{number:d} WHERE etag = ?", etags)
        added, faults = self._extractors.rows(come)
        self.note_faults(faults)
        for index in self.all:
            if not (rows := added.get(index.number, [])):
                continue
            if index.of_words:
                words += _rows_of_words(index, rows)
                continue
            if not index.several and len(rows) > len(dict(rows)):
                self._note_several(index.number)
            rows.sort(key=_key)  # so that neighbours in the file are written together
            self._connection.executemany(f"INSERT OR IGNORE INTO index_{index.number:d} VALUES(?, ?)", rows)
        return words

    def _note_several(self, number: int) -> None:
        self._connection.execute("UPDATE index_definition SET several = 1 WHERE number = ?", (number,))
        self.read()

    def note_faults(self, faults: Iterable[Fault]) -> None:
        """Keep what indexes could not read: part of the transaction that writes it."""
        found = list(faults)
        if found:
            self._connection.execute(_FAULTS)
            self._connection.executemany("INSERT OR REPLACE INTO index_fault VALUES(?, ?, ?, ?)", found)
            self._faulty = True

    def definition_written(self) -> None:
        """Called when a document has been written that may define an index, after the commit."""
        if self.on_definition:
            self.on_definition()

    def reached(self, etag: int) -> None:
        """Note the last etag of a commit: what is indexed. Part of the commit."""
        self._connection.execute("UPDATE index_state SET through = ?", (etag,))
        if not self._connection.changes():
            self._connection.execute("INSERT INTO index_state VALUES(?)", (etag,))

    def want(self, collection: str | None, fields: Sequence[Field], now: int, last_etag: int) -> tuple[Index, ...]:
        """Begin to keep an index on each of these fields that has none, empty ones to be filled; and drop unused ones.

        Gives those that are to be filled. Part of a transaction.
        """
        execute = self._connection.execute
        execute(_TABLES).fetchall()
        self.read()
        collection = fold_collection(collection)
        drop, make, again = wanting(self.all, self.named, collection, fields, now)
        for index in drop:
            self._drop(index)
        for field in make:
            number = self._last = max(self._last, execute(_NEWEST).get) + 1
            path = msgspec.json.encode(field.path).decode()
            query = "INSERT INTO index_definition VALUES(?, ?, ?, ?, 0, 0, ?)"
            execute(query, (number, collection, path, field.kind, now))
            execute(_table_of(field).format(number)).fetchall()
        for index in again:
            execute(f"DROP TABLE index_{index.number:d}; {_table_of(index.field).format(index.number)}").fetchall()
        self.reached(last_etag)
        self.read()
        return tuple(each for each in self.all if each.collection == collection and each.field in fields)

    def drop(self, name: str) -> bool:
        """Drop those of this name, in any case; part of a transaction."""
        named = [index for index in self.all if index.name.lower() == name.lower()]
        for index in named:
            self._drop(index)
        return bool(named)

    def drop_fields(self, fields: Container[tuple[str | None, Field]]) -> None:
        """Drop those on these fields of collections (folded); part of a transaction."""
        for index in self.all:
            if (index.collection, index.field) in fields:
                self._drop(index)

    def _drop(self, index: Index) -> None:
        self._connection.execute(f"DROP TABLE index_{index.number:d}")
        self._connection.execute("DELETE FROM index_definition WHERE number = ?", (index.number,))
        if self._faulty:
            self._connection.execute("DELETE FROM index_fault WHERE number = ?", (index.number,))
        self.read()

    def fill(
        self,
        indexes: Sequence[Index],
        documents: Sequence[tuple[int, Sequence[Sequence[Key]]]],
        faults: Sequence[Fault] = (),
    ) -> None:
        """Add the keys of these documents (in the order of their etags), but for those that are no longer current."""
        if not documents:
            return
        query = "SELECT etag FROM dead WHERE etag BETWEEN ? AND ?"
        dead = {etag for (etag,) in self._connection.execute(query, (documents[0][0], documents[-1][0]))}
        self.note_faults(each for each in faults if each.etag not in dead)
        for place, index in enumerate(indexes):
            if index.of_words:
                self._fill_words(
                    index, {etag: b" ".join(found[place]) for etag, found in documents if etag not in dead}
                )
                continue
            rows = [(etag, key) for etag, found in documents if etag not in dead for key in found[place]]
            if not index.several and any(len(found[place]) > 1 for _, found in documents):
                self._note_several(index.number)
            self._connection.executemany(f"INSERT OR IGNORE INTO index_{index.number:d} VALUES(?, ?)", rows)

    def _fill_words(self, index: Index, words: dict[int, bytes]) -> None:
        query = f"SELECT id FROM index_{index.number:d}_docsize WHERE id BETWEEN ? AND ?"
        there: list[Any] = self._connection.execute(query, (min(words, default=0), max(words, default=0))).fetchall()
        for (etag,) in there:
            words.pop(etag, None)  # it came after it was noted that there is an index, and before the snapshot
        self._change_words(index.number, words)

    def filled(self, indexes: Sequence[Index]) -> None:
        """From now on these answer queries. Sorting them takes about a second for a million documents."""
        for index in indexes:
            if not index.of_words:
                self._connection.execute(_BY_KEY.format(index.number))
        numbers = [(index.number,) for index in indexes]
        self._connection.executemany("UPDATE index_definition SET ready = 1 WHERE number = ?", numbers)
        self.read()

    def used(self, indexes: Iterable[Index], now: int) -> None:
        """Note that these have answered a query."""
        numbers = [(now, index.number) for index in indexes]
        self._connection.executemany("UPDATE index_definition SET used = ? WHERE number = ?", numbers)
        self.read()


_key: Final = itemgetter(1)


def _table_of(field: Field) -> str:
    return _TEXT_INDEX if field.kind in SEARCHED else _INDEX


def _rows_of_words(index: Index, rows: Iterable[tuple[int, Key]]) -> Iterator[Words]:
    for etag, of_document in groupby(rows, key=itemgetter(0)):
        yield Words(index.number, etag, b" ".join(key for _, key in of_document))


def has_faults(connection: apsw.Connection) -> bool:
    """Whether an index could ever not read a document."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'index_fault'").get is not None


def read_faults(connection: apsw.Connection) -> dict[int, tuple[IndexFault, ...]]:
    """The documents that indexes could not read, by the indexes' numbers, of each the first hundred."""
    found: dict[int, list[IndexFault]] = {}
    if has_faults(connection):
        rows: list[Any] = connection.execute("SELECT number, id, reason FROM index_fault").fetchall()
        for number, id, reason in rows:
            found.setdefault(number, []).append(IndexFault(id, reason))
    return {number: tuple(faults[:MOST_FAULTS]) for number, faults in found.items()}


def has_indexes(connection: apsw.Connection) -> bool:
    """Whether the file has ever had an index."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'index_definition'").get is not None


def read_indexes(connection: apsw.Connection) -> tuple[Index, ...]:
    """The indexes of a file that has had some."""
    query = "SELECT number, collection, path, kind, ready, several, used FROM index_definition ORDER BY number"
    return indexes_of(tuple(connection.execute(query)))


def usable(connection: apsw.Connection, collection: str | None) -> dict[Field, Index]:
    """The indexes that have all documents of a collection, in the present read transaction.

    There are none where a program has written that knows no indexes.
    """
    try:
        rows = tuple(connection.execute(_USABLE, (fold_collection(collection),)))
    except apsw.SQLError:
        if not has_indexes(connection):
            return {}
        rows = tuple(connection.execute(_USABLE, (fold_collection(collection),)))  # the first was made meanwhile
    return {each.field: each for each in indexes_of(rows)}


def look_at_words(connection: apsw.Connection) -> None:
    """Have FTS5 see what others have written: its check of integrity takes what this connection saw for what there is.

    Part of the read transaction in which that check is.
    """
    for index in read_indexes(connection) if has_indexes(connection) else ():
        if index.of_words:
            with suppress(apsw.Error):  # the check says it
                connection.execute(f"SELECT 1 FROM index_{index.number:d} WHERE rowid = 0").fetchall()


def check_indexes(connection: apsw.Connection) -> Iterator[str]:
    """One sentence for each index that does not have the keys of the current documents."""
    if not has_indexes(connection):
        return
    collections = {index.collection for index in read_indexes(connection)}
    kept: list[Index] = []
    for collection in collections:
        for index in usable(connection, collection).values():
            kept += () if index.of_words else (index,)
            named = "" if collection is None else "AND lower(collection) = ?"
            current = f"SELECT etag FROM current WHERE kind = {DOCUMENT} AND digest IS NOT NULL {named}"
            indexed = f"SELECT etag FROM index_{index.number:d}"
            if index.of_words:
                indexed = f"SELECT id FROM index_{index.number:d}_docsize"
            for what, sql in (("lacks", f"{current} EXCEPT {indexed}"), ("has beyond", f"{indexed} EXCEPT {current}")):
                bound = () if collection is None else (collection,)
                if count := connection.execute(f"SELECT count(*) FROM ({sql})", bound).get:
                    yield f"the index {index.name} {what} the current documents: {count}"
    for index, count in _wrong_keys(connection, kept).items() if kept else ():
        yield f"the index {index.name} has other keys than the current documents: {count}"


def _wrong_keys(connection: apsw.Connection, indexes: Sequence[Index]) -> Counter[Index]:
    """For how many of the documents in it an index has other keys than are found in them. Words are not compared."""
    wrong: Counter[Index] = Counter()
    extractors = Extractors(indexes)
    for documents in _current(connection):
        expected, _ = extractors.rows(documents)
        part = documents[0].etag, documents[-1].etag
        for index in indexes:
            keys = set(expected.get(index.number, ()))
            found = set(
                connection.execute(f"SELECT etag, key FROM index_{index.number:d} WHERE etag BETWEEN ? AND ?", part)
            )
            if keys != found:
                in_both = {etag for etag, _ in keys} & {etag for etag, _ in found}
                wrong[index] += len(in_both & {etag for etag, _ in keys ^ found})
    return +wrong


def _current(connection: apsw.Connection) -> Iterator[list[Come]]:
    """All current documents, some at a time, in the order of their etags."""
    documents: list[Come] = []
    size = 0
    for row in connection.execute(_CURRENT):
        documents.append(document := msgspec.convert(row, Come))
        size += len(document.body)
        if len(documents) == TOGETHER or size > TOGETHER_BYTES:
            yield documents
            documents, size = [], 0
    if documents:
        yield documents
