"""How the answers of the databases' writer threads come to the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Completions:
    """Brings the answers of the databases' writer threads to the event loop: a whole group of them in one call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done: deque[asyncio.Future[None]] = deque()
        self._called = False

    async def wait(self, future: Future[T]) -> T:
        """The answer, when it is there."""
        if not future.done():
            waiting: asyncio.Future[None] = self._loop.create_future()
            future.add_done_callback(lambda _: self._complete(waiting))
            await waiting
        return future.result()

    def _complete(self, waiting: asyncio.Future[None]) -> None:
        self._done.append(waiting)
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._called = False
        while self._done:
            waiting = self._done.popleft()
            if not waiting.done():
                waiting.set_result(None)
