"""What comes of a server that is not there, stops half-way, or is none."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from muniment import Put
from muniment.client import AsyncDocumentStore, DocumentStore, retry
from muniment.client.transport import Server, Transport, unreachable
from muniment.client.wire import Request, Response, Unreachable
from muniment.errors import DatabaseClosed, InvalidInput, MunimentError, ServerUnavailable
from tests.client.serving import blocking, running_server
from tests.ports import held_ports
from tests.sampled import count, some, torture
from tests.waiting import PATIENCE, until

Handler = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server_that(handle: Handler, held: socket.socket | None = None) -> Iterator[str]:
    """An HTTP server on this machine that does this with every request; on a port that is `held`, if one is given."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            handle(self)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        if held is not None:
            server.socket.close()
            server.socket, server.server_port = held, held.getsockname()[1]
            server.server_activate()
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def say(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    length = int(request.headers.get("Content-Length", "0"))
    request.rfile.read(length)
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def either(url: str, kind: str, **options: Any) -> Iterator[Any]:
    """A store, or one in asyncio."""
    if kind == "threads":
        with DocumentStore(url, "shop", **options) as store:
            yield store
        return
    with blocking(lambda: AsyncDocumentStore(url, "shop", **options)) as asynchronous:
        yield asynchronous


@pytest.fixture(params=["threads", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def nobody() -> Iterator[tuple[str, socket.socket]]:
    """An address where nobody answers, and the socket that keeps others from it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}", held


@some(1)
def test_no_server(kind: str) -> None:
    with nobody() as (url, _), either(url, kind) as store:
        began = time.monotonic()
        with pytest.raises(ServerUnavailable, match="does not answer") as error:
            store.put("a", {})
        assert time.monotonic() - began > 1
        assert (error.value.status, error.value.exit_code) == (503, 9)
        assert "start the server" in error.value.hint


@some(1)
def test_a_name_that_does_not_resolve(kind: str) -> None:
    with either("http://no-such-host.invalid:1", kind) as store, pytest.raises(ServerUnavailable):
        store.get("a")


def test_a_server_that_comes_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be sent is sent again, a write too."""
    monkeypatch.setattr(retry, "PAUSES", (0.1,) * 1000)  # for the server may need longer here
    seen: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.path)
        say(request, 200, b'[{"Key":"a","Etag":"01000000-0000-0001-0000-000000000001","Method":"PUT"}]')

    def serve() -> None:
        time.sleep(0.3)
        with server_that(answer, held):
            answered.wait(PATIENCE)

    answered = threading.Event()
    thread = threading.Thread(target=serve)
    with nobody() as (url, held):
        thread.start()
        with either(url, kind) as store:
            assert store.put("a", {}).etag == 1
        answered.set()
        thread.join()
    assert seen == ["/databases/shop/bulk_docs"]


@some(3)
@pytest.mark.parametrize(
    ("method", "arguments", "times"),
    [("get", ["a"], 4), ("batch", [[Put("a", {}, etag=0)]], 4), ("put", ["a", {}], 1), ("delete", ["a"], 1)],
)
def test_a_connection_that_breaks(kind: str, method: str, arguments: list[Any], times: int) -> None:
    seen: list[str] = []

    def hang_up(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.command)
        request.close_connection = True

    with server_that(hang_up) as url, either(url, kind) as store:
        with pytest.raises(ServerUnavailable, match="broke the connection"):
            getattr(store, method)(*arguments)
        assert len(seen) == times


def test_a_server_that_is_slow(kind: str) -> None:
    seen: list[str] = []
    let_go = threading.Event()

    def wait(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.command)
        let_go.wait(PATIENCE)
        request.close_connection = True

    with server_that(wait) as url, either(url, kind, timeout=0.2) as store:
        with pytest.raises(ServerUnavailable, match="took too long") as error:
            store.get("a")
        assert error.value.hint == "try again"
        until(lambda: seen == ["GET"])
        with pytest.raises(ServerUnavailable, match="took too long") as error:
            store.put("a", {})
        assert "not known" in error.value.hint
        until(lambda: len(seen) == 2)
        let_go.set()
    assert seen == ["GET", "POST"]


@pytest.mark.parametrize("ask", ["get", "by_prefix", "statistics", "attachments"])
@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (200, b"<html>"), (200, b'"x"'), (204, b""), (301, b""), (404, b"no"), (502, b"?")]
)
def test_something_that_is_no_server_of_ours(kind: str, status: int, body: bytes, ask: str) -> None:
    with server_that(lambda request: say(request, status, body)) as url, either(url, kind) as store:
        with pytest.raises(MunimentError) as error:
            getattr(store, ask)(*([] if ask == "statistics" else ["a"]))
        assert error.value.message


