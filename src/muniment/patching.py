"""Patches: a document is changed in the database, by commands that say which members to change, as in RavenDB 3.

What a command does not touch keeps its bytes, white space too. A name is that of a member of the object that is
patched, and no path: what is further inside is reached with `Modify` and the commands in its `Nested`. A command whose
name is `@metadata` changes the metadata.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from muniment import json_bytes
from muniment.command import Command, Put, check_etag, write_of
from muniment.document import Document, check_id, decode, encode, fold, metadata_bytes
from muniment.errors import ConcurrencyConflict, DocumentNotFound, InvalidInput, PatchConflict
from muniment.json_bytes import CLOSE_ARRAY, COMMA, OPEN_ARRAY, OPEN_OBJECT
from muniment.revision import DOCUMENT, NO_METADATA
from muniment.scripting import Script, Scripted
from muniment.storage.base import Write

METADATA: Final = "@metadata"
TYPES: Final = ("Set", "Unset", "Add", "Insert", "Remove", "Modify", "Inc", "Copy", "Rename")
MANY: Final = 10_000  # commands of a patch, nested ones too
_EXACT: Final = Context(prec=60)

Span: TypeAlias = tuple[int, int]


class PatchCommand(msgspec.Struct, frozen=True, rename="pascal"):
    """One change to an object; `type` is one of `TYPES`, or its place among them.

    | type | does |
    |---|---|
    | `Set` | gives the member this value |
    | `Unset` | removes the member, if it is there |
    | `Add` | puts the value at the end of the array, which is made if it is not there |
    | `Insert` | puts the value at this position of the array |
    | `Remove` | removes the element at this position of the array, or the first that is equal to the value |
    | `Modify` | patches the object with the commands in `nested`; of an array the element at this position, or all |
    | `Inc` | adds the value to the number, exactly; a member that is not there gets the value |
    | `Copy`, `Rename` | gives what the member has to the one that the value names |

    With `prev_val`, the member must have that value now: else nothing is done, and `PatchConflict` is raised.
    """

    name: str
    type: str | int = "Set"
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prev_val: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    position: int | None = None
    all_positions: bool | None = None
    nested: list[PatchCommand] | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Change a document by commands, each a `PatchCommand` or a dict with its members, as RavenDB writes them.

    `etag` is the etag that the document must have now, None for whatever it is. If there is no document, nothing is
    done; with `if_missing`, an empty one with this `metadata` is made and changed by these commands.

    In place of commands there may be a script. What it says is in `told` then.
    """

    id: str
    commands: Changes
    etag: int | None = None
    if_missing: Changes | None = None
    metadata: bytes = NO_METADATA
    told: list[str] = field(default_factory=list, compare=False)


Changes: TypeAlias = Sequence[PatchCommand | Mapping[str, Any]] | Script | Scripted


def patch_commands(given: Iterable[PatchCommand | Mapping[str, Any]]) -> list[PatchCommand]:
    """The commands; raises `InvalidInput` for what is none."""
    if isinstance(given, Mapping | str | bytes) or not isinstance(given, Iterable):
        raise InvalidInput("a patch is a list of commands", 'write [{"Type": "Set", "Name": "Total", "Value": 1}]')
    try:
        commands = [
            each if isinstance(each, PatchCommand) else msgspec.json.decode(encode(each), type=PatchCommand)
            for each in given
        ]
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"this is no command of a patch: {error}", "see docs/patches.md") from error
    for number, command in enumerate(_all(commands), 1):
        if number > MANY:
            raise InvalidInput(f"the patch has more than {MANY:,} commands", "patch in several steps")
        _type(command)
    return commands


def patched(id: str, metadata: bytes, body: bytes, commands: Iterable[PatchCommand]) -> tuple[bytes, bytes]:
    """The metadata and body of a document with these changes; raises `InvalidInput`, or `PatchConflict`."""
    for command in commands:
        if command.name != METADATA:
            body = _Object(id, body).changed(command)
            continue
        if _type(command) not in ("Set", "Modify"):
            raise InvalidInput(f"a patch cannot {_type(command)} the @metadata", "use Modify with Nested, or Set")
        shell = _Object(id, b'{"@metadata":' + metadata + b"}").changed(command)
        metadata = metadata_bytes(json_bytes.member_value(shell, METADATA) or b"null")
    return metadata, body


