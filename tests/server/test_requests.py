"""What is refused, and how: one shape of error, the right status, nothing half done."""

from __future__ import annotations

import http.client
import socket
import time
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from tests.server.running import Database, Server, assert_error, running
from tests.waiting import PATIENCE

WRONG = [
    ("GET", "/nothing", b"", 404),
    ("GET", "/docsx/a", b"", 404),
    ("GET", "/", b"", 404),
    ("GET", "/terms/dynamic", b"", 400),
    ("PUT", "/indexes/Orders/ByTotal", b"{}", 400),
    ("POST", "/transaction/commit", b"", 501),
    ("GET", "/debug/config", b"", 501),
    ("POST", "/admin/startIndexing", b"", 501),
    ("GET", "/admin/startIndex", b"", 404),
    ("GET", "/stream", b"", 404),
    ("PUT", "/docs", b"{}", 405),
    ("POST", "/docs/a", b"{}", 405),
    ("RESET", "/docs/a", b"", 405),
    ("PATCH", "/docs/a", b"[]", 404),
    ("PATCH", "/docs/a", b"{}", 422),
    ("PATCH", "/docs/a", b'[{"Type":"Put","Name":"n"}]', 400),
    ("PATCH", "/docs/a", b'[{"Type":"Set"}]', 422),
    ("EVAL", "/docs/a", b"{}", 422),
    ("DELETE", "/bulk_docs/Index", b"", 404),
    ("GET", "/bulk_docs", b"", 405),
    ("DELETE", "/queries", b"", 405),
    ("GET", "/admin/backup", b"", 405),
    ("PUT", "/docs/a", b"", 422),
    ("PUT", "/docs/a", b"{", 422),
    ("PUT", "/docs/a", b"[]", 422),
    ("PUT", "/docs/a", b"null", 422),
    ("PUT", "/docs/a", b'{"a":"\xff"}', 422),
    ("PUT", "/docs/" + "x" * 513, b"{}", 400),
    ("GET", "/docs/" + "x" * 513, b"", 400),
    ("POST", "/queries/", b"{}", 422),
    ("POST", "/queries/", b"[1]", 422),
    ("GET", "/docs?start=one", b"", 400),
    ("GET", "/docs?startsWith=%FF", b"", 400),
    ("POST", "/admin/restore", b"{}", 400),
    ("GET", "/operation/status?id=many", b"", 400),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), WRONG, ids=str)
def test_what_is_refused(shop: Database, method: str, path: str, body: bytes, status: int) -> None:
    answer = shop.request(method, path, content=body)
    if path == "/admin/restore":
        assert (answer.status_code, type(answer.json())) == (status, str)
        return
    told = assert_error(answer, status)
    if status == 501:
        assert "is RavenDB's" in told["Error"]
        assert told["Hint"]
    if status == 405:
        assert method not in answer.headers["allow"].split(", ")
    assert shop.get("/docs").json() == []


def test_server_wide_paths_are_not_below_a_database(shop: Database) -> None:
    for path in ("/admin/stats", "/databases", "/health/live", "/admin/databases/x"):
        assert_error(shop.get(path), 404)


def test_routes_compare_without_case(shop: Database) -> None:
    shop.put("Case")
    assert shop.server.client.get(f"/Databases/{shop.name.upper()}/Docs/case").status_code == 200
    assert shop.get("/BUILD/Version").status_code == 200


def test_missing_parts_are_empty(shop: Database) -> None:
    missing = shop.get("/docs/none")
    assert (missing.status_code, missing.content) == (404, b"")


