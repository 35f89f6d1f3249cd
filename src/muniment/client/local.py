"""The rights of whoever runs a client on the server's machine, as the server's user: a secret in a file of it.

A server on this machine that refuses a folder names the file. Only one of that name is read, and its secret is sent
only if the very address that was asked stands in it: what else could be read here is nobody's business.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from muniment.settings import is_loopback

HEADER: Final = "muniment-local"
FILE: Final = "muniment.local"

_LARGEST: Final = 1000
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104 (an address to compare with)


def secret(headers: Mapping[str, str], url: str) -> str | None:
    """What to repeat a refused request with, as the header `muniment-local`; None when there is nothing to show."""
    path = headers.get(HEADER)
    host = urlsplit(url).hostname or ""
    if path is None or Path(path).name != FILE or not is_loopback(host):
        return None
    with suppress(OSError, ValueError, msgspec.MsgspecError):
        told = msgspec.json.decode(_content(path), type=_File)
        if _is_same(told.url, url) and told.secret.isalnum() and told.secret.isascii():
            return told.secret
    return None


class _File(msgspec.Struct):
    url: str = msgspec.field(name="Url")
    secret: str = msgspec.field(name="Secret")


def _content(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_LARGEST) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _is_same(served: str, asked: str) -> bool:
    """Whether the address that is served is the one that was asked, or another process may have got the question."""
    there, here = urlsplit(served), urlsplit(asked)
    hosts = (there.hostname or "", here.hostname or "")
    return there.port == here.port and (
        hosts[0] == hosts[1] or hosts[0] in _ANY or (hosts[1] == "localhost" and hosts[0] in ("127.0.0.1", "::1"))
    )
