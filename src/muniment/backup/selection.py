"""Restoring a part: some collections, ids or prefixes of a moment, proven as part of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from muniment.backup.reading import Destination
from muniment.backup.tally import Tally
from muniment.document import fold
from muniment.errors import InvalidInput
from muniment.fingerprint import Fingerprint
from muniment.revision import Batch, Revision


@dataclass(frozen=True, slots=True)
class Selection:
    """What to restore; a document is taken when it is in one of the collections or its id is one of those named.

    Attachments are taken by their keys; those of a document (`orders/830/photo.png`) come with its id. Case is ignored.
    """

    collections: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, collections: tuple[str, ...] = (), ids: tuple[str, ...] = (), prefixes: tuple[str, ...] = ()
    ) -> Selection | None:
        """A selection of these, None when nothing was named; raises `InvalidInput` for an empty name."""
        if not all((*collections, *ids, *prefixes)):
            raise InvalidInput("a collection, id or prefix to restore is empty", "leave the option away")
        if not (collections or ids or prefixes):
            return None
        return cls(frozenset(map(fold, collections)), frozenset(map(fold, ids)), tuple(map(fold, prefixes)))

    def takes(self, id: str, collection: str | None) -> bool:
        """Whether this document is to be restored."""
        return fold(collection or "") in self.collections or self._takes_key(fold(id))

    def takes_attachment(self, key: str) -> bool:
        """Whether this attachment is to be restored."""
        folded = fold(key)
        return self._takes_key(folded) or folded.rpartition("/")[0] in self.ids

    def _takes_key(self, key: str) -> bool:
        return key in self.ids or (bool(self.prefixes) and key.startswith(self.prefixes))


class Selected:
    """A destination that passes on what is selected, and tallies everything, so that the whole moment is proven."""

    def __init__(self, selection: Selection, destination: Destination) -> None:
        self._selection = selection
        self._destination = destination
        self._whole = Tally()

    @property
    def fingerprint(self) -> Fingerprint:
        """Of everything that was read."""
        return self._whole.fingerprint

    def apply(self, batch: Batch) -> None:
        """Take in documents."""
        self._whole.apply(batch)
        takes = self._selection.takes
        rows = [row for row, revision in enumerate(batch) if takes(revision.id, revision.collection)]
        if rows:
            self._destination.apply(batch.take(rows))

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Take in an attachment; the destination checks the content of those that it is given."""
        if self._selection.takes_attachment(revision.id):
            self._whole.count_attachment(revision)
            self._destination.apply_attachment(revision, parts)
        else:
            self._whole.apply_attachment(revision, parts)
