"""The whole: a server keeps the backups of its databases by itself, and both come back from the object store alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from muniment.backup.destination import place_of
from muniment.backup.repository import backups
from muniment.backup.runs import Run
from tests.object_store import ObjectStore
from tests.server.running import Database, Server, running
from tests.waiting import until

OFTEN = "*/2 * * * * *"  # every minute, where tests have no minutes
POLICY = {"Retention": {"KeepLast": 1}, "Grace": "0s"}
NAMES = ("shop", "other")


def schedule(server: Server, name: str, destination: str) -> None:
    asked = {
        "Destination": destination,
        "Databases": list(NAMES),
        "Full": "0 1 * * *",
        "Incremental": OFTEN,
        "Rehearse": "0 2 * * *",
        "Expire": "0 3 * * *",
        "RehearsalQuery": "SELECT count(*) > 0 FROM documents",
        **POLICY,
    }
    answer = server.client.put(f"/admin/schedules/{name}", json=asked)
    assert answer.status_code == 200, answer.text


def runs(server: Server, **asked: str) -> list[Run]:
    answer = server.client.get("/admin/runs", params={"pageSize": "1024", **asked})
    return msgspec.json.decode(answer.content, type=list[Run])


def wait_until_backed_up(server: Server, database: Database, schedule: str) -> None:
    """Until the last change of the database is in a backup by this schedule."""
    etag = int(database.get("/stats").json()["LastDocEtag"].replace("-", "")[-12:], 16)

    def held() -> bool:
        return any(run.good and run.result.get("etag", 0) >= etag for run in runs(server, database=database.name,
                                                                                  schedule=schedule))  # fmt: skip

    until(held)


def do_now(server: Server, name: str, task: str) -> list[Run]:
    """What a task of a schedule comes to, which is done at once."""
    begun = server.client.post(f"/admin/schedules/{name}", json={"Action": "run", "Task": task}).json()["Runs"]

    def ended() -> list[Run]:
        due = {(run["Database"], run["Due"]) for run in begun}
        found = [run for run in runs(server) if (run.database, run.due) in due and run.task == task and run.ended]
        return found if len(found) == len(begun) else []

    found = until(ended)
    assert [run.state for run in found] == ["completed"] * len(NAMES), found
    return found


def test_unattended_backups_bring_both_databases_back(tmp_path: Path, object_store: ObjectStore) -> None:
    stored, folder = object_store.place(), tmp_path / "b"
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    server = Server(tmp_path / "first" / "data", backup_roots=f"{tmp_path},{stored}")
    databases = [server.create(name) for name in NAMES]
    for database in databases:
        database.fill(20)
    schedule(server, "folder", str(folder))
    schedule(server, "store", stored)
    for database in databases:
        database.put("a change")
    for database in databases:
        for name in ("folder", "store"):
            wait_until_backed_up(server, database, name)
    for name in ("folder", "store"):
        server.client.post(f"/admin/schedules/{name}", json={"Action": "pause"})
    for name in ("folder", "store"):
        do_now(server, name, "full")
        rehearsed = do_now(server, name, "rehearse")
        assert all(run.result["recovery_seconds"] > 0 for run in rehearsed)
        expired = do_now(server, name, "expire")
        assert all(run.result["removed"] for run in expired)
    metrics = server.client.get("/metrics").text
    server.client.post("/admin/schedules/store", json={"Action": "resume"})
    for database in databases:
        assert f'database="{database.name}"' in metrics
        database.put("the last minute")
    for database in databases:
        wait_until_backed_up(server, database, "store")
    fingerprints = [database.fingerprint() for database in databases]
    server.client.post("/admin/schedules/store", json={"Action": "run", "Task": "full"})
    server.kill()  # in the middle of it
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "first")

    with running(tmp_path / "second" / "data", backup_roots=stored) as server:
        for name, fingerprint in zip(NAMES, fingerprints, strict=True):
            done = server.restore(BackupLocation=f"{stored}/{name}", DatabaseName=name)
            assert not done["Faulted"], done
            again = Database(server, name)
            assert again.fingerprint() == fingerprint
            assert again.get("/docs/the last minute").status_code == 200
            assert not backups(place_of(f"{stored}/{name}")).unusable
