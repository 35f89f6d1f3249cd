"""Reads that are answered on the thread that brings them are answered as on the general way, and to nobody else."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from muniment.api_keys import ApiKeys
from muniment.security.encryption import new_key
from muniment.server.answered import Answered
from muniment.server.app import App
from muniment.server.request import Ready
from muniment.server.state import ServerState
from muniment.server.storing import Storing
from muniment.server.straight import Straight
from muniment.server.tenants import Databases
from muniment.settings import Settings
from tests.postgres_server import Postgres
from tests.server.running import Database
from tests.starter import Forked
from tests.waiting import PATIENCE

HOST = ("host", "127.0.0.1:8080")
PLAIN = [HOST, ("raven-client-version", "3.5.0.0")]
IDS = ["items/1", "ITEMS/1", "a b", "größe/日本語/😀", "50%", "a//b", "..", "x\x01\ty", "docs/docs", "dated", "empty"]


class Headers:
    """What granian gives an application of a request's headers."""

    def __init__(self, items: list[tuple[str, str]]) -> None:
        self._items = items

    def items(self) -> list[tuple[str, str]]:
        return list(self._items)

    def get(self, name: str, default: str | None = None) -> str | None:
        return next(iter(self.get_all(name)), default)

    def get_all(self, name: str) -> list[str]:
        return [value for each, value in self._items if each == name]

    def __contains__(self, name: str) -> bool:
        return bool(self.get_all(name))


class Asked:
    """A request, and what was answered."""

    client = "127.0.0.1:50000"

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        self.method, self._body = method, body
        self.path, _, self.query_string = path.partition("?")
        self.headers = Headers(headers)
        self.answer: tuple[int, list[tuple[str, str]], bytes] | None = None
        self.taken = False  # the body

    async def __call__(self) -> bytes:
        self.taken = True
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
        yield b""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer = status, list(headers), bytes(body)


