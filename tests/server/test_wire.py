"""How things are spelled on the wire."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from muniment.errors import ConcurrencyConflict, MunimentError, StorageFailure
from muniment.raven3.headers import Headers
from muniment.server.routes import ROUTES, TABLE
from muniment.server.tenants import check_name
from muniment.server.wire import Refused, error_response

NOW = datetime(2026, 11, 22, 14, 3, 0, 123456, UTC)


def test_errors_have_one_shape() -> None:
    error = error_response(StorageFailure("the disk is full", "make room"), "/docs/a")
    assert error.status == 507
    assert error.body == (
        b'{"Url":"/docs/a","Error":"the disk is full\\nmake room","Hint":"make room","Kind":"StorageFailure"}'
    )
    assert b'"ActualETag":"00000000-0000' in error_response(ConcurrencyConflict("a", 7, 0), "/").body
    assert error_response(Refused(400, "no", bare=True), "/").body == b'"no"'


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, [("www-authenticate", "Bearer")], "Unauthorized"),
        (412, [], "Unauthorized"),
        (403, [("www-authenticate", "Bearer")], "AccessDenied"),
        (403, [], "Forbidden"),
        (404, [], "NotFound"),
        (429, [], "Busy"),
    ],
)
def test_what_is_refused_has_a_kind_too(status: int, headers: Headers, kind: str) -> None:
    error = error_response(Refused(status, "no", headers=headers), "/")
    assert (error.status, json.loads(error.body)["Kind"]) == (status, kind)


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
    found = TABLE.resolve(path)
    assert found is not None
    assert (found[0].path, found[1]) == (route, argument)


@pytest.mark.parametrize("path", ["x", "doc", "admin", "admin/databases/", "operation", "bulk_docs2"])
def test_what_is_no_route(path: str) -> None:
    assert TABLE.resolve(path) is None


def test_every_handler_says_what_it_does() -> None:
    for route in ROUTES:
        for handler in route.methods.values():
            assert handler.__doc__


def test_refusals_are_errors_of_ours() -> None:
    assert issubclass(Refused, MunimentError)
