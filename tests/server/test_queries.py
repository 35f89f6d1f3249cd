"""Several documents at once."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.document import encode
from tests.server.running import Database, assert_error


def ids(documents: list[Any]) -> list[str | None]:
    return [document and document["@metadata"]["@id"] for document in documents]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_multi_get(shop: Database, method: str) -> None:
    shop.put("a", b'{"n": 1.10}', **{"Raven-Entity-Name": "As"})
    shop.put("b", b"{ }")
    wanted = ["b", "nope", "A", "a"]
    if method == "GET":
        answer = shop.get("/queries/", params={"id": wanted})
    else:
        answer = shop.request("POST", "/queries/", json=wanted)
    assert b'{"n": 1.10,"@metadata":{"Raven-Entity-Name":"As","@id":"a"' in answer.content
    results = answer.json()["Results"]
    assert ids(results) == ["b", None, "a"]
    assert results[2]["@metadata"]["@etag"] == "01000000-0000-0001-0000-000000000001"
    assert results[2]["@metadata"]["Non-Authoritative-Information"] is False
    again = shop.get("/queries/", params={"id": wanted}, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    shop.put("a", b"{}")
    changed = shop.get("/queries/", params={"id": wanted}, headers={"If-None-Match": answer.headers["etag"]})
    assert changed.status_code == 200


def test_old_clients_hear_only_of_what_there_is(shop: Database) -> None:
    shop.put("a")
    answer = shop.get("/queries/", params={"id": ["x", "a"]}, headers={"Raven-Client-Version": "2.5"})
    assert ids(answer.json()["Results"]) == ["a"]


def test_includes(shop: Database) -> None:
    order = '{"Customer": {"Id": "customers/1"}, "Lines": [{"Product": "p/1"}, {"Product": "p/2"}, {"Product": "p/1"}],'
    shop.put("orders%2F1", order + '"Employee": 7, "Self": "orders/1", "Gone": "p/9", "Tags": ["p/1", "p/3"]}')
    for id in ("customers/1", "p/1", "p/2", "p/3", "employees/7"):
        shop.put(id.replace("/", "%2F"))

    def included(*paths: str) -> list[str | None]:
        answer = shop.get("/queries/", params={"id": "orders/1", "include": paths})
        return ids(answer.json()["Includes"])

    assert included("Customer.Id") == ["customers/1"]
    assert included("Lines,Product") == ["p/1", "p/2"]
    assert included("Employee(employees/)") == ["employees/7"]
    assert included("Tags", "Lines,Product") == ["p/1", "p/3", "p/2"]
    assert included("Self", "Gone", "Nothing", "Lines", "", "Employee.Id", "((") == []


def test_metadata_only(shop: Database) -> None:
    shop.put("a", b'{"n":1}')
    [found] = shop.get("/queries/", params={"id": "a", "metadata-only": "true"}).json()["Results"]
    assert list(found) == ["@metadata"]
    [found] = shop.get("/docs", params={"metadata-only": "true"}).json()
    assert list(found) == ["@metadata"]


def test_documents_by_prefix(shop: Database) -> None:
    shop.fill(30)
    shop.put("other")

    def found(**query: Any) -> list[str | None]:
        return ids(shop.get("/docs", params=query).json())

    names = sorted(f"items/{n}" for n in range(30))
    assert found(startsWith="ITEMS/") == names[:25]
    assert found(startsWith="items/", start=20, pageSize=100) == names[20:]
    assert found(startsWith="items/2", pageSize=3) == ["items/2", "items/20", "items/21"]
    assert found(startsWith="items/", matches="1?|3", pageSize=100) == [
        *[f"items/{n}" for n in range(10, 20)],
        "items/3",
    ]
    assert found(startsWith="items/", exclude="*1*|2*", pageSize=3) == ["items/0", "items/3", "items/4"]
    assert found(startsWith="items/", skipAfter="items/7", pageSize=100) == ["items/8", "items/9"]
    assert found(startsWith="nothing") == []
    page = shop.get("/docs", params={"startsWith": "items/", "start": 5, "pageSize": 10})
    assert page.headers["next-page-start"] == "15"
    again = shop.get("/docs?startsWith=items/&start=5&pageSize=10", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304


def test_documents_by_etag(shop: Database) -> None:
    shop.fill(10)
    shop.put("items/3", b"{}")
    documents = shop.get("/docs", params={"pageSize": 100}).json()
    order = [f"items/{n}" for n in range(10) if n != 3] + ["items/3"]
    assert ids(documents) == order
    after = documents[6]["@metadata"]["@etag"]
    assert ids(shop.get("/docs", params={"etag": after}).json()) == order[7:]
    assert ids(shop.get("/docs", params={"start": 8}).json()) == order[8:]
    assert ids(shop.get("/docs", params={"start": 800}).json()) == []
    assert ids(shop.get("/docs", params={"start": -5, "pageSize": -1}).json()) == []
    assert_error(shop.get("/docs", params={"etag": "x"}), 400)
    assert_error(shop.get("/docs", params={"start": "x"}), 400)


def test_a_page_has_at_most_1024_documents(shop: Database) -> None:
    shop.fill(1100, size=1)
    assert len(shop.get("/docs", params={"pageSize": 5000}).json()) == 1024
    assert len(shop.get("/docs", params={"pageSize": 5000, "start": 1024}).json()) == 76


def test_ids_that_are_asked_for_again_stand_where_they_were_first(shop: Database) -> None:
    for id in ("a/1", "a/2", "a/3"):
        shop.put(id, encode({"id": id}))
    asked = ["a/2", "a/1", "A/2", "a/3", "a/1"]
    for found in (shop.get("/queries", params={"id": asked}), shop.request("POST", "/queries", json=asked)):
        assert [each["id"] for each in found.json()["Results"]] == ["a/2", "a/1", "a/3"]


def test_there_are_no_transformers(shop: Database) -> None:
    answer = shop.get("/queries", params={"id": "a/1", "transformer": "OrderTotals"})
    assert answer.status_code == 400
    assert "OrderTotals" in answer.json()["Error"]
    assert shop.get("/docs", params={"startsWith": "a/", "transformer": "OrderTotals"}).status_code == 400


def test_documents_with_their_metadata_in_the_body(shop: Database) -> None:
    body = encode({"n": 1, "@metadata": {"Owner": "me", "@id": "x"}})
    shop.put("a/1", body, **{"Raven-Entity-Name": "As"})
    command = {"Method": "PUT", "Key": "a/2", "Document": {"n": 2, "@metadata": {"Owner": "me"}}, "Metadata": {"b": 1}}
    shop.batch([command])
    one, two = shop.get("/queries", params={"id": ["a/1", "a/2"]}).json()["Results"]
    assert (one["n"], one["@metadata"]["Owner"], one["@metadata"]["Raven-Entity-Name"]) == (1, "me", "As")
    assert (two["n"], two["@metadata"]["Owner"], two["@metadata"]["b"]) == (2, "me", 1)
    assert shop.get("/docs/a/1").json() == {"n": 1}
