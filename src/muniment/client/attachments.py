"""Attachments of a remote database: what is asked of the server, and an attachment as its reader sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, BinaryIO, TypeAlias
from urllib.parse import unquote

import msgspec

from muniment.attachment import content_chunks
from muniment.client.documents import number_of
from muniment.client.retry import call, unavailable
from muniment.client.transport import AsyncTransport, Broken, Transport
from muniment.client.wire import Body, Flow, Request, Response, parsed, target
from muniment.command import check_etag
from muniment.document import check_id, decode
from muniment.errors import DamagedDatabase, DocumentNotFound, ServerUnavailable
from muniment.fingerprint import ContentDigest
from muniment.owner import owned_id
from muniment.page import Page, check_page
from muniment.raven3.etags import attachment_etag_text
from muniment.raven3.headers import request_headers
from muniment.raven3.names import MAX_PAGE
from muniment.storage.base import Written

Content: TypeAlias = bytes | BinaryIO | Iterable[bytes]


class Listed(msgspec.Struct):
    key: str = msgspec.field(name="Key")
    etag: str = msgspec.field(name="Etag")
    size: int = msgspec.field(name="Size")
    metadata: msgspec.Raw = msgspec.field(name="Metadata")
    sha256: str = msgspec.field(name="Sha256", default="")
    owner: str | None = msgspec.field(name="Owner", default=None)
    name: str = msgspec.field(name="Name", default="")


class _Known:
    """What is known about an attachment; `size` is in bytes, `sha256` in hexadecimal, empty if it was not told.

    `owner` is the document that it was stored with, None for one that was stored by its key alone.
    """

    def __init__(self, listed: Listed, root: tuple[str, ...]) -> None:
        self.key = listed.key
        self.etag = number_of(listed.etag)
        self.metadata_json = bytes(listed.metadata)
        self.size = listed.size
        self.sha256 = listed.sha256
        self.owner = listed.owner
        self.name = listed.name or listed.key
        self._root = root

    def __repr__(self) -> str:
        return f"<attachment {self.key!r} at etag {self.etag}, {self.size:,} bytes>"

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata as a new dict."""
        value: dict[str, Any] = decode(self.metadata_json)
        return value


class RemoteAttachment(_Known):
    """An attachment of a remote database as it was when it was asked for."""

    def __init__(self, listed: Listed, root: tuple[str, ...], transport: Transport) -> None:
        super().__init__(listed, root)
        self._transport = transport

    def chunks(self) -> Iterator[bytes]:
        """The content as it comes in, in constant memory.

        Raises `DocumentNotFound` when the attachment was replaced or deleted before this began, `DamagedDatabase` at
        the end when the bytes are not those that were stored, and `ServerUnavailable` when the connection breaks.
        """
        with self._transport.stream(get(self._root, self.name, self.owner)) as (head, chunks):
            check = _Check(self, head)
            try:
                for chunk in chunks:
                    check.add(chunk)
                    yield chunk
            except Broken as error:
                raise check.broken(error) from error
            check.finish()

    def read(self) -> bytes:
        """The whole content."""
        return b"".join(self.chunks())


