"""Parts of a moment: what is selected comes back, and nothing else, from files that are as they were written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.repository import Backup
from muniment.backup.selection import Selection
from muniment.errors import DamagedBackup, DocumentNotFound, InvalidInput
from tests.backup.damage import DOCUMENTS, Rows, flip, rewrite_rows, seal
from tests.backup.state import Seen, opened, seen_by_readers

ORDERS = {(0, "orders/1"), (0, "orders/2"), (0, "orders/3"), (0, "orders/4")}


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        (Selection.of(collections=("ORDERS",)), ORDERS),
        (Selection.of(ids=("Orders/2", "loose")), {(0, "orders/2"), (0, "loose")}),
        (Selection.of(prefixes=("companies/", "ORDERS/4")), {(0, "companies/1"), (0, "orders/4")}),
        (Selection.of(ids=("photos/1",)), {(1, "photos/1")}),
        (Selection.of(ids=("photos",)), {(1, "photos/1"), (1, "photos/2")}),
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


@pytest.mark.parametrize(
    ("selection", "missing", "hint"),
    [
        ({"collections": ["Order"]}, "a collection 'order'", "did you mean Orders?"),
        ({"collections": ["Orders", "Compnies"]}, "a collection 'compnies'", "did you mean Companies?"),
        ({"collections": ["Elephants"]}, "a collection 'elephants'", "muniment inspect"),
        ({"ids": ["order/1"]}, "neither document nor attachment 'order/1'", "did you mean orders/1 or"),
        ({"ids": ["orders/1", "phots/1"]}, "'phots/1'", "did you mean photos/1"),
        ({"ids": ["orders/5"]}, "'orders/5'", "it was deleted before: `muniment inspect"),
        ({"ids": ["photos/3"]}, "'photos/3'", "it was deleted before: `muniment inspect"),
        ({"prefixes": ["oders/"]}, "begins with 'oders/'", "did you mean orders/?"),
        ({"prefixes": ["orders/", "zz"]}, "begins with 'zz'", "muniment inspect"),
        ({"prefixes": ["orders/"], "ids": ["orders/9"]}, "'orders/9'", "did you mean orders/"),
        ({"collections": ["Orders"], "ids": ["none"]}, "'none'", "muniment inspect"),
    ],
)
def test_what_matches_nothing_is_an_error_that_names_what_is_like_it(
    backup: Backup, tmp_path: Path, selection: dict[str, list[str]], missing: str, hint: str
) -> None:
    with pytest.raises(DocumentNotFound, match=re.escape(missing)) as caught:
        MaintenanceActions.restore(backup.folder, tmp_path / "new" / "part", selection=Selection.of(**selection))
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3
    assert not (tmp_path / "new").exists()


def test_a_collection_that_was_empty_at_a_moment(database: DocumentDatabase, tmp_path: Path) -> None:
    database.configure({"Muniment/History": "true"})
    database.maintenance.start_backup(tmp_path / "backups").wait()
    database.put("a/1", {}, {"Raven-Entity-Name": "A"})
    database.put("b/1", {}, {"Raven-Entity-Name": "B"})
    database.delete("a/1")
    database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    only_a = Selection.of(collections=["A"])
    for etag in (1, 2):
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / f"at {etag}", etag=etag, selection=only_a)
    with pytest.raises(DocumentNotFound):
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / "at 3", selection=only_a)
    with pytest.raises(DocumentNotFound, match="collection 'b'"):
        MaintenanceActions.restore(
            tmp_path / "backups", tmp_path / "early", etag=1, selection=Selection.of(collections=["B"])
        )
    assert not (tmp_path / "at 3").exists()
    assert not (tmp_path / "early").exists()


def test_what_is_only_in_the_database_is_found_there(small: DocumentDatabase, backup: Backup) -> None:
    """Restored into, it goes, since it was not there at the moment; what is nowhere is an error."""
    small.put("later/1", {}, {"Raven-Entity-Name": "Later"})
    for wanted in ({"ids": ["nowhere"]}, {"collections": ["Nowhere"]}, {"prefixes": ["nowhere"]}):
        with pytest.raises(DocumentNotFound, match="in the database and in the state of"):
            small.maintenance.restore_into(backup.folder, on_conflict="skip", selection=Selection.of(**wanted))
    for wanted in ({"ids": ["later/1"]}, {"collections": ["later"]}, {"prefixes": ["lat"]}):
        small.put("later/1", {}, {"Raven-Entity-Name": "Later"})
        small.maintenance.restore_into(backup.folder, on_conflict="overwrite", selection=Selection.of(**wanted))
        assert small.get("later/1") is None


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
    """Whatever changes in any file is refused: a newer revision could be in what cannot be read."""
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
    only = Selection.of(ids=("loose",))
    MaintenanceActions.restore(backup.folder.parent, tmp_path / "then", backup=backup.name, selection=only)
    with opened(tmp_path / "then") as part:
        assert set(seen_by_readers(part)) == {(0, "loose")}
    with pytest.raises(DocumentNotFound):
        MaintenanceActions.restore(backup.folder.parent, tmp_path / "now", selection=only)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        Selection.of(ids=("",))
