"""What a server that was killed has left: finished or removed when the next one starts, and otherwise told in its log.

Only what is surely Muniment's is removed: unfinished files by their names, and databases whose deletion had begun.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from muniment.backup.manifest import NAME as MANIFEST
from muniment.backup.staging import NAME as STAGING
from muniment.backup.staging import forget_beside
from muniment.command import Delete, Put
from muniment.document import Document, decode
from muniment.errors import Busy, ConcurrencyConflict, MunimentError
from muniment.raven3.names import COMPACT_STATUS, DATABASES, RESTORE_IN_PROGRESS, RESTORE_STATUS, ROTATE_STATUS, SYSTEM
from muniment.rehearsal import PREFIX as REHEARSAL
from muniment.server.status import FILE as STATUS_FILE
from muniment.server.status import interrupted
from muniment.server.tenants import Databases
from muniment.storage import engines
from muniment.storage.location import location_of
from muniment.telling import log

BEING_REMOVED: Final = "Raven/BeingRemoved/"
ALSO: Final = (STATUS_FILE, f"{STATUS_FILE}.new")  # files of ours beside those of the database


def clean(databases: Databases) -> None:
    """Finish deletions, remove what was unfinished, and tell of databases that no list names.

    What cannot be read or removed is told; nothing of it keeps a server from starting.
    """
    for name, folder in databases.folders():
        if name != SYSTEM:
            with _passing_over(folder):
                _clean_listed(databases, name, folder)
                databases.settle_key(name)
    for document in _all(databases, BEING_REMOVED):
        folder = location_of(decode(document.body)["Folder"])
        with _passing_over(folder):
            if engines.is_folder(folder):
                _finish(folder)
            elif folder not in {taken for _, taken in databases.folders()}:  # nobody has made another one there
                engines.remove(folder)
            databases.notes.tell({document.id: None})
    for folder in databases.data_dir.glob(f"{REHEARSAL}*"):
        with _passing_over(folder):
            shutil.rmtree(folder)
            log(f"{folder} was left by a rehearsal and has been removed")
    for folder in _below(databases.data_dir, {folder for _, folder in databases.folders()}):
        with _passing_over(folder):
            _clean_unlisted(folder)


def recover(databases: Databases) -> None:
    """Say of the restores and compactions that ran when their server ended that they were interrupted.

    While another server with the same system database runs one, it is that one's.
    """
    system, notes = databases.system.database, databases.notes
    begun = system.get(RESTORE_IN_PROGRESS)
    if begun and not notes.holder(RESTORE_STATUS):
        if not system.get(RESTORE_STATUS):  # it had not said anything yet
            _correct(databases, RESTORE_STATUS, 0, interrupted("restore", {}))
        _correct(databases, RESTORE_IN_PROGRESS, begun.etag, None)
    for prefix, what in ((RESTORE_STATUS, "restore"), (COMPACT_STATUS, "compaction"), (ROTATE_STATUS, "rotation")):
        for document in _all(databases, prefix):
            told = decode(document.body)
            running = isinstance(told, dict) and told.get("State") == "Running"
            if running and not notes.holder(document.id):
                _correct(databases, document.id, document.etag, interrupted(what, told))


def _correct(databases: Databases, id: str, etag: int, told: dict[str, Any] | None) -> None:
    """Write this, or delete it, in place of the version with this etag; of several servers, one does."""
    system = databases.system.database
    if not system.storage.shared:
        databases.notes.tell({id: told})
        return
    with suppress(ConcurrencyConflict):
        system.batch([Delete(id, etag) if told is None else Put(id, told, None, etag)])
        if told is not None:
            log(f"{id}: what ran there was interrupted, because its server has ended")


@contextmanager
def _passing_over(folder: Path) -> Iterator[None]:
    try:
        yield
    except Busy:
        log(f"a process still works in {folder}, which no server does")
    except (MunimentError, OSError) as error:
        log(f"what was left in {folder} is still there: {error}")


def _all(databases: Databases, prefix: str) -> list[Document]:
    found: list[Document] = []
    while page := databases.system.database.by_prefix(prefix, start=len(found), limit=1024):
        found += page
    return found


def _clean_listed(databases: Databases, name: str, folder: Path) -> None:
    if engines.is_being_removed(folder):
        databases.system.database.batch([Delete(DATABASES + name)])
        log(f"the deletion of the database {name} was interrupted")
        _finish(folder)
    elif folder.is_dir():
        for left in engines.remove_unfinished(folder):
            log(f"{folder / left} was unfinished and has been removed")


def _finish(folder: Path) -> None:
    if engines.is_being_removed(folder):
        engines.finish_removing(folder, also=ALSO)
        log(f"the database in {folder} was being deleted, which is done now")


def _clean_unlisted(folder: Path) -> None:
    if folder.name.endswith(STAGING) and forget_beside(folder):
        log(f"{folder} was left by a restore and has been removed")
        return
    _finish(folder)
    if not folder.is_dir():
        return
    for left in engines.remove_unfinished(folder):
        log(f"{folder / left} was unfinished and has been removed")
    if engines.exists(folder):
        log(f"{folder} holds a database that no list names: make one with this Raven/DataDir to use it, or delete it")


def _below(data_dir: Path, listed: set[Path]) -> Iterator[Path]:
    """All folders but those of databases, and those of backups."""
    for root, folders, files in os.walk(data_dir):
        if Path(root) in listed or MANIFEST in files:
            folders.clear()
        elif Path(root) != data_dir:
            yield Path(root)
