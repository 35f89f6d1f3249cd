"""Conditions as what they say of keys: for an engine with keys in an index, and to look at a document without one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from muniment.errors import InvalidInput
from muniment.query import keys, words
from muniment.query.keys import END, NOTHING, Interval, Key
from muniment.query.model import (
    And,
    Condition,
    Contains,
    EndsWith,
    Equal,
    Exists,
    Field,
    In,
    Leaf,
    Not,
    Or,
    Range,
    Search,
    StartsWith,
    field_of,
)
from muniment.query.words import Term

Keys: TypeAlias = Mapping[Field, Sequence[Key]]
Predicate: TypeAlias = Callable[[Keys], bool]


class Within(NamedTuple):
    """A key of the field is in one of these intervals, which are sorted and do not touch."""

    field: Field
    intervals: tuple[Interval, ...]


class Part(NamedTuple):
    """A text of the field has this in it, or at its `end`."""

    field: Field
    pattern: bytes
    end: bool


class Words(NamedTuple):
    """One of these terms is in the text of the field, or `every` one."""

    field: Field
    terms: tuple[Term, ...]
    every: bool


class All(NamedTuple):
    """All of these hold."""

    items: tuple[Test, ...]


class Any(NamedTuple):
    """One of these holds."""

    items: tuple[Test, ...]


class No(NamedTuple):
    """This does not hold."""

    item: Test


Test: TypeAlias = Within | Part | Words | All | Any | No


def test_of(condition: Condition) -> Test:
    """What a condition says of keys. What is said of one field with `or` between becomes one test."""
    if isinstance(condition, And):
        return _all(tuple(map(test_of, condition.items)))
    if isinstance(condition, Or):
        return _any(tuple(map(test_of, condition.items)))
    if isinstance(condition, Not):
        item = test_of(condition.item)
        return item.item if isinstance(item, No) else No(item)
    return _leaf(condition)


def _all(items: tuple[Test, ...]) -> Test:
    flat = tuple(each for item in items for each in (item.items if isinstance(item, All) else (item,)))
    return flat[0] if len(flat) == 1 else All(flat)


def _any(items: tuple[Test, ...]) -> Test:
    within: dict[Field, list[Interval]] = {}
    others: list[Test] = []
    for item in items:
        for each in item.items if isinstance(item, Any) else (item,):
            if isinstance(each, Within):
                within.setdefault(each.field, []).extend(each.intervals)
            else:
                others.append(each)
    tests = (*(Within(field, merged(intervals)) for field, intervals in within.items()), *others)
    return tests[0] if len(tests) == 1 else Any(tests)


def merged(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """The same keys in intervals that are sorted and do not touch."""
    result: list[Interval] = []
    for low, high in sorted(intervals):
        if low >= high:
            continue
        if result and low <= result[-1][1]:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return tuple(result)


def _leaf(leaf: Leaf) -> Test:
    field = field_of(leaf)
    match leaf:
        case Equal():
            return Within(field, (keys.equal(leaf.value, exact=leaf.exact),))
        case In():
            return Within(field, merged([keys.equal(value, exact=leaf.exact) for value in leaf.values]))
        case Range():
            interval = keys.between(leaf.low, leaf.high, low_open=leaf.low_open, high_open=leaf.high_open)
            return Within(field, merged([interval]))
        case StartsWith():
            return Within(field, (keys.starting(_text(leaf.text)),))
        case EndsWith() | Contains():
            return Part(field, keys.pattern_of(_text(leaf.text)), isinstance(leaf, EndsWith))
        case Exists():
            return Within(field, ((NOTHING, END),))
        case Search():
            return _search(field, leaf)


def _text(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"{text!r} is no text", "give a part of a text as a str")
    return text


def _search(field: Field, leaf: Search) -> Test:
    terms = words.terms_of(_text(leaf.text), stems=leaf.stem)
    return Words(field, terms, leaf.every) if terms else Any(())


def predicate(test: Test) -> Predicate:
    """Whether the keys of a document pass a test."""
    match test:
        case Within(field, intervals):
            return _within(field, intervals)
        case Part(field, pattern, end):
            return _part(field, pattern, end)
        case Words(field, terms, every):
            return _words(field, terms, all if every else any)
        case All(items):
            tests = [predicate(item) for item in items]
            return lambda found: all(each(found) for each in tests)
        case Any(items):
            tests = [predicate(item) for item in items]
            return lambda found: any(each(found) for each in tests)
        case No(item):
            inner = predicate(item)
            return lambda found: not inner(found)


def _within(field: Field, intervals: tuple[Interval, ...]) -> Predicate:
    if len(intervals) == 1:
        [(low, high)] = intervals
        return lambda found: any(low <= key < high for key in found[field])
    lows, highs = [low for low, _ in intervals], [high for _, high in intervals]

    def holds(found: Keys) -> bool:
        for key in found[field]:
            place = bisect_right(lows, key)
            if place and key < highs[place - 1]:
                return True
        return False

    return holds


def _part(field: Field, pattern: bytes, end: bool) -> Predicate:
    low, high = keys.TEXTS

    def holds(found: Keys) -> bool:
        texts = (keys.folded_text(key) for key in found[field] if low <= key < high)
        return any(text.endswith(pattern) if end else pattern in text for text in texts)

    return holds


def _words(field: Field, terms: tuple[Term, ...], joined: Callable[[Iterable[object]], bool]) -> Predicate:
    return lambda found: joined(words.times(found[field], term) for term in terms)


def searched(test: Test) -> Iterator[Words]:
    """What is searched for, in the order in which it stands; not what must not be there."""
    if isinstance(test, Words):
        yield test
    elif isinstance(test, All | Any):
        for item in test.items:
            yield from searched(item)
