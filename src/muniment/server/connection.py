"""The connection beneath a request: whether the client is still there, and a way to break off an answer.

An answer whose length nobody knows beforehand ends where it ends. If that is not its end, the connection must break, or
a client would take what it got for the whole; granian has no word for that, so it is done to the socket itself.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

_DESCRIPTORS: Final = Path("/dev/fd")
_GONE: Final = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class Connection:
    """A connection to a client, None inside when it has ended before it was looked for. To be closed."""

    def __init__(self, opened: socket.socket | None) -> None:
        self._socket = opened

    @classmethod
    def of(cls, client: str) -> Self:
        """The one whose other end this is: `127.0.0.1:41234`, `[::1]:41234`."""
        host, _, port = client.rpartition(":")
        return cls(_found((host.strip("[]"), int(port))))

    @property
    def gone(self) -> bool:
        """Whether the client has ended the connection."""
        if self._socket is None:
            return True
        poll = select.poll()
        poll.register(self._socket, _GONE)
        return bool(poll.poll(0))

    def break_off(self) -> None:
        """End it at once; what is on its way may not arrive."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Look at it no more; the connection stays as it is."""
        if self._socket is not None:
            self._socket.close()


def _found(peer: tuple[str, int]) -> socket.socket | None:
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - of these, a Path is of no use
        with suppress(OSError):
            # Only sockets are duplicated: closing any descriptor of a database file takes away the locks that SQLite
            # has on it (fcntl), and then another process checkpoints and deletes the write-ahead log in use.
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            found = socket.socket(fileno=os.dup(int(name)))
            with suppress(OSError):
                if found.getpeername()[:2] == peer:
                    return found
            found.close()
    return None
