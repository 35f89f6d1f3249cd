"""A database on a disk that is read-only: all of it can be read and backed up, or it is refused, never read in part."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.database import open_to_read
from muniment.errors import LostWrites, StorageFailure, UnknownFormat
from muniment.storage.sqlite.files import FILE, still_files
from muniment.storage.sqlite.reader import _left_open
from muniment.storage.sqlite.store import SqliteStorage
from tests.cli.process import muniment
from tests.clock import Clock
from tests.processes import locks
from tests.sampled import some
from tests.storage.test_reach import LOCKS, WAL, write_until_killed

FORMAT_1 = Path(__file__).parent.parent / "data" / "database-format-1.db.gz"
COUNT = 50
AS_LEFT = ("closed", "killed", "killed, without the index of its log")


class Disk:
    """A disk of its own, which can be made read-only and writable again."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place / "a shop? 100%"  # as SQLite's addresses of files have to spell it

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True)

    def put_there(self, left: str) -> None:
        """A database with some documents, whose process has ended so."""
        if left == "closed":
            with DocumentDatabase(self.folder, clock=Clock()) as database:
                for n in range(COUNT):
                    database.put(f"orders/{n}", {"n": n, "text": "x" * 300})
            assert not (self.folder / WAL).exists()
            return
        spawn = multiprocessing.get_context("spawn")
        mine, other = spawn.Pipe(duplex=False)
        process = spawn.Process(target=write_until_killed, args=(self.folder, COUNT, other))
        process.start()
        while mine.recv():
            pass
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
        assert (self.folder / WAL).stat().st_size
        if left != "killed":
            (self.folder / f"{FILE}-shm").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a disk")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("left", AS_LEFT)
def test_a_database_on_a_read_only_disk_is_read_and_backed_up(disk: Disk, tmp_path: Path, left: str) -> None:
    disk.put_there(left)
    before = contents(disk.folder)
    disk.remount("ro")
    with DocumentDatabase(disk.folder, create=False, read_only=True) as database:
        assert database.check() == []
        found = database.statistics()
        assert (found.documents, found.last_etag) == (COUNT, COUNT)
        for incremental in (False, True):
            taken = database.maintenance.start_backup(tmp_path / "backups", incremental=incremental).wait()
            assert taken.manifest.snapshot.etag == COUNT
            assert taken.manifest.kind == ("incremental" if incremental else "full")
            assert [note for note in taken.notes if "could not record this backup" in note]
    assert contents(disk.folder) == before
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    with DocumentDatabase(tmp_path / "restored", create=False) as restored:
        assert restored.statistics().fingerprint == found.fingerprint
    disk.remount("rw")
    with DocumentDatabase(disk.folder, create=False) as database:
        database.put("orders/new", {})
        assert database.statistics().documents == COUNT + 1
        taken = database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
        assert (taken.manifest.kind, taken.manifest.counts.documents) == ("incremental", 1)


@pytest.mark.parametrize("left", AS_LEFT)
def test_the_commands_work_on_a_read_only_disk(disk: Disk, tmp_path: Path, left: str) -> None:
    disk.put_there(left)
    disk.remount("ro")
    backup = muniment("backup", disk.folder, "--dest", tmp_path / "backups", "--json")
    assert (backup.code, backup.json["documents"]) == (0, COUNT), backup.err
    assert "Read-only file system" in backup.json["notes"][-1]
    assert muniment("verify", tmp_path / "backups").code == 0
    check = muniment("check", disk.folder, "--json")
    assert (check.code, check.json["documents"]) == (0, COUNT), check.err
    last = muniment("get", disk.folder, f"orders/{COUNT - 1}")
    assert (last.code, last.json["n"]) == (0, COUNT - 1), last.err
    out = muniment("smuggler", "out", disk.folder, tmp_path / "all.ndjson")
    assert out.code == 0, out.err
    assert len((tmp_path / "all.ndjson").read_bytes().splitlines()) == COUNT
    assert muniment("status", disk.folder).code in (0, 4)
    assert muniment("check", disk.folder, "--accept-loss").code == 8  # that would write


