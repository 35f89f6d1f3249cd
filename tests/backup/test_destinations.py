"""Places that a backup or a restore cannot go to: refused with a hint, and nothing made, changed or left there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from muniment import DocumentDatabase, MaintenanceActions, MunimentError, Progress, Put
from muniment.backup.repository import Backup, backups
from muniment.backup.staging import Staging
from muniment.errors import BackupNotFound, Busy, Cancelled, ForeignBackup, InvalidInput, StorageFailure, TargetExists
from muniment.storage.sqlite.files import FILE, LOADING, RESTORING
from muniment.storage.sqlite.loader import Loader
from muniment.storage.sqlite.remove import remove_database
from tests.backup import child
from tests.backup.gate import take
from tests.backup.state import opened, state_of, tree
from tests.clock import SECOND, Clock
from tests.sampled import some

TOO_LONG = "x" * 300


def assert_backup_refused(
    database: DocumentDatabase, destination: Path, error: type[MunimentError], around: Path
) -> MunimentError:
    """The backup fails in words of its own; everything around is as it was, and the database takes writes."""
    before, state = tree(around), state_of(database)
    operation = database.maintenance.start_backup(destination)
    with pytest.raises(error) as caught:
        operation.wait()
    assert type(caught.value) is error
    assert caught.value.hint
    assert "bug" not in caught.value.hint
    assert tree(around) == before
    assert state_of(database) == state
    database.put("still", {"alive": True})
    return caught.value


def test_a_backup_that_can_not_be_written(small: DocumentDatabase, tmp_path: Path) -> None:
    around = tmp_path / "disk"
    around.mkdir()
    (around / "file").write_text("precious")
    for place in (around / "file", around / "file" / "below", around / "file" / "two" / "below", around / TOO_LONG):
        assert_backup_refused(small, place, StorageFailure, around)
    assert_backup_refused(small, around / "new" / TOO_LONG, StorageFailure, around)
    assert_backup_refused(small, around / "nul\0", StorageFailure, around)
    (around / "loop").symlink_to(around / "loop")
    assert_backup_refused(small, around / "loop" / "new", StorageFailure, around)


def test_a_backup_where_others_are(small: DocumentDatabase, tmp_path: Path) -> None:
    around = tmp_path / "disk"
    small.maintenance.start_backup(around / "mine").wait()
    with DocumentDatabase(tmp_path / "other", clock=Clock(step=SECOND)) as other:
        foreign = other.maintenance.start_backup(around / "other").wait()
    assert "'other'" in str(assert_backup_refused(small, around / "other", ForeignBackup, around))
    assert_backup_refused(small, foreign.folder, InvalidInput, around)
    assert_backup_refused(small, backups(around / "mine")[0].folder, InvalidInput, around)


def test_a_backup_goes_through_a_link(small: DocumentDatabase, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    backup = small.maintenance.start_backup(tmp_path / "link" / "backups").wait()
    assert (tmp_path / "disk" / "backups" / backup.name / "manifest.json").is_file()


def test_folders_are_made_and_when_it_fails_removed(small: DocumentDatabase, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    progress = Progress()
    progress.cancel()
    for destination in (tmp_path / "disk", tmp_path / "disk" / "a", tmp_path / "disk" / "a" / "b" / "c"):
        with pytest.raises(Cancelled):
            take(small, destination, progress)
        assert list((tmp_path / "disk").iterdir()) == []
    backup = small.maintenance.start_backup(tmp_path / "disk" / "a" / "b" / "c").wait()
    assert backup.folder.parent == tmp_path / "disk" / "a" / "b" / "c"


def test_a_folder_that_others_use_meanwhile_is_not_removed(small: DocumentDatabase, tmp_path: Path) -> None:
    class Neighbour(Progress):
        def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
            (tmp_path / "a" / "b" / "notes").write_text("mine")
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        take(small, tmp_path / "a" / "b", Neighbour())
    assert tree(tmp_path / "a") == {"b": None, "b/notes": b"mine"}


def test_a_folder_of_the_same_moment_is_not_touched(small: DocumentDatabase, clock: Clock, tmp_path: Path) -> None:
    clock.step = 0
    name = small.maintenance.start_backup(tmp_path / "first").wait().name
    (tmp_path / "disk" / name).mkdir(parents=True)
    (tmp_path / "disk" / name / "notes").write_text("mine")
    assert small.maintenance.start_backup(tmp_path / "disk").wait().name > name
    assert tree(tmp_path / "disk" / name) == {"notes": b"mine"}


def assert_restore_refused(
    backup: Backup, target: Path, error: type[MunimentError], around: Path, *, defrag: bool = False
) -> MunimentError:
    """The restore fails in words of its own, and everything around is as it was."""
    before = tree(around)
    with pytest.raises(error) as caught:
        MaintenanceActions.restore(backup.folder, target, defrag=defrag)
    assert type(caught.value) is error
    assert caught.value.hint
    assert tree(around) == before
    return caught.value


def test_a_restore_never_writes_over_anything(small: DocumentDatabase, backup: Backup, tmp_path: Path) -> None:
    around = tmp_path / "disk"
    (around / "folder" / "below").mkdir(parents=True)
    (around / "file").write_text("precious")
    (around / "hidden").mkdir()
    (around / "hidden" / ".keep").write_bytes(b"")
    (around / "link").symlink_to(around / "folder")
    MaintenanceActions.restore(backup.folder, around / "database")
    for name in ("folder", "file", "hidden", "link", "database"):
        assert name in str(assert_restore_refused(backup, around / name, TargetExists, around))
    with opened(around / "database") as running:
        assert_restore_refused(backup, around / "database", TargetExists, around)
        assert state_of(running) == state_of(small)
    before = state_of(small)
    with pytest.raises(TargetExists):
        MaintenanceActions.restore(backup.folder, small.path)
    with pytest.raises(TargetExists):
        MaintenanceActions.restore(backup.folder, backup.folder)
    assert state_of(small) == before
    assert MaintenanceActions.verify(backup.folder).backup == backup


def test_a_restore_that_can_not_be_written(backup: Backup, tmp_path: Path) -> None:
    around = tmp_path / "disk"
    around.mkdir()
    (around / "file").write_text("precious")
    for target in (around / "file" / "below", around / TOO_LONG, around / "new" / TOO_LONG, around / "nul\0"):
        assert_restore_refused(backup, target, StorageFailure, around)


def test_a_restore_into_an_empty_folder(small: DocumentDatabase, backup: Backup, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    MaintenanceActions.restore(backup.folder, tmp_path / "empty")
    (tmp_path / "link").symlink_to(tmp_path / "linked")
    (tmp_path / "linked").mkdir()
    MaintenanceActions.restore(backup.folder, tmp_path / "link")
    for name in ("empty", "linked", "link"):
        with opened(tmp_path / name) as restored:
            assert state_of(restored) == state_of(small)
    assert not any(path.name.endswith(".restoring") for path in tmp_path.iterdir())


def test_a_restore_here(
    small: DocumentDatabase, backup: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a path without parents, and to `.`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    MaintenanceActions.restore(backup.folder, "target")
    with opened(tmp_path / "here" / "target") as restored:
        assert state_of(restored) == state_of(small)
    (tmp_path / "here" / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "here" / "empty")
    MaintenanceActions.restore(backup.folder, ".")
    with opened(tmp_path / "here" / "empty") as restored:
        assert state_of(restored) == state_of(small)


def test_missing_parents_are_made_and_when_it_fails_removed(backup: Backup, tmp_path: Path) -> None:
    around = tmp_path / "disk"
    around.mkdir()
    progress = Progress()
    progress.cancel()
    for target in (around / "target", around / "a" / "target", around / "a" / "b" / "c" / "target"):
        with pytest.raises(Cancelled):
            MaintenanceActions.restore(backup.folder, target, progress=progress)
        assert tree(around) == {}
    (around / "empty").mkdir()
    with pytest.raises(Cancelled):
        MaintenanceActions.restore(backup.folder, around / "empty", progress=progress)
    assert tree(around) == {"empty": None}
    MaintenanceActions.restore(backup.folder, around / "a" / "b" / "target")
    assert {path.name for path in (around / "a" / "b").iterdir()} == {"target"}


def test_stopped_while_it_is_finished_a_restore_leaves_nothing(
    backup: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is killed then would leave a database that it does not know, in the way of the next restore."""
    progress = Progress()
    finish = Loader.finish

    def stopped(loader: Loader, *arguments: Any, **options: Any) -> Any:
        progress.cancel()
        return finish(loader, *arguments, **options)

    monkeypatch.setattr(Loader, "finish", stopped)
    with pytest.raises(Cancelled, match="finishing"):
        MaintenanceActions.restore(backup.folder, tmp_path / "new" / "target", progress=progress)
    assert not (tmp_path / "new").exists()


