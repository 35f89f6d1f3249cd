"""Small dumps, made by hand, and what reading them gives."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import DamagedDump, MunimentError, UnknownFormat
from muniment.smuggler import read_ahead
from muniment.smuggler.reader import DumpAttachment, DumpItem, open_dump

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Bytes that would be taken for JSON by a reader that did not count them.
TRICKY = b'\xff\xd8,{"@metadata":{"@id":"fake"}},]}"\x00\\"' * 3

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}


def blake2b(content: bytes) -> str:
    return base64.b64encode(hashlib.blake2b(content, digest_size=32).digest()).decode()


def document(id: str = "a/1", rest: bytes = b'"Name":"x"') -> bytes:
    return b'{%s,"@metadata":{"@collection":"As","@id":%s}}' % (rest, json.dumps(id).encode())


def attachment(content: bytes, size: int | None = None, hash: str | None = None, tag: str | None = None) -> bytes:
    """The item and its raw bytes, as RavenDB 6.2 writes them."""
    digest = blake2b(content) if hash is None else hash
    header = {
        "@metadata": {"@export-type": "Attachment"},
        "Hash": digest,
        "Size": len(content) if size is None else size,
        "Tag": f"a/1|d|n|{digest}|image/png" if tag is None else tag,
    }
    return json.dumps(header, separators=(",", ":")).encode() + content


def time_series(content: bytes) -> bytes:
    return b'{"@raven-data":{"DocId":"a/1","Name":"Heart"},"@raven-blob-size":%d}' % len(content) + content


def source_of(dump: bytes, folder: Path) -> Path | io.BytesIO:
    """The dump as a stream, or as a file in this folder when it is to be read ahead."""
    if read_ahead.AHEAD_BYTES:
        return io.BytesIO(dump)
    path = folder / "dump"
    path.write_bytes(dump)
    return path


def docs(*items: bytes, more: bytes = b"") -> bytes:
    return b'{"BuildVersion":62028,"Docs":[%s]%s}' % (b",".join(items), more)


SMALL = docs(
    attachment(TRICKY),
    document("a/1", b'"Name":"M\xc3\xbcnster","Lines":[{"P":{"Q":1.10}},{"P":{}}]'),
    document("a/2"),
    more=b',"RevisionDocuments":[%s],"Identities":[{"Key":"a|","Value":"830"}],"TimeSeries":[%s,%s],"New":[]'
    % (document("a/1"), time_series(TRICKY), time_series(b"")),
)
LEGACY = b"""{
  "Indexes": [ {"name": "Raven/DocumentsByEntityName", "definition": {}} ],
  "Docs": [
    {
      "Name": "x",
      "@metadata": {
        "Raven-Entity-Name": "As",
        "@id": "a/1"
      }
    }
  ],
  "Attachments": [
    {"Data": "/9j/", "Metadata": {"Content-Type": "image/jpeg", "n": 1.10}, "Key": "pictures/1", "Etag": "01"},
    {"Data": "", "Metadata": {}, "Key": "empty"}
  ],
  "Transformers": [ {"name": "T"}, {"name": "U"} ],
  "Identities": [ {"Key": "orders/", "Value": 3} ]
}"""


def read(data: bytes, **options: Any) -> tuple[list[Any], Counter[str]]:
    """All items, with the content of an attachment where its chunks were; and the count of each section."""
    with open_dump(io.BytesIO(data), **options) as dump:
        return [plain(item) for item in dump], dump.sections


def plain(item: DumpItem) -> Any:
    if not isinstance(item, DumpAttachment):
        return item
    chunks = list(item.chunks)
    assert all(chunks)
    return item.hash, item.key, item.size, item.content_type, item.metadata, b"".join(chunks), item.position


def read_until_error(data: bytes, **options: Any) -> tuple[list[Any], MunimentError]:
    """The items that came before the error; anything but an error on purpose fails the test."""
    items: list[Any] = []
    with pytest.raises((DamagedDump, UnknownFormat)) as caught, open_dump(io.BytesIO(data), **options) as dump:
        items += (plain(item) for item in dump)
    assert caught.value.message
    assert caught.value.hint
    return items, caught.value


class Generated:
    """A stream that is made while it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        self._rest = self._rest or next(self._pieces, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Trickle(io.RawIOBase):
    """A stream that gives less than it is asked for and cannot seek, as a socket does."""

    def __init__(self, data: bytes, fail_at: int | None = None) -> None:
        self._data = data
        self._at = 0
        self._fail_at = fail_at

    def read(self, size: int = -1) -> bytes:
        if self._fail_at is not None and self._at >= self._fail_at:
            raise OSError(5, "Input/output error")
        piece = self._data[self._at : self._at + min(size, 3)]
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation
