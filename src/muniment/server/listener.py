"""granian on a socket of our own, and how it brings requests to the application.

granian reads and writes HTTP in threads of its own, and hands each request over in one thread that takes Python's
global lock for it. There, plain reads are answered at once (`straight`); all others wait in a queue for the event loop,
which is woken once for as many as have come meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from contextlib import suppress
from typing import Any, Final

from granian._granian import CallbackScheduler, RSGIWorker, SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import AsyncWorker, Server

from muniment.server.app import App
from muniment.server.request import Ready
from muniment.server.storing import Storing
from muniment.server.straight import Straight
from muniment.server.tls import tls_file
from muniment.settings import Settings

BACKLOG: Final = 1024


class _Bringer(CallbackScheduler):
    """Calls the application with each request that granian hands over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, app: App, *_: None) -> None:
        super().__init__()
        self._schedule_fn = _Queue(loop, app).bring


class _Queue:
    """Requests on their way to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, app: App) -> None:
        self._loop = loop
        self._app = app
        self._straight = Straight(app.server)
        self._waiting: deque[tuple[Any, Ready | None, Any]] = deque()
        self._called = False

    def bring(self, request: Any) -> None:
        """Answer a request at once, or have the event loop do it. Not in the thread of that; never raises."""
        ready = coming = None
        try:
            scope = request.scope
            if self._straight.answer(scope, request.proto):
                request.done()
                return
            ready = self._straight.ready(scope)
            if ready is not None and self._straight.is_plain(ready):
                coming = request.proto()
        except BaseException:  # noqa: S110 (granian's own failures too: the general way tells of them)
            pass
        self._waiting.append((request, ready, coming))
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._called = False
        try:
            while self._waiting:
                request, ready, coming = self._waiting.popleft()
                if ready is None or coming is None or not Storing(self._app, request, ready, coming).begin():
                    request.taskref(self._loop.create_task(self._answered(request, ready, coming)))
        finally:
            if self._waiting:  # one has raised all the same, and nobody else may come for the others
                self._loop.call_soon(self._take)

    async def _answered(self, request: Any, ready: Ready | None, coming: Any) -> None:
        try:
            await self._app.__rsgi__(request.scope, request.proto, ready, coming)
        except BaseException as error:
            request.err(error)
        else:
            request.done()


class Listener(Server):
    """granian on a socket that we have opened: it would share a port with another server without a word."""

    def __init__(self, app: App, opened: socket.socket, settings: Settings) -> None:
        self._files = [tls_file(name) for name in (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)]
        certificate, key, authorities = self._files
        super().__init__(
            app,
            ssl_cert=certificate,
            ssl_key=key,
            ssl_protocol_min=SSLProtocols.tls12,
            ssl_ca=authorities,
            ssl_client_verify=authorities is not None,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            log_enabled=False,
            http1_settings=HTTP1Settings(max_buffer_size=1 << 20),
        )
        self._opened = opened
        self.respawn_interval = 0.0  # or for so long some connections would still see the old certificate

    def read_certificate(self) -> None:
        """Have new connections see what is in the files now; those that there are end after what they are asking."""
        certificate, key, authorities = self._files
        with_clients = authorities is not None
        self.build_ssl_context(certificate, key, None, SSLProtocols.tls12, authorities, [], with_clients)
        self.signal_handler_reload()  # type: ignore[no-untyped-call]

    def _init_shared_socket(self) -> None:
        pass

    def _spawn_worker(self, *args: Any, **kwargs: Any) -> AsyncWorker:
        # A worker closes its socket when it ends, so the one that follows it needs a descriptor of its own.
        self._shd = SocketHolder(os.dup(self._opened.fileno()), False, BACKLOG)  # type: ignore[assignment,call-arg]
        return super()._spawn_worker(*args, **kwargs)

    @staticmethod
    @AsyncWorker.wrap_target  # type: ignore[untyped-decorator]
    async def _spawn_rsgi_worker(
        worker_id: int,
        shutdown: Any,
        app: App,
        sock: Any,
        loop: asyncio.AbstractEventLoop,
        *settings: Any,
    ) -> None:
        """As granian's own, but for what brings the requests."""
        *threads, _task, http, http1, http2, websockets, static, _log, ssl, _scope = settings
        ended = loop.create_future()
        shutdown.add_cb(lambda: loop.call_soon_threadsafe(ended.set_result, None))
        make: Any = RSGIWorker  # whose declared types are older than what it takes
        worker = make(worker_id, sock, None, *threads, http, http1, http2, websockets, static, *ssl, (None, None))
        worker.serve_async(_Bringer(loop, app, None, None, None), loop, shutdown)
        await ended

    def stop(self) -> None:
        """Accept nothing more, and end when what was accepted is answered."""
        self._opened.close()
        super().stop()  # type: ignore[no-untyped-call]
