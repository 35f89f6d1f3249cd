"""Columns of byte strings, and batches of them."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from muniment.revision import DOCUMENT, Batch, Packed, Revision

values = st.lists(st.none() | st.binary(max_size=5))


@given(values)
def test_a_packed_column_gives_what_went_in(values: list[bytes | None]) -> None:
    packed = Packed.of(values)
    assert list(packed) == values
    assert len(packed) == len(values)
    assert list(packed.lengths()) == [len(value or b"") for value in values]
    assert packed.values() == [value or b"" for value in values]
    assert packed.data == b"".join(value or b"" for value in values)
    assert list(packed.nulls) == [n for n, value in enumerate(values) if value is None]
    assert packed == Packed.of_lengths([-1 if value is None else len(value) for value in values], packed.data)


@given(values)
def test_offsets_are_those_of_an_arrow_string_column(values: list[bytes | None]) -> None:
    packed = Packed.of(values)
    assert (packed.offsets.typecode, packed.offsets.itemsize) == ("i", 4)
    assert len(packed.offsets) == len(values) + 1
    assert packed.offsets[0] == 0
    assert packed.offsets[-1] == len(packed.data)


def test_nothing_and_an_empty_string_are_two_things() -> None:
    assert list(Packed.of([b"", None, b""])) == [b"", None, b""]
    assert list(Packed.of([])) == []


def test_a_column_is_made_of_any_iterable() -> None:
    assert list(Packed.of(value for value in (b"a", None))) == [b"a", None]


def test_a_batch_gives_its_revisions() -> None:
    revisions = [
        Revision(1, DOCUMENT, "a", None, 10, b"{}", b'{"n":1}', 7),
        Revision(5, DOCUMENT, "Ä\0", "Straße", 10, b'{"m":1}', None, 0),
        Revision(1 << 62, DOCUMENT, "c", "", 1 << 61, b"", b"", 0),
    ]
    batch = Batch(
        array("q", [r.etag for r in revisions]),
        Packed.of(r.id.encode() for r in revisions),
        Packed.of(None if r.collection is None else r.collection.encode() for r in revisions),
        array("q", [r.modified for r in revisions]),
        Packed.of(r.metadata for r in revisions),
        Packed.of(r.body for r in revisions),
    )
    assert list(batch) == list(batch) == revisions
    assert len(batch) == 3
    assert batch.size() == len("aÄ\0c".encode()) + len(b'{}{"m":1}') + 7
