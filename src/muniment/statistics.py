"""What is in a database, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from muniment.document import from_microseconds
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is in a database. Bytes are those of bodies and contents; `file_bytes` is what the folder takes on disk.

    `last_backup` is when the last backup was begun, and `changes_since_backup` how many changes it does not hold; None
    when none was taken. `MaintenanceActions.recoverability` tells more.
    """

    name: str
    database_id: str
    lineage: str
    documents: int
    attachments: int
    collections: dict[str, int]
    bytes: int
    file_bytes: int
    last_etag: int
    last_changed: datetime
    fingerprint: str
    last_backup: datetime | None = None
    changes_since_backup: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For `--json` and HTTP."""
        return asdict(self)

    @classmethod
    def of(cls, storage: Storage, name: str) -> Self:
        """Those of this moment."""
        snapshot = storage.snapshot()
        fingerprint = snapshot.fingerprint
        identity = storage.identity
        backup = storage.backup_facts().last
        return cls(
            name=name,
            database_id=identity.database_id,
            lineage=identity.lineage,
            documents=fingerprint.count(DOCUMENT),
            attachments=fingerprint.count(ATTACHMENT),
            collections={
                name: tally.count for (kind, name), tally in sorted(fingerprint.occupied().items()) if kind == DOCUMENT
            },
            bytes=fingerprint.size(DOCUMENT) + fingerprint.size(ATTACHMENT),
            file_bytes=storage.file_bytes,
            last_etag=snapshot.etag,
            last_changed=from_microseconds(snapshot.modified),
            fingerprint=fingerprint.short(),
            last_backup=from_microseconds(backup.time) if backup else None,
            changes_since_backup=snapshot.etag - backup.etag if backup else None,
        )
