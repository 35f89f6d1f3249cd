"""EIO and ENOSPC at the Nth call in a server, and in the children that it has do its jobs, while clients write."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import httpx

from tests.sampled import WHOLE
from tests.server.running import Database, Server
from tests.torture.kills import HEADERS, all_published, contents, make_template, taken_out
from tests.torture.load import known, must_hold, writing
from tests.torture.preload import CALLS, ERRORS, FOREVER, Fault, happened
from tests.torture.verdict import Case, Defect, Outcome, Verdict, judged
from tests.torture.whole import Apart, check

SECONDS: Final = 60.0
WRITING: Final = 0.4 if WHOLE else 0.1  # seconds for which clients write before the jobs begin


def _jobs(shop: Database, place: Path) -> list[tuple[str, str, dict[str, Any], dict[str, str]]]:
    """Each with its path, body and parameters."""
    backups = {"BackupLocation": str(place / "backups")}
    return [
        ("a full backup", f"{shop.root}/admin/backup", {"BackupLocation": str(place / "full")}, {}),
        ("an incremental backup", f"{shop.root}/admin/backup", backups, {"incremental": "true"}),
        ("a restore", "/admin/restore", backups | {"DatabaseName": "again"}, {}),
        (
            "a restore into",
            f"{shop.root}/admin/restore-into",
            backups | {"OnConflict": "skip", "Collections": ["Items"]},
            {},
        ),
        ("a compaction", "/admin/compact", {}, {"database": "shop"}),
    ]


def acceptable(answer: httpx.Response) -> None:
    """Raises `Defect` for an error that is not told as one of ours."""
    if answer.is_success or answer.status_code == 404:
        return
    try:
        said = str(answer.json()["Error"])
    except (ValueError, KeyError, TypeError):
        raise Defect(Outcome.CRUDE, f"{answer.status_code} without an error in JSON: {answer.text[:200]!r}") from None
    if "unexpected" in said or "Traceback" in said:
        raise Defect(Outcome.CRUDE, f"{answer.status_code}: {said[:300]}")


def _work(server: Server, place: Path) -> list[str]:
    """Clients write, exports are read, every kind of job is done; the errors of those that failed."""
    shop = Database(server, "shop")
    failed: list[str] = []
    with writing(f"{server.url}/databases/shop", place / "ledgers", HEADERS, SECONDS) as writers:
        time.sleep(WRITING)
        for name, path, wanted, query in _jobs(shop, place):
            answer = server.client.post(path, json=wanted, params=query)
            acceptable(answer)
            if answer.status_code != 202:
                failed.append(f"{name}: {answer.status_code}")
                continue
            try:
                ended = server.wait_for(answer.json()["OperationId"], SECONDS)
            except TimeoutError as error:
                raise Defect(Outcome.CRUDE, f"{name} did not end: {error}") from None
            if ended["Faulted"]:
                failed.append(f"{name}: {ended['State']['Error']}")
                if "unexpected" in failed[-1]:
                    raise Defect(Outcome.CRUDE, failed[-1])
        _export(shop)
    for writer in writers:
        if writer.crude:
            raise Defect(Outcome.CRUDE, writer.crude)
        for answer in writer.refused:
            acceptable(answer)
        failed += [f"a write: {answer.status_code}" for answer in writer.refused]
    return failed


def _export(shop: Database) -> None:
    with contextlib.suppress(httpx.RemoteProtocolError):  # how a stream says that it failed in the middle
        acceptable(shop.get("/smuggler/export"))


def _start(place: Path, fault: Fault, state: Path) -> Server:
    with mock.patch.dict(os.environ, fault.environment(state)):
        return Server(place / "data", forked=False)  # a library is loaded into a process only where it begins


@contextmanager
def faults(place: Path) -> Iterator[Case]:
    """One call or all calls from one on refused on files below the server's folder, or on its backups."""
    make_template(place)
    apart = Apart()
    counted: dict[str, int] = {}

    def count(folder: Path) -> dict[str, int]:
        """How often each is called when nothing fails, about: the clients are never equally fast."""
        if not counted:
            shutil.copytree(place, folder)
            state = folder.with_suffix(".state")
            server = _start(folder, Fault(CALLS[0], folder), state)
            try:
                failed = _work(server, folder)
            finally:
                server.close()
            failed = [error for error in failed if not error.startswith("a write: 503")]
            assert not failed, failed
            counted.update({name: calls for name, calls in happened(state).calls.items() if calls})
            shutil.rmtree(folder)
        return counted

    def case(chance: random.Random, folder: Path) -> Verdict:
        counts = count(folder / "count")
        there = folder / "place"
        call = chance.choice(sorted(counts))
        first = 1 + int(counts[call] ** chance.random())  # the early ones as often as the many late ones
        fault = Fault(call, there, first, chance.choice([1, 3, FOREVER]), chance.choice(sorted(ERRORS)))

        def work() -> tuple[Outcome, str] | Outcome:
            shutil.copytree(place, there)
            outcome = _run(there, fault, folder / "state")
            _after(there, apart)
            return outcome

        return judged(f"server: {fault}", work)

    try:
        yield case
    finally:
        apart.close()


def _run(place: Path, fault: Fault, state: Path) -> tuple[Outcome, str] | Outcome:
    try:
        server = _start(place, fault, state)
    except RuntimeError as error:  # it did not start
        said = str(error)
        if "Traceback" in said or "unexpected" in said or "error: " not in said:
            raise Defect(Outcome.CRUDE, f"it did not start: {said[-300:]}") from None
        return Outcome.FOUND, said[-300:]
    try:
        failed = _work(server, place)
    except httpx.TransportError as error:
        server.stop()
        raise Defect(Outcome.CRUDE, f"{error!r} after {happened(state).path} failed: {server.log()[-300:]}") from None
    finally:
        server.close()
    if not happened(state).failed or not failed:
        return Outcome.SURVIVED
    return Outcome.FOUND, failed[0]


def _after(place: Path, apart: Apart) -> None:
    """What was acknowledged is there, and what was published is right."""
    ledgers = known(place / "ledgers") if (place / "ledgers").exists() else {}
    shop = place / "data" / "Databases" / "shop"
    if said := apart(check, shop):
        raise Defect(Outcome.LOST, f"check says {said[0]}")
    must_hold(apart(contents, shop), ledgers, "the database")
    for number, (folder, name) in enumerate(all_published(place)):
        taken = apart(taken_out, folder, name, place / f"restored-{number}")
        if isinstance(taken, str):
            raise Defect(Outcome.LOST, f"a backup that was published: {taken}")
        must_hold(taken, ledgers, f"the backup {name}", {})
