"""Where a dump can come from, how it may be compressed, and that what it holds is streamed."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.errors import DamagedDump, MunimentError, NotFound, StorageFailure
from muniment.smuggler.reader import DumpAttachment, DumpDocument, open_dump
from tests.smuggler.dumps import (
    COMPRESSIONS,
    LEGACY,
    SMALL,
    TRICKY,
    Generated,
    Trickle,
    attachment,
    blake2b,
    docs,
    document,
    plain,
    read,
)


@pytest.mark.parametrize("block_size", [1, 7, 1 << 20])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("data", [SMALL, LEGACY], ids=["4", "3"])
def test_compression_is_found_by_content(tmp_path: Path, data: bytes, compression: str, block_size: int) -> None:
    path = tmp_path / "wrong.png"
    path.write_bytes(COMPRESSIONS[compression](data))
    with open_dump(path, block_size=block_size) as dump:
        assert dump.compression == compression
        assert dump.compressed_size == path.stat().st_size
        assert [plain(item) for item in dump] == read(data)[0]
        assert dump.position == len(data)
        assert dump.compressed_position == dump.compressed_size


@pytest.mark.parametrize("block_size", [1, 3, 1 << 20])
@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 5000])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_many_members_and_padding(compression: str, padding: bytes, block_size: int) -> None:
    compress = COMPRESSIONS[compression]
    pieces = [SMALL[:1], b"", SMALL[1:200], SMALL[200:]]
    data = b"".join(compress(piece) for piece in pieces) + padding
    assert read(data, block_size=block_size) == read(SMALL)


def test_zstd_with_skippable_frames() -> None:
    skippable = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"
    compress = COMPRESSIONS["zstd"]
    data = skippable + compress(SMALL[:50]) + skippable + compress(SMALL[50:]) + skippable
    assert read(data) == read(SMALL)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_stream_may_give_less_than_asked_and_stays_open(compression: str) -> None:
    stream = Trickle(COMPRESSIONS[compression](SMALL))
    with open_dump(stream) as dump:
        assert [plain(item) for item in dump] == read(SMALL)[0]
        assert dump.compressed_size is None
    assert not stream.closed


def test_a_dump_can_be_read_in_several_loops() -> None:
    with open_dump(io.BytesIO(docs(document("1"), document("2"), document("3")))) as dump:
        for item in dump:
            assert isinstance(item, DumpDocument)
            break
        assert [item.id for item in dump if isinstance(item, DumpDocument)] == ["2", "3"]


@pytest.mark.parametrize(
    ("name", "kind"), [("missing", NotFound), (".", StorageFailure), ("zero\0byte", StorageFailure)]
)
def test_a_path_that_can_not_be_opened(tmp_path: Path, name: str, kind: type[MunimentError]) -> None:
    with pytest.raises(kind) as caught:
        open_dump(tmp_path / name)
    assert caught.value.hint


def test_a_read_that_fails_half_way() -> None:
    with open_dump(Trickle(SMALL, fail_at=len(SMALL) - 9), block_size=64) as dump:
        with pytest.raises(StorageFailure, match="Input/output error") as caught:
            list(dump)
        assert caught.value.hint


@pytest.mark.parametrize("by_path", [True, False])
def test_a_closed_dump_does_not_look_like_one_at_its_end(tmp_path: Path, by_path: bool) -> None:
    data = docs(*(document(str(n)) for n in range(100)))
    path = tmp_path / "dump"
    path.write_bytes(data)
    with open_dump(path if by_path else io.BytesIO(data), block_size=64) as dump:
        next(iter(dump))
    with pytest.raises(ValueError, match="closed"):
        list(dump)


@pytest.mark.parametrize("wanted", [0, 1, 2, 99])
@pytest.mark.parametrize("block_size", [1, 10, 1 << 20])
def test_what_is_not_read_of_an_attachment_is_skipped(block_size: int, wanted: int) -> None:
    data = docs(attachment(TRICKY), document("1"), attachment(TRICKY), document("2"))
    seen = []
    with open_dump(io.BytesIO(data), block_size=block_size) as dump:
        for item in dump:
            if isinstance(item, DumpAttachment):
                content = b"".join(itertools.islice(item.chunks, wanted))
                assert TRICKY.startswith(content)
            elif isinstance(item, DumpDocument):
                seen.append(item.id)
    assert seen == ["1", "2"]


def test_the_chunks_of_an_attachment_can_not_be_read_too_late() -> None:
    with open_dump(io.BytesIO(docs(attachment(TRICKY), document()))) as dump:
        item = next(iter(dump))
        assert isinstance(item, DumpAttachment)
        assert len(list(dump)) == 1
        with pytest.raises(RuntimeError, match="before the next item"):
            list(item.chunks)


@pytest.mark.parametrize("read_it", [True, False])
def test_an_attachment_must_have_its_hash(read_it: bool) -> None:
    wrong = attachment(b"changed", hash=blake2b(b"as it was"))
    data = docs(document("a/1"), wrong, document("a/2"))
    with open_dump(io.BytesIO(data)) as dump, pytest.raises(DamagedDump, match=r"hash.*'a/1'"):
        assert [list(item.chunks) for item in dump if isinstance(item, DumpAttachment) and read_it]
    assert len(read(data, check_hashes=False)[0]) == 3


def test_a_hash_of_another_kind_is_not_compared() -> None:
    items, _ = read(docs(attachment(b"x", hash="q83vq83vq83vq83vq83vqw==")))
    assert items[0][0] == "q83vq83vq83vq83vq83vqw=="


def peak_memory(pieces: Iterator[bytes], *, read_chunks: bool = True) -> int:
    tracemalloc.start()
    try:
        with open_dump(Generated(pieces), block_size=1 << 16) as dump:
            for item in dump:
                for _ in item.chunks if isinstance(item, DumpAttachment) and read_chunks else ():
                    pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read_chunks", [True, False])
def test_memory_does_not_grow_with_an_attachment(read_chunks: bool) -> None:
    count, block = 512, bytes(1 << 16)
    digest = hashlib.blake2b(digest_size=32)
    for _ in range(count):
        digest.update(block)
    hash = base64.b64encode(digest.digest()).decode()
    header = attachment(b"", size=count * len(block), hash=hash)
    data = itertools.chain([b'{"Docs":[' + header], itertools.repeat(block, count), [b"]}"])
    assert peak_memory(data, read_chunks=read_chunks) < 2 << 20


def test_memory_does_not_grow_with_a_time_series() -> None:
    count, block = 512, bytes(1 << 16)
    header = b'{"TimeSeries":[{"@raven-data":{},"@raven-blob-size":%d}' % (count * len(block))
    assert peak_memory(itertools.chain([header], itertools.repeat(block, count), [b"]}"])) < 2 << 20


def test_memory_does_not_grow_with_the_number_of_documents() -> None:
    block = (document() + b",") * 1000
    data = itertools.chain([b'{"Docs":['], itertools.repeat(block, 40), [document() + b"]}"])
    assert peak_memory(data) < 1 << 20
