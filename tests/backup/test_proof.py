"""A backup proves what it reads, and the rows that it holds; what a full disk or an empty folder makes of one."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put, rehearse
from muniment.backup import destination
from muniment.backup.child import backup_in_child
from muniment.backup.manifest import Skipped
from muniment.backup.repository import Backup, backups
from muniment.errors import BackupNotFound, DamagedBackup, DamagedDatabase, StorageFailure
from muniment.exporting import export_backup
from muniment.storage.base import BackupPlace
from muniment.storage.sqlite.store import SqliteStorage
from tests.backup import child
from tests.backup.damage import ATTACHMENTS, DOCUMENTS, Rows, manifest_of, read_rows, rewrite_rows, seal, write_manifest
from tests.backup.state import opened, seen_by_readers
from tests.clock import SECOND, Clock


def take(database: DocumentDatabase, place: Path, **asked: Any) -> Backup:
    return database.maintenance.start_backup(place, **asked).wait()


def rot(folder: Path, statement: str, *values: Any) -> None:
    """Change a row behind the database's back, as a disk does."""
    connection = apsw.Connection(str(folder / "muniment.db"))
    with closing(connection):
        connection.execute(statement, values)


ROT = {
    "a body": ("UPDATE log SET body = CAST('{\"lines\":9}' AS BLOB) WHERE id = 'orders/2'", "document", "orders/2"),
    "a time": ("UPDATE log SET modified = modified + 1 WHERE id = 'loose'", "document", "loose"),
    "metadata": ("UPDATE log SET metadata = CAST('{}' AS BLOB) WHERE id = 'companies/1'", "document", "companies/1"),
    "a deletion": ("UPDATE log SET metadata = CAST('{\"a\":1}' AS BLOB) WHERE id = 'orders/5'", "document", "orders/5"),
    "a collection": ("UPDATE log SET collection = 'Other' WHERE id = 'orders/1'", "document", "orders/1"),
    "a content": ("UPDATE part SET data = CAST('x' AS BLOB) WHERE part = (SELECT min(part) FROM part)", "attachment",
                  "photos/1"),
    "an attachment": ("UPDATE log SET metadata = CAST('{}' AS BLOB) WHERE id = 'photos/1'", "attachment", "photos/1"),
}  # fmt: skip


@pytest.mark.parametrize("what", ROT)
def test_what_is_damaged_is_named_or_left_out(small: DocumentDatabase, tmp_path: Path, what: str) -> None:
    statement, kind, id = ROT[what]
    whole = seen_by_readers(small)
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    rot(folder, statement)
    place = tmp_path / "backups"
    with DocumentDatabase(folder, create=False, clock=Clock(step=SECOND)) as database:
        with pytest.raises(DamagedDatabase, match=f"{kind} '{id}'") as caught:
            take(database, place)
        assert "--skip-damaged" in caught.value.hint
        assert not place.exists()
        backup = take(database, place, skip_damaged=True)
        assert [(each.kind, each.id) for each in backup.manifest.skipped] == [(kind, id)]
        assert any(id in note for note in backup.notes)
        (state,) = database.maintenance.recoverability().destinations
        assert any(id in problem for problem in state.problems)
        verified = MaintenanceActions.verify(place)
        assert any(id in note for note in verified.notes)
        restored = MaintenanceActions.restore(place, tmp_path / "restored")
        assert any(id in note for note in restored.notes)
        assert restored.fingerprint == verified.fingerprint == backup.manifest.fingerprint_at_snapshot()
        assert any(id in note for note in export_backup(place, tmp_path / "dump.ndjson").notes)
        with opened(tmp_path / "restored") as copy:
            gone = {(0 if kind == "document" else 1, id)} & whole.keys()
            assert seen_by_readers(copy) == {key: value for key, value in whole.items() if key not in gone}
        following = take(database, place, incremental=True, skip_damaged=True)
        assert following.manifest.kind == "full"
        assert "taken without what was damaged" in following.manifest.reason
        with pytest.raises(DamagedDatabase):
            take(database, place, incremental=True)


