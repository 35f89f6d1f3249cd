"""Run by `test_ravendb7_client.py` in an environment that has PyPI's ravendb 7.2: RavenDB's own client, at our server.

It reads the names of steps, one a line, does each, and writes what came of it as a line of JSON, so that the test can
look at the database between them. What a step does is what any program with this client would.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ravendb import (  # type: ignore[import-not-found]
    CreateDatabaseOperation,
    DeleteAttachmentOperation,
    DeleteDatabaseOperation,
    DocumentStore,
    GetCollectionStatisticsOperation,
    GetDatabaseRecordOperation,
    GetStatisticsOperation,
    PutAttachmentOperation,
)
from ravendb.documents.bulk_insert_operation import BulkInsertOptions  # type: ignore[import-not-found]
from ravendb.documents.indexes.abstract_index_creation_tasks import (  # type: ignore[import-not-found]
    AbstractIndexCreationTask,
    AbstractJavaScriptIndexCreationTask,
)
from ravendb.documents.indexes.definitions import IndexDefinition  # type: ignore[import-not-found]
from ravendb.documents.operations.backups.settings import (  # type: ignore[import-not-found]
    BackupConfiguration,
    BackupType,
    LocalSettings,
)
from ravendb.documents.operations.indexes import (  # type: ignore[import-not-found]
    DeleteIndexOperation,
    GetIndexErrorsOperation,
    GetIndexesOperation,
    GetIndexesStatisticsOperation,
    GetIndexNamesOperation,
    GetIndexOperation,
    GetIndexStatisticsOperation,
    GetTermsOperation,
    IndexHasChangedOperation,
    PutIndexesOperation,
    ResetIndexOperation,
)
from ravendb.documents.operations.json_patch import (  # type: ignore[import-not-found]
    JsonPatchDocument,
    JsonPatchOperation,
)
from ravendb.documents.operations.misc import DeleteByQueryOperation  # type: ignore[import-not-found]
from ravendb.documents.operations.patch import (  # type: ignore[import-not-found]
    PatchByQueryOperation,
    PatchOperation,
    PatchRequest,
)
from ravendb.documents.operations.server_misc import ToggleDatabasesStateOperation  # type: ignore[import-not-found]
from ravendb.documents.smuggler.common import (  # type: ignore[import-not-found]
    DatabaseItemType,
    DatabaseSmugglerExportOptions,
    DatabaseSmugglerImportOptions,
)
from ravendb.json.metadata_as_dictionary import MetadataAsDictionary  # type: ignore[import-not-found]
from ravendb.serverwide.database_record import DatabaseRecord  # type: ignore[import-not-found]
from ravendb.serverwide.operations.common import (  # type: ignore[import-not-found]
    GetBuildNumberOperation,
    GetDatabaseNamesOperation,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from ravendb7 import BackUp, Restore  # type: ignore[import-not-found]

STEPS: dict[str, Any] = {}


def step(function: Any) -> Any:
    STEPS[function.__name__] = function
    return function


class Address:
    def __init__(self, city: str | None = None) -> None:
        self.city = city


class User:
    def __init__(self, name: str | None = None, age: int | None = None, friend: str | None = None) -> None:
        self.Id: str | None = None
        self.name = name
        self.age = age
        self.friend = friend


def shown(user: User | None) -> Any:
    return user and [user.Id, user.name, user.age]


@step
def store_users(store: Any) -> Any:
    """A session's documents are stored in one transaction, with ids that the server's HiLo has given and own ones."""
    with store.open_session() as session:
        users = [User("Zoë ½ & 100%", 31), User("Bob", 42)]
        for user in users:
            session.store(user)
        session.store(User("Ärger", 5, friend="users/1-A"), "users/Ärger/ü?&=+")
        metadata = session.advanced.get_metadata_for(users[1])
        metadata["Owner"] = {"of": ["this", 1]}
        metadata["Raven-Entity-Name"] = "a word of its own"
        session.save_changes()
        return [user.Id for user in users], session.advanced.get_change_vector_for(users[0])


@step
def load_users(store: Any) -> Any:
    with store.open_session() as session:
        one = session.load("users/1-A", User)
        several = session.load(["users/2-A", "users/none", "users/Ärger/ü?&=+"], User)
        same = session.load("USERS/1-a", User) is one
        metadata = session.advanced.get_metadata_for(one)
        return (
            shown(one),
            sorted(shown(user) for user in several.values() if user),
            session.load("users/none", User),
            same,
            metadata["@collection"],
            metadata["Raven-Python-Type"],
            session.advanced.get_last_modified_for(one).isoformat(),
        )


@step
def load_many_users(store: Any) -> Any:
    """So many ids that the client sends them in a body."""
    with store.open_session() as session:
        found = session.load([f"users/{'x' * 50}{n}" for n in range(30)] + ["users/1-A"], User)
        return [shown(user) for user in found.values() if user]


@step
def change_user(store: Any) -> Any:
    with store.open_session() as session:
        user = session.load("users/2-A", User)
        user.age += 1
        session.save_changes()
        metadata = session.advanced.get_metadata_for(user)
        return metadata["Owner"]["of"], metadata["Raven-Entity-Name"]


@step
def include_friend(store: Any) -> Any:
    """The second load is answered from what the first has brought along."""
    with store.open_session() as session:
        session.include("friend").load("users/Ärger/ü?&=+", User)
        before = session.advanced.number_of_requests
        friend = session.load("users/1-A", User)
        return shown(friend), session.advanced.number_of_requests - before


@step
def load_by_prefix(store: Any) -> Any:
    with store.open_session() as session:
        found = session.advanced.load_starting_with("users/", User)
        some = session.advanced.load_starting_with("users/", User, matches="*-A", exclude="1*", start=0, page_size=5)
        return [user.Id for user in found], [user.Id for user in some]


@step
def conflict(store: Any) -> Any:
    """Of two sessions that change a document, the second one fails and changes nothing."""
    with store.open_session() as first, store.open_session() as second:
        second.advanced.use_optimistic_concurrency = True
        mine, other = first.load("users/1-A", User), second.load("users/1-A", User)
        mine.age = 32
        first.save_changes()
        other.age = 99
        second.store(User("never", 1), "users/never")
        second.save_changes()


@step
def conflict_of_new_ones(store: Any) -> Any:
    with store.open_session() as session:
        session.advanced.use_optimistic_concurrency = True
        session.store(User("another", 1), "users/1-A")
        session.save_changes()


@step
def delete_user(store: Any) -> Any:
    with store.open_session() as session:
        session.delete(session.load("users/2-A", User))
        session.delete("users/none")
        session.save_changes()
        return session.load("users/2-A", User)


@step
def conditional_load(store: Any) -> Any:
    with store.open_session() as session:
        user = session.load("users/1-A", User)
        vector = session.advanced.get_change_vector_for(user)
        exists = session.advanced.exists("users/1-A"), session.advanced.exists("users/none")
    with store.open_session() as session:
        again = session.advanced.conditional_load("users/1-A", vector, User)
        other = session.advanced.conditional_load("users/1-A", vector.replace("A:", "A:9"), User)
        return exists, again.entity, shown(other.entity), other.change_vector.strip('"') == vector


@step
def numbered_ids(store: Any) -> Any:
    """Ids that the server completes."""
    with store.open_session() as session:
        users = [User("first", 1), User("second", 2)]
        session.store(users[0], "members|")
        session.store(users[1], "members/")
        session.save_changes()
        return [user.Id for user in users]


@step
def read_other_documents(store: Any) -> Any:
    """What RavenDB 3's client has stored."""
    with store.open_session() as session:
        user = session.load("users/of-3", User)
        metadata = session.advanced.get_metadata_for(user)
        return shown(user), metadata["@collection"], metadata["Owner"], "Raven-Entity-Name" in metadata


