"""Bodies of requests that are compressed with gzip, as RavenDB's old .NET clients send them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from muniment.server.wire import CutShort, Refused

PIECE_BYTES: Final = 1 << 20
_MAGIC: Final = b"\x1f\x8b"
_GZIP: Final = 31  # with gzip's header and checksum
_PLAIN: Final = ("", "identity")
_PACKED: Final = ("gzip", "x-gzip")


class Unpacker:
    """Unpacks a body while it comes, in pieces of a bounded size, however much they become."""

    def __init__(self) -> None:
        self._begin = b""  # until it is known what it is
        self._plain = False
        self._gzip = zlib.decompressobj(_GZIP)
        self._ended = True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What these bytes hold; raises `Refused` when they are not gzip.

        A body that only says so is taken as it is: pyravendb sends plain text with the header of a packed one.
        """
        if len(self._begin) < len(_MAGIC):
            self._begin = data = self._begin + data
            if len(data) < len(_MAGIC):
                return
            self._plain = not data.startswith(_MAGIC)
        if self._plain:
            if data:
                yield data
            return
        try:
            while data:
                self._ended = False
                if piece := self._gzip.decompress(data, PIECE_BYTES):
                    yield piece
                data = self._gzip.unconsumed_tail
                if self._gzip.eof:
                    data, self._gzip, self._ended = self._gzip.unused_data, zlib.decompressobj(_GZIP), True
        except zlib.error as error:
            raise Refused(400, f"the request is not gzip, as it says: {error}", "send it as it is") from error

    def rest(self) -> Iterator[bytes]:
        """What is left when all has come; raises `CutShort` when the gzip stream has no end."""
        if len(self._begin) < len(_MAGIC) and self._begin:
            yield self._begin
        elif not self._ended and not self._plain:
            raise CutShort("the request's gzip stream has no end", "send it again; nothing of it was done")


def unpacker_for(encoding: str | None) -> Unpacker | None:
    """What unpacks a body with this header `content-encoding`, None for one that needs nothing; raises `Refused`."""
    told = (encoding or "").strip().lower()
    if told in _PLAIN:
        return None
    if told not in _PACKED:
        raise Refused(415, f"the content encoding {encoding!r} is not known here", "send it as it is, or with gzip")
    return Unpacker()
