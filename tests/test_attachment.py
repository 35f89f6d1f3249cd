"""Attachments as a user has them: any stream in, a stream out that is proven."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, Written
from muniment.attachment import content_chunks
from muniment.document import MAX_ATTACHMENT_BYTES
from muniment.errors import ConcurrencyConflict, DamagedDatabase, DocumentNotFound, InvalidDocument, InvalidInput
from muniment.storage.postgres.store import PostgresStorage
from tests.storage.raw import number, raw

MIB = 1 << 20


def parts(database: DocumentDatabase) -> int:
    storage = database.storage
    if isinstance(storage, PostgresStorage):
        return int(storage._reader.rows("SELECT count(*) FROM {s}.part")[0][0])
    return number(database.path, "SELECT count(*) FROM part")


def test_what_is_told_of_an_attachment(database: DocumentDatabase) -> None:
    content = b"x" * (2 * MIB + 5)
    written = database.put_attachment("Photos/1", content, {"type": "image/png", "@id": "x", "n": 1.5})
    assert written == Written("Photos/1", 1, False)
    found = database.get_attachment("photos/1")
    assert found is not None
    assert (found.key, found.etag, found.size) == ("Photos/1", 1, len(content))
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.metadata == {"type": "image/png", "n": 1.5}
    assert found.metadata_json == b'{"type":"image/png","n":1.5}'
    assert found.read() == b"".join(found.chunks()) == content
    assert [len(chunk) for chunk in found.chunks()] == [MIB, MIB, 5]
    assert "_storage" not in repr(found)
    assert found == database.get_attachment("PHOTOS/1")
    assert database.get_attachment("photos/2") is None


@pytest.mark.parametrize(
    "content",
    [
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        io.BytesIO(b"abc"),
        [b"a", b"", b"bc"],
        iter([b"a", b"bc"]),
        (bytes([letter]) for letter in b"abc"),
        [bytearray(b"ab"), memoryview(b"c")],
    ],
    ids=lambda content: type(content).__name__,
)
def test_content_may_be_bytes_or_any_stream(database: DocumentDatabase, content: Any) -> None:
    database.put_attachment("a", content)
    assert database.get_attachment("a").read() == b"abc"  # type: ignore[union-attr]


def test_content_from_a_file(database: DocumentDatabase, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(bytes(range(256)) * 10_000)
    with (tmp_path / "photo").open("rb") as file:
        file.read(100)
        database.put_attachment("a", file)
    assert database.get_attachment("a").read() == (bytes(range(256)) * 10_000)[100:]  # type: ignore[union-attr]


class Unready:
    """A stream that has nothing for now, as a pipe that does not block."""

    def read(self, size: int) -> None:
        return None


@pytest.mark.parametrize(
    "content", [None, 5, "text", ["text"], [b"a", 5], io.StringIO("text"), io.StringIO(""), [None], Unready(), object()]
)
def test_content_that_is_not_bytes_is_refused(database: DocumentDatabase, content: Any) -> None:
    database.put_attachment("a", b"before")
    with pytest.raises(InvalidInput) as caught:
        database.put_attachment("a", content)
    assert caught.value.hint
    assert database.get_attachment("a").read() == b"before"  # type: ignore[union-attr]
    assert parts(database) == 1


def test_a_stream_that_fails_is_told_as_it_failed(database: DocumentDatabase) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * (10 * MIB)
        raise OSError("the cable was pulled")

    database.put_attachment("a", b"before")
    with pytest.raises(OSError, match="the cable was pulled"):
        database.put_attachment("a", failing())
    assert database.get_attachment("a").read() == b"before"  # type: ignore[union-attr]
    assert parts(database) == 1


@pytest.mark.parametrize("metadata", [b"[]", {"a": object()}, b'{"Raven-Entity-Name":"\\ud800"}'])
def test_bad_metadata_is_told_before_the_stream_is_read(database: DocumentDatabase, metadata: Any) -> None:
    stream = io.BytesIO(b"content")
    with pytest.raises(InvalidDocument):
        database.put_attachment("a", stream, metadata)
    assert stream.read() == b"content"
    assert parts(database) == 0


def test_etags_of_attachments(database: DocumentDatabase) -> None:
    first = database.put_attachment("a", b"1", etag=0).etag
    for stale in (0, first + 1):
        with pytest.raises(ConcurrencyConflict):
            database.put_attachment("a", b"lost", etag=stale)
        with pytest.raises(ConcurrencyConflict):
            database.delete_attachment("a", etag=first + 1)
    assert database.put_attachment("A", b"2", etag=first) == Written("a", first + 1, True)
    assert parts(database) <= 2  # what was refused left nothing
    assert database.delete_attachment("a", etag=first + 1)
    assert not database.delete_attachment("a")
    assert database.get_attachment("a") is None


def test_attachments_by_prefix(database: DocumentDatabase) -> None:
    database.put("photos/0", {})
    for key in ("Photos/2", "photos/1", "other"):
        database.put_attachment(key, key.encode())
    assert [found.key for found in database.attachments("PHOTOS")] == ["photos/1", "Photos/2"]
    assert [found.key for found in database.attachments()] == ["other", "photos/1", "Photos/2"]
    assert [found.read() for found in database.attachments(start=1, limit=1)] == [b"photos/1"]


def test_an_attachment_that_was_replaced_is_told(database: DocumentDatabase) -> None:
    database.put_attachment("a", b"before")
    found = database.get_attachment("a")
    assert found is not None
    database.put_attachment("a", b"after")
    with pytest.raises(DocumentNotFound, match="replaced or deleted meanwhile") as caught:
        found.read()
    assert caught.value.hint
    database.delete_attachment("a")
    with pytest.raises(DocumentNotFound):
        next(found.chunks())


def test_what_is_being_read_stays(database: DocumentDatabase) -> None:
    database.put_attachment("a", b"before" * MIB)
    found = database.get_attachment("a")
    assert found is not None
    chunks = found.chunks()
    read = next(chunks)
    database.put_attachment("a", b"after")
    database.delete_attachment("a")
    database.storage.purge()
    assert read + b"".join(chunks) == b"before" * MIB
    database.storage.purge()
    assert parts(database) == 0


def test_a_reader_who_gives_up_holds_nothing(database: DocumentDatabase) -> None:
    database.put_attachment("a", b"x" * (3 * MIB))
    chunks = database.get_attachment("a").chunks()  # type: ignore[union-attr]
    next(chunks)
    assert isinstance(chunks, Generator)
    chunks.close()
    database.delete_attachment("a")
    database.storage.purge()
    assert parts(database) == 0


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE part SET data = CAST('X' || substr(data, 2) AS BLOB)",
        "UPDATE part SET data = CAST(data || 'x' AS BLOB)",
        "DELETE FROM part WHERE part = (SELECT max(part) FROM part)",
    ],
)
def test_content_that_was_changed_on_the_disk_is_told(tmp_path: Path, edit: str) -> None:
    with DocumentDatabase(tmp_path) as database:
        database.put_attachment("a", b"x" * (2 * MIB))
    with raw(tmp_path) as connection:
        connection.execute(edit)
    with DocumentDatabase(tmp_path) as database:
        with pytest.raises(DamagedDatabase, match="'a' was changed") as caught:
            database.get_attachment("a").read()  # type: ignore[union-attr]
        assert caught.value.hint
        assert database.check() != []


def test_the_limit_of_an_attachment() -> None:
    """Two gibibytes, which is half of what its numbered parts have room for."""
    assert MAX_ATTACHMENT_BYTES == 2 * 1024 * MIB


def test_chunks_of_a_file_are_of_a_mebibyte() -> None:
    assert [len(chunk) for chunk in content_chunks(io.BytesIO(b"x" * (2 * MIB + 1)))] == [MIB, MIB, 1]
