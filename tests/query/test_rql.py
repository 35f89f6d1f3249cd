"""RavenDB's query language."""

from __future__ import annotations

from contextlib import suppress
from sys import getrefcount
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from muniment.errors import InvalidInput, InvalidQuery
from muniment.query.keys import Number, key_of, text_key
from muniment.query.model import (
    EVERYTHING,
    And,
    Column,
    EndsWith,
    Equal,
    Exists,
    Field,
    Group,
    In,
    Not,
    Or,
    Order,
    Query,
    Range,
    Search,
    StartsWith,
)
from muniment.query.rql import parse

A, B = Field(("A",)), Field(("B",))


def test_everything_at_once() -> None:
    text = """
        from Orders as o  // those of a customer
        where o.Freight > 10 and (o.Company = $c or o.Lines[].Product in ($products, 'products/3'))
        order by OrderedAt desc, Freight as double, 'Ship To'.City as string asc
        include Company, o.Lines[].Product
        select o.OrderedAt, Address.City as Town, id() as Id
        limit 20, 10
    """
    assert parse(text, {"c": "companies/1", "$products": ["products/1", "products/2"]}) == Query(
        "Orders",
        where=And(
            (
                Range(Field(("Freight",)), low="10", low_open=True),
                Or(
                    (
                        Equal(Field(("Company",)), "companies/1"),
                        In(Field(("Lines", "Product")), ("products/1", "products/2", "products/3")),
                    )
                ),
            )
        ),
        order=(
            Order(Field(("OrderedAt",)), True),
            Order(Field(("Freight",), "number")),
            Order(Field(("Ship To", "City"), "text")),
        ),
        include=("Company", "Lines.Product"),
        select=(Column("OrderedAt", ("OrderedAt",)), Column("Town", ("Address", "City")), Column("Id", ("@id",))),
        skip=20,
        take=10,
    )


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("A = 'x'", Equal(A, "x")),
        ("A == null", Equal(A, None)),
        ("A != true", Not(Equal(A, True))),
        ("not A = 'it''s'", Not(Equal(A, "it's"))),
        (r"A = 'a\'b\n\u0041'", Equal(A, "a'b\nA")),
        ('A = "x"', Equal(A, "x")),
        ("A >= -1.50", Range(A, low="-1.50")),
        ("A < 5", Range(A, high="5", high_open=True)),
        ("A between 1 and 2 and B = 1", And((Range(A, "1", "2"), Equal(B, "1")))),
        ("A = 1 or B = 1 and A = 2", Or((Equal(A, "1"), And((Equal(B, "1"), Equal(A, "2")))))),
        ("A in ('x', null)", In(A, ("x", None))),
        ("A in ()", In(A, ())),
        ("A all in ('x', 'y')", And((Equal(A, "x"), Equal(A, "y")))),
        ("startsWith(A, 'x')", StartsWith(A, "x")),
        ("endsWith(A, 'x')", EndsWith(A, "x")),
        ("EXISTS(A)", Exists(A)),
        ("search(A, 'red car')", Search(A, "red car")),
        ("search(A, 'red car', and)", Search(A, "red car", True)),
        ("boost(search(A, 'red'), 10)", Search(A, "red")),
        ("exact(A = 'X' or A in ('Y'))", Or((Equal(A, "X", True), In(A, ("Y",), True)))),
        ("id() = 'orders/1'", Equal(Field(("@id",)), "orders/1")),
        ("startsWith(id(o), 'orders/')", StartsWith(Field(("@id",)), "orders/")),
        ("@metadata.'Raven-Clr-Type' = 'x'", Equal(Field(("@metadata", "Raven-Clr-Type")), "x")),
        ("@metadata.@last-modified > '2026'", Range(Field(("@metadata", "@last-modified")), low="2026", low_open=True)),
        ("true and A = 1", And((EVERYTHING, Equal(A, "1")))),
    ],
)
def test_conditions(text: str, condition: Any) -> None:
    assert parse(f"from Orders where {text}").where == condition
    assert parse(f"FROM 'Orders' as o WHERE ({text});").where == condition


def test_numbers_are_not_texts() -> None:
    [number, text] = parse("from Orders where A in (1.10, '1.10')").where.values  # type: ignore[union-attr]
    assert (key_of(number), key_of(text)) == (key_of(1.1), text_key("1.10"))


