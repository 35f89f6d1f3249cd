"""Who a client says that it is, and whether it believes the server: over real sockets, with and without TLS."""

from __future__ import annotations

import base64
import datetime
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from muniment.client import AsyncDocumentStore, DocumentStore
from muniment.client.credentials import Credentials
from muniment.errors import (
    AccessDenied,
    Forbidden,
    InvalidInput,
    MunimentError,
    NotFound,
    ServerUnavailable,
    Unauthorized,
)
from tests.client.test_transport import Handler, either, kind, say, server_that
from tests.waiting import PATIENCE

__all__ = ["kind"]

SECRET = "s3cret-of-the-key"


def asked_with(**options: Any) -> str:
    """The header `Authorization` of a request of a store with these."""
    seen: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers.get("Authorization", ""))
        say(request, 200, b"[]")

    with server_that(note) as url, DocumentStore(url, "shop", **options) as store:
        assert store.admin.databases() == []
    return seen[0]


def test_nobody_is_named_unless_asked() -> None:
    assert asked_with() == ""


def test_a_key_is_sent_as_it_was_printed() -> None:
    assert asked_with(api_key=f"boss/{SECRET}") == f"Bearer boss/{SECRET}"
    assert asked_with(api_key=f" boss/{SECRET}/more\n") == f"Bearer boss/{SECRET}/more"


@pytest.mark.parametrize("name", ["Köchin", "two words"])
def test_a_key_that_no_header_can_have_is_sent_all_the_same(name: str) -> None:
    scheme, _, text = asked_with(api_key=f"{name}/{SECRET}").partition(" ")
    assert (scheme, base64.b64decode(text).decode()) == ("Basic", f"{name}:{SECRET}")


def test_a_user_is_sent_with_the_password() -> None:
    scheme, _, text = asked_with(auth=("SHOP\\ann", "päss:word")).partition(" ")
    assert (scheme, base64.b64decode(text).decode()) == ("Basic", "SHOP\\ann:päss:word")


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": SECRET},
        {"api_key": f"/{SECRET}"},
        {"api_key": "boss/"},
        {"api_key": f"boss/{SECRET}", "auth": ("ann", SECRET)},
        {"auth": (f"ann:{SECRET}", SECRET)},
        {"auth": ("", SECRET)},
    ],
)
@pytest.mark.parametrize("store", [DocumentStore, AsyncDocumentStore])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(store: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        store("http://127.0.0.1:1", **options)
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.hint}"


def test_a_secret_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        DocumentStore(f"http://ann:{SECRET}@127.0.0.1:1", "shop")
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert "--api-key" in caught.value.hint


def test_no_secret_is_in_what_can_be_printed() -> None:
    assert SECRET not in repr(Credentials.of(f"boss/{SECRET}", None, True))
    with DocumentStore("http://127.0.0.1:1", api_key=f"boss/{SECRET}") as store:
        assert SECRET not in f"{store!r} {vars(store)!r} {vars(store._transport)!r}"


@pytest.mark.parametrize(
    ("status", "body", "error", "part"),
    [
        (401, b"", Unauthorized, "--api-key"),
        (401, b'{"Error": "no key", "Kind": "Unauthorized", "Hint": "send one"}', Unauthorized, "send one"),
        (403, b'{"Error": "no", "Kind": "AccessDenied", "Hint": "ask for a key for write"}', AccessDenied, "for write"),
        (403, b'{"Error": "no", "Kind": "Forbidden"}', Forbidden, ""),
        (403, b'{"Error": "not this folder"}', Forbidden, ""),
    ],
)
def test_a_server_that_refuses(kind: str, status: int, body: bytes, error: type[MunimentError], part: str) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> None:
        say(request, status, body)

    with (
        server_that(refuse) as url,
        either(url, kind, api_key=f"boss/{SECRET}") as store,
        pytest.raises(error) as caught,
    ):
        store.admin.databases()
    assert type(caught.value) is error
    assert part in caught.value.hint
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"


def certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A certificate that has signed itself, for a name and this machine, and its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.DNSName(name)] if name != "localhost" else [x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def tls_server_that(handle: Handler, cert: Path, key: Path, clients: Path | None = None) -> Iterator[str]:
    """The same as `server_that`, with TLS; and with `clients` only for those who show this certificate."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            handle(self)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up because it does not trust this one."""

        def shutdown_request(self, request: Any) -> None:
            """Take what the client has sent, or the system would throw away the alert that it is to read."""
            with socket.socket(fileno=os.dup(request.fileno())) as rest, suppress(OSError):
                rest.shutdown(socket.SHUT_WR)
                rest.settimeout(PATIENCE)
                while rest.recv(1 << 16):
                    pass
            super().shutdown_request(request)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    with Server(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_certificate_is_checked_unless_that_is_switched_off(kind: str, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "its own")
    other, _ = certificate(tmp_path / "another")
    seen: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers.get("Authorization", ""))
        say(request, 200, b"[]")

    with tls_server_that(note, cert, key) as url:
        for verify in (True, other, str(other)):
            with either(url, kind, api_key=f"boss/{SECRET}", verify=verify) as store:
                with pytest.raises(ServerUnavailable, match=r"not trusted: self[- ]signed certificate") as caught:
                    store.admin.databases()
                assert "--ca-file" in caught.value.hint
        assert seen == []
        for trusting in (cert, str(cert), False):
            with either(url, kind, api_key=f"boss/{SECRET}", verify=trusting) as store:
                assert store.admin.databases() == []
        assert seen == [f"Bearer boss/{SECRET}"] * 3


def test_the_certificate_of_another_machine_is_not_trusted(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "its own", "db.example.org")
    with (
        tls_server_that(lambda request: say(request, 200, b"[]"), cert, key) as url,
        DocumentStore(url, "shop", verify=cert) as store,
        pytest.raises(ServerUnavailable, match="IP address mismatch"),
    ):
        store.admin.databases()


def test_a_certificate_of_one_s_own_is_shown(kind: str, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "server")
    own, own_key = certificate(tmp_path / "client")
    (tmp_path / "own.pem").write_bytes(own.read_bytes() + own_key.read_bytes())
    with tls_server_that(lambda request: say(request, 200, b"[]"), cert, key, clients=own) as url:
        for verify in (cert, False):
            with either(url, kind, verify=verify, certificate=tmp_path / "own.pem") as store:
                assert store.admin.databases() == []
            with either(url, kind, verify=verify) as store:
                with pytest.raises(ServerUnavailable, match="certificate required") as caught:
                    store.admin.databases()
                assert "--client-certificate" in caught.value.hint


def test_a_file_without_a_certificate_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.pem"):
        DocumentStore("https://127.0.0.1:1", verify=tmp_path / "nowhere.pem")
    (tmp_path / "odd.pem").write_text("no certificate")
    with pytest.raises(InvalidInput, match=r"odd\.pem does not have the certificate"):
        DocumentStore("https://127.0.0.1:1", verify=tmp_path / "odd.pem")
    with pytest.raises(InvalidInput, match=r"odd\.pem does not have the certificate"):
        DocumentStore("https://127.0.0.1:1", certificate=tmp_path / "odd.pem")
