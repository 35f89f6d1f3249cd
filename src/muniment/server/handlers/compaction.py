"""Rewriting a database without gaps, which is offline meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from muniment.backup.child import compact_in_child
from muniment.backup.job import Job, with_hint
from muniment.raven3.messages import Accepted
from muniment.raven3.names import COMPACT_STATUS
from muniment.raven3.queries import CompactionWanted
from muniment.security.access import Right
from muniment.server.permission import require
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, json_response


async def start(request: Request) -> Response:
    """Begin to compact a database; requests for it get 503 until that is done."""
    name = request.asked(CompactionWanted).database.strip()
    if not name:
        raise Refused(400, "the name of the database is missing", "pass ?database=NAME", bare=True)
    require(request, name, Right.ADMIN)
    app = request.server
    document = app.databases.document(name)
    if document is None:
        raise Refused(404, f"there is no database named: {name}", bare=True)
    folder = app.databases.folder_of(document)
    app.databases.places.check_data(folder, f"the folder of the database {name}")
    loop, waits = asyncio.get_running_loop(), app.operations.turns.are_taken

    def work(job: Job[tuple[int, int]]) -> tuple[int, int]:
        try:
            if waits:  # until now, it was used
                job.progress.check()
                taking = app.databases.take_offline(name, "being compacted")
                asyncio.run_coroutine_threadsafe(taking, loop).result()
            job.say(f"Compacting {name} in {folder}")
            return compact_in_child(folder, key=app.databases.key(document), progress=job.progress)
        finally:
            app.databases.give_back(name)

    def closing(job: Job[tuple[int, int]]) -> Iterator[str]:
        if job.error:
            yield f"Failed to compact {name} because: {with_hint(job.error)}"
        else:
            before, after = job.result
            yield f"Compaction of {name} completed: {before:,} bytes are now {after:,}"

    operation = app.operations.new(Job("compaction", work, closing), name, request.who)
    app.databases.notes.follow(COMPACT_STATUS + name, operation)
    if not waits:
        try:
            await app.databases.take_offline(name, "being compacted")
        except BaseException:
            app.operations.forget(operation)
            raise
    try:
        app.operations.start(operation)
    except BaseException:
        if not waits:
            app.databases.give_back(name)
        raise
    return json_response(Accepted(operation.id), 202)
