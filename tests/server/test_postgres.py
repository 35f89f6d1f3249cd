"""Servers whose databases are in PostgreSQL, and two of them on one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from muniment import DocumentDatabase, DocumentStore, MaintenanceActions
from muniment.errors import InvalidInput
from muniment.storage import engines
from muniment.storage.location import Address, address, location_of
from tests.postgres_server import Postgres
from tests.server.running import Server
from tests.test_limits import closed
from tests.waiting import until

ID_HEADERS = {"Raven-Entity-Name": "Orders"}


@pytest.fixture
def storage(postgres: Postgres) -> str:
    """A PostgreSQL database that nothing is in."""
    return postgres.new_database()


@pytest.fixture
def two(tmp_path: Path, storage: str) -> Iterator[tuple[Server, Server]]:
    """Two servers on one PostgreSQL."""
    servers = [Server(tmp_path / name / "data", storage=storage) for name in ("one", "two") if _made(tmp_path / name)]
    yield servers[0], servers[1]
    for server in servers:
        with suppress(Exception):
            server.close()


def _made(folder: Path) -> bool:
    folder.mkdir()
    return True


def ended(server: Server, name: str) -> dict[str, Any]:
    """How a backup has ended, as this server tells it, which may not know yet that it was begun elsewhere."""

    def found() -> dict[str, Any] | None:
        status = told(server, name)
        return None if status is None or status["IsRunning"] else status

    return until(found)


def told(server: Server, name: str) -> dict[str, Any] | None:
    response = server.client.get(f"/databases/{name}/docs/Raven/Backup/Status")
    found: dict[str, Any] | None = response.json() if response.status_code == 200 else None
    return found


def test_two_servers_serve_the_same_databases(two: tuple[Server, Server], storage: str, tmp_path: Path) -> None:
    one, other = two
    one.create("Shop", **{"Muniment/Partitions": "2"})
    assert other.client.get("/databases").json() == ["Shop"]
    place = address(storage, "shop")
    assert engines.exists(place)
    assert not list((tmp_path / "one" / "data").glob("**/muniment.db"))
    put = one.client.put("/databases/Shop/docs/orders/1", content=b'{"n":1.10}', headers=ID_HEADERS)
    assert put.status_code == 201, put.text
    assert other.client.get("/databases/Shop/docs/Orders/1").content == b'{"n":1.10}'

    # What it was made with stays.
    document = one.client.get("/admin/databases/Shop")
    changed = {"Settings": {**document.json()["Settings"], "Muniment/Partitions": "4"}}
    expected = {"If-None-Match": document.headers["ETag"]}
    refused = one.client.put("/admin/databases/Shop", json=changed, headers=expected)
    assert refused.status_code == 400, refused.text
    assert "was made with 2" in refused.text

    # Numbers from both: HiLo ranges and identities without a collision.
    def ids(server: Server) -> list[str]:
        with DocumentStore(server.url, "Shop") as store:
            made = [store.next_id("Order") for _ in range(40)]
            return made + [store.put("things/", {"n": n}).id for n in range(20)]

    with ThreadPoolExecutor(4) as pool:
        given = [id for found in pool.map(ids, (one, other, one, other)) for id in found]
    assert len(set(given)) == len(given)

    # One backup at a time, which both tell of; a restore of it into a folder has the same fingerprint.
    backup = {"BackupLocation": str(tmp_path / "backups")}
    assert one.client.post("/databases/Shop/admin/backup", json=backup).status_code in (200, 201, 202)
    assert ended(other, "Shop")["Completed"]
    restored = MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    with DocumentDatabase(place, create=False, read_only=True) as database:
        assert database.snapshot().fingerprint == restored.fingerprint
        assert database.check() == []

    # What another server uses is not deleted, and what nobody uses is.
    assert one.client.delete("/admin/databases/Shop", params={"hard-delete": "true"}).status_code == 503
    other.close()
    assert one.client.delete("/admin/databases/Shop", params={"hard-delete": "true"}).status_code == 200
    assert not engines.exists(place)


def test_a_server_that_is_killed_in_a_backup_is_seen_as_interrupted(
    two: tuple[Server, Server], storage: str, tmp_path: Path
) -> None:
    one, other = two
    one.create("Shop")
    place = address(storage, "shop")
    with DocumentDatabase(place, create=False) as database:
        assert database.storage.take("backup") is None
        database.storage.write_note("Backup.Status", b'{"IsRunning":true,"Messages":[]}')
        status = told(other, "Shop")
        assert status is not None
        assert status["IsRunning"], status
        again = one.client.post("/databases/Shop/admin/backup", json={"BackupLocation": str(tmp_path / "b")})
        assert again.status_code == 202, again.text
        assert "already" in str(ended(one, "Shop"))  # and it will not be told of again
        database.storage.write_note("Backup.Status", b'{"IsRunning":true,"Messages":[]}')
        database.storage.give_back("backup")  # as if its lease had lapsed
    status = told(other, "Shop")
    assert status is not None
    assert not status["IsRunning"]
    assert "interrupted" in str(status).lower()


def test_a_restore_of_a_server_that_is_killed_is_seen_as_interrupted_by_the_other(
    two: tuple[Server, Server], storage: str, tmp_path: Path
) -> None:
    one, other = two
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        database.maintenance.start_backup(tmp_path / "backups").wait()
    wanted = {"BackupLocation": str(tmp_path / "backups"), "DatabaseName": "Shop"}

    def restore(server: Server, **options: str) -> httpx.Response:
        return server.client.post("/admin/restore", json=wanted, params=options)

    def status(server: Server) -> str:
        answer = server.client.get("/docs/Raven/Restore/Status")
        return str(answer.json().get("State")) if answer.status_code == 200 else ""

    assert restore(one, hours=closed().texts()["hours"]).status_code == 202
    until(lambda: status(other) == "Running")
    second = restore(other)
    assert second.status_code == 503, second.text
    assert "still in progress" in second.text
    one.kill()
    assert status(other) == "Running"  # until its lease has run out
    with psycopg.connect(storage, autocommit=True) as connection:
        connection.execute("UPDATE muniment_system.lease SET expires = now()")
    until(lambda: status(other) == "Faulted")
    told = other.client.get("/docs/Raven/Restore/Status").json()
    assert "interrupted" in told["LastProgressMessage"]
    until(lambda: other.client.get("/docs/Raven/Restore/InProgress").status_code == 404)
    operation = restore(other)
    assert operation.status_code == 202, operation.text
    assert not other.wait_for(operation.json()["OperationId"])["Faulted"]
    assert other.client.get("/databases/Shop/docs/a").content == b"{}"


def test_a_key_that_one_server_makes_is_known_to_the_other(two: tuple[Server, Server]) -> None:
    one, other = two
    assert other.client.get("/databases").status_code == 200  # from this machine, until there is a key
    with DocumentStore(one.url) as store:
        key = store.keys.add("reader", ["admin"]).api_key
    assert one.client.get("/databases").status_code == 401
    until(lambda: other.client.get("/databases").status_code == 401)
    shown = other.client.get("/databases", headers={"Authorization": f"Bearer {key}"})
    assert shown.status_code == 200, shown.text


def test_one_of_two_servers_does_what_schedules_say(two: tuple[Server, Server], storage: str) -> None:
    with DocumentDatabase(address(storage, "muniment_system"), create=False, read_only=True) as system:
        holder = system.storage.holder("schedules")
        assert holder is not None
        assert str(two[0].process.pid) in holder


def test_databases_in_postgresql_beside_folders(tmp_path: Path, postgres: Postgres, storage: str) -> None:
    """A server whose own database is in a folder, and which may use one PostgreSQL."""
    roots = ",".join([str(tmp_path), storage])
    server = Server(tmp_path / "data", data_roots=roots)
    try:
        place = address(storage, "Things")
        server.create("Things", **{"Raven/DataDir": str(place)})
        server.create("Files")
        wrong = server.client.put("/admin/databases/Few", json={"Settings": {"Muniment/Partitions": "4"}})
        assert wrong.status_code == 400, wrong.text
        assert "in a folder" in wrong.text
        parted = {"Raven/DataDir": str(address(storage, "Parted")), "Muniment/Partitions": "4"}
        server.create("Parted", **parted)
        with pytest.raises(InvalidInput, match="was made with 4"):
            engines.check_partitions(address(storage, "Parted"), 2)
        assert engines.exists(place)
        again = server.client.put("/admin/databases/Twice", json={"Settings": {"Raven/DataDir": str(place)}})
        assert again.status_code == 400
        assert "belongs to the database Things" in again.text
        foreign = server.client.put(
            "/admin/databases/Foreign", json={"Settings": {"Raven/DataDir": postgres.address()}}
        )
        assert foreign.status_code == 403, foreign.text
        secret = str(place).replace("muniment@", "muniment:secret@")
        refused = server.client.put("/admin/databases/Secret", json={"Settings": {"Raven/DataDir": secret}})
        assert refused.status_code == 400, refused.text
        assert "secret" not in refused.text.replace("Secret", "")
        server.client.put("/databases/Things/docs/a", content=b"{}").raise_for_status()
        backup = {"BackupLocation": str(tmp_path / "backups")}
        server.client.post("/databases/Things/admin/backup", json=backup).raise_for_status()
        ended(server, "Things")
        target = location_of(str(address(storage, "Restored")))
        assert isinstance(target, Address)
        done = server.restore(
            BackupLocation=str(tmp_path / "backups"), DatabaseName="Restored", DatabaseLocation=str(target)
        )
        assert done["Completed"], done
        assert not done["Faulted"], done
        assert server.client.get("/databases/Restored/docs/a").content == b"{}"
        freeze = server.client.post("/databases/Things/admin/freeze")
        assert freeze.status_code in (404, 501), freeze.text
    finally:
        server.close()
    server = Server(tmp_path / "data", data_roots=roots)
    try:
        assert server.client.get("/databases/Things/docs/a").content == b"{}"
    finally:
        server.close()
