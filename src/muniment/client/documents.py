"""Documents of a remote database: what each job asks of the server, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from muniment.client.failure import failure
from muniment.client.retry import call
from muniment.client.wire import Flow, Request, documents_of, parsed, query_text, results_of, target, unexpected
from muniment.command import Command, check_etag, write_of
from muniment.document import Document, check_id, encode, fold, texts_in
from muniment.errors import ConcurrencyConflict, InvalidInput
from muniment.page import Page, check_page
from muniment.patching import PatchCommand, missing, patch_commands
from muniment.raven3.etags import etag_number, etag_text
from muniment.raven3.names import MAX_PAGE
from muniment.revision import NO_METADATA
from muniment.scripting import Script
from muniment.storage.base import Write, Written

JSON: Final = (("Content-Type", "application/json"),)
_IDS_AT_ONCE: Final = 256
_LONGEST_QUERY: Final = 1800  # bytes; some proxies refuse lines of more than 2 KB


def get_many(root: tuple[str, ...], ids: Iterable[str]) -> Flow[list[Document | None]]:
    """The documents with these ids, in their order; each is asked for once."""
    wanted = texts_in(ids, "ids")
    first_spelling: dict[str, str] = {}
    for id in wanted:
        check_id(id)
        first_spelling.setdefault(fold(id), id)
    keys, unique = list(first_spelling), list(first_spelling.values())
    found: dict[str, Document | None] = {}
    for start in range(0, len(unique), _IDS_AT_ONCE):
        part = unique[start : start + _IDS_AT_ONCE]
        documents = results_of((yield from call(multi_get(root, part), 200)))
        if len(documents) != len(part):
            raise unexpected(f"the server answered {len(part)} ids with {len(documents)} results")
        found.update(zip(keys[start:], documents, strict=False))
    return [found[fold(id)] for id in wanted]


def multi_get(root: tuple[str, ...], ids: Sequence[str]) -> Request:
    """Asks for several documents, by POST where they do not fit into a URL."""
    path = target(*root, "queries", "")
    query = query_text(("id", id) for id in ids)
    if len(query) <= _LONGEST_QUERY:
        return Request("GET", f"{path}?{query}", repeatable=True)
    return Request("POST", path, encode(list(ids)), JSON)


def batch(root: tuple[str, ...], commands: Sequence[Command]) -> Flow[list[Written]]:
    """Has all commands carried out as one transaction."""
    writes = [write_of(command) for command in commands]
    if not writes:
        return []
    if len(writes) == 1 and is_repeatable(writes[0]):
        return [(yield from _write(root, writes[0]))]
    body = b"[" + b",".join(b"".join(_command(write)) for write in writes) + b"]"
    subjects = tuple(write.id for write in writes)
    request = Request("POST", target(*root, "bulk_docs"), body, JSON, subjects=subjects)
    results = parsed((yield from call(request, 200)), list[_Result])
    if len(results) != len(writes):
        raise unexpected(f"the server answered {len(writes)} commands with {len(results)} results")
    return [_written(write, result) for write, result in zip(writes, results, strict=True)]


def is_repeatable(write: Write) -> bool:
    """Whether this can be sent as a PUT or DELETE that names its etag, and says all that a batch would say.

    Metadata would have to go as headers, which do not keep it as it is; an id that ends in "/" stands for a new one.
    """
    return write.expected is not None and write.metadata == NO_METADATA and not write.id.endswith("/")


def _write(root: tuple[str, ...], write: Write) -> Flow[Written]:
    """One document, which must have the expected etag: it may be written again, as only one of both can succeed."""
    assert write.expected is not None
    method = "DELETE" if write.body is None else "PUT"
    headers = (*JSON, ("If-None-Match", f'"{etag_text(write.expected)}"'))
    request = Request(
        method, target(*root, "docs", write.id), write.body, headers, repeatable=True, subjects=(write.id,)
    )
    response = yield from call(request, 200, 201, 204, 409)
    if response.status == 409:
        conflict = failure(request, response)
        if response.repeated and isinstance(conflict, ConcurrencyConflict):
            return (yield from _written_before(root, write, conflict))
        raise conflict
    if write.body is None:
        return Written(write.id, 0, write.expected > 0)
    stored = parsed(response, _Stored)
    return Written(stored.key, number_of(stored.etag), write.expected > 0)


def _written_before(root: tuple[str, ...], write: Write, conflict: ConcurrencyConflict) -> Flow[Written]:
    """What became of a write whose first answer was lost, and whose second is a conflict, perhaps with itself."""
    if write.body is None:
        if conflict.actual:
            raise conflict
        return Written(write.id, 0, True)
    [present] = yield from get_many(root, [write.id])
    if present is None or (present.etag, present.body, present.metadata_json) != (
        conflict.actual,
        write.body,
        write.metadata,
    ):
        raise conflict
    return Written(present.id, present.etag, bool(write.expected))


def patch(
    root: tuple[str, ...], id: str, commands: Sequence[PatchCommand | Mapping[str, Any]] | Script, etag: int | None
) -> Flow[Written]:
    """Has a document patched; raises `DocumentNotFound` when there is none."""
    check_id(id)
    check_etag(etag)
    if isinstance(commands, Script):
        told: dict[str, Any] = {"Method": "EVAL", "Key": id, "Patch": msgspec.to_builtins(commands)}
    else:
        told = {"Method": "PATCH", "Key": id, "Patches": patch_commands(commands)}
    expected = {} if etag is None else {"Etag": etag_text(etag)}
    request = Request("POST", target(*root, "bulk_docs"), encode([told | expected]), JSON, subjects=(id,))
    [result] = parsed((yield from call(request, 200)), list[_Result])
    if not result.etag:
        raise missing(id)
    return Written(result.key, number_of(result.etag), True)


class _Stored(msgspec.Struct):
    key: str = msgspec.field(name="Key")
    etag: str = msgspec.field(name="ETag")


class _Result(msgspec.Struct):
    key: str = msgspec.field(name="Key")
    etag: str | None = msgspec.field(name="Etag", default=None)
    deleted: bool | None = msgspec.field(name="Deleted", default=None)
    existed: bool | None = msgspec.field(name="Existed", default=None)


def _command(write: Write) -> Iterator[bytes]:
    expected = b"null" if write.expected is None else encode(etag_text(write.expected))
    method = b"DELETE" if write.body is None else b"PUT"
    yield b'{"Method":"%s","Key":%s,"Etag":%s' % (method, encode(write.id), expected)
    if write.body is not None:
        yield b',"Document":'
        yield write.body
        yield b',"Metadata":'
        yield write.metadata
    yield b"}"


def _written(write: Write, result: _Result) -> Written:
    existed = next((told for told in (result.existed, result.deleted) if told is not None), bool(write.expected))
    return Written(result.key, number_of(result.etag) if result.etag else 0, existed)


def number_of(etag: str) -> int:
    """The number of an etag that a server has told."""
    try:
        return etag_number(etag)
    except ValueError as error:
        raise unexpected(f"the server's answer cannot be understood: {error}") from error


def by_prefix(root: tuple[str, ...], prefix: str, start: int, limit: int, after: str = "") -> Flow[Page[Document]]:
    """Documents whose ids begin so, in the order of their ids."""
    check_page(start, limit)
    if not prefix:  # a server takes no prefix for the wish to have them in the order of their etags
        raise InvalidInput("over HTTP a prefix cannot be empty", "read everything with by_etag")
    found: list[Document] = []
    while len(found) <= limit:
        asked = min(limit + 1 - len(found), MAX_PAGE)
        wanted = [("startsWith", prefix), ("start", str(start + len(found)))] + (
            [("skipAfter", after)] if after else []
        )
        page = yield from _page(root, wanted, asked)
        found += page
        if len(page) < asked:
            break
    return Page.cut(found, limit)


def by_etag(root: tuple[str, ...], after: int, limit: int) -> Flow[Page[Document]]:
    """Documents in the order of their etags, those after this one."""
    check_page(after, limit)
    found: list[Document] = []
    while len(found) <= limit:
        asked = min(limit + 1 - len(found), MAX_PAGE)
        page = yield from _page(root, [("etag", etag_text(found[-1].etag if found else after))], asked)
        found += page
        if len(page) < asked:
            break
    return Page.cut(found, limit)


def _page(root: tuple[str, ...], query: list[tuple[str, str]], size: int) -> Flow[list[Document]]:
    request = Request("GET", target(*root, "docs", query=[*query, ("pageSize", str(size))]), repeatable=True)
    return documents_of((yield from call(request, 200)))


def get_json(root: tuple[str, ...], id: str) -> Flow[dict[str, Any] | None]:
    """One of the server's own documents, as a dict; None when there is none."""
    request = Request("GET", target(*root, "docs", id), repeatable=True, subjects=(id,))
    response = yield from call(request, 200, 404)
    return None if response.status == 404 else parsed(response, dict[str, Any])
