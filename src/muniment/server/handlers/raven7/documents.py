"""Documents, for clients of RavenDB 4 and later: with their metadata inside, and change vectors in place of etags."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from muniment.attachment import Attachment, attachment_of
from muniment.document import SEPARATOR, Document
from muniment.errors import InvalidInput
from muniment.raven3.documents import array
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven3.queries import DocumentsListed
from muniment.raven7.change_vectors import change_vector, with_files
from muniment.raven7.documents import only_metadata, with_metadata, write_of
from muniment.raven7.messages import Ids, Stored
from muniment.raven7.queries import DocumentNamed, DocumentsStreamed, DocumentsWanted
from muniment.revision import ATTACHMENT
from muniment.server.handlers import documents, queries
from muniment.server.handlers.raven7.streams import check_format
from muniment.server.handlers.raven7.transaction import deletion, wanted, write
from muniment.server.lines import Lines
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, empty_response, json_response

LARGE: Final = 65536
FILES: Final = 1024
SCAN: Final = 256


async def get(request: Request) -> Response:
    """Documents by their ids, or by a prefix; of a single one that there is not, 404."""
    asked = request.asked(DocumentsWanted)
    if asked.prefix is not None:
        return await _by_prefix(request, asked, asked.prefix)
    return await _by_ids(request, asked, asked.id)


async def post(request: Request) -> Response:
    """The same for ids in the body."""
    ids = (await request.message(Ids)).ids
    return await _by_ids(request, request.asked(DocumentsWanted), [id or "" for id in ids])


async def _by_ids(request: Request, asked: DocumentsWanted, ids: list[str]) -> Response:
    _check(asked)
    if not ids:
        raise Refused(
            501,
            "documents in the order of their changes are not answered here",
            "name ids, or startsWith, or query `from @all_docs`",
        )
    if len(ids) > queries.MAX_IDS:
        raise InvalidInput(f"{len(ids):,} ids are too many for one request", "ask for fewer at once")
    single = len(ids) == 1 and not asked.include
    if single:
        known = request.headers.get("if-none-match")
        return await request.read(_one, request.tenant, ids[0], asked.metadata_only, known)
    found, included = await asyncio.to_thread(queries.load, request.tenant, ids, asked.include)
    body = await request.read(_shown, request.tenant, found, included, asked.metadata_only)
    return Response(200, [JSON, BUILD_HEADER], body)


def _one(tenant: Tenant, id: str, bare: bool, known: str | None) -> Response:
    found = _find(tenant, id)
    if found is None:
        return empty_response(404)
    headers = [BUILD_HEADER, ("etag", etag := f'"{_vector(tenant, found)}"')]
    if known == etag:
        return empty_response(304, headers)
    return Response(200, [JSON, *headers], _shown(tenant, [found], [], bare))


def _find(tenant: Tenant, id: str) -> Document | None:
    return next(iter(queries.load(tenant, [id], [])[0]))


async def _by_prefix(request: Request, asked: DocumentsWanted, prefix: str) -> Response:
    _check(asked)
    listed = DocumentsListed(matches=asked.matches, exclude=asked.exclude, skip_after=asked.start_after)
    found = await asyncio.to_thread(queries.by_prefix, request.tenant, listed, prefix, asked.start, asked.size)
    after = asked.start + len(found)
    body = await request.read(_shown, request.tenant, found, [], asked.metadata_only, after)
    return Response(200, [JSON, BUILD_HEADER], body)


async def lines(request: Request) -> Lines:
    """Documents by a prefix of their ids, or all, one a line."""
    asked = request.asked(DocumentsStreamed)
    check_format(asked.format)
    return Lines(request, lambda: _lines(request.tenant, asked))


def _lines(tenant: Tenant, asked: DocumentsStreamed) -> Iterator[bytes]:
    start, left, after = asked.start, asked.size, asked.start_after
    while left is None or left:
        listed = DocumentsListed(matches=asked.matches, exclude=asked.exclude, skip_after=after)
        page = queries.by_prefix(tenant, listed, asked.prefix, start, SCAN if left is None else min(left, SCAN))
        for document in shown(tenant, page):
            yield b'{"Item":' + document + b"}"
        if not page:
            return
        start, after, left = 0, page[-1].id, None if left is None else left - len(page)


def _check(asked: DocumentsWanted) -> None:
    for name in ("counter", "timeseries", "cmpxchg"):
        if getattr(asked, name):
            raise Refused(501, f"{name} cannot be included: there are none here", "load the documents alone")


async def head(request: Request) -> Response:
    """Whether there is a document, and its change vector."""
    id = request.asked(DocumentNamed).id or ""
    document = _find(request.tenant, id)
    if document is None:
        return empty_response(404)
    vector = _vector(request.tenant, document)
    known = (request.headers.get("if-none-match") or "").strip('"') == vector
    return empty_response(304 if known else 200, [("etag", f'"{vector}"')])


async def put(request: Request) -> Response:
    """Store a document; an id that ends in "/" or "|" gets the next number."""
    id = request.asked(DocumentNamed).id
    if not id:
        raise InvalidInput("the id of the document is missing", "pass ?id=ID")
    body, etag = await request.body(), expected(request)
    of = await asyncio.to_thread(write_of, id, body, etag) if len(body) > LARGE else write_of(id, body, etag)
    [written] = await documents.write(request, [of])
    return json_response(Stored(written.id, change_vector(written.etag, request.tenant.lineage)), 201)


async def delete(request: Request) -> Response:
    """Delete a document and its attachments, whether or not there is one."""
    id = request.asked(DocumentNamed).id or ""
    await write(request, lambda: deletion(request.tenant, id, expected(request)))
    return empty_response(204)


def expected(request: Request) -> int | None:
    """The etag that a write expects, by the change vector in its header; raises `Refused` (400) when it is none."""
    return wanted(request.tenant, request.headers.get("if-match"))


def attachments_of(tenant: Tenant, id: str) -> list[Attachment]:
    """The attachments of a document, in the order of their names."""
    storage = tenant.database.storage
    found, start = list[Attachment](), 0
    while page := storage.by_prefix(ATTACHMENT, f"{id}{SEPARATOR}", start, FILES):
        found += [attachment_of(each, storage) for each in page]
        start += len(page)
        if len(page) < FILES:
            break
    return found


def _vector(tenant: Tenant, document: Document) -> str:
    files = [each.etag for each in attachments_of(tenant, document.id)]
    return with_files(change_vector(document.etag, tenant.lineage), files, tenant.lineage)


def _shown(
    tenant: Tenant,
    found: Sequence[Document | None],
    included: Iterable[Document],
    bare: bool,
    after: int | None = None,
) -> bytes:
    results = array(shown(tenant, found, metadata_only=bare))
    page = b"" if after is None else b',"NextPageStart":%d' % after
    return b'{"Results":' + results + b',"Includes":' + included_object(tenant, included) + page + b"}"


def shown(tenant: Tenant, found: Iterable[Document | None], *, metadata_only: bool = False) -> Iterator[bytes]:
    """Each document as such a client sees it, null for none."""
    show, lineage = only_metadata if metadata_only else with_metadata, tenant.lineage
    any_files = bool(tenant.database.storage.by_prefix(ATTACHMENT, "", 0, 1))  # most databases have none
    for document in found:
        files = attachments_of(tenant, document.id) if document and any_files else ()
        yield show(document, lineage, files) if document else b"null"


def included_object(tenant: Tenant, included: Iterable[Document]) -> bytes:
    """Documents that others refer to, by their ids."""
    documents = list(included)
    members = zip(documents, shown(tenant, documents), strict=True)
    return b"{" + b",\n".join(msgspec.json.encode(of.id) + b":" + text for of, text in members) + b"}"
