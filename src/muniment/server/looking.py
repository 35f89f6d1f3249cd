"""Looking for documents in threads of its own: a long query holds up nothing else, and ends with its client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, TypeVar

from muniment.query.scan import stopping
from muniment.server.request import Request

T = TypeVar("T")
SOON_SECONDS: Final = 0.2  # nearly all have ended before it pays to watch the client


async def looked(request: Request, look: Callable[[], T]) -> T:
    """What `look` finds; raises `Cancelled` when the client has gone away meanwhile."""
    stop, context = threading.Event(), copy_context()
    context.run(stopping.set, stop)
    looking = asyncio.get_running_loop().run_in_executor(request.server.queries, context.run, look)
    await asyncio.wait({looking}, timeout=SOON_SECONDS)
    if not looking.done():
        gone = asyncio.ensure_future(request.proto.client_disconnect())
        await asyncio.wait({looking, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not looking.done():
            stop.set()
    return await looking
