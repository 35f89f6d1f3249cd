"""RavenDB 3's queries over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.running import Database


@pytest.fixture
def orders(shop: Database) -> Database:
    for number, (company, freight) in enumerate([("companies/1", 3.5), ("companies/2", 12), ("Companies/1", 7)], 1):
        body = {"Company": company, "Freight": freight, "Lines": [{"Product": f"products/{number}"}]}
        shop.put(f"orders/{number}", json.dumps(body), **{"Raven-Entity-Name": "Orders"})
    shop.put("companies/1", json.dumps({"Name": "One"}), **{"Raven-Entity-Name": "Companies"})
    return shop


def ask(shop: Database, index: str, **parameters: Any) -> Any:
    answer = shop.get(f"/indexes/{index}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: Any) -> list[str]:
    return [each["@metadata"]["@id"] for each in answer["Results"]]


def test_a_collection(orders: Database) -> None:
    found = ask(orders, "dynamic/orders", query="Company:companies/1 AND Freight_Range:[Dx1 TO Dx9}", sort="-Freight")
    assert ids(found) == ["orders/3", "orders/1"]
    assert (found["TotalResults"], found["IsStale"], found["IndexName"]) == (
        2,
        False,
        "Auto/orders/ByCompanyAndFreight",
    )
    assert found["Results"][0]["Freight"] == 7
    assert ids(ask(orders, found["IndexName"], query="Lines,Product:products/2")) == ["orders/2"]
    assert ids(ask(orders, "dynamic", query="Name:one")) == ["companies/1"]
    assert ids(ask(orders, "Raven/DocumentsByEntityName", query="Tag:Companies")) == ["companies/1"]


def test_pages_projections_and_includes(orders: Database) -> None:
    found = ask(orders, "dynamic/Orders", sort="Freight", start=1, pageSize=1, fetch="Freight", include="Company")
    [row] = found["Results"]
    assert {name: value for name, value in row.items() if name != "@metadata"} == {
        "Freight": 7,
        "__document_id": "orders/3",
    }
    assert row["@metadata"]["@id"] == "orders/3"
    assert (found["TotalResults"], len(found["Includes"])) == (3, 1)
    whole = ask(orders, "dynamic/Orders", query="Freight:3.5", include="Company")
    assert [each["@metadata"]["@id"] for each in whole["Includes"]] == ["companies/1"]
    only = ask(orders, "dynamic/Orders", **{"metadata-only": "true", "pageSize": 1})
    assert [list(each) for each in only["Results"]] == [["@metadata"]]
    distinct = ask(orders, "dynamic/Orders", fetch="Nothing", distinct="true")
    assert len(distinct["Results"]) == 3  # each has an id of its own


def test_what_was_found_before_is_not_sent_again(orders: Database) -> None:
    first = orders.get("/indexes/dynamic/Orders?query=Freight:12")
    again = orders.get("/indexes/dynamic/Orders?query=Freight:12", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_is_refused(orders: Database) -> None:
    answer = orders.get("/indexes/dynamic/Orders", params={"query": "Company:(x"})
    assert (answer.status_code, answer.json()["Kind"]) == (400, "InvalidQuery")
    assert "column 11" in answer.json()["Error"]
    answer = orders.get("/indexes/Orders/Totals")
    assert answer.status_code == 404
    assert "there is no index 'Orders/Totals'" in answer.json()["Error"]
    for parameters in ({"resultsTransformer": "T"}, {"debug": "entries"}, {"sort": "-Temp-Index-Score"}):
        assert orders.get("/indexes/dynamic/Orders", params=parameters).status_code == 400
