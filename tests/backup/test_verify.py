"""Verification proves every backup in a folder, side by side, and says of all of them which are not as written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put
from muniment.backup import examine
from muniment.backup.examine import Group, Task, examine_all
from muniment.backup.records import records
from muniment.backup.repository import Backup, backups
from muniment.backup.verify import verify
from muniment.document import from_microseconds
from muniment.errors import Cancelled, DamagedBackup, StorageFailure
from muniment.fingerprint import Fingerprint
from muniment.progress import Progress
from tests.backup.damage import ATTACHMENTS, DOCUMENTS, Rows, flip, manifest_of, rewrite_rows, seal, write_manifest
from tests.clock import Clock
from tests.processes import children
from tests.sampled import some


@pytest.fixture
def chain(small: DocumentDatabase, tmp_path: Path) -> list[Backup]:
    """A full backup and three incrementals with history, in which documents and attachments come and go."""
    small.configure({"Muniment/History": "true"})
    taken = []
    for number in range(4):
        taken.append(small.maintenance.start_backup(tmp_path / "backups", incremental=True).wait())
        for each in range(3):
            small.put("orders/1", {"turn": number, "each": each}, {"Raven-Entity-Name": "Orders"})
        small.put("ORDERS/2", {"moved": number}, {"Raven-Entity-Name": f"Orders{number}"})
        small.batch([Put(f"new/{number}", {"n": number}), Put("orders/5", {"back": number})])
        small.delete(f"new/{number - 1}")
        small.put_attachment("photos/1", b"x" * (number + 1))
        small.delete_attachment("photos/2")
    return taken


@pytest.fixture(params=["in this process", "in processes of their own"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "in this process":
        monkeypatch.setattr(examine, "ALONE_BYTES", 0)


@pytest.mark.usefixtures("place")
def test_every_backup_of_a_folder_is_read(small: DocumentDatabase, chain: list[Backup], tmp_path: Path) -> None:
    other = MaintenanceActions.merge(tmp_path / "backups", chain[2].name)
    progress = Progress()
    verified = MaintenanceActions.verify(tmp_path / "backups", progress=progress)
    assert {backup.name for backup in verified.backups} == {other.name, *(backup.name for backup in chain)}
    assert verified.backup == chain[-1]
    assert verified.fingerprint == chain[-1].manifest.fingerprint_at_snapshot()
    assert progress.documents == progress.total_documents
    assert progress.bytes == progress.total_bytes


def test_backups_with_the_same_manifest_are_each_read(chain: list[Backup], tmp_path: Path) -> None:
    merged = MaintenanceActions.merge(tmp_path / "backups", chain[2].name)
    shutil.copytree(merged.folder, tmp_path / "backups" / "copy")
    copies = [backup for backup in backups(tmp_path / "backups") if backup.sha256 == merged.sha256]
    assert len(copies) == 2
    assert len(MaintenanceActions.verify(tmp_path / "backups").backups) == len(chain) + 2
    flip(copies[1].folder / DOCUMENTS, 100)
    with pytest.raises(DamagedBackup, match=copies[1].name):
        MaintenanceActions.verify(tmp_path / "backups")


@some(2)
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("kept", ["true", "false"])
def test_a_chain_that_begins_with_an_empty_database(database: DocumentDatabase, tmp_path: Path, kept: str) -> None:
    """Its first incremental backup has no etag before it either, and is none the less an incremental one."""
    database.configure({"Muniment/History": kept})
    for number in range(3):
        database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
        database.batch([Put("a", {"n": number}), Put("b", {"n": number}), Put("a", {"again": number})])
    verified = MaintenanceActions.verify(tmp_path / "backups")
    assert [backup.manifest.after for backup in verified.backups] == [0, 0, 3]
    assert verified.fingerprint == verified.backup.manifest.fingerprint_at_snapshot()


def test_the_fingerprint_of_every_moment_is_that_of_its_restore(chain: list[Backup], tmp_path: Path) -> None:
    last = chain[-1].manifest
    found: dict[int, Fingerprint] = {}
    for etag in range(chain[0].manifest.through, last.through + 1):
        verified = MaintenanceActions.verify(tmp_path / "backups", etag=etag, record=False)
        restored = MaintenanceActions.restore(tmp_path / "backups", tmp_path / f"at-{etag}", etag=etag)
        assert verified.moment == restored.moment
        assert verified.fingerprint == restored.fingerprint
        found[verified.moment.etag] = verified.fingerprint
    assert len({fingerprint.short() for fingerprint in found.values()}) == len(found) > 15
    middle = chain[1].manifest
    named = MaintenanceActions.verify(tmp_path / "backups", backup=chain[1].name, record=False)
    assert [backup.name for backup in named.backups] == [chain[0].name, chain[1].name]
    assert named.fingerprint == middle.fingerprint_at_snapshot()


@pytest.mark.usefixtures("place")
def test_the_fingerprint_of_a_moment_inside_a_backup(chain: list[Backup], tmp_path: Path) -> None:
    etag = chain[-1].manifest.after + 2
    verified = MaintenanceActions.verify(tmp_path / "backups", etag=etag)
    restored = MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored", etag=etag)
    assert (verified.moment, verified.fingerprint) == (restored.moment, restored.fingerprint)
    assert verified.fingerprint != chain[-1].manifest.fingerprint_at_snapshot()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", [DOCUMENTS, ATTACHMENTS])
def test_damage_to_any_backup_is_found(chain: list[Backup], tmp_path: Path, number: int, name: str) -> None:
    file = chain[number].folder / name
    flip(file, file.stat().st_size // 2)
    with pytest.raises(DamagedBackup, match=rf"{chain[number].name}/{name} was changed") as caught:
        MaintenanceActions.verify(tmp_path / "backups")
    assert caught.value.hint
    if number:  # what does not need it still verifies
        MaintenanceActions.verify(tmp_path / "backups", backup=chain[number - 1].name)


@pytest.mark.usefixtures("place")
def test_all_files_with_damage_are_named(chain: list[Backup], tmp_path: Path) -> None:
    for backup in chain:
        (backup.folder / DOCUMENTS).unlink()
    with pytest.raises(DamagedBackup) as caught:
        MaintenanceActions.verify(tmp_path / "backups")
    assert all(f"{backup.name}/{DOCUMENTS}" in str(caught.value) for backup in chain[1:])
    (record,) = records(tmp_path / "backups")
    assert (record.kind, record.problem) == ("verification", str(caught.value))


def test_a_change_that_is_missing_from_a_history_is_noticed(chain: list[Backup], tmp_path: Path) -> None:
    """The state at the end is the same without it, so the fingerprint cannot tell."""

    def drop(rows: Rows) -> Rows:
        first = next(row for row in rows if row["id"] == "orders/1")
        return [row for row in rows if row is not first]

    rewrite_rows(chain[-1].folder, DOCUMENTS, drop)
    seal(chain[-1].folder)
    manifest = manifest_of(chain[-1].folder)
    manifest["counts"]["bytes"] -= len('{"turn":2,"each":0}')
    write_manifest(chain[-1].folder, manifest)
    with pytest.raises(DamagedBackup, match=r"history in .* has .* changes after etag"):
        MaintenanceActions.verify(tmp_path / "backups")


@pytest.mark.parametrize("member", ["documents", "document_tombstones", "bytes", "attachment_tombstones"])
def test_counts_that_are_not_those_of_the_rows(chain: list[Backup], tmp_path: Path, member: str) -> None:
    manifest = manifest_of(chain[-1].folder)
    counts = manifest["counts"]
    counts[member] += 1
    if member.startswith("document"):
        counts["documents" if member == "document_tombstones" else "document_tombstones"] -= 1
    if member == "attachment_tombstones":
        counts["attachments"] -= 1
    write_manifest(chain[-1].folder, manifest)
    with pytest.raises(DamagedBackup, match="its manifest says"):
        MaintenanceActions.verify(tmp_path / "backups")


def test_a_record_says_what_was_read(chain: list[Backup], tmp_path: Path, clock: Clock) -> None:
    verified = MaintenanceActions.verify(tmp_path / "backups", clock=clock)
    assert verified.record is not None
    (record,) = records(tmp_path / "backups")
    assert (record.kind, record.backup, record.etag) == ("verification", chain[-1].name, chain[-1].manifest.through)
    assert set(record.manifests) == {backup.sha256 for backup in chain}
    assert record.fingerprint == chain[-1].manifest.fingerprint
    assert record.problem is None
    MaintenanceActions.verify(tmp_path / "backups", record=False)
    assert records(tmp_path / "backups") == [record]
    MaintenanceActions.verify(tmp_path / "backups", clock=clock)
    assert len(records(tmp_path / "backups")) == 2


def test_the_newest_backup_of_an_older_lineage_is_missed(small: DocumentDatabase, tmp_path: Path) -> None:
    place = tmp_path / "both"
    first = small.maintenance.start_backup(place).wait()
    small.put("later", {})
    last = small.maintenance.start_backup(place, incremental=True).wait()
    restored = MaintenanceActions.restore(place, tmp_path / "copy", backup=first.name).folder
    with DocumentDatabase(restored) as copy:
        copy.put("of the copy", {})
        copy.maintenance.start_backup(place).wait()
    MaintenanceActions.verify(place)
    shutil.move(last.folder, tmp_path / "away")
    with pytest.raises(DamagedBackup, match=rf"newest backup of the lineage .* has vanished: {last.name}"):
        MaintenanceActions.verify(place, record=False)
    shutil.rmtree(first.folder)  # all of that lineage: the copy came from it and goes on
    MaintenanceActions.verify(place, record=False)
    shutil.move(tmp_path / "away", last.folder)


def test_a_time_is_verified_as_it_would_be_restored(chain: list[Backup], tmp_path: Path) -> None:
    time = from_microseconds(MaintenanceActions.verify(tmp_path / "backups").moment.modified)
    earlier = MaintenanceActions.verify(tmp_path / "backups", at=time - timedelta(microseconds=1))
    assert earlier.moment.etag < chain[-1].manifest.through


@pytest.mark.usefixtures("real_workers")
def test_it_can_be_cancelled_and_ends_its_processes(
    small: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "ALONE_BYTES", 0)
    small.batch([Put(f"many/{number}", {"number": number}) for number in range(10_000)])
    small.maintenance.start_backup(tmp_path / "backups").wait()

    class Impatient(Progress):
        def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
            self.cancel()
            super().advance(documents=documents, attachments=attachments, bytes=bytes)

    others = children(os.getpid())  # of other tests in this process
    with pytest.raises(Cancelled):
        MaintenanceActions.verify(tmp_path / "backups", progress=Impatient())
    assert not set(children(os.getpid())) - set(others)
    assert not [thread for thread in threading.enumerate() if thread.name == "muniment examiner"]
    assert records(tmp_path / "backups") == []


@pytest.mark.usefixtures("real_workers")
def test_a_process_that_is_killed_is_said(
    small: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "ALONE_BYTES", 0)
    small.batch([Put(f"many/{number}", {"number": number}) for number in range(40_000)])
    backup = small.maintenance.start_backup(tmp_path / "backups").wait()
    assert len(backup.manifest.files) == 2  # of which one has far more than the other
    before = set(children(os.getpid()))
    tasks = [  # as of an incremental backup, of which each document is told: more than pipes hold before it is heard
        Task(backup.sha256, os.fsencode(backup.folder), file, 0, backup.manifest.through, incremental=True)
        for file in backup.manifest.files
    ]
    findings = examine_all(tasks, Progress())
    assert isinstance(next(findings)[1], Group)
    for pid in set(children(os.getpid())) - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(StorageFailure, match="was ended"):
        list(findings)
    assert set(children(os.getpid())) <= before


@pytest.mark.usefixtures("real_workers")
def test_modules_in_the_working_folder_are_not_taken_for_those_of_the_processes(
    chain: list[Backup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "ALONE_BYTES", 0)
    (tmp_path / "apsw.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(tmp_path)
    assert MaintenanceActions.verify(chain[0].folder.parent).backup == chain[-1]


def test_nothing_is_left_in_the_temporary_folder(
    chain: list[Backup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    verify(tmp_path / "backups")
    flip(chain[1].folder / DOCUMENTS, 100)
    with pytest.raises(DamagedBackup):
        verify(tmp_path / "backups")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert json.loads((chain[0].folder / "manifest.json").read_bytes())["kind"] == "full"
