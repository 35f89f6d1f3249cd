"""Sessions: what is loaded, changed, stored and deleted is saved as one transaction, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import msgspec
import pytest

from muniment import DocumentDatabase, Session
from muniment.errors import ConcurrencyConflict, InvalidDocument, InvalidId, InvalidInput


@dataclass
class Order:
    company: str
    lines: list[dict[str, Any]] = field(default_factory=list)


class Company(msgspec.Struct):
    name: str
    size: int = 1


class Category:
    def __init__(self, name: str) -> None:
        self.name = name


class Named(TypedDict):
    name: str


def body(database: DocumentDatabase, id: str) -> bytes:
    document = database.get(id)
    assert document is not None
    return document.body


def etag(database: DocumentDatabase, id: str) -> int:
    document = database.get(id)
    assert document is not None
    return document.etag


def last_etag(database: DocumentDatabase) -> int:
    return database.snapshot().etag


# Loading


def test_nothing_is_written_before_it_is_saved(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1})
    before = last_etag(database)
    with database.open_session() as session:
        found = session.load("a")
        assert found == {"n": 1}
        found["n"] = 2
        session.store({"n": 1}, "b")
        session.delete("a")
    assert last_etag(database) == before


def test_what_was_not_changed_is_not_written(database: DocumentDatabase) -> None:
    bodies = [b'{ "n" : 1.10 }', b'{"a":"\\u0041"}', b'{"a":"\\ud800"}', b'{"a":1,"a":2}', b'{"n":-0.0,"m":1e400}']
    bodies += [b'{"n":1234567890123456789012345678901234567890}', b'{"z":null,"a":[]}']
    for n, value in enumerate(bodies):
        database.put(f"{n}", value, b'{ "Raven-Entity-Name" : "Orders", "n" : 1.10 }')
    before = last_etag(database)
    session = database.open_session()
    for n in range(len(bodies)):
        assert session.load(f"{n}") is not None
    session.save_changes()
    assert last_etag(database) == before
    assert [body(database, f"{n}") for n in range(len(bodies))] == bodies


def test_numbers_keep_their_spelling_when_something_else_changes(database: DocumentDatabase) -> None:
    numbers = '"price":1.10,"zero":-0.0,"huge":1e400,"tiny":1E-7,"long":12345678901234567890123,"a":[0.10]'
    database.put("a", f'{{ {numbers} , "z":1}}')
    session = database.open_session()
    found = session.load("a")
    assert found is not None
    found["z"] = 2
    found["new"] = "é"
    session.save_changes()
    assert body(database, "a").decode() == f'{{{numbers},"z":2,"new":"é"}}'


def test_other_parts_of_a_document_with_a_lone_surrogate_can_be_changed(database: DocumentDatabase) -> None:
    database.put("a", b'{"half":"\\ud800","n":1.10,"m":null}')
    session = database.open_session()
    found = session.load("a")
    assert found is not None
    found["m"] = 1
    session.save_changes()
    assert body(database, "a") == b'{"half":"\\ud800","n":1.10,"m":1}'


def test_an_id_is_one_object_in_a_session(database: DocumentDatabase) -> None:
    database.put("Orders/1", {"n": 1})
    session = database.open_session()
    found = session.load("orders/1")
    assert found is session.load("ORDERS/1")
    assert session.load_many(["x", "Orders/1", "orders/1"]) == [None, found, found]
    assert session.load_many(["orders/1"])[0] is found
    assert session.id(found) == "Orders/1"
    assert database.open_session().load("orders/1") is not found
    assert session.load_many([]) == []


def test_one_id_twice_in_a_load_is_one_object(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1})
    session = database.open_session()
    one, two = session.load_many(["a", "A"])
    assert one is two
    one["n"] = 2
    session.save_changes()
    assert body(database, "a") == b'{"n":2}'


def test_what_others_write_is_not_seen_in_an_object(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1})
    session = database.open_session()
    assert session.load("a") == {"n": 1}
    database.put("a", {"n": 2})
    assert session.load("a") == {"n": 1}


def test_a_missing_document_is_asked_for_again(database: DocumentDatabase) -> None:
    session = database.open_session()
    assert session.load("a") is None
    database.put("a", {"n": 1})
    assert session.load("a") == {"n": 1}


@pytest.mark.parametrize("id", ["", "x" * 513, "\ud800"])
def test_bad_ids(database: DocumentDatabase, id: str) -> None:
    session = database.open_session()
    for call in (
        lambda: session.load(id),
        lambda: session.store({}, id),
        lambda: session.delete(id),
    ):
        with pytest.raises(InvalidId):
            call()
    session.save_changes()
    assert last_etag(database) == 0


# Objects of every kind


@pytest.mark.parametrize(
    ("entity", "collection", "stored"),
    [
        (Order("Zajazd", [{"price": 1.5}]), "Orders", b'{"company":"Zajazd","lines":[{"price":1.5}]}'),
        (Company("Zajazd"), "Companies", b'{"name":"Zajazd","size":1}'),
        (Category("Beverages"), "Categories", b'{"name":"Beverages"}'),
    ],
)
def test_objects_are_stored_under_the_plural_of_their_class(
    database: DocumentDatabase, entity: Any, collection: str, stored: bytes
) -> None:
    session = database.open_session()
    id = session.store(entity)
    assert id == f"{collection.lower()}/1"
    assert session.etag(entity) is None
    session.save_changes()
    document = database.get(id)
    assert document is not None
    assert (document.body, document.collection) == (stored, collection)
    assert session.etag(entity) == document.etag
    assert session.id(entity) == id
    assert session.metadata(entity) == {"Raven-Entity-Name": collection}
    session.save_changes()
    assert etag(database, id) == document.etag


def test_dicts_name_their_collection(database: DocumentDatabase) -> None:
    session = database.open_session()
    assert session.store({"n": 1}, collection="Orders") == "orders/1"
    assert session.store({"n": 2}, "loose") == "loose"
    assert session.store({"n": 3}, "things/1", collection="Things", metadata={"m": 1}) == "things/1"
    assert session.store(Category("x"), "c", collection="Others") == "c"
    session.save_changes()
    assert {document.id: document.metadata for document in database.by_etag() if "Hilo" not in document.id} == {
        "orders/1": {"Raven-Entity-Name": "Orders"},
        "loose": {},
        "things/1": {"Raven-Entity-Name": "Things", "m": 1},
        "c": {"Raven-Entity-Name": "Others"},
    }
    with pytest.raises(InvalidInput, match="needs a collection"):
        session.store({})


def test_documents_are_loaded_as_a_type(database: DocumentDatabase) -> None:
    database.put("o", b'{"company":"Zajazd","lines":[],"more":1}')
    database.put("c", b'{"name":"Zajazd"}')
    session = database.open_session()
    order, company = session.load("o", Order), session.load("c", Company)
    assert order == Order("Zajazd")
    assert company == Company("Zajazd")
    assert session.load_many(["c", "C"], Company) == [company, company]
    assert order is not None
    assert company is not None
    order.lines.append({"price": 2})
    company.size = 7
    session.save_changes()
    assert body(database, "o") == b'{"company":"Zajazd","lines":[{"price":2}]}'
    assert body(database, "c") == b'{"name":"Zajazd","size":7}'
    with pytest.raises(InvalidDocument, match="c is not a Order"):
        database.open_session().load("c", Order)


@pytest.mark.parametrize(
    ("first", "second"), [(None, Company), (Company, Order), (Company, None), (Company, dict), (Named, Company)]
)
def test_an_object_of_a_session_is_of_one_type(database: DocumentDatabase, first: Any, second: Any) -> None:
    database.put("c", b'{"name":"Zajazd","company":"Zajazd"}')
    session = database.open_session()
    found = session.load("c", first)
    with pytest.raises(InvalidInput, match="in this session, and was now asked for as") as caught:
        session.load("C", second) if second else session.load("c")
    assert caught.value.hint
    assert session.load("c", first) is found
    assert session.load_many(["c"]) == [found]
    if second:
        with pytest.raises(InvalidInput):
            session.load_many(["x", "c"], second)


@pytest.mark.parametrize(
    "type", [Named, dict, dict[str, Any], dict[str, str] | None, Any, Mapping, dict[str, int] | Company]
)
def test_a_dict_is_a_dict_by_any_name(database: DocumentDatabase, type: Any) -> None:
    database.put("c", b'{"name":"Zajazd"}')
    session = database.open_session()
    found = session.load("c")
    assert session.load("c", type) is found


def test_what_was_stored_is_loaded_as_what_it_is(database: DocumentDatabase) -> None:
    session = database.open_session()
    category = Category("Tea")
    id = session.store(category)
    assert session.load(id, Category) is category
    with pytest.raises(InvalidInput, match="is a Category in this session, and was now asked for as a dict"):
        session.load(id)


@pytest.mark.parametrize("ids", ["orders/1", b"orders/1", 5, None, ["a", 5]])
def test_ids_come_in_lists(database: DocumentDatabase, ids: Any) -> None:
    for ask in (database.get_many, database.open_session().load_many):
        with pytest.raises(InvalidInput) as caught:
            ask(ids)
        assert caught.value.hint


def test_documents_of_a_type_that_were_not_changed_are_not_written(database: DocumentDatabase) -> None:
    database.put("c", b'{ "name" : "Zajazd" , "more" : 1 }')
    session = database.open_session()
    session.load("c", Company)
    session.save_changes()
    assert body(database, "c") == b'{ "name" : "Zajazd" , "more" : 1 }'


@pytest.mark.parametrize("entity", [None, 1, 1.5, "text", b"bytes", [], (), True])
def test_only_objects_are_stored(database: DocumentDatabase, entity: Any) -> None:
    session = database.open_session()
    with pytest.raises(InvalidInput, match="is a JSON object, not"):
        session.store(entity, "a")
    session.save_changes()
    assert last_etag(database) == 0


# Storing and deleting


def test_storing_again_is_the_same_document(database: DocumentDatabase) -> None:
    session = database.open_session()
    order = Order("x")
    id = session.store(order)
    assert session.store(order) == session.store(order, id.upper()) == id
    session.save_changes()
    order.company = "y"
    assert session.store(order) == id
    session.save_changes()
    assert [document.id for document in database.by_collection("Orders")] == [id]
    assert body(database, id) == b'{"company":"y","lines":[]}'


def test_another_object_under_the_same_id_is_refused(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1})
    session = database.open_session()
    found = session.load("a")
    for id in ("a", "A"):
        with pytest.raises(InvalidInput, match="another object is already stored as") as caught:
            session.store({"n": 2}, id)
        assert caught.value.hint
    assert session.load("a") is found
    session.save_changes()
    assert body(database, "a") == b'{"n":1}'


def test_one_object_under_two_ids(database: DocumentDatabase) -> None:
    session = database.open_session()
    shared = {"n": 1}
    session.store(shared, "a")
    session.store(shared, "b")
    session.save_changes()
    assert body(database, "a") == body(database, "b") == b'{"n":1}'
    session.delete("a")
    session.delete("b")
    session.save_changes()
    assert database.get("a") is database.get("b") is None


def test_deleting(database: DocumentDatabase) -> None:
    for id in ("A", "b", "c"):
        database.put(id, {})
    session = database.open_session()
    found = session.load("a")
    session.delete(found)
    session.delete("B")
    session.delete("never")
    assert session.load_many(["a", "b", "c"]) == [None, None, {}]
    assert database.get("a") is not None
    session.save_changes()
    assert [document.id for document in database.by_etag()] == ["c"]
    for call in (lambda: session.delete(found), lambda: session.metadata(found), lambda: session.etag(found)):
        with pytest.raises(InvalidInput, match="does not belong to the session"):
            call()
    assert session.load("a") is None


@pytest.mark.parametrize("optimistic", [False, True])
def test_delete_and_then_store(database: DocumentDatabase, optimistic: bool) -> None:
    database.put("A", {"n": 1})
    session = database.open_session(optimistic_concurrency=optimistic)
    found = session.load("a")
    session.delete(found)
    replacement = {"n": 2}
    assert session.store(replacement, "a") == "a"
    assert session.load("a") is replacement
    session.save_changes()
    assert body(database, "a") == b'{"n":2}'
    assert session.id(replacement) == "A"
    session.delete(replacement)
    session.save_changes()
    session.store(replacement, "a")
    session.save_changes()
    assert body(database, "a") == b'{"n":2}'


def test_delete_and_then_store_notices_others(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1})
    session = database.open_session(optimistic_concurrency=True)
    session.delete(session.load("a"))
    database.put("a", {"theirs": 1})
    session.store({"n": 2}, "a")
    with pytest.raises(ConcurrencyConflict):
        session.save_changes()
    assert body(database, "a") == b'{"theirs":1}'


def test_store_and_then_delete(database: DocumentDatabase) -> None:
    session = database.open_session()
    order = Order("x")
    session.store(order, "a")
    session.delete(order)
    session.save_changes()
    assert database.get("a") is None


def test_an_id_that_ends_in_a_slash_is_numbered_when_it_is_saved(database: DocumentDatabase) -> None:
    session = database.open_session()
    first: dict[str, Any] = {"n": 1}
    assert session.store(first, "orders/") == "orders/"
    session.save_changes()
    assert session.id(first) == "orders/1"
    assert session.load("orders/1") is first
    session.store({"n": 2}, "orders/")
    first["n"] = 3
    session.save_changes()
    assert (body(database, "orders/1"), body(database, "orders/2")) == (b'{"n":3}', b'{"n":2}')


def test_metadata_is_saved_with_its_object(database: DocumentDatabase) -> None:
    database.put("a", b'{ "n" : 1.10 }', {"Raven-Entity-Name": "Orders", "m": 1})
    session = database.open_session()
    found = session.load("a")
    metadata = session.metadata(found)
    assert metadata == {"Raven-Entity-Name": "Orders", "m": 1}
    metadata["m"] = 2
    metadata["Raven-Entity-Name"] = "Companies"
    metadata["@mine"] = "left out"
    session.save_changes()
    document = database.get("a")
    assert document is not None
    assert document.metadata == {"Raven-Entity-Name": "Companies", "m": 2}
    assert document.collection == "Companies"
    assert [found.id for found in database.by_collection("companies")] == ["a"]
    assert database.by_collection("orders") == []


# Conflicts, and all or nothing


def two_sessions(database: DocumentDatabase, optimistic: bool) -> tuple[Session, Session]:
    database.put("a", {"n": 0})
    first = database.open_session(optimistic_concurrency=optimistic)
    second = database.open_session(optimistic_concurrency=optimistic)
    for name, session in (("first", first), ("second", second)):
        found = session.load("a")
        assert found is not None
        found["by"] = name
    first.save_changes()
    return first, second


def test_without_optimistic_concurrency_the_last_one_wins(database: DocumentDatabase) -> None:
    first, second = two_sessions(database, optimistic=False)
    second.save_changes()
    assert body(database, "a") == b'{"n":0,"by":"second"}'
    first.delete("a")
    first.save_changes()
    assert database.get("a") is None


def test_with_optimistic_concurrency_the_first_one_wins(database: DocumentDatabase) -> None:
    first, second = two_sessions(database, optimistic=True)
    with pytest.raises(ConcurrencyConflict):
        second.save_changes()
    second.delete("a")
    with pytest.raises(ConcurrencyConflict):
        second.save_changes()
    assert body(database, "a") == b'{"n":0,"by":"first"}'
    for n in range(3):  # what was saved can be changed and saved again
        found = first.load("a")
        assert found is not None
        found["n"] = n + 1
        first.save_changes()
    first.delete("a")
    first.save_changes()
    assert database.get("a") is None


def test_with_optimistic_concurrency_what_is_new_must_be_new(database: DocumentDatabase) -> None:
    database.put("a", {"theirs": 1})
    session = database.open_session(optimistic_concurrency=True)
    session.store({"n": 1}, "a")
    with pytest.raises(ConcurrencyConflict):
        session.save_changes()
    assert body(database, "a") == b'{"theirs":1}'


def test_an_etag_may_be_given(database: DocumentDatabase) -> None:
    now = database.put("a", {"n": 0}).etag
    session = database.open_session()
    mine: dict[str, float] = {"n": 1}
    session.store(mine, "a", etag=now)
    session.store({"n": 1}, "b", etag=0)
    session.save_changes()
    mine["n"] = 1.5  # it was for that one time
    session.save_changes()
    mine["n"] = 2
    session.store(mine, etag=now)
    with pytest.raises(ConcurrencyConflict):
        session.save_changes()
    session.store(mine, etag=etag(database, "a"))
    session.save_changes()
    assert body(database, "a") == b'{"n":2}'


def test_saving_is_all_or_nothing_and_can_be_tried_again(database: DocumentDatabase) -> None:
    database.put("a", {"n": 0})
    database.put("gone", {})
    session = database.open_session(optimistic_concurrency=True)
    found = session.load("a")
    assert found is not None
    found["n"] = 1
    new = {"n": "new"}
    session.store(new, "new")
    session.delete("gone")
    session.store({"n": "in the way"}, "b")
    database.put("b", {"theirs": 1})
    before = last_etag(database)
    for _ in range(2):
        with pytest.raises(ConcurrencyConflict, match="'b'"):
            session.save_changes()
        assert last_etag(database) == before
    assert session.etag(new) is None
    database.delete("b")
    session.save_changes()
    assert (body(database, "a"), body(database, "new")) == (b'{"n":1}', b'{"n":"new"}')
    assert database.get("gone") is None
    changed = [document.changed for document in database.by_etag(after=before + 1)]
    assert len(changed) == 3
    assert len(set(changed)) == 1


@pytest.mark.parametrize("value", [float("nan"), object(), (float("inf"),), {1, float("-inf")}])
def test_what_can_not_be_saved_is_told_and_nothing_is(database: DocumentDatabase, value: Any) -> None:
    database.put("a", {"n": 0})
    before = last_etag(database)
    session = database.open_session()
    found = session.load("a")
    assert found is not None
    session.store({"n": 1}, "b")
    found["n"] = value
    with pytest.raises(InvalidDocument):
        session.save_changes()
    assert last_etag(database) == before
    found["n"] = 1
    session.metadata(found)["m"] = value
    with pytest.raises(InvalidDocument):
        session.save_changes()
    assert last_etag(database) == before
    session.metadata(found).clear()
    session.save_changes()
    assert (body(database, "a"), body(database, "b")) == (b'{"n":1}', b'{"n":1}')


def test_an_entity_may_change_while_the_session_goes_on(database: DocumentDatabase) -> None:
    session = database.open_session()
    counter = {"n": 0}
    session.store(counter, "a")
    for n in range(5):
        counter["n"] = n
        session.save_changes()
        assert body(database, "a") == b'{"n":%d}' % n
    assert last_etag(database) == 5


def test_many_entities(database: DocumentDatabase) -> None:
    session = database.open_session()
    for n in range(500):
        session.store(Order(f"{n}"))
    session.save_changes()
    assert len({document.etag for document in database.by_collection("Orders", limit=1000)}) == 500
    assert len({document.changed for document in database.by_collection("Orders", limit=1000)}) == 1


def test_the_session_of_a_numbered_entity_knows_only_what_it_stored(database: DocumentDatabase) -> None:
    """Objects that are garbage before they are stored may share an address; they are not taken for one another."""
    session = database.open_session()
    ids = [session.store(Order(f"{n}")) for n in range(100)]
    assert len(set(ids)) == 100
    for id in ids:
        session.delete(id)
    ids += [session.store(Order(f"{n}")) for n in range(100)]
    assert len(set(ids)) == 200
    session.save_changes()
    assert len(database.by_collection("Orders", limit=1000)) == 100


# Ids that were made


def test_a_new_object_never_takes_a_documents_place(database: DocumentDatabase) -> None:
    """Not even when the document came between the two."""
    with database.open_session() as session:
        id = session.store({"new": 1}, collection="Orders")
        database.put(id.upper(), {"mine": 1})
        with pytest.raises(ConcurrencyConflict, match="was expected at etag 0") as caught:
            session.save_changes()
        assert "new session" in caught.value.hint
    assert body(database, id) == b'{"mine":1}'
    with database.open_session() as session:
        assert session.store({"new": 2}, collection="Orders") == "orders/2"
        session.save_changes()
        session.store({"name": "mine"}, "orders/1", etag=etag(database, "orders/1"))
        session.save_changes()
    assert (body(database, "orders/1"), body(database, "orders/2")) == (b'{"name":"mine"}', b'{"new":2}')


def test_other_conflicts_say_to_load_again(database: DocumentDatabase) -> None:
    with database.open_session() as session:
        session.store({"new": 1}, collection="Orders")
        session.store({"new": 2}, "mine", etag=0)
        database.put("mine", {})
        with pytest.raises(ConcurrencyConflict, match="'mine'") as caught:
            session.save_changes()
        assert "load it again" in caught.value.hint
