"""Asking for documents: fields that are compared with Python's operators, and the query that a session is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, Protocol, Self, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from muniment.document import Document, ExactFloat, fold
from muniment.errors import InvalidInput
from muniment.faces import Awaiting, Blocking, Steps, both
from muniment.query import model
from muniment.query.keys import TICKS
from muniment.query.model import As, Column, Condition, Field, Group, Order, Query
from muniment.query.plan import Plan
from muniment.query.refer import referred

T = TypeVar("T")
BATCH: Final = 128


class Path:
    """A field to compare: `field("Freight") > 10`, `field("Lines[].Product") == "products/1"`.

    Conditions are joined by `&` and `|`, and `~` is their opposite; each stands in brackets then.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, path: str | tuple[str, ...], kind: As = "value") -> None:
        self._field = model.field(path, kind)

    def __repr__(self) -> str:
        return f"<field {self._field}>"

    def _compared(self, *values: Any) -> tuple[Field, list[Any]]:
        """The field as what it is compared, and the values as JSON has them."""
        lengths = [isinstance(value, timedelta) for value in values]
        if any(lengths) and not all(lengths):
            raise InvalidInput("a length of time is compared with lengths of time only", "give each as a timedelta")
        field = Field(self._field.path, "duration") if any(lengths) else self._field
        return field, [operand(value) for value in values]

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return self.equals(value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return model.Not(self.equals(value))

    def equals(self, value: Any, *, exact: bool = False) -> Condition:
        """A value is this one; a text in any case unless `exact`."""
        field, [found] = self._compared(value)
        return model.Equal(field, found, exact)

    def __lt__(self, value: Any) -> Condition:
        field, [found] = self._compared(value)
        return model.Range(field, high=found, high_open=True)

    def __le__(self, value: Any) -> Condition:
        field, [found] = self._compared(value)
        return model.Range(field, high=found)

    def __gt__(self, value: Any) -> Condition:
        field, [found] = self._compared(value)
        return model.Range(field, low=found, low_open=True)

    def __ge__(self, value: Any) -> Condition:
        field, [found] = self._compared(value)
        return model.Range(field, low=found)

    def between(self, low: Any, high: Any) -> Condition:
        """A value is between these, or one of them."""
        field, [first, last] = self._compared(low, high)
        return model.Range(field, first, last)

    def is_in(self, values: Iterable[Any], *, exact: bool = False) -> Condition:
        """A value is one of these."""
        field, found = self._compared(*values)
        return model.In(field, tuple(found), exact)

    def has_all(self, values: Iterable[Any]) -> Condition:
        """Each of these is among the values of an array."""
        return model.And(tuple(map(self.equals, values)))

    def starts_with(self, text: str) -> Condition:
        """A text begins so, in any case."""
        return model.StartsWith(self._field, _text(text))

    def ends_with(self, text: str) -> Condition:
        """A text ends so, in any case."""
        return model.EndsWith(self._field, _text(text))

    def contains(self, text: str) -> Condition:
        """A text has this in it, in any case."""
        return model.Contains(self._field, _text(text))

    def exists(self) -> Condition:
        """The field is there, even as null."""
        return model.Exists(self._field)

    def search(self, text: str, *, every: bool = False, stem: bool = False) -> Condition:
        """One of these words is in a text, or `every` one; `wor*` stands for all that begin so.

        Words in quotation marks follow each other. With `stem`, English words count that have the same stem.
        """
        return model.Search(self._field, _text(text), every, stem)


def field(path: str | tuple[str, ...], kind: As = "value") -> Path:
    """The field at a path, to compare: `Freight`, `Address.City`, `Lines[].Product`.

    `@id` is the document's id, `@metadata.NAME` a member of its metadata. For `kind` see `muniment.query.model.Field`.
    """
    return Path(path, kind)


def _text(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"{text!r} is no text", "give a part of a text as a str")
    return text


def operand(value: Any) -> Any:
    """A Python value as JSON has it, numbers exactly."""
    if isinstance(value, timedelta):
        return (value.days * 86_400 + value.seconds) * TICKS + value.microseconds * (TICKS // 1_000_000)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidInput(f"{value} is no number of JSON", "compare with a finite number")
        return ExactFloat(str(value)) if set(str(value)) & set(".E") else int(value)
    if isinstance(value, datetime | date | time | UUID | Enum):
        return msgspec.to_builtins(value)
    return value


def asked_of(collection: str | None, index: str | None) -> Query:
    """A query of a collection or, instead, of an index."""
    if collection is not None and index is not None:
        raise InvalidInput(f"the index {index!r} says of which collection it is", "leave the collection out")
    return Query(collection, index=index)


class Unit(Protocol):
    """What a query needs of its session."""

    _database: Any

    def _include(self, documents: Iterable[Document], paths: Iterable[str]) -> Steps[None]: ...

    def _met(self, documents: Iterable[Document], type: Any) -> list[Any]: ...


class Found(Generic[T]):
    """A query of a session: the methods that say what to find give a new one, and iterating gives what it finds.

    The objects belong to the session, as those that it loads. Nothing is asked before it is iterated, or one of its
    last methods is called.
    """

    def __init__(self, session: Unit, query: Query, type: type[T] | None = None) -> None:
        self._session = session
        self._query = query
        self._type = type

    def _with(self, **changes: Any) -> Self:
        return self.__class__(self._session, replace(self._query, **changes), self._type)

    def where(self, *conditions: Condition, **equal: Any) -> Self:
        """Only those for which these hold too; `Company="companies/1"` is short for a field that is equal."""
        asked = [*conditions, *(Path(name) == value for name, value in equal.items())]
        for each in asked:
            if not isinstance(each, model.Combined):
                raise InvalidInput(f"{each!r} is no condition", 'compare a field: field("Freight") > 10')
        before = self._query.where
        items = before.items if isinstance(before, model.And) else (before,)
        return self._with(where=model.And((*items, *asked)))

    def order_by(self, path: str | tuple[str, ...], *, descending: bool = False, kind: As = "value") -> Self:
        """In the order of this field; where it is called again, that field decides among those equal before."""
        return self._with(order=(*self._query.order, Order(model.field(path, kind), descending)))

    def search(self, path: str | tuple[str, ...], text: str, *, every: bool = False, stem: bool = False) -> Self:
        """Only those with these words in a field; see `Path.search`."""
        return self.where(Path(path).search(text, every=every, stem=stem))

    def highlight(
        self, path: str, *, length: int = 128, count: int = 2, before: str = "<b>", after: str = "</b>"
    ) -> Self:
        """Give pieces of this field too with what is searched for in them: `all().highlights[path][id]`.

        There are at most `count` for each document, of about `length` characters. The text is as it is in the document.
        """
        wanted = model.Highlight(path, model.field(path).path, length, count, before, after)
        return self._with(highlight=(*self._query.highlight, wanted))

    def order_by_score(self) -> Self:
        """Those first that fit best what is searched for."""
        return self._with(order=(*self._query.order, Order(Field((model.SCORE,)))))

    def skip(self, count: int) -> Self:
        """Without the first so many."""
        return self._with(skip=count)

    def take(self, count: int) -> Self:
        """At most so many."""
        return self._with(take=count)

    def include(self, *paths: str) -> Self:
        """Load the documents whose ids are at these paths too, so that loading them asks for nothing any more."""
        return self._with(include=(*self._query.include, *paths))

    def select(self, *paths: str, **named: str) -> Self:
        """Dicts of these fields in place of documents; `City="Address.City"` gives one another name."""
        columns = [Column(found.path[-1], found.path) for found in map(model.field, paths)]
        columns += [Column(name, model.field(path).path) for name, path in named.items()]
        return self._with(select=tuple(columns))

    def distinct(self) -> Self:
        """Of selected fields that are the same, one."""
        return self._with(distinct=True)

    def _asked(self, query: Query) -> Steps[Results]:
        results: Results = yield partial(self._session._database.query, query)
        return Results((yield from self._given(results)), results.total, results.plan, results.highlights)

    def _given(self, results: list[Any]) -> Steps[list[Any]]:
        """The objects of the session for what was found."""
        if self._query.select or not all(isinstance(each, Document) for each in results):
            return results
        if self._query.include:
            yield from self._session._include(results, self._query.include)
        return self._session._met(results, self._type or dict)

    @both
    def all(self) -> Steps[Results]:
        """All of them, a list that knows how many there are without skip and take, and how they were found."""
        return (yield from self._asked(self._query))

    @both
    def first(self) -> Steps[T | None]:
        """The first one; None if there is none."""
        found = yield from self._asked(replace(self._query, take=1))
        return found[0] if found else None

    @both
    def count(self) -> Steps[int]:
        """How many there are, without skip and take."""
        answer = yield partial(
            self._session._database.query, replace(self._query, skip=0, take=0, order=(), include=())
        )
        return int(answer.total)

    @both
    def group_by(self, *paths: str, sums: Iterable[str] = ()) -> Steps[Results]:
        """How many have the same value of these fields, and sums of others: dicts of the fields, `Count`, and the sums.

        The largest groups come first.
        """
        group = Group(tuple(map(model.field, paths)), tuple(map(model.field, sums)))
        order = (Order(Field((model.COUNT,)), True),)
        return (yield from self._asked(replace(self._query, group=group, order=order, include=(), take=None)))

    @both
    def explain(self) -> Steps[Plan]:
        """How it is answered: by which indexes, or by looking at every document, and why."""
        results = yield partial(self._session._database.query, replace(self._query, take=0))
        plan: Plan = results.plan
        return plan


class DocumentQuery(Found[T], Blocking):
    __doc__ = Found.__doc__

    def __iter__(self) -> Iterator[T]:
        items = self._session._database.stream(self._query)
        while batch := list(islice(items, BATCH)):
            yield from self._run(self._given(batch))


class AsyncDocumentQuery(Found[T], Awaiting):
    """`DocumentQuery` in asyncio: iterated with `async for`, and its last methods are awaited."""

    async def __aiter__(self) -> AsyncIterator[T]:
        batch: list[Any] = []
        async for item in self._session._database.stream(self._query):
            batch.append(item)
            if len(batch) == BATCH:
                for each in await self._run(self._given(batch)):
                    yield each
                batch = []
        for each in await self._run(self._given(batch)):
            yield each


class Results(list[Any]):
    """What a query found: documents, or dicts where it selects or groups; and how many there are in all.

    `plan` says how it was answered, and `highlights` are pieces of the fields that were to be highlighted, by the names
    of these and by ids.
    """

    def __init__(
        self,
        items: Iterable[Any],
        total: int,
        plan: Plan,
        highlights: Mapping[str, Mapping[str, list[str]]] = {},
    ) -> None:
        super().__init__(items)
        self.total = total
        self.plan = plan
        self.highlights = highlights


def included(documents: Iterable[Document], paths: Iterable[str]) -> list[str]:
    """The ids that these documents have at these paths, each once."""
    return list({fold(id): id for each in documents for path in paths for id in referred(each, path)}.values())
