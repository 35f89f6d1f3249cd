"""How things are spelled on the wire: etags, times, errors. The facts are RavenDB 3.x's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from muniment.errors import ConcurrencyConflict, MunimentError
from muniment.version import VERSION

Headers: TypeAlias = list[tuple[str, str]]

JSON: Final = ("content-type", "application/json; charset=utf-8")
BUILD: Final = "35300"
BUILD_HEADER: Final = ("raven-server-build", BUILD)
PRODUCT: Final = f"3.5.3 / muniment {VERSION} / "
NO_ETAG: Final = "00000000-0000-0000-0000-000000000000"
# No document ever has this etag, so expecting it is expecting what some other server gave out.
FOREIGN: Final = (1 << 63) - 1

_GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


class Response(NamedTuple):
    """An answer whose body is in memory."""

    status: int
    headers: Headers
    body: bytes = b""

    async def send(self, proto: Any) -> None:
        """Give it to the connection."""
        proto.response_bytes(self.status, self.headers, self.body)


class Refused(MunimentError):
    """A request that HTTP or RavenDB's protocol has a status of its own for; `bare` bodies are a JSON string."""

    def __init__(self, status: int, message: str, hint: str = "", *, bare: bool = False, headers: Headers = []) -> None:  # noqa: B006
        super().__init__(message, hint)
        self.status = status
        self.bare = bare
        self.headers = headers


class CutShort(MunimentError):
    """The request ended before it was complete; nothing of it was done."""

    status = 400


def etag_text(etag: int) -> str:
    """A document's etag: type 01, one restart, and our number in the low 64 bits."""
    return f"01000000-0000-0001-{etag >> 48:04X}-{etag & 0xFFFFFFFFFFFF:012X}"


def attachment_etag_text(etag: int) -> str:
    """An attachment's etag, of type 02."""
    return "02" + etag_text(etag)[2:]


def parse_etag(text: str) -> int:
    """Our number; 0 for the all-zero etag ("must not exist"). Raises `Refused` when it is not a GUID."""
    text = text.strip().removeprefix("W/").strip('"')
    if not _GUID.fullmatch(text):
        raise Refused(400, f"{text!r} is not an etag", "an etag looks like 01000000-0000-0001-0000-000000000004")
    if text == NO_ETAG:
        return 0
    return int(text[19:].replace("-", ""), 16) if text[2:19] == "000000-0000-0001-" else FOREIGN


def combined_etag(etags: Iterable[object]) -> str:
    """One etag for several documents, which changes when any of theirs does."""
    digest = hashlib.blake2b("|".join(map(str, etags)).encode(), digest_size=16).hexdigest().upper()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


@lru_cache(1024)
def _http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def http_date(time: datetime) -> str:
    """RFC 1123, to the second."""
    return _http_date(int(time.timestamp()))


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
    body: dict[str, Any] = {"Url": url, "Error": text, "Hint": error.hint}
    if type(error).__module__ == MunimentError.__module__:
        body["Kind"] = type(error).__name__
    if isinstance(error, ConcurrencyConflict):
        actual = etag_text(error.actual) if error.actual else NO_ETAG
        body |= {"ActualETag": actual, "ActualEtag": actual}
        body["ExpectedETag"] = expected or (etag_text(error.expected) if error.expected else NO_ETAG)
    if status in (400, 422, 408):
        body["Message"] = error.message
    return json_response(body, status, error.headers if isinstance(error, Refused) else ())
