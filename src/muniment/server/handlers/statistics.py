"""What a server and its databases tell about themselves."""

from __future__ import annotations

import asyncio
import platform
from datetime import UTC, datetime, timedelta
from time import monotonic

from muniment import definitions
from muniment.definitions import Definition
from muniment.document import raven_time
from muniment.raven3.etags import attachment_etag_text, etag_text
from muniment.raven3.messages import BuildVersion, DatabaseStatistics, Health, LoadedDatabase, Memory, ServerStatistics
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Response, empty_response, json_response
from muniment.telling import log


async def database_statistics(request: Request) -> Response:
    """What is in a database."""
    found = await asyncio.to_thread(request.tenant.database.statistics)
    indexes = await asyncio.to_thread(lambda: [*definitions.listed(request.tenant.database)])
    return json_response(
        DatabaseStatistics(
            last_doc_etag=etag_text(found.last_etag),
            last_attachment_etag=attachment_etag_text(found.last_etag),
            count_of_documents=found.documents,
            count_of_attachments=found.attachments,
            database_id=found.database_id,
            is64_bit=platform.machine().endswith("64"),
            name=request.tenant.name,
            storage_engine=request.tenant.database.storage.engine,
            lineage=found.lineage,
            collections=found.collections,
            bytes=found.bytes,
            file_bytes=found.file_bytes,
            last_changed=raven_time(found.last_changed),
            fingerprint=found.fingerprint,
            count_of_indexes=len(indexes),
            indexes=[_index(each, etag_text(found.last_etag)) for each in indexes],
            last_backup=None if found.last_backup is None else raven_time(found.last_backup),
            changes_since_backup=found.changes_since_backup,
        )
    )


def _index(definition: Definition, etag: str) -> dict[str, object]:
    """An index as RavenDB 3 tells of one that is never behind."""
    return {
        "Name": definition.name,
        "LastIndexedEtag": etag,
        "IndexingErrors": 0,
        "Priority": "Normal",
        "LockMode": "Unlock",
        "IsMapReduce": definition.reduce,
        "IsInvalidIndex": False,
    }


async def server_statistics(request: Request) -> Response:
    """What the server does, and which databases are open."""
    server = request.server
    tenants = [*server.databases.open.values()]
    return json_response(
        ServerStatistics(
            total_number_of_requests=server.answered.total,
            uptime=str(timedelta(seconds=round(monotonic() - server.started))),
            memory=_memory(),
            unwritten_log_lines=log.unwritten,
            unwritten_audit_lines=server.audit.unwritten,
            loaded_databases=await asyncio.to_thread(lambda: [_loaded(tenant) for tenant in tenants]),
        )
    )


def _loaded(tenant: Tenant) -> LoadedDatabase:
    found = tenant.database.statistics()
    idle = timedelta(seconds=monotonic() - tenant.used)
    humane = f"{found.file_bytes / 1e6:,.1f} MB"
    return LoadedDatabase(
        name=tenant.name,
        last_activity=raven_time(datetime.now(UTC) - idle),
        transactional_storage_allocated_size=found.file_bytes,
        transactional_storage_allocated_size_humane_size=humane,
        total_database_size=found.file_bytes,
        total_database_humane_size=humane,
        count_of_documents=found.documents,
        count_of_attachments=found.attachments,
    )


def _memory() -> Memory:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
            lines = dict(line.split(":", 1) for line in status)
    except OSError:
        return Memory()
    return Memory(int(lines.get("VmRSS", "0").split()[0]) * 1024, 0, 0)


async def build_version(request: Request) -> Response:
    """Which version this is, in RavenDB's terms and ours."""
    return json_response(BuildVersion())


async def topology(request: Request) -> Response:
    """There is no replication."""
    return empty_response(404)


async def live(request: Request) -> Response:
    """The process answers."""
    return json_response(Health("live"))


async def ready(request: Request) -> Response:
    """The system database can be read, and the server is not about to stop."""
    if request.server.stopping:
        return json_response(Health("stopping"), 503)
    request.server.databases.system.database.get("Raven/Ready")
    return json_response(Health("ready"))
