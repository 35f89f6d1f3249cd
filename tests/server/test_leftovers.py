"""What a server that was killed has left is finished, removed or told by the next one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from muniment import DocumentDatabase, MaintenanceActions, Progress
from muniment.storage.sqlite.files import LOADING
from tests.processes import children
from tests.server.running import FILLED, HELD, Database, Server, assert_error, running
from tests.waiting import until


def test_a_compaction_that_was_killed_is_told(tmp_path: Path) -> None:
    folder, status = tmp_path / "data" / "Databases" / "shop", "/docs/Raven/Database/Compact/Status/shop"
    with running(tmp_path / "data") as server:
        server.create("shop").fill(FILLED, size=1000)

    def interrupted() -> bool:
        server = Server(tmp_path / "data")
        number = server.client.post("/admin/compact", params={"database": "shop"}).json()["OperationId"]
        asked = {"id": number}
        until(
            lambda: (
                (folder / "muniment.db.compacting").exists()
                or server.client.get("/operation/status", params=asked).json()["Completed"]
            )
        )
        for child in children(server.process.pid):
            os.kill(child, signal.SIGKILL)
        server.kill()
        with running(tmp_path / "data") as again:
            told = again.client.get(status).json()
            assert Database(again, "shop").get("/stats").json()["CountOfDocuments"] == FILLED
            assert not list(folder.glob("*.compacting*"))
        last = told["Messages"][-1]
        assert told["State"] == "Completed" or "interrupted" in last or "ended with code" in last
        return bool(told["State"] == "Faulted")

    until(interrupted)  # unless it was complete before it could be killed


def test_what_is_surely_ours_is_removed_and_all_else_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as server:
        server.create("shop").put("a")
        for name in ("soft", "kept.restorings"):
            server.create(name).put("a", b'{"n":1}')
            server.client.delete(f"/admin/databases/{name}")
    (data / "Databases" / "kept.restorings").rename(data / "Databases" / "kept.restoring")
    (data / "Databases" / "shop" / "muniment.db.creating").write_bytes(b"x")
    (data / "Databases" / "shop" / "muniment.db.compacting-journal").write_bytes(b"x")
    (data / "Databases" / "begun").mkdir()
    (data / "Databases" / "begun" / "muniment.db.creating").write_bytes(b"x")
    (data / "copy.restoring").mkdir()
    (data / "copy.restoring" / "muniment.db").write_bytes(b"x")
    (data / "copy.restoring" / LOADING).write_bytes(b"x")
    (data / "volume" / ".restoring").mkdir(parents=True)
    (data / "volume" / ".restoring" / "muniment.db").write_bytes(b"x")
    (data / "volume" / ".restoring" / LOADING).write_bytes(b"x")
    (data / "volume" / "loading.tmp").write_text("keep")
    (data / "muniment-rehearsal-x1" / "restored.restoring").mkdir(parents=True)
    (data / "muniment-rehearsal-x1" / "restored.restoring" / "muniment.db").write_bytes(b"x")
    (data / "mine.restoring").mkdir()
    (data / "mine.restoring" / "letter.txt").write_text("keep")
    with running(data) as server:
        log = server.log()
        assert server.client.get("/databases").json() == ["shop"]
        assert {path.name for path in data.iterdir() if path.is_dir()} == {
            "Databases",
            "System",
            "mine.restoring",
            "volume",
        }
        assert [path.name for path in (data / "volume").iterdir()] == ["loading.tmp"]
        assert sorted(path.name for path in (data / "Databases").iterdir()) == ["kept.restoring", "shop", "soft"]
        assert not [*(data / "Databases" / "shop").glob("*.c*ing*")]
        for name in ("soft", "kept.restoring"):
            assert f"{data / 'Databases' / name} holds a database that no list names" in log
            assert (data / "Databases" / name / "muniment.db").is_file()
        assert (data / "mine.restoring" / "letter.txt").exists()
        server.create("soft")
        assert Database(server, "soft").get("/docs/a").json() == {"n": 1}
        assert_error(server.client.get("/databases/none/docs"), 503)


def test_a_restore_into_an_empty_folder_that_runs_while_a_server_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with DocumentDatabase(tmp_path / "source") as database:
        database.put("orders/1", {"n": 1})
        database.maintenance.start_backup(tmp_path / "backups").wait()
    (data / "new").mkdir(parents=True)

    class Started(Progress):
        def check(self) -> None:
            if self.stage == "finishing":
                with running(data) as server:
                    assert "a process still works in" in server.log()
            super().check()

    MaintenanceActions.restore(tmp_path / "backups", data / "new", progress=Started())
    with DocumentDatabase(data / "new", create=False) as restored:
        assert restored.get("orders/1")


def test_names_that_restores_work_in(server: Server) -> None:
    for name, folder in (("shop.restoring", "~/x"), ("shop", "~/x.restoring")):
        answer = server.client.put(f"/admin/databases/{name}", json={"Settings": {"Raven/DataDir": folder}})
        assert answer.status_code == 400
        assert "restores work in" in answer.json()


def test_nobody_else_gets_the_name_or_the_folder_meanwhile(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        client, shop = server.client, server.create("shop")
        shop.fill(100)
        shop.backup(tmp_path / "b")
        wanted = {"BackupLocation": str(tmp_path / "b"), "DatabaseName": "Copy"}
        restoring = client.post("/admin/restore", json=wanted, params=HELD)
        assert restoring.status_code == 202
        assert_error(client.put("/admin/databases/copy", json={}), 503, "being restored")
        assert_error(client.put("/docs/Raven/Databases/COPY", json={"Settings": {}}), 503, "being restored")
        taken = client.put("/admin/databases/other", json={"Settings": {"Raven/DataDir": "~/Copy/x"}})
        assert (taken.status_code, "belongs to the database" in taken.json()) == (400, True)
        assert_error(client.get("/databases/copy/docs"), 503, "being restored")
        server.let_go(restoring.json()["OperationId"])
        assert not server.wait_for(restoring.json()["OperationId"])["Faulted"]
        assert Database(server, "Copy").get("/stats").json()["CountOfDocuments"] == 100
        assert sorted(client.get("/databases").json()) == ["Copy", "shop"]


def test_files_that_are_missing_are_no_empty_database(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "Databases" / "shop"
    with running(tmp_path / "data") as server:
        server.create("shop").put("a", b'{"n":1}')
    folder.rename(tmp_path / "unmounted")
    with running(tmp_path / "data") as server:
        shop = Database(server, "shop")
        assert_error(shop.get("/docs/a"), 503, "files of this database are missing")
        assert_error(shop.put("b"), 503, "files of this database are missing")
        assert not folder.exists()
        (tmp_path / "unmounted").rename(folder)
        assert shop.get("/docs/a").json() == {"n": 1}
        made = server.client.put("/docs/Raven/Databases/new", json={"Settings": {"Raven/DataDir": "~/new"}})
        assert made.status_code == 201
        assert Database(server, "new").get("/docs").json() == []
        changed = server.client.put("/docs/Raven/Databases/new", json={"Settings": {"Raven/DataDir": "~/new"}, "x": 1})
        assert changed.status_code == 201
        assert Database(server, "new").put("a").status_code == 201
