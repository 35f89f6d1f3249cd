"""Backups and restores in processes of their own: killed, raced, out of room, without permissions, measured.

A job forks a process for each attempt and prints what became of each as JSON.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pyarrow.compute
import pyarrow.parquet
import pytest

import muniment
from muniment import DocumentDatabase, MaintenanceActions, MunimentError, Progress
from muniment.backup.records import Record, records, write_record
from muniment.errors import Busy
from tests.backup.gate import take
from tests.clock import SECOND, START, Clock
from tests.starter import Forked

ROOT = Path(__file__).parents[2]
NOBODY = 65534
UNEXPECTED = 99
KILLED = -signal.SIGKILL
_JOB = "import warnings; warnings.simplefilter('error'); from tests.backup.child import main; main()"


def run(job: str, *, within: str = "", **arguments: Any) -> Any:
    """In a test: what that job printed. `within` is a shell command to run before, with mounts of its own."""
    asked = [job, json.dumps(arguments, default=str)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        if within:
            command = ["unshare", "-rm", "sh", "-c", f'{within} && exec "$@"', "sh", sys.executable, "-c", _JOB, *asked]
            code = subprocess.run(command, cwd=ROOT, stdout=out, stderr=err, timeout=120, check=False).returncode
        else:
            code = Forked(_JOB, asked, cwd=ROOT, out=out.fileno(), err=err.fileno()).wait(120)
        out.seek(0)
        err.seek(0)
        said, complaints = out.read(), err.read()
    if code or complaints:
        pytest.fail(f"the job {job} ended with {code}:\n{said}\n{complaints}")
    return json.loads(said)


def fork(work: Callable[[], object]) -> int:
    """Do this in a process of its own, whose exit code is that of the error it ends with; returns its number."""
    sys.stdout.flush()
    if process := os.fork():
        return process
    code = UNEXPECTED
    try:
        work()
        code = 0
    except MunimentError as error:
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def wait_for(process: int) -> int:
    """Its exit code, negative when a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def back_up(database: str, destination: str, progress: Progress | None = None) -> None:
    with DocumentDatabase(database, create=False, clock=Clock(START + 500 * SECOND, step=SECOND)) as opened:
        take(opened, Path(destination), progress)


def rehearse(source: str, place: str) -> None:
    """Write down beside `place` what a rehearsal there said of its own record."""
    rehearsal = muniment.rehearse(source, place=place)
    Path(place, "said").write_text(f"{rehearsal.record}: {rehearsal.unrecorded}")


def restore(source: str, target: str, progress: Progress | None = None, *, defrag: bool = False) -> None:
    MaintenanceActions.restore(source, target, progress=progress, defrag=defrag)


def restore_into(database: str, source: str, progress: Progress | None = None) -> None:
    with DocumentDatabase(database, create=False, clock=Clock(START + 500 * SECOND, step=SECOND)) as opened:
        opened.maintenance.restore_into(source, on_conflict="overwrite", progress=progress)


class Steps(Progress):
    """Counts the steps of a job (its own, and what it asks of the file system), and ends the process at one of them.

    An end by SIGKILL comes without notice: no `finally`, no flush, no close.
    """

    def __init__(self, last: int) -> None:
        super().__init__()
        self.left = last
        self._sync = os.fsync
        vars(os)["fsync"] = self._fsync
        self._open = Path.open
        setattr(Path, "open", lambda path, *rest, **options: self._opened(path, *rest, **options))  # noqa: B010
        sys.addaudithook(self._audit)

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] is not None and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir"}:
            self._step()

    def _opened(self, path: Path, *rest: Any, **options: Any) -> Any:
        file = self._open(path, *rest, **options)
        self._step()  # the file is there, and nothing is in it
        return file

    def _fsync(self, file: int) -> None:
        self._step()
        self._sync(file)
        self._step()

    def check(self) -> None:
        self._step()
        super().check()


