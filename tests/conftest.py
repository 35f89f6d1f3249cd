"""What tests share: a clock that they set, a database that is checked at the end, and a second process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import hypothesis
import pytest

from muniment import DocumentDatabase
from tests.clock import Clock

# Examples write to a real disk, whose speed says nothing about right and wrong.
hypothesis.settings.register_profile("default", hypothesis.settings(deadline=None))
hypothesis.settings.register_profile("thorough", hypothesis.settings(deadline=None, max_examples=1000))
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# What a parent ignores stays ignored in its children: nohup ignores SIGHUP, a shell without job control SIGINT of what
# it starts with &. A handler does not outlive exec, so the commands that tests start can be stopped again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[DocumentDatabase]:
    """An empty database. At the end it agrees with itself, and is found again as it was left."""
    with DocumentDatabase(tmp_path / "shop", clock=clock) as database:
        yield database
        left = database.snapshot()
        assert database.check() == []
    with DocumentDatabase(tmp_path / "shop", create=False, clock=clock) as again:
        assert again.snapshot() == left
        assert again.check() == []


@pytest.fixture(scope="session")
def other_process() -> Iterator[ProcessPoolExecutor]:
    """A second process that began without anything of this one: `other_process.submit(function, …).result()`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool
