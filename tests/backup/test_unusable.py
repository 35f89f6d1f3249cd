"""One bad manifest costs one backup, a chain with a gap begins anew, and both are said wherever somebody looks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions, MunimentError, rehearse
from muniment.backup import manifest as manifests
from muniment.backup.records import records
from muniment.backup.repository import Backup, backups
from muniment.backup.verify import verify
from muniment.errors import BackupNotFound, DamagedBackup, InvalidInput, UnknownFormat
from muniment.exporting import export_backup
from tests.backup.child import run
from tests.backup.damage import DOCUMENTS, flip
from tests.sampled import some


def take(database: DocumentDatabase, place: Path, *, incremental: bool = True) -> Backup:
    return database.maintenance.start_backup(place, incremental=incremental).wait()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def chain(small: DocumentDatabase, place: Path) -> list[Backup]:
    """A full backup and two incrementals."""
    taken = []
    for number in range(3):
        small.put("orders/1", {"turn": number})
        taken.append(take(small, place))
    assert [backup.manifest.kind for backup in taken] == ["full", "incremental", "incremental"]
    return taken


def cut_short(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:700])


def emptied(manifest: Path) -> None:
    manifest.write_bytes(b"")


def flipped(manifest: Path) -> None:
    flip(manifest, manifest.read_bytes().index(b'"etag"') + 9)


def newer(manifest: Path) -> None:
    manifest.write_text(json.dumps({"format": 900, "software": "muniment 99"}))


def foreign(manifest: Path) -> None:
    manifest.write_text('{"name": "Shop", "icons": [], "start_url": "/"}')


def folder(manifest: Path) -> None:
    manifest.unlink()
    manifest.write_bytes(b"\xff\xfe\x00")


BAD = [cut_short, emptied, flipped, newer, foreign, folder]


@some(3)
@pytest.mark.parametrize("spoil", BAD)
def test_what_does_not_need_a_bad_manifest_works(
    chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """An old full backup is spoiled after a new one was taken: the new chain knows nothing of it."""
    fresh = take(small, place, incremental=False)
    small.put("orders/2", {"more": True})
    last = take(small, place)
    assert last.manifest.parent is not None
    assert last.manifest.parent.backup == fresh.name
    spoil(chain[1].folder / "manifest.json")
    bad = chain[1].name

    found = backups(place)
    assert [backup.name for backup in found] == [chain[0].name, chain[2].name, fresh.name, last.name]
    assert [(each.folder.name, each.ours) for each in found.unusable] == [(bad, True)]

    restored = MaintenanceActions.restore(place, tmp_path / "newest")
    assert restored.fingerprint == small.snapshot().fingerprint
    assert len(restored.notes) == 1
    assert bad in restored.notes[0]
    assert MaintenanceActions.restore(place, tmp_path / "first", backup=chain[0].name).backup == chain[0]
    with pytest.raises(DamagedBackup, match=bad):
        MaintenanceActions.restore(place, tmp_path / "third", backup=chain[2].name)
    with pytest.raises(MunimentError, match=bad) as caught:
        MaintenanceActions.restore(place, tmp_path / "second", backup=bad)
    assert f"--backup {last.name}" in caught.value.hint

    assert rehearse(place).restored.backup == last
    assert bad in export_backup(place, tmp_path / "dump.ndjson").notes[0]
    merged = MaintenanceActions.merge(place, last.name)
    assert bad in merged.notes[0]
    again = take(small, place)
    assert (again.manifest.kind, again.manifest.reason) == ("incremental", "asked for")
    assert bad in again.notes[0]
    with pytest.raises(DamagedBackup, match=bad) as told:
        MaintenanceActions.verify(place)
    assert chain[2].name in str(told.value)  # which continues it
    assert "can be restored all the same" in told.value.hint
    assert again.name in told.value.hint
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("spoil", BAD)
def test_the_newest_state_is_never_an_older_one_in_silence(
    chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(chain[2].folder / "manifest.json")
    kind = UnknownFormat if spoil is newer else DamagedBackup
    with pytest.raises(kind, match=chain[2].name) as caught:
        MaintenanceActions.restore(place, tmp_path / "restored")
    assert f"--backup {chain[1].name}" in caught.value.hint
    assert not (tmp_path / "restored").exists()
    assert MaintenanceActions.restore(place, tmp_path / "restored", backup=chain[1].name).backup == chain[1]
    healed = take(small, place)
    assert healed.manifest.kind == "full"
    assert healed.manifest.reason.startswith("the chain is not whole: ")
    assert chain[2].name in healed.manifest.reason or "900" in healed.manifest.reason
    assert MaintenanceActions.restore(place, tmp_path / "newest").fingerprint == small.snapshot().fingerprint
    state = small.maintenance.recoverability().destinations[0]
    assert any(chain[2].name in problem for problem in state.problems)
    assert state.last_backup is not None
    assert state.last_backup.reason == healed.manifest.reason


def test_a_stranger_among_the_backups_is_named_and_stops_nothing(
    chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path
) -> None:
    (place / "webapp").mkdir()
    (place / "webapp" / "manifest.json").write_text('{"name": "Shop", "icons": []}')
    foreign(place / "manifest.json")
    assert [bad.folder for bad in backups(place).unusable] == [place, place / "webapp"]
    assert not any(bad.ours for bad in backups(place).unusable)
    assert MaintenanceActions.restore(place, tmp_path / "x").backup == chain[2]
    assert take(small, place).manifest.kind == "incremental"
    with pytest.raises(DamagedBackup, match=r"webapp.*not one of ours"):
        MaintenanceActions.verify(place)
    assert records(place)[0].problem is not None
    assert records(place.parent) == []


def test_where_only_bad_ones_are(chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path) -> None:
    for backup in chain:
        cut_short(backup.folder / "manifest.json")
    for use in (MaintenanceActions.verify, lambda source: MaintenanceActions.restore(source, tmp_path / "x")):
        with pytest.raises(DamagedBackup, match="cannot be used"):
            use(place)
    healed = take(small, place)
    assert healed.manifest.kind == "full"
    assert healed.manifest.reason.startswith("no backup there can be used: ")
    assert MaintenanceActions.restore(place, tmp_path / "x").backup == healed


@pytest.mark.parametrize("lost", [0, 1])
def test_a_chain_that_lost_a_link_begins_anew(
    chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path, lost: int
) -> None:
    shutil.rmtree(chain[lost].folder)
    healed = take(small, place)
    assert healed.manifest.kind == "full"
    assert healed.manifest.reason.startswith("the chain is not whole: ")
    assert chain[lost].name in healed.manifest.reason
    small.put("orders/9", {})
    assert take(small, place).manifest.kind == "incremental"
    assert MaintenanceActions.restore(place, tmp_path / "x").fingerprint == small.snapshot().fingerprint


def test_a_chain_whose_newest_was_cleaned_up_goes_on_from_the_one_before(
    chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path
) -> None:
    small.delete("orders/2")
    shutil.rmtree(chain[2].folder)
    following = take(small, place)
    assert following.manifest.parent is not None
    assert following.manifest.parent.sha256 == chain[1].sha256
    assert MaintenanceActions.restore(place, tmp_path / "x").fingerprint == small.snapshot().fingerprint


def test_a_full_backup_into_a_folder_with_a_chain_begins_a_new_one(
    chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path
) -> None:
    small.put("orders/1", {"turn": 3})
    fresh = take(small, place, incremental=False)
    assert (fresh.manifest.kind, fresh.manifest.reason) == ("full", "asked for")
    small.put("orders/1", {"turn": 4})
    following = take(small, place)
    assert following.manifest.parent is not None
    assert following.manifest.parent.sha256 == fresh.sha256
    assert len(MaintenanceActions.verify(place).backups) == 5
    assert MaintenanceActions.restore(place, tmp_path / "old", backup=chain[2].name).backup == chain[2]


def test_one_backup_s_folder_is_a_source_too(
    chain: list[Backup], small: DocumentDatabase, place: Path, tmp_path: Path
) -> None:
    (place / "latest").symlink_to(chain[1].name)
    (tmp_path / "link").symlink_to(chain[1].folder)
    for source in (chain[1].folder, place / "latest", tmp_path / "link", Path(f"{chain[1].folder}/")):
        assert [backup.name for backup in backups(source)] == [chain[0].name, chain[1].name]
        target = tmp_path / f"restored-{source.parent.name}-{source.name}"
        if not target.exists():
            assert MaintenanceActions.restore(source, target).backup.manifest == chain[1].manifest
        assert MaintenanceActions.verify(source).backup == chain[1]
        assert rehearse(source).restored.moment.etag == chain[1].manifest.through
    assert len(records(place)) == 8
    assert records(tmp_path) == []
    assert len(backups(place)) == 3
    assert MaintenanceActions.restore(place, tmp_path / "named", backup="latest").backup == chain[1]
    assert MaintenanceActions.restore(place, tmp_path / "slash", backup=f"{chain[0].name}/").backup == chain[0]
    with pytest.raises(InvalidInput, match="is a backup itself") as caught:
        take(small, place / "latest")
    assert str(place) in caught.value.hint
    assert take(small, place).manifest.parent == manifests.Parent(chain[2].name, chain[2].sha256)


def test_a_backup_alone_in_a_crowded_folder(chain: list[Backup], tmp_path: Path) -> None:
    """What is beside a full backup is nobody's business; an incremental one says what it lacks."""
    alone = Path(shutil.copytree(chain[0].folder, tmp_path / "crowd" / "copy"))
    (tmp_path / "crowd" / "manifest.json").write_text("{}")
    (tmp_path / "crowd" / "other").mkdir()
    (tmp_path / "crowd" / "other" / "manifest.json").write_text("{")
    assert MaintenanceActions.restore(alone, tmp_path / "x").backup.manifest == chain[0].manifest
    shutil.rmtree(alone)
    orphan = Path(shutil.copytree(chain[1].folder, tmp_path / "crowd" / chain[1].name))
    with pytest.raises(DamagedBackup, match=f"continues {chain[0].name}, which is missing"):
        MaintenanceActions.restore(orphan, tmp_path / "y")


