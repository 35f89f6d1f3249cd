"""Dumps that are streamed to a server."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from muniment.client import DocumentStore
from muniment.errors import DamagedDump, DatabaseNotFound, UnknownFormat
from tests.server.running import Database, Server, assert_error
from tests.smuggler.dumps import attachment, blake2b, docs, document

PICTURE = b"\x89PNG" * 700_000
NAMED = f'{{"Name":"p.png","Hash":"{blake2b(PICTURE)}","ContentType":"image/png"}}'
METADATA = '"@id":"a/1","@collection":"As","@last-modified":"2018-07-27T12:11:53.0145929Z"'
DUMP = docs(
    attachment(PICTURE),
    f'{{"price":1.10,"@metadata":{{{METADATA},"@attachments":[{NAMED}]}}}}'.encode(),
    document("a/2"),
    more=b',"CounterGroups":[{},{}]',
)


def test_a_dump_is_imported_as_it_comes(shop: Database, server: Server) -> None:
    answer = shop.request("POST", "/smuggler/import", content=gzip.compress(DUMP))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["documents"], found["attachments"], found["compression"]) == (2, 1, "gzip")
    assert found["skipped"] == {"CounterGroups": 2}
    first = shop.get("/docs/a/1")
    assert first.content == b'{"price":1.10}'
    assert first.headers["raven-entity-name"] == "As"
    assert shop.get("/static/a/1/p.png").content == PICTURE


def test_the_client_streams_it(shop: Database, server: Server) -> None:
    with DocumentStore(server.url, shop.name) as store:
        pieces = (DUMP[start : start + 100_000] for start in range(0, len(DUMP), 100_000))
        assert store.import_dump(pieces).documents == 2
        document = store.get("a/1")
        assert document is not None
        assert document.last_modified == "2018-07-27T12:11:53.0145929Z"
        with pytest.raises(DamagedDump, match="cut short"):
            store.import_dump(DUMP[:-1])
        with pytest.raises(UnknownFormat):
            store.import_dump(b"no dump")
    with DocumentStore(server.url, "none") as store, pytest.raises(DatabaseNotFound):
        store.import_dump(DUMP)


def test_a_request_that_breaks_is_no_import(shop: Database, server: Server) -> None:
    head = f"POST /databases/{shop.name}/smuggler/import HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DUMP)}\r\n\r\n"
    server.raw(head.encode() + DUMP[: len(DUMP) // 2], shut=True)
    assert shop.get("/docs/a/1").status_code == 404
    assert_error(shop.request("POST", "/smuggler/import", content=b""), 400)


def test_the_real_dump(shop: Database) -> None:
    dump = Path(__file__).parents[3] / "shared" / "data" / "northwind-ravendb-6.2.ravendbdump"
    if not dump.exists():
        pytest.skip(f"{dump.name} is not beside the checkout")
    found = shop.request("POST", "/smuggler/import", content=dump.read_bytes(), timeout=60).json()
    assert (found["documents"], found["attachments"]) == (1059, 17)
    assert shop.get("/stats").json()["CountOfDocuments"] == 1059
