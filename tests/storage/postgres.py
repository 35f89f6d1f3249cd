"""A database in PostgreSQL for a test that looks into what the contract does not tell."""

from __future__ import annotations

from contextlib import closing

from muniment.storage import engines
from muniment.storage.base import system_clock
from muniment.storage.location import Address, location_of
from muniment.storage.postgres.store import PostgresStorage
from tests.postgres_server import Postgres


def made(text: str) -> Address:
    """A database that is there now."""
    place = location_of(text)
    assert isinstance(place, Address)
    engines.create(place)
    return place


def opened(address: Address, *, read_only: bool = False) -> closing[PostgresStorage]:
    return closing(PostgresStorage(address, clock=system_clock, read_only=read_only))


def run(postgres: Postgres, address: Address, statement: str) -> list[tuple[object, ...]]:
    """What a statement answers, in which {s} stands for the schema of the database."""
    return postgres.execute(statement.replace("{s}", f'"{address.schema}"'))
