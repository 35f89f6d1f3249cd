"""A job: its states, its words, stopping it and waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from muniment.backup.job import MESSAGES, Job
from muniment.errors import Cancelled, MunimentError, StorageFailure
from muniment.progress import Counts

PATIENCE = 30


def counting(job: Job[int]) -> int:
    job.progress.stage = "counting"
    job.progress.counts = Counts(documents=3, total_documents=4)
    job.say("counted")
    return 3


def closing(job: Job[int]) -> Iterator[str]:
    yield f"failed: {job.error}" if job.error else f"came to {job.result}"


def test_one_that_completes() -> None:
    job = Job("count", counting, closing)
    assert (job.running, job.state, job.messages) == (True, "running", [])
    job.start()
    assert job.wait(PATIENCE) == 3
    status = job.status
    assert (status.state, status.stage, status.documents, status.total_documents) == ("completed", "counting", 3, 4)
    assert (status.error, status.hint, job.running) == (None, None, False)
    assert [(message.text, message.failure) for message in job.messages] == [("counted", False), ("came to 3", False)]
    job.say("too late")
    assert job.messages[-1].text == "came to 3"


def failing(error: BaseException) -> Callable[[Job[int]], int]:
    def work(job: Job[int]) -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "expected", "state"),
    [
        (Cancelled("stopped", "run it again"), Cancelled, "cancelled"),
        (MunimentError("no", "do it otherwise"), MunimentError, "faulted"),
        (ValueError("unforeseen"), StorageFailure, "faulted"),
        (SystemExit(3), StorageFailure, "faulted"),
    ],
)
def test_one_that_fails(error: BaseException, expected: type[MunimentError], state: str) -> None:
    job = Job("count", failing(error), closing)
    job.start()
    for _ in range(2):
        with pytest.raises(expected):
            job.wait(PATIENCE)
    assert (job.status.state, job.status.error) == (state, str(job.error))
    assert job.status.hint
    assert (job.messages[-1].text, job.messages[-1].failure) == (f"failed: {job.error}", True)


def test_what_is_called_and_when() -> None:
    job = Job("count", counting, closing)
    seen: list[tuple[str, str, bool, int]] = []
    job.before = lambda: seen.append(("before", job.state, job.running, len(job.messages)))
    job.on_change = lambda: seen.append(("change", job.state, job.running, len(job.messages)))
    job.on_end = lambda: seen.append(("end", job.state, job.running, len(job.messages)))
    job.start()
    job.wait(PATIENCE)
    assert seen == [
        ("before", "running", True, 0),
        ("change", "running", True, 1),
        ("change", "completed", True, 2),
        ("end", "completed", True, 2),
    ]


def test_telling_never_decides() -> None:
    job = Job("count", counting, closing)
    job.on_change = job.on_end = lambda: 1 / 0
    job.start()
    assert job.wait(PATIENCE) == 3


def test_what_comes_before_may_refuse_it() -> None:
    done = []
    job = Job[None]("count", lambda job: done.append(1))
    job.before = lambda: failing(Cancelled("no"))(None)  # type: ignore[arg-type]
    job.start()
    with pytest.raises(Cancelled):
        job.wait(PATIENCE)
    assert not done


def test_waiting_has_an_end_and_the_job_goes_on() -> None:
    go = threading.Event()
    job = Job[bool]("count", lambda job: go.wait(PATIENCE))
    job.start()
    with pytest.raises(TimeoutError, match="count is still running"):
        job.wait(0.01)
    assert job.join(0) is False
    go.set()
    assert job.wait(PATIENCE) is True
    assert job.join(0) is True


def test_without_a_thread_it_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    job = Job("count", counting, closing)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(StorageFailure, match="no thread could be started"):
            job.start()
    assert (job.running, job.state) == (False, "faulted")


def test_of_very_many_messages_the_first_and_the_last_are_kept() -> None:
    def talkative(job: Job[None]) -> None:
        for number in range(10_000):
            job.say(str(number))

    job = Job("count", talkative)
    job.start()
    job.wait(PATIENCE)
    texts = [message.text for message in job.messages]
    assert (len(texts), texts[0], texts[-1]) == (MESSAGES, "0", "9999")
