"""Imports by options: what is carried, what is passed over, and going on where an import has stopped."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.document import encode
from muniment.errors import Cancelled, DamagedDump, InvalidInput, InvalidScript, MunimentError, UnknownFormat
from muniment.progress import Progress
from muniment.smuggler import read_ahead
from muniment.smuggler.contents import LEFT_OUT
from muniment.smuggler.importer import NOT_IN_DUMP, SUPERSEDED, import_dump
from muniment.smuggler.options import SmugglerOptions
from muniment.smuggler.pick import DROPPED, EXPIRED, FILTERED
from muniment.smuggler.summary import Imported
from tests.sampled import some
from tests.shared import shared
from tests.smuggler.dumps import LEGACY, attachment, blake2b, docs, document, source_of
from tests.storage.raw import raw
from tests.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("both_ways")

PICTURE, OTHER = b"\x89PNG" * 1000, b"other" * 999
MORE = b',"Identities":[{"Key":"a|","Value":7}],"CompareExchange":[{}],"New":[1,2]'


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(tmp_path / "db") as database:
        yield database
        assert database.check() == []


def load(database: DocumentDatabase, dump: bytes, progress: Progress | None = None, **options: Any) -> Imported:
    return import_dump(
        database.storage,
        source_of(dump, database.storage.folder.parent),
        options=SmugglerOptions.of(**options),
        progress=progress,
    )


class Stopping(Progress):
    """Somebody asks it to stop when it is looked at for the n-th time."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def check(self) -> None:
        self._looks -= 1
        if not self._looks:
            self.cancel()
        super().check()


def naming(id: str, *contents: bytes) -> bytes:
    named = [{"Name": f"{n}.png", "Hash": blake2b(each), "ContentType": "image/png"} for n, each in enumerate(contents)]
    return b'{"n":1.10,"@metadata":' + encode({"@id": id, "@collection": "As", "@attachments": named}) + b"}"


def ids(database: DocumentDatabase) -> list[str]:
    return [found.id for found in database.by_etag(limit=10_000)]


ALL = docs(attachment(PICTURE), naming("a/1", PICTURE), document("b/1"), more=MORE)


@pytest.mark.parametrize(
    ("types", "counts", "skipped"),
    [
        (None, (2, 1, 1), {"CompareExchange": 1, "New": 2}),
        ("Documents", (2, 0, 0), {"attachments that were not asked for": 1, "identities that were not asked for": 1}),
        ("Documents,Attachments", (2, 1, 0), {"identities that were not asked for": 1}),
        ("Attachments", (0, 0, 0), {"documents that were not asked for": 2, LEFT_OUT: 1}),
        ("Identities", (0, 0, 1), {"documents that were not asked for": 2, "attachments that were not asked for": 1}),
        ("Indexes", (0, 0, 0), {"documents that were not asked for": 2, "identities that were not asked for": 1}),
    ],
)
def test_types(database: DocumentDatabase, types: str | None, counts: tuple[int, ...], skipped: dict[str, int]) -> None:
    found = load(database, ALL, operate_on_types=types)
    assert (found.documents, found.attachments, found.identities) == counts
    assert len(database.attachments()) == counts[1]
    assert skipped.items() <= found.skipped.items()


def test_attachments_of_ravendb_3_stand_by_themselves(database: DocumentDatabase) -> None:
    found = load(database, LEGACY, operate_on_types="Attachments")
    assert (found.documents, found.attachments) == (0, 2)


def test_attachments_go_the_way_of_their_documents(database: DocumentDatabase) -> None:
    dump = docs(
        attachment(PICTURE), attachment(OTHER), naming("a/1", PICTURE, OTHER), naming("a/2", PICTURE), document("b/1")
    )
    found = load(database, dump, negative_metadata_filter=["@id=a/1"])
    assert found.skipped == {FILTERED: 1, LEFT_OUT: 1}
    assert [found.key for found in database.attachments()] == ["a/2/0.png"]
    assert ids(database) == ["a/2", "b/1"]


