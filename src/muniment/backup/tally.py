"""Counting what is read of a backup, without keeping it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from muniment import native
from muniment.backup.reader import HINT
from muniment.document import check_body
from muniment.errors import DamagedBackup, InvalidDocument
from muniment.fingerprint import ContentDigest, Totals
from muniment.revision import Batch, Packed, Revision

_grammar = msgspec.json.Decoder(msgspec.Raw).decode


class Tally(Totals):
    """A destination that keeps nothing but the fingerprint and the sum of the rows' digests.

    It checks that documents are JSON.
    """

    def apply(self, batch: Batch) -> None:
        """Count these documents in."""
        check_json(batch)
        self.count(batch)

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Count an attachment in, after reading its content."""
        check_content(revision, parts)
        self.count_attachment(revision)


def check_json(batch: Batch) -> None:
    """Raises `DamagedBackup` unless these are JSON objects; that they are Unicode is known of what Parquet gives."""
    if (library := native.load()) and library.objects(batch.bodies) and library.objects(batch.metadata):
        return
    grammar, bodies = _grammar, batch.bodies
    try:
        metadata = set(batch.metadata.values())
        for about in metadata:
            grammar(about)
        views = bodies.views()
        for row in reversed(bodies.nulls):
            del views[row]
        deque(map(grammar, views), 0)
        if all(about[:1] == b"{" for about in metadata) and _begin_as_objects(bodies):
            return
    except (msgspec.DecodeError, RecursionError):
        pass
    for revision in batch:  # in full: which one it is, and what is wrong
        try:
            check_body(revision.metadata, "its metadata")
            if revision.body is not None:
                check_body(revision.body)
        except InvalidDocument as error:
            raise DamagedBackup(f"document {revision.id!r} in the backup: {error}", HINT) from error


def _begin_as_objects(bodies: Packed) -> bool:
    """Whether the first byte of each is that of an object; none of them is empty."""
    starts: Iterable[int] = bodies.offsets[:-1]
    if bodies.nulls:
        dead = set(bodies.nulls)
        starts = [start for row, start in enumerate(starts) if row not in dead]
    return set(map(memoryview(bodies.memory).__getitem__, starts)) <= {ord("{")}


def check_content(revision: Revision, parts: Iterable[bytes]) -> None:
    """Raises `DamagedBackup` unless these are the bytes that were stored as this attachment."""
    digest = ContentDigest()
    for part in parts:
        digest.add(part)
    if revision.body is not None and not digest.is_of(revision):
        raise DamagedBackup(f"the content of attachment {revision.id!r} was changed", HINT)
