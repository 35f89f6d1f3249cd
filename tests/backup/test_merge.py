"""A chain becomes one full backup that restores to the same state, and that later backups continue."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.merge import merge_backups
from muniment.backup.repository import Backup, backups
from muniment.errors import BackupNotFound, Conflict, DamagedBackup, InvalidInput, StorageFailure, TargetExists
from tests.backup.damage import DOCUMENTS, flip, manifest_of, rewrite_rows, seal, write_manifest
from tests.backup.state import Seen, opened, seen_by_readers
from tests.clock import Clock
from tests.storage.raw import files_no_larger_than


@pytest.fixture
def chain(small: DocumentDatabase, tmp_path: Path) -> list[Backup]:
    """A full backup and three incrementals in `backups`, of different states."""
    small.configure({"Muniment/History": "true"})
    taken = [back_up(small, tmp_path)]
    for number in range(3):
        small.put("orders/1", {"lines": number})
        small.put(f"new/{number}", {})
        small.delete(f"orders/{number + 2}")
        small.put_attachment("photos/1", bytes([number]) * 2_000_000)
        small.put_attachment("photos/9", b"")
        small.delete_attachment("photos/9")
        taken.append(back_up(small, tmp_path))
    return taken


def back_up(database: DocumentDatabase, tmp_path: Path) -> Backup:
    return database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()


def state(tmp_path: Path, name: str, backup: str) -> Seen:
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / name, backup=backup)
    with opened(tmp_path / name) as database:
        return seen_by_readers(database)


def test_the_merged_backup_has_the_same_state(chain: list[Backup], tmp_path: Path, clock: Clock) -> None:
    merged = merge_backups(tmp_path / "backups", chain[2].name, clock=clock)
    assert (merged.manifest.kind, merged.manifest.through) == ("full", chain[2].manifest.through)
    assert merged.manifest.fingerprint == chain[2].manifest.fingerprint
    assert merged.manifest.reason == f"merged from 3 backups, {chain[0].name} through {chain[2].name}"
    assert state(tmp_path, "merged", merged.name) == state(tmp_path, "original", chain[2].name)
    assert {backup.name for backup in backups(tmp_path / "backups")} == {merged.name, *(b.name for b in chain)}
    assert MaintenanceActions.verify(merged.folder).fingerprint == merged.manifest.fingerprint_at_snapshot()


def test_what_continued_the_last_continues_the_merged_one(
    small: DocumentDatabase, chain: list[Backup], tmp_path: Path, clock: Clock
) -> None:
    before = state(tmp_path, "before", chain[3].name)
    merged = merge_backups(tmp_path / "backups", chain[2].name, clock=clock, delete_merged=True)
    assert [backup.name for backup in backups(tmp_path / "backups")] == [merged.name, chain[3].name]
    assert state(tmp_path, "after", chain[3].name) == before
    last = merge_backups(tmp_path / "backups", chain[3].name, clock=clock, delete_merged=True)
    assert [backup.name for backup in backups(tmp_path / "backups")] == [last.name]
    small.put("orders/1", {"lines": 9})
    following = back_up(small, tmp_path)
    assert (following.manifest.kind, following.manifest.reason) == ("incremental", "asked for")
    assert state(tmp_path, "following", following.name) == seen_by_readers(small)


def test_a_backup_that_others_continue_is_not_deleted(chain: list[Backup], tmp_path: Path, clock: Clock) -> None:
    fork = merge_backups(tmp_path / "backups", chain[1].name, clock=clock)
    edited = manifest_of(chain[3].folder)
    edited["parent"] = {"backup": chain[1].name, "sha256": chain[1].sha256}
    edited["after"] = edited["history_from"] = chain[1].manifest.through
    write_manifest(chain[3].folder, edited)
    with pytest.raises(Conflict, match="would be deleted"):
        merge_backups(tmp_path / "backups", chain[2].name, clock=clock, delete_merged=True)
    assert {backup.name for backup in backups(tmp_path / "backups")} == {fork.name, *(b.name for b in chain)}


def test_a_merged_backup_that_others_continue_is_not_deleted(
    database: DocumentDatabase, tmp_path: Path, clock: Clock
) -> None:
    """Two backups continue one that was merged, since a copy of the database was backed up to a copy of the folder."""
    database.put("a", {"n": 0})
    back_up(database, tmp_path)
    database.put("a", {"n": 1})
    forked = back_up(database, tmp_path)
    (tmp_path / "put back").mkdir()
    shutil.copytree(database.path, tmp_path / "put back" / "shop")
    shutil.copytree(tmp_path / "backups", tmp_path / "put back" / "backups")
    database.put("a", {"n": 2})
    last = back_up(database, tmp_path)
    with opened(tmp_path / "put back" / "shop") as other:
        other.put("b", {"other": True})
        fork = back_up(other, tmp_path / "put back")
    shutil.move(fork.folder, tmp_path / "backups" / fork.name)
    assert fork.name != last.name
    assert fork.manifest.parent == last.manifest.parent
    merge_backups(tmp_path / "backups", forked.name, clock=clock, delete_merged=True)
    before = backups(tmp_path / "backups")
    with pytest.raises(Conflict, match=f"{fork.name} continues"):
        merge_backups(tmp_path / "backups", last.name, clock=clock, delete_merged=True)
    assert backups(tmp_path / "backups") == before
    assert state(tmp_path, "fork", fork.name).keys() == {(0, "a"), (0, "b")}


@pytest.mark.parametrize(("name", "error"), [("else", BackupNotFound), (None, InvalidInput)])
def test_what_can_not_be_merged(
    chain: list[Backup], tmp_path: Path, clock: Clock, name: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        merge_backups(tmp_path / "backups", name or chain[0].name, clock=clock)
    assert backups(tmp_path / "backups") == backups(tmp_path / "backups")
    assert len(list((tmp_path / "backups").iterdir())) == 4


def test_damage_leaves_everything_as_it_was(chain: list[Backup], tmp_path: Path, clock: Clock) -> None:
    def change(rows: list[dict[str, object]]) -> None:
        next(row for row in rows if row["id"] == "new/0")["metadata"] = '{"forged":true}'

    rewrite_rows(chain[1].folder, DOCUMENTS, change)
    seal(chain[1].folder)
    edited = manifest_of(chain[2].folder)
    changed = next(backup for backup in backups(tmp_path / "backups") if backup.name == chain[1].name)
    edited["parent"]["sha256"] = changed.sha256
    write_manifest(chain[2].folder, edited)
    names = sorted(path.name for path in (tmp_path / "backups").iterdir())
    with pytest.raises(DamagedBackup):
        merge_backups(tmp_path / "backups", chain[2].name, clock=clock, delete_merged=True)
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == names


def test_one_backup_is_merged_once(chain: list[Backup], tmp_path: Path, clock: Clock) -> None:
    place, last = tmp_path / "backups", chain[-1].name
    merged = merge_backups(place, last, clock=clock)
    with pytest.raises(TargetExists, match=f"merged already, into {merged.name}"):
        merge_backups(place, last, clock=clock)
    again = merge_backups(place, last, clock=clock, delete_merged=True)
    assert again == merged
    assert backups(place) == [merged]


def test_what_a_damaged_merged_one_would_replace_is_not_deleted(
    chain: list[Backup], tmp_path: Path, clock: Clock
) -> None:
    place, last = tmp_path / "backups", chain[-1].name
    merged = merge_backups(place, last, clock=clock)
    flip(merged.folder / DOCUMENTS, 100)
    with pytest.raises(DamagedBackup):
        merge_backups(place, last, clock=clock, delete_merged=True)
    assert len(backups(place)) == len(chain) + 1


@pytest.mark.parametrize("most", [100, 300_000])
def test_a_disk_without_room_is_told_as_that(
    small: DocumentDatabase, chain: list[Backup], tmp_path: Path, clock: Clock, most: int
) -> None:
    """Also where what waits in a file that is given up has no room either."""
    small.put_attachment("photos/2", random.Random(1).randbytes(2_000_000))
    last = back_up(small, tmp_path)
    before = {backup.name for backup in backups(tmp_path / "backups")}
    with pytest.raises(StorageFailure), files_no_larger_than(most):
        merge_backups(tmp_path / "backups", last.name, clock=clock)
    assert {path.name for path in (tmp_path / "backups").iterdir() if path.is_dir()} == before
