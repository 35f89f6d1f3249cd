"""Documents and attachments of any kind, written in any way, cut into blocks anywhere, and changed anywhere."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.errors import DamagedDump, UnknownFormat
from muniment.smuggler import split
from muniment.smuggler.reader import DumpDocument
from tests.smuggler.dumps import (
    COMPRESSIONS,
    LEGACY,
    SMALL,
    TRICKY,
    attachment,
    blake2b,
    docs,
    read,
    time_series,
)

# Before its first example Hypothesis has to make tables of Unicode, which takes longer than it lets examples take.
patient = settings(suppress_health_check=[HealthCheck.too_slow])

spaces = st.text(" \t\r\n", max_size=2).map(str.encode)
odd_names = ["@metadata ", "@Metadata", r"\u0040metadat", r"x\"@metadata", "@id", r"\ud800", "é", "", "@export-type"]
names = st.sampled_from(odd_names).map(lambda name: f'"{name}"'.encode()) | st.text(max_size=5).map(
    lambda name: json.dumps(name + "#").encode()
)
odd_texts = ['}},{"@metadata":{', '","@metadata":{"@id":"no"}}', "\\", '"', "]}"]
strings = st.builds(
    lambda text, ascii: json.dumps(text, ensure_ascii=ascii).encode(),
    st.text(max_size=8) | st.sampled_from(odd_texts),
    st.booleans(),
)
numbers = st.sampled_from([b"0", b"-0.0", b"1.10", b"1e400", b"-12E-3", b"1" * 40, b"true", b"false", b"null"])
escapes = st.sampled_from([b'"\\ud800"', b'"\\\\ud800"', b'"\\udbff\\udfff"', b'"\\/\\b"'])


def joined(opening: bytes, closing: bytes, items: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    spaced = st.builds(lambda before, item, after: before + item + after, spaces, items, spaces)
    return st.lists(spaced, max_size=3).map(lambda found: opening + b",".join(found) + closing)


def member(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    colon = st.builds(lambda before, after: before + b":" + after, spaces, spaces)
    return st.builds(lambda name, colon, value: name + colon + value, names, colon, values)


nested = st.just(b'{"@metadata":{"@id":"no"}}')
values = st.recursive(
    strings | numbers | escapes | nested,
    lambda inner: joined(b"[", b"]", inner) | joined(b"{", b"}", member(inner)),
    max_leaves=4,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, Any]:
    """The bytes of a document, and the item that must come of them (its position aside)."""
    members = draw(st.lists(member(values), max_size=4))
    id = draw(st.text(min_size=1, max_size=5))
    fields = [b'"@id":' + json.dumps(id, ensure_ascii=draw(st.booleans())).encode()]
    other = st.builds(lambda value: b'"o":' + value, values)
    fields = draw(st.lists(other, max_size=1)) + fields + draw(st.lists(other, max_size=1))
    value = b"{" + b",".join(fields) + b"}"
    name = draw(st.sampled_from([b'"@metadata"', b'"@metadata"', b'"\\u0040metadata"']))
    whole = name + draw(spaces) + b":" + draw(spaces) + value
    at = draw(st.integers(0, len(members)) | st.just(len(members)))
    opening, closing = b"{" + draw(spaces), draw(spaces) + b"}"
    befores, afters = ([draw(spaces) for _ in members] for _ in range(2))
    # Between two members stand: white space, a comma, white space. The member is cut out together with the comma
    # before it and the space after that; if it is the first, with the comma after it and the space around that.
    parts = [*members[:at], whole, *members[at:]]
    text, body = opening + parts[0], opening + (b"" if at == 0 else parts[0])
    for index, part in enumerate(parts[1:]):
        separator = befores[index] + b"," + afters[index]
        text += separator + part
        if index + 1 == at:
            body += befores[index]
        elif at == 0 and index == 0:
            body += part
        else:
            body += separator + part
    body += b"}" if not members else closing
    return text + closing, DumpDocument(id, body, value, 0)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, Any]:
    content = draw(st.binary(max_size=60) | st.sampled_from([TRICKY, b"", b",", b"]}", b"{"]))
    return attachment(content), (blake2b(content), None, len(content), "image/png", None, content, 0)


@patient
@given(
    st.lists(st.tuples(spaces, documents() | streams(), spaces), max_size=6),
    st.integers(1, 80) | st.just(1 << 20),
    st.sampled_from(sorted(COMPRESSIONS)),
)
def test_whatever_is_written_is_read(parts: list[tuple[bytes, Any, bytes]], block_size: int, compression: str) -> None:
    expected: list[Any] = []
    data = b'{"BuildVersion":1,"Docs":['
    for before, (text, item), after in parts:
        data += (b"," if expected else b"") + before
        position = len(data)
        data += text + after
        if isinstance(item, DumpDocument):
            expected.append(DumpDocument(item.id, item.body, item.metadata, position))
        else:
            expected.append((*item[:-1], position))
    data += b'],"TimeSeries":[%s]}' % time_series(TRICKY)
    items, sections = read(COMPRESSIONS[compression](data), block_size=block_size)
    assert items[:-1] == expected
    assert items[-1].section == "TimeSeries"
    assert sections["Docs"] + sections["Docs/Attachment"] == len(expected)


@patient
@given(documents(), st.sampled_from([b"", b",", b"]", b'\xff{"@metadata":{"@id":"x"}}']))
def test_searching_and_scanning_agree(written: tuple[bytes, Any], after: bytes) -> None:
    text, _ = written
    found = split.search(b"[" + text + after, 1)
    if found:
        assert found == msgspec.structs.replace(split.split(text), end=len(text) + 1)


# What a change puts in the place of some bytes.
pieces = st.sampled_from([*(bytes([byte]) for byte in b'{}[]",:\\ 0\x00\xff'), b"", b",,", b'"@metadata"'])


class Pairs(list[Any]):
    """A JSON object with its members in order and none of them lost."""


def parsed(text: bytes) -> Any:
    """What Python's own parser makes of it, with numbers as they are written; raises ValueError unless it is JSON."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text.decode(), object_pairs_hook=Pairs, parse_int=str, parse_float=str, parse_constant=refuse)


