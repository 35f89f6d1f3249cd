"""Amounts as people say them: `1 document`, `22.7 MB`, `57 MB/s`, `2 min 05 s`."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("kB", "MB", "GB", "TB")


def count_text(count: int, noun: str) -> str:
    """A number of things: `1 file`, `1,200 documents`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size_text(size: float) -> str:
    """Bytes in the unit that suits them, a thousand to a unit: `22.7 MB`."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in _UNITS:
        size /= 1000
        if size < 999.95 or unit == _UNITS[-1]:
            break
    return f"{size:,.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """A duration as people say it: `0.41 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 9.995 else 1}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def speed_text(size: int, seconds: float) -> str:
    """How much came each second, in the unit that suits it: `57 MB/s`, `350 kB/s`; nothing when nothing came."""
    if not seconds or size < 1:
        return ""
    rate = size / seconds
    return f"{rate / 1e6:,.0f} MB/s" if rate >= 999_500 else f"{max(rate / 1e3, 1):,.0f} kB/s"


def took_text(size: int, seconds: float) -> str:
    """A duration, and how much came each second if anything did: `0.41 s, 57 MB/s`."""
    return ", ".join(filter(None, (seconds_text(seconds), speed_text(size, seconds))))
