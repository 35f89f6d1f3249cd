"""SQLite's locks on the files of an open database stay, whatever the server does.

POSIX locks vanish when a process closes any descriptor of a file. Without them another process believes itself alone,
and checkpoints and deletes the write-ahead log that the server goes on writing to.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.server.running import Database, Server

LOCKS = Path("/proc/locks")
pytestmark = pytest.mark.skipif(not LOCKS.exists(), reason="there is no /proc/locks here")


def locked_files(server: Server, database: str) -> set[str]:
    """The names of the database's files on which the server holds a lock."""
    folder = server.data_dir / "Databases" / database
    names = {path.stat().st_ino: path.name for path in folder.iterdir()}
    held = [line.split() for line in LOCKS.read_text().splitlines()]
    return {
        names[inode]
        for fields in held
        if len(fields) > 5 and fields[1] == "POSIX" and int(fields[4]) == server.process.pid
        if (inode := int(fields[5].rpartition(":")[2])) in names
    }


def test_an_export_leaves_the_locks(shop: Database, server: Server) -> None:
    shop.fill(10)
    before = locked_files(server, shop.name)
    assert {"muniment.db", "muniment.db-shm"} <= before
    # On a new connection: the server comes by the database's descriptors before it finds that one.
    assert httpx.get(f"{server.url}/databases/{shop.name}/smuggler/export").status_code == 200
    assert locked_files(server, shop.name) == before
