"""Whether the files that SQLite has open are still those that the folder has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from muniment.errors import StorageFailure
from muniment.storage.sqlite.schema import FILE

_NAMES: Final = (FILE, f"{FILE}-wal")


class OpenFiles:
    """The files of a database as they were when SQLite opened them, by device and inode.

    Somebody who deletes or replaces one of them, or a program that opens and closes it in this process, so that the
    locks are gone and another process deletes the log, leaves SQLite writing to what nobody will find again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = [str(folder / name) for name in _NAMES]
        self._found = [_identity(path) for path in self._paths]
        self._problem: str | None = None

    def check(self) -> None:
        """Raises `StorageFailure` when one is not what it was; so does `refuse` from then on."""
        if self._problem is None and [_identity(path) for path in self._paths] != self._found:
            self._problem = self._difference()
        self.refuse()

    def replaced(self) -> bool:
        """Whether something else has the name of the file or of its log, or nothing that of the file."""
        now = [_identity(path) for path in self._paths]
        return now[0] != self._found[0] or now[1] not in (None, self._found[1])

    def refuse(self) -> None:
        """Raises `StorageFailure` if `check` ever did."""
        if self._problem is None:
            return
        raise StorageFailure(
            f"{self._problem} while the database was open: nothing is written to it any more, for it would be lost",
            "close it, keep a copy of its folder, and open it again: that says what is missing, if anything is; and"
            " find out who touches its files (a copying or cleaning program, a restore by hand)",
        )

    def _difference(self) -> str:
        for name, path, found in zip(_NAMES, self._paths, self._found, strict=True):
            now = _identity(path)
            if now != found:
                return f"{name} in {self._folder} was {'deleted or moved away' if now is None else 'replaced'}"
        return f"a file in {self._folder} was away for a moment"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - before every acknowledgement
    except OSError:
        return None
    return status.st_dev, status.st_ino
