"""Patches over HTTP, in RavenDB 3's words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.server.running import Database, assert_error

CHANGE = [{"Type": "Inc", "Name": "n", "Value": 1}]


def patch(shop: Database, id: str, commands: Any, **headers: str) -> Any:
    return shop.request("PATCH", f"/docs/{id}", json=commands, headers=headers)


def test_a_document(shop: Database) -> None:
    shop.put("orders/1", b'{"n": 1.0,  "s":"x"}', **{"Raven-Entity-Name": "Orders"})
    answer = patch(shop, "orders/1", CHANGE)
    assert (answer.status_code, answer.json()) == (200, {"Patched": True, "Debug": None})
    found = shop.get("/docs/orders/1")
    assert found.content == b'{"n": 2.0,  "s":"x"}'
    assert (found.headers["etag"], found.headers["raven-entity-name"]) == (answer.headers["etag"], "Orders")


def test_etags_and_values(shop: Database) -> None:
    etag = shop.put("a", b'{"n":1}').json()["ETag"]
    assert patch(shop, "a", CHANGE, **{"If-Match": f'"{etag}"'}).status_code == 200
    told = assert_error(patch(shop, "a", CHANGE, **{"If-Match": f'"{etag}"'}), 409)
    assert told["ExpectedETag"] == etag
    told = assert_error(patch(shop, "a", [CHANGE[0] | {"PrevVal": 1}]), 409, "'n' of 'a' is 2, and not 1")
    assert told["Kind"] == "PatchConflict"
    assert_error(patch(shop, "none", CHANGE), 404, "'none'")
    assert shop.get("/docs/a").content == b'{"n":2}'


def test_batches(shop: Database) -> None:
    shop.put("a", b'{"n":1}')
    made = {"PatchesIfMissing": [{"Type": "Set", "Name": "n", "Value": 7}], "Metadata": {"Raven-Entity-Name": "New"}}
    answer = shop.batch(
        [
            {"Method": "PATCH", "Key": "a", "Patches": CHANGE},
            {"Method": "PUT", "Key": "b", "Document": {"n": 5}, "Metadata": {}},
            {"Method": "PATCH", "Key": "b", "Patches": CHANGE, "AdditionalData": {"x": 1}},
            {"Method": "PATCH", "Key": "none", "Patches": CHANGE},
            {"Method": "PATCH", "Key": "new", "Patches": CHANGE, **made},
        ]
    ).json()
    patched = ["Patched", None, "Patched", "DocumentDoesNotExists", "Patched"]
    assert [each["PatchResult"] for each in answer] == patched
    assert answer[2]["AdditionalData"] == {"x": 1}
    assert [bool(each["Etag"]) for each in answer] == [True, True, True, False, True]
    assert [shop.get(f"/docs/{id}").json()["n"] for id in ("a", "b", "new")] == [2, 6, 7]
    assert shop.get("/docs/new").headers["raven-entity-name"] == "New"
    assert shop.get("/docs/none").status_code == 404
    wrong = [{"Method": "DELETE", "Key": "a"}, {"Method": "PATCH", "Key": "b", "Patches": [CHANGE[0] | {"PrevVal": 0}]}]
    assert_error(shop.batch(wrong), 409)
    assert shop.get("/docs/a").status_code == 200


def test_two_at_once_lose_nothing(shop: Database) -> None:
    shop.put("a", b'{"n":0}')
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: patch(shop, "a", CHANGE).status_code, range(60)))
    assert statuses == [200] * 60
    assert shop.get("/docs/a").content == b'{"n":60}'
