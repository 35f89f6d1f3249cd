"""One notation names every moment of the backups."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from muniment import DocumentDatabase
from muniment.backup.moment import RestorePoint, point_of
from muniment.backup.plan import RestorePlan
from muniment.backup.repository import Backup, backups
from muniment.backup.restore_plan import plan_restore
from muniment.errors import BackupNotFound, InvalidInput, UnreachablePoint


@pytest.fixture
def chain(small: DocumentDatabase, backup: Backup) -> list[Backup]:
    """A full backup, and an incremental one with history of etags 12 to 14."""
    small.configure({"Muniment/History": "true"})
    for number in range(3):
        small.put("orders/1", {"lines": number})
    small.maintenance.start_backup(backup.folder.parent, incremental=True).wait()
    return list(backups(backup.folder.parent))


def plan_point(text: str, available: list[Backup], where: str) -> RestorePlan:
    return plan_restore(available, where, point_of(text, available, where, None, UTC, datetime.now(UTC)))


def test_points(chain: list[Backup]) -> None:
    first, last = chain
    middle = last.manifest.through - 1
    time = last.manifest.snapshot.time

    def named(text: str) -> object:
        return plan_point(text, chain, "backups")

    assert named("newest") == named(" Newest ") == plan_restore(chain, "", RestorePoint(backup=last.name))
    assert (
        named(str(middle))
        == named(f"etag:{middle}")
        == named(f"ETAG:{middle}")
        == plan_restore(chain, "", RestorePoint(etag=middle))
    )
    assert (
        named(first.name) == named(f"backup:{first.name}") == plan_restore(chain, "", RestorePoint(backup=first.name))
    )
    assert named(time) == named(f"time:{time}") == named(time.replace("Z", "+00:00")) == named("newest")


@pytest.mark.parametrize(
    "text", ["", "yesterday", "etag:", "etag:x", "etag:-1", f"{1 << 63}", "9" * 5000, "٣", "time:"]
)
def test_what_names_nothing(chain: list[Backup], text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan_point(text, chain, "backups")
    assert refused.value.hint


def test_what_names_no_moment_of_these(chain: list[Backup]) -> None:
    with pytest.raises(BackupNotFound):
        plan_point("backup:nowhere", chain, "backups")
    with pytest.raises(UnreachablePoint):
        plan_point("2020-01-01", chain, "backups")
    with pytest.raises(UnreachablePoint):
        plan_point("2", chain, "backups")


def test_a_folder_may_be_called_anything(chain: list[Backup]) -> None:
    """A backup whose folder somebody has renamed is still meant by its name, and a prefix tells it from an etag."""
    last = chain[-1]
    renamed = Backup(last.folder.with_name("14"), last.manifest, last.sha256)
    found = [chain[0], renamed]
    assert plan_point("14", found, "").backup == renamed
    assert plan_point("etag:14", found, "").upto == 14
