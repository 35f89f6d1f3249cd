"""Counting what is read of a backup, without keeping it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from muniment.backup.reader import HINT
from muniment.document import check_body
from muniment.errors import DamagedBackup, InvalidDocument
from muniment.fingerprint import ContentDigest, Totals
from muniment.revision import Batch, Revision

_grammar = msgspec.json.Decoder(msgspec.Raw).decode


class Tally(Totals):
    """A destination that keeps nothing but the fingerprint and the sum of the rows' digests.

    It checks that documents are JSON.
    """

    def apply(self, batch: Batch) -> None:
        """Count these documents in."""
        ids, metadata, bodies = batch.ids.values(), batch.metadata.values(), list(batch.bodies)
        check_json(ids, metadata, bodies)
        self.count(batch)

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Count an attachment in, after reading its content."""
        check_content(revision, parts)
        self.count_attachment(revision)


def check_json(ids: Sequence[bytes], metadata: Sequence[bytes], bodies: Sequence[bytes | None]) -> None:
    """Raises `DamagedBackup` unless these are JSON objects; that they are Unicode is known of what Parquet gives."""
    grammar = _grammar
    try:
        for about in set(metadata):
            grammar(about)
        for body in bodies:
            if body is not None:
                grammar(body)
        if all(body is None or body[:1] == b"{" for body in bodies) and all(about[:1] == b"{" for about in metadata):
            return
    except (msgspec.DecodeError, RecursionError):
        pass
    for id, about, body in zip(ids, metadata, bodies, strict=True):  # in full: which one it is, and what is wrong
        try:
            check_body(about, "its metadata")
            if body is not None:
                check_body(body)
        except InvalidDocument as error:
            raise DamagedBackup(f"document {id.decode()!r} in the backup: {error}", HINT) from error


def check_content(revision: Revision, parts: Iterable[bytes]) -> None:
    """Raises `DamagedBackup` unless these are the bytes that were stored as this attachment."""
    digest = ContentDigest()
    for part in parts:
        digest.add(part)
    if revision.body is not None and not digest.is_of(revision):
        raise DamagedBackup(f"the content of attachment {revision.id!r} was changed", HINT)