def test_somebody_elses_folder_is_not_taken_for_a_leftover(
    small: DocumentDatabase, backup: Backup, tmp_path: Path
) -> None:
    """`TARGET.restoring` is where a restore works; what it did not put there itself it must not remove."""
    around = tmp_path / "disk"
    (around / "shop.restoring" / "photos").mkdir(parents=True)
    (around / "shop.restoring" / "photos" / "1.png").write_bytes(b"precious")
    assert_restore_refused(backup, around / "shop", TargetExists, around)
    (around / "file.restoring").write_bytes(b"precious")
    assert_restore_refused(backup, around / "file", TargetExists, around)
    for opened_since in (True, False):  # a database that happens to have such a name, or was restored to it
        place = around / f"named-{opened_since}"
        MaintenanceActions.restore(backup.folder, Path(f"{place}.restoring"))
        if opened_since:
            with DocumentDatabase(f"{place}.restoring", create=False) as database:
                database.put("precious/1", {"a": 1})
        assert_restore_refused(backup, place, TargetExists, around)
    # Least of all the backup itself.
    moved = Backup(Path(shutil.copytree(backup.folder, around / "copy.restoring")), backup.manifest, backup.sha256)
    assert_restore_refused(moved, around / "copy", TargetExists, around)


def test_leftovers_of_a_killed_restore_are_cleared(small: DocumentDatabase, backup: Backup, tmp_path: Path) -> None:
    leftover = tmp_path / "restored.restoring"
    leftover.mkdir()
    for name in ("muniment.db", "muniment.db-journal", LOADING, "muniment.lock"):
        (leftover / name).write_bytes(b"left by a restore that was killed")
    MaintenanceActions.restore(backup.folder, tmp_path / "restored")
    assert not leftover.exists()
    with opened(tmp_path / "restored") as restored:
        assert state_of(restored) == state_of(small)


