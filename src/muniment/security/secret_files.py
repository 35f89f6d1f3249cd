"""Secrets that stand in files, so that no command line, environment or log has them."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from muniment.durable import mapped_errors, sync_folder
from muniment.errors import InvalidInput, TargetExists, unreadable

MOST_BYTES: Final = 64 << 10
KEY_BYTES: Final = 32
_OWNER_ALONE: Final = 0o077
_OTHERS: Final = 0o007


def read_secret(path: Path, what: str) -> str:
    """The text of a small file; raises `NotFound` without it, `InvalidInput` for what is none."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise unreadable(path, error, f"name the file with the {what}") from error
    if len(text) > MOST_BYTES:
        raise InvalidInput(f"{path} is too large for a {what}", "name the right file")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} has no {what}: it is not text", "name the right file") from error


def read_passphrase(path: Path, what: str = "passphrase") -> str:
    """The passphrase, or the password, in a file: its first line, which must be its only one."""
    text = read_secret(path, what).removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text or "\0" in text:
        raise InvalidInput(f"{path} has no {what}: one line of text is wanted", "write it into the file alone")
    return text


def read_key_file(path: Path) -> bytes:
    """The key in a file: 32 bytes in base64, as RavenDB's `Raven/Encryption/Key` has them."""
    try:
        key = b64decode("".join(read_secret(path, "key").split()), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidInput(
            f"{path} has no key: 32 bytes in base64 are wanted", "make one with `muniment encryption generate-key FILE`"
        )
    return key


def write_secret(path: Path, text: str) -> None:
    """Write a new file that only its owner may read; it is on disk then. Raises `TargetExists`."""
    with mapped_errors(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise TargetExists(f"{path} exists already", "give another name: what it opens would be lost") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)


@contextmanager
def private() -> Iterator[None]:
    """Within it, no other user may read what this process and its children make, nor the group unless that was meant.

    It was when the umask of the process gives others nothing already, as 027 does: that one stays.
    """
    before = os.umask(_OWNER_ALONE)
    if before & _OTHERS == _OTHERS:
        os.umask(before)
    try:
        yield
    finally:
        os.umask(before)
