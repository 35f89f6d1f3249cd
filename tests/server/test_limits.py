"""What a server can be made to hold at once is bounded, and a good request gets by whoever goes too far."""

from __future__ import annotations

import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path

import httpx
import pytest

from tests.processes import descriptors
from tests.sampled import WHOLE, count, some, torture
from tests.server.running import Database, Server, assert_error, running
from tests.waiting import PATIENCE, until

MIB = 1 << 20


def head(path: str, length: int, method: str = "PUT") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Muniment-Request: 1", f"Content-Length: {length}", "", "")
    return "\r\n".join(lines).encode()


@contextmanager
def begun(server: Server, number: int, path: str, length: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """So many requests of which only a part was sent."""
    with ExitStack() as stack:
        opened = []
        for n in range(number):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
            opened.append(stack.enter_context(connection))
            try:
                connection.sendall(head(path.format(n=n), length) + sent)
            except OSError:
                continue  # it was refused, and has been told
        yield opened


def statuses(connections: list[socket.socket]) -> list[int]:
    """What has been answered by now, 0 for nothing, -1 where the connection was broken off."""
    found = []
    for connection in connections:
        connection.settimeout(0.1)
        try:
            found.append(int(connection.recv(4096).split(b" ")[1]))
        except TimeoutError:
            found.append(0)
        except (OSError, IndexError):
            found.append(-1)
    return found


def peak(server: Server) -> int:
    """The most memory that the server has had, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


def arrived(request: Callable[[], httpx.Response]) -> bool:
    """Whether a request was answered well: a machine that stands still for a second may have it come too late."""
    with suppress(httpx.TransportError):  # it was told so before it had sent all
        answer = request()
        assert answer.status_code in (200, 201, 408), answer.text
        return answer.status_code != 408
    return False


def test_bodies_have_so_much_memory_in_all(tmp_path: Path) -> None:
    with running(tmp_path / "data", body_memory=20) as server:
        shop = server.create("shop")
        before = peak(server)
        with begun(server, 15, "/databases/shop/docs/{n}", 11 * MIB, b'{"a":"' + b"x" * (10 * MIB)) as connections:
            answers: list[int] = []
            waiting = connections

            def one_is_left() -> bool:
                nonlocal waiting
                told = list(zip(waiting, statuses(waiting), strict=True))
                waiting = [connection for connection, status in told if status == 0]
                answers.extend(status for _, status in told if status)
                return len(waiting) == 1

            until(one_is_left)
            assert answers == [503] * 14
            refused = shop.put("large", b'{"a":"' + b"x" * (12 * MIB) + b'"}')
            assert_error(refused, 503, "MiB", "send it again")
            assert refused.headers["retry-after"] == "1"
            assert shop.put("good").status_code == 201
            assert shop.batch([{"Method": "PUT", "Key": "better", "Document": {}}]).status_code == 200
        assert peak(server) - before < 60
        until(lambda: shop.put("large", b'{"a":"' + b"x" * (12 * MIB) + b'"}').status_code == 201)
        chunks = (b'{"a":"', *[b"x" * MIB] * 10, b'"}')
        assert shop.request("PUT", "/docs/chunked", content=iter(chunks)).status_code == 201
        assert_error(shop.request("PUT", "/docs/more", content=iter([b" " * MIB] * 25)), 413, "20,971,520")
        assert_error(shop.put("large", b" " * (21 * MIB)), 413, "20,971,520")
        head = f"PUT {shop.root}/docs/more HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n".encode()
        chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
        begin = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 24
        # Whoever sends the whole body hears why it was refused, and may go on; whoever stops, that the connection ends.
        told = server.raw(begin + b"0\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (b" 413 " in told.splitlines()[0], told.count(b"HTTP/1.1 ")) == (True, 2)
        told = server.raw(begin)
        assert (b" 413 " in told.splitlines()[0], b"\r\nconnection: close\r\n" in told.lower()) == (True, True)


@some(2)
@pytest.mark.parametrize(
    ("path", "length"),
    [("docs/a", 100), ("docs/a", 10 * MIB), ("static/a", 100), ("static/a", 10 * MIB), ("bulk_docs", 100_000)],
)
def test_a_body_has_to_come_in_time(tmp_path: Path, path: str, length: int) -> None:
    with running(tmp_path / "data", body_seconds=1) as server:
        until(lambda: arrived(lambda: server.client.put("/admin/databases/shop", json={})))
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        with connection:
            connection.sendall(head(f"/databases/shop/{path}", length, "POST" if path == "bulk_docs" else "PUT"))
            connection.settimeout(0.2)

            def answered() -> bytes:
                with suppress(ConnectionError):  # it is refused already, and what was answered can be read all the same
                    connection.sendall(b" ")
                with suppress(TimeoutError):
                    return connection.recv(4096)
                return b""

            answer = until(answered)
            assert b" 408 " in answer.splitlines()[0]
            assert b"nothing was done" in answer
        until(lambda: arrived(lambda: Database(server, "shop").put("good")))


def test_a_large_body_has_more_time(tmp_path: Path) -> None:
    with running(tmp_path / "data", body_seconds=1) as server:
        until(lambda: arrived(lambda: server.client.put("/admin/databases/shop", json={})))
        shop = Database(server, "shop")

        def parts() -> Iterator[bytes]:
            yield b"x" * (2 * MIB)  # for which there are two minutes more
            for _ in range(3):
                time.sleep(0.4)
                yield b"x"

        until(lambda: arrived(lambda: shop.request("PUT", "/static/a", content=parts())))
        until(lambda: arrived(lambda: shop.request("PUT", "/docs/a", content=chain((b'{"a":"',), parts(), (b'"}',)))))


@some(1)
@pytest.mark.parametrize("length", [1000, 5 * MIB])
def test_slow_uploads_are_in_nobodys_way(tmp_path: Path, length: int) -> None:
    with running(tmp_path / "data", body_seconds=10 * int(PATIENCE)) as server:
        shop = server.create("shop")
        with begun(server, 100, "/databases/shop/static/{n}", length, b"x") as uploads:
            server.wait_for_requests(100)
            assert shop.request("PUT", "/static/good", content=b"x" * 100).status_code == 201
            assert shop.request("PUT", "/static/large", content=b"x" * (3 * MIB)).status_code == 201
            assert not select.select(uploads, [], [], 0)[0]  # none of them had to end before
        assert shop.get("/static/large").content == b"x" * (3 * MIB)


def test_so_many_large_attachments_and_dumps_come_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "data", uploads=3, transfers=2) as server:
        shop = server.create("shop")
        with begun(server, 4, "/databases/shop/static/{n}", 5 * MIB, b"x") as uploads:
            until(lambda: 503 in statuses(uploads))  # one of them, for the others have all there is
            refused = shop.request("PUT", "/static/large", content=b"x" * (3 * MIB))
            assert_error(refused, 503, "3 large attachments")
            assert refused.headers["retry-after"]
            assert shop.request("PUT", "/static/small", content=b"x").status_code == 201
        with ExitStack() as stack:
            for _ in range(2):
                connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
                stack.enter_context(connection).sendall(head("/databases/shop/smuggler/import", 1000, "POST"))
            until(lambda: len(server.client.get("/operations").json()) == 2)
            refused = shop.request("POST", "/smuggler/import", content=b'{"Docs":[]}')
            assert_error(refused, 503, "2 dumps")
            assert_error(shop.get("/smuggler/export"), 503, "2 dumps")
            assert len(server.client.get("/operations").json()) == 2
        until(lambda: {each["Status"] for each in server.client.get("/operations").json()}.isdisjoint({"Running"}))
        for _ in range(4):
            until(lambda: shop.get("/smuggler/export").status_code == 200)  # whose place is free a little after its end
            until(lambda: shop.request("POST", "/smuggler/import", content=b'{"Docs":[]}').status_code == 200)
        until(lambda: shop.request("PUT", "/static/large", content=b"x" * (3 * MIB)).status_code == 201)


def test_so_many_commands_are_in_a_batch(tmp_path: Path) -> None:
    with running(tmp_path / "data", batch_commands=1000) as server:
        shop = server.create("shop")
        delete = b'{"Method":"DELETE","Key":"items/1"}'
        batch = b"[" + b",".join([delete] * 1000) + b"]"
        assert shop.request("POST", "/bulk_docs", content=batch).status_code == 200
        batch = b"[" + b" , ".join([delete] * 1001) + b"]"
        assert_error(shop.request("POST", "/bulk_docs", content=batch), 413, "1,000 commands")
        # Objects in documents are not counted.
        document = {"Method": "PUT", "Key": "a", "Document": {"all": [{"n": n} for n in range(2000)]}}
        assert shop.batch([document] * 3).status_code == 200
        before = peak(server)
        for item in (b"{}", b'{"Method":"DELETE","Key":"a"}', b'{"M\\u0065thod":"DELETE","Key":"a"}'):
            batch = b"[" + (item + b",") * (20 * MIB // len(item)) + item + b"]"
            assert shop.request("POST", "/bulk_docs", content=batch).status_code == 413
        assert peak(server) - before < 120
        assert_error(shop.request("POST", "/bulk_docs", content=b"[{},{}]"), 422, "Method")


def test_so_many_databases_are_open_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "data", open_databases=3) as server:
        shops = [server.create(f"s{n}") for n in range(8)]
        for round in range(2):
            for n, shop in enumerate(shops):
                assert shop.put(f"{round}-{n}").status_code == 201
                assert opened(server) <= 3
        assert loaded(server) == ["s5", "s6", "s7"]
        shops[5].get("/docs")
        assert shops[0].get("/docs/1-0").status_code == 200
        assert loaded(server) == ["s0", "s5", "s7"]
        for shop in shops:
            assert len(shop.get("/docs").json()) == 2


def test_databases_in_use_stay_open(tmp_path: Path) -> None:
    with running(tmp_path / "data", open_databases=2) as server:
        shops = [server.create(f"s{n}") for n in range(3)]
        with begun(server, 1, "/databases/s0/docs/{n}", 100, b"{"), begun(server, 1, "/databases/s1/docs/1", 10, b"{"):
            until(lambda: loaded(server) == ["s0", "s1"])
            refused = shops[2].put("a")
            assert_error(refused, 503, "all 2 databases", "open-databases")
            assert refused.headers["retry-after"]
            assert shops[0].put("a").status_code == 201
        until(lambda: shops[2].put("a").status_code == 201)


def test_an_attachment_that_is_being_sent_keeps_its_database_open(tmp_path: Path) -> None:
    with running(tmp_path / "data", open_databases=1) as server:
        first, second = server.create("first"), server.create("second")
        content = bytes(range(256)) * (20 * MIB // 256)
        assert first.request("PUT", "/static/large", content=content).status_code == 201
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow:
            slow.sendall(b"GET /databases/first/static/large HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            received = slow.recv(1000)
            assert_error(second.get("/docs"), 503, "in use")
            while part := slow.recv(MIB):
                received += part
        assert received.partition(b"\r\n\r\n")[2] == content
        until(lambda: second.get("/docs").status_code == 200)


@torture
def test_many_databases_with_few_descriptors(tmp_path: Path) -> None:
    """The 167th failed at 1 024 descriptors; here, of a quarter of each."""
    most, number = count(256, whole=1024), count(45, whole=180)
    program = f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, {most})); "
    program += "sys.argv = ['muniment', *sys.argv[1:]]; runpy.run_module('muniment', run_name='__main__')"
    command = [sys.executable, "-c", program, "server", "--data-dir", str(tmp_path / "data"), "--port", "0"]
    command += [] if WHOLE else ["--open-databases", "20"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, headers={"Muniment-Request": "1"}, timeout=PATIENCE, verify=False) as client:
            limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            assert limits[0] == limits[1] == most
            for n in range(number):
                assert client.put(f"/admin/databases/d{n}", json={}).status_code == 200
                assert client.put(f"/databases/d{n}/docs/a", json={}).status_code == 201
            assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < most - 50
            for n in range(0, number, 5):
                assert client.get(f"/databases/d{n}/docs/a").status_code == 200
    finally:
        process.terminate()
        process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


def loaded(server: Server) -> list[str]:
    """The names of the databases that are open."""
    told = server.client.get("/admin/stats").json()["LoadedDatabases"]
    return sorted(each["Name"] for each in told if each["Name"] != "<system>")


def opened(server: Server) -> int:
    """How many databases but the system's the server's process has open."""
    files = descriptors(server.process.pid)
    return len({file for file in files if file.endswith("/muniment.db") and "/System/" not in file})
