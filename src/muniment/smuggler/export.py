"""A state of a database on its way out: what of it is taken, in which order, and what is said of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from muniment.document import IDENTITIES, fold
from muniment.errors import InvalidInput
from muniment.fingerprint import Fingerprint, batch_digests, member_digest
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.smuggler.aside import Aside
from muniment.smuggler.writers import ALL_TYPES, Writer

Choose = Callable[[str, bytes, bytes], tuple[bytes, bytes] | None]

NO_PLACE: Final = "{} that this format has no place for"
_IDENTITIES: Final = fold(IDENTITIES)


@dataclass(frozen=True, slots=True)
class Scope:
    """What to export: by default everything.

    `types` are some of "Documents", "Attachments" and "Identities". `choose` is given the id, the stored metadata and
    the body of a document, and answers metadata and body to export, or None to leave it out. Documents up to
    `start_etag` are left out, and those after the first `limit`. The attachments of a document go its way.
    """

    types: frozenset[str] = ALL_TYPES
    choose: Choose | None = None
    start_etag: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(self.types - ALL_TYPES):
            raise InvalidInput(f"{unknown[0]!r} is no type of items", f"name some of {', '.join(sorted(ALL_TYPES))}")
        if self.start_etag < 0 or (self.limit is not None and self.limit < 0):
            raise InvalidInput("an etag or a limit can not be negative", "use 0 or more")


@dataclass
class Exported:
    """What an export wrote. `skipped` names and counts what was there, was asked for, and has no place in the format.

    `etag` and `time` (microseconds) are those of the state that was exported. `bytes` are those before compression and
    `size` those written. `left_out` counts the documents that were not asked for. `kind` is "full" or "incremental",
    and `reason` says why an incremental export became a full one, or wrote no `file`.
    """

    documents: int = 0
    attachments: int = 0
    identities: int = 0
    deletions: int = 0
    left_out: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    etag: int = 0
    time: int = 0
    bytes: int = 0
    size: int = 0
    seconds: float = 0.0
    format: str = ""
    compression: str = ""
    kind: str = "full"
    reason: str = ""
    file: str | None = None


class _Identity(msgspec.Struct, forbid_unknown_fields=True):
    value: int = msgspec.field(name="Value")


class Export:
    """Takes in a state, attachments first, and gives a writer what the scope leaves of it.

    With `after`, it is the part that changed after that etag: deletions are written too. `account` keeps the
    fingerprint of what comes in, as the proof of a backup needs it.
    """

    def __init__(
        self, writer: Writer, aside: Aside, scope: Scope, progress: Progress, *, after: int = 0, account: bool = False
    ) -> None:
        self.fingerprint = Fingerprint()
        self.summary = Exported()
        self._writer = writer
        self._aside = aside
        self._scope = scope
        self._types = scope.types & writer.carries
        self._progress = progress
        self._after = after
        self._account = account
        self._identities: dict[str, int] = {}
        self._skipped: Counter[str] = Counter()
        # Attachments have to know which documents are left out, so these are read too.
        self._plain = scope.choose is None and not scope.start_etag and scope.limit is None
        writer.begin()

    def apply_attachment(self, revision: Revision, parts: Iterable[bytes] = ()) -> None:
        """Take in an attachment or the deletion of one, before all documents."""
        if self._account and revision.body is not None:
            digest = member_digest(revision.id.encode(), revision.metadata, revision.body)
            number = int.from_bytes(digest, "big")
            self.fingerprint.add((ATTACHMENT, revision.collection or ""), 1, revision.size, number)
        if revision.body is None:
            if 0 < self._after < revision.etag and "Attachments" in self._scope.types:
                self._aside.delete(ATTACHMENT, revision.id, revision.collection, revision.modified)
        elif "Attachments" in self._types:
            self._aside.add(revision, parts)
        else:
            self._skip("Attachments", 1)
            for _ in parts:  # to the end, where they are checked
                pass
        self._progress.check()

    def apply(self, batch: Batch) -> None:
        """Take in documents, and deletions of some."""
        if self._account:
            digests = batch_digests(batch.ids.values(), batch.metadata.values(), list(batch.bodies))
            self.fingerprint.add_batch(batch, digests)
        if batch.bodies.nulls:
            batch = self._without_deletions(batch)
        plain = self._plain and not self._aside.attachments and "Documents" in self._types
        if not len(batch):
            return
        if plain and _IDENTITIES.encode() not in batch.ids.data.lower():
            self._writer.batch(batch)
            self._count(len(batch), len(batch.bodies.data))
            return
        for revision in batch:
            self.take(revision)

    def _without_deletions(self, batch: Batch) -> Batch:
        deleted = set(batch.bodies.nulls)
        if self._after and "Documents" in self._scope.types:
            for revision in batch.take(sorted(deleted)):
                self._aside.delete(DOCUMENT, revision.id, revision.collection, revision.modified)
        return batch.take([row for row in range(len(batch)) if row not in deleted])

    def take(self, revision: Revision) -> None:
        """Take in one document."""
        if (identity := _identity(revision)) and "Identities" in self._writer.carries:
            if "Identities" in self._types:
                self._identities[identity[0]] = identity[1]
        elif "Documents" in self._types:
            self._document(revision)

    def _document(self, revision: Revision) -> None:
        chosen = self._chosen(revision)
        owned = self._aside.take(revision.id) if chosen is None or self._writer.inline else []
        if chosen is None:
            self.summary.left_out += 1
            self._progress.check()
            return
        self._writer.document(chosen, owned)
        self.summary.attachments += len(owned)
        self._count(1, len(chosen.body or b""), sum(each.revision.size for each in owned), len(owned))

    def _chosen(self, revision: Revision) -> Revision | None:
        scope = self._scope
        if revision.etag <= scope.start_etag or (scope.limit is not None and self.summary.documents >= scope.limit):
            return None
        if scope.choose is None:
            return revision
        chosen = scope.choose(revision.id, revision.metadata, revision.body or b"")
        return None if chosen is None else revision._replace(metadata=chosen[0], body=chosen[1], size=len(chosen[1]))

    def _count(self, documents: int, bytes: int, contents: int = 0, attachments: int = 0) -> None:
        self.summary.documents += documents
        self._progress.advance(documents=documents, bytes=bytes + contents, attachments=attachments)

    def _skip(self, type: str, count: int) -> None:
        if type in self._scope.types and count:
            self._skipped[NO_PLACE.format(type.lower())] += count

    @property
    def full(self) -> bool:
        """Whether nothing that may still come will be taken."""
        limit = self._scope.limit
        return limit is not None and self.summary.documents >= limit and not self._aside.attachments

    def finish(self) -> Exported:
        """Write what comes after the documents, and the end."""
        summary = self.summary
        self._writer.loose(self._loose())
        if self._after:
            self._writer.deletions(self._deleted(DOCUMENT), self._deleted(ATTACHMENT))
        self._writer.identities(sorted(self._identities.items()))
        summary.identities = len(self._identities)
        self._writer.end()
        summary.skipped = dict(self._skipped)
        return summary

    def _loose(self) -> Iterator[Revision]:
        for revision in self._aside.left():
            if revision.etag > self._after:
                yield revision
                self.summary.attachments += 1
                self._progress.advance(attachments=1, bytes=revision.size)

    def _deleted(self, kind: int) -> Iterator[tuple[str, str | None, int]]:
        for deletion in self._aside.deletions(kind):
            yield deletion
            self.summary.deletions += 1
            self._progress.check()


def _identity(revision: Revision) -> tuple[str, int] | None:
    """The prefix and number of an identity, if this is what RavenDB keeps as one."""
    if not fold(revision.id).startswith(_IDENTITIES) or revision.metadata != b"{}":
        return None
    try:
        value = msgspec.json.decode(revision.body or b"", type=_Identity).value
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    prefix = revision.id[len(IDENTITIES) :]
    return (prefix, value) if prefix and -(1 << 63) <= value < 1 << 63 else None
