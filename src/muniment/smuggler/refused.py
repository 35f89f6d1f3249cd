"""The documents for which RavenDB 4 to 7 refuses a whole dump: tried with RavenDB 6.2 and 5.4."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from muniment import native
from muniment.document import decode
from muniment.errors import InvalidDocument
from muniment.revision import Batch, Packed
from muniment.smuggler.metadata import EXPIRES
from muniment.smuggler.split import may_have_metadata

REFUSED: Final = "documents that RavenDB refuses"
_NUMBER_FOR_IDS: Final = "|"
_EXPIRES: Final = EXPIRES.lower()
_ALIKE: Final = bytes.maketrans(b"123456789+E", b"0000000000e")
_EXPONENT: Final = b"0e000"
_DIGITS: Final = b"0" * 210  # fewer need an exponent of three for what no double can hold
_IN_NUMBER: Final = b"0123456789.-"
_BEFORE_NUMBER: Final = b":[, \t\r\n"
_number = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
# .NET's formats that RavenDB reads: "o" and its likes, and "r".
_date = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)


def why_refused(id: str, metadata: bytes, body: bytes) -> str | None:
    """Why RavenDB refuses a dump with this document, as the end of a sentence; None when it does not."""
    if id.endswith(_NUMBER_FOR_IDS):
        return "has an id that ends in |, by which RavenDB asks for the next number"
    if told := _of_metadata(metadata) if len(metadata) < 2048 else _of_metadata.__wrapped__(metadata):
        return told
    return "has a number that no double can hold" if _has_infinite(body) else None


class Signs(NamedTuple):
    """What there may be in JSON: a member `@metadata`, which stands in a dump for something else, and a number that no
    double can hold."""

    own_metadata: bool
    infinite: bool


def signs_in(column: Packed) -> Signs:
    """The signs in any of these; nearly all have none, and are searched at the speed of memory."""
    if library := native.load():
        return Signs(*library.signs(column))
    return Signs(may_have_metadata(column.data), _suspicious(column.data))


def may_be_refused(batch: Batch, signs: Signs) -> bool:
    """Whether RavenDB refuses one of these documents, which have these signs in their bodies."""
    if (
        _NUMBER_FOR_IDS.encode() in batch.ids.data
        or b"xpiration-date" in batch.metadata.data.lower()
        or signs.infinite
        or signs_in(batch.metadata).infinite
    ):
        return any(why_refused(each.id, each.metadata, each.body or b"{}") for each in batch)
    return False


@lru_cache(4096)
def _of_metadata(metadata: bytes) -> str | None:
    if _EXPIRES.encode() in metadata.lower() or b"\\" in metadata:
        for name, value in decode(metadata).items():
            if name.lower() == _EXPIRES and not _is_date(value):
                return f"has the expiry {value!r}, which is no date" if value is not None else "has the expiry null"
    return "has a number in its metadata that no double can hold" if _has_infinite(metadata) else None


def _is_date(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    with suppress(ValueError):
        if _date.fullmatch(value):
            return bool(datetime.fromisoformat(value))
        return bool(datetime.strptime(value, "%a, %d %b %Y %H:%M:%S GMT"))  # noqa: DTZ007 - nobody asks when it is
    return False


def _has_infinite(json: bytes) -> bool:
    if not _suspicious(json):
        return False
    try:
        return any(_infinite(value) for value in _values(decode(json)))
    except InvalidDocument:  # an integer of thousands of digits
        return True


def _infinite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not math.isfinite(float(value))
    except OverflowError:
        return True


def _values(value: Any) -> Iterator[Any]:
    pending = [value]
    for each in pending:  # which grows meanwhile
        if isinstance(each, dict):
            pending += each.values()
        elif isinstance(each, list):
            pending += each
        else:
            yield each


def _suspicious(json: bytes) -> bool:
    """Whether something in it looks like a number that is too large; it may stand in a string."""
    alike = json.translate(_ALIKE)
    at = alike.find(_EXPONENT)
    while at >= 0:
        start = at
        while start and json[start - 1] in _IN_NUMBER:
            start -= 1
        if start and json[start - 1] in _BEFORE_NUMBER:  # not within a word, such as an id in hexadecimal digits
            number = _number.match(json, start)
            if number and _infinite(float(number[0])):
                return True
        at = alike.find(_EXPONENT, at + 1)
    return _DIGITS in alike
