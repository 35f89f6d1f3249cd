"""The OpenAPI document is what the server does: each operation is done over a socket and its answer held against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from muniment.raven3.queries import Exported, Imported
from muniment.security.encryption import new_key as new_encryption_key
from muniment.server.routes import ROUTES, document
from tests.schema import wrong
from tests.server.running import Server, running

DOCUMENT = document()
OPERATIONS = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]


@dataclass
class Site:
    """A server with a database `shop`, its backup and its dump; `next` counts what is made."""

    server: Server
    place: Path
    dump: bytes
    next: int = 0
    asked: set[tuple[str, str]] = field(default_factory=set)
    document: dict[str, Any] = field(default_factory=lambda: DOCUMENT)

    def ask(self, method: str, path: str, status: int, target: str, **kwargs: Any) -> httpx.Response:
        """Do an operation of the document, and hold the answer against it."""
        answer = self.server.client.request(method, target, **kwargs)
        assert answer.status_code == status, answer.text
        operation = self.document["paths"][path][method.lower()]
        told = operation["responses"].get(str(status), operation["responses"]["default"])
        content = told.get("content", {})
        media = answer.headers.get("content-type", "").partition(";")[0]
        if not answer.content:
            assert not content or method == "HEAD" or "without a body" in told["description"]
        elif "application/json" in content:
            assert media == "application/json"
            assert not list(wrong(answer.json(), content["application/json"]["schema"], document=self.document))
        else:
            assert {media, "*/*"} & content.keys()
        self.asked.add((method, path))
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("openapi")
    with running(place / "data") as server:
        shop = server.create("shop", **{"Muniment/History": "true"})
        shop.fill(20)
        shop.request("PUT", "/static/picture", content=b"content", headers={"Mine": "x"})
        shop.request("PUT", "/static/kept?owner=items/1", content=b"kept")
        assert not shop.backup(place / "b")["Faulted"]
        yield Site(server, place, shop.get("/smuggler/export").content)


def tenant(site: Site, prefix: str) -> None:
    """What can be asked of a database, each operation once with success where that is possible."""
    root, ask = ("", site.ask) if not prefix else ("/databases/shop", site.ask)

    def do(method: str, path: str, status: int, target: str | None = None, **kwargs: Any) -> httpx.Response:
        return ask(method, f"{prefix}{path}", status, root + (target or path), **kwargs)

    for status in (201, 409):
        none = {"If-None-Match": "00000000-0000-0000-0000-000000000000"}
        do("PUT", "/docs/{id}", status, "/docs/orders/1", json={"By": "items/1", "Lines": [1]}, headers=none)
    do("PUT", "/docs/{id}", 422, "/docs/orders/1", content=b"[")
    for method in ("GET", "HEAD"):
        etag = do(method, "/docs/{id}", 200, "/docs/orders/1").headers["etag"]
        do(method, "/docs/{id}", 304, "/docs/orders/1", headers={"If-None-Match": etag})
        do(method, "/docs/{id}", 404, "/docs/none")
        do(method, "/docs", 200, "/docs?startsWith=o&matches=*1&pageSize=2&metadata-only=true")
        do(method, "/docs", 200, "/docs?id=orders/1")
        do(method, "/docs", 400, "/docs?start=x")
    change = {"Type": "Set", "Name": "n", "Value": 1}
    do("PATCH", "/docs/{id}", 200, "/docs/orders/1", json=[change])
    do("PATCH", "/docs/{id}", 404, "/docs/none", json=[change])
    do("PATCH", "/docs/{id}", 409, "/docs/orders/1", json=[change | {"PrevVal": 2}])
    status = 202 if prefix else 400
    do("DELETE", "/bulk_docs/{index}", 404, "/bulk_docs/none?query=a:1")
    do("DELETE", "/bulk_docs/{index}", status, "/bulk_docs/dynamic/None?query=a:1")
    do("PATCH", "/bulk_docs/{index}", status, "/bulk_docs/dynamic/None?query=a:1", json=[])
    do("POST", "/docs", 200, json={})
    put = {"Method": "PUT", "Key": "a", "Document": {}, "Metadata": {"X": 1}, "AdditionalData": {"n": 1}}
    do("POST", "/bulk_docs", 200, json=[put, {"Method": "DELETE", "Key": "none"}, {"Method": "PUT", "Document": {}}])
    do("POST", "/bulk_docs", 200, json=[put, {"Method": "PATCH", "Key": "a", "Patches": [change]}])
    do("POST", "/bulkinsert", 202 if prefix else 501, content=b"")
    do("POST", "/bulkinsert", 200, "/bulkinsert?no-op=x")
    do("GET", "/singleauthtoken", 200)
    do("POST", "/bulk_docs", 409, json=[put | {"Etag": "01000000-0000-0001-0000-00000000FFFF"}])
    do("GET", "/queries", 200, "/queries?id=orders/1&id=none&include=By")
    do("POST", "/queries", 200, json=["orders/1", "none"])
    do("POST", "/queries", 422, json=[1])
    for method in ("GET", "HEAD", "POST"):
        do(method, "/indexes/{name}", 200, "/indexes/dynamic/Orders?query=By:items*&sort=-By&fetch=By&pageSize=2")
        do(method, "/indexes/{name}", 404, "/indexes/Orders/Totals")
    do("GET", "/terms/{index}", 200, "/terms/dynamic/Orders?field=By&fromValue=a&pageSize=2")
    for method in ("GET", "POST"):
        do(method, "/streams/query/{index}", 200, "/streams/query/dynamic/Orders?query=By:items*&sort=-By")
    do("HEAD", "/streams/query/{index}", 200, "/streams/query/dynamic/Orders?query=By:items*")
    for method in ("GET", "HEAD"):
        do(method, "/streams/docs", 200, "/streams/docs?startsWith=o")
    do(
        "POST",
        "/multi_get",
        200,
        json=[{"Url": "/docs/orders/1"}, None, {"Url": "/indexes/dynamic", "Query": "?query=By:x"}],
    )
    index = {"Map": "from o in docs.Orders select new { o.By }"}
    do("PUT", "/indexes/{name}", 400, "/indexes/Orders/ByBy?definition=yes", json={})
    do("PUT", "/indexes/{name}", 201, "/indexes/Orders/ByBy?definition=yes", json=index)
    do("PUT", "/indexes", 201, json=[{"Name": "Orders/Again", "Definition": index}])
    do("GET", "/indexes/{name}", 200, "/indexes/Orders/ByBy?definition=yes")
    do("DELETE", "/indexes/{name}", 204, "/indexes/Auto/Orders/ByBy")
    for method in ("GET", "HEAD"):
        do(method, "/indexes", 200)
    do("POST", "/query", 200, json={"Rql": "from @all_docs where By = $b include By", "Parameters": {"b": "items/1"}})
    do("POST", "/query/lines", 200, json={"Rql": "from @all_docs where By = 'items/1'"})
    do("POST", "/query/lines", 400, json={"Rql": "from"})
    do("POST", "/query", 400, json={"Rql": "from"})
    do("PUT", "/static/{key}", 201, "/static/large?owner=orders/1", content=b"content")
    do("POST", "/static/{key}", 200, "/static/large?owner=orders/1", headers={"Mine": "x"})
    for method in ("GET", "HEAD"):
        do(method, "/static/{key}", 200, "/static/large?owner=orders/1")
        do(method, "/static/{key}", 404, "/static/none")
        do(method, "/static", 200)
        do(method, "/stats", 200)
        do(method, "/backups", 200)
    do("DELETE", "/static/{key}", 204, "/static/large?owner=orders/1")
    if prefix:
        etag = do("GET", "/versions", 200, "/versions?id=ITEMS/1").json()["versions"][0]["etag"]
        do("GET", "/versions", 200, f"/versions?id=items/1&etag={etag}")
        [kept, *_] = do("GET", "/versions/attachments", 200, "/versions/attachments?owner=items/1").json()["versions"]
        kept_at = f"/versions/attachments/{kept['key']}?etag={kept['etag']}"
        do("GET", "/versions/attachments/{key}", 200, kept_at)
    do("GET", "/versions", 404, "/versions?id=none")
    do("GET", "/versions/attachments", 200, "/versions/attachments?owner=none")
    do("GET", "/versions/attachments/{key}", 404, "/versions/attachments/none?etag=1")
    do("GET", "/replication/topology", 404)
    do("GET", "/build/version", 200)
    dump = do("GET", "/smuggler/export", 200, "/smuggler/export?format=ndjson").headers["Muniment-Operation"]
    do("POST", "/smuggler/export", 200, json={"operate-on-types": "Documents", "filter": ["By=items/1"]})
    do("POST", "/smuggler/export", 400, json={"format": "word"})
    do("POST", "/smuggler/import", 200, content=site.dump)
    do("POST", "/smuggler/import", 400, "/smuggler/import?unknown=1", content=site.dump)
    do("GET", "/operation/status", 200, f"/operation/status?id={dump}")
    do("GET", "/operation/status", 404, "/operation/status?id=99999")
    do("GET", "/operation/status", 400)
    for method in ("GET", "POST"):
        do(method, "/operation/kill", 200, f"/operation/kill?id={dump}")
    do("GET", "/operations", 200)
    do("POST", "/operation/limits", 409, f"/operation/limits?id={dump}&read-rate=1MB")
    do("POST", "/operation/limits", 404, "/operation/limits?id=99999")
    do("DELETE", "/docs/{id}", 204, "/docs/orders/1")
    backup = do("POST", "/admin/backup", 202, json={"BackupLocation": str(site.place / f"of{prefix[1:4]}")})
    site.server.wait_for(backup.json()["OperationId"])
    do("GET", "/backups", 200)
    do("GET", "/operation/status", 200, f"/operation/status?id={backup.json()['OperationId']}")
    do("GET", "/alerts", 200, "/alerts?older=1h&unverified=7d")
    do("GET", "/alerts", 400, "/alerts?older=x")
    do("POST", "/admin/freeze", 200, "/admin/freeze?timeout=600s")
    do("POST", "/admin/freeze", 409)
    do("POST", "/admin/freeze", 400, "/admin/freeze?timeout=never")
    frozen = do("POST", "/admin/thaw", 200).json()
    do("POST", "/admin/thaw", 409, f"/admin/thaw?freeze={frozen['Id']}")
    wanted = {"BackupLocation": str(site.place / "b"), "DryRun": True}
    into = do("POST", "/admin/restore-into", 202 if prefix else 400, json=wanted)
    if prefix:
        site.server.wait_for(into.json()["OperationId"])
        do("GET", "/operation/status", 200, f"/operation/status?id={into.json()['OperationId']}&changes=true")
        for policy in ("overwrite", "skip"):  # the second finds nothing to write
            into = do("POST", "/admin/restore-into", 202, json=wanted | {"OnConflict": policy, "DryRun": False})
            site.server.wait_for(into.json()["OperationId"])
            do("GET", "/operation/status", 200, f"/operation/status?id={into.json()['OperationId']}")


def server(site: Site) -> None:
    """What can be asked of the server as a whole."""
    ask, wanted = site.ask, {"BackupLocation": str(site.place / "b"), "DatabaseName": "restored"}
    ask("POST", "/admin/restore/plan", 200, "/admin/restore/plan", json=wanted)
    moment = {"BackupLocation": wanted["BackupLocation"]}
    ask("POST", "/admin/restore/export", 200, "/admin/restore/export?format=ndjson", json=moment)
    ask("POST", "/admin/restore/export", 400, "/admin/restore/export", json=moment | {"Ids": [""]})
    ask("GET", "/admin/backups", 200, f"/admin/backups?location={site.place / 'b'}")
    ask("GET", "/admin/backups", 400, "/admin/backups")
    ask("POST", "/admin/restore/plan", 403, "/admin/restore/plan", json={"BackupLocation": "/nowhere"})
    accepted = ask("POST", "/admin/restore", 202, "/admin/restore?defrag=true", json=wanted).json()
    site.server.wait_for(accepted["OperationId"])
    ask("POST", "/admin/restore", 400, "/admin/restore", json=wanted)
    accepted = ask("POST", "/admin/compact", 202, "/admin/compact?database=restored").json()
    site.server.wait_for(accepted["OperationId"])
    ask("POST", "/admin/compact", 400, "/admin/compact")
    path, secured = "/admin/encryption/rotate", {"Raven/Encryption/Key": new_encryption_key().text}
    safe = {"Settings": {"Raven/ActiveBundles": "Encryption"}, "SecuredSettings": secured}
    ask("PUT", "/admin/databases/{name}", 200, "/admin/databases/safe", json=safe)
    accepted = ask("POST", path, 202, f"{path}?database=safe", json={"Key": new_encryption_key().text}).json()
    site.server.wait_for(accepted["OperationId"])
    ask("POST", path, 400, f"{path}?database=restored", json={"Key": new_encryption_key().text})
    schedules(site)
    ask("GET", "/admin/stats", 200, "/admin/stats")
    ask("GET", "/metrics", 200, "/metrics")
    ask("GET", "/admin/alerts", 200, "/admin/alerts")
    ask("GET", "/admin/destinations", 200, "/admin/destinations")
    path, target = "/admin/databases/{name}", "/admin/databases/new"
    ask("PUT", path, 200, target, json={"Settings": {}})
    for method in ("GET", "HEAD"):
        ask(method, path, 200, target)
        ask(method, "/studio", 200, "/studio/")
        ask(method, "/studio", 302, "/")
        ask(method, "/studio/{file}", 200, "/studio/main.js")
        ask(method, "/studio/{file}", 404, "/studio/none.js")
        ask(method, "/health/live", 200, "/health/live")
        ask(method, "/health/ready", 200, "/health/ready")
    present = {"If-None-Match": ask("GET", path, 200, target).headers["etag"]}
    ask("PUT", path, 200, target, json={"Settings": {}}, headers=present)
    ask("PUT", path, 400, target, json={"Settings": {}})
    ask("POST", path, 200, f"{target}?isSettingDisabled=true")
    ask("POST", path, 400, f"{target}?isSettingDisabled=true")
    ask("GET", "/databases", 200, "/databases?pageSize=2")
    ask("GET", "/databases", 200, "/databases?getAdditionalData=true")
    ask("DELETE", path, 200, f"{target}?hard-delete=true")
    ask("DELETE", path, 404, target)
    batch = "/admin/databases/batch-delete"
    ask("DELETE", batch, 200, f"{batch}?ids=restored&ids=none&hard-delete=true")
    ask("GET", "/openapi.json", 200, "/openapi.json")
    ask("POST", "/access-token", 400, "/access-token")
    ask("POST", "/oauth/api-key", 404, "/OAuth/API-Key")
    ask("GET", "/admin/settings", 200, "/admin/settings")
    ask("GET", "/admin/audit", 200, "/admin/audit?pageSize=2")
    ask("GET", "/admin/keys", 200, "/admin/keys")
    boss: dict[str, Any] = {"Name": "admin", "Rights": ["admin"]}
    ask("POST", "/admin/keys", 400, "/admin/keys", json=boss | {"Rights": ["dance"]})
    ask("POST", "/admin/keys/{name}", 404, "/admin/keys/none", json={"Action": "disable"})
    text = ask("POST", "/admin/keys", 200, "/admin/keys", json=boss).json()["ApiKey"]
    # and from now on, nobody may do anything without one
    ask("POST", "/access-token", 401, "/access-token")
    known = {"Authorization": f"Bearer {text}"}
    ask("POST", "/access-token", 200, "/access-token", headers=known)
    ask("GET", "/admin/keys", 200, "/admin/keys", headers=known)
    ask("POST", "/admin/keys", 409, "/admin/keys", json=boss, headers=known)
    ask("POST", "/admin/keys/{name}", 200, "/admin/keys/admin", json={"Action": "rotate"}, headers=known)


def schedules(site: Site) -> None:
    """What can be asked of schedules, and what keeps backups in order."""
    ask, path, target = site.ask, "/admin/schedules/{name}", "/admin/schedules/nightly"
    place = str(site.place / "b")
    site.server.client.put("/databases/shop/docs/later", json={})
    later = site.server.client.post("/databases/shop/admin/backup?incremental=true", json={"BackupLocation": place})
    made = site.server.wait_for(later.json()["OperationId"])["State"]["Result"]["backup"]
    schedule = {"Destination": place, "Databases": ["shop"], "Full": "0 1 * * *", "Rehearse": "0 2 * * *"}
    ask("PUT", path, 200, target, json=schedule)
    ask("PUT", path, 400, target, json=schedule | {"Full": "daily"})
    ask("PUT", path, 422, target, json=schedule | {"Fulll": "daily"})
    for method in ("GET", "HEAD"):
        ask(method, path, 200, target)
    ask("GET", path, 404, "/admin/schedules/none")
    ask("GET", "/admin/schedules", 200, "/admin/schedules")
    ask("POST", path, 200, target, json={"Action": "pause", "Until": "2090-01-01T00:00:00Z"})
    ask("POST", path, 200, target, json={"Action": "resume"})
    ask("POST", path, 200, target, json={"Action": "run", "Task": "full"})
    ask("POST", path, 422, target, json={"Action": "dance"})
    ask("GET", "/admin/runs", 200, "/admin/runs")
    ask("GET", "/admin/runs", 200, "/admin/runs?database=shop&schedule=nightly")
    ask("DELETE", path, 204, target)
    ask("DELETE", path, 404, target)
    expiry = {"Policy": {"KeepLast": 9}, "DryRun": True}
    copied = {"Destination": "~/Backups/copied", "Repair": True}
    merged = {"Through": made.rpartition("/")[2]}
    for what, more in (("verify", {}), ("rehearse", {}), ("copy", copied), ("merge", merged), ("expire", expiry)):
        path = f"/admin/{what}"
        accepted = ask("POST", path, 202, path, json={"BackupLocation": place, **more}).json()
        done = site.server.wait_for(accepted["OperationId"])
        assert not done["Faulted"], done
        ask("GET", "/operation/status", 200, f"/operation/status?id={accepted['OperationId']}")
        ask("POST", path, 400, path, json={})


def test_every_operation_answers_as_is_told(site: Site) -> None:
    tenant(site, "")
    tenant(site, "/databases/{database}")
    server(site)
    assert site.asked == set(OPERATIONS)


def test_the_schema_is_looked_at() -> None:
    stored = {"$ref": "#/components/schemas/Stored"}
    assert not list(wrong({"Key": "a", "ETag": "x"}, stored, document=DOCUMENT))
    assert list(wrong({"Key": "a", "ETag": 1, "More": 2}, stored, document=DOCUMENT)) == [
        "$.ETag is 1, not string",
        "$.More is not named",
    ]
    assert list(wrong({}, stored, document=DOCUMENT)) == ["$.Key is missing", "$.ETag is missing"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_everything_is_described(method: str, path: str) -> None:
    operation = DOCUMENT["paths"][path][method.lower()]
    assert operation["summary"]
    assert all(each["description"] and each["schema"]["type"] for each in operation["parameters"])
    assert len({(each["in"], each["name"]) for each in operation["parameters"]}) == len(operation["parameters"])
    for answer in operation["responses"].values():
        assert answer["description"]
        assert method == "HEAD" or all(told.get("schema") or media != "application/json"
                                       for media, told in answer.get("content", {}).items())  # fmt: skip
    if method in ("PUT", "POST") and "{index}" not in path and "schema" not in str(operation.get("requestBody")):
        assert path.rpartition("/")[2] in (
            "{key}",
            "bulkinsert",
            "kill",
            "limits",
            "compact",
            "freeze",
            "thaw",
            "{name}",
            "import",
            "access-token",
            "api-key",
        )


def test_parameters_of_dumps_are_the_options_of_dumps() -> None:
    def names(query: type[msgspec.Struct]) -> set[str]:
        return {each.encode_name for each in msgspec.structs.fields(query)}

    filters = {"filter", "negative-filter", "metadata-filter", "negative-metadata-filter"}
    flags = {"excludeexpired", "ignore-errors-and-continue"}
    common = {"operate-on-types", *filters, "transform", *flags, "limit", "batch-size", "timeout"}
    since = {"incremental", "database-id", "lineage", "after-etag", "lost-file"}
    assert names(Imported) == common | {"continuation-token", "fail-on-unknown", "keep-extensions"}
    part = {"start-document-etag", "for-ravendb", "collection", "id", "id-prefix"}
    assert names(Exported) == common | part | {"format", "compression"} | since


def test_operations_have_names_of_their_own() -> None:
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    assert sum(len(route.methods) for route in ROUTES) > 40
