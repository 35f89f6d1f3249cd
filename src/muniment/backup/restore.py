"""Restoring: the planned backup, checked as it is read, into a new folder that appears whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from muniment.backup.plan import RestorePlan, plan_restore
from muniment.backup.reading import Moment
from muniment.backup.repository import Backup, backups, make_folders, mapped_errors, remove_folders
from muniment.backup.selection import Selection, read_part
from muniment.document import from_microseconds, rfc3339
from muniment.errors import Busy, DatabaseLocked, InvalidInput, MunimentError, StorageFailure, TargetExists
from muniment.failed import unicode
from muniment.fingerprint import Fingerprint
from muniment.progress import Progress
from muniment.storage.base import Identity, Lineage, system_clock
from muniment.storage.loading import SCRATCH, Loader
from muniment.storage.schema import FILE, sync_folder
from muniment.storage.sqlite import LOCK, lock


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that was restored: where, from which backup and moment, what is in it, and the seconds it took.

    `notes` are what whoever asked for it should know.
    """

    folder: Path
    backup: Backup
    moment: Moment
    fingerprint: Fingerprint
    seconds: float
    notes: tuple[str, ...] = ()


def restore_backup(
    source: Path,
    target: Path,
    *,
    defrag: bool = False,
    progress: Progress | None = None,
    plan: RestorePlan | None = None,
    selection: Selection | None = None,
    new_id: bool = False,
    clock: Callable[[], int] = system_clock,
) -> Restored:
    """Make a new database in the folder `target` from the newest backup in `source`, or as planned.

    With a selection only that part of the moment is restored; `selection.read_part` says what is proven of it. When it
    returns, the database is on disk, and without a selection its fingerprint is the manifest's. When it raises,
    `target` is as it was. An existing database or a folder that is not empty is never written to. The restored database
    begins a new lineage. It keeps its id, unless `new_id` makes another database of it, which can not be backed up to
    the folder of the first.
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
        source_id = plan.manifest.database.id
        identity = Identity(str(uuid.uuid4()) if new_id else source_id, str(uuid.uuid4()))
        loader = Loader(staging, identity)
        try:
            moment = read_part(plan, selection, loader, progress)
            progress.stage = "finishing"
            lineages = _continued(plan, identity, moment, clock(), part=selection is not None)
            loader.finish(moment.etag, moment.modified, plan.backup.settings(), lineages=lineages, defrag=defrag)
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
    return Restored(target, plan.backup, moment, loader.fingerprint, progress.seconds, plan.notes)


def _continued(plan: RestorePlan, identity: Identity, moment: Moment, now: int, *, part: bool) -> list[Lineage]:
    """The lineages of the backup and the one that begins now, which never begins before the moment it comes from."""
    database = plan.manifest.database
    time, began = (rfc3339(from_microseconds(each)) for each in (moment.modified, max(now, moment.modified)))
    new = Lineage(identity.lineage, database.lineage, moment.etag, time, began, part)
    return [*(database.lineages or [Lineage(database.lineage, None, 0, None, None)]), new]


def _check_target(target: Path) -> None:
    with mapped_errors(target):
        if "\0" in str(target):
            raise StorageFailure(f"{str(target)!r} is not the name of a folder", "give another")
        if unicode(os.path.realpath(target)) != os.path.realpath(target):
            raise InvalidInput(f"the path {str(target)!r} is not Unicode, which SQLite wants", "restore elsewhere")
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
