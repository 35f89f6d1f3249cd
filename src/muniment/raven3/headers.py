"""The protocol's HTTP headers: their names, and a document's metadata as headers, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from muniment.document import (
    ENTITY_NAME,
    LAST_MODIFIED,
    Document,
    decode,
    encode,
    from_microseconds,
    is_reserved,
    to_microseconds,
    without_time_kept,
)
from muniment.errors import InvalidDocument, InvalidInput
from muniment.raven3.names import BUILD
from muniment.raven3.times import http_date
from muniment.revision import Revision

Headers: TypeAlias = list[tuple[str, str]]

JSON: Final = ("content-type", "application/json; charset=utf-8")
BUILD_HEADER: Final = ("raven-server-build", BUILD)
VERSION: Final = "raven-client-version"
LOADING: Final = "Raven-Database-Load-In-Progress"
ONCE: Final = "single-use-auth-token"  # a token that is good for one request
REQUEST: Final = "muniment-request"  # shows that no page in a browser has sent this
LOCAL: Final = "muniment-local"  # where the server's secret for clients of its machine is, and from them what it is
OPERATION: Final = "muniment-operation"  # the number of the job that makes the answer
KIND: Final = "muniment-kind"  # of an incremental export: whether it became a full one

# Headers of the transport or the protocol: not taken as metadata in requests, and not sent if metadata has the name.
_TRANSPORT: Final = frozenset(
    "allow authorization cache-control connection content-type cookie date etag expect from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since keep-alive last-event-id last-modified location "
    "origin pragma proxy-authenticate proxy-authorization proxy-connection range referer server set-cookie te trailer "
    "transfer-encoding upgrade upgrade-insecure-requests user-agent vary via warning x-requested-with "
    "single-use-auth-token raven-write-assurance raven-wait-indexes raven-transaction-information __document_id "
    "muniment-request muniment-local".split()
)
_TRANSPORT_PREFIXES: Final = ("content-", "accept", "x-forwarded-", "access-control-", "sec-", "temp")
_TOKEN: Final = "!#$&'*+-.^_`|~"
_PLAIN_VALUE: Final = re.compile(r"[!-$&-~]([ !-$&-~]*[!-$&-~])?")
_SIMPLE: Final = re.compile(r"[A-Za-z0-9_./~-]*")
_PLAIN_NAME: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
_SHORT: Final = 2048  # bytes of metadata that is remembered
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")


@lru_cache(4096)
def is_transport(name: str) -> bool:
    """Whether a header of this name, in lower case, is not metadata."""
    return name in _TRANSPORT or name.startswith(_TRANSPORT_PREFIXES)


def document_headers(document: Document, etag: str) -> Headers:
    """The headers of a document that is answered alone."""
    return _document_headers(document.id, document.metadata_json, to_microseconds(document.changed), etag)


def revision_headers(revision: Revision, etag: str) -> Headers:
    """Those of the document that a revision is."""
    return _document_headers(revision.id, *without_time_kept(revision.metadata, revision.modified), etag)


def _document_headers(id: str, metadata: bytes, changed: int, etag: str) -> Headers:
    first, kept = _prepared(metadata) if len(metadata) < _SHORT else _prepared.__wrapped__(metadata)
    if kept is None:
        seconds, fraction = divmod(changed, 1_000_000)
        date, begins = _second(seconds)
        last = "%s.%06d0Z" % (begins, fraction)  # noqa: UP031 (twice as quick)
    else:
        date, last = kept
    return [
        *first,
        ("etag", f'"{etag}"'),
        ("__document_id", escaped(id)),
        ("last-modified", date),
        ("raven-last-modified", last),
    ]


@lru_cache(2048)
def _prepared(metadata: bytes) -> tuple[tuple[tuple[str, str], ...], tuple[str, str] | None]:
    """The headers that all documents with this metadata have, and the two times if it says when they were modified."""
    kept = decode(metadata).get(LAST_MODIFIED) if LAST_MODIFIED.encode() in metadata else None
    times = (_date_text(kept), kept) if isinstance(kept, str) else None
    return (JSON, BUILD_HEADER, *metadata_headers(metadata)), times


@lru_cache(1024)
def _second(seconds: int) -> tuple[str, str]:
    """This second since 1970 as HTTP spells it, and as RavenDB's times begin."""
    time = from_microseconds(seconds * 1_000_000)
    return http_date(time), time.isoformat(timespec="seconds")[:19]


