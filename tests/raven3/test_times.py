"""Times as the protocol spells them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from muniment.raven3.times import http_date, time_of

CHANGED = datetime(2026, 11, 22, 14, 3, 0, 123456, UTC)


def test_times_of_headers() -> None:
    assert http_date(CHANGED) == "Sun, 22 Nov 2026 14:03:00 GMT"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T14:03:00.1234560Z", CHANGED),
        ("2026-11-22T14:03:00.1234567Z", CHANGED),
        ("2026-11-22T14:03:00.123456", CHANGED),
        ("2026-11-22T15:03:00.123456+01:00", CHANGED),
        ("2026-11-22T14:03:00Z", CHANGED.replace(microsecond=0)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    assert time_of(text) == time
