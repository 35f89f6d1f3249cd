"""Many documents that come in one request: stored in transactions as they come, and those before a failure stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from muniment import json_bytes
from muniment.backup.job import Job
from muniment.document import MAX_BODY_BYTES, MAX_METADATA_BYTES, fold
from muniment.errors import InvalidDocument, MunimentError
from muniment.revision import DOCUMENT, Revision
from muniment.server.operations import Operation
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import CutShort, Refused
from muniment.storage.base import Write

BATCH: Final = 1000
BATCH_BYTES: Final = 8 << 20
MOST: Final = MAX_BODY_BYTES + MAX_METADATA_BYTES
_READ: Final = 1 << 16
_HINT: Final = "see docs/http-api.md"


async def insert(request: Request, batches: Iterable[list[Write]], number: int | None = None) -> Operation:
    """Store these as they come, each list of them in a transaction, as the job of this number; returns when it is done.

    Raises why it failed, saying how many were stored.
    """
    tenant = request.tenant
    if tenant.is_system:
        raise Refused(501, "the server's own database takes no bulk of documents", "store them in a batch")

    def work(job: Job[None]) -> None:
        job.progress.stage = "storing documents"
        try:
            for batch in batches:
                tenant.database.batch(batch)
                job.progress.advance(documents=len(batch), bytes=sum(len(each.body or b"") for each in batch))
        except MunimentError as error:
            error.message = f"{error.message}; the {job.progress.documents:,} documents before it were stored"
            if isinstance(error, CutShort):
                error.hint = "send the others again"
            raise
        operation.told["result"] = {"documents": job.progress.documents}

    with request.server.transfers.one():
        operations = request.server.operations
        job = Job("import", work)
        operation = operations.new(job, tenant.name, request.who, number=number)
        await operations.follow(operation)
    operation.job.wait()
    return operation


def batches(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """So many of these at once as one transaction has."""
    batch, size = list[Write](), 0
    for each in writes:
        batch.append(each)
        size += len(each.body or b"")
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def changing(tenant: Tenant, batches: Iterable[list[Write]]) -> Iterator[list[Write]]:
    """Of each of these the writes by which something changes."""
    for batch in batches:
        wanted, before = list[Write](), dict[str, tuple[bytes | None, bytes]]()
        for each in batch:
            if (known := before.get(key := fold(each.id))) is None and (found := _present(tenant, each.id)):
                known = found.body, found.metadata
            if known != (each.body, each.metadata):
                wanted.append(each)
                before[key] = each.body, each.metadata
        if wanted:
            yield wanted


def _present(tenant: Tenant, id: str) -> Revision | None:
    found = tenant.database.storage.get(DOCUMENT, id)
    return None if found is None or found.body is None else found


def elements(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The objects of a JSON array, as it comes; raises `CutShort` where it ends too early, and `InvalidDocument`."""
    window = Window(chunks)
    window.pass_over(b"[")
    if window.next() == b"]":
        return
    while True:
        yield window.object()
        if window.next() == b"]":
            return
        window.pass_over(b",")


class Window:
    """As much of what comes in as one element takes."""

    def __init__(self, chunks: Iterator[bytes], what: str = "a command") -> None:
        self._chunks = chunks
        self._what = what
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
            raise InvalidDocument(f"there is {found!r} where {sign!r} has to be", _HINT)
        self._at += 1

    def object(self) -> bytes:
        """The object that comes next."""
        if (found := self.next()) != b"{":
            raise InvalidDocument(f"there is {found!r} where {self._what} has to be", _HINT)
        try:
            while (end := json_bytes.value_end(self._buffer, self._at)) < 0:
                if len(self._buffer) - self._at > MOST:
                    raise Refused(413, f"{self._what} has more than {MOST:,} bytes", "store smaller documents")
                self._more()
        except json_bytes.Malformed as error:
            raise InvalidDocument(f"{self._what} {error}", _HINT) from error
        start, self._at = self._at, end
        return self._buffer[start:end]

    def _more(self) -> None:
        """Read on; the more there is, the more at once, for it is looked at from its beginning."""
        parts, wanted = [self._buffer[self._at :]], max(_READ, len(self._buffer) - self._at)
        while wanted > 0 and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            wanted -= len(chunk)
        if len(parts) == 1:
            raise CutShort(
                f"{self._what} or what follows it has no end", "what came before was stored; send the rest again"
            )
        self._buffer, self._at = b"".join(parts), 0
