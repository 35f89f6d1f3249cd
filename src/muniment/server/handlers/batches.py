"""Many documents in one transaction: `bulk_docs`."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress

import msgspec

from muniment import json_bytes
from muniment.command import Command, Delete, Put
from muniment.document import decode, encode, metadata_bytes
from muniment.errors import ConcurrencyConflict, InvalidDocument
from muniment.patching import Patch
from muniment.raven3.etags import etag_text
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven3.messages import Command as Given
from muniment.raven3.messages import CommandResult
from muniment.server.handlers import documents
from muniment.server.request import Request, decode_json
from muniment.server.wire import Refused, Response, error_response, json_response, wanted_etag
from muniment.storage.base import Written

_NULL = msgspec.Raw(b"null")
_EMPTY = b"{}"


async def execute(request: Request) -> Response:
    """Store and delete documents, all of them or none; answers what became of each."""
    body, most = await request.body(), request.server.settings.batch_commands
    if len(body) > 65536:
        given, commands = await asyncio.to_thread(_read, body, most)
    else:
        given, commands = _read(body, most)
    if not commands:
        return Response(200, [JSON, BUILD_HEADER], b"[]")
    try:
        written = await documents.write(request, commands)
    except ConcurrencyConflict as error:
        return error_response(error, request.url, expected=_expected(given, error))
    return json_response([_result(*each) for each in zip(given, commands, written, strict=True)])


def _read(body: bytes, most: int) -> tuple[list[Given], list[Command | Patch]]:
    check_number(body, most)
    try:
        given = decode_json(body, list[Given], "the array of commands")
    except InvalidDocument:
        if (without := json_bytes.without_surrogates(body)) == body:
            raise
        decode_json(without, list[Given], "the array of commands")
        given = [_command_with_surrogates(item) for item in json_bytes.elements(body.strip())]
    return given, [_command(index, command) for index, command in enumerate(given)]


def check_number(body: bytes, most: int) -> None:
    """Raises `Refused` (413) for more commands than this, before any is made: each takes some hundred bytes."""
    if body.count(b"{") <= most:
        return
    with suppress(json_bytes.Malformed):  # what is wrong with it is told better later
        array = body.strip()
        json_bytes.check(array)
        for number, _ in enumerate(json_bytes.each_element(array) if array[:1] == b"[" else (), 1):
            if number > most:
                raise Refused(413, f"the batch has more than {most:,} commands", "send them in several requests")


def _command_with_surrogates(item: bytes) -> Given:
    """JSON allows the escape of half a surrogate pair and msgspec does not, so the bytes are cut without decoding."""
    found = json_bytes.member_values(item)
    raw = {name: msgspec.Raw(found[name]) for name in ("Document", "Metadata", "AdditionalData") if name in found}
    plain = {name: decode(found[name]) for name in ("Method", "Key", "Etag") if name in found}
    if "Patches" in found:
        raise InvalidDocument("a patch has half a surrogate pair in it", "PUT the document instead")
    return msgspec.convert(plain | raw, Given)


def _command(index: int, given: Given) -> Command | Patch:
    etag = None if given.etag is None else wanted_etag(given.etag)
    match given.method.upper():
        case "PUT":
            metadata = bytes(given.metadata or _NULL)
            if metadata == b"null":
                metadata = _EMPTY
            elif b'"etag"' in metadata or b'"Temp' in metadata:
                metadata = _without_leavings(metadata)
            if not given.key:
                return Put(str(uuid.uuid4()), bytes(given.document or _NULL), metadata_bytes(metadata), 0)
            return Put(given.key, bytes(given.document or _NULL), metadata_bytes(metadata), etag)
        case "DELETE":
            if not given.key:
                raise InvalidDocument(f"command {index} deletes nothing: it has no Key", "name the document")
            return Delete(given.key, etag)
        case "PATCH":
            if not given.key or given.patches is None:
                raise InvalidDocument(f"command {index} patches nothing", "give it a Key and Patches")
            metadata = bytes(given.metadata or _NULL)
            made = _EMPTY if metadata == b"null" else metadata_bytes(metadata)
            return Patch(given.key, given.patches, etag, given.patches_if_missing, made)
        case "EVAL":
            if not given.key or given.patch is None:
                raise InvalidDocument(f"command {index} runs no script", "give it a Key and Patch")
            metadata = bytes(given.metadata or _NULL)
            made = _EMPTY if metadata == b"null" else metadata_bytes(metadata)
            return Patch(given.key, given.patch, etag, given.patch_if_missing, made)
    raise InvalidDocument(f"command {index} has the Method {given.method!r}", "use PUT, PATCH, EVAL or DELETE")


def _without_leavings(metadata: bytes) -> bytes:
    """Metadata without what clients echo of the answers they got."""
    members = decode(metadata)
    if not isinstance(members, dict):
        return metadata
    return encode({n: v for n, v in members.items() if n.lower() != "etag" and not n.startswith("Temp")})


def _expected(given: list[Given], error: ConcurrencyConflict) -> str | None:
    """The etag of the command that failed, as it was sent."""
    return next((command.etag for command in given if command.etag and (command.key or "") == error.id), None)


def _result(given: Given, command: Command | Patch, written: Written) -> CommandResult:
    result = CommandResult(key=written.id, additional_data=given.additional_data or _NULL, existed=written.existed)
    if isinstance(command, Patch):
        result.method, result.metadata = given.method.upper(), None
        result.patch_result = "Patched" if written.etag else "DocumentDoesNotExists"
        result.etag = etag_text(written.etag) if written.etag else None
    elif isinstance(command, Delete):
        result.method, result.metadata, result.deleted = "DELETE", None, written.existed
    else:
        assert isinstance(command.metadata, bytes)
        result.method, result.metadata = "PUT", msgspec.Raw(command.metadata)
        result.etag = etag_text(written.etag)
    return result
