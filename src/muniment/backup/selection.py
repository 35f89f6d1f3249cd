"""Restoring a part of a moment: collections and prefixes proven as part of the whole, single ids without reading it.

To find ids, only the columns of ids and etags are decoded, and then the row groups that hold their newest revisions.
All files are compared with their SHA-256 before; what is not decoded is not counted, so the fingerprint is not proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from muniment.backup.manifest import File
from muniment.backup.matches import Matches, collections_of
from muniment.backup.parquet import Source, attachments_of, batch_of, numbers_of, texts_of
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Destination, Moment, check_before_ranges, moment_of, read_backup
from muniment.backup.repository import Backup
from muniment.backup.tally import Tally
from muniment.document import fold, from_microseconds, rfc3339, texts_in
from muniment.errors import InvalidInput
from muniment.fingerprint import Fingerprint
from muniment.fingerprint import Tally as Rows
from muniment.numbers import numbers_for, series_of
from muniment.owner import key_of, split_id
from muniment.progress import Progress
from muniment.revision import DOCUMENT, Batch, Revision

MANY_SERIES: Final = 10_000  # of ids with numbers; with more, all numbers are taken


@dataclass(frozen=True, slots=True)
class Selection:
    """What to restore; a document is taken when it is in one of the collections or its id is one of those named.

    With documents comes the one that holds the last number given to ids like theirs (`Raven/Hilo/orders`), lest it be
    given out again. Attachments are taken by their keys; those of a document (`orders/830/photo.png`) come with its id.
    Case is ignored. What nothing is found for is an error, unless it is only `wanted_if_there`.
    """

    collections: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    wanted_if_there: bool = False

    def __post_init__(self) -> None:
        if any(isinstance(given, str | bytes) for given in (self.collections, self.ids, self.prefixes)):
            raise InvalidInput("a Selection is made of sets of names, not of one text", "use Selection.of(ids=[…])")

    @classmethod
    def of(
        cls, collections: Iterable[str] = (), ids: Iterable[str] = (), prefixes: Iterable[str] = ()
    ) -> Selection | None:
        """A selection of these, None when nothing was named.

        Raises `InvalidInput` for an empty name, and for one name where a list of names belongs.
        """
        collections, ids, prefixes = (
            texts_in(given, what)
            for given, what in ((collections, "collections"), (ids, "ids"), (prefixes, "prefixes"))
        )
        for text in (*collections, *ids, *prefixes):
            if not isinstance(text, str):
                raise InvalidInput(f"{text!r} is not the name of a collection, an id or a prefix", "give text")
        if not all((*collections, *ids, *prefixes)):
            raise InvalidInput("a collection, id or prefix to restore is empty", "leave it out")
        if not (collections or ids or prefixes):
            return None
        return cls(frozenset(map(fold, collections)), frozenset(map(fold, ids)), tuple(map(fold, prefixes)))

    def matches(self) -> Matches:
        """What counts off its names when something is found for them."""
        return Matches(self.collections, self.ids, self.prefixes)

    def takes(self, id: str, collection: str | None) -> bool:
        """Whether this document is to be restored."""
        return fold(collection or "") in self.collections or self._takes_key(fold(id))

    def takes_attachment(self, key: str) -> bool:
        """Whether this attachment is to be restored."""
        return self.takes_folded(fold(key))

    def takes_folded(self, folded: str) -> bool:
        """Whether an attachment with this folded key is."""
        owner, name = split_id(folded)
        return self._takes_key(key_of(folded)) or (name.rpartition("/")[0] if owner is None else owner) in self.ids

    def _takes_key(self, key: str) -> bool:
        return key in self.ids or (bool(self.prefixes) and key.startswith(self.prefixes))


def check_selection(selection: Selection | None) -> None:
    """Raises `InvalidInput` for what is no selection."""
    if selection is not None and not isinstance(selection, Selection):
        raise InvalidInput(
            f"the selection is {selection!r}, not a Selection",
            "write Selection.of(collections=[…], ids=[…], prefixes=[…])",
        )


def read_part(plan: RestorePlan, selection: Selection | None, destination: Destination, progress: Progress) -> Moment:
    """Give the destination what is selected of the planned moment, everything without a selection.

    Raises `DamagedBackup` when something that was read is not what was written, and `DocumentNotFound` when there was
    nothing for one of the names that were selected: before anything is read where the manifest tells it.
    """
    if selection is None:
        return read_backup(plan, destination, progress)
    if selection.collections or selection.prefixes:
        where = f"in the state of {plan.manifest.snapshot.time}"
        if not plan.partial and not selection.wanted_if_there:
            _check_collections(plan, selection, where)
        selected = Selected(selection, destination)
        moment = read_backup(plan, selected, progress)
        if not selection.wanted_if_there:
            selected.matches.check(plan, _where(moment))
        selected.apply_numbers()
        return moment
    progress.stage = "checking files"
    plan.backup.settings()
    check_before_ranges(plan.files, progress)
    moment = moment_of(plan)
    progress.stage = "looking for ids"
    places = _find(plan, selection, moment, progress)
    progress.stage = "reading documents"
    matches = selection.matches()
    for backup, file in plan.files:
        if found := [place for place in places if place.file is file]:
            _read(backup, file, found, destination, progress, matches)
    if not selection.wanted_if_there:
        matches.check(plan, _where(moment))
    return moment


def _check_collections(plan: RestorePlan, selection: Selection, where: str) -> None:
    matches = Matches(selection.collections)
    for name in collections_of(plan.manifest.fingerprint_at_snapshot()):
        matches.note("", name)
    matches.check(plan, where)


def _where(moment: Moment) -> str:
    return f"in the state of {rfc3339(from_microseconds(moment.modified))}"


@dataclass(slots=True)
class _Place:
    """Where the newest revision of an id is: an attachment's may be in several row groups."""

    file: File
    etag: int
    groups: set[int]


