"""The least that a server in Python can do: granian's own interface, one event loop, and SQL, without anything else.

    python benchmarks/_bare.py FOLDER [DATABASE]
    python benchmarks/_bare.py postgresql://…

GET reads the row of a document in the file DATABASE of Muniment, by its key; PUT hands body and key to one thread,
which writes whatever waits as one transaction, on disk before the answer: in SQLite a row of a log with its SHA-256,
and a pointer to it; in PostgreSQL one prepared upsert of key, number and body into the table `plain`.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import apsw
import psycopg
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

ROOT: Final = "/databases/benchmark/docs/"
READ: Final = """
SELECT body, log.etag FROM current JOIN log ON log.etag = current.etag WHERE current.kind = 0 AND current.key = ?
"""
TABLES: Final = """
PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000;
CREATE TABLE log(etag INTEGER PRIMARY KEY, id TEXT, body BLOB, digest BLOB);
CREATE TABLE current(key TEXT PRIMARY KEY, etag INTEGER) WITHOUT ROWID;
"""
PLAIN: Final = "CREATE TABLE IF NOT EXISTS plain(key bytea PRIMARY KEY, etag bigint NOT NULL, body bytea NOT NULL)"
UPSERT: Final = """
INSERT INTO plain SELECT * FROM unnest(%b::bytea[], %b::bigint[], %b::bytea[])
ON CONFLICT(key) DO UPDATE SET etag = excluded.etag, body = excluded.body
"""
GROUP: Final = 64
TYPE: Final = ("content-type", "application/json; charset=utf-8")


class Bare:
    """The handler."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[tuple[str, bytes, asyncio.Future[None]]] = SimpleQueue()
        self._etag = 0
        threading.Thread(target=self._write, daemon=True).start()

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        key = scope.path[len(ROOT) :]
        if scope.method == "GET":
            body, etag = self.read(key)
            proto.response_bytes(200, [TYPE, ("etag", str(etag))], body)
        else:
            body, done = await proto(), self._loop.create_future()
            self._jobs.put((key, body, done))
            await done
            proto.response_bytes(201, [TYPE], b"{}")

    def read(self, key: str) -> tuple[bytes, int]:
        """The document of this key, and its number."""
        raise NotImplementedError

    def store(self, rows: list[tuple[int, str, bytes]]) -> None:
        """Have these numbers, keys and bodies on disk."""
        raise NotImplementedError

    def _write(self) -> None:
        while True:
            group = [self._jobs.get()]
            try:
                while len(group) < GROUP:
                    group.append(self._jobs.get(block=False))
            except Empty:
                pass
            self.store([(self._etag + place, key, body) for place, (key, body, _) in enumerate(group, 1)])
            self._etag += len(group)
            self._loop.call_soon_threadsafe(self._answer, [done for *_, done in group])

    def _answer(self, group: list[asyncio.Future[None]]) -> None:
        for done in group:
            if not done.done():
                done.set_result(None)


class InSqlite(Bare):
    """In a file in this folder; GET reads the file `database`."""

    def __init__(self, folder: Path, database: str | None) -> None:
        self._writer = apsw.Connection(str(folder / "bare.db"))
        self._writer.execute(TABLES).fetchall()
        self._reader = None
        if database is not None:
            self._reader = apsw.Connection(database)
            self._reader.execute("PRAGMA mmap_size=4294967296; PRAGMA query_only=1").fetchall()
        super().__init__()

    def read(self, key: str) -> tuple[bytes, int]:
        assert self._reader is not None
        row: Any = self._reader.execute(READ, (key,)).fetchall()[0]
        return row[0], row[1]

    def store(self, rows: list[tuple[int, str, bytes]]) -> None:
        logged = [(etag, key, body, hashlib.sha256(body).digest()) for etag, key, body in rows]
        with self._writer:
            self._writer.executemany("INSERT INTO log VALUES(?, ?, ?, ?)", logged)
            self._writer.executemany("REPLACE INTO current VALUES(?, ?)", [(key, etag) for etag, key, _ in rows])


class InPostgresql(Bare):
    """In the table `plain` there."""

    def __init__(self, server: str) -> None:
        self._connection = psycopg.connect(server, autocommit=True)
        self._connection.prepare_threshold = 0
        super().__init__()

    def store(self, rows: list[tuple[int, str, bytes]]) -> None:
        newest = {key.encode(): (etag, body) for etag, key, body in rows}
        etags, bodies = zip(*newest.values(), strict=True)
        self._connection.execute(UPSERT, ([*newest], [*etags], [*bodies]))


class _Listener(Server):
    def _init_shared_socket(self) -> None:
        opened = socket.create_server(("127.0.0.1", 0), backlog=1024)
        print(f"http://127.0.0.1:{opened.getsockname()[1]}", flush=True)
        self._shd = SocketHolder(opened.detach(), False, 1024)  # type: ignore[assignment,call-arg]


async def serve(place: str, database: str | None = None) -> None:
    """Serve until the process is ended; the URL is printed."""
    handler = InPostgresql(place) if place.startswith("postgresql:") else InSqlite(Path(place), database)
    http: dict[str, Any] = {"http": HTTPModes.http1, "websockets": False, "log_enabled": False}
    await _Listener(handler, interface=Interfaces.RSGI, **http).serve()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
