"""What a client shows a server so that it knows who asks, and how the client knows that it is this server."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from muniment.errors import InvalidInput, ServerUnavailable, unreadable
from muniment.security.keys import split_key

Verify: TypeAlias = bool | str | Path
"""Whether the certificate of an https server is checked, or the PEM file of the authority that it is checked by."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The header `Authorization`, None to send none, and what a certificate is checked by."""

    authorization: bytes | None = field(default=None, repr=False)
    verify: Verify = True

    @classmethod
    def of(cls, api_key: str | None, auth: tuple[str, str] | None, verify: Verify) -> Credentials:
        """Those of a key, `NAME/SECRET`, or of a user's name and password, or of neither.

        Raises `InvalidInput`, which repeats no secret, for both and for what cannot be one of them.
        """
        if api_key is not None and auth is not None:
            raise InvalidInput("both a key and a user's name were given", "give one of them")
        if api_key is not None:
            name, secret = split_key(api_key)
            given = f"{name}/{secret}"
            if given.isascii() and given.isprintable() and " " not in given:
                return cls(b"Bearer " + given.encode(), verify)
            return cls(_basic(name, secret), verify)  # which has a way to send every character
        return cls(None if auth is None else _basic(*auth), verify)

    def context(self) -> ssl.SSLContext | bool:
        """What httpx checks certificates with; raises `NotFound` or `InvalidInput` for a file that has none."""
        if isinstance(self.verify, bool):
            return self.verify
        hint = "name the PEM file of the authority that has signed the server's certificate"
        try:
            return ssl.create_default_context(cafile=self.verify)
        except ssl.SSLError as error:
            raise InvalidInput(f"{self.verify} has no certificate in PEM", hint) from error
        except OSError as error:
            raise unreadable(self.verify, error, hint) from error


NOBODY: Final = Credentials()


def _basic(name: str, password: str) -> bytes:
    if not name or ":" in name:
        raise InvalidInput("a user's name is not empty and has no colon", "give it without its password")
    return b"Basic " + base64.b64encode(f"{name}:{password}".encode("utf-8", "surrogatepass"))


def untrusted(error: BaseException, url: str) -> ServerUnavailable | None:
    """The error for a server whose certificate is not trusted, where that is why a connection was not made."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    return ServerUnavailable(
        f"the certificate that {url} shows is not trusted: {cause.verify_message}",
        "nothing was sent; name the PEM file of the authority that signed it: --ca-file FILE, in Python verify=FILE",
    )