@pytest.mark.parametrize("member", ["checksum", "parent", "same_state_as", "history_from", "encryption"])
def test_no_bit_in_the_name_of_a_member_switches_a_check_off(chain: list[Backup], member: str) -> None:
    text = (chain[2].folder / "manifest.json").read_bytes()
    start = text.rindex(f'"{member}"'.encode()) + 1
    for position in range(start, start + len(member)):
        for bit in range(8):
            changed = bytearray(text)
            changed[position] ^= 1 << bit
            with pytest.raises(DamagedBackup):
                manifests.decode(bytes(changed), "here")


def test_verify_reads_on_after_the_first_damage(chain: list[Backup], small: DocumentDatabase, place: Path) -> None:
    second = take(small, place, incremental=False)
    third = take(small, place, incremental=False)
    flip(chain[1].folder / DOCUMENTS, 100)
    flip(second.folder / DOCUMENTS, 100)
    (chain[0].folder / "Database.Document").write_text("{}")
    with pytest.raises(DamagedBackup) as caught:
        MaintenanceActions.verify(place)
    for bad in (chain[0], chain[1], second):
        assert bad.name in str(caught.value)
    assert str(caught.value).count("was changed") == 3
    assert caught.value.hint.startswith("1 of the backups there can be restored")
    assert third.name in caught.value.hint
    flip(third.folder / DOCUMENTS, 100)
    with pytest.raises(DamagedBackup) as all_bad:
        MaintenanceActions.verify(place)
    assert "all the same" not in all_bad.value.hint


