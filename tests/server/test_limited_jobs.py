"""Limits of a server's jobs: asked for with a backup, in the settings, and changed while it runs."""

from __future__ import annotations

import time
from pathlib import Path

from muniment import DocumentStore
from tests.cli.process import muniment
from tests.processes import niceness_of_children
from tests.server.running import Database, Server, assert_error, running
from tests.test_limits import closed
from tests.waiting import until


def test_a_rate_is_changed_by_request_client_and_command(server: Server, shop: Database, tmp_path: Path) -> None:
    shop.fill(5000, size=500)  # more than one step, for each change of the limits lets the step go on that waits
    number = shop.begin_backup(tmp_path / "b", **{"read-rate": "1kB", "niceness": "9"})
    path = f"/operation/limits?id={number}"
    said = server.client.post(f"{path}&write-rate=1kB").json()
    assert said == {"read-rate": "1000", "write-rate": "1000", "niceness": "9"}
    assert_error(server.client.post(f"{path}&read-rate=fast"), 400, "the read rate is 'fast', no rate")
    with DocumentStore(server.url, shop.name) as store:
        assert store.operations.limit(number, write_rate="none") == {"read-rate": "1000", "niceness": "9"}
    ended = muniment("limit", str(number), "--url", server.url, "--read-rate", "none")
    assert ended.code == 0, ended.err
    assert ended.text == f"Operation {number} has these limits now\n  niceness  9\n"
    assert server.wait_for(number)["Faulted"] is False
    assert any("Limits are now: niceness 9" in each["Message"] for each in shop.status()["Messages"])
    assert_error(server.client.post(f"{path}&read-rate=1MB"), 409, "has ended")
    assert muniment("limit", str(number), "--url", server.url).code == 2
    refused = shop.request("POST", "/admin/backup", json={"BackupLocation": str(tmp_path)}, params={"hours": "late"})
    assert_error(refused, 400, "the hours are 'late'")


def test_restores_merges_and_copies_have_limits_too(server: Server, shop: Database, tmp_path: Path) -> None:
    shop.fill(1000, size=500)
    place = tmp_path / "b"
    assert not shop.backup(place)["Faulted"]
    shop.put("items/0", b"{}")
    assert not shop.backup(place, incremental="true")["Faulted"]
    [last] = place.glob("*.incremental")
    slow = "read-rate=1kB&write-rate=1kB&niceness=11"
    here = {"BackupLocation": str(place)}
    jobs = [
        ("/admin/merge", here | {"Through": last.name}),
        ("/admin/copy", here | {"Destination": str(tmp_path / "copy")}),
        ("/admin/restore", here | {"DatabaseName": f"{shop.name}-new"}),
        ("/admin/rehearse", here),
        (f"{shop.root}/admin/restore-into", here | {"OnConflict": "overwrite"}),
    ]
    for path, wanted in jobs:
        begun = server.client.post(f"{path}?{slow}", json=wanted)
        assert begun.status_code == 202, begun.text
        number = begun.json()["OperationId"]
        until(lambda: 11 in niceness_of_children(server.process.pid))
        assert not server.client.get(f"/operation/status?id={number}").json()["Completed"]
        told = server.client.post(f"/operation/limits?id={number}&read-rate=none&write-rate=none").json()
        assert told == {"niceness": "11"}
        assert server.wait_for(number)["Faulted"] is False, path
    number = server.client.post("/admin/verify?read-rate=1kB", json=here).json()["OperationId"]
    until(lambda: server.client.get(f"/operation/status?id={number}").json()["State"]["Progress"] == "verifying")
    assert not server.client.get(f"/operation/status?id={number}").json()["Completed"]
    assert server.client.post(f"/operation/limits?id={number}&read-rate=none").json() == {}
    assert server.wait_for(number)["Faulted"] is False
    refused = server.client.post("/admin/copy?hours=late", json=here | {"Destination": str(tmp_path / "copy")})
    assert_error(refused, 400, "the hours are 'late'")


def test_a_job_that_waits_for_its_hours_keeps_no_turn_from_others(tmp_path: Path) -> None:
    hours = closed().texts()["hours"]
    with running(tmp_path / "data", jobs=1, backup_hours=hours) as server:
        shop, other = server.create("shop"), server.create("other")
        shop.put("a")
        number = shop.begin_backup(tmp_path / "b")
        until(lambda: shop.status()["Progress"].startswith("waiting until "))
        now = other.begin_backup(tmp_path / "c", hours="none")  # as soon as there is a turn
        assert server.wait_for(now)["Faulted"] is False
        assert not list(tmp_path.glob("b/*"))
        assert server.client.post(f"/operation/limits?id={number}&hours=none").json() == {}
        assert server.wait_for(number)["Faulted"] is False
        waits = shop.begin_backup(tmp_path / "b")
        assert server.client.post(f"/operation/kill?id={waits}").status_code == 200
        assert server.wait_for(waits)["Canceled"]


def test_the_commands_of_a_folder_have_limits_too(tmp_path: Path) -> None:
    assert muniment("sample", str(tmp_path / "shop"), "--documents", "300").code == 0
    began = time.monotonic()
    options = ("--read-rate", "150kB", "--niceness", "3", "--json")
    ended = muniment("backup", str(tmp_path / "shop"), "--dest", str(tmp_path / "b"), *options)
    assert ended.code == 0, ended.err
    assert time.monotonic() - began > ended.json["bytes"] / 150_000 > 0.5
    assert muniment("backup", str(tmp_path / "shop"), "--dest", str(tmp_path / "b"), "--hours", "x").code == 2
    for command in (["copy", str(tmp_path / "b"), str(tmp_path / "c")], ["restore", str(tmp_path / "b"), "--to", "x"]):
        assert muniment(*command, "--write-rate", "fast").code == 2
    pace = ("--write-rate", str(ended.json["file_bytes"] * 2), "--niceness", "3", "--json")
    copied = muniment("copy", str(tmp_path / "b"), str(tmp_path / "c"), *pace)
    assert copied.code == 0, copied.err
    assert copied.json["seconds"] > 0.4
    pace = ("--read-rate", str(ended.json["bytes"] * 2), "--niceness", "3", "--json")
    restored = muniment("restore", str(tmp_path / "c"), "--to", str(tmp_path / "again"), *pace)
    assert restored.code == 0, restored.err
    assert restored.json["seconds"] > 0.4
