"""Restoring into a database that is in use: what is compared, what each policy writes, and what is never written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put
from muniment.backup.compare import Action
from muniment.backup.plan import RestorePlan
from muniment.backup.repository import Backup
from muniment.backup.restore import restore
from muniment.backup.restore_into import OnConflict, compared
from muniment.backup.selection import Selection
from muniment.errors import (
    Cancelled,
    Conflict,
    DamagedBackup,
    DocumentNotFound,
    ForeignBackup,
    InvalidInput,
    StorageFailure,
    UnreachablePoint,
)
from muniment.progress import Progress
from muniment.revision import ATTACHMENT
from muniment.storage.sqlite.store import SqliteStorage
from tests.backup.damage import DOCUMENTS, rewrite_rows, seal
from tests.backup.state import Seen, opened, seen_by_readers, state_of

ORDERS = {"Raven-Entity-Name": "Orders"}


@pytest.fixture
def before(small: DocumentDatabase, backup: Backup) -> Seen:
    """What `small` held when it was backed up; since then it has lost, changed and got documents and attachments."""
    seen = seen_by_readers(small)
    small.delete("orders/1")
    small.put("orders/2", {"lines": 99}, ORDERS)
    small.put("orders/9", {"lines": 9}, ORDERS)
    small.put("companies/1", {"name": "Zajazd"}, {"Raven-Entity-Name": "Companies", "Checked": True})
    small.delete_attachment("photos/1")
    small.put_attachment("photos/2", b"not empty", {"Raven-Entity-Name": "Photos"})
    small.put_attachment("photos/9", b"new")
    return seen


def found(database: DocumentDatabase, backup: Backup, selection: Selection | None = None) -> dict[Action, list[str]]:
    with database.maintenance.compare(backup.folder, selection=selection) as comparison:
        changes = comparison.difference.changes
    actions: tuple[Action, ...] = ("added", "changed", "deleted")
    return {action: [id for each in changes for id in getattr(each, action)] for action in actions}


def test_the_difference_by_kind_and_collection(small: DocumentDatabase, backup: Backup, before: Seen) -> None:
    left = state_of(small)
    with small.maintenance.compare(backup.folder) as comparison:
        told = comparison.difference.as_json()
    assert told["etag"] == backup.manifest.through
    assert told["time"] == backup.manifest.snapshot.time
    assert (told["added"], told["changed"], told["deleted"]) == (2, 3, 2)
    assert told["changes"] == [
        {"kind": kind, "collection": name, "added": added, "changed": changed, "deleted": deleted}
        for kind, name, added, changed, deleted in (
            ("document", "Companies", [], ["companies/1"], []),
            ("document", "Orders", ["orders/1"], ["orders/2"], ["orders/9"]),
            ("attachment", None, ["photos/1"], [], ["photos/9"]),
            ("attachment", "Photos", [], ["photos/2"], []),
        )
    ]
    assert state_of(small) == left
    assert {path.name for path in small.path.iterdir()} <= {
        *("muniment.db", "muniment.db-wal", "muniment.db-shm", "muniment.lock", "muniment.reach")
    }


def test_overwrite_makes_everything_what_it_was(small: DocumentDatabase, backup: Backup, before: Seen) -> None:
    last = small.snapshot().etag
    restored = small.maintenance.restore_into(backup.folder, on_conflict="overwrite")
    assert (restored.written, restored.etag) == (7, last + 7)
    assert seen_by_readers(small) == before
    written = [item for item in state_of(small).values() if item.etag > last]
    assert len({item.modified for item in written}) == 1  # one transaction
    again = small.maintenance.restore_into(backup.folder, on_conflict="fail")
    assert (again.written, again.etag, again.difference.changes) == (0, None, ())
    assert small.snapshot().etag == last + 7


def test_skip_only_adds(small: DocumentDatabase, backup: Backup, before: Seen) -> None:
    live = seen_by_readers(small)
    restored = small.maintenance.restore_into(backup.folder, on_conflict="skip")
    assert restored.written == 2
    assert seen_by_readers(small) == live | {key: before[key] for key in ((0, "orders/1"), (ATTACHMENT, "photos/1"))}


def test_fail_writes_nothing_when_anything_differs(small: DocumentDatabase, backup: Backup, before: Seen) -> None:
    live = state_of(small)
    with pytest.raises(Conflict, match=r"^5 of .*companies/1 was changed, orders/2 was changed") as error:
        small.maintenance.restore_into(backup.folder, on_conflict="fail")
    assert "skip" in error.value.hint
    assert state_of(small) == live
    lost = Selection.of(ids=("orders/1", "photos/1"))
    assert small.maintenance.restore_into(backup.folder, on_conflict="fail", selection=lost).written == 2


@pytest.mark.parametrize("policy", ["", "Skip", "merge"])
def test_a_policy_that_there_is_not(small: DocumentDatabase, backup: Backup, policy: OnConflict) -> None:
    with pytest.raises(InvalidInput, match="not a way to treat differences"):
        small.maintenance.restore_into(backup.folder, on_conflict=policy)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection.of(("orders",)), (["orders/1"], ["orders/2"], ["orders/9"])),
        (Selection.of(ids=("ORDERS/1", "loose")), (["orders/1"], [], [])),
        (Selection.of(ids=("photos",)), (["photos/1"], ["photos/2"], ["photos/9"])),
        (Selection.of(prefixes=("C", "photos/1")), (["photos/1"], ["companies/1"], [])),
        (Selection.of(("Companies",), ("orders/9",)), ([], ["companies/1"], ["orders/9"])),
    ],
)
def test_only_what_is_selected(
    small: DocumentDatabase, backup: Backup, before: Seen, selection: Selection, expected: tuple[list[str], ...]
) -> None:
    live = seen_by_readers(small)
    assert tuple(found(small, backup, selection).values()) == expected
    small.maintenance.restore_into(backup.folder, on_conflict="overwrite", selection=selection)
    touched = {(kind, id) for ids in expected for id in ids for kind in (0, 1)}
    assert seen_by_readers(small) == {
        key: (before if key in touched else live)[key]
        for key in before.keys() | live.keys()
        if key in (before if key in touched else live)
    }


@pytest.mark.usefixtures("before")
def test_ids_that_are_nowhere_are_told(small: DocumentDatabase, backup: Backup) -> None:
    asked = Selection.of(ids=("orders/1", "orders/9", "photos", "Orders/777"))
    with (
        pytest.raises(DocumentNotFound, match=r"neither document nor attachment 'orders/777'"),
        small.maintenance.compare(backup.folder, selection=asked),
    ):
        pass


@pytest.mark.parametrize(
    "metadata", [b"{}", b"{ }", b' \n{ "Raven-Entity-Name" : "Orders", "n":1.10 }', b'{"Last":"x"}\n', b'{"a":{}}']
)
def test_times_metadata_and_bytes_come_back_exactly(
    database: DocumentDatabase, tmp_path: Path, metadata: bytes
) -> None:
    body = b' {"price": 1.10 ,\n "name":"S\xc3\xa3o"} '
    database.put("a", body, metadata)
    database.put_attachment("a/b", b"\x00" * 3_000_000, metadata)
    document, attachment = database.get("a"), database.get_attachment("a/b")
    assert document is not None
    assert attachment is not None
    for number in range(2):  # what was restored is backed up and restored again
        database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
        database.delete("a")
        database.put_attachment("a/b", b"other")
        database.maintenance.restore_into(tmp_path / "backups", on_conflict="overwrite")
        back, file = database.get("a"), database.get_attachment("a/b")
        assert back is not None
        assert file is not None
        assert (back.body, back.metadata_json, back.changed) == (body, metadata, document.changed), number
        assert back.last_modified == document.last_modified
        assert (file.metadata_json, file.changed, file.read()) == (metadata, attachment.changed, b"\x00" * 3_000_000)
        assert back.collection == document.collection
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "elsewhere")
    with opened(tmp_path / "elsewhere") as other:
        elsewhere = other.get("a")
        assert elsewhere is not None
        assert (elsewhere.metadata_json, elsewhere.changed) == (metadata, document.changed)


def test_a_moment_inside_a_chain(database: DocumentDatabase, tmp_path: Path) -> None:
    database.configure({"Muniment/History": "true"})
    for number in range(3):
        database.put("a", {"n": number})
        if number != 1:
            database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    restored = database.maintenance.restore_into(tmp_path / "backups", on_conflict="overwrite", etag=2)
    assert restored.difference.moment.etag == 2
    document = database.get("a")
    assert document is not None
    assert document.json() == {"n": 1}
    with pytest.raises(UnreachablePoint):
        database.maintenance.restore_into(tmp_path / "backups", on_conflict="overwrite", etag=99)
    with pytest.raises(InvalidInput, match="each name a moment"):
        database.maintenance.restore_into(tmp_path / "backups", on_conflict="skip", etag=2, backup="x")


def test_a_document_that_changed_its_collection(database: DocumentDatabase, tmp_path: Path) -> None:
    """It is put back where it was, whichever of the two is selected, and never deleted."""
    for id, collection in (("a", "Here"), ("b", "There")):
        database.put(id, {}, {"Raven-Entity-Name": collection})
    backup = database.maintenance.start_backup(tmp_path / "backups").wait()
    before = seen_by_readers(database)
    for id, collection in (("a", "There"), ("b", "Here"), ("new", "Here")):
        database.put(id, {}, {"Raven-Entity-Name": collection})
    database.put_attachment("b/x", b"of no collection")
    assert found(database, backup, Selection.of(("here",))) == {
        "added": [],
        "changed": ["a", "b"],
        "deleted": ["new"],
    }
    kept = {(ATTACHMENT, "b/x"): seen_by_readers(database)[ATTACHMENT, "b/x"]}
    database.maintenance.restore_into(backup.folder, on_conflict="overwrite", selection=Selection.of(("here",)))
    assert seen_by_readers(database) == before | kept


def test_a_document_that_comes_into_a_collection_while_it_is_read(database: DocumentDatabase, tmp_path: Path) -> None:
    """What it was is read too, when it is found to have come."""
    database.put("a", {}, {"Raven-Entity-Name": "There"})
    database.put("b", {}, {"Raven-Entity-Name": "Here"})
    backup = database.maintenance.start_backup(tmp_path / "backups").wait()
    plan = MaintenanceActions.plan_restore(backup.folder)

    def read(plan: RestorePlan, target: Path, selection: Selection | None, progress: Progress, key: object) -> None:
        restore(plan, target, selection=selection)
        if target.name == "moment":
            database.put("a", {}, {"Raven-Entity-Name": "Here"})
            database.delete("b")

    with compared(database.storage, plan, tmp_path, selection=Selection.of(("Here",)), read=read) as comparison:
        here, there = comparison.difference.changes
        assert (here.added, there.changed) == (["b"], ["a"])
        comparison.write("overwrite")
    assert [document.collection for document in database.by_prefix("")] == ["There", "Here"]


def test_ids_in_another_case_are_the_same(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("Orders/1", {"n": 1})
    database.put("STRAẞE", {"n": 2})
    backup = database.maintenance.start_backup(tmp_path / "backups").wait()
    with DocumentDatabase(tmp_path / "other") as other:
        other.put("orders/1", {"n": 1})
        other.put("straße", {"n": 3})
        with other.maintenance.compare(backup.folder, other_database=True) as comparison:
            assert [each.changed for each in comparison.difference.changes] == [["straße"]]
            comparison.write("overwrite")
        document = other.get("Straße")
        assert document is not None
        assert (document.id, document.json()) == ("straße", {"n": 2})
        with other.maintenance.compare(backup.folder, other_database=True) as comparison:
            assert comparison.difference.changes == ()


def test_backups_of_another_database(small: DocumentDatabase, backup: Backup, tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "other") as other:
        with pytest.raises(ForeignBackup, match="another database, 'shop'") as error:
            other.maintenance.restore_into(backup.folder, on_conflict="skip")
        assert "--other-database" in error.value.hint
        assert not other.statistics().documents
        other.maintenance.restore_into(backup.folder, on_conflict="skip", other_database=True)
        assert seen_by_readers(other) == seen_by_readers(small)
    MaintenanceActions.restore(backup.folder, tmp_path / "copy")
    with opened(tmp_path / "copy") as copy:  # keeps the id of what it was restored from
        copy.delete("loose")
        assert copy.maintenance.restore_into(backup.folder, on_conflict="skip").written == 1


@pytest.mark.parametrize("change", ["create", "change", "delete", "attach"])
def test_what_is_written_after_the_comparison_is_kept(
    small: DocumentDatabase, backup: Backup, before: Seen, change: str
) -> None:
    with small.maintenance.compare(backup.folder) as comparison:
        match change:
            case "create":
                small.put("orders/1", {"lines": "mine"}, ORDERS)
            case "change":
                small.put("orders/2", {"lines": "mine"}, ORDERS)
            case "delete":
                small.delete("companies/1")
            case "attach":
                small.put_attachment("photos/9", b"mine")
        live = state_of(small)
        with pytest.raises(Conflict, match="somebody else") as error:
            comparison.write("overwrite")
        assert error.type is Conflict
        assert "again" in error.value.hint
        assert state_of(small) == live
        assert staged(small) == 0
    small.maintenance.restore_into(backup.folder, on_conflict="overwrite")
    assert seen_by_readers(small) == before


def test_a_comparison_is_written_once(small: DocumentDatabase, backup: Backup, before: Seen) -> None:
    with small.maintenance.compare(backup.folder) as comparison:
        with pytest.raises(Conflict, match="differ"):
            comparison.write("fail")
        comparison.write("skip")
        live = state_of(small)
        with pytest.raises(Conflict, match="somebody else"):
            comparison.write("overwrite")
        assert state_of(small) == live
        assert staged(small) == 0


def test_what_goes_wrong_within_a_comparison_is_not_taken_for_ours(small: DocumentDatabase, backup: Backup) -> None:
    with pytest.raises(FileNotFoundError), small.maintenance.compare(backup.folder):
        Path("nowhere").read_bytes()
    assert not list(small.path.glob("restoring-*"))


def test_other_documents_may_be_written_meanwhile(small: DocumentDatabase, backup: Backup, before: Seen) -> None:
    with small.maintenance.compare(backup.folder) as comparison:
        small.put("loose/2", {"mine": 1})
        comparison.write("overwrite")
    document = small.get("loose/2")
    assert document is not None
    small.delete("loose/2")
    assert seen_by_readers(small) == before


def staged(database: DocumentDatabase) -> int:
    assert isinstance(database.storage, SqliteStorage)
    with database.storage._reader.connection() as connection:
        return int(connection.execute("SELECT count(*) FROM content WHERE staged = 1").get)


class Stops(Progress):
    """Is cancelled when a job that is in this stage has come so far."""

    def __init__(self, stage: str, steps: int) -> None:
        super().__init__()
        self._at = stage
        self._left = steps

    def check(self) -> None:
        if self.stage == self._at:
            self._left -= 1
            if self._left <= 0:
                self.cancel()
        super().check()


@pytest.mark.parametrize(
    ("stage", "steps"), [("reading documents", 1), ("comparing", 3), ("writing", 1), ("writing", 2)]
)
def test_cancelled_it_leaves_everything_as_it_was(
    small: DocumentDatabase, backup: Backup, before: Seen, stage: str, steps: int
) -> None:
    live = state_of(small)
    with pytest.raises(Cancelled):
        small.maintenance.restore_into(backup.folder, on_conflict="overwrite", progress=Stops(stage, steps))
    assert state_of(small) == live
    assert staged(small) == 0
    assert not list(small.path.glob("restoring-*"))
    small.maintenance.restore_into(backup.folder, on_conflict="overwrite")
    assert seen_by_readers(small) == before


def test_many_batches_are_one_transaction(database: DocumentDatabase, tmp_path: Path) -> None:
    database.batch([Put(f"n/{number}", {"n": number}) for number in range(2500)])
    backup = database.maintenance.start_backup(tmp_path / "backups").wait()
    before = seen_by_readers(database)
    database.batch([Put(f"n/{number}", {"changed": number}) for number in range(2500)])
    live = state_of(database)
    with pytest.raises(Cancelled):  # two batches have been written
        database.maintenance.restore_into(backup.folder, on_conflict="overwrite", progress=Stops("writing", 3))
    assert state_of(database) == live
    database.maintenance.restore_into(backup.folder, on_conflict="overwrite")
    assert seen_by_readers(database) == before
    assert len({item.modified for item in state_of(database).values()}) == 1


def test_a_damaged_backup_restores_nothing(small: DocumentDatabase, backup: Backup, before: Seen) -> None:
    def change(rows: list[dict[str, object]]) -> None:
        rows[0]["document"] = '{"lines":999}'

    rewrite_rows(backup.folder, DOCUMENTS, change)
    seal(backup.folder)
    live = state_of(small)
    for selection in (None, Selection.of(("Companies",))):
        with pytest.raises(DamagedBackup, match="fingerprint"):
            small.maintenance.restore_into(backup.folder, on_conflict="overwrite", selection=selection)
    assert state_of(small) == live
    assert not list(small.path.glob("restoring-*"))


@pytest.fixture
def read_only(small: DocumentDatabase, backup: Backup, before: Seen) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(small.path, read_only=True) as reading:
        yield reading


def test_another_process_may_only_compare(read_only: DocumentDatabase, backup: Backup) -> None:
    assert found(read_only, backup)["added"] == ["orders/1", "photos/1"]
    with pytest.raises(StorageFailure, match="only for reading"):
        read_only.maintenance.restore_into(backup.folder, on_conflict="skip")
    assert not list(read_only.path.glob("restoring-*"))


def test_what_a_killed_restore_has_left_is_gone_when_the_database_is_opened(small: DocumentDatabase) -> None:
    left = small.path / "restoring-abcd1234" / "moment.restoring"
    left.mkdir(parents=True)
    (left / "muniment.db").write_bytes(b"half")
    with DocumentDatabase(small.path, read_only=True):
        assert left.exists()  # somebody else may be working there
    small.close()
    with opened(small.path):
        assert not list(small.path.glob("restoring-*"))
