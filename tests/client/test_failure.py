"""Every answer that is no success becomes the error that the embedded database raises."""

from __future__ import annotations

import inspect

import pytest

from muniment import errors
from muniment.client.failure import failure
from muniment.client.wire import Request, Response
from muniment.document import encode
from muniment.errors import ConcurrencyConflict, DatabaseNotFound, MunimentError, ServerUnavailable
from muniment.raven3.etags import etag_text

REQUEST = Request("PUT", "/docs/a", subjects=("a",))
NONE = etag_text(0)
ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MunimentError)]


def told(status: int, body: object, **headers: str) -> MunimentError:
    return failure(REQUEST, Response(status, headers, body if isinstance(body, bytes) else encode(body)))


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not ConcurrencyConflict])
def test_the_servers_own_error(kind: type[MunimentError]) -> None:
    error = told(kind.status, {"Error": "it broke\ndo that", "Hint": "do that", "Kind": kind.__name__})
    assert type(error) is kind
    assert (error.message, error.hint) == ("it broke", "do that")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, "no such place", errors.InvalidInput, "no such place"),
        (400, {"Url": "/", "Message": "short", "Error": "long"}, errors.InvalidInput, "short"),
        (401, b"", errors.Unauthorized, "the server answered 401 to PUT /docs/a"),
        (403, "not yours", errors.Forbidden, "not yours"),
        (404, b"", errors.NotFound, "the server answered 404 to PUT /docs/a"),
        (405, b"", errors.InvalidInput, "the server answered 405 to PUT /docs/a"),
        (408, {"Error": "slow"}, errors.Busy, "slow"),
        (409, {"Error": "taken"}, errors.Conflict, "taken"),
        (409, {"Error": "odd", "ActualETag": 7, "ExpectedETag": None}, errors.Conflict, "odd"),
        (413, {"Error": "too large"}, errors.InvalidDocument, "too large"),
        (422, {"Message": "not JSON"}, errors.InvalidDocument, "not JSON"),
        (500, {"Error": "  at X\n  at Y "}, MunimentError, "at X\n  at Y"),
        (500, {"Error": "x", "Kind": "Exception"}, MunimentError, "x"),
        (500, {"Error": "x", "Kind": "ConcurrencyConflict"}, MunimentError, "x"),
        (502, b"<html>", ServerUnavailable, "the server answered 502 to PUT /docs/a"),
        (503, {"Error": "Could not find a database named: x"}, DatabaseNotFound, "Could not find a database named: x"),
        (503, "another restore is running", errors.Busy, "another restore is running"),
        (504, b"\xff", ServerUnavailable, "the server answered 504 to PUT /docs/a"),
        (507, {"Error": "disk full"}, errors.StorageFailure, "disk full"),
        (302, b"", MunimentError, "the server answered 302 to PUT /docs/a"),
    ],
)
def test_by_status(status: int, body: object, kind: type[MunimentError], message: str) -> None:
    error = told(status, body)
    assert type(error) is kind
    assert error.message == message


def test_a_database_that_is_being_loaded_is_not_missing() -> None:
    error = told(503, {"Error": "could not find: it is loading"}, **{"Raven-Database-Load-In-Progress": "x"})
    assert type(error) is errors.Busy


@pytest.mark.parametrize(("expected", "actual"), [(0, 7), (7, 0), (3, 9)])
def test_a_conflict_has_both_etags(expected: int, actual: int) -> None:
    error = told(409, {"Error": "x", "ActualETag": etag_text(actual), "ExpectedETag": etag_text(expected)})
    assert isinstance(error, ConcurrencyConflict)
    assert (error.id, error.expected, error.actual) == ("a", expected, actual)


def test_a_conflict_within_a_batch_names_its_document() -> None:
    request = Request("POST", "/bulk_docs", subjects=("a", "it's", "c"))
    conflict = ConcurrencyConflict("it's", 3, 4)
    body = {"Error": f"{conflict.message}\n{conflict.hint}", "ActualETag": etag_text(4), "ExpectedETag": etag_text(3)}
    error = failure(request, Response(409, {}, encode(body)))
    assert isinstance(error, ConcurrencyConflict)
    assert error.id == "it's"
    assert error.message == conflict.message
