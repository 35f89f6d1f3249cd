"""Waiting for a state, never for a time: a machine under load takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE: Final = 120.0  # so long that nothing but a fault takes it
LONGEST_PAUSE: Final = 0.2
Found = TypeVar("Found")


def until(holds: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    """What this gives, as soon as that is true; raises `TimeoutError`."""
    end, pause = time.monotonic() + seconds, 0.01
    while not (found := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"it did not come to that in {seconds:.0f} s")
        time.sleep(pause)  # longer and longer, for looking takes time of its own
        pause = min(1.5 * pause, LONGEST_PAUSE)
    return found
