"""What a document is: its id, its bytes, its metadata, and what is refused.

A body is kept exactly as it came; everything here that looks inside only reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from muniment import json_bytes
from muniment.errors import DamagedDatabase, InvalidDocument, InvalidId, InvalidInput
from muniment.revision import Revision

MAX_ID_BYTES: Final = 512
SEPARATOR: Final = "\x1e"  # between the owner and the name in the id of an attachment; in no other id
MAX_BODY_BYTES: Final = 64 << 20
MAX_METADATA_BYTES: Final = 1 << 20
MAX_ATTACHMENT_BYTES: Final = 2 << 30

ENTITY_NAME: Final = "Raven-Entity-Name"
LAST_MODIFIED: Final = "Last-Modified"
IDENTITIES: Final = "Raven/Identities/"  # the documents that hold the last number given to the ids of a prefix
# What the database itself says about a document; RavenDB 3.x drops the same names when metadata comes back to it.
RESERVED_METADATA: Final = frozenset(
    {"last-modified", "raven-last-modified", "raven-server-build", "raven-client-version", "raven-authenticated-user"}
    | {"raven-timer-request", "has-api-key", "non-authoritative-information"}
)

_TIME_KEPT: Final = b'"@last-modified":"'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

T = TypeVar("T")


def fold_collection(collection: str | None) -> str | None:
    """The form in which collections are compared: ASCII letters without case, as SQLite does."""
    if collection is None or collection.isascii():  # nearly always
        return None if collection is None else collection.lower()
    return "".join(each.lower() if each.isascii() else each for each in collection)


def fold(id: str) -> str:
    """The form in which ids are compared: two ids that differ only in case are one document.

    The rule is RavenDB's (.NET's `ToLowerInvariant`): each character by itself becomes its simple lower case, one for
    one. So "ß" and "ss", "ς" and "σ", "ſ" and "s" are different ids, and "İ" has no lower case.
    """
    if id.isascii():
        return id.lower()
    # All that `str.lower` does otherwise: a "Σ" at the end of a word becomes "ς", and "İ" two characters.
    return "İ".join(part.lower() for part in id.replace("Σ", "σ").split("İ"))


def check_id(id: str) -> bytes:
    """The id in UTF-8; raises `InvalidId` unless it is 1 to 512 bytes, without U+001E."""
    if not isinstance(id, str):
        raise InvalidId(f"an id is a string, not {type(id).__name__}", "pass the id as str, for example 'orders/830'")
    try:
        encoded = id.encode()
    except UnicodeEncodeError as error:
        raise InvalidId(f"the id {id!r} is not Unicode text: {error.reason}", "remove the lone surrogate") from error
    if SEPARATOR in id:
        raise InvalidId(
            f"the id {id!r} has U+001E in it", "leave that character out; an attachment's owner is named apart"
        )
    if not encoded:
        raise InvalidId("the id is empty", "give the document an id of 1 to 512 bytes, for example 'orders/830'")
    if len(encoded) > MAX_ID_BYTES:
        raise InvalidId(
            f"the id {id[:40]!r}… has {len(encoded)} bytes of UTF-8; at most {MAX_ID_BYTES} are allowed",
            "use a shorter id and keep the long text inside the document",
        )
    return encoded


def texts_in(given: Iterable[str], what: str) -> tuple[str, ...]:
    """What a list of ids or names has in it; each is still to be checked.

    Raises `InvalidInput` for anything else; one text would be taken letter by letter.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidInput(f"{what} are given as a list, not as {given!r}", f"write [{given!r}] for a single one")
    return tuple(given)


def check_body(body: bytes, what: str = "the document") -> None:
    """Raises `InvalidDocument` unless these bytes are one JSON object in UTF-8 of at most 64 MiB."""
    check_size(body, what)
    _check_object(body, what)


def check_size(body: bytes, what: str = "the document") -> None:
    """Raises `InvalidDocument` when a body has more than 64 MiB."""
    if len(body) > MAX_BODY_BYTES:
        raise InvalidDocument(
            f"{what} has {len(body):,} bytes; at most {MAX_BODY_BYTES:,} are allowed",
            "split it into several documents, or store the large part as an attachment",
        )


def _check_object(value: bytes, what: str) -> None:
    hint = "pass a JSON object as bytes, or a dict; nest at most 900 levels"
    try:
        json_bytes.check(value)
    except json_bytes.Malformed as error:
        raise InvalidDocument(f"{what} {error}", hint) from error
    if value[:1] != b"{" and value.lstrip(b" \t\r\n")[:1] != b"{":
        raise InvalidDocument(f"{what} is JSON, but not an object", hint)


class ExactFloat(float):
    """A float that remembers how it was written, so that saving a changed document rewrites only what changed."""

    text: str

    def __new__(cls, text: str) -> ExactFloat:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __reduce__(self) -> tuple[type[ExactFloat], tuple[str]]:
        return (ExactFloat, (self.text,))


