"""Load for an HTTP server: connections that each send a request as soon as the last one is answered.

Run as a process of its own, it reads one JSON line (`Job`) and prints one (`Result`). It works on plain sockets with
epoll, because any HTTP client in Python would be slower than the servers that it is to measure.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec


class Job(msgspec.Struct):
    """What to send: `{n}` is a number that counts up modulo `ids`, in the body `{r}` one that goes to and fro with it.

    `{length}` in the head is the length of the body.
    """

    port: int
    head: str
    body: bytes = b""
    host: str = "127.0.0.1"
    ids: int = 10_000
    connections: int = 32
    seconds: float = 3.0


class Result(msgspec.Struct):
    """Answers per second, milliseconds that they took, the share of a processor that the load itself took, failures."""

    rate: float
    p50: float
    p99: float
    processor: float
    failures: int


def load(job: Job) -> Result:
    """Put this load on a server, from another process."""
    return start(job).result()


@dataclass
class Running:
    """A load that goes on meanwhile."""

    process: subprocess.Popen[bytes]

    def result(self) -> Result:
        """Wait for its end."""
        out, _ = self.process.communicate()
        return msgspec.json.decode(out, type=Result)


def start(job: Job) -> Running:
    """Begin to put this load on a server."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(job) + b"\n")
    process.stdin.flush()
    return Running(process)


class _Connection:
    def __init__(self, job: Job) -> None:
        self.socket = socket.create_connection((job.host, job.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self.received = b""

    def send(self, request: bytes) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(request)


def run(job: Job) -> Result:
    """Be the load."""
    bodies = [
        job.body.replace(b"{n}", b"%d" % n).replace(b"{r}", b"%d" % (n * 2654435761 % 1_000_003))
        for n in range(job.ids)
    ]
    requests = [job.head.format(n=n, length=len(body)).encode() + body for n, body in enumerate(bodies)]
    poll = select.epoll()
    connections: dict[int, _Connection] = {}
    took: list[float] = []
    failures = turn = 0
    started, busy = time.perf_counter(), time.process_time()
    for _ in range(job.connections):
        connection = _Connection(job)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
        connection.send(requests[turn % job.ids])
        turn += 1
    until = started + job.seconds
    while time.perf_counter() < until:
        for number, _ in poll.poll(1):
            connection = connections[number]
            answer = connection.received + connection.socket.recv(1 << 18)
            head = answer.find(b"\r\n\r\n")
            at = answer.find(b"content-length: ")
            if at < 0:
                at = answer.find(b"Content-Length: ")
            if head < 0 or len(answer) < head + 4 + int(answer[at + 16 : answer.find(b"\r", at)]):
                connection.received = answer
                continue
            connection.received = b""
            took.append(time.perf_counter() - connection.sent)
            failures += answer[9:10] != b"2"
            connection.send(requests[turn % job.ids])
            turn += 1
    seconds = time.perf_counter() - started
    took.sort()
    last = len(took) - 1
    return Result(
        len(took) / seconds,
        took[last // 2] * 1e3,
        took[last * 99 // 100] * 1e3,
        (time.process_time() - busy) / seconds,
        failures,
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.readline(), type=Job))))
