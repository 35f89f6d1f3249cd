"""The interface of the formats of exports: everything is written in the order in which the format has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from muniment.revision import Batch, Revision
from muniment.smuggler.pending import Deletion, Owned

Content = Callable[[Revision], Iterator[bytes]]


class Writer:
    """A format being written; it ignores what it cannot hold.

    `inline`: attachments are written with the documents that own them, and `loose` writes the others. `carries` are the
    types of items that the format can hold. `legacy`: whether what imports have kept of other sections is for RavenDB 2
    and 3 when it is to go into one again; None if the format has no sections. `refusable`: who reads it refuses the
    whole because of some documents (`muniment.smuggler.refused`).
    """

    inline: ClassVar[bool] = False
    legacy: ClassVar[bool | None] = None
    refusable: ClassVar[bool] = False
    carries: ClassVar[frozenset[str]]

    def begin(self) -> None:
        """Write what comes before the documents."""

    def batch(self, batch: Batch) -> None:
        """Write documents that are not changed or left out, and have no attachments and no `@metadata` of their own."""
        raise NotImplementedError

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """Write a document; raises `InvalidDocument`, having written nothing, if the format cannot hold it."""
        raise NotImplementedError

    def loose(self, attachments: Iterable[Revision]) -> None:
        """Write attachments that no document has taken; called once, after the last document."""

    def section(self, name: str, items: Iterable[bytes], contents: Iterable[Revision] = ()) -> None:
        """Write a section that an import had kept, with these items; the contents of attachments come first."""

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """Write identities, after everything else."""

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """Write deletions, after the attachments."""

    def end(self) -> None:
        """Write the end."""
