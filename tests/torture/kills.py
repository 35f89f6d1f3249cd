"""SIGKILL under load: a server, or the child that does a job for it, while clients write and exports go on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx

from muniment import MaintenanceActions, MunimentError
from muniment.revision import DOCUMENT
from tests.processes import children
from tests.server.running import Database, Server, running
from tests.torture.load import Contents, Known, known, must_hold, writing
from tests.torture.verdict import Case, Defect, Outcome, Verdict, judged
from tests.torture.whole import Apart, check, whole

HEADERS: Final = {"Raven-Client-Version": "3.5.0.0"}
FILLED: Final = 3000
LONGEST: Final = 0.9  # seconds from the beginning of a job to the kill
PATIENCE: Final = 60.0


def contents(folder: Path) -> Contents:
    """What is current in a database."""
    current: Contents = {}
    for _, row in sorted(whole(folder).rows.items()):
        if row[5] is None:
            current.pop((row[0], row[1]), None)
        else:
            current[row[0], row[1]] = row[5]
    return current


def taken_out(source: Path, name: str, place: Path) -> Contents | str:
    """What the newest moment in a folder of backups restores to, or how verifying or restoring was refused."""
    try:
        MaintenanceActions.verify(source, record=False)
        MaintenanceActions.restore(source, place, backup=name)
        return contents(place)
    except MunimentError as error:
        return f"{type(error).__name__}: {error}"


Job: TypeAlias = Callable[[Database, Path], Any]
Floors: TypeAlias = dict[tuple[Path, str], Known]
"""What each new backup, by its folder and name, must hold at least."""


def _begin(shop: Database, path: str, wanted: dict[str, Any], **query: str) -> None:
    shop.server.client.post(path, json=wanted, params=query)


def _puts(shop: Database, place: Path) -> None:
    pass  # the clients do that anyway


def _batch(shop: Database, place: Path) -> None:
    commands = [{"Method": "PUT", "Key": f"items/{n}", "Document": {"n": n}, "Metadata": {}} for n in range(2000)]
    shop.batch(commands)


def _full(shop: Database, place: Path) -> None:
    _begin(shop, f"{shop.root}/admin/backup", {"BackupLocation": str(place / "full")})


def _incremental(shop: Database, place: Path) -> None:
    wanted = {"BackupLocation": str(place / "backups")}
    for _ in range(20):
        _begin(shop, f"{shop.root}/admin/backup", wanted, incremental="true")
        time.sleep(0.1)


def _restore(shop: Database, place: Path) -> None:
    _begin(shop, "/admin/restore", {"BackupLocation": str(place / "backups"), "DatabaseName": "again"})


def _into(shop: Database, place: Path) -> None:
    wanted = {"BackupLocation": str(place / "backups"), "OnConflict": "skip", "Collections": ["Items"]}
    _begin(shop, f"{shop.root}/admin/restore-into", wanted)


def _import(shop: Database, place: Path) -> None:
    with (place / "dump.ravendbdump").open("rb") as dump:
        shop.request("POST", "/smuggler/import", content=dump.read())


def _compact(shop: Database, place: Path) -> None:
    _begin(shop, "/admin/compact", {}, database=shop.name)


def _delete(shop: Database, place: Path) -> None:
    for number in range(50):
        shop.server.create(f"short-{number}")
        shop.server.client.delete(f"/admin/databases/short-{number}", params={"hard-delete": "true"})


JOBS: Final[dict[str, Job]] = {
    "puts": _puts,
    "a batch": _batch,
    "a full backup": _full,
    "incremental backups": _incremental,
    "a restore": _restore,
    "a restore into the database": _into,
    "an import": _import,
    "a compaction": _compact,
    "deletes of databases": _delete,
}


class _Busy:
    """Threads that ask for something until nobody answers."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], object], *, again: bool = False) -> None:
        def run() -> None:
            try:
                while not self.stop.is_set():
                    work()
                    if not again:
                        return
            except (httpx.TransportError, RuntimeError, AssertionError):
                pass  # it was killed; a client that is closed is a RuntimeError

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def _export(url: str) -> None:
    """One export on a connection of its own, read to its end."""
    with (
        httpx.Client(headers=HEADERS, timeout=PATIENCE, verify=False) as client,
        client.stream("GET", f"{url}/smuggler/export") as answer,
    ):
        for _ in answer.iter_raw():
            pass


