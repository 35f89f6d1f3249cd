"""Documents that C cuts out of a dump are those that Python reads, whatever is in it and wherever a block ends."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.errors import MunimentError
from muniment.smuggler.cut import PAUSE, Cutter
from muniment.smuggler.read_ahead import kept
from muniment.smuggler.reader import DumpDocument, DumpFault, DumpItem, ReadyDocuments, open_dump
from tests.sampled import count
from tests.smuggler.dumps import attachment, blake2b, docs, document, plain
from tests.storage.awkward import BODIES, IDS

pytestmark = pytest.mark.skipif(Cutter.of(1) is None, reason="there is no C")

TIME = '"@last-modified":"2018-07-27T12:11:53.0145929Z"'
ORDERS = [
    b'{"Company":"companies/%d","Lines":[{"P":1.10,"Q":[]},{}],"N":null,"@metadata":{"@collection":"Orders",'
    b'"@change-vector":"A:%d","@id":"orders/%d","@last-modified":"2018-07-27T12:11:53.01459%02dZ"}}' % (n, n, n, n)
    for n in range(40)
]
MIXED = docs(
    *ORDERS[:10],
    document("Raven/Hilo/a"),
    *(document(f"b/{n}", '"ü":"東"'.encode()) for n in range(3)),
    attachment(b"x" * 100),
    b'{"a":1,"@metadata":{"@id":"c","@attachments":[{"Name":"n","Hash":"%s"}]}}' % blake2b(b"x" * 100).encode(),
    *(b'{"a":1,"@metadata":{"@id":"d/%d","Raven-Replication-Conflict":true}}' % n for n in range(3)),
    *(
        b'{"x":1, "@metadata" : {"@collection":"%s", "@id": "e/%d"} }' % (b"Es" * (n % 2) or b"@empty", n)
        for n in range(9)
    ),
    b'{"@metadata":{"@id":"f"}}',
    *(b'{"a":1,"@metadata":{"@id":"g/%d","n":{"@id":"%d","@last-modified":"x"}}}' % (n, n) for n in range(5)),
    *ORDERS[10:],
)


def told(item: DumpItem) -> Iterator[Any]:
    """What is stored of documents, and all that there is to see of anything else."""
    if isinstance(item, ReadyDocuments):
        for write, position in zip(item.documents.writes(), item.positions, strict=True):
            yield write.id, write.body, write.metadata, write.collection, position
        last = item.last
        assert (last.id, last.body, last.position) == (write.id, write.body, position)
        assert kept(last) == (write.metadata, write.collection)
    elif isinstance(item, DumpDocument):
        try:
            yield (item.id, item.body, *kept(item), item.position)
        except MunimentError as error:
            yield error.message
    elif isinstance(item, DumpFault):
        yield item.error.message, item.position
    else:
        yield plain(item)


def read(dump: bytes, columns: int, **options: Any) -> tuple[list[Any], int]:
    """All that is read, with the error that ends it; and how many documents came in columns."""
    found: list[Any] = []
    cut = 0
    try:
        with open_dump(io.BytesIO(dump), columns=columns, pass_faults=True, **options) as opened:
            for item in opened:
                found += told(item)
                cut += len(item.positions) if isinstance(item, ReadyDocuments) else 0
            found.append(opened.sections)
    except MunimentError as error:
        found.append((error.message, error.hint))
    return found, cut


def test_what_an_import_looks_at_is_read_one_by_one() -> None:
    with open_dump(io.BytesIO(MIXED), columns=100) as dump:
        alone = [item.id for item in dump if isinstance(item, DumpDocument)]
    # After one that was not cut the next is not tried, and so on.
    assert alone == ["Raven/Hilo/a", "b/0", "c", "d/0", "d/1", "d/2", "e/0", "f", "g/0"]


@pytest.mark.parametrize("size", [*range(1, 40), *range(40, len(MIXED), count(97, whole=1))])
def test_wherever_a_block_ends(size: int) -> None:
    assert read(MIXED, 7, block_size=size)[0] == read(MIXED, 0)[0]


def test_as_many_as_were_asked_for_come_at_once() -> None:
    dump = docs(*ORDERS)
    for most in (1, 7, 100):
        with open_dump(io.BytesIO(dump), columns=most) as opened:
            sizes = [len(item.positions) for item in opened if isinstance(item, ReadyDocuments)]
        assert (max(sizes), sum(sizes)) == (min(most, 40), 40)


def test_many_that_cannot_be_cut_are_not_tried_each() -> None:
    """Each attempt takes time, which would be lost for a whole dump in another form."""
    dump = docs(*(document(f"Raven/{n}") for n in range(5 * PAUSE)), *ORDERS)
    found, cut = read(dump, 100)
    assert found == read(dump, 0)[0]
    assert cut <= 40


@pytest.mark.parametrize("body", BODIES)
def test_awkward_bodies(body: str) -> None:
    text = BODIES[body].rstrip(b" \t\r\n")
    comma = b"," if text != b"{}" else b'"a":1,'
    dump = docs(*(text[:-1] + comma + b'"@metadata":{"@id":"a/%d"}}' % n for n in range(3)))
    expected, _ = read(dump, 0)
    found, cut = read(dump, 10)
    assert found == expected
    assert cut == 3 or body in ("deep", "long", "escapes", "lone surrogates")


def test_awkward_ids() -> None:
    dump = docs(*(b'{"a":1,"@metadata":{"@id":%s}}' % json.dumps(id, ensure_ascii=False).encode() for id in IDS))
    found, cut = read(dump, 1000)
    assert found == read(dump, 0)[0]
    assert cut > len(IDS) // 2


spaces = st.sampled_from(["", "", "", " ", "\n  ", "\t"])
strings = st.text(max_size=6) | st.sampled_from(["@id", "@metadata", "\x7f", "\\", '"', "@last-modified"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    [
        *("@id", "@collection", "@last-modified", "@change-vector", "Raven-Entity-Name", "@expires", "x", "@flags"),
        *("@ID", "@Last-Modified", "Last-Modified", "Raven-Last-Modified", "@Collection", "Raven-Expiration-Date"),
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A document that may be like RavenDB's, and may be almost one."""
    ascii, comma, colon = draw(st.booleans()), draw(spaces), draw(spaces)

    def written(value: object) -> str:
        return json.dumps(value, ensure_ascii=ascii, separators=(f"{comma},{comma}", f"{colon}:{draw(spaces)}"))

    body = written(draw(st.dictionaries(strings, values, max_size=3)))
    metadata = draw(st.lists(st.tuples(names, strings | values), max_size=4))
    members = [
        f'"@id":{written(draw(strings))}',
        *(f"{written(name)}:{colon}{written(value)}" for name, value in metadata),
    ]
    inner = f"{comma},".join(draw(st.permutations(members)))
    before = f"{comma},{colon}" if body != "{}" else ""
    text = f'{body[:-1]}{before}"@metadata"{comma}:{colon}{{{inner}{colon}}}{comma}}}'
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Some documents, one byte of which may be another, or gone, or one more."""
    dump = docs(*draw(st.lists(documents() | st.sampled_from(ORDERS), min_size=1, max_size=5)))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(dump) - 1))
        by = draw(
            st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"]", b",", b":", b" ", b"0", b"e", b"-", b".", b"u"])
            | st.binary(max_size=2)
        )
        dump = dump[:place] + by + dump[place + draw(st.integers(0, 2)) :]
    return dump


@given(damaged(), st.integers(1, 300))
@example(docs(b'{"a":1,"@metadata":{"@Last-Modified":"x","@last-modified":"y","@id":"a"}}'), 1)
@example(docs(b'{"a":1,"@metadata":{"@ID":"x","@id":"a","Last-Modified":"x","@last-modified":"y"}}'), 1)
@example(docs(b'{"a":01,"@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"a":1.,"@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"a":-,"@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"a":"\xed\xa0\x80","@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"a":"\xf4\x90\x80\x80","@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"a":"\\u12g4","@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"a":"\\ud800","@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"@metadata":1,"a":1,"@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"\\u0040metadata":1,"@metadata":{"@id":"a"}}'), 1)
@example(docs(b'{"a":1,"@metadata":{"@id":"a","@id":"b"}}'), 1)
@example(
    docs(
        b'{"a":1,"@metadata":{"@last-modified":  "1","@id":"a"}}',
        b'{"a":1,"@metadata":{"@last-modified":  "2","@id":"a"}}',
    ),
    1,
)
def test_it_reads_what_python_reads(dump: bytes, size: int) -> None:
    expected, _ = read(dump, 0)
    assert read(dump, 100)[0] == expected
    assert read(dump, 2, block_size=size)[0] == expected
