"""What is no dump, or not a whole one, ends in an error that says where, and in nothing else."""

from __future__ import annotations

import gc
import hashlib
import io
import itertools
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest

from muniment.errors import DamagedDump, UnknownFormat
from muniment.smuggler.reader import DumpDocument, open_dump
from tests.sampled import some
from tests.smuggler.dumps import (
    COMPRESSIONS,
    LEGACY,
    SMALL,
    Generated,
    attachment,
    docs,
    document,
    plain,
    read,
    read_until_error,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n", "not a dump"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"[]", "not a dump"),
        (b'[{"@metadata":{"@id":"a"}}]', "not a dump"),
        (b"{}", "not a dump"),
        (b'{"Name":"x","@metadata":{"@id":"a"}}', "not a dump"),
        (b"{\\rtf1", "not a dump"),
        (b'"Docs"', "not a dump"),
        (b"Docs", "not a dump"),
        (b"SQLite format 3\0" + bytes(100), "SQLite"),
        (hashlib.shake_128(b"encrypted").digest(4096), "not a dump"),
    ],
)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_no_dump(compression: str, data: bytes, message: str) -> None:
    with pytest.raises(UnknownFormat, match=message) as caught:
        open_dump(io.BytesIO(COMPRESSIONS[compression](data)))
    assert caught.value.hint


def test_a_file_that_is_no_dump_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"\x89PNG")
    with pytest.raises(UnknownFormat):
        open_dump(path)
    gc.collect()  # a file left open would be a ResourceWarning, which is an error here


def test_the_hint_for_a_snapshot() -> None:
    with pytest.raises(UnknownFormat) as caught:
        open_dump(io.BytesIO(b"PK\x03\x04"))
    assert "export" in caught.value.hint


