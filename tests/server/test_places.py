"""Which folders a server uses for whoever asks: its own, those that its operator names, and nothing else."""

from __future__ import annotations

import json
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from muniment import DocumentStore, MaintenanceActions
from muniment.backup.repository import backups
from muniment.errors import Forbidden
from muniment.raven3.headers import LOCAL
from muniment.server.local import FILE
from tests.object_store import ObjectStore
from tests.server.running import Database, Server, assert_error, running


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is no root of a server in `inside`, with a link that leads to it from there."""
    folder = tmp_path / "outside"
    (folder / "there").mkdir(parents=True)
    (tmp_path / "inside" / "backups").mkdir(parents=True)
    (tmp_path / "inside" / "backups" / "link").symlink_to(folder)
    return folder


@pytest.fixture
def server(tmp_path: Path, outside: Path) -> Any:
    inside = tmp_path / "inside"
    with running(inside / "data", backup_roots=str(inside / "backups"), data_roots=str(inside / "more")) as server:
        yield server


def asked(server: Server, folder: str | Path) -> list[httpx.Response]:
    """What everything answers that a folder with backups can be named to."""
    wanted = {"BackupLocation": str(folder), "DatabaseName": "new", "OnConflict": "skip"}
    ways = (
        "/databases/shop/admin/backup",
        "/databases/shop/admin/restore-into",
        "/admin/restore",
        "/admin/restore/plan",
    )
    return [server.client.post(way, json=wanted) for way in ways]


def test_backups_are_in_roots_only(server: Server, tmp_path: Path, outside: Path) -> None:
    shop = server.create("shop")
    shop.put("a")
    for folder in (tmp_path / "inside" / "backups" / "one", "~/Backups/two", "Backups\\three"):
        assert not shop.backup(folder)["Faulted"]
        assert not server.restore(BackupLocation=str(folder), DatabaseName=f"n{str(folder)[-3:]}")["Faulted"]
    links = tmp_path / "inside" / "backups" / "link"
    circle = tmp_path / "inside" / "backups" / "circle"
    circle.symlink_to(circle)
    elsewhere: list[str | Path] = [
        outside,
        outside / "there",
        outside / "none",
        links,
        links / "there",
        links / "none",
        tmp_path,
        "/",
    ]
    elsewhere += ["/proc/self/cwd", "/proc/self/root/tmp", "/proc/none", "/sys", "/dev/fd", "/etc", "/root/x", "/none"]
    elsewhere += [tmp_path / "inside" / "backups" / ".." / ".." / "outside", tmp_path / "inside" / "backups-more"]
    told = [(each, assert_error(answer, 403)) for each in elsewhere for answer in asked(server, each)]
    # The same is said whether or not there is something.
    assert {error["Kind"] for _, error in told} == {"Forbidden"}
    assert len({error["Error"].replace(repr(str(folder)), "X") for folder, error in told}) == 1
    assert {each.name for each in outside.iterdir()} == {"there"}
    assert not list((outside / "there").iterdir())


def test_links_within_a_folder_of_backups_are_followed_before(server: Server, tmp_path: Path, outside: Path) -> None:
    shop = server.create("shop")
    root = tmp_path / "inside" / "backups"
    assert not shop.backup(root / "one")["Faulted"]
    (backup,) = (root / "one").glob("*.full")
    elsewhere = backup.rename(outside / backup.name)
    backup.symlink_to(elsewhere)
    for answer in asked(server, root / "one"):
        assert_error(answer, 403, "--backup-root")
    backup.unlink()
    elsewhere.rename(backup)
    (file,) = backup.glob("Database.Document")
    file.rename(outside / "file")
    file.symlink_to(outside / "file")
    for answer in asked(server, root / "one"):
        assert_error(answer, 403, "--backup-root")


def test_folders_of_databases_are_no_place_for_backups(server: Server) -> None:
    shop = server.create("shop")
    for folder in ("~/System", "~/System/x", "~/Databases/shop", "~/Databases/shop/x", shop.server.data_dir / "System"):
        for answer in asked(server, folder):
            assert_error(answer, 403, "belongs to the database")


def test_databases_are_in_roots_only(server: Server, tmp_path: Path, outside: Path) -> None:
    shop = server.create("shop")
    assert not shop.backup("~/Backups")["Faulted"]
    more = tmp_path / "inside" / "more" / "a"
    server.create("more", **{"Raven/DataDir": str(more)})
    assert (more / "muniment.db").is_file()
    (server.data_dir / "link").symlink_to(outside)
    for folder in (outside / "x", outside / "there", "~/link/x", "~/link", "/proc/self/x", "/dev/x", tmp_path / "x"):
        made = server.client.put("/admin/databases/x", json={"Settings": {"Raven/DataDir": str(folder)}})
        assert_error(made, 403, "--data-root")
        wanted = {"BackupLocation": "~/Backups", "DatabaseName": "x", "DatabaseLocation": str(folder)}
        assert_error(server.client.post("/admin/restore", json=wanted), 403, "--data-root")
        assert_error(server.client.post("/admin/restore/plan", json=wanted), 403, "--data-root")
        # The system database is a database, and its documents can be written as any other's.
        assert (
            Database(server, "")
            .put("Raven/Databases/x", json.dumps({"Settings": {"Raven/DataDir": str(folder)}}))
            .status_code
            == 201
        )
        for way in ("/databases/x/docs/a", "/databases/x/stats"):
            assert_error(server.client.get(way), 403, "--data-root")
        assert_error(server.client.post("/admin/compact?database=x"), 403, "--data-root")
        assert_error(server.client.delete("/admin/databases/x?hard-delete=true"), 403, "--data-root")
        assert server.client.delete("/admin/databases/x").status_code == 200
    assert [each.name for each in outside.iterdir()] == ["there"]


def test_a_document_that_names_no_folder_is_in_nobodys_way(server: Server) -> None:
    assert Database(server, "").put("Raven/Databases/x", '{"Settings":{"Raven/DataDir":"C:\\\\x"}}').status_code == 201
    server.create("shop")
    assert_error(server.client.get("/databases/x/docs"), 400)


def test_a_link_that_is_put_there_later_is_not_followed(server: Server, tmp_path: Path, outside: Path) -> None:
    from muniment.server.places import Places, check_unmoved

    places = Places(server.data_dir)
    folder = places.backups("~/Backups/shop", local=False)
    check_unmoved(folder)
    (server.data_dir / "Backups").symlink_to(outside)
    with pytest.raises(Forbidden):
        check_unmoved(folder)


def test_who_can_read_the_servers_files_names_any_folder(server: Server, tmp_path: Path, outside: Path) -> None:
    server.create("shop").put("a")
    secret = server.data_dir / FILE
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    with DocumentStore(server.url.replace("127.0.0.1", "localhost"), "shop") as store:
        assert store.admin.start_backup(str(outside / "there")).wait().state == "completed"
        with pytest.raises(Forbidden):
            store.admin.start_backup("/proc/self/x")
        with pytest.raises(Forbidden):
            store.admin.start_backup(str(server.data_dir / "System"))
    refused = asked(server, outside / "there")[0]
    assert refused.headers[LOCAL] == str(secret)
    for wrong in ("", "x", "0" * 64, "é"):
        headers = httpx.Headers({LOCAL: wrong}, encoding="utf-8")
        answer = server.client.post("/admin/restore/plan", json={"BackupLocation": str(outside)}, headers=headers)
        assert_error(answer, 403)
    told = json.loads(secret.read_text())["Secret"]
    wanted = {"BackupLocation": str(outside / "there")}
    answer = server.client.post("/admin/restore/plan", json=wanted, headers={LOCAL: told})
    assert answer.status_code == 200
    assert told not in server.log()
    server.stop()
    assert not secret.exists()


def test_nothing_else_is_read_for_a_server_that_names_it(tmp_path: Path) -> None:
    from muniment.client.local import secret

    file = tmp_path / FILE
    url = "http://127.0.0.1:8080"

    def shown(text: str, url: str, path: Path = file) -> str | None:
        file.write_text(text)
        return secret({LOCAL: str(path)}, url)

    good = json.dumps({"Url": url, "Secret": "abc"})
    assert shown(good, url) == "abc"
    assert shown(good, "http://localhost:8080/x") == "abc"
    assert shown(good.replace("127.0.0.1", "0.0.0.0"), url) == "abc"
    for other in ("http://127.0.0.1:8081", "http://127.0.0.2:8080", "http://[::1]:8080", "http://example.org:8080"):
        assert shown(good, other) is None
    for text in ("", "abc", "[]", "{}", '{"Url":1,"Secret":"abc"}', good.replace("abc", "a\\r\\nb"), "x" * 2000):
        assert shown(text, url) is None
    (tmp_path / "other").write_text(good)
    assert shown(good, url, tmp_path / "other") is None
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / FILE).symlink_to(file)
    assert shown(good, url, folder / FILE) is None


def test_prefixes_of_stores_are_roots_too(tmp_path: Path, object_store: ObjectStore) -> None:
    root = object_store.place().removesuffix("/shop")
    with running(tmp_path / "data", backup_roots=root) as server:
        shop = server.create("shop")
        shop.put("a", b'{"n":1}')
        for elsewhere in (f"{root}-other/shop", "s3://another/shop", root.replace("s3://", "s3://profile@")):
            for answer in asked(server, elsewhere):
                assert_error(answer, 403, "is not where this server keeps backups")
        for answer in asked(server, f"{root}/../other"):
            assert_error(answer, 400, "names no place in a store")
        for answer in asked(server, "s3://key:hunter2@backups/shop"):
            assert_error(answer, 400, "neither a password nor options")
            assert "hunter2" not in answer.text
        ended = shop.backup(f"{root}/shop")
        assert not ended["Faulted"], ended
        ended = server.restore(BackupLocation=f"{root}/shop", DatabaseName="again")
        assert not ended["Faulted"], ended
        assert server.client.get("/databases/again/docs/a").content == b'{"n":1}'
        secret = object_store.environment()["AWS_SECRET_ACCESS_KEY"]
        assert secret not in server.client.get("/databases/shop/docs/Raven/Backup/Status").text
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                assert secret.encode() not in process.read_bytes()


def test_backups_are_copied_and_healed_over_http(tmp_path: Path, object_store: ObjectStore) -> None:
    root = object_store.place().removesuffix("/shop")
    with running(tmp_path / "data", backup_roots=root) as server:
        shop = server.create("shop")
        shop.put("a", b'{"n":1}')
        assert not shop.backup("~/Backups/shop")["Faulted"]
        wanted = {"BackupLocation": "~/Backups/shop", "Destination": f"{root}/copy"}
        for elsewhere in ("s3://another/copy", str(tmp_path / "elsewhere")):
            answer = server.client.post("/admin/copy", json={**wanted, "Destination": elsewhere})
            assert_error(answer, 403, "is not where this server keeps backups")
        ended = server.wait_for(server.client.post("/admin/copy", json=wanted).json()["OperationId"])
        assert not ended["Faulted"], ended
        (backup,) = backups(f"{root}/copy")
        (backup.folder / "documents-00001.parquet").unlink()
        ended = server.wait_for(server.client.post("/admin/copy", json=wanted).json()["OperationId"])
        assert "--repair" in str(ended)
        healed = server.client.post("/admin/copy", json={**wanted, "Repair": True})
        assert not server.wait_for(healed.json()["OperationId"])["Faulted"]
        MaintenanceActions.verify(f"{root}/copy")
