from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.server.running import Database, Server, running

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