def test_filters_expiration_and_script(database: DocumentDatabase) -> None:
    expired = b'{"@metadata":{"@id":"a/9","@collection":"As","@expires":"2020-01-01T00:00:00.0000000Z"}}'
    dump = docs(*(document(f"a/{n}", b'"n":%d.0' % n) for n in range(6)), expired)
    found = load(
        database,
        dump,
        filter=["n=0,1,2,3"],
        negative_filter=["n=2"],
        metadata_filter=["@collection=As"],
        transform="function(doc) { if (doc.n == 1) return null; if (doc.n) doc.m = 'é'; return doc; }",
        exclude_expired=True,
    )
    assert found.skipped == {FILTERED: 4, DROPPED: 1}
    assert [(found.id, found.body) for found in database.by_etag()] == [
        ("a/0", b'{"n":0.0}'),
        ("a/3", '{"n":3.0,"m":"é"}'.encode()),
    ]
    assert load(database, docs(expired), exclude_expired=True).skipped == {EXPIRED: 1}


def test_a_script_can_move_documents_to_another_collection(database: DocumentDatabase) -> None:
    load(database, docs(document("a/1")), transform="this['@metadata']['@collection'] = 'Bs'")
    assert [found.collection for found in database.by_etag()] == ["Bs"]


def test_a_script_that_fails_ends_the_import_with_the_place(database: DocumentDatabase) -> None:
    dump = docs(*(document(f"a/{n}", b'"n":%d' % n) for n in range(4)))
    script = "function(doc) { if (doc.n == 2) fail(); return doc; }"
    at = dump.index(b'{"n":2')
    with pytest.raises(InvalidScript) as caught:
        load(database, dump, transform=script, batch_size=1)
    assert "document 'a/2'" in caught.value.message
    assert f"at byte {at:,}" in caught.value.message
    assert "2 documents were imported before that, the last of them 'a/1'" in caught.value.message
    found = load(database, dump, transform=script, ignore_errors=True)
    assert (found.documents, found.failed) == (3, 1)
    assert found.faults[0].id == "a/2"


def test_unknown_sections_can_be_an_error(database: DocumentDatabase) -> None:
    with pytest.raises(UnknownFormat) as caught:
        load(database, ALL, fail_on_unknown=True)
    assert "'CompareExchange'" in caught.value.message
    assert f"at byte {ALL.index(b'{}'):,}" in caught.value.message
    with pytest.raises(UnknownFormat, match="'New'"):  # what was not asked for is not missed
        load(database, ALL, fail_on_unknown=True, operate_on_types="Documents,Indexes")
    with pytest.raises(UnknownFormat, match="'CompareExchange'"):
        load(database, ALL, fail_on_unknown=True, operate_on_types="Documents,CompareExchange")
    dump = docs(document("a/1"), more=b',"CompareExchange":[{}]')
    assert load(database, dump, fail_on_unknown=True, operate_on_types="Documents").documents == 1


def test_a_limit_ends_it_with_a_token_to_go_on(database: DocumentDatabase) -> None:
    dump = docs(attachment(PICTURE), *(naming(f"a/{n}", PICTURE) for n in range(7)), document("b/1"), more=MORE)
    token: str | None = None
    found = Imported()
    for expected in (["a/0", "a/1", "a/2"], ["a/3", "a/4", "a/5"], ["a/6", "b/1"]):
        found = load(database, dump, limit=3, continuation=token)
        assert found.documents == len(expected)
        assert ids(database)[-len(expected) :] == expected
        token = found.continuation
    assert token is None
    assert found.identities == 1
    assert len(database.attachments()) == 7
    assert all(each.read() == PICTURE for each in database.attachments())


