"""When tombstones expire, backups that would miss deletions become full ones, and no other does."""

from __future__ import annotations

from pathlib import Path

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.repository import Backup
from muniment.backup.take import take_backup
from muniment.storage.sqlite.store import SqliteStorage
from tests.backup.state import live, opened, state_of
from tests.clock import SECOND, Clock

MINUTE = {"Muniment/TombstoneWindow": "60s"}


def back_up(database: DocumentDatabase, destination: Path) -> Backup:
    return database.maintenance.start_backup(destination, incremental=True).wait()


def delete_one(database: DocumentDatabase) -> None:
    database.put("gone", {})
    database.delete("gone")
    database.put("last", {})


def test_a_destination_that_has_fallen_behind_gets_a_full_backup(
    small: DocumentDatabase, clock: Clock, tmp_path: Path
) -> None:
    often, seldom = tmp_path / "often", tmp_path / "seldom"
    back_up(small, often)
    back_up(small, seldom)
    small.configure(MINUTE)
    small.delete("orders/1")
    delete_one(small)
    back_up(small, often)
    clock.now += 120 * SECOND
    small.storage.purge()
    purged = small.storage.snapshot().tombstones_from
    late, early = back_up(small, seldom), back_up(small, often)
    assert (late.manifest.kind, late.manifest.counts.document_tombstones) == ("full", 0)
    assert late.manifest.reason == f"history purged past {purged}: a full backup was taken"
    assert early.manifest.kind == "incremental"
    for destination in (often, seldom):
        restored = MaintenanceActions.restore(destination, tmp_path / f"restored from {destination.name}")
        with opened(restored.folder) as database:
            assert live(state_of(database)) == live(state_of(small))
            assert database.get("orders/1") is None


def test_tombstones_that_expire_between_the_plan_and_the_pin(
    small: DocumentDatabase, clock: Clock, tmp_path: Path
) -> None:
    behind = tmp_path / "behind"
    back_up(small, behind)
    small.delete("orders/1")
    delete_one(small)
    back_up(small, tmp_path / "other")
    storage = small.storage

    class Late(SqliteStorage):
        """The same storage, in which tombstones expire as late as they can."""

        def __init__(self) -> None:
            self.__dict__ = storage.__dict__

        def pin(self, keep: int | None = None):  # type: ignore[no-untyped-def]
            clock.now += 120 * SECOND
            small.configure(MINUTE)
            storage.purge()
            assert storage.snapshot().tombstones_from > 0
            return storage.pin(keep)

    backup = take_backup(Late(), behind, name="shop", database_document=b"{}", clock=clock, incremental=True)
    assert backup.manifest.kind == backup.name.rpartition(".")[2] == "full"
    assert backup.manifest.reason.startswith("history purged past ")
    restored = MaintenanceActions.restore(behind, tmp_path / "restored")
    with opened(restored.folder) as database:
        assert live(state_of(database)) == live(state_of(small))
