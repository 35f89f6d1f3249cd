"""What a query is: a tree of plain values that any engine can answer, and that goes over HTTP as JSON.

A field is a path of names. Where there is an array on its way, it goes through each element; what it comes to are the
field's values, those in an array one by one. A condition holds if one of the values satisfies it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from muniment.errors import InvalidInput

As: TypeAlias = Literal["value", "number", "text", "duration", "words", "search", "stems"]
ID: Final = "@id"
METADATA: Final = "@metadata"
COUNT: Final = "@count"  # of a group, where a column or an order names it
SUM: Final = "@sum"  # followed by the path of what is added up
KEY: Final = "@key"  # the field of a group that has one
SCORE: Final = "@score"  # how well a document fits what is searched for, where an order names it
SEARCHED: Final = ("search", "stems")
MAX_CLAUSES: Final = 10_000
MAX_DEPTH: Final = 200
MAX_HIGHLIGHT: Final = 10_000  # characters of a piece, and pieces of a document
MAX_NAMES: Final = 100  # of a path
MAX_PATH: Final = 4096


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A path into a document, and as what its values are taken.

    The path `("@id",)` is the document's id, and one that begins with `@metadata` goes into its metadata.

    As `number`, texts that are numbers count as these; as `text`, numbers as they are written; as `duration`, texts
    that are lengths of time (`1.00:30:00`, `PT30M`), in units of 100 ns; as `words`, each word of a text. As `search`
    and `stems` only `Search` takes it: the words in their order, and of English ones the stems.
    """

    path: tuple[str, ...]
    kind: As = "value"

    def __str__(self) -> str:
        path = ".".join(name if name.isidentifier() or name[:1] == "@" else repr(name) for name in self.path)
        return path if self.kind == "value" else f"{path} as {self.kind}"


class Combined(msgspec.Struct, frozen=True):
    """A condition, which `&` and `|` join with another, and of which `~` is the opposite."""

    def __and__(self, other: Condition) -> Condition:
        return And((self, other))  # type: ignore[arg-type]

    def __or__(self, other: Condition) -> Condition:
        return Or((self, other))  # type: ignore[arg-type]

    def __invert__(self) -> Condition:
        return Not(self)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        raise InvalidInput("a condition is neither true nor false", "join conditions with &, | and ~, each in brackets")


class Equal(Combined, frozen=True, tag="equal", omit_defaults=True):
    """A value is this one: a text in any case, unless `exact`."""

    field: Field
    value: Any
    exact: bool = False


class In(Combined, frozen=True, tag="in", omit_defaults=True):
    """A value is one of these."""

    field: Field
    values: tuple[Any, ...]
    exact: bool = False


class Range(Combined, frozen=True, tag="range", omit_defaults=True):
    """A value is between these, which belong to it unless they are open. A bound that is not there is none."""

    field: Field
    low: Any | UnsetType = UNSET
    high: Any | UnsetType = UNSET
    low_open: bool = False
    high_open: bool = False


class StartsWith(Combined, frozen=True, tag="starts"):
    """A text begins so, in any case."""

    field: Field
    text: str


class EndsWith(Combined, frozen=True, tag="ends"):
    """A text ends so, in any case."""

    field: Field
    text: str


class Contains(Combined, frozen=True, tag="contains"):
    """A text has this in it, in any case."""

    field: Field
    text: str


class Exists(Combined, frozen=True, tag="exists"):
    """The field is there, even as null."""

    field: Field


class Search(Combined, frozen=True, tag="search", omit_defaults=True):
    """One of the words is among those of the field, or with `every`, each is. `wor*` stands for all that begin so.

    Words in quotation marks follow each other. With `stem`, English words count that have the same stem.
    """

    field: Field
    text: str
    every: bool = False
    stem: bool = False


class And(Combined, frozen=True, tag="and"):
    """All of these hold; also when there are none."""

    items: tuple[Condition, ...]


class Or(Combined, frozen=True, tag="or"):
    """One of these holds."""

    items: tuple[Condition, ...]


class Not(Combined, frozen=True, tag="not"):
    """This does not hold."""

    item: Condition


Leaf: TypeAlias = Equal | In | Range | StartsWith | EndsWith | Contains | Exists | Search
Condition: TypeAlias = Equal | In | Range | StartsWith | EndsWith | Contains | Exists | Search | And | Or | Not
EVERYTHING: Final = And(())
NOTHING: Final = Or(())


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """By which field to sort; of several values the smallest counts, or when `descending`, the largest.

    The field `("@score",)` is how well a document fits what is searched for: the best come first.
    """

    field: Field
    descending: bool = False


class Column(msgspec.Struct, frozen=True):
    """A member of what is answered instead of a document: its name, and what is in it."""

    name: str
    path: tuple[str, ...]


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """Documents with the same value of these fields count together; `sums` are added up over each group."""

    by: tuple[Field, ...]
    sums: tuple[Field, ...] = ()


