"""Requests that nobody should make: they are answered or the connection is closed, and everybody else is served on."""

from __future__ import annotations

import json
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from muniment.server.routes import ROUTES
from tests.server.running import Server, running
from tests.torture.verdict import Case, Defect, Outcome, Verdict, judged

SECONDS: Final = 10.0
HEADS: Final = b"Host: 127.0.0.1\r\nMuniment-Request: 1\r\n"
METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "EVAL", "OPTIONS", "TRACE", "BREW")
BARE: Final = {400, 404, 405, 408, 411, 413, 414, 431, 501, 505}  # may be told by the HTTP library, without a body
ODD: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1 << 70, 1.5, "", "\0", "x" * 5000, "../../x", "/proc/self/mem", "/dev/null/x", "é\ud7ff", [],
    {}, [[[[]]]], [None], {"": None}, {"Method": "PUT"}, [{"Method": 1, "Key": None}], "9999-99-99T99:99:99",
)  # fmt: skip
NAMES: Final = (
    "BackupLocation", "DatabaseName", "DatabaseLocation", "RestoreLocation", "Etag", "At", "Backup", "Ids", "Key", "Id",
    "Collections", "IdPrefixes", "OnConflict", "Settings", "SecuredSettings", "Disabled", "format", "limit", "Defrag",
)  # fmt: skip
ARGUMENTS: Final = ("target", "items/1", "%00", "%ff", "..%2f..%2fx", "x" * 3000, "%F0%9F%98%80", "")


def _line(chance: random.Random) -> str:
    """Any route, mostly with a method that it has; never with the name of the database that has to stay."""
    route = chance.choice(ROUTES)
    method = chance.choice(sorted(route.methods)) if chance.random() < 0.8 else chance.choice(METHODS)
    path = re.sub(r"\{[a-z]+\}", lambda _: chance.choice(ARGUMENTS), route.path)
    query = _query(chance)
    return f"{method} {'/databases/target/' if route.tenant else '/'}{path}{'?' if query else ''}{query} HTTP/1.1"


def _query(chance: random.Random) -> str:
    names = [
        "id",
        "start",
        "pageSize",
        "etag",
        "incremental",
        "database",
        "hard-delete",
        "format",
        "startsWith",
        "after",
    ]
    odd = [
        "",
        "-1",
        "x",
        "99999999999999999999",
        "%00",
        "%ff",
        "true",
        "target",
        "00000000-0000-0000-0000-000000000001",
    ]
    return "&".join(f"{chance.choice(names)}={chance.choice(odd)}" for _ in range(chance.randrange(4)))


def _body(chance: random.Random) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.choice([1, 100, 100_000]))
    if kind == 1:
        return b"[" * chance.choice([100, 100_000])
    if kind == 2:
        return b'{"a":' * 2000 + b"1" + b"}" * 2000
    if kind == 3:
        return json.dumps(chance.choice(ODD)).encode()
    return json.dumps({chance.choice(NAMES): chance.choice(ODD) for _ in range(chance.randrange(5))}).encode()


def _request(chance: random.Random, body: bytes | None = None) -> bytes:
    """A whole request, as bytes."""
    if body is None:
        body = _body(chance) if chance.random() < 0.6 else b""
    line = _line(chance)
    heads = ["Host: 127.0.0.1", "Muniment-Request: 1", "Connection: close", f"Content-Length: {len(body)}"]
    odd = ["If-None-Match: x", "If-Match: \xff", "Range: bytes=9-1", "Expect: 100-continue", "Content-Type: text/plain"]
    odd += ["Origin: http://elsewhere.example", "Content-Encoding: gzip", "Raven-Entity-Name: \x01", "Accept: \x80"]
    heads += chance.sample(odd, chance.randrange(3))
    return "\r\n".join([line, *heads, "", ""]).encode("latin-1") + body


def _whole(chance: random.Random) -> list[bytes]:
    return [_request(chance)]


def _garbage(chance: random.Random) -> list[bytes]:
    return [chance.randbytes(chance.choice([1, 50, 20_000]))]


def _flipped(chance: random.Random) -> list[bytes]:
    request = bytearray(_request(chance, b""))
    request[chance.randrange(min(len(request), 300))] ^= 1 << chance.randrange(8)
    return [bytes(request)]


def _cut(chance: random.Random) -> list[bytes]:
    request = _request(chance)
    return [request[: chance.randrange(1, len(request))]]


