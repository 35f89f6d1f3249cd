"""The server as a process: starting, stopping, being killed, and what it keeps."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from muniment import DocumentDatabase
from muniment.security.encryption import new_key
from tests.cli.process import muniment
from tests.processes import children, runs
from tests.sampled import some
from tests.server.running import HELD, Database, Server, running
from tests.waiting import PATIENCE, until


def memory(server: Server) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def listens(server: Server) -> bool:
    """Whether the server takes connections."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_stop_finishes_what_was_begun(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    try:
        server.create("shop").fill(100)
        idle = socket.create_connection(("127.0.0.1", server.port))
        slow = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        slow.sendall(
            b"PUT /databases/shop/docs/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
            b"Content-Length: 7\r\n\r\n{"
        )
        server.wait_for_requests(1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(server))
        slow.sendall(b'"a":1}')
        assert b" 201 " in slow.recv(1000)
        assert server.process.wait(PATIENCE) == 0
        slow.close()
        idle.close()
        assert "stopped after" in server.log()
    finally:
        server.close()
    with running(tmp_path / "data") as again:
        assert Database(again, "shop").get("/docs/slow").json() == {"a": 1}


def test_half_a_request_does_not_hold_a_stop_for_ever(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", stop_seconds=1)
    try:
        server.create("shop").put("a")
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(
                b"PUT /databases/shop/docs/b HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
                b"Content-Length: 7\r\n\r\n{"
            )
            server.wait_for_requests(1)
            started = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(PATIENCE) == 0
            assert time.monotonic() - started > 0.5
            assert "stopped after" in server.log()
    finally:
        server.close()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", stop_seconds=10 * int(PATIENCE))
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(
                b"PUT /docs/b HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\nContent-Length: 7\r\n\r\n{"
            )
            server.wait_for_requests(1)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not listens(server))
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
    finally:
        server.close()


def test_acknowledged_writes_survive_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    server.create("shop")
    acknowledged: list[str] = []

    def write(worker: int) -> None:
        with httpx.Client(
            base_url=server.url, headers={"Muniment-Request": "1"}, timeout=PATIENCE, verify=False
        ) as client:
            for n in range(100_000):
                id = f"items/{worker}-{n}"
                try:
                    if client.put(f"/databases/shop/docs/{id}", content=b'{"n":%d}' % n).status_code == 201:
                        acknowledged.append(id)
                except httpx.TransportError:
                    return

    workers = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    until(lambda: len(acknowledged) > 300)
    server.kill()
    for worker in workers:
        worker.join()
    with running(tmp_path / "data") as again:
        for start in range(0, len(acknowledged), 500):
            ids = acknowledged[start : start + 500]
            found = again.client.post("/databases/shop/queries/", json=ids).json()["Results"]
            assert [document["@metadata"]["@id"] for document in found] == ids


def test_one_server_for_a_folder_and_for_a_port(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        with pytest.raises(RuntimeError, match="open for writing"):
            Server(tmp_path / "data")
        with pytest.raises(RuntimeError, match="cannot listen on"):
            Server(tmp_path / "other", port=server.port)
        with pytest.raises(RuntimeError, match="anonymous-access"):
            Server(tmp_path / "other", host="0.0.0.0")
        assert server.client.get("/health/live").status_code == 200


def test_everybody_may_be_let_in_by_name(tmp_path: Path) -> None:
    with running(tmp_path / "data", host="0.0.0.0", anonymous_access="admin") as server:
        assert (
            httpx.get(f"http://127.0.0.1:{server.port}/health/ready", timeout=PATIENCE, verify=False).status_code == 200
        )


def test_a_data_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(RuntimeError, match=r"hint:"):
        Server(tmp_path / "data")


def test_the_access_log(tmp_path: Path) -> None:
    with running(tmp_path / "data", access_log=1) as server:
        server.client.get("/build/version?x=1")
        assert "GET /build/version?x=1 200" in server.log()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_as_it_is(server: Server, shop: Database) -> None:
    shop.fill(50)

    def work(count: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            get = f"GET {shop.root}/docs/items/7 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            put = (
                f"PUT {shop.root}/docs/items/8 HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"
                f"X-A: b\r\nContent-Length: 2\r\n\r\n{{}}"
            ).encode()
            for n in range(count):
                connection.sendall(put if n % 10 == 0 else get)
                assert connection.recv(65536).startswith(b"HTTP/1.1 20")

    work(1000)
    grown = []
    for _ in range(5):  # what happens to be kept is kept once, and what is lost is lost every time
        before = memory(server)
        work(2000)
        grown.append(memory(server) - before)
        if grown[-1] < 1000:  # kB
            break
    assert grown[-1] < 1000, grown


def test_no_process_is_left(filled: Path, tmp_path: Path) -> None:
    with running(filled) as server:
        Database(server, "shop").begin_backup(tmp_path / "new", **HELD)
        begun = until(lambda: children(server.process.pid))
        until((tmp_path / "new").exists)
    assert not any(map(runs, begun))
    assert not (tmp_path / "new").exists()  # it was cancelled, and has removed what it wrote


def _modes(*places: Path) -> dict[str, int]:
    """What of other users' and the group's rights each file and folder there has."""
    found = [path for place in places for path in (place, *place.rglob("*"))]
    return {str(path): mode for path in found if (mode := path.lstat().st_mode & 0o077)}


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@some(2)
@pytest.mark.parametrize(("mask", "group"), [(0o022, 0), (0o000, 0), (0o027, 0o050)])
def test_nobody_else_may_read_what_a_server_makes(tmp_path: Path, mask: int, group: int) -> None:
    data = tmp_path / "data"
    with _umask(mask):
        assert muniment("keys", "add", "boss", "--right", "admin", "--data-dir", str(data)).code == 0
        DocumentDatabase(tmp_path / "embedded").close()
        with running(data, anonymous_access="admin") as server:
            shop = server.create("shop")
            shop.fill(100)
            shop.request("PUT", "/static/pic", content=b"x" * 3_000_000)
            secured = {"Raven/Encryption/Key": new_key().text}
            settings = {"Settings": {"Raven/ActiveBundles": "Encryption"}, "SecuredSettings": secured}
            assert server.client.put("/admin/databases/safe", json=settings).status_code == 200
            assert not shop.backup(tmp_path / "b")["Faulted"]
            assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
            assert not server.restore(BackupLocation=str(tmp_path / "b"), DatabaseName="copy")["Faulted"]
            number = server.client.post("/admin/compact?database=copy").json()["OperationId"]
            assert not server.wait_for(number)["Faulted"]
            assert Database(server, "copy").put("a").status_code == 201
            places = (data, tmp_path / "b", tmp_path / "data.master-key")
            modes = _modes(*places)
            assert any(path.name == "muniment.db-wal" for path in data.rglob("*"))
    assert {mode | group for mode in modes.values()} <= {group}, modes
    assert bool(modes) is bool(group)
    assert {mode | group for mode in _modes(*places).values()} <= {group}
    assert (tmp_path / "embedded").stat().st_mode & 0o777 == 0o777 & ~mask
