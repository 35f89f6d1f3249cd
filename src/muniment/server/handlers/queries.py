"""Several documents at once: by id with what they refer to, by prefix, and in the order of their etags."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from itertools import islice
from typing import Final

from muniment.answer import Answer
from muniment.document import MAX_ID_BYTES, Document, fold
from muniment.errors import InvalidInput
from muniment.finding import included
from muniment.query.model import Query
from muniment.query.refer import referred
from muniment.raven3.documents import array, only_metadata, with_metadata
from muniment.raven3.etags import combined_etag
from muniment.raven3.headers import BUILD_HEADER, JSON, Headers
from muniment.raven3.names import MAX_PAGE
from muniment.raven3.queries import DocumentsIncluding, DocumentsListed, DocumentsWanted
from muniment.server.handlers.documents import find, get
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, empty_response, wanted_etag

FEW: Final = 8
SCAN: Final = 256
MAX_IDS: Final = 100_000


async def get_many(request: Request) -> Response:
    """Documents by their ids, in the order asked for, null for each that does not exist, with included documents."""
    asked = request.asked(DocumentsWanted)
    return await _multi_get(request, asked, asked.id)


async def post_many(request: Request) -> Response:
    """The same for ids in the body."""
    return await _multi_get(request, request.asked(DocumentsIncluding), await request.message(list[str]))


async def _multi_get(request: Request, asked: DocumentsIncluding, ids: list[str]) -> Response:
    first: dict[str, str] = {}
    for id in ids:
        first.setdefault(fold(id), id)
    wanted = list(first.values())
    _check_transformer(asked.transformer)
    if len(wanted) > MAX_IDS:
        raise InvalidInput(f"{len(wanted):,} ids are too many for one request", "ask for fewer at once")
    paths = asked.include
    if len(wanted) <= FEW and not paths:
        found, included = await request.read(load, request.tenant, wanted, paths)
    else:
        found, included = await asyncio.to_thread(load, request.tenant, wanted, paths)
    version = request.headers.get("raven-client-version") or "1"
    etag = combined_etag(document.etag if document else 0 for document in (*found, *included))
    if request.has(etag):
        return empty_response(304, [("etag", f'"{etag}"')])
    show = only_metadata if asked.metadata_only else with_metadata
    if version[:1] in "12":  # the oldest clients want to hear only of those that there are
        found = [document for document in found if document]
    results = array(show(document) if document else b"null" for document in found)
    includes = array(with_metadata(document) for document in included)
    body = b'{"Results":' + results + b',"Includes":' + includes + b"}"
    return Response(200, [JSON, BUILD_HEADER, ("etag", f'"{etag}"')], body)


def _check_transformer(name: str | None) -> None:
    if name:
        raise Refused(400, f"there is no transformer {name!r}", "transform the documents where they are used")


def load(tenant: Tenant, ids: list[str], paths: list[str]) -> tuple[list[Document | None], list[Document]]:
    """The documents with these ids, None for each that does not exist, and those that they refer to by the paths."""
    found = [find(tenant, id) if len(id) <= MAX_ID_BYTES and id else None for id in ids]
    included: list[Document] = []
    if paths:
        loaded = {fold(id) for id in ids}
        for id in (id for document in found if document for path in paths for id in referred(document, path)):
            if fold(id) not in loaded and 0 < len(id) <= MAX_ID_BYTES:
                loaded.add(fold(id))
                if document := find(tenant, id):
                    included.append(document)
    return found, included


def includes_of(tenant: Tenant, found: Answer, query: Query) -> list[Document]:
    """The documents that what was found refers to by the paths that the query includes."""
    if not query.include:
        return []
    of = found.documents or found.of
    known = {fold(document.id) for document in found.documents}
    ids = [id for id in included(of, query.include) if id and fold(id) not in known]
    short = (id for id in ids[:MAX_IDS] if len(id.encode(errors="replace")) <= MAX_ID_BYTES)
    return [document for document in tenant.database.get_many(short) if document]


async def listing(request: Request) -> Response:
    """One document (`id`), documents by prefix (`startsWith`), or those after an etag in the order of their changes."""
    asked = request.asked(DocumentsListed)
    if asked.id is not None:
        request.argument = asked.id
        return await get(request)
    _check_transformer(asked.transformer)
    start, size = asked.start, min(asked.size, MAX_PAGE)
    if asked.prefix is not None:
        documents = await asyncio.to_thread(by_prefix, request.tenant, asked, asked.prefix, start, size)
    else:
        documents = await asyncio.to_thread(_by_etag, request.tenant, asked, start, size)
    headers: Headers = [JSON, BUILD_HEADER, ("next-page-start", str(start + len(documents)))]
    if documents:
        last = combined_etag(document.etag for document in documents)
        if request.has(last):
            return empty_response(304, [("etag", f'"{last}"')])
        headers.append(("etag", f'"{last}"'))
    show = only_metadata if asked.metadata_only else with_metadata
    return Response(200, headers, array(map(show, documents)))


def _filter(asked: DocumentsListed, prefix: str) -> Callable[[Document], bool] | None:
    """What `matches` and `exclude` say of the part of an id after the prefix; None if they say nothing."""
    matches, exclude = _globs(asked.matches), _globs(asked.exclude)
    if not matches and not exclude:
        return None

    def wanted(document: Document) -> bool:
        rest = document.id[len(prefix) :].lower()
        if exclude and exclude.fullmatch(rest):
            return False
        return matches is None or bool(matches.fullmatch(rest))

    return wanted


def _globs(text: str | None) -> re.Pattern[str] | None:
    if not text:
        return None
    # Of fnmatch's syntax only ? and * are RavenDB's: brackets stand for themselves.
    patterns = (translate(glob.lower().replace("[", "[[]")) for glob in text.split("|"))
    return re.compile("|".join(patterns))


def by_prefix(tenant: Tenant, asked: DocumentsListed, prefix: str, start: int, size: int) -> list[Document]:
    """Documents whose ids begin so, and go on as is asked for."""
    if _filter(asked, prefix) is None:
        return tenant.database.by_prefix(prefix, start=start, limit=size, after=asked.skip_after or "")
    return list(islice(each_by_prefix(tenant, asked, prefix), start, start + size))


def each_by_prefix(tenant: Tenant, asked: DocumentsListed, prefix: str) -> Iterator[Document]:
    """The same, all of them one by one."""
    wanted, last = _filter(asked, prefix), asked.skip_after or ""
    while page := tenant.database.by_prefix(prefix, after=last, limit=SCAN):
        yield from filter(wanted, page)
        last = page[-1].id


def _by_etag(tenant: Tenant, asked: DocumentsListed, start: int, size: int) -> list[Document]:
    after = wanted_etag(asked.etag) if asked.etag else 0

    def page(limit: int) -> list[Document]:
        if asked.collection is not None:
            return tenant.database.by_collection(asked.collection, after=after, limit=limit)
        return tenant.database.by_etag(after=after, limit=limit)

    while start:
        skipped = page(min(start, SCAN))
        if not skipped:
            return []
        after, start = skipped[-1].etag, start - len(skipped)
    return page(size)
