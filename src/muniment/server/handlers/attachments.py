"""Attachments, streamed in and out in constant memory."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from muniment.attachment import Attachment, attachment_of
from muniment.database import DocumentDatabase
from muniment.document import MAX_ATTACHMENT_BYTES, encode, fold, raven_time
from muniment.errors import DocumentNotFound
from muniment.raven3.etags import attachment_etag_text
from muniment.raven3.headers import BUILD_HEADER, Headers, metadata_headers, metadata_of
from muniment.raven3.messages import AttachmentListed
from muniment.raven3.names import MAX_PAGE
from muniment.raven3.queries import AttachmentOf, AttachmentsListed
from muniment.raven3.times import http_date
from muniment.revision import ATTACHMENT
from muniment.server.pipe import STALL_SECONDS, opened
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, empty_response, json_response, wanted_etag

SMALL: Final = 1 << 20
_KEPT: Final = frozenset({"content-type"})
ANY_TYPE: Final = "application/octet-stream"

# An attachment may be anybody's page: opened in a browser it must not act as one of this server's own.
_HARMLESS: Final = (("content-security-policy", "sandbox; default-src 'none'"), ("x-content-type-options", "nosniff"))


async def get(request: Request) -> Response | Stream:
    """An attachment's content, with its metadata as headers."""
    attachment = await _found(request, request.argument, request.asked(AttachmentOf).owner)
    if attachment is None:
        return empty_response(404)
    etag = attachment_etag_text(attachment.etag)
    if request.has(etag):
        return empty_response(304, [("etag", f'"{etag}"')])
    return await answer(request, attachment, attachment.chunks())


async def _found(request: Request, key: str, owner: str | None) -> Attachment | None:
    return await request.read(lambda: request.tenant.database.get_attachment(key, owner=owner))


async def answer(request: Request, attachment: Attachment, parts: Iterator[bytes]) -> Response | Stream:
    """This attachment with these parts as its content, which are taken one by one as the client takes them."""
    headers = _headers(attachment, attachment_etag_text(attachment.etag))
    if request.method == "HEAD" or attachment.size > SMALL:
        return Stream(200, headers, attachment.size, parts, request.method == "HEAD", request.tenant)
    return Response(200, headers, await asyncio.to_thread(b"".join, parts))


def _headers(attachment: Attachment, etag: str) -> Headers:
    type = next((v for n, v in attachment.metadata.items() if n.lower() == "content-type"), None)
    return [
        ("content-type", type if isinstance(type, str) and type.isascii() and type.isprintable() else ANY_TYPE),
        BUILD_HEADER,
        *_HARMLESS,
        *metadata_headers(attachment.metadata_json),
        ("etag", f'"{etag}"'),
        ("__document_id", quote(attachment.key, safe="")),
        ("last-modified", http_date(attachment.changed)),
        ("raven-last-modified", raven_time(attachment.changed)),
    ]


