"""Queries of RavenDB's language that change what they find: `from Orders as o where … update { o.Freight = 1 }`."""

from __future__ import annotations

from typing import NamedTuple

from muniment.query import rql
from muniment.query.tokens import Token, each_token, error_at


class Update(NamedTuple):
    """The query of a text, the script after its `update`, and what that calls a document beside `this`."""

    query: str
    script: str
    alias: str | None


def parse(text: str) -> Update:
    """The query and the script of a text; raises `InvalidQuery`, which says where it cannot be read and why."""
    before: list[Token] = []
    for token in each_token(text):
        if token.what == "name" and token.said.lower() == "update":
            break
        before.append(token)
    else:
        raise error_at(
            text, len(text.rstrip()), "expected update { … }", "say what is to change: update { this.x = 1 }"
        )
    place = token.place + len("update")
    script = text[place:].strip().removesuffix(";").strip()
    if script[:1] != "{" or script[-1:] != "}":
        raise error_at(text, place, "expected { and a script up to the last }", "write update { this.x = 1 }")
    return Update(text[: token.place], script[1:-1], _alias(before))


def _alias(tokens: list[Token]) -> str | None:
    said = [token.said if token.what == "name" else "" for token in tokens]
    lower = [each.lower() for each in said]
    after = 3 if lower[1:2] == ["index"] else 2  # from [index] 'Orders' [as] o
    if lower[after : after + 1] == ["as"]:
        after += 1
    if not said[after : after + 1] or not said[after] or lower[after] in rql.CLAUSES:
        return None
    return said[after]
