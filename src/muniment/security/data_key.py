"""The data key of an encrypted backup, and what is derived from it: one key for each use, none for two.

HKDF (RFC 5869) derives one key for the Parquet files, one for each other use, and the id that names the data key
without revealing it.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
ID_BYTES: Final = 16


def derived(key: bytes, use: str, length: int = KEY_BYTES) -> bytes:
    """A key for this use alone, from which neither `key` nor that of another use can be found."""
    return HKDF(SHA256(), length, salt=None, info=b"muniment " + use.encode()).derive(key)


def sealed(key: bytes, text: bytes, bound: bytes) -> bytes:
    """The text under AES-256-GCM, its random nonce before it; it opens only together with `bound`."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text, bound)


def unsealed(key: bytes, text: bytes, bound: bytes) -> bytes | None:
    """The text that was sealed; None when the key, the sealed text or `bound` is a different one."""
    try:
        return AESGCM(key).decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        return None


class DataKey:
    """A data key: 32 random bytes, of one backup alone."""

    def __init__(self, secret: bytes | None = None) -> None:
        self.secret: Final = os.urandom(KEY_BYTES) if secret is None else secret
        if len(self.secret) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        self.id: Final = derived(self.secret, "backup key id", ID_BYTES).hex()

    def __repr__(self) -> str:
        return f"DataKey({self.id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataKey) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def parquet(self) -> bytes:
        """The key of the Parquet files, footers and columns."""
        return derived(self.secret, "backup parquet")

    def seal(self, use: str, text: bytes, bound: bytes = b"") -> bytes:
        """The text, encrypted for this use."""
        return sealed(derived(self.secret, f"backup {use}"), text, bound)

    def unseal(self, use: str, text: bytes, bound: bytes = b"") -> bytes | None:
        """What was sealed for this use; None when it was not sealed like this, or was changed since."""
        return unsealed(derived(self.secret, f"backup {use}"), text, bound)

    def mac(self, use: str, text: bytes) -> bytes:
        """What for this use and text only somebody who has the data key can make: HMAC-SHA-256."""
        return hmac.digest(derived(self.secret, f"backup {use}"), text, "sha256")