class Site:
    """A server in this process, without granian."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.databases = Databases(place / "data", storage=settings.get("storage", ""))
        wanted = Settings(data_dir=place / "data", port=0, **settings)
        self.state = ServerState(wanted, self.databases, asyncio.get_running_loop(), "http://127.0.0.1:8080")
        self.app, self.straight = App(self.state), Straight(self.state)
        self.secret = ""

    async def ask(
        self, method: str, path: str, headers: list[tuple[str, str]] = PLAIN, body: bytes = b""
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        if body:
            headers = [*headers, ("content-length", str(len(body)))]
        asked = Asked(method, path, headers, body)
        await self.app.__rsgi__(asked, asked)
        assert asked.answer
        return asked.answer

    async def both(self, path: str, headers: list[tuple[str, str]] = PLAIN, method: str = "GET") -> int | None:
        """The status if it was answered at once, as it is on the general way; None if it was not."""
        asked = Asked(method, path, headers)
        if not self.straight.answer(asked, asked):
            assert asked.answer is None
            return None
        assert asked.answer == await self.ask(method, path, headers), (path, headers)
        return asked.answer[0]

    async def close(self) -> None:
        await self.databases.close()
        self.state.callers.close()


@contextmanager
def site(place: Path, **settings: Any) -> Iterator[tuple[asyncio.Runner, Site]]:
    with asyncio.Runner() as runner:

        async def opened() -> Site:
            return Site(place, **settings)

        made = runner.run(opened())
        try:
            yield runner, made
        finally:
            runner.run(made.close())


async def _make(site: Site, name: str = "shop", settings: bytes = b'{"Settings":{}}') -> None:
    assert (await site.ask("PUT", f"/admin/databases/{name}", body=settings))[0] == 200
    for number, id in enumerate(IDS):
        headers = [*PLAIN, ("raven-entity-name", "Items"), ("x-owner", "J%C3%BCrgen")]
        if id == "dated":
            headers.append(("raven-x", '{"a":[1]}'))
        path = f"/databases/{name}/docs/{id}"
        assert (await site.ask("PUT", path, headers[: 2 if id == "empty" else None], b'{"n":%d}' % number))[0] == 201


def test_what_is_answered_at_once_is_what_the_general_way_answers(tmp_path: Path) -> None:
    async def compare(site: Site) -> None:
        await _make(site)
        dated = b'[{"Method":"PUT","Key":"dated","Document":{},"Metadata":{"Last-Modified":"2020-01-02T03:04:05.6Z"}}]'
        assert (await site.ask("POST", "/databases/shop/bulk_docs", body=dated))[0] == 200
        for id in IDS:
            assert await site.both(f"/databases/shop/docs/{id}?x=1&id=none") == 200, id
            _, headers, _ = await site.ask("GET", f"/databases/shop/docs/{id}")
            etag = dict(headers)["etag"]
            for known in (etag, etag.lower(), f"W/{etag}", etag.strip('"'), f" {etag} "):
                assert await site.both(f"/databases/shop/docs/{id}", [*PLAIN, ("if-none-match", known)]) == 304, known
            for known in ('"01000000-0000-0001-0000-00000000FFFF"', "*", ""):
                assert await site.both(f"/databases/shop/docs/{id}", [*PLAIN, ("if-none-match", known)]) == 200, known
        assert await site.both("/databases/shop/docs/none") == 404
        assert await site.both("/databases/shop/docs/Raven/Backup/Status") == 404
        assert await site.both("/databases/shop/docs/items/1", [HOST]) == 200
        for path in (
            "/docs/items/1", "/databases/SHOP/docs/items/1", "/Databases/shop/docs/items/1", "/databases/shop/DOCS/a",
            "/databases/shop/docs/", "/databases/shop/docs", "/databases/none/docs/a", "/databases/system/docs/a",
            "/databases/<system>/docs/a", "/databases//docs/a", "/databases/docs/items/1", "/databases/shop/docs/\x1e",
            f"/databases/shop/docs/{'x' * 513}", "/databases/shop/stats", "/databases/shop//docs/items/1", "/", "",
        ):  # fmt: skip
            assert await site.both(path) is None, path
        for method in ("HEAD", "PUT", "DELETE", "POST", "get"):
            assert await site.both("/databases/shop/docs/items/1", method=method) is None, method
        for more in (
            [HOST, HOST], [], [("host", "evil.example")], [*PLAIN, ("origin", "http://evil.example")],
            [*PLAIN, ("sec-fetch-site", "cross-site")], [HOST, ("raven-client-version", "6.0.0")],
            [*PLAIN, ("content-length", "3")], [*PLAIN, ("transfer-encoding", "chunked")],
            [*PLAIN, ("if-none-match", '"a"'), ("if-none-match", '"b"')],
            [*PLAIN, ("authorization", "Bearer a/b"), ("authorization", "Bearer a/b")],
        ):  # fmt: skip
            for _ in range(2):  # also when it is remembered
                assert await site.both("/databases/shop/docs/items/1", more) is None, more
        assert await site.both("/databases/shop/docs/items/1", [*PLAIN, ("origin", "http://127.0.0.1:8080")]) == 200
        assert site.state.answered.counts["GET", 404] >= 4  # on both ways
        assert site.state.answered.total == sum(site.state.answered.within)

    with site(tmp_path) as (runner, made):
        runner.run(compare(made))


def test_what_becomes_of_a_database_holds_at_once(tmp_path: Path) -> None:
    async def change(site: Site) -> None:
        path = "/databases/shop/docs/items/1"
        await _make(site)
        secured = {"Raven/Encryption/Key": new_key().text}
        sealed = {"Settings": {"Raven/ActiveBundles": "Encryption"}, "SecuredSettings": secured}
        await _make(site, "sealed", json.dumps(sealed).encode())
        assert await site.both("/databases/sealed/docs/items/1") == 200
        async with site.databases.offline("shop", "being restored"):
            assert await site.both(path) is None
        assert await site.both(path) is None  # it is not open again
        assert (await site.ask("GET", path))[0] == 200
        assert await site.both(path) == 200
        before = site.databases.open["shop"].used
        assert await site.both(path) == 200
        assert site.databases.open["shop"].used > before  # or it would be closed as idle
        assert (await site.ask("POST", "/databases/shop/admin/freeze"))[0] in (200, 201, 202)
        assert await site.both(path) == 200
        site.databases.thaw()
        assert sorted(await site.databases.close_idle(-1)) == ["sealed", "shop"]
        assert await site.both(path) is None
        assert (await site.ask("GET", path))[0] == 200
        tenant = site.databases.open["shop"]
        tenant.database.close()  # as while it is being closed
        assert not site.straight.answer(closed := Asked("GET", path, PLAIN), closed)
        site.databases.open.pop("shop")
        assert (await site.ask("DELETE", "/admin/databases/shop?hard-delete=true"))[0] == 200
        assert await site.both(path) is None
        await _make(site)
        assert (await site.ask("DELETE", path, body=b""))[0] == 204
        assert await site.both(path) == 404

    with site(tmp_path) as (runner, made):
        runner.run(change(made))


def _putting(path: str, *more: tuple[str, str], body: bytes = b'{"n":1}', plain: Any = PLAIN) -> Asked:
    return Asked("PUT", path, [*plain, ("content-length", str(len(body))), *more], body)


def test_what_is_made_ready_to_be_stored_is_stored_as_on_the_general_way(tmp_path: Path) -> None:
    told = [("raven-entity-name", "Items"), ("x-owner", "J%C3%BCrgen"), ("x-list", "[1, 2.50]")]
    ids = [*IDS, "x/", "x" * 513, "a\x1eb", "Raven/Backup/Status"]
    bodies = [b'{"n":1}', b'{"a":"\xff"}', b"[1]", b"{", b'{"@metadata":{"A":1},"n":1}', b"{}" + b" " * 60_000]

    async def store(site: Site, name: str, way: str) -> list[Any]:
        await _make(site, name)
        found: list[Any] = []
        for number, (id, body) in enumerate(product(ids, bodies)):
            asked = _putting(f"/databases/{name}/docs/{id}", *told[number % 4 :], body=body)
            ready = site.straight.ready(asked)
            assert ready, (id, body)
            if way == "in callbacks" and site.straight.is_plain(ready):
                await _stored(site, asked, ready, body)
            else:
                await site.app.__rsgi__(asked, asked, None if way == "general" else ready)
            assert asked.answer
            status, headers, said = asked.answer
            found.append((id, body, status, headers, said.replace(name.encode(), b"")))
            status, headers, stored = await site.ask("GET", f"/databases/{name}/docs/{id}")
            found.append((id, status, [each for each in headers if not each[0].endswith("last-modified")], stored[:9]))
        return found

    async def compare(site: Site) -> None:
        general = await store(site, "one", "general")
        assert {201, 422, 400} <= {each[2] for each in general[::2]}
        assert await store(site, "two", "made ready") == general
        before = site.state.answered.total
        assert await store(site, "six", "in callbacks") == general
        assert site.state.answered.total == before + len(general) + 1 + len(IDS)

    with site(tmp_path) as (runner, made):
        runner.run(compare(made))


def test_what_is_stored_in_postgresql_takes_the_same_way_and_what_is_read_there_does_not(
    tmp_path: Path, postgres: Postgres
) -> None:
    async def ask(site: Site) -> None:
        await _make(site)
        path = "/databases/shop/docs/a"
        for body, status in ((b'{"n":2}', 201), (b'{"n":', 422)):
            ready = site.straight.ready(asked := _putting(path, body=body))
            assert ready
            assert site.straight.is_plain(ready)
            await _stored(site, asked, ready, body)
            assert asked.answer
            assert asked.answer[0] == status
        assert await site.both(path) is None  # it would hold up what else that thread brings
        assert (await site.ask("GET", path))[::2] == (200, b'{"n":2}')
        assert site.state.active == 0

    with site(tmp_path, storage=postgres.new_database()) as (runner, made):
        runner.run(ask(made))


class Watcher:
    """What granian hands over for each request."""

    def __init__(self, asked: Asked) -> None:
        self.scope = self.proto = asked
        self.ended = asyncio.Event()

    def taskref(self, task: asyncio.Task[None]) -> None:
        self.task = task

    def done(self) -> None:
        self.ended.set()


async def _stored(site: Site, asked: Asked, ready: Ready, body: bytes | BaseException | None) -> None:
    """Store it in callbacks; its body comes later, or breaks off, or (None) comes too late."""
    watcher, coming = Watcher(asked), asyncio.get_running_loop().create_future()
    storing = Storing(site.app, watcher, ready, coming)
    assert storing.begin()
    assert site.state.active == 1
    if body is None:
        storing.cancel()
    elif isinstance(body, bytes):
        coming.set_result(body)
    else:
        coming.set_exception(body)
    await watcher.ended.wait()


def test_what_goes_wrong_with_a_body_or_a_database_is_told_without_a_task_too(tmp_path: Path) -> None:
    async def ask(site: Site) -> None:
        await _make(site)
        path = "/databases/shop/docs/a"
        for body, status, said in (
            (RuntimeError("broken"), 400, b"ended before"),
            (b"{}", 400, b"ended before"),
            (None, 408, b"only 0 bytes"),
            (b'{"n":}1', 422, b"document 'a'"),
            (b'{"n":1}', 201, b"ETag"),
        ):
            ready = site.straight.ready(asked := _putting(path))
            assert ready
            await _stored(site, asked, ready, body)
            assert asked.answer
            assert (asked.answer[0], said in asked.answer[2]) == (status, True), asked.answer
            assert site.state.active == site.databases.open["shop"].active == 0
        ready = site.straight.ready(asked := _putting(path))
        assert ready
        tenant = site.databases.open["shop"]
        tenant.database.close()  # as when its disk is gone
        await _stored(site, asked, ready, b'{"n":1}')
        assert asked.answer
        assert asked.answer[0] == 503
        site.databases.open.pop("shop")
        coming = asyncio.get_running_loop().create_future()
        coming.set_result(b'{"n":2}')
        assert not Storing(site.app, Watcher(asked), ready, coming).begin()  # it is not the one that is open
        await site.app.__rsgi__(again := _putting(path), again, ready, coming)
        assert again.answer
        assert again.answer[0] == 201
        assert not again.taken  # as it was there already
        ready = site.straight.ready(asked)
        assert ready
        assert site.straight.is_plain(ready)
        assert (await site.ask("POST", "/databases/shop/admin/freeze"))[0] == 200
        assert not site.straight.is_plain(ready)  # it waits without a body in memory
        assert not Storing(site.app, Watcher(asked), ready, coming).begin()
        site.databases.thaw()
        assert (await site.ask("GET", path))[2] == b'{"n":2}'
        assert site.state.active == site.databases.open["shop"].active == 0

    with site(tmp_path) as (runner, made):
        runner.run(ask(made))


def test_what_is_not_plain_to_store_goes_the_general_way(tmp_path: Path) -> None:
    async def ask(site: Site) -> None:
        await _make(site)
        path = "/databases/shop/docs/a"
        assert site.straight.ready(_putting(path))
        assert site.straight.ready(_putting(path, ("content-type", "application/json"), plain=[HOST]))
        for asked in (
            _putting("/docs/a"), _putting("/databases/none/docs/a"), _putting("/databases/shop/docs/"),
            _putting("/databases/shop/docs"), _putting("/databases/system/docs/a"), _putting("/databases/SHOP/docs/a"),
            _putting(path, plain=[HOST]), _putting(path, ("content-type", "text/plain"), plain=[HOST]),
            _putting(path, HOST), _putting(path, plain=[]), _putting(path, ("origin", "http://evil.example")),
            _putting(path, plain=[HOST, ("raven-client-version", "6.0")]), _putting(path, ("if-match", "x")),
            _putting(path, ("if-none-match", "x")), _putting(path, ("content-encoding", "gzip")),
            _putting(path, ("single-use-auth-token", "x")), _putting(path, ("content-length", "7")),
            _putting(path, body=b""), _putting(path, body=b" " * 70_000),
            _putting(path, ("authorization", "Bearer a/b")),
            Asked("PUT", path, PLAIN), Asked("PUT", path, [*PLAIN, ("transfer-encoding", "chunked")]),
            Asked("PUT", path, [*PLAIN, ("content-length", "-1")]),
            Asked("PUT", path, [*PLAIN, ("content-length", "٣")]),
            Asked("POST", path, [*PLAIN, ("content-length", "7")]), Asked("DELETE", path, PLAIN),
        ):  # fmt: skip
            assert site.straight.ready(asked) is None, (asked.method, asked.path, asked.headers.items())
        keys = ApiKeys(site.databases.system.database)
        written = {right: keys.add(right, [right], ["shop"])[1] for right in ("read", "write", "backup")}
        for right, key in written.items():
            given = ("authorization", f"Bearer {key}")
            assert site.straight.ready(_putting(path, given)) is None
            await site.ask("GET", path, [*PLAIN, given])
            assert bool(site.straight.ready(_putting(path, given))) == (right == "write")
            assert key not in repr(site.straight._heads._writing._found)
        given = ("authorization", f"Bearer {written['write']}")
        ready = site.straight.ready(asked := _putting(path, given))
        await site.databases.close_idle(-1)
        await site.app.__rsgi__(asked, asked, ready)  # it was closed meanwhile, and is opened again
        assert asked.answer
        assert asked.answer[0] == 201
        short = Asked("PUT", path, [*PLAIN, given, ("content-length", "9")], b'{"n":1}')
        await site.app.__rsgi__(short, short, site.straight.ready(short))
        assert short.answer
        assert short.answer[0] == 400
        backup = [*PLAIN, ("authorization", f"Bearer {written['backup']}")]
        assert (await site.ask("POST", "/databases/shop/admin/freeze", backup))[0] == 200
        frozen = _putting(path, given)
        waiting = asyncio.create_task(site.app.__rsgi__(frozen, frozen, site.straight.ready(frozen)))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert not frozen.taken  # it waits without a body in memory
        site.databases.thaw()
        await waiting
        assert frozen.answer
        assert frozen.answer[0] == 201
        keys.disable("write")
        assert site.straight.ready(_putting(path, given)) is None
        assert (await site.ask("PUT", path, [*PLAIN, given], b"{}"))[0] == 401
        assert site.straight.ready(_putting(path, given)) is None
        assert site.state.active == site.databases.open["shop"].active == 0

    with site(tmp_path) as (runner, made):
        runner.run(ask(made))


def test_databases_are_closed_while_others_read(tmp_path: Path) -> None:
    async def close(site: Site) -> None:
        path, stopped, read_once = "/databases/shop/docs/items/1", threading.Event(), threading.Event()
        await _make(site)
        _, headers, body = await site.ask("GET", path)

        def read() -> None:
            while not stopped.is_set():
                asked = Asked("GET", path, PLAIN)
                if site.straight.answer(asked, asked):
                    assert asked.answer == (200, headers, body)
                    read_once.set()

        reading = [asyncio.create_task(asyncio.to_thread(read)) for _ in range(2)]
        for _ in range(10):
            assert (await site.ask("GET", path))[0] == 200
            read_once.clear()
            assert await asyncio.to_thread(read_once.wait, PATIENCE)
            assert await site.databases.close_idle(-1) == ["shop"]
        stopped.set()
        await asyncio.gather(*reading)

    with site(tmp_path) as (runner, made):
        runner.run(close(made))


def test_who_may_not_read_gets_no_answer_at_once(tmp_path: Path) -> None:
    async def ask(site: Site) -> None:
        await _make(site)
        await _make(site, "other")
        path, status = "/databases/shop/docs/items/1", "/databases/shop/docs/Raven/Backup/Status"
        keys = ApiKeys(site.databases.system.database)
        assert await site.both(path) == 200  # whoever is on this machine, while there is no key
        _, admin = keys.add("admin", ["admin"])
        assert await site.both(path) is None  # the keys have changed
        assert (await site.ask("GET", path))[0] == 401
        assert await site.both(path) is None
        _, reader = keys.add("reader", ["read"], ["shop"])
        _, backup = keys.add("backup", ["backup"], ["shop"])

        def by(key: str) -> list[tuple[str, str]]:
            return [*PLAIN, ("authorization", f"Bearer {key}")]

        for key in (admin, reader, backup):
            assert await site.both(path, by(key)) is None  # it has not been proven yet
            await site.ask("GET", path, by(key))
        assert await site.both(path, by(reader)) == await site.both(path, by(admin)) == 200
        assert await site.both(path, [*by(reader), ("if-none-match", "x")]) == 200
        assert await site.both("/databases/other/docs/items/1", by(reader)) is None
        assert await site.both("/databases/other/docs/items/1", by(admin)) == 200
        assert await site.both(path, by(backup)) is None
        assert await site.both(status, by(backup)) == 404  # which it may see
        for wrong in (reader + "x", "nobody/x", reader.replace("reader", "admin"), "x", ""):
            assert await site.both(path, by(wrong)) is None, wrong
        for scheme in ("Basic cmVhZGVyOng=", "Basic %", "Digest x"):
            assert await site.both(path, [*PLAIN, ("authorization", scheme)]) is None, scheme
        token, _ = site.state.callers.token(await site.state.callers.caller(f"Bearer {reader}", "127.0.0.1"))
        assert await site.both(path, by(token)) == 200
        once = site.state.callers.once(await site.state.callers.caller(f"Bearer {reader}", "127.0.0.1"), "shop")
        spending = [*PLAIN, ("single-use-auth-token", once)]
        assert await site.both(path, spending) is await site.both(path, by(once)) is None
        assert [(await site.ask("GET", path, spending))[0] for _ in range(2)] == [200, 401]
        local = site.databases.data_dir / "muniment.local"
        [secret] = re.findall(r'"Secret": ?"(\w+)"', local.read_text())
        assert await site.both(path, [*PLAIN, ("muniment-local", secret)]) == 200
        assert await site.both(path, [*PLAIN, ("muniment-local", secret[:-1])]) is None
        keys.disable("reader")
        assert await site.both(path, by(reader)) is None
        assert (await site.ask("GET", path, by(reader)))[0] == 401  # which reads the keys again
        assert await site.both(path, by(reader)) is await site.both(path, by(token)) is None
        assert await site.both(path, by(admin)) == 200

    with site(tmp_path) as (runner, made):
        runner.run(ask(made))


def test_what_is_remembered_of_headers_is_bounded_and_has_no_secrets(tmp_path: Path) -> None:
    async def ask(site: Site) -> None:
        await _make(site)
        _, key = ApiKeys(site.databases.system.database).add("admin", ["admin"])
        secret = [*PLAIN, ("authorization", f"Bearer {key}")]
        await site.ask("GET", "/databases/shop/docs/items/1", secret)
        for number in range(1100):
            assert await _asked(site, [*secret, ("x-number", str(number))])
            assert await _asked(site, [*secret, ("if-none-match", str(number))])
        assert await _asked(site, [*secret, ("x-large", "x" * 5000)])
        remembered = site.straight._heads._reading._found
        assert 0 < len(remembered) <= 1024
        assert key not in repr(remembered)
        assert "x" * 5000 not in repr(remembered)
        assert "if-none-match" not in repr(remembered)

    with site(tmp_path, access_log=False) as (runner, made):
        runner.run(ask(made))


async def _asked(site: Site, headers: list[tuple[str, str]]) -> bool:
    asked = Asked("GET", "/databases/shop/docs/items/1", headers)
    return site.straight.answer(asked, asked)


def test_a_log_of_requests_has_all_of_them(tmp_path: Path) -> None:
    async def ask(site: Site) -> None:
        await _make(site)
        assert await site.both("/databases/shop/docs/items/1") is None

    with site(tmp_path, access_log=True) as (runner, made):
        runner.run(ask(made))


def test_counts_of_both_ways_add_up() -> None:
    one, other = Answered(), Answered()
    one.count("GET", 200, 0.002)
    other.count("GET", 200, 2.0)
    other.count("GET", 404, 0.0)
    both = sum([other], one)
    assert both.counts == {("GET", 200): 2, ("GET", 404): 1}
    assert (both.total, sum(both.within), both.seconds) == (3, 3, 2.002)
    assert (one.total, other.total) == (1, 2)


@pytest.mark.parametrize("id", ["items/1", "a b", "größe/😀", "50%", "none", "a?b#c"])
def test_over_a_connection_both_ways_answer_the_same(shop: Database, id: str) -> None:
    encoded = quote(id, safe="/")
    if id != "none":
        shop.put(quote(id, safe=""), b'{"a":1}', **{"Raven-Entity-Name": "Items"})
    etag = shop.get(f"/docs/{encoded}").headers.get("etag", '"x"')
    for more in (
        "",
        f"If-None-Match: {etag}\r\n",
        "If-None-Match: \xff\r\n",
        "X-A: \xe9\r\n",
        "Origin: http://evil\r\n",
    ):
        answers = [
            shop.server.raw(
                f"GET {shop.root}/docs/{encoded}?q=%41 HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}{general}"
                "Connection: close\r\n\r\n".encode("latin-1")
            )
            for general in ("", "Content-Length: 0\r\n")
        ]
        without_date = [re.sub(rb"\r\ndate: [^\r]*", b"", answer) for answer in answers]
        assert without_date[0].startswith(b"HTTP/1.1 ")
        assert without_date[0] == without_date[1], (id, more)


_WITHOUT_GENERAL_WAY = """
import sys
from pathlib import Path
from muniment.server.app import App
from muniment.server.run import serve
from muniment.settings import Settings
general = App.__rsgi__
async def refuse(self, scope, proto, ready=None, coming=None):
    if scope.method == "GET" and "/docs/" in scope.path and "x-general" not in scope.headers:
        raise RuntimeError("the general way was gone")
    if scope.method == "PUT" and "/docs/" in scope.path:
        raise RuntimeError("a task was made")
    await general(self, scope, proto, ready, coming)
App.__rsgi__ = refuse
serve(Settings(data_dir=Path(sys.argv[1]), port=0), lambda url: print(url, flush=True))
"""


def test_a_server_answers_plain_reads_without_its_event_loop(tmp_path: Path) -> None:

    process = Forked(_WITHOUT_GENERAL_WAY, [str(tmp_path / "data")])
    assert process.stdout is not None
    with httpx.Client(base_url=process.stdout.readline().strip(), timeout=PATIENCE, verify=False) as client:
        try:
            headers = {"Raven-Client-Version": "3.5.0.0"}
            assert client.put("/admin/databases/shop", json={"Settings": {}}).status_code == 200
            assert client.get("/databases/shop/docs/a", headers={"X-General": "1"}).status_code == 404  # it opens it
            assert client.put("/databases/shop/docs/a", json={"n": 1}, headers=headers).status_code == 201
            assert client.get("/databases/shop/docs/a").json() == {"n": 1}
            assert client.get("/databases/shop/docs/none").status_code == 404
            assert client.get("/databases/shop/docs/").status_code == 500  # which is not plain
            counted = client.get("/metrics").text
            assert 'muniment_http_requests_total{method="GET",status="200"} 1.0' in counted
        finally:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()
