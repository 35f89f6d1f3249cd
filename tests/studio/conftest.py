from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.server.running import Database, Server, running
from tests.studio.browser import Page, browsing, quit_browser

_numbers = count(1)


@pytest.fixture(scope="session", autouse=True)
def browser_is_ended() -> Iterator[None]:
    yield
    quit_browser()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("studio") / "data") as server:
        yield server
        assert "unexpected error" not in server.log(), server.log()


@pytest.fixture(scope="session")
def window(server: Server) -> Iterator[Page]:
    with browsing(server.url) as page:
        yield page


@pytest.fixture
def page(window: Page) -> Iterator[Page]:
    """A window without a complaint before and after."""
    window.console()
    yield window
    assert not window.console()


@pytest.fixture
def shop(server: Server) -> Database:
    """An empty database."""
    return server.create(f"shop{next(_numbers)}")
