"""Encrypted database files: SQLite3 Multiple Ciphers encrypts every page, also in the log and in temporary files.

The key is used as it is: deriving one from a passphrase would cost a tenth of a second at each connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import apsw

from muniment.security.encryption import Algorithm, EncryptionKey


class _Cipher(NamedTuple):
    """An algorithm's name in SQLite3 Multiple Ciphers, the bytes it reserves in each page, and its variant."""

    name: str
    reserved: int
    variant: str | None = None


_CIPHERS: Final = {
    Algorithm.AEGIS: _Cipher("aegis", 64, "aegis-256x2"),
    Algorithm.CHACHA20: _Cipher("chacha20", 32),
    Algorithm.AES_256: _Cipher("sqlcipher", 80),
}
_MAGIC: Final = b"SQLite format 3\0"
_HEAD_BYTES: Final = 24
_FRACTIONS: Final = bytes((64, 32, 32))  # of a page, the same in every file of SQLite


def is_encrypted(file: Path) -> bool:
    """Whether this file, which SQLite cannot read as it is, looks encrypted rather than damaged.

    An encrypted file has a salt in place of the magic; the next eight bytes of SQLite's header, with the page size and
    the bytes reserved in each page, are in clear as in any other.
    """
    head = _head(file)
    if len(head) < _HEAD_BYTES or head.startswith(_MAGIC) or head[21:24] != _FRACTIONS:
        return False
    return head[20] >= min(cipher.reserved for cipher in _CIPHERS.values())


def algorithm_in_use(connection: apsw.Connection) -> Algorithm:
    """The algorithm of a connection that was unlocked."""
    name = connection.pragma("cipher")
    return next(each for each, cipher in _CIPHERS.items() if cipher.name == name)


def _head(file: Path) -> bytes:
    """The first bytes, through SQLite: closing another descriptor of the file would end SQLite's locks in this process.

    While this process has locks on the file, SQLite keeps the descriptor open: do not call this repeatedly.
    """
    opened = apsw.VFSFile("unix", str(file), [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0])
    try:
        if opened.xFileSize() < _HEAD_BYTES:
            return b""
        return opened.xRead(_HEAD_BYTES, 0)
    finally:
        opened.xClose()


def unlock(connection: apsw.Connection, key: EncryptionKey, algorithm: Algorithm) -> None:
    """Make a connection that has read nothing yet use this key."""
    cipher = _CIPHERS[algorithm]
    connection.pragma("cipher", cipher.name)
    if cipher.variant:
        connection.pragma("algorithm", cipher.variant)
    connection.pragma("key", _raw(key))


def uri(file: Path, key: EncryptionKey | None) -> str:
    """The URI by which a connection with another key writes a file with this key, or with none."""
    how = "key="
    if key:
        cipher = _CIPHERS[key.algorithm]
        how = f"cipher={cipher.name}{f'&algorithm={cipher.variant}' if cipher.variant else ''}&key={_raw(key)}"
    return f"file:{quote(str(file.absolute()))}?{how}"


def _raw(key: EncryptionKey) -> str:
    return f"raw:{key.secret.hex()}"