_decoder = msgspec.json.Decoder(float_hook=ExactFloat)


def decode(body: bytes) -> Any:
    """The Python value of some JSON. Numbers with a fraction are floats that keep their text (`ExactFloat`).

    Raises `InvalidDocument` for what is no JSON, or what Python has no value for: an integer of more than 4300 digits,
    very deep nesting.
    """
    try:
        try:
            return _decoder.decode(body)
        except msgspec.DecodeError:
            return json.loads(body, parse_float=ExactFloat)
    except json.JSONDecodeError as error:
        text = f"this is not JSON: {error.msg} at character {error.pos + 1:,}"
        raise InvalidDocument(text, "see whether it is whole, and write one JSON value") from error
    except (ValueError, RecursionError) as error:
        raise InvalidDocument(f"this JSON has no value in Python: {error}", "use its bytes as they are") from error


def _encode_hook(value: Any) -> Any:
    if isinstance(value, ExactFloat):
        return msgspec.Raw(value.text.encode())
    if hasattr(value, "__dict__") and not callable(value):
        return vars(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode_hook)


def encode(value: Any) -> bytes:
    """The JSON of a dict, a dataclass, a msgspec.Struct or a plain object; raises `InvalidDocument`."""
    try:
        try:
            encoded = _encoder.encode(value)
        except UnicodeEncodeError:
            encoded = _encoder.encode(_escape_surrogates(value))
        if b"[" in encoded and _has_set(value):
            raise TypeError("JSON has no sets, and one would come back as a list in any order")
        if b"null" in encoded:  # which is what msgspec writes for a number that JSON cannot hold
            _check_finite(msgspec.to_builtins(value, enc_hook=_plain_hook, str_keys=True))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidDocument(f"this cannot be written as JSON: {error}", "use plain JSON types") from error
    return encoded


_PLAIN: Final = frozenset({str, int, float, bool, type(None), ExactFloat})
_WHOLE: Final = (str, int, float, bytes, bytearray, memoryview, date, time, timedelta, Decimal, UUID, Enum, msgspec.Raw)


def _has_set(value: Any) -> bool:
    """Whether there is a set in this, which msgspec would write as a list."""
    pending = [value]
    for value in pending:  # which grows meanwhile
        kind = type(value)
        if kind is dict:
            items = value.values()
        elif kind is list or kind is tuple:
            items = value
        elif isinstance(value, set | frozenset):
            return True
        else:
            items = _members_of(value)
        pending += [item for item in items if type(item) not in _PLAIN]
    return False


def _members_of(value: Any) -> Iterable[Any]:
    """What msgspec or `_encode_hook` writes of an object."""
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, _WHOLE) or callable(value):
        return ()
    names = getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", None)
    return vars(value).values() if names is None and hasattr(value, "__dict__") else _fields(value, names or ())


def _fields(value: Any, names: Iterable[str]) -> list[Any]:
    return [getattr(value, name) for name in names if hasattr(value, name)]