def _find(plan: RestorePlan, selection: Selection, moment: Moment, progress: Progress) -> list[_Place]:
    """The places of the revisions that were current at the moment."""
    newest: dict[tuple[bool, str], _Place] = {}
    ids = selection.ids.union(*map(numbers_for, selection.ids))
    for backup, file in plan.files:
        documents = file.kind == DOCUMENT
        takes = ids.__contains__ if documents else selection.takes_folded
        with closing(Source.of(backup, file)) as source:
            for _, group in source.groups():
                progress.check()
                table = source.read(group, ["etag", "id"])
                for key, etag in zip(map(fold, texts_of(table, "id")), numbers_of(table, "etag"), strict=True):
                    if takes(key) and etag <= moment.etag:
                        place = newest.setdefault((documents, key), _Place(file, etag, {group}))
                        if etag == place.etag:
                            place.groups.add(group)
                        elif etag > place.etag:
                            newest[documents, key] = _Place(file, etag, {group})
    return list(newest.values())


def _read(
    backup: Backup,
    file: File,
    found: Sequence[_Place],
    destination: Destination,
    progress: Progress,
    matches: Matches,
) -> None:
    etags = {place.etag for place in found}
    groups = sorted(set().union(*(place.groups for place in found)))
    documents = file.kind == DOCUMENT
    with closing(Source.of(backup, file)) as source:
        tables = (source.read(group) for group in groups)
        if documents:
            for batch in map(batch_of, tables):
                batch = batch.take([row for row, etag in enumerate(batch.etags) if etag in etags])
                for revision in batch:
                    if revision.body is not None:
                        matches.note(revision.id, revision.collection)
                destination.apply(batch)
                progress.advance(documents=len(batch) - len(batch.bodies.nulls), bytes=batch.bodies.size)
        else:
            for revision, parts in attachments_of(tables):
                if revision.etag in etags:
                    if revision.body is not None:
                        matches.note_attachment(revision.id)
                    destination.apply_attachment(revision, parts)
                    progress.advance(attachments=revision.body is not None, bytes=revision.size)


class Selected:
    """A destination that passes on what is selected, and tallies everything, so that the whole moment is proven.

    `matches` tells which names of the selection something was found for.
    """

    def __init__(self, selection: Selection, destination: Destination) -> None:
        self._selection = selection
        self._destination = destination
        self.matches = selection.matches()
        self._whole = Tally()
        self._numbers: dict[str, Revision] = {}
        self._needed: set[str] = set()

    @property
    def fingerprint(self) -> Fingerprint:
        """Of everything that was read."""
        return self._whole.fingerprint

    @property
    def rows(self) -> Rows:
        """The same of their digests as rows."""
        return self._whole.rows

    def apply(self, batch: Batch) -> None:
        """Take in documents."""
        self._whole.apply(batch)
        rows = [row for row, revision in enumerate(batch) if self._takes(revision)]
        if rows:
            self._destination.apply(batch.take(rows))

    def _takes(self, revision: Revision) -> bool:
        if self._selection.takes(revision.id, revision.collection):
            if revision.body is not None and not self.matches.complete:
                self.matches.note(revision.id, revision.collection)
            if len(self._needed) < MANY_SERIES:
                self._needed.update(numbers_for(revision.id))
            return True
        if series_of(revision.id):
            self._numbers[fold(revision.id)] = revision
        return False

    def apply_numbers(self) -> None:
        """Pass on the documents that hold the last numbers given to ids like those that were."""
        all_of_them = len(self._needed) >= MANY_SERIES
        found = [each for key, each in self._numbers.items() if all_of_them or key in self._needed]
        if found:
            self._destination.apply(Batch.of(sorted(found, key=lambda revision: revision.etag)))

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Take in an attachment; the destination checks the content of those that it is given."""
        if self._selection.takes_attachment(revision.id):
            self._whole.count_attachment(revision)
            if revision.body is not None:
                self.matches.note_attachment(revision.id)
            self._destination.apply_attachment(revision, parts)
        else:
            self._whole.apply_attachment(revision, parts)
