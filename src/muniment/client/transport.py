"""The only place that speaks HTTP: takes a request, gives what came of it, with threads or with asyncio."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from muniment.client import local
from muniment.client.credentials import NOBODY, Credentials, untrusted
from muniment.client.wire import Flow, Pause, Request, Response, Unreachable
from muniment.errors import DatabaseClosed, InvalidInput
from muniment.faces import Awaiting, Blocking
from muniment.raven3.names import CLIENT_VERSION
from muniment.settings import is_loopback
from muniment.version import VERSION

CONNECT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 3.0  # a connection that was idle for longer may be about to be closed by the server

_HEADERS: Final = {
    "Accept": "application/json",
    "Raven-Client-Version": CLIENT_VERSION,
    "User-Agent": f"muniment/{VERSION}",
}
_NOTHING_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
# httpx lets an SSLError by, in asyncio, that comes after the handshake.
_FAILURES: Final = (httpx.HTTPError, httpx.StreamError, ssl.SSLError, RuntimeError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is, who asks it, how many seconds its answers may take, and how many connections are made."""

    url: str
    timeout: float
    connections: int
    credentials: Credentials = NOBODY


class Transport:
    """Runs flows, and streams, in the calling thread. Threads may share it."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._timeout = server.timeout
        self._client = httpx.Client(**_options(server))

    def close(self) -> None:
        self._client.close()

    def run(self, flow: Flow[T], streams: list[httpx.Response] | None = None) -> T:
        """The result of a flow, or what it raises. An answer 200 goes to `streams` unread, where there is such."""
        outcome: Response | Unreachable | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._take(step, streams)

    def _take(self, step: Request | Pause, streams: list[httpx.Response] | None) -> Response | Unreachable | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            sent = _http(self._client, self.url, step, self._timeout)
            answer = self._client.send(sent, stream=True)
            if again := _with_secret(answer, sent, step, self.url):
                answer.close()
                answer = self._client.send(again, stream=True)
            if streams is not None and answer.status_code == 200:
                streams.append(answer)
                return Response(answer.status_code, answer.headers)
            with closing(answer):
                return Response(answer.status_code, answer.headers, answer.read())
        except _FAILURES as error:
            return unreachable(error, self.url)

    @contextmanager
    def stream(self, flow: Flow[Response]) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """The head of the answer that a flow comes to, and its body or nothing; it comes in, and can raise `Broken`."""
        streams: list[httpx.Response] = []
        head = self.run(flow, streams)
        with closing(streams[0]) if streams else nullcontext():
            yield head, self._chunks(streams)

    def _chunks(self, answers: list[httpx.Response]) -> Iterator[bytes]:
        try:
            for answer in answers:
                yield from answer.iter_bytes()
        except _FAILURES as error:
            raise Broken(unreachable(error, self.url)) from error


class AsyncTransport:
    """Runs flows, and streams, in an asyncio event loop."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._timeout = server.timeout
        self._client = httpx.AsyncClient(**_options(server))

    async def close(self) -> None:
        await self._client.aclose()

    async def run(self, flow: Flow[T], streams: list[httpx.Response] | None = None) -> T:
        """The result of a flow, or what it raises. An answer 200 goes to `streams` unread, where there is such."""
        outcome: Response | Unreachable | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._take(step, streams)

    async def _take(self, step: Request | Pause, streams: list[httpx.Response] | None) -> Response | Unreachable | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            sent = _http(self._client, self.url, step, self._timeout)
            answer = await self._client.send(sent, stream=True)
            if again := _with_secret(answer, sent, step, self.url):
                await answer.aclose()
                answer = await self._client.send(again, stream=True)
            if streams is not None and answer.status_code == 200:
                streams.append(answer)
                return Response(answer.status_code, answer.headers)
            async with aclosing(answer):
                return Response(answer.status_code, answer.headers, await answer.aread())
        except _FAILURES as error:
            return unreachable(error, self.url)

    @asynccontextmanager
    async def stream(self, flow: Flow[Response]) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        """The head of the answer that a flow comes to, and its body or nothing; it comes in, and can raise `Broken`."""
        streams: list[httpx.Response] = []
        head = await self.run(flow, streams)
        async with aclosing(streams[0]) if streams else nullcontext():
            yield head, self._chunks(streams)

    async def _chunks(self, answers: list[httpx.Response]) -> AsyncIterator[bytes]:
        try:
            for answer in answers:
                async for chunk in answer.aiter_bytes():
                    yield chunk
        except _FAILURES as error:
            raise Broken(unreachable(error, self.url)) from error


