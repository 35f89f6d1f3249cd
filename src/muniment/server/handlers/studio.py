"""The page for people: its files as they are, and nothing that they could not ask the rest of the API for."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from muniment.server.request import Request
from muniment.server.wire import Refused, Response

PLACE: Final = "/studio/"
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Nothing from elsewhere, nothing inline, no text made to elements, and no other page around this one.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS: Final = [
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-cache"),
]


class _File(NamedTuple):
    body: bytes
    type: str
    etag: str


async def enter(request: Request) -> Response:
    """The page for people; from the root and from `/studio` a browser is sent to where its files are."""
    if request.path != PLACE:
        return Response(302, [("location", PLACE), ("cache-control", "no-cache")])
    request.argument = "index.html"
    return await file(request)


async def file(request: Request) -> Response:
    """A file of the page for people."""
    found = _files().get(request.argument)
    if found is None:
        raise Refused(404, f"the page has no file {request.argument!r}", f"open {PLACE}")
    headers = [*_HEADERS, ("etag", f'"{found.etag}"')]
    if request.has(found.etag):
        return Response(304, headers)
    return Response(200, [("content-type", found.type), *headers], found.body)


@cache
def _files() -> dict[str, _File]:
    """All of them by name; they are few and small."""
    found = {}
    for each in files("muniment.server.studio").iterdir():
        ending = each.name.rpartition(".")[2]
        if ending in _TYPES:
            body = each.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:32].upper()
            found[each.name] = _File(body, _TYPES[ending], etag)
    return found
