"""How people name a moment of the backups: an etag, the name of a backup, or a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from muniment.backup.plan import RestorePlan, plan_restore
from muniment.backup.repository import Backup
from muniment.document import to_microseconds
from muniment.errors import InvalidInput

NEWEST: Final = "newest"
_HINT: Final = "write it like 2026-11-22T17:18:03Z or 2026-11-22T18:18:03+01:00; without a zone it is UTC"
_NOTATION: Final = "give an etag (830 or etag:830), a time (2026-11-22T17:18:03Z), the name of a backup, or newest"


def plan_point(text: str, available: Sequence[Backup], where: str) -> RestorePlan:
    """What to read for the moment that this names: `830`, `etag:830`, a backup's name, `newest`, or a time.

    `etag:`, `backup:` and `time:` before it say which of them is meant. Raises `InvalidInput` when it is none of them,
    and what `plan_restore` raises when the backups do not hold it.
    """
    kind, _, rest = text.strip().partition(":")
    if kind.lower() == "etag":
        return plan_restore(available, where, etag=_etag_of(rest))
    if kind.lower() == "backup":
        return plan_restore(available, where, backup=rest)
    if kind.lower() == "time":
        return plan_restore(available, where, at=time_of(rest))
    name = text.strip()
    if any(found.name == name for found in available):
        return plan_restore(available, where, backup=name)
    if name.lower() == NEWEST:
        return plan_restore(available, where)
    if name.isdecimal():
        return plan_restore(available, where, etag=_etag_of(name))
    try:
        time = time_of(name)
    except InvalidInput as error:
        raise InvalidInput(f"{text!r} names no moment and no backup in {where}", _NOTATION) from error
    return plan_restore(available, where, at=time)


def check_moment(at: datetime | None, etag: int | None, backup: str | None) -> None:
    """Raises `InvalidInput` for what can name no moment: a time as text, say."""
    if at is not None and not isinstance(at, datetime):
        raise InvalidInput(
            f"at is {at!r}, not a datetime", "write at=datetime.fromisoformat('2026-11-22T17:18:03+00:00')"
        )
    if etag is not None and (type(etag) is not int or not 0 <= etag < 1 << 63):
        raise InvalidInput(f"etag is {etag!r}, not the etag of a transaction", "give a whole number from 0 to 2^63-1")
    if backup is not None and not isinstance(backup, str):
        raise InvalidInput(f"backup is {backup!r}, not the name of a backup", "give the name of its folder as a str")


def _etag_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 1 << 63):
        raise InvalidInput(f"{text!r} is not an etag", _NOTATION)
    return int(text)


def time_of(text: str) -> datetime:
    """A time as people write it; raises `InvalidInput` when it is none."""
    try:
        time = datetime.fromisoformat(text.strip())
        to_microseconds(time)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{text!r} is not a time", _HINT) from error
    return time
