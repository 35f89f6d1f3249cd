"""Rewriting a database without gaps, which is offline meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from muniment.backup.child import compact_in_child
from muniment.document import decode, raven_time
from muniment.raven3.names import COMPACT_STATUS
from muniment.server.operations import Operation
from muniment.server.request import Request
from muniment.server.status import with_hint
from muniment.server.tenants import Databases
from muniment.server.wire import Refused, Response, json_response


async def start(request: Request) -> Response:
    """Begin to compact a database; requests for it get 503 until that is done."""
    name = (request.parameter("database") or "").strip()
    if not name:
        raise Refused(400, "the name of the database is missing", "pass ?database=NAME", bare=True)
    app = request.server
    document = app.databases.document(name)
    if document is None:
        raise Refused(404, f"there is no database named: {name}", bare=True)
    folder = app.databases.folder_of(document)
    app.databases.places.check_data(folder, f"the folder of the database {name}")
    operation = app.operations.new("compaction", name)
    loop, waits = asyncio.get_running_loop(), app.operations.turns.are_taken
    if not waits:
        try:
            await app.databases.take_offline(name, "being compacted")
        except BaseException:
            app.operations.forget(operation)
            raise
    messages: list[str] = []

    def say(message: str, state: str = "Running") -> None:
        messages.append(message)
        app.databases.notes.tell({COMPACT_STATUS + name: _told(messages, state)})

    def work(operation: Operation) -> None:
        if waits:  # until now, it was used
            operation.progress.check()
            taking = app.databases.take_offline(name, "being compacted")
            asyncio.run_coroutine_threadsafe(taking, loop).result()
        try:
            say(f"Compacting {name} in {folder}")
            before, after = compact_in_child(folder, progress=operation.progress)
        finally:
            app.databases.give_back(name)
        say(f"Compaction of {name} completed: {before:,} bytes are now {after:,}", "Completed")

    def told(operation: Operation) -> None:
        try:
            work(operation)
        except BaseException as error:
            say(f"Failed to compact {name} because: {with_hint(error)}", "Faulted")
            raise

    try:
        app.operations.run(operation, told, on_wait=say)
    except BaseException:
        if not waits:
            app.databases.give_back(name)
        raise
    return json_response({"OperationId": operation.id}, 202)


def recover(databases: Databases) -> None:
    """Say of the compactions that ran when the server ended that they were interrupted; the databases are as before."""
    system, start = databases.system.database, 0
    while page := system.by_prefix(COMPACT_STATUS, start=start, limit=1024):
        start += len(page)
        for document in page:
            told = decode(document.body)
            if isinstance(told, dict) and told.get("State") == "Running":
                messages = [str(message) for message in told.get("Messages") or []]
                messages.append("Error: the compaction was interrupted, because the server was ended while it ran")
                databases.notes.tell({document.id: _told(messages, "Faulted")})


def _told(messages: list[str], state: str) -> dict[str, Any]:
    return {
        "State": state,
        "Messages": [*messages],
        "LastProgressMessage": messages[-1],
        "LastProgressMessageTime": raven_time(datetime.now(UTC)),
    }
