"""Restoring: the planned backup, checked as it is read, into a new folder that appears whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from muniment.backup.plan import plan_restore
from muniment.backup.repository import Backup, backups, mapped_errors
from muniment.backup.verify import compare, read_backup
from muniment.document import to_microseconds
from muniment.errors import Busy, DatabaseLocked, TargetExists
from muniment.fingerprint import Fingerprint
from muniment.progress import Progress
from muniment.storage.loading import Loader
from muniment.storage.schema import sync_folder
from muniment.storage.sqlite import LOCK, lock


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that was restored: where, from which backup, what is in it, and how long it took in seconds."""

    folder: Path
    backup: Backup
    fingerprint: Fingerprint
    seconds: float


def restore_backup(source: Path, target: Path, *, defrag: bool = False, progress: Progress | None = None) -> Restored:
    """Make a new database in the folder `target` from the newest backup in `source`.

    When it returns, the database is on disk and its fingerprint is the manifest's. When it raises, `target` is as it
    was. An existing database or a folder that is not empty is never written to. The restored database keeps its id and
    begins a new lineage.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    plan = plan_restore(backups(source), str(source))
    _check_target(target)
    staging = target.with_name(f"{target.name}.restoring")
    with mapped_errors(target):
        staging.mkdir(parents=True, exist_ok=True)
    try:
        held = lock(staging)
    except DatabaseLocked as error:
        raise Busy(f"a restore to {target} is already running", "wait for it, or restore to another folder") from error
    try:
        _clear(staging)
        loader = Loader(staging, plan.manifest.database.id, str(uuid.uuid4()))
        try:
            read_backup(plan, loader, progress)
            compare(plan.manifest.fingerprint_at_snapshot(), loader.fingerprint, plan.backup)
            progress.stage = "finishing"
            snapshot = plan.manifest.snapshot
            loader.finish(snapshot.etag, _microseconds(snapshot.time), defrag=defrag)
        finally:
            loader.close()
        _check_target(target)
        with mapped_errors(target):
            (staging / LOCK).unlink()
            staging.rename(target)
            sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        held.release()
    progress.finish()
    return Restored(target, plan.backup, loader.fingerprint, progress.seconds)


def _check_target(target: Path) -> None:
    with mapped_errors(target):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise TargetExists(
                f"{target} already exists; a restore never writes over anything", "restore to a new folder"
            )


def _clear(staging: Path) -> None:
    """Remove what a restore that was killed has left."""
    with mapped_errors(staging):
        for path in staging.iterdir():
            if path.name != LOCK:
                path.unlink() if path.is_file() else shutil.rmtree(path)


def _microseconds(time: str) -> int:
    from datetime import datetime

    return to_microseconds(datetime.fromisoformat(time))
