"""Queries over the tables in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from muniment.query.keys import Interval
from muniment.query.match import Test, Words
from muniment.query.model import Field, Query
from muniment.query.scan import Matches
from muniment.query.score import AVERAGED, LEAST, SATURATION
from muniment.query.words import Term
from muniment.revision import DOCUMENT
from muniment.storage import queries
from muniment.storage.indexes import Index
from muniment.storage.postgres.connection import Connection, Names
from muniment.storage.postgres.facts import fold_collection, read_facts
from muniment.storage.postgres.indexes import HEAD_BYTES
from muniment.storage.postgres.reader import ALIVE
from muniment.storage.queries import Sql

_IN: Final = """{row}.head >= {of}.low AND {row}.head <= {of}.high
AND ({row}.head > {of}.low OR {row}.tail >= {of}.low_tail) AND ({row}.head < {of}.high OR {row}.tail < {of}.high_tail)
"""
_INTERVALS: Final = """unnest(?::bytea[], ?::bytea[], ?::bytea[], ?::bytea[]{more}) {ordinal}
AS {of}(low, low_tail, high, high_tail{named})"""
_SCORES: Final = f"""
WITH counted(term, etag, often) AS MATERIALIZED ({{counted}}),
overall(documents, average) AS (
  SELECT count(*)::float8, sum(words)::float8 / nullif(count(*), 0) FROM {{texts}} t
),
weighed(term, rare) AS (
  SELECT c.term, (o.documents - count(*) + 0.5::float8) / (count(*) + 0.5::float8)
  FROM counted c CROSS JOIN overall o GROUP BY c.term, o.documents
)
SELECT c.etag, -1.0 * sum(CASE WHEN w.rare > 1.0 THEN ln(w.rare) ELSE {LEAST!r}::float8 END
  * ((c.often * {SATURATION + 1.0!r}::float8) / (c.often + {SATURATION!r}::float8
  * ({1 - AVERAGED!r}::float8 + {AVERAGED!r}::float8 * t.words::float8 / o.average))) ORDER BY c.term) AS score
