"""A store in a folder that a test can close and open again, whatever its engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from muniment.security.encryption import new_key
from muniment.storage.base import Storage, system_clock
from muniment.storage.location import Address, address
from muniment.storage.postgres.schema import create
from muniment.storage.postgres.store import PostgresStorage
from muniment.storage.sqlite.store import SqliteStorage, create_storage
from tests.clock import Clock


class Engine(Protocol):
    """What the contract suite needs to run on an engine."""

    def create(self, folder: Path) -> None: ...

    def open(self, folder: Path, clock: Callable[[], int]) -> Storage: ...


class Sqlite:
    """The embedded engine."""

    def create(self, folder: Path) -> None:
        folder.mkdir()
        create_storage(folder)

    def open(self, folder: Path, clock: Callable[[], int]) -> SqliteStorage:
        return SqliteStorage(folder, clock=clock)


class Encrypted:
    """The same, encrypted."""

    key = new_key()

    def create(self, folder: Path) -> None:
        folder.mkdir()
        create_storage(folder, key=self.key)

    def open(self, folder: Path, clock: Callable[[], int]) -> SqliteStorage:
        return SqliteStorage(folder, clock=clock, key=self.key)


class Postgresql:
    """PostgreSQL, where a folder's name is that of a schema."""

    def __init__(self) -> None:
        self.server = ""  # of the run
        self._schemas: dict[Path, Address] = {}

    def address(self, folder: Path) -> Address:
        """The schema that stands for this folder."""
        if folder not in self._schemas:
            self._schemas[folder] = address(self.server, f"{folder.name}-{uuid.uuid4().hex[:8]}")
        return self._schemas[folder]

    def create(self, folder: Path) -> None:
        create(self.address(folder), system_clock)

    def open(self, folder: Path, clock: Callable[[], int]) -> PostgresStorage:
        return PostgresStorage(self.address(folder), clock=clock)


ENGINES: dict[str, Engine] = {"sqlite": Sqlite(), "sqlite-encrypted": Encrypted(), "postgresql": Postgresql()}


class Place:
    """A folder and the store in it that is open."""

    def __init__(self, engine: Engine, folder: Path, clock: Clock) -> None:
        self.engine = engine
        self.folder = folder
        self.clock = clock
        engine.create(folder)
        self.store = engine.open(folder, clock)

    def reopen(self) -> Storage:
        """Close the store and open it again."""
        self.store.close()
        self.store = self.engine.open(self.folder, self.clock)
        return self.store

    def before_and_after_reopening(self) -> Iterator[Storage]:
        """The store as it is open, and then as it is found again."""
        yield self.store
        yield self.reopen()
