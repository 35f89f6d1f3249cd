"""What a database holds, as plain values to compare: once as a backup is given it, once as readers see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from muniment import DocumentDatabase
from muniment.document import fold
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.storage.base import Storage
from tests.clock import SECOND, START, Clock


class Item(NamedTuple):
    """A document or an attachment with its whole content, or its tombstone (content None)."""

    etag: int
    id: str
    collection: str | None
    modified: int
    metadata: bytes
    content: bytes | None


State: TypeAlias = dict[tuple[int, str], Item]
Seen: TypeAlias = dict[tuple[int, str], tuple[str, bytes, bytes]]


def state_of(database: DocumentDatabase) -> State:
    """Everything that is current now, tombstones included, by kind and folded id."""
    storage = database.storage
    with storage.pin() as snapshot:
        revisions = [revision for batch in storage.changes(0, snapshot.etag) for revision in batch]
        revisions += storage.attachment_changes(0, snapshot.etag)
        assert len({revision.etag for revision in revisions}) == len(revisions)
        return {(revision.kind, fold(revision.id)): _item(storage, revision) for revision in revisions}


def _item(storage: Storage, revision: Revision) -> Item:
    content = revision.body
    if revision.kind == ATTACHMENT and content is not None:
        content = b"".join(storage.content(revision))
        assert len(content) == revision.size
    return Item(revision.etag, revision.id, revision.collection, revision.modified, revision.metadata, content)


def live(state: State) -> State:
    """The same without tombstones."""
    return {key: item for key, item in state.items() if item.content is not None}


def seen_by_readers(database: DocumentDatabase) -> Seen:
    """Id, metadata and content of everything, through the calls that a user has."""
    found: Seen = {}
    after = 0
    while page := database.by_etag(after=after, limit=1000):
        for document in page:
            assert database.get(document.id) == document
            found[DOCUMENT, fold(document.id)] = (document.id, document.metadata_json, document.body)
        after = page[-1].etag
    for attachment in database.attachments(limit=10_000):
        assert database.get_attachment(attachment.key) == attachment
        content = attachment.read()
        assert attachment.size == len(content)
        found[ATTACHMENT, fold(attachment.key)] = (attachment.key, attachment.metadata_json, content)
    return found


@contextmanager
def opened(folder: Path, clock: Clock | None = None) -> Iterator[DocumentDatabase]:
    """An existing database, checked against itself when the test is done with it."""
    with DocumentDatabase(folder, create=False, clock=clock or Clock(START + 86_400 * SECOND, step=SECOND)) as database:
        yield database
        assert database.check() == []


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, and every folder (None), to show that nothing was touched."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
