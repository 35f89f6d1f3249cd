"""Many documents cut out of a dump at once, and into columns, by C (`dumps.c`) where that was compiled.

It takes the documents of which an import wants to know nothing, if they are as RavenDB writes them, and no others:
those are read one by one. What it takes, it takes as `split`, `metadata` and `json_bytes` do.
"""

from __future__ import annotations

import ctypes
from array import array
from typing import Any, Final

from muniment import native
from muniment.errors import MunimentError
from muniment.revision import Packed
from muniment.smuggler.metadata import kept_metadata, template_of
from muniment.smuggler.scanner import Scanner
from muniment.storage.base import Documents

MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 8 << 20
LARGEST: Final = 1 << 20  # of a document that is taken
PAUSE: Final = 255  # documents that are read one by one after many, one after the other, that were not taken
_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64


class _Cut(ctypes.Structure):
    """`struct cut` of dumps.c."""

    _fields_ = tuple(
        (name, _POINTER)
        for name in ("positions", "id_offsets", "ids", "body_offsets", "bodies", "metadata", "times", "shapes")
    )


class Cutter:
    """Cuts up to so many documents at once. It has memory for them, which it uses again and again."""

    def __init__(self, rows: int, function: Any) -> None:
        rows = min(rows, MOST_ROWS)
        self._rows = rows
        self._function = function
        self._positions = array("q", bytes(8 * rows))
        self._id_offsets, self._body_offsets = (array("i", bytes(4 * (rows + 1))) for _ in range(2))
        self._metadata, self._times = (array("i", bytes(4 * 2 * rows)) for _ in range(2))
        self._shapes = bytearray(rows)
        self._ids = self._bodies = bytearray()
        self._after = _NUMBER()
        self._skipped = self._to_skip = 0

    @classmethod
    def of(cls, rows: int) -> Cutter | None:
        """One for up to so many, None where there is no C."""
        library = native.load()
        return cls(rows, library.cut) if library and rows else None

    def cut(self, scanner: Scanner) -> tuple[Documents, array[int], bytes] | None:
        """The documents that begin where the scanner is, their positions, and the last one's metadata in the dump.

        Moves past them. None if the next one is to be read by itself.
        """
        if self._skipped < self._to_skip:
            self._skipped += 1
            return None
        count = self._call(scanner)
        self._skipped, self._to_skip = 0, 0 if count else min(2 * self._to_skip + 1, PAUSE)
        if not count:
            return None
        try:
            documents = self._documents(scanner.buffer, count)
        except MunimentError:  # one has metadata that cannot be stored: Python finds out which
            return None
        scanner.offset = self._after.value
        return documents, self._positions[:count], self._raw(scanner.buffer, count - 1)

    def _call(self, scanner: Scanner) -> int:
        data, start = scanner.buffer, scanner.offset
        room = min(len(data) - start, MOST_BYTES + LARGEST)
        if len(self._bodies) < room:
            self._ids, self._bodies = bytearray(room), bytearray(room)
        cut = _Cut(
            *(self._positions.buffer_info()[0], self._id_offsets.buffer_info()[0], _address(self._ids)),
            *(self._body_offsets.buffer_info()[0], _address(self._bodies), self._metadata.buffer_info()[0]),
            *(self._times.buffer_info()[0], _address(self._shapes)),
        )
        origin = scanner.position - start
        count: int = self._function(
            data, len(data), start, self._rows, MOST_BYTES, origin, ctypes.byref(cut), ctypes.byref(self._after)
        )
        return count

    def _raw(self, data: bytes, row: int) -> bytes:
        return data[self._metadata[2 * row] : self._metadata[2 * row + 1]]

    def _documents(self, data: bytes, count: int) -> Documents:
        ids, bodies = self._id_offsets[: count + 1], self._body_offsets[: count + 1]
        metadata, collections = self._kept(data, count)
        return Documents(
            Packed(ids, bytes(memoryview(self._ids)[: ids[-1]])),
            Packed.of(None if name is None else name.encode() for name in collections),
            Packed.of(metadata),
            Packed(bodies, bytes(memoryview(self._bodies)[: bodies[-1]])),
        )

    def _kept(self, data: bytes, count: int) -> tuple[list[bytes], list[str | None]]:
        """The metadata to store and the collections that they name."""
        shapes = bytes(self._shapes[:count])
        templates = [template_of(self._raw(data, shapes.index(shape))) for shape in range(max(shapes) + 1)]
        if None in templates:
            kept = [kept_metadata(self._raw(data, row)) for row in range(count)]
            return [each.metadata for each in kept], [each.collection for each in kept]
        before, afters, names = zip(*filter(None, templates), strict=True)
        times = self._times[: 2 * count]
        metadata = [
            before[shape] if (after := afters[shape]) is None else before[shape] + data[start:end] + after
            for shape, start, end in zip(shapes, times[::2], times[1::2], strict=True)
        ]
        return metadata, [names[shape] for shape in shapes]


def _address(memory: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory))
