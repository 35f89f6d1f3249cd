"""After every kind of request the server holds the locks of its open databases, and no more descriptors than before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server.running import running
from tests.server.test_locks import KINDS, Site, assert_locked, more_than, steady, watched_children
from tests.torture.verdict import Case, Defect, Outcome, Verdict, judged


@contextmanager
def locks(place: Path) -> Iterator[Case]:
    """One server, of which requests of all kinds are asked in any order."""
    with running(place / "data", backup_roots=str(place)) as server:
        site = Site(server, place)
        folder = server.data_dir / "Databases" / "shop"
        process = server.process.pid

        def case(chance: random.Random, _: Path) -> Verdict:
            kind = chance.choice(sorted(KINDS))

            def work() -> Outcome:
                KINDS[kind](site)  # some keep a connection to the database, or a thread, for the next
                before = steady(process)
                try:
                    with watched_children(process, server.data_dir):
                        KINDS[kind](site)
                    assert_locked(process, folder)
                except AssertionError as error:
                    raise Defect(Outcome.LOST, str(error)[:300]) from None
                if more := more_than(before, process):
                    raise Defect(Outcome.CRUDE, f"it has more open than before: {more}")
                return Outcome.SURVIVED

            return judged(f"requests: {kind}", work)

        yield case
