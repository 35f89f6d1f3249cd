"""Databases, backups, restores and operations of a real server, from threads and from asyncio."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put
from muniment.backup.restore import dry_run
from muniment.backup.selection import Selection
from muniment.backup.verify import verify
from muniment.client import AsyncDocumentStore, DocumentStore, JobStatus
from muniment.errors import (
    BackupNotFound,
    BackupRunning,
    Cancelled,
    Conflict,
    DatabaseNotFound,
    ForeignBackup,
    InvalidInput,
    MunimentError,
    NotFound,
    ServerUnavailable,
    TargetExists,
    UnreachablePoint,
    WrongKey,
)
from muniment.limits import Limits
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.security.encryption import Algorithm, new_key
from tests.client.serving import blocking
from tests.sampled import only_in_folders, some
from tests.secret import SECRET, holding_secret
from tests.waiting import PATIENCE


@pytest.fixture(params=["threads", "asyncio"])
def remote(request: pytest.FixtureRequest, store: DocumentStore) -> Iterator[Any]:
    """A store whose database has a few documents."""
    store.batch([Put(f"a/{number}", {"n": number}, {"Raven-Entity-Name": "A"}) for number in range(100)])
    if request.param == "threads":
        yield store
        return
    with blocking(lambda: AsyncDocumentStore(store.url, store.name)) as asynchronous:
        yield asynchronous


def test_databases(url: str) -> None:
    with DocumentStore(url) as server:
        server.admin.create_database("My shop ü%", {"Raven/DataDir": "~\\Other\\Shop"})
        with pytest.raises(TargetExists):
            server.admin.create_database("my shop ü%")
        assert "My shop ü%" in server.admin.databases()
        with DocumentStore(f"{url}/databases/my%20shop%20%C3%BC%25") as store:
            store.put("a", {})
            assert store.statistics().documents == 1
        server.admin.delete_database("My shop ü%", hard=True)
        assert "My shop ü%" not in server.admin.databases()
        with pytest.raises(DatabaseNotFound):
            server.admin.delete_database("My shop ü%")
        assert server.get("Raven/Databases/My shop ü%") is None


def test_a_database_can_be_made_again(url: str) -> None:
    with DocumentStore(url, "again") as store:
        for _ in range(3):
            store.admin.create_database("again")
            assert store.get("a") is None
            store.put("a", {})
            store.admin.delete_database("again", hard=True)


@pytest.mark.parametrize("name", ["", "<system>"])
def test_names_that_are_refused_here(url: str, name: str) -> None:
    with DocumentStore(url) as store, pytest.raises(InvalidInput):
        store.admin.create_database(name)


@pytest.mark.parametrize("name", ["a/b", "con", "..", "x" * 300, "a\x00b"])
def test_names_that_the_server_refuses(url: str, name: str) -> None:
    with DocumentStore(url) as store:
        with pytest.raises(MunimentError):
            store.admin.create_database(name)
        assert name not in store.admin.databases()


def test_a_database_that_is_not_there(url: str) -> None:
    with DocumentStore(url, "missing") as store:
        for ask in (
            lambda: store.get("a"),
            lambda: store.put("a", {}),
            lambda: store.statistics(),
            lambda: store.put_attachment("a", io.BytesIO(b"x" * 1_000_000)),
            lambda: store.admin.start_backup("/tmp/never"),
        ):
            with pytest.raises(DatabaseNotFound, match="missing"):
                ask()
        with pytest.raises(DatabaseNotFound):
            store.admin.compact()


@some(1)
def test_backup_and_restore(remote: Any, tmp_path: Path) -> None:
    backup = remote.admin.start_backup(tmp_path / "backup")
    told: list[JobStatus] = []
    done = backup.wait(PATIENCE, told.append)
    assert told[-1] == done
    assert (done.state, done.documents) == ("completed", 100)
    assert done.error is None
    assert "Started" in done.messages[0]
    assert "completed" in done.messages[-1]
    remote.put("later", {})
    remote.admin.start_backup(str(tmp_path / "backup"), incremental=True).wait(PATIENCE)
    assert verify(tmp_path / "backup").fingerprint.count(DOCUMENT) == 101
    name = f"{remote.name}-copy"
    restore = remote.admin.start_restore(tmp_path / "backup", name, location=tmp_path / "copy")
    assert restore.wait(PATIENCE).state == "completed"
    with DocumentStore(remote.url, name) as copy:
        assert copy.statistics().fingerprint == remote.statistics().fingerprint
        assert copy.get("later") is not None
        with pytest.raises(TargetExists):
            remote.admin.start_restore(tmp_path / "backup", name)
        copy.admin.delete_database(name, hard=True)


@some(1)
def test_a_name_from_the_backup(remote: Any, tmp_path: Path) -> None:
    remote.admin.start_backup(tmp_path / "backup").wait(PATIENCE)
    with pytest.raises(TargetExists):
        remote.admin.start_restore(tmp_path / "backup")


def test_a_backup_that_fails(remote: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    backup = remote.admin.start_backup(tmp_path / "file")
    with pytest.raises(MunimentError) as error:
        backup.wait(PATIENCE)
    assert str(tmp_path / "file") in error.value.message
    status = backup.status() if not isinstance(remote, DocumentStore) else backup.status
    assert status.state == "faulted"
    assert status.messages[-1].startswith("Failed")


def test_a_restore_that_fails(remote: Any, tmp_path: Path) -> None:
    with pytest.raises(MunimentError):
        remote.admin.start_restore(tmp_path / "missing", "copy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MunimentError):
        remote.admin.start_restore(tmp_path / "empty", "copy").wait(PATIENCE)
    with pytest.raises(MunimentError):
        remote.admin.start_restore(tmp_path / "empty")
    assert "copy" not in remote.admin.databases()


def test_a_relative_path_is_not_taken_for_one_of_the_server(remote: Any) -> None:
    with pytest.raises(InvalidInput, match="relative"):
        remote.admin.start_backup(Path("here"))


@only_in_folders
@some(1)
def test_compaction(remote: Any) -> None:
    before = remote.statistics().fingerprint
    assert remote.admin.compact().wait(PATIENCE).state == "completed"
    assert remote.statistics().fingerprint == before


@only_in_folders
@some(1)
def test_an_encrypted_database_from_its_making_to_its_restore_with_another_key(remote: Any, tmp_path: Path) -> None:
    key, other = new_key(), new_key(Algorithm.CHACHA20)
    admin, name = remote.admin, f"safe-{remote.name}"
    admin.create_database(name, {"Raven/ActiveBundles": "Replication"}, key=key)
    with DocumentStore(remote.url, name) as safe:
        safe.put(f"people/{SECRET}", {"Text": SECRET})
        assert safe.admin.settings()["Raven/ActiveBundles"] == "Replication;Encryption"
        safe.admin.start_backup(tmp_path).wait(PATIENCE)
        fingerprint = safe.statistics().fingerprint
        assert admin.rotate_key(other.text, name, algorithm="ChaCha20").wait(PATIENCE).state == "completed"
        assert safe.statistics().fingerprint == fingerprint
        with pytest.raises(InvalidInput, match="the key"):
            safe.admin.rotate_key("short")
    assert holding_secret(tmp_path) == []
    with pytest.raises(WrongKey):
        admin.start_restore(tmp_path, f"{name}-2", key=other).wait(PATIENCE)
    assert admin.plan_restore(tmp_path, f"{name}-2", key=key)["rows"] == 1
    admin.start_restore(tmp_path, f"{name}-2", key=key.secret).wait(PATIENCE)
    with DocumentStore(remote.url, f"{name}-2") as restored:
        assert restored.statistics().fingerprint == fingerprint
    for each in (name, f"{name}-2"):
        admin.delete_database(each, hard=True)


def test_no_key_goes_to_another_machine_in_clear() -> None:
    """Nobody listens there, so what is sent all the same fails otherwise."""
    key = new_key()
    for url in ("http://muniment.invalid:1", "http://127.0.0.1.invalid:1"):
        with DocumentStore(url, "safe", timeout=1) as store:
            for send in (
                partial(store.admin.create_database, "safe", key=key),
                partial(store.admin.start_restore, "/backups", "safe", key=key),
                partial(store.admin.plan_restore, "/backups", "safe", key=key),
                partial(store.admin.rotate_key, key),
            ):
                with pytest.raises(InvalidInput, match="unencrypted, and nothing was sent") as refused:
                    send()
                assert key.text not in f"{refused.value} {refused.value.hint}"
    with (
        DocumentStore("http://muniment.invalid:1", "safe", timeout=1) as store,
        pytest.raises(ServerUnavailable),
    ):
        store.admin.rotate_key(key, plain_http=True)


def test_operations(remote: Any, tmp_path: Path) -> None:
    backup = remote.admin.start_backup(tmp_path / "backup")
    backup.wait(PATIENCE)
    [found] = [each for each in remote.operations.list() if each.id == backup.id]
    assert (found.type, found.status, found.error) == ("backup", "Completed", "")
    assert remote.name in found.description
    assert remote.operations.status(backup.id).state == "completed"
    remote.operations.kill(backup.id)
    assert remote.operations.status(backup.id).state == "completed"
    with pytest.raises(NotFound):
        remote.operations.status(99_999)
    with pytest.raises(NotFound):
        remote.operations.kill(99_999)


@some(1)
def test_one_backup_at_a_time_and_cancelling(remote: Any, tmp_path: Path) -> None:
    remote.put_attachment("large", bytes(3 << 20))
    backup = remote.admin.start_backup(tmp_path / "one", limits=Limits(read_rate=1))  # which keeps it running
    with pytest.raises(BackupRunning):
        remote.admin.start_backup(tmp_path / "two")
    with pytest.raises(TimeoutError):
        backup.wait(0)
    backup.cancel()
    with pytest.raises(Cancelled):
        backup.wait(PATIENCE)
    assert not [each for each in (tmp_path / "one").glob("*") if (each / "manifest.json").exists()]
    remote.admin.start_backup(tmp_path / "two").wait(PATIENCE)
    assert verify(tmp_path / "two").fingerprint.count(ATTACHMENT) == 1


def test_the_system_database_is_backed_up_too(url: str, tmp_path: Path) -> None:
    with DocumentStore(url) as store:
        assert store.name == "<system>"
        store.admin.start_backup(tmp_path / "system").wait(PATIENCE)
        with pytest.raises((NotFound, Conflict, InvalidInput)):
            store.admin.compact()
    assert verify(tmp_path / "system").fingerprint.count(DOCUMENT) >= 0


def test_build_version(remote: Any) -> None:
    assert "muniment" in remote.admin.build_version()["ProductVersion"]


def test_what_a_restore_of_the_library_gives(remote: Any, tmp_path: Path) -> None:
    """A backup taken by a server is one like any other."""
    remote.admin.start_backup(tmp_path / "backup").wait(PATIENCE)

    MaintenanceActions.restore(tmp_path / "backup", tmp_path / "copy")
    with DocumentDatabase(tmp_path / "copy", create=False) as copy:
        assert copy.statistics().fingerprint == remote.statistics().fingerprint


def test_settings(remote: Any) -> None:
    remote.admin.configure({"Mine": "kept"}, replace=True)
    place = remote.admin.settings()["Raven/DataDir"]
    changed = remote.admin.configure({"Muniment/History": "true", "Muniment/HistoryWindow": "7d"})
    assert changed == remote.admin.settings()
    assert changed == {
        "Raven/DataDir": place,
        "Mine": "kept",
        "Muniment/History": "true",
        "Muniment/HistoryWindow": "7d",
    }
    assert remote.admin.configure({"MINE": None, "muniment/historywindow": None}) == {
        "Raven/DataDir": place,
        "Muniment/History": "true",
    }
    for wrong in ({"Muniment/Histroy": "true"}, {"Muniment/History": True}):
        with pytest.raises(InvalidInput) as caught:
            remote.admin.configure(wrong)
        assert caught.value.hint
    assert remote.get("a/1").json() == {"n": 1}
    assert remote.admin.configure({}, replace=True) == {"Raven/DataDir": place}


def test_settings_of_nothing(url: str) -> None:
    with DocumentStore(url, "nowhere") as store:
        with pytest.raises(DatabaseNotFound):
            store.admin.settings()
        with pytest.raises(DatabaseNotFound):
            store.admin.configure({"Mine": "new"})
    with DocumentStore(url) as system, pytest.raises(InvalidInput):
        system.admin.settings()


@pytest.fixture
def chain(remote: Any, tmp_path: Path) -> Path:
    """Backups with history: a full one, then one in which `a/1` has two more versions."""
    remote.admin.delete_database(remote.name, hard=True)
    remote.admin.create_database(remote.name, {"Muniment/History": "true"})
    remote.put("a/1", {"n": "first"})
    remote.admin.start_backup(tmp_path / "chain").wait(PATIENCE)
    remote.put("a/1", {"n": "second"})
    remote.put("a/1", {"n": "third"})
    remote.admin.start_backup(tmp_path / "chain", incremental=True).wait(PATIENCE)
    return tmp_path / "chain"


@some(1)
def test_any_moment_and_part(remote: Any, chain: Path) -> None:
    end = remote.admin.plan_restore(chain)
    assert end == dry_run(MaintenanceActions.plan_restore(chain), str(chain))
    plan = remote.admin.plan_restore(chain, etag=end["etag"] - 1)
    assert plan["etag"] == end["etag"] - 1
    assert remote.admin.plan_restore(chain, backup=Path(plan["backups"][0]["backup"]).name)["rows"] == 1
    at = datetime.fromisoformat(plan["time"])
    assert remote.admin.plan_restore(chain, at=at) == plan
    with pytest.raises(InvalidInput, match="has no zone"):
        remote.admin.plan_restore(chain, at=at.replace(tzinfo=None))
    lineage = MaintenanceActions.plan_restore(chain).manifest.database.lineage
    assert remote.admin.plan_restore(chain, at=at, lineage=lineage[:6]) == plan
    with pytest.raises(BackupNotFound, match="lineage"):
        remote.admin.plan_restore(chain, lineage="none")
    name = f"{remote.name}-part"
    selection = Selection.of(ids=("A/1",))
    remote.admin.start_restore(chain, name, at=at, selection=selection).wait(PATIENCE)
    with DocumentStore(remote.url, name) as copy:
        document = copy.get("a/1")
        assert document is not None
        assert document.json() == {"n": "second"}
        assert copy.statistics().documents == 1
        copy.admin.delete_database(name, hard=True)


@some(1)
def test_moments_that_can_not_be_reached(remote: Any, chain: Path) -> None:
    with pytest.raises(UnreachablePoint) as here:
        MaintenanceActions.plan_restore(chain, etag=9_999)
    for ask in (
        partial(remote.admin.plan_restore, chain),
        partial(remote.admin.start_restore, chain, "never"),
        partial(remote.admin.start_restore_into, chain, "skip"),
    ):
        with pytest.raises(UnreachablePoint) as error:
            ask(etag=9_999)
        assert (error.value.message, error.value.hint) == (here.value.message, here.value.hint)
    with pytest.raises(BackupNotFound):
        remote.admin.start_restore(chain, "never", backup="none")
    with pytest.raises(TargetExists):
        remote.admin.plan_restore(chain, remote.name)


ACTIONS = ("added", "changed", "deleted")


@some(1)
def test_into_the_store_s_database(remote: Any, chain: Path) -> None:
    remote.delete("a/1")
    remote.put("new", {})
    comparing = remote.admin.start_restore_into(chain)
    compared = comparing.wait(PATIENCE)
    lists = {name: ["new"] if name == "deleted" else ["a/1"] if name == "added" else [] for name in ACTIONS}
    assert comparing.changes() == [{"kind": "document", "collection": None, **lists}]
    assert (compared.difference["added"], compared.difference["deleted"], compared.written) == (1, 1, None)
    assert remote.get("a/1") is None
    with pytest.raises(Conflict, match="new was deleted") as error:
        remote.admin.start_restore_into(chain, "fail").wait(PATIENCE)
    assert error.value.exit_code == Conflict.exit_code
    part = Selection.of(ids=("a/1",))
    restored = remote.admin.start_restore_into(chain, "skip", selection=part).wait(PATIENCE)
    document = remote.get("a/1")
    assert (document.json(), document.etag, restored.written) == ({"n": "third"}, restored.etag, 1)
    assert remote.admin.start_restore_into(chain, "overwrite", dry_run=True).wait(PATIENCE).written is None
    assert remote.admin.start_restore_into(chain, "overwrite").wait(PATIENCE).written == 1
    assert remote.get("new") is None


@some(1)
def test_backups_of_another_database(remote: Any, chain: Path) -> None:
    with DocumentStore(remote.url, f"{remote.name}-2") as other:
        other.admin.create_database(other.name)
        with pytest.raises(ForeignBackup):
            other.admin.start_restore_into(chain, "skip")
        assert other.admin.start_restore_into(chain, "skip", other_database=True).wait(PATIENCE).written == 1
        other.admin.delete_database(other.name, hard=True)


def test_recoverability(remote: Any, tmp_path: Path) -> None:
    assert remote.admin.recoverability().destinations == []
    remote.admin.start_backup(tmp_path / "backups").wait()
    remote.put("a/1", {})
    found = remote.admin.recoverability()
    [state] = found.destinations
    assert (found.name, state.destination, state.backups) == (remote.name, str(tmp_path / "backups"), 1)
    assert (state.changes_since, state.restorable[0].last.etag) == (1, 100)
    told = remote.statistics()
    assert (told.changes_since_backup, told.last_backup is None) == (1, False)
