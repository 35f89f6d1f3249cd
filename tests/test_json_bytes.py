"""The bytes of JSON, also where half a surrogate pair stands in them, which msgspec does not take."""

from __future__ import annotations

import json

import pytest

from muniment import json_bytes
from muniment.json_bytes import Malformed

HALF = b'"\\ud800"'
FLAT = b' [ 1.10 , {"a" : "]"} , [ [] ] ]'.strip()


@pytest.mark.parametrize(
    ("array", "elements"), [(b"[]", []), (b"[ ]", []), (FLAT, [b"1.10", b'{"a" : "]"}', b"[ [] ]"])]
)
def test_elements_keep_their_bytes(array: bytes, elements: list[bytes]) -> None:
    assert json_bytes.elements(array) == list(json_bytes.each_element(array)) == elements
    if elements:
        assert json_bytes.elements(array[:-1] + b"," + HALF + b"]") == [*elements, HALF]


@pytest.mark.parametrize("other", [b"null", HALF])
def test_of_members_with_one_name_the_last_one_counts(other: bytes) -> None:
    item = b'{"a": 1, "\\u0061" :{"b" : 2.0}, "c":%s}' % other
    assert json_bytes.member_values(item) == {"a": b'{"b" : 2.0}', "c": other}
    assert json_bytes.member_value(item, "a") == b'{"b" : 2.0}'
    assert json_bytes.member_value(item, "b") is None


def test_a_value_that_nests_more_deeply_than_msgspec_reads_is_found() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    assert json_bytes.member_value(b'{"a":%s,"b":2}' % deep, "b") == b"2"
    assert json_bytes.elements(b"[%s,1]" % deep) == [deep, b"1"]


@pytest.mark.parametrize("before", [b"", b'"a":1 ,'])
@pytest.mark.parametrize("after", [b"", b' , "z":2'])
def test_an_object_without_one_of_its_members_is_an_object(before: bytes, after: bytes) -> None:
    item = b'{ %s "gone" : [1,2]%s }' % (before, after)
    [member] = [member for member in json_bytes.members(item) if member.name == "gone"]
    rest = json_bytes.without_member(item, member)
    assert json.loads(rest) == {name: value for name, value in json.loads(item).items() if name != "gone"}


@pytest.mark.parametrize("value", [b'"\\uD834"', b'{"\\udc00x":["\\uDBFF"]}'])
def test_half_a_surrogate_pair_is_json(value: bytes) -> None:
    json_bytes.check(value)
    assert len(json_bytes.without_surrogates(value)) == len(value)
    with pytest.raises(Malformed, match="not valid JSON"):
        json_bytes.check(value + b",")
