"""What cannot be told is counted and told later, and changes nothing for the work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.backup.child import backup_in_child
from muniment.storage.base import Snapshot
from muniment.telling import Log, telling


class _Stderr:
    """A stream that leads to a file, which can change."""

    def __init__(self, path: str | Path) -> None:
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def fileno(self) -> int:
        return self.descriptor


def test_what_could_not_be_written_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, file = _Stderr("/dev/full"), _Stderr(tmp_path / "log")
    log = Log()
    monkeypatch.setattr(sys, "stderr", full)
    for n in range(3):
        log(f"lost {n}")
    monkeypatch.setattr(sys, "stderr", file)
    log("first")
    log("second")
    monkeypatch.setattr(sys, "stderr", None)
    log("lost too")
    os.close(full.descriptor)
    os.close(file.descriptor)
    told, first, second = (tmp_path / "log").read_text().splitlines()
    assert told == "(3 lines could not be written here)"
    assert first.endswith("Z first")
    assert second.endswith("Z second")
    assert log.unwritten == 4


def _raise(error: BaseException) -> None:
    raise error


def test_what_can_not_be_told_is_a_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with telling("how it stands"):
        _raise(OSError("no space"))
    assert capsys.readouterr().err.endswith("Z how it stands could not be told: no space\n")
    with pytest.raises(KeyboardInterrupt), telling("how it stands"):
        _raise(KeyboardInterrupt())


def test_a_backup_goes_on_when_its_moment_can_not_be_told(tmp_path: Path) -> None:
    def pinned(snapshot: Snapshot) -> None:
        raise OSError("nobody listens")

    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        backup = backup_in_child(database.storage, tmp_path / "b", pinned=pinned, name="shop", database_document=b"{}")
    assert backup.manifest.counts.documents == 1
