"""Backup, restore and compaction of databases that are in use."""

from __future__ import annotations

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from muniment import DocumentDatabase
from muniment.backup.repository import backups
from muniment.errors import DatabaseLocked, TargetExists
from muniment.security.encryption import new_key
from muniment.server.system import restore_system_database
from tests.server.running import HELD, Database, Server, assert_error, running
from tests.waiting import PATIENCE, until


def texts(status: dict[str, Any]) -> list[str]:
    return [message["Message"] for message in status["Messages"]]


def everything(database: Database) -> dict[str, tuple[bytes, Any]]:
    """Every document's bytes and metadata."""
    found: dict[str, tuple[bytes, Any]] = {}
    start = 0
    while documents := database.get("/docs", params={"start": start, "pageSize": 1024}).json():
        for document in documents:
            metadata = document.pop("@metadata")
            found[metadata["@id"]] = (document, metadata["@etag"])
        start += len(documents)
    return found


def test_backup_and_restore_under_another_name(shop: Database, tmp_path: Path) -> None:
    shop.fill(500)
    exact = b'{ "price":1.10, "text":"\\u00e4" }'
    shop.put("exact", exact, **{"Raven-Entity-Name": "Exacts"})
    shop.request("PUT", "/static/pic", content=b"x" * 3_000_000)
    before = everything(shop)
    ended = shop.backup(tmp_path / "backup")
    assert (ended["Faulted"], ended["Canceled"], ended["Exception"]) == (False, False, None)
    assert ended["State"]["Documents"] == 501
    status = shop.status()
    assert status["IsRunning"] is False
    assert status["Completed"] >= status["Started"]
    assert {message["Severity"] for message in status["Messages"]} == {"Informational"}
    assert str(tmp_path / "backup") in texts(status)[0]
    assert "501 of 501 documents" in texts(status)[-1]
    assert everything(shop) == before  # the status is no document of the log

    copy = f"{shop.name}copy"
    ended = shop.server.restore(BackupLocation=str(tmp_path / "backup"), DatabaseName=copy)
    assert not ended["Faulted"], ended
    told = shop.server.client.get("/docs/Raven/Restore/Status").json()
    assert told["State"] == "Completed"
    assert "created" in told["Messages"][-1]
    assert shop.server.client.get("/docs/Raven/Restore/InProgress").status_code == 404
    restored = Database(shop.server, copy)
    assert everything(restored) == before
    assert restored.get("/docs/exact").content == exact
    assert restored.get("/static/pic").content == b"x" * 3_000_000
    assert restored.fingerprint() == shop.fingerprint()
    document = shop.server.client.get(f"/admin/databases/{copy}").json()
    assert document["Settings"]["Raven/DataDir"] == f"~/{copy}"  # so that it is found in a copy of the data folder
    assert restored.get("/docs/Raven/Backup/Status").status_code == 404


def test_the_settings_are_in_the_backup(server: Server, tmp_path: Path) -> None:
    shop = server.create("settings", **{"Raven/DataDir": "~/settings", "Muniment/History": "true", "Mine": "kept"})
    shop.put("a")
    shop.backup(tmp_path / "of-the-server")
    given = {"BackupLocation": str(tmp_path / "given"), "DatabaseDocument": {"Settings": {"Mine": "other", "N": None}}}
    answer = shop.request("POST", "/admin/backup", json=given)
    server.wait_for(answer.json()["OperationId"])
    for name, value in (("of-the-server", "kept"), ("given", "other")):
        ended = server.restore(BackupLocation=str(tmp_path / name), DatabaseName=f"settings {name}")
        assert not ended["Faulted"], ended
        document = server.client.get(f"/admin/databases/settings {name}").json()
        assert document["Settings"]["Mine"] == value


