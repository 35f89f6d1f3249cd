"""What a store should hold, worked out in the plainest way, to compare with what an engine does."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from muniment.fingerprint import Fingerprint
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.storage.base import Storage, Write, Written

Key: TypeAlias = tuple[int, str]


class Row(NamedTuple):
    """A revision as a reader sees it: `content` is the body, or all bytes of an attachment; None for a tombstone."""

    etag: int
    id: str
    collection: str | None
    modified: int
    metadata: bytes
    content: bytes | None


State: TypeAlias = dict[Key, Row]
Tallies: TypeAlias = dict[tuple[int, str], tuple[int, int, int]]


def key_of(kind: int, id: str) -> Key:
    return kind, lowered(id)


def lowered(id: str) -> str:
    """An id as RavenDB compares it, written out: each character by itself, and "İ" has no lower case."""
    return "".join(character if character == "İ" else character.lower() for character in id)


def row_of(store: Storage, revision: Revision) -> Row:
    content = revision.body
    if revision.kind == ATTACHMENT and content is not None:
        content = b"".join(store.content(revision))
        assert hashlib.sha256(content).digest() == revision.body
    assert revision.size == len(content or b"")
    return Row(revision.etag, revision.id, revision.collection, revision.modified, revision.metadata, content)


def changes(store: Storage, after: int, upto: int) -> list[Revision]:
    """All changed documents of a span, in the order in which they come."""
    return [revision for batch in store.changes(after, upto) for revision in batch]


def state_of(store: Storage, upto: int, after: int = 0) -> State:
    """What `changes` and `attachment_changes` give, tombstones included; the caller holds a pin at `upto`."""
    state: State = {}
    for kind, revisions in (
        (DOCUMENT, changes(store, after, upto)),
        (ATTACHMENT, list(store.attachment_changes(after, upto))),
    ):
        etags = [revision.etag for revision in revisions]
        assert etags == sorted(set(etags))
        for revision in revisions:
            assert revision.kind == kind
            assert after < revision.etag <= upto
            key = key_of(kind, revision.id)
            assert key not in state
            state[key] = row_of(store, revision)
    return state


def state_now(store: Storage) -> State:
    """Everything that is current, tombstones included."""
    with store.pin() as snapshot:
        return state_of(store, snapshot.etag)


def live(state: Mapping[Key, Row]) -> State:
    """The same without tombstones."""
    return {key: row for key, row in state.items() if row.content is not None}


def fingerprint_of(state: Mapping[Key, Row]) -> Tallies:
    """Count, bytes and digest of each group, written out again from `docs/backup-format.md`."""
    tallies: Tallies = {}
    for (kind, _), row in live(state).items():
        content = row.content or b""
        id = row.id.encode("utf-8")
        body = hashlib.sha256(content).digest() if kind == ATTACHMENT else content
        digest = hashlib.sha256(struct.pack("<II", len(id), len(row.metadata)) + id + row.metadata + body).digest()
        group = (kind, row.collection or "")
        count, size, total = tallies.get(group, (0, 0, 0))
        tallies[group] = count + 1, size + len(content), (total + int.from_bytes(digest, "big")) % 2**256
    return tallies


def tallies(fingerprint: Fingerprint) -> Tallies:
    """A fingerprint as plain numbers."""
    return {
        group: (tally.count, tally.bytes, tally.digest) for group, tally in fingerprint.tallies.items() if tally.count
    }


def put(
    id: str,
    body: bytes = b"{}",
    metadata: bytes = b"{}",
    collection: str | None = None,
    expected: int | None = None,
) -> Write:
    return Write(id, body, metadata, collection, expected)


def delete(id: str, expected: int | None = None) -> Write:
    return Write(id, None, expected=expected)


def attach(
    store: Storage,
    key: str,
    chunks: Iterable[bytes],
    metadata: bytes = b"{}",
    collection: str | None = None,
    expected: int | None = None,
) -> Written:
    """Upload and name an attachment, as the database does."""
    upload = store.upload(chunks)
    return store.commit([Write(key, upload.sha256, metadata, collection, expected, ATTACHMENT, upload)])[0]


def detach(key: str, expected: int | None = None) -> Write:
    return Write(key, None, expected=expected, kind=ATTACHMENT)
