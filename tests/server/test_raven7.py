"""What clients of RavenDB 4 and later are answered, held against the OpenAPI document; and what is refused to them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from muniment import DocumentDatabase
from muniment.errors import ConcurrencyConflict
from muniment.raven7.messages import Command
from muniment.server.handlers.raven7.batches import Changes
from muniment.server.handlers.raven7.transaction import deletion
from muniment.server.raven7_routes import document
from muniment.server.tenants import Tenant
from tests.server.running import Database, Server, running
from tests.server.test_openapi import Site
from tests.waiting import PATIENCE, until

DOCUMENT = document()
OPERATIONS = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
HEADERS = {"Raven-Client-Version": "7.2.7"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("raven7")
    with running(place / "data") as server:
        server.create("shop").fill(3)
        (place / "data" / "Backups").mkdir()
        (place / "data" / "Backups" / "file").touch()
        server.client.headers.update(HEADERS)
        yield Site(server, place, b"", document=DOCUMENT)
        assert "unexpected error" not in server.log(), server.log()


def tenant(site: Site, prefix: str) -> None:
    """What can be asked of a database, each operation once with success."""
    root = "/databases/shop" if prefix else ""

    def do(method: str, path: str, status: int, target: str | None = None, **kwargs: Any) -> httpx.Response:
        return site.ask(method, f"{prefix}{path}", status, root + (target or path), **kwargs)

    user = {
        "name": "Zoë",
        "friend": "users/1",
        "@metadata": {"@collection": "Users", "@nested-object-types": {"a": "b"}},
    }
    vector = do("PUT", "/docs", 201, "/docs?id=users/1", json=user).json()["ChangeVector"]
    for method in ("GET", "HEAD"):
        etag = do(method, "/docs", 200, "/docs?id=users/1").headers["etag"]
        assert etag == f'"{vector}"'
        do(method, "/docs", 304, "/docs?id=users/1", headers={"If-None-Match": etag})
        do(method, "/docs", 404, "/docs?id=none")
    found = do("GET", "/docs", 200, "/docs?&id=users/1&include=friend&id=none").json()
    assert found["Results"][0]["@metadata"]["@nested-object-types"] == {"a": "b"}
    assert found["Results"][1] is None
    assert do("GET", "/docs", 200, "/docs?startsWith=users/&pageSize=1&metadataOnly=true").json()["NextPageStart"] == 1
    do("GET", "/docs", 501, "/docs?start=0&pageSize=5")
    do("GET", "/docs", 501, "/docs?id=users/1&counter=likes")
    do("POST", "/docs", 200, "/docs?", json={"Ids": ["users/1", "none"]})
    do("PUT", "/docs", 409, "/docs?id=users/1", json=user, headers={"If-Match": f'"{vector}1"'})
    do("PUT", "/docs", 400, "/docs?id=users/1", json=user, headers={"If-Match": '"nonsense"'})
    do("PUT", "/docs", 400, "/docs", json=user)
    do("DELETE", "/docs", 409, "/docs?id=users/1", headers={"If-Match": '"A:1-other"'})
    do("DELETE", "/docs", 204, "/docs?id=users/1", headers={"If-Match": f'"{vector}"'})
    do("POST", "/bulk_docs", 201, json={"Commands": [{"Type": "PUT", "Id": "a", "Document": user}]})
    do("POST", "/bulk_docs", 422, json={"Commands": 1})
    inserted = [{"Type": "PUT", "Id": "many/1", "Document": {}}, {"Type": "PUT", "Id": "many/2", "Document": {}}]
    if prefix:
        do("POST", "/bulk_insert", 200, json=inserted)
        before = do("HEAD", "/docs", 200, "/docs?id=many/1").headers["etag"]
        do("POST", "/bulk_insert", 200, "/bulk_insert?skipOverwriteIfUnchanged=true", json=inserted)
        assert do("HEAD", "/docs", 200, "/docs?id=many/1").headers["etag"] == before
        do("POST", "/bulk_insert", 501, json=[{"Type": "Counters", "Id": "a"}])
        do("POST", "/bulk_insert", 422, json={})
        do("POST", "/bulk_insert", 422, json=[1])
        do("POST", "/bulk_insert", 400, content=b'[{"Type":"PUT"')
        do("POST", "/bulk_insert", 200, json=[])
    else:
        do("POST", "/bulk_insert", 501, json=inserted)
    do("GET", "/hilo/next", 200, "/hilo/next?tag=users&identityPartsSeparator=/")
    do("GET", "/hilo/next", 501, "/hilo/next?tag=users&identityPartsSeparator=-")
    do("PUT", "/hilo/return", 200, "/hilo/return?tag=users&end=32&last=3")
    questions(do, root)
    jobs(site, do, root.strip("/").replace("databases/", ""))


def jobs(site: Site, do: Callable[..., httpx.Response], name: str) -> None:
    """What begins jobs of a database, and tells of them; and its attachments and statistics."""
    do("PUT", "/attachments", 201, "/attachments?id=a&name=x&contentType=text/plain", content=b"content")
    do("PUT", "/attachments", 400, "/attachments?id=none&name=x", content=b"content")
    do("PUT", "/attachments", 409, "/attachments?id=a&name=x", content=b"x", headers={"If-Match": '"A:1-other"'})
    do("PUT", "/attachments", 501, "/attachments?id=a&name=x&remoteAt=2027", content=b"content")
    for method in ("GET", "HEAD"):
        etag = do(method, "/attachments", 200, "/attachments?id=a&name=x").headers["etag"]
        do(method, "/attachments", 304, "/attachments?id=a&name=x", headers={"If-None-Match": etag})
        do(method, "/attachments", 404, "/attachments?id=a&name=none")
        do(method, "/attachments", 400, "/attachments?id=a")
    do("GET", "/stats", 200)
    do("GET", "/collections/stats", 200)
    number = do("GET", "/operations/next-operation-id", 200).json()["Id"]
    do("GET", "/operations/state", 404, f"/operations/state?id={number}")
    exported = do("POST", "/smuggler/export", 200, f"/smuggler/export?operationId={number}", json={})
    told = ended(site, number)
    assert told["Result"]["Documents"]["Attachments"]["ReadCount"] == 1
    do("POST", "/smuggler/export", 400, f"/smuggler/export?operationId={number}", json={})
    do("POST", "/smuggler/export", 501, json={"EncryptionKey": "x"})
    do("POST", "/smuggler/export", 400, json={"OperateOnTypes": "None"})
    do("POST", "/operations/kill", 204, f"/operations/kill?id={number}")
    parts = {"importOptions": (None, b'{"OperateOnTypes": "Documents"}'), "file": ("dump", exported.content)}
    do("POST", "/smuggler/import", 200, files=parts)
    do("POST", "/smuggler/import", 200, files={"file": exported.content})
    do("POST", "/smuggler/import", 400, files={"importOptions": (None, b"{}")})
    do("POST", "/smuggler/import", 400, content=exported.content)
    etags = {do(method, "/docs", 200, "/docs?id=a").headers["etag"] for method in ("GET", "HEAD")}
    assert len(etags) == 1  # also of the attachment
    for method in ("GET", "HEAD"):
        do(method, "/docs", 304, "/docs?id=a", headers={"If-None-Match": etags.copy().pop()})
    do("DELETE", "/attachments", 204, "/attachments?id=a&name=x")
    folder = f"~/Backups/of {name}"
    begun = do("POST", "/admin/backup", 200, json={"LocalSettings": {"FolderPath": folder}}).json()["OperationId"]
    assert ended(site, begun)["Status"] == "Completed"
    do("GET", "/operations/state", 200, f"/operations/state?id={begun}")
    do("POST", "/admin/backup", 400, json={"LocalSettings": None})
    for other in ({"S3Settings": {"BucketName": "x"}}, {"BackupType": "Snapshot"}):
        do("POST", "/admin/backup", 501, json={"LocalSettings": {"FolderPath": folder}, **other})
    faulted = do("POST", "/admin/backup", 200, json={"LocalSettings": {"FolderPath": "~/Backups/file"}}).json()
    told = ended(site, faulted["OperationId"])
    assert told["Status"] == "Faulted"
    assert told["Result"]["StatusCode"] >= 400
    assert "file" in told["Result"]["Message"]


def ended(site: Site, number: int) -> dict[str, Any]:
    """How a job stands at its end."""

    def told() -> dict[str, Any] | None:
        state: dict[str, Any] = site.server.client.get(f"/operations/state?id={number}").json()
        return None if state["Status"] == "InProgress" else state

    return until(told)


def questions(do: Callable[..., httpx.Response], root: str) -> None:
    """Queries, streams, and several requests in one."""
    query = {"Query": "from Users where name = $name include friend", "QueryParameters": {"name": "ZOË"}}
    found = do("POST", "/queries", 200, "/queries?queryHash=1", json=query).json()
    assert (found["TotalResults"], found["IsStale"]) == (1, False)
    assert found["IndexName"]
    assert found["Results"][0]["@metadata"]["@id"] == "a"
    do("POST", "/queries", 200, "/queries?metadataOnly=true", json={"Query": "from @all_docs", "PageSize": 1})
    do("POST", "/queries", 400, json={"Query": "from Users where"})
    do("POST", "/queries", 400, json={})
    do("POST", "/queries", 501, "/queries?debug=entries", json=query)
    rows = do("POST", "/queries", 200, json={"Query": "from Users select name", "Start": 0, "PageSize": 9}).json()
    assert rows["Results"] == [{"name": "Zoë", "@metadata": {"@projection": True, "@change-vector": None}}]
    changes(do, bool(root.strip("/")))
    lines = do("POST", "/streams/queries", 200, "/streams/queries?format=jsonl", json={"Query": "from Users"}).text
    assert json.loads(lines.splitlines()[0])["Stats"]["TotalResults"] == 1
    do("POST", "/streams/queries", 501, json={"Query": "from Users"})
    do("POST", "/streams/queries", 501, "/streams/queries?format=jsonl", json=query)
    lines = do("GET", "/streams/docs", 200, "/streams/docs?format=jsonl&startsWith=a&pageSize=5").text
    assert json.loads(lines)["Item"]["@metadata"]["@id"] == "a"
    inner: list[Any] = [{"Url": f"{root}/docs", "Query": "?id=a"}, {"Url": f"{root}/docs", "Query": "?id=none"}]
    inner += [{"Url": f"{root}/queries", "Method": "POST", "Content": {"Query": "from Users where"}}]
    told = do("POST", "/multi_get", 200, json={"Requests": inner}).json()["Results"]
    assert [each["StatusCode"] for each in told] == [200, 404, 400]
    for other in ("/databases/other/docs", f"{root}/stats", f"{root}/bulk_docs", "/admin/databases"):
        do("POST", "/multi_get", 501, json={"Requests": [{"Url": other}]})


def changes(do: Callable[..., httpx.Response], tenant: bool) -> None:
    """Patches, changes by query, and definitions of indexes."""
    by_script = {"Patch": {"Script": "this.n = args.n", "Values": {"n": 1}}}
    do("PUT", "/docs", 201, "/docs?id=p", json={"n": 0, "a": [1]})
    patched = do("PATCH", "/docs", 200 if tenant else 400, "/docs?id=p", json=by_script).json()
    if tenant:
        assert (patched["Status"], patched["ModifiedDocument"]["n"], patched["OriginalDocument"]["n"]) == (
            "Patched",
            1,
            0,
        )
        assert do("PATCH", "/docs", 200, "/docs?id=p", json=by_script).json()["Status"] == "NotModified"
        do("PATCH", "/docs", 409, "/docs?id=p", json=by_script, headers={"If-Match": '"A:1-other"'})
        do("PATCH", "/docs", 404, "/docs?id=none", json=by_script)
        do("PATCH", "/docs", 400, "/docs?id=p", json={"Patch": {"Script": "this.n ="}})
    do("PATCH", "/docs", 422, "/docs?id=p", json={})
    do("PATCH", "/docs", 501, "/docs?id=p&test=true", json=by_script)
    steps = [{"op": "test", "path": "/a/0", "value": 1.0}, {"op": "add", "path": "/a/-", "value": None}]
    done = do("PATCH", "/json-patch", 200, "/json-patch?id=p", json={"Operations": steps}).json()
    assert (done["Status"], done["ModifiedDocument"]["a"]) == ("Patched", [1, None])
    do("PATCH", "/json-patch", 404, "/json-patch?id=none", json={"Operations": steps})
    for wrong, status in (({"op": "test", "path": "/a/0", "value": 2}, 409), ({"op": "replace", "path": "/b"}, 400),
                          ({"op": "remove", "path": "/b"}, 400), ({"op": "fly", "path": "/a"}, 400),
                          ({"op": "add", "path": "/@metadata/x", "value": 1}, 400)):  # fmt: skip
        do("PATCH", "/json-patch", status, "/json-patch?id=p", json={"Operations": [wrong]})
    status = 200 if tenant else 400
    do("PATCH", "/queries", status, json={"Query": {"Query": "from None as o update { o.x = 1 }"}})
    do("PATCH", "/queries", 400, json={"Query": {"Query": "from None update o.x = 1"}})
    do("PATCH", "/queries", 422, json={})
    do(
        "DELETE",
        "/queries",
        status,
        "/queries?allowStale=True&maxOpsPerSec=&details=False",
        json={"Query": "from None"},
    )
    for part in ("select x", "group by x", "include x", "limit 3", "offset 3"):
        do("DELETE", "/queries", 400, json={"Query": f"from None {part}"})
    definitions = [{"Name": "U", "Maps": ["from u in docs.Users select new { who = u.name, n = u.x.Length }"]}]
    assert do("PUT", "/admin/indexes", 201, json={"Indexes": definitions}).json()["Results"][0]["Index"] == "U"
    do("PUT", "/admin/indexes", 400, json={"Indexes": [{"Name": "V", "Maps": []}]})
    do("PUT", "/admin/indexes", 422, json={"Indexes": [1]})
    assert do("GET", "/indexes", 200, "/indexes?namesOnly=true&start=0&pageSize=5").json() == {"Results": ["U"]}
    assert do("GET", "/indexes", 200, "/indexes?name=u").json()["Results"][0]["Maps"] == definitions[0]["Maps"]
    do("GET", "/indexes", 404, "/indexes?name=none")
    found = do("POST", "/queries", 200, json={"Query": "from index U where who = 'zoë' select who as Name"}).json()
    assert (found["IndexName"], found["Results"][0]["Name"]) == ("U", "Zoë")
    do("POST", "/queries", 501, json={"Query": "from index U where n > 1"})
    do("POST", "/queries", 200, json={"Query": "from index U group by who"})
    assert do("POST", "/indexes/has-changed", 200, json=definitions[0]).json() == {"Changed": False}
    assert do("POST", "/indexes/has-changed", 200, json=definitions[0] | {"Reduce": "x"}).json() == {"Changed": True}
    assert do("GET", "/indexes/stats", 200, "/indexes/stats?name=U").json()["Results"][0]["ErrorsCount"] == 1
    do("GET", "/indexes/stats", 400, "/indexes/stats?name=none")
    told = do("GET", "/indexes/terms", 200, "/indexes/terms?name=dynamic/Things&field=n&fromValue=").json()
    assert told["IndexName"] == "dynamic/Things"
    [told] = do("GET", "/indexes/errors", 200).json()["Results"]
    assert "the field 'n' of the index 'U' is computed: u.x.Length" in told["Errors"][0]["Error"]
    do("DELETE", "/indexes/errors", 204)
    do("GET", "/indexes/status", 200)
    for _ in range(2):
        do("DELETE", "/indexes", 204, "/indexes?name=U")


def server(site: Site) -> None:
    """What can be asked of the server as a whole."""
    ask = site.ask
    assert ask("GET", "/topology", 200, "/topology?name=shop").json()["Nodes"][0]["Url"] == site.server.url
    missing = ask("GET", "/topology", 503, "/topology?name=n%C3%B6")
    assert missing.headers["database-missing"] == ""
    ask("GET", "/cluster/topology", 200, "/cluster/topology?first-topology-update")
    ask("GET", "/build/version", 200, "/build/version")
    path, target = "/admin/databases", "/admin/databases?name=new&replicationFactor=1"
    ask("PUT", path, 201, target, json={"DatabaseName": "new", "Settings": {"Muniment/History": "true"}})
    ask("PUT", path, 409, target, json={})
    ask("PUT", path, 501, "/admin/databases?name=newer", json={"Expiration": {"Disabled": False}})
    ask("PUT", path, 501, "/admin/databases?name=newer", json={"Encrypted": True})
    ask("PUT", path, 400, "/admin/databases?name=a/b", json={})
    assert ask("GET", path, 200, target).json()["Settings"]["Muniment/History"] == "true"
    ask("GET", path, 404, "/admin/databases?name=newer")
    for word in ("disable", "enable"):
        ask("POST", f"{path}/{word}", 200, f"{path}/{word}", json={"DatabaseNames": ["new", "shop"]})
    ask("POST", f"{path}/enable", 400, f"{path}/enable", json={"DatabaseNames": []})
    assert ask("GET", "/databases", 200, "/databases?namesOnly=true").json() == {"Databases": ["new", "shop"]}
    ask("GET", "/databases", 200, "/databases?name=shop")
    ask("DELETE", path, 503, path, json={"DatabaseNames": ["new", "newer"], "HardDelete": True})
    ask("GET", path, 200, target)
    ask("DELETE", path, 200, path, json={"DatabaseNames": ["new"], "HardDelete": True})
    wanted = {"DatabaseName": "again", "BackupLocation": "~/Backups/of shop", "Type": "Local"}
    restore = "/admin/restore/database"
    begun = ask("POST", restore, 200, restore, json=wanted).json()["OperationId"]
    assert ended(site, begun)["Status"] == "Completed"
    for other in ({"Type": "S3"}, {"EncryptionKey": "x"}, {"LastFileNameToRestore": "x"}):
        ask("POST", restore, 501, restore, json={**wanted, "DatabaseName": "never", **other})
    ask("POST", restore, 400, restore, json=wanted)
    ask("GET", "/openapi-raven7.json", 200, "/openapi-raven7.json")


def test_every_operation_answers_as_is_told(site: Site) -> None:
    tenant(site, "")
    tenant(site, "/databases/{database}")
    server(site)
    assert site.asked == OPERATIONS


@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_everything_is_described(method: str, path: str) -> None:
    operation = DOCUMENT["paths"][path][method.lower()]
    assert operation["summary"]
    assert all(each["description"] and each["schema"]["type"] for each in operation["parameters"])


@pytest.fixture
def seven(shop: Database) -> Iterator[Database]:
    """An empty database, asked as such a client asks."""
    version = shop.server.client.headers["Raven-Client-Version"]
    shop.server.client.headers.update(HEADERS)
    yield shop
    shop.server.client.headers["Raven-Client-Version"] = version


def batch(database: Database, *commands: dict[str, Any], **kwargs: Any) -> httpx.Response:
    return database.request("POST", "/bulk_docs", json={"Commands": commands}, **kwargs)


def put(id: str, **more: Any) -> dict[str, Any]:
    return {"Type": "PUT", "Id": id, "Document": {"of": id, "@metadata": {"@collection": "Things"}}, **more}


def parts(database: Database, commands: list[dict[str, Any]], *contents: bytes) -> httpx.Response:
    """A batch with the contents of attachments."""
    files: list[tuple[str, Any]] = [
        ("main", (None, httpx.Request("POST", "http://x", json={"Commands": commands}).read()))
    ]
    files += [(f"file{n}", (f"file{n}", content, "image/png")) for n, content in enumerate(contents)]
    return database.request("POST", "/bulk_docs", files=files)


def test_the_bytes_of_a_document_are_kept_and_its_metadata_is_translated(seven: Database) -> None:
    metadata = b'{"@collection":"Things","mine":[1.0],"@last-modified":"2001-01-01T00:00:00.0000000Z"}'
    body = b'{ "n" : 1.50 ,"@metadata":' + metadata + b',"z":"\\u00e9"}'
    assert seven.request("PUT", "/docs?id=things/1", content=body).status_code == 201
    three = seven.get("/docs/things/1", headers={"Raven-Client-Version": "3.5.0.0"})
    assert three.content == b'{ "n" : 1.50 ,"z":"\\u00e9"}'
    assert three.headers["raven-entity-name"] == "Things"
    assert not three.headers["raven-last-modified"].startswith("2001")
    [shown] = seven.get("/docs?id=things/1").json()["Results"]
    assert list(shown["@metadata"]) == ["@collection", "mine", "@change-vector", "@id", "@last-modified"]
    assert shown["@metadata"]["@collection"] == "Things"
    again = seven.request("PUT", "/docs?id=things/1", json=shown)  # as clients do, with all that they were told
    assert again.status_code == 201
    assert seven.get("/docs?id=things/1").json()["Results"][0]["@metadata"]["mine"] == [1.0]


def test_a_document_without_a_collection_has_none(seven: Database) -> None:
    for id, metadata in (("a", {}), ("b", {"@collection": "@empty"})):
        assert seven.request("PUT", f"/docs?id={id}", json={"@metadata": metadata}).status_code == 201
        assert seven.get(f"/docs?id={id}").json()["Results"][0]["@metadata"]["@collection"] == "@empty"
    assert seven.get("/stats", headers={"Raven-Client-Version": "3.5"}).json()["Collections"] == {"": 2}


def test_a_batch_is_done_as_a_whole_or_not_at_all(seven: Database) -> None:
    [one, two] = batch(seven, put("things/1"), put("things/2", ChangeVector="")).json()["Results"]
    assert one["@change-vector"] != two["@change-vector"]
    assert one["@last-modified"] == two["@last-modified"]
    refused = batch(seven, put("things/3"), put("things/2", ChangeVector=""))
    assert refused.status_code == 409
    assert refused.json()["Type"].endswith("ConcurrencyException")
    assert seven.get("/docs?id=things/3").status_code == 404
    changed = put("things/2", ChangeVector=two["@change-vector"])
    gone = {"Type": "DELETE", "Id": "things/1", "ChangeVector": one["@change-vector"]}
    answer = batch(seven, changed, gone, {"Type": "DELETE", "Id": "none"})
    assert [each.get("Deleted") for each in answer.json()["Results"]] == [None, True, False]
    assert batch(seven).json() == {"Results": [], "TransactionIndex": None}


def test_a_prefix_is_deleted(seven: Database) -> None:
    assert batch(seven, *(put(f"things/{n}") for n in range(5)), put("thing")).status_code == 201
    answer = batch(seven, {"Type": "DELETE", "Id": "things/", "IdPrefixed": True})
    assert answer.json()["Results"][0]["Deleted"] is True
    assert [each["@metadata"]["@id"] for each in seven.get("/docs?startsWith=thing").json()["Results"]] == ["thing"]


def test_a_prefix_is_deleted_with_what_the_same_batch_has_stored_before(seven: Database) -> None:
    assert batch(seven, put("things/0")).status_code == 201
    gone = {"Type": "DELETE", "Id": "Things/", "IdPrefixed": True}
    answer = batch(seven, put("things/0"), put("things/1"), gone, put("things/2"), put("other"))
    assert answer.status_code == 201, answer.text
    assert answer.json()["Results"][2]["Deleted"] is True
    assert [each["@metadata"]["@id"] for each in seven.get("/docs?startsWith=thing").json()["Results"]] == ["things/2"]
    again = batch(seven, {"Type": "DELETE", "Id": "things/2"}, put("things/3"), gone, gone).json()["Results"]
    assert [each.get("Deleted") for each in again] == [True, None, True, False]
    assert seven.get("/docs?startsWith=thing").json()["Results"] == []


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ({"Type": "PATCH", "Id": "before", "Patch": {"Script": "this.x = y"}}, "y"),
        ({"Type": "PATCH", "Id": "before", "Patch": {"Script": "put(id(this), {})"}}, "before"),
        ({"Type": "PATCH", "Id": "before", "Patch": {"Script": "put('b', 5)"}}, "needs an object"),
        ({"Type": "PATCH", "Id": "before", "Patch": {"Script": "", "Values": {"a-b": 1}}}, "variable"),
        ({"Type": "PATCH", "Id": "before"}, "no Patch"),
        ({"Type": "PATCH", "Id": "none", "PatchIfMissing": {"Script": ""}, "CreateIfMissing": {"x": 1}}, "both"),
        ({"Type": "PATCH", "Id": "none", "CreateIfMissing": [1]}, "object"),
        ({"Type": "JsonPatch", "Id": "before", "JsonPatch": {"Operations": [{"op": "remove", "path": "/x"}]}}, "no /x"),
        ({"Type": "Counters", "Id": "a"}, "Counters"),
        ({"Type": "BatchTrackChanges", "TrackedEntities": {"a": "A:1-x"}}, "BatchTrackChanges"),
        ({"Type": "AttachmentPUT", "Id": "a", "Name": "x"}, "its content is missing"),
        ({"Type": "AttachmentMOVE", "Id": "a", "Name": "x", "DestinationId": "a", "DestinationName": "y"}, "no"),
        ({"Type": "PUT", "Document": {}, "ChangeVector": "A:nonsense", "Id": "a"}, "not a change vector"),
        ({"Type": "PUT", "Document": {"@metadata": 1}, "Id": "a"}, "not an object"),
        ({"Type": "DELETE"}, "no Id"),
    ],
)  # fmt: skip
def test_what_a_batch_cannot_do_is_named_and_nothing_is_done(seven: Database, command: Any, word: str) -> None:
    refused = batch(seven, put("before"), command)
    assert refused.status_code in (400, 422, 501)
    assert f"command 1 ({command['Type']})" in refused.json()["Message"]
    assert word in refused.json()["Error"]
    assert seven.get("/docs?id=before").status_code == 404


def test_attachments_come_with_their_documents_in_one_transaction(seven: Database) -> None:
    file = {"Type": "AttachmentPUT", "Id": "things/1", "Name": "a/b.png", "ContentType": "image/png"}
    large = bytes(range(256)) * 8192
    answer = parts(seven, [put("things/1"), file, file | {"Name": "large"}], b"--content\r\n--", large)
    assert answer.status_code == 201, answer.text
    document, small, _ = answer.json()["Results"]
    assert small["DocumentChangeVector"] == document["@change-vector"]
    assert small["Hash"] == base64.b64encode(hashlib.sha256(b"--content\r\n--").digest()).decode()
    [shown] = seven.get("/docs?id=things/1").json()["Results"]
    assert [(each["Name"], each["Size"]) for each in shown["@metadata"]["@attachments"]] == [
        ("a/b.png", 13),
        ("large", len(large)),
    ]
    three = {"Raven-Client-Version": "3.5"}
    assert seven.get("/static/a/b.png?owner=things/1", headers=three).content == b"--content\r\n--"
    assert seven.get("/static/large?owner=things/1", headers=three).content == large

    copied = batch(
        seven,
        put("things/2"),
        file | {"Type": "AttachmentCOPY", "DestinationId": "things/2", "DestinationName": "copy"},
        file | {"Type": "AttachmentMOVE", "Name": "large", "DestinationId": "things/2", "DestinationName": "moved"},
    )
    assert copied.status_code == 201, copied.text
    assert seven.get("/static/copy?owner=things/2", headers=three).content == b"--content\r\n--"
    assert seven.get("/static/moved?owner=things/2", headers=three).content == large
    assert seven.get("/static/large?owner=things/1", headers=three).status_code == 404
    assert seven.get("/docs?id=things/1").headers["etag"] != f'"{document["@change-vector"]}"'

    gone = batch(seven, file | {"Type": "AttachmentDELETE"}, {"Type": "DELETE", "Id": "things/2"})
    assert gone.status_code == 201, gone.text
    assert seven.get("/static", headers=three).json() == []
    assert "@attachments" not in seven.get("/docs?id=things/1").json()["Results"][0]["@metadata"]


def test_commands_see_what_those_before_them_did_with_attachments(seven: Database) -> None:
    file = {"Type": "AttachmentPUT", "Id": "things/1", "Name": "f"}
    gone, document_gone = file | {"Type": "AttachmentDELETE"}, {"Type": "DELETE", "Id": "Things/1"}
    copy = file | {"Type": "AttachmentCOPY", "DestinationId": "things/2", "DestinationName": "copy"}

    def attached(id: str) -> dict[str, bytes]:
        [shown] = seven.get(f"/docs?id={id}").json()["Results"]
        names = [each["Name"] for each in shown["@metadata"].get("@attachments", [])]
        return {name: seven.get(f"/attachments?id={id}&name={name}").content for name in names}

    assert parts(seven, [put("things/1"), put("things/2"), file, copy], b"old").status_code == 201
    assert attached("things/2") == {"copy": b"old"}
    assert parts(seven, [file, copy], b"new").status_code == 201  # the copy is of what was stored just now
    assert attached("things/2") == {"copy": b"new"}
    assert batch(seven, copy | {"Type": "AttachmentMOVE"}, copy).status_code == 400  # it is no longer there
    assert attached("things/1") == {"f": b"new"}
    assert parts(seven, [file, gone, gone], b"newer").status_code == 201
    assert attached("things/1") == {}

    # A document that is deleted takes along what the same batch has attached to it.
    for commands in ([file, document_gone], [file, gone, document_gone, document_gone], [gone, file, document_gone]):
        assert parts(seven, [put("things/1"), file], b"before").status_code == 201
        assert parts(seven, commands, b"after").status_code == 201
        assert seven.get("/attachments?id=things/1&name=f").status_code == 404
        assert batch(seven, put("things/1")).status_code == 201
        assert attached("things/1") == {}
    assert parts(seven, [document_gone, file], b"x").status_code == 400
    assert parts(seven, [file, document_gone, put("things/1")], b"x").status_code == 201
    assert attached("things/1") == {}
    assert parts(seven, [document_gone, put("things/1"), file], b"x").status_code == 201
    assert attached("things/1") == {"f": b"x"}


def test_a_deletion_leaves_no_attachment_that_comes_at_the_same_time(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path) as database:
        tenant = Tenant("shop", database)
        database.put("things/1", {})
        prepared = deletion(tenant, "things/1", None)
        file = Command("AttachmentPUT", "things/1", name="f")
        database.batch(Changes(tenant, [file], [database.storage.upload([b"x"])]).prepare().writes)
        with pytest.raises(ConcurrencyConflict) as conflict:  # so that it is prepared anew
            database.batch(prepared.writes)
        assert conflict.value.id in prepared.own
        database.batch(deletion(tenant, "things/1", None).writes)
        assert database.statistics().attachments == 0


def test_an_attachment_of_no_document_is_refused_and_its_content_goes(seven: Database) -> None:
    refused = parts(seven, [put("before"), {"Type": "AttachmentPUT", "Id": "none", "Name": "x"}], b"content")
    assert refused.status_code == 400
    assert refused.json()["Type"].endswith("DocumentDoesNotExistException")
    many = parts(seven, [put("before")], b"content")
    assert "more contents than commands" in many.json()["Error"]
    assert seven.get("/docs?id=before").status_code == 404


def test_the_client_s_cache_sees_what_others_do_with_attachments(seven: Database) -> None:
    three = {"Raven-Client-Version": "3.5"}
    batch(seven, put("a"))
    without = seven.get("/docs?id=a").headers["etag"]
    seven.request("PUT", "/static/x?owner=a", content=b"x", headers=three)
    with_one = seven.get("/docs?id=a", headers={"If-None-Match": without})
    assert with_one.status_code == 200
    seven.request("DELETE", "/static/x?owner=a", headers=three)
    assert seven.get("/docs?id=a", headers={"If-None-Match": with_one.headers["etag"]}).status_code == 200
    vector = with_one.headers["etag"]  # which still stands for the document itself
    assert seven.request("PUT", "/docs?id=a", json={}, headers={"If-Match": vector}).status_code == 201


def test_numbers_for_ids_are_given_out_once_and_taken_back(seven: Database) -> None:
    def ranges() -> tuple[int, int]:
        told = seven.get("/hilo/next?tag=things").json()
        return told["Low"], told["High"]

    assert ranges() == (1, 32)
    assert ranges() == (33, 64)
    seven.request("PUT", "/hilo/return?tag=things&end=64&last=40")
    assert ranges() == (41, 72)
    seven.request("PUT", "/hilo/return?tag=things&end=64&last=33")  # somebody has later ones
    assert ranges() == (73, 104)
    batch(seven, put("things/120-A"))
    assert ranges()[0] > 120
    assert seven.get("/hilo/next").status_code == 400


def test_a_patch_stores_a_document_where_there_is_none(seven: Database) -> None:
    """As `session.advanced.add_or_patch` of the clients asks."""
    new = b'{"n": 1.10, "@metadata": {"@collection": "Things", "Own": 1}}'
    command = (
        b'{"Type":"PATCH","Id":"things/%d","Patch":{"Script":"this.n += 1"},"CreateIfMissing":%s,"ReturnDocument":true}'
    )
    commands = command % (1, new), command % (1, new), command % (2, b"null")
    sent = b'{"Commands":[' + b",".join(commands) + b"]}"
    results = seven.request("POST", "/bulk_docs", content=sent).raise_for_status().json()["Results"]
    assert [each["PatchStatus"] for each in results] == ["Created", "Patched", "DocumentDoesNotExist"]
    assert (results[0]["Collection"], results[1]["ModifiedDocument"]["n"]) == ("Things", 2.1)
    once = b'{"Commands":[' + command % (3, new) + b"]}"
    assert seven.request("POST", "/bulk_docs", content=once).status_code == 201
    found = seven.get("/docs?id=things/3")
    assert found.content.count(b'{"n": 1.10,') == 1  # as it was sent
    assert found.json()["Results"][0]["@metadata"]["Own"] == 1


def test_patches_in_a_batch_see_what_was_done_before_them(seven: Database) -> None:
    script = """
        const id = "own names do not clash", Values = [];
        this["@metadata"]["@collection"] = "Things";
        this.was = getMetadata(this)["@id"];
        for (const each of load(["things/2", "none"])) Values.push(each && each["@metadata"]["@collection"]);
        this.loaded = Values;
        del("things/4");
    """
    more = {"Type": "PATCH", "Id": "things/1", "Patch": {"Script": "this.n = (this.n ?? 0) + 0.5"}}
    commands = [
        put("things/4"),
        put("things/1"),
        {"Type": "PUT", "Id": "things/2", "Document": {"@metadata": {"@collection": "Others"}}},
        {"Type": "PATCH", "Id": "things/1", "Patch": {"Script": script}},
        more,
        more | {"ReturnDocument": True},
        {"Type": "PATCH", "Id": "things/3", "Patch": {"Script": ""}},
        {"Type": "DELETE", "Id": "things/2"},
        {"Type": "PATCH", "Id": "things/2", "Patch": {"Script": ""}},
        {"Type": "BatchPATCH", "Ids": [{"Id": "things/1"}, {"Id": "none"}], "Patch": {"Script": "this.last = 1"}},
    ]
    answer = batch(seven, *commands)
    assert answer.status_code == 201, answer.text
    results = answer.json()["Results"]
    statuses = [each.get("PatchStatus") for each in results]
    assert statuses == [
        None, None, None, "Patched", "Patched", "Patched", "DocumentDoesNotExist", None, "DocumentDoesNotExist", None,
    ]  # fmt: skip
    assert [each["PatchStatus"] for each in results[-1]["Results"]] == ["Patched", "DocumentDoesNotExist"]
    found = seven.get("/docs?id=things/1").json()["Results"][0]
    metadata = found.pop("@metadata")
    assert found == {"of": "things/1", "was": "things/1", "loaded": ["Others", None], "n": 1, "last": 1}
    assert metadata["@collection"] == "Things"
    assert results[5]["ModifiedDocument"]["n"] == 1
    assert seven.get("/docs?id=things/4").status_code == 404


def test_rows_bring_other_documents_along(seven: Database) -> None:
    """The parts of a query together, as programs write them."""
    of = {"@metadata": {"@collection": "Orders"}}
    orders = [
        {
            "Type": "PUT",
            "Id": f"orders/{n}",
            "Document": {"Company": f"companies/{n % 2}", "Freight": n, "At": f"2026-05-0{n}", **of},
        }
        for n in range(1, 6)
    ]
    companies = [{"Type": "PUT", "Id": f"companies/{n}", "Document": {"Name": f"C{n}"}} for n in range(2)]
    assert batch(seven, *orders, *companies).status_code == 201
    text = """from Orders as o
        where o.Freight between 2 and 5 and Company in ($companies) and startsWith(id(), 'ORDERS/')
        order by At desc select o.At as When, id() as Id, Company include Company limit 1, 2"""
    parameters = {"companies": ["companies/1", "companies/0"]}
    found = seven.request("POST", "/queries", json={"Query": text, "QueryParameters": parameters}).json()
    assert [(each["When"], each["Id"]) for each in found["Results"]] == [
        ("2026-05-04", "orders/4"),
        ("2026-05-03", "orders/3"),
    ]
    assert (found["TotalResults"], sorted(found["Includes"])) == (4, ["companies/0", "companies/1"])
    own = seven.request(
        "POST",
        "/query",
        json={"Rql": "from Orders select At include Company limit 1"},
        headers={"Raven-Client-Version": "3.5"},
    )
    assert [each["Name"] for each in own.json()["Includes"]] == ["C1"]
    for refused, place, instead in (
        ("from Orders select distinct At include Company", "", "leave include out"),
        ("from Orders select facet(Company)", "column 25", "group by"),
        ("from Orders include counters('likes')", "column 21", "keep the number"),
        ("from Orders select suggest(Company, 'x')", "column 27", "wor*"),
    ):
        told = seven.request("POST", "/queries", json={"Query": refused})
        assert told.status_code == 400
        assert place in told.json()["Message"]
        assert instead in told.json()["Hint"]


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("GET", "/counters?docId=a", "increase it by a patch"),
        ("POST", "/timeseries?docId=a", "documents of their own"),
        ("PUT", "/cmpxchg?key=a", "empty change vector"),
        ("GET", "/revisions?id=a", "versions?id=ID"),
        ("POST", "/admin/indexes/stop", "never behind"),
        ("POST", "/subscriptions/create", "after the last etag"),
        ("GET", "/nonsense", "docs/ravendb-clients.md"),
    ],
)
def test_what_takes_the_place_of_what_is_not_here(seven: Database, method: str, path: str, instead: str) -> None:
    told = seven.request(method, path)
    assert told.status_code == 501
    assert instead in told.json()["Hint"]


def test_patches_at_the_same_time_are_all_made(seven: Database) -> None:
    """Each reads what there is, and reads it again when another was there first: a conflict is nobody's here."""
    seven.request("PUT", "/docs?id=counted", json={"n": 0})
    script = {"Patch": {"Script": "this.n += 1"}}

    def patch(_: int) -> int:
        url = f"{seven.server.url}{seven.root}/docs?id=counted"
        return httpx.patch(url, json=script, headers=HEADERS, timeout=PATIENCE, verify=False).status_code

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(patch, range(12))) == {200}
    assert seven.get("/docs?id=counted").json()["Results"][0]["n"] == 12