def test_damage_since_the_last_backup_is_left_out_of_a_full_one(database: DocumentDatabase, tmp_path: Path) -> None:
    """An incremental one would bring the version before it back."""
    database.put("a", {"version": 1})
    database.put("b", {})
    take(database, tmp_path / "backups")
    database.put("a", {"version": 2})
    database.close()
    folder = Path(shutil.copytree(database.path, tmp_path / "rotten"))
    rot(folder, "UPDATE log SET body = CAST('{\"version\":3}' AS BLOB) WHERE etag = 3")
    with DocumentDatabase(folder, create=False, clock=Clock(step=10**9)) as rotten:
        with pytest.raises(DamagedDatabase, match=r"'a' \(etag 3\)"):
            take(rotten, tmp_path / "backups", incremental=True)
        backup = take(rotten, tmp_path / "backups", incremental=True, skip_damaged=True)
    assert (backup.manifest.kind, len(backup.manifest.skipped)) == ("full", 1)
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    with opened(tmp_path / "restored") as copy:
        assert set(seen_by_readers(copy)) == {(0, "b")}
    assert rehearse(tmp_path / "backups").restored.backup == backup


def test_rows_that_are_missing_are_noticed(small: DocumentDatabase, tmp_path: Path) -> None:
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    rot(folder, "DELETE FROM log WHERE id = 'loose'")
    with DocumentDatabase(folder, create=False, clock=Clock(step=SECOND)) as database:
        with pytest.raises(DamagedDatabase, match="document 'loose'"):
            take(database, tmp_path / "backups")
        backup = take(database, tmp_path / "backups", skip_damaged=True)
    (skipped,) = backup.manifest.skipped
    assert (skipped.kind, skipped.id) == ("document", "loose")
    assert "no such revision" in skipped.problem
    assert MaintenanceActions.verify(tmp_path / "backups").fingerprint.count(0) == 5


def test_rows_that_are_missing_are_named_beside_damaged_ones(small: DocumentDatabase, tmp_path: Path) -> None:
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    rot(folder, "DELETE FROM log WHERE id IN ('loose', 'photos/1')")
    rot(folder, ROT["a body"][0])
    with DocumentDatabase(folder, create=False, clock=Clock(step=SECOND)) as database:
        with pytest.raises(DamagedDatabase, match="'loose'"):
            take(database, tmp_path / "backups")
        backup = take(database, tmp_path / "backups", skip_damaged=True)
    found = [(each.kind, each.id) for each in backup.manifest.skipped]
    assert found == [("attachment", "photos/1"), ("document", "loose"), ("document", "orders/2")]


def test_what_nothing_can_name_is_counted(small: DocumentDatabase, tmp_path: Path) -> None:
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    rot(folder, "DELETE FROM log WHERE id = 'loose'")
    rot(folder, "DELETE FROM current WHERE key = 'loose'")
    with DocumentDatabase(folder, create=False, clock=Clock(step=SECOND)) as database:
        with pytest.raises(DamagedDatabase, match="documents: 0 where 1"):
            take(database, tmp_path / "backups")
        (skipped,) = take(database, tmp_path / "backups", skip_damaged=True).manifest.skipped
        assert skipped == Skipped("document", "", 0, "documents: 0 where 1 are expected")
        rot(folder, ROT["a body"][0])
        damaged = take(database, tmp_path / "elsewhere", skip_damaged=True).manifest.skipped
        assert {each.id for each in damaged} == {"", "orders/2"}


def test_a_damaged_deletion_does_not_stand_for_what_nothing_can_name(small: DocumentDatabase, tmp_path: Path) -> None:
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    for table, key in (("log", "id"), ("current", "key")):
        rot(folder, f"DELETE FROM {table} WHERE {key} = 'loose'")
    rot(folder, ROT["a deletion"][0])
    with DocumentDatabase(folder, create=False, clock=Clock(step=SECOND)) as database:
        skipped = take(database, tmp_path / "backups", skip_damaged=True).manifest.skipped
    assert [each.problem for each in skipped if not each.id] == ["documents: 0 where 1 are expected"]
    assert [each.id for each in skipped if each.id] == ["orders/5"]