def escaped(id: str) -> str:
    """An id, percent-encoded."""
    return id.replace("/", "%2F") if _SIMPLE.fullmatch(id) else quote(id, safe="")


def metadata_headers(metadata: bytes) -> tuple[tuple[str, str], ...]:
    """Stored metadata as headers; what HTTP cannot carry in a header is percent-encoded."""
    found: Headers = []
    for name, value in decode(metadata).items():
        header = quote(name.lower(), safe=_TOKEN)
        if not header or is_reserved(name) or is_transport(header):
            continue
        if isinstance(value, str) and _DATE.fullmatch(value) and (date := _date_text(value)) != value:
            found += [(header, date), (f"raven-{header}", value)]
        else:
            found.append((header, _value_text(value)))
    return tuple(found)


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    text = value if isinstance(value, str) else encode(value).decode()
    if isinstance(value, dict | list):
        return text if text.isascii() else json.dumps(json.loads(text))
    if not text or (_PLAIN_VALUE.fullmatch(text) and text[0] not in "[{"):
        return text
    return quote(text, safe="!$&'()*+,/:;<=>@^`|")


def _date_text(text: str) -> str:
    try:
        return http_date(datetime.fromisoformat(text[:26].rstrip("Z")).replace(tzinfo=UTC))
    except ValueError:
        return text


def metadata_of(headers: Iterable[tuple[str, str]], *, keep: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The metadata in the headers of a request; `keep` names headers of the transport that are metadata here."""
    found: dict[str, Any] = {}
    repeated: set[str] = set()
    for header, text in headers:
        if (is_transport(header) and header not in keep) or is_reserved(header):
            continue
        name = "-".join(part[:1].upper() + part[1:] for part in unquote(header).split("-"))
        value = _value(text)
        if name not in found:
            found[name] = value
        elif name in repeated:
            found[name].append(value)
        else:
            repeated.add(name)
            found[name] = [found[name], value]
    return found


def metadata_json_of(headers: Iterable[tuple[str, str]]) -> bytes:
    """The metadata in the headers of a request as it is stored; most requests have the same."""
    return _metadata_json(tuple(header for header in headers if not is_transport(header[0])))


@lru_cache(2048)
def _metadata_json(headers: tuple[tuple[str, str], ...]) -> bytes:
    return encode(metadata_of(headers))


def _value(text: str) -> Any:
    if text[:1] in ("{", "["):
        try:
            return decode(text.encode())
        except InvalidDocument:
            return text
    return unquote(text)


def request_headers(metadata: bytes) -> tuple[tuple[str, str], ...]:
    """Headers that `metadata_of` turns back into this metadata; raises `InvalidInput` if that is impossible."""
    return tuple((_exact_name(name), _exact_value(name, value)) for name, value in decode(metadata).items())


def _exact_name(name: str) -> str:
    """The name, percent-encoded where case would be lost, and at its beginning, lest it be taken for a header's own."""
    if name == ENTITY_NAME:
        return name
    if not name or any(part[:1].upper() != part[:1] for part in name.split("-")):
        hint = "begin each part of the name with a capital: 'Owner', 'Raven-Entity-Name'"
        raise InvalidInput(f"attachment metadata cannot have the name {name!r} over HTTP", hint)
    try:
        first, *rest = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"attachment metadata cannot have the name {name!r}", "name it in Unicode") from error
    return f"%{first:02X}" + "".join(chr(byte) if byte in _PLAIN_NAME else f"%{byte:02X}" for byte in rest)


def _exact_value(name: str, value: Any) -> str:
    if not isinstance(value, dict | list | str):
        raise InvalidInput(f"attachment metadata {name!r} is {value!r}, not text", "over HTTP, pass text")
    try:
        return _value_text(value)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"attachment metadata {name!r} is not Unicode text", "remove the lone surrogate") from error
