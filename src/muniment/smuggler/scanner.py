"""A window on the bytes of a dump that moves over its JSON and the raw bytes between.

It also recognises a dump by its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from muniment import json_bytes
from muniment.errors import DamagedDump, UnknownFormat
from muniment.json_bytes import (
    CLOSE_ARRAY,
    CLOSE_OBJECT,
    COLON,
    COMMA,
    OPEN_ARRAY,
    OPEN_OBJECT,
    QUOTE,
    WHITESPACE,
    Malformed,
)
from muniment.smuggler.stream import BrokenStream, DumpStream

AT_END: Final = -1
_BOM: Final = b"\xef\xbb\xbf"
_HEAD: Final = 256
# Every section that some version of RavenDB writes, in lower case, since RavenDB ignores case too.
_SECTIONS: Final = frozenset(
    """
    buildversion databaserecord docs results revisiondocuments tombstones conflicts indexes identities subscriptions
    compareexchange cmpxchg compareexchangetombstones counters countergroups timeseries timeseriesdeletedranges
    replicationhubcertificates attachments transformers docsdeletions attachmentsdeletions
    """.split()
)
_begins = re.compile(rb'%s\{%s"(\w+)"%s:%s(?:(\d{1,18})%s[,}])?' % ((WHITESPACE,) * 5)).match


class Scanner:
    """Walks through a dump; holds one block of it in memory, or one item if that is larger.

    `buffer[offset]` is the next byte. At the beginning, the buffer holds at least 256 bytes or the whole dump, and a
    byte order mark has been skipped. `after` is the id of the last whole document; every error names it.
    """

    def __init__(self, stream: DumpStream, block_size: int, max_item: int) -> None:
        self.buffer = b""
        self.offset = 0
        self.after = ""
        self._start = 0  # the buffer's position in the dump
        self._stream = stream
        self._block_size = block_size
        self._max_item = max_item
        while len(self.buffer) < _HEAD and self._refill():
            pass
        if self.buffer.startswith(_BOM):
            self.offset = len(_BOM)

    @property
    def position(self) -> int:
        """The position of the next byte in the decompressed dump."""
        return self._start + self.offset

    def peek(self) -> int:
        """The next byte that is not white space, or `AT_END`; moves to it, not past it."""
        while True:
            if self.offset < len(self.buffer) and (byte := self.buffer[self.offset]) > 32:
                return byte
            self.offset = json_bytes.skip_space(self.buffer, self.offset)
            if self.offset < len(self.buffer):
                return self.buffer[self.offset]
            if not self._refill():
                return AT_END

    def items(self) -> Iterator[int]:
        """Walks over the array that comes next, giving the position of each item; the caller moves past the item."""
        self._expect(OPEN_ARRAY, "an array")
        if self.peek() == CLOSE_ARRAY:
            self.offset += 1
            return
        while True:
            self.peek()
            yield self._start + self.offset
            byte = self.peek()
            if byte not in (COMMA, CLOSE_ARRAY):
                raise self._unexpected("a comma or the end of the array")
            self.offset += 1
            if byte == CLOSE_ARRAY:
                return

    def members(self) -> Iterator[str]:
        """Walks over the object that comes next, which is not empty; the caller moves past the value of each member."""
        self._expect(OPEN_OBJECT, "an object")
        while True:
            yield self._member_name()
            if self.peek() == CLOSE_OBJECT:
                self.offset += 1
                return
            self._expect(COMMA, "a comma or the end of the object")

    def value(self) -> bytes:
        """Moves past the JSON value that comes next, and returns its bytes unchanged."""
        self.peek()
        while (value := self.value_here()) is None:
            pass
        return value

    def value_here(self) -> bytes | None:
        """Does what `value` does for one that begins at `offset`; None if not all of it is in the buffer.

        In that case more has been read: try again.
        """
        position = self.position
        try:
            value = self.unproved_here()
            if value is not None:
                json_bytes.check(value)
        except Malformed as error:
            raise self.damaged(f"holds an item that {error}", position) from error
        return value

    def unproved_here(self) -> bytes | None:
        """Does what `value_here` does, without checking that the value is JSON in UTF-8."""
        available = len(self.buffer) - self.offset
        end = json_bytes.value_end(self.buffer, self.offset) if available else -1
        if end >= 0:
            value = self.buffer[self.offset : end]
            self.move(end)
            return value
        if available > self._max_item:
            raise self._too_large()
        if not self._refill():
            raise self.cut_short()
        return None

    def move(self, end: int) -> None:
        """Moves past an item that ends at `end` in the buffer; raises `DamagedDump` if it is too large."""
        if end - self.offset > self._max_item:
            raise self._too_large()
        self.offset = end

    def raw(self, size: int) -> Iterator[bytes]:
        """Moves past `size` bytes that are not JSON, giving them in pieces of at most a block."""
        while size:
            if self.offset == len(self.buffer) and not self._refill():
                raise self.cut_short()
            piece = self.buffer[self.offset : self.offset + size]
            self.offset += len(piece)
            size -= len(piece)
            yield piece

    def finish(self) -> None:
        """Checks that nothing follows. The compressed stream may have no end, since the JSON object has one."""
        if self.peek() != AT_END:
            raise self.damaged("goes on after its end")

    def cut_short(self) -> DamagedDump:
        stream = self._stream
        place = f"at byte {stream.position:,}"
        if stream.unfinished:
            hint = f"test it with `{stream.compression} -t`, then copy or export it again"
            return self._error(f"is cut short: its {stream.compression} stream has no end, {place}", hint)
        return self._error(f"is cut short {place}", "copy or export it again")

    def damaged(self, what: str, position: int | None = None) -> DamagedDump:
        """The error to raise: what is wrong with "the dump", by default at the next byte."""
        at = self.position if position is None else position
        return self._error(f"{what}, at byte {at:,}", "copy or export it again")

    def _error(self, what: str, hint: str) -> DamagedDump:
        after = f", after document {self.after[:512]!r}" if self.after else ", before its first document"
        return DamagedDump(f"the dump {what}{after}", f"{hint}; everything before this place was read whole")

    def _too_large(self) -> DamagedDump:
        return self._error(
            f"has an item of more than {self._max_item:,} bytes, at byte {self.position:,}",
            "raise max_item if an item can be so large; otherwise the dump is damaged: copy or export it again",
        )

    def _member_name(self) -> str:
        if self.peek() != QUOTE:
            raise self._unexpected("the name of a section")
        position = self.position
        try:
            name = json_bytes.text(self.value())
        except Malformed as error:
            raise self.damaged(f"has a section whose name {error}", position) from error
        self._expect(COLON, "a colon")
        return name

    def _expect(self, byte: int, what: str) -> None:
        if self.peek() != byte:
            raise self._unexpected(what)
        self.offset += 1

    def _unexpected(self, wanted: str) -> DamagedDump:
        if self.peek() == AT_END:
            return self.cut_short()
        return self.damaged(f"has {self.buffer[self.offset : self.offset + 1]!r} where {wanted} was expected")

    def _refill(self) -> bool:
        """Reads more after the unused bytes in the buffer; false at the end of the dump.

        It doubles the buffer, so that a large item is scanned only a few times, whatever the size of a block.
        """
        rest = self.buffer[self.offset :]
        parts = [rest]
        wanted = max(self._block_size, min(len(rest), self._max_item))
        try:
            while wanted > 0 and (more := self._stream.read(wanted)):
                parts.append(more)
                wanted -= len(more)
        except BrokenStream as error:
            if len(parts) == 1:  # otherwise use the good bytes first; the next read fails again
                raise self._error(f"{error.what}, at byte {self._stream.position:,}", error.hint) from error
        self._start += self.offset
        self.buffer, self.offset = b"".join(parts), 0
        return len(parts) > 1


def build_version(head: bytes) -> int | None:
    """The RavenDB build at the beginning of a dump, None if there is none; raises `UnknownFormat` for no dump.

    A dump begins with an object whose first member is a known section. Later members may have any name.
    """
    begins = _begins(head)
    section = begins[1].decode().lower() if begins else ""
    if not begins or section not in _SECTIONS:
        raise _not_a_dump(head)
    return int(begins[2]) if begins[2] and section == "buildversion" else None


def is_dump(head: bytes) -> bool:
    """Whether this is the beginning of a dump."""
    begins = _begins(head)
    return begins is not None and begins[1].decode().lower() in _SECTIONS


def _not_a_dump(head: bytes) -> UnknownFormat:
    hint = "give a .ravendbdump or .ravendump file that is not encrypted; it may be compressed with gzip or zstd"
    if not head:
        return UnknownFormat("the dump is empty", hint)
    if head.startswith(b"PK"):
        snapshot = "if it is a snapshot backup, restore it with RavenDB and export the database from there"
        return UnknownFormat("this is a zip archive, not a dump", snapshot)
    return UnknownFormat(f"this is not a dump: it begins with {head[:16]!r}", hint)
