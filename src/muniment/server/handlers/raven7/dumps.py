"""Dumps as jobs whose numbers a client has asked for, with the options that clients of RavenDB 4 and later send."""

from __future__ import annotations

import asyncio
from typing import Final

from muniment.raven7.messages import ExportWanted, ImportWanted
from muniment.raven7.queries import Smuggled
from muniment.server.handlers.dumps import Outgoing, give_out, incoming, take_in
from muniment.server.multipart import MULTIPART, Multipart, Part, boundary_of
from muniment.server.request import Request, decode_json
from muniment.server.wire import Refused, Response, empty_response
from muniment.smuggler.options import KEPT_TYPES, OTHER_TYPES, Compression, ExportOptions, SmugglerOptions

MAX_OPTIONS: Final = 1 << 20
_COMPRESSIONS: Final[dict[str, Compression]] = {"gzip": "gzip", "zstd": "zstd"}


async def export(request: Request) -> Response | Outgoing:
    """Stream the state of this moment as a dump."""
    wanted = await request.message(ExportWanted)
    compression = _COMPRESSIONS.get((wanted.compression_algorithm or "gzip").lower())
    if compression is None:
        raise Refused(501, f"dumps are not compressed by {wanted.compression_algorithm}", "say Gzip or Zstd")
    options = ExportOptions.of("a.ravendbdump", None, compression, _options(wanted))
    return await give_out(request, options, number=_number(request))


async def import_(request: Request) -> Response:
    """Import a dump: the part `file`, after the options in the part `importOptions`; answers when it is done."""
    given = request.headers.get("content-type") or ""
    if not given.startswith(MULTIPART):
        raise Refused(
            400, "the dump is not in a part of the body", "send multipart/form-data: importOptions, then file"
        )
    parts = iter(Multipart(incoming(request), boundary_of(given)))
    first = await asyncio.to_thread(next, parts, None)
    wanted, dump = await asyncio.to_thread(_told, first)
    if dump is None and (dump := await asyncio.to_thread(next, parts, None)) is None:
        raise Refused(400, "the body has no dump", "send it as the part `file`, after the options")
    await take_in(request, dump.chunks, _options(wanted), _number(request))
    return empty_response(200)


def _told(part: Part | None) -> tuple[ImportWanted, Part | None]:
    """The options, and the part with the dump if it is that already."""
    if part is None or part.headers.get_param("name", header="content-disposition") != "importOptions":
        return ImportWanted(), part
    found = bytearray()
    for chunk in part.chunks:
        found += chunk
        if len(found) > MAX_OPTIONS:
            raise Refused(413, f"the options have more than {MAX_OPTIONS:,} bytes", "send fewer")
    return decode_json(bytes(found), ImportWanted, "importOptions"), None


def _options(wanted: ImportWanted) -> SmugglerOptions:
    """Our options; raises `Refused` (501) for what would not be done."""
    if wanted.encryption_key:
        raise Refused(501, "no key is taken for a dump", "leave EncryptionKey out: the dump is in clear")
    if wanted.include_archived is False:
        raise Refused(501, "archived documents are not told from others here", "leave IncludeArchived as it is")
    names = ",".join(f"'{name}'" for name in wanted.collections)
    filters = [f"@collection={names}"] if names else []
    return SmugglerOptions.of(
        operate_on_types=_types(wanted.operate_on_types),
        metadata_filter=filters,
        transform=wanted.transform_script or None,
        exclude_expired=wanted.include_expired is False,
        ignore_errors=bool(wanted.skip_corrupted_data),
    )


def _types(text: str | None) -> list[str] | None:
    """The kinds that are named and known here; those that only RavenDB has are none of a dump from here."""
    if text is None:
        return None
    known = [name for name in map(str.strip, text.split(",")) if name in KEPT_TYPES | OTHER_TYPES]
    if not known:
        raise Refused(400, f"OperateOnTypes is {text!r}, which is nothing", "say Documents, Attachments")
    return known


def _number(request: Request) -> int | None:
    return number_of(request.asked(Smuggled).operation_id)


def number_of(text: str | None) -> int | None:
    """The number of the job that a request is to be, None for any; raises `Refused` (400)."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(400, f"{text!r} is not the number of an operation", "ask for one: operations/next-operation-id")
    return int(text)
