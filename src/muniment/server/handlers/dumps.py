"""Dumps that are streamed out to a client and in from one: not document by document, as RavenDB's Smuggler, but as
they are. Each is an operation, which shows how far it is and can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

from muniment.backup.job import Job
from muniment.database import DocumentDatabase
from muniment.progress import Progress
from muniment.raven3.dumps import Pairs, options_of, state_of
from muniment.raven3.headers import BUILD_HEADER, KIND, OPERATION, Headers
from muniment.raven3.messages import MomentWanted
from muniment.raven3.queries import Imported, PartExported
from muniment.security.access import Right
from muniment.server.connection import Connection
from muniment.server.handlers.attachments import pulled
from muniment.server.operations import Operation
from muniment.server.permission import EXPORT_BACKUP
from muniment.server.pipe import Pipe
from muniment.server.places import check_unmoved
from muniment.server.points import plan_for
from muniment.server.request import Request
from muniment.server.tenants import SYSTEM_HOLDS, Tenant, is_system
from muniment.server.wire import Response, empty_response, json_response
from muniment.smuggler.export import export_changes, export_plan, export_state
from muniment.smuggler.filter import AnyOf
from muniment.smuggler.folder import Kind, State
from muniment.smuggler.options import Compression, ExportOptions, Format, SmugglerOptions
from muniment.telling import log

MAX_DUMP_BYTES: Final = 1 << 50  # no limit of its own: batches are on disk before the next is taken in
PAUSE_SECONDS: Final = 600.0  # what makes the dump may look through much that it leaves out
LOOK_SECONDS: Final = 0.25
_Value: TypeAlias = str | int | bool
Options: TypeAlias = dict[str, _Value | list[_Value]]


async def import_(request: Request) -> Response:
    """Import a dump (the body, as `.ravendbdump` or `.ravendump`); answers what was imported and what was not."""
    options = options_of(request.pairs, Imported)
    operation = await take_in(request, incoming(request), options)
    return json_response(operation.told["result"], headers=[(OPERATION, str(operation.id))])


def incoming(request: Request) -> Iterator[bytes]:
    """The body as it comes, for a thread, however long that takes."""
    loop = asyncio.get_running_loop()
    return pulled(request.chunks(MAX_DUMP_BYTES, paced=False), loop, PAUSE_SECONDS)


async def take_in(
    request: Request, incoming: Iterator[bytes], options: SmugglerOptions, number: int | None = None
) -> Operation:
    """Import a dump as it comes in, as the job of this number; returns when it has ended, and raises why it failed."""
    database = request.tenant.database

    def work(job: Job[None]) -> None:
        with _for(request):
            operation.told["result"] = asdict(database.import_dump(incoming, options=options, progress=job.progress))

    with request.server.transfers.one():
        operation = request.server.operations.new(Job("import", work), request.tenant.name, request.who, number=number)
        await request.server.operations.follow(operation)
    operation.job.wait()
    return operation


@contextmanager
def _for(request: Request) -> Iterator[None]:
    """Within it, this thread writes for this request; afterwards the audit log has the keys and databases."""
    if not request.tenant.is_system:
        yield
        return
    outcomes: dict[tuple[str, str], bool] = {}
    ended = "unknown"

    def tell(what: str, id: str, may: bool) -> None:  # before it is written, and again in its batch
        outcomes[what, id] = may

    try:
        databases = request.server.databases
        with databases.admission.telling(tell), databases.within(request.caller.data_roots):
            yield
        ended = "completed"
    finally:
        for (what, id), may in outcomes.items():
            request.server.audit.note(what, ended if may else "faulted", request.who, subject=id)


async def export(request: Request) -> Response | Outgoing:
    """Stream the state of this moment as a dump, NDJSON or Parquet; options in the query or a POST's JSON object."""
    pairs = await _pairs(request)
    since = state_of(pairs)
    return await give_out(request, _shape(pairs), since)


async def export_backup(request: Request) -> Response | Outgoing:
    """Stream a moment that backups hold, or a part of it, as a dump, NDJSON or Parquet, without restoring it.

    Options are in the query. It is proven as it is read: what does not come to the end of the answer is not to be used.
    """
    wanted, options = await request.message(MomentWanted), _shape(request.pairs)
    part = AnyOf.of(wanted.collections or (), wanted.ids or (), wanted.id_prefixes or ())
    options = replace(options, part=replace(options.part, filters=(*options.part.filters, *part)))
    places, plan, _ = await plan_for(request, wanted, Right.RESTORE)

    def work(pipe: Pipe, _: Headers, progress: Progress) -> dict[str, Any]:
        check_unmoved(*places)
        return asdict(export_plan(plan, pipe, options, progress=progress))

    return await _stream(request, plan.manifest.database.name, EXPORT_BACKUP, work, options)


def _shape(pairs: Pairs) -> ExportOptions:
    format, compression = (_taken(pairs, name) for name in ("format", "compression"))
    return ExportOptions.of(
        "a.ravendbdump",
        cast("Format | None", format),
        cast("Compression | None", compression),
        options_of(pairs, PartExported),
    )


