"""Patches of RFC 6902, as clients of RavenDB 7 send them. What they do not touch keeps its bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from muniment import json_bytes
from muniment.document import encode
from muniment.errors import InvalidInput, PatchConflict
from muniment.patching import equal

_HINT: Final = "load the document again; nothing was changed"
_Change: TypeAlias = Callable[[bytes, str], bytes]


class Step(msgspec.Struct):
    """One change: `op` is `add`, `remove`, `replace`, `move`, `copy` or `test`, paths are JSON pointers."""

    op: str
    path: str
    value: msgspec.Raw | UnsetType = UNSET
    from_: str | None = msgspec.field(name="from", default=None)


def patched(id: str, body: bytes, steps: Sequence[Step]) -> bytes:
    """The body of a document after all of these; raises `InvalidInput`, and `PatchConflict` where a test fails."""
    body = body.strip()
    for step in steps:
        match step.op:
            case "add":
                body = _added(id, body, step.path, _value(step))
            case "remove":
                body = _changed(id, body, step.path, _without)
            case "replace":
                value = _value(step)
                body = _changed(id, body, step.path, lambda of, name, value=value: _with(of, name, value))  # type: ignore[misc]
            case "move" | "copy":
                found = _found(id, body, step.from_ or "")
                if step.op == "move":
                    body = _changed(id, body, step.from_ or "", _without)
                body = _added(id, body, step.path, found)
            case "test":
                if not equal(_found(id, body, step.path), _value(step)):
                    raise PatchConflict(f"{step.path} of {id!r} does not have the value that is expected", _HINT)
            case _:
                raise InvalidInput(f"a JSON patch cannot {step.op!r}", "use add, remove, replace, move, copy or test")
    return body


def _value(step: Step) -> bytes:
    if step.value is UNSET:
        raise InvalidInput(f"{step.op} of {step.path!r} has no value", "give it one, null too")
    return bytes(step.value)


def _names(id: str, path: str) -> list[str]:
    names = [name.replace("~1", "/").replace("~0", "~") for name in path.split("/")]
    if len(names) < 2 or names[0] or names[1] == "@metadata":
        raise InvalidInput(f"a JSON patch cannot change {path!r} of {id!r}", "give a path to a member: /Lines/0/Price")
    return names[1:]


def _changed(id: str, body: bytes, path: str, change: _Change) -> bytes:
    def within(value: bytes, names: list[str]) -> bytes:
        if len(names) == 1:
            return change(value, names[0])
        return _with(value, names[0], within(_at(value, names[0]), names[1:]))

    try:
        return within(body, _names(id, path))
    except LookupError as error:
        raise InvalidInput(f"there is no {path} in {id!r}", "add it first") from error


def _found(id: str, body: bytes, path: str) -> bytes:
    value = body
    try:
        for name in _names(id, path):
            value = _at(value, name)
    except LookupError as error:
        raise InvalidInput(f"there is no {path} in {id!r}", "add it first") from error
    return value


def _added(id: str, body: bytes, path: str, value: bytes) -> bytes:
    def add(of: bytes, name: str) -> bytes:
        if of[:1] == b"[":
            items = json_bytes.elements(of)
            items.insert(len(items) if name == "-" else _place(name, len(items)), value)
            return _array(items)
        if _member(of, name) is not None:
            return _with(of, name, value)
        ends = [member.end for member in json_bytes.members(of)]
        end = ends[-1] if ends else 1
        return of[:end] + (b"," if ends else b"") + encode(name) + b":" + value + of[end:]

    return _changed(id, body, path, add)


def _member(of: bytes, name: str) -> json_bytes.Member | None:
    if of[:1] != b"{":
        raise LookupError(name)
    return next((each for each in reversed([*json_bytes.members(of)]) if each.name == name), None)


def _there(of: bytes, name: str) -> json_bytes.Member:
    if (member := _member(of, name)) is None:
        raise LookupError(name)
    return member


def _place(name: str, most: int) -> int:
    if not (name.isascii() and name.isdigit() and len(name) < 10) or int(name) > most:
        raise LookupError(name)
    return int(name)


def _at(of: bytes, name: str) -> bytes:
    if of[:1] == b"[":
        items = json_bytes.elements(of)
        return items[_place(name, len(items) - 1)]
    member = _there(of, name)
    return of[member.value : member.end]


def _with(of: bytes, name: str, value: bytes) -> bytes:
    if of[:1] == b"[":
        items = json_bytes.elements(of)
        items[_place(name, len(items) - 1)] = value
        return _array(items)
    member = _there(of, name)
    return of[: member.value] + value + of[member.end :]


def _without(of: bytes, name: str) -> bytes:
    if of[:1] == b"[":
        items = json_bytes.elements(of)
        del items[_place(name, len(items) - 1)]
        return _array(items)
    return json_bytes.without_member(of, _there(of, name))


def _array(items: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"
