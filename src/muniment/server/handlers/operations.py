"""Long operations, by their numbers: how they stand, and stopping them."""

from __future__ import annotations

from functools import partial

from msgspec import UNSET

from muniment.document import raven_time
from muniment.errors import Conflict
from muniment.raven3.messages import OperationListed, OperationStatus
from muniment.raven3.queries import OperationLimits, OperationWanted, StatusWanted
from muniment.server.permission import may_see
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, empty_response, json_response


async def status(request: Request) -> Response:
    """How a long operation stands, and how far it is; with `changes=true`, of a comparison all ids that differ."""
    asked = request.asked(StatusWanted)
    try:
        operation = request.server.operations.find(asked.id, partial(may_see, request.caller))
    except Refused as error:
        if error.status == 404:
            return empty_response(404)
        raise
    ended, how = not operation.job.running, operation.state
    return json_response(
        OperationStatus(
            id=operation.id,
            completed=ended,
            faulted=ended and how == "Faulted",
            canceled=ended and how == "Canceled",
            state=operation.progress(),
            exception=str(operation.job.error) if operation.job.error else None,
            changes=operation.changes if asked.changes else UNSET,
        )
    )


async def kill(request: Request) -> Response:
    """Ask a long operation to stop; nothing half done is left of it."""
    operation = request.server.operations.find(request.asked(OperationWanted).id, partial(may_see, request.caller))
    if operation.job.running:
        operation.job.cancel()
    return json_response(operation.progress())


async def limit(request: Request) -> Response:
    """Change how fast a long operation may be, and when: it goes by that at once."""
    asked = request.asked(OperationLimits)
    job = request.server.operations.find(asked.id, partial(may_see, request.caller)).job
    if not job.running:
        raise Conflict(f"the operation {asked.id} has ended", "begin another one with these limits")
    job.limits = asked.on(job.limits)
    said = ", ".join(f"{name} {value}" for name, value in job.limits.texts().items())
    job.say(f"Limits are now: {said or 'none'}")
    return json_response(job.limits.texts())


async def listing(request: Request) -> Response:
    """The long operations that the server knows of and the caller might have begun, the newest first."""
    return json_response(
        [
            OperationListed(
                id=operation.id,
                status=operation.state,
                task_type=operation.job.what,
                description=f"{operation.job.what} of {operation.database}",
                exception_text=str(operation.job.error) if operation.job.error else None,
                start_time=raven_time(operation.job.began),
            )
            for operation in request.server.operations.all()
            if may_see(request.caller, operation)
        ]
    )
