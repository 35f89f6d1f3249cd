"""A body of several parts (RFC 2046), read part by part as it comes, with little of it in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.message import Message
from typing import Final, NamedTuple

from muniment.server.wire import CutShort, Refused

MULTIPART: Final = "multipart/"
MAX_HEADERS: Final = 16 << 10


class Part(NamedTuple):
    """A part; its content has to be read before the next part is asked for, or is passed over then."""

    headers: Message
    chunks: Iterator[bytes]


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts of such a body; raises `Refused` (400) when that is not said."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if not boundary:
        raise Refused(
            400, f"the content type {content_type!r} names no boundary", "name it: multipart/form-data; boundary=…"
        )
    return boundary.encode("latin-1", errors="replace")


class Multipart:
    """The parts of a body; raises `CutShort` where it ends too early, and `Refused` (400) for what is none."""

    def __init__(self, chunks: Iterable[bytes], boundary: bytes) -> None:
        self._chunks = iter(chunks)
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # the first delimiter may stand at the very beginning

    def __iter__(self) -> Iterator[Part]:
        for _ in self._content():
            pass
        while self._take(2) != b"--":
            headers = self._headers()
            chunks = self._content()
            yield Part(headers, chunks)
            for _ in chunks:
                pass
        for _ in self._chunks:
            pass

    def _content(self) -> Iterator[bytes]:
        """What comes before the next delimiter, and past that."""
        keep = len(self._delimiter) - 1
        while (at := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > keep:
                piece, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                yield piece
            self._more()
        piece, self._buffer = self._buffer[:at], self._buffer[at + len(self._delimiter) :]
        if piece:
            yield piece

    def _headers(self) -> Message:
        self._buffer = b"\r\n" + self._buffer  # there may be none at all
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEADERS:
                raise Refused(400, f"the headers of a part have more than {MAX_HEADERS:,} bytes", "send fewer")
            self._more()
        headers, self._buffer = self._buffer[2:at], self._buffer[at + 4 :]
        return message_from_bytes(headers + b"\r\n\r\n")

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        if taken not in (b"--", b"\r\n"):
            raise Refused(400, "a part begins with something else than a new line", "send a body as RFC 2046 says")
        return taken

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise CutShort("the last part has no end", "send it again; nothing of it was done")
        self._buffer += chunk
