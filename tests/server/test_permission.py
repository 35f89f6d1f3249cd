"""Every endpoint, asked with every right and with none: `docs/security.md` says who may, and the server does so."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from muniment.security.access import Right
from muniment.security.keys import new_key
from muniment.server.raven7_routes import ROUTES as LATER
from muniment.server.routes import ROUTES
from tests.sampled import some
from tests.server.running import Server, running
from tests.waiting import PATIENCE, until

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
ROW = re.compile(r"\| `([^`]+)` \| ([A-Z ]+) \| (.*) \|")
WHO = [*Right, "server"]  # `admin` is that of the database alone
TOLD = {
    (version, method, path): who
    for version, text in zip("37", DOCUMENT.read_text().split("### Every endpoint of RavenDB 4"), strict=True)
    for path, methods, who in ROW.findall(text)
    for method in methods.split()
}  # fmt: skip
ENDPOINTS = [
    (version, method, route.path, route.tenant)
    for version, routes in (("3", ROUTES), ("7", LATER))
    for route in routes
    for method in route.methods
]
JOBS = "whoever may begin the job"


def test_the_table_has_every_endpoint_and_no_other() -> None:
    assert sorted(TOLD) == sorted((version, method, path) for version, method, path, _ in ENDPOINTS)


@dataclass
class Site:
    """A server with the databases `shop` and `other`, and keys: of each right for `shop`, and for the server."""

    server: Server
    place: Path
    keys: dict[str, str]

    def ask(self, who: str | None, method: str, path: str, **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who else {}
        return self.server.client.request(method, path, headers=headers | kwargs.pop("headers", {}), **kwargs)

    def add(self, name: str, *rights: str, databases: tuple[str, ...] = ()) -> None:
        key, self.keys[name] = new_key(name, rights, databases)
        who = "server" if "server" in self.keys and name != "server" else None
        assert self.ask(who, "PUT", f"/docs/{key.id}", content=key.encoded()).status_code == 201


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("permission")
    with running(place / "data") as server:
        for name in ("shop", "other"):
            server.create(name).fill(3)
            assert not server.client.put(f"/databases/{name}/docs/a", json={}).is_error
            assert not _backed_up(server, name, place / name)["Faulted"]
        site = Site(server, place, {})
        site.add("server", "admin")
        for right in Right:
            site.add(right, right, databases=("shop", "nowhere"))
        yield site
        secrets = [text.partition("/")[2] for text in site.keys.values()]
        assert not any(secret in server.log() for secret in secrets)
        assert "unexpected error" not in server.log()


def _backed_up(server: Server, name: str, place: Path) -> dict[str, Any]:
    accepted = server.client.post(f"/databases/{name}/admin/backup", json={"BackupLocation": str(place)})
    return server.wait_for(accepted.json()["OperationId"])


def _target(path: str, tenant: bool) -> str:
    path = path.replace("{name}", "nowhere").replace("{id}", "x").replace("{key}", "x").replace("{index}", "x")
    for job in ("admin/compact", "admin/encryption/rotate"):
        path = path.replace(job, f"{job}?database=nowhere")
    path += "?id=9999" if path.startswith(("operation/", "operations/")) else ""
    path += "?name=shop" if path == "topology" else ""
    return f"/databases/shop/{path}" if tenant else f"/{path}"


@pytest.mark.parametrize(("version", "method", "path", "tenant"), ENDPOINTS)
def test_who_may_do_what(site: Site, version: str, method: str, path: str, tenant: bool) -> None:
    told, target = TOLD[version, method, path], _target(path, tenant)
    headers = {"Raven-Client-Version": f"{version}.2.0"}
    allowed = re.findall(r"`(\w+)`", told.partition(";")[0])
    everybody = told == "everybody"
    body = b"" if method in ("GET", "HEAD", "DELETE") else b"{"
    for who in (None, *WHO):
        status = site.ask(who, method, target, content=body, headers=headers).status_code
        if everybody or (who and (who in allowed or who == "server" or told == JOBS)):
            assert status not in (401, 403, 412, 500), (who, status)
        else:
            assert status == (403 if who else 401), (who, status)
    if not everybody and tenant:  # another's database, and that of the server
        for other in (target.replace("/shop/", "/other/"), target.replace("/databases/shop", "/databases/System")):
            for right in Right:
                status = site.ask(right, method, other, content=body, headers=headers).status_code
                assert status == 403 or (told == JOBS and status == 404) or path == "operations", (right, other, status)


@pytest.mark.parametrize("name", ["<system>", "SYSTEM", "system", "%3Csystem%3E", "SyStEm", "%73ystem"])
def test_the_system_database_is_for_the_server_s_admin_however_it_is_named(site: Site, name: str) -> None:
    for right in Right:
        answer = site.ask(right, "GET", f"/databases/{name}/docs/Raven/ApiKeys/read")
        assert answer.status_code == 403
        assert "argon2" not in answer.text
        assert site.ask(right, "GET", f"/databases/{name}/smuggler/export").status_code == 403
    assert "argon2" in site.ask("server", "GET", f"/databases/{name}/docs/Raven/ApiKeys/read").text


def test_a_backup_of_the_system_database_says_what_it_holds(site: Site) -> None:
    accepted = site.ask("server", "POST", "/admin/backup", json={"BackupLocation": "~/Backups/system"})
    number = accepted.json()["OperationId"]
    ended(site, number, "server")
    told = site.ask("server", "GET", "/docs/Raven/Backup/Status").json()["Messages"]
    assert "hashes of the server's keys" in " ".join(each["Message"] for each in told)
    assert site.ask("server", "GET", "/smuggler/export").status_code == 200
    assert "hashes of the server's keys" in site.server.log()


def test_where_nobody_needs_a_key_a_wrong_one_shuts_nobody_out(tmp_path: Path) -> None:
    with running(tmp_path / "data", anonymous_access="admin") as server:
        key, _ = new_key("app", ["admin"])
        for _ in range(2):  # before there is a key, and when there is
            for _ in range(5):
                assert server.client.get("/databases", headers={"Authorization": "Bearer app/x"}).status_code == 200
            assert server.client.put(f"/docs/{key.id}", content=key.encoded()).status_code == 201
        assert server.client.post("/access-token", headers={"Authorization": "Bearer x"}).status_code == 400


def test_nothing_of_a_body_is_read_before_it_is_decided(site: Site) -> None:
    head = b"PUT /databases/shop/docs/x HTTP/1.1\r\nHost: localhost\r\nMuniment-Request: 1\r\nContent-Length: 100000"
    assert b" 401 " in site.server.raw(head + b"\r\n\r\n").splitlines()[0]


def test_a_refusal_says_what_to_send_and_nothing_of_what_there_is(site: Site) -> None:
    known, unknown = (site.ask("read", "GET", f"/databases/{name}/docs/x") for name in ("other", "nothing"))
    assert known.status_code == unknown.status_code == 403
    assert known.json()["Error"].replace("other", "nothing") == unknown.json()["Error"]
    nobody = site.ask(None, "GET", "/databases/shop/docs/x")
    assert nobody.headers["www-authenticate"] == 'Bearer realm="Muniment", error="invalid_request"'
    assert "Bearer NAME/SECRET" in nobody.json()["Hint"]
    assert site.ask(None, "GET", "/databases/shop/docs/x", headers={"Has-Api-Key": "true"}).status_code == 412
    secret = site.keys["read"] + "x"
    wrong = site.ask(None, "GET", "/databases/shop/docs/x", headers={"Authorization": f"Bearer {secret}"})
    assert wrong.status_code == 401
    assert secret.partition("/")[2] not in wrong.text + str(wrong.headers)


def test_a_backup_key_backs_up_and_reads_nothing_but_how_that_goes(site: Site) -> None:
    accepted = site.ask("backup", "POST", "/databases/shop/admin/backup", json={"BackupLocation": "~/Backups/mine"})
    number = accepted.json()["OperationId"]
    ended(site, number, "backup")
    assert site.ask("backup", "GET", "/databases/shop/docs/Raven/Backup/Status").json()["IsRunning"] is False
    assert site.ask("backup", "GET", "/databases/shop/docs/items/1").status_code == 403
    assert site.ask("backup", "GET", "/databases/shop/docs?id=Raven/Backup/Status").status_code == 403
    assert number in [each["Id"] for each in site.ask("backup", "GET", "/operations").json()]
    for other in ("read", "write", "restore"):
        for path in (f"/operation/status?id={number}", f"/operation/kill?id={number}"):
            assert site.ask(other, "GET", path).status_code == 404
        assert number not in [each["Id"] for each in site.ask(other, "GET", "/operations").json()]
    assert site.ask("admin", "POST", f"/operation/kill?id={number}").status_code == 200


@some(3)
@pytest.mark.parametrize(
    ("query", "body", "named"),
    [
        ("", {"InClear": True}, "InClear"),
        ("", {"Recipients": ["muniment-recipient-aaaa"]}, "Recipients"),
        ("", {"Recipients": []}, "Recipients"),
        ("?in-clear=true", {}, "in-clear"),
        ("?include-encryption-key=true", {}, "include-encryption-key"),
        ("?Include-Encryption-Key=True", {}, "include-encryption-key"),
    ],
)
def test_who_may_only_back_up_does_not_say_who_can_read_the_backup(
    site: Site, tmp_path: Path, query: str, body: dict[str, Any], named: str
) -> None:
    path, wanted = f"/databases/shop/admin/backup{query}", {"BackupLocation": str(tmp_path / "readable"), **body}
    refused = site.ask("backup", "POST", path, json=wanted)
    assert refused.status_code == 403
    assert f"with {named}, which needs the right 'admin'" in refused.json()["Error"]
    assert not (tmp_path / "readable").exists()
    for who in ("admin", "server"):  # who are told what is wrong with it, or have it
        answer = site.ask(who, "POST", path, json=wanted)
        assert answer.status_code in (202, 400)
        if answer.status_code == 202:
            ended(site, answer.json()["OperationId"], who)
    plain = {"BackupLocation": str(tmp_path / "as it is"), "Recipients": None, "InClear": False}
    accepted = site.ask("backup", "POST", "/databases/shop/admin/backup?in-clear=false", json=plain)
    assert accepted.status_code == 202
    ended(site, accepted.json()["OperationId"], "backup")


def test_a_restore_needs_the_right_for_the_database_of_the_backups_and_for_the_new_one(site: Site) -> None:
    site.add("restorer", "restore", databases=("shop", "copy", "copy2"))

    def status(path: str, location: str, name: str) -> int:
        wanted = {"BackupLocation": str(site.place / location), "DatabaseName": name}
        return site.ask("restorer", "POST", path, json=wanted).status_code

    for path in ("/admin/restore", "/admin/restore/plan"):
        assert status(path, "shop", "stranger") == 403
        assert status(path, "other", "copy") == 403
        assert status(path, "other", "") == 403
    assert status("/admin/restore/plan", "shop", "copy") == 200
    wanted: dict[str, Any] = {"BackupLocation": str(site.place / "shop"), "DatabaseName": "copy"}
    accepted = site.ask("restorer", "POST", "/admin/restore", json=wanted)
    assert accepted.status_code == 202
    ended(site, accepted.json()["OperationId"], "restorer")
    wanted = {"BackupLocation": str(site.place / "other"), "DryRun": True, "OtherDatabase": True}
    assert site.ask("restore", "POST", "/databases/shop/admin/restore-into", json=wanted).status_code == 403
    wanted["BackupLocation"] = str(site.place / "shop")
    accepted = site.ask("restore", "POST", "/databases/shop/admin/restore-into", json=wanted)
    assert accepted.status_code == 202
    ended(site, accepted.json()["OperationId"], "restore")


def test_a_restore_is_seen_by_who_might_have_begun_it(site: Site) -> None:
    """It tells of the database that the backups are of, ids too, to nobody who has no right for that one."""
    site.add("both", "restore", databases=("shop", "other", "another"))
    site.add("new", "restore", databases=("another",))
    wanted = {"BackupLocation": str(site.place / "other"), "DryRun": True, "OtherDatabase": True}
    into = site.ask("both", "POST", "/databases/shop/admin/restore-into", json=wanted).json()["OperationId"]
    wanted = {"BackupLocation": str(site.place / "other"), "DatabaseName": "another"}
    anew = site.ask("both", "POST", "/admin/restore", json=wanted).json()["OperationId"]
    for number, other in ((into, "restore"), (anew, "new")):
        ended(site, number, "both")
        assert number in [each["Id"] for each in site.ask("both", "GET", "/operations").json()]
        assert number not in [each["Id"] for each in site.ask(other, "GET", "/operations").json()]
        for path in ("/operation/status?changes=true&id=", "/operation/kill?id="):
            hidden, none = (site.ask(other, "GET", path + each) for each in (str(number), "999999"))
            assert (hidden.status_code, none.status_code) == (404, 404)
            assert hidden.text.replace(str(number), "999999") == none.text
    told = site.ask("both", "GET", f"/operation/status?id={into}&changes=true").json()
    assert told["State"]["Difference"]["etag"]


def test_a_key_with_roots_of_its_own_names_no_other_folders(site: Site) -> None:
    key, site.keys["bound"] = new_key("bound", ["backup", "restore"], ["shop", "rooted", "elsewhere"])
    key = msgspec.structs.replace(key, backup_roots=("~/Backups/team",), data_roots=("~/Teams",))
    assert site.ask("server", "PUT", f"/docs/{key.id}", content=key.encoded()).status_code == 201
    link = site.place / "data" / "Backups" / "team" / "link"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(site.place)
    local = {"Muniment-Local": _secret(site)}  # the server's own user is bound by the key that he sends, too
    for folder in ("~/Backups", "~/Backups/teams", "~/Backups/team/../other", "~/Backups/team/link", str(site.place)):
        for path in ("/databases/shop/admin/backup", "/databases/shop/admin/restore-into", "/admin/restore"):
            wanted = {"BackupLocation": folder, "DatabaseName": "rooted", "OnConflict": "skip"}
            refused = site.ask("bound", "POST", path, json=wanted, headers=local)
            assert (refused.status_code, refused.json()["Kind"]) == (403, "Forbidden"), (path, folder)
    accepted = site.ask("bound", "POST", "/databases/shop/admin/backup", json={"BackupLocation": "~/Backups/team/a"})
    ended(site, accepted.json()["OperationId"], "bound")
    wanted = {"BackupLocation": "~/Backups/team/a", "DatabaseName": "elsewhere"}
    for place in (None, "~/Other/x", "~/Teams/../Other"):
        refused = site.ask("bound", "POST", "/admin/restore", json=wanted | {"DatabaseLocation": place})
        assert (refused.status_code, refused.json()["Kind"]) == (403, "Forbidden")
    wanted |= {"DatabaseName": "rooted", "DatabaseLocation": "~/Teams/rooted"}
    accepted = site.ask("bound", "POST", "/admin/restore", json=wanted)
    assert accepted.status_code == 202
    ended(site, accepted.json()["OperationId"], "bound")


def ended(site: Site, number: int, who: str) -> None:
    """Wait for a job, as whoever has begun it sees it: another test's restore may have to wait for it otherwise."""
    until(lambda: site.ask(who, "GET", f"/operation/status?id={number}").json()["Completed"])


