"""What a document is: ids, bodies and metadata that are taken or refused, and what is read out of them."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import pickle
import string
import sys
import tracemalloc
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.document import (
    MAX_BODY_BYTES,
    MAX_METADATA_BYTES,
    RESERVED_METADATA,
    Document,
    ExactFloat,
    check_body,
    check_id,
    collection_of,
    decode,
    encode,
    fold,
    from_microseconds,
    is_reserved,
    metadata_bytes,
    raven_time,
    to_microseconds,
    with_time_kept,
    without_time_kept,
)
from muniment.errors import DamagedDatabase, InvalidDocument, InvalidId
from tests.shared import shared

LOWER_CASE = Path(__file__).parent / "data" / "lower-case.txt"

# Ids


@pytest.mark.parametrize(
    "id", ["a", "orders/1", "a" * 512, "é" * 256, "😀" * 128, "日" * 170 + "ab", " ", "\0", "a/b?c#d%e'\"", "\ufeff"]
)
def test_ids_that_are_taken(id: str) -> None:
    assert check_id(id) == id.encode()


@pytest.mark.parametrize(
    "id", ["", "a" * 513, "é" * 256 + "a", "😀" * 128 + "a", "日" * 171, "\ud800", "a\udfff", "x" * 100_000]
)
def test_ids_that_are_refused(id: str) -> None:
    with pytest.raises(InvalidId) as caught:
        check_id(id)
    assert caught.value.hint
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("id", [None, 5, b"orders/1", ["orders/1"]])
def test_an_id_is_text(id: Any) -> None:
    with pytest.raises(InvalidId, match="is a string, not"):
        check_id(id)


@given(st.text(), st.text())
def test_folding_goes_letter_by_letter(one: str, other: str) -> None:
    """So an id begins with a prefix exactly when their folded forms do."""
    assert fold(one + other) == fold(one) + fold(other)
    assert fold(fold(one)) == fold(one)
    assert fold(one) == fold(one.swapcase()) or not one.isascii()


def test_the_letters_that_full_case_folding_would_join() -> None:
    """All of them: each has a simple lower case of its own, and every other character is compared as it folds."""
    lines = [line.split() for line in LOWER_CASE.read_text("ascii").splitlines() if not line.startswith("#")]
    letters = [[chr(int(code, 16)) for code in line] for line in lines]
    table = {letter: (lower, "".join(full)) for letter, lower, *full in letters}
    assert len(table) == 298
    for letter, both in table.items():
        assert (fold(letter), letter.casefold()) == both
    differing = set()
    for character in map(chr, range(sys.maxunicode + 1)):
        folded, joined = fold(character), character.casefold()
        if folded != character or joined != character:
            assert len(folded) == 1
            assert folded.casefold() == joined  # so what was one before can be taken apart
            if folded != joined:
                differing.add(character)
    newer = differing - set(table)
    assert differing >= set(table)
    assert not newer or unicodedata.unidata_version > "14.0.0"


def test_ids_that_a_server_of_ravendb_keeps_apart() -> None:
    """The order is that of its dump; what it took for a spelling of an id that it had is not in there again."""
    dump = shared("cases/ids-apart-by-case-rule.ravendbdump")
    ids = [document["id"] for document in json.loads(gzip.decompress(dump.read_bytes()))["Docs"]]
    assert {"straße", "STRASSE", "ids/ς", "ids/σ", "ids/İ", "ids/i\u0307", "ids/ſ", "ids/s"} <= set(ids)
    assert len({fold(id) for id in ids}) == len(ids)


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b" \t\r\n{} \t\r\n",
        b'{"a":1,"a":2}',
        b'{"a":1e400,"b":-0.0,"c":1.10,"d":1234567890123456789012345678901234567890}',
        b'{"a":' + b"7" * 10_000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00","b":["\\ud800\\ud800"],"\\udfff":null}',
        b'{"a":"\\ud83d\\ude00\\u0000"}',
        '{"é":"日本\u2028\ufeff\U0010ffff\x7f"}'.encode(),
        b'{"":{"":[[],{},null,true,false,0,-1,1.5E+3]}}',
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a":"\\ud800","b":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_bodies_that_are_taken(body: bytes) -> None:
    check_body(body)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"true", b"1", b'"text"', b"[]", b"[{}]", b"{} {}", b"{}x", b"x{}", b"{", b"}", b"{]"),
        *(b"{'a':1}", b'{a:1}', b'{"a"}', b'{"a":}', b'{"a":1,}', b'{,"a":1}', b'{"a":1 "b":2}', b'{"a" 1}'),
        *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":nan}', b'{"a":undefined}', b'{"a":None}'),
        *(b'{"a":01}', b'{"a":1.}', b'{"a":.5}', b'{"a":+1}', b'{"a":0x1}', b'{"a":1e}', b'{"a":-}', b'{"a":1_000}'),
        *(b'{"a":"\n"}', b'{"a":"\x00"}', b'{"a":"\x1f"}', b'{"a":"\\x41"}', b'{"a":"\\u12"}', b'{"a":"\\uD80G"}'),
        *(b'{"a":"\xff"}', b'{"\xc3":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xf4\x90\x80\x80"}'),
        *(b"\xef\xbb\xbf{}", b"{}\x00", b"\x00{}", b"//\n{}", b"{/**/}", b'{"a":tru}', b'{"a":"unfinished}'),
        *('{"a":1}'.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")),
        *('{"a":"\u755c"}'.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32-le")),
        b'{"a":NaN,"b":"\\ud800"}',
        b'{"a":"\\ud800","a":01}',
        b'{"a":"\\ud800"}}',
        b'["\\ud800"]',
        b'"\\ud800"',
        b'\xef\xbb\xbf{"a":"\\ud800"}',
    ],
)  # fmt: skip
def test_bodies_that_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidDocument) as caught:
        check_body(body)
    assert caught.value.hint
    assert caught.value.status == 422


@pytest.mark.parametrize("levels", [1_500, 100_000])
def test_bodies_that_are_nested_too_deeply(levels: int) -> None:
    for body in (b'{"a":' * levels + b"1" + b"}" * levels, b'{"a":' + b"[" * levels + b"]" * levels + b"}"):
        with pytest.raises(InvalidDocument, match="nested too deeply"):
            check_body(body)


def test_the_limit_of_a_body() -> None:
    largest = b'{"a":"' + b"x" * (MAX_BODY_BYTES - 8) + b'"}'
    assert len(largest) == MAX_BODY_BYTES == 64 * 1024 * 1024
    check_body(largest)
    with pytest.raises(InvalidDocument, match="67,108,865 bytes; at most 67,108,864 are allowed"):
        check_body(largest + b" ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(st.text(max_size=5), json_values, max_size=5)


@given(
    st.text(st.characters(codec="utf-8")) | st.text(string.printable) | json_objects.map(json.dumps), st.integers(0, 50)
)
def test_what_is_taken_is_what_python_takes(text: str, cut: int) -> None:
    """With any character removed from a body too, this and Python's own reader agree on whether it is a JSON object."""
    text = text[:cut] + text[cut + 1 :]
    try:
        expected = isinstance(json.loads(text, parse_constant=lambda name: 1 / 0), dict)
    except (ValueError, ZeroDivisionError):
        expected = False
    try:
        check_body(text.encode())
        taken = True
    except InvalidDocument:
        taken = False
    assert taken == expected


