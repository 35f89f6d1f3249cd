"""A program that has the database open is no obstacle: others pin, back up and export what it goes on writing."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.database import open_to_read
from muniment.errors import DatabaseLocked, StorageFailure
from muniment.smuggling import between, source, target
from muniment.storage.sqlite.notes import note_files
from muniment.storage.sqlite.pins import outside_pin, outside_pins, pin_files
from muniment.storage.sqlite.remove import own_files
from muniment.storage.sqlite.store import SqliteStorage
from tests.clock import Clock
from tests.storage.raw import files_no_larger_than, number
from tests.storage.reference import state_of
from tests.waiting import until

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[DocumentDatabase]:
    """Ten documents, and a writer that has them open."""
    with DocumentDatabase(tmp_path / "shop", clock=clock) as database:
        for n in range(10):
            database.put(f"orders/{n}", {"n": n})
        yield database
        assert database.check() == []


def dead(database: DocumentDatabase) -> int:
    return number(database.path, "SELECT count(*) FROM dead")


def rewrite(database: DocumentDatabase) -> None:
    for n in range(10):
        database.put(f"orders/{n}", {"again": n})


def hold(folder: Path, keep: int | None, told: Connection) -> None:
    """Pin, tell the etag, and at a word tell how many documents can be read of it."""
    store = SqliteStorage(folder, clock=Clock(), read_only=True)
    with store.pin(keep) as snapshot:
        told.send(snapshot.etag)
        told.recv()
        told.send([row.content for row in state_of(store, snapshot.etag).values()])
        told.recv()


class Holder:
    """A process that holds a pin."""

    def __init__(self, folder: Path, keep: int | None = None) -> None:
        self.line, other = spawn.Pipe()
        self.process: BaseProcess = spawn.Process(target=hold, args=(folder, keep, other))
        self.process.start()
        other.close()
        self.etag = self.line.recv()

    def read(self) -> list[bytes]:
        self.line.send("read")
        found: list[bytes] = self.line.recv()
        return found

    def kill(self) -> None:
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


@pytest.fixture
def holder(database: DocumentDatabase) -> Iterator[Holder]:
    holder = Holder(database.path)
    yield holder
    holder.kill()


OLD = sorted(b'{"n":%d}' % n for n in range(10))


def test_what_another_process_pins_is_not_purged(database: DocumentDatabase, holder: Holder) -> None:
    assert holder.etag == 10
    rewrite(database)
    rewrite(database)
    assert database.storage.purge() == 0
    assert dead(database) == 20
    assert sorted(holder.read()) == OLD


def test_a_pin_ends_with_its_process(database: DocumentDatabase, holder: Holder) -> None:
    rewrite(database)
    assert database.storage.purge() == 0
    holder.kill()
    assert len(pin_files(database.path)) == 1
    until(lambda: dead(database) == 0)  # nobody tells the writer, which looks from time to time
    until(lambda: pin_files(database.path) == [])


def test_a_pin_outlives_the_writer(database: DocumentDatabase, holder: Holder, clock: Clock) -> None:
    rewrite(database)
    database.close()
    with DocumentDatabase(database.path, create=False, clock=clock) as again:
        rewrite(again)
        assert again.storage.purge() == 0
        assert sorted(holder.read()) == OLD
    database.__init__(database.path, clock=clock)  # type: ignore[misc] # for the fixture's check


def test_a_pin_that_keeps_history(tmp_path: Path, clock: Clock) -> None:
    with DocumentDatabase(tmp_path / "shop", clock=clock) as database:
        rewrite(database)
        with database.storage.pin():
            rewrite(database)
            holder = Holder(database.path, keep=10)
        try:
            assert holder.etag == 20
            assert database.storage.purge() == 0
            assert dead(database) == 10
        finally:
            holder.kill()
        assert database.storage.purge() == 10


def test_no_tombstone_expires_under_a_pin(database: DocumentDatabase, holder: Holder, clock: Clock) -> None:
    database.configure({"Muniment/TombstoneWindow": "1s"})
    database.delete("orders/1")
    database.put("orders/1", {})
    database.delete("orders/1")
    database.put("later", {})
    clock.now += 10_000_000
    database.put("later still", {})
    before = database.storage.backup_facts().tombstones_from
    database.storage.purge()
    assert database.storage.backup_facts().tombstones_from == before
    holder.kill()
    database.storage.purge()
    assert database.storage.backup_facts().tombstones_from > before


def test_pins_of_one_folder(tmp_path: Path) -> None:
    with outside_pin(tmp_path) as first, outside_pin(tmp_path) as second:
        assert outside_pins(tmp_path) == [0, 0]
        first.move(7)
        second.move(1 << 40)
        assert sorted(outside_pins(tmp_path)) == [7, 1 << 40]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "muniment.pin-1-0123abcd").write_bytes(b"")  # its process is dead
    (tmp_path / "muniment.pin-notes.txt").write_text("somebody's")
    assert outside_pins(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["muniment.pin-notes.txt"]


# Backups and exports by another process


def back_up(folder: Path, destination: Path, incremental: bool) -> tuple[str, str]:
    with open_to_read(folder) as database:
        taken = database.maintenance.start_backup(destination, incremental=incremental).wait()
        return taken.manifest.kind, taken.manifest.reason


def elsewhere(*arguments: object) -> tuple[str, str]:
    with spawn.Pool(1) as pool:
        result: tuple[str, str] = pool.apply(back_up, arguments)
        return result


def test_a_backup_by_another_process_is_remembered(database: DocumentDatabase, tmp_path: Path, clock: Clock) -> None:
    backups = tmp_path / "backups"
    assert elsewhere(database.path, backups, False)[0] == "full"
    assert len(note_files(database.path)) == 1
    last = database.storage.backup_facts().last
    assert last is not None
    assert (last.folder, last.etag) == (str(backups), 10)
    rewrite(database)
    assert elsewhere(database.path, backups, True)[0] == "incremental"
    database.put("new", {})
    taken = database.maintenance.start_backup(backups, incremental=True).wait()
    assert taken.manifest.kind == "incremental"
    MaintenanceActions.verify(backups)
    database.close()
    with DocumentDatabase(database.path, create=False, clock=clock) as again:
        assert note_files(database.path) == []
        assert len(again.storage.backup_facts().known) == 3
        assert again.maintenance.start_backup(backups, incremental=True).wait().manifest.kind == "incremental"
    database.__init__(database.path, clock=clock)  # type: ignore[misc] # for the fixture's check


def test_history_is_let_go_of_after_a_backup_by_another_process(database: DocumentDatabase, tmp_path: Path) -> None:
    database.configure({"Muniment/History": "true"})
    rewrite(database)
    assert database.storage.purge() == 0
    elsewhere(database.path, tmp_path / "backups", False)
    assert database.storage.purge() == 10
    assert note_files(database.path) == []


@pytest.mark.parametrize("history", ["false", "true"])
def test_a_backup_of_a_state_that_was_undone_is_not_remembered(tmp_path: Path, clock: Clock, history: str) -> None:
    """The files are put back, and the note of a backup that knows more stays: nothing may be built on that one."""
    folder, older, backups = tmp_path / "shop", tmp_path / "older", tmp_path / "backups"
    with DocumentDatabase(folder, clock=clock) as database:
        database.configure({"Muniment/History": history})
        for n in range(10):
            database.put(f"orders/{n}", {"n": n})
        database.maintenance.start_backup(backups).wait()
    shutil.copytree(folder, older)
    with DocumentDatabase(folder, clock=clock) as database:
        for n in range(10):
            database.put(f"lost/{n}", {"n": n})
        elsewhere(folder, backups, True)
        (note,) = note_files(folder)
        said = note.read_bytes()
    note.write_bytes(said)  # as if the process had been killed
    shutil.copytree(older, folder, dirs_exist_ok=True)
    with DocumentDatabase(folder, create=False, read_only=True) as reader:
        facts = reader.storage.backup_facts()
        assert facts.last is not None
        assert (len(facts.known), facts.last.etag) == (1, 10)
    with DocumentDatabase(folder, create=False, clock=clock) as database:
        assert note_files(folder) == []
        assert number(folder, "SELECT value FROM state WHERE name = 'backed_up'") == 10
        for n in range(15):
            database.put(f"new/{n}", {"n": n})
        note.write_bytes(said)  # by then there is another transaction with the etag that it ends with
        taken = database.maintenance.start_backup(backups, incremental=True).wait()
        assert (taken.manifest.kind, taken.manifest.through) == ("full", 25)
        assert "is not of its log" in taken.manifest.reason
        database.storage.purge()  # takes notes over
        assert note_files(folder) == []
        assert number(folder, "SELECT value FROM state WHERE name = 'backed_up'") == 25
        expected = state_of(database.storage, 25)
    MaintenanceActions.restore(backups, tmp_path / "restored")
    with DocumentDatabase(tmp_path / "restored", create=False) as restored:
        assert state_of(restored.storage, 25) == expected


def test_an_export_and_a_copy_of_what_is_open(database: DocumentDatabase, tmp_path: Path) -> None:
    with source(str(database.path)) as opened, target(str(tmp_path / "copy"), create=True) as copy:
        assert isinstance(opened, DocumentDatabase)
        opened.export(tmp_path / "out.ravendbdump")
        between(opened, copy)
    with DocumentDatabase(tmp_path / "copy", create=False) as copied:
        assert len(copied.by_prefix("orders/")) == 10
    assert pin_files(database.path) == []


# One folder, one process


def test_a_second_open_in_one_process_says_so(database: DocumentDatabase) -> None:
    with pytest.raises(DatabaseLocked, match="this process already has the database") as caught:
        DocumentDatabase(database.path)
    assert "threads may share" in caught.value.hint
    with DocumentDatabase(database.path, read_only=True) as reader:
        assert reader.get("orders/1") is not None


def test_only_what_is_muniments_own_is_listed(database: DocumentDatabase) -> None:
    strangers = ["muniment.db.notes.txt", "muniment.db-old", "muniment.backup-x.note", "mine"]
    for name in strangers:
        (database.path / name).write_text("somebody's")
    names = {path.name for path in own_files(database.path)}
    assert names.isdisjoint(strangers)
    assert {path.name for path in database.path.iterdir()} == names | set(strangers)


def test_the_folders_of_a_new_database_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    DocumentDatabase(tmp_path / "a" / "b" / "shop").close()
    assert {str(tmp_path / name) for name in ("", "a", "a/b", "a/b/shop")} <= {path.rstrip("/") for path in synced}


def too_large(folder: Path) -> list[str]:
    said = []
    with DocumentDatabase(folder) as database, files_no_larger_than(3_000_000):
        for n in range(40):
            try:
                database.put(f"large/{n}", {"text": "x" * 200_000})
            except StorageFailure as error:
                said = [str(error), error.hint]
    return said


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY, reason="there is a limit")
def test_a_limit_of_the_process_is_told_as_that(tmp_path: Path) -> None:
    with spawn.Pool(1) as pool:
        message, hint = pool.apply(too_large, (tmp_path / "shop",))
    assert "not write files larger than 3,000,000 bytes" in message
    assert "ulimit -f" in hint
