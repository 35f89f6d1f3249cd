"""Servers whose PostgreSQL goes away and comes back, or is taken over by its replica."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path

import httpx
import pytest

from muniment import DocumentDatabase, DocumentStore
from muniment.storage.location import address
from tests.postgres_server import Postgres, postgres_server, replica_of
from tests.server.running import Server
from tests.waiting import until


def storage_of(*servers: Postgres) -> str:
    """All of these, of which the one that takes writes is meant."""
    hosts, ports = (",".join(map(str, each)) for each in zip(*((s.folder, s.port) for s in servers), strict=True))
    return f"postgresql://muniment@/test?host={hosts}&port={ports}&target_session_attrs=read-write"


def test_a_server_answers_503_without_its_postgresql_and_goes_on_with_the_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIMENT_POSTGRESQL_RETRY_SECONDS", "0")
    with postgres_server() as old, replica_of(old, synchronous=True) as new:
        storage = storage_of(old, new)
        server = Server(tmp_path / "data", storage=storage)
        try:
            server.create("Shop")
            acknowledged = []

            def put(n: int) -> httpx.Response:
                answer = server.client.put(f"/databases/Shop/docs/orders/{n}", content=b'{"n":%d}' % n)
                if answer.status_code == 201:
                    acknowledged.append(n)
                return answer

            for n in range(20):
                assert put(n).status_code == 201
            old.stop(signal.SIGQUIT)
            for answer in (server.client.get("/databases/Shop/docs/orders/1"), put(20)):
                assert answer.status_code == 503, answer.text
                assert "not reachable" in answer.json()["Error"]
            assert server.client.get("/build/version").status_code == 200
            new.promote()
            numbers = count(21)

            def goes_on() -> bool:
                answer = put(next(numbers))
                assert answer.status_code in (201, 503), answer.text
                return answer.status_code == 201

            until(goes_on)
            with DocumentStore(server.url, "Shop") as store:
                for n in acknowledged:
                    assert store.get(f"orders/{n}") is not None
            with DocumentDatabase(address(storage, "shop"), create=False, read_only=True) as database:
                assert database.check() == []
        finally:
            server.close()
