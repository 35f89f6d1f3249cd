"""Stored metadata in RavenDB's words, and back, whether or not it was seen in other documents before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.document import collection_of, encode
from muniment.revision import DOCUMENT, Revision
from muniment.smuggler import metadata as conversion
from muniment.smuggler.dump_document import dump_document
from muniment.smuggler.metadata import _words, ids_json, kept_metadata, stored_metadata, words

SPACED = b'{"@collection": "As", "@id": "%d", "@last-modified": "%d"}'
TIME = b'"2018-07-27T12:11:53.0145929Z"'


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"@collection":"As","@change-vector":"A:1","@id":"a","@last-modified":%s}' % TIME,
        b'{"@collection":"@hilo","@id":"a"}',
        b'{"@last-modified":%s}' % TIME,
        b"{}",
        b'{ "@id" : "a", "@last-modified" : %s }' % TIME,
        b'{"@collection": "As", "@change-vector": "A:1", "@id": "a", "@last-modified": %s}' % TIME,
        b'{"@collection": "@hilo", "@id": "Raven/Hilo/as"}',
        b'{"x": {"@last-modified": "inner"}, "@id": "a", "@last-modified" : %s}' % TIME,
        b'{"@id": "a", "@id":"b", "@last-modified": "x", "@last-modified":%s}' % TIME,
        # What only looks like a member that varies, or stands twice, or is overruled.
        b'{"x":{"@id":"inner","@last-modified":"inner"},"@id":"a"}',
        b'{"x":{"@id":"inner"},"y":{"@last-modified":%s},"@id":"a","@last-modified":"b"}' % TIME,
        b'{"@id":"a","@id":"b","@last-modified":"x","@last-modified":%s}' % TIME,
        b'{"Last-Modified":"first","@last-modified":%s}' % TIME,
        b'{"@last-modified":%s,"Last-Modified":"second"}' % TIME,
        b'{"@last-modified":"a\\"b","@id":"\\u0040"}',
        b'{"@last-modified":%s,"x":"\x7f","@id":"a"}' % TIME,
        b'{"x":"\\"@last-modified\\":\\"no\\"","@last-modified":%s}' % TIME,
        b'{"\\u007f":1,"@last-modified":%s}' % TIME,
        b'{"\\u007F":1,"@id":"a"}',
        b'{"@last-modified":null,"@id":1}',
        b'{"half":"\\ud800","@id":"a","@collection":"As"}',
        b'{"long":"%s","@id":"a","@last-modified":%s}' % (b"x" * 3000, TIME),
    ],
)
def test_shapes(metadata: bytes) -> None:
    stored = stored_metadata(metadata)
    for _ in range(2):
        assert kept_metadata(metadata) == (stored, collection_of(stored))


NAMES = st.sampled_from(
    ["@id", "@change-vector", "@last-modified", "@collection", "Last-Modified", "x", "\x7f", '"@id":"']
)
VALUES = st.one_of(st.none(), st.text('a\x7f"\\', max_size=3), st.dictionaries(NAMES, st.text("a\x7f", max_size=2)))


def spaced(value: object) -> bytes:
    """As Python's `json` writes it."""
    return json.dumps(value).encode()


@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=1, max_size=3), st.sampled_from([encode, spaced]))
def test_any_metadata(several: list[dict[str, object]], written: Callable[[object], bytes]) -> None:
    for metadata in map(written, several):
        stored = stored_metadata(metadata)
        assert kept_metadata(metadata) == (stored, collection_of(stored))


WRITTEN = '"2018-07-27T12:11:53.0145929Z"'
KEPT = '"2026-11-22T14:03:00.1234560Z"'  # by a restore into a database in use
NOW = '"1970-01-01T00:00:00.0000010Z"'


