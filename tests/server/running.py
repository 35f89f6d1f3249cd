"""A real server in a process of its own, on a free port of the loopback interface, and clients for it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.starter import Forked
from tests.waiting import PATIENCE, until

_SERVE = """
import sys
from pathlib import Path
from muniment.cli.outcome import outcome
from muniment.server.run import serve
from muniment.settings import load_settings
environment = {"MUNIMENT_PORT": "0"}
environment |= {"MUNIMENT_" + name.upper(): value for name, value in (a.split("=", 1) for a in sys.argv[2:])}
def run():
    settings = load_settings({"data_dir": Path(sys.argv[1])}, environment=environment)
    serve(settings, lambda url: print(url, flush=True))
sys.exit(outcome(run))
"""

# A byte a second: a job that is begun with these stands still as soon as it has read something.
HELD: Final = {"read-rate": "1"}
FILLED: Final = 2000


class Server:
    """A server process. `client` keeps its connections; `raw` sends bytes as they are."""

    def __init__(
        self,
        data_dir: Path,
        *,
        stderr: int | None = None,
        within: str | None = None,
        forked: bool = True,
        **settings: str | int,
    ) -> None:
        """
        `stderr` takes its log, `within` is a shell command to run before, with mounts of its own. One that is not
        `forked` begins as users' do, with what the environment says of loading.
        """
        self.data_dir = data_dir
        roots = str(data_dir.parent.parent)  # of all temporary folders of a run
        settings.setdefault("backup_roots", roots)
        settings.setdefault("data_roots", roots)
        self._log = data_dir.with_name(f"{data_dir.name}.stderr").open("a+")
        flags = [f"{name}={value}" for name, value in settings.items()]
        err = self._log.fileno() if stderr is None else stderr
        self.process: Forked | subprocess.Popen[str] = (
            Forked(_SERVE, [str(data_dir), *flags], err=err, nursery=True)
            if forked and within is None
            else subprocess.Popen(
                [*_after(within), sys.executable, "-c", _SERVE, str(data_dir), *flags],
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.process.wait()
            self.process.stdout.close()
            said = self.log()
            self._log.close()
            raise RuntimeError(said)
        headers = {"Raven-Client-Version": "3.5.0.0"}
        # To load the authorities that could have signed for a server takes as long as 20 requests.
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE, verify=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def raw(self, data: bytes, *, shut: bool = False) -> bytes:
        """Send these bytes on a connection of their own, and all that is answered until the other side has closed it.

        It may stay open when as many answers are there as there are requests in it: then what comes at once is the end.
        """
        requests = data.count(b" HTTP/1.1\r\n")
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(data)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := connection.recv(65536):
                    answer += part
                    connection.settimeout(0.02 if _whole(answer) >= requests > 0 else PATIENCE)
            except TimeoutError:
                assert _whole(answer) >= requests > 0, answer
            except ConnectionResetError:
                pass
            return answer

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def kill(self) -> None:
        self.client.close()
        self.process.kill()
        self._ended()
        self._log.close()

    def _ended(self) -> int:
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                os.kill(self.process.pid, signal.SIGKILL)
                self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def close(self) -> None:
        self.stop()
        self._log.close()

    def create(self, name: str, **settings: str) -> Database:
        """A new database."""
        response = self.client.put(f"/admin/databases/{name}", json={"Settings": settings})
        assert response.status_code == 200, response.text
        return Database(self, name)

    def wait_for(self, operation: int, seconds: float = PATIENCE) -> dict[str, Any]:
        """The status of an operation when it has ended."""

        def ended() -> dict[str, Any] | None:
            status: dict[str, Any] = self.client.get("/operation/status", params={"id": operation}).json()
            return status if status["Completed"] else None

        return until(ended, seconds)

    def wait_for_requests(self, number: int) -> None:
        """Until so many requests are under way beside this one: the server may see one long after it was sent."""

        def there() -> bool:
            [active] = re.findall(r"(?m)^muniment_http_requests_active (.*)$", self.client.get("/metrics").text)
            return float(active) >= 1 + number

        until(there)

    def let_go(self, operation: int) -> None:
        """Have a job go on that stands still at its limits."""
        none = {"read-rate": "none", "write-rate": "none"}
        response = self.client.post("/operation/limits", params={"id": operation, **none})
        assert response.status_code == 200, response.text

    def restore(self, **wanted: Any) -> dict[str, Any]:
        """The status of a restore when it has ended."""
        response = self.client.post("/admin/restore", json=wanted)
        assert response.status_code == 202, response.text
        return self.wait_for(response.json()["OperationId"])


def _whole(answer: bytes) -> int:
    """How many answers are there to their last byte, as far as each says how long it is."""
    number = 0
    while match := re.match(rb"(?is)HTTP/1.1 [2-5](?:(?!\r\n\r\n).)*?\r\ncontent-length: (\d+)\r\n", answer):
        _, end, rest = answer.partition(b"\r\n\r\n")
        if not end or len(rest) < int(match[1]):
            break
        answer, number = rest[int(match[1]) :], number + 1
    return number


def _after(command: str | None) -> list[str]:
    return [] if command is None else ["unshare", "-rm", "sh", "-c", f'{command} && exec "$@"', "sh"]


class Database:
    """A database of a server."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.root = f"/databases/{name}" if name else ""

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return self.server.client.request(method, f"{self.root}{path}", **kwargs)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.request("GET", path, **kwargs)

    def put(self, id: str, body: bytes | str = b"{}", **headers: str) -> httpx.Response:
        return self.request("PUT", f"/docs/{id}", content=body, headers=headers)

    def batch(self, commands: list[Any]) -> httpx.Response:
        return self.request("POST", "/bulk_docs", json=commands)

    def fill(self, count: int, size: int = 200) -> None:
        """Documents `items/0`, `items/1` and so on."""
        metadata = {"Raven-Entity-Name": "Items"}
        for first in range(0, count, 1000):
            commands = [
                {"Method": "PUT", "Key": f"items/{n}", "Document": {"n": n, "text": "x" * size}, "Metadata": metadata}
                for n in range(first, min(first + 1000, count))
            ]
            assert self.batch(commands).status_code == 200

    def begin_backup(self, location: str | Path, **query: str) -> int:
        """The number of a backup that has begun."""
        response = self.request("POST", "/admin/backup", json={"BackupLocation": str(location)}, params=query)
        assert response.status_code == 202, response.text
        return int(response.json()["OperationId"])

    def backup(self, location: str | Path, **query: str) -> dict[str, Any]:
        """The status of a backup when it has ended."""
        return self.server.wait_for(self.begin_backup(location, **query))

    def status(self) -> dict[str, Any]:
        """What the database tells of its last backup."""
        told: dict[str, Any] = self.get("/docs/Raven/Backup/Status").json()
        return told

    def fingerprint(self) -> str:
        text: str = self.get("/stats").json()["Fingerprint"]
        return text


@contextmanager
def running(
    data_dir: Path, *, stderr: int | None = None, within: str | None = None, forked: bool = True, **settings: str | int
) -> Iterator[Server]:
    """A server that is stopped at the end, however that comes."""
    server = Server(data_dir, stderr=stderr, within=within, forked=forked, **settings)
    try:
        yield server
    finally:
        server.close()


def assert_error(response: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """The one shape of an error, with these words in its text."""
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    assert body["Error"]
    assert body["Url"].startswith("/")
    assert "Traceback" not in response.text
    for word in words:
        assert word in body["Error"]
    return body
