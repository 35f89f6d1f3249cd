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
        commands(store)
        store.database_commands.admin_commands.delete_database("OldShop", hard_delete=True)


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