@pytest.mark.parametrize(
    ("stored", "dumped", "legacy"),
    [
        (
            "{}",
            f'"@collection":"@empty","@id":"a","@last-modified":{NOW}',
            f'"@id":"a","Raven-Last-Modified":{NOW},"Last-Modified":{NOW}',
        ),
        (
            f'{{"Raven-Entity-Name":"As","Last-Modified":{WRITTEN}}}',
            f'"@collection":"As","@id":"a","@last-modified":{WRITTEN}',
            f'"Raven-Entity-Name":"As","@id":"a","Raven-Last-Modified":{WRITTEN},"Last-Modified":{WRITTEN}',
        ),
        (
            '{"raven-entity-name":"As","Raven-Expiration-Date":"2030","n":1.10}',
            f'"@collection":"As","@expires":"2030","n":1.10,"@id":"a","@last-modified":{NOW}',
            f'"raven-entity-name":"As","Raven-Expiration-Date":"2030","n":1.10,"@id":"a","Raven-Last-Modified":{NOW},"Last-Modified":{NOW}',
        ),
        # What only looks like the name of a collection, or like the time.
        (
            f'{{"Raven-Entity-Name":null,"x":{{"Last-Modified":{WRITTEN}}}}}',
            f'"Raven-Entity-Name":null,"x":{{"Last-Modified":{WRITTEN}}},"@collection":"@empty","@id":"a","@last-modified":{NOW}',
            f'"Raven-Entity-Name":null,"x":{{"Last-Modified":{WRITTEN}}},"@id":"a","Raven-Last-Modified":{NOW},"Last-Modified":{NOW}',
        ),
        (
            '{"Last-Modified":"a\\",\\"b","x":"\\"Last-Modified\\":\\""}',
            '"x":"\\"Last-Modified\\":\\"","@collection":"@empty","@id":"a","@last-modified":"a\\",\\"b"',
            '"x":"\\"Last-Modified\\":\\"","@id":"a","Raven-Last-Modified":"a\\",\\"b","Last-Modified":"a\\",\\"b"',
        ),
        (
            f'{{"@last-modified":{KEPT},"Raven-Entity-Name":"As"}}',
            f'"@collection":"As","@id":"a","@last-modified":{KEPT}',
            f'"Raven-Entity-Name":"As","@id":"a","Raven-Last-Modified":{KEPT},"Last-Modified":{KEPT}',
        ),
        (
            f'{{"@last-modified":{KEPT},"Last-Modified":{WRITTEN}}}',
            f'"@collection":"@empty","@id":"a","@last-modified":{WRITTEN}',
            f'"@id":"a","Raven-Last-Modified":{WRITTEN},"Last-Modified":{WRITTEN}',
        ),
        (
            '{"half":"\\ud800","Raven-Entity-Name":"As"}',
            f'"half":"\\ud800","@collection":"As","@id":"a","@last-modified":{NOW}',
            f'"half":"\\ud800","Raven-Entity-Name":"As","@id":"a","Raven-Last-Modified":{NOW},"Last-Modified":{NOW}',
        ),
    ],
)
def test_metadata(stored: str, dumped: str, legacy: str) -> None:
    revision = Revision(1, DOCUMENT, "a", None, 1, stored.encode(), b'{"b":1}', 7)
    assert dump_document(revision, []) == f'{{"b":1,"@metadata":{{{dumped}}}}}'.encode()
    assert dump_document(revision, [], legacy=True) == f'{{"b":1,"@metadata":{{{legacy}}}}}'.encode()


@pytest.mark.parametrize("body", [b"{}", b"{ }", b"\n{\t}\r\n", b'{"a":{}}', b'{"a":1\n} ', b'{"@metadatas":1}'])
def test_bodies(body: bytes) -> None:
    found = json.loads(dump_document(Revision(1, DOCUMENT, "RAVEN/hilo/x", None, 1, b"{}", body, 9), []))
    assert found.pop("@metadata")["@collection"] == "@hilo"
    assert found == json.loads(body)


STORED_NAMES = st.sampled_from(["Raven-Entity-Name", "Last-Modified", "Raven-Expiration-Date", "x", "Y-z", 'ü\\"'])
STORED_VALUES = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text('aü"\\ ', min_size=1))


@given(st.dictionaries(STORED_NAMES, st.one_of(STORED_VALUES, st.dictionaries(STORED_NAMES, STORED_VALUES))))
def test_an_import_brings_the_same_back(metadata: Mapping[str, object]) -> None:
    stored = encode(metadata)
    revision = Revision(1, DOCUMENT, "a", None, 1, stored, b"{}", 2)
    for legacy in (False, True):
        dumped = json.loads(dump_document(revision, [], legacy=legacy))["@metadata"]
        back = json.loads(stored_metadata(encode(dumped)))
        expected = {"Last-Modified": NOW[1:-1]} | json.loads(stored)
        name = expected.get("Raven-Entity-Name", "a name")
        if not legacy and not (isinstance(name, str) and name):  # in RavenDB's words this is a word of the user
            expected["Own-Raven-Entity-Name"] = expected.pop("Raven-Entity-Name")
        assert back == expected


def test_documents_that_differ_in_their_times_share_what_is_made_of_the_rest() -> None:
    one, two = (words(b'{"Raven-Entity-Name":"As","Last-Modified":"%d"}' % n, False) for n in (1, 2))
    assert one.members is two.members
    assert (one.last_modified, two.last_modified) == (b'"1"', b'"2"')


@pytest.mark.parametrize("written", [b'{"@collection":"As","@id":"%d","@last-modified":"%d"}', SPACED])
def test_metadata_that_differs_in_id_and_time_is_converted_once_also_with_spaces_in_it(written: bytes) -> None:
    conversion._template.cache_clear()
    kept = [kept_metadata(written % (n, n)) for n in range(9)]
    assert conversion._template.cache_info().misses == 1
    assert kept == [(b'{"Raven-Entity-Name":"As","Last-Modified":"%d"}' % n, "As") for n in range(9)]


@pytest.mark.parametrize("ids", [[b"a/1", b"\xc3\xbc"], [b"a", b'"\\'], [b"a\n", b"\x7f"]])
def test_ids(ids: list[bytes]) -> None:
    assert [json.loads(id) for id in ids_json(ids, b"".join(ids))] == [id.decode() for id in ids]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "metadata",
    [
        b'{"last-modified":"","Last-Modified":"2018"}',
        b'{"Last-Modified":"2018","Last-Modified":""}',
        b'{"last-modified":"\x7f","Last-Modified":"2018"}',
        b'{"last-modified":"\\u007f","Last-Modified":"2018","a":"\\ud800"}',
        b'{"a":{"Last-Modified":"2018"},"Last-Modified":""}',
    ],
)
def test_only_the_time_is_taken_for_the_time(metadata: bytes, legacy: bool) -> None:
    assert words(metadata, legacy) == _words(metadata, legacy)