# Reading and writing JSON


@given(json_objects)
def test_what_is_encoded_is_decoded_the_same(value: dict[str, Any]) -> None:
    encoded = encode(value)
    check_body(encoded)
    assert json.loads(encoded) == value
    assert decode(encoded) == value
    assert encode(decode(encoded)) == encoded


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20}([eE][+-]?[0-9]{1,4})?|[eE][+-]?[0-9]{1,4})", fullmatch=True
)


@given(st.lists(NUMBERS | st.integers().map(str)))
def test_numbers_keep_their_spelling(numbers: list[str]) -> None:
    body = ("[" + ",".join(numbers) + "]").encode()
    assert encode(decode(body)) == body


def test_a_number_that_keeps_its_spelling_is_a_float() -> None:
    value = decode(b'{"price":1.10}')["price"]
    assert isinstance(value, float)
    assert value == 1.1
    assert value * 2 == 2.2
    assert repr(value) == "1.1"
    assert encode({"price": value * 1}) == b'{"price":1.1}'
    copy = pickle.loads(pickle.dumps(value))
    assert isinstance(copy, ExactFloat)
    assert encode(copy) == b"1.10"
    assert math.isinf(decode(b"[1e400]")[0])
    assert math.copysign(1, decode(b"[-0.0]")[0]) == -1


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\ud800"}',
        b'{"a":"\\udfff","b":1.10,"c":null}',
        b'{"a":["\\ud800x",{"b":"\\n\\ud83d"}],"b":1e400,"c":null,"d":"\xc3\xa9"}',
    ],
)
def test_lone_surrogates_stay_what_they_are(body: bytes) -> None:
    assert encode(decode(body)) == body