LOST = {
    "a document": ("DELETE FROM log WHERE id = 'new/2'", "document 'new/2'"),
    "a deletion": ("DELETE FROM log WHERE id = 'orders/1' AND body IS NULL", "lost 1 revisions"),
    "an attachment": ("DELETE FROM log WHERE id = 'photos/9'", "attachment 'photos/9'"),
    "a document with its pointer": (
        "DELETE FROM log WHERE id = 'new/2'; DELETE FROM current WHERE key = 'new/2'",
        "lost 1 revisions",
    ),
}


@pytest.mark.parametrize("history", ["without history", "with history purged since"])
@pytest.mark.parametrize("what", LOST)
def test_what_was_lost_since_the_parent_is_noticed(
    small: DocumentDatabase, tmp_path: Path, what: str, history: str
) -> None:
    statement, problem = LOST[what]
    kept = history == "with history purged since"
    take(small, tmp_path / "backups")
    for turn in range(3):
        small.put("orders/2", {"turn": turn})
    if kept:
        small.storage.purge()
        small.configure({"Muniment/History": "true"})
    for number in range(4):
        small.put(f"new/{number}", {"n": number})
    small.put_attachment("photos/9", b"9")
    small.delete("orders/1")
    small.put("last", {})
    small.close()
    shutil.copytree(tmp_path / "backups", tmp_path / "copy")
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    for each in statement.split(";"):
        rot(folder, each)
    with DocumentDatabase(folder, create=False, clock=Clock(step=10**9)) as rotten:
        with pytest.raises(DamagedDatabase, match=problem):
            take(rotten, tmp_path / "backups", incremental=True)
        backup = take(rotten, tmp_path / "backups", incremental=True, skip_damaged=True)
        assert backup.manifest.kind == "full"
        assert any("etags 0 to 4095" in sentence for sentence in rotten.check())
    with DocumentDatabase(small.path, create=False, clock=Clock(step=10**9)) as whole:
        assert take(whole, tmp_path / "copy", incremental=True).manifest.kind == "incremental"
        assert whole.check() == []


@pytest.mark.parametrize("id", ["orders/1", "photos/1"])
def test_missing_history_is_noticed(small: DocumentDatabase, tmp_path: Path, id: str) -> None:
    small.configure({"Muniment/History": "true"})
    take(small, tmp_path / "backups")
    for number in range(3):
        small.put("orders/1", {"turn": number})
        small.put_attachment("photos/1", bytes([number]))
        small.delete("orders/2")
    assert take(small, tmp_path / "whole").manifest.kind == "full"
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    rot(folder, "DELETE FROM log WHERE etag = (SELECT max(etag) FROM log JOIN dead USING(etag) WHERE id = ?)", id)
    with DocumentDatabase(folder, create=False, clock=Clock(step=10**9)) as rotten:
        with pytest.raises(DamagedDatabase, match="since etag 12 the log has 6 revisions instead of 7"):
            take(rotten, tmp_path / "backups", incremental=True)
        backup = take(rotten, tmp_path / "backups", incremental=True, skip_damaged=True)
        assert (backup.manifest.kind, backup.manifest.skipped) == ("full", ())
    with DocumentDatabase(small.path, create=False, clock=Clock(step=10**9)) as whole:
        assert take(whole, tmp_path / "backups", incremental=True).manifest.kind == "incremental"


def test_a_child_says_the_same(small: DocumentDatabase, tmp_path: Path) -> None:
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    rot(folder, ROT["a body"][0])
    with DocumentDatabase(folder, create=False, clock=Clock(step=SECOND)) as database:
        asked: dict[str, Any] = {"name": "shop", "database_document": b'{"Id":"shop"}'}
        with pytest.raises(DamagedDatabase, match="orders/2"):
            backup_in_child(database.storage, tmp_path / "backups", **asked)
        backup = backup_in_child(database.storage, tmp_path / "backups", skip_damaged=True, **asked)
    assert any("orders/2" in note for note in backup.notes)


