"""Encrypted backups, and restores of them, beside plain ones of the same database, in turns on the same disk.

Each figure is the best of several rounds; the ratio is the time of the encrypted one to that of the plain one, and 1.25
is wanted. The encrypted ones are for a recipient, so that no passphrase is stretched.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from itertools import islice
from pathlib import Path

from _machine import Report, timed

from muniment import DocumentDatabase, MaintenanceActions, Put, sample
from muniment.security.keyring import NO_KEYS, UNPROTECTED, Keyring, Protection
from muniment.security.recipients import Identity

BATCH = 1000
IDENTITY = Identity(bytes(range(32)))
KINDS = {
    "plain": (UNPROTECTED, NO_KEYS),
    "encrypted": (Protection((IDENTITY.recipient,)), Keyring((IDENTITY,))),
}


def back_up(database: DocumentDatabase, backups: Path, protection: Protection) -> None:
    database.maintenance.start_backup(backups, protection=protection).wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    best: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        place = Path(temporary)
        documents = sample.documents(arguments.documents)
        with DocumentDatabase(place / "shop") as database:
            while batch := [Put(id, body, metadata) for id, body, metadata in islice(documents, BATCH)]:
                database.batch(batch)
            for turn in range(arguments.rounds):
                for kind, (protection, keyring) in KINDS.items():
                    backups, target = place / f"{kind}-{turn}", place / f"restored-{kind}-{turn}"
                    for what, work in (
                        ("backup", partial(back_up, database, backups, protection)),
                        ("verify", partial(MaintenanceActions.verify, backups, keyring=keyring)),
                        ("restore", partial(MaintenanceActions.restore, backups, target, keyring=keyring)),
                    ):
                        best[what, kind] = min(timed(work), best.get((what, kind), float("inf")))
    report = Report("Encrypted backups", f"{arguments.documents:,} documents of muniment.sample")
    for what in ("backup", "verify", "restore"):
        plain, encrypted = best[what, "plain"], best[what, "encrypted"]
        report.add(what, f"{encrypted:.2f} s", f"plain {plain:.2f} s", encrypted / plain, "1.25 times")
    report.print()


if __name__ == "__main__":
    main()
