"""Long operations, by their numbers: how they stand, and stopping them."""

from __future__ import annotations

from muniment.document import raven_time
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, empty_response, json_response


async def status(request: Request) -> Response:
    """How a long operation stands, and how far it is; with `changes=true`, of a comparison all ids that differ."""
    try:
        operation = request.server.operations.find(request.parameter("id"))
    except Refused as error:
        if error.status == 404:
            return empty_response(404)
        raise
    ended, state = not operation.job.running, operation.state
    more = {"Changes": operation.changes} if request.flag("changes") else {}
    return json_response(
        {
            **more,
            "Id": operation.id,
            "Completed": ended,
            "Faulted": ended and state == "Faulted",
            "Canceled": ended and state == "Canceled",
            "State": operation.counts(),
            "Exception": str(operation.job.error) if operation.job.error else None,
            "OperationProgress": None,
        }
    )


async def kill(request: Request) -> Response:
    """Ask a long operation to stop; nothing half done is left of it."""
    operation = request.server.operations.find(request.parameter("id"))
    if operation.job.running:
        operation.job.cancel()
    return json_response(operation.counts())


async def listing(request: Request) -> Response:
    """The long operations that the server knows of, the newest first."""
    return json_response(
        [
            {
                "Id": operation.id,
                "Status": operation.state,
                "Exception": None,
                "ExceptionText": str(operation.job.error) if operation.job.error else None,
                "TaskType": operation.job.what,
                "Description": f"{operation.job.what} of {operation.database}",
                "StartTime": raven_time(operation.job.began),
            }
            for operation in request.server.operations.all()
        ]
    )
