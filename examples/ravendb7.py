"""A program for RavenDB 7, with PyPI's ravendb, at a Muniment server: `python examples/ravendb7.py URL [FOLDER]`.

It makes a database, stores, loads, changes, attaches, queries and deletes, backs up into a folder of the server, and
restores that under another name. Nothing in it knows of Muniment. It needs `pip install ravendb==7.2.*`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import requests
from ravendb import CreateDatabaseOperation, DeleteDatabaseOperation, DocumentStore  # type: ignore[import-not-found]
from ravendb.documents.operations.backups.settings import (  # type: ignore[import-not-found]
    BackupConfiguration,
    LocalSettings,
)
from ravendb.documents.operations.definitions import (  # type: ignore[import-not-found]
    MaintenanceOperation,
    OperationIdResult,
)
from ravendb.http.raven_command import RavenCommand  # type: ignore[import-not-found]
from ravendb.serverwide.database_record import DatabaseRecord  # type: ignore[import-not-found]
from ravendb.serverwide.operations.common import ServerOperation  # type: ignore[import-not-found]


class Order:
    def __init__(self, customer: str | None = None, total: float | None = None) -> None:
        self.Id: str | None = None
        self.customer = customer
        self.total = total


class _Job(RavenCommand):  # type: ignore[misc]
    """A request that begins a job."""

    def __init__(self, path: str, wanted: dict[str, Any]) -> None:
        super().__init__(OperationIdResult)
        self._path = path
        self._wanted = wanted

    def create_request(self, node: Any) -> requests.Request:
        return requests.Request("POST", node.url + self._path.format(node=node), data=self._wanted)

    def set_response(self, response: str | None, from_cache: bool) -> None:
        self.result = OperationIdResult.from_json(json.loads(response or ""))

    def is_read_request(self) -> bool:
        return False


class BackUp(MaintenanceOperation):  # type: ignore[misc]
    """Back up the database; of this, the Python client has the settings, and no operation."""

    def __init__(self, configuration: BackupConfiguration) -> None:
        self._configuration = configuration

    def get_command(self, conventions: Any) -> _Job:
        return _Job("/databases/{node.database}/admin/backup", self._configuration.to_json())


class Restore(ServerOperation):  # type: ignore[misc]
    """Restore what is in a folder of the server into a new database."""

    def __init__(self, database: str, folder: str) -> None:
        self._wanted = {"Type": "Local", "DatabaseName": database, "BackupLocation": folder}

    def get_command(self, conventions: Any) -> _Job:
        return _Job("/admin/restore/database", self._wanted)


def main(url: str, folder: str = time.strftime("~/Backups/orders-%Y%m%d-%H%M%S")) -> None:
    with DocumentStore([url], "Orders") as store:
        store.initialize()
        server = store.maintenance.server
        server.send(CreateDatabaseOperation(DatabaseRecord("Orders")))

        with store.open_session() as session:
            for customer, total in (("Zoë", 12.5), ("Bob", 99.0), ("Zoë", 7.25)):
                session.store(Order(customer, total))
            session.store(Order("Anna", 1.0), "orders/anna")
            session.save_changes()

        with store.open_session() as session:
            session.advanced.use_optimistic_concurrency = True
            order = session.load("orders/1-A", Order)
            order.total = 13.0
            session.advanced.attachments.store(order, "invoice.txt", b"13.00", "text/plain")
            session.delete("orders/anna")
            session.save_changes()

        with store.open_session() as session:
            query = session.query(object_type=Order).where_equals("customer", "zoë").order_by_descending("total")
            for order in query:
                names = [attachment.name for attachment in session.advanced.attachments.get_names(order)]
                print(order.Id, order.total, *names)

        settings = LocalSettings(folder_path=folder)
        store.maintenance.send_async(BackUp(BackupConfiguration(local_settings=settings))).wait_for_completion()
        print("backed up into", folder)

        server.send_async(Restore("Orders again", folder)).wait_for_completion()
        with store.open_session(database="Orders again") as session:
            with session.advanced.attachments.get("orders/1-A", "invoice.txt") as invoice:
                print("restored:", session.load("orders/1-A", Order).total, invoice.data.decode())
            print("deleted:", session.load("orders/anna", Order))

        for name in ("Orders", "Orders again"):
            server.send(DeleteDatabaseOperation(name, hard_delete=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
