"""The indexes of a remote database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from muniment import json_bytes
from muniment.client.documents import JSON
from muniment.client.retry import call
from muniment.client.transport import AsyncRemote, Remote
from muniment.client.wire import Flow, Request, parsed, target
from muniment.faces import both
from muniment.indexes import IndexFacts, IndexField, put_of
from muniment.raven3.names import MAX_PAGE


def _all(root: tuple[str, ...]) -> Flow[list[IndexFacts]]:
    found: list[IndexFacts] = []
    while True:
        path = target(*root, "indexes", query=[("start", str(len(found))), ("pageSize", str(MAX_PAGE))])
        page = parsed((yield from call(Request("GET", path, repeatable=True), 200)), list[IndexFacts])
        found += page
        if len(page) < MAX_PAGE:
            return found


class BothIndexes:
    """The indexes of a database on a server; see `muniment.indexes.Indexes`."""

    def __init__(self, transport: Any, root: tuple[str, ...]) -> None:
        self._transport = transport
        self._root = root

    @both
    def put(
        self, name: str, collection: str | None, fields: Mapping[str, str | IndexField] | Iterable[str]
    ) -> Flow[None]:
        """Define an index of a collection (None: of all documents), or define it anew; it is built while this returns.

        `fields` are the names by which queries of it call fields, and where these are in documents: `{"Company":
        "Company", "Product": "Lines[].Product", "Notes": IndexField("Notes", search=True)}`. A list of paths will do.
        """
        definition = json_bytes.member_value(put_of(name, collection, fields).body, "definition")
        request = Request("PUT", target(*self._root, "indexes", name), definition, JSON, repeatable=True)
        yield from call(request, 201)

    @both
    def get(self, name: str) -> Flow[IndexFacts | None]:
        """The index with this name, in any case, and how far it is; None if there is none."""
        found = yield from _all(self._root)
        return next((each for each in found if each.name.lower() == name.lower()), None)

    @both
    def drop(self, name: str) -> Flow[bool]:
        """Drop an index; returns whether there was one. One that a query wants, the query makes anew."""
        found = yield from _all(self._root)
        yield from call(Request("DELETE", target(*self._root, "indexes", name)), 204)
        return any(each.name.lower() == name.lower() for each in found)

    @both
    def list(self) -> Flow[list[IndexFacts]]:
        """All that have been put, in the order of their names, and then those that queries have made."""
        return (yield from _all(self._root))


class Indexes(BothIndexes, Remote):
    __doc__ = BothIndexes.__doc__


class AsyncIndexes(BothIndexes, AsyncRemote):
    """`Indexes` in asyncio, to be awaited."""
