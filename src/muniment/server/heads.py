"""What the headers of a request say, found out once for all requests that have the same ones."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from muniment.errors import MunimentError
from muniment.raven3.headers import ONCE, VERSION
from muniment.raven7.names import is_later
from muniment.server.local import Local
from muniment.server.origin import Origin

MOST: Final = 1024
LONGEST: Final = 2048  # characters of headers that are remembered
AUTHORIZATION: Final = "authorization"
_KNOWN: Final = "if-none-match"
_NOT_PLAIN: Final = (ONCE, "content-length", "transfer-encoding")


class Head(NamedTuple):
    """What headers say of a request that reads: who sends it, by the local secret or a key, and what he has already.

    `authorization` is not remembered, and neither is `known`.
    """

    local: bool
    authorization: str | None = None
    known: str | None = None


class Heads:
    """Heads of requests that ask for no more than to read, in the words of RavenDB 3."""

    def __init__(self, origin: Origin, local: Local) -> None:
        self._origin = origin
        self._local = local
        self._heads: dict[tuple[tuple[str, str], ...], Head] = {}

    def of(self, headers: Any) -> Head | None:
        """What these say; None where they say more than that, or are to be refused. Any thread may call it."""
        items = headers.items()
        if _KNOWN in headers or AUTHORIZATION in headers:
            return self._apart(headers, items)
        key = tuple(items)
        return self._heads.get(key) or self._remembered(key, self._found(headers))

    def _apart(self, headers: Any, items: list[tuple[str, str]]) -> Head | None:
        """The same for headers of which some are as good as never the same again, or secret."""
        rest = tuple(item for item in items if item[0] not in (_KNOWN, AUTHORIZATION))
        authorization, known = headers.get(AUTHORIZATION), headers.get(_KNOWN)
        if len(items) - len(rest) != (authorization is not None) + (known is not None):
            return None  # one of them is there twice
        head = self._heads.get(rest) or self._remembered(rest, self._found(headers))
        return head and head._replace(authorization=authorization, known=known)

    def _found(self, headers: Any) -> Head | None:
        try:
            self._origin.check(headers)
        except MunimentError:
            return None
        if is_later(headers.get(VERSION)) or any(name in headers for name in _NOT_PLAIN):
            return None
        return Head(self._local.is_known_to(headers))

    def _remembered(self, key: tuple[tuple[str, str], ...], head: Head | None) -> Head | None:
        if head and sum(len(name) + len(value) for name, value in key) <= LONGEST:
            if len(self._heads) >= MOST:
                self._heads.clear()
            self._heads[key] = head
        return head