async def give_out(
    request: Request,
    options: ExportOptions,
    since: tuple[State | None, bool] | None = None,
    number: int | None = None,
) -> Response | Outgoing:
    """Stream a dump out, as the job of this number."""
    tenant = request.tenant

    def work(pipe: Pipe, headers: Headers, progress: Progress) -> dict[str, Any]:
        database = tenant.database
        if since is not None:
            return _changes(database, since, pipe, headers, options, progress)
        return asdict(export_state(database.storage, pipe, options, clock=database.clock, progress=progress))

    return await _stream(request, tenant.name, "export", work, options, tenant, number)


async def _stream(
    request: Request,
    name: str,
    what: str,
    write: Callable[[Pipe, Headers, Progress], dict[str, Any]],
    options: ExportOptions,
    tenant: Tenant | None = None,
    number: int | None = None,
) -> Response | Outgoing:
    """Stream what this writes; the database, if one is read, stays open meanwhile."""
    operations, transfers = request.server.operations, request.server.transfers
    transfers.take()

    def work(job: Job[None]) -> None:
        operation.told["result"] = write(pipe, headers, job.progress)

    operation = operations.new(Job(what, work), name, request.who, number=number)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    pipe = Pipe(lambda: loop.call_soon_threadsafe(begun.set), operation.job.progress)
    headers = _headers(name, options, operation)
    if is_system(name):
        log(f"operation {operation.id} exports {name}. {SYSTEM_HOLDS}")
    ended = operations.follow(operation)
    if tenant is not None:
        tenant.active += 1  # until the thread has ended
        ended.add_done_callback(lambda _: tenant.leave())
    ended.add_done_callback(lambda _: transfers.leave())
    outgoing = Outgoing(headers, operation, pipe, ended, request.scope.client)
    await outgoing.follow(begun.wait())
    if begun.is_set():
        return outgoing
    outgoing.close()
    operation.job.wait()
    return empty_response(204, [(OPERATION, str(operation.id))])  # nothing has changed


def _changes(
    database: DocumentDatabase,
    since: tuple[State | None, bool],
    pipe: Pipe,
    headers: Headers,
    options: ExportOptions,
    progress: Progress,
) -> dict[str, Any]:
    """Export what changed since then; the headers say whether it became a full export, before the first byte."""

    def destination(kind: Kind) -> Pipe:
        headers.append((KIND, kind))
        return pipe

    state, lost = since
    told = export_changes(
        database.storage, destination, state, options, lost=lost, clock=database.clock, progress=progress
    )
    identity = database.storage.identity
    return {**asdict(told), "database_id": identity.database_id, "lineage": identity.lineage}


async def _pairs(request: Request) -> Pairs:
    if request.method != "POST":
        return request.pairs
    told = await request.message(Options)
    values = ((name, value if isinstance(value, list) else [value]) for name, value in told.items())
    return request.pairs + [(name, _text(value)) for name, each in values for value in each]


def _text(value: _Value) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _taken(pairs: Pairs, name: str) -> str | None:
    """The value of what is asked for by this name, and no longer among the pairs."""
    found = [value for key, value in pairs if key.lower() == name]
    pairs[:] = [pair for pair in pairs if pair[0].lower() != name]
    return found[0] if found else None


def _headers(name: str, options: ExportOptions, operation: Operation) -> Headers:
    suffix = {"gzip": ".gz", "zstd": ".zst", "none": ""}[options.compression] if options.format == "ndjson" else ""
    time = f"{operation.job.began:%Y-%m-%dT%H%M%SZ}"
    file = quote(f"{name.strip('<>')} {time}.{options.format}{suffix}", safe="")
    return [
        ("content-type", "application/octet-stream"),
        ("content-disposition", f"attachment; filename*=UTF-8''{file}"),
        (OPERATION, str(operation.id)),
        BUILD_HEADER,
    ]


class Outgoing:
    """An answer that a thread is making. If that fails the connection breaks, so that no part looks like the whole."""

    status = 200

    def __init__(
        self, headers: Headers, operation: Operation, pipe: Pipe, ended: asyncio.Future[None], client: str
    ) -> None:
        self._headers = headers
        self._operation = operation
        self._pipe = pipe
        self._ended = ended
        self._connection = Connection.of(client)

    async def send(self, proto: Any) -> None:
        """Give it to the connection, as fast as that takes it."""
        try:
            await self._pipe.send(proto, self.status, self._headers)
            await self.follow()
            if self._operation.job.error:
                self._connection.break_off()
        finally:
            self.close()

    async def follow(self, until: Coroutine[Any, Any, object] | None = None) -> None:
        """Wait until the thread has ended, or for this. When the client goes away, the thread is asked to stop."""
        awaited: list[asyncio.Future[Any]] = [self._ended]
        if until is not None:
            awaited.append(asyncio.ensure_future(until))
        while not (await asyncio.wait(awaited, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED))[0]:
            if self._connection.gone:
                self._operation.job.cancel()
        for each in awaited[1:]:
            each.cancel()

    def close(self) -> None:
        """The end of the answer."""
        self._pipe.close()
        self._connection.close()
