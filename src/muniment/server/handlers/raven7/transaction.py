"""Writes that follow from what there is: what they expect to find is set here, and found anew when it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from muniment.document import SEPARATOR, fold
from muniment.errors import ConcurrencyConflict
from muniment.owner import tombstone
from muniment.raven7.change_vectors import expected_etag
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.server.handlers import documents
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused
from muniment.storage.base import Write, Written

TRIES: Final = 100
_PAGE: Final = 1024


class Prepared(NamedTuple):
    """Writes, and the folded ids of those whose expected etags nobody has asked for."""

    writes: Sequence[Write]
    own: frozenset[str] = frozenset()


Prepare: TypeAlias = Callable[[], Prepared]


async def write(request: Request, prepare: Prepare) -> list[Written]:
    """Carry out writes as one transaction; they are prepared anew when what they follow from has changed meanwhile."""
    for _ in range(TRIES - 1):
        prepared = await asyncio.to_thread(prepare)
        try:
            return await documents.write(request, prepared.writes)
        except ConcurrencyConflict as error:
            if fold(error.id) not in prepared.own:
                raise
    return await documents.write(request, (await asyncio.to_thread(prepare)).writes)


def deletion(tenant: Tenant, id: str, expected: int | None) -> Prepared:
    """What deletes a document together with its attachments, as RavenDB 4 and later do."""
    present = tenant.database.storage.get(DOCUMENT, id)  # first: who attaches something later changes its etag
    files = [delete_attachment(tenant, each) for each in attachment_ids(tenant, id)]
    own = {fold(each.id) for each in files}
    if expected is None and present:
        expected = present.etag
        own.add(fold(id))
    return Prepared([Write(id, None, expected=expected), *files], frozenset(own))


def attachment_ids(tenant: Tenant, owner: str) -> list[str]:
    """The ids that the attachments of a document are stored under."""
    ids = list[str]()
    while page := tenant.database.storage.by_prefix(ATTACHMENT, f"{owner}{SEPARATOR}", len(ids), _PAGE):
        ids += [each.id for each in page]
    return ids


def delete_attachment(tenant: Tenant, id: str, expected: int | None = None) -> Write:
    """The deletion of an attachment, which says what it deletes; with no etag given, of the one that there is now."""
    storage = tenant.database.storage
    with storage.pin():
        present = storage.get(ATTACHMENT, id)
        metadata = tombstone(storage, present) if present else b"{}"
    etag = present.etag if present and expected is None else expected
    return Write(id, None, metadata, None, etag, ATTACHMENT)


def wanted(tenant: Tenant, vector: str | None) -> int | None:
    """The etag that a change vector names, as `expected_etag`; raises `Refused` (400)."""
    try:
        return expected_etag(vector, tenant.lineage)
    except ValueError as error:
        raise Refused(400, str(error), "pass back the one that the document was read with") from error
