"""RavenDB's client of today, PyPI's ravendb 7.2, uses our server; each step is looked at in the database.

The steps are in `ravendb7_program.py`, which runs once, in an environment of its own.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.client import DocumentStore
from muniment.document import Document
from muniment.maintenance import MaintenanceActions
from muniment.security.keys import new_key
from tests.client.environment import python_with
from tests.server.running import running
from tests.waiting import PATIENCE

PROGRAM = Path(__file__).with_name("ravendb7_program.py")
_numbers = count(1)


class Process:
    """The program while it runs."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [python_with("ravendb7"), PROGRAM, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def told(self, *asked: Any) -> dict[str, Any]:
        """What came of a step: a result, or an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(PATIENCE) == 0


class Program:
    """The program with a database of its own, which is seen by our own client too."""

    def __init__(self, process: Process, url: str, store: DocumentStore) -> None:
        self.url = url
        self.store = store
        self._process = process

    def does(self, step: str, *arguments: Any) -> Any:
        """What a step gives."""
        told = self._process.told(self.store.name, step, *arguments)
        assert "error" not in told, told
        return told["result"]

    def fails(self, step: str, error: str, *words: str, given: Sequence[Any] = ()) -> None:
        """A step fails with this exception of the client's, and these words in it."""
        told = self._process.told(self.store.name, step, *given)
        assert told.get("error") == error, told
        for word in words:
            assert word in told["message"], told


@pytest.fixture(scope="module")
def process(url: str) -> Iterator[Process]:
    process = Process(url)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture
def program(url: str, process: Process) -> Iterator[Program]:
    """The program with an empty database."""
    name = f"seven-{next(_numbers)}"
    with DocumentStore(url, name) as store:
        store.admin.create_database(name)
        yield Program(process, url, store)
        store.admin.delete_database(name, hard=True)


@pytest.fixture
def users(program: Program) -> Program:
    """The program with a database in which it has stored three users."""
    program.does("store_users")
    return program


@pytest.fixture
def orders(program: Program) -> Program:
    """The program with a database in which it has stored 20 orders and their customers."""
    program.does("store_orders")
    return program


def stored(program: Program, id: str) -> Document:
    document = program.store.get(id)
    assert document is not None
    return document


def body(program: Program, id: str) -> Any:
    document = program.store.get(id)
    return document and document.json()


def test_documents(program: Program) -> None:
    store = program.store
    ids, vector = program.does("store_users")
    assert ids == ["users/1-A", "users/2-A"]
    first, second, own, hilo = (stored(program, id) for id in (*ids, "users/Ärger/ü?&=+", "Raven/Hilo/users"))
    assert vector == f"A:{first.etag}-{store.statistics().lineage}"
    assert first.changed == second.changed == own.changed  # of one transaction
    assert first.json() == {"name": "Zoë ½ & 100%", "age": 31, "friend": None}
    assert first.collection == own.collection == "Users"
    assert first.metadata["Raven-Python-Type"].endswith("User")
    assert second.metadata["Owner"] == {"of": ["this", 1]}
    assert second.metadata["Own-Raven-Entity-Name"] == "a word of its own"
    assert hilo.json() == {"Max": 32}

    one, several, none, same, collection, type, modified = program.does("load_users")
    assert one == ["users/1-A", "Zoë ½ & 100%", 31]
    assert several == [["users/2-A", "Bob", 42], ["users/Ärger/ü?&=+", "Ärger", 5]]
    assert none is None
    assert same
    assert collection == "Users"
    assert type == first.metadata["Raven-Python-Type"]
    assert modified[:26] == first.changed.isoformat()[:26]
    assert program.does("load_many_users") == [one]

    assert program.does("change_user") == [["this", 1], "a word of its own"]
    changed = stored(program, "users/2-A")
    assert changed.json()["age"] == 43
    assert changed.metadata == second.metadata
    assert changed.changed > second.changed

    assert program.does("include_friend") == [one, 0]
    assert program.does("load_by_prefix") == [["users/1-A", "users/2-A", "users/Ärger/ü?&=+"], ["users/2-A"]]
    assert program.does("conditional_load") == [[True, False], None, one, True]
    assert program.does("cached_load")[-2:] == [304, 304]


def test_of_two_changes_to_a_document_one_fails(users: Program) -> None:
    users.fails("conflict", "ConcurrencyException", "users/1-A")
    assert body(users, "users/1-A")["age"] == 32
    assert body(users, "users/never") is None
    users.fails("conflict_of_new_ones", "ConcurrencyException", "users/1-A")
    assert body(users, "users/1-A")["age"] == 32


