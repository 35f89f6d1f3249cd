"""A proxy before an object store that answers some requests wrongly: late, with an error, by half, or not at all."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["drop", "lose", "truncate", "delay", "refuse", "429", "500", "503"] | tuple[int, str]
DELAY_SECONDS = 0.3
NO_HEADERS: Mapping[str, tuple[str, str]] = {}
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
SLOW = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"


@dataclass
class Rule:
    """What happens to the first `times` requests like this: the method, a space, and the path with its query.

    `drop` closes the connection before the store hears of it, `lose` when the store has done it, `truncate` in the
    middle of the answer, `refuse` says that it may not be done, and a status with a code is answered as it is.
    """

    request: str
    fault: Fault
    times: int = 1
    when: Callable[[], bool] = lambda: True


@dataclass
class Proxy:
    """What was asked, and what is to go wrong."""

    endpoint: str
    rules: list[Rule] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    gone: bool = False

    def fault(self, request: str) -> Fault | None:
        """What is to happen to this request."""
        with self.lock:
            self.asked.append(request)
            if self.gone:
                return "drop"
            for rule in self.rules:
                if rule.times and re.search(rule.request, request) and rule.when():
                    rule.times -= 1
                    return rule.fault
        return None


@contextmanager
def faulty(store: str, headers: Mapping[str, tuple[str, str]] = NO_HEADERS) -> Iterator[Proxy]:
    """A proxy before this endpoint; in the place of these headers of a request, by their names, it sends others."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.fault(f"{self.command} {self.path}")
            if fault == "drop":
                self.close_connection = True
            elif isinstance(fault, tuple):
                self.answer(fault[0], {}, f"<?xml version='1.0'?><Error><Code>{fault[1]}</Code></Error>".encode())
            elif fault in ("refuse", "429", "500", "503"):
                status = 403 if fault == "refuse" else int(fault)
                self.answer(status, {"Content-Type": "application/xml"}, DENIED if fault == "refuse" else SLOW)
            else:
                if fault == "delay":
                    time.sleep(DELAY_SECONDS)
                with closing(HTTPConnection(there.hostname or "", there.port or 80, timeout=60)) as connection:
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():  # `Host` too, which is signed
                        connection.putheader(*headers.get(name.lower(), (name, value)))
                    connection.endheaders(body or None)
                    answer = connection.getresponse()
                    self.pass_on(answer, answer.read(), fault)

        def pass_on(self, answer: HTTPResponse, content: bytes, fault: Fault | None) -> None:
            if fault == "lose":
                self.close_connection = True
                return
            skipped = ("content-length", "transfer-encoding", "connection")
            told = {name: value for name, value in answer.getheaders() if name.lower() not in skipped}
            size = answer.getheader("Content-Length") or str(len(content))
            self.answer(answer.status, told, content, size=size, half=fault == "truncate")

        def answer(
            self, status: int, headers: dict[str, str], content: bytes, *, size: str = "", half: bool = False
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", size or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if half else content)
            if half:
                self.wfile.flush()
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # whoever asked has gone

    there = urlsplit(store)
    with Server(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            with suppress(Exception):
                server.shutdown()
            thread.join()