def test_databases_are_listed_for_whom_they_are(site: Site) -> None:
    assert site.ask("read", "GET", "/databases").json() == ["shop"]
    assert site.ask("read", "GET", "/databases?start=1").json() == []
    assert {"shop", "other"} <= set(site.ask("server", "GET", "/databases").json())


def test_a_token_stands_for_its_key_and_makes_no_other(site: Site) -> None:
    given = site.ask("read", "POST", "/access-token").json()
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 1800)
    assert site.ask(None, "GET", "/databases/shop/docs/a", headers=headers).status_code == 200
    assert site.ask(None, "PUT", "/databases/shop/docs/a", headers=headers, json={}).status_code == 403
    assert site.ask(None, "POST", "/access-token", headers=headers).status_code == 400


def test_name_and_password_by_http_basic(site: Site) -> None:
    name, _, secret = site.keys["read"].partition("/")
    assert (
        httpx.get(
            f"{site.server.url}/databases/shop/docs/a", auth=(name, secret), timeout=PATIENCE, verify=False
        ).status_code
        == 200
    )
    assert (
        httpx.get(
            f"{site.server.url}/databases/shop/docs/a", auth=(name, "x"), timeout=PATIENCE, verify=False
        ).status_code
        == 401
    )


def test_what_is_no_key_is_not_stored_as_one(site: Site) -> None:
    plain = {"Name": "old", "Secret": "in the clear", "Enabled": True, "Databases": []}
    refused = site.ask("server", "PUT", "/docs/Raven/ApiKeys/old", json=plain)
    assert refused.status_code == 400
    assert "in the clear" not in refused.text
    batch = [{"Method": "PUT", "Key": "raven/apikeys/old", "Document": plain}]
    assert site.ask("server", "POST", "/bulk_docs", json=batch).status_code == 400
    key, _ = new_key("someone", ["read"])
    assert site.ask("server", "PUT", "/docs/Raven/ApiKeys/other", content=key.encoded()).status_code == 400


