"""A full disk at the wrong moment: what runs ends, what was locked is free again, and what is told follows."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.server.running import Database, Server, running
from tests.waiting import until


class Disk:
    """The small disk on which a server keeps its data; nobody else sees it."""

    def __init__(self, server: Server) -> None:
        self._ballast = Path(f"/proc/{server.process.pid}/root{server.data_dir}/ballast")
        self._server = server

    def fill(self, *databases: Database) -> None:
        """Leave no room, not even within the files of these databases and of the system's."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for database in (*databases, Database(self._server, "")):
            body = b'{"a":"%s"}' % (b"x" * 3000)
            assert any(database.put(f"filling/{n}", body).status_code == 507 for n in range(10_000))

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "data").mkdir()
    mount = f"mount -t tmpfs -o size=12m tmpfs '{tmp_path / 'data'}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    with running(tmp_path / "data", within=mount, backup_niceness=0) as server:
        yield server


def test_whatever_ran_when_the_disk_was_full_is_over(server: Server, tmp_path: Path) -> None:
    client, disk = server.client, Disk(server)
    shop = server.create("shop")
    shop.fill(500)
    assert not shop.backup(tmp_path / "b")["Faulted"]
    disk.fill(shop)
    for number in range(2):  # what the database could not note down can be continued all the same
        assert not shop.backup(tmp_path / "c", incremental="true")["Faulted"]
        status = shop.status()
        assert status["IsRunning"] is False
        assert [each["Message"] for each in status["Messages"] if "could not record this backup" in each["Message"]]
        assert ("incremental (" in status["Messages"][-1]["Message"]) == (number == 1)
    for number in range(2):
        wanted = {"BackupLocation": str(tmp_path / "b"), "DatabaseName": "copy"}
        answer = client.post("/admin/restore", json=wanted | {"DatabaseLocation": str(tmp_path / f"copy{number}")})
        assert answer.status_code == 202, answer.text
        assert server.wait_for(answer.json()["OperationId"])["Faulted"]
        assert not (tmp_path / f"copy{number}").exists()  # it could not be listed
        assert client.get("/databases/copy/docs").json()["Error"].startswith("could not find")
        compaction = client.post("/admin/compact", params={"database": "shop"})
        assert compaction.status_code == 202, compaction.text
        assert server.wait_for(compaction.json()["OperationId"])["Faulted"]
        assert shop.get("/docs/items/1").status_code == 200
    disk.free()
    told = ["Raven/Restore/Status", "Raven/Database/Compact/Status/shop"]
    until(lambda: all(b'"Faulted"' in client.get(f"/docs/{id}").content for id in told))
    assert client.get("/docs/Raven/Restore/InProgress").status_code == 404
    wanted = {"BackupLocation": str(tmp_path / "b"), "DatabaseName": "copy"}
    assert not server.restore(**wanted, DatabaseLocation=str(tmp_path / "copy0"))["Faulted"]
    assert Database(server, "copy").get("/stats").json()["CountOfDocuments"] == 500


def test_a_server_that_is_killed_on_a_full_disk_starts_there_and_makes_room(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk that outlives a process")
    try:
        server = Server(data)
        server.create("shop").fill(500)
        server.create("other").fill(10)
        Disk(server).fill()
        server.kill()
        with running(data) as again:
            shop = Database(again, "shop")
            assert shop.get("/stats").json()["CountOfDocuments"] == 500
            assert shop.put("more", b'{"a":"%s"}' % (b"x" * 50_000)).status_code == 507
            assert again.client.delete("/admin/databases/other", params={"hard-delete": "true"}).status_code == 200
            assert not (data / "Databases" / "other").exists()
            (data / "ballast").unlink()
            assert shop.put("more", b'{"a":"%s"}' % (b"x" * 50_000)).status_code == 201
    finally:
        subprocess.run(["umount", "-l", str(data)], check=False)
