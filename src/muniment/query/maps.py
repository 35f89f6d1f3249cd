"""The maps of RavenDB's indexes, written in C#: which fields of which collection one has, where it says no more.

    from order in docs.Orders select new { order.Company, City = order.ShipTo.City, Tag = order["@metadata"]["Tag"] }

Casts are passed over, `order.Lines.Select(line => line.Product)` is the path of that, and `new object[] {…}` is all of
these. What else there may be is known by its text only.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from muniment.errors import InvalidInput
from muniment.query.model import ID, METADATA


class Path(NamedTuple):
    """What stands at a path of the document."""

    path: tuple[str, ...]


class Several(NamedTuple):
    """All of these are values of the field."""

    items: tuple[Value, ...]


class Joined(NamedTuple):
    """Texts one after the other: of what stands at paths, and as they are."""

    items: tuple[Path | str, ...]


class Unknown(NamedTuple):
    """C# that is not evaluated."""

    text: str


Value: TypeAlias = Path | Several | Joined | Unknown


class Map(NamedTuple):
    """The collection of a map, None for all documents, and its fields."""

    collection: str | None
    fields: dict[str, Value]


_token: Final = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*|/\*.*?\*/)+)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<name>@?[^\W\d]\w*)|(?P<other>=>|.)""",
    re.VERBOSE | re.DOTALL,
)
# What C# computes of a value, which is not a member of the document.
_COMPUTED: Final = frozenset("Count Length Ticks Year Month Day Hour Minute Second Date TimeOfDay DayOfWeek".split())
_MOST: Final = 64 << 10
_METADATA: Final = {"Last-Modified": "@last-modified", "Raven-Last-Modified": "@last-modified"}


class NoProjection(InvalidInput):
    """A map that is more than a projection; the message says what of it."""


def map_of(text: str) -> Map:
    """The collection and fields of a map; raises `NoProjection` for what they do not say all of."""
    if len(text) > _MOST:
        raise NoProjection("is longer than 64 KiB")
    return _Parser(text).map()


class MapReader(ABC):
    """Reads a map word by word, as far as its language does not matter. Words are told apart by a pattern's groups.

    The groups are `space`, which is passed over, `text` in quotes, `name` and `other`.
    """

    def __init__(self, text: str, words: re.Pattern[str]) -> None:
        found = [(str(match.lastgroup), match[0], match.start()) for match in words.finditer(text)]
        self._tokens = [(kind, said, place) for kind, said, place in found if kind != "space"]
        self._tokens.append(("end", "", len(text)))
        self._text = text
        self._at = 0

    @abstractmethod
    def _value(self) -> Value: ...

    @property
    def _said(self) -> str:
        kind, said, _ = self._tokens[self._at]
        return "" if kind == "text" else said

    def _take(self, *said: str) -> bool:
        following = self._tokens[self._at : self._at + len(said)]
        if [(kind != "text", word) for kind, word, _ in following] != [(True, word) for word in said]:
            return False
        self._at += len(said)
        return True

    def _expect(self, *said: str) -> None:
        for each in said:
            if not self._take(each):
                raise self._more()

    def _more(self) -> NoProjection:
        _, said, place = self._tokens[self._at]
        return NoProjection(f"has {said!r} at character {place + 1}" if said else "ends too early")

    def _word(self, wanted: str) -> str:
        kind, said, _ = self._tokens[self._at]
        if kind != wanted:
            raise self._more()
        self._at += 1
        return said

    def _end(self) -> None:
        self._take(";")
        if self._tokens[self._at][0] != "end":
            raise self._more()

    def _field(self) -> Value:
        """A value up to the next comma or bracket; if there is more than is known here, it is `Unknown`."""
        start = self._at
        try:
            value = self._value()
            if self._said in (",", "}"):
                return value
        except (NoProjection, RecursionError):
            pass
        self._at, depth = start, 0
        while depth or self._said not in (",", "}"):
            kind, said, _ = self._tokens[self._at]
            if kind == "end":
                raise self._more()
            if kind == "other":
                depth += (said in "([{") - (said in ")]}")
            self._at += 1
        return Unknown(self._text[self._tokens[start][2] : self._tokens[self._at][2]].strip())


class _Parser(MapReader):
    def __init__(self, text: str) -> None:
        super().__init__(text, _token)
        self._document = ""

    def map(self) -> Map:
        if self._take("from"):
            self._document = self._name()
            self._expect("in")
            collection = self._source()
            self._expect("select")
            fields = self._object()
        else:
            collection = self._source()
            self._expect(".")
            self._expect("Select")
            self._expect("(")
            bracketed = self._take("(")
            self._document = self._name()
            if bracketed:
                self._expect(")")
            self._expect("=>")
            fields = self._object()
            self._expect(")")
        self._end()
        return Map(collection, fields)

    def _name(self) -> str:
        return self._word("name").removeprefix("@")

    def _source(self) -> str | None:
        self._expect("docs")
        if self._take("["):
            name = self._quoted()
            self._expect("]")
            return name
        if self._said == "." and self._tokens[self._at + 1][1] != "Select":
            self._at += 1
            return self._name()
        return None

    def _quoted(self) -> str:
        return re.sub(r"\\(.)", r"\1", self._word("text")[1:-1], flags=re.DOTALL)

    def _object(self) -> dict[str, Value]:
        self._expect("new")
        self._expect("{")
        fields: dict[str, Value] = {}
        while not self._take("}"):
            name = ""
            if self._tokens[self._at + 1][1] == "=":
                name = self._name()
                self._at += 1
            value = self._field()
            if not name:
                if not isinstance(value, Path):
                    raise self._more()
                name = value.path[-1]
            fields[name] = value
            if not self._take(",") and self._said != "}":
                raise self._more()
        return fields

    def _value(self) -> Value:
        values = [self._one()]
        while self._take("+"):
            values.append(self._one())
        if len(values) == 1 and not isinstance(values[0], str):
            return values[0]
        return Joined(tuple(self._parts(values)))

    def _parts(self, values: list[Value | str]) -> Iterator[Path | str]:
        for value in values:
            if isinstance(value, Path | str):
                yield value
            elif isinstance(value, Joined):
                yield from value.items
            else:
                raise self._more()

    def _one(self) -> Value | str:
        if self._tokens[self._at][0] == "text":
            return self._quoted()
        if self._take("new"):
            return self._array()
        if self._take("("):
            if self._is_cast():
                self._at += 2
                return self._one()
            value = self._value()
            self._expect(")")
            return value
        return self._path()

    def _is_cast(self) -> bool:
        """Whether a type stands here: a name and a bracket that are not the document itself."""
        kind, said, _ = self._tokens[self._at]
        return kind == "name" and said != self._document and self._tokens[self._at + 1][1] == ")"

    def _array(self) -> Several:
        self._take("object") or self._take("string")
        for said in "[]{":
            self._expect(said)
        items: list[Value] = []
        while not self._take("}"):
            value = self._value()
            if not isinstance(value, Path | Several):
                raise self._more()
            items.append(value)
            if not self._take(",") and self._said != "}":
                raise self._more()
        return Several(tuple(items))

    def _path(self, of: str = "") -> Path:
        if self._name() != (of or self._document):
            raise self._more()
        names: list[str] = []
        while True:
            if self._take("."):
                names.append(self._name())
                if names[-1] in ("Select", "SelectMany") and self._said == "(":
                    return Path((*names[:-1], *self._of_each()))
            elif self._take("["):
                names.append(self._quoted())
                self._expect("]")
            else:
                break
        if names[:1] == ["__document_id"] and len(names) == 1:
            return Path((ID,))
        if not names or self._said == "(" or (len(names) > 1 and names[-1] in _COMPUTED):
            raise self._more()
        if names[0] == METADATA:
            names[1:2] = [_METADATA.get(name, name) for name in names[1:2]]
        return Path(tuple(names))

    def _of_each(self) -> tuple[str, ...]:
        """The path within each element of an array: `(line => line.Product)`."""
        self._expect("(")
        bracketed = self._take("(")
        element = self._name()
        if bracketed:
            self._expect(")")
        self._expect("=>")
        path = self._path(element).path
        self._expect(")")
        return path