GOOD = document("good/1")
TWO_METADATA = b'{"@metadata":{"@id":"a"},"@metadata":{"@id":"b"}}'
ESCAPED_METADATA = b'{"\\u0040metadata":{"@id":"a"},"n":1,"@metadata":{"@id":"b"}}'


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"1", "not an object"),
        (b'"@metadata"', "not an object"),
        (b"null", "not an object"),
        (b"[]", "not an object"),
        (b'{"a":1}', "no @metadata"),
        (b"{}", "no @metadata"),
        (b'{"a":{"@metadata":{"@id":"a"}}}', "no @metadata"),
        (TWO_METADATA, "more than one @metadata"),
        (ESCAPED_METADATA, "more than one @metadata"),
        (b'{"\\u0040metadata":null,"n":1,"@metadata":{"@id":"b"}}', "more than one @metadata"),
        (b'{"@metadata":7}', "@metadata that is not an object"),
        (b'{"a":1,"@metadata":null}', "@metadata that is not an object"),
        (b'{"a":1,"@metadata":{}}', "no @id"),
        (b'{"a":1,"@metadata":{"@id":""}}', "no @id"),
        (b'{"a":1,"@metadata":{"@id":5}}', "@id that is not a string"),
        (b'{"a":1,"@metadata":{"@id":null}}', "@id that is not a string"),
        (b'{"a":1,"@metadata":{"@id":"\\ud800"}}', "@id that is not a string"),
        (b'{"a":1,"@metadata":{"@id":"a","@export-type":1}}', "@export-type that is not a string"),
        (b'{"a":"\xff","@metadata":{"@id":"a"}}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80","@metadata":{"@id":"a"}}', "not UTF-8"),
        (b'{"a":1,"@metadata":{"@id":"\xff"}}', "not UTF-8"),
        (b'{"a":1,"@metadata":{"@id":"a","b":"\xc3"}}', "not UTF-8"),
        (b'{"\xff":1,"@metadata":{"@id":"a"}}', "not UTF-8"),
        (b'{"a":01,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":NaN,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":1.,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":"\n","@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":"\\x","@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":"\\ud800","b":"\\uZZZZ","@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":1,,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{ ,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":1 "@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":1,"@metadata":{"@id":"a"},}', "not valid JSON"),
        (b'{"a":1,"@metadata":{"@id":"a",}}', "not valid JSON"),
        (b'{\'a\':1,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":[1,2,"@metadata":{"@id":"a"}}', "not valid JSON"),
        (b'{"a":1]', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"tru", "not valid JSON"),
        (b"\xff\xd8", "not UTF-8"),
        (b'{"a":%s,"@metadata":{"@id":"a"}}' % (b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
        (b'{"a":1,"@metadata":{"@id":"a","b":%s}}' % (b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "nested too deeply"),
        (b"[" * 20_000, "nested too deeply"),
        (b'{"a":1,"@metadata":{"@id":"a","b":' + b"{" * 20_000, "nested too deeply"),
        (attachment(b"abc", size=2), "hash"),
        (attachment(b"abc", size=5), "hash"),
        (attachment(b"abc", size=10**18), "cut short"),
        (attachment(b"abc", size=2, hash="other"), "where a comma or the end of the array was expected"),
        (attachment(b"", size=-1), "Size"),
        (attachment(b"", size=10**30), "Size"),
        (attachment(b"").replace(b"Hash", b"Hush"), "Hash"),
        (attachment(b"").replace(b"Size", b"Bulk"), "Size"),
        (attachment(b"").replace(b'"Size":0', b'"Size":"x"'), "Size"),
        (attachment(b"").replace(b'"Size":0', b'"Size":0.5'), "Size"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("block_size", [5, 1 << 20])
def test_a_damaged_item(item: bytes, message: str, block_size: int) -> None:
    data = docs(GOOD, item, document("later"))
    items, error = read_until_error(data, block_size=block_size)
    assert isinstance(error, DamagedDump)
    assert message in error.message
    assert "after document 'good/1'" in error.message
    assert items[0].id == "good/1"
    assert DumpDocument not in map(type, items[1:])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (b'"Docs":{}', "an array was expected"),
        (b'"Docs":null', "an array was expected"),
        (b'"Docs":[%s' % GOOD, "a comma or the end of the array"),
        (b'"Docs":[%s,]' % GOOD, "not valid JSON"),
        (b'"Docs":[%s %s]' % (GOOD, GOOD), "a comma or the end of the array"),
        (b'"Docs":[%s}' % GOOD, "a comma or the end of the array"),
        (b'"Docs":[%s],' % GOOD, "the name of a section"),
        (b'"Docs":[%s],5:[]' % GOOD, "the name of a section"),
        (b'"Docs":[%s],"A"[]' % GOOD, "a colon"),
        (b'"Docs":[%s],"\\ud800":[]' % GOOD, "not a string of Unicode text"),
        (b'"Docs":[%s] "A":[]' % GOOD, "a comma or the end of the object"),
        (b'"Docs":[%s],"Future":[{"a":}]' % GOOD, "not valid JSON"),
        (b'"Docs":[%s],"Future":["\xff"]' % GOOD, "not UTF-8"),
        (b'"Docs":[%s],"Future":[nul]' % GOOD, "not valid JSON"),
        (b'"Docs":[%s],"Future":nul' % GOOD, "not valid JSON"),
        (b'"Docs":[%s],"Identities":[{"Key":"a/"}]' % GOOD, "Value"),
        (b'"Docs":[%s],"Identities":[{"Key":5,"Value":1}]' % GOOD, "Key"),
        (b'"Docs":[%s],"Identities":[{"Key":"a","Value":"x"}]' % GOOD, "Value"),
        (b'"Docs":[%s],"Identities":[{"Key":"a","Value":1.5}]' % GOOD, "Value"),
        (b'"Docs":[%s],"Identities":[{"Key":"a","Value":%d}]' % (GOOD, 10**30), "Value"),
        (b'"Docs":[%s],"Identities":[7]' % GOOD, "object"),
        (b'"Docs":[%s],"BuildVersion":"six"' % GOOD, "int"),
        (b'"Docs":[%s],"TimeSeries":[{"@raven-blob-size":-1}]' % GOOD, "raven-blob-size"),
        (b'"Docs":[%s],"TimeSeries":[{"@raven-blob-size":2}abc]' % GOOD, "a comma or the end of the array"),
        (b'"Docs":[%s],"TimeSeries":[{"@raven-blob-size":3}a]' % GOOD, "cut short"),
        (b'"Docs":[%s],"Attachments":[7]' % GOOD, "not an object"),
        (b'"Docs":[%s],"Attachments":[{"Data":""}]' % GOOD, "no Key"),
        (b'"Docs":[%s],"Attachments":[{"Key":"a"}]' % GOOD, "no Data"),
        (b'"Docs":[%s],"Attachments":[{"Key":"a","Data":null}]' % GOOD, "Data that is not a string"),
        (b'"Docs":[%s],"Attachments":[{"Key":"a","Data":"AA"}]' % GOOD, "not base64"),
        (b'"Docs":[%s],"Attachments":[{"Key":"a","Data":"AAAA*"}]' % GOOD, "not base64"),
        (b'"Docs":[%s],"Attachments":[{"Key":"a","Data":"\xc3\xa9"}]' % GOOD, "not base64"),
        (b'"Docs":[%s],"Attachments":[{"Key":"a","Data":"","Metadata":[]}]' % GOOD, "Metadata that is not"),
    ],
    ids=repr,
)
def test_a_damaged_section(sections: bytes, message: str) -> None:
    items, error = read_until_error(b"{" + sections + b"}")
    assert isinstance(error, DamagedDump)
    assert message in error.message
    assert [item.id for item in items if isinstance(item, DumpDocument)] == ["good/1"] * sections.count(GOOD, 0, 99)


def test_base64_with_escapes_is_read() -> None:
    items, _ = read(b'{"Attachments":[{"Data":"\\/9j\\/","Key":"\\u0061"}]}')
    assert items[0][:6] == (None, "a", 3, None, b"{}", b"\xff\xd8\xff")


def test_half_a_surrogate_pair_in_the_metadata_of_an_old_attachment() -> None:
    items, _ = read(b'{"Attachments":[{"Data":"","Key":"k","Metadata":{"a":"\\ud800","Content-Type":7}}]}')
    assert items[0][3:5] == (None, b'{"a":"\\ud800","Content-Type":7}')


@pytest.mark.parametrize("after", [b"x", b"{}", b"\0", b"]"])
def test_nothing_may_follow(after: bytes) -> None:
    _, error = read_until_error(SMALL + b" \n" + after)
    assert "goes on after its end" in error.message


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_nothing_else_may_follow_the_compression(compression: str) -> None:
    other = COMPRESSIONS["gzip" if compression == "zstd" else "zstd"](b" ")
    for after in (b"x", b"\0x", other):
        items, error = read_until_error(COMPRESSIONS[compression](SMALL) + after)
        assert items == read(SMALL)[0]
        assert "followed by other bytes" in error.message


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_damaged_member_is_not_passed_over(compression: str) -> None:
    """Where every read gives a member of its own, a decoder could begin anew behind the damaged one."""
    parts = [b'{"Docs":[' + document("1", b'"a":"%s"' % bytes(300).hex().encode()), b"," + document("2"), b"]}"]
    members = [COMPRESSIONS[compression](part) for part in parts]
    members[1] = members[1][:-2] + bytes([members[1][-2] ^ 1]) + members[1][-1:]
    with open_dump(Generated(iter(members))) as dump, pytest.raises(DamagedDump, match="stream is broken"):
        list(dump)


def test_an_error_says_where_it_is() -> None:
    data = docs(document("a/1"), document("a/2"), b'{"bad"}')
    _, error = read_until_error(data)
    assert f"at byte {data.index(b'bad') - 2}," in error.message
    assert error.message.endswith("after document 'a/2'")
    _, error = read_until_error(data[:60])
    assert "cut short at byte 60, before its first document" in error.message


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("block_size", [16, 1 << 20])
@pytest.mark.parametrize("whole", [SMALL, LEGACY], ids=["4", "3"])
def test_cut_short_at_every_byte(whole: bytes, block_size: int, compression: str) -> None:
    data = COMPRESSIONS[compression](whole)
    expected, _ = read(whole)
    complete = 0
    for length in range(len(data)):
        if compression != "none" and plain_bytes(compression, data[:length]).rstrip() == whole.rstrip():
            with open_dump(io.BytesIO(data[:length]), block_size=block_size) as dump:
                assert [plain(item) for item in dump] == expected
                assert dump.unfinished
            complete = len(expected)
            continue  # RavenDB leaves its own streams so: all that is missing is the end of the compression
        items, error = read_until_error(data[:length], block_size=block_size)
        assert isinstance(error, DamagedDump) or not items
        assert items == expected[: len(items)]
        complete = max(complete, len(items))
        if compression == "none" and len(items) > 3:
            assert "cut short" in error.message
            assert "after document 'a/" in error.message
    assert complete == len(expected)


def plain_bytes(compression: str, data: bytes) -> bytes:
    """As much as can be decompressed of data that is cut short."""
    decoder = zlib.decompressobj(31) if compression == "gzip" else zstd.ZstdDecompressor()
    return decoder.decompress(data)


def test_a_whole_stream_is_not_called_unfinished() -> None:
    for compression in COMPRESSIONS:
        with open_dump(io.BytesIO(COMPRESSIONS[compression](SMALL))) as dump:
            list(dump)
            assert not dump.unfinished


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_every_changed_byte_of_a_compressed_dump_is_noticed(compression: str) -> None:
    data = COMPRESSIONS[compression](SMALL)
    unchecked = {"gzip": range(3, 10), "zstd": range(0)}[compression]  # flags, time and system of gzip's header
    for at in range(len(data)):
        changed = bytes([*data[:at], data[at] ^ 0x55, *data[at + 1 :]])
        try:
            items, _ = read(changed, block_size=64)
        except (DamagedDump, UnknownFormat):
            continue
        assert at in unchecked
        assert items == read(SMALL)[0]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_bomb_is_refused(compression: str) -> None:
    data = COMPRESSIONS[compression](b'{"Docs":[' + b" " * (8 << 20) + b"]}")
    _, error = read_until_error(data, bomb_size=1 << 20, bomb_ratio=100, block_size=1 << 14)
    assert "100 times" in error.message
    assert "bomb_ratio" in error.hint
    assert read(data, bomb_size=1 << 20, bomb_ratio=100_000) == ([], {})
    assert read(data, bomb_size=9 << 20, bomb_ratio=100) == ([], {})
    assert read(data) == ([], {})


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_bomb_takes_no_memory(compression: str) -> None:
    bomb = io.BytesIO(COMPRESSIONS[compression](b'{"Docs":[' + attachment(bytes(64 << 20), hash="x")))
    tracemalloc.start()
    try:
        with (
            open_dump(bomb, bomb_size=32 << 20, bomb_ratio=500, block_size=1 << 16) as dump,
            pytest.raises(DamagedDump, match="500 times"),
        ):
            list(dump)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("block_size", [1, 100, 1 << 20])
def test_an_item_larger_than_the_limit(block_size: int) -> None:
    fits = document("fits", b'"a":"%s"' % (b"x" * 1000))
    data = docs(fits, document("large", b'"a":"%s"' % (b"x" * 1000)))
    items, error = read_until_error(data, block_size=block_size, max_item=len(fits))
    assert [item.id for item in items] == ["fits"]
    assert "has an item of more than" in error.message
    assert "max_item" in error.hint
    future = b',"Future":[{"a":"%s"}]' % (b"x" * len(fits))
    _, error = read_until_error(docs(fits, more=future), block_size=block_size, max_item=len(fits))
    assert "has an item of more than" in error.message


def test_a_string_without_an_end_is_not_read_for_ever() -> None:
    endless = itertools.chain([b'{"Docs":[{"a":"'], itertools.repeat(b"x" * (1 << 16)))
    with open_dump(Generated(endless), max_item=1 << 20) as dump, pytest.raises(DamagedDump, match="item of more than"):
        list(dump)


@some(1)
@pytest.mark.parametrize("block_size", [1 << 12, 1 << 20])
def test_a_document_of_64_mib(block_size: int) -> None:
    value = b'{"a":[%s]}' % b",".join([b'{"b":"%s\\""}' % (b"x" * 8000)] * (64 << 20 >> 13))
    rest = b'"v":' + value
    for item in (document("big", rest), b'{"@metadata":{"@id":"big"},%s}' % rest):
        items, _ = read(docs(item, document("next")), block_size=block_size)
        assert items[0].body == b"{%s}" % rest
        assert [item.id for item in items] == ["big", "next"]


def test_a_build_version_that_no_number_of_64_bits_is() -> None:
    _, error = read_until_error(b'{"Docs":[],"BuildVersion":%d}' % (1 << 63))
    assert "build version that is out of range, at byte 26" in error.message
    assert read(b'{"Docs":[],"BuildVersion":%d}' % ((1 << 63) - 1)) == ([], {})