def _steps(work: Callable[[Steps], object]) -> int:
    """How many steps this takes, done in a process of its own."""

    def count_them() -> dict[str, Any]:
        work(steps := Steps(0))
        return {"steps": -steps.left}

    return int(_forked(count_them)["steps"])


def _killed_at(last: int, apart: int) -> range:
    """Of so many steps, the later ones later: there most is left for the next."""
    return range(last, 0, -apart)[::-1]


def _kill_at_steps(work: Callable[[str, Steps], object], places: list[str], last: int, apart: int) -> list[str]:
    """Kill this in each of the places, at one of so many of its steps and at the last; where it was killed."""
    killed = []
    for step, place in zip(_killed_at(last, apart), places, strict=True):
        code = wait_for(fork(partial(lambda place, step: work(place, Steps(step)), place, step)))
        assert code in {0, KILLED}, code
        if code:
            killed.append(place)
    assert len(killed) >= 0.9 * len(places)  # what one has done before it was killed another need not do
    return killed


def job_kill_at_steps(what: str, source: str, places: str, apart: int) -> list[str]:
    """Kill a backup or restore at one of so many of its steps."""
    action = back_up if what == "back up" else restore
    whole = shutil.copytree(source, f"{places}/whole/source")  # a database remembers that it was backed up
    last = _steps(lambda steps: action(whole, f"{places}/whole/target", steps))
    targets = [f"{places}/{step}/target" for step in _killed_at(last, apart)]
    for target in targets:
        Path(target).parent.mkdir()
    return _kill_at_steps(lambda place, steps: action(source, place, steps), targets, last, apart)


def job_kill_at_random(what: str, source: str, places: str, count: int, seed: int) -> list[str]:
    """Kill that many backups or restores after a random part of the time that a whole one takes."""
    action = back_up if what == "back up" else restore
    begun = time.monotonic()
    assert wait_for(fork(lambda: action(source, f"{places}/whole"))) == 0
    whole = time.monotonic() - begun
    chance = random.Random(seed)
    killed: list[str] = []
    for number in range(count):
        place = f"{places}/{number}/target"
        Path(place).parent.mkdir(parents=True)
        process = fork(lambda place=place: action(source, place))  # type: ignore[misc]
        time.sleep(whole * chance.random())
        os.kill(process, signal.SIGKILL)
        wait_for(process)
        killed.append(place)
    return killed


def job_kill_into_at_steps(database: str, source: str, places: str, apart: int) -> list[str]:
    """Kill a restore into a copy of a database at one of so many of its steps; the first copy is of a whole one."""
    whole = shutil.copytree(database, f"{places}/whole")
    last = _steps(lambda steps: restore_into(whole, source, steps))
    copies = [shutil.copytree(database, f"{places}/{step}") for step in _killed_at(last, apart)]
    return [whole, *_kill_at_steps(lambda copy, steps: restore_into(copy, source, steps), copies, last, apart)]


def job_kill_into_at_random(database: str, source: str, places: str, count: int, seed: int) -> list[str]:
    """Kill that many restores into copies of a database after a random part of the time that a whole one takes."""
    chance = random.Random(seed)
    copies = [shutil.copytree(database, f"{places}/{number}") for number in range(count + 1)]
    begun = time.monotonic()
    assert wait_for(fork(lambda: restore_into(copies[0], source))) == 0
    whole = time.monotonic() - begun
    for copy in copies[1:]:
        process = fork(partial(restore_into, copy, source))
        time.sleep(whole * chance.random())
        os.kill(process, signal.SIGKILL)
        wait_for(process)
    return copies[1:]


