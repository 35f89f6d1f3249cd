"""Answers of any length, a JSON object a line, of which little is in memory at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from muniment.errors import Cancelled
from muniment.progress import Progress
from muniment.raven3.headers import BUILD_HEADER, Headers
from muniment.server.connection import Connection
from muniment.server.pipe import Pipe
from muniment.server.request import Request
from muniment.telling import log

HEADERS: Final[Headers] = [("content-type", "application/x-ndjson; charset=utf-8"), BUILD_HEADER]
PIECE: Final = 1 << 16
_FLAT: Final = bytes.maketrans(b"\r\n", b"  ")  # which in JSON stand between values only


class Lines:
    """An answer that a thread makes. If that fails the connection breaks, so that no part looks like the whole."""

    status = 200

    def __init__(self, request: Request, lines: Callable[[], Iterator[bytes]], headers: Headers = HEADERS) -> None:
        self._headers = headers
        self._tenant = request.tenant
        self._transfers = request.server.transfers
        self._lines = lines
        self._client = request.scope.client
        self._transfers.take()
        self._tenant.active += 1

    async def send(self, proto: Any) -> None:
        """Give it to the connection, as fast as that takes it. The database stays open until then."""
        pipe, connection = Pipe(lambda: None, Progress()), Connection.of(self._client)
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, pipe))
        try:
            await pipe.send(proto, self.status, self._headers)
            await writing
        except Cancelled:
            pass  # the client has gone, or takes nothing any more
        except Exception as error:
            log(f"a stream of {self._tenant.name} broke off: {error}")
            connection.break_off()
        finally:
            pipe.close()
            connection.close()
            self._transfers.leave()
            self._tenant.leave()

    def _write(self, pipe: Pipe) -> None:
        piece = bytearray()
        for line in self._lines():
            piece += line.translate(_FLAT) + b"\n"
            if len(piece) > PIECE:
                pipe.write(bytes(piece))
                piece.clear()
        if piece:
            pipe.write(bytes(piece))
