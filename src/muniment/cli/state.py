"""What is said of a state: of a backup, a restore, a verification, or a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.cli.output import count_text, size_text, took_text
from muniment.cli.report import Row, facts, lines, number, row
from muniment.document import from_microseconds, rfc3339
from muniment.fingerprint import Fingerprint
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.security.encryption import EncryptionKey
from muniment.statistics import Statistics

if TYPE_CHECKING:
    from muniment.backup.manifest import Manifest
    from muniment.backup.plan import RestorePlan
    from muniment.backup.reader import Moment


def restored_rows(plan: RestorePlan, moment: Moment, found: Fingerprint | None, seconds: float) -> list[Row]:
    """What was found at a moment of the backups, and which files it was read from; None when nobody could look in."""
    count, backups = len(plan.files), f" in {count_text(len(plan.chain), 'backup')}" if len(plan.chain) > 1 else ""
    return [
        facts(kind=plan.manifest.kind, reason=plan.manifest.reason),
        *_content_rows(plan.manifest, moment.etag, time_text(moment.modified), found),
        row("files", f"{count}{backups} with {size_text(plan.size)}", files=count, file_bytes=plan.size),
        _took(content_size(found) if found else plan.size, seconds),
        _fingerprint(found),
    ]


def backup_rows(manifest: Manifest, seconds: float) -> list[Row]:
    """What a backup holds that took so long to write."""
    found = None if manifest.closed else manifest.fingerprint_at_snapshot()
    counts, files = manifest.counts, len(manifest.files)
    written = count_text(counts.documents + counts.attachments, "revision")
    deleted = count_text(counts.document_tombstones + counts.attachment_tombstones, "deletion")
    changed = [("written", f"{written}, {deleted}, {size_text(counts.bytes)}")]
    return [
        row("kind", f"{manifest.kind} ({manifest.reason})", kind=manifest.kind, reason=manifest.reason),
        *_content_rows(manifest, manifest.snapshot.etag, manifest.snapshot.time, found),
        Row(
            {"written": {name: getattr(counts, name) for name in counts.__struct_fields__}},
            changed if manifest.kind == "incremental" else (),
        ),
        row("files", f"{files} with {size_text(manifest.size)}", files=files, file_bytes=manifest.size),
        _took(counts.bytes, seconds),
        _fingerprint(found),
        facts(skipped=manifest.skipped, encrypted=manifest.encryption is not None),
    ]


def _content_rows(manifest: Manifest, etag: int, time: str, found: Fingerprint | None) -> list[Row]:
    rows = [
        facts(name=manifest.database.name, database_id=manifest.database.id),
        row("state of", f"{time}, etag {etag:,}", etag=etag, time=time),
    ]
    if found is None:
        return rows
    size = content_size(found)
    return [
        *rows,
        number("documents", found.count(DOCUMENT)),
        number("attachments", found.count(ATTACHMENT)),
        row("content", size_text(size), bytes=size),
    ]


def _took(size: int, seconds: float) -> Row:
    rate = round(size / seconds) if seconds else None
    return row("took", took_text(size, seconds), seconds=round(seconds, 3), bytes_per_second=rate)


def _fingerprint(found: Fingerprint | None) -> Row:
    if found is None:
        return facts(fingerprint=None)
    return row("fingerprint", found.short(), fingerprint=found.short())


def encryption_row(key: EncryptionKey | None) -> Row:
    """How a database is encrypted that was made with this key."""
    return row("encrypted", f"by {key.algorithm}" if key else "no", encryption=key and key.algorithm)


def statistics_rows(found: Statistics) -> list[Row]:
    """What is in a database."""
    text = [
        ("documents", f"{found.documents:,}"),
        *((f"  {name or '(no collection)'}", f"  {count:,}") for name, count in found.collections.items()),
        ("attachments", f"{found.attachments:,}"),
        ("content", size_text(found.bytes)),
        ("on disk", size_text(found.file_bytes)),
        ("last etag", f"{found.last_etag:,}"),
        ("last change", rfc3339(found.last_changed) if found.last_etag else "never"),
        *([("last backup", _backup_text(found))] if found.last_backup else []),
        ("database id", found.database_id),
        ("fingerprint", found.fingerprint),
    ]
    return [facts(**found.as_json()), lines(text)]


def _backup_text(found: Statistics) -> str:
    begun = rfc3339(found.last_backup) if found.last_backup else "never"
    return f"{begun}, {count_text(found.changes_since_backup or 0, 'change')} since"


def content_size(found: Fingerprint) -> int:
    """The bytes of all bodies and contents."""
    return found.size(DOCUMENT) + found.size(ATTACHMENT)


def moment_row(label: str, moment: Moment) -> Row:
    """A transaction, as an object of its own."""
    return Row({label: {"etag": moment.etag, "time": time_text(moment.modified)}}, [(label, moment_text(moment))])


def moment_text(moment: Moment) -> str:
    """A transaction, for people."""
    return f"{time_text(moment.modified)}, etag {moment.etag:,}"


def time_text(modified: int) -> str:
    """Microseconds since 1970 as everything in a backup spells them."""
    return rfc3339(from_microseconds(modified))
