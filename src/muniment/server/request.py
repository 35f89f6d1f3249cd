"""A request as handlers see it: what was asked for, of which database, and its body read within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from muniment.document import MAX_BODY_BYTES, MAX_METADATA_BYTES
from muniment.errors import InvalidDocument
from muniment.raven3.headers import VERSION, metadata_json_of
from muniment.raven3.queries import Query
from muniment.raven7.names import is_later
from muniment.server.audit import Who
from muniment.server.bodies import SLOWEST, SMALL, Pace
from muniment.server.callers import OWNER, Caller
from muniment.server.heads import Writing
from muniment.server.packed import PIECE_BYTES, Unpacker, unpacker_for
from muniment.server.query import query_as
from muniment.server.routing import Endpoint
from muniment.server.state import ServerState
from muniment.server.tenants import Tenant
from muniment.server.wire import CutShort, Refused, is_version, wanted_etag

Q = TypeVar("Q", bound=Query)
T = TypeVar("T")

MAX_REQUEST_BYTES: Final = MAX_BODY_BYTES + MAX_METADATA_BYTES
DRAIN_SECONDS: Final = 5.0
DRAIN_PAUSE: Final = 0.5


class Ready(NamedTuple):
    """A request that stores a document, of which all but the body was looked at: it may be done."""

    name: str
    id: str
    tenant: Tenant
    caller: Caller
    endpoint: Endpoint
    head: Writing


class Request:
    """One request. `name` is the database's in the URL, None for the system database; `argument` what follows the
    route: the id in `docs/{id}`."""

    __slots__ = (
        "_begun",
        "_pairs",
        "argument",
        "caller",
        "coming",
        "ended",
        "endpoint",
        "head",
        "headers",
        "held",
        "later",
        "method",
        "name",
        "path",
        "proto",
        "scope",
        "server",
        "tenant",
    )

    caller: Caller
    endpoint: Endpoint
    tenant: Tenant

    def __init__(self, server: ServerState, scope: Any, proto: Any, ready: Ready | None = None) -> None:
        self.server = server
        self.scope = scope
        self.proto = proto
        self.method: str = scope.method
        self.path: str = scope.path
        self.headers = scope.headers
        self.head: Writing | None = None
        self.later = False  # whether it is in the words of RavenDB 4 and later
        self.name: str | None = None
        self.argument = ""
        if ready is None:
            self.later = is_later(self.headers.get(VERSION))
        else:
            self.name, self.argument, _, self.caller, self.endpoint, self.head = ready
        self.coming: Any = None  # the body, if it was asked for
        self.held = 0
        self.ended = False
        self._begun: AsyncIterator[bytes] | None = None  # the body, if it is read in parts
        self._pairs: list[tuple[str, str]] | None = None

    @property
    def url(self) -> str:
        """The path and query, for the body of an error."""
        query = self.scope.query_string
        return f"{self.path}?{query}" if query else self.path

    @property
    def root(self) -> str:
        """The address of this server, as it was asked by."""
        scheme = "https" if self.server.settings.tls_certificate else "http"
        return f"{scheme}://{self.headers.get('host')}"

    @property
    def source(self) -> str:
        """The address that it came from."""
        host: str = self.scope.client.rpartition(":")[0]
        return host

    @property
    def who(self) -> Who:
        """Who asks, for those who look later; once that is known."""
        return Who(self.caller.name, self.caller is OWNER, self.source)

    @property
    def is_local(self) -> bool:
        """Whether the client has shown that it may read the server's own files."""
        return self.server.local.is_known_to(self.headers)

    async def read(self, what: Callable[..., T], *args: Any) -> T:
        """What this reads of the database: here where that takes microseconds, else in a thread while others go on."""
        if not self.tenant.database.storage.shared:
            return what(*args)
        return await asyncio.get_running_loop().run_in_executor(self.server.reads, what, *args)

    def backup_folder(self, text: str) -> Path:
        """The folder with backups that this names, if whoever asks may name it; raises as `Databases` does."""
        within = self.caller.backup_roots
        return self.server.databases.backup_folder(text, local=self.is_local, within=within)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of the query string, in their order."""
        if self._pairs is None:
            text = self.scope.query_string
            try:
                self._pairs = parse_qsl(text, keep_blank_values=True, errors="strict") if text else []
            except ValueError as error:
                raise Refused(400, f"the query string cannot be read: {error}", "encode it as UTF-8") from error
        return self._pairs

    def asked(self, type: type[Q]) -> Q:
        """The query as the type that the route names; raises `Refused` (400) for what cannot be read so."""
        assert type is self.endpoint.query, f"{self.path} is not asked with {type}"
        return query_as(type, self.pairs)

    @property
    def expected_text(self) -> str | None:
        """The etag that a write expects the document to have, as it was sent."""
        text: str | None = self.headers.get("if-none-match") or self.headers.get("if-match")
        return text.strip().strip('"') if text else None

    @property
    def expected(self) -> int | None:
        """The etag that a write expects, 0 for "must not exist", None for "whatever it is"."""
        text = None if self.head else self.expected_text
        return None if text is None else wanted_etag(text)

    def has(self, etag: str) -> bool:
        """Whether the client says that it has this version already."""
        return is_version(self.headers.get("if-none-match"), etag)

    @property
    def content_length(self) -> int | None:
        """The length that the body was announced with."""
        if self.head:
            return self.head.length
        text: str | None = self.headers.get("content-length")
        return int(text) if text is not None and text.isascii() and text.isdigit() else None

    @property
    def metadata(self) -> bytes:
        """The metadata of a document that the headers are."""
        return self.head.metadata if self.head else metadata_json_of(self.headers.items())

    async def body(self, limit: int = MAX_REQUEST_BYTES) -> bytes:
        """The whole body, unpacked; raises `Refused` when it is too large and `CutShort` when it is not all there."""
        if self.head:
            return await self._body(limit)
        unpacker = unpacker_for(self.headers.get("content-encoding"))
        body = await self._body(limit)
        return await self._unpacked(unpacker, body, limit) if unpacker and body else body

    async def _unpacked(self, unpacker: Unpacker, body: bytes, limit: int) -> bytes:
        bodies, parts, size = self.server.bodies, [], 0
        limit = min(limit, bodies.memory - len(body))
        for piece in chain(unpacker.pieces(body), unpacker.rest()):
            size += len(piece)
            _check_size(size, limit)
            if size > SMALL:
                self.held += bodies.hold(len(piece))
            parts.append(piece)
            if len(piece) == PIECE_BYTES:
                await asyncio.sleep(0)  # others are served meanwhile
        return b"".join(parts)

    async def _body(self, limit: int) -> bytes:
        length = self.content_length
        if length == 0:
            return b""
        if length is not None and length <= SMALL:
            try:
                body = await self.server.bodies.small(self.coming or self.proto())
            except RuntimeError as error:
                raise cut_short() from error
            if len(body) != length:
                raise cut_short()
            self.ended = True
            return body
        limit = min(limit, self.server.bodies.memory)
        if length is not None:
            _check_size(length, limit)
            self.held += self.server.bodies.hold(length)
        elif not self._is_chunked():
            return b""
        return await self._large(length, limit)

    async def _large(self, length: int | None, limit: int) -> bytes:
        bodies, parts, empty, told, pace = self.server.bodies, [], 0, 0, Pace()
        async with bodies.in_time(pace) as timer:
            async for chunk in self._parts():
                pace.received += len(chunk)
                _check_size(pace.received, limit)
                if length is None:
                    self.held += bodies.hold(len(chunk))
                parts.append(chunk)
                empty += not chunk
                if pace.received - told >= SLOWEST:
                    told = pace.received
                    timer.reschedule(bodies.until(pace))
        _check_end(length, pace.received, empty)
        self.ended = True
        return b"".join(parts)

    async def chunks(self, limit: int, *, paced: bool = True) -> AsyncIterator[bytes]:
        """The body as it comes, unpacked; raises as `body` does, but only when it gets there.

        Unless it is `paced`, it may take as long as it likes.
        """
        unpacker, size = unpacker_for(self.headers.get("content-encoding")), 0
        async for chunk in self._chunks(limit, paced=paced):
            for piece in unpacker.pieces(chunk) if unpacker else (chunk,):
                size += len(piece)
                _check_size(size, limit)
                yield piece
        for piece in unpacker.rest() if unpacker else ():
            yield piece

    async def _chunks(self, limit: int, *, paced: bool) -> AsyncIterator[bytes]:
        length, empty, pace = self.content_length, 0, Pace()
        if length is not None:
            _check_size(length, limit)
        elif not self._is_chunked():
            return
        coming = self._parts()
        while True:
            try:
                async with self.server.bodies.in_time(pace) if paced else nullcontext():
                    chunk = await anext(coming)
            except StopAsyncIteration:
                break
            pace.received += len(chunk)
            _check_size(pace.received, limit)
            if chunk:
                yield chunk
            else:
                empty += 1
        _check_end(length, pace.received, empty)
        self.ended = True

    async def _parts(self) -> AsyncIterator[bytes]:
        """The body as it comes. It begins only once, so that a refusal goes on where the reading was left."""
        if self._begun is None:
            self._begun = aiter(self.proto)
        with suppress(StopAsyncIteration):
            while True:
                yield await anext(self._begun)

    def _is_chunked(self) -> bool:
        """Whether there is a body of a length that nobody knows; raises `Refused` (501) if it is packed."""
        encoding: str | None = self.headers.get("transfer-encoding")
        if encoding is None:
            return False
        if encoding.strip().lower() != "chunked":
            raise Refused(501, f"the transfer encoding {encoding!r} is not known here", "send the body as it is")
        return True

    async def drain(self) -> bool:
        """Let in what is left of the body and forget it, within a limit of bytes and time; whether all of it came.

        Many clients read no answer before they have sent everything; without this a refusal would not reach them.
        """
        if self.ended or not (self.content_length or "transfer-encoding" in self.headers):
            return True
        size, empty, until = 0, 0, asyncio.get_running_loop().time() + DRAIN_SECONDS
        with suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(DRAIN_PAUSE) as timer:
                async for chunk in self._parts():
                    size, empty = size + len(chunk), empty + (not chunk)
                    if size > MAX_REQUEST_BYTES or empty > 1:
                        return False
                    timer.reschedule(min(until, asyncio.get_running_loop().time() + DRAIN_PAUSE))
                return True
        return False

    async def message(self, type: type[T]) -> T:
        """The body as the type that the route names; raises `InvalidDocument` (422) when it is not that."""
        assert type == self.endpoint.body, f"{self.path} is not sent {type}"
        return decode_json(await self.body(), type)


def decode_json(body: bytes, type: type[T], what: str = "the body") -> T:
    """JSON of this type; raises `InvalidDocument` (422) when it is not that."""
    try:
        body.decode()
        return msgspec.json.decode(body, type=type)
    except UnicodeDecodeError as error:
        said = f"it is not UTF-8 ({error.reason} at its byte {error.start})"
        raise InvalidDocument(f"{what} cannot be read: {said}", "see docs/http-api.md") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidDocument(f"{what} cannot be read: {error}", "see docs/http-api.md") from error


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Refused(413, f"the request is larger than the {limit:,} bytes that are allowed", "send less at once")


def _check_end(length: int | None, size: int, empty: int) -> None:
    # granian gives an empty chunk where the body ended, and one more where the connection broke within it.
    if size != length if length is not None else empty > 1:
        raise cut_short()


def cut_short() -> CutShort:
    """The error for a body that is not all there."""
    return CutShort("the request ended before it was complete", "send it again; nothing of it was done")
