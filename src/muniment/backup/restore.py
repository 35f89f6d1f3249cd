"""Restoring: the planned backup, checked as it is read, into a new folder that appears whole or not at all."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from muniment.backup.plan import RestorePlan, plan_restore
from muniment.backup.reading import Moment
from muniment.backup.repository import Backup, backups, make_folders, mapped_errors, remove_folders
from muniment.backup.selection import Selection, read_part
from muniment.errors import Busy, DatabaseLocked, MunimentError, StorageFailure, TargetExists
from muniment.fingerprint import Fingerprint
from muniment.progress import Progress
from muniment.storage.loading import SCRATCH, Loader
from muniment.storage.schema import FILE, sync_folder
from muniment.storage.sqlite import LOCK, lock


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that was restored: where, from which backup and moment, what is in it, and the seconds it took."""

    folder: Path
    backup: Backup
    moment: Moment
    fingerprint: Fingerprint
    seconds: float


def restore_backup(
    source: Path,
    target: Path,
    *,
    defrag: bool = False,
    progress: Progress | None = None,
    plan: RestorePlan | None = None,
    selection: Selection | None = None,
) -> Restored:
    """Make a new database in the folder `target` from the newest backup in `source`, or as planned.

    With a selection only that part of the moment is restored; `selection.read_part` says what is proven of it. When it
    returns, the database is on disk, and without a selection its fingerprint is the manifest's. When it raises,
    `target` is as it was. An existing database or a folder that is not empty is never written to. The restored database
    keeps its id and begins a new lineage.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    plan = plan or plan_restore(backups(source), str(source))
    _check_target(target)
    target = Path(os.path.realpath(target))  # "." has no name of its own, and a link stands for another folder
    staging = target.with_name(f"{target.name}.restoring")
    _check_staging(staging)
    with mapped_errors(target):
        made = make_folders(staging.parent)
    try:
        with mapped_errors(target):
            staging.mkdir(exist_ok=True)
        held = lock(staging)
    except DatabaseLocked as error:
        raise Busy(f"a restore to {target} is already running", "wait for it, or restore to another folder") from error
    except BaseException:
        remove_folders(made)
        raise
    try:
        _check_target(target)
        _clear(staging)
        loader = Loader(staging, plan.manifest.database.id, str(uuid.uuid4()))
        try:
            moment = read_part(plan, selection, loader, progress)
            progress.stage = "finishing"
            loader.finish(moment.etag, moment.modified, plan.backup.settings(), defrag=defrag)
        finally:
            loader.close()
        progress.check()  # whoever wanted it may have gone: then nobody would know of the database
        _check_target(target)
        with mapped_errors(target):
            staging.rename(target)  # with its lock, so that nobody else can have begun to work in it
            for folder in (target.parent, *(path.parent for path in made)):
                sync_folder(folder)
    except BaseException:
        with suppress(MunimentError, OSError):
            _clear(staging)
            (staging / LOCK).unlink()
            staging.rmdir()
        remove_folders(made)
        raise
    finally:
        held.release()
    progress.finish()
    return Restored(target, plan.backup, moment, loader.fingerprint, progress.seconds)


def _check_target(target: Path) -> None:
    with mapped_errors(target):
        if "\0" in str(target):
            raise StorageFailure(f"{str(target)!r} is not the name of a folder", "give another")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise TargetExists(
                f"{target} already exists; a restore never writes over anything",
                "restore to a new folder, or say how to restore into this one (--on-conflict)",
            )


def _check_staging(staging: Path) -> None:
    """Raises `TargetExists` if there is anything but what a restore that was killed can have left."""
    with mapped_errors(staging):
        if staging.exists() and not (staging.is_dir() and all(map(_is_ours, staging.iterdir()))):
            raise TargetExists(
                f"{staging}, where the restore would work, is somebody else's",
                "move it away, or restore to another folder",
            )


def _is_ours(path: Path) -> bool:
    return path.name.startswith((FILE, SCRATCH, LOCK)) and path.is_file()


def _clear(staging: Path) -> None:
    """Remove what a restore has left, except for the lock."""
    with mapped_errors(staging):
        for path in staging.iterdir():
            if path.name != LOCK and _is_ours(path):
                path.unlink()
