"""What is told of a state that was backed up, restored or verified."""

from __future__ import annotations

from typing import Any

from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Moment
from muniment.cli.output import (
    count_text,
    size_text,
    took_text,
)
from muniment.document import from_microseconds, rfc3339
from muniment.fingerprint import Fingerprint
from muniment.revision import ATTACHMENT, DOCUMENT


def state_facts(plan: RestorePlan, moment: Moment, found: Fingerprint, seconds: float) -> dict[str, Any]:
    """For `--json`: what was found at this moment, and which files it was read from."""
    manifest, size = plan.manifest, content_size(found)
    return {
        "kind": manifest.kind,
        "reason": manifest.reason,
        "name": manifest.database.name,
        "database_id": manifest.database.id,
        "etag": moment.etag,
        "time": time_text(moment.modified),
        "documents": found.count(DOCUMENT),
        "attachments": found.count(ATTACHMENT),
        "bytes": size,
        "files": len(plan.files),
        "file_bytes": plan.size,
        "seconds": round(seconds, 3),
        "bytes_per_second": round(size / seconds) if seconds else None,
        "fingerprint": found.short(),
    }


def state_rows(plan: RestorePlan, moment: Moment, found: Fingerprint, seconds: float) -> list[tuple[str, str]]:
    """The same for people."""
    size = content_size(found)
    backups = f" in {count_text(len(plan.chain), 'backup')}" if len(plan.chain) > 1 else ""
    return [
        ("state of", moment_text(moment)),
        ("documents", f"{found.count(DOCUMENT):,}"),
        ("attachments", f"{found.count(ATTACHMENT):,}"),
        ("content", size_text(size)),
        ("files", f"{len(plan.files)}{backups} with {size_text(plan.size)}"),
        ("took", took_text(size, seconds)),
        ("fingerprint", found.short()),
    ]


def content_size(found: Fingerprint) -> int:
    """The bytes of all bodies and contents."""
    return found.size(DOCUMENT) + found.size(ATTACHMENT)


def moment_text(moment: Moment) -> str:
    """A transaction, for people."""
    return f"{time_text(moment.modified)}, etag {moment.etag:,}"


def time_text(modified: int) -> str:
    """Microseconds since 1970 as everything in a backup spells them."""
    return rfc3339(from_microseconds(modified))
