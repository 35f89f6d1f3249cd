"""What backups hold, told over HTTP before anything is restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.server.running import Database, Server


def test_the_versions_of_a_document(server: Server, shop: Database, tmp_path: Path) -> None:
    assert shop.request("PUT", "/docs/a", content=b'{"n":1.10}', headers={"Mine": "x"}).status_code == 201
    assert not shop.backup(tmp_path / "b")["Faulted"]
    assert shop.request("PUT", "/docs/A", content=b'{"n":2}').status_code == 201
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    assert shop.request("DELETE", "/docs/a").status_code == 204
    told = shop.get("/versions?id=A").json()
    assert told["notes"] == []
    first, second, gone = told["versions"]
    assert [len(each["backups"]) for each in told["versions"]] == [1, 1, 0]
    assert (gone["deleted"], gone["logged"], gone["current"]) == (True, True, True)
    assert not any("document" in each for each in told["versions"])
    [one] = shop.get(f"/versions?id=a&etag={first['etag']}&lineage={first['lineage']}").json()["versions"]
    assert one["metadata"]["Mine"] == "x"
    assert b'"document":{"n":1.10}' in shop.get(f"/versions?id=a&etag={first['etag']}").content
    assert second["etag"] > first["etag"]


def test_versions_that_a_history_keeps_need_no_backup(server: Server) -> None:
    shop = server.create("kept", **{"Muniment/History": "true"})
    for body in (b"1", b"2", b"3"):
        assert shop.request("PUT", "/docs/Ä/1", content=b'{"n":%s}' % body).status_code == 201
    told = shop.get("/versions?id=ä/1").json()["versions"]
    assert [each["logged"] for each in told] == [True] * 3
    assert [each["current"] for each in told] == [False, False, True]


def test_attachments_that_a_history_keeps_need_no_backup(server: Server, tmp_path: Path) -> None:
    shop = server.create("kept-attachments", **{"Muniment/History": "true"})
    large = bytes(range(256)) * 10_000  # in several parts
    for content in (b"one", large, b"three"):
        assert shop.request("PUT", "/static/photo.png?owner=orders/1", content=content).status_code < 300
    shop.request("PUT", "/static/photo.png?owner=orders/10", content=b"another document's")
    shop.request("PUT", "/static/orders/1/by-key", content=b"by its key")
    shop.request("DELETE", "/static/orders/1/by-key")
    told = shop.get("/versions/attachments?owner=ORDERS/1").json()["versions"]
    assert [(each["name"], each["bytes"], each["deleted"], each["current"]) for each in told] == [
        ("photo.png", 3, False, False),
        ("photo.png", len(large), False, False),
        ("photo.png", 5, False, True),
        ("by-key", 10, False, False),
        ("by-key", 0, True, True),
    ]
    assert all(each["logged"] and not each["backups"] for each in told)

    def content_of(version: dict[str, Any]) -> httpx.Response:
        where = {"etag": version["etag"], "lineage": version["lineage"]}
        return shop.get(f"/versions/attachments/{version['key']}", params=where)

    assert [content_of(each).content for each in told[:4]] == [b"one", large, b"three", b"by its key"]
    assert content_of(told[4]).status_code == 404
    assert content_of({**told[0], "lineage": "0000"}).status_code == 404
    assert content_of({**told[0], "key": told[3]["key"]}).status_code == 404
    assert not shop.backup(tmp_path / "b")["Faulted"]  # after which the history that nobody waits for may go
    again = shop.get("/versions/attachments?owner=orders/1").json()["versions"]
    now = [(each["etag"], each["logged"], len(each["backups"])) for each in again if each["current"]]
    assert now[0] == (told[2]["etag"], True, 1)


def test_a_folder_that_is_gone_is_told(server: Server, shop: Database, tmp_path: Path) -> None:
    shop.request("PUT", "/docs/a", content=b"{}")
    assert not shop.backup(tmp_path / "b")["Faulted"]
    (tmp_path / "b").rename(tmp_path / "elsewhere")
    told = shop.get("/versions?id=a").json()
    assert "b" in told["notes"][0]
    assert len(told["versions"]) == 1


def test_the_backups_in_a_folder(server: Server, shop: Database, tmp_path: Path) -> None:
    shop.request("PUT", "/docs/a", content=b"{}")
    assert not shop.backup(tmp_path / "b")["Faulted"]
    told = server.client.get("/admin/backups", params={"location": str(tmp_path / "b")}).json()
    [chain] = told["chains"]
    assert chain["name"] == shop.name
    assert [each["kind"] for each in chain["backups"]] == ["full"]
    assert len(told["lineages"]) == 1
    assert server.client.get("/admin/backups", params={"location": str(tmp_path / "none")}).status_code == 404


def test_a_page_of_documents_begins_after_an_id_and_may_be_of_a_collection(shop: Database) -> None:
    for number in range(5):
        shop.request("PUT", f"/docs/items/{number}", content=b"{}", headers={"Raven-Entity-Name": "AB"[number % 2]})
    found = shop.get("/docs?startsWith=ITEMS/&skipAfter=Items/2&metadata-only=true").json()
    assert [each["@metadata"]["@id"] for each in found] == ["items/3", "items/4"]
    assert [each["@metadata"]["@id"] for each in shop.get("/docs?startsWith=&skipAfter=A&pageSize=1").json()] == [
        "items/0"
    ]
    [first, second] = shop.get("/docs?collection=b&metadata-only=true").json()
    after = first["@metadata"]["@etag"]
    assert shop.get(f"/docs?collection=B&etag={after}&metadata-only=true").json() == [second]


def test_attachments_that_were_replaced_or_deleted_are_got_out_of_backups(
    server: Server, shop: Database, tmp_path: Path
) -> None:
    """Also a large one, of which parts are in several row groups, and one that belongs to a document that is gone."""
    for id in ("orders/1", "orders/1/2"):
        shop.request("PUT", f"/docs/{id}", content=b"{}")
    large = bytes(range(256)) * 80_000
    kinds = {"Content-Type": "image/png"}
    put = [("photo.png", b"one"), ("large", large), ("other", b"other")]
    for name, sent in put:
        shop.request("PUT", f"/static/{name}?owner=orders/1", content=sent, headers=kinds)
    shop.request("PUT", "/static/mine?owner=orders/1/2", content=b"of another document")
    shop.request("PUT", "/static/orders/1/by-key", content=b"by its key")
    assert not shop.backup(tmp_path / "b")["Faulted"]
    shop.request("PUT", "/static/photo.png?owner=orders/1", content=b"two")
    shop.request("DELETE", "/static/large?owner=orders/1")
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    shop.request("DELETE", "/docs/orders/1")
    told = shop.get("/versions/attachments?owner=ORDERS/1").json()
    assert told["notes"] == []
    found = [(each["name"], each["bytes"], each["deleted"]) for each in told["versions"]]
    assert found == [
        ("photo.png", 3, False),
        ("large", len(large), False),
        ("other", 5, False),
        ("by-key", 10, False),
        ("photo.png", 3, False),
        ("large", 0, True),
    ]

    def content(version: dict[str, Any]) -> httpx.Response:
        path = f"/versions/attachments/{version['key']}"
        return shop.get(path, params={"etag": version["etag"], "lineage": version["lineage"]})

    contents = [content(each) for each in told["versions"]]
    assert [each.content for each in contents[:5]] == [b"one", large, b"other", b"by its key", b"two"]
    assert contents[0].headers["content-type"] == "image/png"
    assert contents[0].headers["content-security-policy"].startswith("sandbox")
    assert contents[5].status_code == 404
    assert shop.get("/versions/attachments/orders/1/other?etag=1").status_code == 404
    assert shop.get("/versions/attachments").status_code == 400
    [whole] = (tmp_path / "b").glob("*.full")
    file = next(whole.glob("attachments*.parquet"))
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    assert content(told["versions"][0]).json()["Kind"] == "DamagedBackup"
    assert content(told["versions"][4]).content == b"two"
    assert shop.get("/versions/attachments?owner=orders/1").json()["notes"]
