"""Where a request ends: two who read it differently must not see different requests, and no metadata makes a header."""

from __future__ import annotations

import pytest

from tests.server.running import Database

HEAD = b"Host: localhost\r\nMuniment-Request: 1\r\n"


def _put(root: str, id: str, more: bytes, body: bytes) -> bytes:
    return f"PUT {root}/docs/{id} HTTP/1.1\r\n".encode() + HEAD + more + b"\r\n" + body


@pytest.mark.parametrize(
    ("more", "body"),
    [
        (b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n", b"{}"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 200\r\n", b"{}"),
        (b"Content-Length: 200\r\nContent-Length: 2\r\n", b"{}"),
        (b"Content-Length: +2\r\n", b"{}"),
        (b"Content-Length: 2, 2\r\n", b"{}"),
        (b"Content-Length: 0x2\r\n", b"{}"),
        (b"Content-Length: -2\r\n", b"{}"),
        (b"X: a\r\n Content-Length: 99\r\nContent-Length: 2\r\n", b"{}"),
        (b"X: a\rContent-Length: 99\r\nContent-Length: 2\r\n", b"{}"),
    ],
)
def test_nothing_is_done_of_what_follows_a_request_whose_end_is_in_doubt(
    shop: Database, more: bytes, body: bytes
) -> None:
    behind = _put(shop.root, "smuggled", b"Content-Length: 2\r\n", b"{}")
    answer = shop.server.raw(_put(shop.root, "a", more, body) + behind)
    assert answer.count(b"HTTP/1.1 ") == 1  # and the connection has ended
    assert shop.get("/docs/smuggled").status_code == 404


def test_what_follows_a_request_that_has_ended_is_done(shop: Database) -> None:
    behind = _put(shop.root, "second", b"Content-Length: 2\r\n", b"{}")
    for more, body in ((b"Content-Length: 2\r\n", b"{}"), (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n")):
        answer = shop.server.raw(_put(shop.root, "first", more, body) + behind)
        assert answer.count(b"HTTP/1.1 201 ") == 2


def test_no_metadata_makes_a_header_of_its_own(shop: Database) -> None:
    metadata = {
        "Plain": "a\r\nSet-Cookie: y=1",
        "Name\r\nSet-Cookie": "b",
        "Answer": "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "Content-Length": "0",
        "Transfer-Encoding": "chunked",
        "Location": "http://evil.example",
        "Set-Cookie": "c=1",
    }
    assert shop.batch([{"Method": "PUT", "Key": "a", "Document": {"n": 1}, "Metadata": metadata}]).status_code == 200
    answer = shop.get("/docs/a")
    assert answer.json() == {"n": 1}
    assert not {"set-cookie", "location", "transfer-encoding"} & answer.headers.keys()
    assert answer.headers["content-length"] == "7"
    assert (
        shop.server.raw(f"GET {shop.root}/docs/a HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()).count(b"HTTP/1.1 ") == 1
    )
    stored = shop.get("/docs?startsWith=a").json()[0]["@metadata"]
    assert (stored["Plain"], stored["Name\r\nSet-Cookie"]) == (metadata["Plain"], "b")
