"""What a query finds, said in plain Python: no keys, no index, exact numbers as fractions."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

from msgspec import UNSET

from muniment.query.model import (
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

STEMS = {"car": "car", "cars": "car", "running": "run", "run": "run", "red": "red"}
"""Of the words that documents here have."""


class Text(str):
    """A JSON string; numbers are fractions here, so nothing else is a str."""


class Number(Fraction):
    """A number of JSON, and how it is written."""

    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number


def parse(body: bytes) -> Any:
    return json.loads(body, parse_float=Number, parse_int=Number)


def values(document: Any, path: tuple[str, ...]) -> list[Any]:
    """Everything that stands at the path; dicts and empty arrays too."""
    found = [document]
    for name in path:
        found = [each[name] for item in found for each in flat(item) if isinstance(each, dict) and name in each]
    return [each for item in found for each in (flat(item) if item else [item])]


def flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from flat(each)
    else:
        yield value


def rank(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1
    if value is None:
        return 2
    if isinstance(value, bool):
        return 3
    return 4 if isinstance(value, Fraction) else 5


def compare(a: Any, b: Any, *, spelling: bool = False) -> int:
    if rank(a) != rank(b):
        return -1 if rank(a) < rank(b) else 1
    if isinstance(a, dict | list) or a is None:
        return 0
    if isinstance(a, str):
        if folded := int(a.lower() > b.lower()) - int(a.lower() < b.lower()):
            return folded
        if not spelling:
            return 0
        a, b = ("" if a == a.lower() else a), ("" if b == b.lower() else b)
    return int(bool(a > b)) - int(bool(a < b))


def exact(value: Any) -> Any:
    return Fraction(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def same_kind(a: Any, b: Any) -> bool:
    return rank(a) == rank(b) and not isinstance(a, dict | list)


def holds(condition: Condition, document: Any) -> bool:
    match condition:
        case And(items):
            return all(holds(item, document) for item in items)
        case Or(items):
            return any(holds(item, document) for item in items)
        case Not(item):
            return not holds(item, document)
        case Exists(field):
            return bool(values(document, field.path))
        case Search():  # each term may be in another value
            found = [bool(often) for often in frequencies(condition, all_words(condition, document))]
            return bool(found) and (all(found) if condition.every else any(found))
        case _:
            return any(fits(condition, value) for value in values(document, condition.field.path))


def fits(condition: Condition, value: Any) -> bool:
    match condition:
        case Equal(_, wanted, exactly):
            wanted = exact(wanted)
            return same_kind(value, wanted) and (value == wanted if exactly else compare(value, wanted) == 0)
        case In(field, wanted, exactly):
            return any(fits(Equal(field, each, exactly), value) for each in wanted)
        case Range(_, low, high, low_open, high_open):
            low, high = exact(low), exact(high)
            if not all(bound is UNSET or same_kind(value, bound) for bound in (low, high)):
                return False
            above = low is UNSET or compare(value, low) > (0 if low_open else -1)
            return above and (high is UNSET or compare(value, high) < (0 if high_open else 1))
        case StartsWith(_, text):
            return isinstance(value, str) and value.lower().startswith(text.lower())
        case EndsWith(_, text):
            return isinstance(value, str) and value.lower().endswith(text.lower())
        case Contains(_, text):
            return isinstance(value, str) and text.lower() in value.lower()
        case Search():
            found = [bool(often) for often in frequencies(condition, words(value, condition.stem))]
            return bool(found) and (all(found) if condition.every else any(found))
    raise AssertionError(condition)


def words(value: Any, stem: bool) -> list[str]:
    """The words of a value, and an empty one after the last, so that no phrase goes on in another."""
    if isinstance(value, Number | bool):
        value = value.text if isinstance(value, Number) else str(value)
    found = re.findall(r"\w+", plain(value)) if isinstance(value, str) else []
    return [*(STEMS.get(word, word) if stem else word for word in found), ""] if found else []


def plain(text: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each)).lower()


def all_words(search: Search, document: Any) -> list[str]:
    return [word for value in values(document, search.field.path) for word in words(value, search.stem)]


def frequencies(search: Search, words: list[str]) -> list[int]:
    """How often each term, once, is among the words."""
    terms: dict[tuple[tuple[str, ...], bool], int] = {}
    for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', plain(search.text)):
        found = re.findall(r"\w+", quoted or word)
        if search.stem:
            found = [STEMS.get(each, each) for each in found]
        if found:
            terms.setdefault((tuple(found), (quoted or word).endswith("*")), 0)
    for phrase, begins in terms:
        for place in range(len(words)):
            there = words[place : place + len(phrase)]
            if begins and len(there) == len(phrase) and there[-1].startswith(phrase[-1]):
                there = [*there[:-1], phrase[-1]]
            terms[phrase, begins] += tuple(there) == phrase
    return list(terms.values())


def searches(condition: Condition) -> list[Search]:
    if isinstance(condition, And | Or):
        return [each for item in condition.items for each in searches(item)]
    if isinstance(condition, Not) and isinstance(condition.item, Not):
        return searches(condition.item.item)
    return [condition] if isinstance(condition, Search) else []


def scores(query: Query, documents: list[Any]) -> list[float]:
    """How well each of all documents fits: BM25, the lower the better."""
    totals = [0.0] * len(documents)
    for search in searches(query.where):
        found = [all_words(search, document) for document in documents]
        often = [frequencies(search, each) for each in found]
        terms = len(often[0]) if often else 0
        average = sum(map(len, found)) / len(found) if found else 0
        for place, counts in enumerate(often):
            if not terms or not (all(counts) if search.every else any(counts)):
                continue
            score = 0.0
            for term, count in enumerate(counts):
                having = sum(each[term] > 0 for each in often)
                weight = math.log((len(found) - having + 0.5) / (having + 0.5))
                weight = weight if weight > 0 else 1e-6
                score += weight * ((count * 2.2) / (count + 1.2 * (1 - 0.75 + 0.75 * len(found[place]) / average)))
            totals[place] += -1.0 * score
    return totals


def answer(query: Query, documents: list[tuple[int, bytes]]) -> tuple[list[int], int]:
    """The etags that a query gives of these documents (by etag), and how many match."""
    everything = [(etag, parse(body)) for etag, body in sorted(documents)]
    scored = scores(query, [document for _, document in everything])
    found = [
        (etag, document, score)
        for (etag, document), score in zip(everything, scored, strict=True)
        if holds(query.where, document)
    ]

    def difference(a: tuple[int, Any, float], b: tuple[int, Any, float]) -> int:
        return in_order(query.order, a, b)

    found.sort(key=cmp_to_key(difference))
    etags = [etag for etag, *_ in found]
    end = None if query.take is None else query.skip + query.take
    return etags[query.skip : end], len(etags)


def in_order(orders: tuple[Order, ...], a: tuple[int, Any, float], b: tuple[int, Any, float]) -> int:
    for order in orders:
        first, second = sort_value(order, a[1]), sort_value(order, b[1])
        if order.field.path == ("@score",):
            difference = (a[2] > b[2]) - (a[2] < b[2])
        elif first is None or second is None:
            difference = (first is not None) - (second is not None)
        else:
            difference = compare(first[0], second[0], spelling=True)
        if difference:
            return -difference if order.descending else difference
    return 0


def sort_value(order: Order, document: Any) -> list[Any] | None:
    """The value that counts, in a list; None for a field that is not there."""
    found = values(document, order.field.path)
    found.sort(key=cmp_to_key(lambda a, b: compare(a, b, spelling=True)))
    return [found[-1 if order.descending else 0]] if found else None


def groups(field: Field, total: Field, bodies: list[bytes]) -> dict[str, tuple[int, Fraction | None]]:
    """How many documents have each text of a field, and the sum of another."""
    found: dict[str, tuple[int, Fraction | None]] = {}
    for document in map(parse, bodies):
        numbers = [each for each in values(document, total.path) if isinstance(each, Fraction)]
        for text in {each for each in values(document, field.path) if isinstance(each, str)}:
            count, before = found.get(text, (0, None))
            found[text] = count + 1, sum(numbers, before or Fraction(0)) if numbers else before
    return found
