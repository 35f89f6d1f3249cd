"""How long: as people write it, `90s`, `12h`, `30d`, and in seconds."""

from __future__ import annotations

import re
from typing import Final

from muniment.errors import InvalidInput

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WRITTEN: Final = re.compile(r"([0-9]{1,9})\s*([smhdw])")


def duration_of(text: str, what: str) -> int:
    """The seconds that this says; `what` is what it is called where it was written. Raises `InvalidInput`."""
    matched = _WRITTEN.fullmatch(text.strip().lower())
    if not matched:
        raise InvalidInput(f"{what} is {text!r}, not a time", "give a number and s, m, h, d or w, for example 7d")
    return int(matched[1]) * _SECONDS[matched[2]]


def duration_text(seconds: float) -> str:
    """The same as people say it, in the largest unit that it fills twice, or that it is: `26 hours`, `1 day`."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size or seconds == size:
            return _counted(int(seconds // size), unit)
    return _counted(int(seconds), "second")


def _counted(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
