"""Damage does not go unnoticed: each sentence of `check()`, and bytes changed anywhere in the file."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.errors import DamagedDatabase, UnknownFormat
from muniment.storage.sqlite import check
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.schema import PAGE_BYTES
from muniment.storage.sqlite.store import SqliteStorage, create_storage
from tests.clock import Clock
from tests.storage.raw import raw
from tests.storage.reference import State, attach, delete, detach, put, state_now


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> Path:
    """Documents and attachments, deleted and replaced ones too, in a database that is closed."""
    folder = tmp_path / "shop"
    folder.mkdir()
    create_storage(folder)
    store = SqliteStorage(folder, clock=clock)
    with store.pin():  # until it is closed, so that nothing is purged
        store.commit(
            [put(f"orders/{n}", b'{"n":%d,"text":"%s"}' % (n, b"x" * n), collection="Orders") for n in range(60)]
        )
        store.commit([put(f"Mixed/{n}", b"{}", b'{"m":1}') for n in range(60)])
        store.commit([delete("orders/5"), delete("mixed/5")])
        attach(store, "photo/1", [b"one" * 5000], collection="Photos")
        attach(store, "photo/2", [b"two" * 5])
        attach(store, "photo/3", [b"three" * 500])
        store.commit([put("orders/7", b'{"n":"again"}', collection="Orders"), detach("photo/3")])
        store.close()
    return folder


def sentences(folder: Path, clock: Clock) -> list[str]:
    store = SqliteStorage(folder, clock=clock, read_only=True)
    try:
        return list(store.check())
    finally:
        store.close()


def test_a_sound_database_has_nothing_to_say(folder: Path, clock: Clock) -> None:
    with raw(folder) as connection:
        assert connection.execute("SELECT count(*) FROM dead").get == 4
    assert sentences(folder, clock) == []


AGAINST_CURRENT = [
    ("DELETE FROM log WHERE id = 'orders/3'", "1 revisions in `current` that the log does not have"),
    ("UPDATE log SET kind = 1 WHERE id = 'orders/3'", "1 revisions in `current` that the log does not have"),
    ("DELETE FROM log WHERE etag IN (SELECT etag FROM dead)", "4 dead revisions that the log does not have"),
    ("INSERT INTO dead VALUES(99999, 100000)", "1 dead revisions that the log does not have"),
    (
        "UPDATE dead SET replaced_by = replaced_by + 1 WHERE etag = (SELECT min(etag) FROM dead)",
        "1 dead revisions with a wrong `replaced_by`",
    ),
    ("UPDATE dead SET replaced_by = etag", "4 dead revisions with a wrong `replaced_by`"),
    (
        "INSERT INTO dead SELECT etag, etag + 1 FROM log WHERE id = 'orders/3'",
        "1 revisions that are both dead and current",
    ),
    ("DELETE FROM dead", "4 revisions in the log that are neither current nor dead"),
    ("DELETE FROM current WHERE key = 'orders/3'", "1 revisions in the log that are neither current nor dead"),
    ("DELETE FROM content WHERE size = 15000", "1 attachments without content"),
    ("UPDATE content SET staged = 1 WHERE size = 15", "1 attachments without content"),
    ("UPDATE log SET content = NULL WHERE id = 'photo/1'", "1 attachments without content"),
    ("UPDATE log SET content = NULL WHERE id = 'photo/1'", "1 contents that belong to no attachment"),
    ("INSERT INTO content VALUES(77, 0, x'', 0)", "1 contents that belong to no attachment"),
    ("UPDATE content SET size = size + 1 WHERE size = 15", "1 contents whose size or checksum differs from their "),
    ("UPDATE content SET sha256 = x'00' WHERE size = 15", "1 contents whose size or checksum differs from their "),
    ("INSERT INTO part VALUES(77 << 12, x'00')", "1 parts that belong to no content"),
    (
        "UPDATE log SET modified = modified - 1000000 WHERE id = 'orders/30'",
        "1 revisions with an earlier time than the one before",
    ),
]
AGAINST_DIGESTS = [
    (
        "UPDATE current SET key = 'elsewhere' WHERE key = 'orders/3'",
        "'orders/3': the pointer to it is filed under 'else",
    ),
    ("UPDATE current SET spelling = 'Orders/3' WHERE key = 'orders/3'", "'orders/3': the pointer to it is filed under"),
    ("UPDATE current SET spelling = NULL WHERE key = 'mixed/3'", "'Mixed/3': the pointer to it is filed"),
    ("UPDATE log SET id = 'Orders/3' WHERE id = 'orders/3'", "'Orders/3': the pointer to it is filed under 'orders/3'"),
    ("UPDATE log SET collection = 'X' WHERE id = 'orders/3'", "'orders/3': the pointer .* and collection 'Orders'"),
    ("UPDATE log SET collection = NULL WHERE id = 'orders/3'", "'orders/3': the pointer .* and collection 'Orders'"),
    ("UPDATE current SET collection = 'X' WHERE key = 'orders/3'", "'orders/3': the pointer .* and collection 'X'"),
    ("UPDATE log SET body = NULL WHERE id = 'orders/3'", "'orders/3': the log and the pointer do not agree on whether"),
    ("UPDATE log SET body = x'7b7d' WHERE id = 'orders/5' AND body IS NULL", "do not agree on whether it is deleted"),
    ("UPDATE current SET digest = NULL WHERE key = 'orders/3'", "do not agree on whether it is deleted"),
    ("UPDATE part SET data = CAST(replace(data, 'two', 'Two') AS BLOB)", "'photo/2': its content is not what was"),
    ("UPDATE part SET data = CAST(data || 'x' AS BLOB)", "attachment 'photo/2': its content is not what was written"),
    ("DELETE FROM part", "attachment 'photo/1': its content is not what was written"),
    ("UPDATE log SET body = CAST(body || ' ' AS BLOB) WHERE id = 'orders/3'", "it has 21 bytes where 20 were written"),
    ("UPDATE log SET body = CAST(replace(body, 'x', 'y') AS BLOB)", "'orders/3': its bytes are not what was written"),
    ("UPDATE log SET metadata = x'7b207d' WHERE id = 'orders/3'", "'orders/3': its bytes are not what was written"),
    ("UPDATE current SET digest = x'00' WHERE key = 'orders/3'", "'orders/3': the pointer's digest is not that of"),
    ("UPDATE log SET digest = x'00' WHERE id = 'orders/3'", "'orders/3': its bytes are not what was written"),
    (
        "UPDATE log SET modified = modified + 1 WHERE etag = (SELECT max(etag) FROM log)",
        "its bytes are not what was wri",
    ),
    (
        "UPDATE log SET metadata = x'7b207d' WHERE id = 'orders/5' AND body IS NULL",
        "'orders/5': its bytes are not what",
    ),
    ("UPDATE log SET body = x'7b207d' WHERE etag = (SELECT min(etag) FROM dead)", "'orders/5': its bytes are not what"),
    ("UPDATE part SET data = CAST(replace(data, 'three', 'Three') AS BLOB)", "'photo/3': its content is not what was"),
    (
        "UPDATE fingerprint SET count = count + 1 WHERE kind = -1",
        "the log holds 127 revisions, which are not the 128 that",
    ),
    (
        "UPDATE fingerprint SET digest = x'00' WHERE kind = -1",
        "the log holds 127 revisions, which are not the 127 that",
    ),
    (
        "DELETE FROM log WHERE id = 'orders/7' AND etag < 100; DELETE FROM dead WHERE etag = 8",
        "the log holds 126 revisions, which are not the 127 that were written",
    ),
    ("UPDATE fingerprint SET count = count + 1 WHERE collection = 'Orders'", "documents of 'Orders': 59 where 60"),
    ("UPDATE fingerprint SET bytes = bytes + 1 WHERE kind = 1", "attachments of 'Photos': the count is right"),
    ("UPDATE fingerprint SET digest = x'00' WHERE kind = 0", "documents: the count is right .59. but the"),
    ("DELETE FROM fingerprint WHERE kind = 1 AND collection = ''", "attachments: 1 where 0 are expected"),
    ("INSERT INTO fingerprint VALUES(0, 'Ghosts', 3, 3, x'03')", "documents of 'Ghosts': 0 where 3 are expected"),
    ("INSERT INTO fingerprint VALUES(7, 'Ghosts', 3, 3, x'03')", "members of the unknown kind 7 of 'Ghosts'"),
]


@pytest.mark.parametrize(("edit", "sentence"), AGAINST_CURRENT + AGAINST_DIGESTS)
def test_check_says_what_does_not_agree(folder: Path, clock: Clock, edit: str, sentence: str) -> None:
    with raw(folder) as connection:
        connection.execute(edit)
        assert connection.changes() > 0
    said = sentences(folder, clock)
    assert any(re.search(sentence, line) for line in said), said


def test_every_sentence_of_check_has_an_example() -> None:
    for what, _ in check._COUNTS:
        assert any(sentence[2:] in what for _, sentence in AGAINST_CURRENT), what


def test_check_reads_on_after_the_first_disagreement(folder: Path, clock: Clock) -> None:
    with raw(folder) as connection:
        connection.execute("UPDATE log SET metadata = x'7b207d' WHERE id IN ('orders/3', 'orders/4')")
        connection.execute("DELETE FROM current WHERE key = 'orders/9'")
    said = "\n".join(sentences(folder, clock))
    assert re.search("orders/3(.|\n)*orders/4", said)
    assert "neither current nor dead" in said


def test_an_index_that_does_not_agree(folder: Path, clock: Clock) -> None:
    with raw(folder) as connection:
        connection.execute("PRAGMA writable_schema=1")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'kind = 1', 'kind = 0') WHERE name = 'log_attachment'"
        )
    assert sentences(folder, clock) != []


# Bytes changed on the disk


def whole(folder: Path, clock: Clock) -> State | None:
    """All that can be read of a database, None when it says itself that it is damaged."""
    store = None
    try:
        store = SqliteStorage(folder, clock=clock)
        return None if list(store.check()) else state_now(store)
    except (DamagedDatabase, UnknownFormat) as error:
        return None if error.hint else {}
    finally:
        if store is not None:
            store.close()


def damaged_copies(original: bytes, seed: int, count: int) -> Iterator[bytes]:
    choose = random.Random(seed)
    for n in range(count):
        copy = bytearray(original)
        start = choose.randrange(len(copy))
        length = 1 if n % 4 else choose.choice([8, 512, PAGE_BYTES])
        for position in range(start, min(start + length, len(copy))):
            copy[position] ^= choose.randrange(1, 256)
        yield bytes(copy)


def test_changed_bytes_are_noticed_or_do_not_matter(folder: Path, clock: Clock) -> None:
    original = (folder / FILE).read_bytes()
    before = whole(folder, clock)
    assert before
    noticed = 0
    for n, copy in enumerate(damaged_copies(original, seed=20, count=300)):
        for path in folder.iterdir():
            path.unlink()
        (folder / FILE).write_bytes(copy)
        found = whole(folder, clock)
        assert found is None or found == before, n
        noticed += found is None
    assert 30 < noticed < 300


def test_a_file_that_is_cut_short_is_noticed(folder: Path, clock: Clock) -> None:
    original = (folder / FILE).read_bytes()
    for length in [0, 1, 99, 100, 4096, *range(PAGE_BYTES, len(original), PAGE_BYTES)]:
        (folder / FILE).write_bytes(original[:length])
        assert whole(folder, clock) is None, length


def test_pages_of_nothing_are_noticed(folder: Path, clock: Clock) -> None:
    original = (folder / FILE).read_bytes()
    pages = len(original) // PAGE_BYTES
    for page in range(pages):
        copy = bytearray(original)
        copy[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
        (folder / FILE).write_bytes(copy)
        assert whole(folder, clock) is None, page


def test_a_damaged_document_is_told_by_reading_too(folder: Path, clock: Clock) -> None:
    with raw(folder) as connection:
        connection.execute("UPDATE log SET id = CAST(x'ff' || id AS TEXT) WHERE id = 'orders/3'")
    store = SqliteStorage(folder, clock=clock)
    with pytest.raises(DamagedDatabase):
        store.get(0, "orders/3")
    with pytest.raises(DamagedDatabase), store.pin() as snapshot:
        list(store.changes(0, snapshot.etag))
    with pytest.raises(DamagedDatabase):
        list(store.check())
    assert store.get(0, "orders/4") is not None
    store.commit([put("orders/4")])
    store.close()
