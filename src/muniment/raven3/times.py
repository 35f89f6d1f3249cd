"""Times as the protocol spells them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

# RavenDB's times have seven digits of a second, Python's at most six.
_time = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(Z|[+-]\d\d:?\d\d)?")


def http_date(time: datetime) -> str:
    """RFC 1123, to the second."""
    return _http_date(int(time.timestamp()))


@lru_cache(1024)
def _http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def time_of(text: str) -> datetime:
    """A time as RavenDB writes it, in UTC if it names no zone; raises `ValueError` for anything else."""
    found = _time.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a time")
    seconds, fraction, zone = found.groups()
    return datetime.fromisoformat(f"{seconds}.{(fraction or '').ljust(6, '0')}{zone or '+00:00'}")
