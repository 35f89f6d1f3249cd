"""What a dump holds comes out of it, item by item, as it stands there."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import msgspec
import pytest

from muniment.smuggler import split
from muniment.smuggler.reader import DumpAttachment, DumpDocument, DumpIdentity, DumpUnknown, open_dump
from tests.shared import shared
from tests.smuggler.dumps import LEGACY, SMALL, TRICKY, attachment, blake2b, docs, document, read


@pytest.fixture(scope="module")
def northwind() -> Path:
    return shared()


@pytest.mark.parametrize("block_size", [1 << 20, 1 << 12, 101])
def test_the_dump_of_a_real_server(northwind: Path, block_size: int) -> None:
    plain_bytes = gzip.decompress(northwind.read_bytes())
    hashes, named, ids = [], set(), []
    with open_dump(northwind, block_size=block_size) as dump:
        assert (dump.compression, dump.build_version) == ("gzip", 62028)
        for item in dump:
            if isinstance(item, DumpAttachment):
                content = b"".join(item.chunks)
                assert blake2b(content) == item.hash
                assert (len(content), item.content_type) == (item.size, "image/jpeg")
                hashes.append(item.hash)
            if isinstance(item, DumpDocument):
                whole = item.body[:-1] + b',"@metadata":' + item.metadata + b"}"
                assert plain_bytes.startswith(whole, item.position)
                parsed = json.loads(item.metadata)
                assert parsed["@id"] == item.id
                ids.append(item.id)
                named |= {one["Hash"] for one in parsed.get("@attachments", ())}
        assert dump.position == len(plain_bytes)
        assert dump.compressed_position == dump.compressed_size == northwind.stat().st_size
    assert dump.sections == {
        "DatabaseRecord": 1,
        "Docs": 1059,
        "Docs/Attachment": 17,
        "RevisionDocuments": 5475,
        "Indexes": 7,
        "CompareExchange": 77,
        "CounterGroups": 77,
        "TimeSeries": 864,
    }
    assert len(set(ids)) == 1059
    assert len(hashes) == 17
    assert set(hashes) == named


def test_every_kind_of_item() -> None:
    items, sections = read(SMALL)
    digest = blake2b(TRICKY)
    metadata = b'{"@collection":"As","@id":"a/%d"}'
    body = b'{"Name":"M\xc3\xbcnster","Lines":[{"P":{"Q":1.10}},{"P":{}}]}'
    first = SMALL.index(b"[") + 1
    assert items == [
        (digest, None, len(TRICKY), "image/png", None, TRICKY, first),
        DumpDocument("a/1", body, metadata % 1, SMALL.index(b'{"Name":"M')),
        DumpDocument("a/2", b'{"Name":"x"}', metadata % 2, SMALL.index(b'{"Name":"x"')),
        DumpUnknown("RevisionDocuments", 1, SMALL.index(b"RevisionDocuments") + 20),
        DumpIdentity("a|", 830),
        DumpUnknown("TimeSeries", 1, SMALL.index(b'{"@raven-data"')),
        DumpUnknown("TimeSeries", 2, SMALL.rindex(b'{"@raven-data"')),
    ]
    expected = {"Docs": 2, "Docs/Attachment": 1, "RevisionDocuments": 1, "Identities": 1, "TimeSeries": 2}
    assert sections == expected


def test_a_dump_of_ravendb_3() -> None:
    items, sections = read(LEGACY)
    metadata = b'{\n        "Raven-Entity-Name": "As",\n        "@id": "a/1"\n      }'
    at = [LEGACY.index(text) for text in (b'{"name": "R', b'{\n      "N', b'{"Data": "/', b'{"Data": ""')]
    transformers = [LEGACY.index(b'{"name": "T'), LEGACY.index(b'{"name": "U')]
    picture = b'{"Content-Type": "image/jpeg", "n": 1.10}'
    assert items == [
        DumpUnknown("Indexes", 1, at[0]),
        DumpDocument("a/1", b'{\n      "Name": "x"\n    }', metadata, at[1]),
        (None, "pictures/1", 3, "image/jpeg", picture, b"\xff\xd8\xff", at[2]),
        (None, "empty", 0, None, b"{}", b"", at[3]),
        DumpUnknown("Transformers", 1, transformers[0]),
        DumpUnknown("Transformers", 2, transformers[1]),
        DumpIdentity("orders/", 3),
    ]
    assert sections == {"Indexes": 1, "Docs": 1, "Attachments": 2, "Transformers": 2, "Identities": 1}


@pytest.mark.parametrize("block_size", [1, 2, 3, 1 << 20])
def test_sections_that_nobody_knows_are_named_and_counted(block_size: int) -> None:
    mentions = b'{"@metadata":{"@export-type":"Other"},"a":{"@export-type":"Attachment"},"Size":9}'
    future = b',"Future":[123456,"a,]",[{}],%s,%s,null],"Flag":true,"Set":{"a":[{}]},"Docs2":-1.5e9' % (
        attachment(TRICKY),
        mentions,
    )
    data = docs(document(), document("b"), more=future + b',"Future":[2]')
    items, sections = read(data, block_size=block_size)
    assert [(item.section, item.count) for item in items[2:]] == [
        *(("Future", count) for count in range(1, 7)),
        ("Flag", 1),
        ("Set", 1),
        ("Docs2", 1),
        ("Future", 7),
    ]
    assert sections == {"Docs": 2, "Future": 7, "Flag": 1, "Set": 1, "Docs2": 1}


def test_items_of_an_unknown_kind_among_documents_are_named_and_counted() -> None:
    odd = b'{"@metadata":{"@export-type":"Hologram"},"Size":5}'
    items, sections = read(docs(odd, document(), odd))
    assert [item for item in items if isinstance(item, DumpUnknown)] == [
        DumpUnknown("Docs/Hologram", 1, 30),
        DumpUnknown("Docs/Hologram", 2, len(docs(odd, document(), b"")) - 2),
    ]
    assert sections == {"Docs": 1, "Docs/Hologram": 2}


def test_attachments_of_revisions_are_skipped_and_counted() -> None:
    data = b'{"RevisionDocuments":[%s,%s]}' % (attachment(TRICKY), document())
    items, sections = read(data)
    assert [type(item) for item in items] == [DumpUnknown, DumpUnknown]
    assert sections == {"RevisionDocuments/Attachment": 1, "RevisionDocuments": 1}


@pytest.mark.parametrize("name", ["Docs", "docs", "Results", "D\\u006fcs"])
def test_names_of_sections(name: str) -> None:
    items, _ = read(b'{"Indexes":[],"%s":[%s]}' % (name.encode(), document()))
    assert [type(item) for item in items] == [DumpDocument]


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b'{"BuildVersion":40012,"Docs":[]}', 40012),
        (b'\xef\xbb\xbf \r\n\t{ "buildversion" : 7\n, "Docs" : [ ] } \n', 7),
        (b'{"BuildVersion":54 }', 54),
        (b'{"Docs":[]}', None),
        (b'{"Counters":3,"Docs":[]}', None),
    ],
)
def test_the_build_version_is_known_at_once(data: bytes, version: int | None) -> None:
    with open_dump(io.BytesIO(data), block_size=1) as dump:
        assert dump.build_version == version
        assert not [item for item in dump if not isinstance(item, DumpUnknown)]
        assert dump.build_version == version


def test_a_build_version_that_comes_later() -> None:
    with open_dump(io.BytesIO(b'{"Docs":[],"BuildVersion":62000}')) as dump:
        assert list(dump) == []
        assert dump.build_version == 62000


@pytest.mark.parametrize(
    ("tag", "content_type"),
    [
        ("a/1|d|n|HASH|image/png", "image/png"),
        ("a/1\x1ed\x1en\x1eHASH\x1etext/plain", "text/plain"),
        ("a/1|d|a|b.jpg|HASH|image/jpeg", "image/jpeg"),
        ("a/1|d|n|HASH|", None),
        ("", None),
        ("image/png", None),
    ],
)
def test_the_content_type_of_an_attachment(tag: str, content_type: str | None) -> None:
    items, _ = read(docs(attachment(b"x", tag=tag)))
    assert items[0][3] == content_type


IDS = b'"@metadata":{"@id":"a"}'
KEPT = [
    (b'{"a":1,%s}', b'{"a":1}'),
    (b'{%s,"a":1}', b'{"a":1}'),
    (b'{"a":1,%s,"b":2}', b'{"a":1,"b":2}'),
    (b"{%s}", b"{}"),
    (b'{ "a" : 1 ,\r\n\t%s\r\n}', b'{ "a" : 1 \r\n}'),
    (b'{ %s , "a" : 1 }', b'{ "a" : 1 }'),
    (b'{ "a" : 1 , %s , "b" : 2 }', b'{ "a" : 1  , "b" : 2 }'),
    (b"{ %s }", b"{ }"),
    (b'{"n":[1.10,-0.0,1e400,1E+2,%d],%%s}' % 10**40, b'{"n":[1.10,-0.0,1e400,1E+2,%d]}' % 10**40),
    (b'{"big":%s,%%s}' % (b"7" * 5000), b'{"big":%s}' % (b"7" * 5000)),
    (b'{"b":1,"a":2,"b":3,%s}', b'{"b":1,"a":2,"b":3}'),
    (b'{"\\u0061\\/\\n":"\\u00e9\\"\\\\",%s}', b'{"\\u0061\\/\\n":"\\u00e9\\"\\\\"}'),
    ('{"é":"😀\u2028\x7f",%s}'.encode(), '{"é":"😀\u2028\x7f"}'.encode()),
    (b'{"half":"\\ud800",%s}', b'{"half":"\\ud800"}'),
    (b'{"\\udc00":"\\ud83d\\ude00",%s,"not":"\\\\ud800"}', b'{"\\udc00":"\\ud83d\\ude00","not":"\\\\ud800"}'),
    (b'{"a":{"@metadata":{"@id":"no"}},%s}', b'{"a":{"@metadata":{"@id":"no"}}}'),
    (b'{%s,"a":{"@metadata":{"@id":"no"}}}', b'{"a":{"@metadata":{"@id":"no"}}}'),
    (b'{"a":"}},{\\",\\"@metadata\\":{",%s}', b'{"a":"}},{\\",\\"@metadata\\":{"}'),
    (b'{"x\\"@metadata":{"@id":"no"},%s}', b'{"x\\"@metadata":{"@id":"no"}}'),
    (b'{%s,"x\\"@metadata":{"@id":"no"}}', b'{"x\\"@metadata":{"@id":"no"}}'),
    (b'{%s,"x,\\"@metadata":{"@id":"no"}}', b'{"x,\\"@metadata":{"@id":"no"}}'),
    (b'{"a":"@metadata","@METADATA":1,%s}', b'{"a":"@metadata","@METADATA":1}'),
    (b'{"a":[[],[{}],{"b":[]}],%s}', b'{"a":[[],[{}],{"b":[]}]}'),
    (b'{"":null,"t":true,"f":false,%s}', b'{"":null,"t":true,"f":false}'),
    (b'{"deep":%s,%%s}' % (b"[" * 500 + b"]" * 500), b'{"deep":%s}' % (b"[" * 500 + b"]" * 500)),
]
METADATA = [
    b'"@metadata":{"@id":"a"}',
    b'"@metadata" \t:\r\n{ "@id" : "a" }',
    b'"\\u0040metadata":{"@id":"a"}',
    b'"@metadata":{"n":{"o":{}},"@id":"a"}',
    b'"@metadata":{"@id":"a","n":{"o":[{}]}}',
    b'"@metadata":{"@id":"a","s":"}}"}',
    b'"@metadata":{"@id":"no","half":"\\ud800","\\u0040id":"\\u0061"}',
    b'"@metadata":{"@id":"a","@flags":"\xc3\xa9"}',
]


@pytest.mark.parametrize("block_size", [1, 1 << 20])
@pytest.mark.parametrize("member", METADATA)
@pytest.mark.parametrize(("around", "body"), KEPT)
def test_only_the_metadata_is_cut_out(around: bytes, body: bytes, member: bytes, block_size: int) -> None:
    value = member[member.index(b"{") :]
    items, _ = read(docs(around % member, document("z")), block_size=block_size)
    assert items[0] == DumpDocument("a", body, value, 30)
    assert items[1].id == "z"


@pytest.mark.parametrize("item", [document(), document().replace(b",", b",\r\n  ").replace(b"}}", b"\n  }\n}")])
def test_what_ravendb_writes_is_found_without_scanning(item: bytes) -> None:
    """Not needed for the result, but for the speed."""
    found = split.search(b"[" + item + b"," + document("b"), 1)
    assert found is not None
    assert found == msgspec.structs.replace(split.split(item), end=len(item) + 1)


def test_the_order_of_items_is_that_of_the_dump() -> None:
    one, two = attachment(b"one"), attachment(b"two")
    items, _ = read(docs(document("1"), one, document("2"), two, one, document("3"), attachment(b"")))
    order = [item.id if isinstance(item, DumpDocument) else item[5] for item in items]
    assert order == ["1", b"one", "2", b"two", b"one", "3", b""]
