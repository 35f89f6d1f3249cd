"""`bulk_docs`: all of it or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.running import Database, assert_error

ZERO = "00000000-0000-0000-0000-000000000000"


def put(key: str | None, document: Any = None, **more: Any) -> dict[str, Any]:
    return {"Method": "PUT", "Key": key, "Document": document or {}, "Metadata": {}, **more}


def test_results_stand_in_the_order_of_the_commands(shop: Database) -> None:
    metadata = {
        "Raven-Entity-Name": "As",
        "@id": "zzz",
        "@etag": ZERO,
        "Last-Modified": "x",
        "etag": None,
        "Temp-Index-Score": 1,
    }
    commands = [
        put("a", {"n": 1}, Metadata=metadata, AdditionalData={"k": [1]}),
        {"Method": "DELETE", "Key": "a"},
        {"Method": "delete", "Key": "nothing", "Etag": None},
        put("b/"),
        put(None),
    ]
    answer = shop.batch(commands)
    assert answer.status_code == 200
    results = answer.json()
    assert [result["Method"] for result in results] == ["PUT", "DELETE", "DELETE", "PUT", "PUT"]
    assert [result["Deleted"] for result in results] == [None, True, False, None, None]
    assert results[0]["Metadata"] == {"Raven-Entity-Name": "As"}
    assert results[0]["AdditionalData"] == {"k": [1]}
    assert results[0]["Etag"].startswith("01000000-0000-0001-")
    assert results[1]["Etag"] is None
    assert results[1]["Metadata"] is None
    assert results[3]["Key"] == "b/1"
    assert len(results[4]["Key"]) == 36
    assert all(result["PatchResult"] is None for result in results)
    assert shop.get("/stats").json()["CountOfDocuments"] == 3  # with the document that numbers b/


def test_the_bytes_of_a_document_are_kept(shop: Database) -> None:
    document = b'{"price":  1.10, "text":"\\u00e4\\ud800", "n":1E400}'
    body = b'[{"Method":"PUT","Key":"a","Document":' + document + b',"Metadata":{"X":1.50}} ]'
    assert shop.request("POST", "/bulk_docs", content=body).status_code == 200
    assert shop.get("/docs/a").content == document


def test_nothing_is_done_when_one_command_can_not_be(shop: Database) -> None:
    shop.put("a")
    answer = shop.batch([put("new"), put("a", Etag=ZERO), {"Method": "DELETE", "Key": "a"}])
    body = assert_error(answer, 409, "'a'")
    assert body["ExpectedETag"] == ZERO
    assert body["ActualETag"] == body["ActualEtag"] == "01000000-0000-0001-0000-000000000001"
    assert shop.get("/docs/new").status_code == 404
    assert shop.get("/docs/a").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 422, "cannot be read"),
        (b"{", 422, "cannot be read"),
        (b"{}", 422, "cannot be read"),
        (b"[1]", 422, "cannot be read"),
        (b'[{"Method":"PUT","Key":"x","Document":{},"Metadata":{}},{"Method":"MOVE","Key":"a"}]', 422, "MOVE"),
        (b'[{"Method":"PUT","Key":"x","Document":{},"Metadata":{}},{"Method":"DELETE"}]', 422, "Key"),
        (b'[{"Method":"PUT","Key":"x","Document":[],"Metadata":{}}]', 422, "not an object"),
        (b'[{"Method":"PUT","Key":"x"}]', 422, "not an object"),
        (b'[{"Method":"PUT","Key":"x","Document":{},"Metadata":[]}]', 422, "not an object"),
        (b'[{"Method":"PUT","Key":"x","Document":{"\xff":1},"Metadata":{}}]', 422, "cannot be read: it is not UTF-8 ("),
        (b'[{"Method":"PUT","Key":"x","Document":{},"Etag":"x"}]', 400, "etag"),
        (
            b'[{"Method":"PUT","Key":"x","Document":{},"Metadata":{}},{"Method":"PATCH","Key":"x"}]',
            422,
            "patches nothing",
        ),
        (
            b'[{"Method":"PUT","Key":"x","Document":{},"Metadata":{}},{"Method":"EVAL","Key":"x"}]',
            422,
            "runs no script",
        ),
        (b'[{"Method":"PUT","Key":"' + b"x" * 600 + b'","Document":{}}]', 400, "512"),
        (b'[{"Method":"PUT","Key":"x","Document":{"\\ud800":1},"Metadata":{}}', 422, "cannot be read"),
        (b"[" * 5000, 422, "cannot be read"),
    ],
    ids=str,
)
def test_what_can_not_be_carried_out(shop: Database, body: bytes, status: int, word: str) -> None:
    assert_error(shop.request("POST", "/bulk_docs", content=body), status, word)
    assert shop.get("/stats").json()["CountOfDocuments"] == 0


def test_nothing_to_do(shop: Database) -> None:
    assert shop.batch([]).json() == []


def test_identities_go_on_within_a_batch(shop: Database) -> None:
    results = shop.batch([put("orders/") for _ in range(3)]).json()
    assert [result["Key"] for result in results] == ["orders/1", "orders/2", "orders/3"]
