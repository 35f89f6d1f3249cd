"""Answers, and the errors that HTTP or the protocol has a status of its own for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from muniment.document import encode
from muniment.errors import ConcurrencyConflict, DatabaseNotFound, DocumentNotFound, IndexNotFound, MunimentError
from muniment.raven3.etags import etag_text, parse_etag
from muniment.raven3.headers import BUILD_HEADER, JSON, Headers
from muniment.raven3.messages import Error
from muniment.raven3.statuses import kind_of
from muniment.raven7.messages import Failure
from muniment.raven7.names import DATABASE_MISSING


class Response(NamedTuple):
    """An answer whose body is in memory."""

    status: int
    headers: Headers
    body: bytes = b""

    async def send(self, proto: Any) -> None:
        """Give it to the connection."""
        proto.response_bytes(self.status, self.headers, self.body)


class Refused(MunimentError):
    """A request that HTTP or RavenDB's protocol has a status of its own for; `bare` bodies are a JSON string.

    `kind` is the error of ours that it is, where the status alone would mean another.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str = "",
        *,
        bare: bool = False,
        headers: Headers = [],  # noqa: B006
        kind: type[MunimentError] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.bare = bare
        self.headers = headers
        self.kind = kind or kind_of(status, challenge=any(name == "www-authenticate" for name, _ in headers))


class CutShort(MunimentError):
    """The request ended before it was complete; nothing of it was done."""

    status = 400


def wanted_etag(text: str) -> int:
    """The number of an etag that a request names, 0 for "must not exist"; raises `Refused` when it is none."""
    try:
        return parse_etag(text)
    except ValueError as error:
        raise Refused(400, str(error), "an etag looks like 01000000-0000-0001-0000-000000000004") from error


def is_version(known: str | None, etag: str) -> bool:
    """Whether a client that says If-None-Match: `known` has this version."""
    return known is not None and known.strip().removeprefix("W/").strip('"').upper() == etag


def json_response(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A value as JSON."""
    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError:  # half a character, which JSON may have as an escape
        body = encode(value)
    return Response(status, [JSON, BUILD_HEADER, *headers], body)


def empty_response(status: int, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A status and headers."""
    return Response(status, [BUILD_HEADER, *headers])


def error_response(
    error: MunimentError, url: str, *, expected: str | None = None, later: str | None = None
) -> Response:
    """The one place that builds the body of an error; with `later`, the name of the database that was asked, for
    clients of RavenDB 4 and later."""
    status = error.status
    if later is not None:
        return _later_response(error, url, later)
    if isinstance(error, Refused) and error.bare:
        return json_response(error.message, status, error.headers)
    body = Error(url, _text(error), error.hint)
    if kind := _kind(error):
        body.kind = kind.__name__
    if isinstance(error, ConcurrencyConflict):
        body.actual_etag = body.actual_etag_too = etag_text(error.actual)
        body.expected_etag = expected or etag_text(error.expected)
    if status in (400, 422, 408):
        body.message = error.message
    return json_response(body, status, error.headers if isinstance(error, Refused) else ())


_EXCEPTIONS: Final = "Raven.Client.Exceptions."


def _later_response(error: MunimentError, url: str, name: str) -> Response:
    """The same, for clients that take a 404 for a null that is no error."""
    headers = list(error.headers) if isinstance(error, Refused) else []
    if _kind(error) is DatabaseNotFound:
        headers.append((DATABASE_MISSING, quote(name, safe="")))
    return json_response(failure(error, url), 400 if error.status == 404 else error.status, headers)


def failure(error: MunimentError, url: str) -> Failure:
    """What such clients are told of an error; they know exceptions by their types."""
    kind = _kind(error)
    body = Failure(url, _EXCEPTIONS + "RavenException", error.message, _text(error), error.hint)
    if kind:
        body.kind = kind.__name__
    if isinstance(error, ConcurrencyConflict):
        body.type = _EXCEPTIONS + "ConcurrencyException"
    elif kind is DocumentNotFound:
        body.type = _EXCEPTIONS + "Documents.DocumentDoesNotExistException"
    elif kind is IndexNotFound:
        body.type = _EXCEPTIONS + "Documents.Indexes.IndexDoesNotExistException"
    elif kind is DatabaseNotFound:
        body.type = _EXCEPTIONS + "Database.DatabaseDoesNotExistException"
    return body


def _text(error: MunimentError) -> str:
    return f"{error.message}\n{error.hint}" if error.hint else error.message


def _kind(error: MunimentError) -> type[MunimentError] | None:
    kind = error.kind if isinstance(error, Refused) else type(error)
    return kind if kind and kind.__module__ == MunimentError.__module__ else None
