"""Answers, and the errors that HTTP or the protocol has a status of its own for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from muniment.errors import ConcurrencyConflict, MunimentError
from muniment.raven3.etags import etag_text, parse_etag
from muniment.raven3.headers import BUILD_HEADER, JSON, Headers
from muniment.raven3.messages import Error
from muniment.raven3.statuses import kind_of


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


def json_response(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A value as JSON."""
    return Response(status, [JSON, BUILD_HEADER, *headers], msgspec.json.encode(value))


def empty_response(status: int, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A status and headers."""
    return Response(status, [BUILD_HEADER, *headers])


def error_response(error: MunimentError, url: str, *, expected: str | None = None) -> Response:
    """The one place that builds the body of an error."""
    status = error.status
    if isinstance(error, Refused) and error.bare:
        return json_response(error.message, status, error.headers)
    text = f"{error.message}\n{error.hint}" if error.hint else error.message
    body = Error(url, text, error.hint)
    kind = error.kind if isinstance(error, Refused) else type(error)
    if kind and kind.__module__ == MunimentError.__module__:
        body.kind = kind.__name__
    if isinstance(error, ConcurrencyConflict):
        body.actual_etag = body.actual_etag_too = etag_text(error.actual)
        body.expected_etag = expected or etag_text(error.expected)
    if status in (400, 422, 408):
        body.message = error.message
    return json_response(body, status, error.headers if isinstance(error, Refused) else ())
