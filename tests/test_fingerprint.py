"""The fingerprint: its definition, written out again, and its arithmetic."""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment import native
from muniment.errors import UnknownFormat
from muniment.fingerprint import (
    MODULUS,
    ContentDigest,
    Digests,
    Fingerprint,
    Group,
    Tally,
    Totals,
    batch_digests,
    digest_sum,
    digests_in_python,
    in_c,
    member_digest,
    members_digests,
    row_digest,
    sums_in_python,
)
from muniment.native import UNCOUNTED
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision

DOCUMENTS = (DOCUMENT, "Orders")
PHOTOS = (ATTACHMENT, "")


def filled() -> Fingerprint:
    fingerprint = Fingerprint()
    fingerprint.add(DOCUMENTS, 1, 10, 5)
    fingerprint.add(DOCUMENTS, 1, 20, MODULUS - 1)
    fingerprint.add(PHOTOS, 3, 0, 7)
    return fingerprint


# The definition


def test_the_digest_of_a_member_is_the_one_that_is_documented() -> None:
    written_out = b"\x08\0\0\0" + b"\x02\0\0\0" + b"orders/1" + b"{}" + b'{"n":1.10}'
    assert member_digest(b"orders/1", b"{}", b'{"n":1.10}') == hashlib.sha256(written_out).digest()
    # printf '\x08\0\0\0\x02\0\0\0orders/1{}{"n":1.10}' | sha256sum
    known = "70358367049a9cb5a1ee1443416283507dec42ee26b6e13da0becc2661f65d44"
    assert hashlib.sha256(written_out).hexdigest() == known


@given(st.binary(), st.binary(), st.binary())
def test_where_a_member_s_parts_end_counts(id: bytes, metadata: bytes, body: bytes) -> None:
    digest = member_digest(id, metadata, body)
    assert (
        digest
        == hashlib.sha256(
            len(id).to_bytes(4, "little") + len(metadata).to_bytes(4, "little") + id + metadata + body
        ).digest()
    )
    if id:
        assert digest != member_digest(id[:-1], id[-1:] + metadata, body)
    if metadata:
        assert digest != member_digest(id, metadata[:-1], metadata[-1:] + body)


def test_the_digest_of_a_row_is_the_one_that_is_documented() -> None:
    member = member_digest(b"orders/1", b"{}", b'{"n":1.10}')
    fixed = b"\x07" + bytes(7) + b"\xe8\x03" + bytes(6) + b"\0" + b"\0" + b"\x06\0\0\0"
    known = hashlib.sha256(fixed + member + b"Orders").digest()
    assert row_digest(7, DOCUMENT, 1000, b"Orders", member, tombstone=False) == known
    deleted = b"\x07" + bytes(7) + b"\xe8\x03" + bytes(6) + b"\x01" + b"\x01" + b"\xff\xff\xff\xff"
    assert row_digest(7, ATTACHMENT, 1000, None, member, tombstone=True) == hashlib.sha256(deleted + member).digest()


def test_digests_of_the_rows_of_a_batch() -> None:
    batch = Batch.of(
        [
            Revision(1, DOCUMENT, "a", "Orders", 5, b"{}", b"{1}", 3),
            Revision(2, DOCUMENT, "b", None, 5, b"{2}", None, 0),
            Revision(7, DOCUMENT, "ß", "", 6, b"{}", b"", 0),
        ]
    )
    expected = [
        row_digest(1, DOCUMENT, 5, b"Orders", member_digest(b"a", b"{}", b"{1}"), tombstone=False),
        row_digest(2, DOCUMENT, 5, None, member_digest(b"b", b"{2}", b""), tombstone=True),
        row_digest(7, DOCUMENT, 6, b"", member_digest("ß".encode(), b"{}", b""), tombstone=False),
    ]
    assert batch_digests(batch).rows.values() == expected


