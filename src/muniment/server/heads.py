"""What the headers of a request say, found out once for all requests that have the same ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from muniment.errors import MunimentError
from muniment.raven3.headers import ONCE, VERSION, metadata_json_of
from muniment.raven7.names import is_later
from muniment.server.local import Local
from muniment.server.origin import Origin, check_deliberate

T = TypeVar("T")
Items = tuple[tuple[str, str], ...]

MOST: Final = 1024
LONGEST: Final = 2048  # characters of headers that are remembered
AUTHORIZATION: Final = "authorization"
KNOWN: Final = "if-none-match"
LENGTH: Final = "content-length"
# Each request has another one of these, or nobody else may see it.
_READING_APART: Final = frozenset({AUTHORIZATION, KNOWN})
_WRITING_APART: Final = frozenset({AUTHORIZATION, LENGTH})
_NOT_TO_READ: Final = (ONCE, LENGTH, "transfer-encoding")
_NOT_TO_WRITE: Final = (ONCE, KNOWN, "if-match", "transfer-encoding", "content-encoding")


class Reading(NamedTuple):
    """What headers say of a request that reads: who sends it, by the local secret or a key, and what he has already."""

    local: bool
    authorization: str | None = None
    known: str | None = None


class Writing(NamedTuple):
    """What they say of one that stores a document, whatever there is: of which metadata, and how long it is."""

    local: bool
    metadata: bytes
    authorization: str | None = None
    length: int = 0


class Heads:
    """Heads of requests that want nothing unusual, in the words of RavenDB 3; None where they do, or are refused."""

    def __init__(self, origin: Origin, local: Local) -> None:
        self._origin = origin
        self._local = local
        self._reading = _Remembered(self._found_reading)
        self._writing = _Remembered(self._found_writing)

    def reading(self, headers: Any) -> Reading | None:
        """Of one that reads."""
        items = tuple(headers.items())
        if KNOWN not in headers and AUTHORIZATION not in headers:
            return self._reading.of(items, headers)
        rest = tuple([item for item in items if item[0] not in _READING_APART])
        authorization, known = headers.get(AUTHORIZATION), headers.get(KNOWN)
        if len(items) - len(rest) != (authorization is not None) + (known is not None):
            return None  # one of them is there twice
        head = self._reading.of(rest, headers)
        return head and Reading(head.local, authorization, known)

    def writing(self, headers: Any) -> Writing | None:
        """Of one that stores a document."""
        items = headers.items()
        rest = tuple([item for item in items if item[0] not in _WRITING_APART])
        authorization, length = headers.get(AUTHORIZATION), headers.get(LENGTH)
        if length is None or not (length.isascii() and length.isdigit()):
            return None
        if len(items) - len(rest) != 1 + (authorization is not None):
            return None
        head = self._writing.of(rest, headers)
        return head and Writing(head.local, head.metadata, authorization, int(length))

    def _found_reading(self, headers: Any) -> Reading | None:
        return Reading(self._local.is_known_to(headers)) if self._is_plain(headers, _NOT_TO_READ) else None

    def _found_writing(self, headers: Any) -> Writing | None:
        if not self._is_plain(headers, _NOT_TO_WRITE):
            return None
        check_deliberate(headers, "PUT", "")
        return Writing(self._local.is_known_to(headers), metadata_json_of(headers.items()))

    def _is_plain(self, headers: Any, unusual: tuple[str, ...]) -> bool:
        self._origin.check(headers)
        return not is_later(headers.get(VERSION)) and not any(name in headers for name in unusual)


class _Remembered(Generic[T]):
    """What was found for headers, but for those that are too long to be kept, or where nothing was found."""

    def __init__(self, find: Callable[[Any], T | None]) -> None:
        self._find = find
        self._found: dict[Items, T] = {}

    def of(self, items: Items, headers: Any) -> T | None:
        found = self._found.get(items)
        if found is not None:
            return found
        try:
            found = self._find(headers)
        except MunimentError:  # the general way says so
            return None
        if found is not None and sum(len(name) + len(value) for name, value in items) <= LONGEST:
            if len(self._found) >= MOST:
                self._found.clear()
            self._found[items] = found
        return found