def test_the_name_is_in_the_backup(server: Server, tmp_path: Path) -> None:
    shop = server.create("Named", **{"Raven/DataDir": "~/of-another-name"})
    shop.put("a", b'{"n":1}')
    shop.backup(tmp_path / "b")
    assert [backup.manifest.database.name for backup in backups(tmp_path / "b")] == ["Named"]
    assert server.client.post("/admin/restore", json={"BackupLocation": str(tmp_path / "b")}).status_code == 400
    server.client.delete("/admin/databases/Named", params={"hard-delete": "true"})
    ended = server.restore(BackupLocation=str(tmp_path / "b"), DatabaseLocation="~\\elsewhere\\Named")
    assert not ended["Faulted"], ended
    assert shop.get("/docs/a").json() == {"n": 1}
    assert (server.data_dir / "elsewhere" / "Named" / "muniment.db").exists()


def test_the_system_database(server: Server, tmp_path: Path) -> None:
    system = Database(server, "")
    system.put("Raven/Mine", b'{"n":1}')
    assert not system.backup(tmp_path / "b")["Faulted"]
    assert system.status()["IsRunning"] is False
    with pytest.raises(DatabaseLocked):
        restore_system_database(tmp_path / "b", server.data_dir)
    restore_system_database(tmp_path / "b", tmp_path / "other")
    with DocumentDatabase(tmp_path / "other" / "System", create=False) as restored:
        document = restored.get("Raven/Mine")
        assert document is not None
        assert document.json() == {"n": 1}
    with pytest.raises(TargetExists):
        restore_system_database(tmp_path / "b", tmp_path / "other")


def test_incremental_backups(shop: Database, tmp_path: Path) -> None:
    shop.fill(50)
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    assert "completed: full" in texts(shop.status())[-1]
    shop.put("later", b'{"n":1}')
    shop.request("DELETE", "/docs/items/7")
    assert not shop.backup(tmp_path / "b", incremental="True")["Faulted"]
    assert "completed: incremental" in texts(shop.status())[-1]
    assert not shop.server.restore(BackupLocation=str(tmp_path / "b"), DatabaseName=f"{shop.name} again")["Faulted"]
    assert everything(Database(shop.server, f"{shop.name} again")) == everything(shop)


