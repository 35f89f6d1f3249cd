"""Keys of encrypted databases: 32 bytes, which RavenDB and the files that hold them write in base64."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from muniment.errors import InvalidInput
from muniment.security.secret_files import KEY_BYTES, read_key_file, write_secret

_FORM: Final = f"a key is {KEY_BYTES} bytes in base64; `muniment encryption generate-key FILE` makes one"


class Algorithm(StrEnum):
    """How the pages of a database are encrypted. All of them prove, too, that nobody has changed a page."""

    AEGIS = "AEGIS"
    """AEGIS-256X2: next to no slower than no encryption, where the processor has instructions for AES."""
    CHACHA20 = "ChaCha20"
    """ChaCha20-Poly1305: where it has none."""
    AES_256 = "AES-256"
    """AES-256 in CBC mode with HMAC-SHA512, as SQLCipher has it: where a standard is asked for; the slowest."""


class EncryptionKey(msgspec.Struct, frozen=True):
    """The key of a database, and the algorithm for a new database; an existing one keeps its own.

    The secret does not appear in its `repr`.
    """

    secret: bytes
    algorithm: Algorithm = Algorithm.AEGIS

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise InvalidInput(f"a key has {KEY_BYTES} bytes, and this one {len(self.secret)}", _FORM)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(algorithm={self.algorithm.value!r})"

    @property
    def text(self) -> str:
        """The key in base64, which opens the database: never print or log it."""
        return b64encode(self.secret).decode()


def new_key(algorithm: Algorithm = Algorithm.AEGIS) -> EncryptionKey:
    """A new random key."""
    return EncryptionKey(secrets.token_bytes(KEY_BYTES), algorithm)


def key_in(text: str, algorithm: Algorithm = Algorithm.AEGIS, *, where: str = "the key") -> EncryptionKey:
    """The key that this is in base64; raises `InvalidInput`, which does not repeat it."""
    try:
        secret = b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise InvalidInput(f"{where} is not in base64", _FORM) from error
    if len(secret) != KEY_BYTES:
        raise InvalidInput(f"{where} has {len(secret)} bytes instead of {KEY_BYTES}", _FORM)
    return EncryptionKey(secret, algorithm)


def read_key(file: Path, algorithm: Algorithm = Algorithm.AEGIS) -> EncryptionKey:
    """The key in this file; raises `NotFound`, `StorageFailure` or `InvalidInput` when there is none."""
    return EncryptionKey(read_key_file(file), algorithm)


def write_key(file: Path, key: EncryptionKey) -> None:
    """Write a key into a new file that only its owner may read; on disk when this returns. Raises `TargetExists`."""
    write_secret(file, f"{key.text}\n")


def given_key(
    key: EncryptionKey | str | bytes | None, key_file: str | Path | None, algorithm: Algorithm | str | None = None
) -> EncryptionKey | None:
    """The key from `key` (32 bytes, or base64 of them) or from a file of it; None if neither is given."""
    named = Algorithm.AEGIS if algorithm is None else algorithm_in(algorithm)
    if key is not None and key_file is not None:
        raise InvalidInput("both a key and a file with one were given", "give one of them")
    if key_file is not None:
        return read_key(Path(key_file), named)
    match key:
        case EncryptionKey() | None:
            return key
        case str():
            return key_in(key, named)
        case bytes():
            return EncryptionKey(key, named)
    raise InvalidInput(f"{type(key).__name__} is not a key", _FORM)


_ALGORITHMS: Final = {
    **{each.value.lower(): each for each in Algorithm},
    **dict.fromkeys(("aes256", "aesmanaged", "aescryptoserviceprovider", "rijndaelmanaged"), Algorithm.AES_256),
}


def algorithm_in(text: str) -> Algorithm:
    """The algorithm of this name; .NET's names for AES, which RavenDB has in its settings, are those of AES-256.

    Raises `InvalidInput` for others: `DES` and `RC2` can be broken.
    """
    name = text.split(",")[0].strip().removeprefix("System.Security.Cryptography.").lower()
    if name not in _ALGORITHMS:
        raise InvalidInput(
            f"databases are not encrypted by {text!r}", f"give one of {', '.join(Algorithm)}, or leave it out"
        )
    return _ALGORITHMS[name]
