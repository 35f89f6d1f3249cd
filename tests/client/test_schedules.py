"""Schedules, and what keeps backups in order, asked of a server from Python in both faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentStore, Policy
from muniment.backup.schedule import Schedule
from muniment.client import AsyncDocumentStore
from muniment.errors import DamagedBackup, InvalidInput, NotFound, UnreachablePoint
from muniment.limits import Limits
from tests.client.serving import blocking
from tests.sampled import some
from tests.waiting import until


@pytest.fixture(params=["store", "async store"])
def both_stores(request: pytest.FixtureRequest, store: DocumentStore) -> Any:
    """A store, in both faces."""
    if request.param == "store":
        yield store
        return
    with blocking(lambda: AsyncDocumentStore(store.url, store.name)) as asynchronous:
        yield asynchronous


@some(1)
def test_schedules_and_jobs(both_stores: Any, store: DocumentStore) -> None:
    schedules, name = both_stores.schedules, store.name
    store.put("orders/1", {"lines": 1})
    place = f"~/Scheduled/{name}"
    wanted = Schedule(
        destination=place, databases=(name,), full="0 1 * * *", expire="@daily", retention=Policy(keep_last=1)
    )
    made = schedules.put("nightly", wanted)
    assert made.due["full"].endswith("T01:00:00Z")
    assert [len(times) for times in made.times.values()] == [5, 5]
    assert schedules.get("nightly").schedule.retention == Policy(keep_last=1)
    assert "nightly" in [each.name for each in schedules.all()]
    assert schedules.pause("nightly", "2090-01-01T00:00:00Z").schedule.due["full"] > "2090"
    assert schedules.resume("nightly").schedule.due["full"] < "2090"
    assert [run.task for run in schedules.run("nightly").runs] == ["full"]
    ended = until(lambda: [run for run in schedules.runs(name, "nightly") if run.ended])
    assert [(run.state, run.result["documents"]) for run in ended] == [("completed", 1)]
    [known] = until(lambda: [each for each in schedules.destinations() if each.database == name and each.state])
    assert (known.schedules, Path(known.destination).name) == (["nightly"], name)
    assert known.state.last_backup.name in ended[0].result["backup"]
    for _ in range(2):
        store.admin.start_backup(f"{place}-by-hand").wait()
    assert schedules.start_verification(f"{place}-by-hand").wait().result["backups"] == 2
    with pytest.raises(DamagedBackup):
        schedules.start_rehearsal(f"{place}-by-hand", query="SELECT 0").wait()
    policy = Policy(keep_last=1)
    planned = schedules.start_expiry(f"{place}-by-hand", policy, dry_run=True).wait().result
    assert [each["kept"] for each in planned["decisions"]] == [True, True]  # the last one is not proven any more
    good = schedules.start_rehearsal(f"{place}-by-hand", query="SELECT count(*) FROM documents").wait().result
    assert good["seconds"] > 0
    planned = schedules.start_expiry(f"{place}-by-hand", Policy(keep_last=1), dry_run=True).wait().result
    assert [each["kept"] for each in planned["decisions"]] == [False, True]
    assert schedules.start_expiry(f"{place}-by-hand", Policy(keep_last=1), grace="0s").wait().result["removed"] == 1
    copied = schedules.start_copy(f"{place}-by-hand", f"{place}-copied", limits=Limits(write_rate=10**9)).wait()
    assert len(copied.result["copied"]) == 1
    again = both_stores.admin.start_restore(
        f"{place}-gone", f"{name}-again", copies=[f"{place}-copied"], limits=Limits(niceness=3)
    ).wait()
    assert any("it was read from" in message for message in again.messages)
    both = both_stores.admin.start_backup(f"{place}-one", also=[f"{place}-two"], in_clear=False).wait()
    assert [Path(each["backup"]).parent.name for each in both.result["also"]] == [f"{name}-two"]
    store.put("orders/2", {})
    later = store.admin.start_backup(f"{place}-by-hand", incremental=True).wait().result
    assert later is not None
    through = later["backup"].rpartition("/")[2]
    merged = schedules.start_merge(f"{place}-by-hand", through, delete_merged=True).wait().result
    assert (merged["kind"], merged["documents"]) == ("full", 2)
    assert schedules.start_verification(f"{place}-by-hand").wait().result["backups"] == 1
    proven = schedules.start_verification(f"{place}-by-hand", backup=Path(merged["backup"]).name).wait().result
    assert (proven["etag"], proven["documents"]) == (merged["etag"], 2)
    with pytest.raises(UnreachablePoint):
        schedules.start_rehearsal(f"{place}-by-hand", etag=10**6).wait()
    for begin in (schedules.start_verification, schedules.start_rehearsal):
        with pytest.raises(TypeError, match="ettag"):  # which would prove another moment
            begin(f"{place}-by-hand", ettag=5)
    with pytest.raises(InvalidInput, match="Through is missing"):
        schedules.start_merge(f"{place}-by-hand", "")
    schedules.delete("nightly")
    with pytest.raises(NotFound):
        schedules.get("nightly")
    with pytest.raises(NotFound):
        schedules.delete("nightly")
    with pytest.raises(NotFound):
        schedules.run("nightly")


def test_what_makes_no_sense(both_stores: Any, store: DocumentStore) -> None:
    with pytest.raises(InvalidInput, match="says no time"):
        both_stores.schedules.put("x", Schedule(destination="~/x", full="daily"))
    with pytest.raises(InvalidInput, match="cannot be the name"):
        both_stores.schedules.put("x" * 200, Schedule(destination="~/x", full="@daily"))
    with pytest.raises(InvalidInput, match="which backups to keep"):
        both_stores.schedules.start_expiry("~/x", Policy())
