"""Keys: bytes that compare as the values of documents do. This is the one place that says how values compare.

A field that is missing comes before one without a value (an object or an empty array), then null, false, true, numbers,
texts. Numbers compare exactly, whatever their digits: 1.10 is 1.1. Texts compare without case, character by character
as ids do (`document.fold`), in the order of their code points; the spelling follows, so that it can be asked for too.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from muniment.document import fold
from muniment.errors import InvalidInput

Key: TypeAlias = bytes
Interval: TypeAlias = tuple[bytes, bytes]
"""From the first key, and before the second."""

MISSING: Final = b""
NOTHING: Final = b"\x01"
NULL: Final = b"\x02"
FALSE: Final = b"\x03"
TRUE: Final = b"\x04"
_NEGATIVE: Final = b"\x10"
_ZERO: Final = b"\x11"
_POSITIVE: Final = b"\x12"
_TEXT: Final = b"\x20"
END: Final = b"\xff"
_SPELLED: Final = b"\x00\x00"  # between the folded text and its spelling
_AFTER: Final = b"\x00\x01"
_NUL: Final = b"\x00\xff"  # in place of a NUL within a text; UTF-8 has no such byte
_BIAS: Final = 1 << 31
_COMPLEMENT: Final = bytes(255 - byte for byte in range(256))
TICKS: Final = 10_000_000  # of a second

BOOLEANS: Final[Interval] = (FALSE, b"\x05")
NUMBERS: Final[Interval] = (_NEGATIVE, b"\x13")
TEXTS: Final[Interval] = (_TEXT, b"\x21")


class Number(str):
    """A number as it is written in JSON."""

    __slots__ = ()


_decode = msgspec.json.Decoder(float_hook=Number).decode


def decoded(text: bytes | msgspec.Raw) -> Any:
    """The value of some JSON in which numbers that are no plain integers are `Number`."""
    try:
        return _decode(text)
    except msgspec.DecodeError:  # the escape of a lone surrogate, or an integer of thousands of digits
        return json.loads(bytes(text), parse_float=Number, parse_int=Number)


def key_of(value: Any) -> Key:
    """The key of a value of JSON, or of a Python value that a query compares with."""
    kind = type(value)
    if kind is str:
        return _short_text_key(value) if len(value) <= _SHORT else text_key(value)
    if kind is Number:
        return number_key(value) if len(value) <= _SHORT else number_key.__wrapped__(value)
    if isinstance(value, str):
        return number_key(value) if type(value) is Number else text_key(value)
    if value is None:
        return NULL
    if value is True or value is False:
        return TRUE if value else FALSE
    if isinstance(value, int):
        return number_key(_digits(value))
    if isinstance(value, float | Decimal):
        return number_key(_written(value))
    if isinstance(value, dict | list):
        return NOTHING
    raise InvalidInput(
        f"a field cannot be compared with {value!r}",
        "compare with a text, a number, true, false or null; write a time as it stands in the documents",
    )


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more than 4300 digits
        return f"{Decimal(value):f}"


def _written(value: float | Decimal) -> str:
    text = getattr(value, "text", None) or str(value)
    if not _number.fullmatch(text):
        raise InvalidInput(f"{value} is no number of JSON", "compare with a finite number")
    return text


_number: Final = re.compile(r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)


def is_number(text: str) -> bool:
    """Whether a text is a number as JSON writes it."""
    return _number.fullmatch(text) is not None


@lru_cache(1 << 14)
def number_key(text: str) -> Key:
    """The key of a number as JSON writes it. Exponents beyond ±2 000 000 000 count as that."""
    negative = text[0] == "-"
    mantissa, exponent = text[1:] if negative else text, ""
    if "e" in text or "E" in text:
        mantissa, _, exponent = mantissa.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return _ZERO
    power = len(digits) - len(fraction)
    if exponent:
        power = min(max(power + _power(exponent), -2_000_000_000), 2_000_000_000)
    shown = (power + _BIAS).to_bytes(4) + digits.rstrip("0").encode()
    return _NEGATIVE + shown.translate(_COMPLEMENT) + END if negative else _POSITIVE + shown


def _power(text: str) -> int:
    return int(text) if len(text) < 20 else (-_BIAS if text[0] == "-" else _BIAS)


def number_of(key: Key) -> Decimal | None:
    """The number whose key this is; None for another key."""
    if key == _ZERO:
        return Decimal(0)
    if not NUMBERS[0] <= key < NUMBERS[1]:
        return None
    negative = key[:1] == _NEGATIVE
    shown = key[1:-1].translate(_COMPLEMENT) if negative else key[1:]
    power = int.from_bytes(shown[:4]) - _BIAS
    return Decimal((negative, tuple(map(int, shown[4:].decode())), power - len(shown) + 4))


def text_key(text: str) -> Key:
    """The key of a text: folded, and its spelling where that differs."""
    if text.isascii() and "\0" not in text:  # nearly always
        folded = text.lower()
        return _TEXT + folded.encode() + (_SPELLED if folded == text else _SPELLED + text.encode())
    folded = fold(text)
    return _TEXT + _escaped(folded) + _SPELLED + (b"" if folded == text else _escaped(text))


# Values repeat. Long ones would fill the memory.
_SHORT: Final = 64
_short_text_key: Final = lru_cache(1 << 14)(text_key)


def _escaped(text: str) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = text.encode(errors="surrogatepass")
    return encoded.replace(b"\0", _NUL) if b"\0" in encoded else encoded


def value_of(key: Key) -> Any:
    """The value that has this key; None for what has none. Numbers come as `Decimal`."""
    if TEXTS[0] <= key < TEXTS[1]:
        folded, _, spelling = key[1:].partition(_SPELLED)
        return (spelling or folded).replace(_NUL, b"\0").decode(errors="surrogatepass")
    if key in (TRUE, FALSE):
        return key == TRUE
    return number_of(key)


def folded_text(key: Key) -> bytes:
    """The folded text of a text's key, as `pattern_of` writes it."""
    return key[1:].partition(_SPELLED)[0]