def test_the_server_s_user_needs_no_key(site: Site) -> None:
    headers = {"Muniment-Local": _secret(site)}
    assert site.ask(None, "GET", "/docs/Raven/ApiKeys/read", headers=headers).status_code == 200
    assert site.ask("read", "GET", "/docs/Raven/ApiKeys/read", headers=headers).status_code == 403  # who he says he is
    assert site.ask(None, "GET", "/databases", headers={"Muniment-Local": "x"}).status_code == 401
    assert "muniment-local" not in site.ask(None, "GET", "/databases").headers  # it is not offered for that


def _secret(site: Site) -> str:
    return str(json.loads((site.place / "data" / "muniment.local").read_text())["Secret"])


@pytest.mark.parametrize(("setting", "reads", "writes"), [("get", 200, 401), ("all", 200, 201), ("none", 401, 401)])
def test_without_a_key_one_may_do_what_the_setting_says(tmp_path: Path, setting: str, reads: int, writes: int) -> None:
    with running(tmp_path / "data", anonymous_access=setting) as server:
        local = {"Muniment-Local": re.findall(r'"Secret": "(\w+)"', (tmp_path / "data/muniment.local").read_text())[0]}
        made = server.client.put("/admin/databases/shop", json={}, headers=local)
        assert made.status_code == 200
        assert server.client.put("/databases/shop/docs/a", json={}, headers=local).status_code == 201
        assert server.client.get("/databases/shop/docs/a").status_code == reads
        assert server.client.put("/databases/shop/docs/b", json={}).status_code == writes
        assert server.client.get("/docs/Raven/Databases/shop").status_code == 401
        assert server.client.post("/databases/shop/admin/backup", json={}).status_code == 401


