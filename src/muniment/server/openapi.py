"""The OpenAPI document, made of the table of routes: of their types, and of what their handlers say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from muniment.raven3.messages import Refusal
from muniment.server.routing import BYTES, JSON, Answer, Endpoint, Route
from muniment.version import VERSION

_REF: Final = "#/components/schemas/{name}"
_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "HEAD", "PATCH")  # of those that routes have, OpenAPI knows these


def document(routes: Iterable[Route], words: str, refusal: Any = Refusal) -> dict[str, Any]:
    """The API that these routes are, in whose words, and what an error is."""
    routes = list(routes)
    schemas = _Schemas(routes, refusal)
    paths: dict[str, Any] = {}
    for route in routes:
        for prefix in ("", "/databases/{database}") if route.tenant else ("",):
            path = f"{prefix}/{route.path}"
            known = {method: route.methods[method] for method in route.methods if method in _METHODS}
            if known:
                paths[path] = {method.lower(): _operation(path, method, known[method], schemas) for method in known}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Muniment",
            "version": VERSION,
            "description": f"A document database over HTTP, in {words}. Paths without"
            " /databases/{database} address the system database.",
        },
        "paths": paths,
        "components": {"schemas": schemas.named},
    }


class _Schemas:
    """The schemas of all types that routes name; those of structs have names of their own."""

    def __init__(self, routes: Iterable[Route], refusal: Any) -> None:
        self.refusal = refusal
        types = [type for route in routes for endpoint in route.methods.values() for type in _types(endpoint)]
        found, self.named = msgspec.json.schema_components([refusal, *types], ref_template=_REF)
        self._by_type = dict(zip(map(repr, [refusal, *types]), found, strict=True))

    def of(self, type: Any) -> dict[str, Any]:
        return self._by_type[repr(type)]

    def content(self, type: Any, media: str = JSON) -> dict[str, Any]:
        """What a body of this type is; bytes have no schema."""
        return {media: {}} if type is None else {media: {"schema": self.of(type)}}


def _types(endpoint: Endpoint) -> Iterator[Any]:
    yield from (answer.type for answer in endpoint.answers if answer.type is not None)
    yield from (each.type for each in msgspec.structs.fields(endpoint.query))
    if endpoint.body not in (None, bytes):
        yield endpoint.body


def _operation(path: str, method: str, endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    words = " ".join((endpoint.handler.__doc__ or "").split())
    told: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": words,
        "parameters": [*_in_path(path), *_in_query(endpoint, schemas), *_in_headers(endpoint)],
        "responses": {
            **{str(each.status): _response(each, words, method, schemas) for each in endpoint.answers},
            "default": {"description": "An error", "content": schemas.content(schemas.refusal)},
        },
    }
    if endpoint.body is not None:
        content = {BYTES: {}} if endpoint.body is bytes else schemas.content(endpoint.body)
        told["requestBody"] = {"required": True, "content": content}
    return told


_PATH: Final = {
    "database": "The name of a database.",
    "id": "The id of a document; it may have slashes in it.",
    "key": "The key of an attachment; it may have slashes in it.",
    "name": "The name of a database.",
    "index": "The name of an index; there are none.",
    "file": "The name of a file.",
}


def _in_path(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        where = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "allowReserved": True}
        yield where | {"description": _PATH[name]}


def _in_query(endpoint: Endpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for each in msgspec.structs.fields(endpoint.query):
        schema = dict(schemas.of(each.type))
        said = schema.pop("description")
        [schema] = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]  # it is left out instead
        yield {"name": each.encode_name, "in": "query", "description": said, "schema": schema}


def _in_headers(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name, said in endpoint.headers.items():
        yield {"name": name, "in": "header", "description": said, "schema": {"type": "string"}}


def _response(answer: Answer, words: str, method: str, schemas: _Schemas) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.said or words}
    if answer.media and method != "HEAD":
        told["content"] = schemas.content(answer.type, answer.media)
    return told
