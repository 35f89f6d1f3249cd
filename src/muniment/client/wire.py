"""What is said to a server and what it answers, as values: RavenDB 3.x's words, without any input or output.

A `Flow` is a job on a server: a generator that yields each request and gets what came of it, and returns the job's
result. Whoever runs it does the input and output, with threads or with asyncio; all decisions are in the flow.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote as percent_encoded
from urllib.parse import unquote, urlsplit

import msgspec

from muniment.document import Document, decode
from muniment.errors import InvalidInput, ServerUnavailable
from muniment.json_bytes import Malformed, elements, member_value, without_surrogates
from muniment.raven3 import documents
from muniment.raven3.names import SYSTEM

Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes] | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a server. `target` is its path and query, percent-encoded, below the server's address.

    `repeatable` says that doing it twice is the same as doing it once, so it may be sent again when no answer came.
    `timeout` is for the answer, in seconds, where it is another than usual. `subjects` are the ids it is about, to be
    named by errors.
    """

    method: str
    target: str
    body: Body = None
    headers: tuple[tuple[str, str], ...] = ()
    repeatable: bool = False
    timeout: float | None = None
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """A server's answer; the names of its headers compare without case.

    `repeated` says that the server may have got the request before, and have answered that.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer came. `sent` is whether the server may have got the request; `late` that it took too long."""

    reason: str
    sent: bool
    late: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """The wish to wait so many seconds."""

    seconds: float


Flow: TypeAlias = Generator[Request | Pause, Response | Unreachable | None, T]


def target(*path: str, query: Iterable[tuple[str, str]] = ()) -> str:
    """A path of these segments, and a query. A segment is one segment, whatever is in it: `orders/1`, `..`, `50%`."""
    text = "".join("/" + quoted(segment) for segment in path) or "/"
    pairs = query_text(query)
    return f"{text}?{pairs}" if pairs else text


def query_text(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values as a query, without its question mark."""
    return "&".join(f"{name}={quoted(value)}" for name, value in pairs)


def quoted(text: str) -> str:
    """Percent-encoded completely: nothing that a server, a proxy or a client could take for syntax is left."""
    return percent_encoded(text, safe="").replace(".", "%2E")


def root_of(database: str | None) -> tuple[str, ...]:
    """The segments under which a database's own paths stand; none for the system database."""
    return () if database is None or database == SYSTEM else ("databases", database)


def split_url(url: str) -> tuple[str, str | None]:
    """The server's address and the database that `http://server:8080/databases/NAME` names, None if it names none."""
    hint = "give the server's address, for example http://127.0.0.1:8080"
    if not isinstance(url, str):
        raise InvalidInput(f"{url!r} is not the URL of a server", hint)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (it is checked when it is asked for)
    except ValueError as error:
        raise InvalidInput(f"{url!r} is not a URL: {error}", hint) from error
    if "@" in parts.netloc:  # errors, logs and process lists repeat the URL
        raise InvalidInput(
            "the URL has a name or password in it", "leave it out, and give --api-key or --username and --password"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidInput(f"{url!r} is not the URL of a server", hint)
    head, marker, name = parts.path.partition("/databases/")
    base = f"{parts.scheme}://{parts.netloc}{head.rstrip('/')}"
    return base, unquote(name.strip("/")) or None if marker else None


def parsed(response: Response, type: type[T]) -> T:
    """The JSON of an answer as this type; raises `ServerUnavailable` if it is none, as of something else's server."""
    body = response.body
    try:
        try:
            return msgspec.json.decode(body, type=type)
        except msgspec.DecodeError:  # perhaps for half a surrogate pair in metadata, which is nothing we look at
            return msgspec.json.decode(without_surrogates(body), type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unexpected(f"an answer of {len(body):,} bytes cannot be understood: {error}") from error


def results_of(response: Response) -> list[Document | None]:
    """The documents of an answer to a multi-get, None for each that does not exist."""
    with _understood():
        return documents.results_of(response.body)


def documents_of(response: Response) -> list[Document]:
    """The documents of an answer that is an array."""
    with _understood():
        return [document for document in documents.documents_of(response.body.strip()) if document is not None]


def rows_of(response: Response) -> list[Any]:
    """What a query has found: documents, or dicts of what it selects."""
    with _understood():
        results = member_value(response.body, "Results") or b"[]"
        return [row_of(row) for row in elements(results)]


def row_of(row: bytes) -> Any:
    """A document, or a dict of what was selected of it."""
    if b'"@metadata":' in row and b'"@id":' in row:
        return documents.document_of(row)
    return decode(row)


class Rows:
    """Cuts what comes in of an answer with a row in each line."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def of(self, chunk: bytes) -> list[Any]:
        """The rows that are complete now."""
        self._rest += chunk
        if b"\n" not in chunk:
            return []
        *lines, self._rest = self._rest.split(b"\n")
        with _understood():
            return [row_of(decode(bytes(line)).encode() if line[:1] == b'"' else bytes(line)) for line in lines]

    def end(self) -> None:
        """Raises `ServerUnavailable` if something is missing."""
        if self._rest:
            raise unexpected("the server's answer ended within a line")


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except Malformed as error:
        raise unexpected(f"the server's answer cannot be understood: it {error}") from error


def unexpected(what: str) -> ServerUnavailable:
    """The error for an answer that neither Muniment nor RavenDB gives."""
    return ServerUnavailable(what, "check that the URL is that of a Muniment server, and not of a proxy or another one")
