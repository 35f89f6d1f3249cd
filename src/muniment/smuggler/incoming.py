"""A dump that comes in piece by piece, in the shape of a file that is read forwards."""

from __future__ import annotations

from collections.abc import Iterator


class Incoming:
    """Reads from pieces of bytes, whatever their sizes; raises what making them raises."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, none at the end."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = memoryview(piece)
        block, self._left = self._left[:size], self._left[size:]
        return bytes(block)