class Stream(NamedTuple):
    """An answer with the content of an attachment, of which only a few parts are in memory at a time.

    granian keeps what a handler streams until the client has taken it, all of it if need be. A file it reads only as
    fast as the client does, so it gets a named pipe to read from.
    """

    status: int
    headers: Headers
    size: int
    parts: Iterator[bytes]
    head: bool
    tenant: Tenant

    async def send(self, proto: Any) -> None:
        """Give it to the connection, as fast as that takes it. The database stays open until then."""
        self.tenant.active += 1
        try:
            await self._send(proto)
        finally:
            self.tenant.leave()

    async def _send(self, proto: Any) -> None:
        headers = [*self.headers, ("content-length", str(self.size))]
        if self.head:
            proto.response_empty(self.status, headers)
            return
        with tempfile.TemporaryDirectory(prefix="muniment-") as folder:
            pipe = Path(folder) / "content"
            os.mkfifo(pipe, 0o600)
            proto.response_file(self.status, headers, str(pipe))
            descriptor = await opened(pipe)
        if descriptor is not None:
            await self._pour(descriptor)

    async def _pour(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        file = os.fdopen(descriptor, "wb", buffering=0)
        transport, protocol = await loop.connect_write_pipe(lambda: asyncio.streams.FlowControlMixin(loop), file)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        parts = self.parts
        try:
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                writer.write(part)
                async with asyncio.timeout(STALL_SECONDS):
                    await writer.drain()
        except (OSError, TimeoutError):
            transport.abort()  # the client has gone, or takes nothing any more
        finally:
            await asyncio.to_thread(_close, parts)
            writer.close()


def _close(parts: Iterator[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close:
        close()


async def put(request: Request) -> Response:
    """Store an attachment of up to 2 GiB; the request's headers are its metadata."""
    metadata = metadata_of(request.headers.items(), keep=_KEPT)
    if metadata.get("Content-Type") == ANY_TYPE:
        del metadata["Content-Type"]
    expected = request.expected
    put_attachment, owner = request.tenant.database.put_attachment, request.asked(AttachmentOf).owner
    store = partial(put_attachment, request.argument, metadata=encode(metadata), etag=expected, owner=owner)
    length = request.content_length
    if length is not None and length <= SMALL:
        content = await request.body()
        written = await asyncio.to_thread(store, iter([content]))
    else:
        with request.server.uploading.one():
            loop = asyncio.get_running_loop()
            chunks = pulled(request.chunks(MAX_ATTACHMENT_BYTES), loop)
            # Threads of their own, because an upload takes nearly as long as its client likes.
            written = await loop.run_in_executor(request.server.uploads, partial(store, chunks))
    etag = attachment_etag_text(written.etag)
    headers = [("etag", f'"{etag}"'), ("location", f"/static/{quote(written.id, safe='')}")]
    return empty_response(201, headers)


def pulled(
    chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop, stall: float = STALL_SECONDS
) -> Iterator[bytes]:
    """What comes in on the loop, for a thread that takes it one by one; raises `Refused` after so many seconds."""

    async def following() -> bytes | None:
        try:
            async with asyncio.timeout(stall):
                return await anext(chunks, None)
        except TimeoutError as error:
            raise Refused(408, f"nothing came for {stall:.0f} s", "send it again, without pauses") from error

    while (chunk := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not None:
        yield chunk


async def post(request: Request) -> Response:
    """Give an attachment other metadata; its content stays."""
    database, key = request.tenant.database, request.argument
    attachment = await _found(request, key, request.asked(AttachmentOf).owner)
    if attachment is None:
        raise DocumentNotFound(f"there is no attachment {key!r}", "PUT one")
    expected = request.expected
    metadata = encode(metadata_of(request.headers.items(), keep=_KEPT))
    etag = attachment.etag if expected is None else expected
    written = await asyncio.to_thread(
        database.put_attachment, attachment.name, attachment.chunks(), metadata, etag=etag, owner=attachment.owner
    )
    return empty_response(200, [("etag", f'"{attachment_etag_text(written.etag)}"')])


async def delete(request: Request) -> Response:
    """Delete an attachment, whether or not there is one."""
    database = request.tenant.database
    owner = request.asked(AttachmentOf).owner
    await asyncio.to_thread(database.delete_attachment, request.argument, etag=request.expected, owner=owner)
    return empty_response(204)


async def listing(request: Request) -> Response:
    """What attachments there are: by prefix (`startsWith`), or those after an etag in the order of their changes.

    With `key`, and `owner` as in other requests, it is at most the one with this key.
    """
    asked = request.asked(AttachmentsListed)
    if asked.key is None:
        found = await asyncio.to_thread(_listed, request.tenant.database, asked)
    else:
        one = await _found(request, asked.key, asked.owner)
        found = [one] if one else []
    return json_response(
        [
            AttachmentListed(
                key=attachment.key,
                etag=attachment_etag_text(attachment.etag),
                size=attachment.size,
                metadata=msgspec.Raw(attachment.metadata_json),
                sha256=attachment.sha256,
                owner=attachment.owner,
                name=attachment.name,
            )
            for attachment in found
        ]
    )


def _listed(database: DocumentDatabase, asked: AttachmentsListed) -> list[Attachment]:
    start, size, prefix = asked.start, min(asked.size, MAX_PAGE), asked.prefix
    after = wanted_etag(asked.etag) if asked.etag else 0
    if prefix is not None and not after:
        return database.attachments(prefix, start=start, limit=size)
    found = database.storage.by_etag(ATTACHMENT, after, start + size)
    wanted = (attachment_of(each, database.storage) for each in found[start:])
    return [each for each in wanted if fold(each.key).startswith(fold(prefix or ""))]
