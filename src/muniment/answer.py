"""What a storage answers to a query, ready to be shown: documents, or the JSON of projections and groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

from muniment.document import Document, encode, fold_collection
from muniment.errors import NotEvaluated
from muniment.query import keys, model, rql
from muniment.query.highlights import highlighted
from muniment.query.keys import Key
from muniment.query.model import COUNT, KEY, SUM, Column, Group, Query, fields
from muniment.query.plan import Plan
from muniment.query.project import projected
from muniment.query.scan import Row
from muniment.storage.base import Storage


class Answer(NamedTuple):
    """A page of what a query found, and how many there are in all; rows of JSON where it asks for no documents.

    The `total` of distinct rows is that of the documents. `of` are the documents of the rows, where it includes others.
    """

    documents: list[Document]
    rows: list[bytes]
    total: int
    plan: Plan
    of: Sequence[Document] = ()
    highlights: Mapping[str, Mapping[str, list[str]]] = {}  # by the names of fields and by ids


class Stream(NamedTuple):
    """All that a query found, one after the other, all of one moment."""

    items: Iterator[Document] | Iterator[bytes]
    total: int | None
    plan: Plan


def query_of(asked: Query | str, parameters: Mapping[str, Any] | None = None) -> Query:
    """A query as it is, or that of a text in RQL; raises `InvalidInput` or `NotEvaluated` if it cannot be answered."""
    query = rql.parse(asked, parameters) if isinstance(asked, str) else asked
    if not isinstance(asked, str):
        model.check(query)
    if query.index is not None:
        raise NotEvaluated(
            f"the index {query.index!r} cannot be asked by its name",
            "ask the collection, `from 'Orders' where …`: any field is found without naming an index",
        )
    return query


def told(query: Query, plan: Plan) -> Plan:
    """The plan, with the fields too that the index which was asked does not have."""
    return replace(plan, unknown=tuple(dict.fromkeys((*query.unknown, *plan.unknown)))) if query.unknown else plan


def answer(storage: Storage, query: Query, *, most: int | None = None) -> Answer:
    """What a query finds, at most so many."""
    if query.take is None or (most is not None and query.take > most):
        query = replace(query, take=most)
    if query.select and query.include:
        whole = answer(storage, replace(query, select=()))
        rows = [projected(document, query.select) for document in whole.documents]
        return whole._replace(documents=[], rows=rows, of=whole.documents)
    with stream(storage, query, counted=True) as found:
        items = list(found.items)
        total = len(items) if found.total is None else found.total
        plan = found.plan if total else _missed(storage, query, found.plan)
        if query.select or query.group:
            return Answer([], items, total, plan)  # type: ignore[arg-type]
        return Answer(items, [], total, plan, highlights=_highlights(query, items))  # type: ignore[arg-type]


def _missed(storage: Storage, query: Query, plan: Plan) -> Plan:
    """The plan of a query that has found nothing, which says so where there is no such collection."""
    if query.collection is None or (fields(query) and not plan.unknown and not query.group):
        return plan  # there are documents with these fields
    from muniment.backup.matches import collections_of, near  # here: what reads backups loads longer

    names = collections_of(storage.snapshot().fingerprint)
    if fold_collection(query.collection) in map(fold_collection, names):
        return plan
    alike = near(query.collection, names)
    meant = f": did you mean {' or '.join(alike)}?" if alike else ""
    return replace(plan, why=f"there is no document in a collection {query.collection!r}{meant}")


def _highlights(query: Query, documents: Sequence[Document]) -> dict[str, dict[str, list[str]]]:
    return {
        wanted.name: {
            document.id: pieces for document in documents if (pieces := highlighted(document, query.where, wanted))
        }
        for wanted in query.highlight
    }


@contextmanager
def stream(storage: Storage, query: Query, *, counted: bool = False) -> Iterator[Stream]:
    """What a query finds, in constant memory but for what it takes to sort, and for distinct rows, those."""
    if query.group:
        groups = storage.group(query)
        rows = _grouped(query, query.group, groups.rows)
        end = None if query.take is None else query.skip + query.take
        yield Stream(iter(rows[query.skip : end]), len(rows), told(query, groups.plan))
        return
    asked = replace(query, skip=0, take=None) if query.distinct and query.select else query
    with storage.find(asked, counted=counted) as found:
        documents = map(Document.of, found.revisions)
        if not query.select:
            yield Stream(documents, found.total, told(query, found.plan))
            return
        rows_of = (projected(document, query.select) for document in documents)
        if query.distinct:
            end = None if query.take is None else query.skip + query.take
            rows_of = islice(_once(rows_of), query.skip, end)  # type: ignore[assignment]
        yield Stream(rows_of, found.total, told(query, found.plan))


def _once(rows: Iterable[bytes]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for row in rows:
        if row not in seen:
            seen.add(row)
            yield row


def _grouped(query: Query, group: Group, rows: Sequence[Row]) -> list[bytes]:
    columns = query.select or columns_of(group)
    for order in reversed(query.order):

        def value(row: Row, path: tuple[str, ...] = order.field.path) -> Key:
            return _cell(group, row, path)

        rows = sorted(rows, key=value, reverse=order.descending)
    return [_object((column.name, _cell(group, row, column.path)) for column in columns) for row in rows]


def columns_of(group: Group) -> tuple[Column, ...]:
    """What is told of groups where nothing is selected: their fields, how many are in each, and the sums."""
    return (
        *(Column(field.path[-1], field.path) for field in group.by),
        Column("Count", (COUNT,)),
        *(Column(field.path[-1], (SUM, *field.path)) for field in group.sums),
    )


def _cell(group: Group, row: Row, path: tuple[str, ...]) -> Key:
    if path == (COUNT,):
        return keys.key_of(row.documents)
    if path[0] == SUM:
        total = row.sums[[field.path for field in group.sums].index(path[1:])]
        return keys.MISSING if total is None else keys.number_key(str(total))
    return row.by[0] if path == (KEY,) else row.by[[field.path for field in group.by].index(path)]


def _object(cells: Iterable[tuple[str, Key]]) -> bytes:
    return b"{" + b",".join(encode(name) + b":" + json_of(key) for name, key in cells) + b"}"


def json_of(key: Key) -> bytes:
    """The JSON of the value that has this key; null for what has none."""
    value = keys.value_of(key)
    if isinstance(value, Decimal):
        plain = abs(value.adjusted()) < 60 or not value
        return (f"{value:f}" if plain else str(value)).encode()
    return encode(value)
