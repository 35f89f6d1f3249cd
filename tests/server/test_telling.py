"""A log that cannot be written changes nothing for what it tells of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sampled import some
from tests.server.running import Server, assert_error, running


def _closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.fixture(params=[_closed_pipe, _full_disk])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server that cannot write its log, and would write a line for every request."""
    stderr: int = request.param()
    try:
        with running(tmp_path / "data", stderr=stderr, access_log="true", backup_niceness=0) as server:
            yield server
    finally:
        os.close(stderr)


@some(1)
def test_nothing_depends_on_the_log(server: Server, tmp_path: Path) -> None:
    shop = server.create("shop")
    shop.fill(50)
    assert shop.get("/docs/items/1").json()["n"] == 1
    assert_error(shop.get("/docs/none/../../nothing"), 404)
    for number in range(2):
        assert not shop.backup(tmp_path / f"b{number}")["Faulted"]
        assert shop.status()["IsRunning"] is False
    dump = shop.get("/smuggler/export").content
    assert server.create("other").request("POST", "/smuggler/import", content=dump).json()["documents"] == 50
    assert not server.restore(BackupLocation=str(tmp_path / "b0"), DatabaseName="third")["Faulted"]
    compacting = server.client.post("/admin/compact", params={"database": "shop"}).json()
    assert not server.wait_for(compacting["OperationId"])["Faulted"]
    assert server.client.delete("/admin/databases/shop", params={"hard-delete": "true"}).status_code == 200
    assert server.client.get("/admin/stats").json()["UnwrittenLogLines"] > 20
    assert server.stop() == 0


def test_a_log_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with running(tmp_path / "data", stderr=writing, access_log="true") as server:
        os.close(writing)
        while not (unwritten := server.client.get("/admin/stats").json()["UnwrittenLogLines"]):
            server.client.get("/build/version", params={"x": "y" * 4000})
        for _ in range(50):
            assert server.client.get("/build/version").status_code == 200
        unwritten = server.client.get("/admin/stats").json()["UnwrittenLogLines"]
        assert unwritten > 50
        read = os.read(reading, 1 << 20)
        assert server.client.get("/build/version", params={"last": "1"}).status_code == 200
        read = os.read(reading, 1 << 20)
        os.close(reading)
    told, line = read.decode().splitlines()[-2:]
    assert told.startswith(f"({unwritten + 1} lines could not be written here")
    assert "last=1" in line
