"""What was added, changed and deleted between two moments."""

from __future__ import annotations

from pathlib import Path

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.differences import Changes, differences
from tests.backup.state import opened


def test_differences_between_any_two_moments(database: DocumentDatabase, tmp_path: Path) -> None:
    database.configure({"Muniment/History": "true"})

    def back_up() -> str:
        return database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait().name

    orders = {"Raven-Entity-Name": "Orders"}
    for id in ("orders/1", "Orders/2", "orders/3"):
        database.put(id, {"n": 1}, orders)
    database.put("loose", {})
    database.put_attachment("photos/1", b"1")
    first = back_up()
    database.put("orders/1", {"n": 2}, orders)
    database.delete("orders/2")
    middle = database.snapshot().etag
    database.put("orders/4", {"n": 1}, orders)
    database.put("gone", {})
    database.delete("gone")
    database.put_attachment("photos/1", b"2")
    database.put_attachment("photos/2", b"2")
    database.delete("loose")
    second = back_up()

    def between(before: dict[str, object], after: dict[str, object]) -> list[Changes]:
        plans = [MaintenanceActions.plan_restore(tmp_path / "backups", **at) for at in (before, after)]  # type: ignore[arg-type]
        return differences(plans[0], plans[1]).changes

    assert between({"backup": first}, {"backup": second}) == [
        Changes(0, "", deleted=["loose"]),
        Changes(0, "Orders", ["orders/4"], ["orders/1"], ["Orders/2"]),
        Changes(1, "", ["photos/2"], ["photos/1"]),
    ]
    assert between({"backup": first}, {"etag": middle}) == [Changes(0, "Orders", [], ["orders/1"], ["Orders/2"])]
    assert between({"etag": middle}, {"backup": first}) == [Changes(0, "Orders", ["Orders/2"], ["orders/1"], [])]
    assert between({"backup": second}, {}) == []


def test_a_moment_of_a_restored_database_compares_with_one_before(small: DocumentDatabase, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    first = small.maintenance.start_backup(folder).wait()
    MaintenanceActions.restore(folder, tmp_path / "again")
    with opened(tmp_path / "again") as again:
        again.put("orders/1", {"lines": "after the restore"})
        again.maintenance.start_backup(folder, incremental=True).wait()
    plans = [MaintenanceActions.plan_restore(folder, backup=first.name), MaintenanceActions.plan_restore(folder)]
    (changes,) = differences(plans[0], plans[1]).changes
    assert (changes.added, changes.changed, changes.deleted) == ([], ["orders/1"], [])