def test_definitions_are_no_documents_to_a_query(seven: Database) -> None:
    """Or deleting all documents by a query would delete them."""
    definition = {"Name": "ByOf", "Maps": ["from d in docs select new { d.of }"]}
    assert seven.request("PUT", "/admin/indexes", json={"Indexes": [definition]}).status_code == 201
    assert batch(seven, put("things/1"), put("things/2")).status_code == 201
    for text in ("from @all_docs", "from index 'ByOf'", "from @all_docs where startsWith(id(), 'Raven/')"):
        found = seven.request("POST", "/queries", json={"Query": text}).json()
        assert found["TotalResults"] == (0 if "Raven" in text else 2), text
    began = seven.request("DELETE", "/queries", json={"Query": "from @all_docs"}).json()
    state = f"/operations/state?id={began['OperationId']}"
    until(lambda: seven.get(state).json()["Status"] != "InProgress")
    assert seven.get("/indexes?namesOnly=true").json() == {"Results": ["ByOf"]}
    assert seven.get("/docs?id=things/1").status_code == 404


def test_what_is_not_here_is_no_null(seven: Database) -> None:
    """A 404 is one for these clients."""
    for path in ("/counters?docId=a", "/revisions?id=a", "/timeseries?docId=a", "/nonsense", "/docs/a", "/static/a"):
        refused = seven.get(path)
        assert refused.status_code == 501
        assert path.partition("?")[0][1:] in refused.json()["Message"]
    refused = seven.request("POST", "/queries", json={"Query": "from index 'Orders/Totals' where Total > 1"})
    assert (refused.status_code, "Orders/Totals" in refused.json()["Message"]) == (400, True)
    for method, path in (("PUT", "/queries"), ("GET", "/indexes/suggest?name=U"), ("POST", "/admin/indexes/stop")):
        refused = seven.request(method, path)
        assert refused.status_code == 501
        assert f"{method} {path[1:].partition('?')[0]} of RavenDB is not supported" in refused.json()["Message"]
    missing = seven.server.client.get("/databases/nowhere/docs?id=a")
    assert (missing.status_code, missing.headers["database-missing"]) == (503, "nowhere")
    assert missing.json()["Kind"] == "DatabaseNotFound"


