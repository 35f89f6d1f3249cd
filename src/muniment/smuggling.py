"""Documents on their way between databases, wherever these are: on a server, in a folder, or in backups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from muniment.backup.repository import backups
from muniment.client import DocumentStore
from muniment.database import DocumentDatabase
from muniment.errors import DatabaseNotFound, InvalidInput
from muniment.exporting import Format, export_backup
from muniment.progress import Progress
from muniment.smuggler.export import Exported
from muniment.smuggler.options import SmugglerOptions
from muniment.smuggler.sink import Compression, Writable
from muniment.storage.schema import FILE


class Source(Protocol):
    """What can be exported; see `DocumentDatabase.export`."""

    def export(
        self,
        destination: str | Path | Writable,
        *,
        format: Format | None = None,
        compression: Compression | None = None,
        options: SmugglerOptions | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Exported: ...


@dataclass(frozen=True, slots=True)
class Backups:
    """A moment in a folder of backups, the newest one when none is named; it is read without restoring it."""

    folder: Path
    at: datetime | None = None
    etag: int | None = None
    backup: str | None = None

    def export(
        self,
        destination: str | Path | Writable,
        *,
        format: Format | None = None,
        compression: Compression | None = None,
        options: SmugglerOptions | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Exported:
        """See `muniment.exporting.export_backup`."""
        return export_backup(
            self.folder,
            destination,
            at=self.at,
            etag=self.etag,
            backup=self.backup,
            format=format,
            compression=compression,
            options=options,
            overwrite=overwrite,
            progress=progress,
        )


@contextmanager
def source(
    place: str,
    database: str | None = None,
    *,
    at: datetime | None = None,
    etag: int | None = None,
    backup: str | None = None,
) -> Iterator[Source]:
    """What is at this place: a URL is a server, and of a folder its content says whether it is a database or backups.

    `database` names the one on a server; `at`, `etag` or `backup` the moment in backups.
    """
    pointed = at is not None or etag is not None or backup is not None
    if is_url(place):
        if pointed:
            raise InvalidInput(f"{place} is a server, which has only its present state", "name no moment")
        with DocumentStore(place, database) as store:
            yield store
        return
    check_folder(place, database)
    folder = Path(place)
    if (folder / FILE).is_file():
        if pointed:
            raise InvalidInput(f"{place} is a database, which has only its present state", "name no moment")
        with DocumentDatabase(folder, create=False) as opened:
            yield opened
    elif folder.is_dir() and backups(folder):
        yield Backups(folder, at, etag, backup)
    else:
        raise DatabaseNotFound(
            f"there is neither a database nor a backup in {place}",
            "give the folder that holds muniment.db, one that backups were written to, or the URL of a server",
        )


def is_url(place: str) -> bool:
    """Whether this is a server, and no folder."""
    return "://" in place


def check_folder(place: str, database: str | None) -> None:
    """Raises `InvalidInput` when a database is named and the place is a folder."""
    if database:
        raise InvalidInput(f"{place} is a folder, which is one database", "name no database, or give a URL")
