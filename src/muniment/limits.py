"""How fast a job may be, and when: limits that may be changed while it runs."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Final

import msgspec

from muniment.errors import InvalidInput

LEAST_PRIORITY: Final = 19
NONE: Final = "none"
_RATE: Final = re.compile(r"([0-9]{1,12})\s*([kmg]?)b?(/s)?", re.IGNORECASE)
_HOURS: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})")
_FACTORS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes a second a job reads of documents and attachments, and writes into files or uploads; how far it
    stands back for others (0 to 19); and in which hours it goes on, in minutes of the machine's day. None is no limit.
    """

    read_rate: int | None = None
    write_rate: int | None = None
    niceness: int | None = None
    hours: tuple[int, int] | None = None

    def opens(self, now: datetime) -> datetime | None:
        """When it may go on, None for now; the hours may pass midnight."""
        if self.hours is None:
            return None
        first, last = (time(*divmod(minutes, 60)) for minutes in self.hours)
        at = now.time()
        if first <= at < last if first < last else (at >= first or at < last):
            return None
        begin = now.replace(hour=first.hour, minute=first.minute, second=0, microsecond=0)
        return begin if begin > now else begin + timedelta(days=1)

    def changed(
        self,
        read_rate: str | None = None,
        write_rate: str | None = None,
        niceness: int | None = None,
        hours: str | None = None,
    ) -> Limits:
        """The same with these: `20MB` a second, `22:00-06:00`, `none` for no limit any more; None leaves one as it is.

        Raises `InvalidInput`.
        """
        if niceness is not None and not 0 <= niceness <= LEAST_PRIORITY:
            raise InvalidInput(f"there is no niceness {niceness}", f"give a number from 0 to {LEAST_PRIORITY}")
        return Limits(
            read_rate=self.read_rate if read_rate is None else _rate(read_rate, "the read rate"),
            write_rate=self.write_rate if write_rate is None else _rate(write_rate, "the write rate"),
            niceness=self.niceness if niceness is None else niceness,
            hours=self.hours if hours is None else _minutes(hours),
        )

    def texts(self) -> dict[str, str]:
        """The limits that there are, by their names, as `changed` reads them."""
        found = {"read-rate": self.read_rate, "write-rate": self.write_rate, "niceness": self.niceness}
        told = {name: str(value) for name, value in found.items() if value is not None}
        if self.hours:
            told["hours"] = "-".join("{:02}:{:02}".format(*divmod(each, 60)) for each in self.hours)
        return told


NO_LIMITS: Final = Limits()


def _rate(text: str, what: str) -> int | None:
    if text.strip().lower() in ("", NONE):
        return None
    matched = _RATE.fullmatch(text.strip())
    rate = int(matched[1]) * _FACTORS[matched[2].lower()] if matched else 0
    if not rate:
        raise InvalidInput(f"{what} is {text!r}, no rate", "give bytes a second, for example 500kB or 20MB, or none")
    return rate


def _minutes(text: str) -> tuple[int, int] | None:
    if text.strip().lower() in ("", NONE):
        return None
    matched = _HOURS.fullmatch(text.strip())
    numbers = [int(part) for part in matched.groups()] if matched else [99]
    if max(numbers[::2]) > 23 or max(numbers[1::2]) > 59 or numbers[:2] == numbers[2:]:
        raise InvalidInput(f"the hours are {text!r}, no hours of a day", "write them like 22:00-06:00, or none")
    return numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
