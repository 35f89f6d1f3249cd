"""Queries of a remote database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from muniment.client.documents import JSON
from muniment.client.retry import call
from muniment.client.transport import Broken
from muniment.client.wire import Flow, Request, Response, parsed, rows_of, target
from muniment.document import encode
from muniment.errors import ServerUnavailable
from muniment.finding import Results, operand
from muniment.query.model import Query
from muniment.raven3.messages import QueryResults
from muniment.raven3.names import MAX_PAGE


def query(root: tuple[str, ...], asked: Query | str, parameters: Mapping[str, Any]) -> Flow[Results]:
    """What a query finds, page by page."""
    found: list[Any] = []
    highlights: dict[str, dict[str, list[str]]] = {}
    while True:
        results = yield from page(root, asked, parameters, len(found))
        found += results
        for name, pieces in results.highlights.items():
            highlights.setdefault(name, {}).update(pieces)
        if len(results) < MAX_PAGE:
            return Results(found, results.total, results.plan, highlights)


def page(root: tuple[str, ...], asked: Query | str, parameters: Mapping[str, Any], skip: int) -> Flow[Results]:
    """A page of it, which is the last if it is not full."""
    wanted = _wanted(asked, parameters) | ({"Skip": skip} if skip else {})
    request = Request("POST", target(*root, "query"), encode(wanted), JSON, repeatable=True)
    response = yield from call(request, 200)
    told = parsed(response, QueryResults)
    return Results(rows_of(response), told.total_results, told.plan, told.highlightings or {})


def lines(root: tuple[str, ...], asked: Query | str, parameters: Mapping[str, Any]) -> Flow[Response]:
    """All of it, a row a line."""
    request = Request("POST", target(*root, "query", "lines"), encode(_wanted(asked, parameters)), JSON)
    return (yield from call(request, 200))


def is_page(asked: Query | str) -> bool:
    """Whether it is surely no more than a page, which is asked for in one piece."""
    return isinstance(asked, Query) and asked.take is not None and asked.take <= MAX_PAGE


def broken(error: Broken) -> ServerUnavailable:
    """The error for a stream that stopped half-way."""
    return ServerUnavailable(f"the server broke off its answer: {error}", "ask again")


def _wanted(asked: Query | str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(asked, str):
        return {"Rql": asked, "Parameters": {name: _operand(value) for name, value in parameters.items()}}
    return {"Query": replace(asked, include=())}  # a session asks for what it does not have itself


def _operand(value: Any) -> Any:
    return [operand(each) for each in value] if isinstance(value, list | tuple) else operand(value)
