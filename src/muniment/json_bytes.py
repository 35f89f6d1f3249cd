"""JSON as it is written: where things begin and end in its bytes, which are never decoded and encoded anew.

Half a surrogate pair as an escape is JSON, which msgspec does not take; everything here does. A JSON object is never
the beginning of another one, so the end of an item can be found by counting its brackets alone; that the bytes between
are JSON is then proved by msgspec. Nothing here recurses, however deep an item nests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

WHITESPACE: Final = rb"[ \t\r\n]*+"
COMMA, COLON, QUOTE, OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT = b',:"[]{}'

MAX_DEPTH: Final = 10_000  # far more than msgspec decodes; it only ends the counting of brackets that mean nothing

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_string = re.compile(_STRING, re.DOTALL)
_scalar = re.compile(rb'[^][{},:" \t\r\n]*+(?=.)', re.DOTALL)
_space = re.compile(WHITESPACE)
_name = re.compile(rb"%s(%s)%s:%s" % (WHITESPACE, _STRING, WHITESPACE, WHITESPACE), re.DOTALL)
_comma = re.compile(rb"%s," % WHITESPACE)

_value = msgspec.json.Decoder(msgspec.Raw).decode
_text = msgspec.json.Decoder(str).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_UNREAD: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_surrogate = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Malformed(Exception):
    """These bytes are not what is wanted at this place; the text says why, as the end of a sentence."""


class Member(NamedTuple):
    """Where a member of an object stands in its bytes: from the quote of its name to the end of its value."""

    name: str
    start: int
    value: int
    end: int


def _next_bracket(opening: bytes, closing: bytes) -> re.Pattern[bytes]:
    """Matches up to and with the next bracket that counts: none in a string, and no pair that has no other inside."""
    other = rb'[^"%s%s]*+' % (opening, closing)
    pair = rb"%s%s(?:%s%s)*+%s" % (opening, other, _STRING, other, closing)
    return re.compile(rb"%s(?:(?:%s|%s)%s)*+[%s%s]" % (other, _STRING, pair, other, opening, closing), re.DOTALL)


_brackets = {OPEN_OBJECT: _next_bracket(rb"\{", rb"\}"), OPEN_ARRAY: _next_bracket(rb"\[", rb"\]")}


def skip_space(data: bytes, start: int) -> int:
    """Where the first byte at or after `start` is that is not white space."""
    found = _space.match(data, start)
    return found.end() if found else start


def value_end(data: bytes, start: int) -> int:
    """Where the JSON value that begins at `start` ends, or -1 if that is not in these bytes.

    It trusts that there is a JSON value; for anything else the place means nothing, and `check` tells.
    """
    first = data[start]
    if first in _brackets:
        return _balanced_end(_brackets[first], data, start)
    found = (_string if first == QUOTE else _scalar).match(data, start)
    return found.end() if found else -1


def _balanced_end(bracket: re.Pattern[bytes], data: bytes, start: int) -> int:
    opening, depth, end = data[start], 1, start + 1
    while depth and (found := bracket.match(data, end)):
        end = found.end()
        depth += 1 if data[end - 1] == opening else -1
        if depth > MAX_DEPTH:
            raise Malformed("is nested too deeply")
    return -1 if depth else end


def check(data: bytes) -> None:
    """Raises `Malformed` unless these bytes are one JSON value in UTF-8."""
    try:
        data.decode()  # msgspec.Raw looks at the grammar only
        _check_grammar(data)
    except UnicodeDecodeError as error:
        raise Malformed(f"is not UTF-8 ({error.reason} at its byte {error.start})") from error
    except msgspec.DecodeError as error:
        raise Malformed(f"is not valid JSON ({error})") from error
    except RecursionError as error:
        raise Malformed("is nested too deeply") from error


def _check_grammar(data: bytes) -> None:
    try:
        _value(data)
    except msgspec.DecodeError:
        _value(without_surrogates(data))


def without_surrogates(data: bytes) -> bytes:
    """This JSON with another escape, which is as long, in the place of each surrogate: everything is where it was."""
    return _surrogate.sub(rb"\\ufffd", data)


def text(data: bytes) -> str:
    """The text of a JSON string; raises `Malformed` if it is none, or not Unicode."""
    try:
        return _text(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"is not a string of Unicode text ({error})") from error


def members(data: bytes) -> Iterator[Member]:
    """The members, in the order in which they stand, of bytes that `check` has found to be a JSON object."""
    start = 1
    while found := _name.match(data, start):
        end = value_end(data, found.end())
        yield Member(_member_name(found[1]), found.start(1), found.end(), end)
        comma = _comma.match(data, end)
        if not comma:
            return
        start = comma.end()


def elements(data: bytes) -> list[bytes]:
    """The bytes of the elements of what `check` has found to be a JSON array."""
    try:
        return list(map(bytes, _array(data)))
    except _UNREAD:
        return list(each_element(data))


def each_element(data: bytes) -> Iterator[bytes]:
    """`elements` one by one, of an array that may have more of them than memory should."""
    start = skip_space(data, 1)
    while data[start] != CLOSE_ARRAY:
        end = value_end(data, start)
        yield data[start:end]
        start = skip_space(data, end)
        if data[start] == COMMA:
            start = skip_space(data, start + 1)


def without_member(data: bytes, member: Member) -> bytes:
    """The object without this member of it, and without the comma before it, or after it if it is the first."""
    before = data[: member.start].rstrip(b" \t\r\n")
    if before.endswith(b","):
        return before[:-1] + data[member.end :]
    after = skip_space(data, member.end)
    if data[after] == COMMA:
        after = skip_space(data, after + 1)
    return data[: member.start] + data[after:]


def _member_name(name: bytes) -> str:
    """Good for comparing only: half a surrogate pair, which no text can have, is in no name that is looked for."""
    return text(without_surrogates(name)) if b"\\" in name else name[1:-1].decode()


def member_value(data: bytes, name: str) -> bytes | None:
    """The bytes of the value of this member of a JSON object, the last one where there are several."""
    try:
        value = _object(data).get(name)
    except _UNREAD:
        return member_values(data).get(name)
    return None if value is None else bytes(value)


def member_values(data: bytes) -> dict[str, bytes]:
    """The bytes of the values of a JSON object by their names, the last one where there are several."""
    try:
        return {name: bytes(value) for name, value in _object(data).items()}
    except _UNREAD:
        return {member.name: data[member.value : member.end] for member in members(data)}