def job_race(source: str, places: str, rounds: int, racers: int) -> list[list[int]]:
    """In each round, several restores to one target that begin together; their exit codes.

    Each tries again as long as it is told that another one is running, and renaming takes long, so that they meet at
    the moment at which the target appears.
    """
    rename = Path.rename

    def slowly(self: Path, target: Path) -> Path:
        time.sleep(0.02)
        renamed = rename(self, target)
        time.sleep(0.02)
        return renamed

    def insist(number: int, reading: int, writing: int) -> None:
        os.close(writing)
        os.read(reading, 1)  # until the last who could write has closed
        while True:
            try:
                return restore(source, f"{places}/{number}")
            except Busy:
                time.sleep(0.0005)

    setattr(Path, "rename", slowly)  # noqa: B010
    results = []
    for number in range(rounds):
        reading, writing = os.pipe()
        processes = [fork(partial(insist, number, reading, writing)) for _ in range(racers)]
        os.close(writing)
        results.append([wait_for(process) for process in processes])
        os.close(reading)
    return results


def _refused(work: Callable[[], object]) -> dict[str, str]:
    """The error that this ends with."""
    try:
        work()
    except MunimentError as error:
        return {"error": type(error).__name__, "message": str(error), "hint": error.hint}
    return {"error": ""}