@some(2)
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_lost_writes_are_told_on_a_read_only_disk(disk: Disk, kept: float, index: bool) -> None:
    disk.put_there("killed" if index else "killed, without the index of its log")
    log = disk.folder / WAL
    os.truncate(log, int(log.stat().st_size * kept))
    disk.remount("ro")
    with pytest.raises(LostWrites):
        DocumentDatabase(disk.folder, create=False, read_only=True)
    with pytest.raises(LostWrites):
        open_to_read(disk.folder)


def test_what_is_only_mounted_read_only_may_be_written_to_elsewhere(disk: Disk, tmp_path: Path) -> None:
    """A container that has a host's folder read-only: nothing says that the host does not write there."""
    view = tmp_path / "view"
    view.mkdir()
    disk.put_there("closed")
    subprocess.run(["mount", "--bind", "-o", "ro", disk.place, view], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        folder = view / disk.folder.name
        with pytest.raises(OSError, match="Read-only"):
            (view / "file").touch()
        assert still_files(folder) is None
        with pytest.raises(StorageFailure, match="somebody elsewhere may be writing"):
            open_to_read(folder)
        with DocumentDatabase(disk.folder) as writer:
            writer.put("orders/new", {"n": -1})
            refused = muniment("backup", folder, "--dest", tmp_path / "backups")
            assert refused.code == 8
            assert "somebody elsewhere may be writing" in refused.err
            assert not list(tmp_path.glob("backups/2*"))
            read = muniment("get", folder, "orders/new")
            assert (read.code, read.json) == (0, {"n": -1}), read.err
    finally:
        subprocess.run(["umount", "-l", view], check=True)


@pytest.mark.parametrize("left", AS_LEFT)
def test_what_was_read_while_somebody_could_write_after_all_is_refused(disk: Disk, tmp_path: Path, left: str) -> None:
    disk.put_there(left)
    disk.remount("ro")
    with DocumentDatabase(disk.folder, create=False, read_only=True) as database:
        assert database.statistics().documents == COUNT
        disk.remount("rw")
        assert muniment("check", disk.folder).code == 0
        with DocumentDatabase(disk.folder) as writer:
            writer.put("orders/new", {})
        with pytest.raises(StorageFailure, match="the database has been written to"):
            database.get("orders/0")
        with pytest.raises(StorageFailure, match="the database has been written to"):
            database.maintenance.start_backup(tmp_path / "backups").wait()
    assert not list(tmp_path.glob("backups/2*"))
    with DocumentDatabase(disk.folder, read_only=True) as database:
        assert database.statistics().documents == COUNT + 1


@pytest.mark.skipif(not LOCKS.exists(), reason="there is no /proc/locks here")
def test_a_reader_from_before_leaves_the_locks_of_a_writer_in_its_process(disk: Disk) -> None:
    disk.put_there("killed")
    disk.remount("ro")
    reader = SqliteStorage(disk.folder, clock=Clock(), read_only=True)
    assert reader.get(0, "orders/0")
    disk.remount("rw")
    inode = (disk.folder / FILE).stat().st_ino

    def locked() -> bool:
        return inode in {place for place, _ in locks(os.getpid())}

    try:
        with DocumentDatabase(disk.folder):
            assert locked()
            reader.close()
            assert locked()
    finally:
        while _left_open:
            _left_open.pop().close()


def test_an_older_format_there_is_to_be_copied(disk: Disk) -> None:
    disk.folder.mkdir()
    (disk.folder / FILE).write_bytes(gzip.decompress(FORMAT_1.read_bytes()))
    disk.remount("ro")
    with pytest.raises(UnknownFormat) as caught, open_to_read(disk.folder):
        pass
    assert "copy its folder to a writable disk" in caught.value.hint
