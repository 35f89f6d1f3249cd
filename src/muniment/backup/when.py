"""How people write a time: ISO 8601, `14:03`, `yesterday 14:03`, `2 hours ago`; without a zone, in one that is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final, TypeAlias

from muniment.document import from_microseconds, to_microseconds
from muniment.errors import InvalidInput

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
        raise InvalidInput(f"{text!r} has no zone, and nobody here knows which is meant", _ZONELESS)
    first, second = (_placed(found.replace(fold=fold), zone) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        which = "twice" if to_microseconds(first) < to_microseconds(second) else "never"
        raise InvalidInput(f"the clocks showed {text!r} {which}, for they were put forward or back", _ZONELESS)
    return first


def _placed(found: datetime, zone: Zone) -> datetime:
    return found.astimezone() if zone == LOCAL else found.replace(tzinfo=zone if isinstance(zone, tzinfo) else UTC)
