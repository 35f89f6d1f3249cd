"""So many jobs at once; the others wait in their order, are told so, and can be cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import children
from tests.server.running import HELD, Database, Server, assert_error, running
from tests.waiting import until


def begin(shop: Database, folder: Path) -> int:
    return shop.begin_backup(folder / shop.name)


def state(server: Server, operation: int) -> dict[str, Any]:
    told: dict[str, Any] = server.client.get("/operation/status", params={"id": operation}).json()
    return told


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server whose one turn has a backup that stands still."""
    with running(tmp_path / "data", jobs=1) as server:
        first = server.create("first")
        first.fill(1, size=5000)
        assert first.begin_backup(tmp_path / "backups" / "first", **HELD) == 1
        until(lambda: children(server.process.pid))
        yield server


def test_jobs_wait_in_their_order_and_say_so(server: Server, tmp_path: Path) -> None:
    shops = [server.create(f"s{n}") for n in range(3)]
    waiting = [begin(shop, tmp_path / "backups") for shop in shops]
    assert [state(server, each)["State"]["Position"] for each in waiting] == [1, 2, 3]
    assert state(server, waiting[1])["State"]["Waiting"] is True
    assert state(server, waiting[1])["State"]["Progress"] == "waiting for its turn, as number 2"
    listed = {each["Id"]: each["Status"] for each in server.client.get("/operations").json()}
    assert [listed[each] for each in (1, *waiting)] == ["Running", "Waiting", "Waiting", "Waiting"]
    until(lambda: "Waiting for other jobs to end; it is number 3" in str(shops[2].status()["Messages"]))
    assert shops[2].status()["IsRunning"] is True
    assert shops[2].status()["Position"] == 3
    assert len(children(server.process.pid)) == 1
    server.let_go(1)
    ended = [server.wait_for(each) for each in (1, *waiting)]
    assert not any(each["Faulted"] for each in ended)
    assert ended[1]["State"]["Waiting"] is False
    assert ended[1]["State"]["Position"] is None
    folders = [next((tmp_path / "backups" / name).glob("*.full")).name for name in ("s0", "s1", "s2")]
    assert folders == sorted(folders)
    listed = {each["Id"]: each["Status"] for each in server.client.get("/operations").json()}
    assert set(listed.values()) == {"Completed"}


def test_one_that_waits_can_be_cancelled_and_the_others_move_up(server: Server, tmp_path: Path) -> None:
    shops = [server.create(f"s{n}") for n in range(3)]
    waiting = [begin(shop, tmp_path / "backups") for shop in shops]
    server.client.post("/operation/kill", params={"id": waiting[1]})
    assert server.wait_for(waiting[1])["Canceled"]
    assert shops[1].status()["IsRunning"] is False
    assert [state(server, waiting[n])["State"]["Position"] for n in (0, 2)] == [1, 2]
    assert len(children(server.process.pid)) == 1
    server.let_go(1)
    assert not server.wait_for(waiting[2])["Faulted"]
    assert not shops[1].backup(tmp_path / "backups" / "s1")["Faulted"]


def test_restores_and_compactions_wait_too(server: Server, tmp_path: Path) -> None:
    shop = server.create("shop")
    shop.put("a")
    wanted = {"BackupLocation": str(tmp_path / "backups" / "shop"), "DatabaseName": "again"}
    backup = begin(shop, tmp_path / "backups")
    server.let_go(1)
    server.wait_for(backup)
    held = Database(server, "first").begin_backup(tmp_path / "more" / "first", **HELD)
    compaction = server.client.post("/admin/compact", params={"database": "shop"}).json()["OperationId"]
    restore = server.client.post("/admin/restore", json=wanted).json()["OperationId"]
    into = {"BackupLocation": wanted["BackupLocation"], "OnConflict": "skip", "OtherDatabase": True}
    there = Database(server, "first").request("POST", "/admin/restore-into", json=into).json()["OperationId"]
    assert [state(server, each)["State"]["Position"] for each in (compaction, restore, there)] == [1, 2, 3]
    assert shop.put("b").status_code == 201  # it is used until its turn comes
    until(lambda: "number 2" in server.client.get("/docs/Raven/Restore/Status").text)
    assert "number 1" in server.client.get("/docs/Raven/Database/Compact/Status/shop").text
    server.let_go(held)
    for each in (held, compaction, restore, there):
        assert not server.wait_for(each)["Faulted"]
    assert server.client.get("/databases/again/docs/a").status_code == 200


def test_a_stop_does_not_wait_for_turns(server: Server, tmp_path: Path) -> None:
    shop = server.create("shop")
    begin(shop, tmp_path / "backups")
    server.let_go(1)
    assert server.stop() == 0
    assert not list((tmp_path / "backups").glob("*/*.writing"))


def test_a_backup_that_was_refused_is_no_operation(server: Server, tmp_path: Path) -> None:
    answer = Database(server, "first").request("POST", "/admin/backup", json={"BackupLocation": str(tmp_path / "x")})
    assert_error(answer, 500, "already running")
    assert len(server.client.get("/operations").json()) == 1
    server.let_go(1)
