"""A folder of backups: the only module that writes one, and the one that says what is in it.

Nothing is ever overwritten or appended to. A backup is a folder, and it exists from the moment its manifest does, which
is written last, under another name, synced, and then renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from muniment.backup import manifest as manifests
from muniment.backup.manifest import Kind, Manifest
from muniment.errors import BackupNotFound, StorageFailure, TargetExists

DATABASE_DOCUMENT: Final = "Database.Document"


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete backup: where it is, its manifest, and the SHA-256 of that."""

    folder: Path
    manifest: Manifest
    sha256: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    def read_database_document(self) -> bytes:
        """The settings of the database as JSON."""
        with mapped_errors(self.folder):
            return (self.folder / DATABASE_DOCUMENT).read_bytes()


@contextmanager
def mapped_errors(place: Path) -> Iterator[None]:
    """Within it, what the operating system refuses becomes a `StorageFailure` that names the place."""
    try:
        yield
    except OSError as error:
        raise StorageFailure(
            f"{error.filename or place} could not be read or written: {error.strerror or error}",
            "see that there is room, and that the folder is there and yours",
        ) from error


def backups(destination: Path) -> list[Backup]:
    """The complete backups in a folder, or the one that the folder itself is, in the order of their snapshots."""
    if not destination.exists():
        raise BackupNotFound(f"there is no folder {destination}", "give the folder that the backup was written to")
    if not destination.is_dir():
        raise BackupNotFound(f"{destination} is a file, not a folder of backups", "give the folder that holds it")
    with mapped_errors(destination):
        folders = [destination, *sorted(path for path in destination.iterdir() if path.is_dir())]
        found = [read(folder) for folder in folders if (folder / manifests.NAME).is_file()]
    return sorted(found, key=lambda backup: (backup.manifest.through, backup.manifest.completed))


def read(folder: Path) -> Backup:
    """One complete backup; raises `DamagedBackup` or `UnknownFormat` when its manifest can not be read."""
    with mapped_errors(folder):
        text = (folder / manifests.NAME).read_bytes()
    return Backup(folder, manifests.decode(text, str(folder)), manifests.digest(text))


class NewBackup:
    """A backup being written. Until `publish`, it does not exist; `abandon` removes what was written."""

    def __init__(self, destination: Path, kind: Kind, time: datetime) -> None:
        self.folder = destination / f"{time:%Y-%m-%dT%H%M%S}.{time.microsecond // 1000:03d}Z.{kind}"
        with mapped_errors(destination):
            self._made = _make_folders(destination)
            try:
                self.folder.mkdir()
            except FileExistsError as error:
                raise TargetExists(f"{self.folder} is already there", "start the backup again") from error

    def path(self, name: str) -> Path:
        """Where a file of this name goes."""
        return self.folder / name

    def publish(self, manifest: Manifest, database_document: bytes) -> Backup:
        """Write the settings and then the manifest; when this returns, the backup is whole and on disk."""
        text = manifests.encode(manifest)
        with mapped_errors(self.folder):
            _write(self.folder / DATABASE_DOCUMENT, database_document)
            unnamed = self.folder / f"{manifests.NAME}.unfinished"
            _write(unnamed, text)
            _sync_folder(self.folder)
            unnamed.rename(self.folder / manifests.NAME)
            for folder in (self.folder, self.folder.parent, *self._made):
                _sync_folder(folder)
        return Backup(self.folder, manifest, manifests.digest(text))

    def abandon(self) -> None:
        """Remove what was written, and the folders that were made for it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return


def check_destination(destination: Path) -> None:
    """Raises `StorageFailure` unless this is a folder that can be written to, or can become one."""
    place = destination
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise StorageFailure(f"{place} is a file, so no backup can be written into it", "give a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise StorageFailure(f"{place} may not be written to", "give a folder of yours, or change its permissions")


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns those that were missing, the innermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
