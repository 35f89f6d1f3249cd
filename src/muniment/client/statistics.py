"""Statistics of a remote database."""

from __future__ import annotations

from muniment.client.retry import call
from muniment.client.wire import Flow, Request, parsed, target, unexpected
from muniment.raven3.etags import etag_number
from muniment.raven3.messages import DatabaseStatistics
from muniment.raven3.times import time_of
from muniment.statistics import Statistics


def statistics(root: tuple[str, ...], name: str) -> Flow[Statistics]:
    """Counts, sizes and the fingerprint of this moment."""
    told = parsed((yield from call(Request("GET", target(*root, "stats"), repeatable=True), 200)), DatabaseStatistics)
    try:
        last_etag, last_changed = etag_number(told.last_doc_etag), time_of(told.last_changed)
        last_backup = None if told.last_backup is None else time_of(told.last_backup)
    except ValueError as error:
        raise unexpected(f"the server's statistics cannot be understood: {error}") from error
    return Statistics(
        name=name,
        database_id=told.database_id,
        lineage=told.lineage,
        documents=told.count_of_documents,
        attachments=told.count_of_attachments,
        collections=told.collections,
        bytes=told.bytes,
        file_bytes=told.file_bytes,
        last_etag=last_etag,
        last_changed=last_changed,
        fingerprint=told.fingerprint,
        last_backup=last_backup,
        changes_since_backup=told.changes_since_backup,
    )
