"""Indexes with a name: the same embedded, on a server, and in asyncio."""

from __future__ import annotations

from typing import Any

import pytest

from muniment import IndexField, field
from muniment.errors import IndexNotFound, InvalidInput
from tests.waiting import until

ORDERS = [
    ("companies/1", "2026-05-04", "Red cars, running", ["products/1", "products/2"]),
    ("companies/2", "2026-05-06", "a blue car", ["products/2"]),
    ("companies/1", "2026-05-06", "nothing", []),
]


def fill(database: Any) -> None:
    for number, (company, day, notes, products) in enumerate(ORDERS, 1):
        lines = [{"Product": each, "Quantity": number} for each in products]
        body = {"Company": company, "OrderedAt": day, "Notes": notes, "Lines": lines, "Ship to": {"City": "Reims"}}
        database.put(f"orders/{number}", body, {"Raven-Entity-Name": "Orders"})
    database.put("others/1", {"Company": "companies/1", "Notes": "car"}, {"Raven-Entity-Name": "Others"})


FIELDS: Any = {
    "Customer": "Company",
    "Day": "OrderedAt",
    "Products": "Lines[].Product",
    "Sum": IndexField("Lines[].Quantity"),
    "City": "'Ship to'.City".replace("'", ""),
    "Notes": IndexField("Notes", search=True),
    "Stems": IndexField("Notes", stem=True),
}


def test_an_index_is_put_asked_and_dropped(any_database: Any) -> None:
    fill(any_database)
    indexes, session = any_database.indexes, any_database.open_session()
    assert (indexes.list(), indexes.get("Orders/All"), indexes.drop("Orders/All")) == ([], None, False)
    indexes.put("Orders/All", "Orders", FIELDS)
    until(lambda: indexes.get("orders/ALL").ready)
    [facts] = indexes.list()
    assert (facts.name, facts.collection, facts.progress, facts.automatic) == ("Orders/All", "Orders", 1.0, False)
    assert {name: each.path for name, each in facts.fields.items()} == {
        "Customer": "Company", "Day": "OrderedAt", "Products": "Lines.Product", "Sum": "Lines.Quantity",
        "City": "'Ship to'.City", "Notes": "Notes", "Stems": "Notes",
    }  # fmt: skip
    assert [name for name, each in facts.fields.items() if each.search] == ["Notes", "Stems"]
    assert [name for name, each in facts.fields.items() if each.stem] == ["Stems"]

    query = session.query(index="orders/all")
    asked = [
        (query.where(field("Customer") == "companies/1").where(field("Day") > "2026-05-05"), "3"),
        (query.where(Products="products/2").order_by("Day", descending=True), "21"),
        (query.search("Notes", "car"), "2"),
        (query.search("Stems", "car").order_by_score(), "12"),
        (query.search("Stems", '"car run"'), "1"),
        (query.search("Notes", "nothing blu*"), "23"),
        (query.search("Notes", "red cars", every=True), "1"),
        (query.where(City="reims", Sum=2), "2"),
        (query.where(field("@id") == "orders/3"), "3"),
        (query.where(None_="x"), ""),
    ]
    for each, expected in asked:
        assert [session.id(found) for found in each.all()] == [f"orders/{number}" for number in expected]
        assert each.count() == len(expected)
    plan = asked[0][0].explain()
    assert (plan.indexes, plan.scanned) == (("Orders/All",), False)
    assert "OrderedAt in Orders/All" in plan.why
    assert session.query("Orders").where(Company="companies/1").explain().indexes == ("Orders/All",)
    assert asked[-1][0].explain().unknown == ("None_",)
    assert query.order_by("Sum").select("Customer", Where="City").take(1).all() == [
        {"Customer": "companies/1", "Where": "Reims"}
    ]
    assert query.group_by("Customer", sums=["Sum"]) == [
        {"Customer": "companies/1", "Count": 2, "Sum": 2},
        {"Customer": "companies/2", "Count": 1, "Sum": 2},
    ]
    found = any_database.query(
        "from index 'Orders/All' as o where search(o.Stems, $words) and o.Customer != null order by score() "
        "select o.Customer, id() limit 1",
        words="running nothing",
    )
    assert (list(found), found.total) == ([{"Customer": "companies/1", "Id": "orders/3"}], 2)

    any_database.put("orders/1", {"Notes": "blue"}, {"Raven-Entity-Name": "Orders"})
    any_database.delete("orders/2")
    assert [each.id for each in any_database.query("from index 'Orders/All' where search(Notes, 'blue')")] == [
        "orders/1"
    ]

    assert indexes.drop("ORDERS/ALL")
    until(lambda: indexes.list() == [])
    with pytest.raises(IndexNotFound, match="no index 'Orders/All'"):
        any_database.query("from index 'Orders/All'")


