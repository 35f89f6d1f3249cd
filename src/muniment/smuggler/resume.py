"""Where an import is in its dump: the place from which another can go on, and the documents that the dump repeats."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from muniment.errors import InvalidInput
from muniment.smuggler.reader import DumpDocument
from muniment.storage.base import Arrived

_DIGITS: Final = 16
_form = re.compile(r"([0-9a-f]{16})-(\d{1,18})-(\d{1,18})-([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Continuation:
    """A place in a dump: everything through the document at `position` is stored.

    `head` and `document` are digests of the dump's first block and of that document, which distinguish the dump from
    any other. Contents of attachments from `contents` on are still needed: documents that name them come later.
    """

    head: str
    position: int
    contents: int
    document: str

    @classmethod
    def after(cls, head: str, document: DumpDocument, contents: int) -> Self:
        """The place after a document of the dump with this head."""
        return cls(head[:_DIGITS], document.position, contents, _digest(document))

    @classmethod
    def parse(cls, token: str) -> Self:
        """Parse the text that `str` gives; raises `InvalidInput` for any other."""
        found = _form.fullmatch(token.strip())
        if not found:
            raise InvalidInput(
                f"{token!r} is not a continuation token", "give the one in the error of the import that stopped"
            )
        return cls(found[1], int(found[2]), int(found[3]), found[4])

    def __str__(self) -> str:
        return f"{self.head}-{self.position}-{self.contents}-{self.document}"

    def check_head(self, head: str) -> None:
        """Raises `InvalidInput` for a dump with another beginning."""
        if not head.startswith(self.head):
            raise self.foreign()

    def check_document(self, document: DumpDocument) -> None:
        """Raises `InvalidInput` when another document is at this place."""
        if document.position != self.position or _digest(document) != self.document:
            raise self.foreign()

    def foreign(self) -> InvalidInput:
        """The error for a token that belongs to another dump."""
        return InvalidInput(
            "the continuation token belongs to another dump",
            "give the dump that the import was reading when it stopped, or import this one without a token",
        )


def _digest(document: DumpDocument) -> str:
    return hashlib.sha256(b"\0".join((document.id.encode(), document.metadata, document.body))).hexdigest()[:_DIGITS]


class Repeat(NamedTuple):
    """A document at this place in the dump, and in words its earlier place."""

    id: str
    position: int
    before: str


class _Range(NamedTuple):
    """A batch that was written: its etags, and the places of its first and last document in the dump."""

    first_etag: int
    last_etag: int
    first: int
    last: int


class Repeats:
    """Finds documents that a dump holds more than once, by the etags that the storage says were replaced.

    It keeps a few numbers for each batch that the import has written.
    """

    def __init__(self) -> None:
        self._ranges: list[_Range] = []

    def add(self, written: Arrived, positions: Sequence[int | None], replaced: Mapping[int, int]) -> list[Repeat]:
        """Take in a batch; returns those of its documents that replaced one of this or an earlier batch.

        A deletion has no position and does not count. `replaced` maps each new etag to the one that it replaced.
        """
        if isinstance(written, range):
            self._ranges.append(_Range(written[0], written[-1], positions[0] or 0, positions[-1] or 0))
            return []
        places = [position for result, position in zip(written, positions, strict=True) if result.etag]
        etags = [result.etag for result in written if result.etag]
        whole = [position for position in places if position is not None]
        if not whole:
            return []
        self._ranges.append(_Range(etags[0], etags[-1], whole[0], whole[-1]))
        if not replaced:
            return []
        repeats = []
        for result, position in zip(written, positions, strict=True):
            old = replaced.get(result.etag, 0) if result.existed else 0
            if position is None or old < self._ranges[0].first_etag:
                continue
            if old >= etags[0]:
                repeats.append(Repeat(result.id, position, f"at byte {places[old - etags[0]]:,}"))
            elif found := self._range(old):
                repeats.append(Repeat(result.id, position, f"between the bytes {found.first:,} and {found.last:,}"))
        return repeats

    def _range(self, etag: int) -> _Range | None:
        """The batch that wrote this etag; None if another writer did."""
        found = self._ranges[bisect_right(self._ranges, etag, key=lambda batch: batch.first_etag) - 1]
        return found if etag <= found.last_etag else None
