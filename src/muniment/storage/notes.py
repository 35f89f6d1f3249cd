"""Backups that were taken by a process that could not write the database: a note for each in its folder.

Whoever reads what the database remembers reads them with it, and the process that writes it takes them over.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import msgspec

from muniment.durable import sync_folder
from muniment.storage.base import BackupPlace

_NAME: Final = re.compile(r"muniment\.backup-[0-9a-f]{64}\.note")


class Note(msgspec.Struct, frozen=True):
    """A backup: the SHA-256 of its manifest, and where it is; `through` is the last etag in it, once it is complete."""

    sha256: str
    lineage: str
    place: BackupPlace | None
    through: int = 0


def leave_note(folder: Path, note: Note) -> None:
    """Have the database remember this backup; on disk when this returns."""
    path = folder / f"muniment.backup-{note.sha256}.note"
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(msgspec.json.encode(note))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(folder)


def note_files(folder: Path) -> list[Path]:
    """The notes that were left and not taken over yet."""
    return sorted(Path(entry.path) for entry in os.scandir(folder) if _NAME.fullmatch(entry.name))


def remove_note(path: Path, note: Note) -> None:
    """Remove a note that was taken over, unless it says more by now."""
    if path.read_bytes() == msgspec.json.encode(note):
        path.unlink()


def read_notes(folder: Path) -> list[tuple[Path, Note]]:
    """What they say, the oldest backup first; one that can not be read is passed over."""
    found = []
    for path in note_files(folder):
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=Note)))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
    return sorted(found, key=lambda pair: pair[1].place.time if pair[1].place else 0)
