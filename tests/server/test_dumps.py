"""Dumps that are streamed to a server and from one."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from muniment.client import DocumentStore
from muniment.errors import DamagedDump, DatabaseNotFound, ServerUnavailable, UnknownFormat
from tests.sampled import count, torture
from tests.server.running import Database, Server, assert_error, running
from tests.shared import shared
from tests.smuggler.dumps import attachment, blake2b, docs, document
from tests.waiting import PATIENCE, until

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
    head = (
        f"POST /databases/{shop.name}/smuggler/import HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
        f"Content-Length: {len(DUMP)}\r\n\r\n"
    )
    server.raw(head.encode() + DUMP[: len(DUMP) // 2], shut=True)
    assert shop.get("/docs/a/1").status_code == 404
    assert_error(shop.request("POST", "/smuggler/import", content=b""), 400)


def test_an_export_is_a_stream_and_an_operation(shop: Database, server: Server, tmp_path: Path) -> None:
    shop.fill(10)
    answer = shop.get("/smuggler/export")
    assert (answer.status_code, answer.headers["transfer-encoding"]) == (200, "chunked")
    assert f"{shop.name}%20" in answer.headers["content-disposition"]
    assert json.loads(gzip.decompress(answer.content))["Docs"][9]["n"] == 9
    told = server.wait_for(int(answer.headers["muniment-operation"]))
    result = told["State"]["Result"]
    assert (result["documents"], result["etag"], result["size"]) == (10, 10, len(answer.content))
    [listed] = [each for each in server.client.get("/operations").json() if each["Id"] == told["Id"]]
    assert (listed["TaskType"], listed["Status"]) == ("export", "Completed")


def test_options_of_an_export(shop: Database) -> None:
    shop.fill(10)
    lines = shop.get("/smuggler/export?format=ndjson&limit=2&Start-Document-Etag=3").text.splitlines()
    assert [json.loads(line)["n"] for line in lines] == [3, 4]
    wanted = {"format": "ndjson", "compression": "zstd", "limit": 1, "operate-on-types": ["Documents"]}
    answer = shop.request("POST", "/smuggler/export", json=wanted)
    assert answer.content.startswith(b"\x28\xb5\x2f\xfd")
    for query in (
        "format=xml",
        "compression=lz4",
        "limit=few",
        "limit=-1",
        "nonsense=1",
        "excludeexpired=1",
        "operate-on-types=Indices",
    ):
        assert_error(shop.get(f"/smuggler/export?{query}"), 400)
    assert_error(shop.request("POST", "/smuggler/export", json={"limit": {}}), 422)
    assert_error(shop.request("POST", "/smuggler/export", content=b"x"), 422)
    assert_error(shop.server.client.get("/databases/none/smuggler/export"), 503)


def test_a_part_of_a_moment(shop: Database, server: Server, tmp_path: Path) -> None:
    for kind in ("orders", "users", "shops"):
        for number in (1, 2):
            shop.put(f"{kind}/{number}", **{"Raven-Entity-Name": kind})
    shop.backup(tmp_path / "backups")
    moment = {"BackupLocation": str(tmp_path / "backups")}

    def ids(**part: list[str]) -> list[str]:
        answer = server.client.post("/admin/restore/export?format=ndjson", json=moment | part)
        assert answer.status_code == 200, answer.text
        return sorted(json.loads(line)["@metadata"]["@id"] for line in answer.text.splitlines())

    assert ids(Collections=["orders"]) == ["orders/1", "orders/2"]
    assert ids(Ids=["Orders/1"], IdPrefixes=["users/", "shops/2"]) == ["orders/1", "shops/2", "users/1", "users/2"]
    assert ids(Collections=["orders", "users"], Ids=["shops/1"])[-3:] == ["shops/1", "users/1", "users/2"]
    assert len(ids()) == 6
    assert_error(server.client.post("/admin/restore/export", json=moment | {"Ids": [""]}), 400)
    lines = shop.get("/smuggler/export?format=ndjson&collection=orders&id=users/1").text.splitlines()
    assert len(lines) == 3


def test_an_export_that_fails_breaks_the_connection(shop: Database) -> None:
    script = {"transform": "function(doc) { if (doc.odd) throw 'odd'; return doc; }"}
    shop.put("first", b'{"odd":1}')
    assert_error(shop.get("/smuggler/export", params=script), 400, "first")
    shop.request("DELETE", "/docs/first")
    content = b"x" * 3_000_000
    for number in range(3):
        shop.put(f"big/{number}", b'{"text":"%s"}' % content)
    shop.put("last", b'{"odd":1}')
    for format in ("ndjson", "ravendbdump"):
        with pytest.raises(httpx.RemoteProtocolError):
            shop.get("/smuggler/export", params={"format": format, "compression": "none", **script})


def memory(server: Server) -> int:
    """The most memory that the server has had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@torture