@pytest.mark.parametrize("inside", [False, True])
def test_a_restore_that_was_killed_when_its_database_was_whole_is_taken_over(
    small: DocumentDatabase, backup: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    """Nothing but the mark tells what it has left from a database."""
    target = tmp_path / "target"
    if inside:
        target.mkdir()
    leftover = target / ".restoring" if inside else tmp_path / "target.restoring"
    kept = tmp_path / "kept"
    publish = Staging.publish

    def copied(staging: Staging) -> list[str]:
        if not kept.exists():
            shutil.copytree(staging.folder, kept)
        return publish(staging)

    monkeypatch.setattr(Staging, "publish", copied)
    MaintenanceActions.restore(backup.folder, target)
    assert {path.name for path in target.iterdir()} == {"muniment.db", "muniment.lock"}
    shutil.rmtree(target)
    if inside:
        target.mkdir()
    shutil.copytree(kept, leftover)
    assert "muniment.db" in {path.name for path in leftover.iterdir()}
    MaintenanceActions.restore(backup.folder, target)
    assert not leftover.exists()
    with opened(target) as restored:
        assert state_of(restored) == state_of(small)


def test_a_mark_that_a_killed_restore_left_in_its_database_goes_when_that_is_opened(
    small: DocumentDatabase, backup: Backup, tmp_path: Path
) -> None:
    small.close()  # or it tidies up some time or other
    MaintenanceActions.restore(backup.folder, tmp_path / "target")
    (tmp_path / "target" / RESTORING).touch()
    with DocumentDatabase(tmp_path / "target", create=False) as database:
        assert not (tmp_path / "target" / RESTORING).exists()
        database.put("precious/1", {"a": 1})
    (tmp_path / "target" / RESTORING).touch()
    (tmp_path / "target").rename(tmp_path / "other.restoring")  # even then it is nobody's leftover
    assert_restore_refused(backup, tmp_path / "other", TargetExists, tmp_path)
    (tmp_path / "other.restoring").rename(tmp_path / "target")
    assert remove_database(tmp_path / "target")


def test_what_appears_meanwhile_is_not_overwritten(backup: Backup, tmp_path: Path) -> None:
    class Neighbour(Progress):
        def finish(self) -> None:
            raise AssertionError("not reached")

        def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
            (tmp_path / "target").mkdir(exist_ok=True)
            (tmp_path / "target" / "notes").write_text("mine")

    with pytest.raises(TargetExists):
        MaintenanceActions.restore(backup.folder, tmp_path / "target", progress=Neighbour())
    assert tree(tmp_path / "target") == {"notes": b"mine"}
    assert not (tmp_path / "target.restoring").exists()


def test_two_restores_to_one_target(backup: Backup, small: DocumentDatabase, tmp_path: Path) -> None:
    class Second(Progress):
        def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
            with pytest.raises(Busy, match="already running"):
                MaintenanceActions.restore(backup.folder, tmp_path / "target")

    MaintenanceActions.restore(backup.folder, tmp_path / "target", progress=Second())
    with opened(tmp_path / "target") as restored:
        assert state_of(restored) == state_of(small)


def test_processes_that_restore_to_one_target_at_once(backup: Backup, small: DocumentDatabase, tmp_path: Path) -> None:
    places = tmp_path / "places"
    results = child.run("race", source=backup.folder, places=places, rounds=8, racers=3)
    for codes in results:
        assert codes.count(0) == 1, codes
        assert set(codes) <= {0, TargetExists.exit_code, StorageFailure.exit_code}, codes
    expected = state_of(small)
    assert sorted(path.name for path in places.iterdir()) == sorted(map(str, range(8)))
    for place in places.iterdir():
        with opened(place) as restored:
            assert state_of(restored) == expected


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can come to, which pytest's own are not."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _lock_out(folder: Path, mode: int) -> Path:
    folder.mkdir(parents=True)
    folder.chmod(mode)
    return folder


def _give(path: Path) -> None:
    """Let `child.NOBODY` have this, with all that is in it."""
    if os.geteuid() == 0:
        for each in (path, *path.rglob("*")):
            os.chown(each, child.NOBODY, child.NOBODY)


def test_a_backup_without_permission(small: DocumentDatabase, shared: Path) -> None:
    source = MaintenanceActions.restore(
        small.maintenance.start_backup(shared / "backup").wait().folder, shared / "database"
    ).folder
    _give(source)
    places = [
        _lock_out(shared / "read only", 0o555),
        shared / "read only" / "new" / "deeper",
        _lock_out(shared / "closed", 0o000),
        shared / "closed" / "new",
    ]
    try:
        results = child.run("as_nobody", what="back up", sources=[source] * 4, places=places)
    finally:
        (shared / "closed").chmod(0o755)
        (shared / "read only").chmod(0o755)
    for result in results:
        assert result["error"] == "StorageFailure", result
        assert result["hint"]
        assert "closed" in result["message"] or "read only" in result["message"]
    assert tree(shared / "read only") == tree(shared / "closed") == {}


def test_a_backup_beside_one_that_may_not_be_looked_at(small: DocumentDatabase, shared: Path) -> None:
    """It may be encrypted, and then the next one has to be."""
    place = shared / "backups"
    old = small.maintenance.start_backup(place).wait().folder
    source = MaintenanceActions.restore(old, shared / "database").folder
    _give(source)
    _give(place)
    old.chmod(0o000)
    try:
        [result] = child.run("as_nobody", what="back up", sources=[source], places=[place])
    finally:
        old.chmod(0o755)
    assert result["error"] == "StorageFailure"
    assert f"it cannot be seen whether the backup in {old} is encrypted: Permission denied" in result["message"]
    assert "--in-clear" in result["hint"]


def test_a_database_in_a_folder_that_may_not_be_written_to(small: DocumentDatabase, shared: Path) -> None:
    source = MaintenanceActions.restore(
        small.maintenance.start_backup(shared / "backup").wait().folder, shared / "database"
    ).folder
    _give(source)
    source.chmod(0o555)
    (source / FILE).chmod(0o444)
    try:
        [result] = child.run("as_nobody", what="back up", sources=[source], places=[shared / "backups"])
    finally:
        source.chmod(0o755)
    assert result["error"] == "StorageFailure"
    assert "may not be written to by this user, which reading needs too" in result["message"]


def test_a_backup_to_the_root_of_a_disk(small: DocumentDatabase, shared: Path) -> None:
    """Where a file system keeps a folder that only root may look into."""
    source = MaintenanceActions.restore(
        small.maintenance.start_backup(shared / "backup").wait().folder, shared / "database"
    ).folder
    disk = shared / "disk"
    disk.mkdir()
    _give(source)
    _give(disk)
    _lock_out(disk / "lost+found", 0o000)
    try:
        backed_up = child.run("as_nobody", what="back up", sources=[source], places=[disk])
        restored = child.run("as_nobody", what="restore", sources=[disk], places=[disk / "restored"])
    finally:
        (disk / "lost+found").chmod(0o755)
    assert [backed_up, restored] == [[{"error": ""}], [{"error": ""}]]
    with opened(disk / "restored") as copy:
        assert state_of(copy) == state_of(small)


def test_a_rehearsal_where_its_record_may_not_be_written(backup: Backup, shared: Path) -> None:
    source, place = shared / "backups", shared / "place"
    shutil.copytree(backup.folder.parent, source)
    place.mkdir()
    _give(place)
    source.chmod(0o555)
    assert child.run("as_nobody", what="rehearse", sources=[source], places=[place]) == [{"error": ""}]
    assert (place / "said").read_text().startswith(f"None: {source}")
    assert list(source.glob("rehearsal-*")) == []


def test_a_restore_without_permission(small: DocumentDatabase, backup: Backup, shared: Path) -> None:
    source = shared / "backups"
    shutil.copytree(backup.folder.parent, source)
    hidden = shared / "hidden"
    shutil.copytree(backup.folder, hidden)
    (hidden / "documents-00001.parquet").chmod(0o000)
    _lock_out(shared / "read only", 0o555)
    _lock_out(shared / "closed", 0o000)
    if os.geteuid() == 0:
        shared.chmod(0o777)
    sources = [source, source, source, source, hidden, shared / "closed", shared / "closed" / "backups"]
    places = [*(shared / name for name in ("read only/new", "read only/a/b", "closed", "closed/new")), *["x"] * 3]
    places = [shared / "out" if place == "x" else place for place in places]
    try:
        results = child.run("as_nobody", what="restore", sources=sources, places=places)
        again = child.run("as_nobody", what="restore", sources=[source], places=[shared / "out"])
    finally:
        for name in ("closed", "read only"):
            (shared / name).chmod(0o755)
    for result in results:
        assert result["error"] == "StorageFailure", result
        assert result["hint"]
    assert again == [{"error": ""}]
    assert tree(shared / "read only") == tree(shared / "closed") == {}
    assert sorted(path.name for path in shared.iterdir()) == ["backups", "closed", "hidden", "out", "read only"]


@pytest.fixture
def larger(small: DocumentDatabase) -> DocumentDatabase:
    """About 3 MB in each file of its backup."""
    text = os.urandom(3_000_000).hex()
    small.batch([Put(f"large/{n}", {"text": text[n * 2000 : (n + 1) * 2000]}) for n in range(3000)])
    small.put_attachment("large", os.urandom(3_000_000))
    return small


LIMITS = [0, 1, 100, 4096, 50_000, 1_000_000, 2_500_000]


def test_a_backup_when_the_disk_is_full(larger: DocumentDatabase, tmp_path: Path) -> None:
    source, places = larger.path, tmp_path / "places"
    larger.close()
    results = child.run("limited", what="back up", source=source, places=places, limits=LIMITS)
    for result in results:
        assert result["error"] == "StorageFailure", result
        assert result["hint"]
        assert result["check"] == []
    assert not places.exists()


@some(1)
@pytest.mark.parametrize("defrag", [False, True])
def test_a_restore_when_the_disk_is_full(larger: DocumentDatabase, tmp_path: Path, defrag: bool) -> None:
    backup, places = larger.maintenance.start_backup(tmp_path / "backups").wait(), tmp_path / "places"
    source = backup.folder
    results = child.run("limited", what="restore", source=source, places=places, limits=LIMITS, defrag=defrag)
    for result in results:
        assert result["error"] == "StorageFailure", result
        assert result["hint"]
    assert not places.exists()
    MaintenanceActions.restore(backup.folder, tmp_path / "restored", defrag=defrag)


@some(2)
@pytest.mark.parametrize(
    ("what", "defrag", "kilobytes"),
    [("back up", False, 2000), ("back up", False, 4500), ("restore", False, 4000), ("restore", True, 6000)],
)
def test_on_a_disk_that_is_really_full(
    larger: DocumentDatabase, tmp_path: Path, what: str, defrag: bool, kilobytes: int
) -> None:
    backup = larger.maintenance.start_backup(tmp_path / "backups").wait()
    larger.close()
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs '{disk}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    source = larger.path if what == "back up" else backup.folder
    result = child.run("full", what=what, source=source, place=disk, defrag=defrag, within=mount)
    assert result["error"] == "StorageFailure", result
    assert result["hint"]
    assert result["left"] == result["before"] == []


def test_nothing_is_restored_from_what_is_not_a_backup(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    with pytest.raises(BackupNotFound, match="is a file"):
        MaintenanceActions.restore(tmp_path / "file", tmp_path / "target")
    with pytest.raises(StorageFailure):
        MaintenanceActions.restore(tmp_path / TOO_LONG, tmp_path / "target")
    with pytest.raises(StorageFailure):
        MaintenanceActions.verify(tmp_path / TOO_LONG)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("inside", [".", "backups", "deep/er"])
def test_not_inside_a_database(small: DocumentDatabase, tmp_path: Path, inside: str) -> None:
    before = sorted(small.path.iterdir())
    with pytest.raises(InvalidInput, match="inside the database") as caught:
        small.maintenance.start_backup(small.path / inside).wait()
    assert "outside" in caught.value.hint
    assert sorted(small.path.iterdir()) == before
    (tmp_path / "link").symlink_to(small.path)
    with pytest.raises(InvalidInput, match="inside the database"):
        small.maintenance.start_backup(tmp_path / "link" / inside).wait()


@pytest.mark.parametrize(
    ("place", "meant", "hint"),
    [
        ("hdfs://name/shop", "an address (hdfs), not a folder", "mount"),
        ("hdfs:/name", "an address (hdfs)", "mount"),
        ("https://host/x", "an address (https)", "mount"),
        (r"\\server\share", "a place on Windows", "mount it"),
        (r"C:\backups", "a place on Windows", "mount it"),
        ("c:/backups", "a place on Windows", "mount it"),
        ("~/backups", "your home in the place of ~", "/backups, or leave out"),
        ("~", "your home in the place of ~", "leave out the quotation marks"),
        ("", "is empty", "write . for"),
        ("  ", "is empty", "write . for"),
    ],
)
def test_what_names_no_folder_of_this_machine(
    small: DocumentDatabase,
    backup: Backup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    meant: str,
    hint: str,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    attempts: list[Callable[[], object]] = [lambda: small.maintenance.start_backup(place).wait()]
    if place.strip():
        attempts += [
            lambda: small.maintenance.start_backup(Path(place)).wait(),
            lambda: MaintenanceActions.restore(backup.folder, place),
            lambda: MaintenanceActions.verify(place),
        ]
    for attempt in attempts:
        with pytest.raises(InvalidInput, match=re.escape(meant)) as caught:
            attempt()
        assert hint in caught.value.hint
    assert list((tmp_path / "here").iterdir()) == []
    (tmp_path / "here" / "a:b~c").mkdir()
    assert small.maintenance.start_backup("a:b~c").wait().folder.parent == Path("a:b~c")


@pytest.mark.parametrize("place", ["s3://bucket/shop", "file:///srv/restored"])
def test_a_database_is_in_a_folder_and_not_at_an_address(backup: Backup, place: str) -> None:
    with pytest.raises(InvalidInput, match="an address"):
        MaintenanceActions.restore(backup.folder, place)