def test_what_everybody_may_ask_opens_no_database_and_tells_nothing_of_it(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        for name in ("closed", "disabled"):
            server.create(name)
        assert server.client.post("/admin/databases/disabled?isSettingDisabled=true").status_code == 200
        key, text = new_key("boss", ["admin"])
        assert server.client.put(f"/docs/{key.id}", content=key.encoded()).status_code == 201
        boss = {"Authorization": f"Bearer {text}"}
        for path, status in (("build/version", 200), ("replication/topology", 404)):
            asked = [
                server.client.get(f"/databases/{name}/{path}") for name in ("closed", "disabled", "none", "x" * 300)
            ]
            assert {(each.status_code, each.content) for each in asked} == {(status, asked[0].content)}
        assert server.client.get("/admin/stats", headers=boss).json()["LoadedDatabases"] == []


def test_a_key_with_roots_names_no_other_folders_for_databases_whichever_way(site: Site) -> None:
    key, site.keys["rooted"] = new_key("rooted", ["admin"])
    key = msgspec.structs.replace(key, data_roots=("~/Rooted",))
    assert site.ask("server", "PUT", f"/docs/{key.id}", content=key.encoded()).status_code == 201

    def ways(name: str, folder: str | None) -> list[httpx.Response]:
        id, document = f"Raven/Databases/{name}", {"Settings": {"Raven/DataDir": folder} if folder else {}}
        dump = {"Docs": [{**document, "@metadata": {"@id": id}}], "Attachments": []}
        commands = [{"Method": "PUT", "Key": id, "Document": document}]
        return [
            site.ask("rooted", "PUT", f"/admin/databases/{name}", json=document),
            site.ask("rooted", "PUT", f"/docs/{id}", json=document),
            site.ask("rooted", "PUT", "/docs/raven/databases/", json=document),  # which gets a number
            site.ask("rooted", "POST", "/bulk_docs", json=commands),
            site.ask("rooted", "POST", "/smuggler/import", content=gzip.compress(json.dumps(dump).encode())),
        ]

    for folder in ("~/Else/R1", None, "~/Rooted/../Else", "~/Rooteds"):
        for refused in ways("R1", folder):
            assert (refused.status_code, refused.json()["Kind"]) == (403, "Forbidden"), refused.text
    assert site.ask("server", "GET", "/docs?startsWith=Raven/Databases/R1").json() == []
    for each in ways("R2", "~/Rooted/R2")[1:2]:
        assert each.status_code == 201
    assert site.ask("server", "PUT", "/docs/Raven/Databases/R3", json={}).status_code == 201  # bound to nothing


def test_nothing_of_another_s_backups_is_told_to_who_may_not_restore_them(site: Site) -> None:
    site.add("curious", "restore", databases=("shop", "mine"))
    other, none = str(site.place / "other"), str(site.place / "none")
    points: list[dict[str, Any]] = [{}, {"Etag": 10**9}, {"At": "2001-01-01T00:00:00Z"}, {"Lineage": "zz"}]
    for path in ("/admin/restore", "/admin/restore/plan", "/databases/shop/admin/restore-into"):
        wanted = {"OnConflict": "skip"} if path.endswith("into") else {"DatabaseName": "mine"}
        answers = [
            site.ask("curious", "POST", path, json={"BackupLocation": place, **wanted, **point})
            for place in (other, none)
            for point in points
        ]
        assert {(each.status_code, each.text) for each in answers} == {(403, answers[0].text)}
        own = site.ask(
            "curious", "POST", path, json={"BackupLocation": str(site.place / "shop"), **wanted, "Etag": 10**9}
        )
        assert own.status_code == 404  # with the nearest that there is
        assert site.ask("server", "POST", path, json=wanted | {"BackupLocation": none}).status_code == 404


def test_a_restore_takes_no_other_database_s_usual_place(site: Site) -> None:
    site.add("squatter", "restore", databases=("shop", "mine"))
    wanted = {"BackupLocation": str(site.place / "shop"), "DatabaseName": "mine"}
    for path in ("/admin/restore/plan", "/admin/restore"):
        for place in ("~/Nightly", "~/Databases/Nightly", "~/x/../Nightly"):
            refused = site.ask("squatter", "POST", path, json=wanted | {"DatabaseLocation": place})
            assert (refused.status_code, refused.json()["Kind"]) == (403, "Forbidden")
    for place in ("~/Databases/mine", "~/MINE", "~/Teams/other"):
        told = site.ask("squatter", "POST", "/admin/restore/plan", json=wanted | {"DatabaseLocation": place})
        assert told.status_code == 200, told.text
    told = site.ask("server", "POST", "/admin/restore/plan", json=wanted | {"DatabaseLocation": "~/Nightly"})
    assert told.status_code == 200


def test_who_changes_all_that_a_query_finds_sees_how_far_it_is(site: Site) -> None:
    for method in ("DELETE", "EVAL"):
        path = "/databases/shop/bulk_docs/dynamic/None?query=a:1"
        assert site.ask("read", method, path, json={"Script": "this.a = 2"}).status_code == 403
        number = site.ask("write", method, path, json={"Script": "this.a = 2"}).json()["OperationId"]
        ended(site, number, "write")
        assert site.ask("read", "GET", f"/operation/status?id={number}").status_code == 404


def test_only_who_administers_all_is_told_what_is_wrong_with_a_folder_of_no_backups(site: Site, tmp_path: Path) -> None:
    site.add("everywhere", "restore", "backup")
    nothing = str(tmp_path / "nothing")
    for who, status in (("everywhere", 403), ("restore", 403), ("server", 404)):
        listed = site.ask(who, "GET", "/admin/backups", params={"location": nothing})
        planned = site.ask(who, "POST", "/admin/restore/plan", json={"BackupLocation": nothing, "DatabaseName": "new"})
        assert (listed.status_code, planned.status_code) == (status, status), (who, listed.text, planned.text)
    there = str(site.place / "shop")
    for who in ("everywhere", "server"):  # who hold the right for what the backups there are of
        assert site.ask(who, "GET", "/admin/backups", params={"location": there}).status_code == 200
        wrong = {"BackupLocation": there, "DatabaseName": "new", "Backup": "none"}
        assert site.ask(who, "POST", "/admin/restore/plan", json=wrong).status_code == 404
