"""RavenDB 3's bulk insert over HTTP."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from muniment.security.keys import new_key
from tests.bson import document, segment
from tests.sampled import count, torture
from tests.server.running import Database, Server, assert_error, running

TEN = [document(f"items/{n}", {"n": n, "price": n * 1.5}, **{"Raven-Entity-Name": "Items"}) for n in range(10)]


def insert(shop: Database, content: Any, **options: str) -> httpx.Response:
    return shop.request("POST", "/bulkInsert", content=content, params=options)


def numbers(shop: Database) -> int:
    count: int = shop.get("/stats").json()["CountOfDocuments"]
    return count


def test_documents_come_in_segments(shop: Database, server: Server) -> None:
    beat = document("Raven/BulkImport/Heartbeat", {})
    done = insert(shop, segment(TEN[:4]) + segment([beat]) + segment([]) + segment(TEN[4:]), operationId="of-its-own")
    assert done.status_code == 202, done.text
    status = server.wait_for(done.json()["OperationId"])
    assert (status["Faulted"], status["State"]["Documents"]) == (False, 10)
    assert numbers(shop) == 10
    found = shop.get("/docs/items/3")
    assert (found.content, found.headers["raven-entity-name"]) == (b'{"n":3,"price":4.5}', "Items")
    # Those that are there already are a conflict, unless the client says otherwise.
    told = assert_error(insert(shop, segment([document("a", {}), TEN[0]])), 409, "items/0", "the 0 documents before it")
    assert told["Kind"] == "ConcurrencyConflict"
    etag = found.headers["etag"]
    changed = [TEN[3], document("items/4", {"n": "other"}), TEN[4]]
    assert insert(shop, segment(changed), skipOverwriteIfUnchanged="true").status_code == 202
    assert shop.get("/docs/items/3").headers["etag"] == etag
    assert shop.get("/docs/items/4").json() == {"n": 4, "price": 6.0}  # what came last
    for option in ("overwriteExisting", "checkForUpdates"):
        assert insert(shop, segment(TEN[3:4]), **{option: "true", "checkReferencesInIndexes": "true"}).is_success
    assert shop.get("/docs/items/3").headers["etag"] > etag
    assert numbers(shop) == 10


def test_formats(shop: Database) -> None:
    text = json.dumps({"n": 1.10, "@metadata": {"@id": "of json", "Raven-Entity-Name": "Items"}}).encode()
    for number, (form, packed) in enumerate([("json", True), ("json", False), ("bson", False)]):
        items = [text.replace(b"of", b"%d" % number), text.replace(b"of", b"again %d" % number)]
        if form == "bson":
            items = [document(f"{number} json", {"n": 1.1})]
        compression = "gzip" if packed else "none"
        assert insert(shop, segment(items, packed=packed), format=form, compression=compression).is_success
        assert shop.get(f"/docs/{number} json").content.replace(b" ", b"") == b'{"n":1.1}'
    assert_error(insert(shop, b"", format="xml"), 501, "xml")
    assert insert(shop, b"").status_code == 202  # nothing is no error
    assert shop.request("POST", "/bulkInsert?no-op=for-auth-only").content == b""


def test_a_broken_stream_leaves_what_came_before(shop: Database) -> None:
    whole = segment(TEN[:5])
    wrong: list[tuple[bytes, int, str]] = [
        (whole + segment(TEN[5:])[:-3], 400, "missing at the end"),
        (whole + b"\1\0", 400, "2 bytes are missing"),
        (whole + struct.pack("<i", -1), 422, "-1"),
        (whole + segment(TEN[5:], count=6), 400, "missing at the end"),
        (whole + segment(TEN[5:], count=4), 422, "has more in it"),
        (whole + segment([document("b", {}), document("", {})]), 422, "document 6: there is no @id"),
        (whole + segment([document("b", {}), document("x" * 2000, {})]), 400, "document 6"),
        (whole + segment(TEN[5:])[:30] + b"nonsense" + segment(TEN[5:])[38:], 400, "gzip"),
        (whole + segment([document("b", {}), b"\5\0\0\0\7"]), 422, "BSON"),
        (whole + segment([struct.pack("<i", 1 << 30)]), 413, "bytes"),
    ]
    for content, status, word in wrong:
        told = assert_error(insert(shop, content, overwriteExisting="true"), status, "the 5 documents before it")
        assert word in told["Error"]
        assert numbers(shop) == 5
    half = b"POST %s/bulkInsert HTTP/1.1\r\nHost: x\r\nRaven-Client-Version: 3.5.0.0\r\n" % shop.root.encode()
    chunk = segment(TEN[5:7])
    shop.server.raw(half + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(chunk), chunk), shut=True)
    assert numbers(shop) in (5, 7)
    assert_error(shop.server.client.post("/bulkInsert", content=whole), 501, "own database")


@torture
def test_many_documents_take_no_memory(shop: Database) -> None:
    many = count(64, whole=160)

    def memory() -> int:
        status = Path(f"/proc/{shop.server.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def content() -> Iterator[bytes]:
        for first in range(0, many, 8):
            yield segment(document(f"items/{n}", {"text": "x" * 1_000_000}) for n in range(first, first + 8))

    insert(shop, segment(TEN))
    before = memory()
    assert insert(shop, content(), overwriteExisting="true").status_code == 202
    assert numbers(shop) == many  # the first ten are among them
    assert memory() - before < count(90, whole=110) << 10  # of which 64 are the page cache of a database


def test_a_token_that_is_good_once(tmp_path: Path) -> None:
    """RavenDB's client asks for one with its key, has it changed for another, and sends that with the documents."""
    with running(tmp_path / "data") as server:
        shop, other = server.create("shop"), server.create("other")
        free = shop.get("/singleAuthToken").json()["Token"]  # it opens nothing, for nothing is closed
        assert shop.request("POST", "/bulkInsert", headers={"Single-Use-Auth-Token": free}).status_code == 202
        key, text = new_key("writer", ["write"])
        assert server.client.put(f"/docs/{key.id}", content=key.encoded()).status_code == 201
        assert shop.get("/singleAuthToken").status_code == 401
        bearer = {"Authorization": f"Bearer {text}"}

        def exchanged(sent: dict[str, str]) -> dict[str, str]:
            answer = shop.get("/singleAuthToken", headers=sent)
            assert answer.status_code == 200, answer.text
            return {"Single-Use-Auth-Token": answer.json()["Token"]}

        def inserted(database: Database, sent: dict[str, str]) -> int:
            return database.request("POST", "/bulkInsert", content=segment(TEN), headers=sent).status_code

        once = exchanged(exchanged(bearer))
        assert (inserted(shop, once), inserted(shop, once)) == (202, 401)
        assert inserted(other, exchanged(bearer)) == 401
        token = exchanged(bearer)["Single-Use-Auth-Token"]
        assert shop.get("/stats", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        asked = {"op": "generate-single-use-auth-token"}
        assert len(shop.request("POST", "/bulkInsert", params=asked, headers=bearer).json()["Token"]) > 40
