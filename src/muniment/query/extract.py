"""The keys of documents: what stands at the paths of fields, without looking at more of a document than it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from muniment import json_bytes
from muniment.document import Document
from muniment.query import keys, words
from muniment.query.keys import Key, Number, decoded, key_of
from muniment.query.model import ID, METADATA, As, Field

MAX_REASON: Final = 500


class Extracted(NamedTuple):
    """The keys of a document, for each field, and the fields that failed, with the reason."""

    keys: list[list[Key]]
    faults: tuple[tuple[Field, str], ...]


class Extractor:
    """Finds the keys of these fields; with `texts`, words that are searched as one text (`words.text_of`)."""

    def __init__(self, fields: Iterable[Field], *, texts: bool = False) -> None:
        self.fields = tuple(fields)
        self._texts = texts
        self._read = _TEXTS if texts else _KEYS
        inside = [field for field in self.fields if field.path[0] not in (ID, METADATA)]
        names = list(dict.fromkeys(field.path[0] for field in inside))
        self._body = _Members(names)
        self._metadata = any(field.path[0] == METADATA for field in self.fields)
        self._places = [(names.index(field.path[0]), field.path[1:], self._read[field.kind]) for field in inside]
        self._plain = len(names) == len(inside) and all(
            len(field.path) == 1 and field.kind == "value" for field in inside
        )
        self._inside_only = len(inside) == len(self.fields)

    @property
    def body_only(self) -> bool:
        """Whether it looks at bodies only, so that `of_body` finds all."""
        return self._inside_only

    def of_body(self, body: bytes) -> list[list[Key]]:
        """For each field in the body its keys, at least one; a value that is there twice has its key twice."""
        members = self._body.of(body)
        if self._plain:  # nearly always
            return [
                [key_of(value)]
                if value is not UNSET and type(value) is not list and type(value) is not dict
                else _found(value, rest, read)
                for value, (_, rest, read) in zip(members, self._places, strict=True)
            ]
        return [_found(members[place], rest, read) for place, rest, read in self._places]

    def keys(self, document: Document) -> list[list[Key]]:
        """The same for each field."""
        found = self.of_body(document.body)
        if self._inside_only:
            return found
        inside, metadata = iter(found), metadata_of(document) if self._metadata else {}
        return [
            _found(document.id, (), self._read[field.kind])
            if field.path[0] == ID
            else _found(metadata, field.path[1:], self._read[field.kind])
            if field.path[0] == METADATA
            else next(inside)
            for field in self.fields
        ]

    def safe_keys(self, document: Document) -> Extracted:
        """The same; a field that fails has no keys, and why is told."""
        try:
            return Extracted(self.keys(document), ())
        except Exception:
            found: list[list[Key]] = []
            faults: list[tuple[Field, str]] = []
            for field in self.fields:
                try:
                    found += Extractor([field], texts=self._texts).keys(document)
                except Exception as error:
                    found.append([keys.MISSING])
                    faults.append((field, f"{type(error).__name__}: {error}"[:MAX_REASON]))
            return Extracted(found, tuple(faults))


def metadata_of(document: Document) -> dict[str, Any]:
    """The metadata, with what the database itself says of the document."""
    stored = decoded(document.metadata_json)
    said = {
        "@id": document.id,
        "@collection": document.collection or "@empty",
        "@last-modified": document.last_modified,
    }
    return {**stored, **said}


class _Members:
    """Cuts some members out of an object, without making values of the others."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        fields: list[Any] = [
            (f"m{number}", Any, msgspec.field(name=name, default=UNSET)) for number, name in enumerate(names)
        ]
        self._decode: Callable[[bytes], Any] | None = None
        with suppress(ValueError):  # some names msgspec cannot look for, as those with a quote in them
            members = msgspec.defstruct("Members", fields, gc=False)
            self._decode = msgspec.json.Decoder(members, float_hook=Number).decode

    def of(self, body: bytes) -> Sequence[Any]:
        """The members' values, `UNSET` for one that is not there."""
        if not self._names:
            return ()
        try:
            if self._decode is not None:
                try:
                    return msgspec.structs.astuple(self._decode(body))
                except msgspec.DecodeError:  # it may be valid all the same, see `decoded`
                    pass
            value = decoded(body)
            return [value.get(name, UNSET) for name in self._names]
        except RecursionError:
            return [_shallow(json_bytes.member_value(body, name)) for name in self._names]


def _shallow(value: bytes | None) -> Any:
    """The value of some JSON, or one without anything in it where it is nested too deeply to be read."""
    if value is None:
        return UNSET
    try:
        return decoded(value)
    except RecursionError:
        return {}


def _found(value: Any, path: tuple[str, ...], read: _Read) -> list[Key]:
    if value is UNSET:
        return [keys.MISSING]
    if not path and not isinstance(value, list | dict):  # nearly always
        return read(value) or [keys.MISSING]
    return [key for each in values_at(value, path) for key in read(each)] or [keys.MISSING]


def values_at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """What stands at a path below a value: the elements of arrays one by one, an empty array itself."""
    for name in path:
        if isinstance(value, list):
            for each in flat(value):
                yield from values_at(each, path)
            return
        if not isinstance(value, dict) or name not in value:
            return
        value, path = value[name], path[1:]
    if isinstance(value, list) and value:
        yield from flat(value)
    else:
        yield value


def flat(array: list[Any]) -> Iterator[Any]:
    """The elements of an array and of the arrays in it."""
    pending = [iter(array)]
    while pending:
        for each in pending[-1]:
            if isinstance(each, list):
                pending.append(iter(each))
                break
            yield each
        else:
            pending.pop()


_Read = Callable[[Any], list[Key]]


def _value(value: Any) -> list[Key]:
    return [key_of(value)]


def _as_number(value: Any) -> list[Key]:
    if isinstance(value, str) and type(value) is not Number:
        return [keys.number_key(value.strip())] if keys.is_number(value.strip()) else []
    return [keys.key_of(value)] if isinstance(value, int | Number) and not isinstance(value, bool) else []


def _as_text(value: Any) -> list[Key]:
    if isinstance(value, bool):
        value = str(value).lower()
    return [keys.text_key(str(value))] if isinstance(value, str | int) else []


def _as_duration(value: Any) -> list[Key]:
    if not isinstance(value, str) or type(value) is Number:
        return []
    ticks = keys.ticks_of(value)
    return [] if ticks is None else [keys.key_of(ticks)]


def _as_words(value: Any) -> list[Key]:
    return list(dict.fromkeys(map(keys.text_key, words.words_of(str(value))))) if isinstance(value, str | int) else []


def _as_search(value: Any) -> list[Key]:
    return words.in_order(str(value), stems=False) if isinstance(value, str | int) else []


def _as_stems(value: Any) -> list[Key]:
    return words.in_order(str(value), stems=True) if isinstance(value, str | int) else []


def _as_search_text(value: Any) -> list[Key]:
    return [words.text_of(str(value), stems=False)] if isinstance(value, str | int) else []


def _as_stems_text(value: Any) -> list[Key]:
    return [words.text_of(str(value), stems=True)] if isinstance(value, str | int) else []


_KEYS: Final[dict[As, _Read]] = {
    "value": _value,
    "number": _as_number,
    "text": _as_text,
    "duration": _as_duration,
    "words": _as_words,
    "search": _as_search,
    "stems": _as_stems,
}
_TEXTS: Final[dict[As, _Read]] = _KEYS | {"search": _as_search_text, "stems": _as_stems_text}
