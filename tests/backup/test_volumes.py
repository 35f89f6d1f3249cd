"""Restores into volumes that are nearly empty, shares that cannot sync a folder, and disks that fail or are full."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.records import Record, records, write_record
from muniment.backup.repository import Backup
from muniment.backup.staging import NAME, forget_staging
from muniment.errors import StorageFailure, TargetExists
from muniment.exporting import export_backup, export_storage
from muniment.storage.sqlite.files import LOADING
from tests.backup import child
from tests.backup.state import opened, state_of, tree


@pytest.mark.parametrize("content", ["empty", "lost+found"])
def test_a_restore_into_an_empty_volume(backup: Backup, tmp_path: Path, content: str) -> None:
    """Nothing can be renamed onto a mount point, nor over the border of its file system."""
    volume = tmp_path / "volume"
    volume.mkdir()
    mounted = f"mount -t tmpfs none '{volume}'"
    if content == "lost+found":
        mounted += f" && mkdir -m 700 '{volume}/lost+found'"
    told = child.run("restore_and_look", source=str(backup.folder), target=str(volume), within=mounted)
    left = {"muniment.db", "muniment.lock"} | ({"lost+found"} if content == "lost+found" else set())
    assert {name for name in told["names"] if not name.endswith(("-wal", "-shm"))} == left
    assert told["fingerprint"] == backup.manifest.fingerprint_at_snapshot().short()
    assert told["again"] == "TargetExists"


def test_a_full_volume_is_as_it_was(backup: Backup, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    told = child.run(
        "restore_and_look",
        source=str(backup.folder),
        target=str(volume),
        within=f"mount -t tmpfs -o size=64k none '{volume}'",
    )
    assert told == {"error": "StorageFailure", "names": []}


def test_a_killed_restore_into_an_empty_folder_is_taken_over(
    backup: Backup, small: DocumentDatabase, tmp_path: Path
) -> None:
    target = tmp_path / "volume"
    (target / NAME).mkdir(parents=True)
    (target / "lost+found").mkdir()
    (target / "muniment.lock").touch()
    for name in ("muniment.db", "muniment.db-journal", LOADING):
        (target / NAME / name).write_bytes(b"left by a restore that was killed")
    MaintenanceActions.restore(backup.folder, target)
    assert not (target / NAME).exists()
    with opened(target) as restored:
        assert state_of(restored) == state_of(small)


def test_what_a_restore_left_that_was_killed_at_its_end_is_removed_when_the_database_is_opened(
    backup: Backup, tmp_path: Path
) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    MaintenanceActions.restore(backup.folder, target)
    (target / NAME).mkdir()
    (target / NAME / LOADING).touch()
    with DocumentDatabase(target, create=False):
        assert not (target / NAME).exists()
    (target / NAME).mkdir()
    (target / NAME / "mine.txt").touch()
    forget_staging(target)
    assert (target / NAME / "mine.txt").exists()


@pytest.mark.parametrize("name", [f"{NAME}/mine.txt", "lost+found", "muniment.lock", "else"])
def test_what_somebody_has_there_is_never_written_to(backup: Backup, tmp_path: Path, name: str) -> None:
    path = tmp_path / "volume" / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    before = tree(tmp_path / "volume")
    with pytest.raises(TargetExists):
        MaintenanceActions.restore(backup.folder, tmp_path / "volume")
    assert tree(tmp_path / "volume") == before


def spoil_folder_sync(
    monkeypatch: pytest.MonkeyPatch, code: int, on: Callable[[str], bool] = lambda path: True
) -> None:
    """As a share does that syncs files but no folders."""
    fsync = os.fsync

    def spoilt(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and on(path):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spoilt)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES, errno.EOPNOTSUPP])
def test_a_share_that_can_not_sync_folders(
    small: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    spoil_folder_sync(monkeypatch, code)
    place = tmp_path / "share" / "backups"
    backup = small.maintenance.start_backup(place).wait()
    assert [note.split(" cannot be synced")[0] for note in backup.notes] == [
        str(path) for path in (backup.folder, place, tmp_path / "share", tmp_path)
    ]
    small.put("orders/1", {"more": 1})
    last = small.maintenance.start_backup(place, incremental=True).wait()
    assert last.notes
    merged = MaintenanceActions.merge(place, last.name, delete_merged=True)
    assert merged.notes
    assert MaintenanceActions.verify(place).record is not None
    (tmp_path / "there").mkdir()
    for target in (tmp_path / "new", tmp_path / "there"):
        restored = MaintenanceActions.restore(place, target)
        assert "cannot be synced" in restored.notes[0]
        assert restored.fingerprint == small.snapshot().fingerprint
    exported = export_backup(place, tmp_path / "dump.ndjson")
    assert "cannot be synced" in exported.notes[0]
    assert "cannot be synced" in export_storage(small.storage, tmp_path / "other.ndjson").notes[0]


def test_a_disk_that_fails_at_the_last_step_leaves_nothing(
    small: DocumentDatabase, backup: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names are there already when the folder is synced."""
    around = tmp_path / "disk"
    (around / "empty").mkdir(parents=True)
    spoil_folder_sync(monkeypatch, errno.EIO, lambda path: path in (str(around), str(around / "empty")))
    before = tree(around)
    attempts: list[Callable[[], object]] = [
        lambda: MaintenanceActions.restore(backup.folder, around / "new"),
        lambda: MaintenanceActions.restore(backup.folder, around / "empty"),
        lambda: export_backup(backup.folder, around / "dump.ndjson"),
        lambda: export_storage(small.storage, around / "dump.ndjson"),
        lambda: small.maintenance.start_backup(around / "backups").wait(),
        lambda: write_record(around, record_of(backup)),
    ]
    for attempt in attempts:
        with pytest.raises(StorageFailure, match="Input/output error"):
            attempt()
        assert tree(around) == before


def record_of(backup: Backup) -> Record:
    manifest = backup.manifest
    times = manifest.snapshot.time, (backup.sha256,), manifest.completed
    return Record(
        kind="verification",
        backup=backup.name,
        etag=manifest.through,
        time=times[0],
        manifests=times[1],
        completed=times[2],
        seconds=1.0,
    )


def test_a_record_is_whole_or_not_there(backup: Backup, tmp_path: Path) -> None:
    """On a full disk; two of the same time get names of their own."""
    place = tmp_path / "small"
    place.mkdir()
    told = child.run("records", place=str(place), within=f"mount -t tmpfs -o size=16k none '{place}'")
    assert told["error"] == "StorageFailure"
    assert told["written"] == told["read"] > 0
    assert told["other"] == []
    first, second = (write_record(backup.folder.parent, record_of(backup)) for _ in range(2))
    assert first != second
    assert len(records(backup.folder.parent)) == 2
