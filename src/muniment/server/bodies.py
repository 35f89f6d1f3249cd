"""What comes in: how much of it is held in memory at once, and how long a client may take to send it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final, Protocol

from muniment.server.wire import Refused

# As large are most bodies. They are not counted, so that those who send large ones, or never end, are in nobody's way;
# how many there can be is bounded by the connections.
SMALL: Final = 1 << 16
SLOWEST: Final = 1 << 14  # bytes in a second, beyond the seconds that any body has
RETRY: Final = ("retry-after", "1")


class Pace:
    """When a body began to come, as the event loop's clock goes, and how much of it has."""

    def __init__(self) -> None:
        self.begun = asyncio.get_running_loop().time()
        self.received = 0


class Awaiting(Protocol):
    """Who waits for a body."""

    def cancel(self) -> object:
        """End the waiting."""


class Bodies:
    """The bodies that are being received, or are in memory until their requests are answered."""

    def __init__(self, memory: int, seconds: float) -> None:
        self.memory = memory
        self._seconds = seconds
        self._held = 0
        self._awaited: dict[Awaiting, float] = {}

    def hold(self, size: int) -> int:
        """Count these bytes as held, and return their number; raises `Refused` (503) when there is no room for them."""
        if self._held + size > self.memory:
            raise Refused(
                503,
                f"the server holds {self._held >> 20:,} MiB of other requests already, of {self.memory >> 20:,} MiB",
                "nothing was done: send it again in a second, or less at once",
                headers=[RETRY],
            )
        self._held += size
        return size

    def release(self, size: int) -> None:
        """These bytes are held no more."""
        self._held -= size

    async def small(self, body: Awaitable[bytes]) -> bytes:
        """A body that comes at once; raises `Refused` (408) when that takes too long.

        Nearly every write comes by here, so it has no timer of its own: that costs as much as a tenth of the request.
        """
        task = asyncio.current_task()
        assert task is not None
        self.await_(task)
        try:
            return await body
        except asyncio.CancelledError:
            if task in self._awaited:
                raise
            task.uncancel()
            raise self.late(0) from None
        finally:
            self.came(task)

    def await_(self, who: Awaiting) -> None:
        """Cancel the waiting for a small body that is not there in time."""
        self._awaited[who] = monotonic() + self._seconds

    def came(self, who: Awaiting) -> None:
        """It is there."""
        self._awaited.pop(who, None)

    async def watch(self) -> None:
        """End the waiting for small bodies that take too long, for ever."""
        while True:
            await asyncio.sleep(min(1.0, self._seconds / 4))
            now = monotonic()
            for each in [each for each, until in self._awaited.items() if until < now]:
                del self._awaited[each]
                each.cancel()

    @asynccontextmanager
    async def in_time(self, pace: Pace) -> AsyncIterator[asyncio.Timeout]:
        """Within it, more comes of a body; raises `Refused` (408) when that has taken too long."""
        try:
            async with asyncio.timeout_at(self.until(pace)) as timer:
                yield timer
        except TimeoutError:
            raise self.late(pace.received) from None

    def until(self, pace: Pace) -> float:
        """When more has to have come, as the event loop's clock goes."""
        return pace.begun + self._seconds + pace.received / SLOWEST

    def late(self, received: int) -> Refused:
        """The error for a body of which only that much has come in time."""
        return Refused(
            408,
            f"only {received:,} bytes of the request came in {self._seconds:.0f} s" + " and more" * (received > SMALL),
            "nothing was done: send it again, faster",
        )
