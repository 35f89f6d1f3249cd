"""The certificate that a server shows, and those that it asks its clients for: whether their files can be used."""

from __future__ import annotations

import ssl
from pathlib import Path

from muniment.errors import StorageFailure
from muniment.settings import Settings


def check_tls(settings: Settings) -> None:
    """Raises `StorageFailure` when a file cannot be read, or is no certificate, or the key is that of another one."""
    if not settings.tls_certificate:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with_key = f"the certificate {settings.tls_certificate} with the key {settings.tls_key}"
    try:
        # An encrypted key would have the server ask for its password where nobody answers.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
    except (OSError, ValueError) as error:  # among them is ssl.SSLError
        raise _unusable(with_key, error) from error
    if settings.tls_client_ca:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except (OSError, ValueError) as error:
            raise _unusable(f"the authorities in {settings.tls_client_ca}", error) from error


def tls_file(name: str) -> Path | None:
    """The file that a setting names, None when it names none."""
    return Path(name) if name else None


def _unusable(what: str, error: Exception) -> StorageFailure:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return StorageFailure(f"{what} cannot be used: {reason}", "give PEM files; the key must be the certificate's own")
