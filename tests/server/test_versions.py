"""What backups hold, told over HTTP before anything is restored."""

from __future__ import annotations

from pathlib import Path

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
