"""Deleting a database: what nothing opens any more is forgotten, and only then removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.errors import DatabaseLocked, DatabaseNotFound, StorageFailure
from muniment.storage.sqlite.files import lock
from muniment.storage.sqlite.remove import (
    clear_removed,
    finish_removing,
    is_being_removed,
    remove_database,
    remove_unfinished,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {"n": 1})
    return tmp_path / "shop"


def test_it_is_forgotten_when_nobody_can_open_it_and_before_it_is_removed(folder: Path) -> None:
    seen: list[str] = []

    def forget() -> None:
        with pytest.raises(DatabaseNotFound):
            DocumentDatabase(folder, create=False)
        with pytest.raises(DatabaseLocked):
            DocumentDatabase(folder)
        seen.extend(path.name for path in folder.iterdir())

    assert remove_database(folder, forget)
    assert "muniment.db.deleted" in seen
    assert not folder.exists()


def test_what_can_not_be_forgotten_stays(folder: Path) -> None:
    def forget() -> None:
        raise StorageFailure("the disk is full")

    with pytest.raises(StorageFailure):
        remove_database(folder, forget)
    with DocumentDatabase(folder, create=False) as database:
        assert database.get("a")


_DIE = """
import os, sys
from pathlib import Path
from muniment.storage.sqlite.remove import remove_database
remove_database(Path(sys.argv[1]), lambda: os._exit(9))
"""


@pytest.mark.parametrize("then", ["finish", "create"])
def test_a_process_that_dies_then_is_no_way_back(folder: Path, then: str) -> None:
    assert subprocess.run([sys.executable, "-c", _DIE, str(folder)], check=False).returncode == 9
    assert is_being_removed(folder)
    (folder / "mine.txt").write_text("keep")
    if then == "finish":
        assert not finish_removing(folder)
        assert [path.name for path in folder.iterdir()] == ["mine.txt"]
        return
    with DocumentDatabase(folder) as database:
        assert database.get("a") is None
        database.put("b", {})
    assert not (folder / "muniment.db.deleted").exists()
    assert not finish_removing(folder)
    with DocumentDatabase(folder, create=False) as database:
        assert database.get("b")
        assert not list(database.storage.check())


_FULL = """
import sys
from pathlib import Path
from muniment import DocumentDatabase
from muniment.errors import DatabaseLocked, StorageFailure
from muniment.security.encryption import EncryptionKey
from muniment.storage.sqlite.remove import remove_database
folder = Path(sys.argv[1]) / "shop"
key = EncryptionKey(bytes(32)) if sys.argv[2] else None
database = DocumentDatabase(folder, key=key)
try:
    while True:
        database.put("a/", {"Text": "x" * 50_000})
except StorageFailure:
    reader = DocumentDatabase(folder, key=key, read_only=True)
    database.close()
try:
    remove_database(folder, key=key)
except DatabaseLocked:
    print("read")
reader.close()
print((folder / "muniment.db-wal").exists(), remove_database(folder, key=key), folder.exists())
"""


@pytest.mark.parametrize("key", ["", "a key"])
def test_on_a_full_disk_a_database_can_be_deleted(tmp_path: Path, key: str) -> None:
    """Its log stays there when the last one closes it, for want of room; that is no reader."""
    mounted = f"mount -t tmpfs -o size=2m none '{tmp_path}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    command = ["unshare", "-rm", "sh", "-c", f'{mounted} && exec "$@"', "sh", sys.executable, "-c", _FULL]
    told = subprocess.run([*command, str(tmp_path), key], capture_output=True, text=True, check=False)
    assert (told.stdout, told.stderr) == ("read\nTrue True False\n", "")


def test_a_log_without_its_database_is_nobodys_to_replay(folder: Path) -> None:
    (folder / "muniment.db").unlink()
    (folder / "muniment.db-wal").write_bytes(b"the last writes of somebody")
    with pytest.raises(StorageFailure, match=r"muniment\.db-wal"):
        DocumentDatabase(folder)
    with lock(folder), pytest.raises(StorageFailure):
        clear_removed(folder)
    assert (folder / "muniment.db-wal").read_bytes() == b"the last writes of somebody"


def test_a_file_with_a_name_that_others_may_give_is_nobodys_to_remove(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for place in (tmp_path / "mine", folder):
        (place / "loading.tmp").write_text("keep")
        assert remove_unfinished(place) == []
    assert not remove_database(folder)
    for place in (tmp_path / "mine", folder):
        assert [path.name for path in place.iterdir()] == ["loading.tmp"]


def test_no_database_is_made_where_one_has_vanished(folder: Path) -> None:
    (folder / "muniment.db").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StorageFailure, match=r"there is muniment\.reach in .* but not the muniment\.db") as caught:
        DocumentDatabase(folder)
    assert "move muniment.reach away" in caught.value.hint
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
