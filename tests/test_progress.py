"""Counting what is done, from many threads, and the wish to stop."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest

from muniment import Progress
from muniment.errors import Cancelled
from muniment.progress import Counts
from tests.waiting import PATIENCE, until


def test_it_begins_at_nothing() -> None:
    progress = Progress()
    assert (progress.stage, progress.documents, progress.attachments, progress.bytes) == ("", 0, 0, 0)
    assert (progress.total_documents, progress.total_bytes, progress.finished) == (None, None, None)


def test_steps_add_up() -> None:
    progress = Progress()
    progress.advance(documents=3, bytes=30)
    progress.advance(attachments=2, bytes=5)
    progress.advance()
    assert (progress.documents, progress.attachments, progress.bytes) == (3, 2, 35)


def test_its_counts_are_those_of_a_moment_and_can_be_taken_over() -> None:
    progress = Progress(total_documents=4, total_bytes=50)
    progress.advance(documents=3, attachments=2, bytes=35)
    counts = progress.counts
    progress.advance(documents=1)
    assert counts == Counts(3, 2, 35, 4, 50)
    other = Progress(stage="reading", documents=9)
    other.counts = counts
    assert (other.stage, other.counts) == ("reading", counts)


def test_threads_do_not_lose_each_others_steps() -> None:
    progress = Progress()

    def work() -> None:
        for _ in range(5_000):
            progress.advance(documents=1, attachments=2, bytes=3)

    with ThreadPoolExecutor(4) as pool:
        for task in [pool.submit(work) for _ in range(4)]:
            task.result()
    assert (progress.documents, progress.attachments, progress.bytes) == (20_000, 40_000, 60_000)


def test_a_cancelled_job_stops_at_its_next_step() -> None:
    progress = Progress(stage="writing documents")
    progress.check()
    progress.cancel()
    progress.cancel()
    with pytest.raises(Cancelled, match="stopped while writing documents") as caught:
        progress.advance(documents=1)
    assert caught.value.hint
    assert progress.documents == 0  # what was not done is not counted
    with pytest.raises(Cancelled):
        progress.check()


def test_cancelled_before_it_began() -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled, match="stopped while starting"):
        progress.check()


def test_another_thread_can_cancel() -> None:
    progress = Progress()

    def cancel() -> None:
        until(lambda: progress.documents)
        progress.cancel()

    def work() -> None:
        begun = monotonic()
        while monotonic() < begun + PATIENCE:
            progress.advance(documents=1)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        work()
    canceller.join()
    assert progress.documents > 0


def test_time_runs_until_it_is_finished() -> None:
    progress = Progress()
    sleep(0.002)
    first = progress.seconds
    sleep(0.002)
    assert 0 < first < progress.seconds
    progress.finish()
    last = progress.seconds
    sleep(0.002)
    assert progress.seconds == last


def test_the_rate_is_bytes_by_seconds() -> None:
    progress = Progress(started=10.0, finished=14.0, bytes=80)
    assert progress.seconds == 4
    assert progress.rate == 20
    assert Progress(started=10.0, finished=10.0, bytes=80).rate == 0
