"""Bits flipped in backups, in database files, and in write-ahead logs that a killed process left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from muniment import Delete, DocumentDatabase, MaintenanceActions, MunimentError, Put
from tests.torture.verdict import Case, Defect, Outcome, Verdict, judged
from tests.torture.whole import Apart, Looked, Whole, current_of, look, must_equal, whole

ORDERS: Final = {"Raven-Entity-Name": "Orders"}
SECTOR: Final = 512


class Damage(NamedTuple):
    """What is done to one file of a folder; positions count from its beginning."""

    file: str
    how: str
    position: int
    bit: int

    def __str__(self) -> str:
        return f"{self.file}: {self.how} at {self.position}" + (f" (bit {self.bit})" if self.how == "flip" else "")

    def do(self, folder: Path) -> bool:
        """Whether that changed anything."""
        path = folder / self.file
        before = path.read_bytes()
        content = bytearray(before)
        if self.how == "flip":
            content[self.position] ^= 1 << self.bit
        elif self.how == "zeroes":
            content[self.position : self.position + SECTOR] = bytes(
                len(content[self.position : self.position + SECTOR])
            )
        else:
            del content[self.position :]
        path.write_bytes(content)
        return content != before


def choose(chance: random.Random, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> Damage:
    """Damage to one of the files with such a name: mostly one bit, sometimes a sector or the rest of the file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size and wanted(path.name))
    path = chance.choice(files)
    how = chance.choices(["flip", "zeroes", "cut"], [10, 1, 1])[0]
    position = chance.randrange(path.stat().st_size)
    return Damage(str(path.relative_to(folder)), how, position, chance.randrange(8))


def fill(database: DocumentDatabase, seed: int = 1) -> None:
    """Documents that were replaced and deleted, and attachments, in several transactions."""
    chance = random.Random(seed)
    database.batch([Put(f"orders/{n}", {"n": n, "text": chance.randbytes(n % 60).hex()}, ORDERS) for n in range(120)])
    database.put("Lose", b'{ "price" : 1.10 }')
    database.put_attachment("photos/1", chance.randbytes(9_000), {"type": "image/png"})
    database.put_attachment("photos/2", b"")


def change(database: DocumentDatabase, seed: int) -> None:
    """Some more of it, on the same ids."""
    chance = random.Random(seed)
    numbers = chance.sample(range(120), 20)
    database.batch([Put(f"orders/{n}", {"n": n, "seed": seed, "balance": 1000 + n}, ORDERS) for n in numbers[:15]])
    database.batch([Delete(f"orders/{n}") for n in numbers[15:]])
    database.put_attachment("photos/1", chance.randbytes(5_000), {"type": "image/png", "seed": seed})
    if seed % 2:
        database.delete_attachment("photos/2")


class Outcomes(NamedTuple):
    verified: str
    """Empty, or how verifying was refused."""
    restored: list[Whole | str]
    """For each moment: what was restored, or how that was refused."""
    crude: str = ""


def take_out(source: Path, etags: list[int], place: Path) -> Outcomes:
    """Verify the backups in a folder, and restore each of these moments from them."""
    restored: list[Whole | str] = []
    verified = ""
    try:
        try:
            MaintenanceActions.verify(source, record=False)
        except MunimentError as error:
            verified = f"{type(error).__name__}: {error}"
        for etag in etags:
            try:
                MaintenanceActions.restore(source, place / str(etag), etag=etag)
                restored.append(whole(place / str(etag)))
            except MunimentError as error:
                restored.append(f"{type(error).__name__}: {error}")
    except Exception as error:
        return Outcomes(verified, restored, f"{type(error).__name__}: {error}")
    return Outcomes(verified, restored)


