"""The last numbers given out: never lower than they were, and at least what the documents need, after any carry."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put
from muniment.backup.selection import Selection
from muniment.numbers import Series, numbers_for, series_of
from muniment.smuggler.folder import import_folder
from muniment.smuggler.options import SmugglerOptions
from muniment.smuggling import Backups, between
from muniment.storage.base import Storage
from tests.backup.state import opened

ORDERS = {"Raven-Entity-Name": "Orders"}
FILTERED = SmugglerOptions.of(metadata_filter=["Raven-Entity-Name=Orders"])


def number(database: DocumentDatabase, id: str) -> int | None:
    document = database.get(id)
    if document is None:
        return None
    [(_, value)] = document.json().items()
    assert isinstance(value, int)
    return value


def store(database: DocumentDatabase, count: int) -> list[str]:
    with database.open_session() as session:
        ids = [session.store({"n": n}, collection="Orders") for n in range(count)]
        session.save_changes()
    return ids


def hilo(database: DocumentDatabase) -> int | None:
    return number(database, "Raven/Hilo/orders")


@pytest.fixture
def shop(database: DocumentDatabase) -> DocumentDatabase:
    """Forty orders with ids from HiLo, three invoices with identities, and a company that nobody asks for."""
    store(database, 40)
    for _ in range(3):
        database.put("invoices/", {}, {"Raven-Entity-Name": "Invoices"})
    with database.open_session() as session:
        session.store({}, collection="Companies")
        session.save_changes()
    return database


@pytest.mark.parametrize(
    ("id", "series"),
    [
        ("Raven/Hilo/Orders", Series("orders/", "Max")),
        ("RAVEN/HILO/a/b", Series("a/b/", "Max")),
        ("Raven/Identities/Invoices/", Series("invoices/", "Value")),
        ("Raven/Hilo/", None),
        ("Raven/Databases/x", None),
        ("orders/1", None),
    ],
)
def test_what_a_number_is_for(id: str, series: Series | None) -> None:
    assert series_of(id) == series


def test_whose_number_an_id_has() -> None:
    both = ("raven/hilo/orders", "raven/identities/orders/")
    assert numbers_for("Orders/830") == numbers_for("orders/1-A") == both
    assert numbers_for("orders/1/lines/7") == ("raven/hilo/orders/1/lines", "raven/identities/orders/1/lines/")
    for id in ("orders", "orders/", "orders/x", "orders/1x", "orders/-1", "1", "orders/1-AB"):
        assert numbers_for(id) == (), id


def test_the_highest_number_of_a_prefix(database: DocumentDatabase) -> None:
    storage: Storage = database.storage
    assert storage.highest_number("orders/") == 0
    ids = [
        "Orders/9",
        "orders/10-A",
        "orders/x",
        "orders/11/lines",
        "orders/12x",
        "order/99",
        "orders0/99",
        "orders/-50",
    ]
    database.batch([Put(id, {}) for id in [*ids, "orders/13"]])
    assert storage.highest_number("ORDERS/") == 13
    database.delete("orders/13")
    assert storage.highest_number("orders/") == 10
    database.put_attachment("orders/77", b"")
    assert storage.highest_number("orders/") == 10
    database.put("orders/999999999999999999", {})
    database.put("orders/9999999999999999999", {})  # which is in no range that anybody will reach
    assert storage.highest_number("orders/") == 999_999_999_999_999_999


@pytest.mark.parametrize(
    "selection",
    [
        Selection.of(collections=("Orders",)),
        Selection.of(prefixes=("orders/",)),
        Selection.of(ids=("orders/1", "orders/40")),
    ],
)
def test_a_part_that_is_restored_brings_its_numbers(
    shop: DocumentDatabase, tmp_path: Path, selection: Selection
) -> None:
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "part", selection=selection)
    with opened(tmp_path / "part") as part:
        assert hilo(part) == 64
        assert [document.id for document in part.by_prefix("Raven/")] == ["Raven/Hilo/orders"]
        assert store(part, 1) == ["orders/65"]
        assert part.get("orders/1").json() == {"n": 0}  # type: ignore[union-attr]


def test_identities_come_with_a_part_too(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    for name, selection in {
        "a": Selection.of(collections=("Invoices",)),
        "b": Selection.of(ids=("invoices/2",)),
    }.items():
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / name, selection=selection)
        with opened(tmp_path / name) as part:
            assert part.put("invoices/", {}).id == "invoices/4"
            assert [document.id for document in part.by_prefix("Raven/")] == ["Raven/Identities/invoices/"]


def test_a_restore_into_a_database_never_sets_numbers_back(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    store(shop, 60)
    shop.put("invoices/", {})
    before = hilo(shop)
    assert before == 128
    restored = shop.maintenance.restore_into(tmp_path / "backups", on_conflict="overwrite")
    assert restored.difference.count("deleted") == 61
    assert (hilo(shop), number(shop, "Raven/Identities/invoices/")) == (128, 4)


def test_a_restore_into_a_database_raises_numbers(shop: DocumentDatabase, tmp_path: Path) -> None:
    """Both those that are lower there and those that are missing."""
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    for selection in (None, Selection.of(collections=("Orders",))):
        for low in ('{"Max":3}', None):
            with DocumentDatabase(tmp_path / f"other-{low}-{selection is None}") as other:
                if low:
                    other.put("Raven/Hilo/orders", low.encode())
                other.maintenance.restore_into(
                    tmp_path / "backups", on_conflict="skip", selection=selection, other_database=True
                )
                assert hilo(other) == 64
                assert len(other.by_prefix("orders/", limit=99)) == 40
                assert other.check() == []


def dump_of(database: DocumentDatabase, options: SmugglerOptions | None = None, format: str = "ravendbdump") -> bytes:
    dump = io.BytesIO()
    database.export(dump, format=format, options=options)  # type: ignore[arg-type]
    return dump.getvalue()


@pytest.mark.parametrize("format", ["ravendbdump", "ravendump"])
def test_an_older_dump_never_sets_numbers_back(shop: DocumentDatabase, format: str) -> None:
    older = dump_of(shop, format=format)
    store(shop, 60)
    shop.put("invoices/", {})
    shop.import_dump(older)
    assert (hilo(shop), number(shop, "Raven/Identities/invoices/")) == (128, 4)
    shop.import_dump(older, options=FILTERED)
    assert hilo(shop) == 128


@pytest.mark.parametrize("format", ["ravendbdump", "ravendump"])
def test_filters_leave_the_numbers_of_what_they_take(shop: DocumentDatabase, tmp_path: Path, format: str) -> None:
    filtered_on_its_way_out, whole = dump_of(shop, FILTERED, format), dump_of(shop, format=format)
    for name, dump, options in (("out", filtered_on_its_way_out, None), ("in", whole, FILTERED)):
        with DocumentDatabase(tmp_path / name) as copy:
            copy.import_dump(dump, options=options)
            assert hilo(copy) == 64
            assert copy.get("Raven/Hilo/companies") is None
            assert store(copy, 1) == ["orders/65"]


def test_documents_that_come_raise_the_numbers_that_are_there(shop: DocumentDatabase, tmp_path: Path) -> None:
    """A dump of RavenDB may have them without the number: of one collection, or made while others wrote."""
    shop.put("Raven/Hilo/orders", {"Max": 7})  # as a client that lost its memory would
    shop.put("orders/830-A", {}, ORDERS)
    with DocumentDatabase(tmp_path / "copy") as copy:
        copy.put("Raven/Hilo/orders", {"Max": 5, "Comment": 1}, {"Mine": True})
        copy.put("Raven/Identities/invoices/", {"Value": 1})
        copy.import_dump(dump_of(shop))
        assert copy.get("Raven/Hilo/orders").json() == {"Max": 830}  # type: ignore[union-attr]
        assert number(copy, "Raven/Identities/invoices/") == 3
        copy.put("Raven/Hilo/orders", {"Max": 5, "Comment": 1.10}, {"Mine": True})
        copy.import_dump(dump_of(shop, FILTERED))
        document = copy.get("Raven/Hilo/orders")
        assert document is not None
        assert document.json() == {"Max": 830}


def test_incremental_folders_raise_numbers_and_never_delete_them(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.export_incremental(tmp_path / "exports")
    store(shop, 60)
    shop.export_incremental(tmp_path / "exports")
    shop.delete("Raven/Hilo/orders")
    shop.export_incremental(tmp_path / "exports")
    with DocumentDatabase(tmp_path / "copy") as copy:
        copy.put("Raven/Hilo/companies", {"Max": 999})
        import_folder(tmp_path / "exports", copy.import_dump)
        assert (hilo(copy), number(copy, "Raven/Hilo/companies")) == (128, 999)


def test_between_brings_numbers(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    with DocumentDatabase(tmp_path / "a") as a, DocumentDatabase(tmp_path / "b") as b:
        between(shop, a, options=FILTERED)
        between(Backups(tmp_path / "backups"), b, options=FILTERED)
        assert (hilo(a), hilo(b)) == (64, 64)
        a.put("Raven/Hilo/orders", {"Max": 1000})
        between(b, a)
        assert hilo(a) == 1000


def test_lines_hold_only_what_was_asked_for(shop: DocumentDatabase) -> None:
    lines = dump_of(shop, FILTERED, "ndjson").splitlines()
    assert len(lines) == 40
    assert {json.loads(line)["@metadata"]["@collection"] for line in lines} == {"Orders"}


def test_an_import_that_stops_at_a_number_says_how_to_go_on(shop: DocumentDatabase, tmp_path: Path) -> None:
    dump = dump_of(shop)
    with DocumentDatabase(tmp_path / "copy") as copy:
        token, rounds = None, 0
        while True:
            found = copy.import_dump(dump, options=SmugglerOptions.of(limit=1, continuation=token))
            token, rounds = found.continuation, rounds + 1
            if token is None:
                break
            assert rounds < 100
        with DocumentDatabase(tmp_path / "whole") as whole:
            whole.import_dump(dump)
            assert copy.snapshot().fingerprint == whole.snapshot().fingerprint
