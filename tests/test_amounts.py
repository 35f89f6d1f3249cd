"""Numbers as people read them."""

from __future__ import annotations

import pytest

from muniment.amounts import count_text, seconds_text, size_text, speed_text, took_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (22_700_000, "22.7 MB"),
        (5_000_000_000, "5.0 GB"),
        (7e15, "7,000.0 TB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.414, "0.41 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125.0, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (3725.0, "1 h 02 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_speeds() -> None:
    assert speed_text(57_000_000, 1.0) == "57 MB/s"
    assert speed_text(2_500_000_000, 1.0) == "2,500 MB/s"
    assert speed_text(350_400, 1.0) == "350 kB/s"
    assert speed_text(999_600, 1.0) == "1 MB/s"
    assert speed_text(5, 1.0) == "1 kB/s"  # and never 0
    assert speed_text(0, 1.0) == speed_text(5, 0.0) == ""
    assert took_text(57_000_000, 1.0) == "1.00 s, 57 MB/s"
    assert took_text(0, 1.0) == "1.00 s"


def test_counts() -> None:
    assert [count_text(count, "file") for count in (0, 1, 1200)] == ["0 files", "1 file", "1,200 files"]