def resolved(
    get: Callable[[str], Document | None], commands: Iterable[Command | Patch | Write]
) -> list[Command | Write | None]:
    """The commands with a `Put` in place of each `Patch`; None for one of a document that is not there.

    A `Put` is for the version that was read: if that is changed before it is written, there is a conflict. A patch of
    what an earlier command of the same batch writes changes that. What scripts put and delete beside comes at the end.
    """
    with ExitStack() as stack:
        return _resolved(get, commands, _Scripts(stack))


class _Scripts:
    """The scripts of a batch: each has one process, however many documents it is for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._ready: dict[bytes, Scripted] = {}

    def ready(self, script: Script | Scripted) -> Scripted:
        if isinstance(script, Scripted):
            return script
        key = encode(msgspec.to_builtins(script))
        if key not in self._ready:
            self._ready[key] = self._stack.enter_context(Scripted(script))
        return self._ready[key]


def _resolved(
    get: Callable[[str], Document | None], commands: Iterable[Command | Patch | Write], scripts: _Scripts
) -> list[Command | Write | None]:
    others: list[Command] = []
    made: dict[str, tuple[bytes, bytes] | None] = {}
    done: list[Command | Write | None] = []
    for command in commands:
        if not isinstance(command, Patch):
            done.append(command)
            write = command if isinstance(command, Write) else write_of(command)
            if write.kind == DOCUMENT:
                made[fold(write.id)] = None if write.body is None else (write.metadata, write.body)
            continue
        check_id(command.id)
        check_etag(command.etag)
        key, etag = fold(command.id), command.etag
        if key not in made:
            found = get(command.id)
            if etag is not None and etag != (found.etag if found else 0):
                raise ConcurrencyConflict(command.id, etag, found.etag if found else 0)
            made[key] = (found.metadata_json, found.body) if found else None
            etag = found.etag if found else None
        present, changes = made[key], command.commands
        if present is None:
            if command.if_missing is None:
                done.append(None)
                continue
            present, changes, etag = (metadata_bytes(command.metadata), b"{}"), command.if_missing, 0
        if isinstance(changes, Script | Scripted):
            after = scripts.ready(changes).run(get, command.id, *present)
            command.told[:] = after.told
            others += after.others
            made[key] = present = (after.metadata, after.body)
        else:
            made[key] = present = patched(command.id, *present, patch_commands(changes))
        done.append(Put(command.id, present[1], present[0], etag))
    return [*done, *others]


def missing(id: str) -> DocumentNotFound:
    """The error for a patch of a document that is not there."""
    return DocumentNotFound(f"there is no document {id!r} to patch", "store it first")


def _all(commands: Iterable[PatchCommand]) -> Iterator[PatchCommand]:
    pending = list(commands)
    for command in pending:  # which grows meanwhile
        pending += command.nested or ()
        yield command


def _type(command: PatchCommand) -> str:
    told = command.type
    if isinstance(told, int) and 0 <= told < len(TYPES):
        return TYPES[told]
    found = next((type for type in TYPES if type.lower() == str(told).lower()), None)
    if found is None:
        raise InvalidInput(f"{told!r} is no type of a command of a patch", f"use one of {', '.join(TYPES)}")
    return found


class _Found(NamedTuple):
    """The member that a command names, and the bytes of its value, None if it is not there."""

    member: json_bytes.Member | None
    value: bytes | None


class _Object:
    """A JSON object that is being patched; `place` says in messages where it is."""

    def __init__(self, place: str, data: bytes) -> None:
        start = len(data) - len(data.lstrip(b" \t\r\n"))
        self._place, self._before, self._data = place, data[:start], data[start:]

    def changed(self, command: PatchCommand) -> bytes:
        """The bytes of the object with this change."""
        if not command.name:
            raise InvalidInput("a command of a patch names no member", "give its Name")
        found = self._find(command.name)
        self._check_previous(command, found)
        match _type(command):
            case "Set":
                data = self._set(command.name, self._value(command))
            case "Unset":
                data = self._without(found)
            case "Inc":
                data = self._set(command.name, self._sum(command, found))
            case "Copy":
                data = self._data if found.value is None else self._set(self._target(command), found.value)
            case "Rename":
                data = self._renamed(command, found)
            case "Modify":
                data = self._modified(command, found)
            case "Add":
                data = self._with_array(command, found, lambda array: array.inserted(None, self._value(command)))
            case "Insert":
                at = self._at(command)
                data = self._with_array(command, found, lambda array: array.inserted(at, self._value(command)))
            case _:
                data = self._with_array(command, found, lambda array: self._removed(command, array))
        return self._before + data

    def _what(self, command: PatchCommand) -> str:
        return f"{command.name!r} of {self._place!r}"

    def _find(self, name: str) -> _Found:
        found = None
        for member in json_bytes.members(self._data):  # the last one, as every reader of JSON takes it
            found = member if member.name == name else found
        return _Found(found, self._data[found.value : found.end] if found else None)

    def _check_previous(self, command: PatchCommand, found: _Found) -> None:
        if command.prev_val is msgspec.UNSET:
            return
        if found.value is None or not equal(found.value, bytes(command.prev_val)):
            raise PatchConflict(
                f"{self._what(command)} is {_short(found.value)}, and not {_short(bytes(command.prev_val))}",
                "load the document again, and patch it as it is now; nothing was changed",
            )

    def _value(self, command: PatchCommand) -> bytes:
        if command.value is msgspec.UNSET:
            raise InvalidInput(f"the command for {self._what(command)} has no Value", "give it one, null too")
        return bytes(command.value)

    def _set(self, name: str, value: bytes) -> bytes:
        data = self._data
        if (found := self._find(name).member) is not None:
            return data[: found.value] + value + data[found.end :]
        ends = [member.end for member in json_bytes.members(data)]
        end = ends[-1] if ends else 1
        return data[:end] + (b"," if ends else b"") + encode(name) + b":" + value + data[end:]

    def _without(self, found: _Found) -> bytes:
        return self._data if found.member is None else json_bytes.without_member(self._data, found.member)

    def _target(self, command: PatchCommand) -> str:
        told = decode(self._value(command))
        if not isinstance(told, str) or not told:
            raise InvalidInput(f"the Value of {self._what(command)} names no member", "give the new name as text")
        return told

    def _renamed(self, command: PatchCommand, found: _Found) -> bytes:
        target = self._target(command)
        if found.member is None or found.value is None or target == command.name:
            return self._data
        if self._find(target).member is None:  # it stays where it is
            before_value = self._data[: found.member.value].rstrip(b" \t\r\n").removesuffix(b":").rstrip(b" \t\r\n")
            return self._data[: found.member.start] + encode(target) + self._data[len(before_value) :]
        shorter = _Object(self._place, self._without(found))
        return shorter._set(target, found.value)

    def _sum(self, command: PatchCommand, found: _Found) -> bytes:
        more = self._value(command)
        numbers = [] if found.value in (None, b"null") else [found.value]
        total = Decimal(0)
        for text in (*numbers, more):
            value = decode(text or b"null")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InvalidInput(f"{self._what(command)} cannot be increased: {_short(text)} is no number", "use Set")
        try:
            total = sum((Decimal((text or b"0").decode()) for text in numbers), Decimal(0))
            exact = _EXACT.add(total, Decimal(more.decode()))
        except InvalidOperation as error:
            raise InvalidInput(f"{self._what(command)} cannot be increased by {_short(more)}", "use Set") from error
        return more if not numbers else str(exact).encode()

    def _modified(self, command: PatchCommand, found: _Found) -> bytes:
        if command.nested is None:
            raise InvalidInput(f"the command Modify of {self._what(command)} has no Nested", "give the commands for it")
        if found.value is None:
            raise InvalidInput(f"there is no {self._what(command)} to modify", "use Set")
        if found.value[0] == OPEN_OBJECT:
            return self._set(command.name, _nested(self._what(command), found.value, command.nested))
        array = _Array(self._what(command), found.value)
        if not command.all_positions and command.position is None:
            raise InvalidInput(f"{self._what(command)} is an array", "give a Position, or AllPositions")
        places = range(len(array.spans)) if command.all_positions else [self._at(command)]
        for at in places:
            start, end = array.span(at)
            array = _Array(array.place, array.replaced(at, _nested(array.place, array.data[start:end], command.nested)))
        return self._set(command.name, array.data)

    def _at(self, command: PatchCommand) -> int:
        if command.position is None:
            raise InvalidInput(f"the command for {self._what(command)} has no Position", "give one, from 0")
        return command.position

    def _with_array(self, command: PatchCommand, found: _Found, change: Callable[[_Array], bytes]) -> bytes:
        return self._set(command.name, change(_Array(self._what(command), found.value or b"[]")))

    def _removed(self, command: PatchCommand, array: _Array) -> bytes:
        value = None if command.value is msgspec.UNSET else bytes(command.value)
        if command.position is not None and value in (None, b"null"):  # RavenDB's own client always sends a Value
            return array.without(command.position)
        if command.position is not None or value is None:
            raise InvalidInput(f"what to remove of {self._what(command)} is not clear", "give a Position or a Value")
        at = next((i for i, (start, end) in enumerate(array.spans) if equal(array.data[start:end], value)), None)
        return array.data if at is None else array.without(at)


class _Array:
    """A JSON array that is being patched, and where its elements stand."""

    def __init__(self, place: str, data: bytes) -> None:
        if data[0] != OPEN_ARRAY:
            raise InvalidInput(f"{place} is no array, but {_short(data)}", "use Set")
        self.place, self.data = place, data
        self.spans: list[Span] = []
        start = json_bytes.skip_space(data, 1)
        while data[start] != CLOSE_ARRAY:
            end = json_bytes.value_end(data, start)
            self.spans.append((start, end))
            start = json_bytes.skip_space(data, end)
            if data[start] == COMMA:
                start = json_bytes.skip_space(data, start + 1)

    def span(self, at: int) -> Span:
        """Where an element stands; raises `InvalidInput` when there is none at this position."""
        if not 0 <= at < len(self.spans):
            raise InvalidInput(f"{self.place} has no position {at}, but {len(self.spans)} elements", "count from 0")
        return self.spans[at]

    def inserted(self, at: int | None, value: bytes) -> bytes:
        """With this value before the element at a position, or at the end."""
        if at is None or at == len(self.spans):
            end = self.spans[-1][1] if self.spans else 1
            return self.data[:end] + (b"," if self.spans else b"") + value + self.data[end:]
        start, _ = self.span(at)
        return self.data[:start] + value + b"," + self.data[start:]

    def replaced(self, at: int, value: bytes) -> bytes:
        """With this value in place of an element."""
        start, end = self.span(at)
        return self.data[:start] + value + self.data[end:]

    def without(self, at: int) -> bytes:
        """Without an element."""
        start, end = self.span(at)
        if at > 0:
            start = self.spans[at - 1][1]
        elif len(self.spans) > 1:
            end = self.spans[1][0]
        return self.data[:start] + self.data[end:]


def _nested(place: str, data: bytes, commands: Iterable[PatchCommand]) -> bytes:
    if data[0] != OPEN_OBJECT:
        raise InvalidInput(f"{place} is no object, but {_short(data)}", "use Set")
    for command in commands:
        data = _Object(place, data).changed(command)
    return data


def equal(one: bytes, other: bytes) -> bool:
    """Whether these are the same JSON value, however it is written."""
    return one == other or _same(decode(one), decode(other))


def _same(one: Any, other: Any) -> bool:
    """Whether these are equal JSON; in Python `True == 1`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _short(data: bytes | None) -> str:
    if data is None:
        return "not there"
    text = data.decode("utf-8", "replace")
    return text if len(text) <= 60 else f"{text[:60]}…"
