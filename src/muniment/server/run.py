"""Starting and stopping a server: one process, one event loop, granian in front."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import uvloop

from muniment.errors import MunimentError, StorageFailure
from muniment.security.secret_files import private
from muniment.server.app import App
from muniment.server.hooks import Hooks
from muniment.server.keyring import check_backup_settings
from muniment.server.leftovers import clean, recover
from muniment.server.listener import BACKLOG, Listener
from muniment.server.messenger import check_addresses
from muniment.server.state import ServerState
from muniment.server.tenants import Databases
from muniment.server.tls import check_tls
from muniment.settings import Settings
from muniment.telling import log, telling
from muniment.version import VERSION

THREADS: Final = 32
IDLE_CHECK_SECONDS: Final = 5.0
M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 1 << 18


def serve(settings: Settings, on_ready: Callable[[str], None] = lambda url: None) -> None:
    """Run a server until SIGTERM or SIGINT; `on_ready` is told its URL. A second signal ends it at once.

    Raises `DatabaseLocked` when another server has the data folder open, `StorageFailure` when the address is taken.
    """
    _give_memory_back()
    _raise_descriptors()
    # This loop takes half of the processor time of Python's own where other threads wake it, as they do all day here.
    with private(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, on_ready))


def _give_memory_back() -> None:
    """Have large blocks of memory go back to the system when they are freed, and not stay between smaller ones.

    Measured: after exports and imports of 335 MB, the server held 180 instead of 240 MB. It is glibc's to know this.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def _raise_descriptors() -> None:
    """Let this process have as many files and connections open as it may: the soft limit is for older programs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(settings: Settings, on_ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, "muniment worker"))
    check_tls(settings)
    check_backup_settings(settings)
    Hooks(settings.hooks_file)  # which says what is wrong with them before anything is opened
    check_addresses(settings)
    opened = listen(settings.host, settings.port)
    stop = asyncio.Event()
    try:
        databases = Databases(
            settings.data_dir,
            settings.data_roots,
            settings.backup_roots,
            settings.open_databases,
            settings.master_key_file if settings.master_key_file.name else None,
            old_clients=settings.oauth_api_key,
            storage=settings.storage,
        )
        server = ServerState(settings, databases, loop, url_of(opened, tls=bool(settings.tls_certificate)))
        _take_signals(loop, stop)
        await asyncio.to_thread(server.audit.note, "server", "started")
        await asyncio.to_thread(_recover, server)
        await _run(server, opened, stop, on_ready)
    finally:
        opened.close()


def _recover(server: ServerState) -> None:
    """Bring in order what a server that was killed has left."""
    with telling("what was left behind"):
        clean(server.databases)
    with telling("which jobs were interrupted"):
        recover(server.databases)


async def _run(
    server: ServerState, opened: socket.socket, stop: asyncio.Event, on_ready: Callable[[str], None]
) -> None:
    url = url_of(opened, tls=bool(server.settings.tls_certificate))
    listener = Listener(App(server), opened, server.settings)
    if server.settings.tls_certificate:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _read_again, listener, server.settings)
    serving = asyncio.create_task(listener.serve())
    with telling("what schedules say"):
        server.scheduler.load()
    watching = [
        asyncio.create_task(_close_idle(server)),
        asyncio.create_task(server.scheduler.run()),
        asyncio.create_task(server.bodies.watch()),
        asyncio.create_task(server.watch.run()),
        asyncio.create_task(server.callers.follow()),
    ]
    if server.settings.oauth_api_key:
        log("warning: OAuth/API-Key is on, which rests on SHA-1; switch oauth-api-key off when no old client is left")
    log(f"muniment {VERSION} serves {server.settings.storage or server.databases.data_dir} at {url}")
    gc.freeze()  # what is loaded by now stays, and every full collection would look through it, for up to 0.1 s
    with telling("that the server is ready"):
        on_ready(url)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
    server.stopping = server.scheduler.stopping = True
    log("stopping")
    listener.stop()
    server.databases.thaw()
    for task in watching:
        task.cancel()
    await _finish(server, serving)
    await server.operations.stop()
    await server.scheduler.stop()
    await asyncio.to_thread(server.messenger.stop)
    await server.databases.close()
    server.callers.close()
    server.local.forget()
    for threads in (server.uploads, server.queries, server.reads):
        threads.shutdown(wait=False, cancel_futures=True)
    log(f"stopped after {server.answered.total:,} requests in {monotonic() - server.started:.0f} s")
    if not serving.done():  # a client holds its connection with half a request; nothing is left to lose
        os._exit(0)
    serving.result()


def _read_again(listener: Listener, settings: Settings) -> None:
    try:
        check_tls(settings)
    except MunimentError as error:
        log(f"the certificate stays as it was: {error}")
    else:
        listener.read_certificate()
        log(f"the certificate was read again from {settings.tls_certificate}")


async def _finish(server: ServerState, serving: asyncio.Task[Any]) -> None:
    """Wait until every request that came in has been answered, but not for ever."""
    until = monotonic() + server.settings.stop_seconds
    while not serving.done() and monotonic() < until:
        await asyncio.wait([serving], timeout=0.05)
        if not server.active and not serving.done():
            await asyncio.wait([serving], timeout=0.5)  # the last answers are on their way
            return


def _take_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def receive(number: int) -> None:
        if stop.is_set():
            log("ended at once")
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)


async def _close_idle(server: ServerState) -> None:
    while True:
        await asyncio.sleep(min(IDLE_CHECK_SECONDS, server.settings.idle_seconds))
        try:
            for name in await server.databases.close_idle(server.settings.idle_seconds):
                log(f"database {name} closed, nobody used it for {server.settings.idle_seconds} s")
        except MunimentError as error:  # somebody has begun to use it
            log(f"a database that nobody used could not be closed: {error}")
        await asyncio.to_thread(server.databases.settle)
        if server.databases.system.database.storage.shared:  # another server may have been killed
            with telling("which jobs of other servers were interrupted"):
                await asyncio.to_thread(recover, server.databases)


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections; raises `StorageFailure` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StorageFailure(
            f"the server cannot listen on {host}:{port}: {error.strerror or error}",
            "stop what listens there, or give another --port",
        ) from error
    opened.setblocking(False)
    return opened


def url_of(opened: socket.socket, *, tls: bool = False) -> str:
    """Where clients find the server."""
    host, port = opened.getsockname()[:2]
    return f"http{'s' * tls}://{f'[{host}]' if ':' in host else host}:{port}"
