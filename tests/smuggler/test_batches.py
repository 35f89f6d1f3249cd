"""What an import keeps in memory on its way to disk: as much of metadata as of bodies."""

from __future__ import annotations

import pytest

from muniment import DocumentDatabase
from muniment.revision import Packed
from muniment.smuggler.batches import BATCH_BYTES, FEW, PENDING_BYTES, Batch, Batches
from muniment.smuggler.reader import DumpDocument
from muniment.storage.base import Documents, Write

LARGE = b'{"X":"%b"}' % (b"x" * (1 << 20))


@pytest.mark.parametrize("metadata", [LARGE, b"{}"], ids=["metadata", "bodies"])
@pytest.mark.parametrize("kept", [False, True], ids=["documents", "kept items"])
def test_documents_one_by_one_wait_by_all_their_bytes(database: DocumentDatabase, metadata: bytes, kept: bool) -> None:
    acknowledged: list[Batch] = []
    batches = Batches(database.storage, 1000, acknowledged.append)
    body = b"{}" if metadata is LARGE else LARGE
    taken = 2 * (PENDING_BYTES + BATCH_BYTES) >> 20
    for n in range(taken):
        document = DumpDocument(f"a/{n}", body, metadata, n)
        batches.add([Write(f"a/{n}", body, metadata)], None if kept else document)
    waiting = taken - sum(len(batch.writes) for batch in acknowledged)
    assert waiting << 20 <= PENDING_BYTES + BATCH_BYTES
    batches.flush()
    assert database.last_etag == taken


def test_documents_in_columns_wait_by_all_their_bytes(database: DocumentDatabase) -> None:
    acknowledged: list[Batch] = []
    batches = Batches(database.storage, 1000, acknowledged.append)
    large = LARGE[: 1 << 18] + b'"}'
    for batch in range(6):
        ids = [b"%d/%d" % (batch, n) for n in range(FEW)]
        columns = Packed.of(ids), Packed.of([None] * FEW), Packed.of([large] * FEW), Packed.of([b"{}"] * FEW)
        last = DumpDocument(ids[-1].decode(), b"{}", large, batch)
        batches.add_documents(Documents(*columns), range(FEW), last)
    assert len(acknowledged) == 4  # each is as much as may wait, and two may always
    batches.flush()
    assert database.last_etag == 6 * FEW
