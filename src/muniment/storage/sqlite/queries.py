"""Queries as SQL over indexes: each test of a field asks its index, and an answer is a list of etags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from muniment.query.keys import END, MISSING, TEXTS, Key, number_of
from muniment.query.match import All, No, Part, Test, Within, Words, searched
from muniment.query.match import Any as AnyOf
from muniment.query.model import SCORE, Field, Group, Query
from muniment.query.scan import Matches, Row, added
from muniment.revision import DOCUMENT
from muniment.storage.sqlite.indexes import Index
from muniment.storage.sqlite.reader import ALIVE, OF_COLLECTION

MOST_TESTS: Final = 200  # SQLite nests expressions and joins selects so far only
MOST_SCORES: Final = 50  # of tables, SQLite joins 64
OF_COLLECTION_TALLY: Final = OF_COLLECTION.replace("log.collection", "collection")
_FEW: Final = 8
_SAMPLE: Final = 2000


class _Sql(NamedTuple):
    """A piece of SQL and what it binds."""

    text: str
    bound: tuple[Any, ...] = ()

    def __add__(self, other: _Sql | str) -> _Sql:  # type: ignore[override]
        text, bound = other if isinstance(other, _Sql) else (other, ())
        return _Sql(self.text + text, self.bound + bound)


def _joined(pieces: Sequence[_Sql], between: str) -> _Sql:
    text = between.join(f"({piece.text})" for piece in pieces)
    return _Sql(text, tuple(each for piece in pieces for each in piece.bound))


class Finder:
    """Answers a query by indexes: one on each of its fields, and at least one."""

    def __init__(self, connection: apsw.Connection, query: Query, test: Test, indexes: Mapping[Field, Index]) -> None:
        self._connection = connection
        self._query = query
        self._indexes = indexes
        self._test = test
        self._all = next(iter(indexes.values()))

    def matches(self, *, counted: bool) -> Matches:
        """The etags that the query asks for, and how many match; -1 if that is not asked."""
        query = self._query
        sql = self._walk() or self._sorted()
        limit = _Sql(" LIMIT ? OFFSET ?", (-1 if query.take is None else query.take, query.skip))
        etags = [] if query.take == 0 else self._column(sql + limit)
        total = self._column(_Sql("SELECT count(*) FROM (") + self._rows(self._test) + ")")[0] if counted else -1
        return Matches(etags, total)

    def unknown(self) -> tuple[str, ...]:
        """The fields that no document has."""
        return tuple(str(field) for field, index in self._indexes.items() if not self._column(_Sql(_any_row(index))))

    def groups(self, group: Group) -> list[Row] | None:
        """The groups by one field; None where an index does not say enough."""
        if len(group.by) != 1 or any(self._indexes[field].several for field in group.sums):
            return None
        by = self._indexes[group.by[0]]
        holds = self._holds(self._test, "g.etag")
        sql = _Sql(f"SELECT g.key, count(*) FROM {_table(by)} g WHERE ") + holds + " GROUP BY g.key"
        counts: list[tuple[Any, ...]] = self._connection.execute(*sql).fetchall()
        sums: list[dict[Key, Any]] = []
        for field in group.sums:
            joined = f"SELECT g.key, s.key FROM {_table(by)} g JOIN {_table(self._indexes[field])} s ON s.etag = g.etag"
            found: dict[Key, Any] = {}
            pairs: list[tuple[Any, ...]] = self._connection.execute(*(_Sql(joined + " WHERE ") + holds)).fetchall()
            for key, value in pairs:
                number = number_of(value)
                if number is not None:
                    found[key] = added(found.get(key, Decimal(0)), number)
            sums.append(found)
        return [Row((key,), count, tuple(found.get(key) for found in sums)) for key, count in counts]

    def _column(self, sql: _Sql) -> list[int]:
        return msgspec.convert([value for (value,) in self._connection.execute(*sql)], list[int])

    # In order.

    def _walk(self) -> _Sql | None:
        """Along the index of the order, where that meets what is asked for soon enough; None where it would not."""
        query = self._query
        if len(query.order) != 1 or query.take is None:
            return None
        [order] = query.order
        if order.field.path == (SCORE,):
            return None
        index = self._indexes[order.field]
        items = self._test.items if isinstance(self._test, All) else (self._test,)
        mine = [each for each in items if isinstance(each, Within) and each.field == order.field and _single(each)]
        others = tuple(each for each in items if each not in mine[:1])
        if index.several or (others and self._few()):
            return None
        low, high = mine[0].intervals[0] if mine else (MISSING, END)
        sql = _Sql(f"SELECT d.etag FROM {_table(index)} d WHERE d.key >= ? AND d.key < ? AND ", (low, high))
        way = " DESC" if order.descending else ""
        return sql + self._holds(All(others), "d.etag") + f" ORDER BY d.key{way}, d.etag"

    def _few(self) -> bool:
        """Whether so few match that sorting them is quick."""
        sql = _Sql("SELECT count(*) FROM (SELECT 1 FROM (") + self._rows(self._test) + f") LIMIT {_SAMPLE})"
        return self._column(sql)[0] < _SAMPLE

    def _sorted(self) -> _Sql:
        """All that match, sorted."""
        orders, scores = [], _Sql("")
        for order in self._query.order:
            way = " DESC" if order.descending else ""
            if order.field.path == (SCORE,):
                if isinstance(self._test, Words) and len(self._query.order) == 1:
                    return self._best(self._test, way)
                scores = self._scores()
                orders.append(f"({' + '.join(['0.0', *_each_score(self._test)])}){way}")
                continue
            index = self._indexes[order.field]
            which = "max" if order.descending else "min"
            orders.append(f"(SELECT {which}(o.key) FROM {_table(index)} o WHERE o.etag = w.etag){way}")
        by = ", ".join([*orders, "w.etag"])
        joins = "".join(f" LEFT JOIN s{place:d} ON s{place:d}.etag = w.etag" for place in _places(scores))
        return scores + "SELECT w.etag FROM (" + self._rows(self._test) + f") w{joins} ORDER BY {by}"

    def _best(self, test: Words, way: str) -> _Sql:
        """All that have these words, in the order of their scores."""
        table = _table(self._indexes[test.field])
        return self._words_rows(test) + f" ORDER BY bm25({table}){way}, rowid"

    def _scores(self) -> _Sql:
        """What is searched for as tables `s0`, `s1`, …: what has it, with scores, of which the lowest are the best."""
        tables = []
        for place, test in enumerate(searched(self._test)):
            table = _table(self._indexes[test.field])
            score = f"SELECT rowid, bm25({table}) FROM {table} WHERE {table} MATCH ?"
            tables.append(_Sql(f"s{place:d}(etag, score) AS MATERIALIZED ({score})", (_matching(test),)))
        bound = tuple(each for table in tables for each in table.bound)
        return _Sql(f"WITH {', '.join(table.text for table in tables)} ", bound) if tables else _Sql("")

    # What matches.

    def _rows(self, test: Test) -> _Sql:
        """A SELECT of the etags of the documents that pass a test, each once."""
        if isinstance(test, Within):
            return self._within_rows(test)
        if isinstance(test, Words):
            return self._words_rows(test)
        if isinstance(test, AnyOf) and test.items and all(isinstance(each, Within | Words) for each in test.items):
            return _union([self._rows(each) for each in test.items])
        items = test.items if isinstance(test, All) else (test,)
        leading = [each for each in items if isinstance(each, Within | Words)]
        if not leading:
            return _Sql(f"SELECT DISTINCT d.etag FROM {_etags(self._all)} d WHERE ") + self._holds(test, "d.etag")
        first = min(leading, key=self._sampled) if len(leading) > 1 else leading[0]
        others = All(tuple(each for each in items if each is not first))
        if not others.items:
            return self._rows(first)
        return _Sql("SELECT d.etag FROM (") + self._rows(first) + ") d WHERE " + self._holds(others, "d.etag")

    def _words_rows(self, test: Words) -> _Sql:
        table = _table(self._indexes[test.field])
        return _Sql(f"SELECT rowid AS etag FROM {table} WHERE {table} MATCH ?", (_matching(test),))

    def _sampled(self, test: Within | Words) -> int:
        """How many pass a test, as far as it pays to count."""
        sql = _Sql("SELECT count(*) FROM (") + self._rows(test) + f" LIMIT {_SAMPLE})"
        return self._column(sql)[0]

    def _within_rows(self, test: Within) -> _Sql:
        index = self._indexes[test.field]
        return _Sql(f"SELECT {'DISTINCT ' if index.several else ''}e.etag ") + self._of(test)

    def _of(self, test: Within, of: str = "") -> _Sql:
        """The rows `e` of an index whose keys are in the intervals of a test."""
        table, intervals = _table(self._indexes[test.field]), test.intervals
        if len(intervals) <= _FEW:
            keys = " OR ".join(["e.key >= ? AND e.key < ?"] * len(intervals)) or "0"
            return _Sql(f"FROM {table} e WHERE {of}({keys})", tuple(bound for each in intervals for bound in each))
        listed = msgspec.json.encode([(low.hex(), high.hex()) for low, high in intervals]).decode()
        keys = "e.key >= unhex(v.value ->> 0) AND e.key < unhex(v.value ->> 1)"
        return _Sql(f"FROM json_each(?) v CROSS JOIN {table} e WHERE {of}{keys}", (listed,))

    def _holds(self, test: Test, etag: str) -> _Sql:
        """Whether the document with an etag passes a test."""
        match test:
            case Within():
                return _Sql("EXISTS (SELECT 1 ") + self._of(test, f"e.etag = {etag} AND ") + ")"
            case Words():
                return _Sql(f"{etag} IN (") + self._words_rows(test) + ")"
            case Part(field, pattern, end):
                sql = f"EXISTS (SELECT 1 FROM {_table(self._indexes[field])} e WHERE e.etag = {etag}"
                return _Sql(f"{sql} AND e.key >= ? AND e.key < ? AND ", TEXTS) + _part(pattern, end) + ")"
            case All(items):
                return _joined([self._holds(item, etag) for item in items], " AND ") if items else _Sql("1")
            case AnyOf(items):
                return _joined([self._holds(item, etag) for item in items], " OR ") if items else _Sql("0")
            case No(item):
                return _Sql("NOT (") + self._holds(item, etag) + ")"


def collection_matches(connection: apsw.Connection, query: Query, *, counted: bool) -> Matches:
    """The documents of a collection, or all, in the order of their etags."""
    named, tallied = ("", "") if query.collection is None else (f"AND {OF_COLLECTION}", f"AND {OF_COLLECTION_TALLY}")
    bound = {"collection": query.collection, "take": -1 if query.take is None else query.take, "skip": query.skip}
    sql = f"SELECT etag FROM log WHERE kind = {DOCUMENT} {named} AND {ALIVE} ORDER BY etag LIMIT :take OFFSET :skip"
    etags = msgspec.convert([etag for (etag,) in connection.execute(sql, bound)], list[int])
    sql = f"SELECT ifnull(sum(count), 0) FROM fingerprint WHERE kind = {DOCUMENT} {tallied}"
    return Matches(etags, connection.execute(sql, bound).get if counted else -1)


def _part(pattern: bytes, end: bool) -> _Sql:
    """Whether the folded text of the key has this in it; it stands from the second byte to before two NULs."""
    if not pattern:
        return _Sql("1")
    if end:
        size = len(pattern)
        after = "instr(e.key, x'0000')"
        return _Sql(f"{after} >= {size + 2:d} AND substr(e.key, {after} - {size:d}, {size:d}) = ?", (pattern,))
    return _Sql("instr(substr(e.key, 2, instr(e.key, x'0000') - 2), ?) > 0", (pattern,))


def _matching(test: Words) -> str:
    """What FTS5 is asked for. Words have no quotation marks in them."""
    terms = (f'"{b" ".join(term.words).decode()}"' + (" *" if term.prefix else "") for term in test.terms)
    return (" AND " if test.every else " OR ").join(terms)


def _places(scores: _Sql) -> range:
    """The numbers of the tables of scores."""
    return range(len(scores.bound))


def _each_score(test: Test) -> list[str]:
    return [f"ifnull(s{place:d}.score, 0.0)" for place, _ in enumerate(searched(test))]


def _etags(index: Index) -> str:
    """A table with the etag of each document that an index has, at least once."""
    return f"(SELECT id AS etag FROM {_table(index)}_docsize)" if index.of_words else _table(index)


def _any_row(index: Index) -> str:
    """A SELECT of a row if any document has the field."""
    if index.of_words:
        return f"SELECT 1 FROM {_table(index)}_docsize WHERE sz > x'00' LIMIT 1"
    return f"SELECT 1 FROM {_table(index)} WHERE key > x'' LIMIT 1"


def _union(selects: Sequence[_Sql]) -> _Sql:
    return _Sql(" UNION ".join(each.text for each in selects), tuple(bound for each in selects for bound in each.bound))


def _single(test: Within) -> bool:
    return len(test.intervals) == 1


def _table(index: Index) -> str:
    return f"index_{index.number:d}"


def size_of(test: Test) -> int:
    """How many tests there are in one."""
    if isinstance(test, All | AnyOf):
        return sum(map(size_of, test.items))
    return size_of(test.item) if isinstance(test, No) else 1
