"""What goes into a backup comes out of a restore: every byte, every id's spelling, every etag and time."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment import Delete, DocumentDatabase, MaintenanceActions, Put
from muniment.backup.restore import Restored
from muniment.document import fold, to_microseconds
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.backup import awkward
from tests.backup.gate import each_takes_a_part
from tests.backup.state import live, opened, seen_by_readers, state_of
from tests.clock import SECOND, START, Clock
from tests.sampled import count, torture

MIB = 1 << 20


def round_trip(database: DocumentDatabase, folder: Path, *, defrag: bool = False) -> Restored:
    """Back up, verify and restore, and see that nothing at all has changed."""
    before = state_of(database)
    backup = database.maintenance.start_backup(folder / "backups").wait()
    verified = MaintenanceActions.verify(folder / "backups")
    restored = MaintenanceActions.restore(folder / "backups", folder / "restored", defrag=defrag)
    assert verified.backup == restored.backup == backup
    assert verified.fingerprint == restored.fingerprint == database.snapshot().fingerprint
    with opened(folder / "restored") as copy:
        assert state_of(copy) == before
        assert seen_by_readers(copy) == seen_by_readers(database)
        assert copy.snapshot() == database.snapshot()
        assert copy.statistics().collections == database.statistics().collections
    assert state_of(database) == before
    return restored


def test_documents_keep_every_byte(database: DocumentDatabase, tmp_path: Path) -> None:
    for name, body in awkward.BODIES.items():
        database.put(name, body)
    round_trip(database, tmp_path)
    with opened(tmp_path / "restored") as copy:
        found = {document.id: document.body for document in copy.by_etag(limit=100)}
    assert found == awkward.BODIES


def test_ids_keep_their_spelling(database: DocumentDatabase, tmp_path: Path) -> None:
    for number, id in enumerate(awkward.IDS):
        database.put(id, {"n": number})
        database.put_attachment(id, str(number).encode())
    round_trip(database, tmp_path)
    with opened(tmp_path / "restored") as copy:
        assert [document.id for document in copy.by_etag(limit=100)] == list(awkward.IDS)
        for number, id in enumerate(awkward.IDS):
            document, attachment = copy.get(id.upper()), copy.get_attachment(id.swapcase())
            if fold(id.upper()) == fold(id.swapcase()) == fold(id):
                assert document is not None
                assert attachment is not None
                assert (document.id, document.json()) == (id, {"n": number})
                assert (attachment.key, attachment.read()) == (id, str(number).encode())


def test_metadata_keeps_every_byte(database: DocumentDatabase, tmp_path: Path) -> None:
    for number, metadata in enumerate(awkward.METADATA):
        database.put(f"d{number}", {}, metadata)
        database.put_attachment(f"a{number}", b"", metadata)
    round_trip(database, tmp_path)
    with opened(tmp_path / "restored") as copy:
        assert [document.metadata_json for document in copy.by_etag(limit=100)] == list(awkward.METADATA)
        found = {attachment.key: attachment.metadata_json for attachment in copy.attachments(limit=100)}
    assert found == {f"a{number}": metadata for number, metadata in enumerate(awkward.METADATA)}


def test_the_first_spelling_survives_deletion_and_restore(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("Orders/1", {"n": 1})
    database.put("ORDERS/1", {"n": 2})
    database.put("Straße", {"n": 3})
    database.delete("STRAẞE")
    round_trip(database, tmp_path)
    with opened(tmp_path / "restored") as copy:
        document = copy.get("orders/1")
        assert document is not None
        assert (document.id, document.json()) == ("Orders/1", {"n": 2})
        assert copy.get("straße") is None
        assert copy.put("straße", {"n": 4}).id == "Straße"
        assert copy.get("strasse") is None


def test_times_and_etags_are_kept(database: DocumentDatabase, clock: Clock, tmp_path: Path) -> None:
    clock.step = 0
    times = [START, START + 1, START + SECOND, START - SECOND, START + 999_999_999_999]
    for number, now in enumerate(times):
        clock.now = now
        database.batch([Put(f"a/{number}", {}), Put(f"b/{number}", {}), Delete(f"a/{number - 1}")])
    round_trip(database, tmp_path)
    with opened(tmp_path / "restored") as copy:
        state = state_of(copy)
        # One time for a transaction, and it never goes back, even when the clock does.
        modified = [state[DOCUMENT, f"b/{number}"].modified for number in range(len(times))]
        assert modified == [START, START + 1, START + SECOND, START + SECOND + 1, START + 999_999_999_999]
        etags = {state[DOCUMENT, f"{letter}/{number}"].etag for number in range(len(times)) for letter in "ab"}
        assert etags == {2, 4, 5, 7, 8, 10, 11, 12, 13, 14}
        document = copy.get("b/2")
        assert document is not None
        assert document.changed == datetime(2026, 9, 21, 14, 13, 21, tzinfo=UTC)
        assert to_microseconds(document.changed) == START + SECOND


def test_tombstones_are_kept(database: DocumentDatabase, tmp_path: Path) -> None:
    for number in range(20):
        database.put(f"orders/{number}", {"n": number}, {"Raven-Entity-Name": "Orders"})
        database.put_attachment(f"photos/{number}", bytes([number]), {"Raven-Entity-Name": "Photos"})
    for number in range(0, 20, 3):
        database.delete(f"orders/{number}")
        database.delete_attachment(f"photos/{number}")
    database.storage.purge()
    before = state_of(database)
    restored = round_trip(database, tmp_path)
    counts = restored.backup.manifest.counts
    assert (counts.documents, counts.document_tombstones) == (13, 7)
    assert (counts.attachments, counts.attachment_tombstones) == (13, 7)
    assert len(before) - len(live(before)) == 14
    with opened(tmp_path / "restored") as copy:
        assert [document.id for document in copy.by_prefix("orders/1")] == [
            f"orders/{n}" for n in (1, 10, 11, 13, 14, 16, 17, 19)
        ]
        assert copy.get("orders/3") is None


@pytest.mark.parametrize("emptied", [False, True])
def test_a_database_without_documents(database: DocumentDatabase, tmp_path: Path, emptied: bool) -> None:
    if emptied:
        database.put("orders/1", {"n": 1})
        database.put_attachment("photos/1", b"1")
        database.delete("orders/1")
        database.delete_attachment("photos/1")
    restored = round_trip(database, tmp_path)
    assert restored.fingerprint.occupied() == {}
    with opened(tmp_path / "restored") as copy:
        assert copy.put("orders/1", {"n": 2}).etag == (5 if emptied else 1)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([None], id="none"),
        pytest.param(["Orders"], id="one"),
        pytest.param(["Orders", None], id="one and none"),
        pytest.param(["Orders", "orders", "ORDERS"], id="three by case"),
        pytest.param(["中文", "a'b\"c", "per%cent", "nul\0inside", " ", "\U0010ffff", None], id="awkward"),
        pytest.param([f"Collection{number}" for number in range(700)], id="many"),
    ],
)
def test_collections(database: DocumentDatabase, tmp_path: Path, names: list[str | None]) -> None:
    def metadata(name: str | None) -> dict[str, str]:
        return {} if name is None else {"Raven-Entity-Name": name}

    database.batch([Put(f"d/{n}", {"n": n}, metadata(names[n % len(names)])) for n in range(3 * len(names))])
    for number, name in enumerate(names[:20]):
        database.put_attachment(f"a/{number}", b"", metadata(name))
    restored = round_trip(database, tmp_path)
    documents = {group[1]: tally.count for group, tally in restored.fingerprint.occupied().items() if not group[0]}
    assert documents == {name or "": 3 for name in names}
    with opened(tmp_path / "restored") as copy:
        for name in (name for name in names[:20] if name):
            expected = [d.id for d in database.by_collection(name, limit=100)]
            assert [d.id for d in copy.by_collection(name, limit=100)] == expected != []


@pytest.mark.parametrize("size", [0, 1, 1000, MIB - 1, MIB, MIB + 1, 5 * MIB + 12_345])
def test_an_attachment_of_any_size(database: DocumentDatabase, tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    database.put_attachment("photos/1", content, {"type": "image/png"})
    round_trip(database, tmp_path)
    with opened(tmp_path / "restored") as copy:
        attachment = copy.get_attachment("photos/1")
        assert attachment is not None
        assert attachment.read() == content
        assert attachment.metadata == {"type": "image/png"}


@torture
def test_many_attachments(database: DocumentDatabase, tmp_path: Path) -> None:
    # More than one page of the log, more than one row group, contents that end in the middle of each.
    chance = random.Random(11)
    sizes = [chance.choice([0, 1, 17, 1000, 60_000, 1_500_000]) for _ in range(count(70, whole=150))]
    for number, size in enumerate(sizes):
        database.put_attachment(f"photos/{number}", chance.randbytes(size))
    restored = round_trip(database, tmp_path)
    assert restored.backup.manifest.counts.attachments == len(sizes)
    assert restored.backup.manifest.counts.bytes == sum(sizes)


def test_many_batches_and_large_documents(
    database: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each_takes_a_part(monkeypatch)
    # Batches end by rows (8192) and by bytes (8 MiB), and one document alone is larger than a batch.
    database.batch([Put(f"small/{n}", b'{"n":%d}' % n, {"Raven-Entity-Name": "Small"}) for n in range(9_000)])
    for number in range(3):
        database.put(f"large/{number}", b'{"text":"%b"}' % (b"x" * (3 * MIB + number)))
    database.put("huge", b'{"text":"%b"}' % (b"y" * (9 * MIB)))
    database.batch([Delete(f"small/{n}") for n in range(0, 9_000, 7)])
    restored = round_trip(database, tmp_path)
    etags = [(file.first_etag, file.last_etag) for file in restored.backup.manifest.files_of(DOCUMENT)]
    assert len(etags) == 2  # two threads, each with its own file
    assert min(etags)[0] == 2
    assert max(last for _, last in etags) == database.snapshot().etag


@pytest.mark.parametrize("defrag", [False, True])
def test_the_restored_database_goes_on(small: DocumentDatabase, tmp_path: Path, defrag: bool) -> None:
    round_trip(small, tmp_path, defrag=defrag)
    behind = Clock(START - 1000 * SECOND, step=SECOND)
    last = small.snapshot()
    with opened(tmp_path / "restored", behind) as copy:
        assert copy.storage.identity.database_id == small.storage.identity.database_id
        assert copy.storage.identity.lineage != small.storage.identity.lineage
        assert copy.name == "restored"
        assert copy.put("orders/1", {"new": True}).etag == last.etag + 1
        document = copy.get("orders/1")
        assert document is not None
        assert to_microseconds(document.changed) > last.modified
        assert copy.delete("orders/2")
        assert copy.put_attachment("photos/1", b"new").etag == last.etag + 3
        assert copy.put("orders/", {"n": 1}).etag > last.etag
        assert copy.storage.purge() >= 0
    with opened(tmp_path / "restored", behind) as copy:
        assert copy.snapshot().etag > last.etag
        again = copy.maintenance.start_backup(tmp_path / "second backup").wait()
        assert again.manifest.database.id == small.storage.identity.database_id
        assert again.manifest.database.lineage == copy.storage.identity.lineage
        assert MaintenanceActions.restore(again.folder, tmp_path / "second").fingerprint == copy.snapshot().fingerprint


@pytest.mark.parametrize("defrag", [False, True])
def test_a_restored_folder_holds_only_the_database(small: DocumentDatabase, tmp_path: Path, defrag: bool) -> None:
    round_trip(small, tmp_path, defrag=defrag)
    with opened(tmp_path / "restored"):
        pass
    assert {path.name for path in (tmp_path / "restored").iterdir()} <= {"muniment.db", "muniment.lock"}
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "backups", "restored"}


def test_defrag_makes_the_same_database_no_larger(database: DocumentDatabase, tmp_path: Path) -> None:
    database.batch([Put(f"orders/{n * 7919 % 5000}", {"n": n, "text": "x" * 300}) for n in range(5000)])
    database.put_attachment("photos/1", random.Random(1).randbytes(MIB))
    backup = database.maintenance.start_backup(tmp_path / "backups").wait()
    MaintenanceActions.restore(backup.folder, tmp_path / "plain")
    MaintenanceActions.restore(backup.folder, tmp_path / "defragmented", defrag=True)
    with opened(tmp_path / "plain") as plain, opened(tmp_path / "defragmented") as defragmented:
        assert state_of(plain) == state_of(defragmented) == state_of(database)
    sizes = [(tmp_path / name / "muniment.db").stat().st_size for name in ("defragmented", "plain")]
    assert sizes[0] <= sizes[1]


@settings(deadline=None, max_examples=count(12, whole=100), suppress_health_check=[HealthCheck.too_slow])
@given(
    documents=st.dictionaries(awkward.ids, st.tuples(awkward.bodies, awkward.metadata), max_size=25),
    attachments=st.dictionaries(awkward.ids, st.tuples(st.binary(max_size=300), awkward.metadata), max_size=6),
    deleted=st.sets(st.integers(0, 24)),
)
def test_any_document_comes_back(
    documents: dict[str, tuple[bytes, bytes]], attachments: dict[str, tuple[bytes, bytes]], deleted: set[int]
) -> None:
    with TemporaryDirectory() as name, DocumentDatabase(Path(name) / "shop", clock=Clock(step=SECOND)) as database:
        database.batch([Put(id, body, metadata) for id, (body, metadata) in documents.items()])
        for key, (content, metadata) in attachments.items():
            database.put_attachment(key, content, metadata)
        expected = {(DOCUMENT, fold(id)): (metadata, body) for id, (body, metadata) in documents.items()}
        for number, id in enumerate(documents):
            if number in deleted:
                database.delete(id)
                expected.pop((DOCUMENT, fold(id)), None)
        expected |= {(ATTACHMENT, fold(key)): (metadata, content) for key, (content, metadata) in attachments.items()}
        round_trip(database, Path(name))
        with opened(Path(name) / "restored") as copy:
            assert {key: seen[1:] for key, seen in seen_by_readers(copy).items()} == expected
