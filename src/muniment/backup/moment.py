"""How a moment of the backups is named: a time, an etag, or a backup; and the history that it is a moment of.

People write it in one word, and a time as ISO 8601, `14:03`, `yesterday 14:03`, `2 hours ago`; without a zone, in one
that is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from muniment.document import from_microseconds, to_microseconds
from muniment.errors import InvalidInput

if TYPE_CHECKING:
    from muniment.backup.repository import Backup

LOCAL: Final = "local"
Zone: TypeAlias = tzinfo | str | None

_HINT: Final = "write it like 2026-11-22T17:18:03Z, 2026-11-22T18:18:03+01:00, 14:03, yesterday 14:03 or 2 hours ago"
_ZONELESS: Final = "write 2026-11-22T17:18:03Z for UTC, or the offset of a zone, as in 2026-11-22T18:18:03+01:00"
_AGO: Final = re.compile(r"([0-9]{1,6}|an?)\s*([a-z]+)\s+ago")
_DAY: Final = re.compile(r"(today|yesterday)?\s*([0-9]{1,2}:[0-9][0-9](?::[0-9][0-9](?:\.[0-9]{1,6})?)?)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONG: Final = {
    "s": ("second", "sec"),
    "m": ("minute", "min"),
    "h": ("hour",),
    "d": ("day",),
    "w": ("week",),
}
_NOTATION: Final = (
    "give an etag (830 or etag:830), a time (2026-11-22T17:18:03Z), the name of a backup, or newest; @LETTERS after it"
    " say of which lineage"
)


class PointKeywords(TypedDict, total=False):
    """The keywords that name a moment where a user calls: `RestorePoint(**named)`."""

    at: datetime | None
    etag: int | None
    backup: str | None
    lineage: str | None


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """The state at a time, after the transaction of an etag, or at the end of a backup; the newest if none is named.

    `lineage` says of which history, by the first letters of its id; without it, that has to be certain. Raises
    `InvalidInput` for two moments at once, and for what names none: a time without a zone, say, which could be
    anybody's.
    """

    at: datetime | None = None
    etag: int | None = None
    backup: str | None = None
    lineage: str | None = None

    def __post_init__(self) -> None:
        given = {"time": self.at, "etag": self.etag, "backup": self.backup}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise InvalidInput(f"{' and '.join(named)} each name a moment", "give one of them")
        _check(self.at, self.etag)
        for name in ("backup", "lineage"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InvalidInput(f"{name} is {value!r}, which is not a text", f"give the name of the {name} as a str")
        if self.lineage is not None and not self.lineage.strip():
            raise InvalidInput("the lineage is empty", "give the first letters of its id, as inspect shows it")

    @property
    def named(self) -> bool:
        """Whether it is any other than the newest moment."""
        return self != NEWEST

    def of(self, lineage: str) -> RestorePoint:
        """The same moment of this history."""
        return replace(self, lineage=lineage)

    def options(self) -> list[str]:
        """How the command line names it."""
        at = None if self.at is None else self.at.isoformat()
        given = {"--at": at, "--etag": self.etag, "--backup": self.backup, "--lineage": self.lineage}
        return [part for name, value in given.items() if value is not None for part in (name, str(value))]


def _check(at: Any, etag: Any) -> None:
    if at is not None and not isinstance(at, datetime):
        raise InvalidInput(
            f"at is {at!r}, not a datetime", "write at=datetime.fromisoformat('2026-11-22T17:18:03+00:00')"
        )
    if at is not None and at.tzinfo is None:
        raise InvalidInput(
            f"{at.isoformat()} has no zone, so that it is another moment in every country",
            "say which: at.astimezone() for this machine's, at.replace(tzinfo=UTC) for UTC",
        )
    if etag is not None and (type(etag) is not int or not 0 <= etag < 1 << 63):
        raise InvalidInput(f"etag is {etag!r}, not the etag of a transaction", "give a whole number from 0 to 2^63-1")


NEWEST: Final = RestorePoint()


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
    if text.lower() == "newest":
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


def time_of(text: str, zone: Zone, now: datetime) -> datetime:
    """The time that this says, with a zone; raises `InvalidInput` when it says none.

    A time without a zone is one of `zone`: `LOCAL` is this machine's, and None is nobody's, so that it is refused, as
    is a time that the clocks there show twice or never, when summer time ends or begins.
    """
    told = " ".join(text.lower().split())
    try:
        if ago := _AGO.fullmatch(told):
            found = now - _duration(*ago.groups())
        elif day := _DAY.fullmatch(told):
            date = _at_home(now, zone).date() - timedelta(days=day[1] == "yesterday")
            found = _in_zone(datetime.combine(date, time.fromisoformat(day[2].rjust(5, "0"))), zone, text)
        else:
            found = datetime.fromisoformat(text.strip())
            found = found if found.tzinfo else _in_zone(found, zone, text)
        to_microseconds(found)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{text!r} is not a time", _HINT) from error
    return found


def both_readings(found: datetime, zone: Zone) -> str:
    """A time as the clocks of the zone show it, and in UTC."""
    utc = from_microseconds(to_microseconds(found))
    here = _at_home(found, zone)
    shown = utc.isoformat().replace("+00:00", "Z")
    return shown if here.utcoffset() == timedelta() else f"{here.isoformat()}, {shown}"


def _duration(count: str, unit: str) -> timedelta:
    for short, long in _LONG.items():
        if unit == short or unit.removesuffix("s") in long:
            return timedelta(**{_UNITS[short]: 1 if count.startswith("a") else int(count)})
    raise ValueError(unit)


def _at_home(found: datetime, zone: Zone) -> datetime:
    return found.astimezone() if zone == LOCAL else found.astimezone(zone if isinstance(zone, tzinfo) else UTC)


def _in_zone(found: datetime, zone: Zone, text: str) -> datetime:
    """A time without a zone as one of this zone."""
    if zone is None:
        raise InvalidInput(f"{text!r} has no zone", _ZONELESS)
    first, second = (_placed(found.replace(fold=fold), zone) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        which = "twice" if to_microseconds(first) < to_microseconds(second) else "never"
        raise InvalidInput(f"the clocks showed {text!r} {which}, for they were put forward or back", _ZONELESS)
    return first


def _placed(found: datetime, zone: Zone) -> datetime:
    return found.astimezone() if zone == LOCAL else found.replace(tzinfo=zone if isinstance(zone, tzinfo) else UTC)
