"""The engines that the contract suite runs on. Every store agrees with itself when its test has ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.storage.base import Storage
from muniment.storage.sqlite.store import create_storage
from tests.clock import Clock
from tests.storage.place import ENGINES, Engine, Place
from tests.storage.reference import fingerprint_of, state_of, tallies


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a new and empty database of the embedded engine."""
    folder = tmp_path / "shop"
    folder.mkdir()
    create_storage(folder)
    return folder


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def place(engine: Engine, tmp_path: Path, clock: Clock) -> Iterator[Place]:
    place = Place(engine, tmp_path / "store", clock)
    yield place
    assert list(place.store.check()) == []
    with place.store.pin() as snapshot:
        assert tallies(snapshot.fingerprint) == fingerprint_of(state_of(place.store, snapshot.etag))
    place.store.close()


@pytest.fixture
def store(place: Place) -> Storage:
    return place.store
