"""Lucene's syntax, as RavenDB 3 and its clients write queries: a text becomes a condition.

`Name:ren* AND -City:"San Jose" Freight_Range:[Dx1 TO Dx9} @in<Company>:(companies/1,companies/2)`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from luqum import tree
from luqum.exceptions import IllegalCharacterError, ParseError
from luqum.thread import parse as parsed
from msgspec import UNSET

from muniment.errors import InvalidQuery
from muniment.query import model
from muniment.query.keys import Number, is_number
from muniment.query.model import (
    EVERYTHING,
    ID,
    And,
    Condition,
    Contains,
    EndsWith,
    Equal,
    Exists,
    Field,
    In,
    Not,
    Or,
    Range,
    Search,
    StartsWith,
)

NULL: Final = "[[NULL_VALUE]]"
EMPTY: Final = "[[EMPTY_STRING]]"
# What RavenDB has beyond Lucene is made words of it before it is parsed; no query has these characters.
_MARKED: Final = {NULL: "\ue000", EMPTY: "\ue001"}
_IN: Final = "\ue002"
_in: Final = re.compile(r'@(?:in|emptyIn)<([^>]*)>:\(((?:[^()"\\]|\\.|"(?:[^"\\]|\\.)*")*)\)')
_listed: Final = re.compile(r'\s*("(?:[^"\\]|\\.)*"|(?:[^",\\]|\\.)*)\s*(?:,|$)')
_place: Final = re.compile(r"at position (\d+)")
_number: Final = re.compile(r"(?:[DFIL]x)?(-?\d.*)", re.DOTALL)
_HINT: Final = "a query looks like: Name:rhino AND Freight_Range:[Dx1 TO Dx9}; see docs/queries.md"

Fields = Callable[[str], Field]


def field_of(name: str) -> Field:
    """The field of a name in an index: `Lines,Product`, `Freight_Range`, `__document_id`."""
    if name == "__document_id":
        return Field((ID,))
    if name.startswith("@metadata."):
        return Field((model.METADATA, name.removeprefix("@metadata.")))
    names = name.removesuffix("_Range").replace("[]", "").replace(",", ".").split(".")
    if not all(names):
        raise InvalidQuery(f"{name!r} is no name of a field", _HINT)
    return Field(tuple(names))


def parse(text: str, *, default: str | None = None, both: bool = False, fields: Fields = field_of) -> Condition:
    """The condition that a text is; words without a field are of the `default` one.

    Clauses with nothing between them are joined by or, or with `both`, by and. Raises `InvalidQuery` for what cannot be
    read, with the place and what was found there.
    """
    parts = re.split(r"\s+INTERSECT\s+", text)
    conditions = [_Reader(part, default, both, fields).condition() for part in parts if part.strip()]
    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))


class _Reader:
    def __init__(self, text: str, default: str | None, both: bool, fields: Fields) -> None:
        self._text = text
        self._default = default
        self._both = both
        self._fields = fields
        self._lists: list[tuple[str, list[str]]] = []

    def condition(self) -> Condition:
        text = _in.sub(self._remembered, self._text)
        for written, mark in _MARKED.items():
            text = text.replace(written, mark)
        try:
            found = parsed(text)
        except (ParseError, IllegalCharacterError) as error:
            said = str(error).removeprefix("Syntax error in input :").strip(" !")
            at = _place.search(said)
            place = int(at[1]) if at else len(text)
            reason = _place.sub("", said).strip(" :")
            raise InvalidQuery(
                f"the query cannot be read at column {place + 1}: {reason}; expected a field and a value", _HINT, place
            ) from error
        except RecursionError as error:
            raise InvalidQuery("the query is nested too deeply", "ask with fewer brackets") from error
        if found is None:
            return EVERYTHING
        return self._condition(found, self._default, 0)

    def _remembered(self, found: re.Match[str]) -> str:
        values = [] if found[0].startswith("@emptyIn") else list(_values(found[2]))
        self._lists.append((found[1], values))
        return f"{_IN}:{len(self._lists) - 1}"

    def _beyond(self, item: tree.Item, what: str, hint: str) -> InvalidQuery:
        return InvalidQuery(f"{what} at column {(item.pos or 0) + 1} is not evaluated", hint, item.pos or 0)

    def _condition(self, item: tree.Item, name: str | None, depth: int) -> Condition:
        if depth > model.MAX_DEPTH:
            raise InvalidQuery(f"the query is nested more than {model.MAX_DEPTH} deep", "ask with fewer brackets")
        deeper = depth + 1
        match item:
            case tree.SearchField():
                return self._field(item, deeper)
            case tree.FieldGroup() | tree.Group():
                if name is not None and (words := _words(item.children[0])):
                    return self._words(words, name)
                return self._condition(item.children[0], name, deeper)
            case tree.AndOperation():
                return And(tuple(self._condition(each, name, deeper) for each in item.children))
            case tree.OrOperation():
                return self._clauses(item.children, name, deeper, both=False)
            case tree.UnknownOperation():
                return self._clauses(item.children, name, deeper, both=self._both)
            case tree.Not() | tree.Prohibit():
                return Not(self._condition(item.children[0], name, deeper))
            case tree.Plus() | tree.Boost():
                return self._condition(item.children[0], name, deeper)
            case tree.Fuzzy():
                raise self._beyond(item, "a fuzzy term (~)", "ask for the beginning of the word: wor*")
            case tree.Proximity():
                raise self._beyond(item, "the distance of words (~)", "ask for each word")
        if name is None:
            raise InvalidQuery(
                f"the term {str(item).strip()!r} at column {(item.pos or 0) + 1} has no field", _HINT, item.pos or 0
            )
        return self._value(item, name)

    def _clauses(self, items: Sequence[tree.Item], name: str | None, depth: int, *, both: bool) -> Condition:
        """As Lucene takes them: those with + must hold, those with - must not, and of the others one, if none must."""
        musts, others = list[Condition](), list[Condition]()
        for item in items:
            condition = self._condition(item, name, depth)
            must = both or isinstance(item, tree.Plus | tree.Prohibit | tree.Not)
            (musts if must else others).append(condition)
        if others and not any(isinstance(item, tree.Plus) for item in items):
            musts.append(others[0] if len(others) == 1 else Or(tuple(others)))
        return musts[0] if len(musts) == 1 else And(tuple(musts))

    def _field(self, item: tree.SearchField, depth: int) -> Condition:
        if item.name == _IN:
            name, values = self._lists[int(str(item.expr))]
            field = self._fields(_unescaped(name))
            return In(field, tuple(each for value in values for each in _meanings(value)))
        if item.name == "*":
            return EVERYTHING
        return self._condition(item.expr, _unescaped(item.name), depth)

    def _value(self, item: tree.Item, name: str) -> Condition:
        field = self._fields(name)
        match item:
            case tree.Range():
                return _range(field, item, number=name.endswith("_Range"))
            case tree.From() | tree.To():
                value = _bound(str(item.a).strip(), number=name.endswith("_Range"))
                open_end = not item.include
                if isinstance(item, tree.From):
                    return Range(field, low=value, low_open=open_end)
                return Range(field, high=value, high_open=open_end)
            case tree.Phrase():
                return Equal(field, _unescaped(item.value[1:-1]))
            case tree.Word():
                return self._word(field, item)
        raise self._beyond(item, f"{str(item).strip()!r}", _HINT)

    def _word(self, field: Field, item: tree.Word) -> Condition:
        word: str = item.value
        if word == _MARKED[NULL]:
            return Equal(field, None)
        if word == _MARKED[EMPTY]:
            return Equal(field, "")
        if word == "*":
            return Exists(field)
        pieces = _pieces(word)
        if len(pieces) == 1:
            return In(field, tuple(_meanings(pieces[0])))
        first, *middle, last = pieces
        if middle == [] and not last:
            return StartsWith(field, first)
        if middle == [] and not first:
            return EndsWith(field, last)
        if not first and not last and len(middle) == 1:
            return Contains(field, middle[0])
        raise self._beyond(item, f"the pattern {word!r}", "use * at the beginning or at the end, or at both")

    def _words(self, words: list[str], name: str) -> Condition:
        """`Name:(red car)`: one of these words is in the text, or is the text."""
        field = self._fields(name)
        searched = " ".join(each for each in words if "*" not in _unescaped(each).rstrip("*"))
        values = tuple(each for word in words for each in _meanings(_unescaped(word)))
        return Or((Search(field, _unescaped(searched)), In(field, values)))


def _words(item: tree.Item) -> list[str]:
    """The words of a group that has nothing else."""
    items = item.children if isinstance(item, tree.UnknownOperation) else [item]
    words = [each.value for each in items if isinstance(each, tree.Word)]
    marked = any(mark in word for word in words for mark in _MARKED.values())
    return [] if marked or len(words) < len(items) else words


def _range(field: Field, item: tree.Range, *, number: bool) -> Condition:
    low, high = str(item.low).strip(), str(item.high).strip()
    first, last = (_bound(each, number=number) for each in (low, high))
    opened: dict[str, Any] = {"low_open": not item.include_low, "high_open": not item.include_high}
    condition: Condition = Range(field, first, last, **opened)
    if any(each.startswith("Lx") for each in (low, high)):  # the ticks of a length of time are in the same field there
        condition = Or((condition, Range(Field(field.path, "duration"), first, last, **opened)))
    return condition


def _bound(text: str, *, number: bool = False) -> Any:
    if text in ("*", "NULL", _MARKED[NULL]):
        return UNSET
    if text.startswith('"'):
        return _unescaped(text[1:-1])
    found = _number.fullmatch(text)
    if found and is_number(found[1]) and (number or text[0] in "DFIL"):
        return Number(found[1])
    return _unescaped(text)


def _values(text: str) -> Iterator[str]:
    """The values of `@in<F>:(a, "b c")`."""
    for found in _listed.finditer(text):
        value = found[1]
        if value:
            yield _unescaped(value[1:-1]) if value.startswith('"') else _unescaped(value.strip())


def _meanings(term: str) -> Iterator[Any]:
    """What a term can be the text of: RavenDB has numbers and booleans as texts too."""
    if term == NULL:
        yield None
        return
    yield "" if term == EMPTY else term
    if is_number(term):
        yield Number(term)
    if term.lower() in ("true", "false"):
        yield term.lower() == "true"


def _pieces(word: str) -> list[str]:
    """A word cut at the stars that stand for anything."""
    if re.search(r"(?<!\\)(?:\\\\)*\?", word):
        raise InvalidQuery(f"'?' in {word!r} is not evaluated", "write \\? for the character itself")
    return [_unescaped(piece) for piece in re.split(r"(?<!\\)(?:\\\\)*\*", word)]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
