"""A plain write on its way from its body to its answer: in callbacks of the event loop, without a task of its own.

What is decided before its body is there, `straight` has decided; whatever goes wrong is told as for every other request
(`app`). What stands between is done here as the handler of the route does it, for a task, the coroutines in it and a
future for the writer took longer than all else of such a request.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from time import monotonic, perf_counter
from typing import Any, Final

from muniment.command import Put
from muniment.server.app import App
from muniment.server.handlers.documents import stored
from muniment.server.request import Ready, Request, cut_short
from muniment.storage.base import Written

_CONTEXT: Final = copy_context()  # of callbacks: all run on one thread, one after the other


class Storing:
    """One document that is being stored, between its body and its answer."""

    __slots__ = ("_app", "_began", "_coming", "_error", "_ready", "_request", "_written")

    def __init__(self, app: App, request: Any, ready: Ready, coming: Any) -> None:
        """`coming` is the body, as granian gives it."""
        self._app = app
        self._request = request
        self._ready = ready
        self._coming = coming
        self._began = perf_counter()
        self._written: Written | None = None
        self._error: BaseException | None = None

    def begin(self) -> bool:
        """Store it when its body is there; returns whether that may be done now. On the event loop, like all here."""
        server, tenant = self._app.server, self._ready.tenant
        if server.databases.open.get(self._ready.name) is not tenant or tenant.freeze is not None:
            return False
        server.active += 1
        tenant.active += 1
        tenant.used = monotonic()
        if self._coming.done():
            self._store(self._coming)
        else:
            server.bodies.await_(self)
            self._coming.add_done_callback(self._store, context=_CONTEXT)
        return True

    def cancel(self) -> None:
        """Wait no longer for the body."""
        if self._coming is not None:
            self._coming.cancel()

    def _store(self, coming: Any) -> None:
        server, ready = self._app.server, self._ready
        self._coming = None  # it keeps this, and nothing would find such a circle: it is made in Rust
        server.bodies.came(self)
        try:
            try:
                body = coming.result()
            except RuntimeError as error:
                raise cut_short() from error
            except asyncio.CancelledError:
                raise server.bodies.late(0) from None
            if len(body) != ready.head.length:
                raise cut_short()
            ready.tenant.database.submit_for(self, [Put(ready.id, body, ready.head.metadata)])
        except Exception as error:
            self._error = error
            self._end()

    def done(self) -> bool:
        """Whether the writer has told what became of it."""
        return self._written is not None or self._error is not None

    def set_result(self, result: list[Written]) -> None:
        """It is on disk: told by the thread that wrote it."""
        [self._written] = result
        self._app.server.completions.bring(self._end)

    def set_exception(self, error: BaseException) -> None:
        """It was not stored: told by that thread."""
        self._error = error
        self._app.server.completions.bring(self._end)

    def _end(self) -> None:
        server, request = self._app.server, self._request
        self._ready.tenant.active -= 1
        server.active -= 1
        if self._written is None:
            request.taskref(asyncio.get_running_loop().create_task(self._refuse()))
            return
        answer = stored(self._written, 201)
        server.slowly.count("PUT", 201, perf_counter() - self._began)
        request.proto.response_bytes(answer.status, answer.headers, answer.body)
        request.done()

    async def _refuse(self) -> None:
        request = Request(self._app.server, self._request.scope, self._request.proto, self._ready)
        request.ended = True
        try:
            await self._app.tell(request, self._raise(), self._began)
        except BaseException as error:
            self._request.err(error)
        else:
            self._request.done()

    async def _raise(self) -> Any:
        assert self._error is not None
        try:
            raise self._error
        finally:
            self._error = None  # or it would hold the frame that holds it
