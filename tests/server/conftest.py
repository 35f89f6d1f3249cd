from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.once import copy_of_once
from tests.server.running import FILLED, Database, Server, running

_numbers = count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not end it; each test makes databases of its own."""
    with running(tmp_path_factory.mktemp("server") / "data") as server:
        yield server
        assert "unexpected error" not in server.log(), server.log()


@pytest.fixture
def shop(server: Server) -> Database:
    """An empty database."""
    return server.create(f"shop{next(_numbers)}")


def _make_filled(place: Path) -> None:
    with running(place / "data") as server:
        shop = server.create("shop")
        shop.fill(FILLED, size=500)
        assert not shop.backup(place / "b")["Faulted"]


@pytest.fixture
def filled(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A server's folder with the database `shop` of `FILLED` documents `items/n`; beside it, `b` is its backup."""
    return copy_of_once(tmp_path_factory, "filled", _make_filled, tmp_path) / "data"
