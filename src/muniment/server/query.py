"""Query strings, read as the types of `raven3.queries`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from muniment.raven3.queries import Query, parameters
from muniment.server.wire import Refused

Q = TypeVar("Q", bound=Query)

MOST = 1 << 62


def query_as(type: type[Q], pairs: Iterable[tuple[str, str]]) -> Q:
    """What the pairs of a query string say; of several values the first, where there can be but one.

    Anything but `true` is false, and a number below zero is zero. Raises `Refused` for what is no number.
    """
    members, found = parameters(type), dict[str, Any]()
    for name, text in pairs:
        if member := members.get(name.lower()):
            attribute, kind = member
            if kind is list:
                found.setdefault(attribute, []).append(text)
            elif attribute not in found and (kind is not int or text):
                found[attribute] = _value(name, kind, text)
    return type(**found)


def _value(name: str, kind: Any, text: str) -> str | bool | int:
    if kind is bool:
        return text.lower() == "true"
    if kind is str:
        return text
    try:
        return min(max(int(text), 0), MOST)
    except ValueError as error:
        raise Refused(400, f"{name} cannot be {text!r}", "give a number") from error
