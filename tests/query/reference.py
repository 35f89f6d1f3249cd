"""What a query finds, said in plain Python: no keys, no index, exact numbers as fractions."""

from __future__ import annotations

import json
import re
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


class Text(str):
    """A JSON string; numbers are fractions here, so nothing else is a str."""


def parse(body: bytes) -> Any:
    return json.loads(body, parse_float=Fraction, parse_int=Fraction)


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
        case Search(_, text, every):
            words = re.findall(r"\w+", value.lower()) if isinstance(value, str) else []
            found = [word in words for word in re.findall(r"\w+", text.lower())]
            return bool(found) and (all(found) if every else any(found))
    raise AssertionError(condition)


def answer(query: Query, documents: list[tuple[int, bytes]]) -> tuple[list[int], int]:
    """The etags that a query gives of these documents (by etag), and how many match."""
    found = [(etag, parse(body)) for etag, body in sorted(documents)]
    found = [(etag, document) for etag, document in found if holds(query.where, document)]

    def difference(a: tuple[int, Any], b: tuple[int, Any]) -> int:
        return in_order(query.order, a[1], b[1])

    found.sort(key=cmp_to_key(difference))
    etags = [etag for etag, _ in found]
    end = None if query.take is None else query.skip + query.take
    return etags[query.skip : end], len(etags)


def in_order(orders: tuple[Order, ...], a: Any, b: Any) -> int:
    for order in orders:
        first, second = sort_value(order, a), sort_value(order, b)
        if first is None or second is None:
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
