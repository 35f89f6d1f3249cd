"""Rehearsing a restore: it is really done, into a temporary folder, looked at as a user would, and thrown away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from muniment.backup.plan import RestorePlan
from muniment.backup.repository import write_rehearsal
from muniment.backup.restore import Restored, restore_backup
from muniment.document import from_microseconds, rfc3339
from muniment.errors import DamagedBackup
from muniment.progress import Progress


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A restore that worked, and the file beside the backup that says so; `restored.seconds` is the time to recover."""

    restored: Restored
    record: Path


def rehearse(
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
    worked, and a new object `rehearsal-….json` in `source` says so. Raises what the restore raises, and `DamagedBackup`
    when `look` found something.
    """
    progress = progress or Progress()
    with tempfile.TemporaryDirectory(prefix="muniment-rehearsal-", dir=place) as temporary:
        target = Path(temporary) / "restored"
        restored = restore_backup(source, target, plan=plan, progress=progress)
        progress.stage = "looking at it"
        problems = look(target)
        if problems:
            raise DamagedBackup(
                f"the database restored from {restored.backup.folder} is not as it should be: {problems[0]}",
                "restore from another backup, or another copy of this one",
            )
    now = from_microseconds(clock())
    facts = {
        "backup": restored.backup.name,
        "manifest": restored.backup.sha256,
        "etag": restored.moment.etag,
        "time": rfc3339(from_microseconds(restored.moment.modified)),
        "rehearsed": rfc3339(now),
        "seconds": round(restored.seconds, 3),
        "fingerprint": restored.fingerprint.as_json(),
    }
    return Rehearsal(restored, write_rehearsal(source, facts, now))
