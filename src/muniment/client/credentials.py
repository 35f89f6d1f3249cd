"""What a client shows a server so that it knows who asks, and how the client knows that it is this server."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import httpx

from muniment.errors import InvalidInput, ServerUnavailable, unreadable
from muniment.security.keys import split_key

Verify: TypeAlias = bool | str | Path
"""Whether the certificate of an https server is checked, or the PEM file of the authority that it is checked by."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The header `Authorization`, None to send none, what certificates are checked by, and a certificate to show."""

    authorization: bytes | None = field(default=None, repr=False)
    verify: Verify = True
    certificate: str | Path | None = None

    @classmethod
    def of(
        cls,
        api_key: str | None,
        auth: tuple[str, str] | None,
        verify: Verify = True,
        certificate: str | Path | None = None,
    ) -> Credentials:
        """Those of a key, `NAME/SECRET`, or of a user's name and password, or of neither.

        Raises `InvalidInput`, which repeats no secret, for both and for what cannot be one of them.
        """
        if api_key is not None and auth is not None:
            raise InvalidInput("both a key and a user's name were given", "give one of them")
        if api_key is not None:
            name, secret = split_key(api_key)
            given = f"{name}/{secret}"
            if given.isascii() and given.isprintable() and " " not in given:
                return cls(b"Bearer " + given.encode(), verify, certificate)
            return cls(_basic(name, secret), verify, certificate)  # which has a way to send every character
        return cls(None if auth is None else _basic(*auth), verify, certificate)

    def context(self, url: str) -> ssl.SSLContext | bool:
        """What httpx meets this server with; raises `NotFound` or `InvalidInput` for a file that has no certificate."""
        if self.certificate is None and isinstance(self.verify, bool):
            return self.verify and url.startswith("https:")  # authorities take a while to load
        if isinstance(self.verify, bool):
            context = httpx.create_ssl_context(verify=self.verify)
        else:
            with _readable(self.verify, "name the PEM file of the authority that has signed the server's certificate"):
                context = ssl.create_default_context(cafile=self.verify)
        if self.certificate is not None:
            with _readable(
                self.certificate, "name a PEM file with your certificate and its private key, not encrypted"
            ):
                context.load_cert_chain(self.certificate, password="")
        return context


@contextmanager
def _readable(file: str | Path, hint: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise InvalidInput(f"{file} does not have the certificate in PEM", hint) from error
    except OSError as error:
        raise unreadable(file, error, hint) from error


NOBODY: Final = Credentials()


def _basic(name: str, password: str) -> bytes:
    if not name or ":" in name:
        raise InvalidInput("a user's name is not empty and has no colon", "give it without its password")
    return b"Basic " + base64.b64encode(f"{name}:{password}".encode("utf-8", "surrogatepass"))


def untrusted(error: BaseException, url: str) -> ServerUnavailable | None:
    """The error for a connection that a certificate was the end of, or the lack of one; None where that is not why."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ServerUnavailable(
            f"the certificate that {url} shows is not trusted: {cause.verify_message}",
            "nothing was sent; name the PEM file of its authority: --ca-file FILE, in Python verify=FILE",
        )
    if cause is not None and "ALERT" in (cause.reason or ""):
        reason = cause.reason.rpartition("ALERT_")[2].lower().replace("_", " ")
        return ServerUnavailable(
            f"{url} did not accept the connection: {reason}",
            "if it asks for a certificate, name yours: --client-certificate FILE, in Python certificate=FILE",
        )
    return None
