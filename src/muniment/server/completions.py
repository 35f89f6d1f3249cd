"""How the answers of the databases' writer threads come to the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Completions:
    """Brings the answers of the databases' writer threads to the event loop: a whole group of them in one call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done: deque[Callable[[], object]] = deque()
        self._called = False

    async def wait(self, future: Future[T]) -> T:
        """The answer, when it is there."""
        if not future.done():
            waiting: asyncio.Future[None] = self._loop.create_future()
            future.add_done_callback(lambda _: self.bring(partial(_complete, waiting)))
            await waiting
        return future.result()

    def bring(self, answer: Callable[[], object]) -> None:
        """Have the event loop call this, which must not raise. Any thread may ask for it."""
        self._done.append(answer)
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._called = False
        try:
            while self._done:
                self._done.popleft()()
        finally:
            if self._done:  # one has raised all the same, and nobody else may come for the others
                self._loop.call_soon(self._wake)


def _complete(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