def _escape_surrogates(value: Any) -> Any:
    """Strings that UTF-8 cannot hold become ready-made JSON with an escape, as they were read."""
    if isinstance(value, str):
        return value if value.isprintable() else msgspec.Raw(json.dumps(value).encode())
    if isinstance(value, Mapping):
        return {name: _escape_surrogates(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape_surrogates(item) for item in value]
    return value


def _plain_hook(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):  # JSON already, whatever it says
        return None
    return value.text if isinstance(value, ExactFloat) else _encode_hook(value)


def _check_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _check_finite(item)


def metadata_bytes(metadata: Mapping[str, Any] | bytes | None) -> bytes:
    """Metadata as it will be stored: a JSON object without the names that the database itself provides."""
    if metadata is None:
        return b"{}"
    if isinstance(metadata, bytes):
        return _clean_metadata(metadata) if len(metadata) < 2048 else _clean_metadata.__wrapped__(metadata)
    if not isinstance(metadata, Mapping):
        raise InvalidDocument(f"metadata is a JSON object, not {type(metadata).__name__}", "pass a dict or bytes")
    metadata = encode({name: value for name, value in metadata.items() if not is_reserved(str(name))})
    _check_metadata(metadata)
    return metadata


@lru_cache(4096)
def _clean_metadata(metadata: bytes) -> bytes:
    _check_metadata(metadata)
    write: Callable[[Any], bytes] = msgspec.json.encode
    members: dict[str, Any]
    try:
        members = _members.decode(metadata)
    except msgspec.DecodeError:  # the escape of a lone surrogate
        members, write = decode(metadata), encode
    if any(map(is_reserved, members)):
        return write({name: value for name, value in members.items() if not is_reserved(name)})
    return metadata


def _check_metadata(metadata: bytes) -> None:
    if len(metadata) > MAX_METADATA_BYTES:
        raise InvalidDocument(
            f"the metadata has {len(metadata):,} bytes; at most {MAX_METADATA_BYTES:,} are allowed",
            "keep large values in the document",
        )
    _check_object(metadata, "the metadata")


def is_reserved(name: str) -> bool:
    """Whether the database provides this metadata itself, so that it is not stored when it comes back."""
    return name.startswith("@") or name.lower() in RESERVED_METADATA


def collection_of(metadata: bytes) -> str | None:
    """What `Raven-Entity-Name` says (any spelling of its case), None when there is none."""
    return _collection_of(metadata) if len(metadata) < 2048 else _collection_of.__wrapped__(metadata)


@lru_cache(4096)
def _collection_of(metadata: bytes) -> str | None:
    if ENTITY_NAME.lower().encode() not in metadata.lower() and b"\\" not in metadata:
        return None
    members = decode(metadata)
    if not isinstance(members, dict):
        raise InvalidDocument("the metadata is JSON, but not an object", "run `muniment check` on the database")
    for name, value in members.items():
        if name.lower() == ENTITY_NAME.lower() and isinstance(value, str) and value:
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise InvalidDocument(f"the collection {value!r} is not Unicode text", "name it in Unicode") from error
            return value
    return None


@lru_cache(1024)  # documents that were stored together have the same
def from_microseconds(modified: int) -> datetime:
    """Microseconds since 1970 as a time in UTC; raises `DamagedDatabase` for what is no time before the year 10000."""
    try:
        return _EPOCH + timedelta(microseconds=modified)
    except (OverflowError, TypeError) as error:
        raise DamagedDatabase(
            f"{modified!r} is no time in microseconds since 1970: {error}", "run `muniment check` on the database"
        ) from error


def to_microseconds(time: datetime) -> int:
    """A time as microseconds since 1970; a time without a zone is taken as UTC."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // timedelta(microseconds=1)


@lru_cache(1024)
def raven_time(time: datetime) -> str:
    """RavenDB's spelling: ISO 8601 with seven digits of a second, `2026-11-22T14:03:00.1234560Z`."""
    if time.tzinfo is not UTC:
        time = time.astimezone(UTC)
    return time.isoformat(timespec="microseconds")[:26] + "0Z"


def rfc3339(time: datetime) -> str:
    """The spelling of manifests: UTC with microseconds, `2026-11-22T17:18:03.417000Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def with_time_kept(metadata: bytes, changed: int) -> bytes:
    """Metadata that says when its version was first written (microseconds), to be stored with it once more.

    It stands in front, as a member that no user's metadata can have, so that `without_time_kept` gives the same bytes.
    """
    member = _TIME_KEPT + raven_time(from_microseconds(changed)).encode() + b'"'
    rest = metadata[metadata.index(b"{") + 1 :]
    return metadata[: -len(rest)] + member + (b"" if rest.strip(b" \t\r\n") == b"}" else b",") + rest


def without_time_kept(metadata: bytes, changed: int) -> tuple[bytes, int]:
    """What `with_time_kept` was given; other metadata as it is, with the time at which it was stored."""
    if _TIME_KEPT not in metadata:  # nearly always
        return metadata, changed
    start = metadata.find(b"{") + 1
    if not metadata.startswith(_TIME_KEPT, start):
        return metadata, changed
    time, _, rest = metadata[start + len(_TIME_KEPT) :].partition(b'"')
    try:
        kept = to_microseconds(datetime.fromisoformat(time.decode()))
    except ValueError:  # it is none of ours
        return metadata, changed
    return metadata[:start] + rest.removeprefix(b","), kept


@dataclass(slots=True, frozen=True)
class Document:
    """A document as it was when it was read.

    `body` are the bytes that were stored; `changed` is when this version was written to this database, for the first
    time when it was restored into it later.
    """

    id: str
    etag: int
    changed: datetime
    metadata_json: bytes
    body: bytes

    @classmethod
    def of(cls, revision: Revision) -> Document:
        """The document that a revision is."""
        metadata, changed = without_time_kept(revision.metadata, revision.modified)
        return cls(revision.id, revision.etag, from_microseconds(changed), metadata, revision.body or b"")

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata as a new dict."""
        value: dict[str, Any] = decode(self.metadata_json)
        return value

    @property
    def collection(self) -> str | None:
        """The collection that the metadata names."""
        return collection_of(self.metadata_json)

    @property
    def last_modified(self) -> str:
        """When it was last modified, as RavenDB writes it: an imported document keeps the time it came with."""
        kept = self.metadata.get(LAST_MODIFIED) if LAST_MODIFIED.encode() in self.metadata_json else None
        return kept if isinstance(kept, str) else raven_time(self.changed)

    def json(self) -> Any:
        """The body as a new Python value."""
        return decode(self.body)

    def to(self, type: type[T]) -> T:
        """The body as a dataclass, msgspec.Struct or TypedDict; raises `InvalidDocument` when it does not fit."""
        try:
            return msgspec.json.decode(self.body, type=type)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise InvalidDocument(f"{self.id} is not a {type.__name__}: {error}", "load it as a dict") from error