class Remote(Blocking):
    """What asks a server with threads."""

    _transport: Transport

    def _run(self, steps: Generator[Any, Any, T]) -> T:
        return self._transport.run(steps)


class AsyncRemote(Awaiting):
    """What asks a server in asyncio."""

    _transport: AsyncTransport

    async def _run(self, steps: Generator[Any, Any, T]) -> T:
        return await self._transport.run(steps)


class Broken(Exception):
    """A body stopped half-way."""

    def __init__(self, outcome: Unreachable) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def unreachable(error: Exception, url: str) -> Unreachable:
    """What a failure of the HTTP library means; raises the error that it means when it is not the server's."""
    if isinstance(error, RuntimeError) and not isinstance(error, httpx.StreamError):
        if "closed" in str(error):
            raise DatabaseClosed("the store is closed", "open a new one") from error
        raise error
    if isinstance(error, httpx.LocalProtocolError):
        raise InvalidInput(f"this cannot be sent: {error}", "check names and values of the metadata") from error
    if (refused := untrusted(error, url)) is not None:
        raise refused from error
    late = isinstance(error, httpx.TimeoutException)
    reason = str(error) or type(error).__name__
    if url.startswith("http://") and isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        reason += "; if the server speaks TLS, say https://"
    return Unreachable(f"{url}: {reason}", sent=not isinstance(error, _NOTHING_SENT), late=late)


def _options(server: Server) -> dict[str, Any]:
    url, timeout, connections = server.url, server.timeout, server.connections
    if type(timeout) not in (int, float) or not timeout > 0:
        raise InvalidInput(f"a timeout of {timeout} s is not possible", "give more than 0 seconds")
    if type(connections) is not int or connections < 1:
        raise InvalidInput(f"{connections!r} is not a number of connections", "give 1 or more")
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_SECONDS
    )
    shown = server.credentials.authorization
    options = {
        "headers": _HEADERS if shown is None else {**_HEADERS, "Authorization": shown},
        "timeout": timeout,
        "limits": limits,
        "trust_env": not is_loopback(urlsplit(url).hostname or ""),  # no proxy leads to the machine itself
        "verify": server.credentials.context(url),
    }
    try:
        httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(f"{url!r} is not a URL: {error}", "for example http://127.0.0.1:8080") from error
    return options


def _with_secret(answer: httpx.Response, sent: httpx.Request, request: Request, url: str) -> httpx.Request | None:
    """The same request with what shows a server on this machine that its own user asks; None if that is no help."""
    if answer.status_code != 403 or not isinstance(request.body, bytes):
        return None
    found = local.secret(answer.headers, url)
    if found is None:
        return None
    headers = [*sent.headers.multi_items(), (local.HEADER, found)]
    return httpx.Request(sent.method, sent.url, content=request.body, headers=headers, extensions=sent.extensions)


def _http(client: httpx.Client | httpx.AsyncClient, base: str, request: Request, timeout: float) -> httpx.Request:
    if client.is_closed:
        raise DatabaseClosed("the store is closed", "open a new one")
    url = httpx.URL(base)
    raw_path = url.raw_path.rstrip(b"/") + request.target.encode("ascii")
    seconds = timeout if request.timeout is None else request.timeout
    return client.build_request(
        request.method,
        url.copy_with(raw_path=raw_path),
        content=request.body,
        headers=request.headers,
        timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
    )
