"""Incremental exports: importing the folder gives the state at the last of them, whatever happened in between."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.errors import Busy, Cancelled, ForeignBackup, InvalidInput, StorageFailure, UnknownFormat
from muniment.exporting import export_incremental
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.smuggler.folder import STATE, held, import_folder
from muniment.smuggler.importer import import_dump
from muniment.smuggler.options import SmugglerOptions
from muniment.smuggler.reader import DumpDeletion, open_dump
from muniment.smuggler.summary import Exported, Imported
from tests.clock import Clock
from tests.smuggler.dumps import blake2b
from tests.storage.reference import lowered
from tests.test_exporting import DUMPS, contents, fill

HOUR = 3_600_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(tmp_path / "db", clock=Clock(step=HOUR)) as database:
        yield database


def export(database: DocumentDatabase, tmp_path: Path, **options: Any) -> Exported:
    return export_incremental(database.storage, tmp_path / "out", clock=database.clock, **options)


def imported(source: Path, folder: Path) -> tuple[DocumentDatabase, Imported]:
    database = DocumentDatabase(folder)
    found = import_folder(source, lambda path: import_dump(database.storage, path))
    assert found.skipped == {}
    assert database.check() == []
    return database, found


@pytest.mark.parametrize("format", DUMPS)
def test_changes_and_deletions_are_carried(database: DocumentDatabase, tmp_path: Path, format: Any) -> None:
    fill(database)
    first = export(database, tmp_path, format=format)
    database.put("orders/1", {"changed": 1})
    database.delete("Orders/2")
    database.put("new", {})
    database.put("born and gone", {})
    database.delete("born and gone")
    database.put("people/", {})
    database.delete_attachment("logo")
    database.delete_attachment("orders/1/a.png")
    database.put_attachment("nobody/6", b"6")
    second = export(database, tmp_path, format=format)
    assert (first.kind, first.reason, second.kind, second.reason) == ("full", "the first export", "incremental", "")
    assert (second.documents, second.deletions, second.identities) == (3, 4, 1)
    copy, found = imported(tmp_path / "out", tmp_path / "copy")
    with copy:
        assert contents(copy) == contents(database)
        assert found.deletions == 4


@pytest.mark.parametrize("format", DUMPS)
@pytest.mark.parametrize("seed", range(4))
def test_any_history(database: DocumentDatabase, tmp_path: Path, format: Any, seed: int) -> None:
    chance = random.Random(seed)
    ids = ["a", "a/1", "a/1/2", "B", "b/Ü"]
    for step in range(6):
        for _ in range(chance.randrange(1, 12)):
            id = chance.choice(ids)
            match chance.randrange(5):
                case 0 | 1:
                    database.put(chance.choice((id, id.upper())), {"n": chance.random()})
                case 2:
                    database.delete(id)
                case 3:
                    database.put_attachment(f"{id}/{chance.choice('xy')}", bytes([chance.randrange(3)]) * 5)
                case 4:
                    database.delete_attachment(f"{id}/{chance.choice('xy')}")
        summary = export(database, tmp_path, format=format)
        assert summary.kind == ("incremental" if step else "full")
        copy, _ = imported(tmp_path / "out", tmp_path / f"copy{step}")
        with copy:
            assert folded(contents(copy)) == folded(contents(database))


def folded(state: dict[str, Any]) -> dict[str, Any]:
    return {kind: {lowered(id): value for id, value in found.items()} for kind, found in state.items()}


def test_a_document_comes_with_an_attachment_that_changed(database: DocumentDatabase, tmp_path: Path) -> None:
    """RavenDB takes an attachment only with its document."""
    database.put("a/1", {})
    database.put("a/2", {})
    database.put_attachment("a/1/x", b"x")
    database.put_attachment("a/1/y", b"y")
    export(database, tmp_path)
    database.put_attachment("a/1/x", b"xx")
    summary = export(database, tmp_path)
    assert (summary.documents, summary.attachments) == (1, 2)


def test_a_document_comes_with_what_is_left_of_its_attachments(database: DocumentDatabase, tmp_path: Path) -> None:
    """RavenDB deletes an attachment, but leaves it in the list of its document."""
    for id in ("a/1", "a/2"):
        database.put(id, {})
        for name in ("x", "y"):
            database.put_attachment(name, name.encode(), owner=id)
    export(database, tmp_path)
    for name in ("x", "y"):
        database.delete_attachment(name, owner="a/1")
    database.delete_attachment("x", owner="a/2")
    database.put_attachment("z", b"z", owner="a/2")
    summary = export(database, tmp_path)
    assert (summary.documents, summary.attachments, summary.deletions) == (2, 2, 3)
    database.put("a/1", {"n": 1})
    database.put_attachment("x", b"x", owner="a/1")
    database.delete_attachment("x", owner="a/1")
    assert export(database, tmp_path).documents == 1
    with DocumentDatabase(tmp_path / "copy") as copy:
        import_folder(tmp_path / "out", copy.import_dump)
        assert copy.snapshot().fingerprint.count(1) == database.snapshot().fingerprint.count(1) == 2


def test_tombstones_have_the_shape_that_ravendb_reads(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("Orders/1", {}, {"Raven-Entity-Name": "Orders"})
    database.put_attachment("Orders/1/a/b.png", b"")
    database.put_attachment("logo", b"", {"Content-Type": "t/1"})
    export(database, tmp_path)
    database.delete("Orders/1")
    database.delete_attachment("Orders/1/a/b.png")
    database.delete_attachment("logo")
    summary = export(database, tmp_path, compression="none")
    assert summary.file is not None
    text = Path(summary.file).read_bytes()
    tombstones = json.loads(text)["Tombstones"]
    assert tombstones[0] == {
        "Key": "orders/1",
        "Type": "Document",
        "Collection": "Orders",
        "Flags": "None",
        "ChangeVector": None,
        "DeletedEtag": 0,
        "Etag": 0,
        "LastModified": tombstones[0]["LastModified"],
    }
    nothing = blake2b(b"")
    assert [(each["Type"], each["Key"], each["Collection"]) for each in tombstones[1:]] == [
        ("Document", "files/orders/1/a/b.png", "@files"),
        ("Attachment", f"files/orders/1/a/b.png\x1ed\x1eorders/1/a/b.png\x1e{nothing}\x1e", None),
        ("Document", "files/logo", "@files"),
        ("Attachment", f"files/logo\x1ed\x1elogo\x1e{nothing}\x1et/1", None),
    ]
    with open_dump(io.BytesIO(text)) as dump:
        deleted = [(item.id, item.attachment) for item in dump if isinstance(item, DumpDeletion)]
    assert deleted == [("orders/1", False), ("Orders/1/a/b.png", True), ("logo", True)]


def test_nothing_new_writes_nothing(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("a", {})
    export(database, tmp_path)
    before = sorted((tmp_path / "out").iterdir())
    summary = export(database, tmp_path)
    assert (summary.file, summary.reason) == (None, "nothing has changed")
    assert sorted((tmp_path / "out").iterdir()) == before


def test_another_part_is_refused(database: DocumentDatabase, tmp_path: Path) -> None:
    """What the exports before it have left out would never be carried."""
    database.put("orders/1", {}, {"Raven-Entity-Name": "Orders"})
    database.put("users/1", {}, {"Raven-Entity-Name": "Users"})
    orders = SmugglerOptions.of(collections=["Orders"])
    assert export(database, tmp_path, options=orders).documents == 1
    for other in (None, SmugglerOptions.of(collections=["Users"]), SmugglerOptions.of(ids=["Orders"])):
        with pytest.raises(InvalidInput, match="another part"):
            export(database, tmp_path, options=other)
    database.put("orders/2", {}, {"Raven-Entity-Name": "Orders"})
    assert export(database, tmp_path, options=orders).documents == 1
    state = json.loads((tmp_path / "out" / STATE).read_bytes())
    del state["choice"]
    (tmp_path / "out" / STATE).write_text(json.dumps(state))  # as older versions wrote it
    assert export(database, tmp_path).reason == "nothing has changed"


def test_another_database_is_refused(database: DocumentDatabase, tmp_path: Path) -> None:
    export(database, tmp_path)
    with DocumentDatabase(tmp_path / "other") as other, pytest.raises(ForeignBackup):
        export_incremental(other.storage, tmp_path / "out")


def test_what_might_be_missed_makes_a_full_export(database: DocumentDatabase, tmp_path: Path) -> None:
    """And an import begins with the last full one, so that what was deleted in between does not come back."""
    database.put("a", {})
    database.put("b", {})
    export(database, tmp_path)
    MaintenanceActions(database.storage, "db", Clock(step=HOUR)).start_backup(tmp_path / "backups").wait()
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored")
    with DocumentDatabase(tmp_path / "restored", clock=database.clock) as restored:
        restored.delete("a")
        summary = export(restored, tmp_path)
        assert (summary.kind, summary.reason) == ("full", "the database was restored since the last export")
        assert summary.file is not None
        copy, _ = imported(tmp_path / "out", tmp_path / "copy")
        with copy:
            assert contents(copy) == contents(restored)
        restored.put("c", {})
        Path(summary.file).unlink()
        assert export(restored, tmp_path).reason.endswith(".full.ravendbdump is not there any more")


def test_forgotten_deletions_make_a_full_export(database: DocumentDatabase, tmp_path: Path) -> None:
    for id in ("a", "b", "c"):
        database.put(id, {})
    export(database, tmp_path)
    database.delete("a")
    database.put("d", {})
    database.configure({"Muniment/TombstoneWindow": "60s"})  # the clock makes hours of every look
    database.storage.purge()
    forgotten = database.snapshot().tombstones_from
    assert forgotten > 3
    summary = export(database, tmp_path)
    assert (summary.kind, summary.reason) == ("full", f"deletions through etag {forgotten} are forgotten")
    copy, _ = imported(tmp_path / "out", tmp_path / "copy")
    with copy:
        assert contents(copy) == contents(database)
    database.delete("b")
    assert export(database, tmp_path).kind == "incremental"


def test_a_failed_export_leaves_the_folder_as_it_was(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("a", {})
    export(database, tmp_path)
    database.put("b", {})
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        export(database, tmp_path, progress=progress)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert export(database, tmp_path).documents == 1


def test_names_follow_each_other_when_the_clock_goes_back(database: DocumentDatabase, tmp_path: Path) -> None:
    for n in range(4):
        database.put("a", {"n": n})
        export_incremental(database.storage, tmp_path / "out", clock=lambda n=n: (9 - n) * HOUR)  # type: ignore[misc]
    copy, _ = imported(tmp_path / "out", tmp_path / "copy")
    with copy:
        assert contents(copy) == contents(database)


def test_two_exports_at_once_are_refused(database: DocumentDatabase, tmp_path: Path) -> None:
    with held(tmp_path / "out"), pytest.raises(Busy):
        export(database, tmp_path)


def test_a_state_that_is_none(database: DocumentDatabase, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / STATE).write_bytes(b'{"database":1}')
    with pytest.raises(UnknownFormat, match="is not the state"):
        export(database, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "ndjson"},
        {"format": "csv"},
        {"options": SmugglerOptions(limit=1)},
        {"options": SmugglerOptions(start_etag=1)},
    ],
)
def test_what_makes_no_sense(database: DocumentDatabase, tmp_path: Path, options: Any) -> None:
    with pytest.raises(InvalidInput):
        export(database, tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder(database: DocumentDatabase, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(StorageFailure):
        export(database, tmp_path)


def test_folders_of_ravendb_are_imported_in_their_order(tmp_path: Path) -> None:
    """Its incremental exports are numbered within a minute, and its backups have what they are in their name."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, n in (
        ("2015-01-01-10-10-0.ravendb-incremental-dump", 0),
        ("2015-01-01-10-10-9.ravendb-incremental-dump", 1),
        ("2015-01-01-10-10-10.ravendb-incremental-dump", 2),
    ):
        (folder / name).write_bytes(b'{"Docs":[{"n":%d,"@metadata":{"@id":"a"}},{"@metadata":{"@id":"%d"}}]}' % (n, n))
    (folder / "IncrementalExport.state.json").write_bytes(b"{}")
    copy, _ = imported(folder, tmp_path / "copy")
    with copy:
        assert [(d.id, d.body) for d in copy.by_prefix("")] == [
            ("0", b"{}"),
            ("1", b"{}"),
            ("2", b"{}"),
            ("a", b'{"n":2}'),
        ]
    (folder / "2016-01-01-10-10-10.ravendb-full-backup").write_bytes(b'{"Docs":[{"@metadata":{"@id":"f"}}]}')
    with imported(folder, tmp_path / "full")[0] as full:
        assert [d.id for d in full.by_prefix("")] == ["f"]


def test_a_folder_without_dumps(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        import_folder(tmp_path, lambda path: Imported())
    with pytest.raises(StorageFailure):
        import_folder(tmp_path / "missing", lambda path: Imported())
