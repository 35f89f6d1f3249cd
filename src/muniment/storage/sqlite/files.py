"""The files in a database's folder that are Muniment's own, by their whole names: others may lie beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from muniment.storage.sqlite.compact import UNFINISHED
from muniment.storage.sqlite.loader import DEFRAGMENTED, SCRATCH
from muniment.storage.sqlite.notes import note_files
from muniment.storage.sqlite.pins import pin_files
from muniment.storage.sqlite.reach import REACH
from muniment.storage.sqlite.schema import FILE
from muniment.storage.sqlite.store import CREATING, LOCK

RESTORING: Final = "muniment.restoring"  # stands in a database's folder until a restore has published it
_WORK: Final = (CREATING, UNFINISHED, DEFRAGMENTED, SCRATCH)
_ENDS: Final = ("-wal", "-shm", "-journal", "")  # the file itself last: as long as it is there, so is the database


def own_files(folder: Path) -> list[Path]:
    """Those that are there, the lock as the last one."""
    named = [folder / f"{name}{end}" for name in (*_WORK, FILE) for end in _ENDS]
    there = [path for path in (folder / REACH, folder / RESTORING, *named, folder / LOCK) if path.exists()]
    return [*pin_files(folder), *note_files(folder), *there]


def unfinished_files(folder: Path) -> list[Path]:
    """Those that a process left which was killed while it made or rewrote a database."""
    return [path for name in _WORK for end in _ENDS if (path := folder / f"{name}{end}").exists()]