@pytest.mark.parametrize("body", [b'{"a":' + b"7" * 5_000 + b"}", b'{"a":' * 5_000 + b"1" + b"}" * 5_000])
def test_json_that_python_has_no_value_for(body: bytes) -> None:
    with pytest.raises(InvalidDocument, match="no value in Python"):
        decode(body)


class Colour(Enum):
    BLUE = "blue"


@dataclasses.dataclass
class Line:
    product: str
    price: Any = 1.5


class Order(msgspec.Struct):
    lines: list[Line]
    colour: Colour = Colour.BLUE


class Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"a": [1, (2, 3), {"b": None}]}, b'{"a":[1,[2,3],{"b":null}]}'),
        (Line("é"), b'{"product":"\xc3\xa9","price":1.5}'),
        (Order([Line("x", ExactFloat("1.10"))]), b'{"lines":[{"product":"x","price":1.10}],"colour":"blue"}'),
        (Plain(a=Plain(b=1), c=[Plain()]), b'{"a":{"b":1},"c":[{}]}'),
        (
            {"a": datetime(2026, 11, 22, 14, 3, tzinfo=UTC), "b": date(2026, 1, 2)},
            b'{"a":"2026-11-22T14:03:00Z","b":"2026-01-02"}',
        ),
        ({1: "int", "a": 10**40}, b'{"1":"int","a":10000000000000000000000000000000000000000}'),
        ({"a": "null", "b": None}, b'{"a":"null","b":null}'),
    ],
)
def test_what_can_be_written_as_json(value: Any, encoded: bytes) -> None:
    assert encode(value) == encoded


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "put_in",
    [
        lambda number: {"a": number},
        lambda number: {"a": {"b": [number]}},
        lambda number: {"a": (1, number)},
        lambda number: {"a": ((number,),)},
        lambda number: Line("x", number),
        lambda number: Line("x", (number,)),
        lambda number: Order([Line("x", number)]),
        lambda number: Plain(a=Plain(b=number)),
        lambda number: {"a": [Plain(b=(number,))], "b": "\ud800"},
    ],
)
def test_a_number_that_json_does_not_have_is_refused(put_in: Any, number: float) -> None:
    with pytest.raises(InvalidDocument, match="not a JSON number") as caught:
        encode(put_in(number))
    assert caught.value.hint


@pytest.mark.parametrize(
    "value", [object(), {"a": object()}, {(1, 2): 3}, {None: 1}, CIRCLE, {"a": int}, {"a": 1j}, {"a": 10**5000}]
)
def test_what_can_not_be_written_as_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidDocument) as caught:
        encode(value)
    assert caught.value.hint


@dataclasses.dataclass
class Tagged:
    tags: set[str]


class Slotted(msgspec.Struct):
    inner: Any


@pytest.mark.parametrize(
    "value",
    [
        {"a": {1}},
        {"a": frozenset([1])},
        {"a": set()},
        {"a": [[], ({"b": ({1},)},)]},
        Tagged({"x"}),
        Slotted([Tagged(set())]),
        Plain(a=[Plain(b={1})]),
    ],
)
def test_a_set_is_refused_as_it_would_come_back_as_a_list(value: Any) -> None:
    with pytest.raises(InvalidDocument, match="no sets") as caught:
        encode(value)
    assert caught.value.hint


def test_what_is_looked_through_for_sets_is_only_what_is_written() -> None:
    odd: dict[str, Any] = {"list": [1], "colour": Colour.BLUE, "id": UUID(int=0), "price": Decimal("1.10")}
    assert encode(odd) == (b'{"list":[1],"colour":"blue","id":"00000000-0000-0000-0000-000000000000","price":"1.10"}')
    assert (
        encode({"a": [ExactFloat("1.10"), datetime(2026, 1, 1, tzinfo=UTC)]}) == b'{"a":[1.10,"2026-01-01T00:00:00Z"]}'
    )


# Metadata


