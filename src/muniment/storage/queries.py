"""Queries as SQL over indexes: each test of a field asks its index, and an answer is a list of etags.

What is the same on every engine is here, in SQL that all of them read; a `Finder` of an engine says the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from muniment.query.keys import END, MISSING, TEXTS, Interval, Key, number_of
from muniment.query.match import All, No, Part, Test, Within, Words, searched
from muniment.query.match import Any as AnyOf
from muniment.query.model import SCORE, Field, Group, Query
from muniment.query.scan import Matches, Row, added
from muniment.storage.indexes import Index

MOST_TESTS: Final = 200  # SQLite nests expressions and joins selects so far only
MOST_SCORES: Final = 50  # of tables, SQLite joins 64
NO_LIMIT: Final = (1 << 63) - 1
_FEW: Final = 8
_SAMPLE: Final = 2000


class Sql(NamedTuple):
    """A piece of SQL and what it binds, in the places of its question marks."""

    text: str
    bound: tuple[Any, ...] = ()

    def __add__(self, other: Sql | str) -> Sql:  # type: ignore[override]
        text, bound = other if isinstance(other, Sql) else (other, ())
        return Sql(self.text + text, self.bound + bound)


def _joined(pieces: Sequence[Sql], between: str) -> Sql:
    text = between.join(f"({piece.text})" for piece in pieces)
    return Sql(text, tuple(each for piece in pieces for each in piece.bound))


class Finder(ABC):
    """Answers a query by indexes: one on each of its fields, and at least one."""

    def __init__(self, query: Query, test: Test, indexes: Mapping[Field, Index]) -> None:
        self.indexes = indexes
        self._query = query
        self._test = test
        self._all = next(iter(indexes.values()))

    # What engines say in their own way.

    @abstractmethod
    def rows(self, sql: Sql) -> list[tuple[Any, ...]]:
        """What a statement gives."""

    @abstractmethod
    def table(self, index: Index) -> str:
        """A table of etags and keys."""

    @abstractmethod
    def etags(self, index: Index) -> str:
        """A table with the etag of each document that an index has, at least once."""

    @abstractmethod
    def any_row(self, index: Index) -> str:
        """A SELECT of a row if any document has the field."""

    @abstractmethod
    def key(self, row: str) -> str:
        """The key of a row."""

    @abstractmethod
    def in_order(self, row: str, index: Index, way: str) -> str:
        """What sorts rows by their keys, one way or the other."""

    @abstractmethod
    def within(self, row: str, interval: Interval) -> Sql:
        """Whether the key of a row is in an interval."""

    @abstractmethod
    def listed(self, intervals: Sequence[Interval], row: str) -> tuple[Sql, str]:
        """A table of many intervals, and whether the key of a row is in one of its rows."""

    @abstractmethod
    def part(self, row: str, pattern: bytes, *, end: bool) -> Sql:
        """Whether the folded text of the key has this in it; it stands from the second byte to before two NULs."""

    @abstractmethod
    def words(self, test: Words) -> Sql:
        """A SELECT of the etags of the documents that have these words, each once."""

    @abstractmethod
    def scores(self, test: Words) -> Sql:
        """A SELECT of the same with their scores, of which the lowest are the best."""

    def best(self, test: Words, way: str) -> Sql | None:
        """A SELECT of the etags of the documents that have these words, in the order of their scores; or None."""
        return None

    # What is asked.

    def matches(self, *, counted: bool) -> Matches:
        """The etags that the query asks for, and how many match; -1 if that is not asked."""
        query = self._query
        sql = self._walk() or self._sorted()
        limit = Sql(" LIMIT ? OFFSET ?", (NO_LIMIT if query.take is None else query.take, query.skip))
        etags = [] if query.take == 0 else self._column(sql + limit)
        return Matches(etags, self._count(self._rows(self._test)) if counted else -1)

    def unknown(self) -> tuple[str, ...]:
        """The fields that no document has."""
        return tuple(str(field) for field, index in self.indexes.items() if not self.rows(Sql(self.any_row(index))))

    def groups(self, group: Group) -> list[Row] | None:
        """The groups by one field; None where an index does not say enough."""
        if len(group.by) != 1 or any(self.indexes[field].several for field in group.sums):
            return None
        by = self.indexes[group.by[0]]
        holds = self._holds(self._test, "g.etag")
        key = self.key("g")
        sql = Sql(f"SELECT {key}, count(*) FROM {self.table(by)} g WHERE ") + holds + " GROUP BY 1 ORDER BY 1"
        counts = self.rows(sql)
        sums: list[dict[Key, Any]] = []
        for field in group.sums:
            joined = f"FROM {self.table(by)} g JOIN {self.table(self.indexes[field])} s ON s.etag = g.etag"
            found: dict[Key, Any] = {}
            for of, value in self.rows(Sql(f"SELECT {key}, {self.key('s')} {joined} WHERE ") + holds):
                number = number_of(value)
                if number is not None:
                    found[of] = added(found.get(of, Decimal(0)), number)
            sums.append(found)
        return [Row((of,), count, tuple(found.get(of) for found in sums)) for of, count in counts]

    def _column(self, sql: Sql) -> list[int]:
        return msgspec.convert([row[0] for row in self.rows(sql)], list[int])

    def _count(self, rows: Sql, limit: str = "") -> int:
        return self._column(Sql("SELECT count(*) FROM (SELECT 1 FROM (") + rows + f") r{limit}) c")[0]

    # In order.

    def _walk(self) -> Sql | None:
        """Along the index of the order, where that meets what is asked for soon enough; None where it would not."""
        query = self._query
        if len(query.order) != 1 or query.take is None:
            return None
        [order] = query.order
        if order.field.path == (SCORE,):
            return None
        index = self.indexes[order.field]
        items = self._test.items if isinstance(self._test, All) else (self._test,)
        mine = [each for each in items if isinstance(each, Within) and each.field == order.field and _single(each)]
        others = tuple(each for each in items if each not in mine[:1])
        if index.several or (others and self._few()):
            return None
        sql = Sql(f"SELECT d.etag FROM {self.table(index)} d WHERE ")
        sql += self.within("d", mine[0].intervals[0] if mine else (MISSING, END))
        by = self.in_order("d", index, " DESC" if order.descending else "")
        return sql + " AND " + self._holds(All(others), "d.etag") + f" ORDER BY {by}, d.etag"

    def _few(self) -> bool:
        """Whether so few match that sorting them is quick."""
        return self._count(self._rows(self._test), f" LIMIT {_SAMPLE}") < _SAMPLE

    def _sorted(self) -> Sql:
        """All that match, sorted."""
        orders, scores, joins = [], Sql(""), ""
        for order in self._query.order:
            way = " DESC" if order.descending else ""
            if order.field.path == (SCORE,):
                if (
                    isinstance(self._test, Words)
                    and len(self._query.order) == 1
                    and (best := self.best(self._test, way))
                ):
                    return best
                scores, joins, score = self._scores()
                orders += [f"({score}){way}"] if score else []
                continue
            index = self.indexes[order.field]
            least = f"SELECT {self.key('o')} FROM {self.table(index)} o WHERE o.etag = w.etag"
            orders.append(f"({least} ORDER BY {self.in_order('o', index, way)} LIMIT 1){way}")
        by = ", ".join([*orders, "w.etag"])
        return scores + "SELECT w.etag FROM (" + self._rows(self._test) + f") w{joins} ORDER BY {by}"

    def _scores(self) -> tuple[Sql, str, str]:
        """What is searched for as tables of etags and scores, how they are joined, and the sum."""
        tables = [self.scores(test) for test in searched(self._test)]
        if not tables:
            return Sql(""), "", ""
        names = [f"s{place:d}" for place in range(len(tables))]
        with_ = ", ".join(
            f"{name}(etag, score) AS MATERIALIZED ({table.text})" for name, table in zip(names, tables, strict=True)
        )
        joins = "".join(f" LEFT JOIN {name} ON {name}.etag = w.etag" for name in names)
        total = " + ".join(f"coalesce({name}.score, 0.0)" for name in names)
        return Sql(f"WITH {with_} ", tuple(each for table in tables for each in table.bound)), joins, f"0.0 + {total}"

    # What matches.

    def _rows(self, test: Test) -> Sql:
        """A SELECT of the etags of the documents that pass a test, each once."""
        if isinstance(test, Within):
            return self._within_rows(test)
        if isinstance(test, Words):
            return self.words(test)
        if isinstance(test, AnyOf) and test.items and all(isinstance(each, Within | Words) for each in test.items):
            return union([self._rows(each) for each in test.items])
        items = test.items if isinstance(test, All) else (test,)
        leading = [each for each in items if isinstance(each, Within | Words)]
        if not leading:
            return Sql(f"SELECT DISTINCT d.etag FROM {self.etags(self._all)} d WHERE ") + self._holds(test, "d.etag")
        first = min(leading, key=self._sampled) if len(leading) > 1 else leading[0]
        others = All(tuple(each for each in items if each is not first))
        if not others.items:
            return self._rows(first)
        return Sql("SELECT d.etag FROM (") + self._rows(first) + ") d WHERE " + self._holds(others, "d.etag")

    def _sampled(self, test: Within | Words) -> int:
        """How many pass a test, as far as it pays to count."""
        return self._count(self._rows(test), f" LIMIT {_SAMPLE}")

    def _within_rows(self, test: Within) -> Sql:
        index = self.indexes[test.field]
        return Sql(f"SELECT {'DISTINCT ' if index.several else ''}e.etag ") + self._of(test)

    def _of(self, test: Within, of: str = "") -> Sql:
        """The rows `e` of an index whose keys are in the intervals of a test."""
        table, intervals = self.table(self.indexes[test.field]), test.intervals
        if len(intervals) <= _FEW:
            keys = _joined([self.within("e", each) for each in intervals], " OR ") if intervals else Sql("FALSE")
            return Sql(f"FROM {table} e WHERE {of}(") + keys + ")"
        listed, keys_in = self.listed(intervals, "e")
        return Sql("FROM ") + listed + f" CROSS JOIN {table} e WHERE {of}{keys_in}"

    def _holds(self, test: Test, etag: str) -> Sql:
        """Whether the document with an etag passes a test."""
        match test:
            case Within():
                return Sql("EXISTS (SELECT 1 ") + self._of(test, f"e.etag = {etag} AND ") + ")"
            case Words():
                return Sql(f"{etag} IN (") + self.words(test) + ")"
            case Part(field, pattern, end):
                sql = Sql(f"EXISTS (SELECT 1 FROM {self.table(self.indexes[field])} e WHERE e.etag = {etag} AND ")
                part = self.part("e", pattern, end=end) if pattern else Sql("TRUE")
                return sql + self.within("e", TEXTS) + " AND " + part + ")"
            case All(items):
                return _joined([self._holds(item, etag) for item in items], " AND ") if items else Sql("TRUE")
            case AnyOf(items):
                return _joined([self._holds(item, etag) for item in items], " OR ") if items else Sql("FALSE")
            case No(item):
                return Sql("NOT (") + self._holds(item, etag) + ")"


def union(selects: Sequence[Sql]) -> Sql:
    """What any of these select, each once."""
    return Sql(" UNION ".join(each.text for each in selects), tuple(bound for each in selects for bound in each.bound))


def _single(test: Within) -> bool:
    return len(test.intervals) == 1


def size_of(test: Test) -> int:
    """How many tests there are in one."""
    if isinstance(test, All | AnyOf):
        return sum(map(size_of, test.items))
    return size_of(test.item) if isinstance(test, No) else 1
