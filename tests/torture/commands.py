"""EIO and ENOSPC at the Nth call, in every command and in a program that embeds a database."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from muniment import DocumentDatabase, MaintenanceActions, MunimentError
from tests.cli.process import environment
from tests.torture.flips import change, fill
from tests.torture.kills import published
from tests.torture.preload import CALLS, ERRORS, FOREVER, Fault, Happened, happened
from tests.torture.verdict import Case, Defect, Outcome, Verdict, judged
from tests.torture.whole import Apart, Whole, check, current_of, must_equal, whole

REFUSED: Final = 8  # the exit code of "the system refused"
SECONDS: Final = 60.0
EXTRA: Final = "extra/"  # ids of the dump that is imported

_PUT: Final = """
import sys
from muniment.cli.outcome import outcome
from muniment import DocumentDatabase
def run():
    with DocumentDatabase(sys.argv[1]) as database:
        for number in range(12):
            database.put(f"extra/{number}", {"n": number})
            print(number, flush=True)
sys.exit(outcome(run))
"""


@dataclass(frozen=True)
class Ended:
    """What became of a process, and what the library counted in it."""

    code: int
    out: str
    err: str
    happened: Happened


@dataclass(frozen=True)
class Command:
    """Its arguments, in a copy of the template; `result` is the folder of what it makes, to be compared."""

    arguments: str
    result: str = ""
    backup: bool = False
    """`result` is a folder of backups, to be restored."""
    into: bool = False
    """It writes to the database itself: part of what it adds may be there when it has failed."""


PUTS: Final = Command("a program that puts", "shop", into=True)
COMMANDS: Final = (
    Command("backup shop --dest new", "new", backup=True),
    Command("backup shop --dest backups --incremental", "backups", backup=True),
    Command("restore backups --to again", "again"),
    Command("restore backups --to again --defrag", "again"),
    Command("restore backups --to shop --on-conflict overwrite --yes", "shop", into=True),
    Command("verify backups"),
    Command("rehearse backups --place ."),
    Command("merge backups --through {last}", "backups", backup=True),
    Command("smuggler in new dump.ravendbdump --create", "new"),
    Command("smuggler in shop dump.ravendbdump", "shop", into=True),
    Command("smuggler out shop out.ravendbdump"),
    Command("sample new --documents 60"),
    PUTS,
)


def run(command: Command, place: Path, fault: Fault | None, state: Path) -> Ended:
    """Run it to its end; raises `Defect` when that does not come."""
    arguments = command.arguments.format(last=published(place / "backups")[-1]).split()
    start = [sys.executable, *(["-c", _PUT, "shop"] if command is PUTS else ["-m", "muniment", *arguments])]
    env = environment(**(fault.environment(state) if fault else {}))
    try:
        done = subprocess.run(start, env=env, cwd=place, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Defect(Outcome.CRUDE, f"{command.arguments} had not ended after {SECONDS:.0f} s") from None
    return Ended(done.returncode, done.stdout, done.stderr, happened(state) if fault else Happened({}, 0, ""))


def make_template(place: Path) -> None:
    """A database with history, two backups of it, changes since, and a dump of a few documents."""
    with DocumentDatabase(place / "shop") as database:
        database.configure({"Muniment/History": "true", "Muniment/HistoryWindow": "7d"})
        fill(database)
        database.maintenance.start_backup(place / "backups").wait()
        change(database, 1)
        database.maintenance.start_backup(place / "backups", incremental=True).wait()
        change(database, 2)
    with DocumentDatabase(place / "other") as database:
        for number in range(12):
            database.put(f"{EXTRA}{number}", {"n": number})
        database.export(place / "dump.ravendbdump")
    shutil.rmtree(place / "other")


def refusal(result: str, backup: bool, place: Path, scratch: Path) -> Whole | str | None:
    """What a command that succeeded has made, as far as that is a database or a backup; or the text of an error."""
    try:
        if not backup:
            return whole(place / result) if result else None
        MaintenanceActions.verify(place / result, record=False)
        MaintenanceActions.restore(place / result, scratch)
        return whole(scratch)
    except MunimentError as error:
        return f"{type(error).__name__}: {error}"


@contextmanager
def faults(place: Path) -> Iterator[Case]:
    """Some command, with one call or all calls from one on refused on files below the folder it works in."""
    make_template(place)
    apart = Apart()
    before = apart(whole, Path(shutil.copytree(place / "shop", place / "sound")))
    shutil.rmtree(place / "sound")
    counted: dict[str, dict[str, int]] = {}
    expected: dict[str, Whole | None] = {}

    def calls(command: Command, folder: Path) -> dict[str, int]:
        """How often each is called when nothing fails. What the command makes then is kept as what is right."""
        if command.arguments not in counted:
            shutil.copytree(place, folder)
            ended = run(command, folder, Fault(CALLS[0], folder), folder.with_suffix(".state"))
            assert ended.code == 0, ended
            made = apart(refusal, command.result, command.backup, folder, folder / "scratch")
            assert not isinstance(made, str), made
            expected[command.arguments] = made
            counted[command.arguments] = {name: count for name, count in ended.happened.calls.items() if count}
        return counted[command.arguments]

    def case(chance: random.Random, folder: Path) -> Verdict:
        command = chance.choice(COMMANDS)
        counts = calls(command, folder / "count")
        call = chance.choice(sorted(counts))
        first = chance.randint(1, counts[call])
        there = folder / "place"
        fault = Fault(call, there, first, chance.choice([1, 1, FOREVER]), chance.choice(sorted(ERRORS)))

        def work() -> tuple[Outcome, str] | Outcome:
            shutil.copytree(place, there)
            ended = run(command, there, fault, folder / "state")
            _after(command, ended, there, apart, before, expected[command.arguments])
            return _told(ended)

        return judged(f"{command.arguments}: {fault}", work)

    try:
        yield case
    finally:
        apart.close()


def _told(ended: Ended) -> tuple[Outcome, str] | Outcome:
    if not ended.happened.failed or ended.code == 0:
        return Outcome.SURVIVED
    said = ended.err.strip()[-300:]
    if ended.code != REFUSED or "Traceback" in ended.err or "error: " not in ended.err:
        raise Defect(Outcome.CRUDE, f"exit code {ended.code} for {ended.happened.path}: {said}")
    return Outcome.FOUND, said


def _after(command: Command, ended: Ended, place: Path, apart: Apart, before: Whole, expected: Whole | None) -> None:
    """What was there is there still, and what was said to be made is what it should be."""
    if said := apart(check, place / "shop"):
        raise Defect(Outcome.LOST, f"check says {said[0]} after exit code {ended.code}")
    now = apart(whole, place / "shop")
    if command.into:
        _partly(before, now, len(ended.out.split()) if command is PUTS else 0)
    else:
        must_equal(before, now, f"the database after exit code {ended.code}")
    if ended.code == 0 and command.result:
        made = apart(refusal, command.result, command.backup, place, place / "scratch")
        if isinstance(made, str):
            raise Defect(Outcome.LOST, f"{command.arguments} said that it succeeded, and then: {made}")
        assert made is not None
        assert expected is not None
        _same(expected, made, f"what {command.arguments} has made")
    for folder in ("backups", "new"):
        if published(place / folder):
            made = apart(refusal, folder, True, place, place / f"from-{folder}")
            if isinstance(made, str):
                raise Defect(Outcome.LOST, f"a backup in {folder} after exit code {ended.code}: {made}")
    if ended.code and command.arguments.startswith("restore") and not command.into and (place / "again").exists():
        raise Defect(Outcome.WRONG, f"a restore that failed left its target, after {ended.happened.path}")


def _contents(found: Whole) -> dict[tuple[int, str], tuple[object, ...]]:
    return {(row[0], row[1]): (row[2], row[4], row[5]) for row in current_of(found).rows.values() if row[5] is not None}


def _same(expected: Whole, found: Whole, what: str) -> None:
    """Ids, metadata and contents; times and etags are those of another run."""
    right, here = _contents(expected), _contents(found)
    for key in right.keys() | here.keys():
        if right.get(key) != here.get(key):
            outcome = Outcome.LOST if key not in here else Outcome.WRONG
            raise Defect(outcome, f"{what}: {key} is {here.get(key)!r:.200} instead of {right.get(key)!r:.200}")


def _partly(before: Whole, now: Whole, acknowledged: int) -> None:
    """Nothing that was there before is changed, and what a program was acknowledged is there."""
    for etag, row in before.rows.items():
        if etag in now.rows and now.rows[etag] != row:
            raise Defect(Outcome.WRONG, f"at etag {etag} {now.rows[etag]!r:.200} instead of {row!r:.200}")
    here = _contents(now)
    for number in range(acknowledged):
        if (0, f"{EXTRA}{number}") not in here:
            raise Defect(Outcome.LOST, f"{EXTRA}{number} was acknowledged, and is not there")
