"""Hard deletion: done or not begun, whoever has the database open and whenever the server is killed."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from muniment import Delete, DocumentDatabase, Put
from tests.sampled import count, some, torture
from tests.server.running import Database, Server, assert_error, running
from tests.waiting import PATIENCE

HARD = {"hard-delete": "true"}


@some(1)
@pytest.mark.parametrize("read_only", [False, True])
def test_while_another_process_has_it_open(tmp_path: Path, read_only: bool) -> None:
    with running(tmp_path / "data") as server:
        server.create("shop").put("a", b'{"n":1}')
    folder = tmp_path / "data" / "Databases" / "shop"
    with running(tmp_path / "data") as server:
        with DocumentDatabase(folder, create=False, read_only=read_only) as elsewhere:
            assert elsewhere.get("a")
            before = sorted(folder.iterdir())
            refused = server.client.delete("/admin/databases/shop", params=HARD)
            assert assert_error(refused, 503, "process")["Kind"] == "DatabaseLocked"
            assert server.client.get("/databases").json() == ["shop"]
            assert sorted(folder.iterdir()) == before
            assert elsewhere.get("a")
        assert server.client.delete("/admin/databases/shop", params=HARD).status_code == 200
        assert not folder.exists()
        assert server.create("shop").get("/docs/a").status_code == 404


def test_only_what_is_muniments_is_removed(server: Server) -> None:
    shop = server.create("mixed", **{"Raven/DataDir": "~/mixed"})
    shop.put("a")
    folder = server.data_dir / "mixed"
    mine = [
        "muniment.db.notes.txt",
        "muniment.db-backup",
        "muniment.dbx",
        "restoring-notes/plan.txt",
        "mine/muniment.db",
    ]
    for name in mine:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("keep")
    assert server.client.delete("/admin/databases/mixed", params=HARD).status_code == 200
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(mine)
    server.create("mixed", **{"Raven/DataDir": "~/mixed"})
    assert shop.get("/docs/a").status_code == 404
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.txt")) == sorted([mine[0], mine[3]])


@some(1)
@pytest.mark.parametrize("listed", [True, False])
def test_a_deletion_that_was_interrupted_is_finished(tmp_path: Path, listed: bool) -> None:
    folder = tmp_path / "data" / "Databases" / "shop"
    with running(tmp_path / "data") as server:
        server.create("shop").put("a", b'{"n":1}')
        if not listed:
            server.client.delete("/admin/databases/shop")
    (folder / "muniment.db").rename(folder / "muniment.db.deleted")
    with running(tmp_path / "data") as server:
        assert server.client.get("/databases").json() == []
        assert not folder.exists()
        assert server.create("shop").get("/docs/a").status_code == 404


def test_one_outside_the_data_folder_is_finished_too(tmp_path: Path) -> None:
    folder = tmp_path / "far" / "shop"
    with running(tmp_path / "data") as server:
        server.create("shop", **{"Raven/DataDir": str(folder)}).put("a", b'{"n":1}')
    with DocumentDatabase(tmp_path / "data" / "System") as system:
        system.batch([Delete("Raven/Databases/shop"), Put("Raven/BeingRemoved/shop", {"Folder": str(folder)})])
    (folder / "muniment.db").rename(folder / "muniment.db.deleted")
    with running(tmp_path / "data") as server:
        assert not folder.exists()
        assert server.client.get("/docs/Raven/BeingRemoved/shop").status_code == 404


def test_creating_it_embedded_never_brings_back_what_was_deleted(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {"n": 1})
    (tmp_path / "shop" / "muniment.db").rename(tmp_path / "shop" / "muniment.db.deleted")
    (tmp_path / "shop" / "muniment.db-wal").write_bytes(b"of the deleted one")
    with DocumentDatabase(tmp_path / "shop") as database:
        assert database.get("a") is None
        assert not list(database.storage.check())


@torture
def test_killed_at_any_moment(tmp_path: Path) -> None:
    random_ = random.Random(7)
    gone = 0
    for round_ in range(count(2, whole=20)):
        server = Server(tmp_path / f"data{round_}")
        shop = server.create("shop")
        shop.fill(300)
        url = f"{server.url}/admin/databases/shop"

        def delete(url: str = url) -> None:
            with suppress(httpx.TransportError):
                httpx.delete(url, params=HARD, headers={"Muniment-Request": "1"}, timeout=PATIENCE, verify=False)

        deleting = threading.Thread(target=delete)
        deleting.start()
        time.sleep(random_.uniform(0, 0.06))
        server.kill()
        deleting.join()
        with running(tmp_path / f"data{round_}") as again:
            shop = Database(again, "shop")
            if again.client.get("/databases").json() == ["shop"]:
                assert shop.get("/stats").json()["CountOfDocuments"] == 300
            else:
                gone += 1
                assert again.create("shop").get("/stats").json()["CountOfDocuments"] == 0
                assert not list((again.data_dir / "Databases" / "shop").glob("*.deleted*"))
