"""Incremental chains: every moment that they promise comes back, and every other one is refused with the nearest."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from muniment import Delete, DocumentDatabase, MaintenanceActions, Put
from muniment.backup.plan import PUT_BACK
from muniment.backup.repository import Backup, backups
from muniment.document import from_microseconds
from muniment.errors import BackupNotFound, DamagedBackup, UnreachablePoint
from tests.backup.damage import DOCUMENTS, manifest_of, rewrite_rows, seal, write_manifest
from tests.backup.state import Seen, opened, seen_by_readers
from tests.clock import SECOND, Clock
from tests.sampled import count

KEPT = {"Muniment/History": "true"}


def take(database: DocumentDatabase, folder: Path, *, incremental: bool = True) -> Backup:
    return database.maintenance.start_backup(folder, incremental=incremental).wait()


def restored(source: Path, target: Path, **moment: object) -> Seen:
    MaintenanceActions.restore(source, target, **moment)  # type: ignore[arg-type]
    with opened(target) as database:
        return seen_by_readers(database)


def test_an_incremental_backup_holds_what_changed(small: DocumentDatabase, tmp_path: Path) -> None:
    first = take(small, tmp_path / "backups")
    small.put("orders/1", {"lines": 100})
    small.delete("orders/2")
    small.delete_attachment("photos/1")
    small.put_attachment("photos/2", b"new")
    second = take(small, tmp_path / "backups")
    empty = take(small, tmp_path / "backups")
    assert [found.manifest.kind for found in (first, second, empty)] == ["full", "incremental", "incremental"]
    assert [found.manifest.reason for found in (first, second, empty)] == ["first", "asked for", "asked for"]
    counts = second.manifest.counts
    assert (counts.documents, counts.document_tombstones) == (1, 1)
    assert (counts.attachments, counts.attachment_tombstones) == (1, 1)
    assert empty.manifest.files == ()
    assert restored(tmp_path / "backups", tmp_path / "copy") == seen_by_readers(small)
    assert MaintenanceActions.verify(tmp_path / "backups").fingerprint == small.snapshot().fingerprint


@pytest.mark.parametrize("kept", [True, False])
def test_every_moment_that_is_promised_comes_back(
    database: DocumentDatabase, clock: Clock, tmp_path: Path, kept: bool
) -> None:
    """With history every transaction of the chain, without it the end of every backup, by etag and by time."""
    database.configure({"Muniment/History": str(kept)})
    moments: dict[int, tuple[int, Seen]] = {}
    ends = []
    for number in range(24):
        commands = [Put(f"docs/{number % 5}", {"n": number}), Put(f"docs/{number % 7}", {"m": number})]
        database.batch([*commands, Delete(f"DOCS/{number % 3}")])
        if number % 4 == 0:
            database.put_attachment(f"photos/{number % 3}", bytes([number]) * number)
        if number % 11 == 0:
            database.delete_attachment("photos/0")
        moments[database.snapshot().etag] = (database.snapshot().modified, seen_by_readers(database))
        if number % 6 == 5:
            take(database, tmp_path / "backups")
            ends.append(database.snapshot().etag)
    for number, (etag, (time, state)) in enumerate(moments.items()):
        if etag < ends[0] or not (kept or etag in ends):
            with pytest.raises(UnreachablePoint, match="cannot be restored") as caught:
                MaintenanceActions.restore(tmp_path / "backups", tmp_path / "no", etag=etag)
            assert "(etag " in caught.value.hint
            continue
        assert restored(tmp_path / "backups", tmp_path / f"etag-{number}", etag=etag) == state
        assert restored(tmp_path / "backups", tmp_path / f"at-{number}", at=from_microseconds(time)) == state


def test_a_moment_never_lies_inside_a_transaction(database: DocumentDatabase, clock: Clock, tmp_path: Path) -> None:
    database.configure(KEPT)
    database.put("a", {"n": 0})
    take(database, tmp_path / "backups")
    database.put("a", {"n": 1})
    before = seen_by_readers(database)
    database.batch([Put("a", {"n": 2}), Put("b", {"n": 2}), Put("c", {"n": 2})])
    inside = from_microseconds(database.snapshot().modified) - timedelta(microseconds=1)
    database.put("d", {"n": 3})
    take(database, tmp_path / "backups")
    assert restored(tmp_path / "backups", tmp_path / "3", etag=3) == before
    assert restored(tmp_path / "backups", tmp_path / "4", etag=4) == before
    assert restored(tmp_path / "backups", tmp_path / "time", at=inside) == before
    assert restored(tmp_path / "backups", tmp_path / "5", etag=5).keys() == {(0, "a"), (0, "b"), (0, "c")}


def test_moments_outside_the_backups_are_refused(small: DocumentDatabase, clock: Clock, tmp_path: Path) -> None:
    found = take(small, tmp_path / "backups")
    time = from_microseconds(small.snapshot().modified)
    assert found.manifest.snapshot.until is not None
    until = datetime.fromisoformat(found.manifest.snapshot.until)
    for moment, why in [
        ({"etag": found.manifest.through + 1}, "after the last backup"),
        ({"etag": 1}, "before the end of the first backup"),
        ({"at": until + timedelta(microseconds=1)}, "after the last backup"),
        ({"at": time - timedelta(days=9)}, "before the first backup"),
    ]:
        with pytest.raises(UnreachablePoint, match=why):
            MaintenanceActions.restore(tmp_path / "backups", tmp_path / "no", **moment)  # type: ignore[arg-type]
    with pytest.raises(BackupNotFound, match="no complete backup 'else'"):
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / "no", backup="else")
    assert not (tmp_path / "no").exists()


def test_a_backup_can_be_named(small: DocumentDatabase, tmp_path: Path) -> None:
    take(small, tmp_path / "backups")
    small.put("orders/1", {"lines": 2})
    second, state = take(small, tmp_path / "backups"), seen_by_readers(small)
    small.put("orders/1", {"lines": 3})
    take(small, tmp_path / "backups")
    assert restored(tmp_path / "backups", tmp_path / "copy", backup=second.name) == state


def test_a_restored_database_begins_with_a_full_backup(small: DocumentDatabase, tmp_path: Path) -> None:
    take(small, tmp_path / "backups")
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "again")
    with opened(tmp_path / "again") as again:
        again.put("orders/9", {})
        third = take(again, tmp_path / "backups")
        assert (third.manifest.kind, third.manifest.reason) == ("full", "restored since: new lineage")
        again.put("orders/9", {"n": 1})
        assert take(again, tmp_path / "backups").manifest.kind == "incremental"
        assert restored(tmp_path / "backups", tmp_path / "third") == seen_by_readers(again)


@pytest.mark.parametrize("knows_the_full_one", [True, False])
def test_a_database_whose_files_were_put_back_begins_a_chain_of_its_own(
    clock: Clock, tmp_path: Path, knows_the_full_one: bool
) -> None:
    """Its lineage is the same, but its log has gone another way since: to continue the last backup would be a lie.

    To continue the one before that would be true, but then one chain told of two histories, and moments were guessed.
    """

    def keep_copy() -> None:
        shutil.copytree(tmp_path / "db", tmp_path / "older")

    with DocumentDatabase(tmp_path / "db", clock=clock) as database:
        database.put("a", {"n": 1})
    if not knows_the_full_one:
        keep_copy()
    with DocumentDatabase(tmp_path / "db", clock=clock) as database:
        take(database, tmp_path / "backups")
    if knows_the_full_one:
        keep_copy()
    with DocumentDatabase(tmp_path / "db", clock=clock) as database:
        database.put("b", {"n": 2})
        assert take(database, tmp_path / "backups").manifest.kind == "incremental"
    shutil.rmtree(tmp_path / "db")
    shutil.copytree(tmp_path / "older", tmp_path / "db")
    with DocumentDatabase(tmp_path / "db", clock=clock) as database:
        for number in range(5):
            database.put("c", {"n": number})
        found = take(database, tmp_path / "backups")
        # Known or not, the full one ends with a transaction of this log; what came after it does not.
        assert found.manifest.kind == "full"
        assert found.manifest.reason.startswith(PUT_BACK)
        database.put("c", {"n": 9})
        last = take(database, tmp_path / "backups").manifest
        assert last.parent
        assert last.parent.sha256 == found.sha256
        assert restored(tmp_path / "backups", tmp_path / "copy") == seen_by_readers(database)


def test_a_database_whose_folder_was_given_another_name_continues_its_chain(tmp_path: Path, clock: Clock) -> None:
    """The name in a manifest is that of the folder; which database it is, its identity says."""
    with DocumentDatabase(tmp_path / "shop", clock=clock) as database:
        database.put("a", {"n": 1})
        take(database, tmp_path / "backups")
    (tmp_path / "shop").rename(tmp_path / "store")
    with opened(tmp_path / "store", clock) as database:
        database.put("a", {"n": 2})
        last = take(database, tmp_path / "backups")
        seen = seen_by_readers(database)
    assert (last.manifest.kind, last.manifest.database.name) == ("incremental", "store")
    assert restored(tmp_path / "backups", tmp_path / "restored") == seen
    assert MaintenanceActions.verify(tmp_path / "backups").backup == last


def test_two_destinations_each_say_what_they_hold(database: DocumentDatabase, tmp_path: Path) -> None:
    """History that one backup allowed to be purged is never claimed by the other's chain."""
    database.configure(KEPT)
    for place in ("one", "two"):
        take(database, tmp_path / place)
    for number in range(5):
        database.put("a", {"n": number})
    take(database, tmp_path / "one")
    database.storage.purge()
    database.put("a", {"n": 5})
    database.put("a", {"n": 6})
    other = take(database, tmp_path / "two")
    assert other.manifest.after == 0
    assert other.manifest.history_from == 5
    with pytest.raises(UnreachablePoint, match="begins at etag 5"):
        MaintenanceActions.restore(tmp_path / "two", tmp_path / "no", etag=4)
    assert restored(tmp_path / "two", tmp_path / "six", etag=6)[0, "a"][2] == b'{"n":5}'
    assert restored(tmp_path / "one", tmp_path / "three", etag=3)[0, "a"][2] == b'{"n":2}'


