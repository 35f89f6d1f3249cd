"""Any moment and any part through a server: into new databases, and into one that is in use."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from muniment import MaintenanceActions
from muniment.backup.restore import dry_run
from tests.processes import children
from tests.sampled import some
from tests.server.running import FILLED, HELD, Database, Server, assert_error, running
from tests.waiting import until

ORDERS = {"Raven-Entity-Name": "Orders"}


@dataclass(frozen=True)
class Chain:
    """A full backup at etag 3, one with history to etag 6, and the database, in which more has happened since."""

    shop: Database
    place: Path
    names: list[str]

    @property
    def location(self) -> dict[str, Any]:
        return {"BackupLocation": str(self.place)}


@pytest.fixture
def chain(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Chain:
    name = f"chain-{request.node.name}".translate(str.maketrans("[]/", "---"))[:100]
    shop = server.create(name, **{"Muniment/History": "true"})
    place = tmp_path / "backups"
    shop.put("orders/1", b'{"version":1}', **ORDERS)
    shop.put("orders/2", b'{ "price":1.10 }', **ORDERS)
    shop.request("PUT", "/static/orders/2/photo", content=b"\x89PNG")
    assert not shop.backup(place, incremental="true")["Faulted"]
    for version in (2, 3, 4):
        shop.put("orders/1", b'{"version":%d}' % version, **ORDERS)
    assert not shop.backup(place, incremental="true")["Faulted"]
    shop.request("DELETE", "/docs/orders/1")
    shop.put("orders/2", b'{"changed":true}', **ORDERS)
    shop.put("orders/3", b"{}", **ORDERS)
    shop.put("loose")
    return Chain(shop, place, sorted(path.name for path in place.iterdir() if path.is_dir()))


def seen(shop: Database) -> dict[str, tuple[Any, ...]]:
    """Everything with its etag: documents' bytes and headers, attachments' contents."""
    found: dict[str, tuple[Any, ...]] = {}
    for document in shop.get("/docs", params={"pageSize": 1024}).json():
        id = document["@metadata"]["@id"]
        answer = shop.get(f"/docs/{id}")
        found[id] = (answer.content, answer.headers["last-modified"], answer.headers["etag"])
    for attachment in shop.get("/static", params={"pageSize": 1024}).json():
        answer = shop.get(f"/static/{attachment['Key']}")
        found[attachment["Key"]] = (answer.content, answer.headers["etag"])
    return found


@some(2)
@pytest.mark.parametrize(
    ("point", "version"),
    [
        ({"Etag": 4}, 2),
        ({"Backup": 0}, 1),
        ({"At": "now"}, 4),
        ({"At": None, "Etag": None, "Backup": None, "Ids": None}, 4),
        ({"Etag": 5, "Ids": ["ORDERS/1"]}, 3),
    ],
)
def test_a_moment_is_planned_and_restored(chain: Chain, point: dict[str, Any], version: int) -> None:
    server, copy = chain.shop.server, f"{chain.shop.name}-copy"
    wanted = chain.location | point
    if "Backup" in point and point["Backup"] is not None:
        wanted["Backup"] = chain.names[0]
    if wanted.get("At"):
        wanted["At"] = MaintenanceActions.plan_restore(chain.place).manifest.snapshot.time
    answer = server.client.post("/admin/restore/plan", json=wanted)
    assert answer.status_code == 200, answer.text
    at = datetime.fromisoformat(wanted["At"]).astimezone(UTC) if wanted.get("At") else None
    plan = MaintenanceActions.plan_restore(chain.place, at=at, etag=wanted.get("Etag"), backup=wanted.get("Backup"))
    assert answer.json() == dry_run(plan, str(chain.place))
    ended = server.restore(**wanted, DatabaseName=copy)
    assert not ended["Faulted"], ended
    restored = Database(server, copy)
    assert restored.get("/docs/orders/1").json() == {"version": version}
    if not point.get("Ids"):
        assert ended["State"]["Documents"] == restored.get("/stats").json()["CountOfDocuments"]
    assert (restored.get("/docs/orders/2").status_code == 200) == ("Ids" not in point or point["Ids"] is None)


@some(1)
@pytest.mark.parametrize("new", [None, False, True])
def test_another_database_can_be_made_of_it(chain: Chain, new: bool | None) -> None:
    server, copy = chain.shop.server, Database(chain.shop.server, f"{chain.shop.name}-other")
    assert not server.restore(**chain.location, GenerateNewDatabaseId=new, DatabaseName=copy.name)["Faulted"]
    same = copy.get("/stats").json()["DatabaseId"] == chain.shop.get("/stats").json()["DatabaseId"]
    assert same == (not new)
    assert bool(copy.backup(chain.place, incremental="true")["Faulted"]) == bool(new)


def test_a_moment_of_two_histories_wants_a_lineage(chain: Chain) -> None:
    server, copy = chain.shop.server, Database(chain.shop.server, f"{chain.shop.name}-copy")
    assert not server.restore(**chain.location, Backup=chain.names[0], DatabaseName=copy.name)["Faulted"]
    copy.put("orders/1", b'{"version":"copied"}', **ORDERS)
    assert not copy.backup(chain.place, incremental="true")["Faulted"]
    assert not chain.shop.backup(chain.place, incremental="true")["Faulted"]
    for point in ({}, {"Etag": 4}):
        wanted = {**chain.location, **point}
        body = assert_error(server.client.post("/admin/restore/plan", json=wanted), 400, "2 histories")
        assert body["Kind"] == "AmbiguousPoint"
        lineages = re.findall("--lineage ([0-9a-f]+)", body["Hint"])
        plans = [server.client.post("/admin/restore/plan", json={**wanted, "Lineage": id}).json() for id in lineages]
        assert len({plan["backups"][-1]["backup"] for plan in plans}) == 2
    into = {**chain.location, "DryRun": True}
    assert_error(chain.shop.request("POST", "/admin/restore-into", json=into), 400, "2 histories")


def test_parts_of_a_moment(chain: Chain) -> None:
    server = chain.shop.server
    parts: list[tuple[dict[str, Any], set[str]]] = [
        ({"Collections": ["orders"]}, {"orders/1", "orders/2"}),
        ({"Ids": ["orders/2"], "Collections": []}, {"orders/2", "orders/2/photo"}),
        ({"IdPrefixes": ["orders/2/"]}, {"orders/2/photo"}),
    ]
    for number, (part, expected) in enumerate(parts):
        copy = f"{chain.shop.name}-part{number}"
        assert not server.restore(**chain.location, **part, DatabaseName=copy)["Faulted"]
        assert set(seen(Database(server, copy))) == expected


def test_what_is_damaged_is_read_from_a_copy(chain: Chain, tmp_path: Path) -> None:
    server, copy = chain.shop.server, tmp_path / "copy"
    wanted = chain.location | {"Destination": str(copy)}
    number = server.client.post("/admin/copy", json=wanted).json()["OperationId"]
    assert len(server.wait_for(number)["State"]["Result"]["copied"]) == 2
    damaged = next((chain.place / chain.names[1]).glob("documents-*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100] + bytes(9) + content[109:])
    shutil.rmtree(chain.place / chain.names[0])
    name = f"{chain.shop.name}-copied"
    for copies in ([], [str(tmp_path / "nothing")]):
        failed = server.client.post("/admin/restore", json=chain.location | {"DatabaseName": name, "Copies": copies})
        assert_error(failed, 500, "missing")
    wanted = chain.location | {"Copies": [str(tmp_path / "nothing"), str(copy)]}
    planned = server.client.post("/admin/restore/plan", json=wanted | {"DatabaseName": name}).json()
    assert [each["kind"] for each in planned["backups"]] == ["full", "incremental"]
    assert not server.restore(**wanted, DatabaseName=name)["Faulted"]
    messages = server.client.get("/docs/Raven/Restore/Status").json()["Messages"]
    notes = [each for each in messages if "it was read from" in each]
    assert [str(copy / chain.names[0]) in notes[0], str(copy / chain.names[1] / damaged.name) in notes[1]] == [True] * 2
    told = into(chain.shop, **wanted, OnConflict="overwrite")
    assert told["State"]["Difference"]["changed"] == 1
    assert seen(chain.shop).keys() == seen(Database(server, name)).keys()
    outside = server.client.post("/admin/restore", json=chain.location | {"Copies": ["/etc"], "DatabaseName": "x"})
    assert outside.status_code == 403


@some(1)
@pytest.mark.parametrize("path", ["/admin/restore", "/admin/restore/plan", "into"])
def test_what_can_not_be_reached_is_refused_at_once(chain: Chain, path: str) -> None:
    shop, client = chain.shop, chain.shop.server.client
    more: dict[str, Any] = {"DatabaseName": "never"}
    if path == "into":
        path, more = f"{shop.root}/admin/restore-into", {"OnConflict": "overwrite"}
    before = len(client.get("/operations").json())

    def refused(status: int, kind: str, *words: str, **point: Any) -> str:
        body = assert_error(client.post(path, json={**chain.location, **more, **point}), status, *words)
        assert body["Kind"] == kind
        return str(body["Hint"])

    assert "(etag 6)" in refused(404, "UnreachablePoint", "after the last backup", Etag=99)
    assert "(etag 3)" in refused(404, "UnreachablePoint", "before the first backup", At="2020-01-01T00:00Z")
    assert refused(404, "BackupNotFound", "'none'", Backup="none")
    refused(400, "InvalidInput", "each name a moment", Etag=4, Backup=chain.names[0])
    refused(400, "InvalidInput", "is not a time", At="tomorrow")
    refused(400, "InvalidInput", "has no zone", At="2020-01-01T00:00")
    refused(404, "BackupNotFound", "no backup has a lineage that begins with 'x'", Lineage="x")
    refused(400, "InvalidInput", "is empty", Ids=[""])
    refused(422, "InvalidDocument", "cannot be read", Ids="orders/1")
    refused(422, "InvalidDocument", "cannot be read", Etag="4")
    (chain.place / chain.names[0] / "manifest.json").rename(chain.place / "kept")
    refused(500, "DamagedBackup", "which is missing or was changed")
    assert len(client.get("/operations").json()) == before
    assert client.get("/docs/Raven/Restore/InProgress").status_code == 404
    assert client.get("/admin/databases/never").status_code == 404


def test_a_plan_says_when_the_name_is_taken(chain: Chain) -> None:
    post = chain.shop.server.client.post
    assert post("/admin/restore/plan", json=chain.location | {"DatabaseName": chain.shop.name}).status_code == 400
    assert post(f"{chain.shop.root}/admin/restore/plan", json=chain.location).status_code == 400
    assert_error(post("/admin/restore/plan", json={}), 400, "BackupLocation")


def into(shop: Database, **wanted: Any) -> dict[str, Any]:
    """The status of a restore into this database when it has ended."""
    answer = shop.request("POST", "/admin/restore-into", json=wanted)
    assert answer.status_code == 202, answer.text
    return shop.server.wait_for(answer.json()["OperationId"])


def test_into_a_database_that_is_used(chain: Chain) -> None:
    shop = chain.shop
    copy = f"{shop.name}-then"
    shop.server.restore(**chain.location, DatabaseName=copy)
    then, now = seen(Database(shop.server, copy)), seen(shop)
    ended = into(shop, **chain.location, DryRun=True)
    assert (ended["Faulted"], ended["State"].get("Written")) == (False, None)
    difference = ended["State"]["Difference"]
    asked = {"id": str(ended["Id"]), "changes": "true"}
    assert shop.server.client.get("/operation/status", params=asked).json()["Changes"] == [
        {"kind": "document", "collection": None, "added": [], "changed": [], "deleted": ["loose"]},
        {"kind": "document", "collection": "Orders"}
        | {"added": ["orders/1"], "changed": ["orders/2"], "deleted": ["orders/3"]},
    ]
    assert (difference["etag"], difference["added"], difference["changed"], difference["deleted"]) == (6, 1, 1, 2)
    assert seen(shop) == now

    failed = into(shop, **chain.location, OnConflict="fail")
    assert (failed["Faulted"], failed["State"]["Kind"]) == (True, "Conflict")
    assert failed["State"]["Difference"] == difference
    assert seen(shop) == now

    skipped = into(shop, **chain.location, OnConflict="skip")
    assert (skipped["Faulted"], skipped["State"]["Written"]) == (False, 1)
    after = seen(shop)
    assert after.pop("orders/1")[:2] == then["orders/1"][:2]
    assert after == now

    written = into(shop, **chain.location, OnConflict="overwrite")["State"]
    assert (written["Written"], written["Documents"]) == (3, 3)
    assert {id: thing[:-1] for id, thing in seen(shop).items()} == {id: thing[:-1] for id, thing in then.items()}
    assert not list((shop.server.data_dir / "Databases" / shop.name).glob("restoring-*"))


def test_into_only_what_is_selected_of_an_earlier_moment(chain: Chain) -> None:
    shop, now = chain.shop, seen(chain.shop)
    ended = into(shop, **chain.location, Etag=4, Ids=["orders/1", "none"], OnConflict="skip")
    assert ended["Faulted"]
    assert "neither document nor attachment 'none'" in ended["State"]["Error"]
    assert seen(shop) == now
    assert not into(shop, **chain.location, Etag=4, Ids=["orders/1"], OnConflict="skip")["Faulted"]
    after = seen(shop)
    assert after.pop("orders/1")[0] == b'{"version":2}'
    assert after == now


def test_into_what_can_not_be(chain: Chain) -> None:
    shop, client = chain.shop, chain.shop.server.client
    post = shop.request
    assert_error(post("POST", "/admin/restore-into", json=chain.location), 400, "OnConflict")
    assert_error(post("POST", "/admin/restore-into", json=chain.location | {"OnConflict": "merge"}), 422)
    assert_error(post("POST", "/admin/restore-into", json={"OnConflict": "skip"}), 400, "BackupLocation")
    assert_error(client.post("/admin/restore-into", json=chain.location | {"OnConflict": "skip"}), 400, "system")
    other = shop.server.create(f"{shop.name}-other")
    wanted = chain.location | {"OnConflict": "skip"}
    foreign = other.request("POST", "/admin/restore-into", json=wanted)
    assert assert_error(foreign, 409, "another database")["Kind"] == "ForeignBackup"
    assert not into(other, **wanted, OtherDatabase=True)["Faulted"]
    assert other.get("/docs/orders/1").json() == {"version": 4}


def test_the_database_can_not_be_deleted_under_it_and_is_afterwards(chain: Chain) -> None:
    shop = chain.shop
    operation = shop.request("POST", "/admin/restore-into", json=chain.location | {"OnConflict": "skip"}).json()
    deleted = shop.server.client.delete(f"/admin/databases/{shop.name}", params={"hard-delete": "true"})
    assert deleted.status_code == 200  # when it had ended
    assert shop.server.wait_for(operation["OperationId"])["State"]["Written"] == 1
    assert not (shop.server.data_dir / "Databases" / shop.name).exists()


LOADING: Final = {"write-rate": "1"}  # with which a restore stands still as soon as it has loaded something


@dataclass(frozen=True)
class Lossy:
    """A server with a database that has lost much of what its backup holds."""

    server: Server
    shop: Database
    wanted: dict[str, Any]

    def begin(self) -> int:
        answer = self.shop.request("POST", "/admin/restore-into", json=self.wanted, params=LOADING)
        return int(answer.json()["OperationId"])

    def progress(self, operation: int) -> dict[str, Any]:
        told: dict[str, Any] = self.server.client.get("/operation/status", params={"id": operation}).json()["State"]
        return told

    def begin_reading(self) -> int:
        """A restore that stands still while it reads the backup."""
        operation = self.begin()
        until(lambda: self.progress(operation)["Progress"] == "reading documents")
        return operation

    def begin_writing(self) -> int:
        """A restore that stands still in the middle of writing."""
        assert self.shop.request("POST", "/admin/freeze").status_code == 200
        operation = self.begin()
        self.server.let_go(operation)
        until(lambda: self.progress(operation)["Progress"] == "writing")
        assert self.server.client.post("/operation/limits", params={"id": operation, **HELD}).status_code == 200
        assert self.shop.request("POST", "/admin/thaw").status_code == 200
        until(lambda: self.progress(operation)["Documents"] > 0)
        assert self.progress(operation)["Progress"] == "writing"
        return operation

    def goes_well(self) -> None:
        """All that is missing can be restored."""
        assert not into(self.shop, **self.wanted)["Faulted"]
        assert self.shop.get("/stats").json()["CountOfDocuments"] == FILLED


def kill_child(process: int) -> None:
    """Kill the child as soon as there is one."""
    for child in until(lambda: children(process)):
        os.kill(child, signal.SIGKILL)


@pytest.fixture
def lossy(filled: Path) -> Iterator[Lossy]:
    with running(filled) as server:
        shop = Database(server, "shop")
        shop.batch([{"Method": "DELETE", "Key": f"items/{n}"} for n in range(FILLED // 2)])
        yield Lossy(server, shop, {"BackupLocation": str(filled.with_name("b")), "OnConflict": "overwrite"})


STAGES: dict[str, Callable[[Lossy], int]] = {"reading": Lossy.begin_reading, "writing": Lossy.begin_writing}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_cancelled_it_changes_nothing_and_can_begin_again(lossy: Lossy, stage: str) -> None:
    server = lossy.server
    before = lossy.shop.fingerprint()
    operation = STAGES[stage](lossy)
    server.client.get("/operation/kill", params={"id": operation})
    ended = server.wait_for(operation)
    assert (ended["Canceled"], ended["State"]["Kind"]) == (True, "Cancelled")
    assert lossy.shop.fingerprint() == before
    lossy.goes_well()


def test_a_child_that_is_killed_changes_nothing(lossy: Lossy) -> None:
    server = lossy.server
    before = lossy.shop.fingerprint()
    operation = lossy.begin()
    kill_child(server.process.pid)
    ended = server.wait_for(operation)
    assert ended["Faulted"]
    assert "ended with code -9" in ended["State"]["Error"]
    assert lossy.shop.fingerprint() == before
    assert not list((server.data_dir / "Databases" / "shop").glob("restoring-*"))
    lossy.goes_well()


def test_a_new_database_is_not_made_by_a_child_that_is_killed(lossy: Lossy) -> None:
    server = lossy.server
    wanted = lossy.wanted | {"DatabaseName": "copy"}
    operation = server.client.post("/admin/restore", json=wanted, params=HELD).json()["OperationId"]
    kill_child(server.process.pid)
    assert server.wait_for(operation)["Faulted"]
    assert_error(Database(server, "copy").get("/docs"), 503, "could not find")
    assert not (server.data_dir / "copy").exists()
    assert not server.restore(**wanted)["Faulted"]
    assert Database(server, "copy").get("/stats").json()["CountOfDocuments"] == FILLED
    assert not (server.data_dir / "copy.restoring").exists()


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_server_that_is_killed_leaves_the_database_as_it_was(lossy: Lossy, stage: str) -> None:
    server = lossy.server
    before = lossy.shop.fingerprint()
    STAGES[stage](lossy)
    server.kill()
    with running(server.data_dir) as again:
        shop = Database(again, "shop")
        assert shop.fingerprint() == before
        replace(lossy, server=again, shop=shop).goes_well()
        names = {path.name.partition("-")[0] for path in (again.data_dir / "Databases" / "shop").iterdir()}
    assert "restoring" not in names


def test_writing_goes_on_while_it_is_read_and_compared(lossy: Lossy) -> None:
    operation = replace(lossy, wanted=lossy.wanted | {"OnConflict": "skip"}).begin_reading()
    for n in range(20):
        assert lossy.shop.put(f"mine/{n}").status_code == 201
    assert not lossy.server.client.get("/operation/status", params={"id": operation}).json()["Completed"]
    lossy.server.let_go(operation)
    ended = lossy.server.wait_for(operation)
    assert not ended["Faulted"], ended
    assert lossy.shop.get("/stats").json()["CountOfDocuments"] == FILLED + 20


@pytest.mark.parametrize("path", ["/admin/restore", "/admin/restore/plan"])
def test_a_folder_that_is_not_there(server: Server, tmp_path: Path, path: str) -> None:
    body = {"DatabaseName": "n", "BackupLocation": str(tmp_path / "none")}
    told = assert_error(server.client.post(path, json=body), 404, "there is no folder")
    assert told["Kind"] == "BackupNotFound"
