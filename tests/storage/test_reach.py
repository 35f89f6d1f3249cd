"""What was acknowledged is there when the database is opened again, or opening it says how much is not."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.errors import LostWrites, StorageFailure
from muniment.storage.sqlite import files, reach
from muniment.storage.sqlite.compact import compact
from muniment.storage.sqlite.files import FILE, REACH
from muniment.storage.sqlite.store import SqliteStorage
from tests.clock import Clock
from tests.processes import locks
from tests.sampled import some
from tests.storage.raw import number, raw
from tests.storage.reference import attach, put
from tests.waiting import PATIENCE, until

WAL = f"{FILE}-wal"
LOCKS = Path("/proc/locks")


def write_until_killed(folder: Path, count: int, told: Any) -> None:
    """Write so many documents, each for itself, tell of each, and stay open."""
    database = DocumentDatabase(folder, clock=Clock())
    for n in range(count):
        told.send(database.put(f"orders/{n}", {"n": n, "text": "x" * 300}).etag)
    told.send(0)
    signal.pause()


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a database whose process was killed after 200 acknowledged writes."""
    folder = tmp_path / "shop"
    mine, other = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=write_until_killed, args=(folder, 200, other))
    process.start()
    while mine.recv():
        pass
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return folder


def write_as_format_2(folder: Path, told: Any) -> None:
    """The same with a file that says that it has the format before."""
    with DocumentDatabase(folder, clock=Clock()) as database:
        storage = database.storage
        assert isinstance(storage, SqliteStorage)
        storage.writer.submit(lambda transaction: transaction.connection.execute("PRAGMA user_version=2")).result()
        for n in range(200):
            database.put(f"orders/{n}", {"n": n, "text": "x" * 300})
        told.send(0)
        signal.pause()