CHANGES = {
    "the time of a superseded revision": (DOCUMENTS, "orders/1", "modified"),
    "the metadata of a deletion": (DOCUMENTS, "new", "metadata"),
    "the body of a superseded revision": (DOCUMENTS, "orders/1", "document"),
    "the metadata of an attachment's deletion": (ATTACHMENTS, "photos/2", "metadata"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_no_fingerprint_covers_is_covered_by_the_rows(small: DocumentDatabase, tmp_path: Path, what: str) -> None:
    """The file's and the manifest's checksums are made to agree, as one who edits it would."""
    small.configure({"Muniment/History": "true"})
    take(small, tmp_path / "backups")
    for number in range(3):
        small.put("orders/1", {"turn": number})
    small.put("new", {})
    small.delete("new")
    small.delete_attachment("photos/2")
    small.put("orders/1", {"turn": 3})
    last = take(small, tmp_path / "backups", incremental=True)
    MaintenanceActions.verify(tmp_path / "backups")
    name, id, column = CHANGES[what]

    def change(rows: Rows) -> None:
        row = next(row for row in rows if row["id"] == id and (id != "new" or row["document"] is None))
        if column == "modified":
            row[column] = row[column].replace(microsecond=row[column].microsecond ^ 1)
        else:
            row[column] = '{"turn":7}'

    digests = [file["rows_digest"] for file in manifest_of(last.folder)["files"]]
    rewrite_rows(last.folder, name, change)
    seal(last.folder)
    manifest = manifest_of(last.folder)
    changed = [file["rows_digest"] for file in manifest["files"]]
    assert changed != digests
    for file, digest in zip(manifest["files"], digests, strict=True):
        file["rows_digest"] = digest
    write_manifest(last.folder, manifest)
    with pytest.raises(DamagedBackup, match="not those that were written"):
        MaintenanceActions.verify(tmp_path / "backups")
    with pytest.raises(DamagedBackup, match="not those that were written"):
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_owned_attachments_have_their_owner_in_a_column(small: DocumentDatabase, tmp_path: Path) -> None:
    small.put_attachment("photo.png", b"1", owner="orders/1")
    small.put_attachment("a/b", b"2", owner="orders/2")
    backup = take(small, tmp_path / "backups")
    rows = {(row["owner"], row["id"]) for row in read_rows(backup.folder / ATTACHMENTS)}
    assert {("orders/1", "photo.png"), ("orders/2", "a/b"), (None, "photos/1")} <= rows
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    with opened(tmp_path / "restored") as copy:
        assert seen_by_readers(copy) == seen_by_readers(small)
    asked = "SELECT id FROM attachments WHERE id LIKE 'orders%' ORDER BY id"
    assert MaintenanceActions.query(tmp_path / "backups", asked).rows == [("orders/1/photo.png",), ("orders/2/a/b",)]


def test_nothing_is_chained_onto_format_1(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[1] / "data" / "format-1-checksum", tmp_path / "backups")
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "shop")
    (first, second) = backups(tmp_path / "backups")
    with DocumentDatabase(tmp_path / "shop", create=False) as database:
        backup = take(database, tmp_path / "backups", incremental=True)
        assert (backup.manifest.kind, backup.manifest.format) == ("full", 2)
        assert take(database, tmp_path / "backups", incremental=True).manifest.kind == "incremental"
    assert [first.manifest.format, second.manifest.format] == [1, 1]
    assert len(MaintenanceActions.verify(tmp_path / "backups").backups) == 4


class Full(SqliteStorage):
    """A database whose disk has no room for a note."""

    def remember_backup(
        self, sha256: str, place: BackupPlace | None = None, end: tuple[int, int] | None = None
    ) -> None:
        raise StorageFailure("the disk that holds the database is full", "make room")


def test_a_database_whose_disk_is_full_can_be_backed_up(small: DocumentDatabase, tmp_path: Path) -> None:
    """The next backup finds by the manifest that this one ends with a transaction of its log."""
    first = take(small, tmp_path / "backups")
    small.put("orders/1", {"later": 1})
    small.close()
    storage = Full(small.path, clock=Clock(step=10**9))
    try:
        actions = MaintenanceActions(storage, "shop", Clock(step=10**9))
        unnoted = actions.start_backup(tmp_path / "backups", incremental=True).wait()
        assert any("could not record this backup" in note for note in unnoted.notes)
        # The database may be opened anew with a clock that was set back, and knows of no time that it has promised.
        assert unnoted.manifest.snapshot.until == unnoted.manifest.snapshot.time
        assert first.manifest.snapshot.until != first.manifest.snapshot.time
        in_child = backup_in_child(storage, tmp_path / "elsewhere", name="shop", database_document=b'{"Id":"shop"}')
        assert any("could not record this backup" in note for note in in_child.notes)
    finally:
        storage.close()
    with DocumentDatabase(small.path, create=False, clock=Clock(step=10**10)) as database:
        database.put("orders/1", {"later": 2})
        database.delete("orders/2")
        following = take(database, tmp_path / "backups", incremental=True)
        assert following.manifest.parent is not None
        assert following.manifest.parent.sha256 == unnoted.sha256 != first.sha256
        restored = MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
        assert restored.fingerprint == database.snapshot().fingerprint


def test_a_full_disk_for_real(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    told = child.run(
        "full_database",
        place=str(disk),
        destination=str(tmp_path / "backups"),
        within=f"mount -t tmpfs -o size=8m none '{disk}'",
    )
    assert told["write"] == "StorageFailure"
    assert told["documents"] > 0
    assert "is full; there is not even room for the small file that reading it needs" in told["closed"]
    assert MaintenanceActions.verify(tmp_path / "backups").fingerprint.count(0) == told["documents"]


def test_a_put_back_database_is_never_chained_onto_what_it_lost(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("a", {"n": 0})
    database.close()
    shutil.copytree(database.path, tmp_path / "before")
    with DocumentDatabase(database.path, create=False, clock=Clock(step=10**9)) as first:
        first.batch([Put("b", {"n": number}) for number in range(3)])
        lost = take(first, tmp_path / "backups")
    with DocumentDatabase(tmp_path / "before", create=False, clock=Clock(step=10**10)) as again:
        for number in range(3):
            again.put("c", {"n": number})
        backup = take(again, tmp_path / "backups", incremental=True)
        assert backup.manifest.kind == "full"
        parents = {each.manifest.parent for each in backups(tmp_path / "backups")}
        assert lost.sha256 not in {parent.sha256 for parent in parents if parent}


def test_a_destination_that_is_not_mounted_is_refused(small: DocumentDatabase, tmp_path: Path) -> None:
    place = tmp_path / "mnt" / "backups"
    take(small, place)
    hidden = place.rename(tmp_path / "unmounted")
    for state in ("gone", "empty"):
        if state == "empty":
            place.mkdir()
        for incremental in (False, True):
            with pytest.raises(BackupNotFound, match="backed up there") as caught:
                take(small, place, incremental=incremental)
            assert "--new-chain" in caught.value.hint
    place.rmdir()
    hidden.rename(place)
    assert take(small, place, incremental=True).manifest.kind == "incremental"
    shutil.rmtree(place)
    assert take(small, place, new_chain=True).manifest.reason == "first"
    assert take(small, tmp_path / "elsewhere").manifest.reason == "first"


def test_the_place_of_a_disk_that_is_not_mounted_is_refused(
    small: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first backup would be hidden below the disk, as soon as that is mounted."""
    disk = tmp_path / "usb disk"
    listed = tmp_path / "fstab"
    listed.write_text(
        "# a comment\n\nproc /proc proc\n/dev/sdb1 " + str(disk).replace(" ", "\\040") + " ext4 noauto 0 2\n"
    )
    monkeypatch.setattr(destination, "FSTAB", listed)
    disk.mkdir()
    for place in (disk, disk / "shop"):
        with pytest.raises(BackupNotFound, match=r"no disk is mounted at .*usb disk, where"):
            take(small, place)
    assert not list(disk.iterdir())
    take(small, tmp_path / "beside")
    backup = take(small, disk / "shop", new_chain=True)
    assert take(small, disk / "shop", incremental=True).manifest.parent
    assert backup.manifest.reason == "first"
    listed.unlink()
    take(small, disk / "other")