def test_no_metadata_is_an_empty_object() -> None:
    assert metadata_bytes(None) == metadata_bytes({}) == metadata_bytes(b"{}") == b"{}"


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"Raven-Entity-Name":"Orders"}',
        b' { "n" : 1.10 , "n" : 1e400 } ',
        b'{"n":"\\ud800","m":-0.0}',
        '{"é":"日本"}'.encode(),
        b'{"n":"' + b"x" * 5000 + b'"}',
        b'{"n":{"@id":"not at the top"}}',
        b'{"n":' + b"7" * 5000 + b"}",
    ],
)
def test_metadata_stays_as_it_came(metadata: bytes) -> None:
    assert metadata_bytes(metadata) == metadata


@pytest.mark.parametrize("name", [*sorted(RESERVED_METADATA), "LAST-Modified", "@id", "@etag", "@", "@metadata"])
def test_names_that_the_database_provides_are_left_out(name: str) -> None:
    assert is_reserved(name)
    assert metadata_bytes({name: "x", "kept": 1}) == b'{"kept":1}'
    for kept in (b'{"kept":1.10}', b'{"a":null,"kept":"\\u00e9"}', b'{"a":[1 ,2],"b":1e400}'):
        given = b'{"%s":{"x":[]},%s' % (name.encode(), kept[1:])
        assert metadata_bytes(given) == kept
        assert metadata_bytes(given[:-1] + b', "%s" : 1}' % name.upper().encode()) == kept
    assert metadata_bytes(b'{"%s":1,"a":"\\ud800","b":1.10}' % name.encode()) == b'{"a":"\\ud800","b":1.10}'


@pytest.mark.parametrize(
    "metadata", [b"", b"[]", b"null", b'{"a":NaN}', b'{"a":"\xff"}', "{}", [], 5, bytearray(b"{}")]
)
def test_metadata_that_is_refused(metadata: Any) -> None:
    with pytest.raises(InvalidDocument) as caught:
        metadata_bytes(metadata)
    assert caught.value.hint


def test_metadata_of_a_dict_is_checked_as_well() -> None:
    for metadata in ({"a": math.nan}, {"a": object()}, {"a": (math.inf,)}):
        with pytest.raises(InvalidDocument):
            metadata_bytes(metadata)
    assert metadata_bytes({1: 2}) == b'{"1":2}'  # type: ignore[dict-item]  # as in a body


def test_the_limit_of_metadata() -> None:
    largest = b'{"a":"' + b"x" * (MAX_METADATA_BYTES - 8) + b'"}'
    assert metadata_bytes(largest) == largest
    assert metadata_bytes({"a": "x" * (MAX_METADATA_BYTES - 8)}) == largest
    for metadata in (largest + b" ", {"a": "x" * (MAX_METADATA_BYTES - 7)}):
        with pytest.raises(InvalidDocument, match="at most 1,048,576"):
            metadata_bytes(metadata)


@pytest.mark.parametrize(
    ("metadata", "collection"),
    [
        (b"{}", None),
        (b'{"Raven-Entity-Name":"Orders"}', "Orders"),
        (b'{ "raven-ENTITY-name" : "orders" }', "orders"),
        (b'{"a":1,"Raven\\u002dEntity-Name":"\\u4e2d\\u6587"}', "中文"),
        (b'{"a":{"Raven-Entity-Name":"Inner"}}', None),
        (b'{"a":"Raven-Entity-Name"}', None),
        (b'{"Raven-Entity-Name":""}', None),
        (b'{"Raven-Entity-Name":null}', None),
        (b'{"Raven-Entity-Name":17}', None),
        (b'{"Raven-Entity-Name":"First","Raven-Entity-Name":"Last"}', "Last"),
        (b'{"Raven-Entity-Name":"","raven-entity-name":"Other"}', "Other"),
        (b'{"Raven-Entity-Name":"nul\\u0000"}', "nul\0"),
    ],
)
def test_the_collection_that_metadata_names(metadata: bytes, collection: str | None) -> None:
    assert collection_of(metadata) == collection


def test_large_metadata_is_not_held_in_memory() -> None:
    tracemalloc.start()
    try:
        for n in range(40):
            metadata = b'{"Raven-Entity-Name":"Orders","n":%d,"x":"%s"}' % (n, b"x" * 1_000_000)
            assert collection_of(metadata_bytes(metadata)) == "Orders"
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_collection_is_unicode() -> None:
    with pytest.raises(InvalidDocument, match="not Unicode") as caught:
        collection_of(b'{"Raven-Entity-Name":"\\ud800"}')
    assert caught.value.hint


