"""Importing a dump that a client streams in: not document by document, as RavenDB's Smuggler, but as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from muniment.server.attachments import pulled
from muniment.server.request import Request
from muniment.server.wire import Response, json_response
from muniment.smuggler.transfer import import_dump

MAX_DUMP_BYTES: Final = 1 << 50  # no limit of its own: batches are on disk before the next is taken in


class _Incoming:
    """What comes in from a client, in the shape of a file that is read forwards."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, none at the end; raises what breaks the request."""
        if not self._left:
            self._left = next(self._chunks, b"")
        block, self._left = self._left[:size], self._left[size:]
        return block


async def import_(request: Request) -> Response:
    """Import a dump (the body, as `.ravendbdump` or `.ravendump`); answers what was imported and what was not."""
    loop = asyncio.get_running_loop()
    storage = request.tenant.database.storage
    incoming = _Incoming(pulled(request.chunks(MAX_DUMP_BYTES), loop))
    imported = await loop.run_in_executor(request.app.uploads, import_dump, storage, incoming)
    return json_response(asdict(imported))
