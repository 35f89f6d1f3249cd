"""Backups brought to another place, healed there from a healthy twin, and read from whichever copy is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.copying import copy_backups
from muniment.backup.destination import place_of, put_new, sizes_in, write_stream
from muniment.backup.repository import DATABASE_DOCUMENT, Backup, backups
from muniment.errors import BackupNotFound, DamagedBackup, ForeignBackup, InvalidInput, TargetExists
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import Identity
from tests.backup.state import live, opened, state_of, tree
from tests.cli.process import muniment
from tests.object_store import ObjectStore
from tests.sampled import some

DATA, ATTACHMENTS = "documents-00001.parquet", "attachments-00001.parquet"
Make = Callable[[], Path]


@pytest.fixture
def chain(small: DocumentDatabase, tmp_path: Path) -> list[Backup]:
    """A full backup and two incremental ones in the folder `backups`."""
    taken = []
    for number in range(3):
        small.put(f"more/{number}", {"number": number})
        taken.append(small.maintenance.start_backup(tmp_path / "backups", incremental=number > 0).wait())
    return taken


@pytest.fixture(params=["folder", "store"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Gives places that are empty: folders, and prefixes of a store."""
    if request.param == "folder":
        numbers = iter(range(100))
        return lambda: tmp_path / f"copy-{next(numbers)}"
    store: ObjectStore = request.getfixturevalue("object_store")
    return lambda: place_of(store.place())


