"""Queries over the tables that the embedded engine has for its indexes, and over those of FTS5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw
import msgspec

from muniment.query.keys import Interval
from muniment.query.match import Test, Words
from muniment.query.model import Field, Query
from muniment.query.scan import Matches
from muniment.revision import DOCUMENT
from muniment.storage import queries
from muniment.storage.indexes import Index
from muniment.storage.queries import NO_LIMIT, Sql
from muniment.storage.sqlite.reader import ALIVE, OF_COLLECTION

OF_COLLECTION_TALLY: Final = OF_COLLECTION.replace("log.collection", "collection")


class Finder(queries.Finder):
    """Answers a query in one read transaction."""

    def __init__(self, connection: apsw.Connection, query: Query, test: Test, indexes: Mapping[Field, Index]) -> None:
        super().__init__(query, test, indexes)
        self._connection = connection

    def rows(self, sql: Sql) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(*sql).fetchall()
        return found

    def table(self, index: Index) -> str:
        return f"index_{index.number:d}"

    def etags(self, index: Index) -> str:
        table = self.table(index)
        return f"(SELECT id AS etag FROM {table}_docsize)" if index.of_words else table

    def any_row(self, index: Index) -> str:
        table = self.table(index)
        if index.of_words:
            return f"SELECT 1 FROM {table}_docsize WHERE sz > x'00' LIMIT 1"
        return f"SELECT 1 FROM {table} WHERE key > x'' LIMIT 1"

    def key(self, row: str) -> str:
        return f"{row}.key"

    def in_order(self, row: str, index: Index, way: str) -> str:
        return f"{row}.key{way}"

    def within(self, row: str, interval: Interval) -> Sql:
        return Sql(f"{row}.key >= ? AND {row}.key < ?", interval)

    def listed(self, intervals: Sequence[Interval], row: str) -> tuple[Sql, str]:
        listed = msgspec.json.encode([(low.hex(), high.hex()) for low, high in intervals]).decode()
        keys = f"{row}.key >= unhex(v.value ->> 0) AND {row}.key < unhex(v.value ->> 1)"
        return Sql("json_each(?) v", (listed,)), keys

    def part(self, row: str, pattern: bytes, *, end: bool) -> Sql:
        after = f"instr({row}.key, x'0000')"
        if end:
            size = len(pattern)
            text = f"{after} >= {size + 2:d} AND substr({row}.key, {after} - {size:d}, {size:d}) = ?"
            return Sql(text, (pattern,))
        return Sql(f"instr(substr({row}.key, 2, {after} - 2), ?) > 0", (pattern,))

    def words(self, test: Words) -> Sql:
        table = self.table(self.indexes[test.field])
        return Sql(f"SELECT rowid AS etag FROM {table} WHERE {table} MATCH ?", (matching(test),))

    def scores(self, test: Words) -> Sql:
        table = self.table(self.indexes[test.field])
        return Sql(f"SELECT rowid, bm25({table}) FROM {table} WHERE {table} MATCH ?", (matching(test),))

    def best(self, test: Words, way: str) -> Sql:
        table = self.table(self.indexes[test.field])
        return self.words(test) + f" ORDER BY bm25({table}){way}, rowid"


def collection_matches(connection: apsw.Connection, query: Query, *, counted: bool) -> Matches:
    """The documents of a collection, or all, in the order of their etags."""
    named, tallied = ("", "") if query.collection is None else (f"AND {OF_COLLECTION}", f"AND {OF_COLLECTION_TALLY}")
    take = NO_LIMIT if query.take is None else query.take
    bound = {"collection": query.collection, "take": take, "skip": query.skip}
    sql = f"SELECT etag FROM log WHERE kind = {DOCUMENT} {named} AND {ALIVE} ORDER BY etag LIMIT :take OFFSET :skip"
    etags = msgspec.convert([etag for (etag,) in connection.execute(sql, bound)], list[int])
    sql = f"SELECT ifnull(sum(count), 0) FROM fingerprint WHERE kind = {DOCUMENT} {tallied}"
    return Matches(etags, connection.execute(sql, bound).get if counted else -1)


def matching(test: Words) -> str:
    """What FTS5 is asked for. Words have no quotation marks in them."""
    terms = (f'"{b" ".join(term.words).decode()}"' + (" *" if term.prefix else "") for term in test.terms)
    return (" AND " if test.every else " OR ").join(terms)
