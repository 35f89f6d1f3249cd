"""Options as requests carry them: names with their values as text, in RavenDB's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from muniment.errors import InvalidInput
from muniment.smuggler.export import Scope
from muniment.smuggler.writers import ALL_TYPES

Pairs = list[tuple[str, str]]

_SCOPE: Final = ("operate-on-types", "start-document-etag", "limit")


def pairs_of(scope: Scope) -> Pairs:
    """What a request has to say for this scope; raises `InvalidInput` for a function, which no request can carry."""
    if scope.choose is not None:
        raise InvalidInput("a function can not be sent to a server", "export everything, and choose in the import")
    pairs = []
    if scope.types != ALL_TYPES:
        pairs.append(("operate-on-types", ",".join(sorted(scope.types))))
    if scope.start_etag:
        pairs.append(("start-document-etag", str(scope.start_etag)))
    if scope.limit is not None:
        pairs.append(("limit", str(scope.limit)))
    return pairs


def scope_of(pairs: Iterable[tuple[str, str]]) -> Scope:
    """The scope that a request asks for; raises `InvalidInput` for a name or a value that makes no sense."""
    given = {name.lower(): value for name, value in pairs}
    if unknown := sorted(given.keys() - set(_SCOPE)):
        raise InvalidInput(f"{unknown[0]!r} is no option here", f"use {', '.join(_SCOPE)}")
    types = [name.strip() for name in given.get("operate-on-types", "").split(",") if name.strip()]
    limit = given.get("limit")
    return Scope(
        types=frozenset(types) or ALL_TYPES,
        start_etag=_number("start-document-etag", given.get("start-document-etag", "0")),
        limit=None if limit is None else _number("limit", limit),
    )


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"{name} can not be {text!r}", "give a number")
    return int(text)
