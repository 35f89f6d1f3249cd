"""Lucene's syntax, as RavenDB 3 and its clients write it."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.errors import InvalidInput, InvalidQuery
from muniment.query.keys import Number
from muniment.query.lucene import parse
from muniment.query.model import (
    EVERYTHING,
    And,
    Contains,
    EndsWith,
    Equal,
    Exists,
    Field,
    In,
    Not,
    Or,
    Range,
    Search,
    StartsWith,
)

A, B = Field(("A",)), Field(("B",))


def has(field: Field, *values: Any) -> In:
    return In(field, values)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", EVERYTHING),
        ("*:*", EVERYTHING),
        ("A:x", has(A, "x")),
        ("A:4", has(A, "4", Number(4))),
        ("A:True", has(A, "True", True)),
        ("A:[[NULL_VALUE]]", Equal(A, None)),
        ("A:[[EMPTY_STRING]]", Equal(A, "")),
        ('A:""', Equal(A, "")),
        ('A:"a b"', Equal(A, "a b")),
        (r"A:http\://x.de/y\?a=1\&b\*", has(A, "http://x.de/y?a=1&b*")),
        ("A:x*", StartsWith(A, "x")),
        ("A:*x", EndsWith(A, "x")),
        ("A:*x*", Contains(A, "x")),
        ("A:*", Exists(A)),
        ("A:x B:y", Or((has(A, "x"), has(B, "y")))),
        ("A:x OR B:y", Or((has(A, "x"), has(B, "y")))),
        ("A:x AND B:y", And((has(A, "x"), has(B, "y")))),
        ("A:x AND NOT B:y", And((has(A, "x"), Not(has(B, "y"))))),
        ("A:x -B:y", And((Not(has(B, "y")), has(A, "x")))),
        ("A:x +B:y", has(B, "y")),
        ("-A:x", Not(has(A, "x"))),
        ("( A:* AND -A:[[NULL_VALUE]])", And((Exists(A), Not(Equal(A, None))))),
        ("A_Range:[Dx1 TO Dx9}", Range(A, Number(1), Number(9), False, True)),
        ("A_Range:{Ix-1.5 TO NULL]", Range(A, Number("-1.5"), low_open=True)),
        ("A_Range:[* TO 5]", Range(A, high=Number(5))),
        ("A:[2015 TO 2016}", Range(A, "2015", "2016", False, True)),
        (
            "A_Range:[Lx1 TO NULL]",
            Or((Range(A, Number(1)), Range(Field(("A",), "duration"), Number(1)))),
        ),
        ('@in<A>:(x, "b, c",4)', has(A, "x", "b, c", "4", Number(4))),
        ("@emptyIn<A>:(no-result)", has(A)),
        ("A:(Me)^10 B:x^2", Or((Or((Search(A, "Me"), has(A, "Me"))), has(B, "x")))),
        ("A:(red car)", Or((Search(A, "red car"), has(A, "red", "car")))),
        ("Lines,Product:x", has(Field(("Lines", "Product")), "x")),
        ("A.B:x", has(Field(("A", "B")), "x")),
        ("__document_id:orders/1", has(Field(("@id",)), "orders/1")),
        ("A:x INTERSECT B:y", And((has(A, "x"), has(B, "y")))),
    ],
)
def test_conditions(text: str, condition: Any) -> None:
    assert parse(text) == condition


def test_options() -> None:
    assert parse("x", default="A") == has(A, "x")
    assert parse("A:x B:y", both=True) == And((has(A, "x"), has(B, "y")))


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("A:x)", 3, r"column 4: unexpected  '\)'"),
        ("A:", 2, "unexpected end of expression"),
        ("(A:x", 4, "unexpected end of expression"),
        ("A:[1 TO", 7, "unexpected end of expression"),
        ("A:x y", 4, "the term 'y' at column 5 has no field"),
        ("A:x~", 2, r"fuzzy term \(~\) at column 3"),
        ("A:x*y", 2, r"the pattern 'x\*y'"),
        ("A:x?", 0, r"'\?' in 'x\?'"),
        ("A..B:x", 0, "no name of a field"),
    ],
)
def test_what_cannot_be_read(text: str, place: int, reason: str) -> None:
    with pytest.raises(InvalidQuery, match=reason) as caught:
        parse(text)
    assert caught.value.place == place


def test_very_deep_queries_are_refused() -> None:
    with pytest.raises(InvalidInput, match="deep"):
        parse("(" * 300 + "A:x" + ")" * 300)