def test_memory_does_not_depend_on_the_size_nor_on_the_client(shop: Database, server: Server) -> None:
    size, picture = count(48, whole=150), os.urandom(1 << 20)
    shop.request("PUT", "/static/big", content=(picture for _ in range(size)))
    before = memory(server)
    asked = f"GET /databases/{shop.name}/smuggler/export?compression=none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(asked.encode())
        head = connection.recv(1000)
        operation = int(head.lower().partition(b"muniment-operation: ")[2].split()[0])
        sent = -1
        while sent != (sent := server.client.get(f"/operation/status?id={operation}").json()["State"]["Bytes"]):
            time.sleep(0.5)
    assert server.wait_for(operation)["Canceled"]
    with server.client.stream("GET", f"{shop.root}/smuggler/export?compression=none") as answer:
        other = server.create(f"{shop.name}-copy")
        imported = other.request("POST", "/smuggler/import", content=answer.iter_bytes(), timeout=PATIENCE)
    assert imported.json()["attachments"] == 1
    assert other.get("/static/big").content == picture * size
    assert memory(server) - before < count(85, whole=100) << 20  # of which 64 are the page cache of a database
    # A little after the end of an export nobody uses it any more.
    until(lambda: server.client.delete(f"/admin/databases/{shop.name}?hard-delete=true").status_code == 200)


def test_exports_and_imports_can_be_killed(shop: Database, server: Server) -> None:
    shop.request("PUT", "/static/big", content=(os.urandom(1 << 20) for _ in range(20)))
    with server.client.stream("GET", f"{shop.root}/smuggler/export?compression=none") as answer:
        assert server.client.get(f"/operation/kill?id={answer.headers['muniment-operation']}").status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()

    def killing() -> Iterator[bytes]:
        yield DUMP[:-1]
        mine = f"import of {shop.name}"
        [running] = [each for each in server.client.get("/operations").json() if each["Description"] == mine]
        assert (running["TaskType"], running["Status"]) == ("import", "Running")
        server.client.get(f"/operation/kill?id={running['Id']}")
        yield DUMP[-1:]

    assert_error(shop.request("POST", "/smuggler/import", content=killing()), 500, "stopped while importing")


def test_a_server_that_is_killed_in_the_middle_of_an_export(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        shop = server.create("shop")
        shop.request("PUT", "/static/big", content=(os.urandom(1 << 20) for _ in range(20)))
        with DocumentStore(server.url, "shop") as store:

            class Killing:
                def write(self, data: bytes) -> None:
                    server.process.kill()

            with pytest.raises(ServerUnavailable):
                store.export(Killing(), format="ravendbdump", compression="none")
        server.process.wait()


def test_the_real_dump(shop: Database) -> None:
    found = shop.request("POST", "/smuggler/import", content=shared().read_bytes(), timeout=PATIENCE).json()
    assert (found["documents"], found["attachments"]) == (1059, 17)
    assert shop.get("/stats").json()["CountOfDocuments"] == 1059 + 8  # seven index definitions and the record