def test_digests_of_a_batch() -> None:
    rows = ("a", b"{}", b"x"), ("b", b"{}", None), ("c", b"{1}", b"")
    batch = Batch.of([Revision(1, DOCUMENT, id, None, 1, about, body, 0) for id, about, body in rows])
    assert list(batch_digests(batch).members) == [
        member_digest(b"a", b"{}", b"x"),
        None,
        member_digest(b"c", b"{1}", b""),
    ]


WORDS = st.binary(max_size=80) | st.integers(2000, 70_000).map(lambda size: b"text" * (size // 4))
ROWS = st.lists(st.tuples(WORDS, st.none() | st.binary(max_size=9), WORDS, st.none() | WORDS), max_size=20)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)


@given(ROWS, st.data())
def test_c_gives_the_digests_that_python_gives(rows: list[tuple[bytes, ...]], data: st.DataObject) -> None:
    etags, modified = (array("q", data.draw(st.lists(NUMBERS, min_size=len(rows), max_size=len(rows)))) for _ in "12")
    ids, collections, metadata, bodies = map(Packed.of, zip(*rows, strict=True) if rows else [()] * 4)
    batch = Batch(etags, ids, collections, modified, metadata, bodies)
    if (library := in_c()) is None:
        pytest.skip("it was not compiled: there is no compiler, or no libcrypto that it can call")
    members, found = library.digests(batch)
    assert (members, found) == digests_in_python(batch)
    assert library.members(ids, metadata, bodies) == members_digests(ids, metadata, bodies) == members
    assert library.digests(batch, members) == digests_in_python(batch, members) == (members, found)
    for column in (collections, bodies, metadata):
        values = list(column)
        names = list(dict.fromkeys(values))
        assert library.groups(column) == (bytearray(map(names.index, values)), list(map(values.index, names)))
    group = data.draw(st.binary(min_size=len(rows), max_size=len(rows)))
    assert library.sums(members, bodies, group, UNCOUNTED) == sums_in_python(members, bodies, group, UNCOUNTED)


def test_c_reads_no_further_than_a_column_goes() -> None:
    if (library := in_c()) is None:
        pytest.skip("it was not compiled: there is no compiler, or no libcrypto that it can call")
    good = Batch.of([Revision(n, DOCUMENT, f"a{n}", "Orders", 5, b"{}", b"{1}", 3) for n in range(20)])
    for name in ("ids", "collections", "metadata", "bodies"):
        column = getattr(good, name)
        backwards = array("i", [*column.offsets[:3], column.offsets[3] - 99, *column.offsets[4:]])
        for bad in (
            Packed(column.offsets, column.data[:-1]),
            Packed(column.offsets[:-1], column.data),
            Packed(backwards, column.data),
        ):
            with pytest.raises(ValueError, match="column"):
                library.digests(replace(good, **{name: bad}))  # type: ignore[arg-type]
            if len(bad) == len(good):
                with pytest.raises(ValueError, match="column"):
                    library.groups(bad)
    with pytest.raises(ValueError, match="column"):
        library.digests(replace(good, etags=good.etags[:-1]))
    digests = bytes(32 * len(good))
    for group, groups in ((bytes([1]) * 20, 1), (bytes(19), 1), (bytes(20), 256)):
        with pytest.raises(ValueError, match=r"column|as many"):
            library.sums(digests, good.bodies, group, groups)


def test_without_c_all_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    batch = Batch.of([Revision(n, DOCUMENT, f"a{n}", f"C{n}", 5, b"{}", b"{1}", 3) for n in range(600)])

    def told() -> tuple[Digests, dict[Group, Tally], Tally]:
        totals = Totals()
        return totals.count(batch), totals.fingerprint.tallies, totals.rows

    usual = told()
    for name, functions in (("none.so", native._FUNCTIONS), (native.LIBRARY, ("SHA256_Init", "no such function"))):
        monkeypatch.setattr(native, "LIBRARY", tmp_path / name)
        monkeypatch.setattr(native, "_FUNCTIONS", functions)
        native.look.cache_clear()
        in_c.cache_clear()
        try:
            assert in_c() is None
            assert told() == usual
        finally:
            native.look.cache_clear()
            in_c.cache_clear()


@given(st.lists(st.binary(min_size=32, max_size=32) | st.sampled_from([b"\xff" * 32, b"\0" * 32])))
def test_digests_are_added_as_numbers(digests: list[bytes]) -> None:
    assert digest_sum(digests) == sum(int.from_bytes(digest, "big") for digest in digests)


# Counting


def test_members_are_counted_in_and_out() -> None:
    fingerprint = filled()
    assert fingerprint.tallies == {DOCUMENTS: Tally(2, 30, 4), PHOTOS: Tally(3, 0, 7)}
    fingerprint.add(DOCUMENTS, -1, -10, -5)
    assert fingerprint.tallies[DOCUMENTS] == Tally(1, 20, MODULUS - 1)
    fingerprint.add(DOCUMENTS, -1, -20, -(MODULUS - 1))
    assert fingerprint.occupied() == {PHOTOS: Tally(3, 0, 7)}
    assert (fingerprint.count(DOCUMENT), fingerprint.count(ATTACHMENT)) == (0, 3)


@given(st.lists(st.tuples(st.sampled_from(["", "A", "B"]), st.binary(max_size=3)), max_size=20), st.randoms())
def test_order_and_detours_do_not_matter(members: list[tuple[str, bytes]], choose: random.Random) -> None:
    def count(fingerprint: Fingerprint, collection: str, body: bytes, sign: int = 1) -> None:
        digest = int.from_bytes(member_digest(b"", b"", body), "big")
        fingerprint.add((DOCUMENT, collection), sign, sign * len(body), sign * digest)

    straight, other = Fingerprint(), Fingerprint()
    for collection, body in members:
        count(straight, collection, body)
    for collection, body in choose.sample(members, len(members)):
        count(other, "Detour", b"x")
        count(other, collection, body)
    for _ in members:
        count(other, "Detour", b"x", -1)
    assert straight == other
    assert straight.short() == other.short()
    assert straight.as_json() == other.as_json()


def test_a_batch_is_counted_in() -> None:
    batch = Batch(
        array("q", [1, 2, 3, 4]),
        Packed.of([b"a", b"b", b"c", b"d"]),
        Packed.of([b"Orders", None, b"Orders", "Ä".encode()]),
        array("q", [1, 1, 1, 1]),
        Packed.of([b"{}"] * 4),
        Packed.of([b"12", b"345", None, b""]),
    )
    digests = batch_digests(batch).members
    fingerprint = Fingerprint()
    fingerprint.add_batch(batch, digests)
    one_by_one = Fingerprint()
    for revision, digest in zip(batch, digests, strict=True):
        if digest:
            group = (DOCUMENT, revision.collection or "")
            one_by_one.add(group, 1, revision.size, int.from_bytes(digest, "big"))
    assert fingerprint == one_by_one
    assert {group: tally.count for group, tally in fingerprint.tallies.items()} == {
        (DOCUMENT, "Orders"): 1,
        (DOCUMENT, ""): 1,
        (DOCUMENT, "Ä"): 1,
    }


def test_merging() -> None:
    one, two = filled(), filled()
    one.merge(two)
    assert one.tallies[DOCUMENTS] == Tally(4, 60, 8)
    assert two == filled()
    copy = two.copy()
    copy.add(PHOTOS, 1, 1, 1)
    assert two == filled() != copy


def test_equality_is_of_what_is_there() -> None:
    empty = Fingerprint({DOCUMENTS: Tally(0, 0, 0)})
    assert empty == Fingerprint()
    for tally in (Tally(3, 30, 4), Tally(2, 31, 4), Tally(2, 30, 5)):
        assert Fingerprint({DOCUMENTS: tally, PHOTOS: Tally(3, 0, 7)}) != filled()
    assert filled() != "filled"
    with pytest.raises(TypeError):
        hash(filled())


def test_a_fingerprint_does_not_share_its_tallies() -> None:
    tallies = {DOCUMENTS: Tally(1, 1, 1)}
    fingerprint = Fingerprint(tallies)
    fingerprint.add(DOCUMENTS, 1, 1, 1)
    assert tallies == {DOCUMENTS: Tally(1, 1, 1)}


# As JSON and for people


def test_as_json() -> None:
    value = filled().as_json()
    assert value == {
        "documents": {"Orders": {"count": 2, "bytes": 30, "digest": f"{4:064x}"}},
        "attachments": {"": {"count": 3, "bytes": 0, "digest": f"{7:064x}"}},
    }
    assert Fingerprint.from_json(json.loads(json.dumps(value))) == filled()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"documents": {}},
        {"documents": [], "attachments": {}},
        {"documents": {"Orders": {"count": 2, "bytes": 30}}, "attachments": {}},
        {"documents": {"Orders": {"count": "two", "bytes": 30, "digest": "0"}}, "attachments": {}},
        {"documents": {"Orders": {"count": 2, "bytes": 30, "digest": "xyz"}}, "attachments": {}},
        {"documents": {"Orders": {"count": 2, "bytes": 30, "digest": 4}}, "attachments": {}},
        {"documents": {"Orders": 5}, "attachments": {}},
        {"documents": None, "attachments": {}},
    ],
)
def test_json_of_another_kind_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(UnknownFormat):
        Fingerprint.from_json(value)


