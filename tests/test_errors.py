"""The tree of errors, which is part of the public contract, and that no other error comes out of the library."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muniment import Delete, DocumentDatabase, DocumentStore, MaintenanceActions, Put, Selection, errors, rehearse
from muniment.errors import (
    BackupNotFound,
    ConcurrencyConflict,
    DamagedBackup,
    DamagedDatabase,
    DatabaseLocked,
    DatabaseNotFound,
    DocumentNotFound,
    ErrorRecord,
    ForeignBackup,
    InvalidDocument,
    InvalidId,
    InvalidInput,
    LostWrites,
    MunimentError,
    PatchConflict,
    StorageFailure,
    TargetExists,
    UnknownFormat,
)
from muniment.settings import InvalidSetting
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.schema import FORMAT
from tests.sampled import some
from tests.storage.raw import raw

# Name: parent, HTTP status, exit code.
STALE = [{"Type": "Unset", "Name": "none", "PrevVal": 1}]
TREE = {
    "MunimentError": ("Exception", 500, 1),
    "InvalidInput": ("MunimentError", 400, 2),
    "AmbiguousPoint": ("InvalidInput", 400, 2),
    "InvalidId": ("InvalidInput", 400, 2),
    "InvalidDocument": ("InvalidInput", 422, 2),
    "InvalidQuery": ("InvalidInput", 400, 2),
    "InvalidScript": ("InvalidInput", 400, 2),
    "NotEvaluated": ("MunimentError", 501, 2),
    "Forbidden": ("InvalidInput", 403, 2),
    "AccessDenied": ("MunimentError", 403, 11),
    "Unauthorized": ("AccessDenied", 401, 11),
    "NotFound": ("MunimentError", 404, 3),
    "DocumentNotFound": ("NotFound", 404, 3),
    "IndexNotFound": ("NotFound", 404, 3),
    "DatabaseNotFound": ("NotFound", 404, 3),
    "BackupNotFound": ("NotFound", 404, 3),
    "UnreachablePoint": ("NotFound", 404, 3),
    "Conflict": ("MunimentError", 409, 4),
    "ConcurrencyConflict": ("Conflict", 409, 4),
    "PatchConflict": ("Conflict", 409, 4),
    "TargetExists": ("Conflict", 409, 4),
    "ForeignBackup": ("Conflict", 409, 4),
    "Damaged": ("MunimentError", 500, 5),
    "DamagedBackup": ("Damaged", 500, 5),
    "BadSignature": ("DamagedBackup", 422, 5),
    "DamagedDatabase": ("Damaged", 500, 5),
    "LostWrites": ("DamagedDatabase", 500, 5),
    "DamagedDump": ("Damaged", 400, 5),
    "UnknownFormat": ("MunimentError", 400, 6),
    "Busy": ("MunimentError", 503, 7),
    "DatabaseLocked": ("Busy", 503, 7),
    "BackupRunning": ("Busy", 500, 7),
    "WrongKey": ("MunimentError", 403, 10),
    "StorageFailure": ("MunimentError", 507, 8),
    "DatabaseClosed": ("MunimentError", 503, 1),
    "ServerUnavailable": ("MunimentError", 503, 9),
    "Cancelled": ("MunimentError", 500, 130),
}

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MunimentError)]


def example(kind: type[MunimentError]) -> MunimentError:
    if kind is ConcurrencyConflict:
        return ConcurrencyConflict("orders/1", 5, 7)
    if kind is LostWrites:
        return LostWrites("the file is gone", "look for it", 7)
    return kind("the file is gone", "look for it")


def test_the_tree_is_this() -> None:
    assert {kind.__name__: (kind.__bases__[0].__name__, kind.status, kind.exit_code) for kind in CLASSES} == TREE


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_documented_and_single_rooted(kind: type[MunimentError]) -> None:
    assert kind.__doc__
    assert kind.__doc__.strip().endswith(".")
    assert len(kind.__bases__) == 1
    assert issubclass(kind, MunimentError)


@pytest.mark.parametrize("kind", CLASSES)
def test_message_and_hint_survive(kind: type[MunimentError]) -> None:
    error = example(kind)
    for one in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(one) is kind
        assert str(one) == one.message == error.message
        assert one.hint == error.hint != ""
        assert (one.status, one.exit_code) == TREE[kind.__name__][1:]
        assert vars(one) == vars(error)
    with pytest.raises(MunimentError, match=re.escape(error.message)):
        raise error


def test_a_hint_may_be_missing() -> None:
    assert MunimentError("it broke").hint == ""


def test_a_conflict_tells_what_it_knows() -> None:
    error = ConcurrencyConflict("orders/1", 5, 7)
    assert (error.id, error.expected, error.actual) == ("orders/1", 5, 7)
    assert str(error) == "'orders/1' was expected at etag 5, but its etag is 7"
    assert str(ConcurrencyConflict("a\n", 5, 0)) == r"'a\n' was expected at etag 5, but there is no such document"


# Provoked


class Scene:
    """An open database with a backup of it, and a folder with whatever can be wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = DocumentDatabase(folder / "shop")
        self.database.batch([Put(f"orders/{n}", {"n": n}, {"Raven-Entity-Name": "Orders"}) for n in range(2000)])
        self.database.put_attachment("photo", b"x" * 100_000)
        self.backups = folder / "backups"
        self.database.maintenance.start_backup(self.backups).wait()
        (folder / "file").write_text("not a folder")
        (folder / "empty").mkdir()

    def copy_of_database(self) -> Path:
        self.database.close()
        shutil.copytree(self.folder / "shop", self.folder / "copy")
        return self.folder / "copy"

    def edited(self, sql: str) -> DocumentDatabase:
        folder = self.copy_of_database()
        with raw(folder) as connection:
            connection.execute(sql)
        return DocumentDatabase(folder)

    def overwritten(self, start: int, data: bytes) -> DocumentDatabase:
        folder = self.copy_of_database()
        content = bytearray((folder / FILE).read_bytes())
        content[start : start + len(data)] = data
        (folder / FILE).write_bytes(content)
        return DocumentDatabase(folder)

    def spoiled_backup(self, pattern: str, change: Callable[[bytes], bytes]) -> Path:
        [file] = self.backups.glob(f"*/{pattern}")
        file.write_bytes(change(file.read_bytes()))
        return self.backups

    def restore(self, source: Path) -> object:
        return MaintenanceActions.restore(source, self.folder / "restored")

    def back_up(self, destination: Path) -> object:
        return self.database.maintenance.start_backup(destination).wait(60)


