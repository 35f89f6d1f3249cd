"""Backups taken by a process that could not write to the database: one note for each, in the database's folder.

`backup_facts` reads them together with what the database itself remembers, and the process that writes to it takes them
over. They stay when the database's files are put back to an older state, so each names the transaction at which its
backup ends: a note counts only if this log has that transaction.
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
    older versions did not record them.
    """

    sha256: str
    lineage: str
    place: BackupPlace | None
    through: int = 0
    etag: int = -1
    modified: int = 0


def leave_note(folder: Path, note: Note) -> None:
    """Leave a note of this backup in the database's folder; on disk when this returns."""
    path = folder / f"muniment.backup-{note.sha256}.note"
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(msgspec.json.encode(note))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(folder)


def note_files(folder: Path) -> list[Path]:
    """The notes that have not been taken over yet."""
    return sorted(Path(entry.path) for entry in os.scandir(folder) if _NAME.fullmatch(entry.name))


def remove_note(path: Path, note: Note) -> None:
    """Remove a note that was taken over, unless it has been updated since."""
    if _read(path) == note:
        path.unlink()


def read_notes(folder: Path) -> list[tuple[Path, Note]]:
    """The notes and their files, the oldest backup first; one that cannot be read is skipped."""
    found = []
    for path in note_files(folder):
        try:
            found.append((path, _read(path)))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
    return sorted(found, key=lambda pair: pair[1].place.time if pair[1].place else 0)


def believed(connection: apsw.Connection, state: State, note: Note) -> bool:
    """Whether this is a backup of a state that the database was once in; `state` is what the file holds now.

    A database put back to an older state goes on with other transactions, never one with the same etag and time. No
    purge forgets the last row of a backup before its note is taken over, so when the row is missing, either the
    database already knows the backup, or it is not one of this history.
    """
    if note.lineage != state.identity.lineage:
        return False
    if note.sha256 in state.backups or (note.etag, note.modified) == (state.last_etag, state.last_modified):
        return True
    row = connection.execute("SELECT modified FROM log WHERE etag = ?", (note.etag,)).fetchone()
    return row == (note.modified,)


def _read(path: Path) -> Note:
    return msgspec.json.decode(path.read_bytes(), type=Note)