def test_the_short_form_is_16_digits_that_change_with_everything() -> None:
    shorts = {filled().short(), Fingerprint().short()}
    for group, tally in (
        (DOCUMENTS, Tally(3, 30, 4)),
        (DOCUMENTS, Tally(2, 30, 5)),
        ((DOCUMENT, "orders"), Tally(2, 30, 4)),
        ((ATTACHMENT, "Orders"), Tally(2, 30, 4)),
    ):
        shorts.add(Fingerprint({group: tally, PHOTOS: Tally(3, 0, 7)}).short())
    assert len(shorts) == 6
    assert all(len(short) == 16 and int(short, 16) >= 0 for short in shorts)


def test_differences_are_told_by_group() -> None:
    assert list(filled().differences(filled())) == []
    other = filled()
    other.add(DOCUMENTS, 1, 0, 0)
    other.add((DOCUMENT, ""), 1, 0, 0)
    other.add(PHOTOS, 0, 0, 1)
    assert list(filled().differences(other)) == [
        "documents: 1 where 0 are expected",
        "documents of 'Orders': 3 where 2 are expected",
        "attachments: the count is right (3) but the content is not",
    ]
    odd = Fingerprint({(7, "Odd"): Tally(1, 1, 1)})
    assert len(list(odd.differences(Fingerprint()))) == 1