class Highlight(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of which pieces are wanted that have what is searched for in them, and how it is called there.

    There are at most `count` of each document, of about `length` characters, with the marks around each word.
    """

    name: str
    path: tuple[str, ...]
    length: int = 128
    count: int = 2
    before: str = "<b>"
    after: str = "</b>"


class Query(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which documents (of a collection, or all), in which order, which of them, and what of each.

    With `index`, it asks the one of this name. What is equal in the order that is asked for comes in the order of its
    etags. `take` None takes all. `unknown` are names that the index which was asked does not have, to be told.
    """

    collection: str | None = None
    where: Condition = EVERYTHING
    order: tuple[Order, ...] = ()
    skip: int = 0
    take: int | None = None
    select: tuple[Column, ...] = ()
    distinct: bool = False
    include: tuple[str, ...] = ()
    group: Group | None = None
    highlight: tuple[Highlight, ...] = ()
    index: str | None = None
    unknown: tuple[str, ...] = ()


def field(path: str | tuple[str, ...], kind: As = "value") -> Field:
    """The field at a path: `Freight`, `Address.City`, `Lines[].Product`; a tuple of names where they have dots."""
    if isinstance(path, tuple) and path and all(path):
        return Field(path, kind)
    names = path.replace("[]", "").replace(",", ".").split(".") if isinstance(path, str) else []
    if not names or not all(names) or any(name.endswith("]") for name in names):
        raise InvalidInput(
            f"{path!r} is no path to a field", "write names with dots between them: 'Address.City', 'Lines[].Product'"
        )
    return Field(tuple(names), kind)


_JOINED: Final = (And, Or)


def leaves(condition: Condition) -> Iterator[Leaf]:
    """The conditions on fields in this one; raises `InvalidInput` where there are too many, or too deep."""
    found, pending = 0, [(condition, 0)]
    while pending:
        each, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise InvalidInput(f"the conditions are nested more than {MAX_DEPTH} deep", "ask with fewer parentheses")
        if isinstance(each, _JOINED):
            pending += [(item, depth + 1) for item in reversed(each.items)]
        elif isinstance(each, Not):
            pending.append((each.item, depth + 1))
        else:
            found += _clauses(each)
            if found > MAX_CLAUSES:
                raise InvalidInput(f"the query has more than {MAX_CLAUSES:,} clauses", "ask with several queries")
            yield each


def _clauses(leaf: Leaf) -> int:
    if isinstance(leaf, In):
        return len(leaf.values)
    return leaf.text.count(" ") + 1 if isinstance(leaf, Search) and isinstance(leaf.text, str) else 1


def check(query: Query) -> None:
    """Raises `InvalidInput` for a query that cannot be answered."""
    fields(query)
    for number, what in ((query.skip, "skip"), (query.take, "take")):
        if number is not None and (type(number) is not int or not 0 <= number < 1 << 63):
            raise InvalidInput(f"{what} cannot be {number!r}", "give a whole number from 0 to 2^63-1")
    if query.distinct and query.select and query.include:
        raise InvalidInput("rows of which there is one of each bring no other documents along", "leave include out")
    for each in query.highlight:
        _check_path(each.path)
        if not (0 < each.length <= MAX_HIGHLIGHT and 0 < each.count <= MAX_HIGHLIGHT) or query.select or query.group:
            hint = f"give a length and a count from 1 to {MAX_HIGHLIGHT:,}, and select nothing"
            raise InvalidInput(f"what is searched for in {each.name} cannot be highlighted so", hint)
    if query.group:
        _check_group(query, query.group)


def _check_group(query: Query, group: Group) -> None:
    known = {(COUNT,), (KEY,), *(field.path for field in group.by), *((SUM, *field.path) for field in group.sums)}
    asked = [*(column.path for column in query.select), *(order.field.path for order in query.order)]
    for path in asked:
        if path not in known:
            raise InvalidInput(
                f"{'.'.join(path)} is no field, count or sum of the groups", "group by it, or leave it out"
            )
    if query.distinct or query.include or not group.by or (len(group.by) > 1 and (KEY,) in asked):
        raise InvalidInput("groups cannot be asked for so", "leave distinct and include out, and name the fields")


def field_of(leaf: Leaf) -> Field:
    """The field that a condition looks at; `Search` looks at its words."""
    if isinstance(leaf, Search):
        return Field(leaf.field.path, "stems" if leaf.stem else "search")
    if leaf.field.kind in SEARCHED:
        raise _unsearched(leaf.field)
    return leaf.field


def _unsearched(field: Field) -> InvalidInput:
    return InvalidInput(f"{field} can only be searched", "ask with search, or leave out as what it is taken")


def by_score(query: Query) -> bool:
    """Whether it asks for an order by how well documents fit."""
    return any(order.field.path == (SCORE,) for order in query.order)


def fields(query: Query) -> tuple[Field, ...]:
    """All fields that the query compares, sorts or groups by, each once."""
    found: list[Field] = []
    searched: set[Field] = set()
    for leaf in leaves(query.where):
        found.append(field_of(leaf))
        if isinstance(leaf, Search):
            searched.add(found[-1])
    if query.group:
        found += [*query.group.by, *query.group.sums]
    else:
        found += [order.field for order in query.order if order.field.path != (SCORE,)]
    once = tuple(dict.fromkeys(found))
    for each in once:
        _check_path(each.path)
        if each.kind in SEARCHED and each not in searched:
            raise _unsearched(each)
    return once


@lru_cache(1024)
def _check_path(path: tuple[str, ...]) -> None:
    if not path or not all(path):
        raise InvalidInput("a condition or an order names no field", "give a path of names")
    if len(path) > MAX_NAMES or sum(map(len, path)) > MAX_PATH:
        raise InvalidInput(
            f"the path of a field has more than {MAX_NAMES} names, or {MAX_PATH:,} characters", "name another field"
        )
    try:
        "".join(path).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{path[0]!r} is no name of a field: it is not Unicode", "name another field") from error
