"""Indexes in the life of a database's files: compacted, restored, closed and killed while one is built."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.errors import DatabaseClosed
from muniment.maintenance import MaintenanceActions
from muniment.query.model import Equal, Field, Query
from muniment.security.encryption import EncryptionKey, new_key
from muniment.storage import building
from muniment.storage.base import Write
from muniment.storage.sqlite.store import SqliteStorage
from tests.waiting import PATIENCE

QUERY = Query("Orders", Equal(Field(("A",)), 3))


def fill(folder: Path, count: int = 2000, key: EncryptionKey | None = None) -> None:
    with DocumentDatabase(folder, key=key) as database:
        bodies = [b'{"A":%d}' % (number % 10) for number in range(count)]
        database.storage.commit([Write(f"orders/{n}", body, collection="Orders") for n, body in enumerate(bodies)])


def asked(database: DocumentDatabase) -> tuple[int, bool]:
    with database.storage.find(QUERY, counted=True) as found:
        assert all(revision.body == b'{"A":3}' for revision in found.revisions)
        return found.total or 0, found.plan.scanned


@pytest.mark.parametrize("key", [None, new_key()], ids=["plain", "encrypted"])
def test_compaction_keeps_them(tmp_path: Path, key: EncryptionKey | None) -> None:
    fill(tmp_path / "shop", key=key)
    with DocumentDatabase(tmp_path / "shop", key=key) as database:
        assert asked(database) == (200, False)
    MaintenanceActions.compact(tmp_path / "shop", key=key)
    with DocumentDatabase(tmp_path / "shop", key=key, read_only=True) as database:
        assert asked(database) == (200, False)
        assert database.check() == []


def test_a_restored_database_makes_its_own(tmp_path: Path) -> None:
    fill(tmp_path / "shop")
    with DocumentDatabase(tmp_path / "shop") as database:
        asked(database)
        before = database.snapshot().fingerprint
        database.maintenance.start_backup(tmp_path / "backups").wait()
        assert database.snapshot().fingerprint == before  # of documents alone
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "again")
    with DocumentDatabase(tmp_path / "again", read_only=True) as database:
        assert asked(database) == (200, True)
    with DocumentDatabase(tmp_path / "again") as database:
        assert asked(database) == (200, False)
        assert database.check() == []


def test_closing_while_one_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one begins anew; and nobody waits for it for ever."""
    monkeypatch.setattr(building, "STEP", 10)
    fill(tmp_path / "shop", 5000)
    database = DocumentDatabase(tmp_path / "shop")
    begun = threading.Event()
    storage = database.storage
    assert isinstance(storage, SqliteStorage)
    filled = storage.writer.indexes.fill

    def fill_and_tell(*args: object) -> None:
        begun.set()
        filled(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(storage.writer.indexes, "fill", fill_and_tell)

    def ask() -> None:
        with suppress(DatabaseClosed):
            asked(database)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(PATIENCE)
    database.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    monkeypatch.undo()
    with DocumentDatabase(tmp_path / "shop") as database:
        assert asked(database) == (500, False)
        assert database.check() == []


_KILLED = """
import os, sys
from muniment import DocumentDatabase
from muniment.storage import building
from tests.storage.test_index_files import asked
building.STEP = 100
database = DocumentDatabase(sys.argv[1])
filled, steps = database.storage.writer.indexes.fill, []
def fill(*args):
    filled(*args)
    steps.append(1)
    if len(steps) == 5:
        os._exit(9)
database.storage.writer.indexes.fill = fill
asked(database)
"""


def test_killed_while_one_is_built(tmp_path: Path) -> None:
    fill(tmp_path / "shop")
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, tmp_path / "shop"], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 9, ended.stderr
    with DocumentDatabase(tmp_path / "shop") as database:
        assert asked(database) == (200, False)
        assert database.check() == []


def test_a_purge_and_kept_history_change_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "shop")
    with DocumentDatabase(tmp_path / "shop") as database:
        asked(database)
        database.storage.commit([Write(f"orders/{n}", b'{"A":3}', collection="Orders") for n in range(500)])
        database.storage.commit([Write(f"orders/{n}", None) for n in range(100)])
        database.storage.purge()
        assert asked(database) == (550, False)
        assert database.check() == []
