"""The OpenAPI document, made of the table of routes and of what their handlers say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from muniment.server.routing import Route
from muniment.smuggler.parameters import CHANGES, IMPORT
from muniment.version import VERSION

_QUERY: Final = {
    ("docs", "GET"): "startsWith start pageSize etag matches exclude skipAfter metadata-only",
    ("queries", "GET"): "id include metadata-only",
    ("queries", "POST"): "include metadata-only",
    ("static", "GET"): "startsWith start pageSize etag",
    ("operation/status", "GET"): "id changes",
    ("operation/kill", "GET"): "id",
    ("operation/kill", "POST"): "id",
    ("admin/backup", "POST"): "incremental new-chain skip-damaged",
    ("smuggler/export", "GET"): " ".join(["format", "compression", *sorted(CHANGES)]),
    ("smuggler/import", "POST"): " ".join(sorted(IMPORT)),
    ("admin/restore", "POST"): "defrag",
    ("admin/compact", "POST"): "database",
    ("admin/databases/{name}", "DELETE"): "hard-delete",
    ("admin/databases/{name}", "POST"): "isSettingDisabled",
    ("admin/databases/batch-delete", "DELETE"): "ids hard-delete",
    ("databases", "GET"): "start pageSize getAdditionalData",
}
_ANSWERS: Final = {
    ("docs/{id}", "PUT"): "201",
    ("docs/{id}", "DELETE"): "204",
    ("static/{key}", "PUT"): "201",
    ("static/{key}", "DELETE"): "204",
    ("admin/backup", "POST"): "202",
    ("admin/restore", "POST"): "202",
    ("admin/restore-into", "POST"): "202",
    ("admin/compact", "POST"): "202",
}
_OPENAPI_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "HEAD", "PATCH")


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The API that these routes are."""
    paths: dict[str, Any] = {}
    for route in routes:
        for prefix in ("", "/databases/{database}") if route.tenant else ("",):
            described = {
                method.lower(): _operation(f"{prefix}/{route.path}", route.path, method, handler.__doc__ or "")
                for method, handler in route.methods.items()
                if method in _OPENAPI_METHODS
            }
            if described:
                paths[f"{prefix}/{route.path}"] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Muniment",
            "version": VERSION,
            "description": "A document database over HTTP, in RavenDB 3.x's words. Paths without"
            " /databases/{database} address the system database.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


_ERROR: Final = {
    "type": "object",
    "required": ["Error"],
    "properties": {name: {"type": "string"} for name in ("Url", "Error", "Message", "Kind", "Hint")}
    | {name: {"type": "string"} for name in ("ActualETag", "ExpectedETag")},
}


def _operation(path: str, route: str, method: str, said: str) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "allowReserved": True}
        for name in names
    ]
    query = _QUERY.get((route, "GET" if method == "HEAD" else method), "").split()
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in query]
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    words = " ".join(said.split())
    return {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": words,
        "parameters": parameters,
        "responses": {
            _ANSWERS.get((route, method), "200"): {"description": words},
            "default": {"description": "An error", "content": error},
        },
    }