@step
def cached_load(store: Any) -> Any:
    """The client asks again with what it has, and is told that it is the same."""
    statuses: list[int] = []
    store.get_request_executor().add_on_succeed_request(lambda args: statuses.append(args.response.status_code))
    for _ in range(2):
        with store.open_session() as session:
            session.load("users/1-A", User)
    return statuses


@step
def cluster_transaction(store: Any) -> Any:
    from ravendb import SessionOptions, TransactionMode

    with store.open_session(session_options=SessionOptions(transaction_mode=TransactionMode.CLUSTER_WIDE)) as session:
        session.store(User("never", 1), "users/never")
        session.save_changes()


@step
def patch(store: Any) -> Any:
    """By scripts and by RFC 6902, in sessions and by operations."""
    with store.open_session() as session:
        user = session.load("users/1-A", User)
        session.advanced.increment("users/1-A", "age", 2)
        session.save_changes()
        session.advanced.patch("users/2-A", "name", "Robert")
        session.advanced.patch("users/2-A", "friend", "users/1-A")
        session.save_changes()
        for age in (30, 31):
            session.advanced.add_or_patch("users/added", User("Ada", 30), "age", age)
            session.save_changes()
    with store.open_session() as session:
        added = session.load("users/added", User).age
        age = user.age
    script = PatchRequest.for_script("""
        this.age += args.more;
        this.friend = id(this);
        put("logs/1", { of: $more, "@metadata": { "@collection": "Logs" } });
    """)
    script.values = {"more": 10}
    send = store.operations.send
    done = [
        send(PatchOperation("users/1-A", None, script)),
        send(PatchOperation("users/1-A", None, PatchRequest.for_script("this.age = this.age"))),
        send(PatchOperation("users/none", None, script)),
        send(PatchOperation("users/made", None, script, PatchRequest.for_script("this.name = 'made'"))),
        send(PatchOperation("users/1-A", "A:1-other", script, skip_patch_if_change_vector_mismatch=True)),
    ]
    by_pointer = send(JsonPatchOperation("users/2-A", JsonPatchDocument().test("/name", "Robert").replace("/age", 7)))
    return age, added, [str(getattr(each, "status", each)) for each in done], str(by_pointer.status)


