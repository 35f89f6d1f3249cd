"""Making, changing and deleting databases; what the server tells of itself."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from muniment.errors import InvalidInput
from muniment.server.places import resolve_folder
from tests.server.running import Server, assert_error, running
from tests.waiting import until


def create(server: Server, name: str, folder: str | None = None) -> httpx.Response:
    settings = {} if folder is None else {"Raven/DataDir": folder}
    return server.client.put(f"/admin/databases/{name}", json={"Settings": settings})


@pytest.mark.parametrize(
    ("name", "folder", "place"),
    [
        ("f1", None, "Databases/f1"),
        ("f2", "~/f2", "f2"),
        ("f3", "~\\sub\\f3", "sub/f3"),
        ("f4", "f4", "f4"),
        ("f5", "sub\\f5", "sub/f5"),
        ("f 6 ü", "~/f 6 ü/", "f 6 ü"),
    ],
)
def test_where_databases_are(server: Server, name: str, folder: str | None, place: str) -> None:
    assert create(server, name, folder).content == b""
    assert (server.data_dir / place / "muniment.db").is_file()
    assert name in server.client.get("/databases", params={"pageSize": 1000}).json()
    document = server.client.get(f"/admin/databases/{name.upper()}")
    assert document.json()["Settings"]["Raven/DataDir"] == (folder or f"~/Databases/{name}")
    assert document.headers["etag"]
    assert server.client.get("/docs", params={"id": f"Raven/Databases/{name}"}).status_code == 200
    assert server.client.get(f"/databases/{name}/docs").json() == []


def test_an_absolute_folder_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    assert create(server, "absolute", str(tmp_path / "there")).status_code == 200
    assert (tmp_path / "there" / "muniment.db").is_file()


@pytest.mark.parametrize(
    "folder",
    ["..", "../x", "~/../x", "~\\..\\x", "a/../../x", "~", "~/", ".", "C:\\data", "\\\\host\\x", "\\x", "a\nb"],
)
def test_no_folder_leads_out_by_accident(tmp_path: Path, folder: str) -> None:
    with pytest.raises(InvalidInput):
        resolve_folder(tmp_path / "data", folder)


@pytest.mark.parametrize("folder", ["../x", "~/System", "~/System/x", "~/taken", "~/taken/below", "C:\\x"])
def test_folders_that_a_database_can_not_have(server: Server, folder: str) -> None:
    create(server, "taken", "~/taken")
    answer = create(server, "other", folder)
    assert answer.status_code == 400, answer.text
    assert "other" not in server.client.get("/databases").json()


@pytest.mark.parametrize("name", ["a%3Ab", "CON", "lpt1.txt", "a%00b", "%20a", "a.", "a%5Cb", "a%2Fb", "x" * 200, "a*"])
def test_names_that_a_database_can_not_have(server: Server, name: str) -> None:
    answer = create(server, name)
    assert answer.status_code == 400
    assert isinstance(answer.json(), str)


def test_the_system_database_is_not_made_or_deleted(server: Server) -> None:
    for name in ("System", "%3Csystem%3E"):
        assert create(server, name).status_code == 403
        assert server.client.delete(f"/admin/databases/{name}").status_code == 403


def test_a_database_exists_once(server: Server) -> None:
    assert create(server, "Once").status_code == 200
    again = create(server, "oncE")
    assert again.status_code == 400
    assert "exists already" in again.json()


def test_settings_are_changed_with_their_etag(server: Server) -> None:
    create(server, "changing", "~/changing")
    etag = server.client.get("/admin/databases/changing").headers["etag"]
    settings = {"Raven/DataDir": "~/changing", "Muniment/History": "true"}
    path, headers = "/admin/databases/changing", {"If-None-Match": etag}
    answer = server.client.put(path, json={"Settings": settings}, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["Key"] == "Raven/Databases/changing"
    assert_error(server.client.put(path, json={"Settings": settings}, headers=headers), 409)
    now = {"If-None-Match": answer.json()["ETag"]}
    moved = server.client.put(path, json={"Settings": {"Raven/DataDir": "~/elsewhere"}}, headers=now)
    assert moved.status_code == 400
    wrong = server.client.put(path, json={"Settings": {"Muniment/History": "perhaps"}}, headers=now)
    assert_error(wrong, 400, "Muniment/History")
    for silent in ({"Muniment/Histroy": "true"}, {"Muniment/HistoryWindow": "7d"}, {"Muniment/History": True}):
        assert_error(server.client.put(path, json={"Settings": silent}, headers=now), 400, "Muniment/Hist")
    assert_error(server.client.put(path, content=b"[]", headers=now), 422)
    assert_error(server.client.put(path, json={"Settings": 1}, headers=now), 422)


def test_settings_that_would_do_nothing_are_refused_in_documents_too(server: Server) -> None:
    create(server, "silent")
    document = server.client.get("/admin/databases/silent").json()
    wrong = {**document, "Settings": {**document["Settings"], "Muniment/Histroy": "true"}}
    refused = server.client.put("/docs/Raven/Databases/silent", json=wrong)
    assert_error(refused, 400, "Muniment/Histroy")
    batch = [{"Method": "PUT", "Key": "raven/databases/silent", "Document": wrong, "Metadata": {}}]
    assert_error(server.client.post("/bulk_docs", json=batch), 400, "Muniment/Histroy")
    assert server.client.get("/admin/databases/silent").json() == document
    right = {**document, "Settings": {**document["Settings"], "Muniment/History": "true"}}
    assert server.client.put("/docs/Raven/Databases/silent", json=right).status_code == 201
    assert server.client.get("/admin/databases/silent").json() == right
    assert_error(server.client.put("/docs/Raven/Databases/silent", content=b"{"), 422)


def test_soft_and_hard_deletion(server: Server) -> None:
    shop = server.create("gone", **{"Raven/DataDir": "~/gone"})
    shop.put("a", b'{"n":1}')
    folder = server.data_dir / "gone"
    assert server.client.delete("/admin/databases/gone").status_code == 200
    assert_error(shop.get("/docs/a"), 503, "could not find")
    assert folder.exists()
    server.create("gone", **{"Raven/DataDir": "~/gone"})
    assert shop.get("/docs/a").json() == {"n": 1}
    (folder / "mine.txt").write_text("keep")
    deleted = server.client.delete("/admin/databases/Gone", params={"hard-delete": "true"})
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    (folder / "mine.txt").unlink()
    for _ in range(3):  # the name and the folder are free at once
        server.create("gone", **{"Raven/DataDir": "~/gone"})
        assert shop.get("/stats").json()["CountOfDocuments"] == 0
        shop.put("orders%2F")
        assert server.client.delete("/admin/databases/gone", params={"hard-delete": "true"}).status_code == 200
    assert not folder.exists()
    assert server.client.delete("/admin/databases/gone").status_code == 404
    assert server.client.get("/admin/databases/gone").status_code == 404


def test_several_are_deleted(server: Server) -> None:
    for name in ("d1", "d2"):
        server.create(name)
    path = "/admin/databases/batch-delete"
    query = {"ids": ["d1", "nope", "d2"], "hard-delete": "true"}
    assert server.client.delete(path, params=query).json() == ["d1", "d2"]
    assert server.client.delete(path).status_code == 400


def test_deleting_the_document_forgets_the_database(server: Server) -> None:
    shop = server.create("forgotten")
    shop.put("a")
    assert server.client.delete("/docs/Raven/Databases/forgotten").status_code == 204
    assert_error(shop.get("/docs/a"), 503)


def test_a_database_can_be_disabled(server: Server) -> None:
    shop = server.create("off")
    path = "/admin/databases/off"
    assert server.client.post(path, params={"isSettingDisabled": "true"}).status_code == 200
    assert server.client.post(path, params={"isSettingDisabled": "true"}).status_code == 400
    assert_error(shop.get("/docs"), 503, "disabled")
    described = server.client.get("/databases", params={"getAdditionalData": "true", "pageSize": 1000}).json()
    assert next(each for each in described if each["Name"] == "off")["Disabled"] is True
    assert server.client.post(path, params={"isSettingDisabled": "false"}).status_code == 200
    assert shop.get("/docs").status_code == 200


def test_idle_databases_are_closed_and_opened_again(tmp_path: Path) -> None:
    with running(tmp_path / "data", idle_seconds=1) as server:
        shop = server.create("shop")

        def loaded() -> list[str]:
            return [each["Name"] for each in server.client.get("/admin/stats").json()["LoadedDatabases"]]

        until(lambda: shop.put("a", b'{"n":1}').status_code == 201 and loaded() == ["shop"])
        until(lambda: not loaded())
        assert shop.get("/docs/a").json() == {"n": 1}


def test_what_the_server_tells_of_itself(server: Server) -> None:
    version = server.client.get("/build/version").json()
    assert version == server.client.get("/databases/none/../../build/version").json()
    assert "muniment" in version["ProductVersion"]
    assert server.client.get("/replication/topology").content == b""
    assert server.client.get("/replication/topology").status_code == 404
    assert server.client.get("/health/live").json() == {"Status": "live"}
    assert server.client.get("/health/ready").json() == {"Status": "ready"}
    told = server.client.get("/admin/stats").json()
    assert told["TotalNumberOfRequests"] > 0


def test_statistics(server: Server) -> None:
    shop = server.create("counted")
    shop.fill(3)
    shop.request("PUT", "/static/a", content=b"12345")
    told = shop.get("/stats").json()
    assert told["CountOfDocuments"] == 3
    assert told["CountOfAttachments"] == 1
    assert told["LastDocEtag"] == "01000000-0000-0001-0000-000000000004"
    assert told["Collections"] == {"Items": 3}
    assert told["DatabaseId"]
    assert told["Indexes"] == []