class AsyncRemoteAttachment(_Known):
    """`RemoteAttachment` in asyncio."""

    def __init__(self, listed: Listed, root: tuple[str, ...], transport: AsyncTransport) -> None:
        super().__init__(listed, root)
        self._transport = transport

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `RemoteAttachment.chunks`."""
        async with self._transport.stream(get(self._root, self.name, self.owner)) as (head, chunks):
            check = _Check(self, head)
            try:
                async for chunk in chunks:
                    check.add(chunk)
                    yield chunk
            except Broken as error:
                raise check.broken(error) from error
            check.finish()

    async def read(self) -> bytes:
        """The whole content."""
        return b"".join([chunk async for chunk in self.chunks()])


class _Check:
    """Makes sure that what comes in is the content of the attachment that was asked for, whole and unchanged."""

    def __init__(self, attachment: _Known, head: Response) -> None:
        if head.headers.get("ETag", "").strip('"') != attachment_etag_text(attachment.etag):
            raise replaced(attachment.key)
        self._attachment = attachment
        self._digest = ContentDigest()
        self.add = self._digest.add

    def broken(self, error: Broken) -> ServerUnavailable:
        told = unavailable(Request("GET", "", repeatable=True), error.outcome)
        place = f"after {self._digest.size:,} of {self._attachment.size:,} bytes of attachment {self._attachment.key!r}"
        return ServerUnavailable(f"{told.message}, {place}", "read it again")

    def finish(self) -> None:
        known = self._attachment
        if self._digest.size != known.size or (known.sha256 and self._digest.sha256.hex() != known.sha256):
            raise DamagedDatabase(f"the content of attachment {known.key!r} was changed", "restore it from a backup")


def replaced(key: str) -> DocumentNotFound:
    return DocumentNotFound(f"attachment {key!r} was replaced or deleted meanwhile", "get it again")


def _path(root: tuple[str, ...], key: str, owner: str | None) -> str:
    return target(*root, "static", key, query=[] if owner is None else [("owner", owner)])


def get(root: tuple[str, ...], key: str, owner: str | None = None) -> Flow[Response]:
    """The content, as a stream."""
    identity = (("Accept-Encoding", "identity"), ("Accept", "*/*"))
    request = Request("GET", _path(root, key, owner), None, identity, repeatable=True, subjects=(key,))
    response = yield from call(request, 200, 404)
    if response.status == 404:
        raise replaced(key)
    return response


def find(root: tuple[str, ...], key: str, owner: str | None = None) -> Flow[Listed | None]:
    """What is known about the attachment with this key."""
    _check(key, owner)
    query = [("key", key), *([] if owner is None else [("owner", owner)])]
    request = Request("GET", target(*root, "static", "", query=query), repeatable=True)
    found = parsed((yield from call(request, 200)), list[Listed])
    return found[0] if found else None


def _check(key: str, owner: str | None) -> None:
    check_id(key)
    if owner is not None:
        owned_id(owner, key)


def listing(root: tuple[str, ...], prefix: str, start: int, limit: int) -> Flow[Page[Listed]]:
    """Attachments whose keys begin so, in the order of their owners and names."""
    check_page(start, limit)
    found: list[Listed] = []
    while len(found) <= limit:
        asked = min(limit + 1 - len(found), MAX_PAGE)
        query = [("startsWith", prefix), ("start", str(start + len(found))), ("pageSize", str(asked))]
        request = Request("GET", target(*root, "static", "", query=query), repeatable=True)
        page = parsed((yield from call(request, 200)), list[Listed])
        found += page
        if len(page) < asked:
            break
    return Page.cut(found, limit)


def put(
    root: tuple[str, ...], key: str, content: Body, metadata: bytes, etag: int | None, owner: str | None = None
) -> Flow[Written]:
    """Stores an attachment; whether there was one is known from the etag, or from asking first."""
    _check(key, owner)
    check_etag(etag)
    request = Request(
        "PUT",
        _path(root, key, owner),
        content,
        (*request_headers(metadata), *_expecting(etag)),
        repeatable=etag is not None and isinstance(content, bytes),
        subjects=(key,),
    )
    present = bool(etag) if etag is not None else (yield from find(root, key, owner)) is not None
    response = yield from call(request, 200, 201, 204)
    number = number_of(response.headers.get("ETag", ""))
    stored_as = unquote(response.headers.get("Location", "").partition("/static/")[2])
    return Written(stored_as or key, number, present)


def delete(root: tuple[str, ...], key: str, etag: int | None, owner: str | None = None) -> Flow[bool]:
    """Deletes an attachment; whether there was one is known from asking first."""
    _check(key, owner)
    check_etag(etag)
    present = yield from find(root, key, owner)
    request = Request(
        "DELETE", _path(root, key, owner), None, _expecting(etag), repeatable=etag is not None, subjects=(key,)
    )
    yield from call(request, 200, 204)
    return present is not None


def _expecting(etag: int | None) -> tuple[tuple[str, str], ...]:
    if etag is None:
        return ()
    return (("If-None-Match", f'"{attachment_etag_text(etag)}"'),)


async def chunks_of(content: Content | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Bytes, an open binary file or anything that gives bytes, as an asynchronous stream; files are read in threads."""
    if isinstance(content, AsyncIterable):
        async for chunk in content:
            for part in content_chunks(chunk):
                yield part
        return
    source = content_chunks(content)
    while chunk := await asyncio.to_thread(_next, source):
        yield chunk


def _next(source: Iterator[bytes]) -> bytes:
    return next(filter(None, source), b"")