def test_a_broken_chain_is_refused(small: DocumentDatabase, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    found = [take(small, folder)]
    for number in range(3):
        small.put("orders/1", {"lines": number})
        found.append(take(small, folder))
    hidden = found[1].folder.rename(tmp_path / "hidden")
    with pytest.raises(DamagedBackup, match="missing or was changed"):
        MaintenanceActions.restore(folder, tmp_path / "no")
    assert restored(folder, tmp_path / "first", backup=found[0].name)
    hidden.rename(found[1].folder)
    edited = manifest_of(found[1].folder)
    edited["database"]["name"] = "another"
    write_manifest(found[1].folder, edited)
    with pytest.raises(DamagedBackup, match="missing or was changed"):
        MaintenanceActions.restore(folder, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_links_that_were_swapped_are_refused_and_folders_that_were_are_not(
    small: DocumentDatabase, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    found = [take(small, folder)]
    for number in range(3):
        small.put("orders/1", {"lines": number})
        found.append(take(small, folder))
    one, other = found[1].folder, found[2].folder
    whole = restored(folder, tmp_path / "whole")

    def swap(first: Path, second: Path) -> None:
        first.rename(tmp_path / "aside")
        second.rename(first)
        (tmp_path / "aside").rename(second)

    swap(one, other)  # names of folders prove nothing
    assert restored(folder, tmp_path / "renamed") == whole
    swap(one / "manifest.json", other / "manifest.json")
    for options in ({}, {"backup": one.name}, {"backup": other.name}):
        with pytest.raises(DamagedBackup):
            MaintenanceActions.restore(folder, tmp_path / "no", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "no").exists()


def test_forged_content_inside_a_backup_does_not_reach_an_earlier_moment(
    database: DocumentDatabase, tmp_path: Path
) -> None:
    """The proof of a moment inside a backup: taken on to the end, it must give the recorded fingerprint."""
    database.configure(KEPT)
    take(database, tmp_path / "backups")
    for number in range(4):
        database.put("a", {"n": number})
    second = take(database, tmp_path / "backups")

    def forge(rows: list[dict[str, object]]) -> None:
        rows[-1]["document"] = '{"n":9}'

    rewrite_rows(second.folder, DOCUMENTS, forge)
    seal(second.folder)
    for moment in ({}, {"etag": 3}):
        with pytest.raises(DamagedBackup, match="fingerprint"):
            MaintenanceActions.restore(tmp_path / "backups", tmp_path / "no", **moment)  # type: ignore[arg-type]


def test_history_is_kept_until_it_is_backed_up_and_the_window_has_passed(
    database: DocumentDatabase, clock: Clock, tmp_path: Path
) -> None:
    database.configure({**KEPT, "Muniment/HistoryWindow": "1h"})
    for number in range(4):
        database.put("a", {"n": number})
    assert database.storage.purge() == 0
    take(database, tmp_path / "backups")
    assert database.storage.purge() == 0
    clock.now += 3601 * SECOND
    database.put("b", {})
    assert database.storage.purge() == 3
    assert database.snapshot().history_from == 4
    database.configure({}, replace=True)
    database.put("b", {"n": 1})
    assert database.storage.purge() == 1


class Chain(RuleBasedStateMachine):
    """Random work with history switched on and off; at the end every transaction of the chain against a model."""

    @initialize(kept=st.booleans())
    def begin(self, kept: bool) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="muniment-chain-"))
        self.database = DocumentDatabase(self.folder / "db", clock=Clock(step=1))
        self.database.configure({"Muniment/History": str(kept)})
        self.moments: dict[int, Seen] = {}
        self.ends: set[int] = set()

    def remember(self) -> None:
        self.moments[self.database.snapshot().etag] = seen_by_readers(self.database)

    @rule(ids=st.lists(st.sampled_from(["a", "A", "b", "ß", "SS"]), min_size=1, max_size=4), n=st.integers(0, 9))
    def put(self, ids: list[str], n: int) -> None:
        self.database.batch([Put(id, {"n": n, "i": i}) for i, id in enumerate(ids)])
        self.remember()

    @rule(id=st.sampled_from(["a", "b", "ss"]))
    def delete(self, id: str) -> None:
        self.database.delete(id)
        self.remember()

    @rule(content=st.binary(max_size=3), gone=st.booleans())
    def attach(self, content: bytes, gone: bool) -> None:
        self.database.put_attachment("p", content)
        self.remember()
        if gone:
            self.database.delete_attachment("P")
            self.remember()

    @rule(kept=st.booleans())
    def configure(self, kept: bool) -> None:
        self.database.configure({"Muniment/History": str(kept)})

    @rule()
    def purge(self) -> None:
        self.database.storage.purge()

    @rule()
    def back_up(self) -> None:
        self.ends.add(take(self.database, self.folder / "backups").manifest.through)
        self.remember()

    @invariant()
    def agrees(self) -> None:
        assert self.database.check() == []

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            if self.ends:
                self.back_up()
                self.compare()
        finally:
            self.database.close()
            shutil.rmtree(self.folder)

    def compare(self) -> None:
        promised = set(self.ends)
        for found in backups(self.folder / "backups"):
            manifest = found.manifest
            if manifest.history_from is not None:
                promised |= {etag for etag in self.moments if manifest.history_from <= etag <= manifest.through}
        for etag, state in self.moments.items():
            if etag in promised:
                assert restored(self.folder / "backups", self.folder / f"r{etag}", etag=etag) == state
            else:
                with pytest.raises(UnreachablePoint):
                    MaintenanceActions.restore(self.folder / "backups", self.folder / "no", etag=etag)


TestChain = Chain.TestCase
TestChain.settings = settings(
    max_examples=count(7, whole=100), stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_clock_that_is_set_back_changes_neither_the_order_nor_the_newest(
    small: DocumentDatabase, clock: Clock, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    first = take(small, folder)
    MaintenanceActions.restore(folder, tmp_path / "again")
    small.put("later", {"n": 1})
    second = take(small, folder)
    early = Clock(clock.now - 86_400 * SECOND, step=SECOND)
    with DocumentDatabase(tmp_path / "again", clock=early) as again:
        again.put("orders/1", {"lines": "after the restore"})
        third = take(again, folder)
        again.put("orders/1", {"lines": "and on"})
        fourth = take(again, folder)
        expected = seen_by_readers(again)
    taken = [first, second, third, fourth]
    assert [backup.manifest.kind for backup in taken] == ["full", "incremental", "full", "incremental"]
    times = [time for backup in taken for time in (backup.manifest.started, backup.manifest.completed)]
    assert times == sorted(times)
    assert third.manifest.snapshot.time < fourth.manifest.snapshot.time
    assert restored(folder, tmp_path / "newest") == expected


def test_a_merge_of_an_old_chain_is_not_the_newest(small: DocumentDatabase, tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "backups"
    take(small, folder)
    small.put("later", {"n": 1})
    last = take(small, folder)
    MaintenanceActions.restore(folder, tmp_path / "again")
    with DocumentDatabase(tmp_path / "again", clock=clock) as again:
        again.delete("later")
        take(again, folder)
        expected = seen_by_readers(again)
    merged = MaintenanceActions.merge(folder, last.name, clock=clock)
    assert (merged.manifest.started, merged.manifest.completed) == (last.manifest.started, last.manifest.completed)
    assert restored(folder, tmp_path / "newest") == expected
