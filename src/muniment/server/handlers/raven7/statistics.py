"""What is in a database, in the words of RavenDB 4 and later."""

from __future__ import annotations

import asyncio
import platform

from muniment.raven7.change_vectors import change_vector
from muniment.raven7.messages import CollectionStatistics, DatabaseStatistics, Size
from muniment.server.request import Request
from muniment.server.wire import Response, json_response


async def database(request: Request) -> Response:
    """What is in a database."""
    found = await asyncio.to_thread(request.tenant.database.statistics)
    return json_response(
        DatabaseStatistics(
            last_doc_etag=found.last_etag,
            last_database_etag=found.last_etag,
            count_of_documents=found.documents,
            count_of_attachments=found.attachments,
            count_of_unique_attachments=found.attachments,
            database_change_vector=change_vector(found.last_etag, found.lineage),
            database_id=found.database_id,
            size_on_disk=Size(found.file_bytes, f"{found.file_bytes / 1e6:,.1f} MB"),
            is64_bit=platform.machine().endswith("64"),
            pager=request.tenant.database.storage.engine,
        )
    )


async def collections(request: Request) -> Response:
    """How many documents each collection has."""
    found = await asyncio.to_thread(request.tenant.database.statistics)
    counts = {name or "@empty": count for name, count in found.collections.items()}
    return json_response(CollectionStatistics(found.documents, counts))