@contextmanager
def backups(place: Path) -> Iterator[Case]:
    """Any file of a chain with history: data, manifests, settings. Verified, and restored to two moments."""
    source, ends = place / "backups", list[int]()
    with DocumentDatabase(place / "shop") as database:
        database.configure({"Muniment/History": "true", "Muniment/HistoryWindow": "7d"})
        fill(database)
        ends.append(database.snapshot().etag)
        database.maintenance.start_backup(source).wait()
        for seed in range(2):
            change(database, seed)
            ends.append(database.snapshot().etag)
            change(database, seed + 10)
            database.maintenance.start_backup(source, incremental=True).wait()
        ends.append(database.snapshot().etag)
    apart = Apart()
    sound = dict(zip(ends, apart(take_out, source, ends, place / "sound").restored, strict=True))
    assert all(isinstance(found, Whole) for found in sound.values()), sound

    def case(chance: random.Random, folder: Path) -> Verdict:
        damage = choose(chance, source)
        etags = [chance.choice(ends[:-1]), ends[-1]]

        def work() -> tuple[Outcome, str] | Outcome:
            copy = Path(shutil.copytree(source, folder / "backups"))
            if not damage.do(copy):
                return Outcome.SURVIVED
            found = apart(take_out, copy, etags, folder / "restored")
            if found.crude:
                raise Defect(Outcome.CRUDE, found.crude)
            for etag, restored in zip(etags, found.restored, strict=True):
                expected = sound[etag]
                assert isinstance(expected, Whole)
                if isinstance(restored, Whole):
                    must_equal(expected, restored, f"restored to etag {etag}")
                elif not found.verified:
                    raise Defect(Outcome.CRUDE, f"verify says yes, and restore to etag {etag} says {restored}")
            return (Outcome.FOUND, found.verified) if found.verified else Outcome.SURVIVED

        return judged(str(damage), work)

    try:
        yield case
    finally:
        apart.close()


def _judge(expected: Whole, looked: Looked) -> tuple[Outcome, str] | Outcome:
    """Damage may be told, or be without effect. What a backup holds has to be right even when the damage was told."""
    if looked.crude:
        raise Defect(Outcome.CRUDE, looked.crude)
    if looked.restored is not None:
        what = "out of a backup that was completed and verified"
        must_equal(current_of(expected), looked.restored, what, older=expected)
    if looked.told:
        return Outcome.FOUND, looked.told[0]
    assert looked.whole is not None
    must_equal(expected, looked.whole, "in a database of which check says nothing")
    return Outcome.SURVIVED


@contextmanager
def database(place: Path, *, history: bool = True) -> Iterator[Case]:
    """The file of a database that was closed, with history that is kept. Checked, read, and backed up."""
    shop = place / "shop"
    with DocumentDatabase(shop) as made:
        if history:
            made.configure({"Muniment/History": "true", "Muniment/HistoryWindow": "7d"})
        fill(made)
        for seed in range(3):
            change(made, seed)
    apart = Apart()
    expected = apart(whole, shop)

    def case(chance: random.Random, folder: Path) -> Verdict:
        damage = choose(chance, shop, lambda name: name == "muniment.db")

        def work() -> tuple[Outcome, str] | Outcome:
            copy = Path(shutil.copytree(shop, folder / "shop"))
            damage.do(copy)
            return _judge(expected, apart(look, copy, folder))

        return judged(str(damage), work)

    try:
        yield case
    finally:
        apart.close()


_WRITE = """
import os, sys
from pathlib import Path
from muniment import DocumentDatabase
from tests.torture.flips import change, fill
database = DocumentDatabase(sys.argv[1])
database.configure({"Muniment/History": "true", "Muniment/HistoryWindow": "7d"})
fill(database)
for seed in range(6):
    change(database, seed)
print("acknowledged", flush=True)
sys.stdin.read()
"""


def _killed(shop: Path, before: Callable[[], object] = lambda: None) -> None:
    """Let a process write, do something to it, and kill it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITE, str(shop)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdin
    try:
        assert process.stdout.readline() == "acknowledged\n"
        before()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stdin.close()


@contextmanager
def log(place: Path) -> Iterator[Case]:
    """The write-ahead log that a killed process left, and what else is beside the database then."""
    shop = place / "shop"
    _killed(shop)
    apart = Apart()
    expected = apart(whole, Path(shutil.copytree(shop, place / "sound")))
    assert (shop / "muniment.db-wal").stat().st_size > 100_000

    def case(chance: random.Random, folder: Path) -> Verdict:
        beside = chance.random() < 0.2
        damage = choose(chance, shop, lambda name: name != "muniment.db-shm" if beside else name.endswith("-wal"))
        gone = chance.random() < 0.05
        fault = f"{damage.file}: removed" if gone else str(damage)

        def work() -> tuple[Outcome, str] | Outcome:
            copy = Path(shutil.copytree(shop, folder / "shop"))
            if gone:
                (copy / damage.file).unlink()
            else:
                damage.do(copy)
            return _judge(expected, apart(look, copy, folder))

        return judged(fault, work)

    try:
        yield case
    finally:
        apart.close()