def test_deletion(users: Program) -> None:
    assert users.does("delete_user") is None
    assert body(users, "users/2-A") is None
    assert body(users, "users/1-A")


def test_ids_with_a_number_of_the_server(program: Program) -> None:
    assert program.does("numbered_ids") == ["members/1", "members/2"]
    assert body(program, "members/2")["name"] == "second"


def test_documents_of_clients_of_ravendb_3(program: Program) -> None:
    program.store.put("users/of-3", {"name": "Of 3", "age": 3}, {"Raven-Entity-Name": "Users", "Owner": "me"})
    assert program.does("read_other_documents") == [["users/of-3", "Of 3", 3], "Users", "me", False]


def test_what_is_refused_is_named(users: Program) -> None:
    users.fails("cluster_transaction", "RavenException", "ClusterWide")
    users.fails("counters", "RavenException", "counters", "not supported")
    users.fails("missing_database", "DatabaseDoesNotExistException", "nowhere")
    assert body(users, "users/never") is None


def test_attachments(users: Program) -> None:
    store = users.store
    names, same, details, exists, other = users.does("attach")
    assert names == [["notes.txt", 5, "text/plain"], ["Ä photo.png", 4000, "image/png"]]
    assert same
    assert details == ["Ä photo.png", 4000, "image/png", "users/pictured"]
    assert (exists, other) == (True, False)
    notes = store.get_attachment("notes.txt", owner="users/pictured")
    assert notes
    assert notes.read() == b"notes"

    assert users.does("change_attachments") == ["photo.png"]
    assert [each.key for each in store.attachments()] == ["users/1-A/copy.txt"]  # the others went with their document
    copy = store.get_attachment("copy.txt", owner="users/1-A")
    assert copy
    assert copy.read() == b"notes"

    before = stored(users, "users/1-A")
    name, size, type, owner, hash, large = users.does("attach_by_operation")
    assert (name, size, type, owner, large) == ("by operation", 7, "text/plain", "users/1-A", 2_500_000)
    content = store.get_attachment("by operation", owner="users/1-A")
    assert content
    assert content.read() == b"content"
    assert base64.b64decode(hash).hex() == content.sha256
    assert {each.name for each in store.attachments()} == {"by operation", "large"}
    content = store.get_attachment("large", owner="users/1-A")
    assert content
    assert content.read() == b"large" * 500_000
    after = stored(users, "users/1-A")
    assert (after.body, after.metadata) == (before.body, before.metadata)
    assert after.etag > before.etag  # so that others see that something has changed
    users.fails("attach_to_nothing", "DocumentDoesNotExistException", "users/none")


def test_statistics(users: Program) -> None:
    documents, attachments, etag, collections, build = users.does("statistics")
    found = users.store.statistics()
    assert (documents, attachments, etag) == (found.documents, found.attachments, found.last_etag)
    assert collections == {name or "@empty": count for name, count in found.collections.items()}
    assert build == 72000


def test_databases(program: Program) -> None:
    made_by = f"{program.store.name}-made"
    made, name, disabled, listed, states, there = program.does("databases", made_by)
    assert (made, name, disabled, listed, states) == (made_by, made_by, False, True, [True, False])
    assert there == ["users/there", "there", 1]
    with DocumentStore(program.url, made_by) as other:
        assert other.get("users/there")
    program.fails("create_database_again", "ConcurrencyException", "exists already")
    assert program.does("delete_database", made_by) == [None, False]
    program.fails("delete_missing_database", "DatabaseDoesNotExistException")


def test_backup_and_restore(users: Program) -> None:
    count, folder = users.does("back_up", f"~/Backups/{users.store.name}")
    found = users.store.statistics()
    assert count == found.documents
    assert Path(folder).parent.parts[-2:] == ("Backups", users.store.name)
    MaintenanceActions.verify(Path(folder).parent)
    for number, location in enumerate((f"~/Backups/{users.store.name}", folder)):
        name = f"{users.store.name}-again-{number}"
        assert users.does("restore", name, location) == ["users/1-A", "Zoë ½ & 100%", 31]
        with DocumentStore(users.url, name) as again:
            assert again.statistics().fingerprint == found.fingerprint
            again.admin.delete_database(name, hard=True)
    users.fails("back_up_as_a_snapshot", "RavenException", "Snapshot")
    users.fails("restore_from_nowhere", "RavenException", "nowhere")


