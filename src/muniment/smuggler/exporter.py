"""A state of a database on its way out: what is taken, in which order, and how the rest is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Final

import msgspec

from muniment.document import IDENTITIES as IDENTITIES_PREFIX
from muniment.document import fold
from muniment.errors import InvalidDocument
from muniment.fingerprint import Totals
from muniment.numbers import numbers_for, series_of
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.smuggler.indexes import translated
from muniment.smuggler.kept import CONTENTS, REVISIONS, has_place, in_order, kept_in
from muniment.smuggler.options import ATTACHMENTS, DOCUMENTS, IDENTITIES, SmugglerOptions
from muniment.smuggler.pending import Deletion, Pending
from muniment.smuggler.pick import Chooser, Named
from muniment.smuggler.refused import REFUSED, may_be_refused, signs_in, why_refused
from muniment.smuggler.revisions import Place, place_in
from muniment.smuggler.summary import Exported, Faults
from muniment.smuggler.writer import Writer

MANY_NUMBERS: Final = 10_000
NO_PLACE: Final = "{} that this format has no place for"
_IDENTITIES: Final = fold(IDENTITIES_PREFIX)


class _Identity(msgspec.Struct, forbid_unknown_fields=True):
    value: int = msgspec.field(name="Value")


class Exporter(Totals):
    """Takes in a state, attachments first, and gives a writer what the options choose.

    Attachments are taken or left out with their documents. With `after`, the state is the part that changed after that
    etag: deletions are written too. `account` keeps the fingerprint of what comes in, for the proof of a backup.
    """

    def __init__(
        self,
        writer: Writer,
        aside: Pending,
        options: SmugglerOptions,
        chooser: Chooser,
        progress: Progress,
        *,
        after: int = 0,
        account: bool = False,
    ) -> None:
        super().__init__()
        self.summary = Exported()
        self.seen = 0  # documents that came in
        self.named = Named(options.filters)
        self._writer = writer
        self._aside = aside
        self._options = options
        self._chooser = chooser
        self._choose = chooser.choose
        self._types = options.carried & writer.carries
        self._progress = progress
        self._after = after
        self._account = account
        self.revisions: Place | None = None  # where in the log there are some of other dumps
        self._refused = Faults()
        self._refusable = writer.refusable
        self._only_refused = options.for_ravendb == "only"
        self._identities: dict[str, int] = {}
        self._skipped: Counter[str] = Counter()
        # Whether attachments are left out depends on their documents, so these are read too.
        part = self._choose or options.start_etag or options.limit is not None or options.ignore_errors
        self._plain = not part
        # Filters do not leave out the last numbers given to ids like those of the documents that are carried.
        self._with_numbers = bool(self._choose) and options.limit is None and IDENTITIES in writer.carries
        self._numbers: dict[str, Revision] = {}
        self._needed: set[str] = set()
        writer.begin()

    def apply_attachment(self, revision: Revision, parts: Iterable[bytes] = ()) -> None:
        """Take in an attachment or the deletion of one, before all documents."""
        if self._account:
            self.count_attachment(revision)
        if revision.body is None:
            if 0 < self._after < revision.etag and ATTACHMENTS in self._options.carried:
                self._aside.delete(revision)
        elif ATTACHMENTS in self._types:
            self._aside.add(revision, parts)
        else:
            self._skip(ATTACHMENTS, 1)
            for _ in parts:  # read to the end, where they are checked
                pass
        self._progress.check()

    def apply(self, batch: Batch) -> None:
        """Take in documents and deletions of documents."""
        if self._account:
            self.count(batch)
        if batch.bodies.nulls:
            batch = self._without_deletions(batch)
        self.seen += len(batch)
        if not self._plain or DOCUMENTS not in self._types:
            for revision in batch:
                self.take(revision)
        elif len(batch):
            self._plain_documents(batch)

    def _plain_documents(self, batch: Batch) -> None:
        """Take in documents when none is changed or left out; most have no attachments and are no identities."""
        apart = set()
        special = b"raven/" in batch.ids.data.lower()
        if special or (self._aside.attachments and self._writer.inline):
            ids = [id.decode() for id in batch.ids.values()]
            apart = self._aside.owners_among(ids) | {id for id in ids if special and _is_special(id)}
        if not apart:
            self._write_batch(batch)
            return
        for together, revisions in groupby(batch, lambda revision: revision.id not in apart):
            if together:
                self._write_batch(Batch.of(list(revisions)))
            else:
                for revision in revisions:
                    self.take(revision)

    def _write_batch(self, batch: Batch) -> None:
        signs = signs_in(batch.bodies)
        if self._refusable and may_be_refused(batch, signs):
            for revision in batch:
                self._document(revision)
            return
        if self._only_refused:
            return
        if signs.own_metadata:  # a dump may be unable to hold some
            for revision in batch:
                self._document(revision)
            return
        self._writer.batch(batch)
        self._count(len(batch), batch.bodies.size)

    def _without_deletions(self, batch: Batch) -> Batch:
        deleted = set(batch.bodies.nulls)
        if self._after and DOCUMENTS in self._options.carried:
            for revision in batch.take(sorted(deleted)):
                self._aside.delete(revision)
        return batch.take([row for row in range(len(batch)) if row not in deleted])

    def take(self, revision: Revision) -> None:
        """Take in one document."""
        if self.named.seeks_ids:
            self.named.note_id(revision.id)
        if (identity := _identity(revision)) and IDENTITIES in self._writer.carries:
            if IDENTITIES in self._types:
                self._identities[identity[0]] = identity[1]
        elif self._writer.legacy is not None and has_place(revision.id) and self._keep(revision):
            pass
        elif DOCUMENTS in self._types:
            self._document(revision)

    def _keep(self, revision: Revision) -> bool:
        """Take in a document that keeps an item of another section; false if it does not."""
        if place := place_in(revision):
            self.revisions = place
            return True
        kept = kept_in(revision)
        if kept is None:
            return False
        if revision.etag > self._options.start_etag and self._options.gives_back(kept.section):
            if kept.legacy == self._writer.legacy:
                self._aside.keep(kept.section, kept.item + kept.blob)
            elif kept.section == "Indexes" and (item := translated(kept)):
                self._aside.keep(kept.section, item)
            else:
                self._skipped[NO_PLACE.format(kept.section)] += 1
        return True

    def _admitted(self, revision: Revision) -> bool:
        """Whether to write a document, by what RavenDB will say of it."""
        told = why_refused(revision.id, revision.metadata, revision.body or b"{}")
        if told is None:
            return not self._only_refused
        self._refused.add(revision.id, None, told)
        if self._options.for_ravendb == "without":
            self._chooser.left_out[REFUSED] += 1
        return self._options.for_ravendb != "without"

    def _document(self, revision: Revision) -> None:
        chosen = self._chosen(revision)
        if chosen and self._refusable and not self._admitted(chosen):
            chosen = None
        owned = self._aside.take(revision.id) if chosen is None or self._writer.inline else []
        if chosen is None:
            self._progress.check()
            if self._with_numbers and series_of(revision.id) and len(self._numbers) < MANY_NUMBERS:
                self._numbers[fold(revision.id)] = revision
            return
        if self._with_numbers and len(self._needed) < MANY_NUMBERS:
            self._needed.update(numbers_for(revision.id))
        try:
            self._writer.document(chosen, owned)
        except InvalidDocument as error:  # one document must not prevent the export of all others
            self._chooser.faults.add(revision.id, None, error)
            return
        self.summary.attachments += len(owned)
        self._count(1, len(chosen.body or b""), sum(each.revision.size for each in owned), len(owned))

    def _chosen(self, revision: Revision) -> Revision | None:
        if revision.etag <= self._options.start_etag or self._at_limit:
            return None
        if self._choose is None:
            return revision
        chosen = self._choose(revision.id, revision.metadata, revision.body or b"")
        return None if chosen is None else revision._replace(metadata=chosen[0], body=chosen[1], size=len(chosen[1]))

    @property
    def _at_limit(self) -> bool:
        limit = self._options.limit
        return limit is not None and self.summary.documents >= limit

    def _count(self, documents: int, bytes: int, contents: int = 0, attachments: int = 0) -> None:
        self.summary.documents += documents
        self._progress.advance(documents=documents, bytes=bytes + contents, attachments=attachments)

    def _skip(self, type: str, count: int) -> None:
        if type in self._options.carried and count:
            self._skipped[NO_PLACE.format(type.lower())] += count

    @property
    def full(self) -> bool:
        """Whether nothing more will be taken."""
        return self._at_limit and not self._aside.attachments

    def finish(self, revisions: Iterable[bytes] = ()) -> Exported:
        """Write what comes after the documents, and the end. `revisions` are those that are in the history."""
        summary = self.summary
        if not self._only_refused:
            self._write_numbers()
            self._writer.loose(self._loose())
            if self._after:
                self._writer.deletions(self._deleted(DOCUMENT), self._deleted(ATTACHMENT))
            self._write_kept(revisions)
            self._writer.identities(sorted(self._identities.items()))
            summary.identities = len(self._identities)
        self._writer.end()
        summary.refused, summary.refusals = self._refused.count, self._refused.first
        summary.skipped = dict(self._skipped + self._chooser.left_out)
        summary.failed, summary.faults = self._chooser.faults.count, self._chooser.faults.first
        return summary

    def _write_kept(self, revisions: Iterable[bytes]) -> None:
        sections = {*self._aside.kept_sections(), *([REVISIONS] if self.revisions else [])}
        for section in in_order(sections):
            items: Iterable[bytes] = self._aside.kept(section)
            contents: Iterable[Revision] = ()
            if section == REVISIONS:
                items = chain(items, revisions if self._options.gives_back(REVISIONS) else ())
                contents = (each for each in self._aside.left() if each.id.startswith(CONTENTS))
            self._writer.section(section, self._counted(section, items), contents)

    def _counted(self, section: str, items: Iterable[bytes]) -> Iterator[bytes]:
        for item in items:
            yield item
            self.summary.kept[section] = self.summary.kept.get(section, 0) + 1
            self._progress.check()

    def _write_numbers(self) -> None:
        for key, revision in self._numbers.items():
            if key in self._needed or len(self._needed) >= MANY_NUMBERS:
                self._writer.document(revision, [])
                self._count(1, len(revision.body or b""))

    def _loose(self) -> Iterator[Revision]:
        for revision in self._aside.left():
            if self._writer.inline and revision.id.startswith(CONTENTS):  # it goes with revisions
                continue
            if revision.etag > self._after:
                yield revision
                self.summary.attachments += 1
                self._progress.advance(attachments=1, bytes=revision.size)

    def _deleted(self, kind: int) -> Iterator[Deletion]:
        for deletion in self._aside.deletions(kind):
            yield deletion
            self.summary.deletions += 1
            self._progress.check()


def _is_special(id: str) -> bool:
    """Whether this may be a document that is something else in a dump."""
    return has_place(id) or fold(id).startswith(_IDENTITIES)


def _identity(revision: Revision) -> tuple[str, int] | None:
    """The prefix and number of an identity, if this is what RavenDB keeps as one."""
    if not fold(revision.id).startswith(_IDENTITIES) or revision.metadata != b"{}":
        return None
    try:
        value = msgspec.json.decode(revision.body or b"", type=_Identity).value
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    prefix = revision.id[len(IDENTITIES_PREFIX) :]
    return (prefix, value) if prefix and -(1 << 63) <= value < 1 << 63 else None