def _forked(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What this returns, done in a process of its own."""
    reading, writing = os.pipe()

    def answer() -> None:
        with os.fdopen(writing, "w") as file:
            json.dump(work(), file)

    process = fork(answer)
    os.close(writing)
    with os.fdopen(reading) as file:
        answered = file.read()
    code = wait_for(process)
    assert code == 0, code
    result: dict[str, Any] = json.loads(answered)
    return result


def job_limited(what: str, source: str, places: str, limits: list[int], defrag: bool = False) -> list[dict[str, Any]]:
    """The same job for each limit of the size of a file, in bytes: beyond that a write fails."""

    def attempt(limit: int) -> dict[str, Any]:
        if what == "restore":
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return _refused(lambda: restore(source, f"{places}/{limit}/new/target", defrag=defrag))
        with DocumentDatabase(source, create=False, clock=Clock(START + 500 * SECOND, step=SECOND)) as database:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            refused = _refused(lambda: database.maintenance.start_backup(f"{places}/{limit}/new/target").wait())
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            database.put("still", {"alive": True})
            return refused | {"check": database.check()}

    return [_forked(lambda limit=limit: attempt(limit)) for limit in limits]  # type: ignore[misc]


def job_full(what: str, source: str, place: str, defrag: bool = False) -> dict[str, Any]:
    """On a disk that is too small, which is gone with this process; so what is left there is told."""
    before = sorted(path.name for path in Path(place).rglob("*"))
    if what == "back up":
        refused = _refused(lambda: back_up(source, f"{place}/new/target"))
    else:
        refused = _refused(lambda: restore(source, f"{place}/new/target", defrag=defrag))
    return refused | {"left": sorted(path.name for path in Path(place).rglob("*")), "before": before}


def job_restore_and_look(source: str, target: str) -> dict[str, Any]:
    """A restore to a place that only this process sees, and what is there afterwards."""
    refused = _refused(lambda: MaintenanceActions.restore(source, target))
    names = sorted(path.name for path in Path(target).iterdir())
    if refused["error"]:
        return {"error": refused["error"], "names": names}
    with DocumentDatabase(target, create=False) as database:
        assert database.check() == []
        fingerprint = database.snapshot().fingerprint.short()
    again = _refused(lambda: MaintenanceActions.restore(source, target))["error"]
    return {"names": names, "fingerprint": fingerprint, "again": again}


def job_full_database(place: str, destination: str) -> dict[str, Any]:
    """A database on a disk without room is backed up to another one."""
    DocumentDatabase(f"{place}/closed").close()
    with DocumentDatabase(f"{place}/shop") as database:
        written = 0

        def write() -> None:
            nonlocal written
            while True:
                database.put(f"a/{written}", {"text": "x" * 20_000})
                written += 1

        refused = _refused(write)["error"]
        _fill(Path(place, "rest"))
        database.maintenance.start_backup(destination).wait()
        closed = _refused(lambda: DocumentDatabase(f"{place}/closed", read_only=True).close())
        return {"write": refused, "documents": database.statistics().documents, "closed": closed["message"]}


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 512):
            pass


def job_records(place: str) -> dict[str, Any]:
    """Records on a disk that gets full: how many could be written, and what can be read."""
    time = "2026-11-22T17:18:03.000000Z"
    written = 0

    def write() -> None:
        nonlocal written
        while True:
            hashes = (f"{written:064x}",) * 10
            write_record(
                Path(place),
                Record(
                    kind="verification",
                    backup="one",
                    etag=1,
                    time=time,
                    manifests=hashes,
                    completed=time,
                    seconds=1.0,
                ),
            )
            written += 1

    error = _refused(write)["error"]
    names = [path.name for path in Path(place).iterdir()]
    other = [name for name in names if not re.fullmatch(r"verification-.*Z\.json", name)]
    return {"error": error, "written": written, "read": len(records(Path(place))), "other": other}


assert pyarrow.compute  # imported while that is still allowed
assert pyarrow.parquet


def job_as_nobody(what: str, sources: list[str], places: list[str]) -> list[dict[str, Any]]:
    """Each source to each place, by a user who may do little."""

    def attempt(source: str, place: str) -> dict[str, Any]:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        actions: dict[str, Callable[[str, str], None]] = {"back up": back_up, "restore": restore, "rehearse": rehearse}
        return _refused(lambda: actions[what](source, place))

    return [
        _forked(lambda source=source, place=place: attempt(source, place))  # type: ignore[misc]
        for source, place in zip(sources, places, strict=True)
    ]


class _Spoilt(apsw.VFS):
    """A file system that fails, once, at a given write into a journal."""

    def __init__(self, last: int) -> None:
        super().__init__("spoilt", "unix", makedefault=True)
        self.left = last

    def xOpen(self, name: Any, flags: list[int]) -> _SpoiltFile:
        return _SpoiltFile(self, name, flags)


class _SpoiltFile(apsw.VFSFile):
    def __init__(self, system: _Spoilt, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._system = system
        self._journal = str(name.filename() if hasattr(name, "filename") else name).endswith("-journal")

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._journal:
            self._system.left -= 1
            if self._system.left == 0:
                raise apsw.IOError("disk I/O error")
        super().xWrite(data, offset)


def job_journal_errors(source: str, target: str) -> dict[str, Any]:
    """A restore with an input/output error at each write into a journal; what each was told as."""
    kinds = []
    for number in count(1):
        system = _Spoilt(number)
        try:
            MaintenanceActions.restore(source, target)
        except MunimentError as error:
            kinds.append(type(error).__name__)
        finally:
            system.unregister()
        if system.left > 0:
            shutil.rmtree(target)
            return {"hit": number - 1, "kinds": kinds}
    raise AssertionError


def _peak() -> int:
    """The most memory that this process has had at once since `_forget_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _restore_into_an_empty_one(database: str, source: str) -> None:
    with DocumentDatabase(database) as opened:
        opened.maintenance.restore_into(source, on_conflict="overwrite", other_database=True)


def job_measure(source: str, destination: str, target: str) -> dict[str, int]:
    """The most memory that a backup, its verification and its restores take, each in a process of its own, in bytes."""
    jobs: dict[str, Callable[[], object]] = {
        "back up": lambda: back_up(source, destination),
        "verify": lambda: MaintenanceActions.verify(destination),
        "restore": lambda: restore(destination, target),
        "restore into": lambda: _restore_into_an_empty_one(f"{target} later", destination),
        "defragment": lambda: restore(destination, f"{target} defragmented", defrag=True),
    }

    def measure(work: Callable[[], object]) -> dict[str, Any]:
        _forget_peak()
        before = _peak()
        work()
        return {"bytes": _peak() - before}

    return {name: _forked(lambda work=work: measure(work))["bytes"] for name, work in jobs.items()}  # type: ignore[misc]


def main() -> None:
    """Do the job that the command line names, and print what came of it."""
    name, arguments = sys.argv[1:]
    print(json.dumps(globals()["job_" + name](**json.loads(arguments))))