def test_groups() -> None:
    found = parse(
        "from Orders group by Company select Company as Who, count(), sum(Freight) as Total order by count() desc"
    )
    assert found.group == Group((Field(("Company",)),), (Field(("Freight",)),))
    assert found.select == (
        Column("Who", ("Company",)),
        Column("Count", ("@count",)),
        Column("Total", ("@sum", "Freight")),
    )
    assert found.order == (Order(Field(("@count",)), True),)


def test_sources_and_limits() -> None:
    assert parse("from @all_docs") == Query()
    assert parse("from index 'Orders/Totals' where A = 1").index == "Orders/Totals"
    assert parse("from Orders o where o.A = 1").where == Equal(A, "1")
    assert parse("from Orders limit 10 offset $s", {"s": 5}) == Query("Orders", skip=5, take=10)
    assert parse("from Orders where search(A, 'x') order by score(), B").order == (
        Order(Field(("@score",))),
        Order(Field(("B",))),
    )
    assert parse("from Orders select distinct A").distinct
    assert parse("from Orders select *").select == ()


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", 0, "expected 'from', found the end"),
        ("select 1", 0, "expected 'from', found 'select'"),
        ("from Orders where", 17, "expected a field, found the end"),
        ("from Orders where A", 19, "expected =, !=, <, <=, >, >=, between or in, found the end"),
        ("from Orders where A = order by B", 22, "expected a value, found 'order'"),
        ("from Orders where A = 'x", 22, "this quote is not closed"),
        ("from Orders where A = $x", 22, "the parameter $x is not given"),
        ("from Orders where (A = 1", 24, "expected ')', found the end"),
        ("from Orders where A = 1 B", 24, "expected a clause"),
        ("from Orders where A = 1 where B = 1", 24, "'where' stands here a second time"),
        ("from Orders where A ~ 1", 20, "'~' means nothing here"),
        ("from Orders where lucene(A, 'x')", 18, "lucene() is not evaluated"),
        ("from Orders where A = 1 load Company as c", 24, "'load' is not evaluated"),
        ("from Orders as o select { A: o.A }", 24, "an object in JavaScript"),
        ("declare function f(o) { return o; } from Orders", 0, "functions in JavaScript"),
        ("from Orders order by random()", 21, "not ordered by random()"),
        ("from Orders where boost(search(A, 'x'), 2) order by score()", 18, "boost() changes nothing in the order"),
        ("from Orders include counters('x')", 20, "counters() is not evaluated"),
        ("from Orders limit x", 18, "expected a value, found 'x'"),
        ("from Orders limit -1", 18, "expected a whole number"),
        ("from Orders select count()", 26, "need 'group by'"),
        ("from Orders update { this.A = 1 }", 12, "no query but a change"),
        ("from Orders where spatial.within(A, 1)", 32, "spatial.within() is not evaluated"),
        ("from Orders where A = 1 or " + "(" * 300, 27 + 200, "nested more than 200 deep"),
    ],
)
def test_what_is_beyond_is_refused_with_its_place(text: str, place: int, reason: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse(text)
    assert reason in caught.value.message
    assert (caught.value.place, f"column {place + 1}" in caught.value.message) == (place, True)


def test_the_line_is_told() -> None:
    with pytest.raises(InvalidQuery, match="line 2, column 7: expected a field"):
        parse("from Orders\nwhere = 1")


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(InvalidInput, match="more than 10,000 clauses"):
        parse("from Orders where A in ($all)", {"all": list(range(10_001))})
    with pytest.raises(InvalidInput, match="more than 10,000 clauses"):
        parse("from Orders where search(A, $all)", {"all": "x " * 10_001})
    with pytest.raises(InvalidInput, match=r"Freight is no field, count or sum of the groups"):
        parse("from Orders group by Company select Freight")


@given(st.text(alphabet="from Orders where A=1'\"()$[].,and or<>in between\n", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for tried in (text, f"from Orders where {text}"):
        with suppress(InvalidInput):
            parse(tried)


def test_long_numbers_are_not_remembered() -> None:
    number = Number("1" * 5000)
    before = getrefcount(number)
    assert key_of(number) == key_of(Number("1" * 5000))
    assert getrefcount(number) == before
