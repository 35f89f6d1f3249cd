"""Filters as RavenDB's Smuggler has them: `path=value`, on the body or the metadata of a document.

In a path, a dot leads to a member, `[0]` to one element of an array, and a comma to all of its elements:
`Lines,Product` is the member Product of each element of Lines. A name that contains one of these signs stands in
brackets and quotes: `['Order.Total']`. A value is compared as text, without case, and may contain the wildcards `*` and
`?`; alternatives are separated by commas, and one that contains a comma stands in single quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

import msgspec

from muniment import json_bytes
from muniment.document import ENTITY_NAME, LAST_MODIFIED, collection_of, encode, fold, texts_in
from muniment.errors import InvalidInput
from muniment.json_bytes import OPEN_ARRAY, OPEN_OBJECT, QUOTE
from muniment.smuggler.metadata import EXPIRES, INTERNAL

# The names of RavenDB 4 and later for metadata that is stored under RavenDB 3's names.
_LATER_NAMES: Final = {"@collection": ENTITY_NAME, "@last-modified": LAST_MODIFIED, "@expires": EXPIRES}
ID: Final = "@id"
COLLECTION: Final = "@collection"
_NAMING: Final = {"@id": ID, "@collection": COLLECTION, ENTITY_NAME.lower(): COLLECTION}
_LENGTHS: Final = ("Count", "count", "Length", "length")
_step = re.compile(r"\[(\d{1,9})\]|\((\d{1,9})\)|\.?\['([^']+)'\]|(?:^|\.)([^][().]+)")
_part = re.compile(r"(?:\['[^']*'\]|[^,])+")
_alternative = re.compile(r"'[^']+'|[^,]+")
_string = msgspec.json.Decoder(str)

Step = str | int


class Name(NamedTuple):
    """An id or a collection (see `member`) that a filter names; the pattern must match all of it."""

    member: str
    text: str
    pattern: re.Pattern[str]

    @property
    def plain(self) -> bool:
        """Whether comparing in lower case is enough."""
        return self.text.isascii() and not set("*?") & set(self.text)


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition; a document is carried only if it meets all of them.

    A negative filter is met by a document without the value; where the path leads to several values, one that differs
    is enough, as in RavenDB.
    """

    text: str
    on_metadata: bool = False
    negative: bool = False
    _path: tuple[tuple[Step, ...], ...] = field(init=False, repr=False, compare=False)
    _values: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _numbers: frozenset[Decimal] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises `InvalidInput` for a filter that cannot be parsed, or that no document could ever meet."""
        path, equals, values = self.text.partition("=")
        alternatives = [found.removeprefix("'").removesuffix("'") for found in _alternative.findall(values)]
        if not path.strip() or not equals or not alternatives:
            raise _refused(self.text, "has no path and value", "write path=value, for example Raven-Entity-Name=Orders")
        steps = tuple(_steps(part, self.text) for part in _part.findall(path.strip()))
        if not steps:
            raise _refused(self.text, "has no path", "write path=value, for example Lines,Product=products/1")
        if self.on_metadata and str(steps[0][0]).lower() in INTERNAL - {"@id"}:
            raise _refused(self.text, f"asks for {steps[0][0]}, which Muniment does not store", "use another member")
        object.__setattr__(self, "_path", steps)
        object.__setattr__(self, "_values", _compiled("|".join(map(_pattern, alternatives))))
        numbers = frozenset(number for text in alternatives if (number := _number(text)) is not None)
        object.__setattr__(self, "_numbers", numbers)

    @property
    def names(self) -> list[Name]:
        """The ids or collections that it names, one by one; none if it is about another member, or is negative."""
        first, *more = self._path
        steps = first[1:] if not self.on_metadata and first[0] == "@metadata" else first if self.on_metadata else ()
        member = _NAMING.get(str(steps[0]).lower()) if len(steps) == 1 and not more else None
        if member is None or self.negative:
            return []
        values = self.text.partition("=")[2]
        alternatives = (found.removeprefix("'").removesuffix("'") for found in _alternative.findall(values))
        texts = (text for alternative in alternatives for text in alternative.split("|") if text)
        return [Name(member, text, _compiled(_pattern(text))) for text in texts]

    def accepts(self, id: str, metadata: bytes, body: bytes) -> bool:
        """Whether the document meets it."""
        if self.on_metadata:
            found = self._in_metadata(id, metadata)
        elif self._path[0][0] == "@metadata" and len(self._path[0]) > 1:
            found = self._in_metadata(id, metadata, 1)
        else:
            found = _values_at(body.lstrip(), self._path)
        matches = [self._matches(value) for value in found]
        return not matches or not all(matches) if self.negative else any(matches)

    def _in_metadata(self, id: str, metadata: bytes, skipped: int = 0) -> Iterator[bytes]:
        first, *more = self._path
        name, *rest = first[skipped:]
        name = str(name)
        if name.lower() == "@id":
            value: bytes | None = encode(id)
        else:
            wanted = _LATER_NAMES.get(name.lower(), name).lower()
            value = {name.lower(): value for name, value in json_bytes.member_values(metadata.lstrip()).items()}.get(
                wanted
            )
        return iter(()) if value is None else _values_at(value, (tuple(rest), *more))

    def _matches(self, value: bytes) -> bool:
        text = _text(value)
        if self._values.fullmatch(text):
            return True
        return bool(self._numbers) and value[0] in b"-0123456789" and _number(text) in self._numbers


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A part of a database; a document is carried if it is in a collection, or its id is one of these or begins so.

    Case is ignored. As where a part is restored, what nothing is found for is an error.
    """

    collections: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    _collections: frozenset[str] = field(init=False, repr=False, compare=False)
    _ids: frozenset[str] = field(init=False, repr=False, compare=False)
    _prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises `InvalidInput` for an empty name."""
        if not all((*self.collections, *self.ids, *self.prefixes)):
            raise InvalidInput("a collection, id or prefix to export is empty", "leave it out")
        object.__setattr__(self, "_collections", frozenset(map(fold, self.collections)))
        object.__setattr__(self, "_ids", frozenset(map(fold, self.ids)))
        object.__setattr__(self, "_prefixes", tuple(map(fold, self.prefixes)))

    @classmethod
    def of(cls, collections: Iterable[str], ids: Iterable[str], prefixes: Iterable[str]) -> list[AnyOf]:
        """The one filter of these names, none when nothing was named."""
        told = {"collections": collections, "ids": ids, "prefixes": prefixes}
        found = [texts_in(given, what) for what, given in told.items()]
        return [cls(*found)] if any(found) else []

    @property
    def text(self) -> str:
        """What is said of it."""
        return " or ".join(name.text for name in self.names)

    @property
    def names(self) -> list[Name]:
        """All that it names; of a prefix it is enough that one id begins so."""
        return [
            *(Name(COLLECTION, text, _compiled(re.escape(text))) for text in self.collections),
            *(Name(ID, text, _compiled(re.escape(text))) for text in self.ids),
            *(Name(ID, f"{text}*", _compiled(f"{re.escape(text)}.*")) for text in self.prefixes),
        ]

    def accepts(self, id: str, metadata: bytes, body: bytes) -> bool:
        """Whether the document is in it."""
        key = fold(id)
        if key in self._ids or (self._prefixes and key.startswith(self._prefixes)):
            return True
        return bool(self._collections) and fold(collection_of(metadata) or "") in self._collections


def _refused(text: str, what: str, hint: str) -> InvalidInput:
    return InvalidInput(f"the filter {text!r} {what}", hint)


def _steps(part: str, text: str) -> tuple[Step, ...]:
    """The members and indexes in a path without a comma."""
    steps: list[Step] = []
    end = 0
    while end < len(part):
        found = _step.match(part, end)
        if not found:
            raise _refused(text, f"has an invalid path, at {part[end:]!r}", "write it like Lines[0].Product")
        index = found[1] or found[2]
        steps.append(int(index) if index else found[3] or found[4])
        end = found.end()
    return tuple(steps)


def _pattern(value: str) -> str:
    """The regular expression of a value with wildcards; `|` separates alternatives, as in RavenDB 3.5."""
    escaped = (re.escape(part).replace(r"\*", ".*").replace(r"\?", ".") for part in value.split("|") if part)
    return "|".join(escaped) or "(?!)"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def _number(text: str) -> Decimal | None:
    with suppress(InvalidOperation):
        number = Decimal(text)
        return number if number.is_finite() else None
    return None


def _values_at(value: bytes, path: tuple[tuple[Step, ...], ...]) -> Iterator[bytes]:
    """The values that the path leads to; one that is not there gives nothing, as in RavenDB."""
    first, *more = path
    for step in first:
        found = _at(value, step)
        if found is None:
            return
        value = found
    if not more:
        yield value
        return
    if value[0] == OPEN_OBJECT:
        value = _at(value, "$values") or value  # how .NET writes a collection whose type it names
    for element in json_bytes.elements(value) if value[0] == OPEN_ARRAY else ():
        yield from _values_at(element, tuple(more))


def _at(value: bytes, step: Step) -> bytes | None:
    if isinstance(step, str):
        if value[0] == OPEN_OBJECT:
            return json_bytes.member_value(value, step)
        return b"%d" % len(json_bytes.elements(value)) if value[0] == OPEN_ARRAY and step in _LENGTHS else None
    if value[0] != OPEN_ARRAY:
        return None
    elements = json_bytes.elements(value)
    return elements[step] if step < len(elements) else None


def _text(value: bytes) -> str:
    """What a value is compared by: a string's text; for anything else, its JSON without white space."""
    if value[0] == QUOTE:
        try:
            return _string.decode(value)
        except msgspec.DecodeError:
            return str(json.loads(value))
    if value[0] in (OPEN_OBJECT, OPEN_ARRAY):
        with suppress(msgspec.DecodeError):
            value = msgspec.json.format(value, indent=-1)
    return value.decode()
