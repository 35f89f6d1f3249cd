"""A server under load: reads, durable writes, queries, batches, and writes while a backup runs.

The limit, in the same run, is a bare handler on the same machine (`_bare.py`) that reads the same rows of the same
file, and writes as durably; both are loaded in turns, and the middle of the turns counts. The microseconds are
processor time of the server's process for one request; the load takes its own beside it. `--peer URL` puts the same
load on another server that speaks RavenDB 3.x's protocol, in a database `benchmark` that it makes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
from _load import Job, Result, load
from _machine import Report

NAME: Final = "benchmark"
BODY: Final = b'{"Sort":"sorts/%d","name":"' + b"x" * 1000 + b'"}'
METADATA: Final = {"Raven-Entity-Name": "Items"}
IDS: Final = 10_000
SORTS: Final = 2_000
ASKED: Final = b"""{"Rql":"from Items where Sort = 'sorts/{n}' limit 25"}"""

_BARE: Final = Path(__file__).with_name("_bare.py")
_SERVE: Final = """
import sys
from pathlib import Path
from muniment.server.run import serve
from muniment.settings import Settings
folder, storage = Path(sys.argv[1]), "".join(sys.argv[2:])
settings = Settings(data_dir=folder, backup_roots=(str(folder.parent),), port=0, storage=storage)
serve(settings, lambda url: print(url, flush=True))
"""


class Process(NamedTuple):
    """A server in a process of its own; `number` is 0 where it is somebody else's."""

    url: str
    number: int = 0

    def seconds(self) -> float:
        """The processor time that it has taken."""
        if not self.number:
            return 0.0
        fields = Path(f"/proc/{self.number}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(*arguments: str) -> Iterator[Process]:
    """A server in a process of its own, which prints its URL."""
    running = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield Process(running.stdout.readline().strip(), running.pid)
    finally:
        running.terminate()
        running.wait()


class Measured(NamedTuple):
    """What came of a load, and the microseconds of a processor that the server took for one request."""

    load: Result
    cost: float

    def __str__(self) -> str:
        load = self.load
        told = f"{load.rate:,.0f}/s, p99 {load.p99:.1f} ms"
        told += f", {self.cost:.0f} µs" if self.cost else ""
        return told + (f", {load.failures} failed" if load.failures else "")


class Target:
    """A server under load."""

    def __init__(self, server: Process, seconds: float) -> None:
        parts = urlsplit(server.url)
        self.client = httpx.Client(base_url=server.url, timeout=600, headers={"Raven-Client-Version": "3.5.0.0"})
        self.root = f"/databases/{NAME}"
        self._server = server
        self._where: dict[str, Any] = {"host": parts.hostname, "port": parts.port, "seconds": seconds}
        self._host = parts.netloc

    def measure(self, job: Job) -> Measured:
        """Put this load on the server."""
        before = self._server.seconds()
        found = load(job)
        return Measured(found, (self._server.seconds() - before) / max(found.rate * job.seconds, 1) * 1e6)

    def _job(self, method: str, path: str, body: bytes = b"", headers: str = "", ids: int = IDS) -> Job:
        head = f"{method} {self.root}{path} HTTP/1.1\r\nHost: {self._host}\r\nRaven-Client-Version: 3.5.0.0\r\n"
        extra = f"{headers}Content-Length: {{length}}\r\n" if body else ""
        return Job(head=f"{head}{extra}\r\n", body=body, ids=ids, **self._where)

    def get(self) -> Measured:
        """Documents by their ids."""
        return self.measure(self._job("GET", "/docs/items/{n}"))

    def put(self) -> Measured:
        """Documents of 1 KB, each durable when it is answered."""
        return self.measure(self._job("PUT", "/docs/items/{n}", BODY % 1, "Raven-Entity-Name: Items\r\n"))

    def query(self) -> Measured:
        """Queries that find 25 documents of 1 KB by an index."""
        return self.measure(self._job("POST", "/query", ASKED, "Content-Type: application/json\r\n", SORTS))

    def fill(self, count: int) -> float:
        """Documents per second in batches of 1 000, from one connection."""
        seconds = 0.0
        for first in range(0, count, 1000):
            commands = [
                {
                    "Method": "PUT",
                    "Key": f"items/{n}",
                    "Document": msgspec.Raw(BODY % (n % SORTS)),
                    "Metadata": METADATA,
                }
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


def in_turns(turns: int, *loads: Callable[[], Measured]) -> list[Measured]:
    """Each of these loads so many times in turns, after one that does not count, and of each the middle one."""
    for each in loads:
        each()
    found = [[each() for each in loads] for _ in range(turns)]
    return [sorted(of_one, key=lambda each: each.load.rate)[turns // 2] for of_one in zip(*found, strict=True)]


def compared(report: Report, what: str, ours: Measured, most: Measured, wanted: str) -> None:
    """A line of the report."""
    report.add(what, str(ours), str(most), ours.load.rate / most.load.rate, wanted)


def measure_reads(target: Target, limit: Target, turns: int, report: Report, name: str = "") -> None:
    """Documents by their ids, and queries."""
    got, most = in_turns(turns, target.get, limit.get)
    compared(report, f"{name}GET by id", got, most, "0.9, 28 000/s")
    share = got.load.processor / got.load.rate * 1e6
    report.add("what the load itself takes for one of these", f"{share:.0f} µs")
    if not name:
        first = {"Rql": "from Items where Sort = 'sorts/1' limit 25"}
        answer = target.client.post(f"{target.root}/query", json=first).raise_for_status()  # it makes the index
        assert len(answer.json()["Results"]) == 25, "give more --documents"
        [found] = in_turns(turns, target.query)
        report.add("queries that find 25 documents", str(found), wanted="2 000/s")


def measure_writes(target: Target, limit: Target, folder: str, turns: int, report: Report, name: str = "") -> None:
    """Durable writes, alone and while a backup runs."""
    put, most = in_turns(turns, target.put, limit.put)
    compared(report, f"{name}durable PUT of 1 KB", put, most, "0.8, 11 500/s")
    pairs = []
    for turn in range(turns):
        alone = target.put()
        operation = target.backup(f"{folder}-{turn}")
        time.sleep(0.6)  # until the child process is up
        during = target.put()
        ended = target.ended(operation)
        while not target.ended(operation):
            time.sleep(0.1)
        pairs.append((during.load.rate / alone.load.rate, during, alone, ended))
    _, during, alone, ended = sorted(pairs, key=lambda pair: pair[0])[turns // 2]
    what = f"{name}PUT while a backup runs" + (" (it ended first: give --documents)" if ended else "")
    compared(report, what, during, alone, "0.85")
    p99 = during.load.p99, alone.load.p99
    report.add(f"{name}99th percentile then", f"{p99[0]:.1f} ms", f"{p99[1]:.1f} ms", p99[0] / p99[1], "2 at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer", help="the URL of another server")
    parser.add_argument("--peer-folder", default="/tmp/benchmark-backup", help="where the peer may write a backup")
    options = parser.parse_args()
    report = Report("A server under load", "32 connections")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(process("-c", _SERVE, f"{folder}/data"))
        muniment = Target(server, options.seconds)
        muniment.client.put(f"/admin/databases/{NAME}", json={"Settings": {}}).raise_for_status()
        batches = muniment.fill(options.documents)
        report.add(
            f"bulk_docs of 1 000, {options.documents:,} in all", f"{batches:,.0f} documents/s", wanted="40 000/s"
        )
        file = f"{folder}/data/Databases/{NAME}/muniment.db"
        limit = Target(stack.enter_context(process(str(_BARE), folder, file)), options.seconds)
        measure_reads(muniment, limit, options.turns, report)
        measure_writes(muniment, limit, f"{folder}/backup", options.turns, report)
        if options.peer:
            peer = Target(Process(options.peer), options.seconds)
            settings = {"Settings": {"Raven/DataDir": f"~/{NAME}"}}
            peer.client.put(f"/admin/databases/{NAME}", json=settings).raise_for_status()
            peer.fill(options.documents)
            measure_reads(peer, limit, options.turns, report, f"{options.peer}: ")
            measure_writes(peer, limit, options.peer_folder, options.turns, report, f"{options.peer}: ")
    report.print()


if __name__ == "__main__":
    main()
