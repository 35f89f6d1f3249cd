"""Exports of what an embedding program has: a storage, or the backups in a folder. See `muniment.smuggler.source`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypedDict, Unpack

from muniment.backup.moment import RestorePoint
from muniment.progress import Progress
from muniment.smuggler.export import export_into_folder, export_moment, export_state
from muniment.smuggler.options import Compression, ExportOptions, Format, SmugglerOptions
from muniment.smuggler.sink import Writable
from muniment.smuggler.summary import Exported
from muniment.storage.base import Storage, system_clock


class Shape(TypedDict, total=False):
    """What `ExportOptions.of` takes."""

    format: Format | None
    compression: Compression | None
    options: SmugglerOptions | None
    overwrite: bool


def export_storage(
    storage: Storage,
    destination: str | Path | Writable,
    *,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
    **shape: Unpack[Shape],
) -> Exported:
    """Write the state of this moment to a file or a binary stream, as `DocumentDatabase.export` does."""
    options = ExportOptions.of(destination, **shape)
    return export_state(storage, destination, options, clock=clock, progress=progress or Progress())


def export_incremental(
    storage: Storage,
    folder: str | Path,
    *,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
    format: Format | None = None,
    compression: Compression | None = None,
    options: SmugglerOptions | None = None,
) -> Exported:
    """Write what changed since the last export into this folder, as `DocumentDatabase.export_incremental` does."""
    asked = ExportOptions.incremental(format, compression, options)
    return export_into_folder(storage, Path(folder), asked, clock=clock, progress=progress or Progress())


def export_backup(
    source: str | Path,
    destination: str | Path | Writable,
    *,
    at: datetime | None = None,
    etag: int | None = None,
    backup: str | None = None,
    lineage: str | None = None,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
    **shape: Unpack[Shape],
) -> Exported:
    """Write the newest moment that the backups in `source` hold, or the one that is named, without restoring it."""
    point, options = RestorePoint(at, etag, backup, lineage), ExportOptions.of(destination, **shape)
    return export_moment(Path(source), point, destination, options, clock=clock, progress=progress or Progress())