def test_what_no_index_can_be(any_database: Any) -> None:
    put = any_database.indexes.put
    for fields, reason in (
        ({}, "has no fields"),
        ([], "has no fields"),
        ("Company", "one field"),
        ({"a b": "Company"}, "no name of an index's field"),
        ({"A": 3}, "no name of an index's field"),
        ({"A": "B..C"}, "no path to a field"),
        (["B[0]"], "no path to a field"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            put("Orders/X", "Orders", fields)
    for name in ("", " a", "Auto/Orders/ByX", "dynamic/Orders", None):
        with pytest.raises(InvalidInput, match="cannot be called"):
            put(name, "Orders", ["Company"])
    with pytest.raises(InvalidInput, match="of which collection it is"):
        any_database.open_session().query("Orders", index="Orders/X")
    with pytest.raises(IndexNotFound):
        any_database.open_session().query(index="Orders/X").all()
    assert any_database.indexes.list() == []


def test_an_index_of_all_documents_and_one_of_a_strange_collection(any_database: Any) -> None:
    fill(any_database)
    any_database.put("a", {"Select": {'B"\\': [{"ü": 1}, {"ü": 2}]}}, {"Raven-Entity-Name": 'My "Orders"'})
    any_database.indexes.put("All", None, ["Company", "@id", "@metadata.Raven-Entity-Name"])
    any_database.indexes.put("Strange", 'My "Orders"', {"N": 'Select.B"\\[].ü'})
    assert any_database.query("from index 'All' where Company = 'companies/1'").total == 3
    assert any_database.query("from index All where metadata_Raven_Entity_Name = 'Others'").total == 1
    assert [each.id for each in any_database.query("from index Strange where N = 2")] == ["a"]


def test_what_is_searched_for_is_highlighted(any_database: Any) -> None:
    fill(any_database)
    long = "x " * 100 + "Cars and more cars" + " y" * 100 + " running" + " z" * 100
    any_database.put("orders/4", {"Notes": [long, "red"]}, {"Raven-Entity-Name": "Orders"})
    query = any_database.open_session().query("Orders").search("Notes", "car running red", stem=True)
    found = query.highlight("Notes", length=30, count=5).all()
    assert found.total == len(found) == 3
    pieces = found.highlights["Notes"]
    assert pieces["orders/1"] == ["<b>Red</b> <b>cars</b>, <b>running</b>"]
    assert pieces["orders/2"] == ["a blue <b>car</b>"]
    assert [each.strip("xyz ") for each in pieces["orders/4"]] == [
        "<b>Cars</b> and more <b>cars</b>", "<b>running</b>", "<b>red</b>"
    ]  # fmt: skip
    assert all(len(each.replace("<b>", "").replace("</b>", "")) <= 30 for each in pieces["orders/4"])

    any_database.indexes.put("Orders/Stems", "Orders", {"Text": IndexField("Notes", stem=True)})
    rql = "from index 'Orders/Stems' where search(Text, '\"red car\"') include highlight(Text, 18, 2, $marks)"
    found = any_database.query(rql, marks={"PreTags": ["["], "PostTags": ["]"]})
    assert found.highlights == {"Text": {"orders/1": ["[Red cars], running"]}}
    for wrong in ("highlight(Text, 0)", "highlight(Text, 10, 0)"):
        with pytest.raises(InvalidInput, match="cannot be highlighted so"):
            any_database.query(f"from Orders where search(Text, 'x') include {wrong}")
    with pytest.raises(InvalidInput, match="PreTags"):
        any_database.query("from Orders include highlight(Text, 10, 1, 'x')")