def test_a_log_that_ends_too_early_is_left_as_it_is_in_a_file_of_an_older_format(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    mine, other = spawn.Pipe(duplex=False)
    process = spawn.Process(target=write_as_format_2, args=(tmp_path / "shop", other))
    process.start()
    mine.recv()
    process.kill()
    process.join()
    wal = tmp_path / "shop" / WAL
    flip(wal, wal.stat().st_size // 2)
    left = wal.read_bytes()
    lost(tmp_path / "shop")
    assert wal.read_bytes() == left  # somebody may still read something in it
    assert number(tmp_path / "shop", "PRAGMA user_version") == 2


def opened(folder: Path, *, accept_loss: bool = False) -> DocumentDatabase:
    return DocumentDatabase(folder, create=False, accept_loss=accept_loss)


def lost(folder: Path) -> LostWrites:
    """What every way to open it says."""
    with pytest.raises(LostWrites) as reading:
        DocumentDatabase(folder, create=False, read_only=True)
    with pytest.raises(LostWrites) as compacting:
        compact(folder)
    for _ in range(2):
        with pytest.raises(LostWrites) as caught:
            opened(folder)
        assert "`muniment check FOLDER --accept-loss`" in caught.value.hint
        assert str(caught.value) == str(reading.value) == str(compacting.value)
    return reading.value


def test_nothing_is_missing_after_a_kill(killed: Path) -> None:
    with opened(killed) as database:
        assert database.snapshot().etag == 200
        assert database.check() == []


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


DAMAGE: list[Callable[[Path], object]] = [
    lambda wal: flip(wal, wal.stat().st_size // 10),
    lambda wal: flip(wal, 5),
    lambda wal: os.truncate(wal, wal.stat().st_size // 2),
    lambda wal: os.truncate(wal, 0),
    lambda wal: wal.unlink(),
]


@some(2)
@pytest.mark.parametrize("damage", DAMAGE, ids=["a bit", "a bit of its head", "half", "all", "deleted"])
def test_a_log_that_ends_too_early_is_not_the_end(killed: Path, damage: Callable[[Path], object]) -> None:
    damage(killed / WAL)
    left = (killed / WAL).read_bytes() if (killed / WAL).exists() else b""
    error = lost(killed)
    assert not left or (killed / WAL).read_bytes() == left  # somebody may still read something in it
    assert error.missing is not None
    assert 0 < error.missing <= 200
    assert f"{error.missing} acknowledged writes are missing" in str(error)
    assert f"after etag {200 - error.missing}" in str(error)

    with opened(killed, accept_loss=True) as database:
        identity = database.storage.identity
        assert database.snapshot().etag == 200  # a number is never given twice
        assert sum(1 for n in range(200) if database.get(f"orders/{n}")) == 200 - error.missing
        old, new = identity.lineages[-2:]
        assert (new.lineage, new.parent, new.etag) == (identity.lineage, old.lineage, 200 - error.missing)
        assert database.put("orders/new", {}).etag == 201
        assert database.check() == []
    with opened(killed) as database:
        assert database.storage.identity == identity
        assert database.get("orders/new") is not None


def test_a_file_that_was_copied_alone_while_it_was_open(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with DocumentDatabase(tmp_path / "shop") as database:
        for n in range(20):
            database.put(f"orders/{n}", {})
        shutil.copy(tmp_path / "shop" / FILE, copy / FILE)
        assert "was copied while it was open" in str(lost(copy))
        shutil.copy(tmp_path / "shop" / WAL, copy / WAL)
        lost(copy)
        shutil.copy(tmp_path / "shop" / REACH, copy / REACH)
        with opened(copy) as whole:
            assert whole.snapshot().etag == 20


def test_a_file_that_is_open_says_so_from_the_first_write_on(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    with DocumentDatabase(folder) as database:
        shutil.copytree(folder, tmp_path / "before")
        database.put("a", {})
        (tmp_path / "after").mkdir()
        shutil.copy(folder / FILE, tmp_path / "after" / FILE)
    opened(tmp_path / "before").close()
    lost(tmp_path / "after")


def test_a_closed_database_is_one_file(killed: Path, tmp_path: Path) -> None:
    opened(killed).close()
    assert not (killed / WAL).exists()
    (tmp_path / "copy").mkdir()
    shutil.copy(killed / FILE, tmp_path / "copy" / FILE)
    with opened(tmp_path / "copy") as copy:
        assert copy.snapshot().etag == 200
    (killed / REACH).unlink()
    opened(killed).close()


def test_a_file_that_was_put_back_to_an_older_state(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    with DocumentDatabase(folder) as database:
        database.put("a", {})
    shutil.copy(folder / FILE, tmp_path / "older")
    with opened(folder) as database:
        database.put("b", {})
        database.put("c", {})
    shutil.copy(tmp_path / "older", folder / FILE)
    assert lost(folder).missing == 2
    with opened(folder, accept_loss=True) as database:
        database.put("d", {})
    shutil.copy(tmp_path / "older", folder / FILE)
    assert "held a later or another history" in str(lost(folder))


def test_the_newest_row_of_a_closed_file_is_missed(tmp_path: Path) -> None:
    """Its commit is counted there; only the log does not reach it. Its etag would be given a second time."""
    folder = tmp_path / "shop"
    with DocumentDatabase(folder) as database:
        for n in range(20):
            database.put(f"orders/{n}", {})
    with raw(folder) as connection:
        connection.execute("DELETE FROM log WHERE etag > 18")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / FILE, alone / FILE)  # a closed database is one file
    for each in (folder, alone):
        error = lost(each)
        assert error.missing == 2
        assert "2 acknowledged writes are missing" in str(error)
    for each in (folder, alone):
        with opened(each, accept_loss=True) as database:
            assert database.put("new", {}).etag == 21
            assert database.storage.identity.lineages[-1].etag == 18
        with opened(each) as database:
            assert database.get("new")


def test_settings_that_were_acknowledged(killed: Path) -> None:
    """They have no etag, but a commit."""
    with opened(killed) as database:
        database.put("a", {})
        copy = shutil.copytree(killed, killed.parent / "copy")
        database.configure({"Muniment/History": "true"})
        shutil.copy(killed / REACH, copy / REACH)
    error = lost(copy)
    assert error.missing == 0
    assert "1 acknowledged changes are missing" in str(error)


def test_the_torn_tail_of_what_nobody_was_told_of(killed: Path) -> None:
    with (killed / WAL).open("ab") as wal:
        wal.write(os.urandom(10_000))
    with opened(killed) as database:
        assert database.snapshot().etag == 200


def test_a_commit_whose_note_did_not_come_to_it(killed: Path) -> None:
    """Killed between the commit and the note, or by a power failure after which the note is older than the log."""
    found = reach.read_reach(killed)
    assert found is not None
    assert found[1:3] == (200, 200)
    file = reach.Reach(killed)
    for back in (1, 0):
        file.write(found._replace(commits=150 + back, etag=150 + back))
    file.close()
    with opened(killed) as database:
        assert database.snapshot().etag == 200


@some(2)
@pytest.mark.parametrize("position", [0, 9, 30, 50, 62])
def test_one_of_two_notes_may_be_torn(killed: Path, position: int) -> None:
    """The one before it is right then, only less."""
    for start in (0, 4096):
        copy = killed.parent / f"copy-{start}"
        shutil.copytree(killed, copy)
        flip(copy / REACH, start + position)
        found = reach.read_reach(copy)
        assert found is not None
        assert found.etag in (199, 200)
        opened(copy).close()


def test_a_restored_database_knows_only_itself(killed: Path, tmp_path: Path) -> None:
    with opened(killed) as database:
        database.maintenance.start_backup(tmp_path / "backups").wait()
        database.put("later", {})
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    assert not (tmp_path / "restored" / REACH).exists()
    shutil.copy(tmp_path / "restored" / FILE, killed / FILE)  # by hand into the old one's place: its lineage says it
    with opened(killed) as database:
        assert database.get("later") is None
        database.put("new", {})
    opened(killed).close()


def test_compaction_keeps_what_was_noted(killed: Path) -> None:
    compact(killed)
    with opened(killed) as database:
        assert database.snapshot().etag == 200
        database.put("a", {})
    compact(killed)
    opened(killed).close()


def test_a_reader_in_another_process_while_it_is_written_to(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        for n in range(30):
            database.put("a", {"n": n})
            with DocumentDatabase(tmp_path / "shop", create=False, read_only=True) as reader:
                found = reader.get("a")
                assert found is not None
                assert found.json() == {"n": n}


def test_a_reader_that_comes_just_before_the_first_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds no reach, and then a database that was written to."""
    with DocumentDatabase(tmp_path / "shop") as database:
        read_reach = reach.read_reach

        def read_before_a_write(folder: Path) -> reach.Reached | None:
            found = read_reach(folder)
            database.put("a", {})
            return found

        monkeypatch.setattr(reach, "read_reach", read_before_a_write)
        with DocumentDatabase(tmp_path / "shop", create=False, read_only=True) as reader:
            assert reader.get("a") is not None


def test_opening_and_closing_without_writing_changes_no_byte(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    with DocumentDatabase(folder) as database:
        database.put("a", {})
    before = (folder / FILE).read_bytes(), (folder / REACH).read_bytes()
    with opened(folder) as database:
        assert database.get("a") is not None
    assert ((folder / FILE).read_bytes(), (folder / REACH).read_bytes()) == before


# The files of an open database


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> SqliteStorage:
    DocumentDatabase(tmp_path / "shop").close()
    store = SqliteStorage(tmp_path / "shop", clock=clock)
    store.commit([put("a")])
    return store


def replaced(path: Path) -> None:
    content = path.read_bytes()
    path.rename(path.with_name("elsewhere"))
    path.write_bytes(content)


@pytest.mark.parametrize("name", [FILE, WAL])
@pytest.mark.parametrize("change", [Path.unlink, replaced], ids=["deleted", "replaced"])
def test_nothing_is_acknowledged_into_files_that_are_gone(
    store: SqliteStorage, name: str, change: Callable[[Path], object]
) -> None:
    change(store.folder / name)
    for _ in range(3):
        with pytest.raises(StorageFailure, match=name) as caught:
            store.commit([put("b")])
        assert "close it" in caught.value.hint
    with pytest.raises(StorageFailure):
        store.configure({})
    (store.folder / "elsewhere").exists() and (store.folder / "elsewhere").rename(store.folder / name)
    with pytest.raises(StorageFailure):  # for ever
        store.commit([put("c")])
    store.close()


GONE: dict[str, Callable[[Path], object]] = {
    FILE: lambda folder: (folder / FILE).unlink(),
    WAL: lambda folder: (folder / WAL).unlink(),
    f"{FILE} .* was replaced": lambda folder: replaced(folder / FILE),
    f"{WAL} .* was replaced": lambda folder: replaced(folder / WAL),
    "moved away": lambda folder: folder.rename(folder.with_name("moved")),
}


@pytest.mark.parametrize("what", GONE)
def test_that_is_seen_by_the_folder_alone(store: SqliteStorage, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SETTLED_SECONDS", 0.1)
    monkeypatch.setattr(files, "LOOK_SECONDS", 3600)
    looked: list[str] = []
    inode = files.inode_of

    def look(path: str) -> tuple[int, int] | None:
        looked.append(path)
        return inode(path)

    monkeypatch.setattr(files, "inode_of", look)
    deadline = time.monotonic() + PATIENCE
    while looked or time.monotonic() < deadline - PATIENCE + 0.2:
        looked.clear()
        store.commit([put("b")])
        if time.monotonic() > deadline:
            store.close()
            pytest.skip("the file system of the temporary folder is none that keeps the time of changes")
    GONE[what](store.folder)
    for _ in range(2):
        with pytest.raises(StorageFailure, match=what.replace(FILE, re.escape(FILE), 1)):
            store.commit([put("c")])
    assert looked
    store.close()


def test_a_descriptor_that_somebody_has_closed(store: SqliteStorage) -> None:
    """As a program does that becomes a daemon: what is stored is not told as lost, and files are looked up by name."""
    descriptor = store.writer._files._descriptor
    if descriptor is None:
        pytest.skip("the file system of the temporary folder is none that keeps the time of changes")
    os.close(descriptor)
    assert [store.commit([put(id)])[0].existed for id in ("b", "b", "c")] == [False, True, False]
    etag = store.last_etag
    (store.folder / WAL).unlink()
    with pytest.raises(StorageFailure, match=WAL):
        store.commit([put("d")])
    assert store.last_etag == etag
    store.close()


def test_what_was_acknowledged_before_the_log_was_deleted_is_kept(store: SqliteStorage, clock: Clock) -> None:
    for n in range(50):
        store.commit([put(f"orders/{n}")])
    (store.folder / WAL).unlink()
    with pytest.raises(StorageFailure):
        store.commit([put("b")])
    store.close()
    again = SqliteStorage(store.folder, clock=clock)
    assert len(again.by_prefix(0, "orders/", 0, 99)) == 50
    assert list(again.check()) == []
    again.close()


def test_a_folder_that_is_moved_while_it_is_open(store: SqliteStorage, tmp_path: Path) -> None:
    store.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageFailure, match="moved away"):
        store.commit([put("b")])
    store.close()
    with opened(tmp_path / "elsewhere") as database:
        assert database.get("a") is not None


@pytest.mark.skipif(not LOCKS.exists(), reason="there is no /proc/locks here")
def test_no_use_takes_the_locks_away(store: SqliteStorage, tmp_path: Path, clock: Clock) -> None:
    store.close()

    def locked() -> set[tuple[str, int]]:
        inodes = {path.stat().st_ino: path.name for path in store.folder.iterdir()}
        return {(inodes.get(inode, ""), first) for inode, first in locks(os.getpid())}

    kept = {(FILE, 0x40000002), (f"{FILE}-shm", 128)}
    with DocumentDatabase(store.folder, clock=clock) as database:
        uses: list[Callable[[], object]] = [
            lambda: database.put("a", {}),
            lambda: attach(database.storage, "photo", [b"x" * 3_000_000]),
            lambda: database.statistics(),
            lambda: database.check(),
            lambda: database.freeze().thaw(),
            lambda: database.maintenance.start_backup(tmp_path / "backups").wait(),
            lambda: database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait(),
            lambda: database.export(tmp_path / "out.ravendbdump"),
            lambda: database.export_incremental(tmp_path / "dumps"),
            lambda: database.import_dump(tmp_path / "out.ravendbdump"),
            lambda: MaintenanceActions.verify(tmp_path / "backups"),
            lambda: MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored"),
            lambda: DocumentDatabase(store.folder, create=False, read_only=True).close(),
            lambda: SqliteStorage(store.folder, clock=clock, read_only=True).close(),
            lambda: list(database.storage.members()),
        ]
        for use in uses:
            use()
            assert kept <= locked(), use


def test_the_note_is_brought_to_disk_when_nobody_writes(store: SqliteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    store.commit([put("b")])
    until(lambda: synced)
    store.close()


def test_the_file_says_that_it_was_closed(store: SqliteStorage) -> None:
    query = "SELECT count(*) FROM state WHERE name = 'open' AND value = 1"
    with raw(store.folder) as connection:
        assert connection.execute(query).get == 1
    store.close()
    assert number(store.folder, query) == 0
