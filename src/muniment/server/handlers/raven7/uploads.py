"""Bodies of several parts: JSON first, and then contents, which go to disk as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from muniment.document import MAX_ATTACHMENT_BYTES
from muniment.server.handlers.attachments import pulled
from muniment.server.multipart import Multipart, boundary_of
from muniment.server.request import MAX_REQUEST_BYTES, Request
from muniment.server.wire import Refused
from muniment.storage.base import Upload


async def read_parts(request: Request, uploads: list[Upload]) -> bytes:
    """The first part of the body; the contents of the others are on disk then, and in `uploads`."""
    boundary = boundary_of(request.headers.get("content-type") or "")
    loop, storage = asyncio.get_running_loop(), request.tenant.database.storage
    chunks = pulled(request.chunks(MAX_ATTACHMENT_BYTES), loop)

    def read() -> bytes:
        first = None
        for part in Multipart(chunks, boundary):
            if first is None:
                first = _within(part.chunks, MAX_REQUEST_BYTES)
            else:
                uploads.append(storage.upload(part.chunks))
        if first is None:
            raise Refused(400, "the body has no parts", "send the commands as the first one")
        return first

    with request.server.uploading.one():
        return await loop.run_in_executor(request.server.uploads, read)


def _within(chunks: Iterator[bytes], limit: int) -> bytes:
    found = bytearray()
    for chunk in chunks:
        found += chunk
        if len(found) > limit:
            raise Refused(
                413, f"the first part is larger than the {limit:,} bytes that are allowed", "send less at once"
            )
    return bytes(found)
