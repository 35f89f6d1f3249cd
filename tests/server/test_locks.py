"""SQLite's locks on the files of an open database stay, whatever the server does, and no descriptor is left behind.

POSIX locks vanish when a process closes any descriptor of a file. Without them another process believes itself alone,
and checkpoints and deletes the write-ahead log that the server goes on writing to.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from base64 import b85encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put, SmugglerOptions
from muniment.backup import examine
from muniment.durable import DATABASE_FILES
from muniment.errors import InvalidInput
from muniment.security.encryption import new_key
from muniment.server.routes import ROUTES
from muniment.smuggler import read_ahead
from muniment.storage.sqlite.files import FILE
from tests.processes import children, descriptors
from tests.sampled import some
from tests.server.running import Database, Server, running
from tests.starter import real_workers
from tests.waiting import PATIENCE, until

LOCKS = Path("/proc/locks")
CLOSE_ON_EXEC = 0o2000000
SETTLE_SECONDS = 15.0
READINGS = 20
STEADY_TIMES = 6
pytestmark = pytest.mark.skipif(not LOCKS.exists(), reason="there is no /proc/locks here")

_numbers = count(1)


def locked(process: int, folder: Path) -> set[tuple[str, str, int]]:
    """The locks that a process holds on files in this folder: the file's name, the kind, and the first byte."""
    names = {path.stat().st_ino: path.name for path in folder.iterdir()}
    held = [line.split() for line in LOCKS.read_text().splitlines()]
    return {
        (names[inode], fields[3], int(fields[6]))
        for fields in held
        if len(fields) == 8 and fields[1] == "POSIX" and int(fields[4]) == process
        if (inode := int(fields[5].rpartition(":")[2])) in names
    }


def assert_locked(process: int, *folders: Path) -> None:
    """Each of these databases has the two locks that SQLite holds on one as long as it is open."""
    for folder in folders:
        kept = {(FILE, "READ", 0x40000002), (f"{FILE}-shm", "READ", 128)}
        # The list is read in parts, and leaves some out while others lock; a lock that is gone does not come back.
        assert any(kept <= locked(process, folder) for _ in range(READINGS)), f"{folder.name} is not locked any more"


def steady(process: int) -> Counter[str]:
    """What a process has open when it has ended what it was doing."""
    found: list[Counter[str]] = []
    while len(found) < STEADY_TIMES or any(each != found[-1] for each in found[-STEADY_TIMES:]):
        found.append(descriptors(process))
        time.sleep(0.02)
    return found[-1]


def more_than(expected: Counter[str], process: int) -> Counter[str]:
    """What a process has open beside this, as soon as that is nothing, or when it should have been."""
    until = time.monotonic() + SETTLE_SECONDS
    while (more := descriptors(process) - expected) and time.monotonic() < until:
        time.sleep(0.05)
    return more


def inherited(process: int, place: Path) -> list[str]:
    """The files in this place that a process has got from its parent: what it has opened itself is not passed on."""
    found = []
    for path in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):  # it, or the process, has ended meanwhile
            target = str(path.readlink())
            info = Path(f"/proc/{process}/fdinfo/{path.name}").read_text()
            flags = int(next(line.split()[1] for line in info.splitlines() if line.startswith("flags:")), 8)
            if target.startswith(f"{place}/") and not flags & CLOSE_ON_EXEC:
                found.append(target)
    return found


@contextmanager
def watched_children(process: int, place: Path) -> Iterator[set[int]]:
    """Within it, the children are looked at; raises what they inherited of the files in this place."""
    seen: set[int] = set()
    wrong: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):  # each is there for far longer
            for child in children(process):
                seen.add(child)
                with suppress(OSError):
                    wrong.extend(inherited(child, place))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
    assert not wrong


