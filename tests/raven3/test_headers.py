"""Metadata as headers, and headers as metadata."""

from __future__ import annotations

from sys import getrefcount

import pytest

from muniment.document import Document, from_microseconds, raven_time
from muniment.raven3.headers import document_headers, metadata_headers, metadata_of, revision_headers
from muniment.raven3.times import http_date
from muniment.revision import DOCUMENT, Revision


def test_headers_are_metadata() -> None:
    headers = [
        ("raven-entity-name", "Orders"), ("x-%c3%a4", "%C3%A4"), ("list", '["a", 1]'), ("bad-list", "[1"),
        ("twice", "1"),
        ("twice", "2"), ("twice", "3"), ("content-length", "2"), ("raven-client-version", "3.5"),
        ("if-none-match", "x"),
    ]  # fmt: skip
    assert metadata_of(headers) == {
        "Raven-Entity-Name": "Orders",
        "X-Ä": "ä",
        "List": ["a", 1],
        "Bad-List": "[1",
        "Twice": ["1", "2", "3"],
    }


def test_metadata_comes_back_from_headers() -> None:
    metadata = (
        b'{"Name":"J\\u00fcrgen \\"x\\"","Percent":"50%","Blank":" x ","Text":"plain, text","Brace":"{x","Empty":""}'
    )
    assert metadata_of(metadata_headers(metadata)) == {
        "Name": 'Jürgen "x"', "Percent": "50%", "Blank": " x ", "Text": "plain, text", "Brace": "{x", "Empty": "",
    }  # fmt: skip


@pytest.mark.parametrize("changed", [0, 1, 999_999, 1_000_000, 1_795_960_528_126_749, 253_402_300_798_000_000])
def test_a_document_and_its_revision_have_the_same_times(changed: int) -> None:
    revision = Revision(5, DOCUMENT, "items/1", "Items", changed, b'{"Raven-Entity-Name":"Items"}', b"{}", 2)
    document = Document.of(revision)
    found = dict(document_headers(document, "e"))
    assert found == dict(revision_headers(revision, "e"))
    assert found["raven-last-modified"] == document.last_modified == raven_time(from_microseconds(changed))
    assert found["last-modified"] == http_date(from_microseconds(changed))


def test_a_document_that_says_when_it_was_modified_is_believed() -> None:
    for metadata in (
        b'{"Last-Modified":"2020-01-02T03:04:05.6789012Z"}',
        b'{"Last-Modified":5}',
        b'{"A":"Last-Modified"}',
    ):
        document = Document("items/1", 5, from_microseconds(1_795_960_528_126_749), metadata, b"{}")
        found = dict(document_headers(document, "e"))
        assert found["raven-last-modified"] == document.last_modified
        assert found["last-modified"] in ("Thu, 02 Jan 2020 03:04:05 GMT", http_date(document.changed))


def test_long_metadata_is_not_remembered() -> None:
    """Two thousand times a megabyte would fill the memory."""
    metadata = b'{"A":"%s"}' % (b"x" * 5000)
    before = getrefcount(metadata)
    assert ("a", "x" * 5000) in revision_headers(Revision(1, DOCUMENT, "a", None, 5, metadata, b"{}", 2), "e")
    assert getrefcount(metadata) == before
