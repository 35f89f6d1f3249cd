"""Random documents and random queries for them."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
from msgspec import UNSET

from muniment.query.model import (
    SCORE,
    And,
    Condition,
    Contains,
    EndsWith,
    Equal,
    Exists,
    Field,
    In,
    Not,
    Or,
    Order,
    Query,
    Range,
    Search,
    StartsWith,
)

NUMBERS = ["0", "-0.0", "1", "1.10", "1.1", "10", "9", "-1", "-1.5", "-2", "1e1", "0.1", "1e400", "1E-400", "-1e400",
           "9007199254740993", "9007199254740992", "9007199254740993.5", "1e16",
           "1234567890123456789012345678901234567890", "1234567890123456789012345678901234567891",
           "0.1234567890123456789012345678901234567890", "0.123456789012345678901234567890123456789"]  # fmt: skip
TEXTS = ["", "a", "A", "ab", "AB", "aB", "b", "Straße", "STRASSE", "É", "é", "z\0a", "z", "z\0", "\U0001f600", "\uffff",
         "red car", "Car", "10", "a b", "\ud800", "\x01", "z\x01", "red cars, running", "car red car",
         "Cár run"]  # fmt: skip
WORDY = ["red car", "Red cars, running", "car red car", "Cár run", "a car", "run red run", "!"]
SEARCHED = ["car", "red CAR", "a", "", "!", '"red car"', '"car run" red', "ca* running", '"red ca*"', "a b", "cár",
            "runn*"]  # fmt: skip
NAMES = ["A", "B", "C"]
# What is written as it is: numbers keep their text.
scalars = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS).map(json.dumps),
    st.sampled_from(["null", "true", "false"]),
)


def joined(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


def members(items: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in items.items()) + "}"


trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(joined), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3).map(members)
    ),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from(NAMES), trees, max_size=3).map(members).map(str.encode)
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(tuple)
fields = paths.map(Field)
sorted_by = st.one_of(fields, st.just(Field((SCORE,))))


class Written(float):
    """A float whose text is exact, as `document.ExactFloat`."""

    text: str

    def __new__(cls, text: str) -> Written:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


numbers = st.sampled_from(NUMBERS).map(lambda text: Written(text) if set(text) & set(".eE") else int(text))
texts = st.sampled_from(TEXTS)
operands = st.one_of(numbers, texts, st.sampled_from([None, True, False]))


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    bounds = draw(st.sampled_from([numbers, texts, st.booleans()]))
    low, high = draw(st.one_of(st.just(UNSET), bounds)), draw(st.one_of(st.just(UNSET), bounds))
    if low is UNSET and high is UNSET:
        low = draw(bounds)
    return Range(draw(fields), low, high, draw(st.booleans()), draw(st.booleans()))


searches: st.SearchStrategy[Condition] = st.builds(
    Search, fields, st.sampled_from(SEARCHED), st.booleans(), st.booleans()
)
leaves: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Equal, fields, operands, st.booleans()),
    st.builds(In, fields, st.lists(operands, max_size=3).map(tuple), st.booleans()),
    ranges(),
    st.builds(StartsWith, fields, texts),
    st.builds(EndsWith, fields, texts),
    st.builds(Contains, fields, texts),
    st.builds(Exists, fields),
    searches,
)


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Condition]:
    several = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(st.builds(And, several), st.builds(Or, several), st.builds(Not, inner))


conditions = st.recursive(leaves, combined, max_leaves=5)
queries = st.builds(
    Query,
    collection=st.just("Orders"),
    where=conditions,
    order=st.lists(st.builds(Order, sorted_by, st.booleans()), max_size=2).map(tuple),
    skip=st.integers(0, 2),
    take=st.one_of(st.none(), st.integers(0, 4)),
)
wordy = st.fixed_dictionaries(
    {"A": st.sampled_from(WORDY).map(json.dumps)},
    optional={"B": st.lists(st.sampled_from(WORDY).map(json.dumps), max_size=3).map(joined)},
)
wordy_bodies = wordy.map(members).map(str.encode)
scored = st.builds(
    Query,
    collection=st.just("Orders"),
    where=st.recursive(
        st.builds(
            Search, st.sampled_from("AB").map(lambda name: Field((name,))), st.sampled_from(SEARCHED), st.booleans()
        ),
        combined,
        max_leaves=4,
    ),
    order=st.builds(Order, st.just(Field((SCORE,))), st.booleans()).map(lambda order: (order,)),
    take=st.one_of(st.none(), st.integers(0, 4)),
)
