"""A restore that is only told of: what would be read, and the exact transaction at which it would stop."""

from __future__ import annotations

from typing import Any

from muniment.backup.plan import RestorePlan
from muniment.backup.reader import check_files, moment_of
from muniment.document import from_microseconds, rfc3339
from muniment.progress import Progress


def dry_run(plan: RestorePlan, source: str) -> dict[str, Any]:
    """The plan as JSON; raises `UnreachablePoint` and `DamagedBackup` where the files show that it can not be kept.

    Of the files, only the etags and times of the last backup are read, and those only for a moment inside it; they are
    compared with their SHA-256 first.
    """
    if plan.partial:
        check_files([(plan.backup, file) for file in plan.manifest.files], Progress())
    moment = moment_of(plan)
    return {
        "source": source,
        "name": plan.manifest.database.name,
        "database_id": plan.manifest.database.id,
        "etag": moment.etag,
        "time": rfc3339(from_microseconds(moment.modified)),
        "rows": plan.rows,
        "file_bytes": plan.size,
        "backups": [
            {
                "backup": str(backup.folder),
                "kind": backup.manifest.kind,
                "files": [{"name": file.name, "rows": file.rows, "bytes": file.size} for file in backup.manifest.files],
            }
            for backup in plan.chain
        ],
        "notes": list(plan.notes),
    }
