"""The decompressed bytes of a dump.

gzip (of any number of members), zstd (of any number of frames) and plain are distinguished by their first bytes, never
by the file's name. Every read is bounded, so a small file that swells to terabytes costs no memory, and is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final, Protocol

from isal import isal_zlib

from muniment.errors import StorageFailure

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC_SIZE: Final = 4
_MAGIC: Final = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # a frame, or the skippable one pzstd begins with
}


class BrokenStream(Exception):
    """The compressed stream is cut short, damaged or a bomb; `what` ends a sentence that begins with "the dump"."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class Readable(Protocol):
    """What a dump can be read from: `read` gives at most `size` bytes, and none only at the end."""

    def read(self, size: int, /) -> bytes: ...


class Incoming:
    """Pieces of bytes as a file that is read forwards; raises what the iterator of pieces raises."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = memoryview(piece)
        block, self._left = self._left[:size], self._left[size:]
        return bytes(block)


class _Decoder(Protocol):
    """Decompresses one gzip member or zstd frame, with the interface of the standard library's decompressors."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipDecoder:
    """Gives ISA-L's decompressor that interface; it checks the CRC and the length.

    ISA-L's own interface is that of zlib, and it takes half of zlib's time.
    """

    def __init__(self) -> None:
        self._zlib = isal_zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class DumpStream:
    """Reads and decompresses a dump.

    `compression` is "gzip", "zstd" or "none". `position` counts the plain bytes given out and `compressed_position`
    the bytes taken from the source, so that progress can be shown when the source's size is known. `unfinished`, when
    all has been read: the compressed stream has no end, as RavenDB leaves its zstd streams. Then only the content shows
    whether the dump is whole.
    """

    def __init__(self, source: Readable, *, block_size: int, bomb_size: int, bomb_ratio: int) -> None:
        self._source = source
        self._closed = False
        # Compressed JSON is much smaller than the block it fills; more input than that would only be copied around.
        self._input_size = max(1, block_size // 4)
        self._bomb_size = bomb_size
        self._bomb_ratio = bomb_ratio
        self._failure: BrokenStream | None = None
        self.position = 0
        self.compressed_position = 0
        self.unfinished = False
        self._pending = self._up_to_magic(b"", padding=b"")
        self.compression = next((name for name, magic in _MAGIC.items() if magic.match(self._pending)), "none")
        self._decoder = self._new_decoder()

    def read(self, size: int) -> bytes:
        """Gives 1 to `size` bytes; none only at the end of the source, or of the compressed stream.

        Raises `BrokenStream`, and again at every later call, or `StorageFailure` when the source cannot be read.
        """
        if self._closed:
            raise ValueError("the dump is closed")
        if self._failure:
            raise self._failure
        try:
            data = self._plain(size) if self.compression == "none" else self._decompressed(size)
            self.position += len(data)
            self._check_ratio()
        except BrokenStream as error:
            self._failure = error  # a decoder could go on after the damage, as if nothing were missing
            raise
        return data

    def close(self) -> None:
        """Makes every later read fail, so that a dump closed half-way never passes for one read to its end."""
        self._closed = True

    def _check_ratio(self) -> None:
        if self.position > self._bomb_size and self.position > self._bomb_ratio * self.compressed_position:
            raise BrokenStream(
                f"swells to more than {self._bomb_ratio} times its compressed size, as a decompression bomb does",
                "if you trust its source, import it from Python with a larger bomb_ratio",
            )

    def _plain(self, size: int) -> bytes:
        if not self._pending:
            return self._from_source(size)
        data, self._pending = self._pending[:size], self._pending[size:]
        return data

    def _decompressed(self, size: int) -> bytes:
        while self._decoder is not None:
            if self._decoder.eof:
                self._next_member()
                continue
            data = self._input() if self._decoder.needs_input else b""
            starved = self._decoder.needs_input and not data
            try:
                plain = self._decoder.decompress(data, size)
            except (isal_zlib.error, zstd.ZstdError) as error:  # type: ignore[misc]  # its types take a class for a value
                raise self._broken(f"is damaged: its {self.compression} stream is broken ({error})") from error
            if plain:
                return plain
            if starved and not self._decoder.eof:
                self.unfinished = True
                return b""
        return b""

    def _next_member(self) -> None:
        """Begins the next gzip member or zstd frame, if there is one."""
        assert self._decoder is not None
        # Zeros after the end are padding from tapes and block devices; the gzip program accepts it too.
        self._pending = self._up_to_magic(self._decoder.unused_data.lstrip(b"\0"), padding=b"\0")
        self._decoder = self._new_decoder() if self._pending else None
        if self._pending and not _MAGIC[self.compression].match(self._pending):
            raise self._broken(f"is damaged: its {self.compression} stream is followed by other bytes")

    def _new_decoder(self) -> _Decoder | None:
        if self.compression == "gzip":
            return _GzipDecoder()
        return zstd.ZstdDecompressor() if self.compression == "zstd" else None

    def _broken(self, what: str) -> BrokenStream:
        return BrokenStream(what, f"test it with `{self.compression} -t`, then copy or export it again")

    def _input(self) -> bytes:
        data, self._pending = self._pending or self._from_source(self._input_size), b""
        return data

    def _up_to_magic(self, data: bytes, padding: bytes) -> bytes:
        while len(data) < _MAGIC_SIZE and (more := self._from_source(self._input_size)):
            data = (data + more).lstrip(padding)
        return data

    def _from_source(self, size: int) -> bytes:
        try:
            data = self._source.read(size)
        except OSError as error:
            raise cannot_read(error) from error
        self.compressed_position += len(data)
        return data


def cannot_read(error: Exception) -> StorageFailure:
    """The error for a failure of the operating system, or of whatever the source reads from."""
    return StorageFailure(
        f"the dump cannot be read: {error}",
        "check the path, its permissions, and the disk or connection behind it",
    )