class Site:
    """A server with a database, its backups and its dump; `ask` sends a request on a connection of its own."""

    def __init__(self, server: Server, place: Path) -> None:
        self.server = server
        self.place = place
        self.shop = server.create("shop", **{"Muniment/History": "true"})
        self.shop.fill(1000, size=1000)
        self.shop.request("PUT", "/static/large", content=b"x" * (5 << 20))
        assert not self.shop.backup(place / "b", incremental="true")["Faulted"]
        self.dump = self.shop.get("/smuggler/export").content

    def ask(self, method: str, path: str, *statuses: int, **kwargs: Any) -> httpx.Response:
        # On a new connection: whoever looks for that one comes by the database's descriptors before it is found.
        headers = {"Muniment-Request": "1"} | kwargs.pop("headers", {})
        response = httpx.request(
            method, f"{self.server.url}{path}", timeout=PATIENCE, headers=headers, verify=False, **kwargs
        )
        assert response.status_code in statuses, response.text
        return response

    def run(self, method: str, path: str, state: str, **kwargs: Any) -> None:
        operation = self.ask(method, path, 202, **kwargs).json()["OperationId"]
        ended = self.server.wait_for(operation)
        assert ended["Canceled" if state == "Canceled" else "Completed"], ended
        assert ended["Faulted"] == (state == "Faulted"), ended

    def begin_and_kill(self, path: str, **kwargs: Any) -> None:
        operation = self.ask("POST", path, 202, **kwargs).json()["OperationId"]
        self.ask("POST", f"/operation/kill?id={operation}", 200)
        self.server.wait_for(operation)

    def leave_midway(self, request: str) -> None:
        """Send a request, take a little of the answer, and go."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE) as connection:
            connection.sendall(request.encode())
            connection.recv(1000)

    def upload_half(self, request: str, body: bytes) -> None:
        """Send a request with half of its body, and go."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE) as connection:
            connection.sendall(f"{request}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])


SHOP = "/databases/shop"
HTTP = "HTTP/1.1\r\nHost: 127.0.0.1\r\nMuniment-Request: 1\r\n"


def _fresh(site: Site) -> str:
    name = f"new{next(_numbers)}"
    site.ask("PUT", f"/admin/databases/{name}", 200, json={"Settings": {}})
    return name


def _databases(site: Site) -> None:
    name = _fresh(site)
    path = f"/admin/databases/{name}"
    site.ask("GET", path, 200)
    site.ask("HEAD", path, 200)
    site.ask("PUT", f"/databases/{name}/docs/a", 201, content=b"{}")
    site.ask("PUT", path, 400, json={"Settings": {}})
    site.ask("POST", f"{path}?isSettingDisabled=true", 200)
    site.ask("POST", f"{path}?isSettingDisabled=false", 200)
    site.ask("GET", f"/databases/{name}/docs/a", 200)
    site.ask("DELETE", f"{path}?hard-delete=true", 200)
    site.ask("PUT", "/admin/databases/bad?x=1", 400, json={"Settings": {"Raven/DataDir": "~/Databases/shop/in"}})


def _batch_delete(site: Site) -> None:
    names = [_fresh(site), _fresh(site)]
    site.ask("DELETE", f"/admin/databases/batch-delete?ids={names[0]}&ids={names[1]}&hard-delete=true", 200)


def _restore(site: Site) -> None:
    name = f"new{next(_numbers)}"
    wanted = {"BackupLocation": str(site.place / "b"), "DatabaseName": name}
    site.run("POST", "/admin/restore", "Completed", json=wanted)
    site.ask("GET", f"/databases/{name}/stats", 200)
    site.ask("POST", "/admin/restore", 400, json=wanted)
    site.ask("DELETE", f"/admin/databases/{name}?hard-delete=true", 200)
    site.begin_and_kill("/admin/restore", json=wanted)
    site.ask("DELETE", f"/admin/databases/{name}?hard-delete=true", 200, 404)


def _restore_into(site: Site) -> None:
    site.ask("PUT", f"{SHOP}/docs/items/1", 201, content=b'{"changed":%d}' % next(_numbers))
    wanted = {"BackupLocation": str(site.place / "b")}
    site.run("POST", f"{SHOP}/admin/restore-into", "Completed", json=wanted | {"DryRun": True})
    site.run("POST", f"{SHOP}/admin/restore-into", "Faulted", json=wanted | {"OnConflict": "fail"})
    site.run("POST", f"{SHOP}/admin/restore-into", "Completed", json=wanted | {"OnConflict": "overwrite"})
    site.begin_and_kill(f"{SHOP}/admin/restore-into", json=wanted | {"OnConflict": "overwrite"})


def _compact(site: Site) -> None:
    name = _fresh(site)
    site.ask("PUT", f"/databases/{name}/docs/a", 201, content=b"{}")
    site.run("POST", f"/admin/compact?database={name}", "Completed")
    site.ask("GET", f"/databases/{name}/docs/a", 200)
    site.ask("DELETE", f"/admin/databases/{name}?hard-delete=true", 200)


def _backup(site: Site) -> None:
    place = {"BackupLocation": str(site.place / "b")}
    site.ask("PUT", f"{SHOP}/docs/a", 201, content=b'{"n":%d}' % next(_numbers))
    site.run("POST", f"{SHOP}/admin/backup?incremental=true", "Completed", json=place)
    site.run("POST", f"{SHOP}/admin/backup", "Completed", json=place)
    site.begin_and_kill(f"{SHOP}/admin/backup", json={"BackupLocation": str(site.place / f"b{next(_numbers)}")})
    site.run("POST", "/admin/backup?incremental=true", "Completed", json={"BackupLocation": str(site.place / "system")})


def _export(site: Site) -> None:
    for query in ("", "?compression=none", "?format=ndjson", "?format=parquet", "?operate-on-types=Documents"):
        site.ask("GET", f"{SHOP}/smuggler/export{query}", 200)
    site.ask("POST", f"{SHOP}/smuggler/export", 200, json={})
    site.ask("GET", f"{SHOP}/smuggler/export?format=word", 400)
    site.leave_midway(f"GET {SHOP}/smuggler/export?compression=none {HTTP}\r\n")


def _import(site: Site) -> None:
    site.ask("POST", f"{SHOP}/smuggler/import", 200, content=site.dump)
    script = "function(doc) { return doc; }"
    site.ask("POST", f"{SHOP}/smuggler/import", 200, content=site.dump, params={"transform": script})
    site.ask("POST", f"{SHOP}/smuggler/import", 400, content=site.dump[:-100])
    site.upload_half(f"POST {SHOP}/smuggler/import {HTTP}", site.dump)


def _attachments(site: Site) -> None:
    path = f"{SHOP}/static/picture"
    site.ask("PUT", path, 201, content=b"x" * 3_000_000)
    site.ask("HEAD", path, 200)
    assert len(site.ask("GET", path, 200).content) == 3_000_000
    site.ask("POST", path, 200, headers={"Mine": "x"})
    site.ask("GET", path, 200)
    site.leave_midway(f"GET {SHOP}/static/large {HTTP}\r\n")
    site.upload_half(f"PUT {path} {HTTP}", b"x" * 3_000_000)
    site.ask("DELETE", path, 204)


def _documents(site: Site) -> None:
    path = f"{SHOP}/docs/one"
    site.ask("PUT", path, 201, content=b"{}")
    for method in ("GET", "HEAD"):
        site.ask(method, path, 200)
    site.ask("PATCH", path, 200, content=b'[{"Type":"Set","Name":"n","Value":1}]')
    site.ask("EVAL", path, 200, content=b'{"Script":"this.n = 2"}')
    site.ask("DELETE", path, 204)
    site.ask("GET", path, 404)


def _asked(method: str, path: str, *statuses: int, **kwargs: Any) -> Callable[[Site], None]:
    def act(site: Site) -> None:
        site.ask(method, path, *(statuses or (200,)), **kwargs)

    return act


def _listing(site: Site) -> None:
    site.ask("GET", f"{SHOP}/docs?pageSize=1000", 200)
    site.ask("HEAD", f"{SHOP}/docs", 200)
    site.ask("POST", f"{SHOP}/docs", 200, content=b"{}")


def _by_query(site: Site) -> None:
    for method, body in (("DELETE", b"null"), ("PATCH", b"[]"), ("EVAL", b'{"Script":"this.x = 1"}')):
        site.run(method, f"{SHOP}/bulk_docs/dynamic/None?query=a:1", "Completed", content=body)


def _rotate(site: Site) -> None:
    name, secured = f"safe{next(_numbers)}", {"Raven/Encryption/Key": new_key().text}
    document = {"Settings": {"Raven/ActiveBundles": "Encryption"}, "SecuredSettings": secured}
    site.ask("PUT", f"/admin/databases/{name}", 200, json=document)
    site.ask("PUT", f"/databases/{name}/docs/a", 201, content=b"{}")
    site.run("POST", f"/admin/encryption/rotate?database={name}", "Completed", json={"Key": new_key().text})
    site.ask("GET", f"/databases/{name}/docs/a", 200)
    site.ask("DELETE", f"/admin/databases/{name}?hard-delete=true", 200)


def _freeze(site: Site) -> None:
    site.ask("POST", f"{SHOP}/admin/freeze?timeout=600s", 200)
    site.ask("POST", f"{SHOP}/admin/thaw", 200)


def _look_into_backups(site: Site) -> None:
    place = str(site.place / "looked into")
    site.run("POST", f"{SHOP}/admin/backup", "Completed", json={"BackupLocation": place})
    site.ask("GET", f"/admin/backups?location={quote(place)}", 200)
    site.ask("GET", f"{SHOP}/versions?id=items/1", 200)


def _export_backup(site: Site) -> None:
    site.ask("POST", "/admin/restore/export", 200, json={"BackupLocation": str(site.place / "b")})


KINDS: dict[str, Callable[[Site], None]] = {
    "docs/{id}": _documents,
    "docs": _listing,
    "bulk_docs": _asked("POST", f"{SHOP}/bulk_docs", json=[{"Method": "PUT", "Key": "b", "Document": {}}]),
    "bulk_docs/{index}": _by_query,
    "bulkinsert": _asked("POST", f"{SHOP}/bulkInsert", 202, content=b""),
    "singleauthtoken": _asked("GET", f"{SHOP}/singleAuthToken"),
    "streams/query/{index}": _asked("GET", f"{SHOP}/streams/query/dynamic"),
    "terms/{index}": _asked("GET", f"{SHOP}/terms/dynamic/Items?field=Number"),
    "multi_get": _asked("POST", f"{SHOP}/multi_get", json=[{"Url": "/docs/a"}]),
    "streams/docs": _asked("GET", f"{SHOP}/streams/docs"),
    "query": _asked("POST", f"{SHOP}/query", json={"Rql": "from Items where Number > 3"}),
    "query/lines": _asked("POST", f"{SHOP}/query/lines", json={"Rql": "from Items where Number > 3"}),
    "indexes": _asked("GET", f"{SHOP}/indexes"),
    "indexes/{name}": _asked("GET", f"{SHOP}/indexes/dynamic/Items?query=Number:3"),
    "alerts": _asked("GET", f"{SHOP}/alerts"),
    "admin/alerts": _asked("GET", "/admin/alerts"),
    "admin/destinations": _asked("GET", "/admin/destinations"),
    "metrics": _asked("GET", "/metrics"),
    "operation/limits": _asked("POST", "/operation/limits?id=99999&rate=1MB", 404, 400),
    "queries": _asked("POST", f"{SHOP}/queries", json=["items/1", "items/2"]),
    "static/{key}": _attachments,
    "static": _asked("GET", f"{SHOP}/static"),
    "stats": _asked("GET", f"{SHOP}/stats"),
    "operation/status": _asked("GET", "/operation/status?id=1", 200, 404),
    "operation/kill": _asked("POST", "/operation/kill?id=99999", 404),
    "operations": _asked("GET", "/operations"),
    "replication/topology": _asked("GET", "/replication/topology", 404),
    "build/version": _asked("GET", "/build/version"),
    "backups": _asked("GET", f"{SHOP}/backups"),
    "admin/backup": _backup,
    "admin/restore-into": _restore_into,
    "smuggler/export": _export,
    "smuggler/import": _import,
    "admin/restore": _restore,
    "admin/restore/plan": _asked(
        "POST", "/admin/restore/plan", 403, json={"BackupLocation": "/nowhere", "DatabaseName": "x"}
    ),
    "admin/compact": _compact,
    "access-token": _asked("POST", "/access-token", 400),
    "oauth/api-key": _asked("POST", "/OAuth/API-Key", 404),
    "admin/encryption/rotate": _rotate,
    "admin/schedules": _asked("GET", "/admin/schedules"),
    "versions/attachments": _asked("GET", f"{SHOP}/versions/attachments?owner=large"),
    "versions/attachments/{key}": _asked("GET", f"{SHOP}/versions/attachments/large?etag=1", 404),
    "admin/restore/export": _export_backup,
    "admin/keys": _asked("GET", "/admin/keys"),
    "admin/keys/{name}": _asked("POST", "/admin/keys/none", 404, json={"Action": "disable"}),
    "admin/settings": _asked("GET", "/admin/settings"),
    "admin/audit": _asked("GET", "/admin/audit"),
    "admin/schedules/{name}": _asked("GET", "/admin/schedules/none", 404),
    "admin/runs": _asked("GET", "/admin/runs"),
    "admin/verify": _asked("POST", "/admin/verify", 400, json={}),
    "admin/rehearse": _asked("POST", "/admin/rehearse", 400, json={}),
    "admin/merge": _asked("POST", "/admin/merge", 400, json={}),
    "admin/copy": _asked("POST", "/admin/copy", 400, json={}),
    "admin/expire": _asked("POST", "/admin/expire", 400, json={}),
    "admin/stats": _asked("GET", "/admin/stats"),
    "admin/databases/{name}": _databases,
    "admin/databases/batch-delete": _batch_delete,
    "databases": _asked("GET", "/databases?getAdditionalData=true"),
    "health/live": _asked("GET", "/health/live"),
    "health/ready": _asked("GET", "/health/ready"),
    "openapi.json": _asked("GET", "/openapi.json"),
    "admin/freeze": _freeze,
    "admin/thaw": _freeze,
    "admin/backups": _look_into_backups,
    "versions": _look_into_backups,
    "studio": _asked("GET", "/studio/"),
    "studio/{file}": _asked("GET", "/studio/none", 404),
}
WITH_CHILD = {
    "admin/backup",
    "admin/restore",
    "admin/restore-into",
    "admin/compact",
    "admin/encryption/rotate",
    "smuggler/import",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("locks")
    with real_workers(), running(place / "data") as server:
        yield Site(server, place)


def test_every_kind_of_request_is_looked_at() -> None:
    assert KINDS.keys() == {route.path for route in ROUTES}


@pytest.mark.parametrize("kind", sorted(WITH_CHILD))
def test_a_request_with_a_process_of_its_own_leaves_the_locks_and_no_descriptor(site: Site, kind: str) -> None:
    assert leaves_the_locks_and_no_descriptor(site, kind)


@some(10)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITH_CHILD])
def test_a_request_leaves_the_locks_and_no_descriptor(site: Site, kind: str) -> None:
    leaves_the_locks_and_no_descriptor(site, kind)


