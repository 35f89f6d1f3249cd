"""Parts of a moment: what is selected comes back, nothing else, and the whole moment is proven all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.repository import Backup
from muniment.backup.selection import Selection
from muniment.errors import DamagedBackup, InvalidInput
from tests.backup.damage import DOCUMENTS, rewrite_rows, seal
from tests.backup.state import opened, seen_by_readers

ORDERS = {(0, "orders/1"), (0, "orders/2"), (0, "orders/3"), (0, "orders/4")}


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        (Selection.of(collections=("ORDERS",)), ORDERS),
        (Selection.of(ids=("Orders/2", "loose", "none")), {(0, "orders/2"), (0, "loose")}),
        (Selection.of(prefixes=("companies/", "ORDERS/4")), {(0, "companies/1"), (0, "orders/4")}),
        (Selection.of(ids=("photos/1",)), {(1, "photos/1")}),
        (Selection.of(ids=("photos",)), {(1, "photos/1"), (1, "photos/2")}),
        (Selection.of(prefixes=("nothing",)), set()),
        (None, ORDERS | {(0, "companies/1"), (0, "loose"), (1, "photos/1"), (1, "photos/2")}),
    ],
)
def test_what_is_selected_comes_back(
    small: DocumentDatabase, backup: Backup, tmp_path: Path, selection: Selection | None, keys: set[tuple[int, str]]
) -> None:
    whole = seen_by_readers(small)
    MaintenanceActions.restore(backup.folder, tmp_path / "part", selection=selection)
    with opened(tmp_path / "part") as part:
        assert seen_by_readers(part) == {key: whole[key] for key in keys}


def test_a_part_of_an_earlier_moment(database: DocumentDatabase, tmp_path: Path) -> None:
    database.configure({"Muniment/History": "true"})
    database.put("a", {"n": 0})
    database.maintenance.start_backup(tmp_path / "backups").wait()
    for number in (1, 2, 3):
        database.put("a", {"n": number})
        database.put("b", {"n": number})
    database.delete("a")
    database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "part", etag=4, selection=Selection.of(ids=("A",)))
    with opened(tmp_path / "part") as part:
        assert {key: seen[2] for key, seen in seen_by_readers(part).items()} == {(0, "a"): b'{"n":2}'}


def test_damage_elsewhere_in_the_moment_is_found(backup: Backup, tmp_path: Path) -> None:
    def change(rows: list[dict[str, object]]) -> None:
        rows[0]["document"] = '{"lines":999}'

    rewrite_rows(backup.folder, DOCUMENTS, change)
    seal(backup.folder)
    with pytest.raises(DamagedBackup, match="fingerprint"):
        MaintenanceActions.restore(backup.folder, tmp_path / "no", selection=Selection.of(ids=("loose",)))
    assert not (tmp_path / "no").exists()


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        Selection.of(ids=("",))