FROM counted c JOIN weighed w ON w.term = c.term JOIN {{texts}} t ON t.etag = c.etag CROSS JOIN overall o
GROUP BY c.etag, t.words
"""
"""As `query.score` has it, of what is counted once."""


class Finder(queries.Finder):
    """Answers a query in one transaction that reads one moment."""

    def __init__(
        self, connection: Connection, names: Names, query: Query, test: Test, indexes: Mapping[Field, Index]
    ) -> None:
        super().__init__(query, test, indexes)
        self._connection = connection
        self._names = names
        self._long: dict[int, bool] = {}

    def rows(self, sql: Sql) -> list[tuple[Any, ...]]:
        with self._connection.cursor(binary=True) as cursor:
            return cursor.execute(self._names.sql(sql.text.replace("?", "%s")), sql.bound).fetchall()

    def table(self, index: Index) -> str:
        return f"(SELECT etag, place, head, tail FROM {{s}}.index_key WHERE number = {index.number:d})"

    def etags(self, index: Index) -> str:
        return self._texts(index) if index.of_words else self.table(index)

    def _texts(self, index: Index) -> str:
        return f"(SELECT etag, words FROM {{s}}.index_text WHERE number = {index.number:d})"

    def any_row(self, index: Index) -> str:
        if index.of_words:
            return f"SELECT 1 FROM {self._texts(index)} t WHERE words > 0 LIMIT 1"
        return f"SELECT 1 FROM {self.table(index)} k WHERE head > ''::bytea LIMIT 1"

    def key(self, row: str) -> str:
        return f"({row}.head || {row}.tail)"

    def in_order(self, row: str, index: Index, way: str) -> str:
        if index.number not in self._long:
            query = "SELECT 1 FROM {s}.index_key WHERE number = ? AND tail <> ''::bytea LIMIT 1"
            self._long[index.number] = bool(self.rows(Sql(query, (index.number,))))
        return f"{row}.head{way}, {row}.tail{way}" if self._long[index.number] else f"{row}.head{way}"

    def within(self, row: str, interval: Interval) -> Sql:
        (low, low_tail), (high, high_tail) = map(_cut, interval)
        sql = Sql(f"{row}.head >= ?", (low,))
        if low_tail:
            sql += Sql(f" AND ({row}.head > ? OR {row}.tail >= ?)", (low, low_tail))
        if high_tail:
            return sql + Sql(f" AND {row}.head <= ? AND ({row}.head < ? OR {row}.tail < ?)", (high, high, high_tail))
        return sql + Sql(f" AND {row}.head < ?", (high,))

    def listed(self, intervals: Sequence[Interval], row: str) -> tuple[Sql, str]:
        table = _INTERVALS.format(more="", ordinal="", of="v", named="")
        return Sql(table, _columns(intervals)), _IN.format(row=row, of="v")

    def part(self, row: str, pattern: bytes, *, end: bool) -> Sql:
        key = self.key(row)
        after = f"position('\\x0000'::bytea in {key})"
        if end:
            size = len(pattern)
            text = f"{after} >= {size + 2:d} AND substr({key}, {after} - {size:d}, {size:d}) = ?"
            return Sql(text, (pattern,))
        return Sql(f"position(?::bytea in substr({key}, 2, greatest({after} - 2, 0))) > 0", (pattern,))

    def words(self, test: Words) -> Sql:
        if not test.every or len(test.terms) == 1:
            return Sql("SELECT DISTINCT c.etag FROM (") + self._counted(test) + ") c"
        having = f"HAVING count(*) = {len(test.terms):d}"
        return Sql("SELECT c.etag FROM (") + self._counted(test) + f") c GROUP BY c.etag {having}"

    def _counted(self, test: Words) -> Sql:
        """A SELECT of which document has which term how often."""
        table = self.table(self.indexes[test.field])
        single = [(place, _of_word(term)) for place, term in enumerate(test.terms) if len(term.words) == 1]
        selects: list[Sql] = []
        if single:
            intervals = _INTERVALS.format(more=", ?::integer[]", ordinal="", of="w", named=", term")
            bound = *_columns([interval for _, interval in single]), [place for place, _ in single]
            holds = _IN.format(row="e", of="w")
            text = f"SELECT w.term, e.etag, count(*)::float8 AS often FROM {intervals} JOIN {table} e ON {holds}"
            selects.append(Sql(f"{text} GROUP BY w.term, e.etag", bound))
        for place, term in enumerate(test.terms):
            if len(term.words) > 1:
                selects.append(self._phrase(table, place, term))
        bounds = tuple(each for select in selects for each in select.bound)
        return Sql(" UNION ALL ".join(select.text for select in selects), bounds)

    def _phrase(self, table: str, place: int, term: Term) -> Sql:
        """The same of words that follow each other: each has its place, so as many begin at one as there are words."""
        intervals = _INTERVALS.format(more="", ordinal="WITH ORDINALITY ", of="w", named=", at")
        begins = f"""SELECT e.etag FROM {intervals} JOIN {table} e ON {_IN.format(row="e", of="w")}
            GROUP BY e.etag, e.place - w.at HAVING count(*) = {len(term.words):d}"""
        words = [*map(_equal, term.words[:-1]), _of_word(term)]
        text = f"SELECT {place:d} AS term, p.etag, count(*)::float8 AS often FROM ({begins}) p GROUP BY p.etag"
        return Sql(text, _columns(words))

    def scores(self, test: Words) -> Sql:
        counted = self._counted(test)
        text = _SCORES.format(counted=counted.text, texts=self._texts(self.indexes[test.field]))
        having = f" HAVING count(*) = {len(test.terms):d}" if test.every else ""
        return Sql(text + having, counted.bound)

    def best(self, test: Words, way: str) -> Sql:
        return Sql("SELECT b.etag FROM (") + self.scores(test) + f") b ORDER BY b.score{way}, b.etag"


def _cut(key: bytes) -> tuple[bytes, bytes]:
    return key[:HEAD_BYTES], key[HEAD_BYTES:]


def _columns(intervals: Sequence[Interval]) -> tuple[list[bytes], ...]:
    """Intervals as columns: low, low_tail, high, high_tail."""
    rows = [(*_cut(low), *_cut(high)) for low, high in intervals]
    return tuple([row[place] for row in rows] for place in range(4))


def _equal(word: bytes) -> Interval:
    return word, word + b"\0"


def _of_word(term: Term) -> Interval:
    """The words that the last one of a term may be: UTF-8 has no byte 255."""
    word = term.words[-1]
    return (word, word + b"\xff") if term.prefix else _equal(word)


def collection_matches(connection: Connection, names: Names, query: Query, *, counted: bool) -> Matches:
    """The documents of a collection, or all, in the order of their etags."""
    folded = None if query.collection is None else fold_collection(query.collection.encode())
    named = "" if folded is None else "AND log.folded = %(collection)s"
    sql = f"""SELECT log.etag FROM {{s}}.log WHERE log.kind = {DOCUMENT} {named} AND {ALIVE}
        ORDER BY log.etag LIMIT %(take)s OFFSET %(skip)s"""
    bound = {"collection": folded, "take": query.take, "skip": query.skip}
    etags = [etag for (etag,) in connection.execute(names.sql(sql), bound)]
    total = -1
    if counted:
        tallies = read_facts(connection, names).fingerprint.tallies
        total = sum(
            tally.count
            for (kind, of), tally in tallies.items()
            if kind == DOCUMENT and (folded is None or fold_collection(of.encode()) == folded)
        )
    return Matches(etags, total)
