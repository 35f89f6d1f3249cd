"""Databases and backups in temporary folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.backup.repository import Backup
from tests.backup.state import opened
from tests.clock import SECOND, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(step=SECOND)


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[DocumentDatabase]:
    """An empty database, checked against itself at the end."""
    with DocumentDatabase(tmp_path / "shop", clock=clock) as database:
        yield database
    with opened(tmp_path / "shop"):
        pass


@pytest.fixture
def small(database: DocumentDatabase) -> DocumentDatabase:
    """A few documents, a tombstone of each kind, and attachments."""
    for number in range(1, 6):
        database.put(f"orders/{number}", {"lines": number, "price": 1.10}, {"Raven-Entity-Name": "Orders"})
    database.put("companies/1", {"name": "Zajazd"}, {"Raven-Entity-Name": "Companies"})
    database.put("loose", b'{"n":1.10}')
    database.delete("orders/5")
    database.put_attachment("photos/1", b"\x89PNG" * 20, {"type": "image/png"})
    database.put_attachment("photos/2", b"", {"Raven-Entity-Name": "Photos"})
    database.put_attachment("photos/3", b"gone")
    database.delete_attachment("photos/3")
    return database


@pytest.fixture
def backup(small: DocumentDatabase, tmp_path: Path) -> Backup:
    """A complete backup of `small`, in the folder `backups`."""
    return small.maintenance.start_backup(tmp_path / "backups").wait()
