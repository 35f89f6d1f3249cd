"""Long operations, by numbers that a client may ask for beforehand."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from muniment.document import raven_time
from muniment.errors import MunimentError
from muniment.raven7.messages import OperationNumber, OperationStatus
from muniment.raven7.queries import OperationWanted
from muniment.server.operations import Operation
from muniment.server.permission import may_see
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, empty_response, failure, json_response

_BY_QUERY: Final = ("patch by query", "deletion by query")
_STATES: Final = {"Running": "InProgress", "Waiting": "InProgress"}


async def number(request: Request) -> Response:
    """A number for an export or import that the client is going to begin."""
    return json_response(OperationNumber(request.server.operations.reserve(request.who)))


async def state(request: Request) -> Response:
    """How a job stands, and what has become of it."""
    if (operation := _found(request)) is None:
        return empty_response(404)
    status = _STATES.get(operation.state, operation.state)
    progress = operation.job.progress.counts
    return json_response(
        OperationStatus(
            status,
            {
                "Processed": progress.documents,
                "Total": operation.job.progress.total_documents or 0,
                "Message": operation.job.progress.stage,
            },
            _result(operation) if status in ("Completed", "Faulted") else None,
        )
    )


async def kill(request: Request) -> Response:
    """Ask a job to stop; nothing half done is left of it."""
    if (operation := _found(request)) is None:
        return empty_response(404)
    if operation.job.running:
        operation.job.cancel()
    return empty_response(204)


def _found(request: Request) -> Operation | None:
    """The job that is asked for, None for one that there is not, or that the caller may not see."""
    try:
        return request.server.operations.find(request.asked(OperationWanted).id, partial(may_see, request.caller))
    except Refused as error:
        if error.status == 404:
            return None
        raise


def _result(operation: Operation) -> dict[str, Any]:
    """What these clients read of a job that has ended: an exception, or counts by the kind of what was carried."""
    error, progress = operation.job.error, operation.job.progress
    if error is not None:
        return _exception(error)
    told: dict[str, Any] = operation.told.get("result") or {}
    if operation.result and not told:
        told = operation.result(operation.job.result)
    if operation.job.what in _BY_QUERY:
        found = told.get("Found", 0)
        return {"Total": found, "DocumentsProcessed": told.get("Changed", 0), "Query": None, "Details": []}
    counts = {name: told.get(name, 0) for name in ("documents", "attachments", "identities", "deletions", "failed")}
    if operation.job.what == "restore":
        counts |= {"documents": progress.documents, "attachments": progress.attachments}
    result: dict[str, Any] = {
        "Documents": {
            **_counts(counts["documents"]),
            "ErroredCount": counts["failed"],
            "Attachments": _counts(counts["attachments"]),
        },
        "Identities": _counts(counts["identities"]),
        "Tombstones": _counts(counts["deletions"]),
        "Messages": [f"{count:,} left out: {what}" for what, count in (told.get("skipped") or {}).items()]
        if isinstance(told.get("skipped"), dict)
        else [],
        "Elapsed": f"{progress.seconds:.3f} s",
    }
    if operation.job.what == "backup":
        result["LocalBackup"] = {
            "BackupDirectory": told.get("backup"),
            "LastFullBackup": raven_time(operation.job.began),
        }
    return result


def _counts(count: int) -> dict[str, Any]:
    return {"Processed": True, "ReadCount": count, "ErroredCount": 0, "Skipped": False}


def _exception(error: MunimentError) -> dict[str, Any]:
    told = failure(error, "")
    return {"Type": told.type, "Message": told.message, "Error": told.error, "StatusCode": error.status}