def leaves_the_locks_and_no_descriptor(site: Site, kind: str) -> set[int]:
    """Have requests of this kind answered; the processes that were seen meanwhile."""
    process, data = site.server.process.pid, site.server.data_dir
    folders = data / "Databases" / "shop", data / "System"
    site.ask("GET", f"{SHOP}/stats", 200)
    assert_locked(process, *folders)
    KINDS[kind](site)  # some keep a connection to the database, or a thread, for the next
    more, seen = Counter[str](), set[int]()
    for _ in range(5):  # threads that happen to read at once keep one each, but what is lost is lost every time
        before = steady(process)
        with watched_children(process, data) as watched:
            KINDS[kind](site)
        seen |= watched
        assert_locked(process, *folders)
        if not (more := more_than(before, process)):
            break
    assert not more
    assert_locked(process, *folders)
    assert not inherited(process, data)  # each is to be closed in a child
    return seen


@pytest.mark.usefixtures("real_workers")
def test_writes_stay_when_backups_come_after_an_export(tmp_path: Path) -> None:
    """Each part of it, the export above all, could make a backup's process take the write-ahead log for its own."""
    server = Server(tmp_path / "data", backup_niceness=0)
    shop = server.create("shop")
    shop.fill(200)
    acknowledged: list[str] = []

    def write(worker: int) -> None:
        with httpx.Client(
            base_url=server.url, timeout=PATIENCE, headers={"Muniment-Request": "1"}, verify=False
        ) as client:
            for n in count():
                id = f"mine/{worker}-{n}"
                try:
                    if client.put(f"{SHOP}/docs/{id}", content=b'{"n":%d}' % n).status_code == 201:
                        acknowledged.append(id)
                except httpx.TransportError:
                    return

    writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for writer in writers:
        writer.start()
    try:
        assert httpx.get(f"{server.url}{SHOP}/smuggler/export", timeout=PATIENCE, verify=False).status_code == 200
        for _ in range(3):
            assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
        most = len(acknowledged) + 100  # what is written now is what would be lost
        until(lambda: len(acknowledged) > most)
    finally:
        server.kill()
        for writer in writers:
            writer.join()
    with running(tmp_path / "data") as again:
        found = {document["@metadata"]["@id"] for document in everything(Database(again, "shop"))}
        assert not set(acknowledged) - found
    MaintenanceActions.verify(tmp_path / "b")