@step
def patch_wrongly(store: Any) -> Any:
    store.operations.send(PatchOperation("users/1-A", None, PatchRequest.for_script("this.age = nothing;")))


@step
def counters(store: Any) -> Any:
    with store.open_session() as session:
        return session.counters_for("users/1-A").get("likes")


@step
def missing_database(store: Any) -> Any:
    with DocumentStore(store.urls, "nowhere") as other:
        other.initialize()
        with other.open_session() as session:
            session.load("users/1-A", User)


@step
def back_up(store: Any, folder: str) -> Any:
    settings = LocalSettings(folder_path=folder)
    operation = store.maintenance.send_async(BackUp(BackupConfiguration(local_settings=settings)))
    operation.wait_for_completion()
    result = operation.fetch_operations_status()["Result"]
    return result["Documents"]["ReadCount"], result["LocalBackup"]["BackupDirectory"]


@step
def restore(store: Any, name: str, location: str) -> Any:
    store.maintenance.server.send_async(Restore(name, location)).wait_for_completion()
    with store.open_session(database=name) as session:
        return shown(session.load("users/1-A", User))


@step
def back_up_as_a_snapshot(store: Any) -> Any:
    settings = LocalSettings(folder_path="x")
    store.maintenance.send_async(BackUp(BackupConfiguration(BackupType.SNAPSHOT, local_settings=settings)))


@step
def restore_from_nowhere(store: Any) -> Any:
    store.maintenance.server.send_async(Restore("never", "~/Backups/nowhere"))


@step
def attach(store: Any) -> Any:
    """Attachments come with the document that they are saved with, and go with it."""
    with store.open_session() as session:
        user = User("Pictured", 7)
        session.store(user, "users/pictured")
        session.advanced.attachments.store("users/pictured", "Ä photo.png", b"\x89PNG" * 1000, "image/png")
        session.advanced.attachments.store(user, "notes.txt", b"notes", "text/plain")
        session.save_changes()
    with store.open_session() as session:
        user = session.load("users/pictured", User)
        names = [[each.name, each.size, each.content_type] for each in session.advanced.attachments.get_names(user)]
        with session.advanced.attachments.get(user, "Ä photo.png") as got:
            content, details = got.data, got.details
        return (
            names,
            content == b"\x89PNG" * 1000,
            [details.name, int(details.size), details.content_type, details.document_id],
            session.advanced.attachments.exists("users/pictured", "notes.txt"),
            session.advanced.attachments.exists("users/pictured", "nothing"),
        )


