"""What is said of a state: of a backup, a restore, a verification, or a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from muniment.cli.output import count_text, size_text, took_text
from muniment.cli.report import Row, facts, lines, notes, number, row
from muniment.document import from_microseconds, rfc3339
from muniment.fingerprint import Fingerprint
from muniment.revision import ATTACHMENT, DOCUMENT

if TYPE_CHECKING:
    from muniment.backup.plan import RestorePlan
    from muniment.backup.reader import Moment
    from muniment.backup.summary import BackupSummary, MomentSummary
    from muniment.security.encryption import EncryptionKey
    from muniment.statistics import Statistics


def restored_rows(plan: RestorePlan, moment: Moment, found: Fingerprint | None, seconds: float) -> list[Row]:
    """What was found at a moment of the backups, and which files it was read from; None when nobody could look in."""
    from muniment.backup.summary import MomentSummary  # here: completing a line needs nothing of it

    return moment_rows(MomentSummary.of(plan, moment, found), seconds)


def moment_rows(found: MomentSummary, seconds: float) -> list[Row]:
    """The same, as whoever has read them tells it."""
    size = found.file_bytes if found.bytes is None else found.bytes
    backups = f" in {count_text(found.chain, 'backup')}" if found.chain > 1 else ""
    files = f"{found.files}{backups} with {size_text(found.file_bytes)}"
    contents = found.documents or 0, found.attachments or 0, found.bytes or 0
    return [
        facts(kind=found.kind, reason=found.reason, name=found.name, database_id=found.database_id),
        row("state of", f"{found.time}, etag {found.etag:,}", etag=found.etag, time=found.time),
        *([] if found.bytes is None else _content_rows(*contents)),
        row("files", files, files=found.files, file_bytes=found.file_bytes),
        _took(size, seconds),
        _fingerprint(found.fingerprint),
    ]


def backup_rows(taken: BackupSummary, seconds: float) -> list[Row]:
    """What a backup holds that took so long to write."""
    counts, files = taken.written, f"{taken.files} with {size_text(taken.file_bytes)}"
    written = count_text(counts.documents + counts.attachments, "revision")
    deleted = count_text(counts.document_tombstones + counts.attachment_tombstones, "deletion")
    changed = [("written", f"{written}, {deleted}, {size_text(counts.bytes)}")]
    return [
        row("kind", f"{taken.kind} ({taken.reason})", kind=taken.kind, reason=taken.reason),
        facts(name=taken.name, database_id=taken.database_id),
        row("state of", f"{taken.time}, etag {taken.etag:,}", etag=taken.etag, time=taken.time),
        *_content_rows(taken.documents, taken.attachments, taken.bytes),
        Row({"written": msgspec.structs.asdict(counts)}, changed if taken.kind == "incremental" else ()),
        row("files", files, files=taken.files, file_bytes=taken.file_bytes),
        _took(counts.bytes, seconds),
        _fingerprint(taken.fingerprint),
        facts(skipped=taken.skipped),
        Row({"encrypted": taken.encrypted}, [("encrypted", "yes")] if taken.encrypted else []),
        notes(taken.notes),
    ]


def _content_rows(documents: int, attachments: int, size: int) -> list[Row]:
    return [
        number("documents", documents),
        number("attachments", attachments),
        row("content", size_text(size), bytes=size),
    ]


def _took(size: int, seconds: float) -> Row:
    rate = round(size / seconds) if seconds else None
    return row("took", took_text(size, seconds), seconds=round(seconds, 3), bytes_per_second=rate)


def _fingerprint(short: str | None) -> Row:
    return facts(fingerprint=None) if short is None else row("fingerprint", short, fingerprint=short)


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
