"""What a backup and a restore bring to disk before they say that they are done, and in which order."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.repository import Backup
from tests.backup.gate import take


class Disk:
    """Writes down every fsync and rename, in order, while they really happen."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.watching = False
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.watching and event == "os.rename":
            self.events.append(("rename", str(arguments[1])))

    def sync(self, descriptor: int) -> None:
        what = "sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync"
        self.events.append((what, str(Path(f"/proc/self/fd/{descriptor}").readlink())))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk, real = Disk(), os.fsync

    def sync(descriptor: int) -> None:
        disk.sync(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    return disk


@contextmanager
def watched(disk: Disk) -> Iterator[list[tuple[str, str]]]:
    disk.events.clear()
    disk.watching = True
    yield disk.events
    disk.watching = False


def test_a_backup_is_on_disk_before_its_manifest_and_its_manifest_before_it_is_done(
    small: DocumentDatabase, tmp_path: Path, disk: Disk
) -> None:
    destination = tmp_path / "new" / "deeper" / "backups"
    with watched(disk) as events:
        folder = take(small, destination).folder
    published = events.index(("rename", str(folder / "manifest.json")))
    before, after = events[:published], events[published + 1 :]
    files = {str(path) for path in folder.iterdir() if path.name != "manifest.json"}
    assert {path for what, path in before if what == "sync"} == {*files, str(folder / "manifest.json.unfinished")}
    assert before[-1] == ("sync folder", str(folder))
    # The names of the manifest, of the backup's folder, and of each folder that was made for it.
    made = [folder, destination, destination.parent, destination.parent.parent, tmp_path]
    assert {path for what, path in after if what == "sync folder"} >= {str(path) for path in made}


def test_a_backup_into_a_folder_that_is_there(small: DocumentDatabase, tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "backups").mkdir()
    with watched(disk) as events:
        folder = take(small, tmp_path / "backups").folder
    assert ("sync folder", str(folder.parent)) in events[events.index(("rename", str(folder / "manifest.json"))) :]


@pytest.mark.parametrize("defrag", [False, True])
def test_a_restore_is_on_disk_before_it_appears_and_its_name_before_it_is_done(
    backup: Backup, tmp_path: Path, disk: Disk, defrag: bool
) -> None:
    target = tmp_path / "new" / "deeper" / "target"
    staging = target.with_name("target.restoring")
    with watched(disk) as events:
        MaintenanceActions.restore(backup.folder, target, defrag=defrag)
    published = events.index(("rename", str(target)))
    assert ("sync", str(staging / "muniment.db")) in events[:published]
    assert ("sync folder", str(staging)) in events[:published]
    assert events[:published].index(("sync", str(staging / "muniment.db"))) >= 0
    made = [target.parent, target.parent.parent, tmp_path]
    assert {path for what, path in events[published + 1 :] if what == "sync folder"} >= {str(path) for path in made}