# Times


@given(st.datetimes(timezones=st.just(UTC) | st.timezones()))
def test_microseconds_and_back(time: datetime) -> None:
    # In UTC, because Python holds times of two zones for unequal where a clock was turned back.
    assert from_microseconds(to_microseconds(time)) == time.astimezone(UTC)


def test_times() -> None:
    assert to_microseconds(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert to_microseconds(datetime(1970, 1, 1, 0, 0, 1, 5)) == 1_000_005  # noqa: DTZ001  # taken as UTC
    assert to_microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
    assert to_microseconds(datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=1)))) == 1_795_305_600_000_000
    assert from_microseconds(1_795_305_600_000_001).tzinfo is UTC
    assert raven_time(datetime(2026, 11, 22, 14, 3, 0, 123456, tzinfo=UTC)) == "2026-11-22T14:03:00.1234560Z"
    assert raven_time(datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=3)))) == "2026-01-02T00:00:00.0000000Z"


# What a reader gets


def document(body: bytes = b"{}", metadata: bytes = b"{}") -> Document:
    return Document("orders/1", 7, from_microseconds(1_795_305_600_000_000), metadata, body)


def test_a_document_gives_new_values_each_time() -> None:
    found = document(b'{"a":[1.10]}', b'{"Raven-Entity-Name":"Orders","n":[]}')
    assert found.json() == {"a": [1.1]}
    assert found.json() is not found.json()
    found.metadata["n"].append(1)
    assert found.metadata == {"Raven-Entity-Name": "Orders", "n": []}
    assert found.collection == "Orders"
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.etag = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("metadata", "last_modified"),
    [
        (b"{}", "2026-11-22T00:00:00.0000000Z"),
        (b'{"Last-Modified":"2001-02-03T04:05:06.0000000Z"}', "2001-02-03T04:05:06.0000000Z"),
        (b'{"Last-Modified":17}', "2026-11-22T00:00:00.0000000Z"),
        (b'{"a":"Last-Modified"}', "2026-11-22T00:00:00.0000000Z"),
    ],
)
def test_last_modified(metadata: bytes, last_modified: str) -> None:
    assert document(metadata=metadata).last_modified == last_modified


class Named(TypedDict):
    product: str
    price: float


def test_a_document_as_a_type() -> None:
    found = document(b'{"product":"x","price":1.10,"more":1}')
    assert found.to(Line) == Line("x", 1.1)
    assert found.to(Named) == {"product": "x", "price": 1.1}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"product":17}',
        b'{"product":null}',
        b'{"product":"\\ud800"}',
        b'{"product":"x","price":' + b"7" * 5000 + b"}",
    ],
)
def test_a_document_that_is_not_of_a_type(body: bytes) -> None:
    with pytest.raises(InvalidDocument, match="orders/1 is not a Line") as caught:
        document(body).to(Line)
    assert caught.value.hint


@pytest.mark.parametrize("value", [print, lambda: None, dict, len])
def test_what_is_no_data_is_refused(value: object) -> None:
    """A function has a `__dict__` too, and would have been stored as an empty object."""
    with pytest.raises(InvalidDocument, match="cannot be written as JSON"):
        encode({"price": 1, "oops": value})


@given(
    st.sampled_from([b"{}", b"{ }", b'{"a":1}', b' \n{ "b" : {} }\t', b'{"@last":1}']),
    st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),
)
def test_a_time_that_is_kept_in_metadata(stored: bytes, changed: int) -> None:
    kept = with_time_kept(stored, changed)
    json.loads(kept)
    assert without_time_kept(kept, 7) == (stored, changed)
    assert without_time_kept(stored, 7) == (stored, 7)


def test_what_only_looks_like_a_time_that_is_kept() -> None:
    for metadata in (
        b'{"@last-modified":"x","a":1}',
        b'{"@last-modified":1}',
        b'{"a":1,"@last-modified":"2026-01-01"}',
    ):
        assert without_time_kept(metadata, 7) == (metadata, 7)


@pytest.mark.parametrize("modified", [1 << 62, -(1 << 63), 253402300800000000])
def test_a_time_that_is_none_is_damage(modified: int) -> None:
    with pytest.raises(DamagedDatabase, match="is no time"):
        from_microseconds(modified)
