"""A restore begins a new lineage, which says from where it came; and a copy can be made another database."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muniment import DocumentDatabase, MaintenanceActions, Selection
from muniment.backup.manifest import decode, encode
from muniment.backup.repository import Backup
from muniment.document import to_microseconds
from muniment.errors import DamagedBackup, ForeignBackup
from muniment.storage.base import Lineage
from tests.backup.state import opened
from tests.clock import SECOND, Clock

HOUR = 3600 * SECOND


def micros(text: str | None) -> int:
    assert text is not None
    return to_microseconds(datetime.fromisoformat(text))


def test_the_first_lineage_begins_when_the_database_is_made(tmp_path: Path) -> None:
    clock = Clock(step=SECOND)
    before = clock.now
    with DocumentDatabase(tmp_path / "shop", clock=clock) as database:
        identity = database.storage.identity
    [lineage] = identity.lineages
    assert lineage == Lineage(identity.lineage, None, 0, None, lineage.began)
    assert before < micros(lineage.began) <= clock.now


def test_the_newest_state_is_found_where_the_clock_was_set_back_between_two_restores(
    backup: Backup, tmp_path: Path, clock: Clock
) -> None:
    """The history in the middle then seems to begin later than the one that came from it."""
    clock.now += HOUR
    MaintenanceActions.restore(backup.folder, tmp_path / "middle", clock=clock)
    clock.now -= 19 * HOUR
    with opened(tmp_path / "middle", clock) as middle:
        left = middle.maintenance.start_backup(tmp_path / "left").wait()
    MaintenanceActions.restore(left.folder, tmp_path / "last", clock=clock)
    with opened(tmp_path / "last", clock) as last:
        last.put("more", {})
        taken = last.maintenance.start_backup(tmp_path / "new").wait()
        lineages = [micros(lineage.began) for lineage in last.storage.identity.lineages]
        assert lineages[2] < lineages[1]
    restored = MaintenanceActions.restore(tmp_path / "new", tmp_path / "restored", clock=clock)
    assert restored.backup == taken
    assert restored.moment.etag == taken.manifest.through


@pytest.mark.parametrize("selection", [None, Selection.of(ids=("orders/1",))])
def test_a_restore_appends_where_it_left_the_old_one(
    backup: Backup, tmp_path: Path, clock: Clock, selection: Selection | None
) -> None:
    clock.now += HOUR
    MaintenanceActions.restore(backup.folder, tmp_path / "restored", selection=selection, clock=clock)
    manifest = backup.manifest
    with opened(tmp_path / "restored", clock) as database:
        identity = database.storage.identity
        [first, second] = identity.lineages
        assert first == manifest.database.lineages[0]
        assert micros(second.began) > micros(manifest.completed)
        expected = (identity.lineage, manifest.database.lineage, manifest.through, manifest.snapshot.time)
        assert (second.lineage, second.parent, second.etag, second.time) == expected
        assert second.part == (selection is not None)
        again = database.maintenance.start_backup(tmp_path / "others").wait()
    assert again.manifest.database.lineages == (first, second)
    MaintenanceActions.restore(again.folder, tmp_path / "again", clock=clock)
    with opened(tmp_path / "again", clock) as database:
        assert [lineage.parent for lineage in database.storage.identity.lineages] == [
            None,
            first.lineage,
            second.lineage,
        ]


def test_a_moment_inside_a_backup_is_where_the_new_lineage_begins(database: DocumentDatabase, tmp_path: Path) -> None:
    database.configure({"Muniment/History": "true"})
    database.maintenance.start_backup(tmp_path / "backups").wait()
    for number in range(1, 4):
        database.put("orders/1", {"number": number})
    second = database.storage.get(0, "orders/1")
    assert second is not None
    database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored", etag=2, clock=lambda: 0)
    with opened(tmp_path / "restored") as restored:
        begun = restored.storage.identity.lineages[-1]
        assert (begun.etag, micros(begun.time)) == (2, restored.snapshot().modified)
        # A clock that was set back does not let it begin before the moment that it comes from.
        assert begun.began == begun.time


def test_a_clock_that_was_set_back_writes_nothing_before_the_lineage_began(
    backup: Backup, tmp_path: Path, clock: Clock
) -> None:
    clock.now += HOUR
    MaintenanceActions.restore(backup.folder, tmp_path / "restored", clock=clock)
    clock.now -= 2 * HOUR
    with opened(tmp_path / "restored", clock) as database:
        database.put("orders/1", {})
        assert database.snapshot().modified > micros(database.storage.identity.lineages[-1].began)


def test_a_backup_says_how_long_its_state_was_the_state(backup: Backup, small: DocumentDatabase, clock: Clock) -> None:
    snapshot = backup.manifest.snapshot
    assert micros(snapshot.time) == small.snapshot().modified
    assert micros(backup.manifest.started) < micros(snapshot.until) < micros(backup.manifest.completed)


def test_another_id_makes_another_database(backup: Backup, tmp_path: Path) -> None:
    MaintenanceActions.restore(backup.folder, tmp_path / "copy", new_id=True)
    with opened(tmp_path / "copy") as copy:
        identity = copy.storage.identity
        assert identity.database_id != backup.manifest.database.id
        assert identity.lineages[-1].parent == backup.manifest.database.lineage
        with pytest.raises(ForeignBackup, match="another database"):
            copy.maintenance.start_backup(backup.folder.parent, incremental=True).wait()
        with pytest.raises(ForeignBackup):
            copy.maintenance.restore_into(backup.folder.parent, on_conflict="skip")
        own = copy.maintenance.start_backup(tmp_path / "own").wait()
    assert own.manifest.database.id == identity.database_id


def _edited(change: dict[str, Any]) -> dict[str, Any]:
    return {"lineage": "a", "parent": None, "etag": 0, "time": None, "began": None} | change


@pytest.mark.parametrize(
    "lineages",
    [
        pytest.param([_edited({})], id="another one is the last"),
        pytest.param([_edited({}), _edited({"lineage": "LAST"})], id="the second has no parent"),
        pytest.param([_edited({}), _edited({"lineage": "LAST", "parent": "b"})], id="another parent"),
        pytest.param([_edited({"lineage": "LAST", "began": "yesterday"})], id="no time"),
        pytest.param([_edited({"lineage": "LAST", "etag": -1})], id="no etag"),
    ],
)
def test_lineages_that_contradict_each_other_are_damage(backup: Backup, lineages: list[dict[str, Any]]) -> None:
    last = backup.manifest.database.lineage
    line = [{**each, "lineage": each["lineage"].replace("LAST", last)} for each in lineages]
    database = msgspec.structs.replace(backup.manifest.database, lineages=tuple(msgspec.convert(line, list[Lineage])))
    text = encode(msgspec.structs.replace(backup.manifest, database=database))
    with pytest.raises(DamagedBackup):
        decode(text, "here")