BAD = [
    (document("x" * 513), "has 513 bytes"),
    (b'{"n":1,"@metadata":7}', "@metadata that is not an object"),
    (b'{"n":"\xff","@metadata":{"@id":"bad"}}', "not UTF-8"),
    (b'{"n":01,"@metadata":{"@id":"bad"}}', "not valid JSON"),
    (b"7", "not an object"),
    (b'{"n":1}', "no @metadata"),
    (b'{"@metadata":{"@id":"bad","@collection":"\\ud800"}}', "not Unicode"),
    (b'{"@metadata":{"@id":"bad","@attachments":[{"Name":1}]}}', "cannot be read"),
    (b'{"n":[%s],"@metadata":{"@id":"bad"}}' % (b"[" * 2000 + b"]" * 2000), "nested too deeply"),
    (attachment(b"abc", hash=blake2b(b"other")), "do not have the hash"),
]


@some(6)
@pytest.mark.parametrize(("item", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_item_can_be_passed_over(database: DocumentDatabase, item: bytes, reason: str) -> None:
    dump = docs(document("a/1"), item, document("a/2"))
    with pytest.raises(MunimentError) as caught:
        load(database, dump)
    assert reason in caught.value.message
    position = len(docs(document("a/1"))) - 1
    assert f"at byte {position:,}" in caught.value.message
    found = load(database, dump, ignore_errors=True)
    assert (found.documents, found.failed) == (2, 1)
    assert ids(database)[-2:] == ["a/1", "a/2"]
    [fault] = found.faults
    assert fault.position == position
    assert reason in fault.reason


def test_bad_attachments_of_ravendb_3_can_be_passed_over(database: DocumentDatabase) -> None:
    bad = b'{"Key":"p","Data":"*"},{"Key":"%s","Data":""},{"Data":""},7' % (b"k" * 600)
    dump = LEGACY.replace(b'"Attachments": [', b'"Attachments": [' + bad + b",")
    with pytest.raises(DamagedDump, match="not base64"):
        load(database, dump)
    found = load(database, dump, ignore_errors=True)
    assert (found.attachments, found.failed) == (2, 4)


def test_bad_identities_and_deletions_can_be_passed_over(database: DocumentDatabase) -> None:
    bad = b',"Identities":[{"Key":"a|","Value":"x"},7,{"Key":"\xff","Value":1},{"Key":"%s","Value":1},' % (b"k" * 600)
    bad += (
        b'{"Key":"b|","Value":7}],"Tombstones":[{"Id":1},{"Key":"a/1","Type":"Document"},{"Key":"","Type":"Document"}]'
    )
    found = load(database, docs(document("a/1"), document("a/2"), more=bad), ignore_errors=True)
    assert (found.documents, found.identities, found.deletions, found.failed) == (2, 1, 1, 6)
    assert database.put("b/", {}).id == "b/8"
    assert database.get("a/1") is None


def test_an_attachment_without_its_content_is_not_stored(database: DocumentDatabase) -> None:
    """Its bytes are not what the dump says, so the document comes without it."""
    wrong = attachment(b"abc", hash=blake2b(PICTURE))
    found = load(database, docs(wrong, naming("a/1", PICTURE)), ignore_errors=True)
    assert (found.documents, found.attachments, found.failed, found.skipped) == (1, 0, 1, {NOT_IN_DUMP: 1})


@pytest.mark.parametrize(
    "broken",
    [docs(document("a/1"))[:-1], docs(document("a/1"))[:-2] + b",{", docs(document("a/1"), b'{"a":"x'), docs(b"{]")],
)
def test_a_broken_structure_is_never_passed_over(database: DocumentDatabase, broken: bytes) -> None:
    with pytest.raises(DamagedDump, match=r"cut short|expected"):
        load(database, broken, ignore_errors=True)


@pytest.mark.parametrize("size", [PICTURE[:-1], PICTURE + b"x"])
def test_an_attachment_of_another_size_than_it_says(database: DocumentDatabase, size: bytes) -> None:
    dump = docs(attachment(PICTURE, size=len(size)), naming("a/1", PICTURE))
    with pytest.raises(DamagedDump, match=r"hash|cut short|expected") as caught:
        load(database, dump)
    assert "at byte" in caught.value.message
    assert database.attachments() == []


REPEATED = docs(*(document(f"a/{n}", b'"n":%d' % n) for n in range(10)), document("A/1", b'"n":11'), document("b/1"))


@pytest.mark.parametrize(("batch", "before"), [(100, "at byte 83"), (4, "between the bytes 30 and 189")])
def test_a_document_that_stands_twice_in_a_snapshot(database: DocumentDatabase, batch: int, before: str) -> None:
    again = REPEATED.index(b'{"n":11')
    with pytest.raises(DamagedDump) as caught:
        load(database, REPEATED, batch_size=batch)
    assert f"holds document 'a/1' twice: {before}, and at byte {again:,};" in caught.value.message
    database.delete("a/1")
    found = load(database, REPEATED, batch_size=batch, ignore_errors=True)
    assert (found.documents, found.failed) == (11, 1)
    assert (found.faults[0].id, found.faults[0].position) == ("a/1", again)
    assert json.loads(database.get("a/1").body) == {"n": 11}  # type: ignore[union-attr]


def test_ravendb_3_exported_while_others_wrote(database: DocumentDatabase) -> None:
    found = load(database, REPEATED.replace(b'"BuildVersion":62028,', b""), batch_size=4)
    assert (found.documents, found.failed, found.skipped) == (11, 0, {SUPERSEDED: 1})
    assert json.loads(database.get("a/1").body) == {"n": 11}  # type: ignore[union-attr]


def test_a_document_that_was_deleted_in_between_is_no_repeat(database: DocumentDatabase) -> None:
    again = b',"Tombstones":[{"Key":"a/1","Type":"Document"}],"Docs":[%s]' % document("a/1", b'"n":2')
    found = load(database, docs(document("a/1", b'"n":1'), document("b/1"), more=again))
    assert (found.documents, found.deletions) == (3, 1)
    assert json.loads(database.get("a/1").body) == {"n": 2}  # type: ignore[union-attr]


def test_documents_that_were_there_before_are_no_repeats(database: DocumentDatabase) -> None:
    dump = docs(*(document(f"a/{n}") for n in range(50)))
    load(database, dump, batch_size=7)
    assert load(database, dump, batch_size=9).documents == 50


def test_a_timeout_is_told(database: DocumentDatabase) -> None:
    class Stalling(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                assert progress._cancelled.wait(PATIENCE)
            return super().read(min(size or 0, 1 << 16))

    progress = Progress()
    dump = docs(*(document(f"a/{n}", b'"x":"%s"' % (b"x" * 900)) for n in range(3000)))
    options = SmugglerOptions(timeout=0.05)
    with pytest.raises(Cancelled) as caught:
        import_dump(database.storage, Stalling(dump), options=options, progress=progress)
    assert caught.value.message.startswith("it did not end within its 0.05 s")


@pytest.mark.parametrize(
    "token", ["", "x", "0" * 16, "0" * 16 + "-1-1-" + "g" * 16, "0" * 16 + "-1-1-" + "0" * 15, "é" * 40]
)
def test_what_is_no_token(database: DocumentDatabase, token: str) -> None:
    with pytest.raises(InvalidInput, match="not a continuation token"):
        load(database, ALL, continuation=token)


def test_the_token_of_another_dump_is_refused(database: DocumentDatabase) -> None:
    dump = docs(*(document(f"a/{n}", b'"n":%d' % n) for n in range(9)))
    token = load(database, dump, limit=4).continuation
    for other in (dump.replace(b'"n":3', b'"n":0'), dump[:-50], docs(document("b/1"))):
        with pytest.raises(InvalidInput, match="belongs to another dump"):
            load(database, other, continuation=token)
    assert ids(database) == ["a/0", "a/1", "a/2", "a/3"]


def test_a_dump_that_is_another_one_only_later_is_refused_too(database: DocumentDatabase) -> None:
    dump = docs(*(document(f"a/{n}", b'"n":%d,"x":"%s"' % (n, b"x" * 100_000)) for n in range(20)))
    token = load(database, dump, limit=15).continuation
    for other in (dump.replace(b'"n":14,', b'"n":41,'), dump.replace(b'"n":13,', b'"n":0,')):
        with pytest.raises(InvalidInput, match="belongs to another dump"):
            load(database, other, continuation=token)
    assert load(database, dump, continuation=token).documents == 5


def test_an_import_can_not_start_at_an_etag(database: DocumentDatabase) -> None:
    with pytest.raises(InvalidInput, match="etag"):
        load(database, ALL, start_document_etag=5)


def test_after_any_failure_the_token_completes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import is broken off at every step in turn; with its token the rest comes, whatever was on its way."""
    contents = [bytes([n]) * 300 for n in range(4)]
    items = [attachment(contents[0]), naming("a/0", contents[0]), document("a/1"), attachment(contents[1])]
    items += [attachment(contents[2]), document("a/2"), naming("a/3", contents[2], contents[0]), document("a/4")]
    items += [naming("a/5", contents[1]), attachment(contents[3]), document("a/6"), naming("a/7", *contents[::-1])]
    dump = docs(*items, more=MORE)
    with DocumentDatabase(tmp_path / "whole") as database:
        load(database, dump, batch_size=2)
        expected = database.snapshot().fingerprint
    for step in range(1, 40) if read_ahead.AHEAD_BYTES else range(1, 40, 4):
        with DocumentDatabase(tmp_path / str(step)) as database:
            try:
                load(database, dump, Stopping(step), batch_size=2)
            except Cancelled as error:
                token = error.hint.rpartition("continuation token ")[2] if "token" in error.hint else None
                assert NOT_IN_DUMP not in load(database, dump, batch_size=2, continuation=token).skipped
            assert database.snapshot().fingerprint == expected, step
            assert database.check() == []


def test_no_content_is_left_behind(database: DocumentDatabase, tmp_path: Path) -> None:
    dump = docs(attachment(PICTURE), attachment(OTHER), document("a/1"), naming("a/2", PICTURE), document("x" * 600))
    with pytest.raises(InvalidInput):
        load(database, dump)
    load(database, dump, limit=1)
    load(database, dump, ignore_errors=True, negative_metadata_filter=["@id=a/2"])
    database.delete_attachment("a/2/0.png")
    database.storage.purge()
    with raw(tmp_path / "db") as file:
        assert file.execute("SELECT count(*) FROM content").get == 0


def test_the_real_dump_by_options_and_in_parts(database: DocumentDatabase) -> None:
    path = shared()
    options: dict[str, Any] = {
        "metadata_filter": ["@collection=Orders,Employees"],
        "negative_filter": ["ShipTo.Country=USA"],
        "transform": "function(doc) { if (doc.Lines) doc.Count = doc.Lines.length; return doc; }",
    }
    whole = import_dump(database.storage, path, options=SmugglerOptions.of(**options))
    assert whole.skipped[FILTERED] + whole.documents == 1059
    order = next(found for found in database.by_etag(limit=5000) if found.id == "orders/1-A")
    assert order.body.endswith(b',"Count":3}')
    assert b'"PricePerUnit":14.0,' in order.body
    before = database.snapshot().fingerprint
    token: str | None = None
    counts = []
    while True:
        found = import_dump(
            database.storage, path, options=SmugglerOptions.of(**options, limit=300, continuation=token)
        )
        counts.append(found.documents)
        if not (token := found.continuation):
            break
    assert counts == [300] * (whole.documents // 300) + [whole.documents % 300]
    assert database.snapshot().fingerprint == before
