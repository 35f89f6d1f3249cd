"""How things are spelled on the wire."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from muniment.document import Document
from muniment.errors import ConcurrencyConflict, MunimentError, StorageFailure
from muniment.server.headers import metadata_headers, metadata_of
from muniment.server.results import only_metadata, with_metadata
from muniment.server.routes import ROUTES, resolve
from muniment.server.tenants import check_name
from muniment.server.wire import (
    FOREIGN,
    NO_ETAG,
    Refused,
    combined_etag,
    error_response,
    etag_text,
    http_date,
    parse_etag,
)

NOW = datetime(2026, 11, 22, 14, 3, 0, 123456, UTC)


@pytest.mark.parametrize(
    ("etag", "text"),
    [
        (1, "01000000-0000-0001-0000-000000000001"),
        (0xABCDEF0123456789, "01000000-0000-0001-ABCD-EF0123456789"),
        ((1 << 63) - 1, "01000000-0000-0001-7FFF-FFFFFFFFFFFF"),
    ],
)
def test_etags(etag: int, text: str) -> None:
    assert etag_text(etag) == text
    for spelled in (text, text.lower(), f'"{text}"', f' W/"{text}" ', "02" + text[2:]):
        assert parse_etag(spelled) == etag


@pytest.mark.parametrize(("text", "etag"), [(NO_ETAG, 0), ("01000000-0000-0002-0000-000000000001", FOREIGN)])
def test_other_etags(text: str, etag: int) -> None:
    assert parse_etag(text) == etag


@pytest.mark.parametrize("text", ["", "1", "x" * 36, "01000000-0000-0001-0000-00000000000g", "*"])
def test_what_is_no_etag(text: str) -> None:
    with pytest.raises(Refused):
        parse_etag(text)


def test_combined_etags_depend_on_order() -> None:
    assert combined_etag([1, 2]) != combined_etag([2, 1])
    assert parse_etag(combined_etag([1])) == FOREIGN


def test_times() -> None:
    assert http_date(NOW) == "Sun, 22 Nov 2026 14:03:00 GMT"


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
    document = Document("a", 1, NOW, metadata, body)
    assert with_metadata(document).startswith(begin)
    assert only_metadata(document).startswith(b'{"@metadata":{')


def test_a_time_that_was_imported_is_told_once() -> None:
    document = Document("a", 1, NOW, b'{"Last-Modified":"2011-01-01T00:00:00.0000000Z","X":1}', b"{}")
    told = with_metadata(document)
    assert told.count(b'"Last-Modified"') == 1
    assert b'"Last-Modified":"2011-01-01T00:00:00.0000000Z"' in told
    assert b'"Raven-Last-Modified":"2026-11-22T14:03:00.1234560Z"' in told


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


def test_errors_have_one_shape() -> None:
    error = error_response(StorageFailure("the disk is full", "make room"), "/docs/a")
    assert error.status == 507
    assert error.body == (
        b'{"Url":"/docs/a","Error":"the disk is full\\nmake room","Hint":"make room","Kind":"StorageFailure"}'
    )
    assert b'"ActualETag":"00000000-0000' in error_response(ConcurrencyConflict("a", 7, 0), "/").body
    assert error_response(Refused(400, "no", bare=True), "/").body == b'"no"'


@pytest.mark.parametrize("name", ["Northwind", "größe", "a b", "x.y", "a-b_c", "con1"])
def test_names_of_databases(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("path", "route", "argument"),
    [
        ("docs/a/b//c/", "docs/{id}", "a/b//c/"),
        ("docs/", "docs", ""),
        ("Docs/Ä", "docs/{id}", "Ä"),
        ("queries/", "queries", ""),
        ("admin/databases/x", "admin/databases/{name}", "x"),
        ("admin/databases/batch-delete", "admin/databases/batch-delete", ""),
        ("static/docs/x", "static/{key}", "docs/x"),
    ],
)
def test_routes(path: str, route: str, argument: str) -> None:
    found = resolve(path)
    assert found is not None
    assert (found[0].path, found[1]) == (route, argument)


@pytest.mark.parametrize("path", ["", "x", "doc", "admin", "admin/databases/", "operation", "bulk_docs2"])
def test_what_is_no_route(path: str) -> None:
    assert resolve(path) is None


def test_every_handler_says_what_it_does() -> None:
    for route in ROUTES:
        for handler in route.methods.values():
            assert handler.__doc__


def test_refusals_are_errors_of_ours() -> None:
    assert issubclass(Refused, MunimentError)
