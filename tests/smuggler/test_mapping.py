"""What is kept of a dump's metadata is the same, whether or not it was seen in other documents before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.document import collection_of, encode
from muniment.smuggler.mapping import kept_metadata, stored_metadata

TIME = b'"2018-07-27T12:11:53.0145929Z"'


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"@collection":"As","@change-vector":"A:1","@id":"a","@last-modified":%s}' % TIME,
        b'{"@collection":"@hilo","@id":"a"}',
        b'{"@last-modified":%s}' % TIME,
        b"{}",
        b'{ "@id" : "a", "@last-modified" : %s }' % TIME,
        # What only looks like a member that varies, or stands twice, or is overruled.
        b'{"x":{"@id":"inner","@last-modified":"inner"},"@id":"a"}',
        b'{"x":{"@id":"inner"},"y":{"@last-modified":%s},"@id":"a","@last-modified":"b"}' % TIME,
        b'{"@id":"a","@id":"b","@last-modified":"x","@last-modified":%s}' % TIME,
        b'{"Last-Modified":"first","@last-modified":%s}' % TIME,
        b'{"@last-modified":%s,"Last-Modified":"second"}' % TIME,
        b'{"@last-modified":"a\\"b","@id":"\\u0040"}',
        b'{"@last-modified":%s,"x":"\x7f","@id":"a"}' % TIME,
        b'{"x":"\\"@last-modified\\":\\"no\\"","@last-modified":%s}' % TIME,
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


@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=1, max_size=3))
def test_any_metadata(several: list[dict[str, object]]) -> None:
    for metadata in map(encode, several):
        stored = stored_metadata(metadata)
        assert kept_metadata(metadata) == (stored, collection_of(stored))
