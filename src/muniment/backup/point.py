"""How people name a moment of the backups in one word: an etag, the name of a backup, or a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from muniment.backup.moment import RestorePoint
from muniment.backup.repository import Backup
from muniment.backup.when import Zone, time_of
from muniment.errors import InvalidInput

NEWEST: Final = "newest"
_NOTATION: Final = (
    "give an etag (830 or etag:830), a time (2026-11-22T17:18:03Z), the name of a backup, or newest; @LETTERS after it"
    " say of which lineage"
)


def point_of(
    text: str, available: Sequence[Backup], where: str, lineage: str | None, zone: Zone, now: datetime
) -> RestorePoint:
    """The moment that this names: `830`, `etag:830`, a backup's name, `newest`, or a time; `830@6f0a` of a lineage.

    `etag:`, `backup:` and `time:` before it say which of them is meant. Raises `InvalidInput` when it is none of them.
    """
    text, _, letters = text.strip().partition("@")
    lineage = letters or lineage
    kind, _, rest = text.partition(":")
    if kind.lower() == "etag":
        return RestorePoint(etag=_etag_of(rest), lineage=lineage)
    if kind.lower() == "backup":
        return RestorePoint(backup=rest, lineage=lineage)
    if kind.lower() == "time":
        return RestorePoint(at=time_of(rest, zone, now), lineage=lineage)
    if any(text in (found.name, *found.aliases) for found in available):
        return RestorePoint(backup=text, lineage=lineage)
    if text.lower() == NEWEST:
        return RestorePoint(lineage=lineage)
    if text.isdecimal():
        return RestorePoint(etag=_etag_of(text), lineage=lineage)
    try:
        return RestorePoint(at=time_of(text, zone, now), lineage=lineage)
    except InvalidInput as error:
        if text[:1].isdecimal():  # a time, and not what it should be
            raise
        raise InvalidInput(f"{text!r} names no moment and no backup in {where}", _NOTATION) from error


def _etag_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 1 << 63):
        raise InvalidInput(f"{text!r} is not an etag", _NOTATION)
    return int(text)
