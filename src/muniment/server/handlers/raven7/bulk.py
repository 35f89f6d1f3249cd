"""Documents that a client of RavenDB 4 and later sends as they come, as many as it likes: `bulk_insert`."""

from __future__ import annotations

import msgspec

from muniment.errors import InvalidDocument
from muniment.raven7.documents import write_of
from muniment.raven7.messages import Command
from muniment.raven7.queries import Inserted
from muniment.server.handlers.dumps import incoming
from muniment.server.handlers.raven7.dumps import number_of
from muniment.server.inserting import batches, changing, elements, insert
from muniment.server.request import Request, decode_json
from muniment.server.wire import Refused, Response, empty_response
from muniment.storage.base import Write


async def store(request: Request) -> Response:
    """Store documents as they come in, a thousand in a transaction; those before one that is refused stay."""
    asked = request.asked(Inserted)
    wanted = batches(_write(number, item) for number, item in enumerate(elements(incoming(request))))
    if asked.skip_unchanged:
        wanted = changing(request.tenant, wanted)
    await insert(request, wanted, number_of(asked.id))
    return empty_response(200)


def _write(number: int, item: bytes) -> Write:
    command = decode_json(item, Command, f"command {number}")
    if command.type != "PUT":
        raise Refused(501, f"command {number} is {command.type}: only documents are inserted so", "use a session")
    if not command.id:
        raise InvalidDocument(f"command {number} has no Id", "name the document")
    return write_of(command.id, bytes(command.document) if isinstance(command.document, msgspec.Raw) else b"null", None)
