"""Documents that a careless backup would change, and strategies for many more of them."""

from __future__ import annotations

import json

from hypothesis import strategies as st

BODIES: dict[str, bytes] = {
    "numbers": b'{"price":1.10,"zero":-0.0,"huge":1e400,"tiny":1E-400,"long":1234567890123456789012345678901234567890}',
    "more numbers": b'{"a":0.30000000000000004,"b":1e+2,"c":-0,"d":18446744073709551616,"e":-9223372036854775809}',
    "key order": b'{"z":1,"a":2,"m":3,"10":4,"9":5}',
    "a key twice": b'{"a":1,"a":2}',
    "escapes": b'{"text":"\\u0041\\/\\b\\f\\n\\r\\t\\"\\\\ \\u00e9 \xc3\xa9","caf\\u00e9":1}',
    "a lone surrogate": b'{"half":"\\ud800","other":"\\uDC00x"}',
    "a pair": b'{"clef":"\\ud834\\udd1e","raw":"\xf0\x9d\x84\x9e"}',
    "an escaped NUL": b'{"nul":"a\\u0000b"}',
    "any script": '{"日本":"東京","Ελ":"Αθήνα","ع":"\u202eabc\u202c","nfd":"e\u0301","nfc":"é"}'.encode(),
    "noncharacters": '{"last":"\U0010ffff","feff":"\ufeff","fffe":"\ufffe","del":"\x7f","sep":"\u2028\u2029"}'.encode(),
    "white space": b' \t\r\n{ "a" :\t[ 1 , 2 ]\r\n, "b" : { } }\n\n ',
    "empty": b"{}",
    "nested": b'{"a":' * 200 + b"null" + b"}" * 200,
    "long": b'{"text":"' + b"0123456789abcdef" * 8192 + b'"}',
    "looks like a terminator": b'{"a":"\\u0000","b":""}',
}

IDS: tuple[str, ...] = (
    "orders/1",
    "Orders/Upper/Case",
    "nul\0inside",
    "\0",
    "".join(map(chr, [*range(1, 30), 31])),  # U+001E stands between an attachment's owner and name
    "\x7f\x80\x85\x9f",
    "quotes ' \" ` '' \"\"",
    "percent % _ %00 %2F",
    "back\\slash/../.",
    " leading and trailing ",
    "line\r\nbreak",
    "x" * 512,
    "é" * 256,
    "\U0001f4dc" * 128,
    "東京/1",
    "e\u0301",
    "é",
    "ŒUVRE",
    "\ufeffbom",
    "\uffff",
    "\U0010ffff",
    "a/\ufffd",
    "-1",
    "null",
)

METADATA: tuple[bytes, ...] = (
    b"{}",
    b'{"Raven-Entity-Name":"Orders"}',
    b'{ "Raven-Entity-Name" : "Orders" , "price" : 1.10 }',
    b'{"raven-entity-name":"orders"}',
    b'{"Raven-Entity-Name":"\\u4e2d\\u6587"}',
    '{"Raven-Entity-Name":"中文 \'\\" %"}'.encode(),
    b'{"Raven-Entity-Name":"nul\\u0000inside"}',
    b'{"nul":"a\\u0000b","big":1e400,"z":1.10,"a":-0.0}',
    b'\n{"Raven-Entity-Name":""}\t',
    b'{"Raven-Entity-Name":17}',
)


def _texts() -> st.SearchStrategy[str]:
    letters = st.characters(exclude_characters="\x1e", exclude_categories=["Cs"])
    return st.text(letters, max_size=12) | st.sampled_from(["\0", "\u2028", "\U0010ffff", "ß", "İ", "a" * 200])


ids = (_texts() | st.sampled_from(IDS)).filter(lambda id: 0 < len(id.encode()) <= 512 and not id.endswith("/"))

_strings = st.one_of(
    st.builds(json.dumps, _texts(), ensure_ascii=st.booleans()),
    st.sampled_from(['"\\ud800"', '"\\uDFFFx"', '"\\/"', '"\\u0061"']),
)
_numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
_spaces = st.sampled_from(["", "", "", " ", "\n", "\t", "\r\n  "])


def _list(items: list[str], space: str) -> str:
    return "[" + f"{space},".join(items) + space + "]"


def _object(members: list[tuple[str, str]], space: str) -> str:
    return space + "{" + f"{space},".join(f"{name}{space}:{value}{space}" for name, value in members) + "}" + space


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(_object, st.lists(st.tuples(_strings, values), max_size=4), _spaces)


_values: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(["null", "true", "false"]) | _numbers | _strings,
    lambda inner: st.builds(_list, st.lists(inner, max_size=4), _spaces) | _objects(inner),
    max_leaves=8,
)


def _awkward(name: str) -> bytes:  # a lambda would be printed with all of BODIES in it
    return BODIES[name]


bodies: st.SearchStrategy[bytes] = _objects(_values).map(str.encode) | st.sampled_from(sorted(BODIES)).map(_awkward)
metadata: st.SearchStrategy[bytes] = st.sampled_from(METADATA)
