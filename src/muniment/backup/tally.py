"""Counting what is read of a backup, without keeping it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from muniment.backup.reader import HINT
from muniment.document import check_body
from muniment.errors import DamagedBackup, InvalidDocument
from muniment.fingerprint import Fingerprint, attachment_digests, batch_digests, batch_row_digests, digest_sum
from muniment.fingerprint import Tally as Rows
from muniment.revision import ATTACHMENT, Batch, Revision

_grammar = msgspec.json.Decoder(msgspec.Raw).decode


class Tally:
    """A destination that keeps nothing but the fingerprint and the sum of the rows' digests.

    It checks that documents are JSON.
    """

    def __init__(self) -> None:
        self.fingerprint = Fingerprint()
        self.rows = Rows()

    def apply(self, batch: Batch) -> None:
        """Count these documents in."""
        ids, metadata, bodies = batch.ids.values(), batch.metadata.values(), list(batch.bodies)
        check_json(ids, metadata, bodies)
        digests = batch_digests(ids, metadata, bodies)
        self.fingerprint.add_batch(batch, digests)
        self.rows.add(1, 0, digest_sum(batch_row_digests(batch, digests)))

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Count an attachment in, after reading its content."""
        check_content(revision, parts)
        self.count_attachment(revision)

    def count_attachment(self, revision: Revision) -> None:
        """Count an attachment in whose content somebody else checks."""
        member, row = attachment_digests(revision)
        self.rows.add(1, 0, int.from_bytes(row, "big"))
        if revision.body is not None:
            digest = member
            group = (ATTACHMENT, revision.collection or "")
            self.fingerprint.add(group, 1, revision.size, int.from_bytes(digest, "big"))


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
    sha256, size = hashlib.sha256(), 0
    for part in parts:
        sha256.update(part)
        size += len(part)
    if revision.body is not None and (sha256.digest() != revision.body or size != revision.size):
        raise DamagedBackup(f"the content of attachment {revision.id!r} was changed", HINT)
