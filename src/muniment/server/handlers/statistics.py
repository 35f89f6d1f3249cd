"""What a server and its databases tell about themselves."""

from __future__ import annotations

import asyncio
import platform
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from muniment.document import raven_time
from muniment.raven3.etags import attachment_etag_text, etag_text
from muniment.raven3.names import BUILD, PRODUCT
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Response, empty_response, json_response
from muniment.telling import log


async def database_statistics(request: Request) -> Response:
    """What is in a database."""
    found = await asyncio.to_thread(request.tenant.database.statistics)
    return json_response(
        {
            "StorageEngine": request.tenant.database.storage.engine,
            "LastDocEtag": etag_text(found.last_etag),
            "LastAttachmentEtag": attachment_etag_text(found.last_etag),
            "CountOfIndexes": 0,
            "CountOfResultTransformers": 0,
            "InMemoryIndexingQueueSizes": [],
            "ApproximateTaskCount": 0,
            "CountOfDocuments": found.documents,
            "CountOfAttachments": found.attachments,
            "StaleIndexes": [],
            "CountOfStaleIndexesExcludingDisabledAndAbandoned": 0,
            "CurrentNumberOfParallelTasks": 0,
            "Indexes": [],
            "Errors": [],
            "Prefetches": [],
            "DatabaseId": found.database_id,
            "SupportsDtc": False,
            "Is64Bit": platform.machine().endswith("64"),
            "DatabaseTransactionVersionSizeInMB": -1,
            "Name": request.tenant.name,
            "Lineage": found.lineage,
            "Collections": found.collections,
            "Bytes": found.bytes,
            "FileBytes": found.file_bytes,
            "LastChanged": raven_time(found.last_changed),
            "Fingerprint": found.fingerprint,
            "LastBackup": None if found.last_backup is None else raven_time(found.last_backup),
            "ChangesSinceBackup": found.changes_since_backup,
        }
    )


async def server_statistics(request: Request) -> Response:
    """What the server does, and which databases are open."""
    app = request.server
    tenants = [*app.databases.open.values()]
    return json_response(
        {
            "ServerName": "muniment",
            "TotalNumberOfRequests": app.requests,
            "Uptime": str(timedelta(seconds=round(monotonic() - app.started))),
            "Memory": _memory(),
            "UnwrittenLogLines": log.unwritten,
            "LoadedDatabases": await asyncio.to_thread(lambda: [_loaded(tenant) for tenant in tenants]),
            "LoadedFileSystems": [],
        }
    )


def _loaded(tenant: Tenant) -> dict[str, Any]:
    found = tenant.database.statistics()
    idle = timedelta(seconds=monotonic() - tenant.used)
    return {
        "Name": tenant.name,
        "LastActivity": raven_time(datetime.now(UTC) - idle),
        "TransactionalStorageAllocatedSize": found.file_bytes,
        "TransactionalStorageAllocatedSizeHumaneSize": f"{found.file_bytes / 1e6:,.1f} MB",
        "TotalDatabaseSize": found.file_bytes,
        "TotalDatabaseHumaneSize": f"{found.file_bytes / 1e6:,.1f} MB",
        "CountOfDocuments": found.documents,
        "CountOfAttachments": found.attachments,
        "IndexStorageSize": 0,
        "Metrics": None,
        "StorageStats": None,
    }


def _memory() -> dict[str, Any]:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
            lines = dict(line.split(":", 1) for line in status)
    except OSError:
        return {}
    kilobytes = int(lines.get("VmRSS", "0").split()[0])
    return {"ResidentSetSizeInBytes": kilobytes * 1024, "DatabaseCacheSizeInMB": 0, "TotalProcessMemorySize": 0}


async def build_version(request: Request) -> Response:
    """Which version this is, in RavenDB's terms and ours."""
    return json_response({"ProductVersion": PRODUCT, "BuildVersion": BUILD})


async def topology(request: Request) -> Response:
    """There is no replication."""
    return empty_response(404)


async def live(request: Request) -> Response:
    """The process answers."""
    return json_response({"Status": "live"})


async def ready(request: Request) -> Response:
    """The system database can be read, and the server is not about to stop."""
    if request.server.stopping:
        return json_response({"Status": "stopping"}, 503)
    request.server.databases.system.database.get("Raven/Ready")
    return json_response({"Status": "ready"})
