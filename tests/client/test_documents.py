"""What is asked of a server for documents, and what is made of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muniment import Delete, Put
from muniment.client import documents
from muniment.client.wire import Request, Response, Unreachable
from muniment.command import Command
from muniment.document import encode, fold
from muniment.errors import ConcurrencyConflict, InvalidDocument, InvalidId, InvalidInput, ServerUnavailable
from muniment.raven3.etags import etag_text
from muniment.storage.base import Written
from tests.client.running import Play, answer
from tests.raven3.test_documents import join

ROOT = ("databases", "shop")


def result(id: str, etag: int = 4) -> bytes:
    said = {"@id": id, "@etag": etag_text(etag), "Last-Modified": "2026-11-22T14:03:00.1234560Z"}
    return join(b'{"n":1.10}', b"{}", encode(said)[1:-1])


def results(*items: bytes) -> Response:
    return answer(b'{"Results":[' + b",".join(items) + b'],"Includes":[]}')


def test_one_document() -> None:
    play = Play()
    [document] = play.run(documents.get_many(ROOT, ["a/1"]), results(result("a/1")))
    assert document is not None
    assert (document.id, document.body) == ("a/1", b'{"n":1.10}')
    assert play.requests == [Request("GET", "/databases/shop/queries/?id=a%2F1", repeatable=True)]


def test_each_document_is_asked_for_once() -> None:
    play = Play()
    found = play.run(documents.get_many((), ["a", "B", "A", "a"]), results(result("a"), b"null"))
    assert [document and document.id for document in found] == ["a", None, "a", "a"]
    assert play.requests[0].target == "/queries/?id=a&id=B"


def test_many_documents_go_by_post_and_in_parts() -> None:
    def server(request: Request) -> Response:
        assert (request.method, request.target, request.repeatable) == ("POST", "/queries/", False)
        assert isinstance(request.body, bytes)
        return results(*(result(id) for id in json.loads(request.body)))

    play = Play()
    ids = [f"orders/{number:0100}" for number in range(600)]
    found = play.run(documents.get_many((), ids), server)
    assert [document and document.id for document in found] == ids
    assert len(play.requests) == 3


def test_nothing_is_asked_for_nothing() -> None:
    assert Play().run(documents.get_many(ROOT, [])) == []
    assert Play().run(documents.batch(ROOT, [])) == []


def test_an_empty_page_says_whether_there_is_anything() -> None:
    play = Play()
    page = play.run(documents.by_prefix(ROOT, "a", 0, 0), answer(b"[" + result("a") + b"]"))
    assert (page, page.more) == ([], True)
    assert [request.target for request in play.requests] == ["/databases/shop/docs?startsWith=a&start=0&pageSize=1"]


@pytest.mark.parametrize("id", ["", "x" * 513, "\ud800"])
def test_bad_ids_are_not_sent(id: str) -> None:
    with pytest.raises(InvalidId):
        Play().run(documents.get_many(ROOT, [id]))
    with pytest.raises(InvalidId):
        Play().run(documents.batch(ROOT, [Put(id, {})]))


BAD_BODIES: list[Any] = [b"", b"[]", b"1", b'{"a":1}x', b'{"a":\xff}', "{", [1], float("nan")]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_bad_bodies_are_not_sent(body: Any) -> None:
    with pytest.raises(InvalidDocument):
        Play().run(documents.batch(ROOT, [Put("a", body)]))


def test_a_wrong_number_of_results() -> None:
    with pytest.raises(ServerUnavailable):
        Play().run(documents.get_many(ROOT, ["a", "b"]), results(result("a")))
    with pytest.raises(ServerUnavailable):
        Play().run(documents.batch(ROOT, [Delete("a")]), answer([]))


def test_a_batch() -> None:
    play = Play()
    commands: list[Command] = [
        Put('say "hi"', b'{"n":1.10, "x":1e400}', b'{"Raven-Entity-Name":"Orders"}'),
        Put("new", {"a": 1}, etag=0),
        Delete("old", 7),
        Delete("gone"),
    ]
    told = [
        {"Key": 'say "hi"', "Etag": etag_text(11), "Method": "PUT", "Metadata": {}, "Deleted": None},
        {"Key": "new", "Etag": etag_text(12), "Method": "PUT", "Metadata": {}},
        {"Key": "OLD", "Etag": None, "Method": "DELETE", "Deleted": True},
        {"Key": "gone", "Etag": None, "Method": "DELETE", "Deleted": False},
    ]
    written = play.run(documents.batch(ROOT, commands), answer(told))
    assert written == [
        Written('say "hi"', 11, False),
        Written("new", 12, False),
        Written("OLD", 0, True),
        Written("gone", 0, False),
    ]
    [request] = play.requests
    assert (request.method, request.target, request.repeatable) == ("POST", "/databases/shop/bulk_docs", False)
    assert request.body == (
        b'[{"Method":"PUT","Key":"say \\"hi\\"","Etag":null,"Document":{"n":1.10, "x":1e400},'
        b'"Metadata":{"Raven-Entity-Name":"Orders"}},'
        b'{"Method":"PUT","Key":"new","Etag":"00000000-0000-0000-0000-000000000000","Document":{"a":1},"Metadata":{}},'
        b'{"Method":"DELETE","Key":"old","Etag":"01000000-0000-0001-0000-000000000007"},'
        b'{"Method":"DELETE","Key":"gone","Etag":null}]'
    )


def test_a_conflict() -> None:
    body = {"Error": "x", "ActualETag": etag_text(9), "ExpectedETag": etag_text(3)}
    with pytest.raises(ConcurrencyConflict) as error:
        Play().run(
            documents.batch(ROOT, [Put("b", {}), Put("a", {}, etag=3)]), answer(body | {"Error": "'a' was"}, 409)
        )
    assert (error.value.id, error.value.expected, error.value.actual) == ("a", 3, 9)


PUT = Put("a", b'{"n":1.10}', etag=3)
DELETE = Delete("a", 3)
STORED = answer({"Key": "a", "ETag": etag_text(9)}, 201)
BROKEN = Unreachable("connection reset", sent=True)


def conflict(actual: int) -> Response:
    return answer({"Error": "x", "ActualETag": etag_text(actual), "ExpectedETag": etag_text(3)}, 409)


def test_one_write_that_names_its_etag_may_be_repeated() -> None:
    play = Play()
    assert play.run(documents.batch(ROOT, [PUT]), BROKEN, STORED) == [Written("a", 9, True)]
    assert play.run(documents.batch(ROOT, [Put("a", {}, etag=0)]), STORED) == [Written("a", 9, False)]
    assert play.run(documents.batch(ROOT, [DELETE]), BROKEN, answer(b"", 204)) == [Written("a", 0, True)]
    put, again, _, delete, _ = play.requests
    headers = (("Content-Type", "application/json"), ("If-None-Match", '"01000000-0000-0001-0000-000000000003"'))
    assert put == again == Request("PUT", "/databases/shop/docs/a", b'{"n":1.10}', headers, True, subjects=("a",))
    assert (delete.method, delete.repeatable, delete.body) == ("DELETE", True, None)


@pytest.mark.parametrize("command", [Put("a", {}, {"Raven-Entity-Name": "A"}, 3), Put("a/", {}, etag=0), Put("a", {})])
def test_any_other_write_is_not_repeated(command: Command) -> None:
    play = Play()
    with pytest.raises(ServerUnavailable):
        play.run(documents.batch(ROOT, [command]), BROKEN)
    assert play.requests[0].method == "POST"


def test_a_repeated_write_does_not_conflict_with_itself() -> None:
    written = Play().run(documents.batch(ROOT, [PUT]), BROKEN, conflict(9), results(result("a", 9)))
    assert written == [Written("a", 9, True)]
    assert Play().run(documents.batch(ROOT, [DELETE]), BROKEN, conflict(0)) == [Written("a", 0, True)]


@pytest.mark.parametrize("present", [result("a", 10), b"null", result("a", 9).replace(b"1.10", b"1.11")])
def test_a_repeated_write_conflicts_with_others(present: bytes) -> None:
    with pytest.raises(ConcurrencyConflict):
        Play().run(documents.batch(ROOT, [PUT]), BROKEN, conflict(9), results(present))
    with pytest.raises(ConcurrencyConflict):
        Play().run(documents.batch(ROOT, [DELETE]), BROKEN, conflict(9))


def test_a_write_that_was_sent_once_conflicts() -> None:
    with pytest.raises(ConcurrencyConflict):
        Play().run(documents.batch(ROOT, [PUT]), conflict(9))
    with pytest.raises(ConcurrencyConflict):
        Play().run(documents.batch(ROOT, [DELETE]), conflict(0))


def test_pages_by_prefix_are_as_long_as_asked() -> None:
    everything = [f"a/{number:04}" for number in range(3000)]

    def server(request: Request) -> Response:
        query = dict(pair.split("=") for pair in request.target.partition("?")[2].split("&"))
        assert query["startsWith"] == "a%2F"
        start, size = int(query["start"]), min(int(query["pageSize"]), 1024)
        return answer(b"[" + b",".join(map(result, everything[start : start + size])) + b"]")

    found = Play().run(documents.by_prefix(ROOT, "a/", 10, 2500), server)
    assert [document.id for document in found] == everything[10:2510]
    assert len(Play().run(documents.by_prefix(ROOT, "a/", 2990, 25), server)) == 10


def test_pages_by_etag_follow_the_last_one() -> None:
    def server(request: Request) -> Response:
        query = dict(pair.split("=") for pair in request.target.partition("?")[2].split("&"))
        after = int(query["etag"][-12:], 16)
        etags = range(after + 1, min(after + int(query["pageSize"]), 2000) + 1)
        return answer(b"[" + b",".join(result(f"d/{etag}", etag) for etag in etags) + b"]")

    found = Play().run(documents.by_etag(ROOT, 5, 1500), server)
    assert [document.etag for document in found] == list(range(6, 1506))
    assert len(Play().run(documents.by_etag(ROOT, 1990, 1500), server)) == 10


def test_bad_pages() -> None:
    for flow in (
        documents.by_prefix(ROOT, "a", -1, 5),
        documents.by_prefix(ROOT, "", 0, 5),
        documents.by_etag(ROOT, 0, -1),
    ):
        with pytest.raises(InvalidInput):
            Play().run(flow)


def test_folding_is_the_databases() -> None:
    assert fold("Straße") == fold("STRAẞE")
    play = Play()
    play.run(documents.get_many((), ["Straße", "STRAẞE"]), results(result("Straße")))
    assert len(play.requests) == 1
