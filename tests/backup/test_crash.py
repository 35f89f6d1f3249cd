"""Killed at any step, a backup or a restore leaves the whole of its result or nothing, and nothing in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put
from muniment.backup.repository import Backup, backups
from tests.backup import child
from tests.backup.state import State, opened, state_of
from tests.clock import SECOND, START, Clock
from tests.sampled import count, torture

KILLS = count(2, whole=20)
APART = count(4, whole=1)


def assert_backups_are_whole(database: DocumentDatabase, places: list[str]) -> int:
    """After each kill there is no backup or a whole one, and the next is taken at once. Returns how many were whole."""
    whole = 0
    for place in map(Path, places):
        found = backups(place) if place.exists() else []
        assert len(found) <= 1
        whole += len(found)
        if not found:
            found = [database.maintenance.start_backup(place).wait()]
        assert backups(place) == found
        assert MaintenanceActions.verify(place).fingerprint == database.snapshot().fingerprint
    return whole


def assert_restores_are_whole(backup: Backup, places: list[str], expected: State) -> int:
    """After each kill the target is whole or absent; then a restore makes it at once. Returns how many were whole."""
    whole = 0
    for target in map(Path, places):
        if target.exists():
            whole += 1
        else:
            MaintenanceActions.restore(backup.folder, target)
        with opened(target) as restored:
            assert state_of(restored) == expected
        assert [path.name for path in target.parent.iterdir()] == [target.name]
    return whole


@torture
def test_a_backup_that_is_killed_at_each_step(small: DocumentDatabase, tmp_path: Path) -> None:
    expected = state_of(small)
    small.close()
    places = child.run("kill_at_steps", what="back up", source=small.path, places=tmp_path / "places", apart=APART)
    assert len(places) > 25 // APART
    with opened(small.path, Clock(START + 900 * SECOND, step=SECOND)) as database:
        assert state_of(database) == expected
        whole = assert_backups_are_whole(database, places)
    assert 0 < whole < len(places) // 2  # it is published at the end, and what follows is little


@torture
def test_a_restore_that_is_killed_at_each_step(small: DocumentDatabase, backup: Backup, tmp_path: Path) -> None:
    places = child.run("kill_at_steps", what="restore", source=backup.folder, places=tmp_path / "places", apart=APART)
    assert len(places) > 15 // APART
    assert 0 < assert_restores_are_whole(backup, places, state_of(small)) < len(places) // 2
    assert MaintenanceActions.verify(backup.folder).backup == backup


@pytest.fixture
def larger(database: DocumentDatabase) -> DocumentDatabase:
    """Large enough to be killed in the middle of everything."""
    text, documents = b"0123456789abcdef" * 12, count(5_000, whole=20_000)
    database.batch([Put(f"orders/{n}", b'{"n":%d,"t":"%b"}' % (n, text)) for n in range(documents)])
    database.put_attachment("photos/1", b"0123456789abcdef" * 250_000)
    return database


@torture
def test_backups_that_are_killed_at_random(larger: DocumentDatabase, tmp_path: Path) -> None:
    larger.close()
    places = child.run(
        "kill_at_random",
        what="back up",
        source=larger.path,
        places=tmp_path / "places",
        count=KILLS,
        seed=1,
    )
    assert len(places) == KILLS
    with opened(larger.path, Clock(START + 900 * SECOND, step=SECOND)) as database:
        assert_backups_are_whole(database, places)


@torture
def test_restores_that_are_killed_at_random(larger: DocumentDatabase, tmp_path: Path) -> None:
    backup = larger.maintenance.start_backup(tmp_path / "backups").wait()
    places = child.run(
        "kill_at_random",
        what="restore",
        source=backup.folder,
        places=tmp_path / "places",
        count=KILLS,
        seed=2,
    )
    assert len(places) == KILLS
    assert_restores_are_whole(backup, places, state_of(larger))


def test_the_same_folder_can_be_used_again(small: DocumentDatabase, tmp_path: Path) -> None:
    """What a killed backup has left beside it does not harm the next one, nor its restore."""
    (tmp_path / "backups" / "2026-01-01T000000.000Z.full").mkdir(parents=True)
    (tmp_path / "backups" / "2026-01-01T000000.000Z.full" / "documents-00001.parquet").write_bytes(b"PAR1")
    backup = small.maintenance.start_backup(tmp_path / "backups").wait()
    assert backups(tmp_path / "backups") == [backup]
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    with opened(tmp_path / "restored") as restored:
        assert state_of(restored) == state_of(small)
