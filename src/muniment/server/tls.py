"""The certificate that a server shows, and those that it asks its clients for: whether their files can be used."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

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
        if wrong := _not_pem(Path(settings.tls_certificate), Path(settings.tls_key)):
            reason, hint = wrong
            raise StorageFailure(f"{with_key} cannot be used: {reason}", hint) from error
        raise _unusable(with_key, error) from error
    if settings.tls_client_ca:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except (OSError, ValueError) as error:
            raise _unusable(f"the authorities in {settings.tls_client_ca}", error) from error


def _not_pem(certificate: Path, key: Path) -> tuple[str, str] | None:
    """Which of the two files is not what it should be, and what to do: OpenSSL does not say."""
    with suppress(OSError):
        try:
            load_pem_x509_certificates(certificate.read_bytes())
        except ValueError:
            return f"{certificate} has no certificate that can be read", "have tls-certificate name a PEM file with one"
    with suppress(OSError):
        try:
            load_pem_private_key(key.read_bytes(), None)
        except TypeError:
            return f"the key in {key} is encrypted", "have tls-key name a PEM file whose key is not encrypted"
        except (ValueError, UnsupportedAlgorithm):
            return f"{key} has no private key that can be read", "have tls-key name a PEM file with one"
    return None


def tls_file(name: str) -> Path | None:
    """The file that a setting names, None when it names none."""
    return Path(name) if name else None


def _unusable(what: str, error: Exception) -> StorageFailure:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return StorageFailure(f"{what} cannot be used: {reason}", "give PEM files; the key must be the certificate's own")
