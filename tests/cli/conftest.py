"""Databases and backups that the tests of all commands only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.cli.sample import fill

SMALL = 1_051


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def shop(place: Path) -> Path:
    """A database with a sample and a few attachments."""
    with DocumentDatabase(place / "shop") as database:
        fill(database, SMALL, attachments=8)
        database.put("Odd/One", b'{"price": 1.10 ,\n "name":"S\xc3\xa3o [bold]Paulo"}', {"Raven-Entity-Name": "Odd"})
    return place / "shop"


@pytest.fixture(scope="session")
def backups(place: Path, shop: Path) -> Path:
    """A folder with a backup of the shop."""
    with DocumentDatabase(shop) as database:
        database.maintenance.start_backup(place / "backups").wait()
    return place / "backups"