def test_a_newest_backup_that_vanished_is_missed(chain: list[Backup], place: Path, tmp_path: Path) -> None:
    MaintenanceActions.verify(place)
    shutil.move(chain[2].folder, tmp_path / "away")
    with pytest.raises(DamagedBackup, match=f"newest backup has vanished: {chain[2].name}") as caught:
        MaintenanceActions.verify(place)
    assert chain[1].name in caught.value.hint
    MaintenanceActions.verify(place, backup=chain[1].name)
    shutil.move(tmp_path / "away", chain[2].folder)
    MaintenanceActions.verify(place)
    MaintenanceActions.verify(chain[0].folder)  # alone: the others are there all the same


def test_old_backups_that_were_cleaned_up_are_not_missed(
    chain: list[Backup], small: DocumentDatabase, place: Path
) -> None:
    MaintenanceActions.verify(place)
    fresh = take(small, place, incremental=False)
    for backup in chain:
        shutil.rmtree(backup.folder)
    assert MaintenanceActions.verify(place).backups == (fresh,)
    merged = MaintenanceActions.merge(place, take(small, place).name, delete_merged=True)
    assert MaintenanceActions.verify(place).backups == (merged,)


def test_a_folder_without_backups(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(BackupNotFound):
            verify(place)


def test_a_place_that_is_not_unicode(small: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.backup.examine.ALONE_BYTES", 0)
    place = tmp_path / os.fsdecode(b"b\xfcckups")
    take(small, place)
    small.put_attachment("photos/9", b"x")
    last = take(small, place)
    assert MaintenanceActions.verify(place).backup == last
    assert MaintenanceActions.restore(place, tmp_path / "restored").fingerprint == small.snapshot().fingerprint
    with pytest.raises(InvalidInput, match="not Unicode"):
        MaintenanceActions.restore(place, place / "restored")
    flip(last.folder / "attachments-00001.parquet", 100)
    with pytest.raises(DamagedBackup, match="attachments-00001"):
        MaintenanceActions.verify(place)


def test_an_input_output_error_at_the_journal_of_a_restore_is_no_damage(backup: Backup, tmp_path: Path) -> None:
    """SQLite rolls back by itself then, and undoing it once more fails in a way that looks like damage."""
    told = run("journal_errors", source=str(backup.folder), target=str(tmp_path / "restored"))
    assert told["hit"] > 0
    assert set(told["kinds"]) == {"StorageFailure"}
    assert not (tmp_path / "restored").exists()
