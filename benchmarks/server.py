"""A server under load: reads, durable writes, batches, and writes while a backup runs.

The limit, in the same run, is a plain ASGI handler on granian that answers the same bytes from memory. `--peer URL`
puts the same load on another server that speaks RavenDB 3.x's protocol, in a database `benchmark` that it makes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from _load import Job, Result, load
from _machine import Report

NAME = "benchmark"
BODY = b'{"name":"' + b"x" * 1000 + b'"}'
METADATA = {"Raven-Entity-Name": "Items"}
IDS = 10_000

_LIMIT = """
import asyncio, sys
from granian.constants import HTTPModes, Interfaces
from granian.net import SocketHolder
from granian.server.embed import Server
import socket
body = %r
headers = [(b"content-type", b"application/json; charset=utf-8"), (b"etag", b'"01000000-0000-0001-0000-000000000004"')]
async def app(scope, receive, send):
    if scope["method"] != "GET":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
class Listener(Server):
    def _init_shared_socket(self):
        opened = socket.create_server(("127.0.0.1", 0), backlog=1024)
        print(f"http://127.0.0.1:{opened.getsockname()[1]}", flush=True)
        self._shd = SocketHolder(opened.detach(), False, 1024)
listener = Listener(app, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False, log_enabled=False)
asyncio.run(listener.serve())
"""
_SERVE = """
import sys
from pathlib import Path
from muniment.server.run import serve
from muniment.settings import Settings
folder = Path(sys.argv[1])
settings = Settings(data_dir=folder, backup_roots=(str(folder.parent),), port=0)
serve(settings, lambda url: print(url, flush=True))
"""


@contextmanager
def process(code: str, *arguments: str) -> Iterator[str]:
    """A server in a process of its own; gives the URL that it prints."""
    running = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
    finally:
        running.terminate()
        running.wait()


class Target:
    """A server under load."""

    def __init__(self, url: str, seconds: float, root: str = f"/databases/{NAME}") -> None:
        parts = urlsplit(url)
        self.client = httpx.Client(base_url=url, timeout=600, headers={"Raven-Client-Version": "3.5.0.0"})
        self.root = root
        self._where: dict[str, Any] = {"host": parts.hostname, "port": parts.port, "seconds": seconds}
        self._host = parts.netloc

    def job(self, method: str, path: str, body: bytes = b"", **others: Any) -> Job:
        """A load of one kind of request."""
        head = f"{method} {self.root}{path} HTTP/1.1\r\nHost: {self._host}\r\nRaven-Client-Version: 3.5.0.0\r\n"
        extra = "Raven-Entity-Name: Items\r\nContent-Length: {length}\r\n" if body else ""
        return Job(head=f"{head}{extra}\r\n", body=body, **(self._where | others))

    def get(self) -> Result:
        """Documents by their ids."""
        return load(self.job("GET", "/docs/items/{n}", ids=IDS))

    def put_job(self, **others: Any) -> Job:
        """Documents of 1 KB, each durable when it is answered."""
        return self.job("PUT", "/docs/items/{n}", BODY, ids=IDS, **others)

    def fill(self, count: int) -> float:
        """Documents per second in batches of 1 000, from one connection."""
        document = msgspec.Raw(BODY)
        seconds = 0.0
        for first in range(0, count, 1000):
            commands = [
                {"Method": "PUT", "Key": f"items/{n}", "Document": document, "Metadata": METADATA}
                for n in range(first, first + 1000)
            ]
            body = msgspec.json.encode(commands)
            started = time.perf_counter()
            self.client.post(f"{self.root}/bulk_docs", content=body).raise_for_status()
            seconds += time.perf_counter() - started
        return count / seconds

    def backup(self, folder: str) -> int:
        """Begin a backup."""
        answer = self.client.post(f"{self.root}/admin/backup", json={"BackupLocation": folder}).raise_for_status()
        number: int = answer.json()["OperationId"]
        return number

    def ended(self, operation: int) -> bool:
        """Whether the backup has ended."""
        told = self.client.get("/operation/status", params={"id": operation}).json()
        if told["Faulted"]:
            raise RuntimeError(told)
        return bool(told["Completed"])


def text(result: Result) -> str:
    """The rate and the tail."""
    return f"{result.rate:,.0f}/s, p99 {result.p99:.1f} ms" + (f", {result.failures} failed" if result.failures else "")


def measure(target: Target, documents: int, folder: str, report: Report, limit: Result, name: str = "") -> None:
    """The whole load on one server."""
    most = text(limit)
    batches = target.fill(documents)
    report.add(f"{name}bulk_docs of 1 000, {documents:,} in all", f"{batches:,.0f} documents/s", wanted="40 000/s")
    target.get()
    got = target.get()
    report.add(f"{name}GET by id", text(got), most, got.rate / limit.rate, "0.7")
    load(target.put_job())
    put = load(target.put_job())
    report.add(f"{name}durable PUT of 1 KB", text(put), most, put.rate / limit.rate, "0.35")
    operation = target.backup(folder)
    time.sleep(0.6)  # until the child process is up
    began = time.monotonic()
    during = load(target.put_job())
    ended = target.ended(operation)
    while not target.ended(operation):
        time.sleep(0.1)
    what = f"{name}PUT while a backup runs" + (" (it ended first: give --documents)" if ended else "")
    report.add(what, text(during), text(put), during.rate / put.rate, "0.7")
    report.add(
        f"{name}99th percentile then", f"{during.p99:.1f} ms", f"{put.p99:.1f} ms", during.p99 / put.p99, "below 3"
    )
    report.add(f"{name}that backup", f"{time.monotonic() - began + 0.6:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--peer", help="the URL of another server")
    parser.add_argument("--peer-folder", default="/tmp/benchmark-backup", help="where the peer may write a backup")
    options = parser.parse_args()
    report = Report("A server under load", "32 connections")
    with process(_LIMIT % BODY) as url:
        limit_target = Target(url, options.seconds)
        limit_target.get()
        limit = limit_target.get()
        report.add("the limit: GET from memory, plain ASGI", "", text(limit))
        report.add("the limit: PUT that does nothing", "", text(load(limit_target.put_job())))
    with tempfile.TemporaryDirectory() as folder, process(_SERVE, f"{folder}/data") as url:
        muniment = Target(url, options.seconds)
        muniment.client.put(f"/admin/databases/{NAME}", json={"Settings": {}}).raise_for_status()
        measure(muniment, options.documents, f"{folder}/backup", report, limit)
    if options.peer:
        peer = Target(options.peer, options.seconds)
        settings = {"Settings": {"Raven/DataDir": f"~/{NAME}"}}
        peer.client.put(f"/admin/databases/{NAME}", json=settings).raise_for_status()
        measure(peer, options.documents, options.peer_folder, report, limit, f"{options.peer}: ")
    report.print()


if __name__ == "__main__":
    main()
