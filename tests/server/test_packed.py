"""Bodies that are compressed, as RavenDB's old .NET clients send them: within the same limits as others."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.running import Database, Server, assert_error, running

PACKED = {"Content-Encoding": "gzip"}
LIMIT = 4 << 20


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that holds few bytes of requests at once."""
    with running(tmp_path_factory.mktemp("narrow") / "data", body_memory=LIMIT >> 20) as server:
        yield server


@pytest.mark.parametrize("name", ["gzip", "GZIP", "x-gzip"])
def test_a_document_a_batch_and_ids(shop: Database, name: str) -> None:
    packed = {"Content-Encoding": name}
    body = json.dumps({"text": "ä" * 100_000}).encode()
    assert shop.request("PUT", "/docs/a", content=gzip.compress(body), headers=packed).status_code == 201
    assert shop.get("/docs/a").content == body
    commands = [{"Method": "PUT", "Key": "b", "Document": {"n": 1}, "Metadata": {}}]
    answer = shop.request("POST", "/bulk_docs", content=gzip.compress(json.dumps(commands).encode()), headers=packed)
    assert answer.json()[0]["Key"] == "b"
    answer = shop.request("POST", "/queries/", content=gzip.compress(b'["a","b"]'), headers=packed)
    assert len(answer.json()["Results"]) == 2
    metadata = shop.get("/docs?startsWith=a").json()[0]["@metadata"]
    assert not any(each.lower().startswith("content") for each in metadata)


def test_parts_that_follow_each_other_and_an_empty_one(shop: Database) -> None:
    body = gzip.compress(b'{"a"') + gzip.compress(b"") + gzip.compress(b":1}")
    assert shop.request("PUT", "/docs/a", content=body, headers=PACKED).status_code == 201
    assert shop.get("/docs/a").content == b'{"a":1}'


def test_chunks(shop: Database) -> None:
    body = b'{"a":"%s"}' % (b"x" * 200_000)
    packed = gzip.compress(body)
    pieces = (packed[at : at + 7] for at in range(0, len(packed), 7))
    assert shop.request("PUT", "/docs/a", content=pieces, headers=PACKED).status_code == 201
    assert shop.get("/docs/a").content == body


def test_attachments_and_dumps(shop: Database) -> None:
    content = b"content" * 100_000
    packed = gzip.compress(content)
    assert shop.request("PUT", "/static/a", content=packed, headers=PACKED).status_code == 201
    assert shop.get("/static/a").content == content
    assert shop.request("PUT", "/static/b", content=packed).status_code == 201
    assert shop.get("/static/b").content == packed
    dump = b'{"Docs":[{"n":1,"@metadata":{"@id":"a/1"}}]}'
    for body in (gzip.compress(dump), gzip.compress(gzip.compress(dump))):
        answer = shop.request("POST", "/smuggler/import", content=body, headers=PACKED)
        assert answer.json()["documents"] == 1


def test_what_only_says_that_it_is_packed(shop: Database) -> None:
    """pyravendb sends the header with plain text."""
    assert shop.request("PUT", "/docs/a", content=b'{"a":1}', headers=PACKED).status_code == 201
    assert shop.request("PUT", "/static/c", content=b"x", headers=PACKED).status_code == 201
    assert shop.get("/static/c").content == b"x"
    assert (
        shop.request("PUT", "/docs/b", content=b'{"a":1}', headers={"Content-Encoding": "identity"}).status_code == 201
    )


@pytest.mark.parametrize("cut", [3, 20, -1])
def test_a_stream_without_an_end(shop: Database, cut: int) -> None:
    packed = gzip.compress(b'{"a":"0123456789"}')[:cut]
    for path in ("/docs/a", "/static/a"):
        assert_error(shop.request("PUT", path, content=packed, headers=PACKED), 400, "gzip stream has no end")
        assert shop.get(path).status_code == 404


def test_what_is_damaged_or_unknown(shop: Database) -> None:
    packed = bytearray(gzip.compress(b'{"a":"0123456789"}'))
    packed[-6] ^= 1
    for path in ("/docs/a", "/static/a"):
        assert_error(shop.request("PUT", path, content=bytes(packed), headers=PACKED), 400, "not gzip")
        assert_error(shop.request("PUT", path, content=b"x", headers={"Content-Encoding": "br"}), 415, "'br'")
        assert shop.get(path).status_code == 404


def test_a_bomb_does_not_pass_the_limits(narrow: Server) -> None:
    shop = narrow.create("shop")
    before = peak(narrow)
    bomb = gzip.compress(b'{"a":"%s"}' % (b"0" * (96 << 20)))
    assert len(bomb) < LIMIT
    assert_error(shop.request("PUT", "/docs/a", content=bomb, headers=PACKED), 413, "larger than")
    nested = gzip.compress(b'{"a":1}' + b" " * (LIMIT + 1))
    assert_error(shop.request("PUT", "/docs/a", content=nested, headers=PACKED), 413)
    assert peak(narrow) - before < 32 << 20
    half = b'{"a":1}' + b" " * (LIMIT // 2)
    assert shop.request("PUT", "/docs/a", content=gzip.compress(half), headers=PACKED).is_success
    for _ in range(4):  # what was held is held no more
        assert shop.request("PUT", "/docs/a", content=half).is_success


def peak(server: Server) -> int:
    """The most memory that the process has had, in bytes."""
    told = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(told.split("VmHWM:")[1].split()[0]) << 10