def test_destinations_that_can_not_be_used(shop: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place, word in (("file", "is a file"), ("file/below", "is a file")):
        ended = shop.backup(tmp_path / place)
        assert ended["Faulted"]
        assert word in ended["State"]["Error"]
        status = shop.status()
        assert (status["IsRunning"], status["Messages"][-1]["Severity"]) == (False, "Error")
        assert "Failed" in texts(status)[-1]
        assert word in texts(status)[-1]
    shop.backup(tmp_path / "b")
    shop.put("a")
    assert not shop.backup(tmp_path / "b")["Faulted"]
    assert "completed: full (asked for)" in texts(shop.status())[-1]
    other = shop.server.create(f"{shop.name}other")
    assert "another database" in other.backup(tmp_path / "b", incremental="true")["State"]["Error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"BackupLocation":7}'])
def test_requests_that_can_not_be_read(shop: Database, body: bytes) -> None:
    assert_error(shop.request("POST", "/admin/backup", content=body), 422)
    assert_error(shop.server.client.post("/admin/restore", content=body), 422)


def test_requests_that_make_no_sense(shop: Database, tmp_path: Path) -> None:
    assert_error(shop.request("POST", "/admin/backup", json={}), 400, "BackupLocation")
    assert_error(shop.request("POST", "/admin/backup", json={"BackupLocation": "../out"}), 400)
    assert_error(Database(shop.server, "none").request("POST", "/admin/backup", json={"BackupLocation": "x"}), 503)
    restore = shop.server.client.post
    assert_error(restore("/admin/restore", json={}), 400)
    assert_error(
        restore("/admin/restore", json={"BackupLocation": str(tmp_path / "none"), "DatabaseName": "x"}), 404, "none"
    )
    assert restore(f"{shop.root}/admin/restore", json={"BackupLocation": "x"}).status_code == 400
    for name in ("System", "a/b", shop.name):
        answer = restore("/admin/restore", json={"BackupLocation": str(tmp_path), "DatabaseName": name})
        assert answer.status_code in (400, 403)
        assert isinstance(answer.json(), str)
    nameless = restore("/admin/restore", json={"BackupLocation": str(tmp_path)})
    assert nameless.status_code == 400
    assert shop.server.client.get("/docs/Raven/Restore/Status").json()["State"] == "Faulted"


def test_restores_that_fail_leave_nothing(shop: Database, tmp_path: Path) -> None:
    shop.fill(100)
    shop.backup(tmp_path / "b")
    name = f"{shop.name}bad"
    target = shop.server.data_dir / name

    def failed(word: str) -> list[str]:
        ended = shop.server.restore(BackupLocation=str(tmp_path / "b"), DatabaseName=name)
        assert ended["Faulted"]
        told = shop.server.client.get("/docs/Raven/Restore/Status").json()
        assert told["State"] == "Faulted"
        assert any(word in message for message in told["Messages"])
        assert_error(Database(shop.server, name).get("/docs"), 503)
        messages: list[str] = told["Messages"]
        return messages

    target.mkdir()
    (target / "mine.txt").write_text("keep")
    assert [message[:6] for message in failed("already exists")[-2:]] == ["Error:", "Error:"]
    assert (target / "mine.txt").read_text() == "keep"
    (target / "mine.txt").unlink()
    [data] = (tmp_path / "b").glob("*/documents-*.parquet")
    content = data.read_bytes()
    data.write_bytes(content[:-10] + bytes(10))
    assert "Unable to restore" in failed("changed")[-1]
    data.unlink()
    failed("missing")
    assert not any(target.iterdir())
    data.write_bytes(content)
    assert not shop.server.restore(BackupLocation=str(tmp_path / "b"), DatabaseName=name)["Faulted"]


def test_one_at_a_time_and_cancel(filled: Path, tmp_path: Path) -> None:
    with running(filled, backup_niceness=0) as server:
        shop = Database(server, "shop")
        location = {"BackupLocation": str(tmp_path / "new")}
        first = shop.begin_backup(tmp_path / "new", **HELD)
        second = shop.request("POST", "/admin/backup", json=location)
        assert_error(second, 500, "already running")
        assert shop.status()["IsRunning"] is True
        assert_error(server.client.post("/admin/compact", params={"database": "shop"}), 503, "backup")
        assert server.client.get("/operation/kill", params={"id": first}).status_code == 200
        ended = server.wait_for(first)
        assert (ended["Completed"], ended["Canceled"], ended["Faulted"]) == (True, True, False)
        assert "Failed" in texts(shop.status())[-1]
        assert not (tmp_path / "new").exists()
        assert not shop.backup(tmp_path / "new")["Faulted"]

        one = server.client.post("/admin/restore", json=location | {"DatabaseName": "one"}, params=HELD)
        assert server.client.get("/docs/Raven/Restore/InProgress").json() == {"Resource": "one"}
        busy = server.client.post("/admin/restore", json=location | {"DatabaseName": "two"})
        assert busy.status_code == 503
        assert "one" in busy.json()
        patient = location | {"DatabaseName": "two", "RestoreStartTimeout": int(PATIENCE)}
        with ThreadPoolExecutor(1) as other:
            begun = other.submit(server.client.post, "/admin/restore", json=patient)
            server.wait_for_requests(1)
            server.let_go(one.json()["OperationId"])
            waiting = begun.result(PATIENCE)
        assert waiting.status_code == 202
        assert not server.wait_for(one.json()["OperationId"])["Faulted"]
        assert not server.wait_for(waiting.json()["OperationId"])["Faulted"]
        assert Database(server, "one").fingerprint() == Database(server, "two").fingerprint() == shop.fingerprint()
        assert [task["Status"] for task in server.client.get("/operations").json()][-1] == "Canceled"


def test_writing_goes_on_while_a_backup_runs(filled: Path, tmp_path: Path) -> None:
    with running(filled) as server:
        shop = Database(server, "shop")
        before = everything(shop)
        operation = shop.begin_backup(tmp_path / "new", **HELD)
        until(lambda: "etag" in str(shop.status()["Messages"]))
        for n in range(50):
            assert shop.put(f"items/{n}", b'{"changed":%d}' % n).status_code == 201
        assert shop.status()["IsRunning"] is True
        server.let_go(operation)
        assert not server.wait_for(operation)["Faulted"]
        assert not server.restore(BackupLocation=str(tmp_path / "new"), DatabaseName="copy")["Faulted"]
        assert everything(Database(server, "copy")) == before


def test_a_backup_ends_with_its_server(filled: Path, tmp_path: Path) -> None:
    server = Server(filled)
    Database(server, "shop").begin_backup(tmp_path / "new", **HELD)
    until((tmp_path / "new").exists)
    server.kill()
    until(lambda: not (tmp_path / "new").exists())  # the child has removed what it wrote
    with running(filled) as again:
        status = Database(again, "shop").status()
        assert status["IsRunning"] is False
        assert "interrupted" in texts(status)[-1]
        assert not Database(again, "shop").backup(tmp_path / "new")["Faulted"]


def test_an_interrupted_restore_is_told(filled: Path, tmp_path: Path) -> None:
    server = Server(filled)
    wanted = {"BackupLocation": str(tmp_path / "b"), "DatabaseName": "copy"}
    server.client.post("/admin/restore", json=wanted, params=HELD)
    server.kill()
    with running(filled) as again:
        assert again.client.get("/docs/Raven/Restore/InProgress").status_code == 404
        told = again.client.get("/docs/Raven/Restore/Status").json()
        assert (told["State"], "interrupted" in told["Messages"][-1]) == ("Faulted", True)
        until(lambda: not again.restore(**wanted)["Faulted"])  # the child of the dead server may not have ended yet
        assert Database(again, "copy").fingerprint() == Database(again, "shop").fingerprint()


def test_compaction(server: Server) -> None:
    shop = server.create("compacted")
    shop.fill(2000, size=500)
    shop.batch([{"Method": "DELETE", "Key": f"items/{n}"} for n in range(1800)])
    before, fingerprint = everything(shop), shop.fingerprint()

    def compact() -> httpx.Response:
        return server.client.post("/admin/compact", params={"database": "Compacted"})

    with DocumentDatabase(server.data_dir / "Databases" / "compacted", create=False, read_only=True) as looking:
        until(lambda: not looking.storage.kept_history().revisions)  # what was deleted is purged
    with ThreadPoolExecutor(1) as other, socket.create_connection(("127.0.0.1", server.port)) as slow:
        head = f"PUT {shop.root}/docs/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
        slow.sendall(f"{head}Content-Length: 2\r\n\r\n{{".encode())
        server.wait_for_requests(1)
        begun = other.submit(compact)  # it waits for those who use the database, and nobody else begins to
        until(lambda: shop.get("/docs").status_code == 503)
        assert_error(shop.get("/docs"), 503, "compacted")
        slow.close()
        answer = begun.result(PATIENCE)
    assert answer.status_code == 202
    assert not server.wait_for(answer.json()["OperationId"])["Faulted"]
    assert server.client.get("/docs/Raven/Database/Compact/Status/compacted").json()["State"] == "Completed"
    assert (server.data_dir / "Databases" / "compacted" / "muniment.db").stat().st_size < 600_000
    assert (everything(shop), shop.fingerprint()) == (before, fingerprint)
    assert server.client.post("/admin/compact").status_code == 400
    assert server.client.post("/admin/compact", params={"database": "none"}).status_code == 404


def test_operations_that_nobody_knows(server: Server) -> None:
    missing = server.client.get("/operation/status", params={"id": "99999"})
    assert (missing.status_code, missing.content) == (404, b"")
    assert_error(server.client.get("/operation/status", params={"id": "x"}), 400)
    assert_error(server.client.get("/operation/status"), 400)
    assert_error(server.client.get("/operation/kill", params={"id": "99999"}), 404)


def test_several_places_each_have_a_chain_and_what_fails_in_one_is_told(shop: Database, tmp_path: Path) -> None:
    shop.put("a")
    (tmp_path / "file").touch()
    good = [tmp_path / "one", tmp_path / "two"]
    wanted: dict[str, Any] = {"BackupLocation": str(good[0]), "AlsoTo": [str(tmp_path / "file"), str(good[1])]}
    ended = shop.server.wait_for(shop.request("POST", "/admin/backup", json=wanted).json()["OperationId"])
    assert ended["Faulted"]
    assert f"{tmp_path / 'file'} is a file" in ended["State"]["Error"]
    messages = [each["Message"] for each in shop.status()["Messages"]]
    assert [sum(text.startswith(begin) for text in messages) for begin in ("Backup completed", "Failed")] == [2, 2]
    assert [len(backups(place)) for place in good] == [1, 1]
    wanted["AlsoTo"] = [str(good[1])]
    number = shop.request("POST", "/admin/backup?incremental=true", json=wanted).json()["OperationId"]
    told = shop.server.wait_for(number)["State"]["Result"]
    assert [Path(each["backup"]).parent for each in (told, *told["also"])] == good
    assert [[each.manifest.kind for each in backups(place)] for place in good] == [["full", "incremental"]] * 2
    refused = shop.request("POST", "/admin/backup", json=wanted | {"AlsoTo": ["/etc/x"]})
    assert refused.status_code == 403
    assert_error(shop.request("POST", "/admin/backup", json=wanted | {"AlsoTo": [" "]}), 400, "missing")


def test_the_status_of_recoverability(shop: Database, tmp_path: Path) -> None:
    assert shop.get("/backups").json()["destinations"] == []
    assert shop.get("/stats").json()["LastBackup"] is None
    shop.fill(20)
    shop.backup(tmp_path / "backup", incremental="true")
    shop.put("more", b"{}")
    told = shop.get("/backups").json()
    [state] = told["destinations"]
    assert (state["destination"], state["changes_since"], state["problems"]) == (str(tmp_path / "backup"), 1, [])
    assert told["next"] == state["next"]
    assert told["next"].startswith("take an incremental backup: 1 change since ")
    stats = shop.get("/stats").json()
    assert stats["ChangesSinceBackup"] == 1
    assert stats["LastBackup"]
    assert shop.server.client.get("/backups").json()["name"] == "<system>"


def test_a_folder_that_lost_its_backups_wants_a_new_chain(shop: Database, tmp_path: Path) -> None:
    shop.put("a", b"{}")
    assert not shop.backup(tmp_path / "b")["Faulted"]
    shutil.rmtree(tmp_path / "b")
    refused = shop.backup(tmp_path / "b", incremental="true")
    assert refused["Faulted"]
    assert "was backed up there" in texts(shop.status())[-1]
    assert "--new-chain" in texts(shop.status())[-1]
    assert not shop.backup(tmp_path / "b", incremental="true", **{"new-chain": "true"})["Faulted"]
    assert "completed: full (first)" in texts(shop.status())[-1]


@pytest.mark.parametrize(
    "poison",
    [
        {"Settings": {"raven/encryption/KEY": new_key().text}},
        {"Settings": {"Muniment/Encryption/NextKey": new_key().text}},
        {"Settings": {"Muniment/Unknown": "1"}},
        {"securedsettings": {}},
    ],
)
def test_a_database_document_that_no_server_would_store_gets_into_no_backup(
    shop: Database, tmp_path: Path, poison: dict[str, Any]
) -> None:
    wanted = {"BackupLocation": str(tmp_path / "b"), "DatabaseDocument": {"Id": shop.name, **poison}}
    assert_error(shop.request("POST", "/admin/backup", json=wanted), 400)
    assert not (tmp_path / "b").exists()


def test_a_key_in_the_clear_settings_of_a_backup_is_left_there_by_a_restore(server: Server, tmp_path: Path) -> None:
    key = new_key().text
    document = {"Id": "x", "Settings": {"Raven/Encryption/Key": key, "Mark": "1"}, "securedsettings": {}}
    with DocumentDatabase(tmp_path / "x") as database:
        database.put("a/1", {})
        database.maintenance.start_backup(tmp_path / "b", document=document).wait()
    assert not server.restore(BackupLocation=str(tmp_path / "b"), DatabaseName="unlocked")["Faulted"]
    assert Database(server, "unlocked").get("/docs/a/1").status_code == 200
    described = server.client.get("/admin/databases/unlocked")
    assert described.json()["Settings"]["Mark"] == "1"
    assert key not in described.text
