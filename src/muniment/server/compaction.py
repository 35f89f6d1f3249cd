"""Rewriting a database without gaps, which is offline meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from muniment.backup.child import compact_in_child
from muniment.document import raven_time
from muniment.errors import MunimentError
from muniment.server.databases import Databases
from muniment.server.operations import Operation
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, json_response

STATUS: Final = "Raven/Database/Compact/Status/"


async def start(request: Request) -> Response:
    """Begin to compact a database; requests for it get 503 until that is done."""
    name = (request.parameter("database") or "").strip()
    if not name:
        raise Refused(400, "the name of the database is missing", "pass ?database=NAME", bare=True)
    app = request.app
    document = app.databases.document(name)
    if document is None:
        raise Refused(404, f"there is no database named: {name}", bare=True)
    folder = app.databases.folder_of(document)
    app.databases.places.check_data(folder, f"the folder of the database {name}")
    offline = app.databases.offline(name, "being compacted")
    operation = app.operations.new("compaction", name)
    loop = asyncio.get_running_loop()
    waits = app.operations.turns.are_taken
    if not waits:
        try:
            await offline.__aenter__()
        except BaseException:
            app.operations.forget(operation)
            raise

    def work(operation: Operation) -> None:
        messages: list[str] = []
        if waits:  # until now, it was used
            operation.progress.check()
            asyncio.run_coroutine_threadsafe(_offline(offline), loop).result()
        _say(app.databases, name, messages, f"Compacting {name} in {folder}", "Running")
        try:
            before, after = compact_in_child(folder, progress=operation.progress)
        except MunimentError as error:
            _say(app.databases, name, messages, f"Failed to compact {name} because: {error} ({error.hint})", "Faulted")
            raise
        finally:
            asyncio.run_coroutine_threadsafe(_online(offline), loop).result()
        size = f"{before:,} bytes are now {after:,}"
        _say(app.databases, name, messages, f"Compaction of {name} completed: {size}", "Completed")

    app.operations.run(operation, work, on_wait=lambda text: _say(app.databases, name, [], text, "Running"))
    return json_response({"OperationId": operation.id}, 202)


async def _offline(offline: Any) -> None:
    await offline.__aenter__()


async def _online(offline: Any) -> None:
    await offline.__aexit__(None, None, None)


def _say(databases: Databases, name: str, messages: list[str], message: str, state: str) -> None:
    messages.append(message)
    told = {
        "State": state,
        "Messages": messages,
        "LastProgressMessage": message,
        "LastProgressMessageTime": raven_time(datetime.now(UTC)),
    }
    databases.system.database.put(STATUS + name, told)
