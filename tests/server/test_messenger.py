"""Webhooks, pings and apprise, against real receivers that fail, hang and come back."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.receiver import Receiver
from tests.server.running import assert_error, running
from tests.waiting import until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_webhook_is_told_what_is_wrong_and_when_it_is_over(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "file").write_text("no folder")
    receiver.statuses = [503]  # and is told again
    began = int(time.time())
    hooks = f"{receiver.url}/hook/very-secret,http://127.0.0.1:9/very-secret"
    with running(tmp_path / "data", alert_webhook_secret_file=str(tmp_path / "secret"), alert_webhooks=hooks) as server:
        shop = server.create("shop")
        shop.put("a")
        assert shop.backup(tmp_path / "backups")["Faulted"] is False
        bad = shop.request("POST", "/admin/backup", json={"BackupLocation": str(tmp_path / "file")})
        assert server.wait_for(bad.json()["OperationId"])["Faulted"]
        until(lambda: len(receiver.got) == 2)
        (path, headers, body), again = receiver.got
        assert (path, body) == (again[0], again[2]) == ("/hook/very-secret", body)
        told = json.loads(body)
        assert told["server"] == server.url
        assert (told["event"], told["condition"], told["severity"]) == ("alert", "backup-failed", "critical")
        assert (told["database"], told["destination"]) == ("shop", "")
        assert "the last backup failed at " in told["text"]
        stamp, _, proof = headers["muniment-signature"].removeprefix("t=").partition(",v1=")
        assert began <= int(stamp) <= time.time()
        assert hmac.new(b"s3cret", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest() == proof
        assert headers["content-type"] == "application/json"
        assert server.client.get("/admin/alerts").json()[0]["condition"] == "backup-failed"
        assert shop.backup(tmp_path / "backups")["Faulted"] is False
        until(lambda: receiver.events()[-1] == ("recovered", "backup-failed"))
        assert server.client.get("/admin/alerts").json() == []
        assert "very-secret" not in server.log()
        assert "alert: critical: shop: backup-failed" in server.log()


def test_what_was_told_is_not_told_again_after_a_restart_and_its_end_is(tmp_path: Path, receiver: Receiver) -> None:
    settings: dict[str, Any] = {"alert_webhooks": receiver.url, "alert_if_older": "1h"}
    with running(tmp_path / "data", **settings) as server:
        server.create("shop").put("a")
        until(lambda: ("alert", "backup-missing") in receiver.events())
    with running(tmp_path / "data", **settings) as server:
        shop = type(server.create("other"))(server, "shop")
        assert [each["database"] for each in server.client.get("/admin/alerts").json()] == ["shop"]  # not opened yet
        assert shop.backup(tmp_path / "backups")["Faulted"] is False
        until(lambda: ("recovered", "backup-missing") in receiver.events())
        assert [json.loads(body)["database"] for _, _, body in receiver.got].count("shop") == 2


def test_pings_are_told_of_jobs_and_redirects_are_not_followed(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [302]
    (tmp_path / "file").write_text("no folder")
    pings = f"{receiver.url}/backups/{{database}}?x=1,{receiver.url}/all/{{job}}"
    with running(tmp_path / "data", ping_urls=pings) as server:
        shop = server.create("a shop")
        assert shop.backup(tmp_path / "backups")["Faulted"] is False
        until(lambda: len(receiver.got) == 4)
        bad = shop.request("POST", "/admin/backup", json={"BackupLocation": str(tmp_path / "file")})
        assert server.wait_for(bad.json()["OperationId"])["Faulted"]
        until(lambda: len(receiver.got) == 8)
        mine = [path for path in receiver.paths() if path.startswith("/backups")]
        assert mine == [f"/backups/a%20shop{end}?x=1" for end in ("/start", "", "/start", "/fail")]
        assert [path for path in receiver.paths() if path.startswith("/all")] == [
            f"/all/backup{end}" for end in ("/start", "", "/start", "/fail")
        ]
        assert b"file" in receiver.got[-1][2]
        assert "/elsewhere" not in receiver.paths()
        assert shop.get("/smuggler/export").status_code == 200
        until(lambda: "/all/export" in receiver.paths())


def test_nobody_who_answers_keeps_no_job_waiting(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500] * 100
    pings = f"{receiver.url},http://127.0.0.1:9/gone"
    with running(tmp_path / "data", ping_urls=pings, alert_webhooks=receiver.url) as server:
        shop = server.create("shop")
        for _ in range(3):
            assert shop.backup(tmp_path / "backups")["Faulted"] is False
        assert len(receiver.got) < 24  # as many as if each had been tried four times, half a minute long
        assert server.stop() == 0


@pytest.mark.skipif(find_spec("apprise") is None, reason="apprise is not installed: muniment[alerts]")
def test_mail_and_chat_by_apprise(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "urls").write_text(f"# who is told\n{receiver.url.replace('http', 'json')}/very-secret\n")
    with running(tmp_path / "data", alert_apprise_file=str(tmp_path / "urls"), alert_if_older="1h") as server:
        shop = server.create("shop")
        shop.put("a")
        until(lambda: receiver.got)
        told = json.loads(receiver.got[0][2])
        assert (told["title"], told["type"]) == ("Muniment: shop: backup-missing", "failure")
        assert "there is no backup" in told["message"]
        shop.backup(tmp_path / "backups")
        until(lambda: len(receiver.got) > 1)
        told = json.loads(receiver.got[1][2])
        assert (told["title"], told["type"]) == ("Muniment: shop: backup-missing is over", "success")
        assert "very-secret" not in server.log()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alert_webhooks": "ftp://secret"}, "the address of a webhook is no URL"),
        ({"alert_webhooks": "https://"}, "the address of a webhook is no URL"),
        ({"ping_urls": "secret"}, "the address of a ping is no URL"),
        ({"ping_urls": "https://h/{name}"}, "ping-urls has {name}"),
        ({"alert_webhook_secret_file": "/none"}, "there is no file /none"),
        ({"alert_apprise_file": "/none"}, "there is no file /none"),
    ],
)
def test_addresses_that_cannot_be_are_refused_at_the_start(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RuntimeError) as refused, running(tmp_path / "data", **settings):
        pass
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_no_document_names_an_address(tmp_path: Path, receiver: Receiver) -> None:
    with running(tmp_path / "data", alert_if_older="1h") as server:
        shop = server.create("shop")
        assert_error(
            server.client.put("/admin/databases/x", json={"Settings": {"Muniment/AlertWebhooks": receiver.url}}),
            400,
            "there is no setting Muniment/AlertWebhooks",
        )
        shop.put("a")
        until(lambda: server.client.get("/admin/alerts").json())
        assert receiver.got == []
