"""Durations as people write them."""

from __future__ import annotations

import pytest

from muniment.duration import duration_of, duration_text
from muniment.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), (" 25H ", 90_000), ("7 d", 604_800), ("2w", 1_209_600), ("0s", 0)]
)
def test_what_is_written_is_so_many_seconds(text: str, seconds: int) -> None:
    assert duration_of(text, "x") == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "1y", "1d 2h", "1_0s", "٣d", "9999999999d"])
def test_what_makes_no_sense_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"--grace is .* not a time") as refused:
        duration_of(text, "--grace")
    assert "for example 7d" in refused.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0 seconds"),
        (1, "1 second"),
        (60, "1 minute"),
        (7199, "119 minutes"),
        (90_000, "25 hours"),
        (864e5, "1,000 days"),
    ],
)
def test_people_are_told_the_largest_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
