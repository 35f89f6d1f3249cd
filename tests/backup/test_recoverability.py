"""What a database says of its chance to be recovered is what its backups say, and what to do next follows from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

import muniment
from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.alerts import Policy
from muniment.backup.recoverability import DestinationState, Recoverability
from muniment.backup.repository import Backup
from muniment.storage.sqlite.state import KNOWN_PLACES
from muniment.storage.sqlite.store import SqliteStorage
from tests.backup.state import opened, tree
from tests.clock import SECOND, Clock


@dataclass
class Shop:
    database: DocumentDatabase
    clock: Clock
    backups: Path

    def back_up(self, destination: Path | None = None) -> Backup:
        return self.database.maintenance.start_backup(destination or self.backups, incremental=True).wait()

    def prove(self) -> None:
        muniment.rehearse(self.backups, clock=self.clock)

    def said(self) -> Recoverability:
        return self.database.maintenance.recoverability()

    def state(self) -> DestinationState:
        [state] = self.said().destinations
        return state


@pytest.fixture
def shop(small: DocumentDatabase, clock: Clock, tmp_path: Path) -> Shop:
    return Shop(small, clock, tmp_path / "backups")


def test_a_database_that_was_never_backed_up(shop: Shop) -> None:
    assert shop.said().destinations == []
    assert str(shop.said().next).startswith("take a first backup")
    assert shop.database.statistics().last_backup is None


def test_from_one_thing_to_do_to_the_next(shop: Shop) -> None:
    full = shop.back_up()
    assert (shop.said().next, shop.state().changes_since) == (f"no rehearsal yet: muniment rehearse {shop.backups}", 0)
    before = tree(shop.backups)
    shop.clock.now += 90 * SECOND
    state = shop.state()
    assert state.last_backup is not None
    assert (state.last_backup.name, state.last_backup.etag) == (full.name, full.manifest.through)
    assert 90 <= state.last_backup.age < 120
    assert (state.backups, state.size, state.unfinished, state.problems) == (1, full.manifest.size, [], [])
    assert tree(shop.backups) == before
    shop.prove()
    assert shop.said().next is None
    for number in range(1203):
        shop.database.put("orders/1", {"n": number})
    assert shop.state().changes_since == shop.database.statistics().changes_since_backup == 1203
    time = full.manifest.snapshot.time
    assert str(shop.said().next).startswith(f"take an incremental backup: 1,203 changes since {time}: muniment backup ")
    second = shop.back_up()
    assert shop.said().next == f"the last backup was never verified: muniment verify {shop.backups}"
    rehearsal = shop.state().last_rehearsal
    assert rehearsal is not None
    assert not rehearsal.of_last
    MaintenanceActions.verify(shop.backups, record=True)
    verification = shop.state().last_verification
    assert verification is not None
    assert (verification.of_last, verification.etag) == (True, second.manifest.through)
    assert shop.said().next is None
    shop.clock.now += 31 * 86_400 * SECOND
    assert str(shop.said().next).startswith("the last rehearsal is more than 30 days ago")


def test_what_can_be_restored(shop: Shop) -> None:
    full = shop.back_up()
    shop.database.configure({"Muniment/History": "true"})
    shop.database.put("a", {})
    shop.database.put("a", {"again": True})
    last = shop.back_up()
    [interval] = shop.state().restorable
    assert (interval.first.etag, interval.last.etag) == (full.manifest.through, last.manifest.through)
    assert interval.last.time == last.manifest.snapshot.time
    told = json.loads(msgspec.json.encode(shop.said()))
    assert told["destinations"][0]["restorable"][0]["from"]["etag"] == full.manifest.through


def test_the_last_destination_comes_first(shop: Shop, tmp_path: Path) -> None:
    for destination in ("one", "two", "one"):
        shop.back_up(tmp_path / destination)
        shop.database.put("a", {})
    assert [Path(state.destination).name for state in shop.said().destinations] == ["one", "two"]
    assert [state.changes_since for state in shop.said().destinations] == [1, 2]
    assert shop.said().next == shop.said().destinations[0].next


def test_a_destination_is_named_by_its_whole_path(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shop.back_up(Path("relative"))
    assert shop.state().destination == str(tmp_path / "relative")


def test_only_so_many_destinations_are_remembered(shop: Shop, tmp_path: Path) -> None:
    for number in range(KNOWN_PLACES + 1):
        shop.back_up(tmp_path / str(number))
    assert [Path(state.destination).name for state in shop.said().destinations] == [
        str(number) for number in range(KNOWN_PLACES, 0, -1)
    ]


def test_a_killed_backup_is_named(shop: Shop) -> None:
    full = shop.back_up()
    killed = shop.backups / "2026-11-22T171803.417Z.incremental"
    killed.mkdir()
    (killed / "documents-00001.parquet").write_bytes(b"PAR1")
    (shop.backups / "notes").mkdir()
    assert (shop.state().unfinished, shop.state().problems, shop.state().backups) == ([str(killed)], [], 1)
    shutil.rmtree(full.folder)
    assert str(shop.said().next).startswith("take a backup: ")


def test_problems_are_told_and_do_not_stop_it(shop: Shop, tmp_path: Path) -> None:
    first = shop.back_up()
    shop.database.put("a", {})
    second = shop.back_up()
    (second.folder / "manifest.json").write_bytes(b"{}")
    [unreadable, gone] = shop.state().problems
    assert str(second.folder) in unreadable
    assert f"of etag {second.manifest.through:,}, is not there" in gone
    assert str(shop.said().next).startswith("take an incremental backup: 1 change since")
    shutil.rmtree(second.folder)
    shop.database.put("a", {})
    shop.back_up()
    shutil.rmtree(first.folder)
    assert shop.state().restorable == []
    assert any("is missing or was changed" in problem for problem in shop.state().problems)
    assert str(shop.said().next).startswith("take a full backup into a new folder")
    shutil.rmtree(shop.backups)
    assert str(shop.backups) in shop.state().problems[0]
    assert "is mounted, or take a backup elsewhere" in str(shop.said().next)


def test_damage_that_was_found_is_not_forgotten(shop: Shop) -> None:
    backup = shop.back_up()
    file = next(backup.folder.glob("documents-*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(muniment.MunimentError):
        shop.prove()
    assert file.name in str(shop.said().next)
    file.write_bytes(content)
    shop.prove()
    assert shop.said().next is None


def test_a_restored_database_begins_anew_and_one_that_goes_on_says_so(shop: Shop, tmp_path: Path) -> None:
    shop.back_up()
    restored = MaintenanceActions.restore(shop.backups, tmp_path / "restored").folder
    with opened(restored) as database:
        assert database.maintenance.recoverability().destinations == []
        database.maintenance.start_backup(shop.backups, incremental=True).wait()
        assert database.maintenance.recoverability().destinations[0].changes_since == 0
    # What the copy backs up there since is none of this one's backups.
    shop.database.put("a", {})
    state = shop.state()
    assert (state.backups, state.changes_since) == (1, 1)
    assert state.notes == ["1 backup is there of other histories of this database: see inspect"]
    assert str(shop.said().next).startswith("take an incremental backup: 1 change since ")


def test_a_reader_may_ask(shop: Shop) -> None:
    shop.back_up()
    with DocumentDatabase(shop.database.path, read_only=True, clock=shop.clock) as reader:
        assert reader.maintenance.recoverability().destinations[0].backups == 1


def test_what_is_remembered_survives(shop: Shop) -> None:
    shop.back_up()
    shop.database.close()
    storage = SqliteStorage(shop.database.path, clock=shop.clock, read_only=True)
    assert [place.folder for place in storage.backup_facts().places] == [str(shop.backups)]
    storage.close()


def test_the_history_that_is_kept_begins_after_what_no_backup_holds(shop: Shop) -> None:
    """What was superseded before a full backup that begins a new chain is in no backup, and soon nowhere."""
    shop.database.configure({"Muniment/History": "true"})
    shop.back_up()
    for number in range(3):
        shop.database.put("orders/1", {"n": number})
    full = shop.database.maintenance.start_backup(shop.backups).wait()
    shop.database.put("orders/1", {"n": "after"})
    shop.database.close()
    with DocumentDatabase(shop.backups.parent / "shop", clock=shop.clock) as database:
        shop.database = database
        history = shop.said().history
    assert history is not None
    assert history.since == full.manifest.through


def test_a_window_keeps_history_that_backups_hold(shop: Shop) -> None:
    shop.database.configure({"Muniment/History": "true", "Muniment/HistoryWindow": "1h"})
    shop.database.put("orders/1", {"n": "first"})
    full = shop.back_up()
    history = shop.said().history
    assert history is not None
    assert history.since < full.manifest.through
    shop.clock.now += 7200 * SECOND
    history = shop.said().history
    assert history is not None
    assert history.since == full.manifest.through


def test_what_is_wrong_is_told_by_the_database_itself(shop: Shop) -> None:
    policy = Policy(older=3600)
    assert [each.condition for each in shop.database.maintenance.alerts(policy)] == ["backup-missing"]
    shop.back_up()
    assert shop.database.maintenance.alerts(policy) == []
    shop.database.put("a", {})
    shop.clock.now += 7200 * SECOND
    assert [each.condition for each in shop.database.maintenance.alerts(policy)] == ["backup-late"]
    assert shop.database.maintenance.alerts() == []
