"""A store in a folder that a test can close and open again, whatever its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from muniment.security.encryption import new_key
from muniment.storage.base import Storage
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


ENGINES: dict[str, Engine] = {"sqlite": Sqlite(), "sqlite-encrypted": Encrypted()}


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
