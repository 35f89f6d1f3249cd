"""RavenDB 3's queries over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.running import Database, Server, assert_error


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
    distinct = ask(orders, "dynamic", fetch="Lines,Nothing", distinct="true")
    assert [list(each) for each in distinct["Results"]] == [["Lines,Nothing", "@metadata"], ["@metadata"]]


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
    for parameters in ({"resultsTransformer": "T"}, {"sort": "-Temp-Index-Score"}):
        assert orders.get("/indexes/dynamic/Orders", params=parameters).status_code == 400


MAP = "from o in docs.Orders select new { o.Company, Cost = o.Freight, Any = new object[] { o.Company, o.Freight } }"


def define(shop: Database, name: str, **definition: Any) -> Any:
    return shop.request("PUT", f"/indexes/{name}?definition=yes", content=json.dumps(definition))


def test_a_map_that_is_a_projection(orders: Database) -> None:
    made = define(orders, "Orders/By", Map=MAP, Indexes={"Company": "Analyzed"})
    assert (made.status_code, made.json()) == (201, {"Index": "Orders/By"})
    assert ids(ask(orders, "orders/by", query="Cost_Range:[Dx1 TO Dx9}", sort="-Cost")) == ["orders/3", "orders/1"]
    assert ids(ask(orders, "Orders/By", query="Any:12 OR Any:companies/9")) == ["orders/2"]
    assert len(ids(ask(orders, "Orders/By", query="Company:companies"))) == 3  # its words are looked for
    assert ids(ask(orders, "Orders/By", query="Freight:12")) == []  # there is no such field in the index
    assert len(ids(ask(orders, "Orders/By"))) == 3
    assert orders.get("/indexes/Orders/By?query=Cost:7&fetch=Cost").json()["Results"][0]["Cost"] == 7
    [entry] = ask(orders, "Orders/By", query="Cost:12", debug="entries")["Results"]
    assert entry == {"Company": "companies/2", "Cost": 12, "Any": ["companies/2", 12], "__document_id": "orders/2"}


def test_documents_without_one_of_the_fields_are_not_in_an_index(shop: Database) -> None:
    for id, body in (("a", '{"x":1,"y":2}'), ("b", '{"x":null}'), ("c", '{"z":1}')):
        shop.put(id, body)
    define(shop, "I", Map='from d in docs select new { x = d.x, both = d.x + "-" + d.y }', Stores={"both": "Yes"})
    assert ids(ask(shop, "I")) == ["a", "b"]
    assert ids(ask(shop, "I", query="-x:1")) == ["b"]
    rows = ask(shop, "I", fetch="both")["Results"]
    assert [row.get("both") for row in rows] == ["1-2", None]
    told = assert_error(shop.get("/indexes/I?query=both:x"), 501, "the field 'both' of the index 'I' is computed")
    assert told["Kind"] == "NotEvaluated"


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"Map": "from o in docs.Orders where o.Freight > 3 select new { o.Freight }"}, "'where' at character 23"),
        ({"Map": "from o in docs.Orders from l in o.Lines select new { l.Product }"}, "'from' at character 23"),
        ({"Map": MAP, "Reduce": "from r in results group r by r.Company into g select new { g.Key }"}, "a Reduce"),
        ({"Maps": [MAP, MAP]}, "2 maps"),
        ({"Map": "map('Orders', o => o.Lines.map(l => ({ p: l.Product })))"}, "'o' at character 20"),
        ({"Map": "from o in docs.Orders select new { n = o.Lines.Count }"}, "computed: o.Lines.Count"),
    ],
)
def test_maps_that_are_not_evaluated(shop: Database, definition: Any, reason: str) -> None:
    assert define(shop, "I", **definition).status_code == 201
    assert json.loads(shop.get("/docs/Raven/Indexes/I").content)["definition"] == definition
    assert_error(shop.get("/indexes/I?query=n:1"), 501, reason)


def test_definitions_are_kept_as_they_are(shop: Database) -> None:
    given = b'{"Map" : "from o in docs.Orders select new { o.A }","Unheard of":1.10}'
    assert shop.request("PUT", "/indexes/A/B?definition=yes", content=given).status_code == 201
    shown = shop.get("/indexes/a/b?definition=yes")
    assert shown.content == b'{"Index":' + given + b"}"
    assert shop.get("/indexes?namesOnly=true").json() == ["A/B"]
    [listed] = shop.get("/indexes").json()
    assert (listed["name"], listed["collection"], listed["fields"]) == ("A/B", "Orders", {"A": {"path": "A"}})
    assert listed["definition"] == json.loads(given)
    stats = shop.get("/stats").json()
    assert (stats["CountOfIndexes"], stats["Indexes"][0]["Name"]) == (1, "A/B")
    assert shop.request("RESET", "/indexes/A/B").json() == {"Reset": "A/B"}
    wrong: dict[str, Any]
    for wrong in ({}, {"Map": ""}, {"Map": 1}, {"Maps": []}):
        assert_error(define(shop, "wrong", **wrong), 400)
    assert_error(define(shop, "dynamic/x", Map=MAP), 400, "cannot be called")
    several = [{"Name": name, "Definition": {"Map": MAP}} for name in ("C", "D")]
    assert shop.request("PUT", "/indexes", json=several).json() == {"Indexes": ["C", "D"]}
    for _ in range(2):
        assert shop.request("DELETE", "/indexes/a/B").status_code == 204
    assert shop.get("/indexes/A/B?definition=yes").status_code == 404
    assert shop.get("/indexes?namesOnly=true&start=1").json() == ["D"]


def test_definitions_of_later_versions(shop: Database) -> None:
    shop.put("a", b'{"x":"Red Car"}', **{"Raven-Entity-Name": "Cars"})
    later = {"Name": "I", "Maps": ["docs.Cars.Select(c => new { c.x })"], "Fields": {"x": {"Indexing": "Search"}}}
    kept = json.dumps({"Type": "Map", "IndexDefinition": later})
    shop.put("Raven/Indexes/I", kept, **{"Raven-Smuggler-Section": "Indexes"})
    assert ids(ask(shop, "I", query="x:red")) == ["a"]


def test_a_definition_that_cannot_be_read_is_in_the_way_of_no_other(shop: Database) -> None:
    """Such come in dumps, or are written as documents."""
    of = {"Raven-Smuggler-Section": "Indexes"}
    for number, given in enumerate((b'{"Maps":7}', b'{"Maps":[1],"Fields":[]}', b"{}", b'{"Reduce":{}}')):
        for generation in (b"definition", b"IndexDefinition"):
            id = f"Raven/Indexes/{number}{generation.decode()}"
            assert shop.put(id, b'{"%s":%s}' % (generation, given), **of).status_code == 201
    define(shop, "Right", Map=MAP)
    assert len(shop.get("/indexes").json()) == 9
    assert shop.get("/stats").json()["CountOfIndexes"] == 9
    assert ids(ask(shop, "Right")) == []
    assert_error(shop.get("/indexes/0definition"), 501, "its definition cannot be read", "Maps")
    later = {"Raven-Client-Version": "7.2"}
    for path in ("/indexes", "/indexes/stats", "/indexes/errors", "/indexes/status", "/indexes?name=1IndexDefinition"):
        assert shop.get(path, headers=later).status_code == 200, path
    assert shop.get("/smuggler/export?format=ravendump").status_code == 200
    for name in ("A/", "A|", " A", "dynamic", "Auto/x"):
        assert shop.request("PUT", f"/indexes/{name}", json={"Map": MAP}).status_code == 400


def test_a_map_in_javascript(orders: Database) -> None:
    text = "map('Orders', o => ({ Firm: o.Company, Products: o.Lines.map(l => l.Product), n: o.Lines.length }))"
    kept = json.dumps({"Type": "JavaScriptMap", "IndexDefinition": {"Name": "J", "Maps": [text]}})
    orders.put("Raven/Indexes/J", kept, **{"Raven-Smuggler-Section": "Indexes"})
    assert ids(ask(orders, "J", query="Firm:companies/1 AND Products:products/3")) == ["orders/3"]
    assert len(ids(ask(orders, "J"))) == 3
    assert_error(orders.get("/indexes/J?query=n:1"), 501, "computed: o.Lines.length")
    script = text.replace("o => (", "o => { if (o.x) return (").replace("}))", "}); })")
    orders.put("Raven/Indexes/J", kept.replace(text, script), **{"Raven-Smuggler-Section": "Indexes"})
    assert_error(orders.get("/indexes/J"), 501, "'if' at character", "more than a projection is not evaluated")


def test_a_dump_carries_definitions(shop: Database, server: Server) -> None:
    assert define(shop, "Orders/By", Map=MAP).status_code == 201
    dump = shop.get("/smuggler/export?format=ravendump").content
    other = server.create("carried")
    assert other.request("POST", "/smuggler/import", content=dump).status_code == 200
    assert other.get("/indexes/Orders/By?definition=yes").json()["Index"] == {"Map": MAP}


def test_the_terms_of_a_field(orders: Database) -> None:
    def terms(index: str, field: str, **more: Any) -> Any:
        answer = orders.get(f"/terms/{index}", params={"field": field, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert terms("Raven/DocumentsByEntityName", "Tag") == ["companies", "orders"]
    assert terms("dynamic/Orders", "Company") == ["companies/1", "companies/2"]
    assert terms("dynamic/Orders", "Company", fromValue="companies/1", pageSize=1) == ["companies/2"]
    assert terms("Auto/Orders/ByFreight", "Freight") == ["12", "3.5", "7"]  # as texts
    assert terms("dynamic/Orders", "Lines,Product", pageSize=2) == ["products/1", "products/2"]
    for number, kind in enumerate([None, "", True, "Big", {"a": 1}, [], ["big", "small"]]):
        orders.put(f"kinds/{number}", json.dumps({"Kind": kind}), **{"Raven-Entity-Name": "Kinds"})
    assert terms("dynamic/Kinds", "Kind") == ["[[EMPTY_STRING]]", "[[NULL_VALUE]]", "big", "small", "true"]
    assert terms("dynamic/Kinds", "None") == []
    orders.put("halves/1", r'{"Half": "\ud83d"}', **{"Raven-Entity-Name": "Halves"})
    assert terms("dynamic/Halves", "Half") == ["\ud83d"]
    definition = {
        "Map": "from k in docs.Kinds select new"
        " { k.Kind, Text = k.Kind, All = new[] { k.Kind, k.Other }, Two = k.Kind + 1 }",
        "Indexes": {"Kind": "NotAnalyzed", "Text": "Analyzed"},
    }
    orders.put("kinds/7", '{"Other": "other"}', **{"Raven-Entity-Name": "Kinds"})
    assert orders.request("PUT", "/indexes/Kinds/By", json=definition).status_code == 201
    assert terms("Kinds/By", "Kind") == ["Big", "[[EMPTY_STRING]]", "[[NULL_VALUE]]", "big", "small", "true"]
    assert "other" in terms("Kinds/By", "All")
    assert (terms("dynamic", "Name"), terms("dynamic", "name")) == (
        ["one"],
        [],
    )  # a definition is no document to RavenDB
    assert_error(orders.get("/terms/Kinds/By?field=Text"), 501, "not listed")
    assert_error(orders.get("/terms/Kinds/By?field=Two"), 501, "computed")
    assert_error(orders.get("/terms/Kinds/By"), 400, "no field")
    assert_error(orders.get("/terms/None?field=a"), 404, "no index 'None'")


def test_what_is_searched_for_is_shown(orders: Database) -> None:
    for number, notes in enumerate(["Two red cars", "a RED car, and a red bicycle beside it", "blue"], 1):
        orders.put(f"notes/{number}", json.dumps({"Notes": notes}), **{"Raven-Entity-Name": "Notes"})
    definition = {"Map": "from n in docs.Notes select new { Text = n.Notes }", "Indexes": {"Text": "Analyzed"}}
    assert orders.request("PUT", "/indexes/Notes/Search", json=definition).status_code == 201
    found = ask(orders, "Notes/Search", query="Text:red", highlight="Text:128,2")
    assert found["Highlightings"] == {
        "notes/1": {"Text": ["Two <b>red</b> cars"]},
        "notes/2": {"Text": ["a <b>RED</b> car, and a <b>red</b> bicycle beside it"]},
    }
    marked = {"highlight": ["Text:8,1"], "preTags": ["**", "!!"], "postTags": "**", "fetch": "Text"}
    found = ask(orders, "Notes/Search", query="Text:bi*", **marked)
    assert found["Highlightings"] == {"notes/2": {"Text": ["**bicycle**"]}}
    assert ask(orders, "Notes/Search", query="Text:red", highlight="Other:128,2")["Highlightings"] == {}
    assert ask(orders, "Notes/Search", query="Text:red")["Highlightings"] == {}
    for wrong, word in (("Text", "FIELD:LENGTH"), ("Text:0,1", "length"), ("Text:9999999,1", "length")):
        told = orders.get("/indexes/Notes/Search", params={"query": "Text:red", "highlight": wrong})
        assert word in assert_error(told, 400, "highlight")["Hint"]
    assert_error(orders.get("/indexes/Notes/Search?query=Text:red&highlight=Text:128,2,Pieces"), 501, "Pieces")


def test_streams_of_queries(orders: Database) -> None:
    answer = orders.get("/streams/query/dynamic/Orders?query=Freight_Range:[Dx1 TO Dx9}&sort=-Freight")
    assert ids(answer.json()) == ["orders/3", "orders/1"]
    told = {name: answer.headers[f"raven-{name}"] for name in ("total-results", "is-stale", "index")}
    assert told == {"total-results": "2", "is-stale": "False", "index": "Auto/Orders/ByFreight"}
    sent = {"content": b'"Name:one"', "headers": {"Content-Encoding": "gzip"}}
    assert ids(orders.request("POST", "/streams/query/dynamic", **sent).json()) == ["companies/1"]
    assert orders.get("/streams/query/dynamic/Nothing").json() == {"Results": []}
    assert_error(orders.get("/streams/query/none?query=a:1"), 404, "no index 'none'")
    assert_error(orders.get("/streams/query/dynamic?query=a:("), 400, "column 4")


def test_what_is_asked_before_a_stream_is_read(orders: Database) -> None:
    told = orders.request("HEAD", "/streams/query/dynamic/Orders?query=Freight:12")
    assert (told.status_code, told.headers["raven-total-results"], told.content) == (200, "1", b"")
    assert orders.request("HEAD", "/streams/docs").status_code == 200
    assert orders.request("HEAD", "/streams/query/none").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("GET", "/facets/dynamic/Orders?facetDoc=facets/x", "group by"),
        ("POST", "/facets/multisearch", "group by"),
        ("GET", "/suggest/Orders/By?term=x&field=Name", "wor*"),
        ("GET", "/morelikethis/?index=Orders/By", "wor*"),
        ("PUT", "/transformers/T", "fetch fields"),
        ("POST", "/admin/stopIndexing", "never behind"),
    ],
)
def test_what_takes_the_place_of_what_is_refused(shop: Database, method: str, path: str, instead: str) -> None:
    told = assert_error(shop.request(method, path), 501, "is RavenDB's, and Muniment does not have it")
    assert instead in told["Hint"]


def test_streams_of_documents(shop: Database) -> None:
    shop.fill(1500)
    found = shop.get("/streams/docs").json()
    assert (len(found["Results"]), found["NextPageStart"]) == (1500, 1500)
    last = found["Results"][1497]["@metadata"]["@etag"]
    assert len(shop.get(f"/streams/docs?etag={last}").json()["Results"]) == 2
    some = shop.get("/streams/docs?startsWith=items/&matches=*99&exclude=1*&start=1&pageSize=3").json()
    assert ids(some) == ["items/399", "items/499", "items/599"]
    assert some["NextPageStart"] == 4


def test_several_requests_in_one(orders: Database) -> None:
    wanted: list[Any] = [
        {"Url": "/docs/orders/1", "Query": None, "Headers": {}},
        None,
        {"Url": f"/databases/{orders.name}/indexes/dynamic/Orders", "Query": "?query=Freight:12"},
        {"Url": "/queries/", "Query": "id=orders/1&id=none&include=Company"},
        {"Url": "/queries", "Method": "POST", "Content": '["orders/2"]'},
        {"Url": "/docs/none"},
        {"Url": "/indexes/none"},
        {"Url": "/multi_get", "Method": "POST", "Content": "[]"},
        {"Url": "/docs/orders/1", "Method": "DELETE"},
    ]
    found = orders.request("POST", "/multi_get?parallel=yes", json=wanted).json()
    assert [each and each["Status"] for each in found] == [200, None, 200, 200, 200, 404, 404, 501, 501]
    assert found[0]["Result"]["Freight"] == 3.5
    assert found[0]["Headers"]["Raven-Entity-Name".lower()] == "Orders"
    assert ids(found[2]["Result"]) == ["orders/2"]
    assert (found[3]["Result"]["Results"][1], ids({"Results": found[3]["Result"]["Includes"]})) == (
        None,
        ["companies/1"],
    )
    assert "no index 'none'" in found[6]["Result"]["Error"]
    assert_error(orders.request("POST", "/multi_get", json=[None] * 1001), 400, "too many")
    assert orders.get("/docs/orders/1").status_code == 200