def expected_parts(text: bytes) -> tuple[str, Pairs, Pairs] | None:
    """Id, body and metadata of a document as Python's own parser sees it; None if it is not one."""
    try:
        whole = parsed(text)
    except ValueError:
        return None
    found = [value for name, value in whole if name == "@metadata"] if isinstance(whole, Pairs) else []
    if len(found) != 1 or not isinstance(found[0], Pairs):
        return None
    id, kind = dict(found[0]).get("@id", ""), dict(found[0]).get("@export-type", "")
    if not isinstance(id, str) or not id or kind != "" or any("\ud800" <= letter <= "\udfff" for letter in id):
        return None
    return id, Pairs(pair for pair in whole if pair[0] != "@metadata"), found[0]


@patient
@given(documents(), st.data())
def test_a_document_is_accepted_just_if_it_is_one(written: tuple[bytes, Any], data: st.DataObject) -> None:
    text, _ = written
    for _ in range(data.draw(st.integers(0, 2))):
        at, removed = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 2))
        text = text[:at] + data.draw(pieces) + text[at + removed :]
    expected = expected_parts(text)
    try:
        items, _ = read(docs(text))
    except DamagedDump:
        assert expected is None
        return
    if len(items) == 1 and isinstance(items[0], DumpDocument):
        assert expected == (items[0].id, parsed(items[0].body), parsed(items[0].metadata))


@patient
@given(st.data())
def test_no_change_of_a_plain_dump_ends_in_anything_but_our_errors(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([SMALL, LEGACY])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        removed = data.draw(st.integers(0, 3))
        whole[at : at + removed] = data.draw(st.binary(max_size=3) | pieces)
    with contextlib.suppress(DamagedDump, UnknownFormat):
        read(bytes(whole), block_size=data.draw(st.sampled_from([1, 50, 1 << 20])))
