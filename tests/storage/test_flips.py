"""Whatever column of whatever table is not as it was written: every way in raises errors of ours and no others."""

from __future__ import annotations

import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from muniment import DocumentDatabase
from muniment.errors import MunimentError
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.sqlite import schema
from tests.clock import Clock
from tests.sampled import count, some, torture
from tests.storage.raw import raw

TABLES = ("state", "log", "current", "dead", "fingerprint", "content", "part")
VALUES = count(4, whole=99)  # of each row that is tried; 99 are all
WRONG: tuple[Any, ...] = (
    *(None, 0, -1, 7, 1 << 62, -(1 << 63), 1.5, "", "x", "é" * 9, "{", b"", b"{}", b"\xff\xfe", b"x" * 33),
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database with history, tombstones, attachments, settings and a backup that it remembers."""
    folder = tmp_path_factory.mktemp("sound")
    with DocumentDatabase(folder / "shop", clock=Clock()) as database:
        database.configure(
            {"Muniment/History": "true", "Muniment/HistoryWindow": "7d", "Muniment/TombstoneWindow": "1d"}
        )
        orders = {"Raven-Entity-Name": "Orders"}
        for n in range(4):
            database.put(f"Orders/{n}", {"n": n}, orders)
        database.put("Orders/1", {"n": 1000}, orders)
        database.put("plain", {})
        database.delete("Orders/2")
        database.put_attachment("Photo/1", b"one")
        database.put_attachment("photo/2", b"two" * 500_000)
        database.put_attachment("photo/1", b"three")
        database.delete_attachment("photo/2")
        database.maintenance.start_backup(folder / "backups").wait()
        database.put("Orders/1", {"n": 2000}, orders)
    return folder / "shop"


def columns() -> list[tuple[str, str]]:
    connection = apsw.Connection(":memory:")
    try:
        connection.execute(schema.TABLES)
        query = "SELECT name FROM pragma_table_info(?)"
        return [(table, name) for table in TABLES for (name,) in connection.execute(query, (table,))]
    finally:
        connection.close()


def loosened(folder: Path) -> None:
    """Let the tables take values of any type, as a flipped bit in a record's header makes them."""
    with raw(folder) as connection:
        connection.execute("PRAGMA writable_schema=1")
        connection.execute("""UPDATE sqlite_schema SET sql = replace(replace(replace(sql, 'STRICT, WITHOUT', 'WITHOUT'),
            'STRICT', ''), 'NOT NULL', '') WHERE type = 'table'""")


def tightened(folder: Path, statements: list[tuple[Any, ...]]) -> None:
    with raw(folder) as connection:
        connection.execute("PRAGMA writable_schema=1")
        for name, sql in statements:
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, name))


def damaged(sound: Path, tmp_path: Path, table: str, column: str) -> Iterator[tuple[str, Path]]:
    """Copies in each of which one value of this column is wrong: in the first row, in the last, in all."""
    with raw(sound) as connection:
        statements: list[tuple[Any, ...]] = connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
        rows: list[tuple[Any, ...]] = connection.execute(f"SELECT * FROM {table}").fetchall()
        names = [name for name, *_ in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    position = names.index(column)
    places = sorted({0, len(rows) // 2, len(rows) - 1})
    choose = random.Random(f"{table}.{column}")
    for place in places:
        was = rows[place][position]
        for wrong in choose.sample(tried := [*WRONG, *flipped(was)], min(len(tried), VALUES)):
            if type(wrong) is type(was) and wrong == was:
                continue
            folder = tmp_path / "copy"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(sound, folder)
            loosened(folder)
            with raw(folder) as connection:
                marks = ", ".join("?" for _ in names)
                try:
                    with connection:
                        connection.execute(f"DELETE FROM {table}")
                        for number, row in enumerate(rows):
                            values = list(row)
                            if number == place:
                                values[position] = wrong
                            connection.execute(f"INSERT INTO {table} VALUES({marks})", values)
                except (apsw.ConstraintError, apsw.MismatchError):  # such a value the column cannot have at all
                    continue
            tightened(folder, statements)
            yield f"{table}.{column} of row {place} is {wrong!r:.60}", folder


def flipped(value: Any) -> list[Any]:
    """The same value with one bit wrong."""
    if isinstance(value, int):
        return [value ^ 1, value ^ 1 << 33, value ^ 1 << 55]
    if isinstance(value, str):
        return [chr(ord(value[0]) ^ 1) + value[1:], value[:-1]] if value else []
    if isinstance(value, bytes):
        return [bytes([value[0] ^ 1]) + value[1:], value[:-1] + bytes([value[-1] ^ 128])] if value else []
    return []


def everything(tmp_path: Path) -> Iterator[Callable[[DocumentDatabase], object]]:
    """Every way to read a database, and then every way to write to it."""
    yield lambda database: [database.get(id) and database.get(id).metadata for id in ("orders/1", "plain", "orders/2")]  # type: ignore[union-attr]
    yield lambda database: [
        (found.last_modified, found.collection) for found in database.by_prefix("") + database.by_etag(limit=99)
    ]
    yield lambda database: database.by_collection("orders")
    yield lambda database: [b"".join(each.chunks()) for each in database.attachments()]
    yield lambda database: database.get_attachment("photo/1")
    yield lambda database: database.statistics().as_json()
    yield lambda database: (database.settings, database.storage.history, database.storage.backup_facts())
    yield lambda database: database.check()
    yield lambda database: list(database.storage.members())
    yield lambda database: [list(batch) for batch in database.storage.changes(0, 99, history=True)]
    yield lambda database: [
        list(database.storage.content(revision))
        for revision in database.storage.attachment_changes(0, 99, history=True)
    ]
    yield lambda database: database.storage.by_etag(ATTACHMENT, 0, 99) + database.storage.by_etag(DOCUMENT, 0, 99)
    yield lambda database: database.export(tmp_path / "out.ravendbdump", overwrite=True)
    yield lambda database: database.maintenance.start_backup(tmp_path / "backups").wait()
    yield lambda database: database.put("orders/1", {"n": 3})
    yield lambda database: database.put("new", {})
    yield lambda database: database.delete("orders/3")
    yield lambda database: database.delete_attachment("photo/1")
    yield lambda database: database.configure({"Muniment/TombstoneWindow": "0s"})
    yield lambda database: database.storage.purge()
    yield lambda database: database.check()


def strange_error(folder: Path, tmp_path: Path) -> str | None:
    """What any way of using this database raised that is not one of ours with a hint."""
    try:
        with DocumentDatabase(folder, create=False, clock=Clock()) as database:
            for way in everything(tmp_path):
                with suppress(MunimentError):
                    way(database)
    except MunimentError as error:
        return None if error.hint else repr(error)
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return None


@some(10)
@torture
@pytest.mark.parametrize(("table", "column"), columns())
def test_only_errors_of_ours(sound: Path, tmp_path: Path, table: str, column: str) -> None:
    tried = 0
    for what, folder in damaged(sound, tmp_path, table, column):
        shutil.rmtree(tmp_path / "backups", ignore_errors=True)
        tried += 1
        wrong = strange_error(folder, tmp_path)
        assert wrong is None, (what, wrong)
    assert tried > 3 or column in ("etag", "kind")
