"""Commands before and after jobs: what they get, what their failure does, and whose they may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment.backup.job import Job
from muniment.server.audit import Audit
from muniment.server.hooks import Hooks
from muniment.server.operations import Operation, Operations
from muniment.settings import InvalidSetting
from tests.server.running import Server, running


@pytest.fixture
def operations(tmp_path: Path) -> Any:
    """Gives the jobs of a server with hooks as this TOML says; `{out}` in it is a file."""

    def operations(text: str) -> Operations:
        file = tmp_path / "hooks.toml"
        file.write_text(text.replace("{out}", str(tmp_path / "out")))
        file.chmod(0o600)
        return Operations(4, Audit(tmp_path / "audit"), Hooks(str(file)))

    return operations


def done(operations: Operations, work: Any = lambda job: 7) -> Operation:
    operation = operations.new(Job("backup", work), "shop", None)  # type: ignore[arg-type]
    operation.place, operation.result = "/b", lambda number: {"number": number}
    operations.start(operation)
    operation.job.join()
    return operation


CAT = '["/bin/sh", "-c", "cat >> {out}; echo >> {out}"]'


def test_hooks_get_the_job_before_and_after(operations: Any, tmp_path: Path) -> None:
    done(operations(f"[before-backup]\ncommand = {CAT}\n[after-backup]\ncommand = {CAT}\n"))
    before, after = map(json.loads, (tmp_path / "out").read_text().splitlines())
    assert before.pop("began") == after.pop("began")
    told = {"job": "backup", "operation": 1, "database": "shop", "place": "/b"}
    assert before == {"when": "before-backup", **told}
    assert after.pop("seconds") >= 0
    assert after == {"when": "after-backup", **told, "outcome": "completed", "result": {"number": 7}}


def test_what_fails_is_told_to_the_one_after(operations: Any, tmp_path: Path) -> None:
    def failing(job: Job[Any]) -> None:
        raise InvalidSetting("no", "")

    done(operations(f"[after-backup]\ncommand = {CAT}\n"), failing)
    told = json.loads((tmp_path / "out").read_text())
    assert (told["outcome"], told["error"], told["kind"]) == ("failed", "no", "InvalidSetting")


FAIL = '["/bin/sh", "-c", "echo the disk is away; exit 3"]'


def test_a_hook_that_fails_before_keeps_the_job_from_beginning(operations: Any) -> None:
    worked: list[int] = []
    job = done(operations(f"[before-backup]\ncommand = {FAIL}\n"), lambda job: worked.append(1)).job
    assert (job.state, worked) == ("faulted", [])
    assert str(job.error) == "the hook before-backup ended with 3: the disk is away"


def test_a_hook_that_fails_after_fails_a_job_that_is_complete(operations: Any) -> None:
    job = done(operations(f"[after-backup]\ncommand = {FAIL}\n")).job
    assert job.state == "faulted"
    assert str(job.error).startswith("the backup itself is complete, but the hook after-backup ended with 3")


def test_a_failure_that_is_a_note(operations: Any) -> None:
    job = done(operations(f'[before-backup]\ncommand = {FAIL}\non-failure = "note"\n')).job
    assert (job.state, job.result) == ("completed", 7)
    assert any("Note: the hook before-backup ended with 3" in message.text for message in job.messages)


def test_a_hook_has_so_long(operations: Any) -> None:
    job = done(operations('[before-backup]\ncommand = ["/bin/sh", "-c", "sleep 60 & sleep 60"]\nseconds = 0.2\n')).job
    assert str(job.error) == "the hook before-backup did not end within 0.2 s"


def test_a_program_that_is_not_there(operations: Any) -> None:
    job = done(operations('[before-backup]\ncommand = ["/no/such/program"]\n')).job
    assert str(job.error) == "the hook before-backup could not be run: No such file or directory"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[before-lunch]\ncommand = ['/bin/true']", "a hook 'before-lunch'"),
        ("[before-backup]\ncommand = ['true']", "no command with an absolute path"),
        ("[before-backup]\ncommand = []", "no command with an absolute path"),
        ("[before-backup]\ncommand = ['/bin/true']\nseconds = 0", "or no time"),
        ("[before-backup]\ncommand = '/bin/true'", "cannot be used"),
        ("[before-backup]\ncommand = ['/bin/true']\nonfailure = 'note'", "cannot be used"),
        ("before-backup", "is not TOML"),
    ],
)
def test_a_file_that_makes_no_sense(operations: Any, text: str, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        operations(text)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "hooks.toml"
    file.write_text("[before-backup]\ncommand = ['/bin/true']")
    for mode in (0o620, 0o602):
        file.chmod(mode)
        with pytest.raises(InvalidSetting, match="may be written by others"):
            Hooks(str(file))
    with pytest.raises(RuntimeError, match="may be written by others"):
        Server(tmp_path / "data", hooks_file=str(file)).close()


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with hooks for all jobs."""
    place = tmp_path_factory.mktemp("hooks")
    (place / "hooks.toml").write_text(
        "".join(
            f"[{when}-{what}]\ncommand = {CAT.replace('{out}', str(place / 'out'))}\n"
            for what in ("backup", "restore", "rehearsal")
            for when in ("before", "after")
        )
    )
    (place / "hooks.toml").chmod(0o600)
    with running(place / "data", hooks_file=str(place / "hooks.toml")) as server:
        yield server


def test_a_server_runs_them_for_each_of_its_jobs(hooked: Server) -> None:
    place = hooked.data_dir.parent
    shop = hooked.create("shop")
    shop.put("orders/1")
    assert not shop.backup(place / "b")["Faulted"]
    begun = hooked.client.post("/admin/rehearse", json={"BackupLocation": str(place / "b")})
    assert not hooked.wait_for(begun.json()["OperationId"])["Faulted"]
    assert not hooked.restore(BackupLocation=str(place / "b"), DatabaseName="again")["Faulted"]
    told = [json.loads(line) for line in (place / "out").read_text().splitlines()]
    assert [each["when"] for each in told] == [
        f"{when}-{what}" for what in ("backup", "rehearsal", "restore") for when in ("before", "after")
    ]
    assert {each["place"] for each in told} == {str(place / "b")}
    assert told[1]["result"]["documents"] == 1
    assert told[3]["result"]["recovery_seconds"] > 0
