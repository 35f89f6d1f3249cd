"""What brings answers to the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from muniment.server.completions import Completions


def test_an_answer_that_raises_keeps_no_other_from_being_told() -> None:
    told: list[str] = []
    raised: list[dict[str, Any]] = []

    def fail() -> None:
        raise ConnectionError("the client has gone")

    async def bring() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: raised.append(context))
        completions, ended = Completions(loop), asyncio.Event()
        completions.bring(fail)
        completions.bring(lambda: told.append("an answer"))
        completions.bring(ended.set)
        await asyncio.wait_for(ended.wait(), 60)

    asyncio.run(bring())
    assert told == ["an answer"]
    assert isinstance(raised[0]["exception"], ConnectionError)