@step
def change_attachments(store: Any) -> Any:
    with store.open_session() as session:
        user = session.load("users/pictured", User)
        session.advanced.attachments.copy(user, "notes.txt", session.load("users/1-A", User), "copy.txt")
        session.advanced.attachments.rename(user, "Ä photo.png", "photo.png")
        session.advanced.attachments.delete(user, "notes.txt")
        session.save_changes()
    with store.open_session() as session:
        user = session.load("users/pictured", User)
        names = [each.name for each in session.advanced.attachments.get_names(user)]
        session.delete(user)
        session.save_changes()
        return names


@step
def attach_by_operation(store: Any) -> Any:
    put = PutAttachmentOperation("users/1-A", "by operation", b"content", "text/plain", None)
    result = store.operations.send(put)
    parts = (b"large" * 100_000 for _ in range(5))
    size = store.operations.send(PutAttachmentOperation("users/1-A", "large", parts, "application/x", None)).size
    store.operations.send(DeleteAttachmentOperation("users/1-A", "copy.txt"))
    return result.name, result.size, result.content_type, result.document_id, result.hash, size


@step
def attach_to_nothing(store: Any) -> Any:
    store.operations.send(PutAttachmentOperation("users/none", "x", b"content", "text/plain", None))


@step
def databases(store: Any, name: str) -> Any:
    """A database is made, used, disabled and deleted."""
    server = store.maintenance.server
    made = server.send(CreateDatabaseOperation(DatabaseRecord(name)))
    with store.open_session(database=name) as session:
        session.store(User("there", 1), "users/there")
        session.save_changes()
    record = server.send(GetDatabaseRecordOperation(name))
    names = server.send(GetDatabaseNamesOperation(0, 100))
    states = [server.send(ToggleDatabasesStateOperation(name, disable=disable)).disabled for disable in (True, False)]
    with store.open_session(database=name) as session:
        there = shown(session.load("users/there", User))
    return made.name, record.database_name, record.disabled, name in names, states, there


@step
def create_database_again(store: Any) -> Any:
    store.maintenance.server.send(CreateDatabaseOperation(DatabaseRecord(store.database)))


@step
def delete_database(store: Any, name: str) -> Any:
    server = store.maintenance.server
    server.send(DeleteDatabaseOperation(name, hard_delete=True))
    return server.send(GetDatabaseRecordOperation(name)), name in server.send(GetDatabaseNamesOperation(0, 100))


@step
def delete_missing_database(store: Any) -> Any:
    store.maintenance.server.send(DeleteDatabaseOperation("nowhere", hard_delete=True))


@step
def statistics(store: Any) -> Any:
    found = store.maintenance.send(GetStatisticsOperation())
    collections = store.maintenance.send(GetCollectionStatisticsOperation())
    build = store.maintenance.server.send(GetBuildNumberOperation())
    return (
        found.count_of_documents,
        found.count_of_attachments,
        found.last_doc_etag,
        collections.collections,
        build.build_version,
    )


@step
def export(store: Any, file: str) -> Any:
    result = store.smuggler.export(DatabaseSmugglerExportOptions(), file).wait_for_completion()
    return result.documents.read_count, result.documents.attachments.read_count


@step
def import_dump(store: Any, file: str, name: str) -> Any:
    store.maintenance.server.send(CreateDatabaseOperation(DatabaseRecord(name)))
    smuggler = store.smuggler.for_database(name)
    result = smuggler.import_data(DatabaseSmugglerImportOptions(), file).wait_for_completion()
    with store.open_session(database=name) as session:
        return (
            result.documents.read_count,
            result.documents.attachments.read_count,
            shown(session.load("users/1-A", User)),
        )


