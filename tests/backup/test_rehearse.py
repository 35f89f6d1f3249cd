"""A rehearsal restores, looks, deletes, and writes down that it worked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.plan import plan_restore
from muniment.backup.rehearse import rehearse
from muniment.backup.repository import Backup, backups
from muniment.errors import DamagedBackup
from tests.backup.clock import Clock


def test_a_rehearsal_restores_and_leaves_only_its_record(
    small: DocumentDatabase, backup: Backup, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    looked: list[int] = []

    def look(folder: Path) -> list[str]:
        with DocumentDatabase(folder, read_only=True) as database:
            looked.append(database.statistics().documents)
        return []

    source = backup.folder.parent
    plan = plan_restore(backups(source), "backups")
    done = [rehearse(source, plan, look=look, clock=lambda: clock.now, place=tmp_path / "place") for _ in range(2)]
    assert looked == [small.statistics().documents] * 2
    assert list((tmp_path / "place").iterdir()) == []
    assert len({rehearsal.record for rehearsal in done}) == 2
    record = json.loads(done[0].record.read_bytes())
    assert (record["backup"], record["manifest"]) == (backup.name, backup.sha256)
    assert record["fingerprint"] == backup.manifest.fingerprint
    assert record["etag"] == backup.manifest.through
    assert [found.name for found in backups(source)] == [backup.name]


def test_what_is_found_by_looking_fails_the_rehearsal(backup: Backup, clock: Clock, tmp_path: Path) -> None:
    plan = plan_restore([backup], "backups")
    with pytest.raises(DamagedBackup, match="not as it should be: no orders"):
        rehearse(backup.folder.parent, plan, look=lambda folder: ["no orders"], clock=clock, place=tmp_path)
    assert list(backup.folder.parent.glob("rehearsal-*")) == []


def test_the_library_looks_at_everything(backup: Backup) -> None:
    rehearsal = MaintenanceActions.rehearse(backup.folder.parent)
    assert rehearsal.restored.fingerprint == backup.manifest.fingerprint_at_snapshot()
    assert not rehearsal.restored.folder.exists()
