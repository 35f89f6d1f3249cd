"""What C writes of a batch is, byte for byte, what Python writes of each document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment import native
from muniment.document import with_time_kept
from muniment.revision import DOCUMENT, Batch, Packed, Revision
from muniment.smuggler.dump_document import _in_c, dump_documents, dumped
from muniment.smuggler.refused import Signs, signs_in

if native.load() is None:
    pytest.skip("it was not compiled", allow_module_level=True)

MODIFIED = 1_790_000_000_000_000
ORDERS = b'{"Raven-Entity-Name":"Orders","Last-Modified":"2018-07-27T12:11:53.0145929Z"}'
METADATA = [
    ORDERS,
    ORDERS.replace(b"2018", b"2019"),
    ORDERS.replace(b"Orders", b"Companies"),
    ORDERS.replace(b'"2018-07-27T12:11:53.0145929Z"', b'""'),
    b"{}",
    b'{"a":"\xc3\x84"}',
    b'{"Raven-Entity-Name":"Orders"}',
    b'{"Raven-Entity-Name":"Orders","last-modified":"2018"}',
    b'{"Last-Modified":"2018","Raven-Entity-Name":"Orders","Own-@expires":1}',
]
BODIES = [b"{}", b"{ }", b" {\n} ", b'{"a":1}', b'{"a":{}} \n', b'\t{"a":"}"\r}', b'{"a":[1,{"b":2}]}']
BY_PYTHON = {  # each in a batch that C writes otherwise
    "an escape in the time": ORDERS.replace(b"2018", b"\\u0032018"),
    "another member's time": b'{"a":{"Last-Modified":"x"},"Raven-Entity-Name":"Orders"}',
    "a time that is kept": with_time_kept(ORDERS, MODIFIED),
    "too long": b'{"a":"%s","Last-Modified":"x"}' % (b"x" * 3000),
    "no string": b'{"Last-Modified":"x',
}


def document(number: int, id: str, metadata: bytes, body: bytes) -> Revision:
    return Revision(number, DOCUMENT, id, None, MODIFIED + number % 3, metadata, body, len(body))


def batch(metadata: list[bytes], name: str = "orders/{}") -> Batch:
    bodies = [BODIES[number % len(BODIES)] for number in range(len(metadata))]
    return Batch.of(
        [document(n, name.format(n), *each) for n, each in enumerate(zip(metadata, bodies, strict=True), 1)]
    )


@pytest.mark.parametrize("name", ["orders/{}", 'Ä "{}"', "a\\{}", "\x01{}", "raven/hilo{}"])
@pytest.mark.parametrize("times", [1, 8])
def test_any_documents(name: str, times: int) -> None:
    given = batch(METADATA * times, name)
    assert _in_c(given, b"\n") == b"\n".join(dump_documents(given)) == b"\n".join(dumped(given, b"\n"))


@pytest.mark.parametrize("which", BY_PYTHON)
def test_what_c_leaves_to_python(which: str) -> None:
    given = batch([ORDERS, BY_PYTHON[which], ORDERS])
    assert _in_c(given, b",") is None
    if which != "no string":
        assert b",".join(dumped(given, b",")) == b",".join(dump_documents(given))


def test_counters_for_ids_more_kinds_than_there_may_be_and_bodies_that_are_none() -> None:
    hilos = batch([b"{}", ORDERS], "Raven/Hilo/{}")
    many = batch([b'{"n":%d}' % number for number in range(native.KINDS + 1)])
    for each in (hilos, many):
        assert _in_c(each, b",") is None
        assert b",".join(dumped(each, b",")) == b",".join(dump_documents(each))
    most = many.first(native.KINDS)
    assert _in_c(most, b",") == b",".join(dump_documents(most))
    for body in (b"", b" ", b"}", b"  } ", b"[]", b'{"a":1'):
        none = Batch.of([document(1, "a", b"{}", body)])
        assert _in_c(none, b",") in (None, b",".join(dump_documents(none)))


ESCAPES = ["\\u0040", "\\u0061", "\\u006D", "\\u0074", "\\u0026", "\\u00e9"]


def signs_by_python(data: bytes) -> Signs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "load", lambda: None)
        return signs_in(Packed.of([data]))


@pytest.mark.parametrize("e", ["e", "E", "e+", "E+"])
def test_numbers_that_no_double_can_hold_are_found(e: str) -> None:
    for json in (f"[1{e}400]", f'{{"a":-1.5{e}999}}', f"[1, 10000{e}9999 ]", f"\n:12{e}309"):
        for before in ("", "x" * 307, '{"d":"0f1e000"},'):
            data = before.encode() + json.encode()
            assert signs_in(Packed.of([data])) == signs_by_python(data) == Signs(own_metadata=False, infinite=True)


@pytest.mark.parametrize("before", range(0, 400, 37))
def test_digits_without_an_end_are_found_wherever_they_are(before: int) -> None:
    for digits, infinite in ((209, False), (210, True), (700, True)):
        data = b"[" * before + b"7" * digits + b"]"
        assert signs_in(Packed.of([data])) == signs_by_python(data) == Signs(own_metadata=False, infinite=infinite)


def test_digits_without_an_end_are_not_followed_from_each_of_them() -> None:
    """That would take hours."""
    assert signs_in(Packed.of([b'{"a":"%s"}' % (b"7" * (32 << 20))])).infinite


@given(st.lists(st.sampled_from([*'0+-.eE:[ ,"x@\\', "1e4", "e+00", "@metadata", *ESCAPES, "@meta"]), max_size=12))
def test_python_finds_no_sign_that_c_does_not(pieces: list[str]) -> None:
    data = "".join(pieces).encode()
    by_c, by_python = signs_in(Packed.of([data])), signs_by_python(data)
    assert by_c.own_metadata == by_python.own_metadata
    assert by_c.infinite >= by_python.infinite
