"""RavenDB 3's streams: all that a query finds, or all documents, of which little is in memory at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from msgspec.structs import replace

from muniment.answer import answer, stream
from muniment.document import Document, raven_time
from muniment.query.model import Query
from muniment.raven3.documents import joined, with_metadata
from muniment.raven3.etags import combined_etag
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven3.queries import DocumentsStreamed, IndexStreamed
from muniment.server.handlers.indexes import asked_of, shown_as, with_text
from muniment.server.handlers.queries import each_by_prefix
from muniment.server.lines import Lines
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, wanted_etag

_NO_METADATA: Final = b'"@metadata":{}'


async def of_query(request: Request) -> Lines | Response:
    """All that a query in Lucene's syntax finds, of one moment."""
    asked = await with_text(request, request.asked(IndexStreamed))
    storage = request.tenant.database.storage
    wanted = await asyncio.to_thread(asked_of, request.tenant, request.argument, asked)
    show = shown_as(wanted.of, asked)
    total = (await asyncio.to_thread(answer, storage, replace(wanted.query, skip=0, take=0, order=()))).total
    etag = combined_etag([request.tenant.database.last_etag])
    headers = [
        ("raven-result-etag", etag),
        ("raven-index-etag", etag),
        ("raven-is-stale", "False"),
        ("raven-index", wanted.name),
        ("raven-total-results", str(total)),
        ("raven-index-timestamp", raven_time(datetime.now(UTC))),
    ]

    if request.method == "HEAD":
        return Response(200, [JSON, BUILD_HEADER, *headers])

    def pieces() -> Iterator[bytes]:
        with stream(storage, wanted.query) as found:
            yield from _object(
                show(item) if isinstance(item, Document) else joined(item, _NO_METADATA) for item in found.items
            )

    return Lines(request, pieces, [JSON, BUILD_HEADER, *headers])


async def of_documents(request: Request) -> Lines | Response:
    """All documents whose ids begin so, in the order of their ids, or all after an etag, of one moment."""
    asked = request.asked(DocumentsStreamed)
    if asked.transformer:
        raise Refused(400, f"there is no transformer {asked.transformer!r}", "use what it makes of the documents")
    after = wanted_etag(asked.etag) if asked.etag else 0
    if request.method == "HEAD":
        return Response(200, [JSON, BUILD_HEADER])

    def pieces() -> Iterator[bytes]:
        with stream(request.tenant.database.storage, Query()) as found:
            items: Iterable[Document]
            if asked.prefix is not None:
                items = each_by_prefix(request.tenant, asked, asked.prefix)
            else:
                items = (item for item in found.items if isinstance(item, Document) and item.etag > after)
            yield from _object(map(with_metadata, islice(items, asked.start, asked.start + asked.size)), asked.start)

    return Lines(request, pieces, [JSON, BUILD_HEADER])


def _object(items: Iterable[bytes], start: int | None = None) -> Iterator[bytes]:
    yield b'{"Results":['
    number = -1
    for number, item in enumerate(items):
        yield b"," + item if number else item
    yield b"]}" if start is None else b'],"NextPageStart":%d}' % (start + number + 1)
