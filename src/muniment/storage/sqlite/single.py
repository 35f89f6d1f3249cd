"""Queries of one field, the most frequent ones, as one statement that is put together once for all of their kind.

A statement is good as long as the writer knows the indexes that it knew then. It is asked after the statement was
carried out: the writer notes a change before it commits it, so that what was read is not younger than what it knows.
What finds nothing, for whatever reason, goes the general way (`queries`), which says why.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from muniment.query.match import Test, Within, Words
from muniment.query.model import Field, Query, by_score
from muniment.query.plan import Plan
from muniment.storage.indexes import Index, Named
from muniment.storage.sqlite.indexes import Indexes

MOST: Final = 256  # kinds that are remembered

_STATEMENT: Final = """
SELECT log.etag, log.kind, log.id, log.collection, log.modified, log.metadata, log.body, octet_length(log.body), {total}
FROM {table} e CROSS JOIN log ON log.etag = e.etag WHERE {keys} ORDER BY {order} LIMIT ?3 OFFSET ?4
"""
_SEARCH: Final = """
SELECT log.etag, log.kind, log.id, log.collection, log.modified, log.metadata, log.body, octet_length(log.body), {total}
FROM (
  SELECT rowid AS etag{score} FROM {table} WHERE {table} MATCH ?1 ORDER BY {order}etag LIMIT ?2 OFFSET ?3
) e CROSS JOIN log ON log.etag = e.etag ORDER BY {order}e.etag
"""
_BETWEEN: Final = "e.key >= ?1 AND e.key < ?2"
# What has one key comes in the order of its etags without being sorted. Texts that are equal may have several keys, of
# several spellings, but seldom have: then this finds nothing.
_EQUAL: Final = """e.key = (SELECT key FROM {table} WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT 1)
AND e.key = (SELECT key FROM {table} WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT 1)"""
_COUNT: Final = "(SELECT count(*) FROM {table} WHERE key >= ?1 AND key < ?2)"
_COUNT_WORDS: Final = "(SELECT count(*) FROM {table} WHERE {table} MATCH ?1)"


class Kind(NamedTuple):
    """What queries have in common that one statement answers; `descending` is None in the order of etags."""

    collection: str | None
    field: Field
    descending: bool | None
    equal: bool
    counted: bool


class Prepared(NamedTuple):
    """The statement for a kind of query, the plan to tell, its index, and all indexes and names at that time."""

    sql: str
    plan: Plan
    of: Index
    indexes: tuple[Index, ...]
    named: Named

    def is_good(self, indexes: Indexes) -> bool:
        """Whether the writer knows the same indexes still."""
        return indexes.all is self.indexes and indexes.named is self.named


def kind_of(query: Query, test: Test, *, counted: bool) -> Kind | None:
    """The kind of a query of one field, sorted by it, or of what is equal, not sorted; None for all others.

    Where words are searched, sorted by the score, or not.
    """
    if isinstance(test, Words):
        if not query.order:
            return Kind(query.collection, test.field, None, False, counted)
        score = len(query.order) == 1 and by_score(query)
        return Kind(query.collection, test.field, query.order[0].descending, False, counted) if score else None
    if not isinstance(test, Within) or len(test.intervals) != 1:
        return None
    [(low, high)] = test.intervals
    if not query.order:
        return Kind(query.collection, test.field, None, True, counted) if _are_equal(low, high) else None
    order = query.order[0]
    if len(query.order) > 1 or order.field != test.field:
        return None
    return Kind(query.collection, test.field, order.descending, False, counted)


def _are_equal(low: bytes, high: bytes) -> bool:
    """Whether these are the keys of one value: a single one, or those of a text however it is spelled."""
    return high == low + b"\0" or (low[-2:] == b"\0\0" and high == low[:-1] + b"\1")


def prepared(kind: Kind, index: Index, plan: Plan, indexes: tuple[Index, ...], named: Named) -> Prepared | None:
    """The statement for queries of this kind, in this index; None where it would find documents several times."""
    if index not in indexes or (index.several and not kind.equal and not index.of_words):
        return None
    table, way = f"index_{index.number:d}", " DESC" if kind.descending else ""
    if index.of_words:
        total = _COUNT_WORDS.format(table=table) if kind.counted else "-1"
        score, order = ("", "") if kind.descending is None else (f", bm25({table}) AS score", f"score{way}, ")
        return Prepared(_SEARCH.format(total=total, table=table, score=score, order=order), plan, index, indexes, named)
    sql = _STATEMENT.format(
        total=_COUNT.format(table=table) if kind.counted else "-1",
        table=table,
        keys=_EQUAL.format(table=table) if kind.equal else _BETWEEN,
        order="e.etag" if kind.equal else f"e.key{way}, e.etag",
    )
    return Prepared(sql, plan, index, indexes, named)
