"""Backups that were taken by a process that could not write the database: a note for each in its folder.

Whoever reads what the database remembers reads them with it, and the process that writes it takes them over. They stay
behind when the database's files are put back to an older state, so each says where its backup ends: only one that ends
with a transaction of this log is believed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import apsw
import msgspec

from muniment.durable import sync_folder
from muniment.storage.base import BackupPlace
from muniment.storage.sqlite.state import State

_NAME: Final = re.compile(r"muniment\.backup-[0-9a-f]{64}\.note")


class Note(msgspec.Struct, frozen=True):
    """A backup: the SHA-256 of its manifest, and where it is; `through` is the last etag in it, once it is complete.

    `etag` and `modified` are the last etag of the state that it holds and the time of its transaction (microseconds);
    an older version did not note them down.
    """

    sha256: str
    lineage: str
    place: BackupPlace | None
    through: int = 0
    etag: int = -1
    modified: int = 0


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
    if _read(path) == note:
        path.unlink()


def read_notes(folder: Path) -> list[tuple[Path, Note]]:
    """What they say, the oldest backup first; one that cannot be read is passed over."""
    found = []
    for path in note_files(folder):
        try:
            found.append((path, _read(path)))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
    return sorted(found, key=lambda pair: pair[1].place.time if pair[1].place else 0)


def believed(connection: apsw.Connection, state: State, note: Note) -> bool:
    """Whether this is a backup of a state that the database came through; `state` is what the file says now.

    A state that was put back goes on with other transactions, never one with the same etag and time. No purge forgets
    the last row of a backup before its note was taken over once: without the row, the database knows it, or it is none.
    """
    if note.lineage != state.identity.lineage:
        return False
    if note.sha256 in state.backups or (note.etag, note.modified) == (state.last_etag, state.last_modified):
        return True
    row = connection.execute("SELECT modified FROM log WHERE etag = ?", (note.etag,)).fetchone()
    return row == (note.modified,)


def _read(path: Path) -> Note:
    return msgspec.json.decode(path.read_bytes(), type=Note)
