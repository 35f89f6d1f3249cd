"""Dumps that are streamed out to a client and in from one: not document by document, as RavenDB's Smuggler, but as
they are. Each is an operation, which shows how far it is and can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

from muniment.exporting import Format, Shape
from muniment.server.attachments import pulled
from muniment.server.connection import Connection
from muniment.server.operations import Operation
from muniment.server.pipe import Pipe
from muniment.server.request import Request
from muniment.server.wire import BUILD_HEADER, Headers, Response, json_response
from muniment.smuggler.parameters import EXPORT, IMPORT, Pairs, options_of
from muniment.smuggler.sink import Compression

MAX_DUMP_BYTES: Final = 1 << 50  # no limit of its own: batches are on disk before the next is taken in
LOOK_SECONDS: Final = 0.25
OPERATION: Final = "muniment-operation"
_Value: TypeAlias = str | int | bool


async def import_(request: Request) -> Response:
    """Import a dump (the body, as `.ravendbdump` or `.ravendump`); answers what was imported and what was not."""
    loop = asyncio.get_running_loop()
    database = request.tenant.database
    options = options_of(request.query, IMPORT)
    incoming = pulled(request.chunks(MAX_DUMP_BYTES), loop)
    operation = request.app.operations.new("import", request.tenant.name)

    def work(operation: Operation) -> None:
        operation.result = asdict(database.import_dump(incoming, options=options, progress=operation.progress))

    await request.app.operations.start(operation, work)
    if operation.error:
        raise operation.error
    return json_response(operation.result, headers=[(OPERATION, str(operation.id))])


async def export(request: Request) -> Outgoing:
    """Stream the state of this moment as a dump, NDJSON or Parquet; options in the query or a POST's JSON object."""
    pairs = await _pairs(request)
    format, compression = (_taken(pairs, name) for name in ("format", "compression"))
    shape = Shape.of("a.ravendbdump", cast("Format | None", format), cast("Compression | None", compression))
    options = options_of(pairs, EXPORT)
    tenant, operations = request.tenant, request.app.operations
    operation = operations.new("export", tenant.name)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    pipe = Pipe(lambda: loop.call_soon_threadsafe(begun.set), operation.progress)

    def work(operation: Operation) -> None:
        told = tenant.database.export(
            pipe, format=shape.format, compression=shape.compression, options=options, progress=operation.progress
        )
        operation.result = asdict(told)

    ended = operations.start(operation, work)
    tenant.active += 1  # until the thread has ended
    ended.add_done_callback(lambda _: tenant.leave())
    outgoing = Outgoing(_headers(tenant.name, shape, operation), operation, pipe, ended, request.scope.client)
    await outgoing.follow(begun.wait())
    if not begun.is_set():
        outgoing.close()
        assert operation.error
        raise operation.error
    return outgoing


async def _pairs(request: Request) -> Pairs:
    if request.method != "POST":
        return request.query
    told: dict[str, _Value | list[_Value]] = await request.json(dict[str, _Value | list[_Value]])
    values = ((name, value if isinstance(value, list) else [value]) for name, value in told.items())
    return request.query + [(name, _text(value)) for name, each in values for value in each]


def _text(value: _Value) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _taken(pairs: Pairs, name: str) -> str | None:
    """The value of what is asked for by this name, and no longer among the pairs."""
    found = [value for key, value in pairs if key.lower() == name]
    pairs[:] = [pair for pair in pairs if pair[0].lower() != name]
    return found[0] if found else None


def _headers(name: str, shape: Shape, operation: Operation) -> Headers:
    suffix = {"gzip": ".gz", "zstd": ".zst", "none": ""}[shape.compression] if shape.format == "ndjson" else ""
    time = f"{operation.started:%Y-%m-%dT%H%M%SZ}"
    file = quote(f"{name.strip('<>')} {time}.{shape.format}{suffix}", safe="")
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
            if self._operation.error:
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
                self._operation.progress.cancel()
        for each in awaited[1:]:
            each.cancel()

    def close(self) -> None:
        """The end of the answer."""
        self._pipe.close()
        self._connection.close()