def spoil(path: Path) -> None:
    """Another object of the same size takes its place."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    put_new(path, bytes(content))


@some(1)
def test_a_copy_is_the_same_and_a_second_one_brings_what_is_new(
    chain: list[Backup], small: DocumentDatabase, new_place: Make, tmp_path: Path
) -> None:
    place = new_place()
    done = copy_backups(tmp_path / "backups", place)
    assert [path.name for path in done.copied] == [backup.name for backup in chain]
    assert (done.present, done.repaired) == ((), ())
    assert [backup.sha256 for backup in backups(place)] == [backup.sha256 for backup in chain]
    MaintenanceActions.verify(place, record=False)
    restored = MaintenanceActions.restore(place, tmp_path / "restored")
    with opened(restored.folder) as again:
        assert live(state_of(again)) == live(state_of(small))
    small.put("later", {})
    small.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    more = copy_backups(tmp_path / "backups", place)
    assert (len(more.copied), len(more.present)) == (1, 3)
    onwards = small.maintenance.start_backup(place, incremental=True).wait()  # the copy is continued by itself
    assert onwards.manifest.kind == "incremental"
    back = copy_backups(place, tmp_path / "back")
    assert len(back.copied) == 5
    assert len(backups(tmp_path / "back")) == 5


def test_one_backup_is_copied_with_those_that_it_continues(
    chain: list[Backup], new_place: Make, tmp_path: Path
) -> None:
    place = new_place()
    copy_backups(chain[1].folder, place)
    assert [backup.sha256 for backup in backups(place)] == [backup.sha256 for backup in chain[:2]]


def test_an_interrupted_copy_goes_on_with_what_is_missing(
    chain: list[Backup], new_place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = new_place()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("muniment.backup.copying.publish_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            copy_backups(tmp_path / "backups", place)
    assert list(backups(place)) == []
    assert [path.name for path in backups(place).unfinished] == [chain[0].name]
    assert sizes_in(place)[f"{chain[0].name}/{DATA}"] == chain[0].manifest.files[-1].size
    sent: list[Path] = []

    def noted(path: Path, blocks: Iterable[bytes], *, overwrite: bool = False) -> None:
        sent.append(path)
        write_stream(path, blocks, overwrite=overwrite)

    with monkeypatch.context() as patched:
        patched.setattr("muniment.backup.copying.write_stream", noted)
        done = copy_backups(tmp_path / "backups", place)
    assert len(done.copied) == 3
    assert not [path for path in sent if path.parent.name == chain[0].name]
    MaintenanceActions.verify(place, record=False)


def test_what_is_left_of_an_interrupted_copy_is_not_believed(
    chain: list[Backup], new_place: Make, tmp_path: Path
) -> None:
    place = new_place()
    folder = place / chain[0].name
    if not hasattr(folder, "store"):
        folder.mkdir(parents=True)
    put_new(folder / DATABASE_DOCUMENT, chain[0].stored_database_document())
    put_new(folder / DATA, b"x" * (chain[0].folder / DATA).stat().st_size)
    copy_backups(tmp_path / "backups", place)
    MaintenanceActions.verify(place, record=False)


@pytest.mark.parametrize("size", [0, 7, None], ids=["nothing", "a part", "all"])
def test_what_a_killed_copy_was_writing_does_not_stop_the_next_one(
    chain: list[Backup], tmp_path: Path, size: int | None
) -> None:
    folder = tmp_path / "there" / chain[0].name
    folder.mkdir(parents=True)
    (folder / DATABASE_DOCUMENT).write_bytes(chain[0].stored_database_document()[:size])
    (folder / "manifest.json.unfinished").write_bytes((chain[0].folder / "manifest.json").read_bytes()[:size])
    copy_backups(tmp_path / "backups", tmp_path / "there")
    MaintenanceActions.verify(tmp_path / "there", record=False)
    assert not list(folder.glob("*.unfinished"))


@pytest.mark.parametrize("name", [DATA, DATABASE_DOCUMENT, "manifest.json"])
def test_damage_is_healed_from_a_healthy_twin(chain: list[Backup], new_place: Make, tmp_path: Path, name: str) -> None:
    place = new_place()
    copy_backups(tmp_path / "backups", place)
    spoil(place / chain[1].name / name)
    with pytest.raises(DamagedBackup):
        MaintenanceActions.verify(place, record=False)
    whole = tree(tmp_path / "backups")
    done = copy_backups(tmp_path / "backups", place, repair=True)
    assert [(path.parent.name, path.name) for path in done.repaired] == [(chain[1].name, name)]
    MaintenanceActions.verify(place, record=False)
    assert tree(tmp_path / "backups") == whole
    assert copy_backups(tmp_path / "backups", place, repair=True).repaired == ()


def test_what_is_damaged_in_both_places_keeps_nothing_else_from_being_healed(
    chain: list[Backup], new_place: Make, tmp_path: Path
) -> None:
    place = new_place()
    copy_backups(tmp_path / "backups", place)
    full = chain[0].name
    for folder in (tmp_path / "backups", place):
        spoil(folder / full / ATTACHMENTS)  # the first file, and the same in both
    for name in (DATA, DATABASE_DOCUMENT):
        spoil(place / full / name)
    with pytest.raises(DamagedBackup, match=ATTACHMENTS):
        copy_backups(tmp_path / "backups", place, repair=True)
    for name in (DATA, DATABASE_DOCUMENT):
        assert (place / full / name).read_bytes() == (tmp_path / "backups" / full / name).read_bytes()


def test_two_places_that_are_damaged_differently_heal_each_other(
    chain: list[Backup], new_place: Make, tmp_path: Path
) -> None:
    place = new_place()
    copy_backups(tmp_path / "backups", place)
    full = chain[0].name
    spoil(tmp_path / "backups" / full / DATABASE_DOCUMENT)
    spoil(place / full / DATA)
    copy_backups(tmp_path / "backups", place, repair=True)
    MaintenanceActions.verify(place, record=False)
    copy_backups(place, tmp_path / "backups", repair=True)
    MaintenanceActions.verify(tmp_path / "backups", record=False)


def test_a_missing_file_is_told_and_healed(chain: list[Backup], new_place: Make, tmp_path: Path) -> None:
    place = new_place()
    copy_backups(tmp_path / "backups", place)
    (place / chain[2].name / DATA).unlink()
    with pytest.raises(DamagedBackup, match="is damaged or missing") as caught:
        copy_backups(tmp_path / "backups", place)
    assert "--repair" in str(caught.value.hint)
    copy_backups(tmp_path / "backups", place, repair=True)
    MaintenanceActions.verify(place, record=False)


def test_damage_is_never_brought_over(chain: list[Backup], new_place: Make, tmp_path: Path) -> None:
    place = new_place()
    copy_backups(tmp_path / "backups", place)
    spoil(chain[1].folder / DATA)
    with pytest.raises(DamagedBackup, match="its SHA-256 is not the manifest's"):
        copy_backups(tmp_path / "backups", new := new_place())
    assert [backup.sha256 for backup in backups(new)] == [chain[0].sha256, chain[2].sha256]
    assert not (new / chain[1].name / DATA).is_file()
    copy_backups(tmp_path / "backups", place, repair=True)  # the twin is whole, and stays so
    MaintenanceActions.verify(place, record=False)
    assert copy_backups(place, tmp_path / "backups", repair=True).repaired == (chain[1].folder / DATA,)
    MaintenanceActions.verify(tmp_path / "backups", record=False)


def test_encrypted_backups_are_copied_without_their_key(
    small: DocumentDatabase, new_place: Make, tmp_path: Path
) -> None:
    mine = Identity(b"m" * 32)
    small.maintenance.start_backup(tmp_path / "backups", protection=Protection((mine.recipient,))).wait()
    place = new_place()
    copy_backups(tmp_path / "backups", place)
    MaintenanceActions.restore(place, tmp_path / "restored", keyring=Keyring((mine,)))


def test_a_restore_reads_each_file_from_the_first_copy_that_is_whole(
    chain: list[Backup], small: DocumentDatabase, new_place: Make, tmp_path: Path
) -> None:
    place = new_place()
    copy_backups(tmp_path / "backups", place)
    spoil(chain[0].folder / DATA)
    spoil(chain[1].folder / "manifest.json")
    spoil(place / chain[2].name / DATA)
    shutil.rmtree(chain[2].folder.parent / "nothing", ignore_errors=True)
    for alone in (tmp_path / "backups", place):
        with pytest.raises(DamagedBackup):
            MaintenanceActions.restore(alone, tmp_path / "alone")
    plan = MaintenanceActions.plan_restore(tmp_path / "backups", copies=[place])
    restored = MaintenanceActions.restore(plan, tmp_path / "restored")
    told = "\n".join(restored.notes)
    assert f"it was read from {place / chain[0].name / DATA}" in told
    assert f"{chain[1].folder} is missing or damaged; it was read from {place / chain[1].name}" in told
    assert chain[2].name not in told
    with opened(restored.folder) as again:
        assert live(state_of(again)) == live(state_of(small))
    shutil.rmtree(tmp_path / "backups")
    with pytest.raises(DamagedBackup):  # no copy is whole
        MaintenanceActions.restore(
            MaintenanceActions.plan_restore(tmp_path / "backups", copies=[place]), tmp_path / "again"
        )
    with pytest.raises(BackupNotFound, match="no folder"):
        MaintenanceActions.plan_restore(tmp_path / "backups", copies=[tmp_path / "neither"])


def test_what_cannot_be_copied_is_named(chain: list[Backup], small: DocumentDatabase, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is where the backups are"):
        copy_backups(tmp_path / "backups", tmp_path / "backups")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupNotFound, match="no complete backup"):
        copy_backups(tmp_path / "empty", tmp_path / "copy")
    with DocumentDatabase(tmp_path / "other") as other:
        other.maintenance.start_backup(tmp_path / "others").wait()
    with pytest.raises(ForeignBackup, match="different databases"):
        copy_backups(tmp_path / "backups", tmp_path / "others")
    (tmp_path / "taken" / chain[0].name).mkdir(parents=True)
    (tmp_path / "taken" / chain[0].name / DATABASE_DOCUMENT).write_bytes(b"{}")
    with pytest.raises(TargetExists, match="is something else"):
        copy_backups(tmp_path / "backups", tmp_path / "taken")


@some(1)
def test_the_commands(chain: list[Backup], small: DocumentDatabase, new_place: Make, tmp_path: Path) -> None:
    place, source = new_place(), tmp_path / "backups"
    done = muniment("copy", source, str(place), "--json")
    assert done.code == 0, done.err
    assert len(done.json["copied"]) == 3
    spoil(place / chain[0].name / DATA)
    assert muniment("verify", str(place)).code == 5
    restored = muniment("restore", str(place), "--copy", source, "--to", tmp_path / "restored", "--json")
    assert restored.code == 0, restored.err
    assert "it was read from" in restored.json["notes"][0]
    healed = muniment("copy", source, str(place), "--repair")
    assert healed.code == 0, healed.err
    assert "1 file" in healed.text
    assert muniment("verify", str(place), "--quiet").code == 0
    small.close()
    both = muniment("backup", small.path, "--dest", source, "--dest", str(place), "--incremental", "--json")
    assert both.code == 0, both.err
    assert [each["kind"] for each in both.json["backups"]] == ["incremental", "incremental"]
    (tmp_path / "file").write_text("no folder")
    half = muniment("backup", small.path, "--dest", tmp_path / "file", "--dest", str(place), "--incremental", "--json")
    assert half.code == 8, half.err
    assert "is a file" in half.json["backups"][0]["error"]
    assert half.json["backups"][1]["kind"] == "incremental"
