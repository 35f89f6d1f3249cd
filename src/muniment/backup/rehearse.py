"""Rehearsing a restore: it is really done, into a temporary folder, looked at as a user would, and thrown away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from muniment.backup.plan import RestorePlan
from muniment.backup.repository import Record, write_down
from muniment.backup.restore import Restored, restore_backup
from muniment.document import from_microseconds, rfc3339
from muniment.durable import mapped_errors
from muniment.errors import Damaged, DamagedBackup
from muniment.progress import Progress

PREFIX: Final = "muniment-rehearsal-"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A restore that worked; `restored.seconds` is the time to recover, `seconds` that with the looking at it.

    `record` is the file beside the backups that says so. Where none can be written (the destination may be read-only),
    it is None, and `unrecorded` says why.
    """

    restored: Restored
    seconds: float
    record: Path | None
    unrecorded: str | None = None


def rehearse_restore(
    source: Path,
    plan: RestorePlan,
    *,
    look: Callable[[Path], list[str]],
    clock: Callable[[], int],
    place: Path | None = None,
    progress: Progress | None = None,
) -> Rehearsal:
    """Restore as planned into a folder in `place` (the system's temporary one if not given) and delete it again.

    `look` opens the restored database as a user would and returns what is wrong with it. When this returns, the restore
    worked, and a new object `rehearsal-….json` in `source` says so, if one can be written there. Raises what the
    restore raises, and `DamagedBackup` when `look` found something; damage is written down in such a record too.
    """
    progress = progress or Progress()
    try:
        restored = _try(source, plan, look, place, progress)
    except Damaged as error:
        write_down(source, _record(plan, clock, progress, problem=error.message))
        raise
    record = _record(plan, clock, progress, restored)
    return Rehearsal(restored, progress.seconds, *write_down(source, record))


def _try(
    source: Path, plan: RestorePlan, look: Callable[[Path], list[str]], place: Path | None, progress: Progress
) -> Restored:
    with mapped_errors(place or source), tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as temporary:
        target = Path(temporary) / "restored"
        restored = restore_backup(source, target, plan=plan, progress=progress)
        progress.stage = "looking at it"
        if problems := look(target):
            raise DamagedBackup(
                f"the database restored from {restored.backup.folder} is not as it should be: {problems[0]}",
                "restore from another backup, or another copy of this one",
            )
    progress.finish()
    return restored


def _record(
    plan: RestorePlan,
    clock: Callable[[], int],
    progress: Progress,
    restored: Restored | None = None,
    problem: str | None = None,
) -> Record:
    snapshot = plan.manifest.snapshot
    return Record(
        kind="rehearsal",
        backup=plan.backup.name,
        etag=restored.moment.etag if restored else snapshot.etag,
        time=rfc3339(from_microseconds(restored.moment.modified)) if restored else snapshot.time,
        manifests=tuple(backup.sha256 for backup in plan.chain),
        completed=rfc3339(from_microseconds(clock())),
        seconds=round(restored.seconds if restored else progress.seconds, 3),
        fingerprint=restored.fingerprint.as_json() if restored else None,
        problem=problem,
    )
