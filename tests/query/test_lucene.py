"""Lucene's syntax, as RavenDB 3 and its clients write it."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.errors import InvalidInput, InvalidQuery
from muniment.query.keys import Number
from muniment.query.lucene import Compared, parse
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
        ('A:""', has(A, "")),
        ('A:"a b"', has(A, "a b")),
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
        ("A:[2015 TO 2016}", Range(Field(("A",), "text"), "2015", "2016", False, True)),
        ("A:[2015-01-01T00:00:00.0 TO NULL]", Range(A, "2015-01-01T00:00:00.0")),
        ('A:["a b" TO *}', Range(A, "a b", high_open=True)),
        ("A:/x/y", has(A, "/x/y")),
        ("A:-5", has(A, "-5", Number(-5))),
        (r"A:%\~#+\!$,;'\*\[\]\?\*", has(A, "%~#+!$,;'*[]?*")),
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
    assert parse("A:x B:y", every=True) == And((has(A, "x"), has(B, "y")))


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("A:x)", 3, r"column 4: expected .* or AND or OR or NOT or the end, found '\)'"),
        ("A:", 2, "column 3: expected a term or a phrase or '\\(' or NOT, found the end"),
        ("(A:x", 4, "found the end"),
        ("A:x AND", 7, "column 8: expected a term"),
        ("A:[1 TO", 2, r"expected a range, \[a TO b\]"),
        ("A:[Dx1 TO b]", 2, "both ends of the range as numbers"),
        ('A:"x', 2, "this quote is not closed"),
        ("@in<A>:(x) AND OR", 15, "found 'OR'"),
        ("@in<A>:(x", 8, "expected a value, and ',' or '\\)' after it"),
        ("A:x y", 4, "column 5: expected a field and ':' before this"),
        ("A:x~", 2, r"column 3: terms that are alike \('~'\)"),
        ('A:"x y"~2', 2, r"words that are near"),
        ("A:x*y", 2, r"'\*' stands at the beginning or the end"),
        ("A:x?", 2, r"'\?' nowhere"),
        ("A:[[NONE]]", 2, r"found \[\[NONE\]\]"),
        ("A..B:x", 0, "no path to a field"),
    ],
)
def test_what_cannot_be_read(text: str, place: int, reason: str) -> None:
    with pytest.raises(InvalidQuery, match=reason) as caught:
        parse(text)
    assert caught.value.place == place


def one(name: str) -> Compared:
    return {
        "Words": Compared((("A",),), "words"),
        "Stems": Compared((("A",),), "stems"),
        "Exact": Compared((("A",),), "exact"),
        "Both": Compared((("A",), ("B",))),
        "None": Compared(()),
    }[name]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("Words:x*", Search(A, "x*", True)),
        ("Words:(x y)", Or((Search(A, "x", True), Search(A, "y", True)))),
        ('Words:"x y"', Search(A, '"x y"', True)),
        ("Stems:x", Search(A, "x", True, True)),
        ("Exact:x", In(A, ("x",), True)),
        ("Both:x", Or((has(A, "x"), has(B, "x")))),
        ("None:x", Or(())),
    ],
)
def test_names_that_stand_for_other_fields(text: str, condition: Any) -> None:
    assert parse(text, naming=one) == condition


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "A:x" + ")" * 5000,
        "-" * 5000 + "A:x",
        "A:" * 5000 + "x",
        "A:x" + "^1" * 5000,
        "(A:1 AND " * 3000 + "B:1" + ")" * 3000,
    ],
)
def test_very_deep_queries_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="nested too deep"):
        parse(text)


def test_very_many_clauses_are_refused() -> None:
    for many in (" OR ".join(["A:x"] * 10_001), f"@in<A>:({','.join(['x'] * 10_001)})"):
        with pytest.raises(InvalidInput, match="more than 10,000 clauses"):
            parse(many)
    assert parse(f"@in<A>:({','.join(['x'] * 10_000)})") == has(A, *["x"] * 10_000)