def test_dumps(users: Program, tmp_path: Path) -> None:
    users.does("attach_by_operation")
    dump, imported = str(tmp_path / "a.ravendbdump"), f"{users.store.name}-imported"
    found = users.store.statistics()
    documents, attachments = users.does("export", dump)
    assert attachments == found.attachments
    with DocumentDatabase(tmp_path / "imported") as database:
        summary = database.import_dump(dump)
        assert (summary.documents, summary.attachments) == (documents, attachments)
    assert users.does("import_dump", dump, imported) == [
        documents,
        attachments,
        ["users/1-A", "Zoë ½ & 100%", 31],
    ]
    with DocumentStore(users.url, imported) as again:
        assert again.statistics().collections == found.collections
        again.admin.delete_database(imported, hard=True)
    users.fails("import_nonsense", "RavenException", "dump")
    part = str(tmp_path / "part.ravendbdump")
    carried = found.collections["Users"] + 1  # with Raven/Hilo/users, by which their ids go on
    assert users.does("export_part", part) == carried
    with DocumentDatabase(tmp_path / "part") as database:
        database.import_dump(part)
        assert database.statistics().collections == {"Users": carried - 1, "": 1}
        changed = database.get("users/1-A")
        assert changed
        assert changed.json()["seen"] is True


def test_queries(orders: Program) -> None:
    assert stored(orders, "orders/7").collection == "Orders"
    assert orders.does("query_collection") == [20, 20, 11, [5, 6, 7]]
    assert orders.does("query_fields") == {
        "equal": [1, 5, 9, 13, 17],
        "nested": [0, 2, 4],
        "in": [1, 2],
        "between": [3, 4, 5],
        "starts": [3, 7, 11, 15, 19],
        "lines": [11, 14, 17],
        "or": [1, 2],
        "not": [17, 19],
        "ids": [7, 8],
        "search": [0, 1, 2, 3],
    }
    assert orders.does("query_counts") == [19, 10, 20, False, "collection/Orders"]
    assert orders.does("query_with_includes") == [["customer 0", "customer 1", "customer 2"], 0]
    assert orders.does("query_projection") == [[0, "customers/0"], [1, "customers/1"]]
    orders.does("query_changes")
    assert {body(orders, f"orders/{number}")["customer"] for number in (18, 19)} == {"customers/0"}
    orders.fails("query_wrongly", "RavenException", "column 26")
    orders.fails("query_by_script", "RavenException", "column")
    orders.fails("facets", "RavenException", "facet() is not evaluated")
    assert orders.store.statistics().collections["Orders"] == 20


def test_patches(users: Program) -> None:
    before = stored(users, "users/1-A")
    age, added, statuses, by_pointer = users.does("patch")
    assert (age, added) == (33, 31)
    assert statuses == ["Patched", "NotModified", "None", "Created", "Skipped"]
    assert by_pointer == "Patched"
    assert body(users, "users/1-A") == {"name": "Zoë ½ & 100%", "age": 43, "friend": "users/1-A"}
    assert body(users, "users/2-A") == {"name": "Robert", "age": 7, "friend": "users/1-A"}
    assert (stored(users, "logs/1").collection, body(users, "logs/1")) == ("Logs", {"of": 10})
    assert stored(users, "users/1-A").metadata == before.metadata
    assert (body(users, "users/made"), body(users, "users/none")) == ({"name": "made"}, None)
    users.fails("patch_wrongly", "RavenException", "users/1-A", "nothing")
    assert body(users, "users/1-A")["age"] == 43


