"""The maps of RavenDB 4 and later that are written in JavaScript, where they only say which fields a document has.

    map("Orders", o => ({ Company: o.Company, City: o.ShipTo.City, Products: o.Lines.map(l => l.Product) }))

They are read, and never run: what a script would do with a value it has looked at cannot be told from its result. What
else there may be in a field is known by its text only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from muniment.query.maps import Map, MapReader, NoProjection, Path, Several, Value
from muniment.query.model import ID, METADATA

T = TypeVar("T")

_MOST: Final = 64 << 10
_begin: Final = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*map\s*\(", re.DOTALL)
_token: Final = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*|/\*.*?\*/)+)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`\\$]*`)
    |(?P<name>[A-Za-z_$][\w$]*)
    |(?P<other>=>|\?\.|.)""",
    re.VERBOSE | re.DOTALL,
)
_escape: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}
# What JavaScript has of any array or text, which is not a member of the document.
_COMPUTED: Final = frozenset({"length"})


def is_map(text: str) -> bool:
    """Whether a map is written in JavaScript."""
    return _begin.match(text) is not None


def map_of(text: str) -> Map:
    """The collection and fields of a map; raises `NoProjection` for what they do not say all of."""
    if len(text) > _MOST:
        raise NoProjection("is longer than 64 KiB")
    return _Parser(text).map()


class _Parser(MapReader):
    def __init__(self, text: str) -> None:
        super().__init__(text, _token)
        self._variables: dict[str, tuple[str, ...]] = {}  # what each stands for, as a path into the document

    def _name(self) -> str:
        return self._word("name")

    def _quoted(self) -> str:
        return _escape.sub(_meant, self._word("text")[1:-1])

    # The map, and the functions in it.

    def map(self) -> Map:
        self._expect("map", "(")
        collection = self._quoted()
        self._expect(",")
        fields = self._function((), self._object)
        self._take(",")
        self._expect(")")
        self._end()
        return Map(None if collection.lower() == "@all_docs" else collection, fields)

    def _function(self, of: tuple[str, ...], result: Callable[[], T]) -> T:
        """What a function of one parameter, which stands for what is at a path, gives."""
        named = self._take("function")
        if named and self._tokens[self._at][0] == "name":
            self._at += 1
        bracketed = self._take("(")
        if named and not bracketed:
            raise self._more()
        name = self._name()
        if bracketed:
            self._expect(")")
        if not named:
            self._expect("=>")
        before, self._variables = self._variables, {**self._variables, name: of}
        try:
            if named or self._said == "{":
                self._expect("{")
                self._expect("return")
                found = result()
                self._take(";")
                self._expect("}")
                return found
            return self._bracketed(result)
        finally:
            self._variables = before

    def _bracketed(self, result: Callable[[], T]) -> T:
        if not self._take("("):
            return result()
        found = self._bracketed(result)
        self._expect(")")
        return found

    def _object(self) -> dict[str, Value]:
        self._expect("{")
        fields: dict[str, Value] = {}
        while not self._take("}"):
            kind, _, _ = self._tokens[self._at]
            name = self._quoted() if kind == "text" else self._name()
            self._expect(":")
            fields[name] = self._field()
            if not self._take(",") and self._said != "}":
                raise self._more()
        return fields

    # Values.

    def _value(self) -> Value:
        if self._take("("):
            value = self._value()
            self._expect(")")
            return value
        if self._take("["):
            return self._array()
        if self._take("id", "("):
            self._document()
            return Path((ID,))
        if self._take("getMetadata", "("):
            self._document()
            return self._path((METADATA,), least=2)
        name = self._name()
        if name not in self._variables:
            self._at -= 1
            raise self._more()
        return self._path(self._variables[name])

    def _document(self) -> None:
        name = self._name()
        if self._variables.get(name) != ():
            raise self._more()
        self._expect(")")

    def _array(self) -> Several:
        items: list[Value] = []
        while not self._take("]"):
            items.append(self._value())
            if not self._take(",") and self._said != "]":
                raise self._more()
        return Several(tuple(items))

    def _path(self, of: tuple[str, ...], least: int = 1) -> Path:
        names = list(of)
        while True:
            if self._take(".", "map", "(") or self._take("?.", "map", "("):
                found = self._function(tuple(names), self._value)
                self._expect(")")
                if not isinstance(found, Path):
                    raise self._more()
                return found
            if self._take(".") or (self._said == "?." and self._tokens[self._at + 1][0] == "name" and self._take("?.")):
                names.append(self._name())
            elif self._take("[") or self._take("?.", "["):
                names.append(self._quoted())
                self._expect("]")
            else:
                break
        if len(names) < least or self._said == "(" or (len(names) > 1 and names[-1] in _COMPUTED):
            raise self._more()
        return Path(tuple(names))


def _meant(escape: re.Match[str]) -> str:
    said = escape[1]
    return chr(int(said[1:], 16)) if len(said) > 1 else _ESCAPES.get(said, said)
