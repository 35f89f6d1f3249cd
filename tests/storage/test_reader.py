"""What every storage promises about reading: by id, by the beginning of ids, by collection, and by etag."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.storage.base import Storage
from tests.sampled import count
from tests.storage.place import Place
from tests.storage.reference import attach, delete, detach, lowered, put, state_now

EVERYTHING = 10_000


def ids(revisions: list[Revision]) -> list[str]:
    return [revision.id for revision in revisions]


def test_get_gives_the_whole_revision(store: Storage) -> None:
    [written] = store.commit([put("Orders/1", b'{"v":1}', b'{"m":1}', "Orders")])
    with store.pin() as snapshot:
        expected = (written.etag, DOCUMENT, "Orders/1", "Orders", snapshot.modified, b'{"m":1}', b'{"v":1}', 7, None)
    assert store.get(DOCUMENT, "orders/1") == expected
    assert store.by_prefix(DOCUMENT, "o", 0, 9) == [expected]
    assert store.by_collection("Orders", 0, 9) == [expected]
    assert store.by_etag(DOCUMENT, 0, 9) == [expected]
    assert store.get(ATTACHMENT, "orders/1") is None
    assert store.get(DOCUMENT, "orders/") is None
    assert store.get(DOCUMENT, "orders/1\0") is None
    assert store.get(DOCUMENT, "") is None


# By the beginning of the id

EDGES = [
    *("a", "A", "a/", "a/1", "A/10", "a/2", "a0", "b", "B/x", "ß", "SS", "s", "ss1", "ẞ2", "ı", "İ", "ΑΣ", "ας/1", "z"),
    *("\0", "\0\0", "a\0b", "a\x01", "\x7f", "\x80", "é", "É1", "e\u0301", "ﬁ", "FI1", "f"),
    *("\ud7ff", "\ud7ff1", "\ue000", "\ue0001", "a\ud7ff", "a\ue000", "\uffff", "\uffff\uffff", "\U00010000"),
    *(
        "\U0010ffff",
        "\U0010ffff\U0010ffff",
        "\U0010ffffa",
        "a\U0010ffff",
        "a\U0010ffffb",
        "a\U0010fffe",
        "%",
        "_",
        "a%",
    ),
]


@pytest.fixture
def edges(store: Storage) -> Storage:
    store.commit([put(id) for id in EDGES])
    attach(store, "a-attachment", [b"x"])
    store.commit([put("a-deleted"), delete("a-deleted")])
    return store


def beginning(prefix: str) -> list[str]:
    """The ids that begin so when case does not count, in the order of their code points."""
    first_spellings = {lowered(id): id for id in reversed(EDGES)}
    return [id for key, id in sorted(first_spellings.items()) if key.startswith(lowered(prefix))]


@pytest.mark.parametrize(
    "prefix", sorted({id[:n] for id in EDGES for n in range(3)} | {"nothing", "a\ud7fe", "\U0010fffe"})
)
def test_by_prefix_finds_what_begins_so_in_any_case(edges: Storage, prefix: str) -> None:
    assert ids(edges.by_prefix(DOCUMENT, prefix, 0, EVERYTHING)) == beginning(prefix)
    assert ids(edges.by_prefix(DOCUMENT, prefix.upper(), 0, EVERYTHING)) == beginning(prefix.upper())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=count(20, whole=1000))
@given(prefix=st.text(max_size=3) | st.text(alphabet="\ud7ff\ue000\U0010ffff\0aAsSß", max_size=3))
def test_by_prefix_of_any_text(edges: Storage, prefix: str) -> None:
    assert ids(edges.by_prefix(DOCUMENT, prefix, 0, EVERYTHING)) == beginning(prefix)


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_by_prefix_in_pages(edges: Storage, limit: int) -> None:
    for prefix in ("", "a", "\U0010ffff"):
        found: list[str] = []
        while page := edges.by_prefix(DOCUMENT, prefix, len(found), limit):
            assert len(page) <= limit
            found += ids(page)
        assert found == beginning(prefix)
    assert edges.by_prefix(DOCUMENT, "a", 0, 0) == []
    assert edges.by_prefix(DOCUMENT, "a", EVERYTHING, 5) == []


def test_attachments_by_prefix(store: Storage) -> None:
    store.commit([put("photos/0")])
    for key in ("photos/2", "Photos/1", "other", "photos/3"):
        attach(store, key, [key.encode()])
    store.commit([detach("PHOTOS/3")])
    found = store.by_prefix(ATTACHMENT, "PHOTOS/", 0, 9)
    assert [(r.id, r.size, b"".join(store.content(r))) for r in found] == [
        ("Photos/1", 8, b"Photos/1"),
        ("photos/2", 8, b"photos/2"),
    ]


# By collection


@pytest.fixture
def collections(store: Storage) -> Storage:
    store.commit([put(f"{n}", b'{"n":%d}' % n, collection=["Orders", "Companies", None][n % 3]) for n in range(30)])
    store.commit([put("0", b'{"again":0}', collection="Orders"), put("3", collection="Companies"), delete("6")])
    store.commit([put("9"), put("1", collection="Orders"), put("40", collection="ORDERS")])
    attach(store, "photo", [b"x"], collection="Orders")
    return store


ORDERS = ["12", "15", "18", "21", "24", "27", "0", "1", "40"]


def test_by_collection_gives_what_is_in_it_now_in_the_order_of_change(collections: Storage) -> None:
    for name in ("Orders", "orders", "ORDERS"):
        assert ids(collections.by_collection(name, 0, EVERYTHING)) == ORDERS
    assert ids(collections.by_collection("Companies", 0, EVERYTHING))[-1] == "3"
    for name in ("", "Order", "Orders ", "Orders\0", "Ordersx", "%", "Photos"):
        assert collections.by_collection(name, 0, EVERYTHING) == []


@pytest.mark.parametrize("limit", [1, 2, 4, 100])
def test_by_collection_in_pages(collections: Storage, limit: int) -> None:
    found: list[Revision] = []
    while page := collections.by_collection("orders", found[-1].etag if found else 0, limit):
        assert len(page) <= limit
        found += page
    assert ids(found) == ORDERS
    assert collections.by_collection("orders", 0, 0) == []


@pytest.mark.parametrize("name", ["Ünïcode", "中文", "with space", "'quoted\"", "%_", "\U0010ffff", "x" * 5000])
def test_collections_of_any_name(store: Storage, name: str) -> None:
    store.commit([put("a", collection=name), put("b", collection="Others"), put("c")])
    assert ids(store.by_collection(name, 0, 9)) == ["a"]
    assert state_now(store)[DOCUMENT, "a"].collection == name


def test_a_collection_with_nul_in_its_name(store: Storage) -> None:
    store.commit([put("a", collection="x\0a"), put("b", collection="x\0b"), put("c", collection="x")])
    for id, name in (("a", "x\0a"), ("b", "x\0b"), ("c", "x")):
        assert ids(store.by_collection(name, 0, 9)) == [id]


# By etag


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_by_etag_gives_everything_current_in_the_order_of_change(place: Place, limit: int) -> None:
    store = place.store
    store.commit([put(f"{n}") for n in range(20)])
    for n in range(5):
        attach(store, f"photo/{n}", [b"x"])
    store.commit([put("3"), delete("4"), put("0"), put("3"), detach("photo/1"), put("4"), delete("7")])
    attach(store, "photo/0", [b"y"])
    expected = {
        DOCUMENT: [*(f"{n}" for n in range(20) if n not in (0, 3, 4, 7)), "0", "3", "4"],
        ATTACHMENT: ["photo/2", "photo/3", "photo/4", "photo/0"],
    }
    for _ in range(2):
        for kind in (DOCUMENT, ATTACHMENT):
            found: list[Revision] = []
            while page := store.by_etag(kind, found[-1].etag if found else 0, limit):
                assert len(page) <= limit
                found += page
            assert ids(found) == expected[kind]
            assert store.by_etag(kind, found[-1].etag, limit) == []
            assert store.by_etag(kind, 0, 0) == []
        store.purge()
        store = place.reopen()


def test_a_reader_who_follows_etags_misses_no_change(store: Storage) -> None:
    seen: dict[str, bytes | None] = {}
    after = 0
    for n in range(40):
        store.commit([put(f"orders/{m}", b'{"v":%d}' % n) for m in range(n % 7, 20, 1 + n % 5)])
        for revision in store.by_etag(DOCUMENT, after, EVERYTHING):
            assert revision.etag > after
            seen[revision.id], after = revision.body, revision.etag
    assert seen == {row.id: row.content for row in state_now(store).values()}


def test_what_is_read_is_what_was_committed_last(store: Storage) -> None:
    for n in range(200):
        store.commit([put("a", b'{"n":%d}' % n, collection="As")])
        for revision in (
            store.get(DOCUMENT, "a"),
            *store.by_etag(DOCUMENT, 0, 9),
            *store.by_collection("As", 0, 9),
            *store.by_prefix(DOCUMENT, "", 0, 9),
        ):
            assert revision is not None
            assert revision.body == b'{"n":%d}' % n
