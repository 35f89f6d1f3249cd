"""What the loaders of all engines check of what they are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from muniment.document import fold, to_microseconds
from muniment.errors import DamagedBackup
from muniment.fingerprint import ContentDigest
from muniment.revision import Batch, Packed, Revision
from muniment.storage.base import PART_BYTES, Lineage

LARGEST: Final = 10**18  # no etag or time may be as large as that


def check_numbers(batch: Batch) -> None:
    """Raises `DamagedBackup` for an etag or a time that no database can have given."""
    for numbers in (batch.etags, batch.modified):
        if min(numbers) < 0 or max(numbers) >= LARGEST:
            raise DamagedBackup("an etag or a time is out of range", "restore from another backup")


def whole(revision: Revision, parts: Iterable[bytes], most: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The parts of an attachment's content, at most so many, each with its number.

    Raises `DamagedBackup` for one that is too large, and at the end if the content is not the one that is named.
    """
    digest = ContentDigest()
    for number, part in enumerate(digest.passing(parts)):
        if len(part) > PART_BYTES or (most is not None and number >= most):
            raise DamagedBackup(
                f"attachment {revision.id!r} has too many or too large parts", "restore from another backup"
            )
        yield number, part
    if not digest.is_of(revision):
        raise DamagedBackup(
            f"attachment {revision.id!r} has {digest.size} bytes, not the {revision.size} it was stored with",
            "restore from another backup, or another copy of this one",
        )


def folded(ids: Packed) -> Packed:
    """The keys of these ids."""
    if ids.data.isascii():
        return Packed(ids.offsets, ids.data.lower())
    return Packed.of(fold(id.decode()).encode() for id in ids.values())


def began(lineages: Sequence[Lineage]) -> int | None:
    """When the last of these began, in microseconds: what is committed in it has a later time. None if not known."""
    time = lineages[-1].began if lineages else None
    return None if time is None else to_microseconds(datetime.fromisoformat(time))