def everything(database: Database) -> Iterator[dict[str, Any]]:
    for start in count(0, 1024):
        page = database.get("/docs", params={"start": start, "pageSize": 1024}).json()
        if not page:
            return
        yield from page


@pytest.mark.usefixtures("real_workers")
def test_what_an_embedded_database_starts_inherits_none_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (examine, read_ahead):  # so that little is read by other processes too
        monkeypatch.setattr(module, "ALONE_BYTES" if module is examine else "AHEAD_BYTES", 0)
    folder, here = tmp_path / "shop", os.getpid()
    with DocumentDatabase(folder) as database:
        texts = (b85encode(random.Random(n).randbytes(1000)).decode() for n in range(1000))
        database.batch([Put(f"items/{n}", {"text": text}) for n, text in enumerate(texts)])
        database.put_attachment("one", b"content")
        assert not inherited(here, folder)
        for place in ("one", "two"):
            database.maintenance.start_backup(tmp_path / place / "b").wait()
        with watched_children(here, folder) as examining:
            MaintenanceActions.verify(tmp_path / "one" / "b")
        database.export(tmp_path / "a.ravendbdump", compression="none")
        options = SmugglerOptions(transform="function(doc) { return doc; }")
        with watched_children(here, folder) as importing:
            database.import_dump(tmp_path / "a.ravendbdump", options=options)
        list(database.storage.check())
        assert database.statistics().documents == 1000
        with database.maintenance.compare(tmp_path / "one" / "b") as comparison:
            assert not comparison.difference.count("added")
        database.maintenance.restore(tmp_path / "one" / "b", tmp_path / "restored")
        database.maintenance.recoverability()
        assert_locked(here, folder)
        assert not inherited(here, folder)
        assert examining
        assert len(importing) >= 2


def test_nothing_else_opens_the_files_of_a_database(tmp_path: Path) -> None:
    (tmp_path / "link.ravendbdump").symlink_to(tmp_path / "shop" / FILE)
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        for name in (*DATABASE_FILES, "../link.ravendbdump"):
            with pytest.raises(InvalidInput, match="is a file of a database"):
                database.import_dump(tmp_path / "shop" / name)
            with pytest.raises(InvalidInput, match="is a file of a database"):
                database.export(tmp_path / "shop" / name, format="ndjson", overwrite=True)
        assert_locked(os.getpid(), tmp_path / "shop")
    assert {path.name for path in (tmp_path / "shop").iterdir()} >= {FILE}
    assert FILE in DATABASE_FILES
