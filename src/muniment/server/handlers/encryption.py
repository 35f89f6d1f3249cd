"""Giving an encrypted database another key, which is offline meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from muniment.backup.child import rekey_in_child
from muniment.backup.job import Job, with_hint
from muniment.document import decode
from muniment.errors import InvalidInput
from muniment.raven3.messages import Accepted, RotationWanted
from muniment.raven3.names import ROTATE_STATUS
from muniment.raven3.queries import CompactionWanted
from muniment.security.access import Right
from muniment.security.encryption import algorithm_in, key_in
from muniment.server.permission import require
from muniment.server.request import Request
from muniment.server.secured import with_key
from muniment.server.wire import Refused, Response, json_response


async def rotate(request: Request) -> Response:
    """Begin to give a database another key; requests for it get 503 until that is done.

    Both keys are kept, wrapped, until it is known which one the database has: whenever the server ends, it opens it.
    """
    name, wanted = request.asked(CompactionWanted).database.strip(), await request.message(RotationWanted)
    if not name:
        raise Refused(400, "the name of the database is missing", "pass ?database=NAME", bare=True)
    require(request, name, Right.ADMIN)
    app, databases = request.server, request.server.databases
    document = databases.document(name)
    if document is None:
        raise Refused(404, f"there is no database named: {name}", bare=True)
    key = await asyncio.to_thread(databases.key, document)
    if key is None:
        raise InvalidInput(f"the database {name} is not encrypted", "restore a backup of it with a key, as another one")
    algorithm = algorithm_in(wanted.algorithm) if wanted.algorithm else key.algorithm
    new_key = key_in(wanted.key, algorithm, where="the new key")
    folder = databases.folder_of(document)
    databases.places.check_data(folder, f"the folder of the database {name}")
    loop = asyncio.get_running_loop()

    def work(job: Job[None]) -> None:
        job.progress.check()
        asyncio.run_coroutine_threadsafe(databases.take_offline(name, "being given another key"), loop).result()
        try:
            databases.settle_key(name)
            present = databases.document(name)
            if present is None or databases.key(present) != key:
                raise InvalidInput(f"the database {name} was changed meanwhile", "do it again")
            kept = with_key(databases.master, name, decode(present.body), key, new_key)
            databases.store_keys(present, kept)
            job.say(f"Rewriting {name} in {folder} with another key")
            try:
                rekey_in_child(folder, key, new_key, progress=job.progress)
            finally:
                databases.settle_key(name)
        finally:
            databases.give_back(name)

    def closing(job: Job[None]) -> Iterator[str]:
        if job.error:
            yield f"Failed to give {name} another key because: {with_hint(job.error)}"
        else:
            yield f"The database {name} has another key now"

    operation = app.operations.new(Job("rotation", work, closing), name, request.who)
    databases.notes.follow(ROTATE_STATUS + name, operation)
    app.operations.start(operation)
    return json_response(Accepted(operation.id), 202)
