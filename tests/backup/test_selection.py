"""Parts of a moment: what is selected comes back, and nothing else, from files that are as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.repository import Backup
from muniment.backup.selection import Selection
from muniment.errors import DamagedBackup, InvalidInput
from tests.backup.damage import DOCUMENTS, Rows, flip, rewrite_rows, seal
from tests.backup.state import Seen, opened, seen_by_readers

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


@pytest.mark.parametrize("selection", [Selection.of(prefixes=("loose",)), Selection.of(collections=("Companies",))])
def test_collections_and_prefixes_are_proven_with_the_whole_moment(
    backup: Backup, tmp_path: Path, selection: Selection
) -> None:
    def change(rows: Rows) -> None:
        rows[0]["document"] = '{"lines":999}'

    rewrite_rows(backup.folder, DOCUMENTS, change)
    seal(backup.folder)
    with pytest.raises(DamagedBackup, match="fingerprint"):
        MaintenanceActions.restore(backup.folder, tmp_path / "no", selection=selection)
    assert not (tmp_path / "no").exists()


def test_ids_come_back_of_files_that_are_whole(small: DocumentDatabase, backup: Backup, tmp_path: Path) -> None:
    """Whatever changes in any file is refused: a newer revision could be in what can not be read."""
    small.put("companies/1", {"name": "newer"})
    small.put_attachment("companies/1/logo", b"logo" * 1_000_000)
    small.put_attachment("companies/2/logo", b"other")
    newer = small.maintenance.start_backup(backup.folder.parent, incremental=True).wait()
    whole = seen_by_readers(small)

    def restore(id: str) -> Seen:
        target = tmp_path / f"part-{len(list(tmp_path.iterdir()))}"
        MaintenanceActions.restore(backup.folder.parent, target, selection=Selection.of(ids=(id,)))
        with opened(target) as part:
            return seen_by_readers(part)

    both = {(0, "companies/1"), (1, "companies/1/logo")}
    assert restore("companies/1") == {key: whole[key] for key in both}
    assert restore("orders/1") == {(0, "orders/1"): whole[0, "orders/1"]}
    for file in (*backup.folder.glob("*.parquet"), *newer.folder.glob("*.parquet")):
        content = file.read_bytes()
        for position in (*range(4, len(content), len(content) // 9), *range(len(content) - 400, len(content), 7)):
            flip(file, position, position % 8)
            with pytest.raises(DamagedBackup, match=f"{file.name} was changed"):
                restore("loose")
            file.write_bytes(content)


def test_what_was_deleted_by_the_moment_does_not_come_back(
    small: DocumentDatabase, backup: Backup, tmp_path: Path
) -> None:
    small.delete("loose")
    small.maintenance.start_backup(backup.folder.parent, incremental=True).wait()
    for name, keys in ((None, set()), (backup.name, {(0, "loose")})):
        MaintenanceActions.restore(
            backup.folder.parent, tmp_path / f"{name}", backup=name, selection=Selection.of(ids=("loose",))
        )
        with opened(tmp_path / f"{name}") as part:
            assert set(seen_by_readers(part)) == keys


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        Selection.of(ids=("",))
