"""When something is to be done again and again: cron expressions, by the clock of a time zone.

Around the hours that a zone skips or repeats it is as with Debian's cron: what is due in a skipped hour is done after
it, and what is due in a repeated one is done once, unless it is due every hour or more often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from muniment.document import from_microseconds, to_microseconds
from muniment.errors import InvalidInput

SHOWN: Final = 5
_WINDOW: Final = 3 * 3_600_000_000
EXAMPLE: Final = "30 1 * * *"
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@cache
def zone_named(name: str) -> tzinfo:
    """A time zone by its name in the database of zones; raises `InvalidInput` for another."""
    if name in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(f"there is no time zone {name!r}", "write it like Europe/Berlin or UTC") from error


@dataclass(frozen=True, slots=True)
class Cron:
    """Minute, hour, day of the month, month and day of the week, with seconds in front if there are six fields.

    Raises `InvalidInput` for what is no such expression, and for one whose time never comes.
    """

    expression: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        zone_named(self.zone)
        try:
            self._after(datetime(2024, 1, 1, tzinfo=UTC), self.expression).__next__()
        except StopIteration as error:
            raise self._refused("its time never comes") from error
        except CronSimError as error:
            raise self._refused(str(error)[:1].lower() + str(error)[1:]) from error

    def _refused(self, why: str) -> InvalidInput:
        example = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in islice(self._after(datetime.now(UTC), EXAMPLE), SHOWN))
        return InvalidInput(
            f"{self.expression!r} says no time: {why}",
            "write minute, hour, day of the month, month, day of the week: "
            f"{EXAMPLE!r} would next be at {example} ({self.zone})",
        )

    def _after(self, time: datetime, expression: str) -> Iterator[datetime]:
        return CronSim(_WORDS.get(expression.strip().lower(), expression), time.astimezone(zone_named(self.zone)))

    def after(self, now: int) -> int:
        """The next time after this one, both in microseconds."""
        return to_microseconds(next(self._after(from_microseconds(now), self.expression)).astimezone(UTC))

    def last(self, at: int, now: int) -> int:
        """The last of its times up to now, of which `at` is one; in microseconds."""
        if now - at > _WINDOW:  # backwards, cronsim is not exact in the hours that come twice
            zoned = from_microseconds(now - _WINDOW).astimezone(zone_named(self.zone))
            expression = _WORDS.get(self.expression.strip().lower(), self.expression)
            at = max(at, to_microseconds(next(CronSim(expression, zoned, reverse=True)).astimezone(UTC)))
        while (later := self.after(at)) <= now:
            at = later
        return at

    def next_times(self, now: int, count: int = SHOWN) -> list[datetime]:
        """The next times after this one, by the clock of the zone."""
        return list(islice(self._after(from_microseconds(now), self.expression), count))

    def text(self, time: datetime) -> str:
        """A time by the clock of the zone, in ISO 8601."""
        return time.astimezone(zone_named(self.zone)).isoformat().replace("+00:00", "Z")