@step
def import_nonsense(store: Any) -> Any:
    with tempfile.TemporaryFile() as file:
        file.write(b"nonsense")
        file.seek(0)
        store.smuggler.import_data(DatabaseSmugglerImportOptions(), file).wait_for_completion()


@step
def export_part(store: Any, file: str) -> Any:
    options = DatabaseSmugglerExportOptions(operate_on_types={DatabaseItemType.DOCUMENTS}, collections=["Users"])
    options.transform_script = "function (doc) { doc.seen = true; return doc; }"
    return store.smuggler.export(options, file).wait_for_completion().documents.read_count


class Order:
    def __init__(self, number: Any = None, customer: Any = None, address: Any = None, lines: Any = None) -> None:
        self.number = number
        self.customer = customer
        self.address = address
        self.lines = lines


@step
def store_orders(store: Any) -> Any:
    with store.open_session() as session:
        for number in range(20):
            lines = [{"product": f"products/{number % 3}", "price": number * 1.5}]
            order = Order(number, f"customers/{number % 4}", {"city": ["Köln", "Rom"][number % 2]}, lines)
            session.store(order, f"orders/{number}")
        for number in range(4):
            session.store(User(f"customer {number}", number), f"customers/{number}")
        session.save_changes()


@step
def query_collection(store: Any) -> Any:
    with store.open_session() as session:
        everything = list(session.query_collection("Orders", Order))
        by_type = list(session.query(object_type=Order))
        raw = list(session.advanced.raw_query("from @all_docs where startsWith(id(), 'orders/1')", Order))
        page = list(session.query(object_type=Order).order_by("number").skip(5).take(3))
        return len(everything), len(by_type), len(raw), [order.number for order in page]


@step
def query_fields(store: Any) -> Any:
    with store.open_session() as session:

        def numbers(query: Any) -> list[int]:
            return sorted(order.number for order in query)

        def orders() -> Any:
            return session.query(object_type=Order)

        return {
            "equal": numbers(orders().where_equals("customer", "customers/1")),
            "nested": numbers(orders().where_equals("address.city", "köln").where_less_than("number", 5)),
            "in": numbers(orders().where_in("number", [1, 2, 99])),
            "between": numbers(orders().where_between("number", 3, 5)),
            "starts": numbers(orders().where_starts_with("customer", "customers/3")),
            "lines": numbers(orders().where_equals("lines[].product", "products/2").where_greater_than("number", 10)),
            "or": numbers(orders().where_equals("number", 1).or_else().where_equals("number", 2)),
            "not": numbers(orders().where_greater_than("number", 16).and_also().not_().where_equals("number", 18)),
            "ids": numbers(
                session.advanced.raw_query("from Orders where id() in ($ids)", Order).add_parameter(
                    "ids", ["orders/7", "orders/8", "nothing"]
                )
            ),
            "search": sorted(user.age for user in session.query(object_type=User).search("name", "customer")),
        }


@step
def query_counts(store: Any) -> Any:
    with store.open_session() as session:
        query = session.query(object_type=Order).where_greater_than("number", 15).order_by_descending("number")
        first = query.first()
        count = session.query(object_type=Order).where_equals("address.city", "Rom").count()
        statistics: list[Any] = []
        list(session.query(object_type=Order).statistics(statistics.append).take(2))
        [told] = statistics
        return first.number, count, told.total_results, told.is_stale, told.index_name


@step
def query_with_includes(store: Any) -> Any:
    with store.open_session() as session:
        orders = list(session.query(object_type=Order).where_less_than("number", 3).include("customer"))
        before = session.advanced.number_of_requests
        names = sorted(session.load(order.customer, User).name for order in orders)
        return names, session.advanced.number_of_requests - before


@step
def query_projection(store: Any) -> Any:
    class Part:
        def __init__(self, number: int | None = None, customer: str | None = None) -> None:
            self.number = number
            self.customer = customer

    with store.open_session() as session:
        query = session.query(object_type=Order).where_less_than("number", 2).order_by("number")
        parts = list(query.select_fields(Part, "number", "customer"))
        return [[part.number, part.customer] for part in parts]


