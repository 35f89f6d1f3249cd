"""What a server says of its long jobs, and waiting for them."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.client import jobs
from muniment.client.databases import Administration
from muniment.client.jobs import Job, JobStatus, document_status, operation_status
from muniment.client.wire import Request, Response
from muniment.errors import BackupRunning, Cancelled, DamagedBackup, InvalidInput, MunimentError, NotFound
from tests.client.running import Play, answer

JOB = Job("backup", 7, ("databases", "shop"), "Raven/Backup/Status")
STATUS = "/databases/shop/docs/Raven%2FBackup%2FStatus"
OPERATION = "/operation/status?id=7"


def message(text: str, severity: object = "Informational") -> dict[str, object]:
    return {"Message": text, "Timestamp": "2026-11-22T14:03:00.0000000Z", "Severity": severity}


@pytest.mark.parametrize(
    ("told", "state", "error"),
    [
        ({"IsRunning": True, "Messages": [message("Started")]}, "running", None),
        ({"IsRunning": False, "Messages": [message("done")]}, "completed", None),
        ({"IsRunning": False, "Messages": [message("Failed", "Error"), message("end")]}, "faulted", "Failed"),
        ({"IsRunning": False, "Messages": [message("Failed", 1)]}, "faulted", "Failed"),
        ({"IsRunning": False, "Messages": None}, "completed", None),
        ({"State": "Running", "Messages": ["Starting"]}, "running", None),
        ({"State": "Completed", "Messages": ["Starting", "created"]}, "completed", None),
        ({"State": "Faulted", "Messages": ["Starting", "Error: x"]}, "faulted", "Error: x"),
        ({"State": "Canceled", "Messages": []}, "cancelled", None),
    ],
)
def test_status_documents(told: dict[str, Any], state: str, error: str | None) -> None:
    found = document_status(told)
    assert (found.state, found.error) == (state, error)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"Completed": False, "State": None}, JobStatus("running")),
        ({"Completed": True, "Faulted": False, "Canceled": False, "State": {}}, JobStatus("completed")),
        (
            {"Completed": False, "State": {"Progress": "copying", "Documents": 3, "TotalDocuments": 9, "Seconds": 0.5}},
            JobStatus("running", stage="copying", documents=3, total_documents=9, seconds=0.5),
        ),
        (
            {"Completed": True, "Faulted": True, "State": {"Error": "x", "Hint": "y", "Kind": "DamagedBackup"}},
            JobStatus("faulted", error="x", hint="y", kind="DamagedBackup"),
        ),
        ({"Completed": True, "Faulted": True, "State": None, "Exception": "z"}, JobStatus("faulted", error="z")),
        ({"Completed": True, "Canceled": True, "State": {}}, JobStatus("cancelled")),
    ],
)
def test_operations(told: dict[str, Any], expected: JobStatus) -> None:
    assert operation_status(told) == expected


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (JobStatus("faulted", error="x", kind="DamagedBackup"), DamagedBackup),
        (JobStatus("faulted", error="x", kind="Exception"), MunimentError),
        (JobStatus("faulted"), MunimentError),
        (JobStatus("cancelled"), Cancelled),
    ],
)
def test_the_error_of_a_job(status: JobStatus, error: type[MunimentError]) -> None:
    with pytest.raises(MunimentError) as raised:
        status.raise_failure()
    assert type(raised.value) is error


def test_waiting() -> None:
    running = {"IsRunning": True, "Messages": [message("Started")]}
    play = Play()
    told: list[JobStatus] = []
    done = play.run(
        jobs.wait(JOB, None, told.append),
        *[answer({"Completed": False}), answer(running)] * 3,
        answer({"Completed": True}),
        answer({"IsRunning": False, "Messages": [message("Started"), message("done")]}),
    )
    assert (done.state, done.messages) == ("completed", ("Started", "done"))
    assert [status.state for status in told] == ["running"] * 3 + ["completed"]
    assert [request.target for request in play.requests] == [OPERATION, STATUS] * 4
    assert play.pauses == sorted(play.pauses)
    assert 0 < play.pauses[0] < play.pauses[-1] <= 1


def test_waiting_ends() -> None:
    def running(request: Request) -> Response:
        return answer({"Completed": False} if "operation" in request.target else {"IsRunning": True})

    times = iter([0.0, 1.0, 2.0, 5.0])
    with pytest.raises(TimeoutError, match="backup is still running"):
        Play().run(jobs.wait(JOB, 5, clock=lambda: next(times)), running)


def test_a_server_that_gives_operations_no_number() -> None:
    """As RavenDB 3.0."""
    play = Play()
    job = Administration(play.answering(Response(201, {})), "shop").start_backup("/backups", True)._job
    assert job == Job("backup", None, ("databases", "shop"), "Raven/Backup/Status")
    assert play.requests[0].target == "/databases/shop/admin/backup?incremental=true"
    assert play.run(jobs.wait(job, 5), answer({"IsRunning": False, "Messages": []})).state == "completed"
    with pytest.raises(InvalidInput):
        play.run(jobs.cancel(job))


def test_a_job_that_is_forgotten() -> None:
    written = answer({"IsRunning": False, "Messages": [message("done")]})
    assert Play().run(jobs.status(JOB), Response(404, {}), written).state == "completed"
    with pytest.raises(NotFound):
        Play().run(jobs.status(JOB), Response(404, {}), Response(404, {}))


def test_a_backup_that_is_running_already() -> None:
    refusal = answer({"Error": "a backup is already running", "Kind": "BackupRunning"}, 500)
    with pytest.raises(BackupRunning):
        Administration(Play().answering(refusal), "<system>").start_backup("/backups", False)