def pattern_of(text: str) -> bytes:
    """A part of a text, as it stands in the folded text of a key."""
    return _escaped(fold(text))


def equal(value: Any, *, exact: bool = False) -> Interval:
    """The keys of what is equal to a value; of texts in any case, unless they have to be exact."""
    if isinstance(value, dict | list | tuple):
        raise InvalidInput(
            f"a field cannot be compared with {value!r}", "compare with a text, a number, or each of these"
        )
    key = key_of(value)
    if exact or not TEXTS[0] <= key < TEXTS[1]:
        return key, key + b"\0"
    stem = _TEXT + folded_text(key)
    return stem + _SPELLED, stem + _AFTER


def starting(prefix: str) -> Interval:
    """The keys of texts that begin so, in any case."""
    stem = _TEXT + pattern_of(prefix)
    return stem, stem + END


def between(low: Any, high: Any, *, low_open: bool, high_open: bool) -> Interval:
    """The keys between two values of one kind; `msgspec.UNSET` is no bound.

    Raises `InvalidInput` for bounds of two kinds, or of one that has no order.
    """
    bounds = [equal(bound) for bound in (low, high) if bound is not msgspec.UNSET]
    if not bounds:
        return NOTHING, END
    kinds = {kind for kind in (BOOLEANS, NUMBERS, TEXTS) for first, _ in bounds if kind[0] <= first < kind[1]}
    if len(kinds) != 1 or any(not kind[0] <= first < kind[1] for kind in kinds for first, _ in bounds):
        raise InvalidInput(
            f"a range cannot go from {_told(low)} to {_told(high)}", "give two numbers or two texts as its ends"
        )
    [(first, last)] = kinds
    if low is not msgspec.UNSET:
        first = equal(low)[1 if low_open else 0]
    if high is not msgspec.UNSET:
        last = equal(high)[0 if high_open else 1]
    return first, last


def _told(bound: Any) -> str:
    return "anything" if bound is msgspec.UNSET else repr(bound)


# In RavenDB's documents a length of time is [-][d.]hh:mm[:ss[.fffffff]], in those of msgspec [-]P[nD][T[nH][nM][n.nS]].
_time_span: Final = re.compile(r"(-)?(?:(\d{1,8})\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?", re.ASCII)
_iso_duration: Final = re.compile(
    r"(-)?P(?=.)(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,7})\d*)?S)?)?", re.ASCII
)


def ticks_of(text: str) -> int | None:
    """A length of time in units of 100 ns; None for a text that is none."""
    found = _time_span.fullmatch(text) or _iso_duration.fullmatch(text)
    if not found:
        return None
    minus, days, hours, minutes, seconds, fraction = found.groups()
    whole = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    ticks = whole * TICKS + int((fraction or "0").ljust(7, "0"))
    return -ticks if minus else ticks
