"""The engines that the contract suite runs on. Every store agrees with itself when its test has ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.storage.base import Storage
from muniment.storage.location import Address
from muniment.storage.sqlite.store import create_storage
from tests.clock import Clock
from tests.postgres_server import Postgres
from tests.sampled import WHOLE, torture
from tests.storage.place import ENGINES, Engine, Place, Postgresql
from tests.storage.postgres import made
from tests.storage.reference import fingerprint_of, state_of, tallies


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a new and empty database of the embedded engine."""
    folder = tmp_path / "shop"
    folder.mkdir()
    create_storage(folder)
    return folder


@pytest.fixture
def address(postgres: Postgres) -> Address:
    """A database that is there."""
    return made(postgres.address())


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    engine = ENGINES[request.param]
    if isinstance(engine, Postgresql):
        engine.server = request.getfixturevalue("postgres").server
    return engine


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL, where a database takes longer to make, `make test` tries each promise once, in its first form."""
    seen, kept, left = set[str](), list[pytest.Item](), list[pytest.Item]()
    for item in items:
        name = item.nodeid.partition("[")[0]
        if "postgresql" not in getattr(getattr(item, "callspec", None), "params", {}).values():
            kept.append(item)
            continue
        item.add_marker(torture)
        (kept if WHOLE or name not in seen else left).append(item)
        seen.add(name)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept
