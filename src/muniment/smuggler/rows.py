"""Documents in NDJSON and Parquet, converted to a dump for the import.

The input is either what our own exports write (`@metadata` in each line; the columns of a backup), or objects with the
members `id`, `document`, and perhaps `collection` and `metadata`, or plain objects, for which the caller names the
member that is the id, and the collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from muniment.backup.parquet import PARQUET, rows_of
from muniment.document import ENTITY_NAME, check_body, check_id, decode, encode, to_microseconds
from muniment.errors import InvalidDocument, InvalidInput, UnknownFormat
from muniment.revision import DOCUMENT, Revision
from muniment.smuggler.dump_document import dump_document
from muniment.smuggler.scanner import is_dump
from muniment.smuggler.split import cut_out
from muniment.smuggler.stream import BrokenStream, DumpStream

LINES: Final = (".ndjson", ".jsonl")
_COMPRESSED: Final = (".gz", ".zst")
BLOCK_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 80 << 20


@dataclass(frozen=True, slots=True)
class Plain:
    """What plain objects do not say themselves: which member is the id, and the collection."""

    id_field: str | None = None
    collection: str | None = None

    def __bool__(self) -> bool:
        return self.id_field is not None or self.collection is not None


def dump_of(source: str | Path | BinaryIO, plain: Plain) -> Iterator[bytes] | None:
    """This file or stream of NDJSON or Parquet as a dump, piece by piece; None for anything else.

    A stream is taken for NDJSON if `plain` is given. Raises `UnknownFormat`, with the command that converts it, for CSV
    and for JSON arrays; and while it is read, `InvalidDocument` for a row that is not a document.
    """
    if not isinstance(source, str | Path):
        return _dump(_lines(source, "the stream"), plain) if plain else None
    path = Path(source)
    with suppress(OSError, ValueError):  # opening it will report what is wrong
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(len(PARQUET))
        if head == PARQUET:
            return _dump(((f"row {n}", row) for n, row in enumerate(rows_of(path), 1)), plain)
        return _of_text(path, plain)
    return None


def _of_text(path: Path, plain: Plain) -> Iterator[bytes] | None:
    with path.open("rb") as file:
        stream = _stream(file)
        try:
            head = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
        except BrokenStream:
            return None
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSED]
    suffix = suffixes[-1] if suffixes else ""
    if head.startswith(b"["):
        raise UnknownFormat(f"{path} is a JSON array", f"convert it to lines: jq -c '.[]' {path} > {path.stem}.ndjson")
    if suffix in (".csv", ".tsv"):
        command = f"duckdb -c \"COPY (FROM '{path}') TO '{path.stem}.ndjson' (FORMAT json)\""
        raise UnknownFormat(f"{path} is CSV", f"convert it to lines, and name the id with --id-field: {command}")
    if is_dump(head) or not (suffix in LINES or (plain and head.startswith(b"{"))):
        return None
    return _dump(_lines_in(path), plain)


def _lines_in(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        yield from _lines(file, str(path))


def _stream(file: BinaryIO) -> DumpStream:
    return DumpStream(file, block_size=BLOCK_BYTES, bomb_size=1 << 30, bomb_ratio=1000)


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[str, Any]]:
    """Each non-empty line, after its name such as `line 7`."""
    stream, rest, number = _stream(file), b"", 0
    while True:
        try:
            block = stream.read(BLOCK_BYTES)
        except BrokenStream as error:
            raise InvalidInput(f"{name} {error.what}, after line {number:,}", error.hint) from error
        *lines, rest = (rest + block).split(b"\n") if block else (rest, b"")
        for line in lines:
            number += 1
            if line.strip():
                yield f"line {number:,}", line.removeprefix(b"\xef\xbb\xbf").strip()
        if len(rest) > MAX_LINE_BYTES:
            raise InvalidDocument(f"line {number + 1:,} of {name} has more than {MAX_LINE_BYTES:,} bytes", "shorten it")
        if not block:
            if stream.unfinished:
                raise InvalidInput(f"{name} is cut short after line {number:,}", "copy or export it again")
            return


def _dump(rows: Iterable[tuple[str, Any]], plain: Plain) -> Iterator[bytes]:
    yield b'{"Docs":['
    comma = b""
    for place, row in rows:
        try:
            document = _document(row, plain)
        except InvalidInput as error:
            error.message = f"{place}: {error.message}"
            raise
        if document is not None:
            yield comma + document
            comma = b","
    yield b"]}"


def _document(row: bytes | dict[str, Any], plain: Plain) -> bytes | None:
    """A line or row as a document of a dump; None for a deletion."""
    members = decode(row) if isinstance(row, bytes) else row
    if not isinstance(members, dict):
        raise InvalidDocument("this is JSON, but not an object", "write one object per line")
    if isinstance(row, bytes) and isinstance(own := members.get("@metadata"), dict) and "@id" in own and not plain:
        return row
    if not plain and "id" in members and "document" in members:
        return _apart(members)
    if plain.id_field is None:
        raise InvalidInput(
            "the document has no id",
            "name the member that holds it with --id-field, and the collection with --collection",
        )
    id = members.get(plain.id_field)
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise InvalidDocument(
            f"its member {plain.id_field!r} is {id!r}, which cannot be an id", "name another with --id-field"
        )
    body = row if isinstance(row, bytes) else encode(row)
    return _joined(str(id), plain.collection, None, None, cut_out(body)[0])


def _apart(members: dict[str, Any]) -> bytes | None:
    document, metadata = members["document"], members.get("metadata")
    if document is None:
        return None
    body = document.encode() if isinstance(document, str) else encode(document)
    told = metadata.encode() if isinstance(metadata, str) else None if metadata is None else encode(metadata)
    return _joined(members["id"], members.get("collection"), members.get("modified"), told, body)


def _joined(id: Any, collection: Any, modified: Any, metadata: bytes | None, body: bytes) -> bytes:
    check_id(id)
    check_body(body, f"document {id!r}")
    told = {} if metadata is None else decode(metadata)
    if not isinstance(told, dict):
        raise InvalidDocument(f"the metadata of {id!r} is not an object", "write a JSON object")
    if collection and not any(name.lower() == ENTITY_NAME.lower() for name in told):
        metadata = encode({ENTITY_NAME: str(collection), **told})
    time = to_microseconds(modified) if isinstance(modified, datetime) else 0
    revision = Revision(0, DOCUMENT, id, None, time, metadata or b"{}", body, len(body))
    written = dump_document(revision, [])
    return written if time else _without_time(written, metadata or b"{}")


def _without_time(document: bytes, metadata: bytes) -> bytes:
    """The document without a last-modified time, so that it gets that of its import instead of 1970."""
    if b"Last-Modified" in metadata:
        return document
    head, _, tail = document.rpartition(b',"@last-modified":')
    return head + tail[tail.index(b"}") :]
