"""How the long jobs of the server stand, and stopping them."""

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
    state = operation.state
    more = {"Changes": operation.changes} if request.flag("changes") else {}
    return json_response(
        {
            **more,
            "Id": operation.id,
            "Completed": operation.ended,
            "Faulted": state == "Faulted",
            "Canceled": state == "Canceled",
            "State": operation.counts(),
            "Exception": str(operation.error) if operation.error else None,
            "OperationProgress": None,
        }
    )


async def kill(request: Request) -> Response:
    """Ask a long operation to stop; nothing half done is left of it."""
    operation = request.server.operations.find(request.parameter("id"))
    if not operation.ended:
        operation.progress.cancel()
    return json_response(operation.counts())


async def listing(request: Request) -> Response:
    """The long operations that the server knows of, the newest first."""
    return json_response(
        [
            {
                "Id": operation.id,
                "Status": operation.state,
                "Exception": None,
                "ExceptionText": str(operation.error) if operation.error else None,
                "TaskType": operation.kind,
                "Description": f"{operation.kind} of {operation.database}",
                "StartTime": raven_time(operation.started),
            }
            for operation in request.server.operations.all()
        ]
    )
