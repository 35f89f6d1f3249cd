"""Backups to a local S3 (SeaweedFS) beside those to a folder, each in a process of its own.

The S3 shares the processors and the disk with the backup: a store elsewhere costs no more, but for the network.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

from _machine import Report
from incremental import alone, change, load

from muniment import DocumentDatabase

sys.path.append(str(Path(__file__).parents[1]))  # for the S3 that the tests start
from tests.object_store import seaweed

CHAIN = 100
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
    count = parser.parse_args().documents
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary, seaweed() as store:
        os.environ.update(store.environment())
        folder, database = Path(temporary), str(Path(temporary) / "db")
        report = Report("Destinations", f"{count:,} documents of muniment.sample, 1 % changed at random")
        ids = load(folder / "db", count)
        place, chance = store.place(), random.Random(1)
        fulls = [(alone("full", database, str(folder / f"full-{n}")), alone("full", database, store.place()))
                 for n in range(ROUNDS)]  # fmt: skip
        here, there = (min(seconds) for seconds in zip(*fulls, strict=True))
        report.add("full backup to S3", f"{there:.2f} s", f"to a folder {here:.2f} s", here / there, "≥ 0.8")
        alone("full", database, place)
        change(folder / "db", chance.sample(ids, count // 100), 0)
        report.add("incremental of 1 %", f"{alone('incremental', database, place):.2f} s", wanted="≤ 1.5 s")
        for number in range(1, CHAIN - 1):
            change(folder / "db", chance.sample(ids, count // 1000), number)
            with DocumentDatabase(database) as opened:
                opened.maintenance.start_backup(place, incremental=True).wait()
        inspect = alone("inspect", place, ids[count // 2])
        report.add(f"inspect --id over a chain of {CHAIN}", f"{inspect:.2f} s", wanted="≤ 2 s")
        report.add("restore --id out of it", f"{alone('one', place, ids[count // 2]):.2f} s")
        report.add("restore of it", f"{alone('restore', place, str(folder / 'restored')):.2f} s")
        report.print()


if __name__ == "__main__":
    main()
