"""Documents that a client of RavenDB 4 and later sends as they come, as many as it likes: `bulk_insert`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from muniment import json_bytes
from muniment.backup.job import Job
from muniment.document import MAX_BODY_BYTES, MAX_METADATA_BYTES
from muniment.errors import InvalidDocument, MunimentError
from muniment.raven7.documents import write_of
from muniment.raven7.messages import Command
from muniment.raven7.queries import Inserted
from muniment.revision import DOCUMENT
from muniment.server.handlers.dumps import incoming
from muniment.server.handlers.raven7.dumps import number_of
from muniment.server.request import Request, decode_json
from muniment.server.tenants import Tenant
from muniment.server.wire import CutShort, Refused, Response, empty_response
from muniment.storage.base import Write

BATCH: Final = 1000
BATCH_BYTES: Final = 8 << 20
_READ: Final = 1 << 16
_MOST: Final = MAX_BODY_BYTES + MAX_METADATA_BYTES


async def insert(request: Request) -> Response:
    """Store documents as they come in, a thousand in a transaction; those before one that is refused stay."""
    asked, tenant = request.asked(Inserted), request.tenant
    if tenant.is_system:
        raise Refused(501, "the server's own database takes no bulk of documents", "store them in a batch")
    items = elements(incoming(request))

    def work(job: Job[None]) -> None:
        try:
            for batch in _batches(tenant, items, unchanged=not asked.skip_unchanged):
                tenant.database.batch(batch)
                job.progress.advance(documents=len(batch), bytes=sum(len(each.body or b"") for each in batch))
        except MunimentError as error:
            error.message = f"{error.message}; the {job.progress.documents:,} documents before it were stored"
            raise
        operation.told["result"] = {"documents": job.progress.documents}

    with request.server.transfers.one():
        operations = request.server.operations
        job = Job("import", work)
        operation = operations.new(job, tenant.name, request.who, number=number_of(asked.id))
        await operations.follow(operation)
    operation.job.wait()
    return empty_response(200)


def _batches(tenant: Tenant, items: Iterator[bytes], *, unchanged: bool) -> Iterator[list[Write]]:
    """The writes of so many documents; without those that are there already unless `unchanged` ones are wanted."""
    batch, size = list[Write](), 0
    for number, item in enumerate(items):
        of = _write(number, item)
        present = None if unchanged else tenant.database.storage.get(DOCUMENT, of.id)
        if present and (present.body, present.metadata) == (of.body, of.metadata):
            continue
        batch.append(of)
        size += len(of.body or b"")
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(number: int, item: bytes) -> Write:
    command = decode_json(item, Command, f"command {number}")
    if command.type != "PUT":
        raise Refused(501, f"command {number} is {command.type}: only documents are inserted so", "use a session")
    if not command.id:
        raise InvalidDocument(f"command {number} has no Id", "name the document")
    return write_of(command.id, bytes(command.document) if isinstance(command.document, msgspec.Raw) else b"null", None)


def elements(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The objects of a JSON array, as it comes; raises `CutShort` where it ends too early, and `InvalidDocument`."""
    window = _Window(chunks)
    window.pass_over(b"[")
    if window.next() == b"]":
        return
    while True:
        yield window.object()
        if window.next() == b"]":
            return
        window.pass_over(b",")


class _Window:
    """As much of what comes in as one element takes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._at = 0

    def next(self) -> bytes:
        """The next byte that is no white space."""
        while (at := json_bytes.skip_space(self._buffer, self._at)) == len(self._buffer):
            self._at = at  # white space is not kept, however much there is
            self._more()
        self._at = at
        return self._buffer[at : at + 1]

    def pass_over(self, sign: bytes) -> None:
        """Move on past this sign, which has to be next."""
        if (found := self.next()) != sign:
            raise InvalidDocument(f"there is {found!r} where {sign!r} has to be", "send an array of commands")
        self._at += 1

    def object(self) -> bytes:
        """The object that comes next."""
        if (found := self.next()) != b"{":
            raise InvalidDocument(f"there is {found!r} where a command has to be", "send an array of commands")
        try:
            while (end := json_bytes.value_end(self._buffer, self._at)) < 0:
                if len(self._buffer) - self._at > _MOST:
                    raise Refused(413, f"a command has more than {_MOST:,} bytes", "store smaller documents")
                self._more()
        except json_bytes.Malformed as error:
            raise InvalidDocument(f"a command {error}", "send an array of commands") from error
        start, self._at = self._at, end
        return self._buffer[start:end]

    def _more(self) -> None:
        """Read on; the more there is, the more at once, for it is looked at from its beginning."""
        parts, wanted = [self._buffer[self._at :]], max(_READ, len(self._buffer) - self._at)
        while wanted > 0 and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            wanted -= len(chunk)
        if len(parts) == 1:
            raise CutShort("the array has no end", "what came before was stored; send the rest again")
        self._buffer, self._at = b"".join(parts), 0
