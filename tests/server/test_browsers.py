"""What a page in a browser can send is refused; what it cannot send is served."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.sampled import some
from tests.server.running import Database, Server, assert_error, running
from tests.waiting import PATIENCE

FORM_TYPES = [
    "text/plain",
    "text/plain;charset=UTF-8",
    "TEXT/Plain ; charset=application/json",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "nonsense",
    None,
]
BATCH = b'[{"Method":"PUT","Key":"evil","Document":{}}]'


def send(server: Server, method: str, path: str, body: bytes = b"", /, **headers: str | None) -> httpx.Response:
    """A request with nothing of ours in it."""
    told = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    return httpx.request(method, f"{server.url}{path}", content=body, headers=told, timeout=PATIENCE, verify=False)


def writing(shop: Database, folder: Path) -> list[tuple[str, str, bytes]]:
    location = b'{"BackupLocation":"%s"}' % str(folder).encode()
    return [
        ("POST", f"{shop.root}/bulk_docs", BATCH),
        ("POST", f"{shop.root}/docs", b"{}"),
        ("POST", f"{shop.root}/smuggler/import", b'{"Docs":[{"@metadata":{"@id":"evil"}}]}'),
        ("POST", f"{shop.root}/smuggler/export", b"{}"),
        ("POST", f"{shop.root}/admin/backup", location),
        ("POST", f"{shop.root}/admin/restore-into", location),
        ("POST", "/admin/restore", location),
        ("POST", f"/admin/compact?database={shop.name}", b""),
        ("POST", f"/admin/databases/{shop.name}?isSettingDisabled=true", b""),
        ("POST", "/operation/kill?id=1", b""),
        ("GET", "/operation/kill?id=1", b""),
        ("PUT", f"{shop.root}/docs/evil", b"{}"),
        ("PUT", f"{shop.root}/static/evil", b"x"),
        ("PUT", "/admin/databases/evil", b"{}"),
        ("DELETE", f"{shop.root}/docs/good", b""),
        ("DELETE", f"/admin/databases/{shop.name}?hard-delete=true", b""),
        ("PATCH", f"{shop.root}/docs/good", b"[]"),
        ("EVAL", f"{shop.root}/docs/good", b"{}"),
    ]


@some(3)
@pytest.mark.parametrize("type", FORM_TYPES)
def test_what_a_form_could_send_changes_nothing(shop: Database, tmp_path: Path, type: str | None) -> None:
    shop.put("good")
    before = len(shop.server.client.get("/operations").json())
    for method, path, body in writing(shop, tmp_path / "backups"):
        answer = send(shop.server, method, path, body, content_type=type)
        error = assert_error(answer, 403, "Muniment-Request: 1")
        assert ("Content-Type: application/json" in error["Hint"]) == (method != "GET")
    assert [document["@metadata"]["@id"] for document in shop.get("/docs").json()] == ["good"]
    assert shop.get("/static").json() == []
    assert len(shop.server.client.get("/operations").json()) == before
    assert "evil" not in shop.server.client.get("/databases").json()
    assert not (tmp_path / "backups").exists()


@some(2)
@pytest.mark.parametrize(
    "header",
    [
        {"content_type": "application/json; charset=utf-8"},
        {"content_type": "application/octet-stream"},
        {"muniment_request": "1"},
        {"raven_client_version": "3.0.0.0", "content_type": "text/plain"},
    ],
    ids=str,
)
def test_what_no_form_can_send_is_done(shop: Database, header: dict[str, str]) -> None:
    assert send(shop.server, "POST", f"{shop.root}/bulk_docs", BATCH, **header).status_code == 200
    assert send(shop.server, "PUT", f"{shop.root}/docs/a", b"{}", **header).status_code == 201
    assert "muniment-request" not in shop.get("/docs/a").headers
    assert send(shop.server, "DELETE", f"{shop.root}/docs/a", b"", **header).status_code == 204
    kill = send(shop.server, "GET", "/operation/kill?id=999999", b"", **header)
    assert kill.status_code == (403 if list(header) == ["content_type"] else 404)


@some(10)
@pytest.mark.parametrize(
    "origin",
    ["http://evil", "null", "http://127.0.0.1", "http://127.0.0.1:1", "ftp://HERE", "HERE", "http://HERE.evil"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_sites_are_refused(shop: Database, method: str, origin: str) -> None:
    origin = origin.replace("HERE", shop.server.url.removeprefix("http://"))
    for path in (f"{shop.root}/bulk_docs", f"{shop.root}/docs", "/health/live", "/nothing"):
        answer = send(shop.server, method, path, BATCH, origin=origin, content_type="application/json")
        assert_error(answer, 403, origin)
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert shop.get("/docs").json() == []


def test_own_pages_and_named_ones_are_served(shop: Database, tmp_path: Path) -> None:
    path = f"{shop.root}/bulk_docs"
    json = {"content_type": "application/json"}
    assert send(shop.server, "POST", path, BATCH, origin=shop.server.url, **json).status_code == 200
    with running(tmp_path / "data", page_origins="https://app.example.org,http://b") as server:
        for origin, status in (("https://app.example.org", 200), ("http://app.example.org", 403), ("http://B", 200)):
            assert send(server, "GET", "/health/live", origin=origin).status_code == status


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("cross-site", "no-cors", "script", 403),
        ("same-site", "no-cors", "image", 403),
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "navigate", "document", 200),
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
    ],
)
def test_what_other_pages_embed_is_refused(server: Server, site: str, mode: str, dest: str, status: int) -> None:
    headers = {"sec_fetch_site": site, "sec_fetch_mode": mode, "sec_fetch_dest": dest}
    assert send(server, "GET", "/databases", b"", **headers).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:PORT", 200),
        ("127.0.0.1", 200),
        ("localhost:PORT", 200),
        ("LocalHost.", 200),
        ("[::1]:PORT", 200),
        ("evil.example:PORT", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example@127.0.0.1", 403),
        ("10.0.0.1", 403),
        ("0.0.0.0", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_a_name_that_was_bound_to_this_address_is_refused(server: Server, host: str, status: int) -> None:
    host = host.replace("PORT", str(server.port))
    for _ in range(2):
        answer = server.raw(f"GET /databases HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        page = (
            f"POST /bulk_docs HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\n"
        )
        answer = server.raw(f"{page}Content-Length: 2\r\n\r\n[]".encode())
        assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_one_host_is_named(server: Server) -> None:
    for hosts in (b"", b"Host: 127.0.0.1\r\nHost: evil.example\r\n", b"Host: evil.example\r\nHost: 127.0.0.1\r\n"):
        assert b" 400 " in server.raw(b"GET /databases HTTP/1.1\r\n%s\r\n" % hosts).splitlines()[0]


def test_names_are_a_setting(tmp_path: Path) -> None:
    with running(tmp_path / "data", host="0.0.0.0", anonymous_access="admin", host_names="db.example.org") as server:
        ways = (("db.example.org", 200), ("DB.example.org:80", 200), ("192.0.2.7", 200), ("other.example.org", 403))
        for host, status in ways:
            answer = httpx.get(
                f"http://127.0.0.1:{server.port}/databases", headers={"Host": host}, timeout=PATIENCE, verify=False
            )
            assert answer.status_code == status, host
            assert ("--host-name" in answer.text) == (status == 403)
