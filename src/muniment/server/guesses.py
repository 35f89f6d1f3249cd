"""Where wrong keys come from, and how long such a source has to wait; others neither wait for it nor are refused.

Secrets are looked at one after the other, each for 20 ms. A source of which fewer were wrong has its turn first, so
that many sources that guess do not keep out who does not. Memory is bounded by the number of connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from ipaddress import IPv6Address, IPv6Network, ip_address
from itertools import count
from typing import Final

from muniment.server.wire import Refused

MAX_WAITING: Final = 16  # of a source, at once
FREE_FAILURES: Final = 3  # so many a source has before it is slowed: people mistype
SLOWEST_SECONDS: Final = 30.0
MAX_SOURCES: Final = 10_000


class Guesses:
    """The wrong keys of each source, and whose turn it is to be looked at. For one event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}  # how many, and until when it waits; the oldest first
        self._waiting: dict[str, int] = {}
        self._turns: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._taken = False

    def check(self, source: str) -> None:
        """Raises `Refused` (429) for a source that has to wait, or of which too many wait."""
        source = network(source)
        _, until = self._failures.get(source, (0, 0.0))
        if self._clock() >= until and self._waiting.get(source, 0) < MAX_WAITING:
            return
        seconds = max(1, round(until - self._clock()))
        raise Refused(
            429,
            "too many keys were wrong",
            f"try again in {seconds} s, with a key that is right",
            headers=[("retry-after", str(seconds))],
        )

    def fail(self, source: str) -> None:
        """Count another wrong key from this source; after a few it has to wait."""
        source = network(source)
        failures = self._failures.pop(source, (0, 0.0))[0] + 1
        while len(self._failures) >= MAX_SOURCES:
            del self._failures[next(iter(self._failures))]
        wait = min(2.0 ** (failures - FREE_FAILURES), SLOWEST_SECONDS) if failures >= FREE_FAILURES else 0.0
        self._failures[source] = min(failures, 100), self._clock() + wait

    def forgive(self, source: str) -> None:
        """Forget the wrong keys of this source, which has sent a right one."""
        self._failures.pop(network(source), None)

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[bool]:
        """Within it, nothing else is looked at; gives whether something was meanwhile.

        Raises as `check` does, before it and when its turn has come.
        """
        self.check(source)
        place = network(source)
        waiting = self._waiting.get(place, 0)
        self._waiting[place] = waiting + 1
        try:
            waited = await self._enter(self._failures.get(place, (0, 0.0))[0] + waiting)
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place]
        try:
            self.check(source)
            yield waited
        finally:
            self._leave()

    async def _enter(self, rank: int) -> bool:
        if not self._taken:
            self._taken = True
            return False
        turn = asyncio.get_running_loop().create_future()
        heappush(self._turns, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        return True

    def _leave(self) -> None:
        while self._turns:
            turn = heappop(self._turns)[-1]
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


def network(source: str) -> str:
    """What counts as one source: an address of IPv4, and in IPv6 the network of 64 bits, which one machine may have."""
    try:
        address = ip_address(source.strip("[]").partition("%")[0])
    except ValueError:
        return source
    if not isinstance(address, IPv6Address):
        return source
    return str(address.ipv4_mapped or IPv6Network((int(address) >> 64 << 64, 64)))
