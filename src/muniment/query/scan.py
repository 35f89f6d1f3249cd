"""Answering a query by looking at every document: what an engine does that has no index for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow, Underflow
from threading import Event
from typing import Final, NamedTuple

from muniment.document import Document
from muniment.errors import Cancelled, InvalidInput
from muniment.query import keys
from muniment.query.extract import Extractor
from muniment.query.keys import Key
from muniment.query.match import All, Keys, predicate, searched, test_of
from muniment.query.model import SCORE, Field, Group, Order, Query, by_score, fields
from muniment.query.score import Counted, Scores

_KEPT: Final = 10_000  # matches in memory beyond those that are asked for, before the last of them are dropped
_MOST_GROUPS: Final = 100_000  # that one document is in
_EXACT: Final = Context(prec=1 << 16, traps=[Inexact, Overflow, Underflow, InvalidOperation])


stopping: ContextVar[Event | None] = ContextVar("stopping", default=None)
"""When this is set, nobody waits any more for what is looked for."""


class Matches(NamedTuple):
    """The etags that were asked for, in their order, how many match in all, and what fields no document has."""

    etags: list[int]
    total: int
    unknown: tuple[str, ...] = ()


class Row(NamedTuple):
    """A group: the keys of its fields, how many documents have them, and their sums; a sum is None without a number."""

    by: tuple[Key, ...]
    documents: int
    sums: tuple[Decimal | None, ...]


class _Match(NamedTuple):
    etag: int
    sort: tuple[Key, ...]
    counted: tuple[Counted, ...]


class Looked:
    """What is seen of all documents that are looked at: which fields none has, and what their scores need."""

    def __init__(self, query: Query) -> None:
        self.unknown = dict.fromkeys(fields(query))
        self.scores = Scores([*searched(test_of(query.where))]) if by_score(query) else None
        self.counted: tuple[Counted, ...] = ()

    def at(self, found: Keys) -> None:
        """Look at the next document."""
        if self.unknown:
            for field in [field for field in self.unknown if found[field][0] != keys.MISSING]:
                del self.unknown[field]
        if self.scores:
            self.counted = self.scores.count(found)


def scan(query: Query, documents: Iterable[Document]) -> Matches:
    """The documents of these that a query asks for; they come in the order of their etags."""
    kept: list[_Match] = []
    total = 0
    wanted = None if query.take is None else query.skip + query.take
    looked = Looked(query)
    orders = [order for order in query.order if order.field.path != (SCORE,)]
    for document, found in matching(query, documents, looked):
        total += 1
        if wanted is None or query.order or total <= wanted:
            sort = tuple(_sort_key(found[order.field], order) for order in orders)
            kept.append(_Match(document.etag, sort, looked.counted))
        if wanted is not None and query.order and not looked.scores and len(kept) > wanted + _KEPT:
            del _sorted(kept, query.order, looked)[wanted:]
    etags = [match.etag for match in _sorted(kept, query.order, looked)[query.skip : wanted]]
    return Matches(etags, total, tuple(map(str, looked.unknown)))


def matching(
    query: Query, documents: Iterable[Document], looked: Looked | None = None
) -> Iterator[tuple[Document, Keys]]:
    """Those of the documents for which the condition holds, with their keys."""
    extractor, test = Extractor(fields(query)), test_of(query.where)
    documents = _unless_stopped(documents)
    if not extractor.fields and isinstance(test, All) and not test.items:
        yield from ((document, {}) for document in documents)
        return
    holds = predicate(test)
    for document in documents:
        found = dict(zip(extractor.fields, extractor.safe_keys(document).keys, strict=True))
        if looked:
            looked.at(found)
        if holds(found):
            yield document, found


def _unless_stopped(documents: Iterable[Document]) -> Iterator[Document]:
    stop = stopping.get()
    for document in documents:
        if stop is not None and stop.is_set():
            raise Cancelled("the query was stopped: the client has gone away", "ask again")
        yield document


def _sort_key(found: Sequence[Key], order: Order) -> Key:
    return max(found) if order.descending else min(found)


def _sorted(matches: list[_Match], orders: Sequence[Order], looked: Looked) -> list[_Match]:
    place = sum(order.field.path != (SCORE,) for order in orders)
    for order in reversed(orders):
        if order.field.path == (SCORE,):
            scores = looked.scores
            assert scores is not None
            matches.sort(key=lambda match: scores.of(match.counted), reverse=order.descending)
        else:
            place -= 1
            matches.sort(key=lambda match: match.sort[place], reverse=order.descending)
    return matches


def grouped(group: Group, found: Iterable[Keys]) -> list[Row]:
    """The groups of documents with these keys, in the order of their fields; one with several values is in several."""
    counts: dict[tuple[Key, ...], int] = {}
    sums: dict[tuple[Key, ...], list[Decimal | None]] = {}
    for each in found:
        for by in _combined([list(dict.fromkeys(each[field])) for field in group.by]):
            counts[by] = counts.get(by, 0) + 1
            _add(sums.setdefault(by, [None] * len(group.sums)), group.sums, each)
    return [Row(by, counts[by], tuple(sums[by])) for by in sorted(counts)]


def _combined(columns: Sequence[Sequence[Key]]) -> list[tuple[Key, ...]]:
    combined: list[tuple[Key, ...]] = [()]
    for column in columns:
        if len(combined) * len(column) > _MOST_GROUPS:
            raise InvalidInput(f"a document is in more than {_MOST_GROUPS:,} groups", "group by fewer fields")
        combined = [(*before, key) for before in combined for key in column]
    return combined


def _add(sums: list[Decimal | None], columns: Sequence[Field], found: Keys) -> None:
    for place, column in enumerate(columns):
        for key in found[column]:
            number = keys.number_of(key)
            if number is not None:
                sums[place] = added(sums[place] or Decimal(0), number)


def added(one: Decimal, other: Decimal) -> Decimal:
    """The exact sum; raises `InvalidInput` where it would have more than 65,536 digits."""
    try:
        return _EXACT.add(one, other)
    except DecimalException as error:
        raise InvalidInput("a sum has more than 65,536 digits", "leave the sum out") from error
