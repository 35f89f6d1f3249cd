"""One document: bytes, metadata as headers, etags, ids."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from tests.sampled import count
from tests.server.running import Database, Server, assert_error

ZERO = "00000000-0000-0000-0000-000000000000"
AWKWARD = [
    "50%", "a%2Fb", "a?b=c", "a#b", "a b", 'q"u\'o', "x\x01\ty\x7f", "größe/日本語/😀", "a+b&c=d",
    "..", "a//b", "a/../b", "%", "a\\b",
]  # fmt: skip


def test_a_document_comes_back_with_its_bytes_and_metadata(shop: Database) -> None:
    body = b' {"price": 1.10,\n "big": 123456789012345678901234567890} '
    written = shop.put(
        "orders%2F1", body, **{"Raven-Entity-Name": "Orders", "X-Owner": "J%C3%BCrgen", "List": "[1, 2.50]"}
    )
    assert written.status_code == 201
    assert written.json() == {"Key": "orders/1", "ETag": "01000000-0000-0001-0000-000000000001"}
    found = shop.get("/docs/ORDERS/1")
    assert found.content == body
    assert found.headers["content-type"] == "application/json; charset=utf-8"
    assert found.headers["etag"] == '"01000000-0000-0001-0000-000000000001"'
    assert found.headers["raven-entity-name"] == "Orders"
    assert found.headers["x-owner"] == "J%C3%BCrgen"
    assert found.headers["list"] == "[1,2.50]"
    assert found.headers["__document_id"] == "orders%2F1"
    assert found.headers["last-modified"].endswith(" GMT")
    assert found.headers["raven-last-modified"].endswith("0Z")
    assert shop.get("/docs", params={"startsWith": "orders/1"}).json()[0]["@metadata"]["X-Owner"] == "Jürgen"
    named = shop.get("/docs", params={"id": "ORDERS/1"})  # the other spelling of the same request
    assert (named.content, named.headers["x-owner"]) == (body, "J%C3%BCrgen")
    assert shop.get("/docs", params={"id": "none"}).status_code == 404
    assert shop.get("/docs?id=").status_code == 400


def test_transport_headers_are_not_metadata(shop: Database) -> None:
    shop.put(
        "a", b"{}", Custom="yes", Authorization="Bearer x", Cookie="c", **{"Temp-Index-Score": "1", "Accept-Foo": "x"}
    )
    [document] = shop.get("/docs").json()
    kept = {name for name in document["@metadata"] if not name.startswith(("@", "Last-", "Raven-Last", "Non-"))}
    assert kept == {"Custom"}


def test_metadata_that_a_header_can_not_hold_is_encoded_or_left_out(shop: Database) -> None:
    metadata = {
        "Name with blank": "line\nbreak", "Content-Length": "5", "Flag": True, "None": None, "Number": 1.25,
        "Braces": "{no json", "When": "2026-11-22T14:03:00.0000000Z", "ETag": "mine", "Empty": "", "Object": {"ä": 1},
    }  # fmt: skip
    assert shop.batch([{"Method": "PUT", "Key": "a", "Document": {}, "Metadata": metadata}]).status_code == 200
    headers = shop.get("/docs/a").headers
    assert headers["name%20with%20blank"] == "line%0Abreak"
    assert headers["content-length"] == "2"
    assert headers["flag"] == "True"
    assert headers["number"] == "1.25"
    assert headers["braces"] == "%7Bno%20json"
    assert headers["when"] == "Sun, 22 Nov 2026 14:03:00 GMT"
    assert headers["raven-when"] == "2026-11-22T14:03:00.0000000Z"
    assert headers["object"] == '{"\\u00e4": 1}'
    assert headers["empty"] == ""


@pytest.mark.parametrize("id", AWKWARD)
def test_any_id_comes_back(shop: Database, id: str) -> None:
    path = quote(id, safe="").replace(".", "%2E")
    answer = shop.server.raw(
        (
            f"PUT {shop.root}/docs/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
            f"Content-Length: 7\r\n\r\n"
        ).encode()
        + b'{"n":1}'
    )
    assert b" 201 " in answer
    [document] = shop.get("/docs").json()
    assert document["@metadata"]["@id"] == id
    answer = shop.server.raw(f"GET {shop.root}/docs/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert answer.endswith(b'{"n":1}')
    assert f"__document_id: {quote(id, safe='')}".encode() in answer
    found = shop.get("/queries/", params={"id": id}).json()
    assert found["Results"][0]["@metadata"]["@id"] == id


@settings(max_examples=count(20, whole=300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id=st.text(min_size=1, max_size=60).filter(lambda id: not id.endswith("/") and "\x1e" not in id))
def test_ids_of_any_unicode(shop: Database, id: str) -> None:
    path = quote(id, safe="").replace(".", "%2E")
    if len(id.encode()) > 512:
        return
    written = shop.put(path, b"{}")
    assert written.status_code == 201, written.text
    assert shop.request("HEAD", f"/docs/{path}").status_code == 200
    assert shop.request("DELETE", f"/docs/{path}").status_code == 204
    assert shop.get(f"/docs/{path}").status_code == 404


def test_etags(shop: Database) -> None:
    assert shop.put("a", b"{}", **{"If-None-Match": ZERO}).status_code == 201
    first = shop.get("/docs/a").headers["etag"]
    conflict = shop.put("a", b"{}", **{"If-None-Match": ZERO})
    body = assert_error(conflict, 409, "'a'")
    assert body["ActualETag"] == first.strip('"')
    assert body["ExpectedETag"] == ZERO
    assert shop.put("a", b'{"n":2}', **{"If-None-Match": first}).status_code == 201
    assert_error(shop.put("a", b"{}", **{"If-None-Match": first}), 409)
    assert_error(shop.put("b", b"{}", **{"If-Match": first.strip('"')}), 409)
    elsewhere = "01000000-0000-0007-0000-000000000002"
    assert assert_error(shop.put("a", b"{}", **{"If-None-Match": elsewhere}), 409)["ExpectedETag"] == elsewhere
    assert_error(shop.put("a", b"{}", **{"If-None-Match": "soon"}), 400, "etag")
    delete = shop.request("DELETE", "/docs/a", headers={"If-None-Match": first})
    assert_error(delete, 409)
    second = shop.get("/docs/a").headers["etag"]
    assert shop.request("DELETE", "/docs/a", headers={"If-None-Match": second}).status_code == 204
    assert shop.request("DELETE", "/docs/a").status_code == 204


def test_a_reader_who_has_it_gets_304(shop: Database) -> None:
    shop.put("a", b"{}")
    etag = shop.get("/docs/a").headers["etag"]
    for method in ("GET", "HEAD"):
        again = shop.request(method, "/docs/a", headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
    assert shop.get("/docs/a", headers={"If-None-Match": "what"}).status_code == 200


def test_head_and_missing(shop: Database) -> None:
    shop.put("a", b'{"n":1}')
    head = shop.request("HEAD", "/docs/a")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "7")
    for method in ("GET", "HEAD"):
        missing = shop.request(method, "/docs/b")
        assert (missing.status_code, missing.content) == (404, b"")


def test_new_ids(shop: Database) -> None:
    posted = shop.request("POST", "/docs", content=b"{}")
    assert posted.status_code == 200
    assert len(posted.json()["Key"]) == 36
    assert [shop.put("orders%2F").json()["Key"] for _ in range(3)] == ["orders/1", "orders/2", "orders/3"]


def test_the_system_database_has_documents_too(server: Server) -> None:
    system = Database(server, "")
    assert system.put("Raven/Alerts/x", b'{"Name":"x"}').status_code == 201
    assert system.get("/docs/raven/alerts/X").json() == {"Name": "x"}
    assert server.client.get("/databases/<system>/docs/raven/alerts/X").json() == {"Name": "x"}


def test_a_body_where_none_is_expected_is_passed_over(shop: Database) -> None:
    shop.put("a", b"{}")
    for method, path in (("GET", "/docs/a"), ("GET", "/stats"), ("DELETE", "/docs/a")):
        assert shop.request(method, path, content=b"null").status_code in (200, 204)
    assert shop.get("/docs/a").status_code == 404


def test_a_query_that_begins_with_an_empty_pair(shop: Database) -> None:
    shop.put("Raven/Hilo/foos", b'{"Max":32}')
    text = shop.get("/queries/?&id=Raven/Hilo/foos&id=Raven/ServerPrefixForHilo").json()
    assert text["Results"][0]["Max"] == 32
    assert text["Results"][1] is None


def test_many_write_at_once(shop: Database) -> None:
    def store(n: int) -> int:
        return shop.put(f"items/{n % 40}", b'{"n":%d}' % n).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(store, range(400))) == {201}
    assert shop.get("/stats").json()["CountOfDocuments"] == 40

    def increment(_: int) -> int:
        while True:
            found = shop.get("/docs/counter")
            n = found.json()["n"] if found.status_code == 200 else 0
            etag = found.headers.get("etag", ZERO)
            if shop.put("counter", b'{"n":%d}' % (n + 1), **{"If-None-Match": etag}).status_code == 201:
                return n + 1

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(increment, range(80))) == list(range(1, 81))
