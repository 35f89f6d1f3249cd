"""What tests share: a clock that they set, a database that is checked at the end, and a second process."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import hypothesis
import pytest

from muniment import DocumentDatabase
from tests.clock import Clock
from tests.object_store import ObjectStore, seaweed
from tests.postgres_server import Postgres, postgres_server
from tests.sampled import FOLDER, KEPT_IN, POSTGRESQL, WHOLE, on_postgresql, torture, unsampled
from tests.shared import ABSENT, DATA
from tests.starter import fork_workers, real_workers
from tests.waiting import PATIENCE

# Examples write to a real disk, whose speed says nothing about right and wrong.
hypothesis.settings.register_profile("default", hypothesis.settings(deadline=None, max_examples=20))
hypothesis.settings.register_profile("thorough", hypothesis.settings(deadline=None, max_examples=1000))
WHOLE_SECONDS = 7200  # for a test with all of its examples, on a machine that does other things too
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# What a parent ignores stays ignored in its children: nohup ignores SIGHUP, a shell without job control SIGINT of what
# it starts with &. A handler does not outlive exec, so the commands that tests start can be stopped again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# Hundreds of processes would each compile all of Muniment again, and so would the next run all of the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long a PostgreSQL that begins anew, or a replica that follows, is waited for says nothing about right and wrong.
for name in ("RETRY", "REPLICA"):
    os.environ.setdefault(f"MUNIMENT_POSTGRESQL_{name}_SECONDS", f"{PATIENCE:.0f}")

# Which shows the same in a tenth of the processor time; `make torture` has them begin as users' do.
if not WHOLE:
    fork_workers()

# Where there is room, temporary folders are in memory, for half of a run would be waiting for the disk. What fsync is
# for shows on neither, since nobody cuts the power here; that it is called, and in which order, shows on both.
# TMPDIR=/var/tmp has all tests on a disk, and `make torture` has its own there.
MEMORY = Path("/dev/shm")
if not WHOLE and "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None  # which was found before


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are found, and stay: looking for garbage among them took a third of the time of finding them.

    Nor is it looked for there later, when a test asks for a collection or has made garbage of its own.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before those that are not wanted are taken out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is tried with examples is tried with more of them by `make torture`, and what `some` leaves out, too."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(torture)
        if WHOLE and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(WHOLE_SECONDS))
    if left := set(unsampled(items)):
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say at the very end what this checkout cannot try."""
    yield
    skipped = [report for report in terminalreporter.getreports("skipped") if ABSENT in str(report.longrepr)]
    if skipped:
        count = len(skipped)
        terminalreporter.write_line(f"{count} tests that need what real servers wrote were skipped: no {DATA}")


@pytest.fixture(name="real_workers")
def _real_workers() -> Iterator[None]:
    """Workers begin as users' do: what is tried is about how they begin, or asks whose they are."""
    with real_workers():
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept_in(request: pytest.FixtureRequest) -> str:
    """What keeps the databases of a test: a folder, and for some of the tests PostgreSQL too, for all in a torture."""
    return str(getattr(request, "param", FOLDER))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have what is proven of databases in folders proven of those in PostgreSQL too."""
    if KEPT_IN in metafunc.fixturenames and on_postgresql(metafunc.definition):
        metafunc.parametrize(KEPT_IN, [FOLDER, POSTGRESQL], indirect=True)


@pytest.fixture
def place(tmp_path: Path, kept_in: str, request: pytest.FixtureRequest) -> Path | str:
    """Where the database is: in a folder, or a schema of PostgreSQL."""
    if kept_in == POSTGRESQL:
        postgres: Postgres = request.getfixturevalue("postgres")
        return postgres.address()
    return tmp_path / "shop"


@pytest.fixture
def database(place: Path | str, clock: Clock) -> Iterator[DocumentDatabase]:
    """An empty database. At the end it agrees with itself, and is found again as it was left."""
    with DocumentDatabase(place, clock=clock) as database:
        yield database
        left = database.snapshot()
        assert database.check() == []
    with DocumentDatabase(place, create=False, clock=clock) as again:
        assert again.snapshot() == left
        assert again.check() == []


@pytest.fixture(scope="session")
def other_process() -> Iterator[ProcessPoolExecutor]:
    """A second process that began without anything of this one: `other_process.submit(function, …).result()`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="session")
def seaweed_store() -> Iterator[ObjectStore]:
    """A real object store, started for the first test that asks for it."""
    with seaweed() as store:
        yield store


@pytest.fixture
def object_store(seaweed_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The same, with the environment in which it is reached."""
    for name, value in seaweed_store.environment().items():
        monkeypatch.setenv(name, value)
    return seaweed_store


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started for the first test that asks for it."""
    with postgres_server() as server:
        yield server