def middle(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes([data[half] ^ 0xFF]) + data[half + 1 :]


def stranger(scene: Scene) -> object:
    with DocumentDatabase(scene.folder / "other") as other:
        return other.maintenance.start_backup(scene.backups).wait(60)


def replaced(scene: Scene) -> object:
    attachment = scene.database.get_attachment("photo")
    scene.database.put_attachment("photo", b"new")
    assert attachment
    return attachment.read()


def last(*results: Any) -> Any:
    """The result of the last of several things to do."""
    return results[-1]


NUMBERS = b"7" * 5000

FAILURES: dict[str, tuple[type[MunimentError], Callable[[Scene], object]]] = {
    # Opening
    "a second writer": (DatabaseLocked, lambda s: DocumentDatabase(s.folder / "shop")),
    "no database": (DatabaseNotFound, lambda s: DocumentDatabase(s.folder / "empty", create=False)),
    "no folder": (DatabaseNotFound, lambda s: DocumentDatabase(s.folder / "none", read_only=True)),
    "a file for a folder": (StorageFailure, lambda s: DocumentDatabase(s.folder / "file")),
    "a file above the folder": (StorageFailure, lambda s: DocumentDatabase(s.folder / "file" / "below")),
    "a folder the system refuses": (StorageFailure, lambda s: DocumentDatabase("/proc/muniment")),
    "a name too long": (StorageFailure, lambda s: DocumentDatabase(s.folder / ("x" * 300))),
    "not SQLite": (DamagedDatabase, lambda s: s.overwritten(0, b"not a database file at all")),
    "another application": (UnknownFormat, lambda s: s.edited("PRAGMA application_id=1")),
    "a newer format": (UnknownFormat, lambda s: s.edited("PRAGMA user_version=77")),
    "no tables": (DamagedDatabase, lambda s: s.edited("DROP TABLE state")),
    "a name with a NUL": (StorageFailure, lambda s: DocumentDatabase(s.folder / "nul\0")),
    "a name too long, for reading": (
        StorageFailure,
        lambda s: DocumentDatabase(s.folder / ("x" * 300), read_only=True),
    ),
    # Damage found by reading
    "a damaged page": (DamagedDatabase, lambda s: s.overwritten(3 * 8192, b"\xff" * 5 * 8192).by_etag(limit=3000)),
    "an id that is no text": (
        DamagedDatabase,
        lambda s: s.edited("UPDATE log SET id = CAST(x'ff' AS TEXT) WHERE etag = 9").by_etag(limit=100),
    ),
    "a damaged attachment": (
        DamagedDatabase,
        lambda s: s.edited("UPDATE part SET data = x'00'").get_attachment("photo").read(),  # type: ignore[union-attr]
    ),
    # Input
    "no id": (InvalidId, lambda s: s.database.put("", {})),
    "half a letter in an id": (InvalidId, lambda s: s.database.get("\ud800")),
    "half a letter in a prefix": (InvalidInput, lambda s: s.database.by_prefix("\ud800")),
    "not JSON": (InvalidDocument, lambda s: s.database.put("a", b"{")),
    "not UTF-8": (InvalidDocument, lambda s: s.database.put("a", b'{"\xff":1}')),
    "UTF-16": (InvalidDocument, lambda s: s.database.put("a", '{"a":"\u755c"}'.encode("utf-16-le"))),
    "not a number": (InvalidDocument, lambda s: s.database.put("a", {"a": [float("nan")]})),
    "very deep": (InvalidDocument, lambda s: s.database.put("a", b'{"a":' * 50_000 + b"1" + b"}" * 50_000)),
    "a circle": (InvalidDocument, lambda s: s.database.put("a", (circle := {}, circle.update(a=circle))[0])),  # type: ignore[var-annotated]
    "metadata that is no object": (InvalidDocument, lambda s: s.database.put("a", {}, b"[]")),
    "metadata that is text": (InvalidDocument, lambda s: s.database.put("a", {}, "{}")),  # type: ignore[arg-type]
    "half a letter in a collection": (
        InvalidDocument,
        lambda s: s.database.put("a", {}, b'{"Raven-Entity-Name":"\\ud800"}'),
    ),
    "a number without end in metadata": (
        InvalidDocument,
        lambda s: s.database.put("a", {}, b'{"Raven-Entity-Name":"A","n":%s}' % NUMBERS),
    ),
    "a number without end": (
        InvalidDocument,
        lambda s: last(s.database.put("n", b'{"n":%s}' % NUMBERS), s.database.get("n")).json(),
    ),
    "an etag that is none": (InvalidInput, lambda s: s.database.put("a", {}, etag=-1)),
    "a page that is none": (InvalidInput, lambda s: s.database.by_etag(after=1 << 64)),
    "a command that is none": (InvalidInput, lambda s: s.database.batch(["a"])),  # type: ignore[list-item]
    "an attachment of text": (InvalidInput, lambda s: s.database.put_attachment("a", "text")),  # type: ignore[arg-type]
    "a spoiled number": (
        InvalidDocument,
        lambda s: last(s.database.put("Raven/Identities/a/", {"Value": "x"}), s.database.put("a/", {})),
    ),
    "a spoiled range": (
        InvalidDocument,
        lambda s: last(s.database.put("Raven/Hilo/as", {"Max": "x"}), s.database.next_id("As")),
    ),
    # The state of things
    "a stale put": (ConcurrencyConflict, lambda s: s.database.put("orders/1", {}, etag=1)),
    "a stale delete": (ConcurrencyConflict, lambda s: s.database.batch([Delete("orders/1", etag=99_999)])),
    "a stale patch": (PatchConflict, lambda s: s.database.patch("orders/1", STALE)),
    "a stale attachment": (ConcurrencyConflict, lambda s: s.database.put_attachment("photo", b"", etag=0)),
    "an attachment that was replaced": (DocumentNotFound, replaced),
    # Backup and restore
    "a backup onto a file": (StorageFailure, lambda s: s.back_up(s.folder / "file")),
    "a backup below a file": (StorageFailure, lambda s: s.back_up(s.folder / "file" / "below")),
    "a backup the system refuses": (StorageFailure, lambda s: s.back_up(Path("/proc/muniment"))),
    "a backup among another's": (ForeignBackup, stranger),
    "no backup": (BackupNotFound, lambda s: s.restore(s.folder / "empty")),
    "no folder of backups": (BackupNotFound, lambda s: s.restore(s.folder / "none")),
    "a target that exists": (TargetExists, lambda s: MaintenanceActions.restore(s.backups, s.folder / "shop")),
    "a target below a file": (StorageFailure, lambda s: MaintenanceActions.restore(s.backups, s.folder / "file" / "x")),
    "a file of a backup cut short": (
        DamagedBackup,
        lambda s: s.restore(s.spoiled_backup("doc*.parquet", lambda d: d[:-9])),
    ),
    "a file of a backup changed": (DamagedBackup, lambda s: s.restore(s.spoiled_backup("doc*.parquet", middle))),
    "a file of a backup emptied": (DamagedBackup, lambda s: s.restore(s.spoiled_backup("att*.parquet", lambda d: b""))),
    "a manifest cut short": (DamagedBackup, lambda s: s.restore(s.spoiled_backup("manifest.json", lambda d: d[:-9]))),
    "a manifest that is no JSON": (
        DamagedBackup,
        lambda s: s.restore(s.spoiled_backup("manifest.json", lambda d: b"\xff")),
    ),
    "verifying what was changed": (
        DamagedBackup,
        lambda s: MaintenanceActions.verify(s.spoiled_backup("doc*.parquet", middle)),
    ),
}


@some(30)
@pytest.mark.parametrize(("kind", "provoke"), FAILURES.values(), ids=FAILURES)
@pytest.mark.skipif(not Path("/proc").exists(), reason="/proc is a folder that the system refuses to write to")
def test_only_our_own_errors_come_out(
    tmp_path: Path, kind: type[MunimentError], provoke: Callable[[Scene], Any]
) -> None:
    scene = Scene(tmp_path)
    try:
        with pytest.raises(kind) as caught:
            provoke(scene)
        error = caught.value
        assert error.message
        assert error.hint
        assert "\n" not in error.message + error.hint
        assert not re.search(r"<[\w.]+ object at|Traceback|apsw|pyarrow|NoneType", error.message + error.hint)
    finally:
        scene.database.close()
    with DocumentDatabase(tmp_path / "shop") as database:  # nothing was harmed
        assert database.check() == []
        assert database.get("orders/1").json() == {"n": 1}  # type: ignore[union-attr]


def test_no_error_keeps_a_database_open(tmp_path: Path) -> None:
    """An error that is kept keeps what its traceback refers to, but not the database that it is about."""
    folder = tmp_path / "shop"
    DocumentDatabase(folder).close()
    with raw(folder) as connection:
        connection.execute("PRAGMA user_version=77")
    kept = []
    for _ in range(3):
        with pytest.raises(UnknownFormat) as caught:
            DocumentDatabase(folder)
        kept.append(caught)
    with raw(folder) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        connection.execute(f"PRAGMA user_version={FORMAT}")
    DocumentDatabase(folder).close()


def test_a_traceback_says_what_to_do_next() -> None:
    error = InvalidInput("this is wrong", "do that instead")
    assert traceback.format_exception(error)[-2:] == [
        "muniment.errors.InvalidInput: this is wrong\n",
        "hint: do that instead\n",
    ]
    error.add_note("seen at noon")
    error.hint = "do something else"
    for one in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert one.__notes__ == ["seen at noon", "hint: do something else"]
        assert (one.message, one.hint) == ("this is wrong", "do something else")
    assert not hasattr(InvalidInput("this is wrong"), "__notes__") or not InvalidInput("this is wrong").__notes__
    assert ConcurrencyConflict("a", 1, 2).__notes__ == ["hint: " + ConcurrencyConflict("a", 1, 2).hint]


@pytest.mark.parametrize(
    "moment", [{"at": "2026-11-22T17:18:03Z"}, {"at": 5}, {"etag": "1"}, {"etag": True}, {"etag": -1}, {"backup": 7}]
)
def test_what_can_name_no_moment(tmp_path: Path, moment: dict[str, Any]) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        database.maintenance.start_backup(tmp_path / "b").wait()
        calls: list[Callable[[], object]] = [
            lambda: MaintenanceActions.restore(tmp_path / "b", tmp_path / "new", **moment),
            lambda: MaintenanceActions.verify(tmp_path / "b", **moment),
            lambda: rehearse(tmp_path / "b", **moment),
            lambda: database.maintenance.restore_into(tmp_path / "b", on_conflict="skip", **moment),
            lambda: DocumentStore("http://127.0.0.1:1", "shop").admin.start_restore("b", **moment),
        ]
        for call in calls:
            with pytest.raises(InvalidInput, match=next(iter(moment))) as caught:
                call()
            assert caught.value.hint
    assert not (tmp_path / "new").exists()


def test_what_is_no_selection(tmp_path: Path) -> None:
    for wrong in ({"ids": "orders/1"}, {"collections": "Orders"}, {"prefixes": b"x"}, {"ids": [1]}, {"ids": 5}):
        with pytest.raises(InvalidInput) as caught:
            Selection.of(**wrong)
        assert caught.value.hint
    with pytest.raises(InvalidInput):
        Selection(ids="orders/1")  # type: ignore[arg-type]
    assert Selection.of(ids=["Orders/1"]) == Selection.of(ids=("orders/1",)) == Selection(ids=frozenset(["orders/1"]))
    with pytest.raises(InvalidInput, match="'orders/1', not a Selection"):
        MaintenanceActions.restore(tmp_path, tmp_path / "new", selection="orders/1")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, "1", 1.5, True])
def test_numbers_that_are_none(database: DocumentDatabase, wrong: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: database.by_etag(after=wrong),
        lambda: database.by_collection("Orders", limit=wrong),
        lambda: database.by_prefix("a", start=wrong),
        lambda: database.attachments(limit=wrong),
    ]
    for call in calls:
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.hint


@pytest.mark.parametrize("wrong", [None, 5, b"orders/", ["orders/"]])
def test_names_that_are_none(database: DocumentDatabase, wrong: Any) -> None:
    for call in (database.by_prefix, database.by_collection, database.attachments):
        with pytest.raises(InvalidInput, match="is not text"):
            call(wrong)
    with pytest.raises(InvalidInput):
        database.batch(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        database.configure(wrong)


@pytest.mark.parametrize("wrong", [None, 5, 1.5, b"x", ["x"], {"x"}])
def test_values_of_wrong_types_are_input_that_is_refused(
    database: DocumentDatabase, wrong: Any, tmp_path: Path
) -> None:
    database.put("a", {})
    database.maintenance.start_backup(tmp_path / "b").wait()
    session = database.open_session()
    calls: list[Callable[[], object]] = [
        lambda: database.next_identity(wrong),
        lambda: database.next_id(wrong),
        lambda: session.store({}, 7 if wrong is None else wrong),  # type: ignore[arg-type]
        lambda: session.load(wrong),
        lambda: session.delete(wrong),
        lambda: MaintenanceActions.query(tmp_path / "b", wrong),
        lambda: MaintenanceActions.query(tmp_path / "b", "SELECT 1", limit=True if wrong == 5 else wrong),
        lambda: DocumentStore(wrong),
        lambda: DocumentStore("http://127.0.0.1:1", timeout=0 if isinstance(wrong, int | float) else wrong),
        lambda: DocumentStore("http://127.0.0.1:1", connections=0 if wrong == 5 else wrong),
    ]
    for call in calls:
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.hint


@pytest.mark.parametrize("kind", CLASSES)
def test_a_record_gives_the_error_again(kind: type[MunimentError]) -> None:
    error = example(kind)
    vars(error).update(instead=(("--lineage", "a"), ("--at", "b")), place=Path("not told"))
    again = msgspec.json.decode(msgspec.json.encode(ErrorRecord.of(error)), type=ErrorRecord).error()
    assert type(again) is kind
    assert str(again) == error.message
    assert {**vars(again), "place": Path("not told")} == vars(error)


def test_of_a_class_that_is_drawn_elsewhere_the_record_is_of_the_nearest_that_is_here() -> None:
    again = ErrorRecord.of(InvalidSetting("what", "how to go on")).error()
    assert (type(again), again.message, again.hint) == (InvalidInput, "what", "how to go on")


def test_the_record_of_an_error_that_nobody_expected() -> None:
    error = ErrorRecord.of(RuntimeError("boom")).error()
    assert isinstance(error, StorageFailure)
    assert "boom" in error.message
    assert error.hint


def test_a_record_tells_what_is_not_unicode() -> None:
    record = ErrorRecord.of(StorageFailure("\udcff cannot be read", "look at \udcff"))
    again = msgspec.json.decode(msgspec.json.encode(record), type=ErrorRecord).error()
    assert (again.message, again.hint) == (r"\udcff cannot be read", r"look at \udcff")
