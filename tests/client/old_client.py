"""Run by `test_old_client.py` in an environment that has pyravendb 3.5.4.3: RavenDB's own old client, at our server."""

from __future__ import annotations

import collections
import inspect
import sys
from typing import Any

# Python 3.11 has it no more, and pyravendb reads constructors with it.
Spec = collections.namedtuple("Spec", "args varargs keywords defaults")
inspect.getargspec = lambda function: Spec(*inspect.getfullargspec(function)[:4])  # type: ignore[attr-defined]

from pyravendb.custom_exceptions import exceptions  # type: ignore[import-not-found]  # noqa: E402
from pyravendb.data.indexes import IndexQuery  # type: ignore[import-not-found]  # noqa: E402
from pyravendb.store.document_store import documentstore  # type: ignore[import-not-found]  # noqa: E402


class Product:
    def __init__(self, name: str, price: Any = None) -> None:
        self.name = name
        self.price = price


def scenario(url: str) -> None:
    """Everything that the issue promises to programs that use it."""
    with documentstore(url, "OldShop") as store:
        store.initialize()  # which creates the database
        with store.open_session() as session:
            product = Product("Zoë's ½ & 100%", 1.5)
            session.store(product)
            session.store(Product("named"), "products/Ärger")
            session.save_changes()
        with store.open_session() as session:
            loaded = session.load("products/1", object_type=Product)
            assert (loaded.name, loaded.price) == ("Zoë's ½ & 100%", 1.5)
            first, missing = session.load(["products/Ärger", "nope"], object_type=Product)
            assert first.name == "named"
            assert missing is None
            loaded.price = 2
            session.save_changes()
        with store.open_session() as session:
            assert session.load("products/1", object_type=Product).price == 2
            session.delete("products/1")
            session.save_changes()
        with store.open_session(database="OldShop") as session:
            assert session.load("products/1") is None
        for _ in range(40):
            with store.open_session() as session:
                session.store(Product("many"))
                session.save_changes()
        queries(store)
        commands(store)
        store.database_commands.admin_commands.delete_database("OldShop", hard_delete=True)


def queries(store: Any) -> None:
    """Finding documents by what is in them."""
    with store.open_session() as session:
        for number in range(1, 6):
            session.store(Product(f"test10{number}", number), f"products/q{number}")
        session.save_changes()

    def names(build: Any) -> list[str]:
        with store.open_session() as session:  # of its own: the client adds to the last query of a session
            query = session.query(object_type=Product, wait_for_non_stale_results=True)
            return [found.name for found in build(query)]

    assert names(lambda q: q.where_equals("name", "TEST103")) == ["test103"]
    assert names(lambda q: q.where_equals("price", 4)) == ["test104"]
    assert names(lambda q: q.where_in("name", ["test101", "test105", "x y"])) == ["test101", "test105"]
    assert names(lambda q: q.where_between("price", 1, 4)) == ["test102", "test103"]
    assert names(lambda q: q.where_between_or_equal("price", 2, 3)) == ["test102", "test103"]
    assert names(lambda q: q.where_starts_with("name", "test1").order_by_descending("price"))[:2] == [
        "test105",
        "test104",
    ]
    assert names(lambda q: q.where_ends_with("name", "1")) == ["test101"]
    assert names(lambda q: q.where_equals("name", "test101").or_else().where_equals("price", 2)) == [
        "test101",
        "test102",
    ]
    assert len(names(lambda q: q.search("name", "many"))) == 40
    assert names(lambda q: q.where_greater_than("price", 4)) == ["test105"]
    assert names(lambda q: q.where_starts_with("name", "test1").add_not().where_equals("price", 3)) == [
        "test101",
        "test102",
        "test104",
        "test105",
    ]
    index = "dynamic/Products"
    answer = store.database_commands.query(index, IndexQuery("name:test10* AND price_Range:[Dx2 TO *]", page_size=2))
    assert (answer["TotalResults"], answer["IsStale"], len(answer["Results"])) == (4, False, 2)
    assert answer["IndexName"] == "Auto/Products/BynameAndprice"


def commands(store: Any) -> None:
    """The commands beneath the sessions."""
    database = store.database_commands
    database.put("a/1", {"n": 1}, {"Raven-Entity-Name": "A"})
    result = database.get("a/1")["Results"][0]
    assert result["n"] == 1
    assert result["@metadata"]["Raven-Entity-Name"] == "A"
    try:
        database.put("a/1", {"n": 2}, {}, etag="01000000-0000-0001-0000-0000000F0000")
    except exceptions.FetchConcurrencyException:
        pass
    else:
        raise AssertionError("a put with a stale etag was taken")
    database.delete("a/1")
    assert database.get("a/1")["Results"][0] is None
    assert database.admin_commands.get_store_statistics()["LoadedDatabases"] is not None


if __name__ == "__main__":
    scenario(sys.argv[1])
    print("done")
