"""Attachments, streamed both ways."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sampled import some
from tests.server.running import Database, Server, assert_error, running

LARGE = 5 << 20


def store(shop: Database, key: str, content: bytes, **headers: str) -> str:
    answer = shop.request("PUT", f"/static/{key}", content=content, headers=headers)
    assert answer.status_code == 201, answer.text
    etag: str = answer.headers["etag"]
    return etag


@some(3)
@pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20, (1 << 20) + 1, LARGE])
def test_an_attachment_comes_back(shop: Database, size: int) -> None:
    content = os.urandom(size)
    etag = store(shop, "pictures%2F1%3F", content, Owner="me", **{"Content-Type": "image/png"})
    assert etag.startswith('"02000000-0000-0001-')
    found = shop.get("/static/PICTURES/1%3F")
    assert found.content == content
    assert found.headers["content-length"] == str(size)
    assert found.headers["content-type"] == "image/png"
    assert found.headers["owner"] == "me"
    assert found.headers["etag"] == etag
    head = shop.request("HEAD", "/static/pictures/1%3F")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")
    assert shop.get("/static/pictures/1%3F", headers={"If-None-Match": etag}).status_code == 304


def test_etags_metadata_and_deletion(shop: Database) -> None:
    zero = "00000000-0000-0000-0000-000000000000"
    first = store(shop, "a", b"1", **{"If-None-Match": zero})
    again = shop.request("PUT", "/static/a", content=b"2", headers={"If-None-Match": zero})
    assert_error(again, 409)
    assert shop.get("/static/a").content == b"1"
    changed = shop.request("POST", "/static/a", headers={"Owner": "you", "If-None-Match": first})
    assert changed.status_code == 200
    found = shop.get("/static/a")
    assert (found.content, found.headers["owner"]) == (b"1", "you")
    assert_error(shop.request("DELETE", "/static/a", headers={"If-None-Match": first}), 409)
    assert shop.request("DELETE", "/static/a").status_code == 204
    assert shop.request("DELETE", "/static/a").status_code == 204
    missing = shop.get("/static/a")
    assert (missing.status_code, missing.content) == (404, b"")
    assert_error(shop.request("POST", "/static/a"), 404)


def test_listing(shop: Database) -> None:
    for key in ("b/2", "a/1", "b/1"):
        store(shop, key.replace("/", "%2F"), key.encode(), Owner=key)
    listed = shop.get("/static/").json()
    assert [each["Key"] for each in listed] == ["b/2", "a/1", "b/1"]
    assert listed[1] == {
        "Size": 3,
        "Key": "a/1",
        "Metadata": {"Owner": "a/1"},
        "Etag": "02000000-0000-0001-0000-000000000002",
        "Sha256": hashlib.sha256(b"a/1").hexdigest(),
        "Owner": None,
        "Name": "a/1",
    }
    assert [each["Key"] for each in shop.get("/static", params={"etag": listed[0]["Etag"]}).json()] == ["a/1", "b/1"]
    assert [each["Key"] for each in shop.get("/static", params={"startsWith": "B/"}).json()] == ["b/1", "b/2"]
    assert [each["Key"] for each in shop.get("/static", params={"start": 1, "pageSize": 1}).json()] == ["a/1"]


def test_owners_and_names_apart(shop: Database) -> None:
    """The key of both is a/b/c, and RavenDB 3's clients, which know keys alone, find one of them."""
    for owner, name, content in (("a", "b/c", b"1"), ("a/b", "c", b"2")):
        params = {"owner": owner}
        put = shop.request("PUT", f"/static/{name}", params=params, content=content)
        assert (put.status_code, put.headers["location"]) == (201, "/static/a%2Fb%2Fc")
        assert shop.get(f"/static/{name}", params=params).content == content
    assert shop.get("/static/A/b/c").content == b"2"
    listed = shop.get("/static/", params={"startsWith": "a/B/"}).json()
    assert [(each["Key"], each["Owner"], each["Name"]) for each in listed] == [
        ("a/b/c", "a", "b/c"),
        ("a/b/c", "a/b", "c"),
    ]
    assert shop.get("/static/", params={"key": "c", "owner": "a/b"}).json() == listed[1:]
    assert shop.get("/static/", params={"key": "a/b/c"}).json() == listed[1:]
    assert shop.get("/static/", params={"key": "a/b"}).json() == []
    assert shop.request("POST", "/static/a/b/c", headers={"Owner": "x"}).status_code == 200
    assert shop.get("/static/c", params={"owner": "a/b"}).headers["owner"] == "x"
    assert shop.request("DELETE", "/static/a/b/c").status_code == 204
    assert shop.get("/static/a/b/c").content == b"1"
    assert shop.request("PUT", "/static/a%1Eb", content=b"").status_code == 400


def test_a_stream_without_a_length(shop: Database) -> None:
    def parts() -> Iterator[bytes]:
        for n in range(40):
            yield bytes([n]) * 100_000

    assert shop.request("PUT", "/static/a", content=parts()).status_code == 201
    assert shop.get("/static/a").content == b"".join(bytes([n]) * 100_000 for n in range(40))


HALVES = [
    b"Content-Length: 3000000\r\n\r\n" + b"x" * 2_000_000,
    b"Transfer-Encoding: chunked\r\n\r\n1e8480\r\n" + b"x" * 2_000_000 + b"\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2dc6c0\r\n" + b"x" * 2_000_000,
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
]


@some(2)
@pytest.mark.parametrize("half", HALVES)
def test_half_an_attachment_is_none(shop: Database, half: bytes) -> None:
    store(shop, "a", b"before")
    head = f"PUT {shop.root}/static/a HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n".encode()
    with socket.create_connection(("127.0.0.1", shop.server.port)) as connection:
        connection.sendall(head + half)
    time.sleep(0.3)
    assert shop.get("/static/a").content == b"before"
    assert len(shop.get("/static").json()) == 1


def memory(server: Server) -> int:
    """The most that the server has had in memory, in MB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_large_attachments_take_little_memory(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        shop = server.create("shop")
        store(shop, "first", b"x" * (66 << 20))  # fills the database's page cache, 64 MB
        before = memory(server)
        store(shop, "large", b"x" * (40 << 20))
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.sendall(b"GET /databases/shop/static/large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            time.sleep(0.7)  # a client that does not read is waited for
            left = 40 << 20
            while left > 0 and (part := slow.recv(1 << 20)):
                left -= len(part)
        assert left <= 0
        assert memory(server) - before < 30
