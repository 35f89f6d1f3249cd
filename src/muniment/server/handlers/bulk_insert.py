"""RavenDB 3's bulk insert: segments, each with its length, a number of documents and these, in BSON or JSON."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from muniment import json_bytes
from muniment.command import Put, write_of
from muniment.document import decode, fold, metadata_bytes
from muniment.errors import InvalidDocument, MunimentError
from muniment.raven3 import bson
from muniment.raven3.messages import Accepted, SingleToken
from muniment.raven3.queries import BulkInserted
from muniment.server.handlers.dumps import incoming
from muniment.server.inserting import MOST, Window, batches, changing, insert
from muniment.server.packed import Unpacker
from muniment.server.request import Request
from muniment.server.wire import CutShort, Refused, Response, empty_response, json_response
from muniment.storage.base import Write

HEARTBEAT: Final = fold("Raven/BulkImport/Heartbeat")  # what a client sends so that its connection is not closed
_METADATA: Final = "@metadata"
_NUMBER: Final = struct.Struct("<i")
_HINT: Final = "send segments as RavenDB 3's clients do (docs/http-api.md)"


async def store(request: Request) -> Response:
    """Store documents as they come in, each segment in a transaction; those before one that is refused stay."""
    asked = request.asked(BulkInserted)
    if asked.no_op:
        return empty_response(200)
    if asked.op.lower() == "generate-single-use-auth-token":
        return await token(request)
    form = _FORMATS.get(asked.format.lower())
    if form is None or asked.compression.lower() not in ("gzip", "none"):
        raise Refused(501, f"no {asked.format} with {asked.compression} is read", "send bson or json, gzip or none")
    expected = None if asked.overwrite or asked.check_for_updates or asked.skip_unchanged else 0
    wanted = _segments(_Stream(incoming(request)), form, expected, packed=asked.compression.lower() == "gzip")
    if asked.skip_unchanged:
        wanted = changing(request.tenant, wanted)
    operation = await insert(request, wanted)
    return json_response(Accepted(operation.id), 202)


async def token(request: Request) -> Response:
    """A token that opens this database once more, for whoever cannot send his key with what he is going to send."""
    text = request.server.callers.once(request.caller, request.name)
    return json_response(SingleToken(text), headers=[("cache-control", "no-store")])


class _Stream:
    """Bytes that come in pieces, read by their number."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = b""

    def ended(self) -> bool:
        """Whether there are no more."""
        while not self._buffer and (piece := next(self._pieces, None)) is not None:
            self._buffer = piece
        return not self._buffer

    def take(self, count: int) -> bytes:
        """So many bytes; raises `CutShort` where there are fewer."""
        return b"".join(self.pieces(count))

    def pieces(self, count: int) -> Iterator[bytes]:
        """The same as they come."""
        while count:
            if self.ended():
                raise CutShort(f"{count:,} bytes are missing at the end of a segment", "send the others again")
            piece, self._buffer = self._buffer[:count], self._buffer[count:]
            count -= len(piece)
            yield piece

    def number(self) -> int:
        """The number that comes next, which is not below zero."""
        number: int = _NUMBER.unpack(self.take(_NUMBER.size))[0]
        if number < 0:
            raise InvalidDocument(f"a segment has {number:,} where a length has to be", _HINT)
        return number

    def rest(self) -> Iterator[bytes]:
        """All that there is."""
        while not self.ended():
            piece, self._buffer = self._buffer, b""
            yield piece


def _segments(stream: _Stream, form: _Form, expected: int | None, *, packed: bool) -> Iterator[list[Write]]:
    number = 0
    while not stream.ended():
        segment = stream.pieces(stream.number())
        content = _Stream(_unpacked(segment) if packed else segment)
        count = content.number()
        found = (_write(number + at, item, expected) for at, item in enumerate(form(content, count)))
        last = list[Write]()
        for batch in batches(each for each in found if fold(each.id) != HEARTBEAT):
            if last:
                yield last
            last = batch
        number += count
        if any(chain(content.rest(), segment)):
            raise InvalidDocument(f"a segment of {count:,} documents has more in it", _HINT)
        if last:  # only now is it certain that the segment is whole
            yield last


def _unpacked(segment: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = Unpacker()
    for piece in segment:
        yield from unpacker.pieces(piece)
    yield from unpacker.rest()


def _of_bson(content: _Stream, count: int) -> Iterator[list[bson.Member]]:
    for _ in range(count):
        size = content.number()
        if size > MOST:
            raise Refused(413, f"a document has more than {MOST:,} bytes", "store smaller documents")
        yield bson.members(_NUMBER.pack(size) + content.take(max(size - _NUMBER.size, 0)))


def _of_json(content: _Stream, count: int) -> Iterator[list[bson.Member]]:
    window = Window(content.rest(), "a document")
    for _ in range(count):
        item = window.object()
        try:
            json_bytes.check(item)
            found = [bson.Member(each.name, item[each.value : each.end]) for each in json_bytes.members(item)]
        except json_bytes.Malformed as error:
            raise InvalidDocument(f"it {error}", _HINT) from error
        yield found


_Form = Callable[[_Stream, int], Iterator[list[bson.Member]]]
_FORMATS: Final[dict[str, _Form]] = {"bson": _of_bson, "json": _of_json}


def _write(number: int, members: list[bson.Member], expected: int | None) -> Write:
    given = dict(members)
    metadata = given.get(_METADATA, b"null")
    try:
        said = decode(metadata)
        id = said.get("@id") if isinstance(said, dict) else None
        if not isinstance(id, str) or not id:
            raise InvalidDocument("there is no @id in its @metadata", "name each document")
        body = bson.json_of([each for each in members if each.name != _METADATA])
        return write_of(Put(id, body, metadata_bytes(metadata), expected))
    except MunimentError as error:
        error.message = f"document {number}: {error.message}"
        raise
