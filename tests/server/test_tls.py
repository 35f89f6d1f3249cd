"""TLS: which versions, which certificates, read again while the server runs, and where there has to be TLS."""

from __future__ import annotations

import shutil
import signal
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from muniment.client import DocumentStore
from muniment.errors import ServerUnavailable
from tests.server.running import Server, running
from tests.waiting import PATIENCE, until


def certificate(place: Path, name: str, *, password: bytes = b"", by: str = "") -> tuple[Path, Path]:
    """A certificate of this machine's loopback address, and its key: `by` an authority, or one for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by or name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=not by, path_length=None), critical=True)
        .sign(_key_of(place, by) if by else key, hashes.SHA256())
    )
    files = place / f"{name}.pem", place / f"{name}.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    how = BestAvailableEncryption(password) if password else NoEncryption()
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    return files


def _key_of(place: Path, name: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key((place / f"{name}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def shown(server: Server) -> str:
    """The certificate that a new connection sees."""
    return ssl.get_server_certificate(("127.0.0.1", server.port), timeout=PATIENCE)


def test_documents_over_tls_of_1_2_and_later(tmp_path: Path) -> None:
    file, key = certificate(tmp_path, "one")
    with running(tmp_path / "data", tls_certificate=str(file), tls_key=str(key)) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=file)
            context.minimum_version = context.maximum_version = version
            with httpx.Client(
                base_url=server.url, verify=context, headers={"Muniment-Request": "1"}, timeout=PATIENCE
            ) as client:
                assert client.put("/admin/databases/shop", json={}).status_code in (200, 400)
                assert client.put("/databases/shop/docs/a", json={"n": 1}).status_code == 201
                assert client.get("/databases/shop/docs/a").json() == {"n": 1}
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError), httpx.Client(verify=old, timeout=PATIENCE) as client:
            client.get(f"{server.url}/health/live")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/health/live", timeout=PATIENCE)
        with (
            pytest.raises(ServerUnavailable, match="say https://"),
            DocumentStore(f"http://127.0.0.1:{server.port}", "shop") as store,
        ):
            store.get("a")


def test_a_certificate_is_read_again_and_one_that_cannot_be_used_is_not(tmp_path: Path) -> None:
    (first, first_key), (second, second_key) = certificate(tmp_path, "first"), certificate(tmp_path, "second")
    file, key = tmp_path / "server.pem", tmp_path / "server.key"
    shutil.copy(first, file)
    shutil.copy(first_key, key)
    with running(tmp_path / "data", tls_certificate=str(file), tls_key=str(key)) as server:
        assert shown(server).strip() == first.read_text().strip()
        file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: f"{file} has no certificate that can be read" in server.log())
        shutil.copy(second, file)  # but not its key
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "the certificate stays as it was" in server.log())
        assert shown(server).strip() == first.read_text().strip()
        with httpx.Client(
            base_url=server.url, verify=ssl.create_default_context(cafile=first), timeout=PATIENCE
        ) as client:
            assert client.get("/health/live").status_code == 200
            shutil.copy(second_key, key)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: all(shown(server).strip() == second.read_text().strip() for _ in range(20)))
        with httpx.Client(
            base_url=server.url, verify=ssl.create_default_context(cafile=second), timeout=PATIENCE
        ) as client:
            assert client.get("/health/live").status_code == 200
        assert server.stop() == 0


def test_clients_without_a_certificate_of_the_authority_are_not_let_in(tmp_path: Path) -> None:
    file, key = certificate(tmp_path, "server")
    authority, _ = certificate(tmp_path, "authority")
    mine, my_key = certificate(tmp_path, "client", by="authority")
    settings: dict[str, Any] = {"tls_certificate": str(file), "tls_key": str(key), "tls_client_ca": str(authority)}
    with running(tmp_path / "data", **settings) as server:
        context = ssl.create_default_context(cafile=file)
        with pytest.raises(httpx.HTTPError), httpx.Client(verify=context, timeout=PATIENCE) as client:
            client.get(f"{server.url}/health/live")
        context.load_cert_chain(mine, my_key)
        with httpx.Client(verify=context, timeout=PATIENCE) as client:
            assert client.get(f"{server.url}/health/live").status_code == 200


@pytest.mark.parametrize("which", ["missing", "no certificate", "another key", "a password", "no authorities"])
def test_a_server_whose_certificate_cannot_be_used_says_so(tmp_path: Path, which: str) -> None:
    file, key = certificate(tmp_path, "one", password=b"secret" if which == "a password" else b"")
    settings: dict[str, Any] = {"tls_certificate": str(file), "tls_key": str(key)}
    if which == "missing":
        file.unlink()
    elif which == "no certificate":
        file.write_text("text")
    elif which == "another key":
        settings["tls_key"] = str(certificate(tmp_path, "two")[1])
    elif which == "no authorities":
        settings["tls_client_ca"] = str(tmp_path / "none.pem")
    with pytest.raises(RuntimeError, match=r"cannot be used.*\n.*hint"):
        Server(tmp_path / "data", **settings)


def test_beyond_this_machine_keys_are_needed_also_before_there_is_one(tmp_path: Path) -> None:
    file, key = certificate(tmp_path, "one")
    settings: dict[str, Any] = {"tls_certificate": str(file), "tls_key": str(key)}
    context = ssl.create_default_context(cafile=file)
    with (
        running(tmp_path / "data", host="0.0.0.0", **settings) as server,
        httpx.Client(verify=context, timeout=PATIENCE) as client,
    ):
        url = f"https://127.0.0.1:{server.port}"
        assert client.get(f"{url}/health/live").status_code == 200
        assert client.get(f"{url}/databases").status_code == 401
    with running(tmp_path / "data", host="0.0.0.0", plain_http="true") as server:
        assert httpx.get(f"http://127.0.0.1:{server.port}/databases", timeout=PATIENCE).status_code == 401