@pytest.mark.parametrize(
    ("parts", "same"),
    [([b"ab", b"", b"c"], True), ([b"abc"], True), ([b"ab"], False), ([b"abd"], False), ([b"abc", b"d"], False)],
)
def test_a_content_is_that_of_an_attachment_if_all_of_it_has_passed_unchanged(parts: list[bytes], same: bool) -> None:
    photo = Revision(1, ATTACHMENT, "photo", None, 1, b"{}", hashlib.sha256(b"abc").digest(), 3)
    digest = ContentDigest()
    assert list(digest.passing(parts)) == parts
    assert digest.is_of(photo) is same
    assert (digest.size, digest.sha256) == (len(b"".join(parts)), hashlib.sha256(b"".join(parts)).digest())


def test_what_has_changed_is_counted_into_a_new_one() -> None:
    before, expected = filled(), filled()
    by = Fingerprint()
    by.add(DOCUMENTS, -2, -30, 1 - MODULUS - 5)
    by.add((DOCUMENT, "New"), 1, 4, MODULUS - 3)
    after = before.changed(by)
    expected.merge(by)
    assert after == expected
    assert DOCUMENTS not in after.occupied()
    assert before == filled()
    after.add((DOCUMENT, "New"), -1, -4, 3 - MODULUS)
    assert by.count(DOCUMENT) == -1
    assert after.changed(Fingerprint()).tallies.keys() == {PHOTOS}
