"""Attachments of documents, streamed in and out, for clients of RavenDB 4 and later."""

from __future__ import annotations

import asyncio

from muniment.attachment import Attachment
from muniment.document import MAX_ATTACHMENT_BYTES
from muniment.errors import InvalidInput
from muniment.raven3.headers import BUILD_HEADER, Headers
from muniment.raven7.change_vectors import change_vector
from muniment.raven7.documents import shown_attachment
from muniment.raven7.messages import AttachmentStored, Command
from muniment.raven7.names import ATTACHMENT_HASH, ATTACHMENT_SIZE
from muniment.raven7.queries import AttachmentNamed
from muniment.server.handlers.attachments import ANY_TYPE, SMALL, Stream, pulled
from muniment.server.handlers.raven7.batches import Changes
from muniment.server.handlers.raven7.transaction import write
from muniment.server.multipart import MULTIPART, Multipart, boundary_of
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, empty_response, json_response
from muniment.storage.base import Upload


async def get(request: Request) -> Response | Stream:
    """An attachment's content; what is known of it is in headers."""
    owner, name = _named(request)
    attachment = await request.read(lambda: request.tenant.database.get_attachment(name, owner=owner))
    if attachment is None:
        return empty_response(404)
    headers = _headers(attachment, request.tenant.lineage)
    if request.headers.get("if-none-match") == dict(headers)["etag"]:
        return empty_response(304, headers)
    if request.method == "HEAD" or attachment.size > SMALL:
        return Stream(200, headers, attachment.size, attachment.chunks(), request.method == "HEAD", request.tenant)
    return Response(200, headers, await asyncio.to_thread(attachment.read))


def _headers(attachment: Attachment, lineage: str) -> Headers:
    shown = shown_attachment(attachment)
    type = shown.content_type
    return [
        ("content-type", type if type and type.isascii() and type.isprintable() else ANY_TYPE),
        BUILD_HEADER,
        ("etag", f'"{change_vector(attachment.etag, lineage)}"'),
        (ATTACHMENT_HASH, shown.hash),
        (ATTACHMENT_SIZE, str(attachment.size)),
    ]


async def put(request: Request) -> Response:
    """Store an attachment of up to 2 GiB with a document: the body, or the one part of it."""
    owner, name = _named(request)
    asked = request.asked(AttachmentNamed)
    if asked.remote_at is not None:
        raise Refused(501, "nothing is kept in another place", "store it without remote parameters")
    storage, loop = request.tenant.database.storage, asyncio.get_running_loop()
    given = request.headers.get("content-type") or ""
    chunks = pulled(request.chunks(MAX_ATTACHMENT_BYTES), loop)

    def upload() -> Upload:
        if not given.startswith(MULTIPART):
            return storage.upload(chunks)
        found = None
        for part in Multipart(chunks, boundary_of(given)):
            if found is not None:
                storage.discard(found)
                raise Refused(400, "the body has more than one part", "store one attachment at once")
            found = storage.upload(part.chunks)
        if found is None:
            raise Refused(400, "the body has no parts", "send the content as one")
        return found

    command = Command(
        "AttachmentPUT", owner, request.headers.get("if-match"), name=name, content_type=asked.content_type
    )
    with request.server.uploading.one():
        uploaded = await loop.run_in_executor(request.server.uploads, upload)
    changes = Changes(request.tenant, [command], [uploaded])
    try:
        written = await write(request, changes.prepare)
    except BaseException:
        storage.discard(uploaded)
        raise
    [answer] = changes.answers
    told = answer(written)
    return json_response(
        AttachmentStored(name, told["Hash"], told["ContentType"], told["Size"], told["ChangeVector"], owner), 201
    )


async def delete(request: Request) -> Response:
    """Delete an attachment, whether or not there is one."""
    owner, name = _named(request)
    command = Command("AttachmentDELETE", owner, request.headers.get("if-match"), name=name)
    changes = Changes(request.tenant, [command], [])
    await write(request, changes.prepare)
    return empty_response(204)


def _named(request: Request) -> tuple[str, str]:
    asked = request.asked(AttachmentNamed)
    if not asked.id or not asked.name:
        raise InvalidInput("the attachment is not named", "pass ?id=DOCUMENT&name=NAME")
    return asked.id, asked.name
