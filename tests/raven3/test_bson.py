from __future__ import annotations

import struct
from datetime import datetime
from uuid import UUID

import pytest

from muniment.errors import InvalidDocument
from muniment.raven3 import bson
from tests.bson import bson_of


def test_values_are_written_as_ravendb_does() -> None:
    """Numbers as .NET Framework's "R", dates with seven digits and no zone, what is binary in base64."""
    values = {
        "int": -7, "long": 1 << 40, "text": 'ü"\n', "no": None, "yes": True, "object": {"a": [1, [], {}]},
        "whole": 18.0, "half": 0.5, "large": 1e15, "huge": 1.5e300, "small": 1e-5, "less": 0.0001,
        "long double": 0.1 + 0.7, "sixteen": 1234567890123456.0, "nothing": float("nan"), "all": float("-inf"),
        "day": datetime.fromisoformat("2013-05-04T12:30:15.123"), "before": datetime.fromisoformat("1812-01-01"),
        "guid": UUID("00112233-4455-6677-8899-aabbccddeeff"), "bytes": b"\0\1\xff",
    }  # fmt: skip
    assert bson.json_of(bson.members(bson_of(values))).decode() == (
        '{"int":-7,"long":1099511627776,"text":"ü\\"\\n","no":null,"yes":true,"object":{"a":[1,[],{}]},'
        '"whole":18.0,"half":0.5,"large":1E+15,"huge":1.5E+300,"small":1E-05,"less":0.0001,'
        '"long double":0.79999999999999993,"sixteen":1234567890123456.0,"nothing":"NaN","all":"-Infinity",'
        '"day":"2013-05-04T12:30:15.1230000","before":"1812-01-01T00:00:00.0000000",'
        '"guid":"00112233-4455-6677-8899-aabbccddeeff","bytes":"AAH/"}'
    )


def test_what_is_no_document() -> None:
    whole = bson_of({"a": [1, {"b": "text"}], "c": 2.5, "d": b"x"})
    wrong = [whole[:end] for end in range(len(whole))] + [
        struct.pack("<i", size) + whole[4:] for size in (-1, 0, len(whole) - 1, len(whole) + 1, 1 << 30)
    ]
    wrong += [whole + b"\0", bson_of({"a": "x"}).replace(b"x", b"\xff"), bson_of({"a": None}).replace(b"\n", b"\x0b")]
    wrong += [struct.pack("<i", 16) + b"\x09a\0" + struct.pack("<q", 1 << 62) + b"\0"]
    deep = bson_of({})
    for _ in range(bson.MAX_DEPTH + 2):
        deep = struct.pack("<i", len(deep) + 8) + b"\x03a\0" + deep + b"\0"
    for each in [*wrong, deep]:
        with pytest.raises(InvalidDocument):
            bson.members(each)
