"""Freezing a database of a server while real tools copy its files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from muniment import DocumentDatabase, DocumentStore
from muniment.errors import Conflict
from tests.cli.process import muniment
from tests.sampled import some
from tests.server.running import Database, Server, assert_error, running
from tests.waiting import PATIENCE

Tool = tuple[str, str, str]
# Each as the documentation has it: what is done once, what copies, and what brings the copy back as TARGET/shop.
TOOLS: dict[str, Tool] = {
    "rsync": ("mkdir copies", 'rsync -a "$FOLDER/" copies/shop/', "cp -r copies TARGET"),
    "restic": (
        "restic init",
        'restic backup "$FOLDER"',
        'restic restore latest --target TARGET; mv "TARGET$FOLDER" TARGET/shop',
    ),
    "borg": (
        "borg init --encryption none",
        'borg create "::{now}" "$FOLDER"',
        'mkdir TARGET; cd TARGET; borg extract "::$(borg list --last 1 --short)"; mv ".$FOLDER" shop',
    ),
}


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest) -> Tool:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return TOOLS[request.param]


@contextmanager
def frozen(shop: Database, timeout: str = "600s") -> Iterator[dict[str, str]]:
    answer = shop.request("POST", "/admin/freeze", params={"timeout": timeout})
    assert answer.status_code == 200, answer.text
    try:
        yield answer.json()
    except BaseException:
        shop.request("POST", "/admin/thaw")
        raise
    thawed = shop.request("POST", "/admin/thaw")
    assert thawed.status_code == 200, thawed.text
    assert thawed.json()["Fingerprint"] == answer.json()["Fingerprint"]


def shell(script: str, place: Path, folder: str = "") -> None:
    home = {"HOME": str(place), "RESTIC_REPOSITORY": str(place / "restic"), "RESTIC_PASSWORD": "x", "FOLDER": folder}
    environment = {**os.environ, **home, "BORG_REPO": str(place / "borg")}
    done = subprocess.run(["sh", "-ec", script], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@some(1)
def test_a_copy_by_a_real_tool_is_of_the_moment_of_the_freeze(shop: Database, tmp_path: Path, tool: Tool) -> None:
    once, copy, back = tool
    shell(once, tmp_path)
    shop.fill(300)
    assert shop.request("PUT", "/static/photo", content=b"1" * 100_000).status_code == 201
    with ThreadPoolExecutor(4) as clients:
        for number in range(2 if copy.startswith("rsync") else 1):  # a second copy changes the first
            with frozen(shop) as told:
                later = [clients.submit(shop.put, f"late/{number}/{n}") for n in range(4)]
                shell(copy, tmp_path, told["Folder"])
                assert shop.get("/docs/items/3").status_code == 200
                assert shop.get(f"/docs/late/{number}/0").status_code == 404
                assert not any(each.done() for each in later)
            assert [each.result(PATIENCE).status_code for each in later] == [201] * 4
            target = tmp_path / f"back{number}"
            shell(back.replace("TARGET", str(target)), tmp_path, told["Folder"])
            with DocumentDatabase(target / "shop", create=False) as copied:
                assert copied.check() == []
                assert copied.snapshot().fingerprint.short() == told["Fingerprint"] != shop.fingerprint()
                assert copied.get(f"late/{number}/0") is None
                assert (copied.get("late/0/0") is not None) == (number == 1)


def test_every_way_to_write_is_held_and_done_afterwards(server: Server, shop: Database) -> None:
    shop.put("a")
    with ThreadPoolExecutor(60) as clients, frozen(shop) as told:
        held = [
            clients.submit(shop.put, "b"),
            clients.submit(shop.put, "numbered/"),
            clients.submit(shop.request, "DELETE", "/docs/a"),
            clients.submit(shop.batch, [{"Method": "PUT", "Key": "c", "Document": {}, "Metadata": {}}]),
            clients.submit(shop.request, "PUT", "/static/small", content=b"1"),
            clients.submit(shop.request, "PUT", "/static/large", content=b"1" * (2 << 20)),
            clients.submit(shop.request, "POST", "/smuggler/import", content=b'{"Docs": []}'),
            *(clients.submit(shop.request, "DELETE", f"/static/{n}") for n in range(40)),  # more than there are threads
        ]
        server.wait_for_requests(len(held))
        assert not any(each.done() for each in held)
        assert shop.fingerprint() == told["Fingerprint"]
        assert shop.get("/docs/a").status_code == 200
        assert shop.get("/docs?startsWith=a").status_code == 200
        other = server.create(f"{shop.name}-other")
        assert other.put("a").status_code == 201
    assert not any(each.result(PATIENCE).is_error for each in held)
    assert shop.get("/docs/a").status_code == 404
    assert all(
        shop.get(path).status_code == 200 for path in ("/docs/b", "/docs/numbered/1", "/docs/c", "/static/large")
    )


def test_refusals(shop: Database, server: Server) -> None:
    thaw, freeze = "/admin/thaw", "/admin/freeze"
    assert_error(shop.request("POST", thaw), 409, f"{shop.name} is not frozen", "discard the copy")
    assert_error(shop.request("POST", freeze, params={"timeout": "x"}), 400, "timeout is 'x'")
    assert_error(shop.request("POST", freeze, params={"timeout": "2d"}), 400, "cannot be frozen for 172800 s")
    assert_error(shop.request("POST", freeze, params={"timeout": "0s"}), 400, "cannot be frozen for 0 s")
    with frozen(shop) as told:
        assert_error(shop.request("POST", freeze), 409, f"is frozen already, by {told['Id']}")
        assert_error(shop.request("POST", thaw, params={"freeze": "another"}), 409, "the freeze another of")
        for method, path in (
            ("POST", f"/admin/compact?database={shop.name}"),
            ("DELETE", f"/admin/databases/{shop.name}"),
        ):
            assert_error(server.client.request(method, path), 503, "is frozen, and somebody copies its files")
    assert_error(shop.request("POST", thaw), 409, "has ended before")


def test_it_thaws_by_itself_and_a_backup_ends_then(shop: Database, tmp_path: Path) -> None:
    shop.fill(10)
    assert shop.request("POST", "/admin/freeze", params={"timeout": "1s"}).status_code == 200
    status = shop.backup(tmp_path / "backups")
    assert status["State"]["result"]["documents"] == 10 if "result" in status["State"] else not status["Faulted"]
    assert_error(shop.request("POST", "/admin/thaw"), 409, "has ended by itself, after 1 s", "--timeout")


def test_a_server_that_stops_thaws_and_one_that_is_killed_leaves_the_files(tmp_path: Path) -> None:
    with running(tmp_path / "data", idle_seconds=0) as server, ThreadPoolExecutor(1) as clients:
        shop = server.create("shop")
        shop.fill(100)
        assert shop.request("POST", "/admin/freeze").status_code == 200
        late = clients.submit(shop.put, "late")
        server.wait_for_requests(1)
        assert not late.done()
        server.process.terminate()
        assert late.result(PATIENCE).status_code == 201
        server.process.wait(PATIENCE)
    with running(tmp_path / "data") as server:
        shop = Database(server, "shop")
        assert shop.get("/docs/late").status_code == 200
        told = shop.request("POST", "/admin/freeze").json()
        server.kill()
    with DocumentDatabase(told["Folder"], create=False) as left:
        assert left.check() == []
        assert left.snapshot().fingerprint.short() == told["Fingerprint"]


def test_commands_and_the_client_do_the_same(server: Server, shop: Database) -> None:
    shop.fill(3)
    with DocumentStore(server.url, shop.name) as store:
        begun = store.admin.freeze(600)
        with pytest.raises(Conflict, match="is frozen already"):
            store.admin.freeze()
        assert store.admin.thaw(begun.id).etag == begun.etag == 3
        with pytest.raises(Conflict, match="has ended before"):
            store.admin.thaw()
    where = ("--url", f"{server.url}/databases/{shop.name}")
    ended = muniment("freeze", *where, "--timeout", "600s")
    assert ended.code == 0, ended.err
    assert ended.text.startswith(f"Froze {shop.name} until ")
    assert "  state of     etag 3\n" in ended.text
    again = muniment("freeze", *where, "--json")
    assert (again.code, again.json["type"]) == (4, "Conflict")
    thawed = muniment("thaw", *where, "--json")
    assert thawed.code == 0
    assert thawed.json["fingerprint"] == shop.fingerprint()
    assert muniment("thaw", *where).code == 4