def test_changes_by_query(orders: Program) -> None:
    told = orders.does("patch_by_query")
    assert (told["Status"], told["Result"]["Total"], told["Progress"]["Processed"]) == ("Completed", 5, 5)
    assert [body(orders, f"orders/{n}").get("seen") for n in (0, 4, 5)] == [5, 5, None]
    assert body(orders, "orders/0")["address"] is None
    orders.fails("patch_by_query_wrongly", "RavenException", "expected update", given=["from Orders"])
    orders.fails(
        "patch_by_query_wrongly", "RavenException", "limit", given=["from Orders limit 3 update { this.x = 1 }"]
    )
    orders.fails("patch_by_query_wrongly", "RavenException", "thrown", given=["from Orders update { throw 'thrown' }"])
    orders.store.put_attachment("a", b"content", owner="orders/3")
    assert orders.does("delete_by_query", "from Orders where number between 2 and 4") == 3
    assert [body(orders, f"orders/{n}") is None for n in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    assert not list(orders.store.attachments())
    orders.fails("delete_by_query", "IndexDoesNotExistException", "None", given=["from index 'None'"])
    orders.fails("delete_by_query", "RavenException", "limit", given=["from Orders limit 1"])
    orders.fails("delete_by_query", "RavenException", "column 13", given=["from Orders ~"])
    assert orders.store.statistics().collections["Orders"] == 17


def test_indexes_by_their_names(orders: Program) -> None:
    assert orders.does("indexes") == {
        "names": ["Orders/ByCustomer", "Orders/ByProduct", "Own"],
        "map": ["from o in docs.Orders select new { o.customer, city = o.address.city, count = o.lines.Count }"],
        "changed": [False, False, True],
        "stats": ["Orders/ByCustomer", 20, False, 1],
        "errors": [["Orders/ByCustomer", 1], ["Orders/ByProduct", 0], ["Own", 1]],
        "states": ["Normal", "Normal", "Error"],
        "rest": ["Orders/ByCustomer", "Orders/ByProduct"],
        "none": None,
    }
    kept = body(orders, "Raven/Indexes/Orders/ByProduct")
    assert (kept["Type"], kept["IndexDefinition"]["Name"]) == ("JavaScriptMap", "Orders/ByProduct")
    assert orders.does("query_indexes") == {
        "type": 10,
        "name": [19, 16],
        "told": ["Orders/ByProduct", False, 7],
        "raw": [1, 5, 9, 13, 17],
        "requests": 0,
        "streamed": 7,
    }
    wrong = "query_index_wrongly"
    orders.fails(wrong, "IndexDoesNotExistException", "no index 'None'", given=["from index 'None'"])
    count = "from index 'Orders/ByCustomer' where count > 1"
    orders.fails(wrong, "RavenException", "is computed: o.lines.Count", given=[count])
    assert orders.does("terms") == [f"customers/{number}" for number in range(4)]


def test_several_requests_in_one(orders: Program) -> None:
    assert orders.does("lazily") == [1, None, [2, 3], [0, 1, 2, 3], 11, 1]


def test_streams(orders: Program) -> None:
    numbers, ids = orders.does("stream")
    assert numbers == list(range(15))
    assert ids == ["orders/1", *(f"orders/{number}" for number in range(10, 20))]


@pytest.mark.parametrize("compressed", [False, True])
def test_bulk_insert(program: Program, compressed: bool) -> None:
    assert program.does("insert_in_bulk", 2500, compressed) == "users/1-A"
    found = program.store.statistics()
    assert found.collections == {"Users": 2501, "": 1}
    last = stored(program, "users/2499")
    assert last.json()["name"] == "ü 2499"
    assert last.metadata["Raven-Python-Type"].endswith("User")


def test_a_bulk_insert_that_fails_keeps_what_came_before(program: Program) -> None:
    program.fails("insert_wrongly", "BulkInsertAbortedException")
    assert program.store.statistics().collections == {"Users": 1000}


def test_a_server_that_wants_a_key(program: Program, tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        server.create("shop")
        boss, app, reader = (
            new_key(name, [right], databases)
            for name, right, databases in (("boss", "admin", []), ("app", "write", ["shop"]), ("me", "read", ["shop"]))
        )
        for key, _ in (boss, app, reader):
            headers = {} if key is boss[0] else {"Authorization": f"Bearer {boss[1]}"}
            assert server.client.put(f"/docs/{key.id}", content=key.encoded(), headers=headers).status_code == 201
        assert program.does("with_key", server.url, app[1]) == ["users/1-A", "with a key", 1]
        program.fails("with_key", "AuthorizationException", "'me' may not", given=[server.url, reader[1]])
        program.fails("with_key", "RavenException", "needs a key", given=[server.url, None])
        program.fails("with_key", "RavenException", "401", given=[server.url, "app/wrong"])


def test_a_disabled_database_says_so(users: Program) -> None:
    users.fails("of_a_disabled_database", "RavenException", "is disabled", given=[users.store.name])
    assert users.does("load_users")[0] == ["users/1-A", "Zoë ½ & 100%", 31]


def test_the_example(url: str) -> None:
    program = Path(__file__).parents[2] / "examples" / "ravendb7.py"
    command = [python_with("ravendb7"), str(program), url, "~/Backups/example"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "orders/1-A 13.0 invoice.txt",
        "orders/3-A 7.25",
        "backed up into ~/Backups/example",
        "restored: 13.0 13.00",
        "deleted: None",
    ]
