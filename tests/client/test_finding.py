"""Queries of a session: the same embedded, on a server, and in asyncio."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from muniment import AsyncDocumentStore, Document, DocumentDatabase, DocumentStore, Put, field
from muniment.errors import InvalidDocument, InvalidInput, InvalidQuery
from tests.waiting import PATIENCE

ORDERS = [
    b"""{"Company":"companies/1","Freight":32.38,"OrderedAt":"2026-07-04","Tags":["new","eu"],"Took":"1.02:00:00",
        "Lines":[{"Product":"products/1","Quantity":12}],"ShipTo":{"City":"Reims"}}""",
    b"""{"Company":"companies/2","Freight":11.610,"OrderedAt":"2026-07-05","Tags":[],"Took":"23:00:00","ShipTo":null,
        "Lines":[{"Product":"products/2","Quantity":9},{"Product":"products/1","Quantity":40}]}""",
    b'{"Company":"Companies/1","Freight":1234567890123456789012345678901234567890.5,"OrderedAt":"2026-07-08"}',
]


def fill(database: Any) -> None:
    for number, body in enumerate(ORDERS, 1):
        database.put(f"orders/{number}", body, {"Raven-Entity-Name": "Orders"})
    for number in (1, 2):
        database.put(f"companies/{number}", {"Name": f"Company {number}"}, {"Raven-Entity-Name": "Companies"})


def ids(session: Any, query: Any) -> list[str]:
    return [session.id(each) for each in query.all()]


CONDITIONS = [
    (field("Company") == "companies/1", "13"),
    (field("Company").equals("companies/1", exact=True), "1"),
    (field("Company") != "companies/1", "2"),
    (field("Freight") > 11.61, "13"),
    (field("Freight") >= 11.61, "123"),
    (field("Freight") == Decimal("1234567890123456789012345678901234567890.50"), "3"),
    (field("Freight") < Decimal("1234567890123456789012345678901234567890.4"), "12"),
    ((field("Freight") <= 20) | (field("ShipTo.City") == "reims"), "12"),
    (field("OrderedAt").between(date(2026, 7, 4), date(2026, 7, 5)), "12"),
    (field("OrderedAt").is_in(["2026-07-08", "2026-07-05"]), "23"),
    (field("Lines[].Product") == "products/1", "12"),
    (field("Lines[].Product").has_all(["products/1", "products/2"]), "2"),
    (field("Tags") == "EU", "1"),
    (field("Tags").exists() & ~(field("Tags") == "eu"), "2"),
    (field("ShipTo").exists(), "12"),
    (field("ShipTo") == None, "2"),  # noqa: E711
    (field("Took") > timedelta(days=1), "1"),
    (field("Took").between(timedelta(hours=1), timedelta(hours=23)), "2"),
    (field("@id") == "ORDERS/2", "2"),
    (field("@id").starts_with("orders/"), "123"),
    (field("Company").ends_with("S/1"), "13"),
    (field("ShipTo.City").contains("EIM"), "1"),
    (field("@metadata.Raven-Entity-Name") == "orders", "123"),
]


def test_conditions(any_database: Any) -> None:
    fill(any_database)
    session = any_database.open_session()
    for condition, expected in CONDITIONS:
        found = ids(session, session.query("Orders").where(condition))
        assert found == [f"orders/{number}" for number in expected], condition


def test_what_a_query_gives(any_database: Any) -> None:
    fill(any_database)
    session = any_database.open_session()
    query = session.query("orders").order_by("Freight", descending=True)
    assert ids(session, query) == ["orders/3", "orders/1", "orders/2"]
    assert ids(session, query.skip(1).take(1)) == ["orders/1"]
    assert ids(session, session.query("Orders").order_by("Took", kind="duration")) == [
        "orders/3",
        "orders/2",
        "orders/1",
    ]
    assert (query.take(1).count(), session.query().count()) == (3, 5)
    assert session.query("Orders").where(Company="companies/2").first()["Freight"] == 11.61
    assert session.query("None").first() is None
    assert session.query("Orders").select("Freight", City="ShipTo.City").take(1).all() == [
        {"Freight": 32.38, "City": "Reims"}
    ]
    assert session.query("Orders").select("Lines[].Product").where(Company="companies/2").all() == [
        {"Product": ["products/2", "products/1"]}
    ]
    assert session.query("Orders").select(Tag="Nothing").distinct().all() == [{}]
    groups = session.query("Orders").group_by("Company", sums=["Freight"])
    assert groups[0]["Count"] == 1
    assert session.query("Orders").where(field("Freight") < 100).group_by("Tags", sums=["Lines[].Quantity"]) == [
        {"Tags": None, "Count": 1, "Quantity": 49},
        {"Tags": "eu", "Count": 1, "Quantity": 12},
        {"Tags": "new", "Count": 1, "Quantity": 12},
    ]
    assert query.explain().scanned


@dataclass
class Order:
    Company: str
    Freight: float


def test_objects_belong_to_the_session(any_database: Any) -> None:
    fill(any_database)
    session = any_database.open_session()
    first = session.load("orders/1", Order)
    first.Freight = 1
    session.delete("orders/3")
    found = session.query("Orders", Order).order_by("OrderedAt").all()
    assert [type(each) for each in found] == [Order, Order]
    assert (found[0] is first, found[0].Freight) == (True, 1)
    found[1].Freight = 2
    session.save_changes()
    assert any_database.get("orders/2").json()["Freight"] == 2
    assert any_database.get("orders/3") is None


def test_included_documents_are_not_asked_for_again(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        fill(database)
        session = database.open_session()
        session.query("Orders").include("Company").all()
        database.get_many = None  # type: ignore[assignment, method-assign]
        database.close()
        assert [session.load(f"companies/{number}") for number in (1, 2)] == [
            {"Name": "Company 1"},
            {"Name": "Company 2"},
        ]


def test_rql(any_database: Any) -> None:
    fill(any_database)
    found = any_database.query("from Orders where Company = $c order by Freight", c="companies/1")
    assert [(type(each), each.id) for each in found] == [(Document, "orders/1"), (Document, "orders/3")]
    assert (found[0].body, found.total) == (ORDERS[0], 2)
    rows = any_database.query("from Orders where Freight > $least select Freight limit 1", least=Decimal("99.5"))
    assert str(rows[0]["Freight"].text) == "1234567890123456789012345678901234567890.5"
    assert any_database.query("from Orders group by Lines[].Product select key(), count() order by count() desc") == [
        {"Key": "products/1", "Count": 2},
        {"Key": None, "Count": 1},
        {"Key": "products/2", "Count": 1},
    ]
    with pytest.raises(InvalidQuery, match="column 20: expected a field, found the end"):
        any_database.query("from Orders where  ")
    with pytest.raises(InvalidInput, match="cannot go from 1 to 'a'"):
        any_database.query("from Orders where A between $a and $b", a=1, b="a")


def test_bad_conditions(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="each in brackets"):
        bool(field("A") == 1)
    for path in ("", "A..B", "A[0]", 3):
        with pytest.raises(InvalidInput, match="is no path"):
            field(path)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="with lengths of time only"):
        field("A").between(timedelta(1), 3)
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {"A": 1})
        for value in (float("nan"), object(), [1], {}):
            with pytest.raises(InvalidInput):
                database.open_session().query().where(field("A") == value).all()
        with pytest.raises(InvalidInput, match="is no condition"):
            database.open_session().query().where("A = 1")  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="skip cannot be -1"):
            database.open_session().query().skip(-1).all()


def test_iterating_takes_page_after_page(store: DocumentStore, tmp_path: Path) -> None:
    puts = [Put(f"a/{number}", {"N": number}, {"Raven-Entity-Name": "A"}) for number in range(1100)]
    store.batch(puts)
    numbers = [each["N"] for each in store.open_session().query("A").order_by("N")]
    assert numbers == list(range(1100))

    async def asked() -> list[int]:
        async with AsyncDocumentStore(store.url, store.name) as asynchronous:
            session = asynchronous.open_session()
            return [each["N"] async for each in session.query("A").where(field("N") >= 10).skip(5)]

    assert asyncio.run(asked()) == list(range(15, 1100))


def test_a_stream_keeps_every_byte_and_is_of_one_moment(any_database: Any) -> None:
    bodies = [b'{"N":1,\n "T":"a\\nb"}', b'{\r\n"N":2}', '{"N":3,"T":"é"}'.encode()]
    for number, body in enumerate(bodies):
        any_database.put(f"a/{number}", body, {"Raven-Entity-Name": "A"})
    found = any_database.stream("from A order by N")
    assert [document.body for document in found] == bodies
    assert list(any_database.stream("from A where N > $n select N", n=1)) == [{"N": 2}, {"N": 3}]
    with pytest.raises(InvalidQuery):
        list(any_database.stream("from"))


def test_a_malformed_query_is_refused(store: DocumentStore) -> None:
    url = f"{store.url}/databases/{store.name}/query"
    for body, status in ((b"{", 422), (b"{}", 400), (b'{"Query":{"where":{"type":"none"}}}', 422), (b'{"X":1}', 422)):
        assert (
            httpx.post(
                url, content=body, headers={"Content-Type": "application/json"}, timeout=PATIENCE, verify=False
            ).status_code
            == status
        )
    assert InvalidDocument.status == 422
