"""`muniment expire` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from tests.cli.process import muniment


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with three full backups."""
    with DocumentDatabase(tmp_path / "shop") as database:
        for number in range(3):
            database.put(f"orders/{number}", {})
            database.maintenance.start_backup(tmp_path / "b").wait()
    return tmp_path / "b"


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir())


def test_it_says_of_each_backup_what_and_why(place: Path) -> None:
    one, two, three = folders(place)
    shown = muniment("expire", str(place), "--keep-last", "1", "--dry-run")
    assert shown.code == 0, shown.err
    assert "1 of 3 backups kept, 2 would be removed in the end" in shown.text
    assert f"keep    {three}: it is the newest that can be restored; it is one of the last 1" in shown.text
    marked = muniment("expire", str(place), "--keep-last", "1", "--yes", "--json")
    told = json.loads(marked.text)
    assert [each["backup"] for each in told["decisions"] if each["after"]] == [one, two]
    assert folders(place) == [one, two, three]
    gone = muniment("expire", str(place), "--keep-last", "1", "--yes", "--grace", "0s")
    assert gone.code == 0, gone.err
    assert f"removed  {one}: no rule keeps it" in gone.text
    assert folders(place) == [three]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--yes"], "nothing says which backups to keep"),
        (["--keep-last", "1"], "backups are to be removed, and nobody is at a terminal"),
        (["--keep-last", "-1", "--yes"], "--keep-last cannot be -1"),
        (["--keep-within", "soon", "--yes"], "--keep-within is 'soon', not a time"),
        (["--keep-last", "1", "--grace", "later", "--yes"], "--grace is 'later'"),
        (["--keep-daily", "1", "--time-zone", "Mars/Base", "--yes"], "there is no time zone 'Mars/Base'"),
    ],
)
def test_what_makes_no_sense_removes_nothing(place: Path, options: list[str], said: str) -> None:
    before = folders(place)
    refused = muniment("expire", str(place), *options)
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert folders(place) == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert muniment("expire", str(tmp_path / "none"), "--keep-last", "1", "--yes").code == 3