@step
def query_changes(store: Any) -> Any:
    """What was found is loaded, and is saved when it has changed."""
    with store.open_session() as session:
        for order in session.query(object_type=Order).where_greater_than_or_equal("number", 18):
            order.customer = "customers/0"
        session.save_changes()


@step
def lazily(store: Any) -> Any:
    """Several loads and a query in one request."""
    with store.open_session() as session:
        before = session.advanced.number_of_requests
        one = session.advanced.lazily.load("orders/1", Order)
        none = session.advanced.lazily.load("orders/none", Order)
        several = session.advanced.lazily.load(["orders/2", "orders/3"], Order)
        found = session.query(object_type=Order).where_less_than("number", 4).lazily()
        starting = session.advanced.lazily.load_starting_with("orders/1", Order)
        session.advanced.eagerly.execute_all_pending_lazy_operations()
        requests = session.advanced.number_of_requests - before
        return (
            one.value.number,
            none.value,
            sorted(order.number for order in several.value.values()),
            sorted(order.number for order in found.value),
            len(starting.value),
            requests,
        )


@step
def stream(store: Any) -> Any:
    with store.open_session() as session:
        query = session.query(object_type=Order).where_less_than("number", 15).order_by("number")
        numbers = [each.document.number for each in session.advanced.stream(query)]
        ids = [each.key for each in session.advanced.stream_starting_with("orders/1", object_type=Order)]
        return numbers, ids


@step
def query_wrongly(store: Any) -> Any:
    with store.open_session() as session:
        list(session.advanced.raw_query("from Orders where number ~ 1", Order))


@step
def query_by_script(store: Any) -> Any:
    with store.open_session() as session:
        list(session.advanced.raw_query("from Orders as o select { x: o.number }", Order))


@step
def patch_by_query(store: Any) -> Any:
    from ravendb.documents.queries.index_query import IndexQuery  # type: ignore[import-not-found]

    query = IndexQuery("from Orders as o where o.number < $most update { o.address = null; this.seen = $most; }")
    query.query_parameters = {"most": 5}
    operation = store.operations.send_async(PatchByQueryOperation(query))
    operation.wait_for_completion()
    return operation.fetch_operations_status()


@step
def patch_by_query_wrongly(store: Any, text: str) -> Any:
    store.operations.send_async(PatchByQueryOperation(text)).wait_for_completion()


@step
def delete_by_query(store: Any, text: str) -> Any:
    operation = store.operations.send_async(DeleteByQueryOperation(text))
    operation.wait_for_completion()
    return operation.fetch_operations_status()["Result"]["Total"]


class Orders_ByCustomer(AbstractIndexCreationTask):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.map = "from o in docs.Orders select new { o.customer, city = o.address.city, count = o.lines.Count }"


class Orders_ByProduct(AbstractJavaScriptIndexCreationTask):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.maps = {"map('Orders', o => ({ product: o.lines.map(l => l.product), number: o.number }))"}


@step
def indexes(store: Any) -> Any:
    """Made as programs do, and asked by their names; `count` of the first is computed, and so an error of it."""
    send = store.maintenance.send
    Orders_ByCustomer().execute(store)
    Orders_ByProduct().execute(store)
    own = IndexDefinition()
    own.name, own.maps = "Own", "from o in docs.Orders where o.number > 3 select new { o.number }"
    send(PutIndexesOperation(own))
    names = send(GetIndexNamesOperation(0, 10))
    shown = send(GetIndexOperation("Orders/ByCustomer"))
    shown.fields = {}  # the client reads them as what it cannot send again
    changed = [send(IndexHasChangedOperation(shown)), send(IndexHasChangedOperation(own))]
    own.maps = "from o in docs.Orders select new { o.customer }"
    changed.append(send(IndexHasChangedOperation(own)))
    stats = send(GetIndexStatisticsOperation("orders/bycustomer"))
    told = [[each.name, len(each.errors)] for each in send(GetIndexErrorsOperation())]
    states = [each["State"] for each in send(GetIndexesStatisticsOperation())]
    send(ResetIndexOperation("Own"))
    send(DeleteIndexOperation("Own"))
    rest = [each.name for each in send(GetIndexesOperation(0, 10))]
    return {
        "names": names,
        "map": list(shown.maps),
        "changed": changed,
        "stats": [stats.name, stats.entries_count, stats.stale, stats.errors_count],
        "errors": told,
        "states": states,
        "rest": rest,
        "none": send(GetIndexOperation("None")),
    }


