"""Ports that stay a test's own: while its server begins, while it runs, and while it is stopped and started again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """So many ports of this machine, which within the block only those get who ask for them by number.

    Who asks for any port, or connects, gets another: each is bound, without listening. A server may listen on it
    all the same, as both say that they share it (SO_REUSEADDR).
    """
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]
