"""Backups that a policy does not keep are marked, and removed when they were marked for long enough, and no others."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muniment import DocumentDatabase, Keyring, MaintenanceActions, Passphrase, Protection
from muniment.backup import expire as expiring
from muniment.backup import records as recording
from muniment.backup import repository
from muniment.backup import restore as restoring
from muniment.backup import verify as verifying
from muniment.backup.beside import write_beside
from muniment.backup.destination import place_of, sizes_in
from muniment.backup.expire import GRACE, Expired, expire
from muniment.backup.lease import held_in, leased
from muniment.backup.mark import Mark
from muniment.backup.records import records
from muniment.backup.repository import Backup, backups
from muniment.backup.retention import Policy, doubted_in, proven_in
from muniment.backup.selection import read_part
from muniment.durable import sync_folder
from muniment.errors import DamagedBackup, InvalidInput, StorageFailure
from muniment.rehearsal import rehearse
from muniment.security.keyring import UNPROTECTED
from muniment.storage.scratch import shared_scratch
from tests.backup.state import live, opened, state_of, tree
from tests.clock import SECOND, Clock
from tests.object_store import ObjectStore

DAY = 86_400 * SECOND
LAST = Policy(keep_last=1)
Take = Callable[..., list[Backup]]


@pytest.fixture
def take(small: DocumentDatabase, clock: Clock, tmp_path: Path) -> Take:
    """Takes backups, one a day; of a text, `f` is a full one and `i` an incremental one."""

    def take(kinds: str, protection: Protection = UNPROTECTED) -> list[Backup]:
        found = []
        for kind in kinds:
            small.put(f"taken/{len(small.by_prefix('taken/', limit=100))}", {})
            operation = small.maintenance.start_backup(tmp_path / "b", incremental=kind == "i", protection=protection)
            found.append(operation.wait())
            clock.now += DAY
        return found

    return take


def names(taken: list[Backup] | tuple[Backup, ...]) -> set[str]:
    return {backup.name for backup in taken}


def there(place: Path) -> set[str]:
    return {backup.name for backup in backups(place)}


def run(place: Path, clock: Clock, policy: Policy = LAST, **more: Any) -> Expired:
    return expire(place, policy, clock=clock, **more)


def test_what_is_marked_goes_when_the_time_of_grace_is_over(take: Take, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "b"
    old, new = take("fii"), take("fi")
    first = run(place, clock)
    assert not first.removed
    assert names([backup for backup, _ in first.waiting]) == names(old)
    before = tree(place)
    run(place, clock)
    assert tree(place) == before  # it says the same, so nothing more is written
    clock.now += GRACE * SECOND
    done = run(place, clock)
    assert (names(done.removed), there(place)) == (names(old), names(new))
    assert done.freed == sum(backup.manifest.size for backup in old)
    MaintenanceActions.restore(place, tmp_path / "restored")
    assert not run(place, clock).waiting
    assert len(list(place.glob("expiry-*.json"))) == 1


def test_a_dry_run_changes_nothing_and_says_why(take: Take, clock: Clock, tmp_path: Path) -> None:
    take("fif")
    before = tree(tmp_path / "b")
    made = run(tmp_path / "b", clock, dry_run=True, grace=0)
    assert tree(tmp_path / "b") == before
    assert [each.kept for each in made.decisions] == [False, False, True]
    assert made.decisions[2].reasons == ("it is the newest that can be restored", "it is one of the last 1")
    assert made.freed == sum(each.backup.manifest.size for each in made.decisions[:2])


def test_without_grace_it_goes_at_once(take: Take, clock: Clock, tmp_path: Path) -> None:
    old, new = take("fi"), take("f")
    assert names(run(tmp_path / "b", clock, grace=0).removed) == names(old)
    assert there(tmp_path / "b") == names(new)
    with pytest.raises(InvalidInput):
        run(tmp_path / "b", clock, grace=-1)


def test_a_backup_that_a_verification_found_damaged_costs_no_good_one(take: Take, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "b"
    old, good, bad = take("fff")
    with (bad.folder / bad.manifest.files[0].name).open("r+b") as file:
        file.write(b"damaged")
    with pytest.raises(DamagedBackup, match="SHA-256"):
        MaintenanceActions.verify(place, clock=clock)
    assert names(run(place, clock, grace=0).removed) == {old.name}
    assert there(place) == {good.name, bad.name}
    MaintenanceActions.restore(place, tmp_path / "restored", backup=good.name)


def test_records_have_an_end_but_for_those_that_something_relies_on(
    take: Take, clock: Clock, tmp_path: Path, small: DocumentDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "KEPT", 2)
    place = tmp_path / "b"
    first, *_ = take("fi")
    rehearsed = rehearse(first.folder, clock=clock, place=tmp_path).record
    take("f")
    for _ in range(4):
        clock.now += SECOND
        MaintenanceActions.verify(place, clock=clock)
    MaintenanceActions.verify(first.folder, clock=clock)
    before, facts, state = sorted(place.glob("verification-*")), records(place), small.maintenance.recoverability()
    run(place, clock, Policy(keep_last=9), dry_run=True)
    assert sorted(place.glob("verification-*")) == before
    run(place, clock, Policy(keep_last=9))
    assert sorted(place.glob("verification-*")) == before[-2:]
    assert list(place.glob("rehearsal-*")) == [rehearsed]  # the only one
    now = records(place)
    assert (proven_in(now), doubted_in(now)) == (proven_in(facts), doubted_in(facts))
    again = small.maintenance.recoverability()
    assert again.destinations[0].last_verification == state.destinations[0].last_verification
    assert again.destinations[0].last_rehearsal == state.destinations[0].last_rehearsal
    [*_, last] = take("ff")
    old = MaintenanceActions.verify(last.folder, clock=clock).record
    shutil.move(last.folder, tmp_path / "away")
    for _ in range(4):
        clock.now += SECOND
        with pytest.raises(DamagedBackup, match="vanished"):
            MaintenanceActions.verify(place, clock=clock)
        run(place, clock, Policy(keep_last=9))
    assert old in list(place.glob("verification-*"))  # for it alone tells what is missing


def test_a_history_that_was_left_and_expired_has_not_vanished(take: Take, clock: Clock, tmp_path: Path) -> None:
    """After a restore to an earlier moment, the later ones may go before the new history has got as far."""
    place = tmp_path / "b"
    old, left = take("ff")
    MaintenanceActions.verify(place, clock=clock)
    with opened(MaintenanceActions.restore(place, tmp_path / "restored", backup=old.name).folder) as back:
        back.maintenance.start_backup(place).wait()
    MaintenanceActions.verify(place, clock=clock)
    assert names(run(place, clock, grace=0).removed) == {old.name, left.name}
    MaintenanceActions.verify(place, clock=clock)
    clock.now += DAY
    run(place, clock, grace=0)
    MaintenanceActions.verify(place, clock=clock)  # the mark is there as long as it is needed


def test_a_mark_that_another_policy_takes_back_counts_no_more(take: Take, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "b"
    take("ff")
    run(place, clock)
    clock.now += GRACE * SECOND // 2
    run(place, clock, Policy(keep_last=2))
    clock.now += GRACE * SECOND // 2
    assert not run(place, clock).removed  # it was marked anew now
    clock.now += GRACE * SECOND
    assert len(run(place, clock).removed) == 1


def test_two_that_do_not_agree_remove_nothing(take: Take, clock: Clock, tmp_path: Path) -> None:
    take("fff")
    for _ in range(5):
        run(tmp_path / "b", clock, Policy(keep_last=3))
        clock.now += GRACE * SECOND // 2
        assert not run(tmp_path / "b", clock).removed
        clock.now += GRACE * SECOND // 2


def test_a_mark_of_a_clock_that_was_ahead_is_no_mark(take: Take, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "b"
    take("ff")
    now = clock.now
    clock.now += 400 * DAY
    run(place, clock)
    clock.now = now
    assert not run(place, clock).removed
    clock.now += GRACE * SECOND
    assert len(run(place, clock).removed) == 1


def test_what_is_read_stays_until_it_was_read(take: Take, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "b"
    old, _ = take("fi"), take("f")
    with leased("restore", old, clock):
        made = run(place, clock, grace=0)
        assert not made.removed
        assert "a restore reads it" in made.decisions[0].reasons[0]
    assert not list(place.glob("lease-*"))
    assert len(run(place, clock, grace=0).removed) == 2


def test_a_lease_of_a_reader_that_was_killed_ends_by_itself(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "b"
    old, _ = take("f"), take("f")
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt), leased("restore", old, clock):
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        raise KeyboardInterrupt
    assert len(list(place.glob("lease-*"))) == 1
    clock.now += 3600 * SECOND
    assert not run(place, clock, grace=0).removed
    clock.now += 3600 * SECOND
    assert len(run(place, clock, grace=0).removed) == 1
    assert not list(place.glob("lease-*"))


def test_a_reader_that_may_not_delete_its_lease_says_that_it_is_over(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".json":
            raise PermissionError(errno.EACCES, "AccessDenied")
        unlink(self, missing_ok)

    place = tmp_path / "b"
    old, _ = take("fi"), take("f")
    with leased("restore", old[:1], clock):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refused)
            with leased("verification", old, clock):
                assert len(held_in(place, clock.now)) == 2
        assert len(list(place.glob("lease-*.json"))) == 3
        assert next(iter(held_in(place, clock.now).values())).startswith("a restore reads it")
        assert len(held_in(place, clock.now)) == 1
    assert len(run(place, clock, grace=0).removed) == 2
    assert not list(place.glob("lease-*"))


def test_a_restore_and_a_verification_hold_what_they_read(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "b"
    old, _ = take("fi"), take("f")
    held: list[int] = []
    real = held_in

    def looking(work: Any) -> Any:
        def look(*args: Any) -> Any:
            held.append(len(real(place, clock.now)))
            return work(*args)

        return look

    monkeypatch.setattr(restoring, "read_part", looking(read_part))
    monkeypatch.setattr(verifying, "shared_scratch", looking(shared_scratch))
    MaintenanceActions.restore(place, tmp_path / "r", backup=old[1].name, clock=clock)
    MaintenanceActions.verify(place, clock=clock)
    assert held == [2, 3]
    assert not real(place, clock.now)


def test_a_medium_that_is_only_read_is_read_without_a_lease(
    backup: Backup, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any) -> Path:
        raise StorageFailure("it may not be written to", "")

    monkeypatch.setattr("muniment.backup.lease.write_beside", refused)
    with leased("restore", [backup], clock):
        assert not list(backup.folder.parent.glob("lease-*"))


def test_what_may_not_be_removed_is_told_and_keeps_what_it_continues(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "b"
    old, _ = take("fii"), take("f")

    def locked(backup: Backup) -> None:
        if backup.name == old[1].name:
            raise StorageFailure(f"{backup.folder} is under a lock", "")
        repository.delete_backup(backup)

    monkeypatch.setattr(expiring, "delete_backup", locked)
    made = run(place, clock, grace=0)
    assert names(made.removed) == {old[2].name}
    assert made.notes == (f"{old[1].name} may not be removed now: {old[1].folder} is under a lock",)
    monkeypatch.undo()
    assert names(run(place, clock, grace=0).removed) == names(old[:2])


def test_a_folder_that_somebody_has_made_in_a_backup_stays(take: Take, clock: Clock, tmp_path: Path) -> None:
    place, (old,), _ = tmp_path / "b", take("f"), take("f")
    MaintenanceActions.restore(place, old.folder / "restored", backup=old.name)
    for _ in range(2):
        run(place, clock, grace=0)
        assert [path.name for path in old.folder.iterdir()] == ["restored"]
        with DocumentDatabase(old.folder / "restored", create=False) as database:
            assert database.check() == []
        clock.now += 2 * GRACE * 1_000_000


@pytest.mark.parametrize("calls", range(1, 7))
def test_a_removal_that_is_killed_is_finished_by_the_next(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    place = tmp_path / "b"
    old, new = take("fi"), take("f")
    left = calls

    def dying(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(repository, "sync_folder", dying(sync_folder))
        patch.setattr(Path, "rmdir", dying(Path.rmdir))
        with pytest.raises(KeyboardInterrupt):
            run(place, clock, grace=0)
    MaintenanceActions.verify(place, clock=clock)  # what is there is whole
    run(place, clock, grace=0)
    assert {path.name for path in place.iterdir() if path.is_dir()} == names(new)
    assert there(place) == names(new)
    assert old


def test_a_damaged_manifest_removes_nothing(take: Take, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "b"
    old, _ = take("fii"), take("f")
    (old[1].folder / "manifest.json").write_text("{")
    made = run(place, clock, grace=0)
    assert not made.removed
    reasons = {each.backup.name: each.reasons[0] for each in made.decisions}
    assert reasons[old[0].name] == f"{old[1].name}, which cannot be read, may continue it"
    assert reasons[old[2].name].startswith("it cannot be restored, and so is not touched: ")


def test_encrypted_backups_expire_without_a_key(take: Take, clock: Clock, tmp_path: Path) -> None:
    safe = Protection((Passphrase("correct horse battery"),))
    old, new = take("fi", safe), take("fi", safe)
    assert names(run(tmp_path / "b", clock, grace=0).removed) == names(old)
    assert there(tmp_path / "b") == names(new)


def test_what_somebody_begins_to_read_meanwhile_stays(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [one, _] = take("ff")
    real = write_beside
    with ExitStack() as reading:

        def late(*args: Any) -> Path:
            reading.enter_context(leased("restore", [one], clock))
            return real(*args)

        monkeypatch.setattr(expiring, "write_beside", late)
        assert not run(tmp_path / "b", clock, grace=0).removed


def test_incremental_for_ever(take: Take, clock: Clock, tmp_path: Path, small: DocumentDatabase) -> None:
    place = tmp_path / "b"
    taken = take("fiiiii")
    policy = Policy(keep_last=2, merge_after=2)
    made = run(place, clock, policy, grace=0)
    [merged] = made.merged
    assert names(made.removed) == names(taken[:4])
    assert there(place) == {merged.name, *names(taken[4:])}
    last = take("i")
    assert last[0].manifest.kind == "incremental"
    for backup in (taken[4], taken[5], last[0]):
        MaintenanceActions.restore(place, tmp_path / backup.name, backup=backup.name)
    with opened(tmp_path / last[0].name) as restored:
        assert live(state_of(restored)) == live(state_of(small))
    assert not run(place, clock, policy, grace=0).merged


def test_a_merged_one_that_is_not_proven_replaces_nothing(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "b"
    taken = take("fiiii")
    policy = Policy(keep_last=1, merge_after=1)

    def failing(*args: Any, **more: Any) -> None:
        raise StorageFailure("the disk is gone", "")

    with monkeypatch.context() as patch:
        patch.setattr(expiring, "verify", failing)
        made = run(place, clock, policy, grace=0)
        assert made.merged
        assert not made.removed
        assert "could not be merged: the disk is gone" in made.notes[0]
    again = run(place, clock, policy, grace=0)
    assert not again.merged  # the same one is proven now
    assert names(again.removed) == names(taken[:4])


def test_encrypted_ones_are_merged_with_a_key_only(take: Take, clock: Clock, tmp_path: Path) -> None:
    passphrase = Passphrase("correct horse battery")
    taken = take("fiiii", Protection((passphrase,)))
    policy = Policy(keep_last=1, merge_after=1)
    made = run(tmp_path / "b", clock, policy, grace=0)
    assert (made.merged, made.removed) == ((), ())
    assert "could not be merged" in made.notes[0]
    made = run(tmp_path / "b", clock, policy, grace=0, keyring=Keyring((passphrase,)))
    assert names(made.removed) == names(taken[:4])


def test_a_mark_that_is_not_whole_is_passed_over(take: Take, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "b"
    take("ff")
    run(place, clock)
    [mark] = place.glob("expiry-*.json")
    assert msgspec.json.decode(mark.read_bytes(), type=Mark).backups
    mark.write_text('{"decided"')
    clock.now += GRACE * SECOND
    assert not run(place, clock).removed


def test_with_a_full_disk_nothing_goes(
    take: Take, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = take("ff")

    def full(*args: Any) -> None:
        raise StorageFailure("no room", "")

    monkeypatch.setattr(expiring, "write_beside", full)
    with pytest.raises(StorageFailure):
        run(tmp_path / "b", clock, grace=0)
    assert there(tmp_path / "b") == names(taken)


def test_in_an_object_store(object_store: ObjectStore, small: DocumentDatabase) -> None:
    place = object_store.place()
    taken = [small.maintenance.start_backup(place, incremental=kind == "i").wait() for kind in "fif"]
    before = sorted(path.name for path in place_of(place).iterdir())
    assert sum(each.kept for each in MaintenanceActions.expire(place, LAST, dry_run=True).decisions) == 1
    assert sorted(path.name for path in place_of(place).iterdir()) == before
    assert len(MaintenanceActions.expire(place, LAST).waiting) == 2
    with leased("copy", taken[:1]):
        held = MaintenanceActions.expire(place, LAST, grace=0)
        assert names(held.removed) == {taken[1].name}
    MaintenanceActions.expire(place, LAST, grace=0)
    assert there(place_of(place)) == {taken[2].name}
    left = {name.partition("/")[0] for name in sizes_in(place_of(place))}
    assert {name for name in left if name.startswith("20")} == {taken[2].name}
