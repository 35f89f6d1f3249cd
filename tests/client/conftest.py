"""A database in three forms that have to behave the same: embedded, on a server, and on a server in asyncio."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.client import AsyncDocumentStore, DocumentStore
from tests.client.serving import blocking, running_server
from tests.postgres_server import Postgres
from tests.sampled import POSTGRESQL

FORMS = ["embedded", "store", "async store"]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    with running_server(tmp_path_factory.mktemp("server") / "data") as (url, _):
        yield url


@pytest.fixture(scope="session")
def url_on_postgresql(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[str]:
    """The address of a server that keeps everything in PostgreSQL."""
    folder = tmp_path_factory.mktemp("server") / "data"
    with running_server(folder, storage=postgres.new_database()) as (url, _):
        yield url


@pytest.fixture
def store(kept_in: str, request: pytest.FixtureRequest) -> Iterator[DocumentStore]:
    """An empty database of its own on the server."""
    url: str = request.getfixturevalue("url_on_postgresql" if kept_in == POSTGRESQL else "url")
    name = f"shop-{next(_numbers)}"
    with DocumentStore(url, name) as store:
        store.admin.create_database(name)
        yield store
        store.admin.delete_database(name, hard=True)


@pytest.fixture(params=FORMS)
def any_database(request: pytest.FixtureRequest, place: Path | str) -> Iterator[Any]:
    """An empty database in each of its forms."""
    if request.param == "embedded":
        with DocumentDatabase(place) as database:
            yield database
        return
    store: DocumentStore = request.getfixturevalue("store")
    if request.param == "store":
        yield store
        return
    with blocking(lambda: AsyncDocumentStore(store.url, store.name)) as asynchronous:
        yield asynchronous
