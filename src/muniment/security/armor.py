"""Public and secret keys as text that survives being copied: a word that says what it is, base32, and a checksum.

Without the checksum, a backup could be encrypted for a mistyped recipient, and nobody could open it.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from hashlib import sha256
from typing import Final

from muniment.errors import InvalidInput

_CHECK_BYTES: Final = 4
_KEY_BYTES: Final = 32


def armored(word: str, key: bytes) -> str:
    """A key of 32 bytes as text that begins with the word."""
    return f"{word}-" + b32encode(key + _checksum(word, key)).decode().rstrip("=").lower()


def dearmored(word: str, text: str) -> bytes:
    """The key in such a text, in any case; raises `InvalidInput`, which does not repeat it, for anything else."""
    text = text.strip().lower()
    head, _, body = text.rpartition("-")
    try:
        found = b32decode(body.upper() + "=" * (-len(body) % 8))
    except ValueError:
        found = b""
    key = found[:_KEY_BYTES]
    if head != word or len(found) != _KEY_BYTES + _CHECK_BYTES or text != armored(word, key):
        raise InvalidInput(
            f"this is not a {word.replace('-', ' ')}: its beginning, length or checksum is wrong",
            f"copy it whole: it begins with {word}-",
        )
    return key


def _checksum(word: str, key: bytes) -> bytes:
    return sha256(word.encode() + key).digest()[:_CHECK_BYTES]
