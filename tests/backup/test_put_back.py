"""Databases whose files were put back or copied, and what of their history other chains wait for."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.repository import Backup
from muniment.errors import AmbiguousPoint
from tests.clock import Clock

HISTORY = {"Muniment/History": "true"}


def filled(folder: Path, clock: Clock, prefix: str, *, incremental: bool = True) -> Backup:
    """Ten more documents, and a backup of them."""
    with DocumentDatabase(folder, clock=clock) as database:
        database.configure(HISTORY)
        for number in range(10):
            database.put(f"{prefix}/{number}", {})
        return database.maintenance.start_backup(folder.with_name("backups"), incremental=incremental).wait()


def ids(folder: Path) -> set[str]:
    with DocumentDatabase(folder) as database:
        return {document.id.partition("/")[0] for document in database.by_prefix("", limit=100)}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


def test_a_state_put_back_to_a_known_backup_begins_a_branch(shop: Path, tmp_path: Path, clock: Clock) -> None:
    filled(shop, clock, "a", incremental=False)
    shutil.copytree(shop, tmp_path / "copy")
    second = filled(shop, clock, "b")
    shutil.rmtree(shop)
    shutil.copytree(tmp_path / "copy", shop)
    third = filled(shop, clock, "c")
    assert third.manifest.kind == "full"
    assert "put back, or copied" in third.manifest.reason
    backups = tmp_path / "backups"
    with pytest.raises(AmbiguousPoint):  # the tenth document after the first backup, of either history
        MaintenanceActions.restore(backups, tmp_path / "guessed", etag=second.manifest.through)
    at = datetime.fromisoformat(second.manifest.snapshot.time)
    MaintenanceActions.restore(backups, tmp_path / "then", at=at)
    assert ids(tmp_path / "then") == {"a", "b"}


def test_a_copy_that_goes_on_never_continues_the_chain_of_the_other(shop: Path, tmp_path: Path, clock: Clock) -> None:
    filled(shop, clock, "a", incremental=False)
    shutil.copytree(shop, tmp_path / "copy")
    filled(shop, clock, "b")
    copied = filled(tmp_path / "copy", clock, "c")
    assert copied.manifest.kind == "full"
    again = filled(shop, clock, "d")
    assert again.manifest.kind == "full"
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "whole", backup=again.name)
    assert ids(tmp_path / "whole") == {"a", "b", "d"}


def test_a_full_backup_elsewhere_leaves_the_history_that_a_chain_waits_for(
    database: DocumentDatabase, tmp_path: Path
) -> None:
    database.configure(HISTORY)
    database.put("x", {"v": 1})
    first = database.maintenance.start_backup(tmp_path / "backups").wait()
    for version in range(2, 6):
        database.put("x", {"v": version})
    database.maintenance.start_backup(tmp_path / "elsewhere").wait()
    database.storage.purge()
    second = database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    assert second.manifest.history_from == second.manifest.after == first.manifest.through
    assert second.manifest.counts.documents == 4


@pytest.mark.parametrize("cut", [None, 100])
@pytest.mark.parametrize("place", [0, -1])
def test_a_chain_that_lost_a_file_is_not_continued(
    database: DocumentDatabase, tmp_path: Path, cut: int | None, place: int
) -> None:
    chain = []
    for number in range(3):
        database.put(f"a/{number}", {})
        chain.append(database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait())
    file = chain[place].folder / "documents-00001.parquet"
    if cut is None:
        file.unlink()
    else:
        os.truncate(file, cut)
    database.put("later", {})
    found = database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    assert found.manifest.kind == "full"
    assert str(file) in found.manifest.reason
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "again")
    assert ids(tmp_path / "again") == {"a", "later"}