def test_garbage_instead_of_http(kind: str) -> None:
    def babble(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"\x16\x03\x01 what?\r\n\r\n")
        request.close_connection = True

    with server_that(babble) as url, either(url, kind) as store, pytest.raises(ServerUnavailable):
        store.put("a", {})


def test_a_bad_encoding(kind: str) -> None:
    def lie(request: BaseHTTPRequestHandler) -> None:
        say(request, 200, b"not gzip", Content_Encoding="gzip")

    with server_that(lie) as url, either(url, kind) as store, pytest.raises(ServerUnavailable):
        store.put("a", {})


def test_an_attachment_that_stops_half_way(kind: str) -> None:
    listed = b'[{"Key":"a","Etag":"02000000-0000-0001-0000-000000000001","Size":1000,"Metadata":{}}]'

    def stop(request: BaseHTTPRequestHandler) -> None:
        if "?" in request.path:
            say(request, 200, listed)
            return
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.send_header("ETag", '"02000000-0000-0001-0000-000000000001"')
        request.end_headers()
        request.wfile.write(b"x" * 300)
        request.close_connection = True

    with server_that(stop) as url, either(url, kind) as store:
        attachment = store.get_attachment("a")
        with pytest.raises(ServerUnavailable, match=r"after \d+ of 1,000 bytes of attachment 'a'"):
            attachment.read()


def test_a_closed_store(kind: str) -> None:
    with nobody() as (url, _), either(url, kind) as store:
        store.close()
        with pytest.raises(DatabaseClosed):
            store.get("a")


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_bad_timeouts(timeout: float) -> None:
    with pytest.raises(InvalidInput):
        DocumentStore("http://127.0.0.1:1", timeout=timeout)


def test_a_path_is_sent_as_it_is() -> None:
    seen: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.path)
        say(request, 200)

    def flow(target: str) -> Any:
        outcome = yield Request("GET", target)
        assert isinstance(outcome, Response), outcome

    targets = ["/docs/%2E%2E", "/docs/a%2Fb%00%25", "/docs//a", "/docs?id=%C3%BC&id=%27%22", "/docs/a%20b?x=%2B"]
    with server_that(note) as url:
        for base in (url, f"{url}/below"):
            transport = Transport(Server(base, 5, 4))
            for target in targets:
                transport.run(flow(target))
            transport.close()
    assert seen == targets + [f"/below{target}" for target in targets]


def test_a_bug_of_ours_is_not_disguised() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        unreachable(RuntimeError("mine"), "http://x")
    assert unreachable(httpx.ReadError(""), "u") == Unreachable("u: ReadError", sent=True)


MANY = count(120, whole=300)


@torture
def test_many_at_once(store: DocumentStore) -> None:
    async def scenario() -> int:
        async with AsyncDocumentStore(store.url, store.name) as shared:
            await asyncio.gather(*(shared.put(f"a/{number}", {"n": number}) for number in range(MANY)))
            ids = await asyncio.gather(*(shared.next_id("Orders") for _ in range(50)))
            assert len(set(ids)) == 50
            return (await shared.statistics()).documents

    assert asyncio.run(scenario()) == MANY + 1


def test_a_server_that_is_stopped_and_started(tmp_path: Path) -> None:
    with (
        held_ports(1) as [port],
        running_server(tmp_path / "data", port) as (url, process),
        DocumentStore(url, "shop") as store,
    ):
        store.admin.create_database("shop")
        store.put("a", {})
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        with pytest.raises(ServerUnavailable):
            store.get("a")
        with running_server(tmp_path / "data", port):
            assert store.get("a") is not None
            store.put("b", {})


MIB = count(24, whole=200)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")
@torture
@some(1)
def test_attachments_in_constant_memory(store: DocumentStore, kind: str) -> None:
    chunk = bytes(1 << 20)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    if kind == "threads":
        store.put_attachment("large", (chunk for _ in range(MIB)))
        attachment = store.get_attachment("large")
        assert attachment is not None
        assert sum(map(len, attachment.chunks())) == MIB << 20
    else:
        assert asyncio.run(through_asyncio(store, chunk)) == MIB << 20
    assert peak() - before < MIB << 9  # kB; it is far less, but half of it would be too much


def peak() -> int:
    """The most memory that this process has had, in kB, since that was forgotten."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


async def through_asyncio(store: DocumentStore, chunk: bytes) -> int:
    async with AsyncDocumentStore(store.url, store.name) as shared:
        await shared.put_attachment("large", (chunk for _ in range(MIB)))
        found = await shared.get_attachment("large")
        assert found is not None
        return sum([len(part) async for part in found.chunks()])