@step
def query_indexes(store: Any) -> Any:
    with store.open_session() as session:
        statistics: list[Any] = []
        by_type = list(session.query_index_type(Orders_ByCustomer, Order).where_equals("city", "Köln"))
        by_name = session.query_index("Orders/ByProduct", Order).where_equals("product", "products/1")
        by_name = by_name.order_by_descending("number").statistics(statistics.append)
        streamed = [each.document.number for each in session.advanced.stream(by_name)]
        numbers = [order.number for order in by_name.wait_for_non_stale_results().take(2)]
        text = "from index 'Orders/ByCustomer' where customer = 'customers/1' include customer"
        raw = session.advanced.raw_query(text, Order)
        included = [order.number for order in raw]
        before = session.advanced.number_of_requests
        session.load("customers/1", User)
        told = statistics[-1]
        return {
            "type": len(by_type),
            "name": numbers,
            "told": [told.index_name, told.is_stale, told.total_results],
            "raw": included,
            "requests": session.advanced.number_of_requests - before,
            "streamed": len(streamed),
        }


@step
def query_index_wrongly(store: Any, text: str) -> Any:
    with store.open_session() as session:
        list(session.advanced.raw_query(text, Order))


@step
def terms(store: Any) -> Any:
    return store.maintenance.send(GetTermsOperation("Orders/ByCustomer", "customer", None, 10))


@step
def facets(store: Any) -> Any:
    with store.open_session() as session:
        list(session.advanced.raw_query("from Orders select facet(customer)", Order))


@step
def insert_in_bulk(store: Any, count: int, compressed: bool) -> Any:
    with store.bulk_insert(options=BulkInsertOptions(use_compression=compressed)) as insert:
        for number in range(count):
            insert.store_as(User(f"ü {number}", number), f"users/{number}", MetadataAsDictionary())
        return insert.store(User("with an id", 1))


@step
def insert_wrongly(store: Any) -> Any:
    with store.bulk_insert() as insert:
        for number in range(1500):
            insert.store_as(User("right", number), f"users/{number}", MetadataAsDictionary())
        insert.store_as(User("wrong", 1), "x" * 600, MetadataAsDictionary())


@step
def with_key(store: Any, url: str, key: str | None) -> Any:
    """Of a server that wants a key; the client itself knows of none."""
    with DocumentStore([url], "shop") as other:
        other.initialize()
        if key:
            add = {"Authorization": f"Bearer {key}"}
            other.get_request_executor().add_on_before_request(lambda args: args.request.headers.update(add))
        with other.open_session() as session:
            session.store(User("with a key", 1), "users/1-A")
            session.save_changes()
            return shown(session.load("users/1-A", User))


@step
def of_a_disabled_database(store: Any, name: str) -> Any:
    server = store.maintenance.server
    server.send(ToggleDatabasesStateOperation(name, disable=True))
    try:
        with store.open_session() as session:
            session.load("users/1-A", User)
    finally:
        server.send(ToggleDatabasesStateOperation(name, disable=False))


def main(url: str) -> None:
    stores: dict[str, Any] = {}
    for line in sys.stdin:
        database, name, *arguments = json.loads(line)
        if database not in stores:
            stores[database] = DocumentStore([url], database)
            stores[database].initialize()
        try:
            told = {"result": STEPS[name](stores[database], *arguments)}
        except Exception as error:
            told = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(told), flush=True)
    for store in stores.values():
        store.close()


main(*sys.argv[1:])
