"""Statistics of a remote database."""

from __future__ import annotations

import msgspec

from muniment.client.retry import call
from muniment.client.wire import Flow, Request, parsed, target, unexpected
from muniment.raven3.etags import etag_number
from muniment.raven3.times import time_of
from muniment.statistics import Statistics


class _Told(msgspec.Struct):
    documents: int = msgspec.field(name="CountOfDocuments")
    attachments: int = msgspec.field(name="CountOfAttachments")
    last_etag: str = msgspec.field(name="LastDocEtag")
    database_id: str = msgspec.field(name="DatabaseId")
    lineage: str = msgspec.field(name="Lineage")
    collections: dict[str, int] = msgspec.field(name="Collections")
    bytes: int = msgspec.field(name="Bytes")
    file_bytes: int = msgspec.field(name="FileBytes")
    last_changed: str = msgspec.field(name="LastChanged")
    fingerprint: str = msgspec.field(name="Fingerprint")
    last_backup: str | None = msgspec.field(name="LastBackup", default=None)
    changes_since_backup: int | None = msgspec.field(name="ChangesSinceBackup", default=None)


def statistics(root: tuple[str, ...], name: str) -> Flow[Statistics]:
    """Counts, sizes and the fingerprint of this moment."""
    told = parsed((yield from call(Request("GET", target(*root, "stats"), repeatable=True), 200)), _Told)
    try:
        last_etag, last_changed = etag_number(told.last_etag), time_of(told.last_changed)
        last_backup = None if told.last_backup is None else time_of(told.last_backup)
    except ValueError as error:
        raise unexpected(f"the server's statistics can not be understood: {error}") from error
    return Statistics(
        name=name,
        database_id=told.database_id,
        lineage=told.lineage,
        documents=told.documents,
        attachments=told.attachments,
        collections=told.collections,
        bytes=told.bytes,
        file_bytes=told.file_bytes,
        last_etag=last_etag,
        last_changed=last_changed,
        fingerprint=told.fingerprint,
        last_backup=last_backup,
        changes_since_backup=told.changes_since_backup,
    )
