"""`make torture`: inject faults into real processes and files, and tell in one table what became of them.

`make torture MINUTES=30 SEED=1 KIND=flips` takes the kinds whose names begin so, each for its share of the minutes, and
at least one case of each. A case is chosen by the seed, its kind and its number, so `CASE=17` with the same seed and
kind injects the same fault again. What went wrong is printed with that, and its files are kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.torture import abuse, commands, flips, kills, locks, preload, server_faults
from tests.torture.verdict import DEFECTS, Case, Kind, Outcome, Verdict

KINDS: Final[Mapping[str, Kind]] = {
    "kills": kills.kills,
    "faults of commands": commands.faults,
    "faults of a server": server_faults.faults,
    "flips in backups": flips.backups,
    "flips in databases": flips.database,
    "flips in logs": flips.log,
    "abuse": abuse.abuse,
    "locks": locks.locks,
}
COLUMNS: Final = ("kind", "seed", "faults", *Outcome)


@dataclass
class Tally:
    """What became of the faults of one kind."""

    kind: str
    seed: int
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of its row, as `COLUMNS` names them."""
        counts = (self.outcomes[outcome] for outcome in Outcome)
        return (self.kind, str(self.seed), str(self.outcomes.total()), *map(str, counts))


def why_not(kind: str) -> str:
    """Why this kind cannot be had here, empty if it can."""
    if kind.startswith("faults") and not preload.COMPILER:
        return "there is no C compiler"
    if kind == "locks" and not Path("/proc/locks").exists():
        return "there is no /proc/locks"
    return ""


@contextmanager
def prepared(kind: str, place: Path) -> Iterator[Case]:
    """The cases of a kind, with what they begin from in this folder."""
    template = place / "template"
    template.mkdir(parents=True)
    with KINDS[kind](template) as case:
        yield case


def run_case(case: Case, kind: str, seed: int, number: int, place: Path) -> Verdict:
    """One fault. Its folder is left only if it has shown a defect."""
    folder = place / f"case-{number}"
    folder.mkdir()
    try:
        verdict = case(random.Random(f"{kind} {seed} {number}"), folder)
    except Exception:
        # Not foreseen, so it is told as nothing better than that.
        verdict = Verdict(Outcome.CRUDE, "the case itself", traceback.format_exc())
    if verdict.outcome not in DEFECTS:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


def table(tallies: list[Tally]) -> str:
    """One row a kind."""
    rows = [COLUMNS, *(tally.row for tally in tallies)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for row in rows:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append(" | ".join([row[0].ljust(widths[0]), *numbers]))
    return "\n".join([lines[0], "-|-".join("-" * width for width in widths), *lines[1:]])


def _inject(tally: Tally, until: float, only: int | None, place: Path) -> None:
    """Faults of a kind until that time, or only the one of this number."""
    kind, seed, number = tally.kind, tally.seed, only or 0
    with prepared(kind, place) as case:
        while True:
            verdict = run_case(case, kind, seed, number, place)
            tally.outcomes[verdict.outcome] += 1
            if verdict.outcome in DEFECTS:
                print(f"{verdict.outcome.upper()}: {verdict.fault}\n  {verdict.seen}", flush=True)
                print(f"  again: make torture SEED={seed} KIND={kind!r} CASE={number}", flush=True)
                print(f"  files: {place / f'case-{number}'}", flush=True)
            number += 1
            if only is not None or time.monotonic() > until:
                return


def main() -> int:
    """0 when no fault has shown a defect, 1 when one has."""
    parser = argparse.ArgumentParser(prog="torture", description="Inject faults, and tell what became of them.")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", default="", help=f"how its name begins: {', '.join(KINDS)}")
    parser.add_argument("--case", type=int, help="only this one")
    asked = parser.parse_args()
    chosen = [kind for kind in KINDS if kind.startswith(asked.kind)]
    if not chosen:
        parser.error(f"no kind begins with {asked.kind!r}: {', '.join(KINDS)}")
    place = Path(tempfile.mkdtemp(prefix="muniment-torture-"))
    tallies: list[Tally] = []
    share = 60 * asked.minutes / len(chosen)
    with suppress(KeyboardInterrupt):  # the table is of what was injected until then
        for kind in chosen:
            if reason := why_not(kind):
                print(f"left out: {kind}, because {reason}", flush=True)
                continue
            print(f"{kind} …", flush=True)
            tallies.append(Tally(kind, asked.seed))
            _inject(tallies[-1], time.monotonic() + share, asked.case, place / kind.replace(" ", "-"))
    print(table(tallies), flush=True)
    defects = sum(tally.outcomes[outcome] for tally in tallies for outcome in DEFECTS)
    if not defects:
        shutil.rmtree(place, ignore_errors=True)
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