def test_unknown_databases(server: Server) -> None:
    for path in ("/docs", "/docs/a", "/stats", "/static/a"):
        assert_error(server.client.get(f"/databases/none{path}"), 503, "could not find", "none")
    for name in ("x" * 600, "a%00b", "%FF", "..", "%20"):
        answer = server.raw(f"GET /databases/{name}/docs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert b" 503 " in answer.splitlines()[0]


def test_bodies_that_are_too_large(shop: Database) -> None:
    head = f"PUT {shop.root}/docs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
    answer = shop.server.raw(f"{head}Content-Length: 99999999999\r\n\r\n{{".encode())
    assert b" 413 " in answer.splitlines()[0]
    # Or the next request would be sent on a connection that ends, and that one's client would be told nothing.
    assert b"\r\nconnection: close\r\n" in answer.lower()
    refused = shop.server.raw(f"{head}Content-Length: 2\r\n\r\n{{!".encode())
    assert b" 422 " in refused.splitlines()[0]
    assert b"connection: close" not in refused.lower()
    answer = shop.server.raw(f"{head}Content-Length: 99999999999999999999999999999\r\n\r\n{{".encode())
    assert b" 400 " in answer.splitlines()[0]
    chunk = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
    with socket.create_connection(("127.0.0.1", shop.server.port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(200):
                connection.sendall(chunk)
            connection.recv(65536)
            connection.sendall(chunk)
    assert shop.get("/docs").json() == []
    large = b'{"t":"' + b"x" * ((64 << 20) - 8) + b'"}'
    assert shop.put("large", large).status_code == 201
    assert shop.get("/docs/large").content == large
    assert_error(shop.put("larger", large + b" "), 422, "67,108,864")


HALVES = [
    b"Content-Length: 100\r\n\r\n" + b'{"a":1}',
    b'Transfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}\r\n',
    b'Transfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}\r\nzz\r\n',
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
]


@pytest.mark.parametrize("shut", [False, True])
@pytest.mark.parametrize("half", HALVES, ids=str)
def test_half_a_request_writes_nothing(shop: Database, half: bytes, shut: bool) -> None:
    for method, path in (("PUT", "/docs/a"), ("POST", "/docs"), ("POST", "/bulk_docs")):
        body = half.replace(b'{"a":1}', b'[{"Method":"PUT","Key":"b","Document":{}}]') if "bulk" in path else half
        head = f"{method} {shop.root}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n".encode()
        if shut:
            assert b" 20" not in shop.server.raw(head + body, shut=True).splitlines()[:1]
        else:
            with socket.create_connection(("127.0.0.1", shop.server.port)) as connection:
                connection.sendall(head + body)
    time.sleep(0.1)
    assert shop.get("/docs").json() == []


@pytest.mark.parametrize(
    "line",
    [b"GARBAGE", b"GET", b"GET / HTTP/9.9", b"\x16\x03\x01\x02\x00\x01", b"GET /" + b"a" * 100_000 + b" HTTP/1.1"],
)
def test_what_is_not_http(server: Server, line: bytes) -> None:
    answer = server.raw(line + b"\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert server.client.get("/health/live").status_code == 200


def test_requests_on_one_connection(shop: Database) -> None:
    put = f"PUT {shop.root}/docs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\nContent-Length: 2\r\n\r\n{{}}"
    get = f"GET {shop.root}/docs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nnull"
    answer = shop.server.raw((put + get + put + get).encode())
    assert answer.count(b"HTTP/1.1 201") == 2
    assert answer.count(b"HTTP/1.1 200") == 2


def test_a_chunked_body(shop: Database) -> None:
    assert shop.request("PUT", "/docs/a", content=iter([b'{"a"', b":1}"])).status_code == 201
    assert shop.get("/docs/a").json() == {"a": 1}


def test_header_values_that_are_not_ascii(shop: Database) -> None:
    head = (
        f"PUT {shop.root}/docs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\nContent-Length: 2\r\n".encode()
    )
    assert b" 201 " in shop.server.raw(head + "X-Name: Jürgen\r\nX-Other: b\r\n\r\n{}".encode())
    assert shop.get("/docs/a").headers["x-other"] == "b"


def test_the_openapi_document(server: Server) -> None:
    told = server.client.get("/openapi.json").json()
    assert told["openapi"].startswith("3.")
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            if method == "get":
                filled = path.format(database="none", id="x", key="x", name="x", index="x", file="x")
                answer = server.client.get(filled, params={"id": "1"})
                assert b"there is nothing at" not in answer.content


BROKEN_UP = "a\r\nX-Evil: 1\r\n\r\n{}"


def test_metadata_adds_no_headers(shop: Database) -> None:
    metadata = {"Plain": BROKEN_UP, BROKEN_UP: "x", "List": [BROKEN_UP], "Object": {BROKEN_UP: BROKEN_UP}, "Nul": "\0"}
    metadata |= {"Next": "\x85\u2028", "Set-Cookie": "a=b", "Content-Length": "0", "Transfer-Encoding": "chunked"}
    document = {"Method": "PUT", "Key": BROKEN_UP, "Document": {"a": 1}, "Metadata": metadata}
    assert shop.batch([document]).status_code == 200
    answer = shop.get(f"/docs/{quote(BROKEN_UP, safe='')}")
    assert answer.json() == {"a": 1}
    for name in ("x-evil", "set-cookie", "transfer-encoding"):
        assert name not in answer.headers
    assert answer.headers["content-length"] == "7"
    assert unquote(answer.headers["plain"]) == BROKEN_UP
    key = quote(BROKEN_UP, safe="")
    stored = shop.request("PUT", f"/static/{key}", content=b"x", headers={"X-Name": quote(BROKEN_UP)})
    for answer in (stored, shop.get(f"/static/{key}")):
        assert answer.status_code in (200, 201)
        assert "x-evil" not in answer.headers


def test_a_body_has_one_length(shop: Database) -> None:
    """What a proxy could take for two requests where this takes it for one is refused, or is the last."""
    head = f"PUT {shop.root}/docs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
    chunks = "2\r\n{}\r\n0\r\n\r\n"
    second = (
        f"PUT {shop.root}/docs/evil HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    lengths = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    ]
    lengths += ["Content-Length: 2\r\nContent-Length: 12\r\n", "Content-Length: +2\r\n", "Content-Length: 2, 12\r\n"]
    lengths += ["Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: chunked, identity\r\n", "Content-Length : 2\r\n"]
    lengths += ["Transfer-Encoding : chunked\r\n", "Transfer-Encoding:\x0bchunked\r\n", "Content-Length: 0x2\r\n"]
    for length in lengths:
        answer = shop.server.raw(f"{head}{length}\r\n{chunks}{second}".encode())
        assert answer.count(b"HTTP/1.1 ") == 1, length
        assert b"connection: close" in answer, length
    assert shop.get("/docs/evil").status_code == 404
    answer = shop.server.raw(f"{head}Transfer-Encoding: gzip, chunked\r\n\r\n{chunks}".encode())
    assert b" 501 " in answer.splitlines()[0]


def test_a_refusal_reaches_who_is_still_sending(shop: Database) -> None:
    shop.request("PUT", "/static/there", content=b"x")
    large = b"x" * (12 << 20)  # more than fits between the two
    foreign = {"Origin": "http://evil"}
    none = {"If-None-Match": "00000000-0000-0000-0000-000000000000"}
    for method, path, headers, status in (
        ("PUT", "/docs/a", foreign, 403),
        ("PUT", "/static/a", foreign, 403),
        ("PUT", "/static/there", none, 409),
        ("PUT", "/nothing", {}, 404),
        ("PUT", "/stats", {}, 405),
        ("POST", "/smuggler/import?nothing=1", {}, 400),
    ):
        for body in (large, (large[:1000000] for _ in range(12))):
            # It reads nothing before all is sent.
            client = http.client.HTTPConnection("127.0.0.1", shop.server.port, timeout=30)
            client.request(method, f"{shop.root}{path}", body, {"Muniment-Request": "1", **headers})
            assert client.getresponse().status == status
            client.close()


def test_the_log_has_one_line_for_a_request(tmp_path: Path) -> None:
    with running(tmp_path / "data", access_log="true") as server:
        server.client.get("/docs/a%0A2026-01-01T00:00:00Z%20evil%1b[2J%E2%80%A8")
        assert "/docs/a\\n2026-01-01T00:00:00Z evil\\x1b[2J\\u2028 404\n" in server.log()
