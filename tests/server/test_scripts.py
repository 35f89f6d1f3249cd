"""Scripted patches over HTTP, and changes of all documents that a query finds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sampled import some
from tests.server.running import Database, assert_error

ORDER = b'{"n": 1.10,  "big":12345678901234567890,"c":"companies/1","L":[1,2.0]}'


def run(shop: Database, id: str, script: str, query: str = "", headers: Any = None, **values: Any) -> Any:
    body = {"Script": script, "Values": values}
    return shop.request("EVAL", f"/docs/{id}{query}", content=json.dumps(body), headers=headers)


def test_a_document(shop: Database) -> None:
    shop.put("companies/1", b'{"Name":"One"}')
    etag = shop.put("orders/1", ORDER, **{"Raven-Entity-Name": "Orders"}).json()["ETag"]
    told = run(shop, "orders/1", "this.Total = more * 2; output('hi'); output({a: 1})", more=4)
    assert told.json() == {"Patched": True, "Debug": {"Info": ["hi", '{"a":1}']}}
    found = shop.get("/docs/orders/1")
    kept = b'{"n":1.10,"big":12345678901234567890,"c":"companies/1","L":[1,2.0]'
    assert found.content == kept + b',"Total":8}'
    assert (found.headers["etag"], found.headers["raven-entity-name"]) == (told.headers["etag"], "Orders")
    assert_error(run(shop, "orders/1", "this.x = 1", headers={"If-Match": etag}), 409)
    put = "PutDocument('totals/1', {n: this.n, of: LoadDocument(this.c).Name}, {'Raven-Entity-Name': 'Totals'})"
    assert run(shop, "orders/1", put + "; this['@metadata'].Seen = true").status_code == 200
    made = shop.get("/docs/totals/1")
    assert (made.json(), made.headers["raven-entity-name"]) == ({"n": 1.1, "of": "One"}, "Totals")
    assert shop.get("/docs/orders/1").headers["seen"] == "True"
    tried = run(shop, "orders/1", "this.Total = 0", "?test=true").json()
    assert tried["Document"]["Total"] == 0
    assert shop.get("/docs/orders/1").json()["Total"] == 8
    assert run(shop, "orders/1", "this.L.RemoveWhere(function(x) { return x > 1; })").status_code == 200
    assert shop.get("/docs/orders/1").json()["L"] == [1]


@some(4)
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("this.", "SyntaxError"),
        ("throw 'no'", "it threw no"),
        ("while (true) {}", "it ran for more than 1 s"),
        ("var a = []; while (true) a.push(new Array(1e6).fill(1))", "memory"),
        ("this.n = nothing", "ReferenceError: nothing is not defined"),
        ("this.n = 1/0", "Infinity"),
        ("for (var i = 0; i < 200; i++) LoadDocument('a' + i)", "loads more than 100 documents"),
        ("PutDocument('A', {})", "puts or deletes that document"),
        ("PutDocument('b', 1)", "PutDocument needs an object"),
        ("PutDocument('b', {}); PutDocument('', {}); PutDocument('x'.repeat(2000), {})", "id"),
    ],
)
def test_scripts_that_fail(shop: Database, script: str, reason: str) -> None:
    shop.put("a", ORDER)
    answer = run(shop, "a", script)
    assert_error(answer, 400, reason)
    assert shop.get("/docs/a").content == ORDER
    assert shop.get("/docs/b").status_code == 404


def test_what_is_no_script(shop: Database) -> None:
    assert_error(run(shop, "none", "this.a = 1"), 404, "'none'")
    shop.put("a", ORDER)
    assert_error(run(shop, "a", "", "", None, **{"a b": 1}), 400, "'a b' in Values")
    assert_error(shop.request("EVAL", "/docs/a", content=b"null"), 422)
    system = Database(shop.server, "")
    assert_error(run(system, "Raven/Databases/" + shop.name, "this.a = 1"), 400, "system database")
    assert_error(system.request("DELETE", "/bulk_docs/dynamic?query=a:1"), 400, "system database")


def test_batches(shop: Database) -> None:
    shop.put("a", b'{"n":1}')
    script = {"Script": "this.n += by", "Values": {"by": 2}}
    commands: list[dict[str, Any]] = [
        {"Method": "EVAL", "Key": "a", "Patch": script, "DebugMode": False},
        {"Method": "EVAL", "Key": "a", "Patch": script},
        {"Method": "EVAL", "Key": "none", "Patch": script},
        {"Method": "EVAL", "Key": "new", "Patch": script, "PatchIfMissing": {"Script": "this.n = 7"}},
    ]
    answer = shop.batch(commands).json()
    assert [each["PatchResult"] for each in answer] == ["Patched", "Patched", "DocumentDoesNotExists", "Patched"]
    assert [shop.get(f"/docs/{id}").json()["n"] for id in ("a", "new")] == [5, 7]
    assert_error(shop.batch([*commands, {"Method": "EVAL", "Key": "a", "Patch": {"Script": "throw 1"}}]), 400)
    assert shop.get("/docs/a").json()["n"] == 5


def by_query(shop: Database, method: str, index: str, query: str, body: Any = None) -> Any:
    answer = shop.request(method, f"/bulk_docs/{index}?query={query}&allowStale=True", content=json.dumps(body))
    assert answer.status_code == 202, answer.text
    return shop.server.wait_for(answer.json()["OperationId"])


def test_all_that_a_query_finds(shop: Database) -> None:
    for number in range(300):
        shop.put(f"orders/{number}", json.dumps({"n": number}), **{"Raven-Entity-Name": "Orders"})
    shop.put("others/1", b'{"n":1}')
    done = by_query(shop, "EVAL", "dynamic/Orders", "n_Range:[Dx100 TO NULL]", {"Script": "this.n = -1"})
    assert done["State"]["Result"] == {"Found": 200, "Changed": 200}
    done = by_query(shop, "PATCH", "dynamic/Orders", "n:5", [{"Type": "Set", "Name": "m", "Value": 1}])
    assert done["State"]["Result"] == {"Found": 1, "Changed": 1}
    assert shop.get("/docs/orders/5").content == b'{"n": 5,"m":1}'
    done = by_query(shop, "DELETE", "Raven/DocumentsByEntityName", "Tag:Orders AND -__document_id:orders/5")
    assert done["State"]["Result"] == {"Found": 299, "Changed": 299}
    assert [document["@metadata"]["@id"] for document in shop.get("/docs").json()] == ["others/1", "orders/5"]


def test_what_fails_leaves_the_rest(shop: Database) -> None:
    for number in range(3):
        shop.put(f"orders/{number}", json.dumps({"n": number}))
    done = by_query(shop, "EVAL", "dynamic", "n:*", {"Script": "if (this.n == 2) throw 'two'; this.n = -1"})
    assert done["Faulted"]
    assert "'orders/2': it threw two" in done["State"]["Error"]
    assert [each["n"] for each in shop.get("/docs").json()] == [0, 1, 2]
    assert by_query(shop, "EVAL", "none", "n:1", {"Script": "this.n = 1"})["Faulted"]
    assert_error(shop.request("DELETE", "/bulk_docs/none?query=n:1"), 404)
    assert "SyntaxError" in by_query(shop, "EVAL", "dynamic", "n:1", {"Script": "this."})["State"]["Error"]
    assert_error(shop.request("DELETE", "/bulk_docs/dynamic?query=n:("), 400, "column 4")