def test_a_page_of_a_browser_sends_nothing(server: Server) -> None:
    """Who asks by a path of RavenDB 7's alone needs no version, but what no page can send."""
    url = f"{server.url}/databases/x/hilo/next?tag=a"
    assert httpx.get(url, timeout=PATIENCE, verify=False).status_code == 403
    assert httpx.get(url, headers={"Muniment-Request": "1"}, timeout=PATIENCE, verify=False).status_code == 503


def test_a_body_in_parts_that_ends_too_early_changes_nothing(seven: Database) -> None:
    whole = b'--x\r\n\r\n{"Commands":[{"Type":"PUT","Id":"a","Document":{}}]}\r\n--x--\r\n'
    for body, status in ((whole[:-10], 400), (whole[:5], 400), (b"", 400), (b"--y\r\n", 400), (whole, 201)):
        answer = seven.request(
            "POST", "/bulk_docs", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert answer.status_code == status, (body, answer.text)
        assert seven.get("/docs?id=a").status_code == (404 if status == 400 else 200)
    refused = seven.request("POST", "/bulk_docs", content=whole, headers={"Content-Type": "multipart/form-data"})
    assert "boundary" in refused.json()["Error"]


def test_a_changed_database_is_another_history(seven: Database, tmp_path: Path) -> None:
    """What was read before a restore is never taken for what is there after it."""
    [before] = batch(seven, put("a")).json()["Results"]
    three = {"Raven-Client-Version": "3.5"}
    seven.server.client.headers.update(three)
    assert not seven.backup(tmp_path / "b")["Faulted"]
    name = f"{seven.name}-again"
    assert not seven.server.restore(BackupLocation=str(tmp_path / "b"), DatabaseName=name)["Faulted"]
    seven.server.client.headers.update(HEADERS)
    again = Database(seven.server, name)
    assert batch(again, put("a", ChangeVector=before["@change-vector"])).status_code == 409
    [now] = again.get("/docs?id=a").json()["Results"]
    assert batch(again, put("a", ChangeVector=now["@metadata"]["@change-vector"])).status_code == 201


def test_what_a_query_includes_is_told_apart_as_ids_are(seven: Database) -> None:
    dotted, letters = "things/\u0130", "things/i\u0307"  # which are one in Python's small letters
    found = {"of": dotted, "@metadata": {"@collection": "Found"}}
    assert batch(seven, put(dotted), {"Type": "PUT", "Id": letters, "Document": found}).status_code == 201
    found = seven.request("POST", "/queries", json={"Query": "from 'Found' include of"}).json()
    assert list(found["Includes"]) == [dotted]