def left_of(log: Path, seconds: float = 20) -> list[int]:
    """What still writes to this log after so long: a server, or its children, which have sessions of their own."""
    until = time.monotonic() + seconds
    while (found := _writing_to(log)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _writing_to(log: Path) -> list[int]:
    return [int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit() and _has(process, log)]


def _has(process: Path, log: Path) -> bool:
    try:
        return (process / "fd" / "2").samefile(log)
    except OSError:
        return False


def make_template(place: Path) -> None:
    """A server's folder with a database, a backup of it, and a dump."""
    with running(place / "data") as server:
        shop = server.create("shop", **{"Muniment/History": "true"})
        shop.fill(FILLED)
        ended = shop.backup(place / "backups")
        assert not ended["Faulted"], ended
        dump = shop.get("/smuggler/export", params={"format": "ravendbdump"})
        (place / "dump.ravendbdump").write_bytes(dump.content)


def published(folder: Path) -> list[str]:
    """The names of the backups in a folder, the last one last."""
    return sorted(path.parent.name for path in folder.glob("*/manifest.json"))


def all_published(place: Path) -> list[tuple[Path, str]]:
    """The backups in both of a server's folders for them."""
    return [(folder, name) for folder in (place / "backups", place / "full") for name in published(folder)]


@contextmanager
def kills(place: Path) -> Iterator[Case]:
    """The server, or a child of it, is killed while one of `JOBS` runs; then everything is looked at."""
    make_template(place)
    apart = Apart()

    def case(chance: random.Random, folder: Path) -> Verdict:
        job = chance.choice(sorted(JOBS))
        child = chance.random() < 0.25
        after = chance.uniform(0.02, LONGEST)
        again = chance.random() < 0.3
        victim = "a child of the server" if child else "the server"

        def work() -> Outcome:
            shutil.copytree(place, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.stderr"))
            least, told = _run(folder, job, after, child)
            _look(folder, least, apart, again)
            return told

        return judged(f"kill {victim} {after:.3f} s into {job}", work)

    try:
        yield case
    finally:
        apart.close()


def _run(folder: Path, job: str, after: float, child: bool) -> tuple[Floors, Outcome]:
    """Load, job, kill. Gives what each new backup must hold at least, and whether something had to be told."""
    server = Server(folder / "data")
    shop = Database(server, "shop")
    url = f"{server.url}/databases/shop"
    busy, outcome = _Busy(), Outcome.SURVIVED
    old = all_published(folder)
    with writing(url, folder / "ledgers", HEADERS) as writers:
        busy.start(lambda: _export(url), again=True)
        time.sleep(0.15)
        floor = known(folder / "ledgers")  # before any backup of this round was begun
        busy.start(lambda: JOBS[job](shop, folder))
        if child:
            outcome = _kill_child(server, after)
        else:
            time.sleep(after)
        os.kill(server.process.pid, signal.SIGKILL)
    busy.join()
    server.kill()
    if left := left_of(folder / "data.stderr"):
        for process in left:
            kill_process(process)
        raise Defect(Outcome.CRUDE, "20 s after the server was killed, a child of it was still there")
    for writer in writers:
        if writer.crude:
            raise Defect(Outcome.CRUDE, writer.crude)
    return {backup: floor for backup in all_published(folder) if backup not in old}, outcome


def _kill_child(server: Server, after: float) -> Outcome:
    """Kill a child as soon as there is one, and let the server go on for a while."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        if found := children(server.process.pid):
            time.sleep(after / 10)
            for process in found:
                kill_process(process)
            time.sleep(after)
            return Outcome.FOUND
        time.sleep(0.002)
    return Outcome.SURVIVED


def kill_process(process: int) -> None:
    """Kill it, unless it has ended by itself."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _items(found: Contents) -> None:
    """What was there before is there still; the batch replaced each by one without its text."""
    for number in range(FILLED):
        body = found.get((DOCUMENT, f"items/{number}"))
        if body is None:
            raise Defect(Outcome.LOST, f"items/{number} is not there, which nobody deleted")
        if not body.startswith(b'{"n":%d' % number):
            raise Defect(Outcome.WRONG, f"items/{number} is {body[:80]!r}")


def _look(folder: Path, least: Floors, apart: Apart, again: bool) -> None:
    """Everything that was acknowledged is there, and every backup that was published is right."""
    ledgers = known(folder / "ledgers")
    shop = folder / "data" / "Databases" / "shop"
    if again:  # the server itself is the first to open it
        with running(folder / "data") as server:
            answer = Database(server, "shop").get("/stats")
            if answer.status_code != 200:
                raise Defect(Outcome.LOST, f"started again: {answer.status_code} {answer.text}")
    said = apart(check, shop)
    if said:
        raise Defect(Outcome.LOST, f"check says {said[0]}")
    found = apart(contents, shop)
    must_hold(found, ledgers, "the database")
    _items(found)
    for number, ((place, name), floor) in enumerate(sorted(least.items())):
        taken = apart(taken_out, place, name, folder / f"restored-{number}")
        if isinstance(taken, str):
            raise Defect(Outcome.LOST, f"a backup that was published: {taken}")
        must_hold(taken, ledgers, f"the backup {name}", floor)
    again_folder = folder / "data" / "again"
    if (again_folder / "muniment.db").exists() and (said := apart(check, again_folder)):
        raise Defect(Outcome.WRONG, f"a restored database: check says {said[0]}")
