"""Figures for Prometheus, which a real parser reads, and what they tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from muniment.security.keys import new_key
from tests.cli.process import muniment
from tests.server.running import Server, running
from tests.waiting import until

Figures = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("metrics")
    with running(place / "data", alert_if_older="1h", alert_if_unrehearsed="30d") as server:
        shop = server.create("shop")
        shop.fill(10)
        assert not shop.backup(place / "backups")["Faulted"]
        shop.put("a")
        server.create("closed")
        yield server


def figures(server: Server) -> Figures:
    """Each figure by its name and the values of its labels in the order of their names."""
    answer = server.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Figures = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def figures_when(server: Server, true: Callable[[Figures], object]) -> Figures:
    """The figures as soon as this holds for them."""
    return until(lambda: found if true(found := figures(server)) else None)


def test_what_the_server_does(site: Server) -> None:
    before = figures(site)
    for _ in range(3):
        assert site.client.get("/databases/shop/docs/none").status_code == 404
    site.client.request("BREW", "/databases/shop/docs/none")
    # A request is under way until its answer has gone out, which may be after it was read here.
    after = figures_when(site, lambda found: found["muniment_http_requests_active",] == 1)
    missing = ("muniment_http_requests_total", "GET", "404")
    assert after[missing] - before.get(missing, 0) == 3
    assert after["muniment_http_requests_total", "other", "405"] == 1
    total = sum(value for key, value in after.items() if key[0] == "muniment_http_requests_total")
    assert (
        after["muniment_http_request_seconds_count",] == total == after["muniment_http_request_seconds_bucket", "+Inf"]
    )
    assert after["process_resident_memory_bytes",] > 1 << 20
    assert after["muniment_jobs_total", "backup", "completed"] == 1


def test_what_is_in_the_databases_that_are_open(site: Server) -> None:
    found = figures(site)
    assert found["muniment_database_documents", "shop"] == 11
    assert found["muniment_database_etag", "shop"] == 11
    assert found["muniment_database_file_bytes", "shop"] > found["muniment_database_content_bytes", "shop"] > 2000
    assert found["muniment_database_frozen", "shop"] == 0
    site.client.post("/databases/shop/admin/freeze?timeout=600s")
    try:
        assert figures(site)["muniment_database_frozen", "shop"] == 1
    finally:
        site.client.post("/databases/shop/admin/thaw")


def test_how_backups_are_without_opening_a_database_to_look(site: Server) -> None:
    place = str(site.data_dir.parent / "backups")
    found = figures_when(site, lambda found: ("muniment_database_backups", "shop", place) in found)
    assert found["muniment_database_backup_etag", "shop", place] == 10
    at = found["muniment_database_backup_timestamp_seconds", "shop", place]
    assert 0 <= time.time() - at < 300
    assert 0 <= found["muniment_database_backup_age_seconds", "shop", place] < 300
    assert found["muniment_database_backup_bytes", "shop", place] > 100
    assert 0 < found["muniment_database_backup_seconds", "shop", place] < 60
    assert found["muniment_database_restorable_to_timestamp_seconds", "shop", place] <= at
    assert ("muniment_database_rehearsal_seconds", "shop", place) not in found
    assert found["muniment_alert", "unrehearsed", "shop", "", "warning"] == 1
    assert not any("closed" in key for key in found)
    assert muniment("rehearse", place).code == 0
    (site.data_dir.parent / "file").write_text("no folder")
    assert site.client.post("/databases/shop/admin/backup", json={"BackupLocation": f"{place}/../file"}).status_code
    wrong = ("muniment_alert", "backup-failed", "shop", "", "critical")
    failed = ("muniment_jobs_total", "backup", "faulted")  # counted a moment after the job tells of it itself
    found = figures_when(site, lambda found: wrong in found and failed in found)
    assert found[failed] == 1
    assert sum(value for key, value in found.items() if key[:2] == ("muniment_job_failures_total", "backup")) == 1
    assert found["muniment_database_rehearsal_seconds", "shop", place] > 0
    assert ("muniment_alert", "unrehearsed", "shop", "", "warning") not in found


@pytest.mark.parametrize("access", ["nobody", "everybody", "backup"])
def test_who_may_read_them(tmp_path: Path, access: str) -> None:
    with running(tmp_path / "data", metrics_access=access) as server:
        key, text = new_key("admin", ["admin"])
        other, other_text = new_key("other", ["backup"], ["shop"])
        whole, whole_text = new_key("whole", ["backup"])
        for each in (key, other, whole):
            answer = server.client.put(
                f"/docs/{each.id}", content=each.encoded(), headers=_bearer(None if each is key else text)
            )
            assert answer.status_code == 201, answer.text

        def status(secret: str | None) -> int:
            return server.client.get("/metrics", headers=_bearer(secret)).status_code

        given = [status(secret) for secret in (None, other_text, whole_text, text)]
        assert given == {"nobody": [404] * 4, "everybody": [200] * 4, "backup": [401, 403, 200, 200]}[access]


def _bearer(secret: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def test_a_server_that_has_none_says_how_to_have_them(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="metrics-access cannot be 'all'"),
        running(tmp_path / "data", metrics_access="all"),
    ):
        pass