def _long_heads(chance: random.Random) -> list[bytes]:
    heads = b"".join(b"X-%d: %b\r\n" % (n, b"y" * 500) for n in range(chance.choice([50, 500])))
    return [b"GET /databases/target/stats HTTP/1.1\r\n" + HEADS + heads + b"\r\n"]


def _lies(chance: random.Random) -> list[bytes]:
    length = chance.choice(["-1", "x", "5, 6", "99999999999999999999", "1000000", "0x10"])
    return [b"PUT /databases/target/docs/a HTTP/1.1\r\n" + HEADS + f"Content-Length: {length}\r\n\r\n{{}}".encode()]


def _chunks(chance: random.Random) -> list[bytes]:
    head = b"POST /databases/target/bulk_docs HTTP/1.1\r\n" + HEADS + b"Transfer-Encoding: chunked\r\n\r\n"
    return [head + chance.choice([b"zz\r\n", b"ffffffffffffffff\r\n[", b"2\r\n[]\r\n", b"5\r\n[]", b"-1\r\n\r\n"])]


def _unfinished(chance: random.Random) -> list[bytes]:
    """Several uploads of which nothing comes any more."""
    part = chance.randbytes(chance.choice([0, 10, 200_000]))
    head = b"PUT /databases/target/%b HTTP/1.1\r\n" + HEADS + b"Content-Length: 5000000\r\n\r\n"
    return [head % chance.choice([b"docs/a", b"static/a"]) + part for _ in range(8)]


ABUSES: Final[dict[str, Callable[[random.Random], list[bytes]]]] = {
    "any method, path, query and body": _whole,
    "garbage": _garbage,
    "a flipped bit": _flipped,
    "a request that is cut": _cut,
    "long heads": _long_heads,
    "a length that is none": _lies,
    "chunks": _chunks,
    "unfinished uploads": _unfinished,
}


def _send(server: Server, requests: list[bytes]) -> bytes:
    """Open a connection for each, send it, and give what the first of them was answered."""
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) for _ in requests]
    answer = b""
    try:
        for connection, request in zip(connections, requests, strict=True):
            connection.sendall(request)
        connections[0].settimeout(1.0)
        while part := connections[0].recv(65536):
            answer += part
            connections[0].settimeout(0.3)
    except OSError:
        pass  # refused in the middle, or silent
    _alive(server)
    for connection in connections:
        connection.close()
    return answer


def _alive(server: Server) -> None:
    """Somebody else is answered meanwhile."""
    try:
        begun = time.monotonic()
        with closing(httpx.Client(base_url=server.url, timeout=SECONDS, verify=False)) as other:
            answer = other.put("/databases/other/docs/a", content=b"{}", headers={"Content-Type": "application/json"})
        if answer.status_code != 201:
            raise Defect(Outcome.CRUDE, f"a good request was answered {answer.status_code}: {answer.text[:200]}")
        if time.monotonic() - begun > SECONDS:
            raise Defect(Outcome.CRUDE, f"a good request waited {time.monotonic() - begun:.1f} s")
    except httpx.HTTPError as error:
        raise Defect(Outcome.CRUDE, f"a good request was not answered: {error!r}") from None


def _told(answer: bytes) -> tuple[Outcome, str] | Outcome:
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        return Outcome.SURVIVED
    status = int(words[1])
    if status < 400:
        return Outcome.SURVIVED
    text = body.decode(errors="replace")
    if "unexpected error" in text or "Traceback" in text or (status >= 500 and not text and status not in BARE):
        raise Defect(Outcome.CRUDE, f"{status}: {text[:300]}")
    return Outcome.FOUND, f"{status} {text[:100]}"


@contextmanager
def abuse(place: Path) -> Iterator[Case]:
    """One server for all; the database `kept` is in no request, and has to stay as it is."""
    with running(place / "data") as server:
        kept = server.create("kept")
        kept.fill(50)
        for name in ("target", "other"):
            server.create(name).fill(20)
        before = kept.fingerprint()

        def case(chance: random.Random, folder: Path) -> Verdict:
            name = chance.choice(sorted(ABUSES))
            requests = ABUSES[name](chance)
            server.client.put("/admin/databases/target", json={"Settings": {}})

            def work() -> tuple[Outcome, str] | Outcome:
                answer = _send(server, requests)
                if server.process.poll() is not None:
                    raise Defect(Outcome.CRUDE, f"the server ended: {server.log()[-300:]}")
                if kept.fingerprint() != before:
                    raise Defect(Outcome.WRONG, "a database that was not in any request has changed")
                return _told(answer)

            return judged(f"abuse: {name}: {requests[0][:200]!r}", work)

        yield case
