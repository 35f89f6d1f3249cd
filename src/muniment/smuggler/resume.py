"""Where an import stopped, so that another one can go on there."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

from muniment.errors import InvalidInput
from muniment.smuggler.reader import DumpDocument

_DIGITS: Final = 16
_form = re.compile(r"([0-9a-f]{16})-(\d{1,18})-(\d{1,18})-([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Continuation:
    """A place in a dump: everything through the document at `position` is stored.

    `head` and `document` are digests of the dump's first block and of that document, which tell it from any other
    dump. Contents of attachments from `contents` on are still needed: documents that name them come later.
    """

    head: str
    position: int
    contents: int
    document: str

    @classmethod
    def after(cls, head: str, document: DumpDocument, contents: int) -> Self:
        """The place behind a document of the dump with this head."""
        return cls(head[:_DIGITS], document.position, contents, _digest(document))

    @classmethod
    def parse(cls, token: str) -> Self:
        """From the text that `str` gives; raises `InvalidInput` for any other."""
        found = _form.fullmatch(token.strip())
        if not found:
            raise InvalidInput(
                f"{token!r} is not a continuation token", "give the one that the import which stopped has named"
            )
        return cls(found[1], int(found[2]), int(found[3]), found[4])

    def __str__(self) -> str:
        return f"{self.head}-{self.position}-{self.contents}-{self.document}"

    def check_head(self, head: str) -> None:
        """Raises `InvalidInput` for a dump that begins otherwise."""
        if not head.startswith(self.head):
            raise self.foreign()

    def check_document(self, document: DumpDocument) -> None:
        """Raises `InvalidInput` when another document stands in this place."""
        if document.position != self.position or _digest(document) != self.document:
            raise self.foreign()

    def foreign(self) -> InvalidInput:
        """The error that this is not the dump of this token."""
        return InvalidInput(
            "the continuation token is of another dump",
            "give the dump that the import was reading when it stopped, or import this one without a token",
        )


def _digest(document: DumpDocument) -> str:
    return hashlib.sha256(b"\0".join((document.id.encode(), document.metadata, document.body))).hexdigest()[:_DIGITS]
