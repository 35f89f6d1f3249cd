"""Documents inside answers: their bytes, and those of their metadata, come out exactly as they were stored."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.client.wire import Response
from muniment.client.wire import results_of as understood
from muniment.document import Document, encode
from muniment.errors import ServerUnavailable
from muniment.json_bytes import Malformed
from muniment.raven3.documents import documents_of, only_metadata, results_of, with_metadata

SAID = b'"@id":"a/1","@etag":"01000000-0000-0001-0000-000000000004","Last-Modified":"2026-11-22T14:03:00.1234560Z"'
CHANGED = datetime(2026, 11, 22, 14, 3, 0, 123456, UTC)
BODIES = [
    b"{}",
    b"{ }",
    b'{"a":1.10,"b":1e400,"z":-0.0,"c":12345678901234567890}',
    b'{"b":1,"a":2}',
    b'{ "a" : 1 ,\n\t"b" : [ 1, 2 ] }',
    b'{"a":1,"a":2}',
    b'{"a":{"@metadata":{"@id":"inner"}}}',
    b'{"a":"\\"@metadata\\":{}}","\\u0061":"\\u00e9\\/"}',
    '{"ü":"日本語 🎉"}'.encode(),
    b'{"a":"\\ud800"}',
]
METADATA = [
    b"{}",
    b'{"Raven-Entity-Name":"Orders"}',
    b'{"n":1.10,"big":1e400,"b":true,"x":null}',
    b'{ "a" : 1 }',
    b'{"a":"\\"@id\\":1"}',
    b'{"a":{"@id":"inner"},"b":["@id"]}',
    b'{"Last-Modified":"2010-01-01T00:00:00.0000000Z","a":1}',
    '{"Ü":"ß"}'.encode(),
    b'{"a":"\\udfff"}',
]


def join(body: bytes, metadata: bytes, said: bytes = SAID) -> bytes:
    """A result as a server of ours writes it."""
    head = metadata[:-1] + (b"," if metadata[1:-1].strip() else b"") + said + b"}"
    return body[:-1] + (b"," if body[1:-1].strip() else b"") + b'"@metadata":' + head + b"}"


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("metadata", METADATA)
def test_bytes_come_back(body: bytes, metadata: bytes) -> None:
    answer = b'{"Results":[null,' + join(body, metadata) + b",null," + join(b"{}", b"{}") + b'],"Includes":[]}'
    first, document, third, last = results_of(answer)
    assert (first, third) == (None, None)
    assert document is not None
    assert (document.id, document.etag, document.changed) == ("a/1", 4, CHANGED)
    assert document.body == body
    assert document.metadata_json == metadata
    assert last is not None
    assert (last.body, last.metadata_json) == (b"{}", b"{}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), json_values),
    st.dictionaries(st.text().filter(lambda name: name[:1] != "@"), json_values),
)
def test_any_bytes_come_back(body: dict[str, object], metadata: dict[str, object]) -> None:
    [document] = documents_of(b"[" + join(encode(body), encode(metadata)) + b"]")
    assert document is not None
    assert (document.body, document.metadata_json) == (encode(body), encode(metadata))


def test_metadata_in_another_place_or_order() -> None:
    """As other servers write it."""
    metadata = b'{"@id":"a/1","a":1,"@etag":"01000000-0000-0001-0000-000000000004",'
    metadata += b'"Last-Modified":"2026-11-22T14:03:00Z","b":2}'
    for item in (
        b'{"@metadata": ' + metadata + b' , "x":1.10}',
        b'{ "@metadata":' + metadata + b',"x":1.10}',
        b'{"x":1.10 , "@metadata" : ' + metadata + b" }",
    ):
        [document] = documents_of(b"[" + item + b"]")
        assert document is not None
        assert document.json() == {"x": 1.10}
        assert b"1.10" in document.body
        assert document.metadata_json == b'{"a":1,"b":2}'
        assert (document.id, document.etag) == ("a/1", 4)


def test_an_imported_document_keeps_its_time() -> None:
    said = SAID.replace(b"2026", b"2010") + b',"Raven-Last-Modified":"2026-11-22T14:03:00.1234560Z"'
    for stored, kept in ((b"{}", b"{"), (b'{"a":1.10}', b'{"a":1.10,')):
        [document] = documents_of(b"[" + join(b"{}", stored, said) + b"]")
        assert document is not None
        assert document.changed == CHANGED
        assert document.metadata_json == kept + b'"Last-Modified":"2010-11-22T14:03:00.1234560Z"}'
        assert document.last_modified == "2010-11-22T14:03:00.1234560Z"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b"null",
        b'{"Results":null}',
        b'{"Results":[1]}',
        b'{"Results":[{}]}',
        b'{"Results":[{"@metadata":1}]}',
        b'{"Results":[{"@metadata":{}}]}',
        b'{"Results":[{"@metadata":{"@id":"a","@etag":"7","Last-Modified":"2026-11-22T14:03:00Z"}}]}',
        b'{"Results":[{"@metadata":{"@id":1}}]}',
        b'{"Results":[{"@metadata":{',
        b'{"Results":[\xff]}',
        b'{"Results":' + b"[" * 5000,
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(Malformed):
        results_of(body)
    with pytest.raises(ServerUnavailable) as error:
        understood(Response(200, {}, body))
    assert "URL" in error.value.hint


@pytest.mark.parametrize(
    ("body", "metadata", "begin"),
    [
        (b"{}", b"{}", b'{"@metadata":{"@id":"a"'),
        (b"{ }", b"{ }", b'{ "@metadata":{ "@id":"a"'),
        (b' {"n":1} ', b'{"X":"y"}', b' {"n":1,"@metadata":{"X":"y","@id":"a"'),
        (b'{"t":"{"}', b"{}", b'{"t":"{","@metadata":{'),
        (b'{"t":"{ "\n}', b"{}", b'{"t":"{ "\n,"@metadata":{'),
    ],
)
def test_metadata_is_put_into_a_document(body: bytes, metadata: bytes, begin: bytes) -> None:
    document = Document("a", 1, CHANGED, metadata, body)
    assert with_metadata(document).startswith(begin)
    assert only_metadata(document).startswith(b'{"@metadata":{')


def test_a_time_that_was_imported_is_told_once() -> None:
    document = Document("a", 1, CHANGED, b'{"Last-Modified":"2011-01-01T00:00:00.0000000Z","X":1}', b"{}")
    told = with_metadata(document)
    assert told.count(b'"Last-Modified"') == 1
    assert b'"Last-Modified":"2011-01-01T00:00:00.0000000Z"' in told
    assert b'"Raven-Last-Modified":"2026-11-22T14:03:00.1234560Z"' in told
